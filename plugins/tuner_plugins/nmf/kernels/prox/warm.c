/* The taut string of a signal that is similar to one whose string is known: one method, one file.
 *
 * From one round of alternating least squares to the next, few knots of a column change. The knots
 * determine the string: between two of them it is straight, with a mean as its slope,
 *
 *     x = (sum of w*y + (right - left) * lam) / (sum of w),    sides of the tube: 1, 0 or -1.
 *
 * A path is the string if and only if it satisfies the optimality conditions (KKT): it stays inside
 * the tube, turns up only at the ceiling and turns down only at the floor. So the old knots are kept
 * as long as they satisfy them. A segment that leaves the tube gets a knot where it is furthest
 * outside; a knot where the string turns the wrong way is removed. Where that does not soon succeed,
 * the string is pulled anew from a few knots before until it meets an old knot.
 */
#include <math.h>

#include "taut_string.h"

#ifndef PROX_PLAIN

#define PROX_TRIES 32 /* knots put in or taken out for one step ahead */
#define PROX_TRY_COST 16 /* in positions gained by keeping what is known */
#define PROX_KNOWN 64

/* Positions with a step, in order: those of the 64 from `base` on that are left are in `word`. */
typedef struct {
    const int8_t *steps;
    int64_t base, n;
    uint64_t word;
} prox_bends;

PROX_INLINE uint64_t prox_bend_word(const int8_t *steps, int64_t base, int64_t n)
{
#if defined(PROX_WIDE) && defined(__AVX512BW__)
    if (base + 64 <= n) {
        __m512i part = _mm512_loadu_si512(steps + base);
        return _mm512_test_epi8_mask(part, part);
    }
#endif
    uint64_t word = 0;
    int64_t count = n - base < 64 ? n - base : 64;
    for (int64_t i = 0; i < count; i++) word |= (uint64_t)(steps[base + i] != 0) << i;
    return word;
}

/* The bends behind position `at`. */
PROX_INLINE prox_bends prox_bends_after(const int8_t *steps, int64_t at, int64_t n)
{
    prox_bends bends = {steps, at & ~(int64_t)63, n, 0};
    bends.word = prox_bend_word(steps, bends.base, n) & ~UINT64_C(1) << (at & 63);
    return bends;
}

/* Return the next one; n where there is none. */
PROX_INLINE int64_t prox_next_bend(prox_bends *bends)
{
    while (!bends->word) {
        bends->base += 64;
        if (bends->base >= bends->n) return bends->n;
        bends->word = prox_bend_word(bends->steps, bends->base, bends->n);
    }
    int64_t at = bends->base + __builtin_ctzll(bends->word);
    bends->word &= bends->word - 1;
    return at;
}

/* Return the last bend before position `at`; 0 where there is none. */
PROX_INLINE int64_t prox_bend_before(const int8_t *steps, int64_t at, int64_t n)
{
    int64_t base = at & ~(int64_t)63;
    uint64_t word = at == base ? 0 : prox_bend_word(steps, base, n) & ((UINT64_C(1) << (at & 63)) - 1);
    while (!word && base) {
        base -= 64;
        word = prox_bend_word(steps, base, n);
    }
    return word ? base + 63 - __builtin_clzll(word) : 0;
}

/* What a segment has to keep to: from the knot on, the sum of w*(y - x) stays within these bounds,
 * give or take what rounding does to x, position by position. */
typedef struct {
    double turn, least, most, slack, rounding;
} prox_bounds;

#ifdef PROX_WIDE
/* The first eight positions from `at` on, or those of them in `inside`: sums of w*(y - level) and of
 * w over all up to each. */
PROX_INLINE void prox_running(const prox_problem *p, int64_t at, __mmask8 inside, __m512d level,
                              __m512d *sums, __m512d *weights)
{
    __m512d part = _mm512_maskz_sub_pd(inside, _mm512_maskz_loadu_pd(inside, p->y + at), level);
    __m512d heavy = _mm512_set_pd(8, 7, 6, 5, 4, 3, 2, 1);
    if (p->w) {
        heavy = _mm512_maskz_loadu_pd(inside, p->w + at);
        part = _mm512_mul_pd(part, heavy);
        heavy = prox_running_sums(heavy);
    }
    *sums = prox_running_sums(part);
    *weights = heavy;
}

