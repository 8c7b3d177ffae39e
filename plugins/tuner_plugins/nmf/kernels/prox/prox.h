/* The proximal operator of the one-dimensional total variation: the one C entry of both builds. */
#ifndef TUNER_PROX_H
#define TUNER_PROX_H

#include <stdint.h>

enum { PROX_OK = 0, PROX_NO_MEMORY = 1, PROX_NOT_FINITE = 2, PROX_BAD_WEIGHT = 3 };

/* Solve, exactly,
 *
 *     x = argmin  1/2 sum_i w_i (x_i - y_i)^2  +  lam sum_i |x_{i+1} - x_i|.
 *
 * y, x: n values; w: n weights above 0, or NULL where every weight is 1; lam: at least 0.
 * steps: NULL, or n values. In: the sign of the step before each position in the answer to a
 * similar signal, or 0; any values give the same answer. Out: those of this answer.
 * x may be y where steps is NULL. Returns PROX_OK or another status; x is undefined then.
 *
 * To use another algorithm, define this function in a file of its own and name that file in
 * PROX_UNITS of build.py; prox_note_steps fills in `steps` for an algorithm without a warm start. */
int tuner_prox_tv1d(const double *y, const double *w, double *x, int64_t n, double lam,
                    int8_t *steps);

/* Write the signs of the steps of x before the positions [from, to). */
static inline void prox_note_steps(const double *x, int8_t *steps, int64_t from, int64_t to)
{
    if (from == 0 && to > 0) steps[from++] = 0;
    for (int64_t i = from; i < to; i++) steps[i] = (int8_t)((x[i] > x[i - 1]) - (x[i] < x[i - 1]));
}

#endif
