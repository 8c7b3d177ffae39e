/* The string from knot to knot: the first segment of the hull that it did not touch, over and over.
 * Between two knots it is straight, x = (sum of w*y, with the tube's offsets) / (sum of w). */
#include "hull.h"
#include "taut_string.h"
#include "vectors.h"

#ifndef PROX_PLAIN

#define PROX_AHEAD 2048 /* positions looked at before they are used */
#define PROX_CALM 32 /* positions since a first segment was met, after which few more will meet one */
#define PROX_SPARE 4096 /* positions that a rescan may go back on a rough signal */

/* Find the first segment of `hull`, from the knot on it to `to`, and the sums up to there. */
PROX_INLINE void prox_rescan(const prox_problem *p, prox_reach *reach, prox_hull *hull, int64_t to,
                             double sign)
{
    prox_reach seen = {0, 0, reach->at, reach->at, 0, 0};
    double best = INFINITY;
    int64_t end = reach->at;
    while (seen.to < to) {
        if (seen.to - end >= PROX_CALM)
            prox_glide(p, &seen, sign > 0 ? best : -INFINITY, sign > 0 ? INFINITY : -best, 0, 0, to);
        if (seen.to == to) break;
#ifdef PROX_WIDE
        int64_t i = seen.to;
        if (i + PROX_BLOCK <= to && i + PROX_BLOCK < p->n && !prox_rests(p, i)) {
            int64_t last;
            double least = prox_least(p, i, &seen.sum, &seen.weight, sign, &last);
            end = least <= best ? last : end;
            best = least <= best ? least : best;
            seen.to += PROX_BLOCK;
            continue;
        }
#endif
        double sum, weight;
        seen.to = prox_run(p, seen.to, to, &sum, &weight);
        seen.sum += sum;
        seen.weight += weight;
        double slope = (sign * seen.sum - (seen.to == p->n ? p->lam : 0.0)) * (1.0 / seen.weight);
        end = slope <= best ? seen.to : end;
        best = slope <= best ? slope : best;
    }
    hull->slope = sign * best;
    hull->end = end;
    reach->sum = seen.sum;
    reach->weight = seen.weight;
    reach->stale = 0;
}

/* Return whether so many positions may be looked at again, after a segment of `length` was followed: a
 * few times more, or, where the signal is rough and a queue costs more, as many as were saved. */
PROX_INLINE int prox_may_rescan(prox_problem *p, int64_t count, int64_t length, int rough)
{
    if (rough) {
        p->spare += 32 * length;
        p->spare = p->spare < PROX_SPARE ? p->spare : PROX_SPARE;
        if (count <= p->spare) {
            p->spare -= count;
            return 1;
        }
    }
    return count <= 16 + 8 * length;
}

/* Find the first segment of `hull` by its queue. */
PROX_INLINE int prox_refront(const prox_problem *p, prox_reach *reach, prox_hull *hull, int64_t to,
                             double sign, int rough)
{
    int fresh = hull->back == hull->front;
    if (fresh) {
        hull->front = hull->back = 0;
        hull->settled = reach->at;
    }
    if (prox_enqueue(p, hull, to, sign, rough)) return PROX_NO_MEMORY;
    const prox_segment *first = hull->queue + hull->front, *last = hull->queue + hull->back;
    hull->slope = first->sum / first->weight;
    hull->end = first->end;
    if (fresh || reach->stale++ > 4 * (last - first)) { /* subtractions let rounding pile up: sum anew */
        double sum = to == p->n ? sign * p->lam : 0.0, weight = 0;
        for (; first < last; first++) {
            sum += first->sum;
            weight += first->weight;
        }
        reach->sum = sum;
        reach->weight = weight;
        reach->stale = 0;
    }
    return PROX_OK;
}

/* From a knot on the ceiling (sign = 1) on, while the signal rises, the string runs along the
 * ceiling, x = y, as long as the part of the signal above y, on both sides of the crest, is larger
 * than the tube is wide: a lower string would leave the tube through the floor. Likewise down on
 * the floor (-1). Returns 1 where that led on. A rise is looked at once, and as far behind its crest
 * as is in proportion: that is linear time. */
PROX_INLINE int prox_ride(const prox_problem *p, prox_reach *reach, double sign)
{
    const double *y = p->y, *w = p->w;
    int64_t at = reach->at, top = at, limit = p->n - 1;
    if (at < reach->crest || at >= limit - 2) return 0;
    if (!((sign * (y[at + 1] - y[at]) > 0) & (sign * (y[at + 2] - y[at + 1]) > 0))) return 0;
    while (top < limit && sign * (y[top + 1] - y[top]) >= 0) top++;
    reach->crest = top;
    int64_t far = top + 16 + 8 * (top - at), behind = top + 1;
    if (reach->to > far) return 0;
    far = far < limit ? far : limit;
    double above = 0, weight = 0;
    for (; top > at; top--) {
        double level = y[top - 1];
        weight += w ? w[top] : 1.0;
        above += weight * (sign * (y[top] - level));
        for (; behind < far && sign * (y[behind] - level) > 0; behind++) {
            double heavy = w ? w[behind] : 1.0;
            above += heavy * (sign * (y[behind] - level));
            weight += heavy;
        }
        if (above > 2 * p->lam) break;
    }
    if (top == at || reach->to - top > 16 + 8 * (top - at)) return 0; /* too much to see again */
    memmove(p->x + at, y + at, (size_t)(top - at) * sizeof *y);
    reach->at = reach->to = top;
    return 1;
}

/* The last position brought `crossing` to the wrong side of `hull`: follow `hull`, segment by
 * segment, until it is not. sign = 1 where `hull` is the ceiling, -1 where it is the floor. */
