/* gemm.cu: the matrix product by cuBLASLt, which sees the row-major d[m][n] as the column-major d^T[n][m]: its first
 * operand is b, its second a. A plan (descriptors and the algorithm) is made once for a shape and kept. numerics=exact:
 * one algorithm for (form, n, k), the first that the heuristics name at 256 rows, without split-k, for every m, never
 * timed: a row has the same bits in every batch, run and rank. fast: the fastest measured of eight. */
#include "kernels/cuda/num.cuh"
#include "kernels/gemm.h"
#include "base/hash.h"
#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

#define LT(x) do { \
        cublasStatus_t s_ = (x); \
        if (s_ != CUBLAS_STATUS_SUCCESS) die("%s:%d: %s: %s", __FILE__, __LINE__, #x, cublasLtGetStatusString(s_)); \
    } while (0)

enum { PLANS = 1024, PINNED_ROWS = 256, CANDIDATES = 16, CHOICES = 512 };
#ifdef SIMT_CPU
enum { WORKSPACE = 256 << 10 };         /* the shim may keep a copy of all device memory at every launch */
#else
enum { WORKSPACE = 32 << 20 };          /* what cuBLAS itself takes on Hopper */
#endif

/* What a plan depends on. Keys are compared by their bytes. pinned: see choose_pinned; timed: its algorithm may have
 * been chosen by time. */
struct key { int64_t m, n, k, lda, ldb, ldd; int form, bias, add, pinned, timed, align_a, align_b, align_d; };
struct plan {
    struct key key;
    bool used;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
};
/* The fastest algorithm measured for shapes whose number of rows rounds to that of the key. */
struct choice { struct key key; cublasLtMatmulAlgo_t algo; };
struct operands { const void *a, *b, *bias; void *d, *space; };

static cublasLtHandle_t lt;
static struct plan plans[PLANS];
static struct choice choices[CHOICES];
static int plan_count, choice_count, exact_now = -1;

void op_gemm_exact(bool exact) { exact_now = exact; }
void gemm_weights_changed(void) { }             /* nothing is packed here */
size_t gemm_packed_bytes(int64_t n, int64_t k) { (void)n; (void)k; return 0; }

static cudaDataType_t elem_type(void) { return sizeof(elem_t) == 2 ? CUDA_R_16BF : CUDA_R_32F; }

static int alignment(const void *p)
{
    int a = 1;
    while (a < 256 && !((uintptr_t)p & (uintptr_t)a)) a *= 2;
    return a;
}

static uint64_t key_hash(const struct key *k) { return fnv1a(k, sizeof *k); }

static void plan_drop(struct plan *p)
{
    LT(cublasLtMatmulDescDestroy(p->desc));
    LT(cublasLtMatrixLayoutDestroy(p->a));
    LT(cublasLtMatrixLayoutDestroy(p->b));
    LT(cublasLtMatrixLayoutDestroy(p->d));
    memset(p, 0, sizeof *p);
}

/* Descriptors of the product as cuBLASLt sees it, for m rows. */
static void describe(struct plan *p, int64_t m)
{
    const struct key *k = &p->key;
    const cublasOperation_t no = CUBLAS_OP_N, yes = CUBLAS_OP_T;
    /* neither is TF32; pedantic, for operands stored as float, also leaves out what the environment may turn on,
     * products made of nine of bf16 */
    const cublasComputeType_t type = sizeof(elem_t) == 4 ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F;
    LT(cublasLtMatmulDescCreate(&p->desc, type, CUDA_R_32F));
    LT(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, k->form == GEMM_NT ? &yes : &no,
                                      sizeof no));
    LT(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, k->form == GEMM_TN ? &yes : &no,
                                      sizeof no));
    if (k->bias) {
        const cublasLtEpilogue_t bias = CUBLASLT_EPILOGUE_BIAS;
        LT(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &bias, sizeof bias));
    }
    if (k->form == GEMM_NT) LT(cublasLtMatrixLayoutCreate(&p->b, elem_type(), (uint64_t)k->k, (uint64_t)k->n, k->ldb));
    else LT(cublasLtMatrixLayoutCreate(&p->b, elem_type(), (uint64_t)k->n, (uint64_t)k->k, k->ldb));
    if (k->form == GEMM_TN) LT(cublasLtMatrixLayoutCreate(&p->a, elem_type(), (uint64_t)m, (uint64_t)k->k, k->lda));
    else LT(cublasLtMatrixLayoutCreate(&p->a, elem_type(), (uint64_t)k->k, (uint64_t)m, k->lda));
    LT(cublasLtMatrixLayoutCreate(&p->d, k->form == GEMM_TN ? CUDA_R_32F : elem_type(), (uint64_t)k->n, (uint64_t)m,
                                  k->ldd));
}

