/* Elastic net of designs whose main block has disjoint columns: a semismooth Newton method.
 *
 * The columns of a one-hot block D never overlap, D'D is diagonal, and for given coefficients theta
 * of the other columns R (intercept, covariates) the best coefficients of D are known:
 * beta = soft(D'y - D'R theta, l1) / (diag(D'D) + l2). What is left is a convex, piecewise quadratic,
 * once differentiable function of the few theta, plus their own l1 penalty. Newton steps on its
 * pieces (Li, Sun and Toh 2018, doi:10.1137/16M1097572, use the same idea on the dual) end at the
 * exact minimum once signs repeat, from a warm start after one or two steps.
 *
 * Columns of R are scaled to unit norm, so that residuals are correlations and pivots comparable.
 * Lanes whose steps cycle, or whose piece is singular (no control cells), are left to polish.c. */
#include <math.h>
#include <string.h>

#include "tile.h"

#define STEPS 14
#define PATIENCE 4
#define PIVOT 1e-11
#define NEARLY 100 /* so many times the goal is near enough to be left as it is */
#define TRIANGLE(row) ((row) * ((row) + 1) / 2)

typedef struct {
    enet_tile t;
    int64_t k, q;
    const double *d, *m, *away, *mm, *g, *scale; /* the training set: problem.py */
    const uint8_t *pinned;
    double *l1, *inverse, *theta_l1, *theta_l2; /* (k), (k): 1 / (d + l2); (q), (q) */
    double *d_weights, *r_weights;              /* (k), (q): penalty factors */
    lanes *s, *held_s, *beta, *weight, *known, *change; /* (k) */
    lanes *r, *held_r, *theta, *slope, *step, *rhs, *column; /* (q) */
    mask *is_free;                              /* (q): where theta is not held at zero */
    lanes *curvature, *piece;                   /* lower triangles, (q, q) */
    lanes *path, *earlier;                      /* (ratios, alphas, q): theta of all fits */
    int64_t *active, *moved, *listed;           /* rows of beta, of weight and of theta */
    int64_t n_active;
    lanes residual;
} newton;

static int open_newton(newton *w, const enet_problem *p)
{
    memset(w, 0, sizeof *w);
    if (!enet_open(&w->t, p)) return 0;
    int64_t k = w->k = p->k, q = w->q = p->q, fits = p->ratios * p->alphas * q;
    struct { void *place; int64_t count; size_t size; } rooms[] = {
        {&w->l1, k, 8}, {&w->inverse, k, 8}, {&w->theta_l1, q, 8}, {&w->theta_l2, q, 8},
        {&w->d_weights, k, 8}, {&w->r_weights, q, 8},
        {&w->active, k + 1, 8}, {&w->moved, k + 1, 8}, {&w->listed, q + 1, 8},
        {&w->s, k, sizeof(lanes)}, {&w->held_s, k, sizeof(lanes)}, {&w->beta, k, sizeof(lanes)},
        {&w->weight, k, sizeof(lanes)}, {&w->known, k, sizeof(lanes)}, {&w->change, k, sizeof(lanes)},
        {&w->r, q, sizeof(lanes)}, {&w->held_r, q, sizeof(lanes)}, {&w->theta, q, sizeof(lanes)},
        {&w->slope, q, sizeof(lanes)}, {&w->step, q, sizeof(lanes)}, {&w->rhs, q, sizeof(lanes)},
        {&w->column, q, sizeof(lanes)}, {&w->is_free, q, sizeof(lanes)},
        {&w->curvature, TRIANGLE(q), sizeof(lanes)}, {&w->piece, TRIANGLE(q), sizeof(lanes)},
        {&w->path, fits, sizeof(lanes)}, {&w->earlier, fits, sizeof(lanes)},
    };
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        void *taken = enet_take(&w->t, rooms[i].count, rooms[i].size);
        memcpy(rooms[i].place, &taken, sizeof taken);
    }
    if (!w->t.p) return 0;
    for (int64_t row = 0; row < k; row++) w->d_weights[row] = p->weights[p->d_at[row]];
    for (int64_t column = 0; column < q; column++) w->r_weights[column] = p->weights[p->r_at[column]];
    return 1;
}

