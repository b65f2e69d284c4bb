/* parquet_bits.c: Parquet's two integer codes: runs mixed with bit-packed groups (levels, dictionary indices, booleans)
 * and packed differences. */
#include "data/parquet/parquet_in.h"

/* Reads `width` bits (at most 64) at this bit of p; false: past the end */
static bool bits_at(const uint8_t *p, const uint8_t *end, uint64_t bit, int width, uint64_t *x)
{
    uint64_t from = bit / 8, to = (bit + (uint64_t)width + 7) / 8;
    if (to > (uint64_t)(end - p)) return false;
    unsigned __int128 v = 0;
    for (uint64_t k = from; k < to; k++) v |= (unsigned __int128)p[k] << 8 * (k - from);
    v >>= bit % 8;
    *x = (uint64_t)v & (width == 64 ? UINT64_MAX : ((uint64_t)1 << width) - 1);
    return true;
}

static bool varint(const uint8_t **p, const uint8_t *end, uint64_t *x)
{
    *x = 0;
    for (int shift = 0; shift < 64 && *p < end; shift += 7) {
        uint8_t b = *(*p)++;
        if (shift == 63 && b > 1) return false;
        *x |= (uint64_t)(b & 127) << shift;
        if (b < 128) return true;
    }
    return false;
}

struct rle rle_make(const uint8_t *p, size_t n, int width)
{
    return (struct rle){ .p = p, .end = p + n, .width = width };
}

static bool rle_run(struct rle *r)
{
    uint64_t head, x = 0;
    if (!varint(&r->p, r->end, &head) || head >> 1 > UINT32_MAX) return false;
    uint64_t here = (uint64_t)(r->end - r->p);
    r->packed = head & 1;
    r->left = head >> 1;
    if (r->packed) {
        /* a group of 8 takes width bytes; some writers cut the last one short */
        uint64_t size = r->left * (uint64_t)r->width;
        r->bits = r->p;
        r->bit = 0;
        r->left *= 8;
        r->p += size < here ? size : here;
        return true;
    }
    int size = (r->width + 7) / 8;
    if ((uint64_t)size > here) return false;
    for (int k = 0; k < size; k++) x |= (uint64_t)*r->p++ << 8 * k;
    if (x >> r->width) return false;
    r->value = (uint32_t)x;
    return true;
}

bool rle_next(struct rle *r, uint32_t *x)
{
    while (r->left == 0) if (r->p == r->end || !rle_run(r)) return false;
    r->left--;
    if (!r->packed) { *x = r->value; return true; }
    uint64_t v;
    if (!bits_at(r->bits, r->p, r->bit, r->width, &v)) return false;
    r->bit += (uint64_t)r->width;
    *x = (uint32_t)v;
    return true;
}

static uint64_t zigzag(uint64_t x) { return (x >> 1) ^ -(x & 1); }

bool delta_make(struct delta *d, const uint8_t *p, const uint8_t *end)
{
    *d = (struct delta){ .p = p, .end = end };
    if (!varint(&d->p, end, &d->block) || !varint(&d->p, end, &d->minis) || !varint(&d->p, end, &d->left) ||
        !varint(&d->p, end, &d->last))
        return false;
    d->last = zigzag(d->last);
    /* writers use 128 in 4 parts or little more; without a limit three bytes could expand to 2^60 equal values */
    if (d->block == 0 || d->block > 65536 || d->minis == 0 || d->minis > d->block || d->block % d->minis != 0)
        return false;
    d->mini = d->minis;
    return d->block / d->minis % 32 == 0;
}

/* Starts the next miniblock, after the block header if it is the first one */
static bool delta_mini(struct delta *d)
{
    if (d->mini == d->minis) {
        if (!varint(&d->p, d->end, &d->min) || d->minis > (uint64_t)(d->end - d->p)) return false;
        d->min = zigzag(d->min);
        d->widths = d->p;
        d->p += d->minis;
        d->mini = 0;
    }
    d->width = d->widths[d->mini++];
    d->in_mini = d->block / d->minis;
    uint64_t size = d->in_mini / 8 * (uint64_t)d->width;
    if (d->width > 64 || size > (uint64_t)(d->end - d->p)) return false;
    d->bits = d->p;
    d->bit = 0;
    d->p += size;
    return true;
}

bool delta_next(struct delta *d, int64_t *x)
{
    if (d->left == 0) return false;
    if (d->begun) {
        uint64_t v;
        if (d->in_mini == 0 && !delta_mini(d)) return false;
        if (!bits_at(d->bits, d->p, d->bit, d->width, &v)) return false;
        d->bit += (uint64_t)d->width;
        d->in_mini--;
        d->last += d->min + v;                                      /* unsigned: it may wrap, as in the writer */
    }
    d->begun = true;
    d->left--;
    *x = (int64_t)d->last;
    return true;
}
