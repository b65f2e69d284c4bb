/* optim.cu: AdamW, the norm of the gradient and its scaling, on flat vectors of acc_t. Blocks are cut by n alone, so
 * sums do not depend on the GPU. */
#include "kernels/cuda/num.cuh"
#include "kernels/cuda/philox.cuh"
#include "kernels/ops.h"

/* Four numbers from j on, as 16 bytes where all exist and are aligned; numbers past n are 0. */
template <bool FAST> __device__ __forceinline__ void four(float (&v)[4], const acc_t *x, int64_t j, int64_t n)
{
    if (FAST && j + 4 <= n) {
        acc4 q = *(const acc4 *)(x + j);
        v[0] = q.v[0], v[1] = q.v[1], v[2] = q.v[2], v[3] = q.v[3];
    } else {
        #pragma unroll
        for (int k = 0; k < 4; k++) v[k] = j + k < n ? x[j + k] : 0.0f;
    }
}
template <bool FAST> __device__ __forceinline__ void four_put(acc_t *x, const float (&v)[4], int64_t j, int64_t n)
{
    if (FAST && j + 4 <= n) {
        acc4 q = { { v[0], v[1], v[2], v[3] } };
        *(acc4 *)(x + j) = q;
    } else {
        #pragma unroll
        for (int k = 0; k < 4; k++) if (j + k < n) x[j + k] = v[k];
    }
}
static bool aligned(const void *a, const void *b = nullptr, const void *c = nullptr, const void *d = nullptr)
{
    return ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c | (uintptr_t)d) % 16 == 0;
}

/* In double throughout: 4 bytes an element at 4.8 TB/s are 5 elements a clock and SM, 64 double multiply-adds fit
 * there. */
template <bool FAST>
__global__ void __launch_bounds__(256) sumsq_kernel(double *part, const acc_t *__restrict__ x, int64_t n)
{
    __shared__ double space[8];
    double s = 0.0;
    #pragma unroll 2
    for (int64_t j = ((int64_t)blockIdx.x * 256 + threadIdx.x) * 4; j < n; j += (int64_t)gridDim.x * 1024) {
        float v[4];
        four<FAST>(v, x, j, n);
        #pragma unroll
        for (int k = 0; k < 4; k++) s = fma((double)v[k], (double)v[k], s);
    }
    s = block_sum<256>(s, space);
    if (threadIdx.x == 0) part[blockIdx.x] = s;
}

__global__ void __launch_bounds__(256) sum_parts_kernel(double *part, int parts)
{
    __shared__ double space[8];
    double s = 0.0;
    for (int p = threadIdx.x; p < parts; p += 256) s += part[p];
    s = block_sum<256>(s, space);
    if (threadIdx.x == 0) part[parts] = s;
}

extern "C" double op_sumsq(const acc_t *x, int64_t n)
{
    double sum = 0.0;
    if (n <= 0) return sum;
    const int parts = (int)MIN((n + 4095) / 4096, (int64_t)MAX_PARTS);
    double *part = (double *)scratch(SCRATCH_SUMS, (MAX_PARTS + 1) * sizeof *part);
    if (aligned(x)) LAUNCH(sumsq_kernel<true>, parts, 256, 0, queue(), part, x, n);
    else LAUNCH(sumsq_kernel<false>, parts, 256, 0, queue(), part, x, n);
    LAUNCH(sum_parts_kernel, 1, 256, 0, queue(), part, parts);
    dev_get(&sum, part + parts, sizeof sum);
    return sum;
}

template <bool FAST> __global__ void __launch_bounds__(256) scale_kernel(acc_t *x, float by, int64_t n)
{
    const int64_t j = ((int64_t)blockIdx.x * 256 + threadIdx.x) * 4;
    float v[4];
    four<FAST>(v, x, j, n);
    #pragma unroll
    for (int k = 0; k < 4; k++) v[k] *= by;
    four_put<FAST>(x, v, j, n);
}

extern "C" void op_scale(acc_t *x, double by, int64_t n)
{
    if (aligned(x)) LAUNCH(scale_kernel<true>, blocks_of(n, 1024), 256, 0, queue(), x, (float)by, n);
    else LAUNCH(scale_kernel<false>, blocks_of(n, 1024), 256, 0, queue(), x, (float)by, n);
}

template <bool FAST>
__global__ void __launch_bounds__(256) acc_add_kernel(acc_t *x, const acc_t *__restrict__ y, int64_t n)
{
    const int64_t j = ((int64_t)blockIdx.x * 256 + threadIdx.x) * 4;
    float a[4], b[4];
    four<FAST>(a, x, j, n);
    four<FAST>(b, y, j, n);
    #pragma unroll
    for (int k = 0; k < 4; k++) a[k] += b[k];
    four_put<FAST>(x, a, j, n);
}

