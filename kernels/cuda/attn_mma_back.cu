/* attn_mma_back.cu: backward pass of tree attention on tensor cores (FlashAttention-2, Algorithm 2), in three
 * kernels without atomics: D = dout . out; dq by blocks of 128 queries over tiles of keys; dk and dv by blocks of 128
 * keys over tiles of queries, all query heads of the key head one after another. Scores are made twice: 7 products of
 * the 5 that one kernel with atomics on dq would need, for sums in one fixed order. Shared memory: 128 KB at 128, whose
 * bandwidth is the limit by count: 9216 clocks for a pair of tiles of 128 x 64, of mma.sync 5650: 264 TFLOP/s at 1.755
 * GHz, counted as 5 products. */
#include "kernels/cuda/attn_mma.cuh"

/* scores are made 16 x 32 at a time: four accumulators of 16 x 8, and as many for dout . v */
enum { PART = 4 };

struct mma_back {
    const uint16_t *dout, *out, *qkv;
    const float *lse;
    float *dot;                     /* [n][heads] */
    struct attn_mma_shape z;
    float scale;
};

__global__ void __launch_bounds__(256) mma_dot_kernel(struct mma_back b, int hd)
{
    int64_t i = (int64_t)blockIdx.x * 8 + threadIdx.x / 32, count = (int64_t)b.z.n * b.z.heads;
    int lane = threadIdx.x % 32;
    float s = 0.0f;
    for (int d = 2 * lane; i < count && d < hd; d += 64) {
        unsigned x = *(const unsigned *)(b.dout + i * hd + d), y = *(const unsigned *)(b.out + i * hd + d);
        s = fmaf(__uint_as_float(x << 16), __uint_as_float(y << 16), s);
        s = fmaf(__uint_as_float(x & 0xffff0000u), __uint_as_float(y & 0xffff0000u), s);
    }
    #pragma unroll
    for (int o = 16; o > 0; o >>= 1) s += __shfl_xor_sync(0xffffffffu, s, o);
    if (i < count && lane == 0) b.dot[i] = s;
}

/* One element: s becomes p = exp(s scale - lse), dp becomes ds = p (dp - D). */
__device__ __forceinline__ void weigh(float &s, float &dp, bool sees, float scale2, float lse2, float dot)
{
    s = sees ? exp2_fast(fmaf(s, scale2, -lse2)) : 0.0f;
    dp = sees ? s * (dp - dot) : 0.0f;
}

