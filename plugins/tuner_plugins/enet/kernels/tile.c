#include "tile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "polish.h"

struct enet_room {
    enet_room *before;
    lanes place[] __attribute__((aligned(64)));
};

void *enet_take(enet_tile *t, int64_t count, size_t size)
{
    size_t bytes = sizeof(enet_room) + (size_t)count * size;
    void *room_at;
    if (!t->p || posix_memalign(&room_at, 64, bytes)) {
        t->p = NULL; /* so that what is asked for later fails too, and one check is enough */
        return NULL;
    }
    enet_room *room = memset(room_at, 0, bytes);
    room->before = t->room;
    t->room = room;
    return room->place;
}

int enet_open(enet_tile *t, const enet_problem *p)
{
    memset(t, 0, sizeof *t);
    t->p = p;
    lanes **rows[] = {&t->cross, &t->held, &t->coef, &t->slope};
    for (int i = 0; i < 4; i++) *rows[i] = enet_take(t, p->columns, sizeof(lanes));
    t->polish = enet_take(t, enet_polish_room(p->tied), sizeof(double));
    return t->p != NULL;
}

void enet_close(enet_tile *t)
{
    while (t->room) {
        enet_room *before = t->room->before;
        free(t->room);
        t->room = before;
    }
}

void enet_load(enet_tile *t, int64_t index, int64_t first, int64_t last)
{
    const enet_problem *p = t->p;
    t->index = index;
    t->first = first;
    t->width = last - first < LANES ? last - first : LANES;
    const double *held = p->held + index * p->columns * p->genes + first;
    for (int64_t column = 0; column < p->columns; column++) {
        t->held[column] = load_some(held + column * p->genes, t->width);
        t->cross[column] = load_some(p->total + column * p->genes + first, t->width) - t->held[column];
    }
    lanes squares = load_some(p->squares + index * p->genes + first, t->width);
    for (int lane = 0; lane < LANES; lane++) t->goal[lane] = *p->tolerance * sqrt(squares[lane]);
}

void enet_penalise(enet_tile *t, int64_t alpha, int64_t ratio)
{
    const enet_problem *p = t->p;
    double strength = p->cells[t->index] * p->alpha[alpha];
    t->l1 = strength * p->ratio[ratio];
    t->l2 = strength * (1 - p->ratio[ratio]);
}

void enet_certify(enet_tile *t)
{
    const enet_problem *p = t->p;
    const double *norms = p->norms + t->index * p->columns;
    for (int64_t column = 0; column < p->columns; column++)
        t->slope[column] = t->l2 * p->weights[column] * t->coef[column] - t->cross[column];
    add_product(t->slope, p->gram + t->index * p->columns * p->columns, p->columns, t->coef, NULL, p->columns);
    t->worst = (lanes){0};
    for (int64_t column = 0; column < p->columns; column++) {
        if (norms[column] == 0) continue;
        lanes l1 = spread(t->l1 * p->weights[column]);
        lanes excess = violation(t->slope[column], t->coef[column], l1) / norms[column];
        t->worst = choose(excess <= t->worst, t->worst, excess);
    }
}

/* With Z_f free and Z_t penalised: w_f = (Z_f'Z_f)^-1 (Z_f'y - Z_f'Z_t w_t). */
void enet_fill_free(enet_tile *t, mask which)
{
    const enet_problem *p = t->p;
    const double *inverse = p->inverse + t->index * p->free * p->free;
    const double *slopes = p->slopes + t->index * p->free * p->tied;
    for (int64_t row = 0; row < p->free; row++) {
        lanes value = {0};
        for (int64_t other = 0; other < p->free; other++)
            value += inverse[row * p->free + other] * t->cross[p->free_at[other]];
        for (int64_t column = 0; column < p->tied; column++)
            value -= slopes[row * p->tied + column] * t->coef[p->tied_at[column]];
        lanes *coef = &t->coef[p->free_at[row]];
        *coef = choose(which, value, *coef);
    }
}

static void polish_lane(enet_tile *t, int lane)
{
    const enet_problem *p = t->p;
    const double *slopes = p->slopes + t->index * p->free * p->tied;
    enet_gene gene = enet_gene_in(t->polish, p->tied);
    gene.gram = p->reduced + t->index * p->tied * p->tied;
    gene.norms = p->reduced_norms + t->index * p->tied;
    for (int64_t column = 0; column < p->tied; column++) {
        double weight = p->weights[p->tied_at[column]], left = t->cross[p->tied_at[column]][lane];
        gene.l1[column] = t->l1 * weight;
        gene.l2[column] = t->l2 * weight;
        gene.coef[column] = t->coef[p->tied_at[column]][lane];
        for (int64_t row = 0; row < p->free; row++)
            left -= slopes[row * p->tied + column] * t->cross[p->free_at[row]][lane];
        gene.cross[column] = left;
    }
    for (int attempt = 0; attempt < 2 && !(enet_polish(&gene, t->goal[lane]) <= t->goal[lane]); attempt++)
        /* Where Newton steps have run far off, zero is the better start. */
        if (!attempt) memset(gene.coef, 0, (size_t)p->tied * sizeof *gene.coef);
    for (int64_t column = 0; column < p->tied; column++)
        t->coef[p->tied_at[column]][lane] = gene.coef[column];
}

void enet_finish(enet_tile *t, mask unfinished)
{
    for (int lane = 0; lane < LANES; lane++)
        if (unfinished[lane]) {
            polish_lane(t, lane);
            t->polished++;
        }
    enet_fill_free(t, unfinished);
    enet_certify(t);
}

void enet_store(const enet_tile *t, int64_t alpha, int64_t ratio)
{
    const enet_problem *p = t->p;
    int64_t fit = (t->index * p->alphas + alpha) * p->ratios + ratio, at = fit * p->genes + t->first;
    lanes error = choose(t->error < 0, (lanes){0}, t->error);
    store_some(p->sse + at, error, t->width);
    for (int lane = 0; lane < t->width; lane++) {
        double *kkt = p->kkt + t->first + lane, unit = t->goal[lane] / *p->tolerance;
        p->nonzero[at + lane] = (int32_t)t->nonzero[lane];
        if (unit > 0 && !(t->worst[lane] / unit <= *kkt)) *kkt = t->worst[lane] / unit;
    }
    if (!p->keeps) return;
    for (int64_t column = 0; column < p->columns; column++)
        store_some(p->coef + (fit * p->columns + column) * p->genes + t->first, t->coef[column], t->width);
}
