/* rope.cu: rotary embedding of the queries and keys, with Qwen3's norm of each head in front where there is one. A
 * block takes one row (backward: some rows); a group of G lanes takes a head, each lane a pack of its first half and
 * the pack that it is paired with. The row is read and written once: 2 numbers moved an element, backward 2 (3 with
 * norms); cosines and sines are made once a row and shared by its heads. */
#include "kernels/cuda/fold.cuh"
#include "kernels/ops.h"

enum { ROPE_THREADS = 128 };

/* cos and sin of an angle given in double: reduced to +-pi/4 in double (Cody and Waite), then short minimax polynomials
 * in float, with errors of about 2^-24. Six double operations; a table in memory would cost as many bytes as a small
 * row. */
__device__ __forceinline__ void sincos_of(float *c, float *s, double angle)
{
    const double q = rint(angle * 0.63661977236758134308);                       /* 2 / pi */
    /* pi / 2, its first 53 bits and what is left of it */
    double r = fma(q, -1.5707963267948965580, angle);
    r = fma(q, -6.1232339957367660359e-17, r);
    const float x = (float)r, z = x * x;
    float sn = fmaf(fmaf(fmaf(2.7525562e-6f, z, -1.9840874e-4f), z, 8.3333310e-3f), z, -1.6666667e-1f);
    float cs = fmaf(fmaf(fmaf(2.4433157e-5f, z, -1.3887316e-3f), z, 4.1666646e-2f), z, -0.5f);
    sn = fmaf(x * z, sn, x);
    cs = fmaf(z, cs, 1.0f);
    const int quadrant = (int)((long long)q & 3);
    if (quadrant & 1) { float t = sn; sn = cs; cs = t; }
    *c = quadrant == 1 || quadrant == 2 ? -cs : cs;
    *s = quadrant & 2 ? -sn : sn;
}

/* cs[half] cosines, then sines, of one position; all threads of the block call it. */
__device__ __forceinline__ void angles_of(float *cs, const acc_t *__restrict__ freq, int pos, int half)
{
    for (int j = threadIdx.x; j < half; j += ROPE_THREADS)
        sincos_of(cs + j, cs + half + j, (double)pos * (double)freq[j]);
    __syncthreads();
}