template <int HD>
__global__ void __launch_bounds__(256)
    mma_dq_kernel(uint16_t *dqkv, struct mma_back b, struct attn_list list, const int *__restrict__ end)
{
    SHARED_DYN(uint16_t, smem);
    uint16_t *qs = smem, *gs = qs + ATTN_BLOCK * HD, *ks = gs + ATTN_BLOCK * HD, *vs = ks + 2 * ATTN_TILE * HD;
    int first = list.own[blockIdx.x] * ATTN_BLOCK, a = blockIdx.y, at = list.begin[blockIdx.x],
        stop = list.begin[blockIdx.x + 1];
    int r0 = threadIdx.x / 32 * 16, lane = threadIdx.x % 32, stage = 0;
    int64_t ld = (int64_t)(b.z.heads + 2 * b.z.kv) * HD;
    const uint16_t *keys = b.qkv + (int64_t)(b.z.heads + a / (b.z.heads / b.z.kv)) * HD,
                   *values = keys + (int64_t)b.z.kv * HD;
    float dq[HD / 8][4], lse2[2], dot[2], by[2] = { b.scale, b.scale };
    acc_clear<HD>(dq);
    for (int half = 0; half < 2; half++) {                      /* a row past the end has weights exp(-inf) */
        int64_t row = first + r0 + lane / 4 + 8 * half;
        lse2[half] = row < b.z.n ? b.lse[row * b.z.heads + a] * LOG2E : INFINITY;
        dot[half] = row < b.z.n ? b.dot[row * b.z.heads + a] : 0.0f;
    }
    tile_load<HD, ATTN_BLOCK, 256>(qs, b.qkv + (int64_t)a * HD, ld, first, b.z.n);
    tile_load<HD, ATTN_BLOCK, 256>(gs, b.dout + (int64_t)a * HD, (int64_t)b.z.heads * HD, first, b.z.n);
    for (int i = at - 1; i < stop; i++, stage ^= 1) {
        cp_wait();
        __syncthreads();
        if (i + 1 < stop) {
            int k0 = (list.tile[i + 1] >> 1) * ATTN_TILE;
            tile_load<HD, ATTN_TILE, 256>(ks + (stage ^ 1) * ATTN_TILE * HD, keys, ld, k0, b.z.n);
            tile_load<HD, ATTN_TILE, 256>(vs + (stage ^ 1) * ATTN_TILE * HD, values, ld, k0, b.z.n);
        }
        if (i < at) continue;
        int tile = list.tile[i], k0 = (tile >> 1) * ATTN_TILE;
        #pragma unroll 1
        for (int n0 = 0; n0 < ATTN_TILE; n0 += 8 * PART) {
            float s[PART][4], dp[PART][4];
            tile_dots<HD>(s, qs, r0, ks + stage * ATTN_TILE * HD, n0);
            tile_dots<HD>(dp, gs, r0, vs + stage * ATTN_TILE * HD, n0);
            #pragma unroll
            for (int j = 0; j < PART; j++)
                #pragma unroll
                for (int e = 0; e < 4; e++) {
                    int key = k0 + n0 + 8 * j + lane % 4 * 2 + e % 2, row = first + r0 + lane / 4 + e / 2 * 8;
                    bool sees = tile & 1 || (key <= row && key < b.z.n && row < end[key]);
                    weigh(s[j][e], dp[j][e], sees, b.scale * LOG2E, lse2[e / 2], dot[e / 2]);
                }
            tile_sums<HD>(dq, dp, ks + stage * ATTN_TILE * HD, n0);
        }
    }
    acc_store<HD>(dqkv + (int64_t)a * HD, ld, first + r0, b.z.n, dq, by);
}

/* The next tile of queries with its lse and D, for query head a. */
template <int HD>
__device__ __forceinline__ void queries_load(uint16_t *qs, uint16_t *gs, float (*stat)[ATTN_TILE],
                                             const struct mma_back &b, int a, int first)
{
    tile_load<HD, ATTN_TILE, 256>(qs, b.qkv + (int64_t)a * HD, (int64_t)(b.z.heads + 2 * b.z.kv) * HD, first, b.z.n);
    tile_load<HD, ATTN_TILE, 256>(gs, b.dout + (int64_t)a * HD, (int64_t)b.z.heads * HD, first, b.z.n);
    if (threadIdx.x < ATTN_TILE) {
        int64_t row = first + threadIdx.x, i = row * b.z.heads + a;
        stat[0][threadIdx.x] = row < b.z.n ? b.lse[i] * LOG2E : INFINITY;
        stat[1][threadIdx.x] = row < b.z.n ? b.dot[i] : 0.0f;
    }
}

