/* openblas.c: speed of the CPU matrix product. Ours and OpenBLAS run one after the other with a pause between: idle
 * threads of either spin for some milliseconds, and on a small machine they take the other's cores (measured: 130
 * GFLOP/s for OpenBLAS without the pause, 245 with it). */
#define _GNU_SOURCE
#include "base/err.h"
#include "base/philox.h"
#include "kernels/bench/bench.h"
#include "kernels/cpu/gemm_isa.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const struct shape { const char *what; enum gemm_form form; int64_t m, n, k; bool weight; } shapes[] = {
    { "qkv", GEMM_NT, 5000, 192, 96, true }, { "attention out", GEMM_NT, 5000, 96, 96, true },
    { "gate, up", GEMM_NT, 5000, 640, 96, true }, { "down", GEMM_NT, 5000, 96, 320, true },
    { "logits", GEMM_NT, 5000, 510, 96, true }, { "qkv back", GEMM_NN, 5000, 96, 192, true },
    { "gate, up back", GEMM_NN, 5000, 96, 640, true }, { "down back", GEMM_NN, 5000, 320, 96, true },
    { "logits back", GEMM_NN, 5000, 96, 510, true }, { "qkv grad", GEMM_TN, 192, 96, 5000, false },
    { "out grad", GEMM_TN, 96, 96, 5000, false }, { "gate, up grad", GEMM_TN, 640, 96, 5000, false },
    { "down grad", GEMM_TN, 96, 320, 5000, false }, { "logits grad", GEMM_TN, 510, 96, 5000, false },
    { "decode 1", GEMM_NT, 1, 640, 96, true }, { "decode 1", GEMM_NT, 1, 96, 320, true },
    { "decode 8", GEMM_NT, 8, 640, 96, true }, { "decode 32", GEMM_NT, 32, 640, 96, true },
    { "decode 200", GEMM_NT, 200, 640, 96, true }, { "square", GEMM_NT, 1024, 1024, 1024, false },
    { "square, kept b", GEMM_NT, 1024, 1024, 1024, true }, { "square", GEMM_NN, 1024, 1024, 1024, false },
    { "square", GEMM_TN, 1024, 1024, 1024, false }, { "large", GEMM_NT, 4000, 4096, 4100, false },
};
static const char *const form_name[] = { "NT", "NN", "TN" };

/* cblas_?gemm of OpenBLAS: order, transposition of a and b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc. */
typedef void blas_gemm(int, int, int, int, int, int, elem_t, const elem_t *, int, const elem_t *, int, elem_t, elem_t *,
                       int);
struct openblas { blas_gemm *gemm; char core[64]; };

static struct openblas openblas_open(int threads)
{
    struct openblas o = { 0 };
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!lib) return o;
    void (*set_threads)(int) = (void (*)(int))dlsym(lib, "openblas_set_num_threads");
    char *(*core)(void) = (char *(*)(void))dlsym(lib, "openblas_get_corename");
    o.gemm = (blas_gemm *)dlsym(lib, sizeof(elem_t) == 4 ? "cblas_sgemm" : "cblas_dgemm");
    if (!set_threads) o.gemm = NULL;
    else set_threads(threads);
    snprintf(o.core, sizeof o.core, "%s", core ? core() : "unknown");
    return o;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct operands { elem_t *a, *b, *d; };

static void run_ours(const struct shape *s, const struct operands *x)
{
    op_gemm((struct gemm){ .form = s->form,
                           .d = x->d,
                           .dw = (acc_t *)x->d,
                           .a = x->a,
                           .b = x->b,
                           .m = s->m,
                           .n = s->n,
                           .k = s->k,
                           .weight = s->weight });
}

static void run_openblas(const struct shape *s, const struct operands *x, blas_gemm *gemm)
{
    enum { ROW_MAJOR = 101, NO = 111, TRANS = 112 };
    gemm(ROW_MAJOR, s->form == GEMM_TN ? TRANS : NO, s->form == GEMM_NT ? TRANS : NO, (int)s->m, (int)s->n, (int)s->k,
         1, x->a, (int)(s->form == GEMM_TN ? s->m : s->k), x->b, (int)(s->form == GEMM_NT ? s->k : s->n), 0, x->d,
         (int)s->n);
}

/* The product as its definition reads, on one thread: the first rows rows of d. */
static void run_loop(const struct shape *s, const struct operands *x, int64_t rows)
{
    const int64_t a_row = s->form == GEMM_TN ? 1 : s->k, a_col = s->form == GEMM_TN ? s->m : 1;
    const int64_t b_row = s->form == GEMM_NT ? 1 : s->n, b_col = s->form == GEMM_NT ? s->k : 1;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < s->n; j++) {
            elem_t sum = 0;
            for (int64_t p = 0; p < s->k; p++) sum += x->a[i * a_row + p * a_col] * x->b[p * b_row + j * b_col];
            x->d[i * s->n + j] = sum;
        }
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of one product: median and best of several measurements of some milliseconds each, after one that warms up.
 * Far apart: the machine was busy. */
struct timing { double median, best; };
static struct timing timing(const struct shape *s, const struct operands *x, blas_gemm *gemm)
{
    double t[9];
    const double flops = 2 * (double)s->m * (double)s->n * (double)s->k;
    const int times = flops > 2e10 ? 3 : 9, reps = flops > 5e8 ? 1 : flops > 5e5 ? (int)(5e8 / flops) + 1 : 1000;
    usleep(60000);
    for (int i = -1; i < times; i++) {
        const double from = seconds();
        for (int r = 0; r < reps; r++) {
            if (gemm) run_openblas(s, x, gemm);
            else run_ours(s, x);
        }
        if (i >= 0) t[i] = (seconds() - from) / reps;
    }
    qsort(t, (size_t)times, sizeof *t, ascending);
    return (struct timing){ t[times / 2], t[0] };
}

