/* attn_wgmma_back.cu: backward pass of tree attention by wgmma (sm_90a); attn_mma_back.cu's three kernels, sums and
 * contract. A warpgroup has 64 queries (dq) or 64 keys (dk, dv) of the block's 128; weights go from accumulators to A
 * fragments without shared memory. The last sum of an iteration is in flight while the next one issues its scores. lse
 * and D lie by head, so that a tile's are 512 bytes in a row. */
/* Counted for a pair of tiles of 128 x 64 at heads of 128, in clocks of one multiprocessor. dq: wgmma 1536 (3
 * products), shared memory 1024 (k, v, k again 768, loads 256; with q and dout from shared memory 1536), issue slots
 * 634. dk and dv: wgmma 2048 (4 products), shared memory 2048 at most (scores 512 + 512, dout and q again 512, loads
 * 256, lse and D up to 256), issue slots 1002. Exponentials 512 in each. In all 3584 of wgmma: at most 678 TFLOP/s at
 * 1.755 GHz and 132 multiprocessors, counted as 5 products, where mma.sync has at most 264; 330 is 49 % of it. One
 * kernel with atomics on dq would need 2560, but its sums have no fixed order. Registers at 128: dq 64, q and dout 64,
 * s and dp 64, ds 16; dk and dv 128, s and dp 64, p and ds 32. Shared memory: dq 129 KB, dk and dv 195 KB, half of it
 * at 64. Issue slots are of the code that ptxas 13.0 makes. Nothing was measured. */
#include "kernels/cuda/attn_wgmma.cuh"

struct wgmma_back {
    const uint16_t *dout, *out, *qkv;
    const float *lse;
    float *stat;                    /* [heads][2][pad]: lse log2(e), D; rows that are not there: inf, 0 */
    int pad;                        /* n up to a multiple of 64 */
    struct attn_mma_shape z;
    float scale;
};

__global__ void __launch_bounds__(256) wgmma_stat_kernel(struct wgmma_back b, int hd)
{
    int64_t i = (int64_t)blockIdx.x * 8 + threadIdx.x / 32, row = i / b.z.heads, a = i % b.z.heads;
    int lane = threadIdx.x % 32;
    float s = 0.0f;
    for (int d = 2 * lane; row < b.z.n && d < hd; d += 64) {
        unsigned x = *(const unsigned *)(b.dout + i * hd + d), y = *(const unsigned *)(b.out + i * hd + d);
        s = fmaf(__uint_as_float(x << 16), __uint_as_float(y << 16), s);
        s = fmaf(__uint_as_float(x & 0xffff0000u), __uint_as_float(y & 0xffff0000u), s);
    }
    #pragma unroll
    for (int o = 16; o > 0; o >>= 1) s += __shfl_xor_sync(0xffffffffu, s, o);
    if (lane || row >= b.pad) return;
    float *to = b.stat + a * 2 * b.pad + row;
    to[0] = row < b.z.n ? b.lse[i] * LOG2E : INFINITY;
    to[b.pad] = s;
}

/* s becomes p: rows row0 and row0 + 8 are queries, columns keys from k0 on. */
__device__ __forceinline__ void query_weights(float (&s)[8][4], const float (&lse2)[2], bool whole, const int *end,
                                              int n, int row0, int k0, float scale2)
{
    #pragma unroll
    for (int j = 0; j < 8; j++)
        #pragma unroll
        for (int e = 0; e < 4; e++) s[j][e] = exp2_fast(fmaf(s[j][e], scale2, -lse2[e / 2]));
    if (whole) return;
    #pragma unroll
    for (int j = 0; j < 8; j++)
        #pragma unroll
        for (int e = 0; e < 2; e++) {
            const int key = k0 + 8 * j + threadIdx.x % 4 * 2 + e, stop = key < n ? end[key] : 0;
            if (key > row0 || row0 >= stop) s[j][e] = 0.0f;
            if (key > row0 + 8 || row0 + 8 >= stop) s[j][2 + e] = 0.0f;
        }
}

