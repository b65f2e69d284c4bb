/* fold.cu: partial sums of blocks of rows to one. Reads each once: at most MAX_PARTS rows of them. */
#include "kernels/cuda/fold.cuh"

/* A block folds 32 columns: warp w takes parts w, w + 8, ..., the eight sums are added up in ascending order. */
__global__ void __launch_bounds__(256) fold_kernel(acc_t *dst, const float *__restrict__ part, int parts, int d, int ld)
{
    __shared__ double sums[8][32];
    int lane = threadIdx.x % 32, w = threadIdx.x / 32, col = blockIdx.x * 32 + lane;
    double s = 0.0;
    #pragma unroll 4
    for (int p = w; p < parts; p += 8) s += col < d ? (double)part[(int64_t)p * ld + col] : 0.0;
    sums[w][lane] = s;
    __syncthreads();
    if (w == 0 && col < d) {
        for (int i = 1; i < 8; i++) s += sums[i][lane];
        dst[col] += (float)s;
    }
}

void fold(acc_t *dst, const float *part, int parts, int d, int ld)
{
    LAUNCH(fold_kernel, blocks_of(d, 32), 256, 0, queue(), dst, part, parts, d, ld);
}