/* GFLOP/s of the plain loop: as many rows as take some tens of milliseconds. */
static double loop_rate(const struct shape *s, const struct operands *x)
{
    const double row = 2 * (double)s->n * (double)s->k;
    int64_t rows = (int64_t)(4e7 / row);
    rows = rows < 1 ? 1 : rows > s->m ? s->m : rows;
    run_loop(s, x, 1);
    double done = 0;
    const double from = seconds();
    do {
        run_loop(s, x, rows);
        done += row * (double)rows;
    } while (done < 4e7);
    return done / (seconds() - from) * 1e-9;
}

/* GFLOP/s of one thread whose operands are in L1: what the best tile of this instruction set can do. */
static double tile_rate(void)
{
    const struct gemm_isa *isa = gemm_isa();
    elem_t *mem = dev_alloc((GEMM_NR + GEMM_MR_MAX) * (GEMM_KC + GEMM_NR) * sizeof *mem);
    for (int i = 0; i < (GEMM_NR + GEMM_MR_MAX) * (GEMM_KC + GEMM_NR); i++) mem[i] = (elem_t)(i % 7) - 3;
    const struct gemm_tile t = { .b = mem,
                                 .a = mem + GEMM_NR * GEMM_KC,
                                 .sa = GEMM_MR_MAX,
                                 .kc = GEMM_KC,
                                 .ldd = GEMM_NR,
                                 .d = mem + (GEMM_NR + GEMM_MR_MAX) * GEMM_KC };
    double best = 0;
    for (int i = 0; i < 20; i++) {
        const double from = seconds();
        for (int r = 0; r < 500; r++) isa->one[1][isa->mr](&t);
        const double rate = 500 * 2e-9 * isa->mr * GEMM_NR * GEMM_KC / (seconds() - from);
        if (rate > best) best = rate;
    }
    dev_free(mem);
    return best;
}

static elem_t *random_matrix(int64_t n, struct rng *rng)
{
    elem_t *x = dev_alloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (elem_t)(rng_uniform(rng) - 0.5);
    return x;
}

static void measure(const struct shape *s, const struct openblas *blas, double peak, FILE *text, FILE *json)
{
    struct rng rng = rng_make(1, 7, 0);
    const struct operands x = { random_matrix(s->m * s->k, &rng), random_matrix(s->n * s->k, &rng),
                                random_matrix(s->m * s->n, &rng) };
    const double flops = 2e-9 * (double)s->m * (double)s->n * (double)s->k;
    const struct timing ours = timing(s, &x, NULL);
    const double loop = loop_rate(s, &x), rate = flops / ours.median;
    fprintf(text, "%-15s %s %5lld x %4lld x %4lld  %10.2f us  %6.1f GFLOP/s (best %6.1f)  %3.0f %% of tile", s->what,
            form_name[s->form], (long long)s->m, (long long)s->n, (long long)s->k, ours.median * 1e6, rate,
            flops / ours.best, 100 * rate / peak);
    if (json)
        fprintf(json,
                "{\"what\": \"%s\", \"form\": \"%s\", \"m\": %lld, \"n\": %lld, \"k\": %lld, \"kept_b\": %s, \"us\": "
                "%.3f, \"best_us\": %.3f, "
                "\"gflops\": %.2f, \"loop_gflops\": %.3f",
                s->what, form_name[s->form], (long long)s->m, (long long)s->n, (long long)s->k,
                s->weight ? "true" : "false", ours.median * 1e6, ours.best * 1e6, rate, loop);
    if (blas->gemm) {
        const struct timing t = timing(s, &x, blas->gemm);
        fprintf(text, "  OpenBLAS %6.1f (best %6.1f): %4.0f %%", flops / t.median, flops / t.best,
                100 * t.median / ours.median);
        if (json) fprintf(json, ", \"openblas_us\": %.3f, \"openblas_best_us\": %.3f", t.median * 1e6, t.best * 1e6);
    }
    fprintf(text, "  triple loop %5.2f: %4.0f x\n", loop, rate / loop);
    fflush(text);
    if (json) fprintf(json, "}");
    dev_free(x.a);
    dev_free(x.b);
    dev_free(x.d);
}

void bench_openblas(FILE *text, FILE *json)
{
    const int threads = dev_threads();
    const struct openblas blas = openblas_open(threads);
    const double tile = tile_rate();
    fprintf(text, "matrix product, %s, %s, %d thread%s; the tile kernel alone: %.1f GFLOP/s a thread\n", ELEM_NAME,
            gemm_isa()->name, threads, threads > 1 ? "s" : "", tile);
    if (blas.gemm) fprintf(text, "OpenBLAS: kernels for %s, %d thread%s\n", blas.core, threads, threads > 1 ? "s" : "");
    else fprintf(text, "OpenBLAS not installed, ratio not measured\n");
    if (json) {
        fprintf(json,
                "{\"bench\": \"gemm\", \"real\": \"%s\", \"isa\": \"%s\", \"threads\": %d, \"tile_gflops\": %.2f, ",
                ELEM_NAME, gemm_isa()->name, threads, tile);
        if (blas.gemm) fprintf(json, "\"openblas\": \"%s\", ", blas.core);
        else fprintf(json, "\"openblas\": null, ");
        fprintf(json, "\"cases\": [\n");
    }
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (json && i) fprintf(json, ",\n");
        measure(&shapes[i], &blas, tile * threads, text, json);
    }
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    fprintf(text, "peak memory of the process: %.1f MiB\n", (double)use.ru_maxrss / 1024);
    if (json) fprintf(json, "],\n\"peak_kib\": %ld}\n", use.ru_maxrss);
}
