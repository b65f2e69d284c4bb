/* philox.h: Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
 * (SC 2011), and of cuRAND. A number depends on where it is used, never on when: the key is the seed, the counter
 * selects the number. */
#pragma once
#include <stdint.h>

struct philox { uint32_t v[4]; };

static inline struct philox philox4x32(uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32), c[4] = { c0, c1, c2, c3 };
    for (int r = 0; r < 10; r++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[0] = n0; c[1] = (uint32_t)p1; c[2] = n2; c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (struct philox){ { c[0], c[1], c[2], c[3] } };
}

/* A stream for code that draws one number after another (task generators, initial weights). `stream` names the use and
 * `hi` is an index within it (a task, an epoch): no two streams share numbers. */
struct rng { uint64_t seed; uint32_t stream, hi; uint64_t n; };

static inline struct rng rng_make(uint64_t seed, uint32_t stream, uint32_t hi)
{
    return (struct rng){ seed, stream, hi, 0 };
}
static inline uint32_t rng_u32(struct rng *r)
{
    uint64_t block = r->n / 4;
    uint32_t word = (uint32_t)(r->n++ % 4);
    return philox4x32(r->seed, (uint32_t)block, (uint32_t)(block >> 32), r->stream, r->hi).v[word];
}
/* (0, 1) */
static inline double rng_uniform(struct rng *r) { return ((double)rng_u32(r) + 0.5) * 0x1p-32; }
/* 0 .. n-1 */
static inline uint32_t rng_below(struct rng *r, uint32_t n) { return (uint32_t)(((uint64_t)rng_u32(r) * n) >> 32); }
