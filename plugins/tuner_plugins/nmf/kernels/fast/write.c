/* Loadings per base, to a file: row i of the file is the loadings of the bin that i lies in.
 *
 * Copying into the system's cache is the longest part of a run. It goes fastest from what the
 * processor still holds, and where each call fills whole pages that lie at even places of the file:
 * a few rows of each bin are laid out, and given to the system again and again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fast.h"

#ifdef __linux__
int fallocate(int, int, off_t, off_t); /* fcntl.h declares it under _GNU_SOURCE only */
#endif

enum { WRITE_ROOM = 1 << 20, WRITE_PATTERN = 1 << 14, WRITE_PIECES = 512 };

/* What the next call writes: pieces of `room`, of which `used` bytes are laid out. */
typedef struct {
    int handle, pieces;
    int64_t used, space; /* space: bytes until the call is due */
    struct iovec list[WRITE_PIECES];
    uint8_t room[WRITE_ROOM + 2 * WRITE_PATTERN];
} write_queue;

/* Write what is queued. */
static int write_send(write_queue *queue)
{
    struct iovec *next = queue->list;
    while (queue->pieces) {
        ssize_t sent = writev(queue->handle, next, queue->pieces);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return QUICK_UNUSUAL;
        for (; queue->pieces && (size_t)sent >= next->iov_len; queue->pieces--) sent -= (ssize_t)next++->iov_len;
        if (!queue->pieces) break;
        next->iov_base = (uint8_t *)next->iov_base + sent;
        next->iov_len -= (size_t)sent;
    }
    queue->used = 0;
    return QUICK_OK;
}

/* Queue equal rows: some of them are laid out, and listed as often as it takes. */
static int write_rows(write_queue *queue, const uint8_t *row, int64_t row_bytes, int64_t rows)
{
    int64_t most = WRITE_PATTERN / row_bytes, held = rows < most ? rows : most;
    int64_t length = held * row_bytes, left = rows * row_bytes, phase = 0;
    uint8_t *pattern = queue->room + queue->used;
    memcpy(pattern, row, (size_t)row_bytes);
    for (int64_t done = 1; done < held; done *= 2) /* each copy doubles what there is */
        memcpy(pattern + done * row_bytes, pattern,
               (size_t)((2 * done < held ? done : held - done) * row_bytes));
    queue->used += length;
    while (left) {
        int64_t size = length - phase < left ? length - phase : left;
        if (size > queue->space) size = queue->space;
        struct iovec *last = queue->list + queue->pieces - 1;
        if (queue->pieces && (uint8_t *)last->iov_base + last->iov_len == pattern + phase)
            last->iov_len += (size_t)size;
        else
            queue->list[queue->pieces++] = (struct iovec){pattern + phase, (size_t)size};
        left -= size;
        queue->space -= size;
        phase = phase + size == length ? 0 : (phase + size) % row_bytes;
        if (queue->space && queue->pieces < WRITE_PIECES) continue;
        if (write_send(queue)) return QUICK_UNUSUAL;
        if (!queue->space) queue->space = WRITE_ROOM;
        memmove(queue->room, pattern, (size_t)length);
        pattern = queue->room;
        queue->used = length;
    }
    return QUICK_OK;
}

int tuner_quick_write(int handle, const double *loadings, int64_t k, int64_t bins, int64_t width,
                      int64_t size, int single)
{
    const int64_t row_bytes = k * (single ? 4 : 8), begin = lseek(handle, 0, SEEK_CUR);
    uint8_t row[QUICK_ROWS * 8];
    write_queue *queue = malloc(sizeof *queue);
    int status = queue && begin >= 0 ? QUICK_OK : QUICK_UNUSUAL;
#ifdef __linux__ /* where the file system can, one reservation is faster than one a write */
    if (!status && fallocate(handle, 0, begin, size * row_bytes) && errno == ENOSPC)
        status = QUICK_UNUSUAL;
#endif
    if (!status) {
        queue->handle = handle;
        queue->pieces = 0;
        queue->used = 0;
        queue->space = WRITE_ROOM - begin % WRITE_ROOM;
    }
    for (int64_t bin = 0; !status && bin < bins; bin++) {
        for (int64_t c = 0; c < k; c++) {
            double value = loadings[c * bins + bin];
            float narrow = (float)value;
            if (single)
                memcpy(row + 4 * c, &narrow, 4);
            else
                memcpy(row + 8 * c, &value, 8);
        }
        status = write_rows(queue, row, row_bytes, bin < bins - 1 ? width : size - width * bin);
    }
    if (!status) status = write_send(queue);
    free(queue);
    return status;
}
