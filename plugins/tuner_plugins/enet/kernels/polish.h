/* One gene of any design, solved from any start. */
#ifndef TUNER_ENET_POLISH_H
#define TUNER_ENET_POLISH_H

#include <stdint.h>

typedef struct {
    int64_t columns, size;  /* penalised columns, and how many of them are active */
    const double *gram;     /* (columns, columns): free columns projected out */
    const double *norms;    /* (columns): unit of the residual; 0 for a column to leave out */
    /* (columns) each: penalties in units of half the sum of squares, Z'y without what the free
     * columns explain, and the coefficients. */
    double *l1, *l2, *cross, *coef;
    double *kept, *gradient, *direction, *moved, *step, *column, *crossings, *factor;
    int64_t *active;
} enet_gene;

/* Return the doubles that a gene takes. */
int64_t enet_polish_room(int64_t columns);

/* Return a gene whose arrays lie in the room; those of its training set are to be set. */
enet_gene enet_gene_in(double *room, int64_t columns);

/* Solve to `goal`, the largest residual relative to the norms, and return the one reached. */
double enet_polish(enet_gene *g, double goal);

#endif