static void load(newton *w, int64_t index, int64_t first, int64_t last)
{
    const enet_problem *p = w->t.p;
    int64_t k = w->k, q = w->q;
    enet_load(&w->t, index, first, last);
    w->d = p->d + index * k;
    w->m = p->m + index * k * q;
    w->away = p->away + index * q * k;
    w->mm = p->mm + index * (k + 1) * TRIANGLE(q);
    w->g = p->g + index * q * q;
    w->scale = p->scale + index * q;
    w->pinned = p->pinned + index * q;
    for (int64_t row = 0; row < k; row++) {
        w->s[row] = w->t.cross[p->d_at[row]];
        w->held_s[row] = w->t.held[p->d_at[row]];
        w->known[row] = spread(NAN); /* differs from everything: the curvature is built anew */
    }
    for (int64_t column = 0; column < q; column++) {
        w->r[column] = w->t.cross[p->r_at[column]] * w->scale[column];
        w->held_r[column] = w->t.held[p->r_at[column]] * w->scale[column];
    }
}

/* Set the penalties of a fit; an empty column of D gets the coefficient 0. */
static void penalise(newton *w, int64_t alpha, int64_t ratio)
{
    enet_penalise(&w->t, alpha, ratio);
    double l1 = w->t.l1, l2 = w->t.l2;
    for (int64_t row = 0; row < w->k; row++) {
        double total = w->d[row] + l2 * w->d_weights[row];
        w->l1[row] = l1 * w->d_weights[row];
        w->inverse[row] = total > 0 ? 1 / total : 0;
    }
    for (int64_t column = 0; column < w->q; column++) {
        w->theta_l1[column] = l1 * w->r_weights[column] * w->scale[column];
        w->theta_l2[column] = l2 * w->r_weights[column] * w->scale[column] * w->scale[column];
    }
}

/* beta = soft(s - m theta, l1) / (d + l2); `weight` becomes 1 / (d + l2) where it is not zero. */
INLINE void shrink_block(newton *w, const int held, int64_t first)
{
    lanes u[MOST_HELD];
#pragma GCC unroll 12
    for (int t = 0; t < held; t++) u[t] = w->s[first + t];
    for (int64_t j = 0; j < w->q; j++) {
        const double *factor = w->away + j * w->k + first;
        const lanes theta = w->theta[j];
#pragma GCC unroll 12
        for (int t = 0; t < held; t++) u[t] += factor[t] * theta;
    }
#pragma GCC unroll 12
    for (int t = 0; t < held; t++) {
        const lanes l1 = spread(w->l1[first + t]), inverse = spread(w->inverse[first + t]);
        const mask is_active = absolute(u[t]) > l1;
        w->beta[first + t] = keep(is_active, (u[t] - signed_as(l1, u[t])) * inverse);
        w->weight[first + t] = keep(is_active, inverse);
        /* Without a branch, which could not be predicted. */
        w->active[w->n_active] = first + t;
        w->n_active += some(is_active);
    }
}

/* Compute beta, the residual and `slope`, which a Newton step has to cancel: the slope of the reduced
 * function, or, where theta is held at zero, theta itself. Return the lanes that are solved. */
static mask evaluate(newton *w)
{
    int64_t q = w->q;
    w->n_active = 0;
    FOR_BLOCKS(w->k, shrink_block(w, held, first))
    for (int64_t j = 0; j < q; j++) w->slope[j] = w->theta[j] * w->theta_l2[j] - w->r[j];
    add_product(w->slope, w->g, q, w->theta, NULL, q);
    add_product(w->slope, w->m, q, w->beta, w->active, w->n_active);
    w->residual = (lanes){0};
    for (int64_t j = 0; j < q; j++) {
        lanes slope = w->slope[j], theta = w->theta[j], l1 = spread(w->theta_l1[j]);
        w->is_free[j] = (mask){0} - !w->pinned[j];
        if (w->pinned[j]) {
            w->slope[j] = (lanes){0};
            continue;
        }
        lanes excess = violation(slope, theta, l1);
        w->residual = choose(excess <= w->residual, w->residual, excess);
        if (w->theta_l1[j] > 0) {
            lanes target = theta - slope;
            w->is_free[j] = absolute(target) > l1;
            w->slope[j] = choose(w->is_free[j], slope + signed_as(l1, target), theta);
        }
    }
    return w->residual <= w->t.goal;
}

/* curvature = R'R - sum over active k of m_k m_k' / (d_k + l2_k), in each lane. This is most of the
 * work of a step, so that the sum over k is taken over from the step before where fewer of its terms
 * changed than it has. */
