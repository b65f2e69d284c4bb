/* swiglu.cu: silu(gate) * up, the middle of the feed-forward block. A block takes one row, a thread every B-th pack of
 * it, so that no index is divided. Numbers moved an element of y: 3 forward (gate, up, y), 5 backward (gate, up, dy, d
 * gate, d up). */
#include "kernels/cuda/num.cuh"
#include "kernels/ops.h"

template <bool FAST> __global__ void __launch_bounds__(256) swiglu_kernel(elem_t *y, const elem_t *gate_up, int ff)
{
    const elem_t *row = gate_up + (int64_t)blockIdx.x * 2 * ff;
    for (int j = threadIdx.x * PACK; j < ff; j += blockDim.x * PACK) {
        float g[PACK], u[PACK];
        get<FAST>(g, row + j, ff - j);
        get<FAST>(u, row + ff + j, ff - j);
        #pragma unroll
        for (int k = 0; k < PACK; k++) g[k] = real_div(g[k], 1.0f + elem_exp(-g[k])) * u[k];
        put<FAST>(y + (int64_t)blockIdx.x * ff + j, g, ff - j);
    }
}

/* With s = sigmoid(g):  d up = dy g s;  d gate = dy up s (1 + g (1 - s)). */
template <bool FAST>
__global__ void __launch_bounds__(256)
    swiglu_back_kernel(elem_t *dgate_up, const elem_t *dy, const elem_t *gate_up, int ff)
{
    const int64_t row = (int64_t)blockIdx.x * 2 * ff;
    for (int j = threadIdx.x * PACK; j < ff; j += blockDim.x * PACK) {
        float g[PACK], u[PACK], d[PACK];
        get<FAST>(g, gate_up + row + j, ff - j);
        get<FAST>(u, gate_up + row + ff + j, ff - j);
        get<FAST>(d, dy + (int64_t)blockIdx.x * ff + j, ff - j);
        #pragma unroll
        for (int k = 0; k < PACK; k++) {
            float s = real_div(1.0f, 1.0f + elem_exp(-g[k])), ds = d[k] * s;
            d[k] = ds * g[k];
            g[k] = ds * u[k] * fmaf(g[k], 1.0f - s, 1.0f);
        }
        put<FAST>(dgate_up + row + j, g, ff - j);
        put<FAST>(dgate_up + row + ff + j, d, ff - j);
    }
}

extern "C" void op_swiglu(elem_t *y, const elem_t *gate_up, int64_t n, int ff)
{
    const int threads = threads_of(packs_of(ff), 256);
    if (packed(ff, y, gate_up)) LAUNCH(swiglu_kernel<true>, blocks_of(n, 1), threads, 0, queue(), y, gate_up, ff);
    else LAUNCH(swiglu_kernel<false>, blocks_of(n, 1), threads, 0, queue(), y, gate_up, ff);
}

extern "C" void op_swiglu_back(elem_t *dgate_up, const elem_t *dy, const elem_t *gate_up, int64_t n, int ff)
{
    const int threads = threads_of(packs_of(ff), 256);
    if (packed(ff, dgate_up, dy, gate_up))
        LAUNCH(swiglu_back_kernel<true>, blocks_of(n, 1), threads, 0, queue(), dgate_up, dy, gate_up, ff);
    else LAUNCH(swiglu_back_kernel<false>, blocks_of(n, 1), threads, 0, queue(), dgate_up, dy, gate_up, ff);
}
