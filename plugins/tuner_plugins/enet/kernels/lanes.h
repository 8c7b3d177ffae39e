/* LANES genes at once, one in each lane of a register, and the formulas of penalty.py for them.
 * A row of lanes is one register wide on every processor, so that products keep twelve sums in
 * registers: enough to hide the time that a fused multiply-add takes. */
#ifndef TUNER_ENET_LANES_H
#define TUNER_ENET_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 8
#elif defined(__AVX__)
#define LANES 4
#else
#define LANES 2
#endif
#ifdef __AVX__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define MOST_HELD 12

/* Aligned as NumPy's numbers are. */
typedef double lanes __attribute__((vector_size(8 * LANES), aligned(8), may_alias));
typedef int64_t mask __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

INLINE lanes spread(double value)
{
    return value - (lanes){0};
}

/* Return one bit for each lane in which the condition holds. */
INLINE unsigned bits(mask condition)
{
#if defined(__AVX512DQ__)
    return _mm512_movepi64_mask((__m512i)condition);
#elif defined(__AVX__) && LANES == 4
    return (unsigned)_mm256_movemask_pd((__m256d)condition);
#else
    unsigned found = 0;
    for (int lane = 0; lane < LANES; lane++) found |= (unsigned)(condition[lane] & 1) << lane;
    return found;
#endif
}

INLINE int some(mask condition)
{
    return bits(condition) != 0;
}

INLINE int every(mask condition)
{
    return bits(condition) == (1u << LANES) - 1;
}

/* Return the value where the condition holds, 0 elsewhere. */
INLINE lanes keep(mask condition, lanes value)
{
    return (lanes)(condition & (mask)value);
}

INLINE lanes choose(mask condition, lanes yes, lanes no)
{
    return (lanes)((condition & (mask)yes) | (~condition & (mask)no));
}

INLINE lanes absolute(lanes value)
{
    return (lanes)((mask)value & INT64_MAX);
}

/* Return a value >= 0 with the sign of another. */
INLINE lanes signed_as(lanes value, lanes sign)
{
    return (lanes)((mask)value | ((mask)sign & INT64_MIN));
}

/* The proximal operator of l1 |w|: sign(value) max(|value| - l1, 0). */
INLINE lanes soft_threshold(lanes value, lanes l1)
{
    return keep(absolute(value) > l1, value - signed_as(l1, value));
}

/* The distance of zero from the subdifferential at coef: |slope + l1 sign(w)|, or, where the
 * coefficient is zero, max(|slope| - l1, 0). */
INLINE lanes violation(lanes slope, lanes coef, lanes l1)
{
    lanes outward = absolute(slope + signed_as(l1, coef)), inward = absolute(slope) - l1;
    inward = choose(inward < 0, (lanes){0}, inward);
    return choose(coef == 0, inward, outward);
}

/* Return numbers in the first `used` lanes, zero in the others. */
INLINE lanes load_some(const double *from, int64_t used)
{
    lanes value = {0};
    if (used == LANES) return *(const lanes *)from;
    memcpy(&value, from, (size_t)used * sizeof *from);
    return value;
}

INLINE void store_some(double *to, lanes value, int64_t used)
{
    if (used == LANES) *(lanes *)to = value;
    else memcpy(to, &value, (size_t)used * sizeof *to);
}

/* Return how many of the sums that are left are held in registers next: no small rest is left. */
INLINE int64_t next_held(int64_t left)
{
    return left > 2 * MOST_HELD ? MOST_HELD : left > MOST_HELD ? (left + 1) / 2 : left;
}

/* For blocks of `width` sums a call with `first`, and `held`, which is a constant there. */
#define HELD(size, call) case size: { enum { held = size }; call; break; }
#define FOR_BLOCKS(width, call) \
    for (int64_t first = 0, held_; first < (width); first += held_) { \
        switch (held_ = next_held((width) - first)) { \
        HELD(1, call) HELD(2, call) HELD(3, call) HELD(4, call) HELD(5, call) HELD(6, call) \
        HELD(7, call) HELD(8, call) HELD(9, call) HELD(10, call) HELD(11, call) HELD(12, call) \
        } \
    }

INLINE void product_block(const int held, lanes *out, const double *factors, int64_t width,
                          const lanes *in, const int64_t *rows, int64_t count)
{
    lanes sums[MOST_HELD];
#pragma GCC unroll 12
    for (int t = 0; t < held; t++) sums[t] = out[t];
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = rows ? rows[i] : i;
        const double *factor = factors + row * width;
        const lanes value = in[row];
#pragma GCC unroll 12
        for (int t = 0; t < held; t++) sums[t] += factor[t] * value;
    }
#pragma GCC unroll 12
    for (int t = 0; t < held; t++) out[t] = sums[t];
}

/* out[t] += sum over `count` rows of factors[row][t] in[row], for t < width: of the rows that are
 * listed, or the first ones. */
static inline void add_product(lanes *out, const double *factors, int64_t width, const lanes *in,
                               const int64_t *rows, int64_t count)
{
    if (rows) {
        FOR_BLOCKS(width, product_block(held, out + first, factors + first, width, in, rows, count))
    } else {
        FOR_BLOCKS(width, product_block(held, out + first, factors + first, width, in, NULL, count))
    }
}

#endif
