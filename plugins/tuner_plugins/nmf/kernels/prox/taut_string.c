/* The exact proximal operator of the total variation by the taut string: entry and input. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stack.h"
#include "taut_string.h"

/* The input is looked at a little ahead of the string, while that part is on its way into the cache
 * anyway. The string up to a knot is that of any signal that goes on from there within the range
 * seen so far, so that this range holds the answer too. */
int prox_look(prox_problem *p, int64_t to)
{
    const double *y = p->y, *w = p->w;
    double low = p->low, high = p->high, lightest = INFINITY, sum = p->sum, total = p->weight;
    int64_t i = p->seen;
    to = to < p->n ? to : p->n;
#ifdef PROX_WIDE
    const __m512d one = _mm512_set1_pd(1.0);
    __m512d lows = _mm512_set1_pd(low), highs = _mm512_set1_pd(high);
    __m512d lights = _mm512_set1_pd(lightest), sums = _mm512_setzero_pd(), totals = sums;
    for (; i + PROX_BLOCK <= to; i += PROX_BLOCK) {
        __m512d value = _mm512_loadu_pd(y + i), weight = w ? _mm512_loadu_pd(w + i) : one;
        lows = _mm512_min_pd(lows, value);
        highs = _mm512_max_pd(highs, value);
        lights = _mm512_min_pd(lights, weight);
        sums = _mm512_add_pd(sums, _mm512_mul_pd(value, weight));
        totals = _mm512_add_pd(totals, weight);
    }
    low = _mm512_reduce_min_pd(lows);
    high = _mm512_reduce_max_pd(highs);
    lightest = _mm512_reduce_min_pd(lights);
    sum += _mm512_reduce_add_pd(sums);
    total += _mm512_reduce_add_pd(totals);
#elif defined(__AVX__)
    const __m256d one = _mm256_set1_pd(1.0);
    __m256d lows = _mm256_set1_pd(low), highs = _mm256_set1_pd(high);
    __m256d lights = _mm256_set1_pd(lightest), sums = _mm256_setzero_pd(), totals = sums;
    for (; i + 4 <= to; i += 4) {
        __m256d value = _mm256_loadu_pd(y + i), weight = w ? _mm256_loadu_pd(w + i) : one;
        lows = _mm256_min_pd(lows, value);
        highs = _mm256_max_pd(highs, value);
        lights = _mm256_min_pd(lights, weight);
        sums = _mm256_add_pd(sums, _mm256_mul_pd(value, weight));
        totals = _mm256_add_pd(totals, weight);
    }
    for (int lane = 0; lane < 4; lane++) {
        low = lows[lane] < low ? lows[lane] : low;
        high = highs[lane] > high ? highs[lane] : high;
        lightest = lights[lane] < lightest ? lights[lane] : lightest;
        sum += sums[lane];
        total += totals[lane];
    }
#endif
    for (; i < to; i++) {
        double weight = w ? w[i] : 1.0;
        low = y[i] < low ? y[i] : low;
        high = y[i] > high ? y[i] : high;
        lightest = weight < lightest ? weight : lightest;
        sum += y[i] * weight; /* a NaN or an infinity anywhere stays in the sum */
        total += weight;
    }
    p->seen = i > p->seen ? i : p->seen;
    p->low = low;
    p->high = high;
    p->sum = sum;
    p->weight = total;
    if (!(lightest > 0) || !isfinite(total)) return PROX_BAD_WEIGHT;
    return isfinite(low) && isfinite(high) && isfinite(sum) ? PROX_OK : PROX_NOT_FINITE;
}

int prox_reserve(prox_problem *p)
{
    p->ceiling.capacity = p->floor.capacity = p->n < 1024 ? p->n + 1 : 1024; /* grown where need be */
    p->ceiling.queue = malloc((size_t)p->ceiling.capacity * sizeof(prox_segment));
    p->floor.queue = malloc((size_t)p->floor.capacity * sizeof(prox_segment));
    return p->ceiling.queue && p->floor.queue ? PROX_OK : PROX_NO_MEMORY;
}

void prox_release(prox_problem *p)
{
    free(p->ceiling.queue);
    free(p->floor.queue);
}

prox_problem prox_state(const double *y, const double *w, double *x, int64_t n, double lam)
{
    return (prox_problem){
        .y = y, .w = w, .x = x, .n = n, .lam = lam, .low = INFINITY, .high = -INFINITY};
}

