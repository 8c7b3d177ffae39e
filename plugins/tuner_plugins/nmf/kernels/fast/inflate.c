/* Blocks of a bigWig file decompressed (zlib, RFC 1950; deflate, RFC 1951): one decoder, one file.
 *
 * Half the time of reading is spent here, and a block fits memory whole: no window, no state to
 * keep from call to call. Whatever zlib itself might refuse, or accept for history's sake, gives a
 * status: the careful path asks zlib then. The checksum is held against what came out.
 */
#include <string.h>

#include "inflate.h"

/* What a few bits mean, in one word:
 *   0-7    bits to take: those of the code, and the extra ones that follow it
 *   8-11   bits of the code; of a longer code, how many more are to be looked up
 *   12-15  a flag below, or none: base of a length or distance
 *   16-31  literal, base, or where in the table a longer code goes on */
enum {
    INFLATE_LITERAL = 0x8000,
    INFLATE_END = 0x4000,
    INFLATE_LONGER = 0x2000,
    INFLATE_NONE = 0x1000,
    INFLATE_ODD = INFLATE_END | INFLATE_LONGER | INFLATE_NONE
};

#define INFLATE_INLINE static inline __attribute__((always_inline))

/* Have 56 bits at hand where eight bytes are left. */
INFLATE_INLINE void inflate_refill_fast(inflate_reader *r)
{
    uint64_t word;
    memcpy(&word, r->in, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    r->bits |= word << r->count;
    r->in += (63 - r->count) >> 3;
    r->count |= 56;
}

/* Have 56 bits at hand, or all that are left. */
INFLATE_INLINE void inflate_refill(inflate_reader *r)
{
    if (r->end - r->in >= 8 && r->count >= 0) {
        inflate_refill_fast(r);
        return;
    }
    for (; r->count >= 0 && r->count <= 55 && r->in < r->end; r->count += 8)
        r->bits |= (uint64_t)*r->in++ << r->count;
}

INFLATE_INLINE uint32_t inflate_take(inflate_reader *r, int bits)
{
    uint32_t value = (uint32_t)(r->bits & ((1u << bits) - 1));
    r->bits >>= bits;
    r->count -= bits;
    return value;
}

static const uint16_t inflate_length_base[32] = {
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258};
static const uint8_t inflate_length_extra[32] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2,
                                                 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const uint16_t inflate_distance_base[32] = {
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
    2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};

enum { INFLATE_ORDER, INFLATE_TEXT, INFLATE_BACK }; /* what a code's symbols are */

/* Return the entry of a symbol, but for the bits of its code. */
static inflate_entry inflate_meaning(int symbol, int what)
{
    if (what == INFLATE_BACK) {
        if (symbol >= 30) return INFLATE_NONE;
        return (uint32_t)inflate_distance_base[symbol] << 16 | (uint32_t)(symbol < 2 ? 0 : symbol / 2 - 1);
    }
    if (what == INFLATE_ORDER || symbol < 256) return (uint32_t)symbol << 16 | INFLATE_LITERAL;
    if (symbol == 256) return INFLATE_END;
    if (symbol > 285) return INFLATE_NONE;
    return (uint32_t)inflate_length_base[symbol - 257] << 16 | inflate_length_extra[symbol - 257];
}

static uint32_t inflate_reversed(uint32_t code, int bits)
{
    code = (code & 0x5555) << 1 | (code >> 1 & 0x5555);
    code = (code & 0x3333) << 2 | (code >> 2 & 0x3333);
    code = (code & 0x0f0f) << 4 | (code >> 4 & 0x0f0f);
    code = (code & 0x00ff) << 8 | (code >> 8 & 0x00ff);
    return code >> (16 - bits);
}

/* Make the table of a canonical code from the lengths of its words. The first 1 << root entries are
 * looked up by as many bits; longer words go on in stretches behind them. A code must be whole;
 * one of distances may have a single word or none. */
static int inflate_table(const uint8_t *lengths, int symbols, int what, int root,
                         inflate_entry *table, int64_t capacity)
{
    int counts[16] = {0}, places[16] = {0}, longest = 0, words = 0;
    uint16_t sorted[INFLATE_LITERALS];
    for (int i = 0; i < symbols; i++) counts[lengths[i]]++;
    counts[0] = 0;
    int64_t left = 1, used = 1 << root;
    for (int bits = 1; bits < 16; bits++) {
        left = 2 * left - counts[bits];
        if (left < 0) return INFLATE_BAD;
        places[bits] = words;
        words += counts[bits];
        longest = counts[bits] ? bits : longest;
    }
    if (left && !(what == INFLATE_BACK && words <= 1 && longest <= 1)) return INFLATE_BAD;
    for (int i = 0; left && i < used; i++) table[i] = INFLATE_NONE;
    for (int i = 0; i < symbols; i++)
        if (lengths[i]) sorted[places[lengths[i]]++] = (uint16_t)i;
    uint32_t code = 0;
    for (int word = 0; word < words; word++) {
        int bits = lengths[sorted[word]];
        uint32_t turned = inflate_reversed(code, bits), step = 1u << bits, size = 1u << root;
        inflate_entry entry = inflate_meaning(sorted[word], what), *to = table;
        uint32_t own = (uint32_t)(bits > root ? bits - root : bits);
        entry += own << 8 | own;
        if (bits > root) {
            inflate_entry *link = table + (turned & ((1u << root) - 1));
            size = 1u << (longest - root);
            if (turned >> root == 0) { /* the first word behind this prefix */
                if (used + size > capacity) return INFLATE_BAD;
                *link = (uint32_t)used << 16 | INFLATE_LONGER | (uint32_t)(longest - root) << 8 | (uint32_t)root;
                used += size;
            }
            to = table + (*link >> 16);
            turned >>= root;
            step = 1u << own;
        }
        for (uint32_t i = turned; i < size; i += step) to[i] = entry;
        if (word + 1 < words) code = (code + 1) << (lengths[sorted[word + 1]] - bits);
    }
    return INFLATE_OK;
}

/* Read the two codes of a block that brings its own. */
static int inflate_own_codes(inflate_state *s)
{
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[INFLATE_LITERALS + INFLATE_DISTANCES] = {0}, small[19] = {0};
    inflate_reader *r = &s->reader;
    inflate_refill(r);
    int literals = 257 + (int)inflate_take(r, 5), distances = 1 + (int)inflate_take(r, 5);
    int given = 4 + (int)inflate_take(r, 4);
    if (literals > 286 || distances > 30) return INFLATE_BAD;
    for (int i = 0; i < given; i++) {
        inflate_refill(r);
        small[order[i]] = (uint8_t)inflate_take(r, 3);
    }
    if (r->count < 0 || inflate_table(small, 19, INFLATE_ORDER, 7, s->literals, 1 << 7)) return INFLATE_BAD;
    for (int i = 0; i < literals + distances;) {
        inflate_refill(r);
        inflate_entry entry = s->literals[r->bits & 127];
        inflate_take(r, entry & 0xff);
        int repeat = 1, value = (int)(entry >> 16);
        if (value == 16) {
            if (i == 0) return INFLATE_BAD;
            value = lengths[i - 1];
            repeat = 3 + (int)inflate_take(r, 2);
        } else if (value >= 17) {
            repeat = value == 17 ? 3 + (int)inflate_take(r, 3) : 11 + (int)inflate_take(r, 7);
            value = 0;
        }
        if (r->count < 0 || i + repeat > literals + distances) return INFLATE_BAD;
        while (repeat--) lengths[i++] = (uint8_t)value;
    }
    if (!lengths[256]) return INFLATE_BAD;
    if (inflate_table(lengths + literals, distances, INFLATE_BACK, INFLATE_DISTANCE_BITS,
                      s->distances, sizeof s->distances / sizeof *s->distances))
        return INFLATE_BAD;
    return inflate_table(lengths, literals, INFLATE_TEXT, INFLATE_LITERAL_BITS, s->literals,
                         sizeof s->literals / sizeof *s->literals);
}

static int inflate_fixed_codes(inflate_state *s)
{
    uint8_t lengths[INFLATE_LITERALS];
    for (int i = 0; i < INFLATE_LITERALS; i++)
        lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    if (inflate_table(lengths, INFLATE_LITERALS, INFLATE_TEXT, INFLATE_LITERAL_BITS, s->literals,
                      sizeof s->literals / sizeof *s->literals))
        return INFLATE_BAD;
    memset(lengths, 5, INFLATE_DISTANCES);
    return inflate_table(lengths, INFLATE_DISTANCES, INFLATE_BACK, INFLATE_DISTANCE_BITS,
                         s->distances, sizeof s->distances / sizeof *s->distances);
}

/* Copy `length` bytes from `distance` back; up to fifteen bytes more may be written. */
INFLATE_INLINE void inflate_copy(uint8_t *out, int64_t distance, int64_t length)
{
    const uint8_t *from = out - distance, *end = out + length;
    if (__builtin_expect(distance >= 8, 1)) {
        memcpy(out, from, 8); /* most matches are no longer than that: no loop to foresee */
        for (out += 8, from += 8; __builtin_expect(out < end, 0); out += 8, from += 8)
            memcpy(out, from, 8);
    } else {
        for (; out < end; out++, from++) *out = *from;
    }
}

/* Take a code and its extra bits; give its base and them, added up. */
INFLATE_INLINE uint32_t inflate_number(inflate_reader *r, inflate_entry entry)
{
    uint64_t bits = r->bits & (((uint64_t)1 << (entry & 0xff)) - 1);
    r->bits >>= entry & 0xff;
    r->count -= entry & 0xff;
    return (entry >> 16) + (uint32_t)(bits >> (entry >> 8 & 15));
}

/* Look a code up; where it is a longer one, its first bits are taken. */
INFLATE_INLINE inflate_entry inflate_look(inflate_reader *r, const inflate_entry *table, int root)
{
    inflate_entry entry = table[r->bits & ((1u << root) - 1)];
    if (__builtin_expect(entry & INFLATE_LONGER, 0)) {
        inflate_take(r, root);
        entry = table[(entry >> 16) + (r->bits & ((1u << (entry >> 8 & 15)) - 1))];
    }
    return entry;
}

/* Literals and matches up to the end of a block. Both loops hold that a round begins at or before
 * `stop`, and a round writes at most two literals, a match and the rest of a word: what follows
 * `stop` is INFLATE_SLACK bytes long. */
_Static_assert(2 + INFLATE_MATCH + 15 <= INFLATE_SLACK, "a round must fit behind the output");

static int inflate_codes(inflate_state *s, const uint8_t *start, uint8_t **place, const uint8_t *stop)
{
    enum { LITERALS = (1 << INFLATE_LITERAL_BITS) - 1, DISTANCES = (1 << INFLATE_DISTANCE_BITS) - 1 };
    enum { FAR = 32, NUMBER = 28 }; /* bytes that a fast round may read; bits of a distance, at most */
    inflate_reader reader = s->reader, *r = &reader;
    uint8_t *out = *place;
    inflate_entry entry = 0;
    /* Far from both ends nothing is counted. The code behind a match is looked up before the match
     * is copied: neither waits for the other. */
    if (r->end - r->in >= FAR) {
        inflate_refill_fast(r);
        entry = s->literals[r->bits & LITERALS];
    }
    while (r->end - r->in >= FAR && out <= stop) {
        for (int more = 0; more < 2 && entry & INFLATE_LITERAL; more++) { /* 11 bits each */
            inflate_take(r, entry & 0xff);
            *out++ = (uint8_t)(entry >> 16);
            entry = s->literals[r->bits & LITERALS];
        }
        if (__builtin_expect(entry & INFLATE_ODD, 0)) {
            entry = inflate_look(r, s->literals, INFLATE_LITERAL_BITS);
            if (entry & INFLATE_NONE) return INFLATE_BAD;
            if (entry & INFLATE_END) {
                inflate_take(r, entry & 0xff);
                goto done;
            }
        }
        if (entry & INFLATE_LITERAL) {
            inflate_take(r, entry & 0xff);
            *out++ = (uint8_t)(entry >> 16);
            inflate_refill_fast(r);
            entry = s->literals[r->bits & LITERALS];
            continue;
        }
        int64_t length = inflate_number(r, entry);
        if (__builtin_expect(r->count < NUMBER, 0)) inflate_refill_fast(r);
        entry = inflate_look(r, s->distances, INFLATE_DISTANCE_BITS);
        int64_t distance = inflate_number(r, entry);
        if (__builtin_expect(entry & INFLATE_NONE || distance > out - start, 0)) return INFLATE_BAD;
        inflate_refill_fast(r);
        entry = s->literals[r->bits & LITERALS];
        inflate_copy(out, distance, length);
        out += length;
    }
    for (;;) {
        if (r->count < 0 || out > stop) return INFLATE_BAD;
        inflate_refill(r);
        entry = inflate_look(r, s->literals, INFLATE_LITERAL_BITS);
        if (entry & INFLATE_LITERAL) {
            inflate_take(r, entry & 0xff);
            *out++ = (uint8_t)(entry >> 16);
        } else if (entry & INFLATE_END) {
            inflate_take(r, entry & 0xff);
            break;
        } else {
            if (entry & INFLATE_NONE) return INFLATE_BAD;
            int64_t length = inflate_number(r, entry);
            inflate_refill(r);
            entry = inflate_look(r, s->distances, INFLATE_DISTANCE_BITS);
            if (entry & INFLATE_NONE) return INFLATE_BAD;
            int64_t distance = inflate_number(r, entry);
            if (r->count < 0 || distance > out - start) return INFLATE_BAD;
            inflate_copy(out, distance, length);
            out += length;
        }
    }
done:
    if (r->count < 0 || out > stop) return INFLATE_BAD;
    s->reader = reader;
    *place = out;
    return INFLATE_OK;
}

/* A block that was not compressed. */
static int inflate_stored(inflate_reader *r, uint8_t **place, const uint8_t *stop)
{
    inflate_take(r, (int)(r->count & 7));
    r->in -= r->count >> 3; /* what was refilled too early */
    r->bits = 0;
    r->count = 0;
    if (r->end - r->in < 4) return INFLATE_BAD;
    int64_t size = r->in[0] | r->in[1] << 8, check = r->in[2] | r->in[3] << 8;
    r->in += 4;
    if ((size ^ check) != 0xffff || size > r->end - r->in || size > stop - *place) return INFLATE_BAD;
    memcpy(*place, r->in, (size_t)size);
    *place += size;
    r->in += size;
    return INFLATE_OK;
}

/* Adler-32: sums of bytes, and of those sums. */
static uint32_t inflate_checksum(const uint8_t *data, int64_t size)
{
    enum { SPAN = 32, MOST = 5536 }; /* bytes until the sums have to be reduced */
    uint32_t low = 1, high = 0;
    while (size > 0) {
        int64_t part = size < MOST ? size : MOST;
        size -= part;
        for (; part >= SPAN; part -= SPAN, data += SPAN) {
            uint32_t sum = 0, ramp = 0;
            for (uint32_t i = 0; i < SPAN; i++) {
                sum += data[i];
                ramp += (SPAN - i) * data[i];
            }
            high += SPAN * low + ramp;
            low += sum;
        }
        for (; part > 0; part--) {
            low += *data++;
            high += low;
        }
        low %= 65521;
        high %= 65521;
    }
    return high << 16 | low;
}

int tuner_inflate_zlib(inflate_state *s, uint8_t *out, int64_t *size, const uint8_t *in,
                       int64_t packed)
{
    uint8_t *place = out;
    int last = 0;
    if (packed < 6 || (in[0] & 15) != 8 || in[0] >> 4 > 7 || (in[0] << 8 | in[1]) % 31 || in[1] & 32)
        return INFLATE_BAD;
    s->reader = (inflate_reader){in + 2, in + packed, 0, 0};
    while (!last) {
        inflate_refill(&s->reader);
        last = (int)inflate_take(&s->reader, 1);
        int kind = (int)inflate_take(&s->reader, 2), status = INFLATE_BAD;
        if (s->reader.count < 0) return INFLATE_BAD;
        if (kind == 0) {
            status = inflate_stored(&s->reader, &place, out + *size);
        } else if (kind < 3) {
            status = kind == 1 ? inflate_fixed_codes(s) : inflate_own_codes(s);
            if (!status) status = inflate_codes(s, out, &place, out + *size);
        }
        if (status) return INFLATE_BAD;
    }
    const inflate_reader *r = &s->reader;
    const uint8_t *end = r->in - (r->count >> 3);
    if (r->end - end < 4) return INFLATE_BAD;
    uint32_t check = (uint32_t)end[0] << 24 | (uint32_t)end[1] << 16 | (uint32_t)end[2] << 8 | end[3];
    *size = place - out;
    return inflate_checksum(out, *size) == check ? INFLATE_OK : INFLATE_BAD;
}
