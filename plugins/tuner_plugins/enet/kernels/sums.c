/* One pass over the cells: sums of Z'Y and diag(Y'Y) per fold.
 *
 * Rows come sorted by fold and by their entries in the sparse columns, so that rows with the same
 * entries (one perturbation in one batch) are summed first and added to those columns once. A tile
 * of genes of a block of rows stays in the second-level cache while it is added to all columns. */
#include <stdlib.h>
#include <string.h>

#include "lanes.h"

#define TILE 1024      /* genes whose rows are read together: few pages are met, each once; */
#define SMALL_TILE 256 /* where so many dense columns have sums that they must stay in the cache */
#define MANY_COLUMNS 24
#define ROWS 32  /* rows that are added together */
#define ROOM (TILE + 8) /* of a row: at distances of a power of two, rows would share cache lines */

/* One word for each field, in the order of accumulate.py. */
typedef struct {
    int64_t genes, columns, folds, width; /* columns of Z, and how many of them are dense */
    int64_t single, wide;                 /* Y is float32; indices of a sparse Y are int64 */
    /* Rows sorted by fold and sparse entries, and where each fold begins and ends. */
    const int64_t *rows, *bounds;
    /* Z in two parts: shifted columns without many zeros, and the others as CSR. */
    const double *dense;
    const int64_t *dense_at, *indptr, *indices;
    const double *values;
    /* A dense Y, or the parts of a CSR matrix. */
    const void *y, *y_indptr, *y_indices;
    /* Subtracted from a dense Y; what is added to: (folds, columns, genes), (folds, genes). */
    const double *shift;
    double *cross, *squares;
} enet_pass;

INLINE double value_of(const void *values, int single, int64_t at)
{
    return single ? (double)((const float *)values)[at] : ((const double *)values)[at];
}

INLINE int64_t index_of(const void *indices, int wide, int64_t at)
{
    return wide ? ((const int64_t *)indices)[at] : (int64_t)((const int32_t *)indices)[at];
}

/* target += factor * row */
INLINE void add_row(double *restrict target, double factor, const double *restrict row, int64_t count)
{
    for (int64_t at = 0; at < count; at++) target[at] += factor * row[at];
}

/* A block of rows of Y, shifted, as float64: `genes` of them from y on, `count` rows ROOM apart;
 * the factors (count, width) that they have in the dense columns; and the sums of these genes. */
typedef struct {
    const enet_pass *s;
    int64_t genes, count;
    const char *alike;           /* whether each has the sparse entries of the one before */
    const int64_t *rows, *ahead; /* which rows these are, and those that are fetched next */
    int64_t n_ahead, low;
    double *y, *total, *factors, *cross, *squares;
} enet_block;

/* Add rows to `held` dense columns and to the squares, for one register of genes. */
INLINE void add_columns(const enet_block *b, const int held, int64_t first, int64_t gene)
{
    const enet_pass *s = b->s;
    const double *y = b->y + gene, *factor = b->factors + first;
    lanes sums[MOST_HELD], square = *(lanes *)(b->squares + gene);
#pragma GCC unroll 12
    for (int t = 0; t < held; t++) sums[t] = *(lanes *)(b->cross + s->dense_at[first + t] * s->genes + gene);
    for (int64_t row = 0; row < b->count; row++) {
        const lanes value = *(const lanes *)y;
        square += value * value;
#pragma GCC unroll 12
        for (int t = 0; t < held; t++) sums[t] += factor[t] * value;
        y += ROOM;
        factor += s->width;
    }
#pragma GCC unroll 12
    for (int t = 0; t < held; t++) *(lanes *)(b->cross + s->dense_at[first + t] * s->genes + gene) = sums[t];
    if (!first) *(lanes *)(b->squares + gene) = square;
}

/* Have a cache line of the rows brought near that are fetched next. */
static void prefetch_rows(const enet_block *b, int64_t gene)
{
    const int64_t size = b->s->single ? 4 : 8;
    if (gene % (64 / size)) return;
    for (int64_t at = 0; at < b->n_ahead; at++)
        __builtin_prefetch((const char *)b->s->y + (b->ahead[at] * b->s->genes + b->low + gene) * size, 0, 2);
}