PROX_INLINE int prox_follow(prox_problem *p, prox_reach *reach, prox_hull *hull,
                            prox_hull *crossing, double sign, int rough)
{
    int64_t to = reach->to;
    double width = to == p->n ? p->lam : 2 * p->lam; /* from the knot to the far side, at `to` */
    crossing->back = crossing->front;
    do {
        int64_t length = hull->end - reach->at;
        prox_fill(p, reach->at, hull->end, hull->slope);
        reach->at = hull->end;
        if (prox_ride(p, reach, sign)) { /* and start anew from there */
            reach->sum = reach->weight = 0;
            hull->slope = sign * INFINITY;
            crossing->slope = -sign * INFINITY;
            hull->end = crossing->end = reach->at;
            hull->back = hull->front;
            return PROX_OK;
        }
        if (hull->back > hull->front) {
            reach->sum -= hull->queue[hull->front].sum;
            reach->weight -= hull->queue[hull->front].weight;
            hull->front++;
        }
        if (hull->back == hull->front && prox_may_rescan(p, to - hull->end, length, rough))
            prox_rescan(p, reach, hull, to, sign);
        else if (prox_refront(p, reach, hull, to, sign, rough))
            return PROX_NO_MEMORY;
        /* the straight line from the new knot to the far side of the tube at `to` */
        crossing->slope = (reach->sum - sign * width) * (1.0 / reach->weight);
    } while (sign * (crossing->slope - hull->slope) > 0 && hull->end < to);
    crossing->end = to;
    return PROX_OK;
}

/* Take a run of equal y more into account. Return the side of the knot that it reveals. */
PROX_INLINE int prox_forward_run(const prox_problem *p, prox_reach *reach, prox_hull *ceiling,
                                 prox_hull *floor, double up, double down)
{
    double sum, weight;
    reach->to = prox_run(p, reach->to, p->n, &sum, &weight);
    reach->sum += sum;
    reach->weight += weight;
    if (reach->to == p->n) { /* the tube closes */
        up -= p->lam;
        down += p->lam;
    }
    double inverse = 1.0 / reach->weight;
    /* Slopes from the knot to the tube at `to`: (sum of w*y, plus the offset) / (sum of w). */
    double to_ceiling = (reach->sum + up) * inverse, to_floor = (reach->sum + down) * inverse;
    if (to_ceiling < floor->slope) return PROX_FLOOR;
    if (to_floor > ceiling->slope) return PROX_CEILING;
    int lower = to_ceiling <= ceiling->slope, higher = to_floor >= floor->slope;
    ceiling->slope = lower ? to_ceiling : ceiling->slope;
    ceiling->end = lower ? reach->to : ceiling->end;
    ceiling->back = lower ? ceiling->front : ceiling->back;
    floor->slope = higher ? to_floor : floor->slope;
    floor->end = higher ? reach->to : floor->end;
    floor->back = higher ? floor->front : floor->back;
    return PROX_MIDDLE;
}

/* prox_pull of a signal that is rough or not: one code for each. */
PROX_INLINE int prox_pull_kind(prox_problem *p, int64_t limit, const int64_t **known, int rough)
{
    prox_hull ceiling = p->ceiling, floor = p->floor; /* copies: these live in registers */
    prox_reach reach = {0, 0, p->knot.at, p->knot.at, 0, 0};
    const double lam = p->lam, width = 2 * lam;
    int side = p->knot.side, status = PROX_OK;
    double from = side == PROX_CEILING ? lam : side == PROX_FLOOR ? -lam : 0.0;
    double up = lam - from, down = -lam - from; /* offsets of the tube against the knot */
    ceiling.slope = INFINITY;
    floor.slope = -INFINITY;
    ceiling.end = floor.end = reach.at;
    ceiling.front = ceiling.back = floor.front = floor.back = 0;
    while (reach.to < p->n) {
        int found;
        if (__builtin_expect(reach.to + PROX_BLOCK > p->seen && p->seen < p->n, 0)) {
            status = prox_look(p, reach.to + PROX_AHEAD);
            if (status) break;
        }
        if (reach.to - ceiling.end >= PROX_CALM && reach.to - floor.end >= PROX_CALM)
            prox_glide(p, &reach, ceiling.slope, floor.slope, up, down, p->seen);
#ifdef PROX_WIDE
        if (reach.to + PROX_BLOCK < p->n && !prox_rests(p, reach.to))
            found = prox_forward(p, &reach, &ceiling, &floor, up, down);
        else
#endif
            found = prox_forward_run(p, &reach, &ceiling, &floor, up, down);
        if (found == PROX_MIDDLE) continue;
        side = found;
        if (side == PROX_FLOOR)
            status = prox_follow(p, &reach, &floor, &ceiling, -1.0, rough);
        else
            status = prox_follow(p, &reach, &ceiling, &floor, 1.0, rough);
        up = side == PROX_FLOOR ? width : 0.0;
        down = side == PROX_FLOOR ? 0.0 : -width;
        int64_t key = 4 * reach.at + side;
        while (**known < key) ++*known;
        if (status || (reach.to < p->n && (reach.at >= limit || **known == key))) break;
    }
    p->knot = (prox_knot){reach.at, side};
    p->ceiling = ceiling;
    p->floor = floor;
    if (!status && reach.to == p->n) {
        prox_fill(p, reach.at, p->n, ceiling.slope);
        p->knot = (prox_knot){p->n, PROX_MIDDLE};
    }
    return status;
}

int prox_pull(prox_problem *p, int64_t limit, const int64_t **known)
{
    return prox_pull_kind(p, limit, known, 0);
}

#ifdef PROX_WIDE
int prox_pull_rough(prox_problem *p, int64_t limit, const int64_t **known)
{
    return prox_pull_kind(p, limit, known, 1);
}
#endif

#endif
