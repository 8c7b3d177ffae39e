/* The taut string with both hulls kept whole, each as a stack of segments: a position is put on both,
 * and merged with what it takes out of order (pool adjacent violators). It may go back only over what
 * is merged for good, so that it is linear on every signal, and where knots are many it does less than
 * pull.c, which looks at positions again.
 *
 * Where runs of equal y are common, their ends are read from words of 64 bits, without a branch that
 * depends on a run's length. The segments on top stay in registers. */
#ifndef TUNER_PROX_STACK_H
#define TUNER_PROX_STACK_H

#ifdef __AVX__
#include <immintrin.h>
#endif

#include "hull.h"
#include "taut_string.h"

#define PROX_STACK_AHEAD 2048 /* positions looked at before they are used */

/* Where runs of equal y end: bit j is position base + j. */
typedef struct {
    int64_t base;
    uint64_t word;
} prox_run_ends;

PROX_INLINE uint64_t prox_changes(const double *y, int64_t base, int64_t n)
{
    uint64_t word = 0;
    int64_t last = n - 1 - base;
    if (last < 64) { /* the last position ends a run */
        for (int64_t j = 0; j < last; j++)
            word |= (uint64_t)(y[base + j] != y[base + j + 1]) << j;
        return word | UINT64_C(1) << last;
    }
#ifdef __AVX__
    for (int j = 0; j < 64; j += 4) {
        __m256d here = _mm256_loadu_pd(y + base + j), next = _mm256_loadu_pd(y + base + j + 1);
        uint64_t four = (uint64_t)_mm256_movemask_pd(_mm256_cmp_pd(here, next, _CMP_NEQ_UQ));
        word |= four << j;
    }
#else
    for (int j = 0; j < 64; j++) word |= (uint64_t)(y[base + j] != y[base + j + 1]) << j;
#endif
    return word;
}

/* Return the position after the next run. */
PROX_INLINE int64_t prox_next_run(const prox_problem *p, prox_run_ends *ends)
{
    while (!ends->word) {
        ends->base += 64;
        ends->word = prox_changes(p->y, ends->base, p->n);
    }
    int64_t end = ends->base + __builtin_ctzll(ends->word) + 1;
    ends->word &= ends->word - 1;
    return end;
}

/* As prox_fill; up to `read` the input has been used, so that more than asked for may be written. */
PROX_INLINE void prox_fill_over(const prox_problem *p, int64_t from, int64_t to, int64_t read,
                                double value)
{
    double *x = p->x;
    value = prox_clamp(p, value);
    if (to + 3 > read) {
        for (; from < to; from++) x[from] = value;
        return;
    }
    do { /* four at a time: most segments of a rough signal are that short */
        x[from] = x[from + 1] = x[from + 2] = x[from + 3] = value;
        from += 4;
    } while (from < to);
}

/* Return 1 where slopes rise from `left` to `right` (sign = 1) or fall (-1). */
PROX_INLINE int prox_in_order(const prox_segment *left, const prox_segment *right, double sign)
{
    double one = left->sum * right->weight, other = right->sum * left->weight;
    return sign > 0 ? one < other : one > other;
}

/* Put a run on a stack: `top`, in registers, is the last segment, the others lie in the queue. */
PROX_INLINE int prox_stack_push(prox_hull *hull, prox_segment *top, prox_segment next, double sign)
{
    if (prox_in_order(top, &next, sign)) {
        if (__builtin_expect(hull->back == hull->capacity, 0)) {
            *hull = prox_grow(*hull);
            if (!hull->queue) return PROX_NO_MEMORY;
        }
        hull->queue[hull->back++] = *top;
        *top = next;
        return PROX_OK;
    }
    top->sum += next.sum;
    top->weight += next.weight;
    top->end = next.end;
    while (hull->back > hull->front) {
        const prox_segment *last = hull->queue + hull->back - 1;
        if (prox_in_order(last, top, sign)) break;
        hull->back--;
        top->sum += last->sum;
        top->weight += last->weight;
    }
    return PROX_OK;
}

/* One hull is a single segment, `chord`: while it is on the wrong side of the other one, the string
 * follows that one, segment by segment. sign = 1: the chord is the ceiling's. Returns where the last
 * knot is. */