static void build_curvature(newton *w)
{
    int64_t n_moved = 0, size = TRIANGLE(w->q);
    for (int64_t row = 0; row < w->k; row++) {
        lanes now = w->weight[row], before = w->known[row];
        w->change[row] = now - before;
        w->known[row] = now;
        w->moved[n_moved] = row;
        n_moved += some(now != before);
    }
    if (n_moved < w->n_active) {
        add_product(w->curvature, w->mm, size, w->change, w->moved, n_moved);
        return;
    }
    for (int64_t at = 0; at < size; at++) w->curvature[at] = spread(w->mm[w->k * size + at]);
    add_product(w->curvature, w->mm, size, w->weight, w->active, w->n_active);
}

/* Set up the equations of the theta that are free in any lane: (curvature + l2) step = rhs. Where
 * theta is held at zero its step is known, and goes to the right side. */
static int64_t set_up(newton *w)
{
    int64_t q = w->q, count = 0;
    for (int64_t j = 0; j < q; j++) w->step[j] = -w->slope[j];
    for (int64_t j = 0; j < q; j++) {
        if (some(w->is_free[j])) w->listed[count++] = j;
        lanes known = keep(~w->is_free[j], w->slope[j]);
        if (!some(known != 0)) continue;
        for (int64_t i = 0; i < q; i++) {
            int64_t at = i > j ? TRIANGLE(i) + j : TRIANGLE(j) + i;
            w->step[i] += keep(w->is_free[i], known * w->curvature[at]);
        }
    }
    for (int64_t a = 0; a < count; a++) {
        int64_t i = w->listed[a];
        const lanes *from = w->curvature + TRIANGLE(i);
        lanes *row = w->piece + TRIANGLE(a);
        for (int64_t b = 0; b < a; b++)
            row[b] = keep(w->is_free[i] & w->is_free[w->listed[b]], from[w->listed[b]]);
        row[a] = choose(w->is_free[i], from[i] + w->theta_l2[i], spread(1));
        w->rhs[a] = w->step[i];
    }
    return count;
}

/* Solve piece x = rhs by an LDL' factorisation in each lane; return the singular lanes. */
static mask solve(newton *w, int64_t count)
{
    lanes *piece = w->piece, *x = w->rhs, *column = w->column;
    mask singular = {0};
    for (int64_t j = 0; j < count; j++) {
        lanes pivot = piece[TRIANGLE(j) + j];
        mask low = pivot < PIVOT;
        singular |= low;
        lanes inverse = 1 / choose(low, spread(PIVOT), pivot);
        for (int64_t i = j + 1; i < count; i++) {
            lanes *row = piece + TRIANGLE(i), share = row[j] * inverse;
            column[i] = row[j];
            row[j] = share;
            for (int64_t t = j + 1; t <= i; t++) row[t] -= share * column[t];
        }
        x[j] *= inverse;
        for (int64_t t = j + 1; t < count; t++) x[t] -= x[j] * column[t];
    }
    for (int64_t j = count - 1; j > 0; j--)
        for (int64_t t = 0; t < j; t++) x[t] -= x[j] * piece[TRIANGLE(j) + t];
    return singular;
}

/* Solve the lanes from the theta that they have. Beta, theta and residual then belong together. */
static void run_newton(newton *w)
{
    mask singular = {0};
    for (int step = 0; step < STEPS; step++) {
        mask ended = evaluate(w) | singular;
        if (every(ended)) return;
        w->t.taken += __builtin_popcount(~bits(ended) & ((1u << w->t.width) - 1));
        build_curvature(w);
        int64_t count = set_up(w);
        singular |= solve(w, count);
        ended |= singular;
        for (int64_t a = 0; a < count; a++) w->step[w->listed[a]] = w->rhs[a];
        /* Undamped steps can cycle between two pieces; the minimum is then in one between them. */
        double length = step >= PATIENCE && step % 2 == 0 ? 0.5 : 1.0;
        for (int64_t j = 0; j < w->q; j++) w->theta[j] += keep(~ended, length * w->step[j]);
    }
    evaluate(w);
}

/* Guess theta of a fit from those before it, so that few steps are left: it is near its mean over the
 * training sets before, and differs from that much as it does at its neighbours on the grid. */
