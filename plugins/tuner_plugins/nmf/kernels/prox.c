/* Exact proximal operator of the one-dimensional total variation.
 *
 *     x = argmin  1/2 sum_i w_i (x_i - y_i)^2  +  lam sum_i |x_{i+1} - x_i|
 *
 * Taut string (Davies & Kovac 2001, doi:10.1214/aos/996986501): the running sum of w*x is the
 * shortest path inside the tube of radius lam around the running sum of w*y. Two hulls are kept
 * from the last point that the string is known to pass: the greatest convex minorant of the
 * tube's ceiling and the least concave majorant of its floor, each as a queue of segments with
 * falling out of order merged (pool adjacent violators). Every position enters and leaves each
 * queue at most once: linear time on every signal. Neighbours with equal y are equal in x, so
 * they enter as one segment.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PROX_OK 0
#define PROX_NO_MEMORY 1
#define PROX_NOT_FINITE 2
#define PROX_BAD_WEIGHT 3

#define PROX_INLINE static inline __attribute__((always_inline))

/* One segment of a hull: the sum of w*y over it (with the tube's offset), the sum of w, and the
 * position after its last one. */
typedef struct {
    double sum, weight;
    int64_t end;
} prox_segment;

/* A queue of segments: pushed and merged at the back, emitted from the front. */
typedef struct {
    prox_segment *data;
    int64_t capacity, front, back;
} prox_hull;

/* What one pass over the input tells. */
typedef struct {
    double low, high, sum, weight;
} prox_survey;

PROX_INLINE double prox_at(const void *values, int64_t i, int single)
{
    return single ? (double)((const float *)values)[i] : ((const double *)values)[i];
}

PROX_INLINE void prox_fill(void *values, int64_t from, int64_t to, double value, int single)
{
    if (single) {
        float *x = values, v = (float)value;
        for (int64_t i = from; i < to; i++) x[i] = v;
    } else {
        double *x = values;
        for (int64_t i = from; i < to; i++) x[i] = value;
    }
}

/* Make room for one more segment: slide down what is left, or double. */
static __attribute__((noinline)) int prox_grow(prox_hull *hull)
{
    int64_t used = hull->back - hull->front;
    if (2 * used > hull->capacity) {
        int64_t capacity = 2 * hull->capacity;
        prox_segment *data = realloc(hull->data, (size_t)capacity * sizeof *data);
        if (!data) return PROX_NO_MEMORY;
        hull->data = data;
        hull->capacity = capacity;
    }
    memmove(hull->data, hull->data + hull->front, (size_t)used * sizeof *hull->data);
    hull->front = 0;
    hull->back = used;
    return PROX_OK;
}

/* Append a segment; merge while slopes do not rise (sign = 1, minorant) or fall (-1, majorant).
 * Slopes are compared by products: no division. There is room. */
PROX_INLINE void prox_push(prox_hull *hull, double sum, double weight, int64_t end, double sign)
{
    prox_segment *bottom = hull->data + hull->front, *top = hull->data + hull->back;
    while (top > bottom && sign * (top[-1].sum * weight - sum * top[-1].weight) >= 0) {
        top--;
        sum += top->sum;
        weight += top->weight;
    }
    top->sum = sum;
    top->weight = weight;
    top->end = end;
    hull->back = top - hull->data + 1;
}

/* `crossing` is down to one segment. While it is on the wrong side of the first segment of
 * `other`, the string must follow `other` to the end of that segment: emit it. `gap` is the
 * tube's width at the last point. */
PROX_INLINE int64_t prox_emit(prox_hull *other, prox_hull *crossing, void *x, int64_t start,
                              const prox_survey *range, double gap, double sign, int single)
{
    prox_segment *chord = crossing->data + crossing->front;
    const prox_segment *first = other->data + other->front;
    const prox_segment *last = other->data + other->back - 1, *before = first;
    while (first < last && sign * (chord->sum * first->weight - first->sum * chord->weight) < 0) {
        prox_fill(x, start, first->end,
                  fmin(fmax(first->sum / first->weight, range->low), range->high), single);
        start = first->end;
        chord->sum -= first->sum;
        chord->weight -= first->weight;
        first++;
    }
    if (first > before && last - first <= 8 * (first - before)) { /* cheap: drop what rounding has piled up */
        chord->sum = sign * gap;
        chord->weight = 0;
        for (const prox_segment *left = first; left <= last; left++) {
            chord->sum += left->sum;
            chord->weight += left->weight;
        }
    }
    other->front = first - other->data;
    return start;
}

