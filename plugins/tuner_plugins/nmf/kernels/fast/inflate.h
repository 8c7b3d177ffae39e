/* zlib streams that fit memory whole, by a library of the system. */
#ifndef TUNER_INFLATE_H
#define TUNER_INFLATE_H

#include <stddef.h>
#include <stdint.h>

enum { INFLATE_OK = 0, INFLATE_BAD = 1 };

/* libdeflate where `machine` is set, else zlib; all 0 where neither is here. */
typedef struct {
    void *library, *machine;
    int (*deflate)(void *, const void *, size_t, void *, size_t, size_t *);
    int (*zlib)(uint8_t *, unsigned long *, const uint8_t *, unsigned long);
} inflate_tool;

/* Open a library; `close` also after a failure. To open one that is open already takes no time. */
int tuner_inflate_open(inflate_tool *tool);
void tuner_inflate_close(inflate_tool *tool);

/* Decompress. *size: room in `out`; then, how many bytes came out. */
int tuner_inflate(const inflate_tool *tool, uint8_t *out, int64_t *size, const uint8_t *in,
                  int64_t packed);

#endif