extern "C" void op_acc_add(acc_t *x, const acc_t *y, int64_t n)
{
    if (n <= 0) return;
    if (aligned(x, y)) LAUNCH(acc_add_kernel<true>, blocks_of(n, 1024), 256, 0, queue(), x, y, n);
    else LAUNCH(acc_add_kernel<false>, blocks_of(n, 1024), 256, 0, queue(), x, y, n);
}

__global__ void __launch_bounds__(256) sum_add_kernel(double *sum, const acc_t *__restrict__ g, int64_t n)
{
    const int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (i < n) sum[i] += (double)g[i];
}

extern "C" void op_sum_add(double *sum, const acc_t *g, int64_t n)
{
    if (n > 0) LAUNCH(sum_add_kernel, blocks_of(n, 256), 256, 0, queue(), sum, g, n);
}

__global__ void __launch_bounds__(256) sum_round_kernel(acc_t *g, const double *__restrict__ sum, int64_t n)
{
    const int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (i < n) g[i] = (acc_t)sum[i];
}

extern "C" void op_sum_round(acc_t *g, const double *sum, int64_t n)
{
    if (n > 0) LAUNCH(sum_round_kernel, blocks_of(n, 256), 256, 0, queue(), g, sum, n);
}

/* m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w = w (1 - lr decay) - lr/(1 - b1^t) m / (sqrt(v)/sqrt(1 - b2^t) +
 * eps) */
struct adam { float b1, d1, b2, d2, scale, eps, keep, step, root; };

struct __align__(8) moment4 { uint16_t u[4]; };

/* Four moments as stored: acc_t, or bf16 by stochastic rounding with the half words of `dither`. */
template <bool FAST> __device__ __forceinline__ void moments(float (&v)[4], const acc_t *x, int64_t j, int64_t n)
{
    four<FAST>(v, x, j, n);
}
template <bool FAST> __device__ __forceinline__ void moments(float (&v)[4], const uint16_t *x, int64_t j, int64_t n)
{
    moment4 q = { };
    if (FAST && j + 4 <= n) q = *(const moment4 *)(x + j);
    else for (int k = 0; k < 4; k++) if (j + k < n) q.u[k] = x[j + k];
    #pragma unroll
    for (int k = 0; k < 4; k++) v[k] = __uint_as_float((unsigned)q.u[k] << 16);
}
__device__ __forceinline__ uint16_t dithered(float x, unsigned dither)
{
    const unsigned u = __float_as_uint(x);
    if ((u & 0x7f800000u) == 0x7f800000u) return (uint16_t)(u >> 16 | (unsigned)((u & 0x7fffffu) != 0) << 6);
    return (uint16_t)((u + dither) >> 16);
}
template <bool FAST>
__device__ __forceinline__ void moments_put(acc_t *x, const float (&v)[4], int64_t j, int64_t n, const philox_block &,
                                            int)
{
    four_put<FAST>(x, v, j, n);
}
template <bool FAST>
__device__ __forceinline__ void moments_put(uint16_t *x, const float (&v)[4], int64_t j, int64_t n,
                                            const philox_block &dither, int shift)
{
    moment4 q;
    #pragma unroll
    for (int k = 0; k < 4; k++) q.u[k] = dithered(v[k], dither.v[k] >> shift & 0xffffu);
    if (FAST && j + 4 <= n) *(moment4 *)(x + j) = q;
    else for (int k = 0; k < 4; k++) if (j + k < n) x[j + k] = q.u[k];
}

/* The words of weights first .. first + 3. */
__device__ __forceinline__ philox_block dither_at(uint64_t seed, uint64_t first, uint32_t t, uint32_t what)
{
    philox_block a = philox_draw(seed, (uint32_t)(first >> 2), (uint32_t)(first >> 34), t, what);
    const int offset = (int)(first & 3);
    if (!offset) return a;
    const uint64_t next = first + 4;
    const philox_block b = philox_draw(seed, (uint32_t)(next >> 2), (uint32_t)(next >> 34), t, what);
    philox_block d;
    #pragma unroll
    for (int k = 0; k < 4; k++) {
        const int at = offset + k;
        d.v[k] = at < 4 ? (at == 1 ? a.v[1] : at == 2 ? a.v[2] : a.v[3]) : at == 4 ? b.v[0] : at == 5 ? b.v[1] : b.v[2];
    }
    return d;
}

/* As stored; NEAR false: bf16 is rounded stochastically, by the lower half word of `dither`. */
template <bool NEAR> __device__ __forceinline__ elem_t as_stored(float x, unsigned dither)
{
    elem_t e = from_float(x);
    if constexpr (!NEAR && sizeof(elem_t) == 2) {
        const uint16_t u = dithered(x, dither & 0xffffu);
        memcpy(&e, &u, sizeof u);
    }
    return e;
}

