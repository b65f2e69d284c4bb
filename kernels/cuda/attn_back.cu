/* attn_back.cu: backward pass of attention in fp32, in three kernels without atomics: D = dout . out of every row
 * and head; dq by blocks of 8 queries of a segment; dk and dv by blocks of 8 keys of a tree. With p = exp(s - lse):
 * dv_j += p_j dout; ds_j = p_j (dout . v_j - D); dq = sum ds_j k_j / sqrt(hd); dk_j += ds_j q / sqrt(hd). Queries are
 * taken in chunks counted from the tree's root, so that a tree's gradients have the same bits in every batch. */
#include "kernels/cuda/attn_chunk.cuh"

struct back {
    const elem_t *dout, *out, *qkv;
    const acc_t *lse;
    const float *dot;               /* [n][heads] */
    struct heads h;
    float scale;
    bool whole;
};

__global__ void __launch_bounds__(256)
    dot_kernel(float *dot, const elem_t *__restrict__ dout, const elem_t *__restrict__ out, int64_t count, int hd)
{
    int64_t i = (int64_t)blockIdx.x * 8 + threadIdx.x / 32;
    float s = 0.0f;
    for (int d = threadIdx.x % 32; i < count && d < hd; d += 32)
        s = fmaf(to_float(dout[i * hd + d]), to_float(out[i * hd + d]), s);
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) s += __shfl_xor_sync(0xffffffffu, s, o);
    if (i < count && threadIdx.x % 32 == 0) dot[i] = s;
}

template <int W>
__global__ void __launch_bounds__(256, 2)
    dq_kernel(elem_t *dqkv, struct back b, const attn_seg *__restrict__ seg, const attn_rows *__restrict__ tiles)
{
    typedef attn_back_space<W, ATTN_OWN> space;
    SHARED_DYN(space, sp);
    attn_shared<W, ATTN_OWN> &sh = sp->sh;
    attn_rows tile = tiles[blockIdx.x];
    int a = blockIdx.y, hd = b.h.hd, tid = threadIdx.x, s = tile.seg;
    int64_t width = (int64_t)(b.h.heads + 2 * b.h.kv) * hd, ldo = (int64_t)b.h.heads * hd,
            mine = tile.first * width + (int64_t)a * hd;
    const elem_t *keys = b.qkv + (int64_t)(b.h.heads + a / (b.h.heads / b.h.kv)) * hd;
    attn_total<W, ATTN_OWN> total;
    attn_clear(total);
    attn_own(sh.own, b.qkv + mine, width, tile.rows, hd);
    attn_own(sp->own2, b.dout + tile.first * ldo + (int64_t)a * hd, ldo, tile.rows, hd);
    if (tid < ATTN_OWN) {
        int64_t i = (int64_t)(tile.first + min(tid, tile.rows - 1)) * b.h.heads + a;
        sp->stat[tid][0] = b.lse[i], sp->stat[tid][1] = b.dot[i], sh.lo[tid] = 0;
    }
    __syncthreads();
    for (int c = (tile.len - 1) / ATTN_CHUNK; c >= 0; c--) {
        int t = c * ATTN_CHUNK + tid;
        const elem_t *row = NULL;
        if (t < tile.len) {
            sh.at[tid] = attn_row_at(seg, &s, t) * width;
            row = keys + sh.at[tid];
        }
        if (tid < ATTN_OWN) sh.hi[tid] = attn_sees(tile, tid, c);
        float p[ATTN_OWN], dp[ATTN_OWN];
        attn_dots(p, sh.own, row, hd, b.whole);
        attn_dots(dp, sp->own2, row ? row + (int64_t)b.h.kv * hd : NULL, hd, b.whole);
        #pragma unroll
        for (int j = 0; j < ATTN_OWN; j++)
            sh.weight[tid][j] = tid < attn_sees(tile, j, c)
                                    ? expf(fmaf(p[j], b.scale, -sp->stat[j][0])) * (dp[j] - sp->stat[j][1])
                                    : 0.0f;
        __syncthreads();
        attn_sums(sh, keys, hd, min(ATTN_CHUNK, tile.len - c * ATTN_CHUNK));
        __syncthreads();
        attn_fold(total, sh, (const attn_stats<ATTN_OWN> *)NULL);
    }
    attn_store(dqkv + mine, width, total, NULL, b.scale, tile.rows, hd);
}

/* p[j] and ds[j] of query row r, whose q and dout belong to this thread, for the keys of the block; 0 where it does not
 * see key j. */
template <int W>
__device__ __forceinline__ void key_weights(float (&p)[ATTN_OWN], float (&ds)[ATTN_OWN],
                                            const attn_shared<W, ATTN_OWN> &sh, const float (&value)[ATTN_OWN][W],
                                            const struct back &b, const elem_t *q, const elem_t *dout, int64_t stat)
{
    float dp[ATTN_OWN], lse = q ? b.lse[stat] : 0.0f, dot = q ? b.dot[stat] : 0.0f;
    int tid = threadIdx.x;
    attn_dots(p, sh.own, q, b.h.hd, b.whole);
    attn_dots(dp, value, dout, b.h.hd, b.whole);
    #pragma unroll
    for (int j = 0; j < ATTN_OWN; j++) {
        bool sees = sh.lo[j] <= tid && tid < sh.hi[j];
        p[j] = sees ? expf(fmaf(p[j], b.scale, -lse)) : 0.0f;
        ds[j] = sees ? p[j] * (dp[j] - dot) : 0.0f;
    }
}

