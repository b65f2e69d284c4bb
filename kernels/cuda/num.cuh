/* num.cuh: numbers as they are stored (elem_t) and as they are computed with (float): conversions, packs of 16 bytes,
 * sums over a warp and a block. A thread always owns whole packs of neighbouring elements, read by one instruction
 * where rows allow it and one by one where not: the element that a thread gets never depends on alignment, so neither
 * do the bits. */
#pragma once
#include "kernels/cuda/simt.h"
#include "kernels/dev.h"
#if defined(__CUDACC__) && defined(REAL_IS_bf16)
#include <cuda_bf16.h>
#endif

enum { PACK = 16 / sizeof(elem_t) };

#if defined(REAL_IS_bf16)
__device__ __forceinline__ float to_float(elem_t x) { return __uint_as_float((unsigned)x.bits << 16); }
__device__ __forceinline__ elem_t from_float(float x)
{
    elem_t r;
#ifdef __CUDACC__
    r.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
#else
    r = elem_from((double)x);
#endif
    return r;
}
/* 2^-22 is far below what storage rounds away. By count, the exact ones would make SwiGLU compute-bound: about 35
 * instructions an element, where an SM of an H200 has time for 36 while the element's bytes arrive. */
__device__ __forceinline__ float elem_exp(float x) { return __expf(x); }
__device__ __forceinline__ float real_div(float a, float b) { return __fdividef(a, b); }
#else
__device__ __forceinline__ float to_float(elem_t x) { return x; }
__device__ __forceinline__ elem_t from_float(float x) { return x; }
__device__ __forceinline__ float elem_exp(float x) { return expf(x); }
__device__ __forceinline__ float real_div(float a, float b) { return a / b; }
#endif

struct __align__(16) elem_pack { elem_t v[PACK]; };
struct __align__(16) acc4 { acc_t v[4]; };

/* v = the `left` elements from p on, the rest 0. FAST: left >= PACK or <= 0, p 16-byte aligned. */
template <bool FAST> __device__ __forceinline__ void get(float (&v)[PACK], const elem_t *p, int left)
{
    if constexpr (FAST) {
        elem_pack q = { };
        if (left > 0) q = *(const elem_pack *)p;
        #pragma unroll
        for (int k = 0; k < PACK; k++) v[k] = to_float(q.v[k]);
    } else {
        #pragma unroll
        for (int k = 0; k < PACK; k++) v[k] = k < left ? to_float(p[k]) : 0.0f;
    }
}
template <bool FAST> __device__ __forceinline__ void put(elem_t *p, const float (&v)[PACK], int left)
{
    if constexpr (FAST) {
        elem_pack q;
        #pragma unroll
        for (int k = 0; k < PACK; k++) q.v[k] = from_float(v[k]);
        if (left > 0) *(elem_pack *)p = q;
    } else {
        #pragma unroll
        for (int k = 0; k < PACK; k++) if (k < left) p[k] = from_float(v[k]);
    }
}
/* The same for a pack's worth of acc_t (bf16: 32 bytes). */
template <bool FAST> __device__ __forceinline__ void get_acc(float (&v)[PACK], const acc_t *p, int left)
{
    #pragma unroll
    for (int k = 0; k < PACK; k += 4) {
        if constexpr (FAST) {
            acc4 q = { };
            if (left > 0) q = *(const acc4 *)(p + k);
            v[k] = q.v[0], v[k + 1] = q.v[1], v[k + 2] = q.v[2], v[k + 3] = q.v[3];
        } else {
            for (int e = k; e < k + 4; e++) v[e] = e < left ? p[e] : 0.0f;
        }
    }
}
template <bool FAST> __device__ __forceinline__ void put_acc(acc_t *p, const float (&v)[PACK], int left)
{
    #pragma unroll
    for (int k = 0; k < PACK; k += 4) {
        if constexpr (FAST) {
            acc4 q = { { v[k], v[k + 1], v[k + 2], v[k + 3] } };
            if (left > 0) *(acc4 *)(p + k) = q;
        } else {
            for (int e = k; e < k + 4; e++) if (e < left) p[e] = v[e];
        }
    }
}

/* Host: whether rows that are `cols` elements apart, starting at these pointers (NULL: any), can be read by packs. */
static inline bool packed(int64_t cols, const void *a, const void *b = nullptr, const void *c = nullptr,
                          const void *d = nullptr, const void *e = nullptr)
{
    uintptr_t low = (uintptr_t)a | (uintptr_t)b | (uintptr_t)c | (uintptr_t)d | (uintptr_t)e;
    return cols % PACK == 0 && low % 16 == 0;
}
static inline int packs_of(int64_t cols) { return (int)((cols + PACK - 1) / PACK); }

/* Every lane gets the sum (the maximum) over the warp, the same bits in all of them. */
template <class T> __device__ __forceinline__ T warp_sum(T x)
{
    #pragma unroll
    for (int o = 16; o > 0; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
    return x;
}
__device__ __forceinline__ float warp_max(float x)
{
    #pragma unroll
    for (int o = 16; o > 0; o >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, o));
    return x;
}
/* Every thread gets the sum over the block of B threads: warps first, then their sums in ascending order. space[B / 32]
 * is free again afterwards. */
template <int B, class T> __device__ __forceinline__ T block_sum(T x, T *space)
{
    x = warp_sum(x);
    if constexpr (B > 32) {
        if (threadIdx.x % 32 == 0) space[threadIdx.x / 32] = x;
        __syncthreads();
        x = space[0];
        for (int w = 1; w < B / 32; w++) x += space[w];
        __syncthreads();
    }
    return x;
}