/* prox_draw of at most eight positions: without a branch that depends on them. */
PROX_INLINE int prox_draw_short(const prox_problem *p, int64_t from, int64_t to,
                                const prox_bounds *bounds, double *value)
{
    __mmask8 inside = (__mmask8)((1u << (to - from)) - 1);
    __m512d sums, weights;
    prox_running(p, from, inside, _mm512_setzero_pd(), &sums, &weights);
    double sum = prox_last_lane(sums);
    double weight = p->w ? prox_last_lane(weights) : (double)(to - from);
    *value = prox_clamp(p, (sum + bounds->turn) / weight);
    double slack = bounds->slack + bounds->rounding * weight;
    __m512d level = _mm512_set1_pd(*value);
    __m512d apart = _mm512_sub_pd(sums, _mm512_mul_pd(level, weights));
    __mmask8 held = _mm512_cmp_pd_mask(apart, _mm512_set1_pd(bounds->least - slack), _CMP_GE_OQ)
                    & _mm512_cmp_pd_mask(apart, _mm512_set1_pd(bounds->most + slack), _CMP_LE_OQ);
    if (from + PROX_BLOCK <= p->n) /* what is behind `to` is drawn later */
        _mm512_storeu_pd(p->x + from, level);
    else
        _mm512_mask_storeu_pd(p->x + from, inside, level);
    return (__mmask8)(~held & inside >> 1) == 0;
}
#endif

/* Sum w*y and w over [from, to). */
PROX_INLINE void prox_total(const prox_problem *p, int64_t from, int64_t to, double *sum,
                            double *weight)
{
    int64_t i = from;
    double total = 0, heavy = 0;
#ifdef PROX_WIDE
    __m512d totals = _mm512_setzero_pd(), heavies = totals;
    for (; i + PROX_BLOCK <= to; i += PROX_BLOCK) {
        __m512d part = _mm512_loadu_pd(p->y + i);
        if (p->w) {
            __m512d w = _mm512_loadu_pd(p->w + i);
            part = _mm512_mul_pd(part, w);
            heavies = _mm512_add_pd(heavies, w);
        }
        totals = _mm512_add_pd(totals, part);
    }
    total = _mm512_reduce_add_pd(totals);
    heavy = _mm512_reduce_add_pd(heavies);
#endif
    for (; i < to; i++) {
        double w = p->w ? p->w[i] : 1.0;
        total += p->y[i] * w;
        heavy += w;
    }
    *sum = total;
    *weight = p->w ? heavy : (double)(to - from);
}

/* Draw the segment over [from, to), between points on the sides `left` and `right` of the tube (1:
 * ceiling, -1: floor, 0: middle). Returns 0 where it would leave the tube, else 1; and its *value. */
PROX_INLINE int prox_draw(const prox_problem *p, int64_t from, int64_t to, int left, int right,
                          prox_bounds bounds, double *value)
{
    bounds.turn = (right - left) * p->lam;
    bounds.least = (left - 1) * p->lam;
    bounds.most = (left + 1) * p->lam;
#ifdef PROX_WIDE
    if (to - from <= PROX_BLOCK) return prox_draw_short(p, from, to, &bounds, value);
#endif
    double sum, weight, apart = 0, lowest = INFINITY, highest = -INFINITY;
    prox_total(p, from, to, &sum, &weight);
    /* x between two knots, see above; then the KKT conditions: sum of w*(y - x) within the bounds */
    double level = *value = prox_clamp(p, (sum + bounds.turn) / weight);
    double slack = bounds.slack + bounds.rounding * weight;
    int64_t i = from;
#ifdef PROX_WIDE
    __m512d low = _mm512_set1_pd(INFINITY), high = _mm512_set1_pd(-INFINITY), sums, weights;
    for (; i + PROX_BLOCK < to; i += PROX_BLOCK) {
        prox_running(p, i, 0xff, _mm512_set1_pd(level), &sums, &weights);
        sums = _mm512_add_pd(sums, _mm512_set1_pd(apart));
        apart = prox_last_lane(sums);
        low = _mm512_min_pd(low, sums);
        high = _mm512_max_pd(high, sums);
        _mm512_storeu_pd(p->x + i, _mm512_set1_pd(level));
    }
    lowest = _mm512_reduce_min_pd(low);
    highest = _mm512_reduce_max_pd(high);
#endif
    for (; i < to - 1; i++) {
        apart += (p->y[i] - level) * (p->w ? p->w[i] : 1.0);
        lowest = apart < lowest ? apart : lowest;
        highest = apart > highest ? apart : highest;
        p->x[i] = level;
    }
    p->x[to - 1] = level;
    return to - from == 1 || (lowest >= bounds.least - slack && highest <= bounds.most + slack);
}

