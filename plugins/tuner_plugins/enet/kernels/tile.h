/* A tile: one gene in each lane, one training set; what both solvers do with it. */
#ifndef TUNER_ENET_TILE_H
#define TUNER_ENET_TILE_H

#include "lanes.h"
#include "problem.h"

typedef struct enet_room enet_room; /* memory of one call: taken piece by piece, given back at once */

typedef struct {
    const enet_problem *p;
    enet_room *room;
    int64_t index, first, width; /* training set, first gene, lanes in use */
    double l1, l2;               /* penalties in units of half the sum of squares */
    lanes goal, worst, error;    /* residual to reach and reached, held-out squares */
    mask nonzero;                /* penalised coefficients that are not zero */
    lanes *cross, *held, *coef, *slope; /* (columns): Z'Y in and out of training; of Z; for work */
    double *polish;              /* what one gene needs: polish.h */
    int64_t taken, polished;     /* Newton steps or sweeps by gene, and fits that were polished, so far */
} enet_tile;

/* Return whether there was the memory. */
int enet_open(enet_tile *t, const enet_problem *p);
void enet_close(enet_tile *t);

/* Return `count` elements of `size` bytes that are zero, or NULL, also after any NULL before. */
void *enet_take(enet_tile *t, int64_t count, size_t size);

/* Load Z'Y of a training set and of the cells held out of it; unused lanes are zero. */
void enet_load(enet_tile *t, int64_t index, int64_t first, int64_t last);

/* Set the penalties of a fit. */
void enet_penalise(enet_tile *t, int64_t alpha, int64_t ratio);

/* Set `worst`: the largest violation of the optimality conditions, in units of the norms. */
void enet_certify(enet_tile *t);

/* Set the free coefficients that belong to the penalised ones, in some lanes. */
void enet_fill_free(enet_tile *t, mask which);

/* Solve some lanes to the end, from and into `coef`; certify all. */
void enet_finish(enet_tile *t, mask unfinished);

/* Write what was found for one fit. */
void enet_store(const enet_tile *t, int64_t alpha, int64_t ratio);

/* Add the penalised lanes that are not zero to the count. */
INLINE void enet_count(enet_tile *t, lanes coef, int64_t column)
{
    if (t->p->weights[column] > 0) t->nonzero -= coef != 0;
}

#endif