template <int HD>
__global__ void __launch_bounds__(WG_THREADS, 1)
    wgmma_dq_kernel(uint16_t *dqkv, struct wgmma_back b, struct attn_list list, const int *__restrict__ end)
{
    if (!WGMMA_HERE) { wg_missing(); return; }
    SHARED_DYN(uint16_t, raw);
    /* until they are in registers */
    uint16_t *stages = atoms_from(raw), *qs = stage_of<HD>(stages, 2), *gs = stage_of<HD>(stages, 3);
    wg_tiles t = tiles_from(list, blockIdx.x);
    const int first = list.own[blockIdx.x] * ATTN_BLOCK, a = blockIdx.y, tiles = t.count, lane = threadIdx.x % 32,
              r0 = first + threadIdx.x / 32 * 16;
    const int ld = (b.z.heads + 2 * b.z.kv) * HD;
    const uint16_t *keys = b.qkv + (int64_t)(b.z.heads + a / (b.z.heads / b.z.kv)) * HD,
                   *values = keys + (int64_t)b.z.kv * HD;
    float dq[HD / 8][4], s[8][4], dp[8][4], lse2[2], dot[2];
    unsigned q[HD / 16][4], g[HD / 16][4], ds[4][4];
    for (int half = 0; half < 2; half++) {
        const int row = r0 + lane / 4 + 8 * half;
        lse2[half] = row < b.z.n ? b.stat[(int64_t)a * 2 * b.pad + row] : INFINITY;
        dot[half] = row < b.z.n ? b.stat[((int64_t)a * 2 + 1) * b.pad + row] : 0.0f;
    }
    panel_load<HD, ATTN_BLOCK>(qs, b.qkv + (int64_t)a * HD, ld, first, b.z.n);
    panel_load<HD, ATTN_BLOCK>(gs, b.dout + (int64_t)a * HD, b.z.heads * HD, first, b.z.n);
    for (int i = 0; i < WG_AHEAD; i++) {
        if (i < tiles) pair_load<HD>(stage_of<HD>(stages, i), keys, ld, values, ld, t.then >> 1, b.z.n);
        cp_close();
        tiles_on(t);
    }
    turn_begins();
    own_rows<HD>(q, qs, r0 - first);
    own_rows<HD>(g, gs, r0 - first);
    for (int i = 0; i < tiles; i++) {
        turn_begins();
        const uint16_t *now = stage_of<HD>(stages, i);
        const int tile = t.now;
        wg_dots<HD>(s, q, now);
        if (i + WG_AHEAD < tiles)
            pair_load<HD>(stage_of<HD>(stages, i + WG_AHEAD), keys, ld, values, ld, t.then >> 1, b.z.n);
        cp_close();
        tiles_on(t);
        wg_dots<HD>(dp, g, now + ATTN_TILE * HD);
        wg_wait<1>(s, ds);
        query_weights(s, lse2, tile & 1, end, b.z.n, r0 + lane / 4, (tile >> 1) * ATTN_TILE, b.scale * LOG2E);
        wg_hold(s);                                             /* p is made before the wait, not where it is used */
        wg_wait<0>(dp);
        #pragma unroll
        for (int j = 0; j < 8; j++)
            #pragma unroll
            for (int e = 0; e < 4; e++) dp[j][e] = s[j][e] * (dp[j][e] - dot[e / 2]);
        wg_pack(ds, dp);
        wg_sums<HD>(dq, ds, now, i > 0);
    }
    wg_wait<0>(dq, ds);
    const float by[2] = { b.scale, b.scale };
    acc_store<HD>(dqkv + (int64_t)a * HD, ld, r0, b.z.n, dq, by);
}

/* The queries, dout, lse and D of a turn to come, for query head a. */
template <int HD>
__device__ __forceinline__ void queries_load(uint16_t *stage, float *stat, const struct wgmma_back &b, int a, int t)
{
    pair_load<HD>(stage, b.qkv + (int64_t)a * HD, (b.z.heads + 2 * b.z.kv) * HD, b.dout + (int64_t)a * HD,
                  b.z.heads * HD, t, b.z.n);
    const int half = threadIdx.x / 16, c = threadIdx.x % 16 * 4;
    if (half < 2) cp16(stat + half * ATTN_TILE + c, b.stat + ((int64_t)a * 2 + half) * b.pad + t * ATTN_TILE + c, true);
}

/* this thread's columns 8 j + 2 (lane % 4) and the next */
struct __align__(8) wg_two { float v[2]; };
__device__ __forceinline__ wg_two columns(const float *stat, int j)
{
    return *(const wg_two *)(stat + 8 * j + threadIdx.x % 4 * 2);
}

/* s becomes p: rows are keys, which queries in front of stop[] see; columns queries from q0 on. */
__device__ __forceinline__ void key_weights(float (&s)[8][4], const float *lse2, bool whole, int row0,
                                            const int (&stop)[2], int q0, float scale2)
{
    #pragma unroll
    for (int j = 0; j < 8; j++) {
        const wg_two l = columns(lse2, j);
        #pragma unroll
        for (int e = 0; e < 4; e++) s[j][e] = exp2_fast(fmaf(s[j][e], scale2, -l.v[e % 2]));
    }
    if (whole) return;
    #pragma unroll
    for (int j = 0; j < 8; j++)
        #pragma unroll
        for (int e = 0; e < 4; e++) {
            const int query = q0 + 8 * j + threadIdx.x % 4 * 2 + e % 2;
            if (row0 + e / 2 * 8 > query || query >= stop[e / 2]) s[j][e] = 0.0f;
        }
}

