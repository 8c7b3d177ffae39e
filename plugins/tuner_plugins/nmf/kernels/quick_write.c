/* The hot path, 3: loadings per base, to a file.
 */
#ifdef __linux__
int fallocate(int, int, off_t, off_t); /* fcntl.h has it for GNU's eyes only */
#endif

/* Write loadings (k rows of bins) per base, (size, k) values, to a file. */
int tuner_quick_write(int handle, const double *loadings, int64_t k, int64_t bins, int64_t width,
                      int64_t size, int single)
{
    enum { ROOM = 1 << 20 };
    const int64_t row_bytes = k * (single ? 4 : 8), most = ROOM / row_bytes;
    uint8_t *room = malloc(ROOM), row[QUICK_ROWS * 8];
    int64_t held = 0;
    int status = room ? QUICK_OK : QUICK_UNUSUAL;
#ifdef __linux__ /* where the file system can, one reservation is faster than one a write */
    if (fallocate(handle, 0, lseek(handle, 0, SEEK_CUR), size * row_bytes) && errno == ENOSPC)
        status = QUICK_UNUSUAL;
#endif
    for (int64_t bin = 0, position = 0; !status && bin < bins; bin++) {
        int64_t end = bin < bins - 1 ? position + width : size;
        for (int64_t c = 0; c < k; c++) {
            double value = loadings[c * bins + bin];
            float narrow = (float)value;
            if (single)
                memcpy(row + 4 * c, &narrow, 4);
            else
                memcpy(row + 8 * c, &value, 8);
        }
        while (!status && position < end) {
            int64_t rows = end - position < most - held ? end - position : most - held;
            uint8_t *to = room + held * row_bytes;
            memcpy(to, row, (size_t)row_bytes);
            for (int64_t done = 1; done < rows; done *= 2) /* each copy doubles what there is */
                memcpy(to + done * row_bytes, to,
                       (size_t)((2 * done < rows ? done : rows - done) * row_bytes));
            held += rows;
            position += rows;
            if (held < most && position < size) continue;
            for (int64_t sent = 0; !status && sent < held * row_bytes;) {
                ssize_t got = write(handle, room + sent, (size_t)(held * row_bytes - sent));
                if (got < 0 && errno != EINTR) status = QUICK_UNUSUAL;
                sent += got > 0 ? got : 0;
            }
            held = 0;
        }
    }
    free(room);
    return status;
}