/* Bytes a weight: 28 with float storage, 30 with bf16 and master weights, 22 where the moments are bf16 too, 6 less
 * without master weights. NEAR false: there are none, and w is rounded stochastically; where elem_t is acc_t, w is its
 * own master. The random words of the bf16 moments are 25 integer
 * operations a weight, beside memory that feeds one weight a clock and SM. */
template <bool FAST, bool NEAR, class M>
__global__ void __launch_bounds__(256) adamw_kernel(elem_t *w, acc_t *master, const acc_t *__restrict__ g, M *m, M *v,
                                                    int64_t n, struct adam a, struct round_key key, uint32_t t)
{
    const int64_t j = ((int64_t)blockIdx.x * 256 + threadIdx.x) * 4;
    float x[4], gr[4], mm[4], vv[4];
    four<FAST>(gr, g, j, n);
    moments<FAST>(mm, m, j, n);
    moments<FAST>(vv, v, j, n);
    if (master) four<FAST>(x, master, j, n);
    else {
        #pragma unroll
        for (int k = 0; k < 4; k++) x[k] = j + k < n ? to_float(w[j + k]) : 0.0f;
    }
    #pragma unroll
    for (int k = 0; k < 4; k++) {
        const float s = gr[k] * a.scale;
        mm[k] = fmaf(mm[k], a.b1, s * a.d1);
        vv[k] = fmaf(vv[k], a.b2, s * s * a.d2);
        x[k] = fmaf(mm[k] / fmaf(sqrtf(vv[k]), a.root, a.eps), a.step, x[k] * a.keep);
    }
    philox_block dither = { };
    if constexpr (sizeof(M) == 2) dither = dither_at(key.seed, (uint64_t)(key.at + j), t, 0);
    moments_put<FAST>(m, mm, j, n, dither, 0);
    moments_put<FAST>(v, vv, j, n, dither, 16);
    if (master) four_put<FAST>(master, x, j, n);
    philox_block coin = { };
    if constexpr (!NEAR) coin = dither_at(key.seed, (uint64_t)(key.at + j), t, 1);
    struct __align__(4 * sizeof(elem_t)) quad { elem_t r[4]; };
    if (FAST && j + 4 <= n) {
        quad q;
        #pragma unroll
        for (int k = 0; k < 4; k++) q.r[k] = as_stored<NEAR>(x[k], coin.v[k]);
        *(quad *)(w + j) = q;
    } else {
        #pragma unroll
        for (int k = 0; k < 4; k++) if (j + k < n) w[j + k] = as_stored<NEAR>(x[k], coin.v[k]);
    }
}

template <bool FAST, bool NEAR, class M>
static void adamw_go(elem_t *w, acc_t *master, const acc_t *g, M *m, M *v, int64_t n, const struct adam &k,
                     const struct adamw *a)
{
    LAUNCH((adamw_kernel<FAST, NEAR, M>), blocks_of(n, 1024), 256, 0, queue(), w, master, g, m, v, n, k, a->key,
           (uint32_t)a->t);
}

template <class M>
static void adamw_launch(elem_t *w, acc_t *master, const acc_t *g, M *m, M *v, int64_t n, const struct adamw *a)
{
    if (a->t < 1) die("op_adamw: step %lld; the first is 1", (long long)a->t);
    const bool near = master || sizeof(elem_t) == sizeof(acc_t), fast = aligned(w, master, g, m) && aligned(v);
    const double c1 = 1 - pow(a->beta1, (double)a->t), c2 = 1 - pow(a->beta2, (double)a->t);
    const struct adam k = {
        (float)a->beta1, (float)(1 - a->beta1),         (float)a->beta2,      (float)(1 - a->beta2), (float)a->scale,
        (float)a->eps,   (float)(1 - a->lr * a->decay), (float)(-a->lr / c1), (float)(1 / sqrt(c2))
    };
    if (fast && near) adamw_go<true, true>(w, master, g, m, v, n, k, a);
    else if (fast) adamw_go<true, false>(w, master, g, m, v, n, k, a);
    else if (near) adamw_go<false, true>(w, master, g, m, v, n, k, a);
    else adamw_go<false, false>(w, master, g, m, v, n, k, a);
    gemm_weights_changed();
}

extern "C" void op_adamw(elem_t *w, acc_t *master, const acc_t *g, acc_t *m, acc_t *v, int64_t n, const struct adamw *a)
{
    adamw_launch(w, master, g, m, v, n, a);
}

extern "C" void op_adamw_bf16(elem_t *w, acc_t *master, const acc_t *g, uint16_t *m, uint16_t *v, int64_t n,
                              const struct adamw *a)
{
    adamw_launch(w, master, g, m, v, n, a);
}
