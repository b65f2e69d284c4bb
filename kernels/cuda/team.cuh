/* team.cuh: the team of W warps that works on one row of logits, its barrier and its sums. W = 1: four teams share a
 * block. */
#pragma once
#include "kernels/cuda/num.cuh"

enum { ROWS_SMALL = 4 };

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

/* With one warp a row the rows of a block are independent, and a warp may be missing: no block-wide barrier. */
template <int W> __device__ __forceinline__ void team_sync() { if (W == 1) __syncwarp(); else __syncthreads(); }

/* Runs kernel<W> with the W that the vocabulary asks for. */
#define LAUNCH_ROWS(kernel, n, vocab, ...) do { \
        if ((vocab) <= VOCAB_ONE_WARP) \
            LAUNCH((kernel<1>), blocks_of(n, ROWS_SMALL), team_block(1), 0, queue(), __VA_ARGS__); \
        else if ((vocab) <= VOCAB_FOUR_WARPS) \
            LAUNCH((kernel<4>), blocks_of(n, 1), team_block(4), 0, queue(), __VA_ARGS__); \
        else \
            LAUNCH((kernel<16>), blocks_of(n, 1), team_block(16), 0, queue(), __VA_ARGS__); \
    } while (0)

/* Sums and maxima over the team, the same bits in every thread. slot: W numbers in shared memory for this call
 * alone. */
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
