/* Eight positions at a time: slopes from the knot to the tube over all of them, by prefix sums.
 * The slope to the ceiling at position i is (sum_{j<=i} w_j y_j + up) / sum_{j<=i} w_j, that to the
 * floor the same with `down`; the string bends where the least of the one is below the largest of
 * the other. */
#ifndef TUNER_PROX_VECTORS_H
#define TUNER_PROX_VECTORS_H

#include "taut_string.h"

#ifdef PROX_WIDE
/* Sum w*y and w from the knot up to each of eight positions; add the eight to *sum and *weight. */
PROX_INLINE void prox_prefix(const prox_problem *p, int64_t at, double *sum, double *weight,
                             __m512d *sums, __m512d *weights)
{
    const __m512d ramp = _mm512_set_pd(8, 7, 6, 5, 4, 3, 2, 1);
    __m512d part = _mm512_loadu_pd(p->y + at), heavy = ramp;
    if (p->w) {
        heavy = _mm512_loadu_pd(p->w + at);
        part = _mm512_mul_pd(part, heavy);
        heavy = prox_running_sums(heavy);
    }
    part = prox_running_sums(part);
    *sums = _mm512_add_pd(_mm512_set1_pd(*sum), part);
    *weights = _mm512_add_pd(_mm512_set1_pd(*weight), heavy);
    *sum += prox_last_lane(part);
    *weight += prox_last_lane(heavy);
}

/* Return the position after the last of eight whose slope is the best one. */
PROX_INLINE int64_t prox_last_at(__m512d slopes, double best, int64_t at)
{
    __mmask8 equal = _mm512_cmpeq_pd_mask(slopes, _mm512_set1_pd(best));
    return at + 32 - __builtin_clz((unsigned)equal);
}

/* Return 1 where runs of equal y are taken faster. */
PROX_INLINE int prox_rests(const prox_problem *p, int64_t at)
{
    return p->y[at] == p->y[at + 1];
}

/* Return the least or largest value so far, lane by lane, from `start` on. */
PROX_INLINE __m512d prox_so_far(__m512d v, double start, double sign)
{
    const __m512d fill = _mm512_set1_pd(start);
#define PROX_STEP(k) \
    v = sign > 0 ? _mm512_max_pd(v, PROX_PAST(v, fill, k)) : _mm512_min_pd(v, PROX_PAST(v, fill, k));
    PROX_STEP(1)
    PROX_STEP(2)
    PROX_STEP(4)
#undef PROX_STEP
    return v;
}

/* Take eight positions more into account, or as many as there are up to the one that reveals a
 * knot. Returns the side of the knot; PROX_MIDDLE where none was revealed. */
