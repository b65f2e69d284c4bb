/* bench.c: rates and timing of the benchmarks. Each result is a share of a rate that the same
 * device reached in the same run: copy of a large block of random numbers, large product of random numbers (zeros are
 * 13 % faster on an H200: fewer bits change), copy to the device and back. */
#include "eval/bench/bench.h"
#include "eval/bench/bench_in.h"
#include "eval/bench/bench_model.h"
#include "eval/bench/bench_result.h"
#include "base/clock.h"
#include "base/philox.h"
#include "kernels/measure.h"
#include "base/arith.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WARM = 10, TIMES = 50, FEWEST = 5, SETS = 4 };
/* seconds after which slow cases are not repeated further */
static const double WARM_FOR = 1, TIME_FOR = 3;

static const struct bench_op *const groups[] = { bench_head, bench_attn, bench_vectors, bench_rl, bench_wgmma };
enum { GROUPS = sizeof groups / sizeof *groups, OPS_MAX = 64 };

/* ---- timing ---- */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *t, int n)
{
    qsort(t, (size_t)n, sizeof *t, ascending);
    return t[n / 2];
}

static double once(struct bench *b, const struct bench_op *op, const struct bench_dims *d, struct bench_operands *o)
{
    if (op->reset) op->reset(d, o);
    if (b->flush_bytes) dev_zero(b->flush, b->flush_bytes);
    if (!op->host) {
        measure_begin();
        op->run(d, o);
        return measure_end();
    }
    dev_sync();
    const double from = seconds();
    op->run(d, o);
    return seconds() - from;
}

/* Median seconds of *runs runs over several sets of operands in turn. */
static double timing(struct bench *b, const struct bench_op *op, const struct bench_dims *d, struct bench_operands *o,
                     int sets, int *runs)
{
    const bool tiny = b->sizes == BENCH_TINY;
    double t[TIMES], from = seconds();
    for (int i = 0; i < (tiny ? 0 : WARM) && (i == 0 || seconds() - from < WARM_FOR); i++) once(b, op, d, &o[i % sets]);
    from = seconds();
    for (*runs = 0; *runs < (tiny ? 1 : TIMES) && (*runs < FEWEST || seconds() - from < TIME_FOR); ++*runs)
        t[*runs] = once(b, op, d, &o[*runs % sets]);
    return median(t, *runs);
}

static void measure(struct bench *b, const struct bench_op *op, const struct bench_dims *d)
{
    struct bench_operands o[SETS] = { 0 };
    const double bytes = op->bytes(d), flops = op->flops ? op->flops(d) : 0;
    /* sets that fill the last-level caches of any GPU several times over need not be many; operands, results and
     * scratch are at most three times `bytes` */
    const int sets = b->sizes == BENCH_TINY ? 1 : bytes > 0x1p28 ? 2 : SETS;
    if (3 * bytes * sets > (double)b->limit) {
        fprintf(b->text, "%-16s n=%lld: left out: takes about %.1f GiB, the limit is %.1f\n", op->name,
                (long long)d->n, 3 * bytes * sets / 0x1p30, (double)b->limit / 0x1p30);
        return;
    }
    for (int i = 0; i < sets; i++) op->make(b, d, &o[i]);
    int runs;
    const double t = timing(b, op, d, o, sets, &runs), move = bytes / (op->host ? b->staged : b->copy),
                 compute = flops / b->product;
    for (int i = 0; i < sets; i++) if (o[i].plan) attn_plan_free(o[i].plan);
    bench_drop(b);
    const bool by_flops = compute > move;
    bench_report(b, &(struct bench_result){ .name = op->name,
                                            .d = d,
                                            .us = t * 1e6,
                                            .rate = by_flops ? flops / t * 1e-12 : bytes / t * 1e-9,
                                            .unit = by_flops ? "TFLOP/s" : "GB/s",
                                            .share = (by_flops ? compute : move) / t,
                                            .of = by_flops   ? "product"
                                                  : op->host ? "staged"
                                                             : "copy",
                                            .runs = runs });
}

/* ---- rates of the device ---- */

static void copy_run(const struct bench_dims *d, struct bench_operands *o)
{
    dev_copy(o->y, o->x, (size_t)d->n * sizeof(elem_t));
}

static void staged_run(const struct bench_dims *d, struct bench_operands *o)
{
    dev_put(o->x, o->mask, (size_t)d->n);
    dev_get(o->mask, o->x, (size_t)d->n);
}

static void product_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_gemm((struct gemm){ .form = GEMM_NT, .d = o->y, .a = o->x, .b = o->w, .m = d->n, .n = d->n, .k = d->n });
}

static double rate_of(struct bench *b, void (*run)(const struct bench_dims *, struct bench_operands *),
                      const struct bench_dims *d, struct bench_operands *o, double work)
{
    const struct bench_op op = { .run = run, .host = run == staged_run };
    int runs;
    const double t = timing(b, &op, d, o, 1, &runs);
    bench_drop(b);
    return work / t;
}