template <int HD>
__global__ void __launch_bounds__(256)
    mma_dkv_kernel(uint16_t *dqkv, struct mma_back b, struct attn_list list, const int *__restrict__ end)
{
    SHARED_DYN(uint16_t, smem);
    __shared__ float stat[2][2][ATTN_TILE];
    uint16_t *ks = smem, *vs = ks + ATTN_BLOCK * HD, *qs = vs + ATTN_BLOCK * HD, *gs = qs + 2 * ATTN_TILE * HD;
    int first = list.own[blockIdx.x] * ATTN_BLOCK, kv = blockIdx.y, group = b.z.heads / b.z.kv,
        at = list.begin[blockIdx.x];
    int tiles = list.begin[blockIdx.x + 1] - at, r0 = threadIdx.x / 32 * 16, lane = threadIdx.x % 32, stage = 0,
        stop[2];
    int64_t ld = (int64_t)(b.z.heads + 2 * b.z.kv) * HD, mine = (int64_t)(b.z.heads + kv) * HD;
    float dk[HD / 8][4], dv[HD / 8][4], by[2] = { b.scale, b.scale }, one[2] = { 1.0f, 1.0f };
    acc_clear<HD>(dk);
    acc_clear<HD>(dv);
    for (int half = 0; half < 2; half++) {
        int key = first + r0 + lane / 4 + 8 * half;
        stop[half] = key < b.z.n ? end[key] : 0;
    }
    tile_load<HD, ATTN_BLOCK, 256>(ks, b.qkv + mine, ld, first, b.z.n);
    tile_load<HD, ATTN_BLOCK, 256>(vs, b.qkv + mine + (int64_t)b.z.kv * HD, ld, first, b.z.n);
    for (int i = -1; i < group * tiles; i++, stage ^= 1) {
        cp_wait();
        __syncthreads();
        if (i + 1 < group * tiles)
            queries_load<HD>(qs + (stage ^ 1) * ATTN_TILE * HD, gs + (stage ^ 1) * ATTN_TILE * HD, stat[stage ^ 1], b,
                             kv * group + (i + 1) / tiles, (list.tile[at + (i + 1) % tiles] >> 1) * ATTN_TILE);
        if (i < 0) continue;
        int tile = list.tile[at + i % tiles], q0 = (tile >> 1) * ATTN_TILE;
        #pragma unroll 1
        for (int n0 = 0; n0 < ATTN_TILE; n0 += 8 * PART) {
            float s[PART][4], dp[PART][4];
            tile_dots<HD>(s, ks, r0, qs + stage * ATTN_TILE * HD, n0);
            tile_dots<HD>(dp, vs, r0, gs + stage * ATTN_TILE * HD, n0);
            #pragma unroll
            for (int j = 0; j < PART; j++)
                #pragma unroll
                for (int e = 0; e < 4; e++) {
                    int c = n0 + 8 * j + lane % 4 * 2 + e % 2, key = first + r0 + lane / 4 + e / 2 * 8;
                    bool sees = tile & 1 || (key <= q0 + c && q0 + c < stop[e / 2]);
                    weigh(s[j][e], dp[j][e], sees, b.scale * LOG2E, stat[stage][0][c], stat[stage][1][c]);
                }
            tile_sums<HD>(dv, s, gs + stage * ATTN_TILE * HD, n0);
            tile_sums<HD>(dk, dp, qs + stage * ATTN_TILE * HD, n0);
        }
    }
    acc_store<HD>(dqkv + mine, ld, first + r0, b.z.n, dk, by);
    acc_store<HD>(dqkv + mine + (int64_t)b.z.kv * HD, ld, first + r0, b.z.n, dv, one);
}

template <int HD> static void backward(uint16_t *dqkv, struct mma_back b, const struct attn_plan *p)
{
    size_t smem = attn_mma_smem(HD, 2, 2);
    LAUNCH(mma_dq_kernel<HD>, dim3(p->by_query.blocks, b.z.heads), 256, smem, queue(), dqkv, b, p->by_query, p->end);
    LAUNCH(mma_dkv_kernel<HD>, dim3(p->by_key.blocks, b.z.kv), 256, smem, queue(), dqkv, b, p->by_key, p->end);
}

extern "C" void attn_mma_back(uint16_t *dqkv, const uint16_t *dout, const uint16_t *out, const float *lse,
                              const uint16_t *qkv, const struct attn_plan *p, struct heads h)
{
    ENSURE(attn_mma_takes(h) && h.kv > 0 && h.heads % h.kv == 0 && dqkv != qkv &&
           ((uintptr_t)qkv | (uintptr_t)dout) % 16 == 0);
    if (!p->n) return;
    int64_t count = (int64_t)p->n * h.heads;
    struct mma_back b = { dout,
                          out,
                          qkv,
                          lse,
                          (float *)scratch(SCRATCH_ATTN, (size_t)count * sizeof(float)),
                          { p->n, h.heads, h.kv },
                          1.0f / sqrtf((float)h.hd) };
    LAUNCH(mma_dot_kernel, blocks_of(count, 8), 256, 0, queue(), b, h.hd);
    if (h.hd == 64) backward<64>(dqkv, b, p);
    else backward<128>(dqkv, b, p);
}
