/* The two dense products of a round (factorize.py) over a stretch of the genome: the loadings
 * L = max(0, P Y) with P = (W W' + l2penalty I)^+ W, and the sums L D L' and L D Y'. The signal Y is
 * read as it is stored, float where that holds it exactly: both products wait for memory, not for
 * arithmetic.
 */
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3", "fp-contract=fast") /* for this file: long loops over many lanes */
#endif

#define PRODUCTS_LANES 8
#define PRODUCTS_COLUMNS 5  /* columns of loadings made at once */
#define PRODUCTS_TILE 4     /* rows times rows whose sums are kept at once */
#define PRODUCTS_BLOCK 1024 /* positions that stay in the second-level cache */
#define PRODUCTS_AHEAD 128  /* prefetched so far ahead: there are more rows than the processor tracks */
#define PRODUCTS_INLINE static inline __attribute__((always_inline))

typedef double products_lanes __attribute__((vector_size(8 * PRODUCTS_LANES)));
typedef int64_t products_bits __attribute__((vector_size(8 * PRODUCTS_LANES)));
typedef float products_floats __attribute__((vector_size(4 * PRODUCTS_LANES)));

/* Load eight values of a row from position `at` on. `single`: float, else double. */
PRODUCTS_INLINE void products_load(products_lanes *out, const void *row, int single, int64_t at)
{
    products_lanes wide;
    products_floats narrow;
    if (single) {
        memcpy(&narrow, (const float *)row + at, sizeof narrow);
        wide = __builtin_convertvector(narrow, products_lanes);
    } else {
        memcpy(&wide, (const double *)row + at, sizeof wide);
    }
    *out = wide;
}

PRODUCTS_INLINE double products_value(const void *row, int single, int64_t at)
{
    return single ? (double)((const float *)row)[at] : ((const double *)row)[at];
}

/* The loadings of PRODUCTS_COLUMNS columns, of which `columns` are kept, at sixteen positions. */
PRODUCTS_INLINE void products_columns(const char *signal, int single, int64_t stride,
                                      int64_t tracks, const double *projection, int64_t columns,
                                      double *loadings, int64_t size, int64_t at)
{
    products_lanes sums[PRODUCTS_COLUMNS][2] = {{{0}}};
    const double *factors[PRODUCTS_COLUMNS];
    for (int c = 0; c < PRODUCTS_COLUMNS; c++) factors[c] = projection + (c < columns ? c : 0) * tracks;
    for (int64_t track = 0; track < tracks; track++) {
        const char *row = signal + track * stride;
        products_lanes left, right;
        __builtin_prefetch(row + (at + PRODUCTS_AHEAD) * (single ? 4 : 8));
        products_load(&left, row, single, at);
        products_load(&right, row, single, at + PRODUCTS_LANES);
        for (int c = 0; c < PRODUCTS_COLUMNS; c++) {
            sums[c][0] += factors[c][track] * left; /* (P Y)[c, i] = sum_t P[c, t] Y[t, i] */
            sums[c][1] += factors[c][track] * right;
        }
    }
    for (int64_t c = 0; c < columns; c++) { /* L = max(0, P Y) */
        for (int half = 0; half < 2; half++)
            sums[c][half] = (products_lanes)((products_bits)sums[c][half] & (sums[c][half] > 0));
        memcpy(loadings + c * size + at, sums[c], sizeof sums[c]);
    }
}

PRODUCTS_INLINE void products_project(const char *signal, int single, int64_t stride,
                                      int64_t tracks, const double *projection, int64_t k,
                                      double *loadings, int64_t size, int64_t begin, int64_t end)
{
    int64_t at = begin;
    for (; at + 2 * PRODUCTS_LANES <= end; at += 2 * PRODUCTS_LANES)
        for (int64_t first = 0; first < k; first += PRODUCTS_COLUMNS)
            products_columns(signal, single, stride, tracks, projection + first * tracks,
                             k - first < PRODUCTS_COLUMNS ? k - first : PRODUCTS_COLUMNS,
                             loadings + first * size, size, at);
    for (; at < end; at++)
        for (int64_t c = 0; c < k; c++) {
            double sum = 0;
            for (int64_t track = 0; track < tracks; track++)
                sum += projection[c * tracks + track]
                       * products_value(signal + track * stride, single, at);
            loadings[c * size + at] = sum > 0 ? sum : 0;
        }
}

/* loadings[j, i] = max(0, sum_t projection[j, t] * signal[t, i]) for begin <= i < end. Rows of the
 * signal are `stride` bytes apart, float where `single`, else double; loadings: k rows of `size`. */
