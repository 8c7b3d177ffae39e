/* Elastic net of one gene from its Gram matrix: Newton steps and coordinate descent in turn.
 *
 * Coordinate descent (Friedman, Hastie and Tibshirani 2010, doi:10.18637/jss.v033.i01) is slow where
 * columns are collinear or hardly penalised. There a Newton step on the active columns, with an
 * exact line search over the sign changes, ends it: the loss is quadratic between two sign changes.
 * Both only ever lower the objective. */
#include "polish.h"

#include <math.h>
#include <string.h>

#define RIDGE 1e-13
#define ROUNDS 400
#define PATIENCE 60

int64_t enet_polish_room(int64_t columns)
{
    return columns * columns + 12 * columns;
}

enet_gene enet_gene_in(double *room, int64_t columns)
{
    enet_gene g = {.columns = columns, .active = (int64_t *)room};
    double **rows[] = {&g.l1, &g.l2, &g.cross, &g.coef, &g.kept, &g.gradient,
                       &g.direction, &g.moved, &g.step, &g.column, &g.crossings, &g.factor};
    for (int i = 0; i < 12; i++) *rows[i] = room + (i + 1) * columns;
    return g;
}

static double sign(double value)
{
    return (value > 0) - (value < 0);
}

/* target += factor * row */
static void add_row(double *restrict target, double factor, const double *restrict row, int64_t size)
{
    for (int64_t at = 0; at < size; at++) target[at] += factor * row[at];
}

static double residual(const enet_gene *g)
{
    double worst = 0;
    for (int64_t j = 0; j < g->columns; j++) {
        if (g->norms[j] == 0) continue;
        double slope = g->gradient[j] + g->l2[j] * g->coef[j];
        double excess = g->coef[j] == 0 ? fabs(slope) - g->l1[j] : fabs(slope + g->l1[j] * sign(g->coef[j]));
        if (!(excess / g->norms[j] <= worst)) worst = excess / g->norms[j];
    }
    return worst;
}

/* Solve for the step of the active columns, their signs held, by an LDL' factorisation; `ridge`
 * keeps flat directions finite. Return whether the matrix was positive definite. */
static int newton_direction(enet_gene *g, double ridge)
{
    int64_t size = g->size;
    double *step = g->step;
    for (int64_t row = 0; row < size; row++) {
        int64_t i = g->active[row];
        double *entry = g->factor + row * size, unit = 1 / g->norms[i];
        for (int64_t column = 0; column <= row; column++) {
            int64_t j = g->active[column];
            entry[column] = g->gram[i * g->columns + j] * unit / g->norms[j];
        }
        entry[row] += g->l2[i] * unit * unit + ridge;
        step[row] = -(g->gradient[i] + g->l2[i] * g->coef[i] + g->l1[i] * sign(g->coef[i])) * unit;
    }
    for (int64_t j = 0; j < size; j++) {
        double pivot = g->factor[j * size + j];
        if (!(pivot > 0)) return 0;
        for (int64_t i = j + 1; i < size; i++) {
            double *entry = g->factor + i * size, share = entry[j] / pivot;
            g->column[i] = entry[j];
            entry[j] = share;
            add_row(entry + j + 1, -share, g->column + j + 1, i - j);
        }
        step[j] /= pivot;
        add_row(step + j + 1, -step[j], g->column + j + 1, size - j - 1);
    }
    for (int64_t j = size - 1; j > 0; j--) add_row(step, -step[j], g->factor + j * size, j);
    memset(g->direction, 0, (size_t)g->columns * sizeof *g->direction);
    for (int64_t row = 0; row < size; row++)
        g->direction[g->active[row]] = step[row] / g->norms[g->active[row]];
    return 1;
}

/* Return the best step along the direction and set `stop` to the column whose sign change it stops
 * at, or -1. The objective along the line is convex and quadratic between the points where a
 * coefficient passes zero; they are visited in order. */