static int candidates(cublasLtMatmulHeuristicResult_t *to, const struct plan *p)
{
    const struct key *k = &p->key;
    const size_t space = k->pinned ? 0 : WORKSPACE;
    const uint32_t align_a = (uint32_t)k->align_a, align_b = (uint32_t)k->align_b, align_d = (uint32_t)k->align_d;
    /* parts of a split k meet in fp32: in the workspace, or in d where that is fp32 (one after the other); the scheme
     * that stores bf16 parts is out */
    const uint32_t acc_d = k->form == GEMM_TN || sizeof(elem_t) == 4 ? (uint32_t)CUBLASLT_REDUCTION_SCHEME_INPLACE : 0;
    const uint32_t reduction =
        k->pinned ? (uint32_t)CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | acc_d;
    cublasLtMatmulPreference_t want;
    int count = 0, usable = 0;
    LT(cublasLtMatmulPreferenceCreate(&want));
    LT(cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &space, sizeof space));
    LT(cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &align_b,
                                            sizeof align_b));
    LT(cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &align_a,
                                            sizeof align_a));
    LT(cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &align_d,
                                            sizeof align_d));
    LT(cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &align_d,
                                            sizeof align_d));
    LT(cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction,
                                            sizeof reduction));
    cublasStatus_t s =
        cublasLtMatmulAlgoGetHeuristic(lt, p->desc, p->b, p->a, p->d, p->d, want, CANDIDATES, to, &count);
    LT(cublasLtMatmulPreferenceDestroy(want));
    for (int i = 0; i < count; i++) if (to[i].state == CUBLAS_STATUS_SUCCESS) to[usable++] = to[i];
    if (s != CUBLAS_STATUS_SUCCESS || usable < 1)
        die("cuBLASLt has no algorithm for form %d, m %lld, n %lld, k %lld%s: %s", k->form, (long long)k->m,
            (long long)k->n, (long long)k->k, k->pinned ? " without split-k" : "", cublasLtGetStatusString(s));
    return usable;
}

static bool splits(const cublasLtMatmulAlgo_t *a)
{
    int32_t parts = 1;
    LT(cublasLtMatmulAlgoConfigGetAttribute(a, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &parts, sizeof parts, nullptr));
    return parts > 1;
}

/* Exact: the first candidate that does not split k, as the heuristics see it at 256 rows. */
static void choose_pinned(struct plan *p)
{
    cublasLtMatmulHeuristicResult_t found[CANDIDATES], check;
    struct plan at_256 = { };
    at_256.key = p->key;
    describe(&at_256, PINNED_ROWS);
    const int count = candidates(found, &at_256);
    plan_drop(&at_256);
    for (int i = 0; i < count; i++) {
        if (splits(&found[i].algo)) continue;
        if (cublasLtMatmulAlgoCheck(lt, p->desc, p->b, p->a, p->d, p->d, &found[i].algo, &check) !=
            CUBLAS_STATUS_SUCCESS)
            die("numerics=exact: the algorithm for n %lld, k %lld cannot run %lld rows; numerics=fast can",
                (long long)p->key.n, (long long)p->key.k, (long long)p->key.m);
        p->algo = found[i].algo;
        return;
    }
    die("numerics=exact: cuBLASLt has no algorithm without split-k for n %lld, k %lld; numerics=fast can run it",
        (long long)p->key.n, (long long)p->key.k);
}

