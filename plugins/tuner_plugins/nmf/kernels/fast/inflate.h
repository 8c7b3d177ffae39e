/* zlib streams that fit memory whole. */
#ifndef TUNER_INFLATE_H
#define TUNER_INFLATE_H

#include <stdint.h>

#define INFLATE_OK 0
#define INFLATE_BAD 1
#define INFLATE_MATCH 258 /* bytes in the longest match */
#define INFLATE_SLACK 320 /* room behind the output that may be written to: see inflate_codes */
#define INFLATE_LITERAL_BITS 11
#define INFLATE_DISTANCE_BITS 9
#define INFLATE_LITERALS 288
#define INFLATE_DISTANCES 32

typedef uint32_t inflate_entry; /* see inflate.c */

/* The packed bytes, and bits of them at hand. */
typedef struct {
    const uint8_t *in, *end;
    uint64_t bits;
    int64_t count; /* below 0 where more were taken than there are */
} inflate_reader;

typedef struct {
    inflate_reader reader;
    inflate_entry literals[(1 << INFLATE_LITERAL_BITS) + INFLATE_LITERALS / 2 * 16];
    inflate_entry distances[(1 << INFLATE_DISTANCE_BITS) + INFLATE_DISTANCES / 2 * 64];
} inflate_state;

/* Decompress. *size: room in `out`, behind which INFLATE_SLACK bytes more may be written; then, how
 * many bytes came out. */
int tuner_inflate_zlib(inflate_state *s, uint8_t *out, int64_t *size, const uint8_t *in,
                       int64_t packed);

#endif
