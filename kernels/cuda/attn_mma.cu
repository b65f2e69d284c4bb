/* attn_mma.cu: tree attention forward on tensor cores, for bf16 heads of 64 and 128. A block of 128 queries runs over
 * the tiles of 64 keys that the plan lists, with a running softmax (FlashAttention-2, Algorithm 1); only tiles on an
 * edge of the tree are masked. Loads are double-buffered: a tile is copied while the one before is computed. A warp has
 * 32 rows: with 16 the fragments of keys and values, read by every warp, would take 2048 clocks of shared memory a tile
 * of heads of 128 against about 1600 of mma.sync; so it is 1280. Shared memory: 96 KB at 128, 48 KB at 64. */
#include "kernels/cuda/attn_softmax.cuh"

/* two blocks of them share a multiprocessor: up to 255 registers a thread, of which sums and scores are 192 at 128 */
enum { THREADS = 128 };

/* The 32 x 64 scores of a warp, whose queries begin at row r0 of qs. */
template <int HD> __device__ __forceinline__ void scores(float (&s)[2][8][4], uint16_t *qs, int r0, uint16_t *keys)
{
    #pragma unroll
    for (int j = 0; j < 8; j++)
        #pragma unroll
        for (int e = 0; e < 4; e++) s[0][j][e] = s[1][j][e] = 0.0f;
    #pragma unroll
    for (int k = 0; k < HD / 16; k++) {
        unsigned q[2][4], b[4];
        frag_a<HD>(q[0], qs, r0, k);
        frag_a<HD>(q[1], qs, r0 + 16, k);
        #pragma unroll
        for (int j = 0; j < 8; j += 2) {
            frag_b<HD>(b, keys, 8 * j, k);
            #pragma unroll
            for (int u = 0; u < 2; u++) {
                mma_bf16(s[u][j], q[u], b);
                mma_bf16(s[u][j + 1], q[u], b + 2);
            }
        }
    }
}

/* o += weights (rounded to bf16) times values */
template <int HD>
__device__ __forceinline__ void outputs(float (&o)[2][HD / 8][4], const float (&s)[2][8][4], uint16_t *values)
{
    #pragma unroll
    for (int k = 0; k < 4; k++) {
        unsigned a[2][4], b[4];
        frag_of(a[0], s[0][2 * k], s[0][2 * k + 1]);
        frag_of(a[1], s[1][2 * k], s[1][2 * k + 1]);
        #pragma unroll
        for (int j = 0; j < HD / 8; j += 2) {
            frag_bt<HD>(b, values, 16 * k, j / 2);
            #pragma unroll
            for (int u = 0; u < 2; u++) {
                mma_bf16(o[u][j], a[u], b);
                mma_bf16(o[u][j + 1], a[u], b + 2);
            }
        }
    }
}

template <int HD>
__global__ void __launch_bounds__(THREADS, 2)
    mma_kernel(uint16_t *out, float *lse, const uint16_t *__restrict__ qkv, struct attn_list list,
               const int *__restrict__ end, struct attn_mma_shape z, float scale)
{
    SHARED_DYN(uint16_t, smem);
    uint16_t *qs = smem, *ks = qs + ATTN_BLOCK * HD, *vs = ks + 2 * ATTN_TILE * HD;
    int first = list.own[blockIdx.x] * ATTN_BLOCK, a = blockIdx.y, at = list.begin[blockIdx.x],
        stop = list.begin[blockIdx.x + 1];
    int r0 = threadIdx.x / 32 * 32, stage = 0;
    int64_t ld = (int64_t)(z.heads + 2 * z.kv) * HD;
    const uint16_t *keys = qkv + (int64_t)(z.heads + a / (z.heads / z.kv)) * HD, *values = keys + (int64_t)z.kv * HD;
    float o[2][HD / 8][4], m[2][2] = { { -INFINITY, -INFINITY }, { -INFINITY, -INFINITY } }, l[2][2] = { };
    acc_clear<HD>(o[0]);
    acc_clear<HD>(o[1]);
    tile_load<HD, ATTN_BLOCK, THREADS>(qs, qkv + (int64_t)a * HD, ld, first, z.n);
    for (int i = at - 1; i < stop; i++, stage ^= 1) {           /* iteration at - 1 only issues the first tile's copy */
        cp_wait();
        __syncthreads();
        if (i + 1 < stop) {
            int k0 = (list.tile[i + 1] >> 1) * ATTN_TILE;
            tile_load<HD, ATTN_TILE, THREADS>(ks + (stage ^ 1) * ATTN_TILE * HD, keys, ld, k0, z.n);
            tile_load<HD, ATTN_TILE, THREADS>(vs + (stage ^ 1) * ATTN_TILE * HD, values, ld, k0, z.n);
        }
        if (i < at) continue;
        float s[2][8][4];
        int tile = list.tile[i];
        scores<HD>(s, qs, r0, ks + stage * ATTN_TILE * HD);
        #pragma unroll
        for (int u = 0; u < 2; u++) {
            if (!(tile & 1)) hide(s[u], end, z.n, first + r0 + 16 * u, (tile >> 1) * ATTN_TILE);
            float old[2] = { soften(s[u], 0, m[u][0], l[u][0], scale * LOG2E),
                             soften(s[u], 1, m[u][1], l[u][1], scale * LOG2E) };
#pragma unroll
            for (int j = 0; j < HD / 8; j++)
                #pragma unroll
                for (int e = 0; e < 4; e++) o[u][j][e] *= old[e / 2];
        }
        outputs<HD>(o, s, vs + stage * ATTN_TILE * HD);
    }
    #pragma unroll
    for (int u = 0; u < 2; u++) {
        float by[2];
        finish(by, lse, m[u], l[u], first + r0 + 16 * u, a, z, scale);
        acc_store<HD>(out + (int64_t)a * HD, (int64_t)z.heads * HD, first + r0 + 16 * u, z.n, o[u], by);
    }
}

template <int HD>
static void forward(uint16_t *out, float *lse, const uint16_t *qkv, const struct attn_plan *p, struct heads h)
{
    struct attn_mma_shape z = { p->n, h.heads, h.kv };
    size_t smem = attn_mma_smem(HD, 1, 2);
    LAUNCH(mma_kernel<HD>, dim3(p->by_query.blocks, h.heads), THREADS, smem, queue(), out, lse, qkv, p->by_query,
           p->end, z, 1.0f / sqrtf((float)HD));
}

extern "C" bool attn_mma_takes(struct heads h) { return h.hd == 64 || h.hd == 128; }

extern "C" void attn_mma(uint16_t *out, float *lse, const uint16_t *qkv, const struct attn_plan *p, struct heads h)
{
    ENSURE(attn_mma_takes(h) && h.kv > 0 && h.heads % h.kv == 0 && (uintptr_t)qkv % 16 == 0);
    if (!p->n) return;
    if (h.hd == 64) forward<64>(out, lse, qkv, p, h);
    else forward<128>(out, lse, qkv, p, h);
}