template <int W>
__device__ __forceinline__ void put_weights(attn_shared<W, ATTN_OWN> &sh, const float (&w)[ATTN_OWN], int64_t at)
{
    #pragma unroll
    for (int j = 0; j < ATTN_OWN; j++) sh.weight[threadIdx.x][j] = w[j];
    sh.at[threadIdx.x] = at;
}

template <int W>
__global__ void __launch_bounds__(256, ATTN_BLOCKS(W < 256 ? 2 : 1))
    dkv_kernel(elem_t *dqkv, struct back b, const int *__restrict__ end, const attn_keys *__restrict__ tiles)
{
    typedef attn_back_space<W, ATTN_OWN> space;
    SHARED_DYN(space, sp);
    attn_shared<W, ATTN_OWN> &sh = sp->sh;
    attn_keys tile = tiles[blockIdx.x];
    int kv = blockIdx.y, group = b.h.heads / b.h.kv, hd = b.h.hd, tid = threadIdx.x;
    int64_t width = (int64_t)(b.h.heads + 2 * b.h.kv) * hd, ldo = (int64_t)b.h.heads * hd,
            mine = tile.first * width + (int64_t)(b.h.heads + kv) * hd;
    attn_total<W, ATTN_OWN> dk, dv;
    attn_clear(dk);
    attn_clear(dv);
    attn_own(sh.own, b.qkv + mine, width, tile.rows, hd);
    attn_own(sp->own2, b.qkv + mine + (int64_t)b.h.kv * hd, width, tile.rows, hd);
    for (int c = (tile.first - tile.root) / ATTN_CHUNK; c <= (tile.last - 1 - tile.root) / ATTN_CHUNK; c++) {
        int from = tile.root + c * ATTN_CHUNK, r = from + tid, count = min(ATTN_CHUNK, tile.last - from);
        bool there = r >= tile.first && r < tile.last;
        if (tid < ATTN_OWN) {
            int k = tile.first + min(tid, tile.rows - 1);
            sh.lo[tid] = max(0, k - from), sh.hi[tid] = min(ATTN_CHUNK, end[k] - from);
        }
        __syncthreads();
        for (int a = kv * group; a < (kv + 1) * group; a++) {
            int64_t at = (int64_t)r * width + (int64_t)a * hd, at_out = (int64_t)r * ldo + (int64_t)a * hd;
            float p[ATTN_OWN], ds[ATTN_OWN];
            key_weights(p, ds, sh, sp->own2, b, there ? b.qkv + at : NULL, there ? b.dout + at_out : NULL,
                        (int64_t)r * b.h.heads + a);
            put_weights(sh, p, at_out);
            __syncthreads();
            attn_sums(sh, b.dout, hd, count);
            __syncthreads();
            attn_fold(dv, sh, (const attn_stats<ATTN_OWN> *)NULL);
            put_weights(sh, ds, at);
            __syncthreads();
            attn_sums(sh, b.qkv, hd, count);
            __syncthreads();
            attn_fold(dk, sh, (const attn_stats<ATTN_OWN> *)NULL);
        }
    }
    attn_store(dqkv + mine, width, dk, NULL, b.scale, tile.rows, hd);
    attn_store(dqkv + mine + (int64_t)b.h.kv * hd, width, dv, NULL, 1.0f, tile.rows, hd);
}

template <int W> static void backward(elem_t *dqkv, struct back b, const struct attn_plan *p)
{
    LAUNCH(dq_kernel<W>, dim3(p->row_tiles, b.h.heads), 256, sizeof(attn_back_space<W, ATTN_OWN>), queue(), dqkv, b,
           p->seg, p->row_tile);
    LAUNCH(dkv_kernel<W>, dim3(p->key_tiles, b.h.kv), 256, sizeof(attn_back_space<W, ATTN_OWN>), queue(), dqkv, b,
           p->end, p->key_tile);
}

extern "C" void op_attn_back(elem_t *dqkv, const elem_t *dout, const elem_t *out, const acc_t *lse, const elem_t *qkv,
                             const struct attn_plan *p, struct heads h)
{
    attn_check("op_attn_back", h);
    ENSURE(dqkv != qkv);
    if (!p->n) return;
#ifdef REAL_IS_bf16
    if (attn_mma_takes(h) && !exact_numerics()) {
        (attn_by_wgmma() ? attn_wgmma_back : attn_mma_back)((uint16_t *)dqkv, (const uint16_t *)dout,
                                                            (const uint16_t *)out, lse, (const uint16_t *)qkv, p, h);
        return;
    }
#endif
    int64_t count = (int64_t)p->n * h.heads;
    float *dot = (float *)scratch(SCRATCH_ATTN, (size_t)count * sizeof *dot);
    LAUNCH(dot_kernel, blocks_of(count, 8), 256, 0, queue(), dot, dout, out, count, h.hd);
    struct back b = {
        dout, out, qkv, lse, dot, h, 1.0f / sqrtf((float)h.hd), attn_whole(h, qkv) && attn_whole(h, dout)
    };
    ATTN_WIDTH(backward, h.hd, dqkv, b, p);
}
