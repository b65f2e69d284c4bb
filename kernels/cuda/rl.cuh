/* rl.cuh: shared by the kernels of ops_rl.h: a warp a rollout, four rollouts a block, sums and scans in double in an
 * order that the rollout's length alone decides. A rollout is walked from its end in tiles of 32 positions; a lane
 * handles the same positions in every walk. */
#pragma once
#include "kernels/cuda/simt.h"
#include "kernels/cuda/stage.h"
#include "kernels/ops_rl.h"
#include "kernels/rl_math.h"
#include "kernels/rl_terms.h"
#include <stdlib.h>
#include <string.h>

enum : unsigned { RL_ALL = 0xffffffffu };
enum { RL_ROWS = 4, RL_BLOCK = 32 * RL_ROWS };
static inline unsigned rl_grid(int64_t rows) { return blocks_of(rows, RL_ROWS); }
__device__ __forceinline__ int rl_row() { return (int)(blockIdx.x * RL_ROWS + threadIdx.x / 32); }
__device__ __forceinline__ int rl_lane() { return (int)(threadIdx.x % 32); }

template <class T> __device__ __forceinline__ T rl_sum(T v)
{
    for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(RL_ALL, v, o);
    return v;
}
__device__ __forceinline__ double rl_min(double v)
{
    for (int o = 16; o > 0; o >>= 1) { double w = __shfl_xor_sync(RL_ALL, v, o); if (!(w >= v)) v = w; }
    return v;
}
__device__ __forceinline__ double rl_max(double v)
{
    for (int o = 16; o > 0; o >>= 1) { double w = __shfl_xor_sync(RL_ALL, v, o); if (!(w <= v)) v = w; }
    return v;
}

/* S of every lane, S_i = a_i + c_i S_{i+1}, lane = position in the tile, next = S of the position after it. A c of 0
 * lets nothing through, not even a NaN. */
__device__ __forceinline__ double rl_scan(double a, double c, double next)
{
    int lane = rl_lane();
    for (int o = 1; o < 32; o <<= 1) {
        double a2 = __shfl_down_sync(RL_ALL, a, o), c2 = __shfl_down_sync(RL_ALL, c, o);
        if (lane + o < 32) {
            if (c != 0) a = fma(c, a2, a);
            c *= c2;
        }
    }
    return c != 0 ? fma(c, next, a) : a;
}

/* S of lane 0: `next` of the tile in front. */
__device__ __forceinline__ double rl_first(double s) { return __shfl_sync(RL_ALL, s, 0); }

/* begin[] counted from the batch's first position, on the heap. */
static inline int64_t *rl_begin(const int64_t *begin, int rows)
{
    int64_t *at = (int64_t *)xmalloc(((size_t)rows + 1) * sizeof *at);
    for (int i = 0; i <= rows; i++) at[i] = begin[i] - begin[0];
    return at;
}
static inline size_t rl_bytes(const void *p, size_t bytes) { return p ? bytes : 0; }