static double line_search(enet_gene *g, int64_t *stop)
{
    double slope = 0, curvature = 0, place = 0;
    *stop = -1;
    for (int64_t at = 0; at < g->size; at++) {
        int64_t j = g->active[at];
        double way = g->direction[j], coef = g->coef[j];
        slope += way * (g->gradient[j] + g->l2[j] * coef + g->l1[j] * sign(coef));
        curvature += way * (g->moved[j] + g->l2[j] * way);
        g->crossings[at] = coef * way < 0 ? -coef / way : INFINITY;
    }
    if (curvature < 0) curvature = 0;
    for (;;) {
        /* The next sign change; few are passed, so that sorting them all is not worth it. */
        int64_t next = -1;
        double crossing = INFINITY;
        for (int64_t at = 0; at < g->size; at++)
            if (g->crossings[at] < crossing) {
                crossing = g->crossings[at];
                next = at;
            }
        if (next < 0 || slope + curvature * (crossing - place) >= 0) break;
        slope += curvature * (crossing - place);
        place = crossing;
        g->crossings[next] = INFINITY;
        slope += 2 * g->l1[g->active[next]] * fabs(g->direction[g->active[next]]);
        if (slope >= 0) {
            *stop = g->active[next];
            return place;
        }
    }
    return slope < 0 && curvature > 0 ? place - slope / curvature : place;
}

static void newton_step(enet_gene *g)
{
    g->size = 0;
    for (int64_t j = 0; j < g->columns; j++)
        if (g->coef[j] != 0 && g->norms[j] != 0) g->active[g->size++] = j;
    if (!g->size) return;
    int solved = 0;
    for (double ridge = RIDGE; !solved && ridge < 1; ridge *= 100) solved = newton_direction(g, ridge);
    if (!solved) return;
    memset(g->moved, 0, (size_t)g->columns * sizeof *g->moved);
    for (int64_t at = 0; at < g->size; at++) {
        int64_t j = g->active[at];
        add_row(g->moved, g->direction[j], g->gram + j * g->columns, g->columns);
    }
    int64_t stop;
    double length = line_search(g, &stop);
    for (int64_t at = 0; at < g->size; at++)
        g->coef[g->active[at]] += length * g->direction[g->active[at]];
    if (stop >= 0) g->coef[stop] = 0;
    add_row(g->gradient, length, g->moved, g->columns);
}

/* One sweep of coordinate descent: w_j = soft(G_jj w_j - gradient_j, l1_j) / (G_jj + l2_j). */
static void sweep_columns(enet_gene *g)
{
    for (int64_t j = 0; j < g->columns; j++) {
        if (g->norms[j] == 0) continue;
        const double *row = g->gram + j * g->columns;
        double old = g->coef[j], target = row[j] * old - g->gradient[j], l1 = g->l1[j];
        double shrunk = fabs(target) > l1 ? target - copysign(l1, target) : 0;
        g->coef[j] = shrunk / (row[j] + g->l2[j]);
        if (g->coef[j] != old) add_row(g->gradient, g->coef[j] - old, row, g->columns);
    }
}

double enet_polish(enet_gene *g, double goal)
{
    size_t bytes = (size_t)g->columns * sizeof *g->coef;
    double best = INFINITY;
    int stalled = 0;
    for (int64_t j = 0; j < g->columns; j++)
        if (g->norms[j] == 0) g->coef[j] = 0;
    memcpy(g->kept, g->coef, bytes);
    for (int round = 0; round < ROUNDS; round++) {
        for (int64_t j = 0; j < g->columns; j++) g->gradient[j] = -g->cross[j];
        for (int64_t j = 0; j < g->columns; j++)
            if (g->coef[j] != 0) add_row(g->gradient, g->coef[j], g->gram + j * g->columns, g->columns);
        double reached = residual(g);
        stalled++;
        if (reached < best) {
            best = reached;
            stalled = 0;
            memcpy(g->kept, g->coef, bytes);
        }
        if (best <= goal || stalled > PATIENCE) break;
        newton_step(g);
        sweep_columns(g);
    }
    memcpy(g->coef, g->kept, bytes);
    return best;
}
