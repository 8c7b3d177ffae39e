/* The taut string: what the files of this folder share.
 *
 * Taut string (Davies & Kovac 2001, doi:10.1214/aos/996986501): the running sum of w*x is the
 * shortest path inside the tube of radius lam around the running sum of w*y. From the last knot,
 * a point that the string is known to pass, two hulls are drawn: the greatest convex minorant of
 * the tube's ceiling and the least concave majorant of its floor. As long as the first segment of
 * the minorant is steeper than that of the majorant there is nothing to decide; the position that
 * makes them cross sends the string along the first segment of the hull that it did not touch.
 *
 * Only the first segments are kept up to date. The rest of a hull matters when its first segment
 * has been followed, and is found then: by looking at the positions again where they are few
 * for the length just followed, else by merging them into a queue of segments (pool adjacent
 * violators), which is kept, and which every position enters and leaves at most once. That is
 * linear time on every signal. Neighbours with equal y are equal in x and are taken at once.
 *
 *     taut_string.c  the entry, and the choice between those below
 *     stack.h        both hulls kept whole, for runs of equal y and where wide registers are missing
 *     pull.c         the string from one knot to the next (vectors.h, hull.h)
 *     lanes.c        the same for rough signals, sixteen stretches at a time
 *     warm.c         the same for a signal similar to one that was solved before
 */
#ifndef TUNER_TAUT_STRING_H
#define TUNER_TAUT_STRING_H

#include <math.h>
#include <stdint.h>

#include "prox.h"

/* -DPROX_PLAIN leaves out all but stack.h, for a script whose signals are short: it saves most of the
 * time to compile. */
#if defined(__AVX512F__) && defined(__AVX512DQ__) && !defined(PROX_PLAIN)
#define PROX_WIDE
#include <immintrin.h>
#endif

#define PROX_INLINE static inline __attribute__((always_inline))
#define PROX_BLOCK 8 /* positions that are taken at once where there are eight lanes */

/* One segment of a hull: sum of w*y (with the tube's offset), sum of w, the position after it. */
typedef struct {
    double sum, weight;
    int64_t end;
} prox_segment;

/* A hull from the last knot on: its first segment, and, if the queue [front, back) is not empty,
 * all segments up to position `settled`, the first one included. */
typedef struct {
    double slope;
    int64_t end;
    prox_segment *queue;
    int64_t capacity, front, back, settled;
} prox_hull;

/* A point that the string passes: before position `at`, on the ceiling, on the floor, or, at the
 * ends of the signal, in the middle. The rest of the string depends on it alone. */
enum { PROX_MIDDLE = 0, PROX_CEILING = 1, PROX_FLOOR = 2 };

typedef struct {
    int64_t at;
    int side;
} prox_knot;

/* The signal, and where the answer goes. */
typedef struct {
    const double *y, *w; /* w: NULL where every weight is 1 */
    double *x;
    int64_t n;
    double lam;
    int64_t seen;          /* how far the input was looked at, and up to there: */
    double low, high;      /* the range of y, */
    double sum, weight;    /* sums of w*y and w */
    int64_t spare;         /* of a rough signal: so many positions may be looked at again */
    prox_knot knot;        /* how far the string is known */
    prox_hull ceiling, floor;
} prox_problem;

/* Sums of w*y and w from the knot up to the last position looked at, and how often a segment was
 * subtracted from them. `crest`: the end of the last rise or fall that was looked at as one. */
typedef struct {
    double sum, weight;
    int64_t at, to, stale, crest;
} prox_reach;

/* What a signal looks like, from up to 64 windows of 128 positions: positions `seen`; of these, where
 * it turns, and where it is equal to the next; sums of w * |y - the next y| and of the same 16 on. */
typedef struct {
    int64_t turns, rests, seen;
    double near, far;
} prox_shape;

prox_shape prox_shape_of(const prox_problem *p);

/* Return 1 where y goes nowhere: 16 positions on, it is as far away as at the next one. */
PROX_INLINE int prox_is_noise(const prox_shape *shape)
{
    return shape->far <= 2 * shape->near;
}

/* Return 1 where y turns at every few positions. */
PROX_INLINE int prox_is_rough(const prox_shape *shape)
{
    return 5 * shape->turns > shape->seen;
}

