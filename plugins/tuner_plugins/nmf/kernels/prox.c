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
    double lam, low, high; /* the range of y */
    double sum, weight;    /* of w*y and w, over all */
    prox_knot knot;        /* how far the string is known */
    prox_hull ceiling, floor;
} prox_problem;

/* From the knot on: sums of w*y and w, and how often they were subtracted from. */
typedef struct {
    double sum, weight;
    int64_t at, stale;
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

/* Sums of w*y and w over the run of equal y at i; gives the position after it. */
PROX_INLINE int64_t prox_run(const prox_problem *p, int64_t i, double *sum, double *weight)
{
    const double *y = p->y, *w = p->w;
    double value = y[i], total = w ? w[i] : 1.0;
    int64_t end = i + 1, n = p->n;
    if (w)
        for (; end < n && y[end] == value; end++) total += w[end];
    else {
        while (end < n && y[end] == value) end++;
        total = (double)(end - i);
    }
    *sum = value * total;
    *weight = total;
    return end;
}

/* Make room for one more segment: slide down what is left, or double. The queue is NULL where
 * there is no memory. By value: a hull whose address is taken would leave the registers. */
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

/* Put the positions from hull->settled to `to` on the queue, merging while slopes do not rise
 * (sign = 1, minorant) or fall (-1, majorant). Slopes are compared by products: no division. */
PROX_INLINE int prox_settle(const prox_problem *p, prox_hull *hull, int64_t to, double sign)
{
    for (int64_t i = hull->settled; i < to;) {
        double sum, weight;
        i = prox_run(p, i, &sum, &weight);
        if (i == p->n) sum -= sign * p->lam; /* the tube closes */
        if (hull->back == hull->capacity) {
            *hull = prox_grow(*hull);
            if (!hull->queue) return PROX_NO_MEMORY;
        }
        prox_segment *bottom = hull->queue + hull->front, *top = hull->queue + hull->back;
        while (top > bottom && sign * (top[-1].sum * weight - sum * top[-1].weight) >= 0) {
            top--;
            sum += top->sum;
            weight += top->weight;
        }
        *top = (prox_segment){sum, weight, i};
        hull->back = top - hull->queue + 1;
    }
    hull->settled = to;
    return PROX_OK;
}

/* Find the first segment of `hull`, from the knot on it to `to`, and the sums up to there. */
PROX_INLINE void prox_rescan(const prox_problem *p, prox_reach *reach, prox_hull *hull, int64_t to,
                             double sign)
{
    double sum = 0, weight = 0, best = INFINITY;
    int64_t end = reach->at;
    for (int64_t i = reach->at; i < to;) {
        double run_sum, run_weight;
        i = prox_run(p, i, &run_sum, &run_weight);
        sum += run_sum;
        weight += run_weight;
        double slope = (sign * sum - (i == p->n ? p->lam : 0.0)) * (1.0 / weight);
        end = slope <= best ? i : end;
        best = slope <= best ? slope : best;
    }
    hull->slope = sign * best;
    hull->end = end;
    *reach = (prox_reach){sum, weight, reach->at, 0};
}

/* Find the first segment of `hull` by its queue. */
PROX_INLINE int prox_refront(const prox_problem *p, prox_reach *reach, prox_hull *hull, int64_t to,
                             double sign)
{
    int fresh = hull->back == hull->front;
    if (fresh) {
        hull->front = hull->back = 0;
        hull->settled = reach->at;
    }
    if (prox_settle(p, hull, to, sign)) return PROX_NO_MEMORY;
    const prox_segment *first = hull->queue + hull->front, *last = hull->queue + hull->back;
    hull->slope = first->sum / first->weight;
    hull->end = first->end;
    if (fresh || reach->stale++ > last - first) { /* subtractions let rounding pile up: sum anew */
        double sum = to == p->n ? sign * p->lam : 0.0, weight = 0;
        for (; first < last; first++) {
            sum += first->sum;
            weight += first->weight;
        }
        *reach = (prox_reach){sum, weight, reach->at, 0};
    }
    return PROX_OK;
}

/* Position `to` - 1 brought `crossing` to the wrong side of `hull`: follow `hull`, segment by
 * segment, until it is not. sign = 1 where `hull` is the ceiling, -1 where it is the floor. */
PROX_INLINE int prox_follow(const prox_problem *p, prox_reach *reach, prox_hull *hull,
                            prox_hull *crossing, int64_t to, double sign)
{
    double width = to == p->n ? p->lam : 2 * p->lam; /* from the knot to the far side, at `to` */
    do {
        int64_t length = hull->end - reach->at;
        prox_fill(p, reach->at, hull->end, hull->slope);
        reach->at = hull->end;
        if (hull->back > hull->front) {
            reach->sum -= hull->queue[hull->front].sum;
            reach->weight -= hull->queue[hull->front].weight;
            hull->front++;
        }
        if (hull->back == hull->front && to - hull->end <= 16 + 8 * length)
            prox_rescan(p, reach, hull, to, sign);
        else if (prox_refront(p, reach, hull, to, sign))
            return PROX_NO_MEMORY;
        crossing->slope = (reach->sum - sign * width) * (1.0 / reach->weight);
    } while (sign * (crossing->slope - hull->slope) > 0 && hull->end < to);
    crossing->end = to;
    crossing->back = crossing->front;
    return PROX_OK;
}

/* From a knot on the ceiling (sign = 1) where the signal rises until *crest, the string runs along
 * the ceiling, x = y, as long as the part of the signal above y, up to the crest, is larger than
 * the tube is wide: a lower string would leave the tube through the floor. Likewise down on the
 * floor (-1). Gives the position after the last such one, and writes nothing yet; every rise is
 * looked at once: *crest. */
PROX_INLINE int64_t prox_ride(const prox_problem *p, int64_t at, int64_t *crest, double sign)
{
    const double *y = p->y, *w = p->w;
    int64_t top = at, limit = p->n - 1;
    if (at < *crest || at >= limit - 4) return at;
    if (!((sign * (y[at + 1] - y[at]) > 0) & (sign * (y[at + 2] - y[at + 1]) > 0))) return at;
    while (top < limit && sign * (y[top + 1] - y[top]) >= 0) top++;
    *crest = top;
    double above = 0, weight = 0;
    for (; top > at; top--) {
        weight += w ? w[top] : 1.0;
        above += weight * (sign * (y[top] - y[top - 1]));
        if (above > 2 * p->lam) return top;
    }
    return at;
}

/* Pull the string from p->knot on, until it passes `limit` or a knot of the sorted list `known`
 * (4 * at + side, ended by INT64_MAX); *known is left at the first entry not before the knot. */
static __attribute__((noinline)) int prox_pull(prox_problem *p, int64_t limit,
                                               const int64_t **known)
{
    prox_hull ceiling = p->ceiling, floor = p->floor; /* copies: these live in registers */
    prox_reach reach = {0, 0, p->knot.at, 0};
    const double lam = p->lam, width = 2 * lam;
    int side = p->knot.side, status = PROX_OK;
    double from = side == PROX_CEILING ? lam : side == PROX_FLOOR ? -lam : 0.0;
    double up = lam - from, down = -lam - from; /* offsets of the tube against the knot */
    ceiling.slope = INFINITY;
    floor.slope = -INFINITY;
    ceiling.front = ceiling.back = floor.front = floor.back = 0;
    int64_t i = reach.at, crest = 0;
    while (i < p->n) {
        double sum, weight;
        i = prox_run(p, i, &sum, &weight);
        reach.sum += sum;
        reach.weight += weight;
        if (i == p->n) { /* the tube closes */
            up -= lam;
            down += lam;
        }
        int64_t ridden;
        double inverse = 1.0 / reach.weight;
        double to_ceiling = (reach.sum + up) * inverse, to_floor = (reach.sum + down) * inverse;
        if (to_ceiling < floor.slope) {
            status = prox_follow(p, &reach, &floor, &ceiling, i, -1.0);
            ridden = prox_ride(p, reach.at, &crest, -1.0);
            side = PROX_FLOOR;
            up = width;
            down = 0;
        } else if (to_floor > ceiling.slope) {
            status = prox_follow(p, &reach, &ceiling, &floor, i, 1.0);
            ridden = prox_ride(p, reach.at, &crest, 1.0);
            side = PROX_CEILING;
            up = 0;
            down = -width;
        } else { /* without a branch: nobody could predict it */
            int lower = to_ceiling <= ceiling.slope, higher = to_floor >= floor.slope;
            ceiling.slope = lower ? to_ceiling : ceiling.slope;
            ceiling.end = lower ? i : ceiling.end;
            ceiling.back = lower ? ceiling.front : ceiling.back;
            floor.slope = higher ? to_floor : floor.slope;
            floor.end = higher ? i : floor.end;
            floor.back = higher ? floor.front : floor.back;
            continue;
        }
        if (i - ridden <= 16 + 2 * (ridden - reach.at) && ridden > reach.at) {
            size_t bytes = (size_t)(ridden - reach.at) * sizeof *p->x;
            memmove(p->x + reach.at, p->y + reach.at, bytes);
            reach = (prox_reach){0, 0, ridden, 0};
            i = ridden;
            ceiling.slope = INFINITY;
            floor.slope = -INFINITY;
            ceiling.back = ceiling.front;
            floor.back = floor.front;
        }
        int64_t key = 4 * reach.at + side;
        while (**known < key) ++*known;
        if (status || (i < p->n && (reach.at >= limit || **known == key))) break;
    }
    p->knot = (prox_knot){reach.at, side};
    p->ceiling = ceiling;
    p->floor = floor;
    if (!status && i == p->n) {
        prox_fill(p, reach.at, p->n, ceiling.slope);
        p->knot = (prox_knot){p->n, PROX_MIDDLE};
    }
    return status;
}
