/* norm.cu: the residual sum and the RMS norm behind it, a row in the registers of one block. Forward moves 4 numbers an
 * element (x, add, res, y; 2 without add in place), backward 4 (dy, dres, res, dx) and the partial sums of dw. */
#include "kernels/cuda/fold.cuh"
#include "kernels/ops.h"

/* 1 / sqrt(sum / dim + eps), in double by one thread: its 40 double instructions would cost every thread as much as its
 * loads. */
template <int B> __device__ __forceinline__ float inverse_rms(float sq, int dim, double eps)
{
    __shared__ double space[B / 32];
    __shared__ float r;
    const double sum = block_sum<B>((double)sq, space);
    if (threadIdx.x == 0) r = (float)(1.0 / sqrt(sum / dim + eps));
    __syncthreads();
    return r;
}

/* Two packs a thread stay in registers; what is beyond (dim > 2 B packs) is read again from res, by the thread that
 * wrote it. */
template <int B, bool FAST>
__global__ void __launch_bounds__(B)
    add_rmsnorm_kernel(elem_t *res, elem_t *y, acc_t *rstd, const elem_t *x, const elem_t *add,
                       const elem_t *__restrict__ w, double eps, int dim)
{
    const int64_t row = (int64_t)blockIdx.x * dim;
    float keep[2][PACK], sq = 0.0f;
    #pragma unroll
    for (int k = 0; k < 2; k++) {
        int j = (k * B + threadIdx.x) * PACK;
        get<FAST>(keep[k], x + row + j, dim - j);
        if (add) {
            float a[PACK];
            get<FAST>(a, add + row + j, dim - j);
            #pragma unroll
            for (int i = 0; i < PACK; i++) keep[k][i] = to_float(from_float(keep[k][i] + a[i]));
        }
        if (add || res != x) put<FAST>(res + row + j, keep[k], dim - j);
        #pragma unroll
        for (int i = 0; i < PACK; i++) sq = fmaf(keep[k][i], keep[k][i], sq);
    }
    for (int j = (2 * B + threadIdx.x) * PACK; j < dim; j += B * PACK) {
        float v[PACK], a[PACK];
        get<FAST>(v, x + row + j, dim - j);
        if (add) {
            get<FAST>(a, add + row + j, dim - j);
            for (int i = 0; i < PACK; i++) v[i] = to_float(from_float(v[i] + a[i]));
        }
        if (add || res != x) put<FAST>(res + row + j, v, dim - j);
        for (int i = 0; i < PACK; i++) sq = fmaf(v[i], v[i], sq);
    }
    const float r = inverse_rms<B>(sq, dim, eps);
    for (int j = threadIdx.x * PACK, k = 0; j < dim; j += B * PACK, k++) {
        float v[PACK], g[PACK];
        if (k < 2) {
            #pragma unroll
            for (int i = 0; i < PACK; i++) v[i] = k ? keep[1][i] : keep[0][i];
        } else get<FAST>(v, res + row + j, dim - j);
        get<FAST>(g, w + j, dim - j);
        #pragma unroll
        for (int i = 0; i < PACK; i++) v[i] = v[i] * r * g[i];
        put<FAST>(y + row + j, v, dim - j);
    }
    if (rstd && threadIdx.x == 0) rstd[blockIdx.x] = r;
}

/* y = w x r with r = (mean x^2 + eps)^-1/2: dx = dres + r w dy - x r^3 mean(w dy x); part[block][j] = sum over the
 * block's rows of dy x r. */
