/* row.cuh: a row of logits as 16-byte chunks, which a team of warps reads (team.cuh): contiguous stretches of chunks by
 * warp, chunk by lane within, so that the order of every sum follows from the vocabulary alone. A row that is not
 * 16-byte aligned is read number by number, in the same order. */
#pragma once
#include "kernels/cuda/team.cuh"

enum { CHUNK = PACK };
enum : unsigned { FULL = 0xffffffffu };

/* One row of logits. allow NULL: every id. */
struct row_view { const elem_t *x; const uint32_t *allow; int vocab; bool aligned; };

__device__ __forceinline__ row_view row_at(const elem_t *x, int64_t i, int64_t ld, int vocab, const uint32_t *allow)
{
    const elem_t *p = x + i * ld;
    row_view r = { p, allow, vocab, ((uintptr_t)p & 15) == 0 };
    return r;
}

/* Exponentials of logits: e^x for float storage; 2^y with y = x / ln 2 for bf16, one instruction, at most 2 ulp from
 * -126 to 0, 0 below, 1 at 0. */
/* x = y row_unit() */
__host__ __device__ constexpr double row_unit() { return sizeof(elem_t) == 2 ? 0.693147180559945309 : 1; }
__device__ __forceinline__ float row_power(float y)
{
    if (sizeof(elem_t) != 2) return expf(y);
#ifdef __CUDACC__
    float p;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(p) : "f"(y));
    return p;
#else
    return y < -126.0f ? 0.0f : exp2f(y);
#endif
}

__device__ __forceinline__ int row_chunks(int vocab) { return (vocab + CHUNK - 1) / CHUNK; }

/* -inf for those ids of the chunk that begins with id j that the mask forbids. */
__device__ __forceinline__ void row_mask(float (&v)[CHUNK], const row_view &r, int64_t j)
{
    if (!r.allow || j >= r.vocab) return;
    uint32_t bits = r.allow[j / 32] >> (j % 32);
    for (int e = 0; e < CHUNK; e++) if (!(bits >> e & 1)) v[e] = -INFINITY;
}

/* v = chunk c; -inf where there is no id or the mask forbids it. Padding is never read. */
__device__ __forceinline__ void row_load(float (&v)[CHUNK], const row_view &r, int c)
{
    int64_t j = (int64_t)c * CHUNK;
    if (r.aligned && j + CHUNK <= r.vocab) {
        elem_pack q = *(const elem_pack *)(r.x + j);
        for (int e = 0; e < CHUNK; e++) v[e] = to_float(q.v[e]);
    } else {
        for (int e = 0; e < CHUNK; e++) v[e] = j + e < r.vocab ? to_float(r.x[j + e]) : -INFINITY;
    }
    row_mask(v, r, j);
}

/* The same in the storage type, without the mask: chunks that wait in registers take half as many of them. */
__device__ __forceinline__ elem_pack row_pack(const row_view &r, int c)
{
    int64_t j = (int64_t)c * CHUNK;
    if (r.aligned && j + CHUNK <= r.vocab) return *(const elem_pack *)(r.x + j);
    elem_pack q;
    for (int e = 0; e < CHUNK; e++) q.v[e] = j + e < r.vocab ? r.x[j + e] : from_float(-INFINITY);
    return q;
}

/* f(v, c) for the chunks c = from, from + step, .. below end that hold a logit of at least `least`. Two loads
 * are in flight at a time: two blocks of 512 threads have 32 KB in flight in a multiprocessor, of the 29 KB that 4.8
 * TB/s times 0.8 us are for each of 132. By count a chunk that is passed over costs 3 instructions a logit, of the 14
 * for which there is time beside memory; one that is examined is read again, from the first-level cache, so that no
 * registers hold it. */
template <class F>
__device__ __forceinline__ void row_walk(const row_view &r, int from, int end, int step, float least, F f)
{
    enum { AHEAD = 2 };
    #pragma unroll 1
    for (int c = from; c < end; c += AHEAD * step) {
        elem_pack q[AHEAD];
        unsigned hits = 0;
        #pragma unroll
        for (int u = 0; u < AHEAD; u++) q[u] = row_pack(r, c + u * step < end ? c + u * step : row_chunks(r.vocab));
        #pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            float v[CHUNK], top = -INFINITY;
            for (int e = 0; e < CHUNK; e++) v[e] = to_float(q[u].v[e]);
            row_mask(v, r, (int64_t)(c + u * step) * CHUNK);
            #pragma unroll
            for (int e = 0; e < CHUNK; e++) top = fmaxf(top, v[e]);
            if (c + u * step < end && top >= least) hits |= 1u << u;
        }
        #pragma unroll 1
        for (; hits; hits &= hits - 1) {
            float v[CHUNK];
            const int at = c + (__ffs((int)hits) - 1) * step;
            row_load(v, r, at);
            f(v, at);
        }
    }
}
