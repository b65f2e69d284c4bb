/* bias.cu: sums over rows, and y += x. cuBLASLt could sum dy beside the product that makes dW (BGRADB), but overwrites
 * db and would save one read of dy: of the qkv rows of Qwen2.5-0.5B and 16 k tokens 38 MB, by count 9 us of a layer. */
#include "kernels/cuda/fold.cuh"
#include "kernels/ops.h"

/* A block sums `rows` rows of 32 packs of columns: warp w takes rows w, w + 8, ... Reads every number once; parts are 1
 * in 64 of that at most. */
template <bool FAST>
__global__ void __launch_bounds__(256)
    column_sums_kernel(float *part, const elem_t *__restrict__ x, int64_t n, int64_t rows, int d)
{
    __shared__ float sums[8][32 * PACK];
    const int lane = threadIdx.x % 32, w = threadIdx.x / 32, j = (blockIdx.y * 32 + lane) * PACK;
    const int64_t first = blockIdx.x * rows, last = min(n, first + rows);
    float s[PACK] = { };
    #pragma unroll 4
    for (int64_t i = first + w; i < last; i += 8) {
        float v[PACK];
        get<FAST>(v, x + i * d + j, d - j);
        #pragma unroll
        for (int k = 0; k < PACK; k++) s[k] += v[k];
    }
    #pragma unroll
    for (int k = 0; k < PACK; k++) sums[w][lane + 32 * k] = s[k];
    __syncthreads();
    for (int c = threadIdx.x; c < 32 * PACK; c += 256) {
        const int col = blockIdx.y * 32 * PACK + c, at = c / PACK + 32 * (c % PACK);
        float t = sums[0][at];
        for (int i = 1; i < 8; i++) t += sums[i][at];
        if (col < d) part[(int64_t)blockIdx.x * d + col] = t;
    }
}

extern "C" void op_bias_back(acc_t *db, const elem_t *dy, int64_t n, int d)
{
    if (n <= 0 || d <= 0) return;
    const struct row_split cut = split_rows(n, 64, 2 * GRID_SMS);
    const dim3 grid((unsigned)cut.parts, blocks_of(packs_of(d), 32));
    float *part = (float *)scratch(SCRATCH_SUMS, (size_t)cut.parts * (size_t)d * sizeof *part);
    if (packed(d, dy)) LAUNCH(column_sums_kernel<true>, grid, 256, 0, queue(), part, dy, n, cut.rows, d);
    else LAUNCH(column_sums_kernel<false>, grid, 256, 0, queue(), part, dy, n, cut.rows, d);
    fold(db, part, cut.parts, d, d);
}

/* 3 numbers an element: two read, one written; two packs a thread, so that four loads are under way at once. */
template <bool FAST>
__global__ void __launch_bounds__(256) add_kernel(elem_t *y, const elem_t *__restrict__ x, int64_t count)
{
    float a[2][PACK], b[2][PACK];
    #pragma unroll
    for (int k = 0; k < 2; k++) {
        const int64_t j = ((int64_t)blockIdx.x * 512 + k * 256 + threadIdx.x) * PACK;
        const int left = (int)max((int64_t)0, min(count - j, (int64_t)PACK));
        get<FAST>(a[k], y + j, left);
        get<FAST>(b[k], x + j, left);
    }
    #pragma unroll
    for (int k = 0; k < 2; k++) {
        const int64_t j = ((int64_t)blockIdx.x * 512 + k * 256 + threadIdx.x) * PACK;
        #pragma unroll
        for (int e = 0; e < PACK; e++) a[k][e] += b[k][e];
        put<FAST>(y + j, a[k], (int)max((int64_t)0, min(count - j, (int64_t)PACK)));
    }
}

extern "C" void op_add(elem_t *y, const elem_t *x, int64_t count)
{
    if (packed(count, y, x)) LAUNCH(add_kernel<true>, blocks_of(count, 512 * PACK), 256, 0, queue(), y, x, count);
    else LAUNCH(add_kernel<false>, blocks_of(count, 512 * PACK), 256, 0, queue(), y, x, count);
}
