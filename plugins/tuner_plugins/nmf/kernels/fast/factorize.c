/* Averages over bins to loadings, in one file since one compiler's start costs a script's first run.
 *
 * By the rounds of factorize.py, whose formulas and letters these are: signal Y, loadings L, weights
 * W, lengths D.
 *
 * Small matrices are taken apart by Jacobi's rotations: no library, and as accurate as any. Where
 * an answer would hang on rounding (eigenvalues that touch, a rank that is in doubt) the careful
 * path decides.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../prox/prox.h"
#include "fast.h"

#define QUICK_SPAN 512
#define QUICK_APART 1e-7
#define QUICK_EPS 2.220446049250313e-16
#define QUICK_CONTRAST_BIN 5000 /* these three: see start.py */
#define QUICK_BINS_A_TRACK 4
#define QUICK_LEAST_HALF 1e-3

enum { QUICK_NONE = 0, QUICK_LOG1P, QUICK_SQRT, QUICK_ASINH, QUICK_RANK };
enum { QUICK_EIGH = 0, QUICK_CONTRAST, QUICK_SVD }; /* where nothing of it is random */
enum { QUICK_MAX = 1, QUICK_L2, QUICK_STD };

/* Eigenvalues (descending) and vectors (rows) of a symmetric n x n matrix, which is destroyed. */
static void quick_eigen(double *a, int64_t n, double *values, double *vectors)
{
    double whole = 0;
    for (int64_t i = 0; i < n * n; i++) {
        vectors[i] = i % (n + 1) == 0;
        whole += a[i] * a[i];
    }
    for (int sweep = 0; sweep < 60; sweep++) {
        double off = 0;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) off += a[p * n + q] * a[p * n + q];
        if (!(off > 1e-40 * whole)) break;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) {
                double apq = a[p * n + q];
                if (apq == 0) continue;
                double theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
                /* the rotation that makes a[p, q] zero: t = tan of its angle */
                double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), s = t * c;
                for (int64_t i = 0; i < n; i++) {
                    double x = a[i * n + p], y = a[i * n + q];
                    a[i * n + p] = c * x - s * y;
                    a[i * n + q] = s * x + c * y;
                }
                for (int64_t i = 0; i < n; i++) {
                    double x = a[p * n + i], y = a[q * n + i];
                    a[p * n + i] = c * x - s * y;
                    a[q * n + i] = s * x + c * y;
                    x = vectors[p * n + i], y = vectors[q * n + i];
                    vectors[p * n + i] = c * x - s * y;
                    vectors[q * n + i] = s * x + c * y;
                }
                a[p * n + q] = a[q * n + p] = 0;
            }
    }
    for (int64_t i = 0; i < n; i++) values[i] = a[i * n + i];
    for (int64_t i = 0; i < n; i++) { /* sort */
        int64_t best = i;
        for (int64_t j = i + 1; j < n; j++) best = values[j] > values[best] ? j : best;
        if (best == i) continue;
        double value = values[i];
        values[i] = values[best];
        values[best] = value;
        for (int64_t j = 0; j < n; j++) {
            double x = vectors[i * n + j];
            vectors[i * n + j] = vectors[best * n + j];
            vectors[best * n + j] = x;
        }
    }
}

/* out = pseudo-inverse of a symmetric non-negative matrix (k x k, destroyed), times right
 * (k x columns). */