static void add_dense_columns(const enet_block *b)
{
    const enet_pass *s = b->s;
    const int64_t whole = b->genes / LANES * LANES;
    FOR_BLOCKS(s->width, for (int64_t gene = 0; gene < whole; gene += LANES) {
        if (!first) prefetch_rows(b, gene);
        add_columns(b, held, first, gene);
    })
    for (int64_t gene = whole; gene < b->genes; gene++)
        for (int64_t row = 0; row < b->count; row++) {
            double value = b->y[row * ROOM + gene];
            b->squares[gene] += value * value;
            for (int64_t column = 0; column < s->width; column++)
                b->cross[s->dense_at[column] * s->genes + gene] += b->factors[row * s->width + column] * value;
        }
}

static int alike(const enet_pass *s, int64_t row, int64_t other)
{
    int64_t start = s->indptr[row], from = s->indptr[other], count = s->indptr[row + 1] - start;
    if (s->indptr[other + 1] - from != count) return 0;
    for (int64_t at = 0; at < count; at++)
        if (s->indices[start + at] != s->indices[from + at] || s->values[start + at] != s->values[from + at])
            return 0;
    return 1;
}

/* Add rows that are alike to `total`, then that to their sparse columns. */
static void add_sparse_columns(const enet_block *b)
{
    const enet_pass *s = b->s;
    for (int64_t at = 0, next; at < b->count; at = next) {
        int64_t row = b->rows[at];
        const double *sum = b->y + at * ROOM;
        next = at + 1;
        if (s->indptr[row] == s->indptr[row + 1]) continue;
        for (; next < b->count && b->alike[next]; next++) {
            if (sum != b->total) memcpy(b->total, sum, (size_t)b->genes * sizeof *sum);
            sum = b->total;
            add_row(b->total, 1, b->y + next * ROOM, b->genes);
        }
        for (int64_t entry = s->indptr[row]; entry < s->indptr[row + 1]; entry++)
            add_row(b->cross + s->indices[entry] * s->genes, s->values[entry], sum, b->genes);
    }
}

/* Copy the genes of a row of Y. */
INLINE void fetch_row(const enet_block *b, const int single, int64_t at)
{
    const enet_pass *s = b->s;
    const double *shift = s->shift + b->low;
    for (int64_t gene = 0; gene < b->genes; gene++)
        b->y[at * ROOM + gene] = value_of(s->y, single, b->rows[at] * s->genes + b->low + gene) - shift[gene];
}

static void add_block(enet_block *b)
{
    const enet_pass *s = b->s;
    for (int64_t at = 0; at < b->count; at++) {
        if (s->single) fetch_row(b, 1, at);
        else fetch_row(b, 0, at);
        memcpy(b->factors + at * s->width, s->dense + b->rows[at] * s->width, (size_t)s->width * sizeof *b->factors);
    }
    add_dense_columns(b);
    add_sparse_columns(b);
}

/* Add the rows of a dense Y to the sums of genes `begin` to `end`. Return 0, or 1 without memory. */
int tuner_enet_add_dense(const enet_pass *s, int64_t begin, int64_t end)
{
    const int64_t tile = s->width > MANY_COLUMNS ? SMALL_TILE : TILE, cells = s->bounds[s->folds];
    double *room = calloc((size_t)((ROWS + 1) * ROOM + ROWS * s->width), sizeof *room);
    char *same = malloc((size_t)cells + 1);
    if (!room || !same) {
        free(room);
        free(same);
        return 1;
    }
    for (int64_t place = 0; place < cells; place++) /* once for all tiles */
        same[place] = place > 0 && alike(s, s->rows[place - 1], s->rows[place]);
    enet_block b = {.s = s, .y = room, .total = room + ROWS * ROOM, .factors = room + (ROWS + 1) * ROOM};
    for (b.low = begin; b.low < end; b.low += tile) {
        b.genes = end - b.low < tile ? end - b.low : tile;
        for (int64_t fold = 0; fold < s->folds; fold++) {
            b.cross = s->cross + fold * s->columns * s->genes + b.low;
            b.squares = s->squares + fold * s->genes + b.low;
            for (int64_t place = s->bounds[fold], last = s->bounds[fold + 1]; place < last; place += b.count) {
                int64_t left = s->bounds[s->folds] - place;
                b.count = last - place < ROWS ? last - place : ROWS;
                b.rows = s->rows + place;
                b.alike = same + place;
                b.ahead = b.rows + b.count;
                b.n_ahead = left - b.count < ROWS ? left - b.count : ROWS;
                add_block(&b);
            }
        }
    }
    free(room);
    free(same);
    return 0;
}