/* Sum over a group of G neighbouring lanes, the same bits in all of them. */
template <int G> __device__ __forceinline__ float group_sum(float x)
{
    #pragma unroll
    for (int o = G / 2; o > 0; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
    return x;
}

/* (a, b) rotated by the angles whose cosines and sines stand at cs[j..] and cs[half + j..]; WAY = -1: backwards. */
template <int WAY>
__device__ __forceinline__ void rotate(float (&a)[PACK], float (&b)[PACK], const float *cs, int j, int half)
{
    #pragma unroll
    for (int e = 0; e < PACK; e++) {
        const float c = j + e < half ? cs[j + e] : 0.0f, s = j + e < half ? WAY * cs[half + j + e] : 0.0f, x = a[e],
                    y = b[e];
        a[e] = fmaf(x, c, -(y * s));
        b[e] = fmaf(y, c, x * s);
    }
}

__device__ __forceinline__ float squares(const float (&a)[PACK], const float (&b)[PACK])
{
    float s = 0.0f;
    #pragma unroll
    for (int e = 0; e < PACK; e++) s = fmaf(b[e], b[e], fmaf(a[e], a[e], s));
    return s;
}

template <int G, bool FAST>
__global__ void __launch_bounds__(ROPE_THREADS)
    rope_kernel(elem_t *out, acc_t *rstd, const elem_t *in, const elem_t *__restrict__ qnorm,
                const elem_t *__restrict__ knorm, float eps, const acc_t *__restrict__ freq,
                const int *__restrict__ pos, struct heads h)
{
    SHARED_DYN(float, cs);
    const int half = h.hd / 2, rotated = h.heads + h.kv, j = threadIdx.x % G * PACK;
    const int64_t row = (int64_t)blockIdx.x * (rotated + h.kv) * h.hd;
    /* in place, values stay where they are */
    const int moved = out == in ? rotated : rotated + h.kv;
    angles_of(cs, freq, pos[blockIdx.x], half);
    for (int k0 = 0; k0 < moved; k0 += ROPE_THREADS / G) {
        const int k = k0 + threadIdx.x / G, left = k < moved ? half - j : 0;
        const elem_t *w = k < h.heads ? qnorm : k < rotated ? knorm : nullptr;
        const int64_t at = row + (int64_t)k * h.hd + j;
        float a[PACK], b[PACK];
        get<FAST>(a, in + at, left);
        get<FAST>(b, in + at + half, left);
        if (qnorm || knorm) {
            const float r = 1.0f / sqrtf(group_sum<G>(squares(a, b)) / (float)h.hd + eps);
            if (w) {
                float ga[PACK], gb[PACK];
                get<FAST>(ga, w + j, left);
                get<FAST>(gb, w + half + j, left);
                #pragma unroll
                for (int e = 0; e < PACK; e++) a[e] *= r * ga[e], b[e] *= r * gb[e];
                if (rstd && j == 0) rstd[(int64_t)blockIdx.x * rotated + k] = r;
            }
        }
        if (k < rotated) rotate<1>(a, b, cs, j, half);
        put<FAST>(out + at, a, left);
        put<FAST>(out + at + half, b, left);
    }
}

/* Norm backward of one head from the gradient (a, b) of its output, in place; (ua, ub) = dy x r, what the weights get.
 * w NULL: nothing but the shuffles. */
template <int G, bool FAST>
__device__ __forceinline__ void head_norm_back(float (&a)[PACK], float (&b)[PACK], float (&ua)[PACK], float (&ub)[PACK],
                                               const elem_t *x, const elem_t *w, float r, int j, int half, int left)
{
    float ga[PACK], gb[PACK], dot = 0.0f;
    if (!w) left = 0;
    get<FAST>(ua, x, left);
    get<FAST>(ub, x + half, left);
    get<FAST>(ga, w ? w + j : x, left);
    get<FAST>(gb, w ? w + half + j : x, left);
    #pragma unroll
    for (int e = 0; e < PACK; e++) dot = fmaf(b[e] * gb[e], ub[e], fmaf(a[e] * ga[e], ua[e], dot));
    const float c = -group_sum<G>(dot) / (float)(2 * half) * r * r * r;
    #pragma unroll
    for (int e = 0; e < PACK; e++) {
        const float da = a[e] * r, db = b[e] * r;
        if (w) a[e] = fmaf(ua[e], c, da * ga[e]), b[e] = fmaf(ub[e], c, db * gb[e]);
        ua[e] *= da;
        ub[e] *= db;
    }
}

/* The block's contribution to the gradient of a norm's weights: groups of lanes add up in sums[threads / G][hd]. */
template <int G>
__device__ __forceinline__ void weight_sums(float *to, float *sums, const float (&sa)[PACK], const float (&sb)[PACK],
                                            int half)
{
    const int g = threadIdx.x / G, j = threadIdx.x % G * PACK;
    #pragma unroll
    for (int e = 0; e < PACK; e++)
        if (j + e < half) {
            sums[g * 2 * half + j + e] = sa[e];
            sums[g * 2 * half + half + j + e] = sb[e];
        }
    __syncthreads();
    for (int c = threadIdx.x; c < 2 * half; c += ROPE_THREADS) {
        float t = sums[c];
        for (int i = 1; i < ROPE_THREADS / G; i++) t += sums[i * 2 * half + c];
        to[c] = t;
    }
    __syncthreads();
}

/* part[block][queries, keys][hd] */
template <int G, bool FAST>
__global__ void __launch_bounds__(ROPE_THREADS)
    rope_back_kernel(elem_t *din, float *part, const elem_t *dout, const elem_t *in, const acc_t *__restrict__ rstd,
                     const elem_t *__restrict__ qnorm, const elem_t *__restrict__ knorm, const acc_t *__restrict__ freq,
                     const int *__restrict__ pos, int64_t n, int64_t rows, struct heads h)
{
    SHARED_DYN(float, cs);
    const int half = h.hd / 2, rotated = h.heads + h.kv, j = threadIdx.x % G * PACK;
    const int moved = din == dout ? rotated : rotated + h.kv;
    float qa[PACK] = { }, qb[PACK] = { }, ka[PACK] = { }, kb[PACK] = { };
    const int64_t first = blockIdx.x * rows, last = min(n, first + rows);
    for (int64_t i = first; i < last; i++) {
        const int64_t row = i * (rotated + h.kv) * h.hd;
        angles_of(cs, freq, pos[i], half);
        for (int k0 = 0; k0 < moved; k0 += ROPE_THREADS / G) {
            const int k = k0 + threadIdx.x / G, left = k < moved ? half - j : 0;
            const int64_t at = row + (int64_t)k * h.hd + j;
            float a[PACK], b[PACK];
            get<FAST>(a, dout + at, left);
            get<FAST>(b, dout + at + half, left);
            if (k < rotated) rotate<-1>(a, b, cs, j, half);
            if (part) {
                const elem_t *w = k < h.heads ? qnorm : k < rotated ? knorm : nullptr;
                float ua[PACK], ub[PACK];
                head_norm_back<G, FAST>(a, b, ua, ub, in + at, w, w ? rstd[i * rotated + k] : 0.0f, j, half, left);
                #pragma unroll
                for (int e = 0; e < PACK; e++) {
                    if (k < h.heads) qa[e] += ua[e], qb[e] += ub[e];
                    else ka[e] += ua[e], kb[e] += ub[e];
                }
            }
            put<FAST>(din + at, a, left);
            put<FAST>(din + at + half, b, left);
        }
        __syncthreads();
    }
    if (part) {
        weight_sums<G>(part + (int64_t)blockIdx.x * 2 * h.hd, cs, qa, qb, half);
        weight_sums<G>(part + ((int64_t)blockIdx.x * 2 + 1) * h.hd, cs, ka, kb, half);
    }
}

/* The lanes of a head: the least power of two of packs that holds half of it. */
#define HEAD_LANES(f, half, ...) do { \
        int packs_ = packs_of(half); \
        if (packs_ <= 1) f<1>(__VA_ARGS__); \
        else if (packs_ <= 2) f<2>(__VA_ARGS__); \
        else if (packs_ <= 4) f<4>(__VA_ARGS__); \
        else if (packs_ <= 8) f<8>(__VA_ARGS__); \
        else if (packs_ <= 16) f<16>(__VA_ARGS__); \
        else f<32>(__VA_ARGS__); \
    } while (0)