static cublasStatus_t run(const struct plan *p, const cublasLtMatmulAlgo_t *algo, const struct operands *o, void *d)
{
    const float one = 1.0f, beta = p->key.add ? 1.0f : 0.0f;
    if (o->bias)
        LT(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &o->bias, sizeof o->bias));
    return cublasLtMatmul(lt, p->desc, &one, o->b, p->b, o->a, p->a, &beta, d, p->d, d, p->d, algo, o->space,
                          p->key.pinned ? 0 : WORKSPACE, queue());
}

/* Milliseconds of one product: the best of three samples after a first run, each of eight products where one is shorter
 * than 0.2 ms, for an event is good to half a microsecond. INFINITY if it does not run. */
static float time_of(const struct plan *p, const cublasLtMatmulAlgo_t *algo, const struct operands *o, void *d,
                     cudaEvent_t start, cudaEvent_t stop)
{
    float best = INFINITY, ms = 0;
    for (int sample = 0, each = 1; sample < 4; sample++) {
        CU(cudaEventRecord(start, queue()));
        for (int i = 0; i < each; i++) if (run(p, algo, o, d) != CUBLAS_STATUS_SUCCESS) return INFINITY;
        CU(cudaEventRecord(stop, queue()));
        CU(cudaEventSynchronize(stop));
        CU(cudaEventElapsedTime(&ms, start, stop));
        if (sample > 0) best = fminf(best, ms / (float)each);
        else if (ms < 0.2f) each = 8;
    }
    return best;
}

/* The number of the fastest candidate, -1 if nothing can be timed: while a graph is captured, or where the product is
 * added to d and there is no memory for another d to try on. An output that is only
 * written is simply written several times. */
static int fastest(const struct plan *p, const cublasLtMatmulHeuristicResult_t *found, int count,
                   const struct operands *o)
{
    enum { TRIED = 8 };
    cudaStreamCaptureStatus capture;
    CU(cudaStreamIsCapturing(queue(), &capture));
    if (capture != cudaStreamCaptureStatusNone) return -1;
    void *d = o->d;
    if (p->key.add && cudaMalloc(&d, (size_t)(p->key.m * p->key.ldd) *
                                         (p->key.form == GEMM_TN ? sizeof(acc_t) : sizeof(elem_t))) != cudaSuccess) {
        (void)cudaGetLastError();
        return -1;
    }
    cudaEvent_t start, stop;
    CU(cudaEventCreate(&start));
    CU(cudaEventCreate(&stop));
    float best = INFINITY;
    int which = 0;
    for (int i = 0; i < MIN(count, (int)TRIED); i++) {
        const float ms = time_of(p, &found[i].algo, o, d, start, stop);
        if (ms < best) best = ms, which = i;
    }
    CU(cudaEventDestroy(start));
    CU(cudaEventDestroy(stop));
    if (d != o->d) CU(cudaFree(d));
    return which;
}

/* Multiples of 8 up to 64, above that four steps an octave: training meets ever new numbers of rows, and to time each
 * would cost more than it saves. */
static int64_t rounded_rows(int64_t rows)
{
    int64_t step = 8;
    while (rows > 8 * step) step *= 2;
    return (rows + step - 1) / step * step;
}

static const cublasLtMatmulAlgo_t *measured(const struct plan *p, const struct key *near)
{
    cublasLtMatmulHeuristicResult_t check;
    for (int i = 0; i < MIN(choice_count, (int)CHOICES); i++) {
        const cublasLtMatmulAlgo_t *algo = &choices[i].algo;
        if (!memcmp(&choices[i].key, near, sizeof *near) &&
            cublasLtMatmulAlgoCheck(lt, p->desc, p->b, p->a, p->d, p->d, algo, &check) == CUBLAS_STATUS_SUCCESS &&
            check.workspaceSize <= WORKSPACE)
            return algo;
    }
    return nullptr;
}

static void choose_fast(struct plan *p, const struct operands *o)
{
    struct choice c = { p->key, { } };
    int64_t *rows = c.key.form == GEMM_TN ? &c.key.k : &c.key.m;
    *rows = rounded_rows(*rows);
    const cublasLtMatmulAlgo_t *known = c.key.timed ? measured(p, &c.key) : nullptr;
    if (known) {
        p->algo = *known;
        return;
    }
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    const int count = candidates(found, p), which = c.key.timed ? fastest(p, found, count, o) : -1;
    p->algo = found[MAX(which, 0)].algo;
    if (which < 0) return;
    c.algo = p->algo;
    choices[choice_count++ % CHOICES] = c;
}

