/* attn_wgmma.cu: tree attention forward by wgmma (sm_90a), for bf16 heads of 64 and 128; attn_mma.cu's work and
 * contract. Each warpgroup keeps 64 queries as A fragments. An iteration issues S = q k^T of its tile and P v of the
 * iteration before, and computes the softmax of S while P v is in flight (Shah et al., "FlashAttention-3" (2024),
 * Algorithm 2): the tensor cores wait for the softmax only as far as it is longer than P v. */
/* Counted for a pair of tiles of 128 x 64 at heads of 128, in clocks of one multiprocessor: wgmma 1024 (2 x 128 x 64 x
 * 128 of 2048 multiply-adds a clock); shared memory 768 of 128 bytes (keys 256, values 256, what is loaded 256; with
 * queries from shared memory 1024); exponentials 512 (16 a clock); ptxas 13.0 makes 390 instructions of an iteration,
 * 780 issue slots of a scheduler, 650 of them beside P v. Both warpgroups in step: 512 for S, then 650: 840 TFLOP/s at
 * 1.755 GHz and 132 multiprocessors; tensor cores alone 949. From L2 come 32 KB, 32 bytes a clock at that rate, 7.4
 * TB/s in all: more than L2 may give. Heads of 64: wgmma 512, shared memory 384, exponentials 512. Registers at 128: o
 * 64, q 32, s 32, p 16. Shared memory: 129 KB at 128; 65 KB at 64, two blocks. Not measured. */
/* ptxas moves a wait up as far as its basic block goes. At 128 the branch around the loads keeps the softmax in front
 * of it; at 64 that takes 8 bytes more than the 128 registers of two blocks, whose four warpgroups fill one another's
 * waits. */
#include "kernels/cuda/attn_softmax.cuh"
#include "kernels/cuda/attn_wgmma.cuh"

/* Softmax of the scores of one tile; old: the factors for older sums. */
struct wg_row { float m[2], l[2]; };
__device__ __forceinline__ void wg_weights(float (&s)[8][4], float (&old)[2], wg_row &w, int tile, const int *end,
                                           int n, int row0, float scale2)
{
    if (!(tile & 1)) hide(s, end, n, row0, (tile >> 1) * ATTN_TILE);
    old[0] = soften(s, 0, w.m[0], w.l[0], scale2);
    old[1] = soften(s, 1, w.m[1], w.l[1], scale2);
}

template <int HD> __device__ __forceinline__ void wg_scale(float (&o)[HD / 8][4], const float (&old)[2])
{
    #pragma unroll
    for (int j = 0; j < HD / 8; j++)
        #pragma unroll
        for (int e = 0; e < 4; e++) o[j][e] *= old[e / 2];
}

template <int HD>
__global__ void __launch_bounds__(WG_THREADS, HD == 64 ? 2 : 1)
    wgmma_kernel(uint16_t *out, float *lse, const uint16_t *__restrict__ qkv, struct attn_list list,
                 const int *__restrict__ end, struct attn_mma_shape z, float scale)
{
    if (!WGMMA_HERE) { wg_missing(); return; }
    SHARED_DYN(uint16_t, raw);
    /* iteration 1 is the first to load there, iteration 0 reads the queries */
    uint16_t *stages = atoms_from(raw), *qs = stage_of<HD>(stages, WG_STAGES - 1);
    wg_tiles t = tiles_from(list, blockIdx.x);
    const int first = list.own[blockIdx.x] * ATTN_BLOCK, a = blockIdx.y, tiles = t.count, r0 = threadIdx.x / 32 * 16;
    const int ld = (z.heads + 2 * z.kv) * HD;
    const uint16_t *keys = qkv + (int64_t)(z.heads + a / (z.heads / z.kv)) * HD, *values = keys + (int64_t)z.kv * HD;
    float o[HD / 8][4], s[8][4], old[2];
    unsigned q[HD / 16][4], p[4][4];
    wg_row w = { { -INFINITY, -INFINITY }, { 0.0f, 0.0f } };
    panel_load<HD, ATTN_BLOCK>(qs, qkv + (int64_t)a * HD, ld, first, z.n);
    for (int i = 0; i < WG_AHEAD; i++) {
        if (i < tiles) pair_load<HD>(stage_of<HD>(stages, i), keys, ld, values, ld, t.then >> 1, z.n);
        cp_close();
        tiles_on(t);
    }
    turn_begins();
    own_rows<HD>(q, qs, r0);
    wg_dots<HD>(s, q, stages);
    if (WG_AHEAD < tiles) pair_load<HD>(stage_of<HD>(stages, WG_AHEAD), keys, ld, values, ld, t.then >> 1, z.n);
    cp_close();
    wg_wait<0>(s);
    wg_weights(s, old, w, t.now, end, z.n, first + r0, scale * LOG2E);
    wg_pack(p, s);
    for (int i = 1; i < tiles; i++) {
        tiles_on(t);
        turn_begins();
        wg_dots<HD>(s, q, stage_of<HD>(stages, i));
        if (HD == 64 && i + WG_AHEAD < tiles)
            pair_load<HD>(stage_of<HD>(stages, i + WG_AHEAD), keys, ld, values, ld, t.then >> 1, z.n);
        wg_sums<HD>(o, p, stage_of<HD>(stages, i - 1) + ATTN_TILE * HD, i > 1);
        wg_wait<1>(s);
        wg_weights(s, old, w, t.now, end, z.n, first + r0, scale * LOG2E);
        /* see above: the softmax comes before this branch, the wait after it */
        wg_hold(s);
        if (HD == 128 && i + WG_AHEAD < tiles)
            pair_load<HD>(stage_of<HD>(stages, i + WG_AHEAD), keys, ld, values, ld, t.then >> 1, z.n);
        cp_close();
        wg_wait<0>(o, p);
        wg_scale<HD>(o, old);
        wg_pack(p, s);
    }
    wg_sums<HD>(o, p, stage_of<HD>(stages, tiles - 1) + ATTN_TILE * HD, tiles > 1);
    wg_wait<0>(o, p);
    float by[2];
    finish(by, lse, w.m, w.l, first + r0, a, z, scale);
    acc_store<HD>(out + (int64_t)a * HD, (int64_t)z.heads * HD, first + r0, z.n, o, by);
}

template <int HD>
static void forward(uint16_t *out, float *lse, const uint16_t *qkv, const struct attn_plan *p, struct heads h)
{
    struct attn_mma_shape z = { p->n, h.heads, h.kv };
    LAUNCH(wgmma_kernel<HD>, dim3(p->by_query.blocks, h.heads), WG_THREADS, attn_wgmma_smem(HD, 0, 0), queue(), out,
           lse, qkv, p->by_query, p->end, z, 1.0f / sqrtf((float)HD));
}

extern "C" void attn_wgmma(uint16_t *out, float *lse, const uint16_t *qkv, const struct attn_plan *p, struct heads h)
{
    ENSURE(attn_wgmma_takes(h) && h.kv > 0 && h.heads % h.kv == 0 && (uintptr_t)qkv % 16 == 0);
    if (!p->n) return;
    if (h.hd == 64) forward<64>(out, lse, qkv, p, h);
    else forward<128>(out, lse, qkv, p, h);
}