static void predict(newton *w, int64_t alpha, int64_t ratio)
{
    const enet_problem *p = w->t.p;
    double share = 1.0 / (w->t.index ? w->t.index : 1), weight = alpha && ratio ? 0.5 : 1;
    int64_t at = (ratio * p->alphas + alpha) * w->q;
    int64_t before[] = {ratio ? at - p->alphas * w->q : -1, alpha ? at - w->q : -1};
    for (int64_t j = 0; j < w->q; j++) w->theta[j] = w->earlier[at + j] * share;
    for (int i = 0; i < 2; i++)
        for (int64_t j = 0; before[i] >= 0 && j < w->q; j++)
            w->theta[j] += (w->path[before[i] + j] - w->earlier[before[i] + j] * share) * weight;
}

/* Write beta and theta, unscaled, to the columns of Z. */
static void assemble(newton *w)
{
    const enet_problem *p = w->t.p;
    for (int64_t row = 0; row < w->k; row++) w->t.coef[p->d_at[row]] = w->beta[row];
    for (int64_t j = 0; j < w->q; j++) w->t.coef[p->r_at[j]] = w->theta[j] * w->scale[j];
}

/* Polish the lanes that are not nearly solved. */
static void finish(newton *w)
{
    const enet_problem *p = w->t.p;
    w->t.worst = w->residual;
    /* Written so that NaN, of a step that ran off, is finished too. */
    mask unfinished = ~(w->residual <= NEARLY * w->t.goal);
    if (!some(unfinished)) return;
    assemble(w);
    enet_finish(&w->t, unfinished);
    for (int64_t j = 0; j < w->q; j++)
        if (w->scale[j] > 0) w->theta[j] = w->t.coef[p->r_at[j]] / w->scale[j];
    w->n_active = 0;
    for (int64_t row = 0; row < w->k; row++) {
        w->beta[row] = w->t.coef[p->d_at[row]];
        w->active[w->n_active] = row;
        w->n_active += some(w->beta[row] != 0);
    }
}

/* Held-out errors, y'y + theta'(g theta + 2 m beta - 2 r) + beta'(d beta - 2 s), and the non-zeros. */
static void score(newton *w)
{
    const enet_problem *p = w->t.p;
    int64_t k = w->k, q = w->q, index = w->t.index;
    const double *d = p->held_d + index * k, *squares = p->held_squares + index * p->genes + w->t.first;
    lanes *image = w->slope;
    for (int64_t j = 0; j < q; j++) image[j] = w->held_r[j] * -2;
    add_product(image, p->held_g + index * q * q, q, w->theta, NULL, q);
    add_product(image, p->held_m + index * k * q, q, w->beta, w->active, w->n_active);
    w->t.error = load_some(squares, w->t.width);
    w->t.nonzero = (mask){0};
    for (int64_t j = 0; j < q; j++) {
        w->t.error += w->theta[j] * image[j];
        enet_count(&w->t, w->theta[j], p->r_at[j]);
    }
    for (int64_t at = 0; at < w->n_active; at++) {
        int64_t row = w->active[at];
        lanes beta = w->beta[row];
        w->t.error += beta * (d[row] * beta - 2 * w->held_s[row]);
        enet_count(&w->t, beta, p->d_at[row]);
    }
}

/* Fit genes `begin` to `end` on every training set; `counts` becomes the Newton steps, by gene, and
 * the fits that were polished. Return 0, or 1 where there is not the memory. */
int tuner_enet_newton(const enet_problem *p, int64_t begin, int64_t end, int64_t *counts)
{
    newton w;
    int failed = !open_newton(&w, p);
    int64_t fits = p->ratios * p->alphas * p->q;
    for (int64_t first = begin; first < end && !failed; first += LANES) {
        memset(w.earlier, 0, (size_t)fits * sizeof(lanes));
        for (int64_t index = 0; index < p->sets; index++) {
            load(&w, index, first, end);
            for (int64_t ratio = 0; ratio < p->ratios; ratio++)
                for (int64_t alpha = 0; alpha < p->alphas; alpha++) {
                    predict(&w, alpha, ratio);
                    penalise(&w, alpha, ratio);
                    run_newton(&w);
                    finish(&w);
                    memcpy(w.path + (ratio * p->alphas + alpha) * p->q, w.theta, (size_t)p->q * sizeof(lanes));
                    score(&w);
                    if (p->keeps) assemble(&w);
                    enet_store(&w.t, alpha, ratio);
                }
            for (int64_t at = 0; at < fits; at++) w.earlier[at] += w.path[at];
        }
    }
    counts[0] = w.t.taken;
    counts[1] = w.t.polished;
    enet_close(&w.t);
    return failed;
}
