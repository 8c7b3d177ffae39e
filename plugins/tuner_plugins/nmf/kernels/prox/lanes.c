/* The taut string of a rough signal, sixteen stretches at a time.
 *
 * On a rough signal a hull has few segments, and the time goes into mispredicted branches. Here a
 * stretch keeps no hull, only the first slope of each (Condat 2013, doi:10.1109/LSP.2013.2278339):
 * where they cross, the string has a knot, and the scan starts again from it. That takes no branch,
 * so stretches run side by side, one a SIMD lane. All but the first start at a guessed knot, but the
 * string behind a knot depends on that knot alone: from the first knot on that a stretch shares with
 * the one before, it is right. Where none is shared, prox_pull_rough goes on until one is.
 */
#include <stdlib.h>

#include "taut_string.h"

#ifdef PROX_WIDE

#define PROX_LANES 16
#define PROX_STRETCH 4104 /* positions of a stretch at most, how far it reads into the next one, */
#define PROX_OVERLAP 512
#define PROX_LEAST 1024 /* and at least */
#define PROX_KNOTS (PROX_STRETCH + PROX_OVERLAP + 1)
#define PROX_LANE_STEPS 100 /* of a walk in the tube's width: wider, its segments outgrow a stretch; */
#define PROX_NOISE_STEPS 30 /* and those of noise, whose steps do not add up */
#define PROX_STEPS (6 * (PROX_STRETCH + PROX_OVERLAP)) /* then it is no signal for lanes */

/* Knots found, in order of time (`keys`, `values`; lane in bits 2..7) and by lane. */
typedef struct {
    double values[PROX_LANES * PROX_KNOTS + 8];
    int64_t keys[PROX_LANES * PROX_KNOTS + 8];
    double lane_values[PROX_LANES][PROX_KNOTS + 1];
    int64_t lane_keys[PROX_LANES][PROX_KNOTS + 1];
    int64_t counts[PROX_LANES];
} prox_lane_knots;

/* Eight lanes: where each is, and its sums and first slopes since its last knot. */
typedef struct {
    __m512i at, stop, ceiling_end, floor_end, lane;
    __m512d sum, weight, ceiling, floor, up, down;
} prox_lane_state;

/* One position further in every lane, or back to the knot that this position revealed. Gives how
 * many knots were written to `values` and `keys`. */