PROX_INLINE int prox_taut_string(const void *y, const void *w, void *x, int64_t n, double lam,
                                 const prox_survey *range, prox_hull *ceiling, prox_hull *floor,
                                 int single, int weighted)
{
    int64_t start = 0, i = 0;
    double up = lam, down = -lam; /* tube offsets of the next points, against the last ones */
    double gap = 2 * lam;
    while (i < n) {
        double value = prox_at(y, i, single), weight = weighted ? prox_at(w, i, single) : 1.0;
        int64_t end = i + 1;
        if (weighted) {
            for (; end < n && prox_at(y, end, single) == value; end++)
                weight += prox_at(w, end, single);
        } else {
            while (end < n && prox_at(y, end, single) == value) end++;
            weight = (double)(end - i);
        }
        if (end == n) { /* the tube closes */
            up -= lam;
            down += lam;
            gap = 0;
        }
        if (ceiling->back == ceiling->capacity && prox_grow(ceiling)) return PROX_NO_MEMORY;
        if (floor->back == floor->capacity && prox_grow(floor)) return PROX_NO_MEMORY;
        prox_push(ceiling, value * weight + up, weight, end, 1.0);
        prox_push(floor, value * weight + down, weight, end, -1.0);
        up = down = 0.0;
        if (ceiling->back - ceiling->front == 1)
            start = prox_emit(floor, ceiling, x, start, range, gap, 1.0, single);
        if (floor->back - floor->front == 1)
            start = prox_emit(ceiling, floor, x, start, range, gap, -1.0, single);
        i = end;
    }
    for (int64_t j = ceiling->front; j < ceiling->back; j++) { /* one segment, up to rounding */
        const prox_segment *last = ceiling->data + j;
        prox_fill(x, start, last->end,
                  fmin(fmax(last->sum / last->weight, range->low), range->high), single);
        start = last->end;
    }
    return PROX_OK;
}

PROX_INLINE int prox_look(const void *y, const void *w, int64_t n, prox_survey *range, int single,
                          int weighted)
{
    double low = INFINITY, high = -INFINITY, sum = 0, total = 0, lightest = INFINITY;
    for (int64_t i = 0; i < n; i++) {
        double value = prox_at(y, i, single), weight = weighted ? prox_at(w, i, single) : 1.0;
        low = value < low ? value : low;
        high = value > high ? value : high;
        lightest = weight < lightest ? weight : lightest;
        sum += value * weight; /* a NaN or an infinity anywhere stays in the sum */
        total += weight;
    }
    if (!(lightest > 0) || !isfinite(total)) return PROX_BAD_WEIGHT;
    if (!isfinite(low) || !isfinite(high) || !isfinite(sum)) return PROX_NOT_FINITE;
    *range = (prox_survey){low, high, sum, total};
    return PROX_OK;
}

PROX_INLINE int prox_solve(const void *y, const void *w, void *x, int64_t n, double lam,
                           int single, int weighted)
{
    prox_survey range = {0, 0, 0, 0};
    int status = n > 0 ? prox_look(y, w, n, &range, single, weighted) : PROX_OK;
    if (status || n == 0) return status;
    if (lam == 0) {
        memmove(x, y, (size_t)n * (single ? sizeof(float) : sizeof(double)));
        return PROX_OK;
    }
    if (lam >= range.sum - range.low * range.weight) { /* no running sum leaves the tube */
        double mean = range.sum / range.weight;
        prox_fill(x, 0, n, fmin(fmax(mean, range.low), range.high), single);
        return PROX_OK;
    }
    int64_t capacity = n < 1024 ? n + 1 : 1024;
    prox_hull ceiling = {malloc((size_t)capacity * sizeof(prox_segment)), capacity, 0, 0};
    prox_hull floor = {malloc((size_t)capacity * sizeof(prox_segment)), capacity, 0, 0};
    status = PROX_NO_MEMORY;
    if (ceiling.data && floor.data)
        status = prox_taut_string(y, w, x, n, lam, &range, &ceiling, &floor, single, weighted);
    free(ceiling.data);
    free(floor.data);
    return status;
}

/* y, w (or NULL), x: n values; x may be y. Gives a status; x is untouched by bad input. */
int tuner_prox_tv1d_f64(const double *y, const double *w, double *x, int64_t n, double lam)
{
    return w ? prox_solve(y, w, x, n, lam, 0, 1) : prox_solve(y, NULL, x, n, lam, 0, 0);
}

int tuner_prox_tv1d_f32(const float *y, const float *w, float *x, int64_t n, double lam)
{
    return w ? prox_solve(y, w, x, n, lam, 1, 1) : prox_solve(y, NULL, x, n, lam, 1, 0);
}
