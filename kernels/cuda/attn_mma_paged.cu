/* attn_mma_paged.cu: attention over pages on tensor cores, for numerics=fast and bf16 heads of 64 and 128. A block
 * takes a stretch of positions (256 or 128: 64 KB of keys and values, so that two blocks share a multiprocessor and one
 * loads while the other computes) for up to 128 query vectors of the rows that share it. One row has 3 to 8 vectors in
 * most models, half of a fragment of 16: tensor cores idle, but decoding is bound by bytes. */
#include "kernels/cuda/attn_mma.cuh"
#include "kernels/cuda/attn_paged.cuh"

static const float LN2 = 0.6931471805599453f;

/* Result of each of the 8 warps: the sums of 16 vectors over its positions, and maximum (in powers of 2) and sum of
 * weights. The sums overlay the keys and values. */
struct warp_stat { float m[8][16], l[8][16]; };

struct mma_paged { const uint16_t *qkv, *pool; float scale; };

/* Keys and values of the stretch that begins at position t0; `count` of them are there, the rest reads as 0. */
template <int HD, int SPAN>
__device__ __forceinline__ void stretch_load(uint16_t *ks, uint16_t *vs, const struct paged &p, const uint16_t *pool,
                                             int i, int kv, int t0, int count)
{
    #pragma unroll 4
    for (int k = threadIdx.x; k < SPAN * HD / 8; k += 256) {
        const int r = k / (HD / 8), c = k % (HD / 8);
        const bool there = r < count;
        const uint16_t *key = there ? pool + paged_at(p, i, kv, t0 + r) + 8 * c : pool;
        cp16(piece<HD>(ks, r, c), key, there);
        cp16(piece<HD>(vs, r, c), there ? key + (int64_t)p.h.kv * HD * KV_PAGE : pool, there);
    }
}

/* Queries of the group's vectors as rows of a tile, to whole fragments of 16; vectors that are not there are 0. */
template <int HD>
__device__ __forceinline__ void queries_load(uint16_t *qs, const paged_group &g, const struct paged &p,
                                             const uint16_t *qkv, int kv, int all)
{
    const int group = p.h.heads / p.h.kv;
    for (int k = threadIdx.x; k < (all + 15) / 16 * 16 * HD / 8; k += 256) {
        const int v = k / (HD / 8), c = k % (HD / 8);
        const bool there = v < all;
        cp16(piece<HD>(qs, v, c),
             there ? qkv + ((int64_t)g.row[v / group] * (p.h.heads + 2 * p.h.kv) + kv * group + v % group) * HD + 8 * c
                   : qkv,
             there);
    }
}

/* How many positions of stretch s vector v sees; 0 if there is no such vector. */
template <int SPAN>
__device__ __forceinline__ int vector_sees(const paged_group &g, const struct paged &p, int s, int v, int all)
{
    return v < all ? min(SPAN, p.pos[g.row[v / (p.h.heads / p.h.kv)]] + 1 - s * SPAN) : 0;
}

/* Half 0 or 1 of the running softmax over 16 positions; returns what older sums are multiplied with. */
__device__ __forceinline__ float soften16(float (&s)[2][4], int half, float &m, float &l, float scale2)
{
    float top = fmaxf(fmaxf(s[0][2 * half], s[0][2 * half + 1]), fmaxf(s[1][2 * half], s[1][2 * half + 1]));
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
    top = fmaxf(m, fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2)) * scale2);
    const float base = top == -INFINITY ? 0.0f : top, old = exp2_fast(m - base);
    float sum = 0.0f;
    #pragma unroll
    for (int j = 0; j < 2; j++)
        #pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; e++) {
            s[j][e] = exp2_fast(fmaf(s[j][e], scale2, -base));
            sum += s[j][e];
        }
    m = top;
    l = fmaf(l, old, sum);
    return old;
}

/* Sums over positions u0, u0 + step, ... of the stretch, 16 at a time, for the 16 vectors at qs: o unnormalised; m, l
 * and hi are those of this lane's two. */
template <int HD>
__device__ __forceinline__ void stretch_sums(float (&o)[HD / 8][4], float (&m)[2], float (&l)[2], const int (&hi)[2],
                                             uint16_t *qs, uint16_t *ks, uint16_t *vs, int u0, int step, int count,
                                             float scale2)
{
    const int lane = threadIdx.x % 32;
    for (int u = u0; u < count; u += step) {
        float s[2][4] = { };
        #pragma unroll
        for (int k = 0; k < HD / 16; k++) {
            unsigned q[4], b[4];
            frag_a<HD>(q, qs, 0, k);
            frag_b<HD>(b, ks, u, k);
            mma_bf16(s[0], q, b);
            mma_bf16(s[1], q, b + 2);
        }
        #pragma unroll
        for (int j = 0; j < 2; j++)
            #pragma unroll
            for (int e = 0; e < 4; e++) if (u + 8 * j + lane % 4 * 2 + e % 2 >= hi[e / 2]) s[j][e] = -INFINITY;
        const float old[2] = { soften16(s, 0, m[0], l[0], scale2), soften16(s, 1, m[1], l[1], scale2) };
        #pragma unroll
        for (int j = 0; j < HD / 8; j++)
            #pragma unroll
            for (int e = 0; e < 4; e++) o[j][e] *= old[e / 2];
        tile_sums<HD>(o, s, vs, u);
    }
}

