/* Eight positions at a time: slopes from the knot to the tube over all of them, by prefix sums. */
#define PROX_BLOCK 8
#define PROX_AHEAD 2048 /* positions looked at before they are used */

/* Look at the input up to position `to`, before it is used: range, bad values. It is looked at a
 * little ahead of the string, while that part is on its way into the cache anyway. The string up to
 * a knot is that of any signal that goes on from there within the range seen so far, so that this
 * range holds the answer too. */
static __attribute__((noinline)) int prox_look(prox_problem *p, int64_t to)
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

#ifdef PROX_WIDE
/* Sums of w*y and w from the knot up to each of eight positions; adds the eight to *sum, *weight. */
PROX_INLINE void prox_prefix(const prox_problem *p, int64_t at, double *sum, double *weight,
                             __m512d *sums, __m512d *weights)
{
    const __m512i zero = _mm512_setzero_si512();
    const __m512d ramp = _mm512_set_pd(8, 7, 6, 5, 4, 3, 2, 1);
    __m512d part = _mm512_loadu_pd(p->y + at), heavy = ramp;
#define PROX_SHIFT(v, k) \
    _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(v), zero, 8 - (k)))
    if (p->w) {
        heavy = _mm512_loadu_pd(p->w + at);
        part = _mm512_mul_pd(part, heavy);
        heavy = _mm512_add_pd(heavy, PROX_SHIFT(heavy, 1));
        heavy = _mm512_add_pd(heavy, PROX_SHIFT(heavy, 2));
        heavy = _mm512_add_pd(heavy, PROX_SHIFT(heavy, 4));
    }
    part = _mm512_add_pd(part, PROX_SHIFT(part, 1));
    part = _mm512_add_pd(part, PROX_SHIFT(part, 2));
    part = _mm512_add_pd(part, PROX_SHIFT(part, 4));
#undef PROX_SHIFT
    *sums = _mm512_add_pd(_mm512_set1_pd(*sum), part);
    *weights = _mm512_add_pd(_mm512_set1_pd(*weight), heavy);
    const __m512i last = _mm512_set1_epi64(7);
    *sum += _mm512_cvtsd_f64(_mm512_permutexvar_pd(last, part));
    *weight += _mm512_cvtsd_f64(_mm512_permutexvar_pd(last, heavy));
}

/* The position after the last of eight whose slope is the best one. */
PROX_INLINE int64_t prox_last_at(__m512d slopes, double best, int64_t at)
{
    __mmask8 equal = _mm512_cmpeq_pd_mask(slopes, _mm512_set1_pd(best));
    return at + 32 - __builtin_clz((unsigned)equal);
}

/* 1 where runs of equal y are taken faster. */
PROX_INLINE int prox_rests(const prox_problem *p, int64_t at)
{
    return p->y[at] == p->y[at + 1];
}

/* Least or largest so far, lane by lane, from `start` on. */
PROX_INLINE __m512d prox_so_far(__m512d v, double start, double sign)
{
    const __m512i fill = _mm512_castpd_si512(_mm512_set1_pd(start));
#define PROX_STEP(k)                                                                          \
    {                                                                                         \
        __m512d past = _mm512_castsi512_pd(                                                   \
            _mm512_alignr_epi64(_mm512_castpd_si512(v), fill, 8 - (k)));                      \
        v = sign > 0 ? _mm512_max_pd(v, past) : _mm512_min_pd(v, past);                       \
    }
    PROX_STEP(1)
    PROX_STEP(2)
    PROX_STEP(4)
#undef PROX_STEP
    return v;
}

/* Take eight positions more into account, or as many as there are up to the one that reveals a
 * knot. Gives the side of the knot; PROX_MIDDLE where none was revealed. */
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

/* The least of eight slopes, up to a sign, from a knot to its own side of the tube. */
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