PROX_INLINE int64_t prox_stack_follow(const prox_problem *p, int64_t start, prox_segment *chord,
                                      prox_hull *other, const prox_segment *top, double sign)
{
    int64_t before = other->front;
    while (other->back > other->front) {
        const prox_segment first = other->queue[other->front];
        if (!prox_in_order(chord, &first, sign)) break;
        prox_fill_over(p, start, first.end, chord->end, first.sum / first.weight);
        start = first.end;
        chord->sum -= first.sum;
        chord->weight -= first.weight;
        other->front++;
    }
    int64_t count = other->front - before;
    if (count && other->back - other->front <= 8 * count) {
        /* subtractions let rounding pile up: sum anew, from the knot to the far side of the tube */
        chord->sum = top->sum + (chord->end == p->n ? 0.0 : sign * 2 * p->lam);
        chord->weight = top->weight;
        for (int64_t j = other->front; j < other->back; j++) {
            chord->sum += other->queue[j].sum;
            chord->weight += other->queue[j].weight;
        }
    }
    if (other->back == other->front) other->back = other->front = 0;
    return start;
}

/* Pull the string over the whole signal; `runs`: equal neighbours are common in it. */
PROX_INLINE int prox_pull_stack_of(prox_problem *p, int runs)
{
    const double *y = p->y, *w = p->w, lam = p->lam;
    const int64_t n = p->n;
    prox_hull ceiling = p->ceiling, floor = p->floor; /* copies: these live in registers */
    prox_segment above = {0, 0, 0}, below = {0, 0, 0};
    prox_run_ends ends = {0, runs ? prox_changes(y, 0, n) : 0};
    int64_t start = 0, i = 0;
    int status = PROX_OK;
    ceiling.front = ceiling.back = floor.front = floor.back = 0;
    while (i < n && !status) {
        if (__builtin_expect(i >= p->seen, 0)) {
            status = prox_look(p, i + PROX_STACK_AHEAD);
            if (status) break;
        }
        double sum, weight = 0;
        int64_t end;
        if (runs) {
            end = prox_next_run(p, &ends);
            for (int64_t j = i; w && j < end; j++) weight += w[j];
            weight = w ? weight : (double)(end - i);
            sum = y[i] * weight;
        } else {
            const double value = y[i];
            weight = w ? w[i] : 1.0;
            for (end = i + 1; end < n && y[end] == value; end++) weight += w ? w[end] : 1.0;
            sum = value * weight;
        }
        /* the tube opens at the first position, and closes behind the last */
        double open = above.end ? 0.0 : lam, offset = end == n ? open - lam : open;
        prox_segment high = {sum + offset, weight, end};
        prox_segment low = {sum - offset, weight, end};
        i = end;
        if (!above.end) {
            above = high;
            below = low;
            continue;
        }
        status = prox_stack_push(&ceiling, &above, high, 1.0);
        if (!status) status = prox_stack_push(&floor, &below, low, -1.0);
        if (status) break;
        if (ceiling.back == ceiling.front)
            start = prox_stack_follow(p, start, &above, &floor, &below, 1.0);
        if (floor.back == floor.front)
            start = prox_stack_follow(p, start, &below, &ceiling, &above, -1.0);
    }
    p->ceiling = ceiling;
    p->floor = floor;
    if (status) return status;
    for (int64_t j = ceiling.front; j < ceiling.back; j++) {
        const prox_segment *next = ceiling.queue + j;
        prox_fill(p, start, next->end, next->sum / next->weight);
        start = next->end;
    }
    if (start == 0) { /* one value: `above` lost its digits to lam where that is huge */
        status = prox_look(p, n);
        above.sum = p->sum;
    }
    prox_fill(p, start, n, above.sum / above.weight);
    p->knot = (prox_knot){n, PROX_MIDDLE};
    return status;
}

static __attribute__((noinline)) int prox_pull_stack(prox_problem *p)
{
    return prox_pull_stack_of(p, 0);
}

#ifndef PROX_PLAIN
static __attribute__((noinline)) int prox_pull_stack_runs(prox_problem *p)
{
    return prox_pull_stack_of(p, 1);
}
#endif

#endif