template <int B, bool FAST>
__global__ void __launch_bounds__(B)
    rmsnorm_back_kernel(elem_t *dx, float *part, const elem_t *dy, const elem_t *dres, const elem_t *__restrict__ x,
                        const elem_t *__restrict__ w, const acc_t *__restrict__ rstd, int64_t n, int64_t rows, int dim)
{
    __shared__ double space[B / 32];
    float sum[2][PACK] = { }, gain[2][PACK];
    #pragma unroll
    for (int k = 0; k < 2; k++)
        get<FAST>(gain[k], w + (k * B + threadIdx.x) * PACK, dim - (int)(k * B + threadIdx.x) * PACK);
    const int64_t first = blockIdx.x * rows, last = min(n, first + rows);
    for (int64_t i = first; i < last; i++) {
        const int64_t row = i * dim;
        const float r = rstd[i];
        float v[2][PACK], g[2][PACK], d[2][PACK], dot = 0.0f;
        #pragma unroll
        for (int k = 0; k < 2; k++) {
            int j = (k * B + threadIdx.x) * PACK;
            get<FAST>(v[k], x + row + j, dim - j);
            get<FAST>(g[k], dy + row + j, dim - j);
            if (dres) get<FAST>(d[k], dres + row + j, dim - j);
            #pragma unroll
            for (int e = 0; e < PACK; e++) dot = fmaf(g[k][e] * gain[k][e], v[k][e], dot);
        }
        const float c = (float)(-block_sum<B>((double)dot, space) / dim) * r * r * r;
        #pragma unroll
        for (int k = 0; k < 2; k++) {
            int j = (k * B + threadIdx.x) * PACK;
            #pragma unroll
            for (int e = 0; e < PACK; e++) {
                sum[k][e] = fmaf(g[k][e] * r, v[k][e], sum[k][e]);
                g[k][e] = fmaf(v[k][e], c, fmaf(g[k][e] * gain[k][e], r, dres ? d[k][e] : 0.0f));
            }
            put<FAST>(dx + row + j, g[k], dim - j);
        }
    }
    #pragma unroll
    for (int k = 0; k < 2; k++) {
        int j = (k * B + threadIdx.x) * PACK;
        put_acc<FAST>(part + (int64_t)blockIdx.x * dim + j, sum[k], dim - j);
    }
}

/* Calls f<threads>(arguments) for the fewest threads that hold a row in two packs each. Chosen by dim alone: a row's
 * bits must not depend on n. */
#define ROW_THREADS(f, dim, ...) do { \
        int packs_ = packs_of(dim); \
        if (packs_ <= 64) f<32>(__VA_ARGS__); \
        else if (packs_ <= 128) f<64>(__VA_ARGS__); \
        else if (packs_ <= 256) f<128>(__VA_ARGS__); \
        else if (packs_ <= 512) f<256>(__VA_ARGS__); \
        else f<512>(__VA_ARGS__); \
    } while (0)

template <int B> static void forward(bool fast, const struct rmsnorm_args &a)
{
    if (fast)
        LAUNCH((add_rmsnorm_kernel<B, true>), blocks_of(a.n, 1), B, 0, queue(), a.res, a.y, a.rstd, a.x, a.add, a.w,
               a.eps, a.dim);
    else
        LAUNCH((add_rmsnorm_kernel<B, false>), blocks_of(a.n, 1), B, 0, queue(), a.res, a.y, a.rstd, a.x, a.add, a.w,
               a.eps, a.dim);
}

extern "C" void op_add_rmsnorm(struct rmsnorm_args a)
{
    ROW_THREADS(forward, a.dim, packed(a.dim, a.res, a.y, a.x, a.add, a.w), a);
}

template <int B> static void backward(bool fast, const struct rmsnorm_back_args &a)
{
    const struct row_split cut = split_rows(a.n, 4, MIN(MAX_PARTS, GRID_SMS * 1024 / B));
    float *part = (float *)scratch(SCRATCH_SUMS, (size_t)cut.parts * (size_t)a.dim * sizeof *part);
    if (fast)
        LAUNCH((rmsnorm_back_kernel<B, true>), cut.parts, B, 0, queue(), a.dx, part, a.dy, a.dres, a.res, a.w, a.rstd,
               a.n, cut.rows, a.dim);
    else
        LAUNCH((rmsnorm_back_kernel<B, false>), cut.parts, B, 0, queue(), a.dx, part, a.dy, a.dres, a.res, a.w, a.rstd,
               a.n, cut.rows, a.dim);
    fold(a.dw, part, cut.parts, a.dim, a.dim);
}

extern "C" void op_rmsnorm_back(struct rmsnorm_back_args a)
{
    if (a.dim > 1024 * PACK) die("op_rmsnorm_back: rows of %d numbers; a block holds %d", a.dim, 1024 * PACK);
    if (a.n <= 0) return;
    ROW_THREADS(backward, a.dim, packed(a.dim, a.dx, a.dy, a.dres, a.res, a.w), a);
}