/* Where the segment over [from, to) at `level` is furthest outside the tube: put a knot there. */
static void prox_split(const prox_problem *p, int8_t *steps, int64_t from, int64_t to, int left,
                       double level)
{
    const double least = (left - 1) * p->lam, most = (left + 1) * p->lam;
    double apart = 0, worst = -INFINITY;
    int64_t at = from + 1;
    int side = 0;
    for (int64_t i = from; i < to - 1; i++) {
        apart += (p->y[i] - level) * (p->w ? p->w[i] : 1.0);
        double below = least - apart, above = apart - most;
        double outside = below > above ? below : above;
        if (outside > worst) {
            worst = outside;
            at = i + 1;
            side = below > above ? 1 : -1;
        }
    }
    steps[at] = (int8_t)side;
}

/* Pull the string anew from some knots before p->knot until it meets an old knot at `until` or
 * behind it, and turns the right way where it leaves the old one. Adds to *pulled. */
static __attribute__((noinline)) int prox_mend(prox_problem *p, int8_t *steps, int64_t until,
                                               double slack, int64_t *pulled)
{
    int64_t start = p->knot.at;
    for (int64_t back = 2;; back *= 4) {
        for (int64_t k = 0; k < back; k++) start = prox_bend_before(steps, start, p->n);
        int turn = start ? steps[start] : 0;
        p->knot = (prox_knot){start, turn > 0 ? PROX_CEILING : turn < 0 ? PROX_FLOOR : PROX_MIDDLE};
        int64_t known[PROX_KNOWN + 1];
        const int64_t *met;
        prox_bends bends = prox_bends_after(steps, until - 1, p->n);
        do {
            int64_t count = 0, at = 0;
            while (count < PROX_KNOWN && at < p->n) {
                at = prox_next_bend(&bends);
                if (at < p->n && at > p->knot.at)
                    known[count++] = 4 * at + (steps[at] > 0 ? PROX_CEILING : PROX_FLOOR);
            }
            known[count] = INT64_MAX;
            met = known;
            if (prox_pull(p, count == PROX_KNOWN ? at : INT64_MAX, &met)) return PROX_NO_MEMORY;
        } while (p->knot.at < p->n && *met != 4 * p->knot.at + p->knot.side);
        *pulled += p->knot.at - start;
        if (!start || turn * (p->x[start] - p->x[start - 1]) >= -slack) break;
    }
    prox_note_steps(p->x, steps, start, p->knot.at);
    return PROX_OK;
}

/* Keep the old knots that hold, mend the rest. Returns PROX_OK with p->knot.at < n where they are
 * not worth it. */
static int prox_keep(prox_problem *p, int8_t *steps)
{
    const int64_t n = p->n;
    double reach = fabs(p->low) > fabs(p->high) ? fabs(p->low) : fabs(p->high);
    const double rounding = 8 * 2.220446049250313e-16 * reach;
    const prox_bounds bounds = {.slack = 1e-12 * p->lam, .rounding = rounding};
    double before = 0;
    int64_t from = 0, furthest = 0, pulled = 0, tries = 0, cost = 0;
    int left = 0;
    prox_bends bends = prox_bends_after(steps, 0, n);
    while (from < n) {
        double value;
        int64_t to = prox_next_bend(&bends);
        int right = to < n ? steps[to] : 0;
        int inside = prox_draw(p, from, to, left, right, bounds, &value);
        int turns = left * (value - before) >= -rounding; /* 0 where anything is NaN */
        if (inside && turns) {
            before = value;
            from = to;
            left = right;
            if (to > furthest) {
                furthest = to;
                tries = 0;
            }
            continue;
        }
        cost += PROX_TRY_COST;
        if (cost + 2 * pulled > n / 32 + from) { /* it were faster to pull all of it */
            p->knot.at = 0;
            return PROX_OK;
        }
        if (tries++ < PROX_TRIES) {
            if (!turns) {
                steps[from] = 0;
                from = prox_bend_before(steps, from, n);
            } else {
                prox_split(p, steps, from, to, left, value);
            }
        } else {
            p->knot.at = from;
            if (prox_mend(p, steps, to > furthest ? to : furthest, rounding, &pulled))
                return PROX_NO_MEMORY;
            from = p->knot.at;
            tries = 0;
            if (from == n) break;
        }
        before = from ? p->x[from - 1] : 0;
        left = from ? steps[from] : 0;
        bends = prox_bends_after(steps, from, n);
    }
    p->knot.at = n;
    return PROX_OK;
}

int prox_keep_steps(prox_problem *p, int8_t *steps)
{
    int status = prox_look(p, p->n);
    if (status) return status;
    prox_bends bends = prox_bends_after(steps, 0, p->n);
    if (prox_next_bend(&bends) == p->n) return PROX_OK; /* no step is known */
    status = prox_reserve(p);
    if (!status) status = prox_keep(p, steps);
    prox_release(p);
    return status;
}

#endif