static void check_heads(const char *op, struct heads h)
{
    if (h.hd <= 0 || h.hd % 2 || h.hd > 64 * PACK)
        die("%s: a head size of %d; kernels exist for even sizes up to %d", op, h.hd, 64 * PACK);
}

template <int G> static void forward(bool fast, const struct rope_args &a)
{
    const size_t smem = (size_t)a.h.hd * sizeof(float);
    if (fast)
        LAUNCH((rope_kernel<G, true>), blocks_of(a.n, 1), ROPE_THREADS, smem, queue(), a.out, a.rstd, a.in, a.qnorm,
               a.knorm, (float)a.eps, a.freq, a.pos, a.h);
    else
        LAUNCH((rope_kernel<G, false>), blocks_of(a.n, 1), ROPE_THREADS, smem, queue(), a.out, a.rstd, a.in, a.qnorm,
               a.knorm, (float)a.eps, a.freq, a.pos, a.h);
}

extern "C" void op_rope(struct rope_args a)
{
    check_heads("op_rope", a.h);
    HEAD_LANES(forward, a.h.hd / 2, packed(a.h.hd / 2, a.out, a.in, a.qnorm, a.knorm), a);
}

template <int G>
static void backward(bool fast, const struct rope_back_args &a, float *part, struct row_split cut)
{
    const size_t smem = (size_t)(ROPE_THREADS / G * a.h.hd) * sizeof(float);
    if (fast)
        LAUNCH((rope_back_kernel<G, true>), cut.parts, ROPE_THREADS, smem, queue(), a.din, part, a.dout, a.in, a.rstd,
               a.qnorm, a.knorm, a.freq, a.pos, a.n, cut.rows, a.h);
    else
        LAUNCH((rope_back_kernel<G, false>), cut.parts, ROPE_THREADS, smem, queue(), a.din, part, a.dout, a.in, a.rstd,
               a.qnorm, a.knorm, a.freq, a.pos, a.n, cut.rows, a.h);
}

extern "C" void op_rope_back(struct rope_back_args a)
{
    check_heads("op_rope_back", a.h);
    if (a.n <= 0) return;
    const int hd = a.h.hd;
    const bool norm = a.qnorm || a.knorm, fast = packed(hd / 2, a.din, a.dout, a.in, a.qnorm, a.knorm);
    /* without norms there is nothing to sum over rows */
    const struct row_split cut = split_rows(a.n, norm ? 4 : 1, norm ? (int64_t)MAX_PARTS : a.n);
    float *part =
        norm ? (float *)scratch(SCRATCH_SUMS, (size_t)cut.parts * 2 * (size_t)hd * sizeof *part) : nullptr;
    HEAD_LANES(backward, hd / 2, fast, a, part, cut);
    if (a.qnorm && a.dqnorm) fold(a.dqnorm, part, cut.parts, hd, 2 * hd);
    if (a.knorm && a.dknorm) fold(a.dknorm, part + hd, cut.parts, hd, 2 * hd);
}
