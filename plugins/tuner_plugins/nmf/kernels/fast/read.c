/* A bigWig file to averages over bins, without NumPy: one format, one file
 * (Kent et al. 2010, doi:10.1093/bioinformatics/btq351).
 *
 * A script of a tenth of a second cannot afford an interpreter's array library. Nothing is mended
 * or explained here: whatever is unusual gives QUICK_UNUSUAL, and the caller starts again with the
 * careful reader, which holds the same things against each other and says what is wrong.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bins.h"
#include "fast.h"
#include "inflate.h"

#define QUICK_LARGEST_BLOCK (BINS_HEAD_BYTES + 12 * 0xFFFF) /* a section counts in 16 bits */
#define QUICK_LARGEST_PACKED (QUICK_LARGEST_BLOCK + (QUICK_LARGEST_BLOCK >> 6))
#define QUICK_STRETCH (1 << 20)
#define QUICK_KEY_BYTES 256
#define QUICK_CHROMOSOMES 65536

/* A file, and the bytes of it that were asked for last. */
typedef struct {
    int handle, swap;
    int64_t size, capacity;
    uint8_t *bytes;
} quick_file;

/* Where blocks are decompressed. */
typedef struct {
    inflate_tool inflate;
    uint8_t block[QUICK_LARGEST_BLOCK];
} quick_room;

/* Bounds of an index item (chromosome id << 32 | base) and where it leads. */
typedef struct {
    uint64_t first, last, offset, size;
} quick_item;

static const uint8_t *quick_read(quick_file *file, uint64_t offset, uint64_t size)
{
    if (offset > (uint64_t)file->size || size > (uint64_t)file->size - offset) return NULL;
    if ((int64_t)size > file->capacity) {
        free(file->bytes);
        file->capacity = 2 * (int64_t)size;
        file->bytes = malloc((size_t)file->capacity);
        if (!file->bytes) file->capacity = 0;
    }
    for (uint64_t done = 0; file->bytes && done < size;) {
        ssize_t got = pread(file->handle, file->bytes + done, size - done, (off_t)(offset + done));
        if (got <= 0) return NULL;
        done += (uint64_t)got;
    }
    return file->bytes;
}

static uint64_t quick_long(const uint8_t *at, int swap)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return swap ? __builtin_bswap64(word) : word;
}

static uint32_t quick_short(const uint8_t *at, int swap)
{
    return swap ? (uint32_t)(at[0] << 8 | at[1]) : (uint32_t)(at[1] << 8 | at[0]);
}

/* A list that grows. Gives NULL where there is no memory; `list` is freed then. */
static void *quick_push(void *list, int64_t count, size_t size)
{
    if (count & (count - 1)) return list; /* room doubles at powers of two */
    void *longer = realloc(list, (size_t)(count ? 2 * count : 1) * size);
    if (!longer) free(list);
    return longer;
}

/* FNV-1a of a name: two that are equal in it are taken for the same name. */
static uint64_t quick_hash(const uint8_t *name, uint64_t size)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (uint64_t i = 0; i < size; i++) hash = (hash ^ name[i]) * 0x100000001b3u;
    return hash;
}

