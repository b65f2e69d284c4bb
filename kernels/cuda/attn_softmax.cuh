/* attn_softmax.cuh: running softmax of the tensor-core kernels (FlashAttention-2, Algorithm 1), on 16 rows of scores a
 * warp. */
#pragma once
#include "kernels/cuda/attn_mma.cuh"

/* Masks scores: -inf where the key is not visible, in this thread's columns of the 16 x 64 scores whose first row is
 * `row0` and first key k0. */
__device__ __forceinline__ void hide(float (&s)[8][4], const int *end, int n, int row0, int k0)
{
    int lane = threadIdx.x % 32, row = row0 + lane / 4;
    #pragma unroll
    for (int j = 0; j < 8; j++)
        #pragma unroll
        for (int e = 0; e < 2; e++) {
            int key = k0 + 8 * j + lane % 4 * 2 + e, stop = key < n ? end[key] : 0;
            if (key > row || row >= stop) s[j][e] = -INFINITY;
            if (key > row + 8 || row + 8 >= stop) s[j][2 + e] = -INFINITY;
        }
}

/* One row (half 0: g, 1: g + 8) of the running softmax: s becomes exp(s scale - max), its sum goes to l; returns the
 * factor for older sums. */
__device__ __forceinline__ float soften(float (&s)[8][4], int half, float &m, float &l, float scale2)
{
    float top = m, sum = 0.0f;
    #pragma unroll
    for (int j = 0; j < 8; j++) top = fmaxf(top, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
    float base = top == -INFINITY ? 0.0f : top * scale2, old = exp2_fast(fmaf(m, scale2, -base));
    #pragma unroll
    for (int j = 0; j < 8; j++)
        #pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; e++) {
            s[j][e] = exp2_fast(fmaf(s[j][e], scale2, -base));
            sum += s[j][e];
        }
    m = top;
    l = fmaf(l, old, sum);
    return old;
}

/* 16 of the warp's rows, from row0 on: sums of weights to 1 / sum in by[], and lse. */
__device__ __forceinline__ void finish(float by[2], float *lse, const float (&m)[2], const float (&l)[2], int row0,
                                       int a, struct attn_mma_shape z, float scale)
{
    const int lane = threadIdx.x % 32;
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = l[half];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        by[half] = 1.0f / sum;
        const int row = row0 + lane / 4 + 8 * half;
        if (lse && lane % 4 == 0 && row < z.n) lse[(int64_t)row * z.heads + a] = fmaf(m[half], scale, logf(sum));
    }
}
