/* attn.cuh: the steps of the fp32 attention path. Positions of a path are taken in chunks of 256, counted from its
 * root; a score is one chain over the dimensions, a chunk has its own softmax, chunks are joined from the last to the
 * first. So the bits of a row do not depend on the rows it is computed with, nor on where its keys lie: rows of a batch
 * and pages of a pool give the same. */
#pragma once
#include "kernels/cuda/num.cuh"
#include "kernels/cuda/attn.h"

/* Blocks that are to fit on one multiprocessor: with bf16 the kernels then still need no spill, with float rows half as
 * many. */
#define ATTN_BLOCKS(n) (sizeof(elem_t) == 2 || (n) == 1 ? (n) : (n) / 2)

/* One block has 256 threads. In a step over dimensions a thread owns two of them, d and d + 1, and one of 512 / W
 * stretches of W / 2 positions. */
template <int W> struct attn_dims { enum { PAIRS = W / 2, GROUPS = 512 / W, SPAN = W / 2 }; };
/* N own vectors of up to W numbers. weight's rows are padded so that a column is spread over the banks and a row of 4
 * or 8 stays 16-byte aligned. */
template <int W, int N> struct attn_shared {
    __align__(16) float own[N][W];
    __align__(16) float weight[ATTN_CHUNK][N == 8 ? 12 : N];
    float part[512 / W][N][W];
    int64_t at[ATTN_CHUNK];
    int lo[N], hi[N];
};
/* Running maximum and sum of weights, what the old and the new sums are multiplied with, and 1 / l at the end. */
template <int N> struct attn_stats { float m[N], l[N], a[N], b[N], inverse[N]; };
/* Shared memory of a block forward (41 KB at N = 8, W = 64), and back: own[] and a second kind of own vector. */
template <int W, int N> struct attn_space { attn_shared<W, N> sh; attn_stats<N> st; float score[N][ATTN_CHUNK]; };
template <int W, int N> struct attn_back_space { attn_shared<W, N> sh; float own2[N][W], stat[N][2]; };

/* Two numbers of a row. Rows and head sizes are even, so a pair is aligned. */
__device__ __forceinline__ void attn_pair(float v[2], const elem_t *p)
{
    struct __align__(2 * sizeof(elem_t)) two { elem_t v[2]; };
    two q = *(const two *)p;
    v[0] = to_float(q.v[0]), v[1] = to_float(q.v[1]);
}

/* Eight numbers from p on, `left` of them there, the rest 0; whole: all rows are 16-byte aligned and head sizes a
 * multiple of 8. */
__device__ __forceinline__ void attn_eight(float v[8], const elem_t *p, int left, bool whole)
{
    struct __align__(16) eight { elem_t v[8]; };
    if (whole) {
        eight q = *(const eight *)p;
        #pragma unroll
        for (int e = 0; e < 8; e++) v[e] = to_float(q.v[e]);
        return;
    }
    #pragma unroll
    for (int e = 0; e < 8; e += 2) {
        v[e] = v[e + 1] = 0.0f;
        if (e < left) attn_pair(v + e, p + e);
    }
}

/* own[j] = row j of x, rows apart by ld; rows and columns past the end are 0. */
template <int W, int N>
__device__ __forceinline__ void attn_own(float (&own)[N][W], const elem_t *x, int64_t ld, int rows, int hd)
{
    for (int i = threadIdx.x; i < N * W; i += 256) {
        int j = i / W, d = i % W;
        own[j][d] = j < rows && d < hd ? to_float(x[j * ld + d]) : 0.0f;
    }
}

/* s[j] = own[j] . row, one chain over the dimensions, ascending; 0 if there is no row. 8 numbers are read once for 8 N
 * multiply-adds. */
template <int W, int N>
__device__ __forceinline__ void attn_dots(float (&s)[N], const float (&own)[N][W], const elem_t *row, int hd,
                                          bool whole)
{
    #pragma unroll
    for (int j = 0; j < N; j++) s[j] = 0.0f;
    for (int d = 0; row && d < hd; d += 8) {
        float k[8];
        attn_eight(k, row + d, hd - d, whole);
        #pragma unroll
        for (int j = 0; j < N; j++)
            #pragma unroll
            for (int e = 0; e < 8; e++) s[j] = fmaf(k[e], own[j][d + e], s[j]);
    }
}

/* acc[j] += weight[t][j] x[t] for t = from .. to-1; own vector j sees lo[j] <= t < hi[j] only: other
 * positions may be NaN. */
template <bool CHECK, int W, int N>
__device__ __forceinline__ void attn_stretch(float (&acc)[N][2], const attn_shared<W, N> &sh, const elem_t *x, int from,
                                             int to)
{
    #pragma unroll 4
    for (int t = from; t < to; t++) {
        float v[2];
        attn_pair(v, x + sh.at[t]);
        #pragma unroll
        for (int j = 0; j < N; j++) {
            if (CHECK && (t < sh.lo[j] || t >= sh.hi[j])) continue;
            acc[j][0] = fmaf(sh.weight[t][j], v[0], acc[j][0]);
            acc[j][1] = fmaf(sh.weight[t][j], v[1], acc[j][1]);
        }
    }
}

/* part[g][j][.] = the sum over the g-th stretch of a chunk's first `count` positions; between lo[] and hi[] every own
 * vector sees every position. */
template <int W, int N>
__device__ __forceinline__ void attn_sums(attn_shared<W, N> &sh, const elem_t *x, int hd, int count)
{
    int d = 2 * (threadIdx.x % attn_dims<W>::PAIRS), g = threadIdx.x / attn_dims<W>::PAIRS;
    int from = g * attn_dims<W>::SPAN, to = from + attn_dims<W>::SPAN, lo = 0, hi = ATTN_CHUNK;
    float acc[N][2];
    #pragma unroll
    for (int j = 0; j < N; j++) {
        acc[j][0] = acc[j][1] = 0.0f;
        lo = max(lo, sh.lo[j]);
        hi = min(hi, sh.hi[j]);
    }
    if (to > count) to = count;
    if (d < hd) {
        int a = min(max(lo, from), max(from, to)), b = max(a, min(hi, to));
        attn_stretch<true>(acc, sh, x + d, from, min(a, to));
        attn_stretch<false>(acc, sh, x + d, a, b);
        attn_stretch<true>(acc, sh, x + d, b, to);
    }
    #pragma unroll
    for (int j = 0; j < N; j++) {
        sh.part[g][j][d] = acc[j][0];
        sh.part[g][j][d + 1] = acc[j][1];
    }
}

/* Host: 16-byte loads may be used; the head size has a kernel. */
static inline bool attn_whole(struct heads h, const void *x) { return h.hd % 8 == 0 && (uintptr_t)x % 16 == 0; }
static inline void attn_check(const char *op, struct heads h)
{
    if (h.kv <= 0 || h.heads <= 0 || h.heads % h.kv)
        die("%s: %d query heads do not share %d key heads evenly", op, h.heads, h.kv);
    if (h.hd <= 0 || h.hd % 2 || h.hd > ATTN_HD_MAX)
        die("%s: a head size of %d; kernels exist for even sizes up to %d", op, h.hd, ATTN_HD_MAX);
}
/* Calls f<W>(arguments) for the least W that holds the head size. */
#define ATTN_WIDTH(f, hd, ...) \
    ((hd) <= 32    ? f<32>(__VA_ARGS__) \
     : (hd) <= 64  ? f<64>(__VA_ARGS__) \
     : (hd) <= 128 ? f<128>(__VA_ARGS__) \
                   : f<256>(__VA_ARGS__))