void tuner_project(const void *signal, int single, int64_t stride, int64_t tracks,
                   const double *projection, int64_t k, double *loadings, int64_t size,
                   int64_t begin, int64_t end)
{
    if (single)
        products_project(signal, 1, stride, tracks, projection, k, loadings, size, begin, end);
    else
        products_project(signal, 0, stride, tracks, projection, k, loadings, size, begin, end);
}

/* Sums over [begin, end) of weights times PRODUCTS_TILE rows times PRODUCTS_TILE rows. */
PRODUCTS_INLINE void products_tile(const double *const *left, const char *const *right, int single,
                                   const double *weights, int64_t begin, int64_t end,
                                   double products[PRODUCTS_TILE][PRODUCTS_TILE])
{
    products_lanes sums[PRODUCTS_TILE][PRODUCTS_TILE] = {{{0}}};
    int64_t at = begin;
    for (; at + PRODUCTS_LANES <= end; at += PRODUCTS_LANES) {
        products_lanes rows[PRODUCTS_TILE], other;
        for (int a = 0; a < PRODUCTS_TILE; a++) {
            products_load(rows + a, left[a], 0, at);
            if (weights) {
                products_load(&other, weights, 0, at);
                rows[a] *= other;
            }
        }
        for (int b = 0; b < PRODUCTS_TILE; b++) {
            products_load(&other, right[b], single, at);
            for (int a = 0; a < PRODUCTS_TILE; a++) sums[a][b] += rows[a] * other; /* L D right' */
        }
    }
    for (int a = 0; a < PRODUCTS_TILE; a++)
        for (int b = 0; b < PRODUCTS_TILE; b++) {
            double sum = 0;
            for (int lane = 0; lane < PRODUCTS_LANES; lane++) sum += sums[a][b][lane];
            for (int64_t i = at; i < end; i++)
                sum += (weights ? weights[i] : 1.0) * left[a][i] * products_value(right[b], single, i);
            products[a][b] = sum;
        }
}

PRODUCTS_INLINE void products_rows(const double *left, int64_t k, int64_t size, const char *right,
                                   int single, int64_t stride, int64_t rows, const double *weights,
                                   double *products, int64_t width, int64_t begin, int64_t end)
{
    for (int64_t a = 0; a < k; a += PRODUCTS_TILE)
        for (int64_t b = 0; b < rows; b += PRODUCTS_TILE) {
            const double *lefts[PRODUCTS_TILE];
            const char *rights[PRODUCTS_TILE];
            double tile[PRODUCTS_TILE][PRODUCTS_TILE];
            for (int i = 0; i < PRODUCTS_TILE; i++) {
                lefts[i] = left + (a + i < k ? a + i : k - 1) * size;
                rights[i] = right + (b + i < rows ? b + i : rows - 1) * stride;
            }
            products_tile(lefts, rights, single, weights, begin, end, tile);
            for (int64_t i = 0; i < PRODUCTS_TILE && a + i < k; i++)
                for (int64_t j = 0; j < PRODUCTS_TILE && b + j < rows; j++)
                    products[(a + i) * width + b + j] += tile[i][j];
        }
}

static void products_doubles(const double *left, int64_t k, int64_t size, const char *right,
                             int64_t stride, int64_t rows, const double *weights,
                             double *products, int64_t width, int64_t begin, int64_t end)
{
    products_rows(left, k, size, right, 0, stride, rows, weights, products, width, begin, end);
}

static void products_singles(const double *left, int64_t k, int64_t size, const char *right,
                             int64_t stride, int64_t rows, const double *weights,
                             double *products, int64_t width, int64_t begin, int64_t end)
{
    products_rows(left, k, size, right, 1, stride, rows, weights, products, width, begin, end);
}

/* Adds to products (k rows of k + tracks) the sums over begin <= i < end of
 * weights[i] * loadings[j, i] times loadings[:, i] and signal[:, i]; weights may be NULL. */
void tuner_products(int64_t k, const double *loadings, int64_t size, const void *signal, int single,
                    int64_t stride, int64_t tracks, const double *weights, double *products,
                    int64_t begin, int64_t end)
{
    int64_t width = k + tracks, bytes = size * (int64_t)sizeof(double);
    for (int64_t at = begin; at < end; at += PRODUCTS_BLOCK) {
        int64_t to = end - at < PRODUCTS_BLOCK ? end : at + PRODUCTS_BLOCK;
        /* L D L' into the first k columns, L D Y' into the others */
        products_doubles(loadings, k, size, (const char *)loadings, bytes, k, weights, products,
                         width, at, to);
        (single ? products_singles : products_doubles)(loadings, k, size, signal, stride, tracks,
                                                       weights, products + k, width, at, to);
    }
}
