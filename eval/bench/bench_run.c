/* bench_run.c: rates, operands and timing of the benchmarks. Every figure is a share of what the same device did in the
 * same run: the copy of a large block of random numbers, a large product of random numbers (zeros are 13 % faster on an
 * H200: fewer bits change), a copy to the device and back. */
#include "eval/bench/bench.h"
#include "base/clock.h"
#include "base/philox.h"
#include "kernels/measure.h"
#include "base/arith.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* BLOCK: no row length divides it, so that rows differ */
enum { WARM = 10, TIMES = 50, FEWEST = 5, SETS = 4, BLOCK = (1 << 20) + 7 };
/* seconds after which slow cases are not repeated further */
static const double WARM_FOR = 1, TIME_FOR = 3;

static const struct bench_op *const groups[] = { bench_head, bench_attn, bench_rows, bench_rl, bench_wgmma };
enum { GROUPS = sizeof groups / sizeof *groups, OPS_MAX = 64 };

/* ---- operands ---- */

static void *own(struct bench *b, void *p, bool host)
{
    ENSURE(b->owns < (int)(sizeof b->owned / sizeof *b->owned));
    b->on_host[b->owns] = host;
    return b->owned[b->owns++] = p;
}

void bench_drop(struct bench *b)
{
    while (b->owns--) {
        if (b->on_host[b->owns]) free(b->owned[b->owns]);
        else dev_free(b->owned[b->owns]);
    }
    b->owns = 0;
}

/* `bytes` bytes on the device: the first `unit` bytes are given, the rest repeats them, so that 5 GB of logits do not
 * take the host a minute. */
static void *repeated(struct bench *b, const void *block, size_t unit, size_t bytes)
{
    char *p = own(b, dev_alloc(bytes ? bytes : 1), false);
    dev_put(p, block, MIN(unit, bytes));
    for (size_t have = unit; have < bytes; have *= 2) dev_copy(p + have, p, MIN(have, bytes - have));
    return p;
}

elem_t *bench_reals(struct bench *b, int64_t n, double scale)
{
    const int64_t unit = MIN(n, BLOCK);
    elem_t *block = xmalloc((size_t)(unit + 1) * sizeof *block);
    for (int64_t i = 0; i < unit; i++) block[i] = elem_from((rng_uniform(b->rng) - 0.5) * scale);
    elem_t *x = repeated(b, block, (size_t)unit * sizeof *block, (size_t)n * sizeof *x);
    free(block);
    return x;
}

static acc_t *host_wides(struct rng *rng, int64_t n, double low, double high)
{
    acc_t *x = xmalloc((size_t)(n + 1) * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (acc_t)(low + rng_uniform(rng) * (high - low));
    return x;
}

acc_t *bench_wides(struct bench *b, int64_t n, double low, double high)
{
    const int64_t unit = MIN(n, BLOCK);
    acc_t *block = host_wides(b->rng, unit, low, high),
          *x = repeated(b, block, (size_t)unit * sizeof *block, (size_t)n * sizeof *x);
    free(block);
    return x;
}

int *bench_ids(struct bench *b, int64_t n, int below)
{
    int *h = xmalloc((size_t)(n + 1) * sizeof *h);
    for (int64_t i = 0; i < n; i++) h[i] = (int)rng_below(b->rng, (uint32_t)below);
    int *x = bench_put(b, h, (size_t)n * sizeof *h);
    free(h);
    return x;
}

void *bench_put(struct bench *b, const void *host, size_t bytes)
{
    void *p = own(b, dev_alloc(bytes ? bytes : 1), false);
    dev_put(p, host, bytes);
    dev_sync();
    return p;
}

acc_t *bench_host_wides(struct bench *b, int64_t n, double low, double high)
{
    return own(b, host_wides(b->rng, n, low, high), true);
}
void *bench_host(struct bench *b, size_t bytes) { return own(b, xcalloc(1, bytes ? bytes : 1), true); }

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

static double once(struct bench *b, const struct bench_op *op, const struct bench_dims *d, struct operands *o)
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
static double timing(struct bench *b, const struct bench_op *op, const struct bench_dims *d, struct operands *o,
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
    struct operands o[SETS] = { 0 };
    const double bytes = op->bytes(d), flops = op->flops ? op->flops(d) : 0;
    /* sets that fill the last-level caches of any GPU several times over need not be many; operands, results and
     * scratch are at most three times `bytes` */
    const int sets = b->sizes == BENCH_TINY ? 1 : bytes > 0x1p28 ? 2 : SETS;
    if (3 * bytes * sets > (double)b->limit) {
        fprintf(b->text, "%-16s n=%lld: left out: about %.1f GiB are needed, %.1f may be used\n", op->name,
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
    bench_row(b, &(struct bench_row){ .name = op->name,
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

static void copy_run(const struct bench_dims *d, struct operands *o)
{
    dev_copy(o->y, o->x, (size_t)d->n * sizeof(elem_t));
}

static void staged_run(const struct bench_dims *d, struct operands *o)
{
    dev_put(o->x, o->mask, (size_t)d->n);
    dev_get(o->mask, o->x, (size_t)d->n);
}

static void product_run(const struct bench_dims *d, struct operands *o)
{
    op_gemm((struct gemm){ .form = GEMM_NT, .d = o->y, .a = o->x, .b = o->w, .m = d->n, .n = d->n, .k = d->n });
}

static double rate_of(struct bench *b, void (*run)(const struct bench_dims *, struct operands *),
                      const struct bench_dims *d, struct operands *o, double work)
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
    struct operands o = { .x = bench_reals(b, d.n, 1), .y = bench_reals(b, d.n, 1) };
    b->copy = rate_of(b, copy_run, &d, &o, 2 * (double)bytes);
    d.n = side;
    o = (struct operands){ .x = bench_reals(b, side * side, 1),
                           .w = bench_reals(b, side * side, 1),
                           .y = bench_reals(b, side * side, 1) };
    b->product = rate_of(b, product_run, &d, &o, 2 * (double)side * (double)side * (double)side);
    d.n = few;
    o = (struct operands){ .x = bench_reals(b, few / (int64_t)sizeof(elem_t), 1), .mask = bench_host(b, (size_t)few) };
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
    measure_memory(&left, &total);
    if (!b->limit || b->limit > left / 10 * 9) b->limit = left / 10 * 9;
    if (!gpu)
        fprintf(b->text, "no GPU: %s at %s sizes\n",
                strcmp(dev_name(), "simt") ? "this measures the C backend"
                                           : "the shim runs the CUDA sources on the CPU, "
                                             "their times say nothing of a GPU; run",
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
    const int count = attn_choose(ATTN_ONE_WAY) == ATTN_ONE_WAY ? GROUPS - 1 : GROUPS;
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