PROX_INLINE int prox_lane_step(const prox_problem *p, prox_lane_state *s, double *values,
                               int64_t *keys)
{
    const __m512d one = _mm512_set1_pd(1.0), zero = _mm512_setzero_pd();
    const __m512d width = _mm512_set1_pd(2 * p->lam);
    __mmask8 active = _mm512_cmplt_epi64_mask(s->at, s->stop);
    __m512d y = _mm512_mask_i64gather_pd(zero, active, s->at, p->y, 8), w = one;
    if (p->w) {
        w = _mm512_mask_i64gather_pd(one, active, s->at, p->w, 8);
        y = _mm512_mul_pd(y, w);
    }
    s->sum = _mm512_add_pd(s->sum, y);
    s->weight = _mm512_add_pd(s->weight, w);
    /* slopes from the lane's knot to the tube: (sum of w*y, plus the offset) / (sum of w) */
    __m512d inverse = _mm512_div_pd(one, s->weight);
    __m512d to_ceiling = _mm512_mul_pd(_mm512_add_pd(s->sum, s->up), inverse);
    __m512d to_floor = _mm512_mul_pd(_mm512_add_pd(s->sum, s->down), inverse);
    __mmask8 on_floor = _mm512_mask_cmp_pd_mask(active, to_ceiling, s->floor, _CMP_LT_OQ);
    __mmask8 on_ceiling = _mm512_mask_cmp_pd_mask(active, to_floor, s->ceiling, _CMP_GT_OQ);
    __mmask8 knot = on_floor | on_ceiling;
    __m512i next = _mm512_mask_add_epi64(s->at, active, s->at, _mm512_set1_epi64(1));
    __m512i end = _mm512_mask_blend_epi64(on_floor, s->ceiling_end, s->floor_end);
    __m512d slope = _mm512_mask_blend_pd(on_floor, s->ceiling, s->floor);
    __m512i side = _mm512_mask_blend_epi64(on_floor, _mm512_set1_epi64(PROX_CEILING),
                                           _mm512_set1_epi64(PROX_FLOOR));
    __m512i key = _mm512_or_epi64(_mm512_slli_epi64(end, 8), _mm512_or_epi64(s->lane, side));
    _mm512_storeu_pd(values, _mm512_maskz_compress_pd(knot, slope));
    _mm512_storeu_si512(keys, _mm512_maskz_compress_epi64(knot, key));

    __mmask8 lower = _mm512_cmp_pd_mask(to_ceiling, s->ceiling, _CMP_LE_OQ);
    __mmask8 higher = _mm512_cmp_pd_mask(to_floor, s->floor, _CMP_GE_OQ);
    s->ceiling = _mm512_mask_mov_pd(s->ceiling, lower, to_ceiling);
    s->floor = _mm512_mask_mov_pd(s->floor, higher, to_floor);
    s->ceiling_end = _mm512_mask_mov_epi64(s->ceiling_end, lower, next);
    s->floor_end = _mm512_mask_mov_epi64(s->floor_end, higher, next);

    s->at = _mm512_mask_mov_epi64(next, knot, end);
    s->sum = _mm512_mask_mov_pd(s->sum, knot, zero);
    s->weight = _mm512_mask_mov_pd(s->weight, knot, zero);
    s->ceiling = _mm512_mask_mov_pd(s->ceiling, knot, _mm512_set1_pd(INFINITY));
    s->floor = _mm512_mask_mov_pd(s->floor, knot, _mm512_set1_pd(-INFINITY));
    s->up = _mm512_mask_mov_pd(s->up, knot, zero);
    s->up = _mm512_mask_mov_pd(s->up, on_floor, width);
    s->down = _mm512_mask_mov_pd(s->down, knot, zero);
    s->down = _mm512_mask_mov_pd(s->down, on_ceiling, _mm512_sub_pd(zero, width));
    return __builtin_popcount(knot);
}

PROX_INLINE void prox_lane_start(const prox_problem *p, prox_lane_state *s,
                                 int64_t stretch, int vector)
{
    int64_t first = p->knot.at;
    int64_t at[8], stop[8];
    double up[8], down[8];
    for (int j = 0; j < 8; j++) {
        int lane = 8 * vector + j, side = lane ? PROX_MIDDLE : p->knot.side;
        double from = side == PROX_CEILING ? p->lam : side == PROX_FLOOR ? -p->lam : 0.0;
        at[j] = first + lane * stretch;
        stop[j] = first + (lane + 1) * stretch + (lane < PROX_LANES - 1 ? PROX_OVERLAP : 0);
        up[j] = p->lam - from;
        down[j] = -p->lam - from;
    }
    s->at = _mm512_loadu_si512(at);
    s->stop = _mm512_loadu_si512(stop);
    s->up = _mm512_loadu_pd(up);
    s->down = _mm512_loadu_pd(down);
    s->lane = _mm512_slli_epi64(
        _mm512_add_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi64(8 * vector)), 2);
    s->ceiling_end = s->floor_end = s->at;
    s->sum = s->weight = _mm512_setzero_pd();
    s->ceiling = _mm512_set1_pd(INFINITY);
    s->floor = _mm512_set1_pd(-INFINITY);
}

/* Run every lane to its end; sort the knots by lane. 0 where the signal makes lanes go back and
 * forth too often. */
static int prox_run_lanes(const prox_problem *p, prox_lane_knots *out, int64_t stretch)
{
    prox_lane_state low, high; /* two vectors: the latency of one hides in the other */
    prox_lane_start(p, &low, stretch, 0);
    prox_lane_start(p, &high, stretch, 1);
    int64_t count = 0, steps = 0;
    while (_mm512_cmplt_epi64_mask(low.at, low.stop) | _mm512_cmplt_epi64_mask(high.at, high.stop)) {
        if (steps++ == PROX_STEPS) return 0;
        count += prox_lane_step(p, &low, out->values + count, out->keys + count);
        count += prox_lane_step(p, &high, out->values + count, out->keys + count);
    }
    for (int lane = 0; lane < PROX_LANES; lane++) out->counts[lane] = 0;
    for (int64_t j = 0; j < count; j++) {
        int64_t key = out->keys[j], lane = (key >> 2) & 63, place = out->counts[lane]++;
        out->lane_keys[lane][place] = (key >> 8 << 2) | (key & 3);
        out->lane_values[lane][place] = out->values[j];
    }
    for (int lane = 0; lane < PROX_LANES; lane++)
        out->lane_keys[lane][out->counts[lane]] = INT64_MAX;
    return 1;
}