static int quick_pinv(double *a, int64_t k, const double *right, int64_t columns, double *out)
{
    double values[QUICK_ROWS], vectors[QUICK_ROWS * QUICK_ROWS], turned[QUICK_ROWS];
    quick_eigen(a, k, values, vectors);
    double largest = values[0], rounding = QUICK_EPS * (double)k * largest, cutoff = 20 * rounding;
    if (!isfinite(largest)) return QUICK_UNUSUAL;
    for (int64_t i = 0; i < k; i++) /* neither rounding nor clear of it: a rank in doubt */
        if (values[i] > cutoff && values[i] < 100 * rounding) return QUICK_UNUSUAL;
    memset(out, 0, (size_t)(k * columns) * sizeof *out);
    for (int64_t e = 0; e < k && values[e] > cutoff; e++) {
        const double *vector = vectors + e * k;
        for (int64_t j = 0; j < columns; j++) {
            turned[j] = 0;
            for (int64_t i = 0; i < k; i++) turned[j] += vector[i] * right[i * columns + j];
            turned[j] /= values[e]; /* out = sum_e v_e (v_e' right) / lambda_e */
        }
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < columns; j++) out[i * columns + j] += vector[i] * turned[j];
    }
    return QUICK_OK;
}

/* The long loops gain by wide registers. Their sums are in lanes that the source fixes, and nothing
 * is contracted: every processor gives the same bits. */
#if defined(__GNUC__) && !defined(__clang__)
#define QUICK_LONG __attribute__((optimize("O3")))
#else
#define QUICK_LONG
#endif

/* Sum of lengths * left * right over the bins. */
QUICK_LONG static inline double quick_dot(const double *left, const double *right, const double *lengths,
                             int64_t bins)
{
    double lanes[8] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + 8 <= bins; i += 8)
        for (int lane = 0; lane < 8; lane++)
            lanes[lane] += lengths[i + lane] * left[i + lane] * right[i + lane];
    for (; i < bins; i++) sum += lengths[i] * left[i] * right[i];
    for (int lane = 0; lane < 8; lane++) sum += lanes[lane];
    return sum;
}

/* products = left D right', by spans that stay in the cache. */
QUICK_LONG static void quick_products(const double *left, int64_t k, const double *right, int64_t rows,
                           const double *lengths, int64_t bins, double *products)
{
    memset(products, 0, (size_t)(k * rows) * sizeof *products);
    for (int64_t at = 0; at < bins; at += QUICK_SPAN) {
        int64_t span = bins - at < QUICK_SPAN ? bins - at : QUICK_SPAN;
        for (int64_t a = 0; a < k; a++)
            for (int64_t b = left == right ? a : 0; b < rows; b++)
                products[a * rows + b] +=
                    quick_dot(left + a * bins + at, right + b * bins + at, lengths + at, span);
    }
    for (int64_t a = 0; left == right && a < k; a++)
        for (int64_t b = 0; b < a; b++) products[a * rows + b] = products[b * rows + a];
}

/* out = max(0, factors Y): one row of A, over `span` bins. */
QUICK_LONG static void quick_project(const double *factors, const double *signal, int64_t rows, int64_t bins,
                          int64_t span, double *out)
{
    memset(out, 0, (size_t)span * sizeof *out);
    for (int64_t t = 0; t < rows; t++) {
        const double factor = factors[t], *row = signal + t * bins;
        for (int64_t i = 0; i < span; i++) out[i] += factor * row[i];
    }
    for (int64_t i = 0; i < span; i++) out[i] = out[i] > 0 ? out[i] : 0;
}

static double quick_transformed(double value, int transform)
{
    double size = fabs(value);
    if (transform == QUICK_LOG1P) size = log1p(size);
    if (transform == QUICK_SQRT) size = sqrt(size);
    if (transform == QUICK_ASINH) size = asinh(size);
    return copysign(size, value);
}

/* A track's values to the fraction of bases with a lower one, compared in single precision. Sorts by
 * the digits of their bits, 11 at a time: a comparison is a branch that nobody predicts. */
