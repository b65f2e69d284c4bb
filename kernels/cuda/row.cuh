/* row.cuh: a row of logits as 16-byte chunks, and the team of W warps that works on it: contiguous stretches of chunks
 * by warp, chunk by lane within, so that the order of every sum follows from the vocabulary alone. A row that is not
 * 16-byte aligned is read number by number, in the same order. */
#pragma once
#include "kernels/cuda/num.cuh"

enum { CHUNK = PACK, ROWS_SMALL = 4 };
enum : unsigned { FULL = 0xffffffffu };

/* How a vocabulary is cut. Up to 2048 one warp takes a row and a block four rows: barriers would cost more than the
 * reading. Above 16 k 16 warps. */
enum { VOCAB_ONE_WARP = 2048, VOCAB_FOUR_WARPS = 16384 };
__host__ __device__ constexpr int team_rows(int W) { return W == 1 ? ROWS_SMALL : 1; }
__host__ __device__ constexpr int team_block(int W) { return 32 * W * team_rows(W); }
template <int W> __device__ __forceinline__ int team_thread()
{
    return W == 1 ? (int)threadIdx.x % 32 : (int)threadIdx.x;
}
template <int W> __device__ __forceinline__ int team_warp() { return W == 1 ? 0 : (int)threadIdx.x / 32; }
template <int W> __device__ __forceinline__ int team_slot() { return W == 1 ? (int)threadIdx.x / 32 : 0; }
template <int W> __device__ __forceinline__ int64_t team_row()
{
    return (int64_t)blockIdx.x * team_rows(W) + team_slot<W>();
}

/* The rows of one block are strangers when each has one warp, which may then also be missing. */
template <int W> __device__ __forceinline__ void team_sync() { if (W == 1) __syncwarp(); else __syncthreads(); }

/* Runs kernel<W> with the W that the vocabulary asks for. */
#define LAUNCH_ROWS(kernel, n, vocab, ...) do {                                                                                       \
        if ((vocab) <= VOCAB_ONE_WARP)        LAUNCH((kernel<1>), blocks_of(n, ROWS_SMALL), team_block(1), 0, queue(), __VA_ARGS__); \
        else if ((vocab) <= VOCAB_FOUR_WARPS) LAUNCH((kernel<4>), blocks_of(n, 1), team_block(4), 0, queue(), __VA_ARGS__);           \
        else                                  LAUNCH((kernel<16>), blocks_of(n, 1), team_block(16), 0, queue(), __VA_ARGS__);         \
    } while (0)

/* One row on its way through a kernel. allow NULL: every id. */
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

/* The same as it is stored, without the mask: what has to wait in registers takes half as many. */
__device__ __forceinline__ elem_pack row_pack(const row_view &r, int c)
{
    int64_t j = (int64_t)c * CHUNK;
    if (r.aligned && j + CHUNK <= r.vocab) return *(const elem_pack *)(r.x + j);
    elem_pack q;
    for (int e = 0; e < CHUNK; e++) q.v[e] = j + e < r.vocab ? r.x[j + e] : from_float(-INFINITY);
    return q;
}

/* f(v, c) for the chunks c = from, from + step, .. below end that hold a logit of at least `least`. Two are on their
 * way at a time: two blocks of 512 threads have 32 KB under way in a multiprocessor, of the 29 KB that 4.8 TB/s times
 * 0.8 us are for each of 132. By count a chunk that is passed over costs 3 instructions a logit, of the 14 for which
 * there is time beside memory; one that is looked at is read again, out of the first-level cache, so that no registers
 * hold it. */
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

/* Sums and maxima over the team, the same bits in every thread. slot: W numbers in shared memory that nobody else uses;
 * free again on return. */
template <int W, class T> __device__ T team_sum(T v, T *slot)
{
    v = warp_sum(v);
    if (W == 1) return v;
    int lane = threadIdx.x % 32;
    if (lane == 0) slot[team_warp<W>()] = v;
    team_sync<W>();
    v = warp_sum(lane < W ? slot[lane % W] : (T)0);
    team_sync<W>();
    return v;
}

template <int W> __device__ float team_max(float v, float *slot)
{
    v = warp_max(v);
    if (W == 1) return v;
    int lane = threadIdx.x % 32;
    if (lane == 0) slot[team_warp<W>()] = v;
    team_sync<W>();
    v = warp_max(slot[lane % W]);
    team_sync<W>();
    return v;
}