/* Keep an answer within the range of y despite rounding: what was not negative stays so. */
PROX_INLINE double prox_clamp(const prox_problem *p, double value)
{
    value = value < p->low ? p->low : value;
    return value > p->high ? p->high : value;
}

PROX_INLINE void prox_fill(const prox_problem *p, int64_t from, int64_t to, double value)
{
    value = prox_clamp(p, value);
    p->x[from] = value;
    for (int64_t i = from + 1; i < to; i++) p->x[i] = value;
}

/* Return the position after the run of equal y at i, n at most. */
PROX_INLINE int64_t prox_run_end(const double *y, int64_t i, int64_t n)
{
    const double value = y[i++];
    if (i >= n || y[i] != value) return i;
#ifdef PROX_WIDE
    const __m512d same = _mm512_set1_pd(value); /* a pile-up: runs of tens of positions */
    for (; i + 8 <= n; i += 8) {
        unsigned equal = _mm512_cmpeq_pd_mask(_mm512_loadu_pd(y + i), same);
        if (equal != 0xff) return i + __builtin_ctz(~equal);
    }
#endif
    while (i < n && y[i] == value) i++;
    return i;
}

/* Sum w*y and w over the run of equal y at i, up to `to` at most; return where it ends. */
PROX_INLINE int64_t prox_run(const prox_problem *p, int64_t i, int64_t to, double *sum,
                             double *weight)
{
    const double *y = p->y, *w = p->w;
    double value = y[i], total = w ? w[i] : 1.0;
    int64_t end = i + 1;
    if (w) {
        for (; end < to && y[end] == value; end++) total += w[end];
    } else {
        end = prox_run_end(y, i, to);
        total = (double)(end - i);
    }
    *sum = value * total;
    *weight = total;
    return end;
}

#ifdef PROX_WIDE
/* Eight lanes moved k places up, the first k filled from the last ones of `past`. */
#define PROX_PAST(v, past, k) \
    _mm512_castsi512_pd(       \
        _mm512_alignr_epi64(_mm512_castpd_si512(v), _mm512_castpd_si512(past), 8 - (k)))

/* Return the sums of the lanes of v up to each, itself included. */
PROX_INLINE __m512d prox_running_sums(__m512d v)
{
    const __m512d zero = _mm512_setzero_pd();
    v = _mm512_add_pd(v, PROX_PAST(v, zero, 1));
    v = _mm512_add_pd(v, PROX_PAST(v, zero, 2));
    return _mm512_add_pd(v, PROX_PAST(v, zero, 4));
}

PROX_INLINE double prox_last_lane(__m512d v)
{
    return _mm512_cvtsd_f64(_mm512_permutexvar_pd(_mm512_set1_epi64(7), v));
}

/* Return 1 where lanes are faster than one string: on a rough signal whose segments are short in this
 * tube (lanes.c). */
int prox_lanes_pay(const prox_shape *shape, int64_t n, double lam);

/* Pull the string of a rough signal to its end, or until lanes do not pay (lanes.c). */
int prox_pull_lanes(prox_problem *p);
#endif

/* Read y and w up to position `to`, before they are used: their range, sums and bad values
 * (taut_string.c). */
int prox_look(prox_problem *p, int64_t to);

/* Pull the string from p->knot on until it passes `limit` or a knot of the sorted list `known`
 * (4 * at + side, ended by INT64_MAX); *known is left at the first entry not before the knot.
 * The second is for rough signals, and exists where there are eight lanes (pull.c). */
int prox_pull(prox_problem *p, int64_t limit, const int64_t **known);
int prox_pull_rough(prox_problem *p, int64_t limit, const int64_t **known);

/* Return a problem with nothing looked at; allocate and free its hulls (taut_string.c). */
prox_problem prox_state(const double *y, const double *w, double *x, int64_t n, double lam);
int prox_reserve(prox_problem *p);
void prox_release(prox_problem *p);

/* Solve from the steps of the answer to a similar signal (warm.c). p->knot.at < p->n afterwards:
 * the steps were of no use, solve without them. */
int prox_keep_steps(prox_problem *p, int8_t *steps);

#endif
