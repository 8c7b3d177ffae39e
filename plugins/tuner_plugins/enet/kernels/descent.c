/* Elastic net of any design from its Gram matrix: coordinate descent, one gene in each lane.
 *
 * Free columns (intercept, unpenalised covariates) are projected out beforehand (Frisch, Waugh and
 * Lovell), so that every column here is penalised. Where coordinate descent (Friedman, Hastie and
 * Tibshirani 2010, doi:10.18637/jss.v033.i01) is slow, polish.c ends it. */
#include <string.h>

#include "tile.h"

#define SWEEPS 40

typedef struct {
    enet_tile t;
    const double *gram, *norms;
    double *l1, *l2;                          /* (tied): penalties */
    lanes *left, *coef, *start, *gradient;    /* (tied): Z'y without what free columns explain, ... */
} descent;

static int open_descent(descent *w, const enet_problem *p)
{
    memset(w, 0, sizeof *w);
    if (!enet_open(&w->t, p)) return 0;
    w->l1 = enet_take(&w->t, p->tied, sizeof(double));
    w->l2 = enet_take(&w->t, p->tied, sizeof(double));
    lanes **rows[] = {&w->left, &w->coef, &w->start, &w->gradient};
    for (int i = 0; i < 4; i++) *rows[i] = enet_take(&w->t, p->tied, sizeof(lanes));
    return w->t.p != NULL;
}

static void load(descent *w, int64_t index, int64_t first, int64_t last)
{
    const enet_problem *p = w->t.p;
    const double *slopes = p->slopes + index * p->free * p->tied;
    enet_load(&w->t, index, first, last);
    w->gram = p->reduced + index * p->tied * p->tied;
    w->norms = p->reduced_norms + index * p->tied;
    for (int64_t column = 0; column < p->tied; column++) {
        lanes value = w->t.cross[p->tied_at[column]];
        for (int64_t row = 0; row < p->free; row++)
            value -= w->t.cross[p->free_at[row]] * slopes[row * p->tied + column];
        w->left[column] = value;
    }
}

/* Sweep over the columns: w_j becomes soft(G_jj w_j - gradient_j, l1_j) / (G_jj + l2_j). */
static void descend(descent *w)
{
    int64_t tied = w->t.p->tied;
    for (int64_t j = 0; j < tied; j++) w->gradient[j] = -w->left[j];
    add_product(w->gradient, w->gram, tied, w->coef, NULL, tied);
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        mask unfinished = {0};
        w->t.taken += w->t.width;
        for (int64_t j = 0; j < tied; j++) {
            if (w->norms[j] == 0) continue;
            const double *row = w->gram + j * tied, total = row[j] + w->l2[j];
            lanes target = row[j] * w->coef[j] - w->gradient[j];
            lanes step = soft_threshold(target, spread(w->l1[j])) / total - w->coef[j];
            if (!some(step != 0)) continue;
            w->coef[j] += step;
            unfinished |= absolute(step) * total > w->t.goal * w->norms[j];
            for (int64_t i = 0; i < tied; i++) w->gradient[i] += row[i] * step;
        }
        if (!some(unfinished)) break;
    }
}

/* Complete the coefficients, certify them, and polish the lanes that need it. */
static void finish(descent *w)
{
    const enet_problem *p = w->t.p;
    for (int64_t j = 0; j < p->tied; j++) w->t.coef[p->tied_at[j]] = w->coef[j];
    enet_fill_free(&w->t, ~(mask){0});
    enet_certify(&w->t);
    mask unfinished = ~(w->t.worst <= w->t.goal); /* NaN is finished too */
    if (!some(unfinished)) return;
    enet_finish(&w->t, unfinished);
    for (int64_t j = 0; j < p->tied; j++) w->coef[j] = w->t.coef[p->tied_at[j]];
}

/* Held-out errors, y'y + w'(G w - 2 Z'y), and the non-zeros. */
static void score(descent *w)
{
    const enet_problem *p = w->t.p;
    const double *gram = p->held_gram + w->t.index * p->columns * p->columns;
    const double *squares = p->held_squares + w->t.index * p->genes + w->t.first;
    lanes *image = w->t.slope;
    for (int64_t j = 0; j < p->columns; j++) image[j] = w->t.held[j] * -2;
    add_product(image, gram, p->columns, w->t.coef, NULL, p->columns);
    w->t.error = load_some(squares, w->t.width);
    w->t.nonzero = (mask){0};
    for (int64_t j = 0; j < p->columns; j++) {
        w->t.error += w->t.coef[j] * image[j];
        enet_count(&w->t, w->t.coef[j], j);
    }
}

/* As tuner_enet_newton; sweeps are counted in place of Newton steps. */
int tuner_enet_descent(const enet_problem *p, int64_t begin, int64_t end, int64_t *counts)
{
    descent w;
    int failed = !open_descent(&w, p);
    size_t bytes = (size_t)p->tied * sizeof(lanes);
    for (int64_t first = begin; first < end && !failed; first += LANES)
        for (int64_t index = 0; index < p->sets; index++) {
            load(&w, index, first, end);
            memset(w.start, 0, bytes);
            for (int64_t ratio = 0; ratio < p->ratios; ratio++) {
                memcpy(w.coef, w.start, bytes);
                for (int64_t alpha = 0; alpha < p->alphas; alpha++) {
                    enet_penalise(&w.t, alpha, ratio);
                    for (int64_t j = 0; j < p->tied; j++) {
                        w.l1[j] = w.t.l1 * p->weights[p->tied_at[j]];
                        w.l2[j] = w.t.l2 * p->weights[p->tied_at[j]];
                    }
                    descend(&w);
                    finish(&w);
                    if (!alpha) memcpy(w.start, w.coef, bytes);
                    score(&w);
                    enet_store(&w.t, alpha, ratio);
                }
            }
        }
    counts[0] = w.t.taken;
    counts[1] = w.t.polished;
    enet_close(&w.t);
    return failed;
}