/* Steps of a training run see ever new m: when the table is half full it is cleared. */
static struct plan *plan_of(const struct key *k, const struct operands *o)
{
    uint64_t at = key_hash(k) % PLANS;
    for (; plans[at].used; at = (at + 1) % PLANS)
        if (!memcmp(&plans[at].key, k, sizeof *k)) return &plans[at];
    if (plan_count >= PLANS / 2) {
        for (int i = 0; i < PLANS; i++) if (plans[i].used) plan_drop(&plans[i]);
        plan_count = 0;
        at = key_hash(k) % PLANS;
    }
    struct plan *p = &plans[at];
    p->key = *k;
    describe(p, k->m);
    if (k->pinned) choose_pinned(p);
    else choose_fast(p, o);
    p->used = true;
    plan_count++;
    return p;
}

/* k = 0: the empty sum. */
template <class T>
__global__ void __launch_bounds__(256) no_terms_kernel(T *d, const elem_t *bias, int64_t ldd, int64_t n, int add)
{
    T *row = d + blockIdx.x * ldd;
    for (int64_t j = threadIdx.x; j < n; j += 256) {
        const float b = bias ? to_float(bias[j]) : 0.0f;
        if constexpr (sizeof(T) == sizeof(float)) row[j] = (T)((add ? (float)row[j] : 0.0f) + b);
        else row[j] = from_float((add ? to_float(row[j]) : 0.0f) + b);
    }
}

static void empty_sum(const struct gemm *g)
{
    const int64_t ldd = g->ldd ? g->ldd : g->n;
    if (g->form == GEMM_TN)
        LAUNCH(no_terms_kernel<acc_t>, blocks_of(g->m, 1), 256, 0, queue(), g->dw, nullptr, ldd, g->n, g->add);
    else LAUNCH(no_terms_kernel<elem_t>, blocks_of(g->m, 1), 256, 0, queue(), g->d, g->bias, ldd, g->n, g->add);
}

/* Not in exact numerics, nor with APPO_GEMM=first: a choice then depends neither on the clock nor on what was
 * multiplied before. */
static bool may_time(void)
{
    static int first = -1;
    if (first < 0) {
        const char *s = getenv("APPO_GEMM");
        first = s && !strcmp(s, "first");
        if (s && *s && !first && strcmp(s, "timed")) die("APPO_GEMM=%s: it is timed or first", s);
    }
    return !exact_now && !first;
}

static struct key key_of(const struct gemm *g, const struct operands *o)
{
    struct key k;
    memset(&k, 0, sizeof k);
    k.m = g->m, k.n = g->n, k.k = g->k;
    k.lda = g->lda ? g->lda : g->form == GEMM_TN ? g->m : g->k;
    k.ldb = g->ldb ? g->ldb : g->form == GEMM_NT ? g->k : g->n;
    k.ldd = g->ldd ? g->ldd : g->n;
    k.form = g->form, k.bias = g->bias != nullptr, k.add = g->add, k.pinned = exact_now && g->form != GEMM_TN;
    k.timed = may_time();
    k.align_a = alignment(o->a), k.align_b = alignment(o->b), k.align_d = alignment(o->d);
    /* the same algorithm wherever rows begin */
    if (k.pinned) k.align_a = MIN(k.align_a, 16), k.align_d = MIN(k.align_d, 16), k.align_b = MIN(k.align_b, 16);
    return k;
}

void op_gemm(struct gemm g)
{
    if (g.m <= 0 || g.n <= 0) return;
    if (g.k <= 0) { empty_sum(&g); return; }
    const struct operands o = { g.a, g.b, g.bias, g.form == GEMM_TN ? (void *)g.dw : (void *)g.d,
                                scratch(SCRATCH_GEMM, WORKSPACE) };
    if (dry_run()) return;
    if (!lt) LT(cublasLtCreate(&lt));
    if (exact_now < 0) exact_now = exact_numerics();
    const struct key k = key_of(&g, &o);
    const struct plan *p = plan_of(&k, &o);
    LT(run(p, &p->algo, &o, o.d));
}