/* The sums of the warps that shared a fragment become those of the stretch: warps tile * each .. + each - 1, in
 * ascending order. */
template <int HD>
__device__ __forceinline__ void stretch_store(const paged_group &g, const struct paged &p, const float *sums,
                                              const warp_stat &st, int kv, int s, int all, int each)
{
    const int group = p.h.heads / p.h.kv;
    for (int k = threadIdx.x; k < all * (HD / 2); k += 256) {
        const int v = k / (HD / 2), d = 2 * (k % (HD / 2)), w0 = v / 16 * each, r = v % 16;
        float top = -INFINITY, sum = 0.0f, x = 0.0f, y = 0.0f;
        for (int w = w0; w < w0 + each; w++) top = fmaxf(top, st.m[w][r]);
        for (int w = w0; w < w0 + each; w++) {
            const float by = exp2_fast(st.m[w][r] - top), *from = sums + (w * 16 + r) * HD + d;
            sum = fmaf(st.l[w][r], by, sum);
            x = fmaf(from[0], by, x);
            y = fmaf(from[1], by, y);
        }
        float *to = paged_part(p, g.row[v / group], kv * group + v % group, s);
        to[d] = x, to[d + 1] = y;
        if (d == 0) to[HD] = top * LN2, to[HD + 1] = sum;
    }
}

template <int HD> __global__ void __launch_bounds__(256, 2) mma_paged_kernel(struct paged p, struct mma_paged in)
{
    enum { SPAN = attn_mma_span(HD) };
    SHARED_DYN(uint16_t, smem);
    __shared__ paged_group g;
    __shared__ warp_stat st;
    uint16_t *ks = smem, *vs = ks + SPAN * HD, *qs = vs + SPAN * HD;
    float *sums = (float *)(void *)smem;
    const int i = blockIdx.x, kv = blockIdx.y, last = p.pos[i] / SPAN, w = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int s = blockIdx.z; s <= last; s += gridDim.z) {
        int longest, all = paged_rows<SPAN>(g, p, i, s, longest) * (p.h.heads / p.h.kv);
        if (!all) continue;
        /* warps that share a fragment */
        const int each = all <= 16 ? 8 : all <= 32 ? 4 : all <= 64 ? 2 : 1, v0 = w / each * 16;
        float o[HD / 8][4], m[2] = { -INFINITY, -INFINITY }, l[2] = { 0.0f, 0.0f };
        acc_clear<HD>(o);
        stretch_load<HD, SPAN>(ks, vs, p, in.pool, i, kv, s * SPAN, longest);
        queries_load<HD>(qs, g, p, in.qkv, kv, all);
        const int hi[2] = { vector_sees<SPAN>(g, p, s, v0 + lane / 4, all),
                            vector_sees<SPAN>(g, p, s, v0 + lane / 4 + 8, all) };
        cp_wait();
        __syncthreads();
        if (v0 < all)
            stretch_sums<HD>(o, m, l, hi, qs + v0 * HD, ks, vs, w % each * 16, each * 16, longest, in.scale * LOG2E);
        __syncthreads();
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            const int r = lane / 4 + 8 * half;
            float sum = l[half] + __shfl_xor_sync(0xffffffffu, l[half], 1);
            sum += __shfl_xor_sync(0xffffffffu, sum, 2);
            if (lane % 4 == 0) st.m[w][r] = m[half], st.l[w][r] = sum;
            #pragma unroll
            for (int j = 0; j < HD / 8; j++) {
                float *to = sums + (w * 16 + r) * HD + 8 * j + lane % 4 * 2;
                to[0] = o[j][2 * half], to[1] = o[j][2 * half + 1];
            }
        }
        __syncthreads();
        stretch_store<HD>(g, p, sums, st, kv, s, all, each);
        __syncthreads();
    }
}

void attn_mma_pages(const struct paged &p, const uint16_t *qkv, const uint16_t *pool)
{
    const struct mma_paged in = { qkv, pool, 1.0f / sqrtf((float)p.h.hd) };
    const size_t smem = (size_t)(attn_mma_span(p.h.hd) * 2 + ATTN_BLOCK) * (size_t)p.h.hd * sizeof(uint16_t);
    if (p.h.hd == 64) LAUNCH(mma_paged_kernel<64>, paged_grid(p), 256, smem, queue(), p, in);
    else LAUNCH(mma_paged_kernel<128>, paged_grid(p), 256, smem, queue(), p, in);
}
