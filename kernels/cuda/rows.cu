/* rows.cu: rows gathered from the token table or scattered to their places, and queries times a constant. One warp
 * moves a row, 16 bytes a lane: 2 numbers moved an element. */
#include "kernels/cuda/num.cuh"
#include "kernels/ops.h"

/* to: row i of y is row at[i] of x; else row at[i] of y is row i of x. A negative id has no row: it reads as NaN, and
 * is not written. */
template <bool FAST, bool TO>
__global__ void __launch_bounds__(256)
    rows_kernel(elem_t *y, const elem_t *__restrict__ x, const int *__restrict__ at, int64_t n, int dim)
{
    const int64_t i = (int64_t)blockIdx.x * 8 + threadIdx.x / 32;
    if (i >= n) return;
    const int64_t other = at[i];
    elem_t *dst = y + (TO ? i : other) * dim;
    const elem_t *src = x + (TO ? other : i) * dim;
    if (!TO && other < 0) return;
    for (int j = threadIdx.x % 32 * PACK; j < dim; j += 32 * PACK) {
        if (TO && other < 0) {
            for (int k = 0; k < PACK && j + k < dim; k++) dst[j + k] = from_float(NAN);
        } else if (FAST) *(elem_pack *)(dst + j) = *(const elem_pack *)(src + j);
        else for (int k = 0; k < PACK && j + k < dim; k++) dst[j + k] = src[j + k];
    }
}

extern "C" void op_embed(elem_t *x, const elem_t *table, const int *ids, int64_t n, int dim)
{
    if (packed(dim, x, table))
        LAUNCH((rows_kernel<true, true>), blocks_of(n, 8), 256, 0, queue(), x, table, ids, n, dim);
    else LAUNCH((rows_kernel<false, true>), blocks_of(n, 8), 256, 0, queue(), x, table, ids, n, dim);
}

extern "C" void op_rows_put(elem_t *y, const elem_t *x, const int *row, int64_t n, int dim)
{
    if (packed(dim, y, x)) LAUNCH((rows_kernel<true, false>), blocks_of(n, 8), 256, 0, queue(), y, x, row, n, dim);
    else LAUNCH((rows_kernel<false, false>), blocks_of(n, 8), 256, 0, queue(), y, x, row, n, dim);
}

template <bool FAST>
__global__ void __launch_bounds__(256) query_scale_kernel(elem_t *qkv, float by, int width, int queries)
{
    elem_t *row = qkv + (int64_t)blockIdx.x * width;
    for (int j = threadIdx.x * PACK; j < queries; j += blockDim.x * PACK) {
        float v[PACK];
        get<FAST>(v, row + j, queries - j);
        #pragma unroll
        for (int k = 0; k < PACK; k++) v[k] *= by;
        put<FAST>(row + j, v, queries - j);
    }
}

extern "C" void op_query_scale(elem_t *qkv, double by, int64_t n, struct heads h)
{
    const int width = (h.heads + 2 * h.kv) * h.hd, queries = h.heads * h.hd,
              threads = threads_of(packs_of(queries), 256);
    if (packed(h.hd, qkv))
        LAUNCH(query_scale_kernel<true>, blocks_of(n, 1), threads, 0, queue(), qkv, (float)by, width, queries);
    else LAUNCH(query_scale_kernel<false>, blocks_of(n, 1), threads, 0, queue(), qkv, (float)by, width, queries);
}
