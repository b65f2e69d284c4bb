/* attn_mma.cuh: shared by the tensor-core kernels of attention. A block has 128 rows of its own, 32 or 16 a warp;
 * tiles of 64 rows stream through two stages of shared memory. Tiles hold HD numbers a row in 16-byte pieces, piece c
 * of row r at place c ^ (r % 8), so that ldmatrix has no bank conflicts. */
#pragma once
#include "kernels/cuda/attn.h"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/num.cuh"

struct attn_mma_shape { int n, heads, kv; };            /* rows, query heads, key heads */

template <int HD> __device__ __forceinline__ uint16_t *piece(uint16_t *tile, int r, int c)
{
    return tile + r * HD + ((c ^ (r & 7)) << 3);
}

/* Issues cp.async of rows first .. first + ROWS - 1 of a matrix of n rows, ld apart, HD numbers each; rows past the end
 * are filled with 0. */
template <int HD, int ROWS, int THREADS>
__device__ __forceinline__ void tile_load(uint16_t *tile, const uint16_t *x, int64_t ld, int first, int n)
{
    /* rows; a multiple of 8, so that a thread's place in a row stays the same */
    enum { STEP = THREADS / (HD / 8) };
    const int r = threadIdx.x / (HD / 8), c = threadIdx.x % (HD / 8);
    const uint16_t *from = x + (int64_t)(first + r) * ld + 8 * c;
    uint16_t *to = piece<HD>(tile, r, c);
    #pragma unroll
    for (int i = 0; i < ROWS; i += STEP, from += STEP * ld) {
        const bool there = first + r + i < n;
        cp16(to + i * HD, there ? from : x, there);
    }
}

/* Where lane l of a warp reads: row r, piece c of it, advanced by 2 k pieces. Rows are a multiple of 8 pieces, so
 * the advance is an exclusive or: one address a lane serves all k. */
template <int HD> __device__ __forceinline__ uint16_t *piece_from(uint16_t *tile, int r, int c, int k)
{
    return tile + ((r * HD + ((c ^ (r & 7)) << 3)) ^ k << 4);
}

/* Rows r0 .. r0 + 15, columns 16 k .. 16 k + 15 as an A fragment. First rows are multiples of 8. */
template <int HD> __device__ __forceinline__ void frag_a(unsigned a[4], uint16_t *tile, int r0, int k)
{
    int lane = threadIdx.x % 32;
    ldsm4(a, piece_from<HD>(tile + r0 * HD, lane % 16, lane / 16, k));
}

/* Rows of the tile are columns of B: rows n0 .. n0 + 15 and columns 16 k .. + 15 as two B fragments, b[0..1] and
 * b[2..3]. */
template <int HD> __device__ __forceinline__ void frag_b(unsigned b[4], uint16_t *tile, int n0, int k)
{
    int lane = threadIdx.x % 32;
    ldsm4(b, piece_from<HD>(tile + n0 * HD, lane % 8 + lane / 16 * 8, lane / 8 % 2, k));
}

/* Rows of the tile are rows of B: rows k0 .. k0 + 15, columns 16 n .. + 15 as two B fragments. */
template <int HD> __device__ __forceinline__ void frag_bt(unsigned b[4], uint16_t *tile, int k0, int n)
{
    int lane = threadIdx.x % 32;
    ldsm4_t(b, piece_from<HD>(tile + k0 * HD, lane % 16, lane / 16, n));
}

/* Two neighbouring 16x8 accumulators as the bf16 A fragment of 16 columns. */
__device__ __forceinline__ void frag_of(unsigned a[4], const float x[4], const float y[4])
{
    a[0] = pack_bf16(x[0], x[1]), a[1] = pack_bf16(x[2], x[3]);
    a[2] = pack_bf16(y[0], y[1]), a[3] = pack_bf16(y[2], y[3]);
}

/* d[T][4] = a . rows n0 .. n0 + 8 T - 1 of the tile, over all HD columns; a from rows r0 .. r0 + 15 of `own`. */
template <int HD, int T>
__device__ __forceinline__ void tile_dots(float (&d)[T][4], uint16_t *own, int r0, uint16_t *tile, int n0)
{
    #pragma unroll
    for (int j = 0; j < T; j++)
        #pragma unroll
        for (int e = 0; e < 4; e++) d[j][e] = 0.0f;
    #pragma unroll
    for (int k = 0; k < HD / 16; k++) {
        unsigned a[4], b[4];
        frag_a<HD>(a, own, r0, k);
        #pragma unroll
        for (int j = 0; j < T; j += 2) {
            frag_b<HD>(b, tile, n0 + 8 * j, k);
            mma_bf16(d[j], a, b);
            mma_bf16(d[j + 1], a, b + 2);
        }
    }
}

/* acc[HD/8][4] += p (16 rows, 8 T columns, rounded to bf16) times rows k0 .. k0 + 8 T - 1 of the tile */
template <int HD, int T>
__device__ __forceinline__ void tile_sums(float (&acc)[HD / 8][4], const float (&p)[T][4], uint16_t *tile, int k0)
{
    #pragma unroll
    for (int k = 0; k < T / 2; k++) {
        unsigned a[4], b[4];
        frag_of(a, p[2 * k], p[2 * k + 1]);
        #pragma unroll
        for (int j = 0; j < HD / 8; j += 2) {
            frag_bt<HD>(b, tile, k0 + 16 * k, j / 2);
            mma_bf16(acc[j], a, b);
            mma_bf16(acc[j + 1], a, b + 2);
        }
    }
}

template <int HD> __device__ __forceinline__ void acc_clear(float (&acc)[HD / 8][4])
{
    #pragma unroll
    for (int j = 0; j < HD / 8; j++)
        #pragma unroll
        for (int e = 0; e < 4; e++) acc[j][e] = 0.0f;
}

/* Rows first + g and first + g + 8 of y (ld apart, n rows) = the accumulator times by[0], by[1]. */
template <int HD>
__device__ __forceinline__ void acc_store(uint16_t *y, int64_t ld, int first, int n, const float (&acc)[HD / 8][4],
                                          const float by[2])
{
    int lane = threadIdx.x % 32;
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = first + lane / 4 + 8 * half;
        if (row >= n) continue;
        #pragma unroll
        for (int j = 0; j < HD / 8; j++)
            *(unsigned *)(y + row * ld + 8 * j + lane % 4 * 2) =
                pack_bf16(acc[j][2 * half] * by[half], acc[j][2 * half + 1] * by[half]);
    }
}

static const float LOG2E = 1.4426950408889634f;

/* Bytes of shared memory: `own` blocks of 128 rows and two stages of `streams` tiles. */
static inline size_t attn_mma_smem(int hd, int own, int streams)
{
    return (size_t)hd * 2 * (size_t)(own * ATTN_BLOCK + 2 * streams * ATTN_TILE);
}