static void rates(struct bench *b)
{
    const bool gpu = b->sizes == BENCH_GPU, tiny = b->sizes == BENCH_TINY;
    const int64_t bytes = gpu    ? 1 << 30
                          : tiny ? 1 << 16
                                 : 128 << 20,
                  side = gpu    ? 8192
                         : tiny ? 32
                                : 1024,
                  few = gpu    ? 32 << 20
                        : tiny ? 1 << 16
                               : 32 << 20;
    struct bench_dims d = { .n = bytes / (int64_t)sizeof(elem_t) };
    struct bench_operands o = { .x = bench_elems(b, d.n, 1), .y = bench_elems(b, d.n, 1) };
    b->copy = rate_of(b, copy_run, &d, &o, 2 * (double)bytes);
    d.n = side;
    o = (struct bench_operands){ .x = bench_elems(b, side * side, 1),
                                 .w = bench_elems(b, side * side, 1),
                                 .y = bench_elems(b, side * side, 1) };
    b->product = rate_of(b, product_run, &d, &o, 2 * (double)side * (double)side * (double)side);
    d.n = few;
    o = (struct bench_operands){ .x = bench_elems(b, few / (int64_t)sizeof(elem_t), 1),
                                 .mask = bench_host(b, (size_t)few) };
    b->staged = rate_of(b, staged_run, &d, &o, 2 * (double)few);
    fprintf(b->text, "measured now: copy %.1f GB/s, product %lld^3 %.3f TFLOP/s, to the device and back %.1f GB/s\n",
            b->copy * 1e-9, (long long)side, b->product * 1e-12, b->staged * 1e-9);
}

static bool on_gpu(void) { return strcmp(dev_name(), "cpu") && strcmp(dev_name(), "simt"); }

static void choose_sizes(struct bench *b)
{
    if (!b->sizes) b->sizes = on_gpu() ? BENCH_GPU : !strcmp(dev_name(), "simt") ? BENCH_TINY : BENCH_CPU;
}

void bench_open(struct bench *b)
{
    static struct rng rng;
    const bool gpu = on_gpu();
    size_t left, total;
    rng = rng_make(1, 7, 0);
    b->rng = &rng;
    choose_sizes(b);
    dev_memory(&left, &total);
    if (!b->limit || b->limit > left / 10 * 9) b->limit = left / 10 * 9;
    if (!gpu)
        fprintf(b->text, "no GPU: %s at %s sizes\n",
                strcmp(dev_name(), "simt") ? "this measures the C backend"
                                           : "the shim runs the CUDA sources on the CPU, "
                                             "their times are not a GPU's; run",
                b->sizes == BENCH_GPU   ? "a GPU's"
                : b->sizes == BENCH_CPU ? "smaller"
                                        : "tiny");
    /* twice the last-level cache; no GPU up to Hopper has more than 60 MB */
    const long cache = gpu ? 60 << 20 : sysconf(_SC_LEVEL3_CACHE_SIZE);
    b->flush_bytes = b->sizes == BENCH_TINY ? 0 : 2 * (size_t)(cache > 32 << 20 ? cache : 32 << 20);
    b->flush = b->flush_bytes ? dev_alloc(b->flush_bytes) : NULL;
    rates(b);
}

void bench_close(struct bench *b) { dev_free(b->flush); }

/* ---- the table ---- */

static int every_op(const struct bench_op **out)
{
    int n = 0;
    const int count = attn_choose(ATTN_NO_CHOICE) == ATTN_NO_CHOICE ? GROUPS - 1 : GROUPS;
    for (int g = 0; g < count; g++)
        for (const struct bench_op *op = groups[g]; op->name; op++) {
            ENSURE(n < OPS_MAX);
            out[n++] = op;
        }
    return n;
}

static void run_op(struct bench *b, const struct bench_op *op)
{
    for (const struct bench_dims *d = op->sizes; d->at; d++)
        if (d->at & (int)b->sizes) measure(b, op, d);
}

bool bench_kernel(struct bench *b, const char *name)
{
    const struct bench_op *op[OPS_MAX];
    const int n = every_op(op);
    bool found = false;
    for (int i = 0; i < n; i++) {
        if (strcmp(op[i]->name, name)) continue;
        if (b) run_op(b, op[i]);
        found = true;
    }
    return found;
}

void bench_kernels(struct bench *b)
{
    const struct bench_op *op[OPS_MAX];
    const int n = every_op(op);
    for (int i = 0; i < n; i++) run_op(b, op[i]);
}

void bench_list(FILE *f)
{
    const struct bench_op *op[OPS_MAX];
    const int n = every_op(op);
    for (int i = 0; i < n; i++) fprintf(f, "%s%s", op[i]->name, i % 10 == 9 || i == n - 1 ? "\n" : " ");
}

void bench_shapes(struct bench *b, FILE *f)
{
    const struct bench_op *op[OPS_MAX];
    const int n = every_op(op);
    choose_sizes(b);
    for (int i = 0; i < n; i++)
        for (const struct bench_dims *d = op[i]->sizes; d->at; d++) {
            if (!(d->at & (int)b->sizes)) continue;
            bench_case(
                f, op[i]->name, d,
                json_pack("{s:f, s:f}", "bytes", op[i]->bytes(d), "flops", op[i]->flops ? op[i]->flops(d) : 0.0));
        }
    bench_model_shapes(b, f);
}
