/* simt_cublaslt.cpp: cuBLASLt of the shim: D = alpha op(A) op(B) + beta C + bias on column-major matrices, each element
 * a chain of fused multiply-adds over k, or several such chains, added up at the end, by the algorithms that split k.
 * Calls that the library would reject, that read out of bounds or leave results undefined end the program: shapes that
 * do not fit together, a column stride below the rows, operands less aligned than was promised, an algorithm that was
 * never handed out or needs more than it is given, a bias that was not set. Products are kept, not done, while their
 * stream is being captured. */
#include <cublasLt.h>
#include "kernels/cuda/num.cuh"

struct simt_lt { int unused; };
struct simt_desc {
    cublasComputeType_t compute;
    cublasOperation_t ta, tb;
    cublasLtEpilogue_t epilogue;
    const void *bias;
};
struct simt_layout { cudaDataType_t type; int64_t rows, cols, ld; };
struct simt_preference { size_t space; uint32_t reduction, align[4]; };

/* The words of an algorithm: a mark, how many parts k is split into, the scheme they meet by, the alignment it needs,
 * the microseconds it says it takes. */
enum : uint64_t { MARK = 0x73696d742d616c67u };
enum { ALGO_MARK, ALGO_PARTS, ALGO_SCHEME, ALGO_ALIGN, ALGO_TIME };
static const struct { int parts, scheme; unsigned align, us; } algos[] = {
    { 3, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, 16, 50 }, { 2, CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE, 4, 10 },
    { 1, CUBLASLT_REDUCTION_SCHEME_NONE, 16, 40 }, { 2, CUBLASLT_REDUCTION_SCHEME_INPLACE, 4, 20 },
    { 1, CUBLASLT_REDUCTION_SCHEME_NONE, 2, 30 },
};