INLINE void add_entries(const enet_pass *s, int64_t fold, const int single, const int wide, double *by_gene)
{
    double *cross = s->cross + fold * s->columns * s->genes, *squares = s->squares + fold * s->genes;
    for (int64_t place = s->bounds[fold]; place < s->bounds[fold + 1]; place++) {
        int64_t row = s->rows[place];
        int64_t begin = index_of(s->y_indptr, wide, row), end = index_of(s->y_indptr, wide, row + 1);
        for (int64_t entry = begin; entry < end; entry++) {
            int64_t gene = index_of(s->y_indices, wide, entry);
            double value = value_of(s->y, single, entry);
            squares[gene] += value * value;
            add_row(by_gene + gene * s->width, value, s->dense + row * s->width, s->width);
        }
        for (int64_t at = s->indptr[row]; at < s->indptr[row + 1]; at++) {
            double *target = cross + s->indices[at] * s->genes, weight = s->values[at];
            for (int64_t entry = begin; entry < end; entry++)
                target[index_of(s->y_indices, wide, entry)] += weight * value_of(s->y, single, entry);
        }
    }
    for (int64_t column = 0; column < s->width; column++)
        for (int64_t gene = 0; gene < s->genes; gene++)
            cross[s->dense_at[column] * s->genes + gene] += by_gene[gene * s->width + column];
}

/* Add the rows of a CSR Y, never densified, to the sums of folds `begin` to `end`. */
int tuner_enet_add_sparse(const enet_pass *s, int64_t begin, int64_t end)
{
    for (int64_t fold = begin; fold < end; fold++) {
        double *by_gene = calloc((size_t)(s->genes * s->width), sizeof *by_gene);
        if (!by_gene) return 1;
        if (s->single && s->wide) add_entries(s, fold, 1, 1, by_gene);
        else if (s->single) add_entries(s, fold, 1, 0, by_gene);
        else if (s->wide) add_entries(s, fold, 0, 1, by_gene);
        else add_entries(s, fold, 0, 0, by_gene);
        free(by_gene);
    }
    return 0;
}

/* A matrix X (rows, columns), and where to write its parts; one word for each field. */
typedef struct {
    const void *x;
    int64_t single, rows, columns;
} enet_matrix;

typedef struct {
    enet_matrix x;
    int64_t *counts;
} enet_counting;

typedef struct {
    enet_matrix x;
    const int64_t *at; /* (count): columns */
    int64_t count, *indptr, *indices;
    double *values;
} enet_picking;

INLINE void count_values(const enet_matrix *m, const int single, int64_t *counts)
{
    for (int64_t row = 0; row < m->rows; row++)
        for (int64_t column = 0; column < m->columns; column++)
            counts[column] += value_of(m->x, single, row * m->columns + column) != 0;
}

/* Count the numbers that are not zero in every column. */
void tuner_enet_count(const enet_counting *c)
{
    if (c->x.single) count_values(&c->x, 1, c->counts);
    else count_values(&c->x, 0, c->counts);
}

/* Write the entries of some columns that are not zero as CSR. */
void tuner_enet_to_csr(const enet_picking *c)
{
    int64_t found = 0;
    for (int64_t row = 0; row < c->x.rows; row++) {
        c->indptr[row] = found;
        for (int64_t i = 0; i < c->count; i++) {
            double value = value_of(c->x.x, (int)c->x.single, row * c->x.columns + c->at[i]);
            if (value == 0) continue;
            c->indices[found] = c->at[i];
            c->values[found++] = value;
        }
    }
    c->indptr[c->x.rows] = found;
}