PROX_INLINE int prox_forward(const prox_problem *p, prox_reach *reach, prox_hull *ceiling,
                             prox_hull *floor, double up, double down)
{
    double sum = reach->sum, weight = reach->weight;
    __m512d sums, weights;
    prox_prefix(p, reach->to, &sum, &weight, &sums, &weights);
    __m512d inverse = _mm512_div_pd(_mm512_set1_pd(1.0), weights);
    __m512d to_ceiling = _mm512_mul_pd(_mm512_add_pd(sums, _mm512_set1_pd(up)), inverse);
    __m512d to_floor = _mm512_mul_pd(_mm512_add_pd(sums, _mm512_set1_pd(down)), inverse);
    double low = _mm512_reduce_min_pd(to_ceiling), high = _mm512_reduce_max_pd(to_floor);
    int64_t count = PROX_BLOCK;
    int side = PROX_MIDDLE;
    if (high > ceiling->slope || low < floor->slope || high > low) {
        __m512d least = prox_so_far(to_ceiling, ceiling->slope, -1.0);
        __m512d most = prox_so_far(to_floor, floor->slope, 1.0);
        unsigned on_floor = _mm512_cmp_pd_mask(to_ceiling, most, _CMP_LT_OQ)
                            | _mm512_cmplt_pd_mask(to_ceiling, _mm512_set1_pd(floor->slope));
        unsigned on_ceiling = _mm512_cmp_pd_mask(to_floor, least, _CMP_GT_OQ)
                              | _mm512_cmp_pd_mask(to_floor, _mm512_set1_pd(ceiling->slope),
                                                   _CMP_GT_OQ);
        count = __builtin_ctz(on_floor | on_ceiling);
        side = on_floor >> count & 1 ? PROX_FLOOR : PROX_CEILING;
        const __m512i at = _mm512_set1_epi64(count);
        sum = _mm512_cvtsd_f64(_mm512_permutexvar_pd(at, sums));
        weight = _mm512_cvtsd_f64(_mm512_permutexvar_pd(at, weights));
        __mmask8 before = (__mmask8)((1u << count) - 1);
        to_ceiling = _mm512_mask_mov_pd(_mm512_set1_pd(INFINITY), before, to_ceiling);
        to_floor = _mm512_mask_mov_pd(_mm512_set1_pd(-INFINITY), before, to_floor);
        low = _mm512_reduce_min_pd(to_ceiling);
        high = _mm512_reduce_max_pd(to_floor);
        count++;
    }
    if (count > 1 || side == PROX_MIDDLE) {
        int lower = low <= ceiling->slope, higher = high >= floor->slope;
        ceiling->slope = lower ? low : ceiling->slope;
        ceiling->end = lower ? prox_last_at(to_ceiling, low, reach->to) : ceiling->end;
        ceiling->back = lower ? ceiling->front : ceiling->back;
        floor->slope = higher ? high : floor->slope;
        floor->end = higher ? prox_last_at(to_floor, high, reach->to) : floor->end;
        floor->back = higher ? floor->front : floor->back;
    }
    reach->sum = sum;
    reach->weight = weight;
    reach->to += count;
    return side;
}

/* Return the least of eight slopes, up to a sign, from a knot to its own side of the tube. */
PROX_INLINE double prox_least(const prox_problem *p, int64_t at, double *sum, double *weight,
                              double sign, int64_t *end)
{
    __m512d sums, weights;
    prox_prefix(p, at, sum, weight, &sums, &weights);
    __m512d slopes = _mm512_div_pd(_mm512_mul_pd(_mm512_set1_pd(sign), sums), weights);
    double least = _mm512_reduce_min_pd(slopes);
    *end = prox_last_at(slopes, least, at);
    return least;
}
#endif

/* Go on, up to position `end` at most, while positions stay above the slope `ceiling` and below `floor`,
 * as nearly all do in a wide tube: then there is nothing to divide and nothing to keep. Sums begin
 * anew: those from the knot would lose digits at every step. The last position is for others. */
PROX_INLINE void prox_glide(const prox_problem *p, prox_reach *reach, double ceiling, double floor,
                            double up, double down, int64_t end)
{
    const double above = reach->sum + up - ceiling * reach->weight;
    const double below = reach->sum + down - floor * reach->weight;
    const int64_t stop = end < p->n ? end : p->n - 1;
    double sum = 0, weight = 0, next_sum = 0, next_weight = 0;
    int64_t i = reach->to;
#ifdef PROX_WIDE
    const __m512d steep = _mm512_set1_pd(ceiling), flat = _mm512_set1_pd(floor);
    const __m512d up_here = _mm512_set1_pd(above), down_here = _mm512_set1_pd(below);
    for (; i + PROX_BLOCK <= stop; i += PROX_BLOCK, sum = next_sum, weight = next_weight) {
        __m512d sums, weights;
        prox_prefix(p, i, &next_sum, &next_weight, &sums, &weights);
        __m512d high = _mm512_add_pd(sums, up_here), low = _mm512_add_pd(sums, down_here);
        if (_mm512_cmp_pd_mask(high, _mm512_mul_pd(steep, weights), _CMP_LE_OQ)
            | _mm512_cmp_pd_mask(low, _mm512_mul_pd(flat, weights), _CMP_GE_OQ))
            break;
    }
#else
    for (; i < stop; i++, sum = next_sum, weight = next_weight) {
        double heavy = p->w ? p->w[i] : 1.0;
        next_sum += heavy * p->y[i];
        next_weight += heavy;
        if ((next_sum + above <= ceiling * next_weight) | (next_sum + below >= floor * next_weight))
            break;
    }
#endif
    reach->to = i;
    reach->sum += sum;
    reach->weight += weight;
}

#endif
