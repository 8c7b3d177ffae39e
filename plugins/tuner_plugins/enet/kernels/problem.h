/* What Python hands over: one word for each field, in this order (solvers/compiled.py). */
#ifndef TUNER_ENET_PROBLEM_H
#define TUNER_ENET_PROBLEM_H

#include <stdint.h>

typedef struct {
    int64_t sets, columns, genes; /* training sets; columns of Z = [1, X] */
    int64_t alphas, ratios, keeps; /* keeps: whether coefficients are wanted */
    int64_t free, tied;           /* columns without and with a penalty */
    int64_t k, q;                 /* columns that are eliminated, and the rest; 0 by descent */
    /* Sets of solvers/arrays.py */
    const double *gram, *held_gram, *total, *held, *squares, *held_squares, *norms, *weights, *cells;
    /* Projection */
    const int64_t *free_at, *tied_at;
    const double *inverse, *slopes, *reduced, *reduced_norms;
    /* Grid */
    const double *alpha, *ratio, *tolerance;
    /* Output */
    double *sse;
    int32_t *nonzero;
    double *coef, *kkt;
    /* OneHot */
    const int64_t *d_at, *r_at;
    const double *scale, *d, *m, *away, *mm, *g;
    const uint8_t *pinned;
    const double *held_d, *held_m, *held_g;
} enet_problem;

#endif
