/* Drives the kernels that compute and write over random and extreme sizes and values: for a build
 * with sanitizers, behind the sources of the kernels. With -DPROX_PLAIN those of the quick library,
 * otherwise those of the full one.
 *
 *     sanitize_kernels SEED ROUNDS
 *
 * Every room is as large as it has to be and no larger. Answers that can be told right from wrong
 * are: a wrong one ends the program with a line and code 4. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t state;

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static void check(int well, const char *what)
{
    if (well) return;
    fprintf(stderr, "wrong: %s\n", what);
    exit(4);
}

static void *room(int64_t count, size_t size)
{
    void *place = malloc((size_t)count * size);
    check(place != NULL, "no memory");
    return place;
}

/* A number of a kind: 0 plain and not negative, 1 plain, 2 to 6 extreme, 7 nothing but zeros. */
static double number(uint64_t kind)
{
    static const double extremes[] = {0, 1e12, 1e300, -1e300, 4.9e-324, 1e-310, 3.4e38, -0.0, 1};
    double plain = (double)draw(1000) / 250;
    if (kind == 7) return 0;
    if (kind < 2) return draw(4) ? plain - (kind ? 2 : 0) : 0;
    if (draw(16) == 0 && kind == 6) return draw(2) ? NAN : INFINITY;
    return draw(kind) ? plain : extremes[draw(9)];
}

static int64_t length(void)
{
    static const int64_t lengths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 65, 100, 1023, 1024, 1025, 3000};
    return draw(40) ? lengths[draw(16)] : 20000 + (int64_t)draw(20000);
}

static double *numbers(int64_t count, uint64_t kind)
{
    double *list = room(count, sizeof *list), held = number(kind);
    for (int64_t i = 0; i < count; i++) {
        if (draw(3) || kind == 5) held = number(kind); /* some runs of equal values */
        list[i] = held;
    }
    return list;
}

static double penalty(void)
{
    static const double penalties[] = {0, 1e-300, 4.9e-324, 0.5, 1, 10, 1e12, 1e300};
    return penalties[draw(8)];
}

static void drive_prox(void)
{
    int64_t n = length();
    uint64_t kind = draw(8);
    int weighted = (int)draw(2), sound = 1, modest = 1, odd = weighted && !draw(8);
    double *y = numbers(n, kind), *w = numbers(n, 0), *x = room(n, sizeof *x), *again = room(n, sizeof *x);
    double lam = penalty(), low = INFINITY, high = -INFINITY, mass = 0;
    int8_t *steps = room(n, 1);
    for (int64_t i = 0; i < n; i++) {
        w[i] = odd && !draw(50) ? number(6) : 1 + w[i] * 100;
        sound &= isfinite(y[i]) && (!weighted || (w[i] > 0 && isfinite(w[i])));
        modest &= fabs(y[i]) < 1e100 && (!weighted || w[i] < 1e100);
        mass += fabs(y[i]) * (weighted ? w[i] : 1);
        low = y[i] < low ? y[i] : low;
        high = y[i] > high ? y[i] : high;
        steps[i] = (int8_t)(draw(3) - 1);
    }
    int status = tuner_prox_tv1d(y, weighted ? w : NULL, x, n, lam, NULL);
    int warm = tuner_prox_tv1d(y, weighted ? w : NULL, again, n, lam, steps);
    check(sound || status, "a value that is not finite, or a weight not above 0, must be refused");
    check(!(sound && modest) || !status, "sound values must be solved for");
    check(!!status == !!warm, "a warm start must be refused as a cold one");
    for (int64_t i = 0; i < n && !status && modest; i++) {
        check(x[i] >= low && x[i] <= high, "the answer must lie within the signal's range");
        /* else the penalty is lost in the rounding of the running sums, and either answer is right */
        if (lam == 0 || 1e3 * (double)n * mass * 0x1p-52 < lam)
            check(fabs(x[i] - again[i]) <= 1e-6 * (high - low), "a warm start must give the same");
        check(lam > 0 || fabs(x[i] - y[i]) <= 1e-9 * (high - low), "no penalty must change nothing");
    }
    if (!status) check(!tuner_prox_tv1d(y, weighted ? w : NULL, y, n, lam, NULL), "in place");
    free(y), free(w), free(x), free(again), free(steps);
}

#ifdef PROX_PLAIN

static void drive_factorize(void)
{
    int64_t tracks = draw(8) ? 1 + (int64_t)draw(6) : 1 + (int64_t)draw(QUICK_ROWS + 1);
    int64_t k = draw(3) ? 1 + (int64_t)draw(8) : tracks, count = 1 + (int64_t)draw(2);
    uint64_t kind = draw(8);
    double *lambdas = room(k, sizeof *lambdas);
    for (int64_t c = 0; c < k; c++) lambdas[c] = penalty();
    quick_setting set = {k, (int64_t)draw(6), (int32_t)draw(5), (int32_t)draw(4), (int32_t)draw(3),
                         penalty(), draw(2) ? 0 : 1e-3, lambdas};
    quick_signal levels[2];
    double *weights = room(k * tracks, sizeof *weights), *rows[2], size = (double)length();
    for (int64_t level = 0; level < count; level++) {
        int64_t width = 1 + (int64_t)draw(9), bins = ((int64_t)size + width - 1) / width;
        levels[level] = (quick_signal){tracks, bins, width, (int64_t)size, numbers(tracks * bins, kind),
                                       room(bins, sizeof(double))};
        rows[level] = room(k * bins, sizeof(double));
    }
    int status = tuner_quick_factorize(levels, count, &set, weights, rows);
    int64_t cells = k * levels[count - 1].bins;
    for (int64_t i = 0; i < cells && !status && kind < 2 && set.num_iter; i++)
        check(rows[count - 1][i] >= 0 && isfinite(rows[count - 1][i]), "loadings are finite, not negative");
    for (int64_t level = 0; level < count; level++)
        free(levels[level].signal), free(levels[level].lengths), free(rows[level]);
    free(weights), free(lambdas);
}