template <int HD>
__global__ void __launch_bounds__(WG_THREADS, 1)
    wgmma_dkv_kernel(uint16_t *dqkv, struct wgmma_back b, struct attn_list list, const int *__restrict__ end)
{
    if (!WGMMA_HERE) { wg_missing(); return; }
    SHARED_DYN(uint16_t, raw);
    uint16_t *ks = atoms_from(raw), *vs = ks + ATTN_BLOCK * HD, *stages = vs + ATTN_BLOCK * HD;
    float *stats = (float *)(stages + WG_STAGES * 2 * ATTN_TILE * HD);
    wg_tiles t = tiles_from(list, blockIdx.x);
    const int first = list.own[blockIdx.x] * ATTN_BLOCK, kv = blockIdx.y, a0 = kv * (b.z.heads / b.z.kv),
              turns = t.count * (b.z.heads / b.z.kv);
    const int r0 = first + threadIdx.x / 32 * 16, row = r0 + threadIdx.x % 32 / 4;
    const int ld = (b.z.heads + 2 * b.z.kv) * HD;
    const int64_t mine = (int64_t)(b.z.heads + kv) * HD;
    const int stop[2] = { row < b.z.n ? end[row] : 0, row + 8 < b.z.n ? end[row + 8] : 0 };
    float dk[HD / 8][4], dv[HD / 8][4], s[8][4], dp[8][4];
    unsigned p[4][4], ds[4][4];
    panel_load<HD, ATTN_BLOCK>(ks, b.qkv + mine, ld, first, b.z.n);
    panel_load<HD, ATTN_BLOCK>(vs, b.qkv + mine + (int64_t)b.z.kv * HD, ld, first, b.z.n);
    for (int i = 0; i < WG_AHEAD; i++) {
        if (i < turns)
            queries_load<HD>(stage_of<HD>(stages, i), stats + i * 2 * ATTN_TILE, b, a0 + t.round, t.then >> 1);
        cp_close();
        tiles_on(t);
    }
    for (int i = 0; i < turns; i++) {
        turn_begins();
        const int then = i + WG_AHEAD, tile = t.now;
        const uint16_t *qs = stage_of<HD>(stages, i), *gs = qs + ATTN_TILE * HD;
        const float *stat = stats + i % WG_STAGES * 2 * ATTN_TILE;
        wg_dots<HD>(s, ks, threadIdx.x / 128, qs);
        if (then < turns)
            queries_load<HD>(stage_of<HD>(stages, then), stats + then % WG_STAGES * 2 * ATTN_TILE, b, a0 + t.round,
                             t.then >> 1);
        cp_close();
        tiles_on(t);
        wg_dots<HD>(dp, vs, threadIdx.x / 128, gs);
        wg_wait<1>(s, p, ds);
        key_weights(s, stat, tile & 1, row, stop, (tile >> 1) * ATTN_TILE, b.scale * LOG2E);
        wg_pack(p, s);
        wg_sums<HD>(dv, p, gs, i > 0);
        wg_wait<1>(dp);
        #pragma unroll
        for (int j = 0; j < 8; j++) {
            const wg_two dot = columns(stat + ATTN_TILE, j);
            #pragma unroll
            for (int e = 0; e < 4; e++) dp[j][e] = s[j][e] * (dp[j][e] - dot.v[e % 2]);
        }
        wg_pack(ds, dp);
        wg_sums<HD>(dk, ds, qs, i > 0);
    }
    wg_wait<0>(dk, dv, p, ds);
    const float by[2] = { b.scale, b.scale }, one[2] = { 1.0f, 1.0f };
    acc_store<HD>(dqkv + mine, ld, r0, b.z.n, dk, by);
    acc_store<HD>(dqkv + mine + (int64_t)b.z.kv * HD, ld, r0, b.z.n, dv, one);
}

template <int HD> static void backward(uint16_t *dqkv, struct wgmma_back b, const struct attn_plan *p)
{
    LAUNCH(wgmma_dq_kernel<HD>, dim3(p->by_query.blocks, b.z.heads), WG_THREADS, attn_wgmma_smem(HD, 0, 0), queue(),
           dqkv, b, p->by_query, p->end);
    LAUNCH(wgmma_dkv_kernel<HD>, dim3(p->by_key.blocks, b.z.kv), WG_THREADS,
           attn_wgmma_smem(HD, 2, WG_STAGES * 2 * ATTN_TILE * sizeof(float)), queue(), dqkv, b, p->by_key, p->end);
}

extern "C" void attn_wgmma_back(uint16_t *dqkv, const uint16_t *dout, const uint16_t *out, const float *lse,
                                const uint16_t *qkv, const struct attn_plan *p, struct heads h)
{
    ENSURE(attn_wgmma_takes(h) && h.kv > 0 && h.heads % h.kv == 0 && dqkv != qkv &&
           ((uintptr_t)qkv | (uintptr_t)dout) % 16 == 0);
    if (!p->n) return;
    const int pad = (p->n + ATTN_TILE - 1) / ATTN_TILE * ATTN_TILE;
    const int64_t count = (int64_t)pad * h.heads;
    float *stat = (float *)scratch(SCRATCH_ATTN, 2 * (size_t)count * sizeof *stat);
    struct wgmma_back b = { dout, out, qkv, lse, stat, pad, { p->n, h.heads, h.kv }, 1.0f / sqrtf((float)h.hd) };
    LAUNCH(wgmma_stat_kernel, blocks_of(count, 8), 256, 0, queue(), b, h.hd);
    if (h.hd == 64) backward<64>(dqkv, b, p);
    else backward<128>(dqkv, b, p);
}
