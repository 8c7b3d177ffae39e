/* The queue of a hull's segments: positions are put on it, and merged with those before them where
 * slopes would not rise along the minorant, or fall along the majorant (pool adjacent violators). */
#ifndef TUNER_PROX_HULL_H
#define TUNER_PROX_HULL_H

#include <stdlib.h>
#include <string.h>

#include "taut_string.h"

/* Make room for a block of segments more: slide down what is left, or double. The queue is NULL
 * where there is no memory. By value: a hull whose address is taken would leave the registers. */
static __attribute__((noinline)) prox_hull prox_grow(prox_hull hull)
{
    size_t used = (size_t)(hull.back - hull.front);
    prox_segment *queue = hull.queue;
    memmove(queue, queue + hull.front, used * sizeof *queue);
    if (2 * (int64_t)used > hull.capacity) {
        hull.capacity *= 2;
        hull.queue = realloc(queue, (size_t)hull.capacity * sizeof *queue);
        if (!hull.queue) free(queue);
    }
    hull.front = 0;
    hull.back = (int64_t)used;
    return hull;
}

/* Put one segment at the end of a queue, merged with those before it while slopes do not rise
 * (sign = 1, minorant) or fall (-1, majorant). Slopes are compared by products: no division. Returns
 * the queue's new end. */
PROX_INLINE prox_segment *prox_push(prox_segment *bottom, prox_segment *top, prox_segment next,
                                    double sign)
{
    while (top > bottom && sign * (top[-1].sum * next.weight - next.sum * top[-1].weight) >= 0) {
        top--;
        next.sum += top->sum;
        next.weight += top->weight;
    }
    *top = next;
    return top + 1;
}

/* Put the positions from hull->settled to `to` on its queue, one by one. What goes the wrong way is
 * merged first, then merged into the queue: on a smooth signal the loops are then long, and their
 * ends predictable. */
PROX_INLINE int prox_settle(const prox_problem *p, prox_hull *hull, int64_t to, double sign)
{
    int64_t i = hull->settled;
    while (i < to) {
        double sum, weight, level = p->y[i];
        i = prox_run(p, i, to, &sum, &weight);
        while (i < to && sign * (p->y[i] - level) <= 0) {
            double heavy = p->w ? p->w[i] : 1.0;
            level = p->y[i++];
            sum += level * heavy;
            weight += heavy;
        }
        if (i == p->n) sum -= sign * p->lam; /* the tube closes */
        if (hull->back == hull->capacity) {
            *hull = prox_grow(*hull);
            if (!hull->queue) return PROX_NO_MEMORY;
        }
        prox_segment *bottom = hull->queue + hull->front, *top = hull->queue + hull->back;
        hull->back = prox_push(bottom, top, (prox_segment){sum, weight, i}, sign) - hull->queue;
    }
    hull->settled = to;
    return PROX_OK;
}

#ifdef PROX_WIDE
#define PROX_NEXT(v, next, k) \
    _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(next), _mm512_castpd_si512(v), (k)))

/* Which of eight positions may end a segment of their minorant, bit by bit, from y and its prefix
 * sums: those where all slopes over up to three positions before are below all that follow. There
 * may be too many, which merging mends, but none is missing. The last one always does. */
PROX_INLINE unsigned prox_corners(__m512d y, __m512d sums)
{
    const __m512d none = _mm512_set1_pd(INFINITY);
    const __m512d start = _mm512_mask_mov_pd(none, 0x80, _mm512_setzero_pd());
    __m512d two = _mm512_sub_pd(sums, PROX_PAST(sums, start, 2));
    __m512d three = _mm512_sub_pd(sums, PROX_PAST(sums, start, 3));
    two = _mm512_mul_pd(two, _mm512_set1_pd(1.0 / 2));
    three = _mm512_mul_pd(three, _mm512_set1_pd(1.0 / 3));
    __m512d before = _mm512_max_pd(y, _mm512_max_pd(two, three));
    __m512d after = _mm512_min_pd(PROX_NEXT(y, none, 1), PROX_NEXT(two, none, 2));
    after = _mm512_min_pd(after, PROX_NEXT(three, none, 3));
    return _mm512_cmp_pd_mask(before, after, _CMP_LT_OQ) | 0x80;
}

/* The same as prox_settle, without weights, for a rough signal: which position goes with its
 * neighbour is an unpredictable branch there. The queue is NULL where there is no memory. */
static __attribute__((noinline)) prox_hull prox_settle_rough(const prox_problem *p, prox_hull hull,
                                                             int64_t to, double sign)
{
    const __m512d flip = _mm512_set1_pd(sign < 0 ? -0.0 : 0.0);
    const double *y = p->y;
    while (hull.settled < to) {
        int64_t i = hull.settled;
        if (i + PROX_BLOCK > to || i + PROX_BLOCK == p->n || y[i] == y[i + 1]) {
            int64_t stop = i + PROX_BLOCK < to ? prox_run_end(y, i, to) : to;
            if (prox_settle(p, &hull, stop, sign)) return hull;
            continue;
        }
        if (hull.back + PROX_BLOCK > hull.capacity) {
            hull = prox_grow(hull);
            if (!hull.queue) return hull;
        }
        prox_segment *bottom = hull.queue + hull.front, *top = hull.queue + hull.back;
        __m512d signed_y = _mm512_xor_pd(_mm512_loadu_pd(y + i), flip);
        __m512d sums = prox_running_sums(signed_y);
        double sum[PROX_BLOCK], past = 0;
        _mm512_storeu_pd(sum, _mm512_xor_pd(sums, flip));
        int done = 0;
        for (unsigned corners = prox_corners(signed_y, sums); corners; corners &= corners - 1) {
            int at = __builtin_ctz(corners);
            prox_segment next = {sum[at] - past, at + 1 - done, i + at + 1};
            top = prox_push(bottom, top, next, sign);
            past = sum[at];
            done = at + 1;
        }
        hull.back = top - hull.queue;
        hull.settled = i + PROX_BLOCK;
    }
    return hull;
}
#undef PROX_NEXT
#endif

/* Put the positions from hull->settled to `to` on its queue. */
PROX_INLINE int prox_enqueue(const prox_problem *p, prox_hull *hull, int64_t to, double sign,
                             int rough)
{
#ifdef PROX_WIDE
    if (rough && !p->w) {
        *hull = prox_settle_rough(p, *hull, to, sign);
        return hull->queue ? PROX_OK : PROX_NO_MEMORY;
    }
#else
    (void)rough;
#endif
    return prox_settle(p, hull, to, sign);
}

#endif