static int quick_rank(double *row, const quick_signal *s)
{
    uint64_t *sorted = malloc(2 * (size_t)s->bins * sizeof *sorted), *other = sorted + s->bins;
    if (!sorted) return QUICK_UNUSUAL;
    uint64_t *whole = sorted, last = 0;
    for (int64_t i = 0; i < s->bins; i++) {
        float value = (float)row[i] + 0.0f; /* -0 is 0 */
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        bits ^= bits >> 31 ? UINT32_MAX : UINT32_C(1) << 31; /* in the order of the values */
        sorted[i] = (uint64_t)bits << 32 | (uint64_t)i;
    }
    for (int shift = 32; shift < 64; shift += 11) {
        int64_t places[2049] = {0};
        for (int64_t i = 0; i < s->bins; i++) places[(sorted[i] >> shift & 2047) + 1]++;
        for (int digit = 0; digit < 2047; digit++) places[digit + 1] += places[digit];
        for (int64_t i = 0; i < s->bins; i++)
            other[places[sorted[i] >> shift & 2047]++] = sorted[i];
        uint64_t *swap = sorted;
        sorted = other;
        other = swap;
    }
    double passed = 0, below = 0;
    for (int64_t i = 0; i < s->bins; i++) {
        int64_t at = (int64_t)(sorted[i] & UINT32_MAX);
        if (sorted[i] >> 32 != last) below = passed;
        last = sorted[i] >> 32;
        row[at] = below / (double)s->size;
        passed += s->lengths[at];
    }
    free(whole);
    return QUICK_OK;
}

/* What a track is divided by: see scale_factors in signal.py. */
static double quick_factor(const double *row, const quick_signal *s, int scaling)
{
    double largest = 0, centre = 0, squares = 0, factor;
    for (int64_t i = 0; i < s->bins; i++) {
        largest = fabs(row[i]) > largest ? fabs(row[i]) : largest;
        centre += row[i] * s->lengths[i];
    }
    centre = scaling == QUICK_STD ? centre / (double)s->size : 0;
    for (int64_t i = 0; i < s->bins; i++)
        squares += (row[i] - centre) * (row[i] - centre) * s->lengths[i];
    factor = scaling == QUICK_MAX ? largest : sqrt(squares / (double)s->size);
    return factor > QUICK_EPS * largest ? factor : 1;
}

/* Covariance of averages over wide bins: see coarse_covariance in start.py. */
static int quick_covariance(const quick_signal *s, double *covariance)
{
    int64_t tracks = s->tracks, width = s->size / (QUICK_BINS_A_TRACK * tracks);
    width = width > QUICK_CONTRAST_BIN ? QUICK_CONTRAST_BIN : width > 1 ? width : 1;
    int64_t wide = (s->size + width - 1) / width;
    double *means = calloc((size_t)((tracks + 1) * wide), sizeof *means), *lengths = means + tracks * wide;
    if (!means) return QUICK_UNUSUAL;
    for (int64_t b = 0; b < wide; b++) lengths[b] = (double)width;
    lengths[wide - 1] = (double)(s->size - (wide - 1) * width);
    for (int64_t t = 0; t < tracks; t++) {
        const double *row = s->signal + t * s->bins;
        double *sums = means + t * wide, centre = 0;
        for (int64_t i = 0, from = 0, b = 0; i < s->bins; i++) {
            int64_t to = from + (int64_t)s->lengths[i];
            for (; to > (b + 1) * width; from = ++b * width)
                sums[b] += row[i] * (double)((b + 1) * width - from);
            sums[b] += row[i] * (double)(to - from);
            from = to;
        }
        for (int64_t b = 0; b < wide; b++) centre += sums[b];
        for (int64_t b = 0; b < wide; b++) sums[b] = sums[b] / lengths[b] - centre / (double)s->size;
    }
    quick_products(means, tracks, means, tracks, lengths, wide, covariance);
    free(means);
    return QUICK_OK;
}

/* All tracks alike; both halves of each vector, the larger first, while there is room; then single
 * tracks. */