PROX_INLINE void prox_fill_short(const prox_problem *p, int64_t from, int64_t to, double value)
{
    if (to - from > 8) {
        prox_fill(p, from, to, value);
        return;
    }
    value = prox_clamp(p, value);
    __mmask8 mask = (__mmask8)((1u << (to - from)) - 1);
    _mm512_mask_storeu_pd(p->x + from, mask, _mm512_set1_pd(value));
}

/* Pull the string from p->knot over sixteen stretches or nearly; *pulled says over how many
 * positions the lanes were of no use. */
static int prox_lanes(prox_problem *p, prox_lane_knots *knots, int64_t stretch, int64_t *pulled)
{
    int64_t first = p->knot.at;
    *pulled = PROX_LANES * stretch;
    if (!prox_run_lanes(p, knots, stretch)) return PROX_OK;
    *pulled = 0;
    const int64_t *here = knots->lane_keys[0]; /* NULL while the string is not on the lane */
    for (int lane = 0; lane < PROX_LANES; lane++) {
        int64_t border = first + (lane + 1) * stretch;
        const int64_t *keys = knots->lane_keys[lane];
        const int64_t *next = lane + 1 < PROX_LANES ? knots->lane_keys[lane + 1] : NULL;
        for (; here && *here != INT64_MAX; here++) {
            prox_fill_short(p, p->knot.at, *here >> 2, knots->lane_values[lane][here - keys]);
            p->knot = (prox_knot){*here >> 2, (int)(*here & 3)};
            if (next && p->knot.at > border) {
                while (*next < *here) next++;
                if (*next == *here) break;
            }
        }
        if (!next) break;
        int64_t start = p->knot.at;
        while (*next < 4 * start + p->knot.side) next++;
        if (*next != 4 * start + p->knot.side && start < border + stretch) {
            int status = prox_pull_rough(p, border + stretch, &next);
            if (status || p->knot.at == p->n) return status;
            *pulled += p->knot.at - start;
        }
        here = *next == 4 * p->knot.at + p->knot.side ? next + 1 : NULL;
    }
    return PROX_OK;
}

int prox_lanes_pay(const prox_shape *shape, int64_t n, double lam)
{
    if (n <= PROX_LANES * PROX_LEAST) return 0; /* too short to be cut into lanes */
    if (!prox_is_rough(shape)) return 0;
    double steps = prox_is_noise(shape) ? PROX_NOISE_STEPS : PROX_LANE_STEPS;
    return lam * (double)shape->seen <= steps * shape->near;
}

int prox_pull_lanes(prox_problem *p)
{
    int status = PROX_OK;
    const int64_t none = INT64_MAX, *known = &none;
    prox_lane_knots *knots = malloc(sizeof *knots);
    int64_t patience = PROX_LANES * PROX_STRETCH;
    while (knots && !status && p->n - p->knot.at > PROX_LANES * PROX_LEAST) {
        int64_t pulled, stretch = (p->n - 1 - p->knot.at) / PROX_LANES;
        stretch = stretch < PROX_STRETCH ? stretch : PROX_STRETCH;
        status = prox_look(p, p->knot.at + PROX_LANES * stretch + PROX_OVERLAP);
        if (!status) status = prox_lanes(p, knots, stretch, &pulled);
        if (status || p->knot.at == p->n) break;
        if (2 * pulled > PROX_LANES * stretch) { /* lanes do not pay here */
            patience *= 4;
            status = prox_pull_rough(p, p->knot.at + patience, &known);
        } else {
            patience = PROX_LANES * PROX_STRETCH;
        }
    }
    free(knots);
    if (!status && p->knot.at < p->n) status = prox_pull_rough(p, INT64_MAX, &known);
    return status;
}

#endif