#ifndef PROX_PLAIN
#define PROX_WINDOWS 64
#define PROX_WINDOW 128
#define PROX_FAR 16
#define PROX_MANY_STEPS 16384
#define PROX_WIDE_TUBE 8192
#define PROX_WIDEST_TUBE 50000

prox_shape prox_shape_of(const prox_problem *p)
{
    const double *y = p->y, *w = p->w;
    prox_shape shape = {0};
    int64_t windows = p->n / PROX_WINDOW + 1;
    windows = windows < PROX_WINDOWS ? windows : PROX_WINDOWS;
    for (int64_t k = 0; k < windows; k++) {
        int64_t begin = k * (p->n / windows);
        for (int64_t i = begin + 1; i + 1 < begin + PROX_WINDOW && i + 1 < p->n; i++) {
            double before = y[i] - y[i - 1];
            double after = y[i + 1] - y[i];
            shape.turns += (before > 0) != (after > 0);
            shape.rests += after == 0;
            shape.seen++;
            if (i + PROX_FAR >= p->n) continue;
            shape.near += fabs(after) * (w ? w[i] : 1.0);
            shape.far += fabs(y[i + PROX_FAR] - y[i]) * (w ? w[i] : 1.0);
        }
    }
    return shape;
}

static int prox_has_runs(const prox_shape *shape)
{
    return 8 * shape->rests > shape->seen;
}

/* Return 1 where keeping both hulls whole is faster. It is not on noise, which leaves few knots: where
 * it turns everywhere, or the tube is wider than thousands of its steps. It is on other runs of equal
 * y, and on all else that is rough, unless the tube is so wide that eight positions at a time hardly
 * ever meet it; and, without wide registers, on a smooth signal in a wide tube. */
static int prox_stack_pays(const prox_shape *shape, double lam)
{
    double tube = lam * (double)shape->seen;
    int rough = prox_is_rough(shape) && 2 * shape->rests < shape->seen;
    if (prox_is_noise(shape) && 4 * tube >= (rough ? 1 : PROX_WIDE_TUBE) * shape->near) return 0;
#ifdef PROX_WIDE
    int in_eights = tube > PROX_WIDEST_TUBE * shape->near && 10 * shape->rests < 9 * shape->seen;
    return !in_eights && (rough || prox_has_runs(shape));
#else
    return rough || prox_has_runs(shape) || tube > PROX_MANY_STEPS * shape->near;
#endif
}
#endif

/* Solve without knowledge of the answer. */
static int prox_solve(prox_problem *p)
{
    int status = PROX_OK;
    if (p->lam == 0) { /* no tube: x = y */
        memmove(p->x, p->y, (size_t)p->n * sizeof *p->x);
    } else {
        status = prox_reserve(p);
#ifdef PROX_PLAIN
        if (!status) status = prox_pull_stack(p);
#else
        const int64_t none = INT64_MAX, *known = &none;
        prox_shape shape = prox_shape_of(p);
#ifdef PROX_WIDE
        if (!status && prox_lanes_pay(&shape, p->n, p->lam)) status = prox_pull_lanes(p);
#endif
        if (!status && p->knot.at == 0 && prox_stack_pays(&shape, p->lam))
            status = prox_has_runs(&shape) ? prox_pull_stack_runs(p) : prox_pull_stack(p);
#ifdef PROX_WIDE
        if (!status && p->knot.at < p->n && prox_is_rough(&shape))
            status = prox_pull_rough(p, INT64_MAX, &known);
#endif
        if (!status && p->knot.at < p->n) status = prox_pull(p, INT64_MAX, &known);
#endif
        prox_release(p);
    }
    return status ? status : prox_look(p, p->n);
}

int tuner_prox_tv1d(const double *y, const double *w, double *x, int64_t n, double lam,
                    int8_t *steps)
{
    if (n <= 0) return PROX_OK;
    prox_problem p = prox_state(y, w, x, n, lam);
#ifndef PROX_PLAIN
    if (steps && lam > 0) {
        int status = prox_keep_steps(&p, steps);
        if (status || p.knot.at == n) return status;
        p = prox_state(y, w, x, n, lam);
    }
#endif
    int status = prox_solve(&p);
    if (!status && steps) prox_note_steps(x, steps, 0, n);
    return status;
}