const char *cublasLtGetStatusString(cublasStatus_t s)
{
    return s == CUBLAS_STATUS_SUCCESS         ? "CUBLAS_STATUS_SUCCESS"
           : s == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED"
                                              : "CUBLAS_STATUS_INVALID_VALUE";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *lt)
{
    static simt_lt one;
    *lt = &one;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute, cudaDataType_t scale)
{
    ENSURE(scale == CUDA_R_32F);
    *d = new simt_desc{ compute, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr };
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { delete d; return CUBLAS_STATUS_SUCCESS; }

static cublasStatus_t put(void *to, size_t size, const void *value, size_t bytes)
{
    if (bytes != size) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t what,
                                              const void *value, size_t bytes)
{
    switch (what) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return put(&d->ta, sizeof d->ta, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return put(&d->tb, sizeof d->tb, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return put(&d->epilogue, sizeof d->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return put(&d->bias, sizeof d->bias, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType_t type, uint64_t rows, uint64_t cols,
                                          int64_t ld)
{
    ENSURE(type == CUDA_R_32F || sizeof(elem_t) == 2);            /* elem_t is bf16 then */
    *l = new simt_layout{ type, (int64_t)rows, (int64_t)cols, ld };
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { delete l; return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
    *p = new simt_preference{ 0, ~0u, { 256, 256, 256, 256 } };
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { delete p; return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t what, const void *value,
                                                    size_t bytes)
{
    switch (what) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return put(&p->space, sizeof p->space, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return put(&p->reduction, sizeof p->reduction, value, bytes);
    default: return put(&p->align[what - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], sizeof p->align[0], value, bytes);
    }
}

struct sizes { int64_t m, n, k; };
typedef const simt_layout *layout;

/* Do the matrices fit together, and is it a combination of types that the library has? */
static bool fits(sizes *z, const simt_desc *op, layout a, layout b, layout c, layout d)
{
    z->m = op->ta == CUBLAS_OP_T ? a->cols : a->rows, z->k = op->ta == CUBLAS_OP_T ? a->rows : a->cols,
    z->n = op->tb == CUBLAS_OP_T ? b->rows : b->cols;
    if (z->k != (op->tb == CUBLAS_OP_T ? b->cols : b->rows) || d->rows != z->m || d->cols != z->n || c->rows != z->m ||
        c->cols != z->n)
        return false;
    for (layout l : { a, b, c, d }) if (l->rows < 1 || l->cols < 1 || l->ld < l->rows) return false;
    if (a->type != b->type || c->type != d->type || (d->type != CUDA_R_32F && d->type != a->type)) return false;
    return a->type == CUDA_R_32F || op->compute == CUBLAS_COMPUTE_32F;
}

static size_t space_of(uint64_t parts, uint64_t scheme, const sizes &z)
{
    return scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE ? (size_t)(parts * (uint64_t)(z.m * z.n) * sizeof(float))
                                                            : 0;
}

/* Does every column begin at a multiple of `to` bytes, if the first one does? */
static bool strides(uint64_t to, layout a, layout b, layout d)
{
    for (layout l : { a, b, d }) if ((uint64_t)l->ld * (l->type == CUDA_R_32F ? 4 : 2) % to) return false;
    return true;
}

/* What fits the preference, and between the first and the second a result that is not to be used, as its state says. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t op, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t want, int most,
                                              cublasLtMatmulHeuristicResult_t *to, int *count)
{
    sizes z;
    *count = 0;
    if (!fits(&z, op, a, b, c, d)) return CUBLAS_STATUS_INVALID_VALUE;
    for (const auto &x : algos) {
        bool aligned = strides(x.align, a, b, d);
        for (uint32_t promised : want->align) aligned = aligned && promised >= x.align;
        const size_t space = space_of((uint64_t)x.parts, (uint64_t)x.scheme, z);
        if (!aligned || space > want->space || (x.scheme && !(want->reduction & (uint32_t)x.scheme)) ||
            (int64_t)x.parts > z.k)
            continue;
        if (*count == 1 && most > 1) to[(*count)++] = { { { ~0ull } }, 0, CUBLAS_STATUS_NOT_SUPPORTED, 0, { } };
        if (*count < most)
            to[(*count)++] = {
                { { MARK, (uint64_t)x.parts, (uint64_t)x.scheme, x.align, x.us } }, space, CUBLAS_STATUS_SUCCESS, 1, {}
            };
    }
    return *count ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *a, cublasLtMatmulAlgoConfigAttributes_t,
                                                    void *value, size_t bytes, size_t *written)
{
    ENSURE(a->data[ALGO_MARK] == MARK);
    const int32_t parts = (int32_t)a->data[ALGO_PARTS];
    if (written) *written = sizeof parts;
    return put(value, sizeof parts, &parts, bytes);
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t op, cublasLtMatrixLayout_t a,
                                       cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *result)
{
    sizes z;
    if (!fits(&z, op, a, b, c, d) || algo->data[ALGO_MARK] != MARK) return CUBLAS_STATUS_INVALID_VALUE;
    *result = { *algo, space_of(algo->data[ALGO_PARTS], algo->data[ALGO_SCHEME], z), CUBLAS_STATUS_SUCCESS, 1, { } };
    return (int64_t)algo->data[ALGO_PARTS] <= z.k && strides(algo->data[ALGO_ALIGN], a, b, d)
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_NOT_SUPPORTED;
}

static float number(const void *x, int64_t i, cudaDataType_t type)
{
    return type == CUDA_R_32F ? ((const float *)x)[i] : to_float(((const elem_t *)x)[i]);
}

/* y[k][m] or, transposed, of a matrix that is stored as [m][k], in float. */
static float *widened(const void *x, layout l, bool turn)
{
    float *y = (float *)xmalloc((size_t)(l->rows * l->cols) * sizeof *y);
    for (int64_t j = 0; j < l->cols; j++)
        for (int64_t i = 0; i < l->rows; i++)
            y[turn ? i * l->cols + j : j * l->rows + i] = number(x, j * l->ld + i, l->type);
    return y;
}

struct job {
    simt_desc op;
    simt_layout la, lb, lc, ld;
    const void *a, *b, *c;
    void *d;
    float alpha, beta;
    sizes z;
    int parts;
};

static void column(const job &w, const float *a, const float *b, int64_t j, float *sum, float *part)
{
    const int64_t m = w.z.m, k = w.z.k, each = (k + w.parts - 1) / w.parts;
    for (int64_t from = 0; from < k; from += each) {
        float *to = from ? part : sum;
        memset(to, 0, (size_t)m * sizeof *to);
        for (int64_t p = from; p < MIN(from + each, k); p++) {
            const float *row = a + p * m, by = b[j * k + p];
            #pragma omp simd
            for (int64_t i = 0; i < m; i++) to[i] = __builtin_fmaf(row[i], by, to[i]);
        }
        for (int64_t i = 0; from && i < m; i++) sum[i] += part[i];
    }
    for (int64_t i = 0; i < m; i++) {
        float x = w.alpha * sum[i];
        if (w.beta != 0.0f) x += w.beta * number(w.c, j * w.lc.ld + i, w.lc.type);
        if (w.op.epilogue == CUBLASLT_EPILOGUE_BIAS) x += number(w.op.bias, i, w.ld.type);
        if (w.ld.type == CUDA_R_32F) ((float *)w.d)[j * w.ld.ld + i] = x;
        else ((elem_t *)w.d)[j * w.ld.ld + i] = from_float(x);
    }
}

static void product(const job &w)
{
    float *a = widened(w.a, &w.la, w.op.ta == CUBLAS_OP_T), *b = widened(w.b, &w.lb, w.op.tb == CUBLAS_OP_T);
    #pragma omp parallel if (w.z.m * w.z.n * w.z.k > 1 << 20)
    {
        float *sum = (float *)xmalloc((size_t)w.z.m * sizeof *sum),
              *part = (float *)xmalloc((size_t)w.z.m * sizeof *part);
#pragma omp for
        for (int64_t j = 0; j < w.z.n; j++) column(w, a, b, j, sum, part);
        free(sum);
        free(part);
    }
    free(a);
    free(b);
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t op, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t la, const void *b, cublasLtMatrixLayout_t lb, const void *beta,
                              const void *c, cublasLtMatrixLayout_t lc, void *d, cublasLtMatrixLayout_t ld,
                              const cublasLtMatmulAlgo_t *algo, void *space, size_t bytes, cudaStream_t queue)
{
    job w = { *op,
              *la,
              *lb,
              *lc,
              *ld,
              a,
              b,
              c,
              d,
              *(const float *)alpha,
              *(const float *)beta,
              {},
              (int)algo->data[ALGO_PARTS] };
    if (!fits(&w.z, op, la, lb, lc, ld) || algo->data[ALGO_MARK] != MARK) return CUBLAS_STATUS_INVALID_VALUE;
    const size_t needs = space_of(algo->data[ALGO_PARTS], algo->data[ALGO_SCHEME], w.z);
    if (needs > bytes || (needs && (!space || (uintptr_t)space % 256))) return CUBLAS_STATUS_INVALID_VALUE;
    if (op->epilogue == CUBLASLT_EPILOGUE_BIAS && !op->bias) return CUBLAS_STATUS_INVALID_VALUE;
    if (((uintptr_t)a | (uintptr_t)b | (uintptr_t)d) % algo->data[ALGO_ALIGN] ||
        !strides(algo->data[ALGO_ALIGN], la, lb, ld))
        die("cublasLtMatmul: operands are less aligned than the algorithm needs, %d bytes",
            (int)algo->data[ALGO_ALIGN]);
    if (needs) simt_do(queue, [=] { memset(space, 0xff, needs); });
    const double ms = 1e-3 * (double)algo->data[ALGO_TIME];
    simt_do(queue, [=] {
        product(w);
        simt_passes(ms);
    });
    return CUBLAS_STATUS_SUCCESS;
}
