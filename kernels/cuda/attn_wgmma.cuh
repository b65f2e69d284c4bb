/* attn_wgmma.cuh: shared by the wgmma kernels of attention. A block has 128 rows of its own and two warpgroups, 64
 * rows each; pairs of tiles of 64 rows (keys and values, or queries and dout) stream through four stages of shared
 * memory, issued two iterations before their use (software pipelining). A matrix of ROWS x HD numbers lies there as HD
 * / 64 panels of ROWS lines of 128 bytes, swizzled: it is read plain or transposed by one descriptor (wg_matrix). */
#pragma once
#include "kernels/cuda/attn_mma.cuh"
#include "kernels/cuda/wgmma.cuh"

/* an iteration may still read the tile of the iteration before: AHEAD + 2 stages */
enum { WG_THREADS = 256, WG_STAGES = 4, WG_AHEAD = 2 };

/* The stage of iteration i, which holds two tiles. */
template <int HD> __device__ __forceinline__ uint16_t *stage_of(uint16_t *stages, int i)
{
    return stages + i % WG_STAGES * 2 * ATTN_TILE * HD;
}

/* The block's dynamic shared memory from the first multiple of 1024 on. */
__device__ __forceinline__ uint16_t *atoms_from(uint16_t *raw) { return raw + (-shared_address(raw) & 1023) / 2; }

/* tile_load into panels. Addresses are made anew for each copy: kept from one to the next they cost registers. */
template <int HD, int ROWS>
__device__ __forceinline__ void panel_load(uint16_t *tile, const uint16_t *x, int ld, int first, int n)
{
    enum { STEP = WG_THREADS / (HD / 8) };                      /* rows; a multiple of 8 */
    const int r = threadIdx.x / (HD / 8), c = threadIdx.x % (HD / 8);
    uint16_t *to = piece<64>(tile + c / 8 * ROWS * 64, r, c % 8);
    #pragma unroll
    for (int i = 0; i < ROWS; i += STEP) {
        const int row = first + r + i;
        cp16(to + i * 64, x + (int64_t)(row < n ? row : 0) * ld + 8 * c, row < n);
    }
}

/* Tile t of two matrices of n rows into a stage. */
template <int HD>
__device__ __forceinline__ void pair_load(uint16_t *stage, const uint16_t *x, int ldx, const uint16_t *y, int ldy,
                                          int t, int n)
{
    panel_load<HD, ATTN_TILE>(stage, x, ldx, t * ATTN_TILE, n);
    panel_load<HD, ATTN_TILE>(stage + ATTN_TILE * HD, y, ldy, t * ATTN_TILE, n);
}

/* A block's list of tiles, repeated (dk and dv: once for each query head): the numbers of this iteration's tile, the
 * next, and the one after it, which is tile[at] of its round and which this iteration loads. A number is read one
 * iteration before it is needed, so that neither loads nor products wait for it. */
struct wg_tiles { const int *tile; int count, at, round, now, next, then; };
__device__ __forceinline__ wg_tiles tiles_from(const attn_list &l, int block)
{
    const int *tile = l.tile + l.begin[block];
    return { tile, l.begin[block + 1] - l.begin[block], 0, 0, 0, 0, *tile };
}
__device__ __forceinline__ void tiles_on(wg_tiles &t)
{
    const bool last = ++t.at == t.count;
    if (last) t.at = 0, t.round++;
    t.now = t.next, t.next = t.then, t.then = t.tile[t.at];
}

/* Start of iteration i: its tiles are visible to all threads and to the tensor cores, and all are done with those of
 * iteration i - 2, whose stage is free. */
__device__ __forceinline__ void turn_begins()
{
    cp_wait_but<WG_AHEAD - 1>();
    fence_async();
    __syncthreads();
}

/* This warp's 16 of a block's 128 rows, all HD columns, as A fragments. */
template <int HD> __device__ __forceinline__ void own_rows(unsigned (&a)[HD / 16][4], uint16_t *own, int r0)
{
    #pragma unroll
    for (int k = 0; k < HD / 16; k++) frag_a<64>(a[k], own + k / 4 * ATTN_BLOCK * 64, r0, k % 4);
}

/* s = a times the rows of a tile: 64 x 64. One group. */
template <int HD>
__device__ __forceinline__ void wg_dots(float (&s)[8][4], const unsigned (&a)[HD / 16][4], const uint16_t *tile)
{
    const uint64_t b = wg_matrix(tile, 16, 1024);
    wg_fence(s);
    #pragma unroll
    for (int k = 0; k < HD / 16; k++) wg_mma<false>(s, a[k], wg_on(b, k / 4 * ATTN_TILE * 128 + k % 4 * 32), k > 0);
    wg_close();
}

/* s = rows 64 group .. + 63 of own times the rows of a tile. One group. */
template <int HD>
__device__ __forceinline__ void wg_dots(float (&s)[8][4], const uint16_t *own, int group, const uint16_t *tile)
{
    const uint64_t a = wg_matrix(own + group * 64 * 64, 16, 1024), b = wg_matrix(tile, 16, 1024);
    wg_fence(s);
    #pragma unroll
    for (int k = 0; k < HD / 16; k++)
        wg_mma<false, false>(s, wg_on(a, k / 4 * ATTN_BLOCK * 128 + k % 4 * 32),
                             wg_on(b, k / 4 * ATTN_TILE * 128 + k % 4 * 32), k > 0);
    wg_close();
}

/* acc (add: +)= p (64 x 64) times a tile: 64 x HD. One group. An accumulator that starts as 0 instead makes ptxas 13.0
 * wait for each product of a loop that keeps some in flight from one iteration to the next (C7515). */
template <int HD>
__device__ __forceinline__ void wg_sums(float (&acc)[HD / 8][4], unsigned (&p)[4][4], const uint16_t *tile, bool add)
{
    const uint64_t b = wg_matrix(tile, ATTN_TILE * 128, 1024);
    wg_fence(acc, p);
    #pragma unroll
    for (int k = 0; k < 4; k++) wg_mma<true>(acc, p[k], wg_on(b, k * 16 * 128), k > 0 || add);
    wg_close();
}

/* 64 columns of weights as A fragments. */
__device__ __forceinline__ void wg_pack(unsigned (&p)[4][4], const float (&s)[8][4])
{
    #pragma unroll
    for (int k = 0; k < 4; k++) frag_of(p[k], s[2 * k], s[2 * k + 1]);
}

/* Bytes of shared memory: `own` blocks of 128 rows, the stages, `more`, and the bytes that atoms_from skips. */
static inline size_t attn_wgmma_smem(int hd, int own, size_t more)
{
    return (size_t)hd * 2 * (size_t)(own * ATTN_BLOCK + WG_STAGES * 2 * ATTN_TILE) + more + 1024;
}