static int quick_order(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Find a chromosome among the leaves of the chromosome tree; the list must be sound. */
static int quick_find_chromosome(quick_file *file, uint64_t root, const char *name, int64_t *id,
                                 int64_t *length)
{
    const uint8_t *head = quick_read(file, root, 32);
    if (!head || bins_word(head, file->swap) != 0x78CA8C91) return QUICK_UNUSUAL;
    uint64_t key = bins_word(head + 8, file->swap), count = quick_long(head + 16, file->swap);
    if (key < 1 || key > QUICK_KEY_BYTES || count > QUICK_CHROMOSOMES) return QUICK_UNUSUAL;
    int fits = strlen(name) <= key; /* keys are as long as the longest name */
    char wanted[QUICK_KEY_BYTES] = {0};
    if (fits) memcpy(wanted, name, strlen(name));
    uint64_t *names = calloc(count + 1, sizeof *names); /* by chromosome id: 0, or its hash */
    uint64_t *waiting = quick_push(NULL, 0, sizeof *waiting);
    if (!names || !waiting) goto unusual;
    int64_t depth = 1;
    uint64_t found = 0, spent = 0;
    *id = -1;
    waiting[0] = root + 32;
    while (depth > 0) {
        uint64_t at = waiting[--depth];
        const uint8_t *node = quick_read(file, at, 4);
        if (!node || node[0] > 1) goto unusual;
        int leaf = node[0];
        uint64_t items = quick_short(node + 2, file->swap);
        spent += 4 + items * (key + 8);
        if (spent > (uint64_t)file->size || !(node = quick_read(file, at + 4, items * (key + 8))))
            goto unusual;
        for (uint64_t i = 0; i < items; i++) {
            const uint8_t *item = node + (leaf ? i : items - 1 - i) * (key + 8);
            if (!leaf) {
                waiting = quick_push(waiting, depth, sizeof *waiting);
                if (!waiting) goto unusual;
                waiting[depth++] = quick_long(item + key, file->swap);
                continue;
            }
            uint32_t number = bins_word(item + key, file->swap);
            uint32_t bases = bins_word(item + key + 4, file->swap);
            if (number >= count || names[number]) goto unusual;
            names[number] = quick_hash(item, key);
            found++;
            if (!fits || memcmp(item, wanted, key)) continue;
            *id = number;
            *length = bases;
        }
    }
    if (found != count) goto unusual;
    qsort(names, count, sizeof *names, quick_order);
    for (uint64_t i = 1; i < count; i++)
        if (names[i] == names[i - 1]) goto unusual;
    free(names);
    free(waiting);
    return *id < 0 ? QUICK_ABSENT : QUICK_OK;
unusual:
    free(names);
    free(waiting);
    return QUICK_UNUSUAL;
}

static quick_item quick_index_item(const uint8_t *at, int swap, int leaf)
{
    quick_item item = {0, 0, quick_long(at + 16, swap), leaf ? quick_long(at + 24, swap) : 0};
    item.first = (uint64_t)bins_word(at, swap) << 32 | bins_word(at + 4, swap);
    item.last = (uint64_t)bins_word(at + 8, swap) << 32 | bins_word(at + 12, swap);
    return item;
}

/* List the blocks that touch [low, high), in order; an index that contradicts itself could hide
 * some. */
static int quick_find_blocks(quick_file *file, uint64_t root, uint64_t low, uint64_t high,
                             quick_item **blocks, int64_t *count)
{
    quick_item *waiting = quick_push(NULL, 0, sizeof *waiting), *list = NULL;
    int64_t depth = 1, listed = 0;
    uint64_t spent = 0, packed = 0;
    if (!waiting) return QUICK_UNUSUAL;
    waiting[0] = (quick_item){0, UINT64_MAX, root, 0};
    while (depth > 0) {
        quick_item parent = waiting[--depth];
        const uint8_t *node = quick_read(file, parent.offset, 4);
        if (!node || node[0] > 1) goto unusual;
        int leaf = node[0];
        uint64_t items = quick_short(node + 2, file->swap), bytes = leaf ? 32 : 24;
        spent += 4 + items * bytes;
        if (spent > (uint64_t)file->size || !(node = quick_read(file, parent.offset + 4, items * bytes)))
            goto unusual;
        uint64_t before = parent.first;
        for (uint64_t i = 0; i < items; i++) {
            quick_item item = quick_index_item(node + i * bytes, file->swap, leaf);
            if (item.first > item.last || item.first < before || item.last > parent.last) goto unusual;
            before = item.first;
        }
        for (uint64_t i = 0; i < items; i++) {
            uint64_t place = leaf ? i : items - 1 - i;
            quick_item item = quick_index_item(node + place * bytes, file->swap, leaf);
            if (item.first >= high || item.last <= low) continue;
            if (!leaf) {
                waiting = quick_push(waiting, depth, sizeof *waiting);
                if (!waiting) goto unusual;
                waiting[depth++] = item;
                continue;
            }
            packed += item.size;
            if (item.size > QUICK_LARGEST_PACKED || packed > (uint64_t)file->size) goto unusual;
            list = quick_push(list, listed, sizeof *list);
            if (!list) goto unusual;
            list[listed++] = item;
        }
    }
    free(waiting);
    *blocks = list;
    *count = listed;
    return QUICK_OK;
unusual:
    free(waiting);
    free(list);
    return QUICK_UNUSUAL;
}

/* Add up the records of the blocks; those that lie side by side in the file are read at once. */
static int quick_add_blocks(quick_file *file, const quick_item *blocks, int64_t count, int packed,
                            quick_room *room, bins_track *tracks, int64_t levels)
{
    for (int64_t i = 0; i < count;) {
        uint64_t begin = blocks[i].offset, end = begin + blocks[i].size;
        int64_t next = i + 1;
        while (next < count && blocks[next].offset == end && end - begin < QUICK_STRETCH)
            end += blocks[next++].size;
        const uint8_t *stretch = quick_read(file, begin, end - begin);
        if (!stretch) return QUICK_UNUSUAL;
        for (; i < next; i++) {
            const uint8_t *block = stretch + (blocks[i].offset - begin);
            int64_t size = (int64_t)blocks[i].size;
            if (packed) {
                size = QUICK_LARGEST_BLOCK;
                if (tuner_inflate(&room->inflate, room->block, &size, block, (int64_t)blocks[i].size))
                    return QUICK_UNUSUAL;
                block = room->block;
            }
            for (int64_t level = 0; level < levels; level++)
                if (tuner_bin_block(block, size, file->swap, blocks[i].first,
                                    blocks[i].last, tracks + level))
                    return QUICK_UNUSUAL;
        }
    }
    return QUICK_OK;
}

/* Sums over bins to averages over bins: (sum + (length - covered) * fill) / length. */
static void quick_average(bins_track *track, int fill_mean)
{
    int64_t size = track->end - track->start, bins = (size + track->width - 1) / track->width;
    double total = 0, bases = 0, fill = 0;
    for (int64_t i = 0; i < bins; i++) {
        total += track->sums[i];
        bases += track->covered[i];
    }
    if (fill_mean && bases > 0) fill = total / bases;
    for (int64_t i = 0; i < bins; i++) {
        double length = (double)(i < bins - 1 ? track->width : size - (bins - 1) * track->width);
        track->sums[i] = (track->sums[i] + (length - track->covered[i]) * fill) / length;
    }
}

static int quick_bin(quick_file *file, const quick_request *want, bins_track *tracks,
                     quick_room *room)
{
    const uint8_t *head = quick_read(file, 0, 64);
    if (!head) return QUICK_UNUSUAL;
    file->swap = bins_word(head, 0) != 0x888FFC26;
    if (bins_word(head, file->swap) != 0x888FFC26) return QUICK_UNUSUAL;
    uint32_t version = quick_short(head + 4, file->swap);
    uint64_t names = quick_long(head + 8, file->swap), index = quick_long(head + 24, file->swap);
    int packed = bins_word(head + 52, file->swap) != 0;
    int64_t id = -1, length = 0, count = 0;
    if (version < 1 || version > 4) return QUICK_UNUSUAL;
    int status = quick_find_chromosome(file, names, want->chrom, &id, &length);
    if (status) return status;
    if (want->start < 0 || want->start >= want->end || want->end > length) return QUICK_UNUSUAL;
    if (!index) return QUICK_OK; /* no data: all are 0 */
    const uint8_t *top = quick_read(file, index, 48);
    if (!top || bins_word(top, file->swap) != 0x2468ACE0) return QUICK_UNUSUAL;
    uint64_t chrom = (uint64_t)id << 32;
    quick_item *blocks = NULL;
    if (packed && tuner_inflate_open(&room->inflate)) return QUICK_UNUSUAL;
    if (quick_find_blocks(file, index + 48, chrom | (uint64_t)want->start,
                          chrom | (uint64_t)want->end, &blocks, &count))
        return QUICK_UNUSUAL;
    for (int64_t level = 0; level < want->levels; level++) tracks[level].chrom = id;
    status = quick_add_blocks(file, blocks, count, packed, room, tracks, want->levels);
    free(blocks);
    return status;
}

int tuner_quick_read(int handle, int64_t size, const quick_request *want, double *covered)
{
    enum { LEVELS = 2 };
    bins_track tracks[LEVELS];
    quick_file file = {.handle = handle, .size = size};
    quick_room *room = malloc(sizeof *room);
    if (room) room->inflate = (inflate_tool){0};
    int status = QUICK_UNUSUAL;
    if (room && want->levels <= LEVELS) {
        for (int64_t level = 0; level < want->levels; level++) {
            int64_t width = want->widths[level];
            tracks[level] = (bins_track){want->start, want->end, width, 0, 0, want->means[level], covered};
            covered += (want->end - want->start + width - 1) / width;
        }
        status = quick_bin(&file, want, tracks, room);
        for (int64_t level = 0; !status && level < want->levels; level++)
            quick_average(tracks + level, want->fill_mean);
    }
    if (room) tuner_inflate_close(&room->inflate);
    free(room);
    free(file.bytes);
    return status;
}
