/* The binned factorisation without NumPy, from bigWig files to a .npy file: what Python calls.
 *
 *     read.c       a file to averages over bins (inflate.c, bins.c)
 *     factorize.c  averages to loadings, by the rounds of factorize.py (../prox/prox.h)
 *     write.c      loadings per base to a file
 *
 * The structures are those of fast_path.py, field by field. */
#ifndef TUNER_FAST_H
#define TUNER_FAST_H

#include <stdint.h>

enum { QUICK_OK = 0, QUICK_UNUSUAL = 1, QUICK_ABSENT = 2 };
/* Unusual: left to the careful path. Absent: a sound file without the chromosome. */
enum { QUICK_ROWS = 64 };                 /* more loadings or tracks than that are no quick job */

/* What is wanted of a track: averages over bins of each of these widths. */
typedef struct {
    const char *chrom;
    int64_t start, end;
    int64_t levels;
    const int64_t *widths;
    double *const *means; /* by level: of each bin */
    int fill_mean;        /* what has no data counts as the mean of what has, not as 0 */
} quick_request;

typedef struct {
    int64_t tracks, bins, width, size; /* bases a bin, bases in all */
    double *signal;                    /* tracks rows of bins */
    double *lengths;                   /* bases in each bin */
} quick_signal;

typedef struct {
    int64_t k, num_iter;
    int32_t transform, scaling;
    int32_t start;
    double l2penalty, tolerance;
    const double *lambdas; /* of each loading: its penalty on steps */
} quick_setting;

/* Average a track over bins. `handle`: the open file of `size` bytes; `covered`: room for as many
 * values as all levels have bins, 0 all over, as all means are. */
int tuner_quick_read(int handle, int64_t size, const quick_request *want, double *covered);

/* Factorise. `levels`: one signal, or two: weights are learnt on the first, and the loadings solved
 * for on the last. weights: k x tracks. loadings: k rows for each level. */
int tuner_quick_factorize(quick_signal *levels, int64_t count, const quick_setting *set,
                          double *weights, double *const *loadings);

/* Write loadings (k rows of bins) per base, (size, k) values, to an open file. */
int tuner_quick_write(int handle, const double *loadings, int64_t k, int64_t bins, int64_t width,
                      int64_t size, int single);

#endif