static int quick_halves(const double *values, const double *vectors, int64_t tracks, int64_t k,
                        double *weights)
{
    int64_t row = 1;
    for (int64_t i = 0; i < k * tracks; i++) weights[i] = i % tracks == i / tracks % tracks;
    for (int64_t t = 0; t < tracks; t++) weights[t] = 1 / sqrt((double)tracks);
    for (int64_t e = 0; e < tracks && row < k; e++) {
        const double *vector = vectors + e * tracks;
        double squares[2] = {0, 0}; /* of what is above 0, and below */
        if (e + 1 < tracks && values[e] - values[e + 1] < QUICK_APART * values[0])
            return QUICK_UNUSUAL;
        for (int64_t t = 0; t < tracks; t++) squares[vector[t] < 0] += vector[t] * vector[t];
        if (fabs(squares[1] - squares[0]) < QUICK_APART) return QUICK_UNUSUAL;
        for (int half = 0; half < 2 && row < k; half++) {
            int below = (squares[1] > squares[0]) != half;
            if (!(squares[below] > QUICK_LEAST_HALF)) continue;
            for (int64_t t = 0; t < tracks; t++) {
                double part = below ? -vector[t] : vector[t];
                weights[row * tracks + t] = part > 0 ? part : 0;
            }
            row++;
        }
    }
    return QUICK_OK;
}

/* The start from singular vectors: see start_weights in start.py. */
static int quick_start(const quick_signal *s, int64_t k, int start, double *weights)
{
    static const double none = 0;
    const int64_t tracks = s->tracks, found = k < tracks ? k : tracks;
    double gram[QUICK_ROWS * QUICK_ROWS], values[QUICK_ROWS], vectors[QUICK_ROWS * QUICK_ROWS];
    /* Right singular vectors of the signal: eigenvectors of Y D Y'. */
    if (start != QUICK_CONTRAST)
        quick_products(s->signal, tracks, s->signal, tracks, s->lengths, s->bins, gram);
    else if (quick_covariance(s, gram))
        return QUICK_UNUSUAL;
    quick_eigen(gram, tracks, values, vectors);
    if (!(values[0] > 0) || !isfinite(values[0])) return QUICK_UNUSUAL;
    if (start == QUICK_CONTRAST) return quick_halves(values, vectors, tracks, k, weights);
    for (int64_t i = 0; i < found && i + 1 < tracks; i++)
        if (values[i] - values[i + 1] < QUICK_APART * values[0]) return QUICK_UNUSUAL;
    if (k > tracks && start == QUICK_SVD) return QUICK_UNUSUAL; /* random */
    for (int64_t i = 0; i < k; i++) {
        const double *vector = vectors + i % tracks * tracks;
        double above = 0, below = 0;
        for (int64_t t = 0; t < tracks; t++) {
            above += vector[t] > none ? vector[t] * vector[t] : none;
            below += vector[t] < none ? vector[t] * vector[t] : none;
        }
        if (fabs(below - above) < QUICK_APART) return QUICK_UNUSUAL;
        double sign = (below > above) != (i >= tracks) ? -1 : 1;
        for (int64_t t = 0; t < tracks; t++) {
            double part = sign * vector[t];
            if (i >= 2 * tracks) part = t == i % tracks;
            weights[i * tracks + t] = part > none ? part : none;
        }
    }
    return QUICK_OK;
}

/* Loadings for these weights: see solve_loadings in factorize.py. */
static int quick_loadings(const quick_signal *s, const quick_setting *set, const double *weights,
                          double *loadings)
{
    const int64_t k = set->k, tracks = s->tracks;
    double gram[QUICK_ROWS * QUICK_ROWS], projection[QUICK_ROWS * QUICK_ROWS];
    for (int64_t a = 0; a < k; a++)
        for (int64_t b = 0; b < k; b++) {
            double sum = a == b ? set->l2penalty : 0; /* W W' + l2penalty I */
            for (int64_t t = 0; t < tracks; t++) sum += weights[a * tracks + t] * weights[b * tracks + t];
            gram[a * k + b] = sum;
        }
    /* P = (W W' + l2penalty I)^+ W, then A = max(0, P Y) by spans, then L = prox(A) by rows */
    if (quick_pinv(gram, k, weights, tracks, projection)) return QUICK_UNUSUAL;
    for (int64_t at = 0; at < s->bins; at += QUICK_SPAN) {
        int64_t span = s->bins - at < QUICK_SPAN ? s->bins - at : QUICK_SPAN;
        for (int64_t c = 0; c < k; c++)
            quick_project(projection + c * tracks, s->signal + at, tracks, s->bins, span,
                          loadings + c * s->bins + at);
    }
    const double *heavy = s->width > 1 ? s->lengths : NULL;
    for (int64_t c = 0; c < k; c++) {
        double *row = loadings + c * s->bins;
        if (tuner_prox_tv1d(row, heavy, row, s->bins, set->lambdas[c], NULL)) return QUICK_UNUSUAL;
    }
    return QUICK_OK;
}

