/* attn_chunk.cuh: one chunk of the fp32 attention path: its softmax, the outputs that a thread carries through the
 * chunks, and the join of two chunks. */
#pragma once
#include "kernels/cuda/attn.cuh"

/* The pairs of output numbers that a thread carries through the chunks: the i-th is number attn_slot(i) of [N][W /
 * 2]. */
template <int W, int N> struct attn_total { enum { COUNT = (N * W / 2 + 255) / 256 }; float v[COUNT][2]; };

template <int W, int N> __device__ __forceinline__ void attn_clear(attn_total<W, N> &t)
{
    #pragma unroll
    for (int i = 0; i < attn_total<W, N>::COUNT; i++) t.v[i][0] = t.v[i][1] = 0.0f;
}

/* total = total a[j] + (sum of the stretches) b[j]; with no stats: total + sum */
template <int W, int N>
__device__ __forceinline__ void attn_fold(attn_total<W, N> &t, const attn_shared<W, N> &sh, const attn_stats<N> *st)
{
    #pragma unroll
    for (int i = 0; i < attn_total<W, N>::COUNT; i++) {
        int k = threadIdx.x + 256 * i, j = k / (W / 2), d = 2 * (k % (W / 2));
        if (j >= N) continue;
        #pragma unroll
        for (int e = 0; e < 2; e++) {
            float x = 0.0f;
            #pragma unroll
            for (int g = 0; g < attn_dims<W>::GROUPS; g++) x += sh.part[g][j][d + e];
            t.v[i][e] = st ? fmaf(t.v[i][e], st->a[j], x * st->b[j]) : t.v[i][e] + x;
        }
    }
}

/* y[j] = total[j] * by[j] (by NULL: once) for the own vectors that are there, rows apart by ld. */
template <int W, int N>
__device__ __forceinline__ void attn_store(elem_t *y, int64_t ld, const attn_total<W, N> &t, const float *by,
                                           float once, int rows, int hd)
{
    #pragma unroll
    for (int i = 0; i < attn_total<W, N>::COUNT; i++) {
        int k = threadIdx.x + 256 * i, j = k / (W / 2), d = 2 * (k % (W / 2));
        if (j >= rows || d >= hd) continue;
        float f = by ? by[j] : once;
        y[j * ld + d] = from_float(t.v[i][0] * f);
        y[j * ld + d + 1] = from_float(t.v[i][1] * f);
    }
}

/* (m, l) of the chunks summed so far and (cm, cl) of one more become the new (m, l); a and b rescale the two. A chunk
 * with no visible position has cm = -inf, cl = 0 and changes nothing. */
__device__ __forceinline__ void attn_join(float &m, float &l, float cm, float cl, float &a, float &b)
{
    float top = fmaxf(m, cm);
    a = m == -INFINITY ? 0.0f : expf(m - top);
    b = cm == -INFINITY ? 0.0f : expf(cm - top);
    l = fmaf(l, a, cl * b);
    m = top;
}

/* Warp j makes weight[.][j] = exp(s[j] - max) of the positions below hi[j], 0 elsewhere; lane 0 returns the maximum and
 * the sum. Lanes take positions lane + 32 i in ascending i: one order for every path. */
template <int W, int N>
__device__ __forceinline__ void attn_softmax(attn_shared<W, N> &sh, const float (&s)[N][ATTN_CHUNK], int j, float &max_,
                                             float &sum_)
{
    int lane = threadIdx.x % 32, hi = sh.hi[j];
    float v[ATTN_CHUNK / 32], m = -INFINITY, sum = 0.0f;
    #pragma unroll
    for (int i = 0; i < ATTN_CHUNK / 32; i++) {
        v[i] = s[j][lane + 32 * i];
        if (lane + 32 * i < hi) m = fmaxf(m, v[i]);
    }
    #pragma unroll
    for (int o = 16; o > 0; o >>= 1) m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, o));
    #pragma unroll
    for (int i = 0; i < ATTN_CHUNK / 32; i++) {
        float e = lane + 32 * i < hi ? expf(v[i] - m) : 0.0f;
        sh.weight[lane + 32 * i][j] = e;
        sum += e;
    }
    #pragma unroll
    for (int o = 16; o > 0; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    max_ = m, sum_ = sum;
}

/* One chunk forward: row is this thread's key or NULL, at[] and hi[] may have been set just before. Leaves part[] of
 * the chunk; its maximum and sum are joined to st, or stored there. */
template <int W, int N>
__device__ __forceinline__ void attn_chunk(attn_space<W, N> &sp, const elem_t *row, const elem_t *values, int hd,
                                           float scale, int count, bool whole, bool join)
{
    attn_stats<N> &st = sp.st;
    float s[N];
    attn_dots(s, sp.sh.own, row, hd, whole);
    #pragma unroll
    for (int j = 0; j < N; j++) sp.score[j][threadIdx.x] = s[j] * scale;
    __syncthreads();
    int w = threadIdx.x / 32;
    if (w < N) {
        float cm, cl;
        attn_softmax(sp.sh, sp.score, w, cm, cl);
        if (threadIdx.x % 32 == 0) {
            if (join) attn_join(st.m[w], st.l[w], cm, cl, st.a[w], st.b[w]);
            else st.m[w] = cm, st.l[w] = cl;
        }
    }
    __syncthreads();
    attn_sums(sp.sh, values, hd, count);
    __syncthreads();
}

/* The row of position t of the path that ends in segment *s; *s follows as t falls. */
__device__ __forceinline__ int attn_row_at(const attn_seg *seg, int *s, int t)
{
    while (t < seg[*s].before) *s = seg[*s].parent;
    return seg[*s].first + t - seg[*s].before;
}

/* How many positions of chunk c the j-th row of the tile sees; a row past the end counts as the last one. */
__device__ __forceinline__ int attn_sees(attn_rows tile, int j, int c)
{
    return min(ATTN_CHUNK, max(0, min(tile.len, tile.len - tile.rows + 1 + j) - c * ATTN_CHUNK));
}
