/* Reads bigWig files with the kernels of the quick path, as they are and with bytes changed: for a
 * build with sanitizers, behind the sources of those kernels.
 *
 *     sanitize SEED COUNT FILE...
 *
 * prints 0 or 1 for each file (read, or left to the careful reader), then reads COUNT changed
 * copies of each and decompresses their ends into rooms of any size. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

static uint64_t state;

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return below ? state % below : 0;
}

static int read_file(int handle, int64_t size)
{
    static const char *names[] = {"chr0", "chr1", "chrX"};
    int64_t widths[2] = {100, 7};
    double means[2][143] = {{0}}, covered[153] = {0};
    double *rows[2] = {means[0], means[1]};
    quick_request want = {names[draw(3)], 0, 1000, 2, widths, rows, (int)draw(2)};
    if (!state) want.chrom = names[0];
    return tuner_quick_read(handle, size, &want, covered);
}

static int64_t change(uint8_t *bytes, int64_t size)
{
    static const uint32_t words[] = {0, 1, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};
    for (uint64_t i = 1 + draw(4); i > 0; i--) {
        uint64_t at = draw((uint64_t)size);
        uint32_t word = words[draw(7)];
        switch (draw(5)) {
        case 0: bytes[at] ^= (uint8_t)(1u << draw(8)); break;
        case 1: bytes[at] = (uint8_t)draw(256); break;
        case 2: memcpy(bytes + at, &word, (size_t)size - at < 4 ? (size_t)size - at : 4); break;
        case 3: memmove(bytes + at, bytes + draw((uint64_t)size - at) , (size_t)((uint64_t)size - at) / 4); break;
        default: if (draw(8) == 0) size = 1 + (int64_t)at;
        }
    }
    return size;
}

static void inflate_some(const uint8_t *bytes, int64_t size)
{
    int64_t from = (int64_t)draw((uint64_t)size), room = 1 + (int64_t)draw(4000), out = room;
    uint8_t *packed = malloc((size_t)(size - from)), *place = malloc((size_t)room);
    inflate_tool tool;
    if (!packed || !place || tuner_inflate_open(&tool)) exit(3);
    memcpy(packed, bytes + from, (size_t)(size - from));
    if (size - from > 2) memcpy(packed, "\x78\x9c", 2);
    if (!tuner_inflate(&tool, place, &out, packed, size - from) && (out < 0 || out > room)) exit(4);
    tuner_inflate_close(&tool);
    free(packed);
    free(place);
}

int main(int count, char **words)
{
    for (int i = 3; i < count; i++) {
        static uint8_t bytes[1 << 22], copy[1 << 22];
        int handle = open(words[i], O_RDONLY), memory = memfd_create("changed", 0);
        int64_t size = pread(handle, bytes, sizeof bytes, 0);
        if (handle < 0 || memory < 0 || size <= 0) return 2;
        state = 0;
        printf("%d\n", read_file(handle, size));
        state = strtoull(words[1], NULL, 10) * 2 + 1;
        for (long left = atol(words[2]); left > 0; left--) {
            memcpy(copy, bytes, (size_t)size);
            int64_t changed = change(copy, size);
            if (ftruncate(memory, 0) || pwrite(memory, copy, (size_t)changed, 0) != changed) return 2;
            read_file(memory, changed);
            inflate_some(copy, changed);
        }
        close(handle);
        close(memory);
    }
    return 0;
}