static void drive_write(void)
{
    int64_t k = draw(3) ? 1 + (int64_t)draw(5) : QUICK_ROWS, width = 1 + (int64_t)draw(draw(20) ? draw(2) ? 3 : 90 : 90000);
    int64_t bins = 1 + (int64_t)draw(width > 90 ? 3 : width < 4 ? 2000 : 60), size = width * bins - (int64_t)draw((uint64_t)width);
    int64_t begin = (int64_t)draw(130), single = (int64_t)draw(2), row = k * (single ? 4 : 8);
    double *values = numbers(k * bins, draw(8));
    int file = memfd_create("loadings", 0);
    check(lseek(file, begin, SEEK_SET) == begin, "seek");
    check(!tuner_quick_write(file, values, k, bins, width, size, (int)single), "written");
    uint8_t *found = room(size * row, 1);
    check(pread(file, found, (size_t)(size * row) + 1, begin) == size * row, "as long as it must be");
    for (int64_t i = 0; i < 200; i++) {
        int64_t at = (int64_t)draw((uint64_t)size), c = (int64_t)draw((uint64_t)k);
        double value = values[c * bins + at / width];
        float narrow = (float)value;
        check(!memcmp(found + at * row + c * row / k, single ? (void *)&narrow : (void *)&value, row / k),
              "the value of its bin");
    }
    check(tuner_quick_write(-1, values, k, bins, width, size, 0), "no file");
    close(file);
    free(values), free(found);
}

int main(int count, char **words)
{
    void (*const drives[])(void) = {drive_prox, drive_factorize, drive_write};
#else

void tuner_project(const void *, int, int64_t, int64_t, const double *, int64_t, double *, int64_t, int64_t,
                   int64_t);
void tuner_products(int64_t, const double *, int64_t, const void *, int, int64_t, int64_t, const double *,
                    double *, int64_t, int64_t);

static void drive_products(void)
{
    int64_t size = length(), tracks = 1 + (int64_t)draw(20), k = draw(3) ? 1 + (int64_t)draw(12) : tracks;
    int single = (int)draw(2);
    uint64_t kind = draw(8);
    if (size > 10000) size = 10000;
    int64_t begin = (int64_t)draw((uint64_t)size), end = draw(2) ? size : begin + (int64_t)draw((uint64_t)(size - begin) + 1);
    if (draw(2)) begin = 0;
    double *signal = numbers(tracks * size, kind), *projection = numbers(k * tracks, draw(8));
    float *narrow = room(tracks * size, sizeof *narrow);
    double *loadings = room(k * size, sizeof *loadings), *weights = draw(2) ? numbers(size, 0) : NULL;
    double *products = calloc((size_t)(k * (k + tracks)), sizeof *products);
    for (int64_t i = 0; i < tracks * size; i++) narrow[i] = fabs(signal[i]) < 3e38 ? (float)signal[i] : 0;
    for (int64_t i = 0; i < k * size; i++) loadings[i] = 0;
    const void *rows = single ? (void *)narrow : (void *)signal;
    tuner_project(rows, single, size * (single ? 4 : 8), tracks, projection, k, loadings, size, begin, end);
    for (int64_t i = 0; i < k * size; i++) check(!(loadings[i] < 0), "loadings are not negative");
    tuner_products(k, loadings, size, rows, single, size * (single ? 4 : 8), tracks, weights, products, begin, end);
    double sum = 0, scale = 0;
    for (int64_t i = begin; i < end; i++) {
        double part = (weights ? weights[i] : 1) * loadings[i] * (single ? narrow[i] : signal[i]);
        sum += part;
        scale += fabs(part);
    }
    /* a subnormal product is rounded to a multiple of 2^-1074, unless it is added at once */
    double rounding = 1e-9 * scale + (double)(end - begin) * 0x1p-1074;
    if (scale < 1e290) check(fabs(products[k] - sum) <= rounding, "L D Y' of the first row and track");
    free(signal), free(projection), free(narrow), free(loadings), free(weights), free(products);
}

int main(int count, char **words)
{
    void (*const drives[])(void) = {drive_prox, drive_products};
#endif
    if (count != 3) return 2;
    state = strtoull(words[1], NULL, 10) * 2 + 1;
    for (int i = 0; i < 30; i++) draw(2);
    for (long left = atol(words[2]); left > 0; left--) drives[draw(sizeof drives / sizeof *drives)]();
    return 0;
}
