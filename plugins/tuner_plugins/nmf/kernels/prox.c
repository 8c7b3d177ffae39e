/* Exact proximal operator of the one-dimensional total variation.
 *
 *     x = argmin  1/2 sum_i w_i (x_i - y_i)^2  +  lam sum_i |x_{i+1} - x_i|
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
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* Eight lanes of AVX-512 where the processor has them; -DPROX_PLAIN leaves them out, for a script
 * whose signals are short: it halves the time to compile. */
#if defined(__AVX512F__) && defined(__AVX512DQ__) && !defined(PROX_PLAIN)
#define PROX_WIDE
#include <immintrin.h>
#endif

/* -O3 takes half as long again to compile, and gains one per cent here. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("O2")
#endif

#define PROX_OK 0
#define PROX_NO_MEMORY 1
#define PROX_NOT_FINITE 2
#define PROX_BAD_WEIGHT 3

#define PROX_INLINE static inline __attribute__((always_inline))

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

/* From the knot on, up to the last position looked at: sums of w*y and w, and how often they were
 * subtracted from. `crest`: where the last rise or fall ends that was looked at as one. */
typedef struct {
    double sum, weight;
    int64_t at, to, stale, crest;
} prox_reach;

/* Rounding must not lead out of the signal's range: what was not negative stays so. */
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

/* The position after the run of equal y at i, n at most. */
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

/* Sums of w*y and w over the run of equal y at i, up to `to` at most; gives where it ends. */
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