/* One round: loadings for the weights, then weights for the loadings. *change: of the weights, the
 * largest, as a fraction of the largest weight. */
static int quick_round(const quick_signal *s, const quick_setting *set, double *weights,
                       double *loadings, double *change)
{
    const int64_t k = set->k, tracks = s->tracks;
    double gram[QUICK_ROWS * QUICK_ROWS], cross[QUICK_ROWS * QUICK_ROWS], next[QUICK_ROWS * QUICK_ROWS];
    double moved = 0, largest = 0;
    if (quick_loadings(s, set, weights, loadings)) return QUICK_UNUSUAL;
    /* W = max(0, (L D L')^+ L D Y') */
    quick_products(loadings, k, loadings, k, s->lengths, s->bins, gram);
    quick_products(loadings, k, s->signal, tracks, s->lengths, s->bins, cross);
    if (quick_pinv(gram, k, cross, tracks, next)) return QUICK_UNUSUAL;
    for (int64_t i = 0; i < k * tracks; i++) {
        double value = next[i] > 0 ? next[i] : 0, step = fabs(value - weights[i]);
        moved = step > moved ? step : moved;
        largest = value > largest ? value : largest;
        weights[i] = value;
    }
    *change = largest > 0 ? moved / largest : moved > 0 ? INFINITY : 0;
    return QUICK_OK;
}

static void quick_lengths(quick_signal *s)
{
    for (int64_t i = 0; i < s->bins; i++) s->lengths[i] = (double)s->width;
    s->lengths[s->bins - 1] = (double)(s->size - (s->bins - 1) * s->width);
}

int tuner_quick_factorize(quick_signal *levels, int64_t count, const quick_setting *set,
                          double *weights, double *const *loadings)
{
    double change = INFINITY;
    if (set->k > QUICK_ROWS || levels->tracks > QUICK_ROWS) return QUICK_UNUSUAL;
    for (int64_t level = 0; level < count; level++) {
        quick_signal *s = levels + level;
        quick_lengths(s);
        for (int64_t t = 0; set->transform == QUICK_RANK && t < s->tracks; t++)
            if (quick_rank(s->signal + t * s->bins, s)) return QUICK_UNUSUAL;
        if (set->transform == QUICK_NONE || set->transform == QUICK_RANK) continue;
        for (int64_t i = 0; i < s->tracks * s->bins; i++)
            s->signal[i] = quick_transformed(s->signal[i], set->transform);
    }
    for (int64_t t = 0; set->scaling && t < levels->tracks; t++) {
        double factor = quick_factor(levels->signal + t * levels->bins, levels, set->scaling);
        for (int64_t level = 0; level < count; level++)
            for (int64_t i = 0; i < levels[level].bins; i++)
                levels[level].signal[t * levels[level].bins + i] /= factor;
    }
    if (quick_start(levels, set->k, set->start, weights)) return QUICK_UNUSUAL;
    for (int64_t round = 0; round < set->num_iter && change > set->tolerance; round++)
        if (quick_round(levels, set, weights, loadings[0], &change)) return QUICK_UNUSUAL;
    return count > 1 ? quick_loadings(levels + 1, set, weights, loadings[1]) : QUICK_OK;
}
