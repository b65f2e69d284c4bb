/* simt_gemm.cpp: the matrix product of the shim, in the place of cuBLASLt: the C backend's where numbers are stored as float; for bf16 one of its own, float
 * sums in ascending k, one rounding at the end (operands are widened once; b is turned so that the inner loop runs along a row of d; sizes of tests only).
 * Like a launch it is kept, not done, while its stream is being captured. */
#include "kernels/cuda/num.cuh"
#include "kernels/gemm.h"

extern "C" void simt_gemm(struct gemm g);
extern "C" void op_gemm(struct gemm g)
{
    if (!dry_run()) simt_do(queue(), [=] { simt_gemm(g); });
}

#if defined(REAL_IS_bf16)
static float *widened(const real *x, int64_t rows, int64_t cols, int64_t ld, bool turn)
{
    float *y = (float *)xmalloc((size_t)(rows * cols + 1) * sizeof *y);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) y[turn ? j * rows + i : i * cols + j] = to_float(x[i * ld + j]);
    return y;
}

static void product(struct gemm g, const float *a, const float *b)
{
    #pragma omp parallel for if (g.m * g.n * g.k > 1 << 20)
    for (int64_t i = 0; i < g.m; i++) {
        float *sum = (float *)xcalloc((size_t)g.n, sizeof *sum);
        for (int64_t p = 0; p < g.k; p++)
            for (int64_t j = 0; j < g.n; j++) sum[j] = fmaf(a[i * g.k + p], b[p * g.n + j], sum[j]);
        for (int64_t j = 0; j < g.n; j++) {
            const int64_t at = i * g.ldd + j;
            if (g.bias) sum[j] += to_float(g.bias[j]);
            if (g.form == GEMM_TN) g.dw[at] = (g.add ? g.dw[at] : 0.0f) + sum[j];
            else g.d[at] = from_float((g.add ? to_float(g.d[at]) : 0.0f) + sum[j]);
        }
        free(sum);
    }
}

extern "C" void simt_gemm(struct gemm g)
{
    if (g.m <= 0 || g.n <= 0) return;
    if (!g.lda) g.lda = g.form == GEMM_TN ? g.m : g.k;
    if (!g.ldb) g.ldb = g.form == GEMM_NT ? g.k : g.n;
    if (!g.ldd) g.ldd = g.n;
    float *a = g.form == GEMM_TN ? widened(g.a, g.k, g.m, g.lda, true) : widened(g.a, g.m, g.k, g.lda, false);
    float *b = g.form == GEMM_NT ? widened(g.b, g.n, g.k, g.ldb, true) : widened(g.b, g.k, g.n, g.ldb, false);
    product(g, a, b);
    free(a);
    free(b);
}

extern "C" void gemm_weights_changed(void) { }
extern "C" void gemm_weight_written(const void *, size_t) { }
#endif
