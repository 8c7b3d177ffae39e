/* Sums of a bigWig track over bins, straight from its decompressed blocks (Kent et al. 2010,
 * doi:10.1093/bioinformatics/btq351): no record is ever stored.
 *
 * Records have to come in order. Anything unusual (overlaps, infinite values, a block that
 * contradicts itself or the index) gives a status other than 0: the caller then reads the track
 * the careful way, which mends it or says what is wrong.
 */
#include <math.h>
#include <string.h>

#include "bins.h"

/* Add a record over [from, to), bin by bin b: sums[b] += value * |record in b|, and
 * covered[b] += |record in b|. */
static inline void bins_add(bins_track *track, int64_t from, int64_t to, double value)
{
    int64_t width = track->width, bin = from / width, edge = (bin + 1) * width;
    while (to > edge) {
        track->sums[bin] += value * (double)(edge - from);
        track->covered[bin] += (double)(edge - from);
        from = edge;
        edge += width;
        bin++;
    }
    track->sums[bin] += value * (double)(to - from);
    track->covered[bin] += (double)(to - from);
}

int tuner_bin_block(const uint8_t *block, int64_t size, int swap, uint64_t first, uint64_t last,
                    bins_track *track)
{
    static const int record_bytes[4] = {0, 12, 8, 4};
    if (size < BINS_HEAD_BYTES) return BINS_UNUSUAL;
    uint64_t chrom = bins_word(block, swap);
    int64_t place = bins_word(block + 4, swap);
    int64_t step = bins_word(block + 12, swap), span = bins_word(block + 16, swap);
    int type = block[20];
    int64_t count = swap ? block[22] << 8 | block[23] : block[23] << 8 | block[22];
    if (type < 1 || type > 3) return BINS_UNUSUAL;
    if (BINS_HEAD_BYTES + count * record_bytes[type] > size) return BINS_UNUSUAL;
    const uint8_t *at = block + BINS_HEAD_BYTES;
    for (int64_t i = 0; i < count; i++, at += record_bytes[type]) {
        int64_t from = place + i * step, to;
        if (type != 3) from = bins_word(at, swap);
        to = type == 1 ? (int64_t)bins_word(at + 4, swap) : from + span;
        if (from == to) continue; /* a record without length */
        if ((chrom << 32) + (uint64_t)from < first || (chrom << 32) + (uint64_t)to > last)
            return BINS_UNUSUAL;
        if ((int64_t)chrom != track->chrom || from >= track->end || to <= track->start) continue;
        if (from >= to || from < track->last) return BINS_UNUSUAL;
        track->last = to;
        uint32_t bits = bins_word(at + record_bytes[type] - 4, swap);
        float value;
        memcpy(&value, &bits, sizeof value);
        if (isnan(value)) continue;
        if (isinf(value)) return BINS_UNUSUAL;
        from = from < track->start ? track->start : from;
        to = to > track->end ? track->end : to;
        bins_add(track, from - track->start, to - track->start, value);
    }
    return BINS_OK;
}
