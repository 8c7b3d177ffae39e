/* Sums of a bigWig track over bins. */
#ifndef TUNER_BINS_H
#define TUNER_BINS_H

#include <stdint.h>
#include <string.h>

enum { BINS_OK = 0, BINS_UNUSUAL = 1 };
enum { BINS_HEAD_BYTES = 24 };

/* Where a track is between two blocks. Positions count from the region's start. */
typedef struct {
    int64_t start, end, width; /* the region on the chromosome, bases a bin */
    int64_t last;              /* where the last record ended */
    int64_t chrom;
    double *sums, *covered;    /* per bin: sum of the values, bases that have one */
} bins_track;

static inline uint32_t bins_word(const uint8_t *at, int swap)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return swap ? __builtin_bswap32(word) : word;
}

/* Add the records of one decompressed block. `first` and `last` are the bounds that the index gives
 * it, as chromosome id << 32 | base. Returns BINS_OK or BINS_UNUSUAL. */
int tuner_bin_block(const uint8_t *block, int64_t size, int swap, uint64_t first, uint64_t last,
                    bins_track *track);

#endif
