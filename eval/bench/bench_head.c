/* bench_head.c: the matrix product, operations on logits, and the sampler. Logits are uniform in (-8, 8), the spread of
 * a real model's rows. */
#include "eval/bench/bench_in.h"
#include "model/head.h"
#include <stdlib.h>
#include <string.h>

enum { G = BENCH_GPU, C = BENCH_CPU, T = BENCH_TINY };
static const double R = sizeof(elem_t), W = sizeof(acc_t);

static int64_t ld(const struct bench_dims *d) { return logits_ld(d->vocab); }
static double cells(const struct bench_dims *d) { return (double)d->n * d->vocab; }

/* ---- products: d[n][m] = a[n][k] b[m][k]^T and its two gradients ---- */

/* qkv, gate and up, down, logits of SmolLM2-135M, Qwen3-1.7B and an 8B Llama; their gradients; decoding */
static const struct bench_dims products[] = {
    { .at = G, .kind = "NT", .n = 16384, .m = 960, .k = 576 },
    { .at = G, .kind = "NT", .n = 16384, .m = 3072, .k = 576 },
    { .at = G, .kind = "NT", .n = 4096, .m = 49152, .k = 576 },
    { .at = G, .kind = "NT", .n = 16384, .m = 4096, .k = 2048 },
    { .at = G, .kind = "NT", .n = 16384, .m = 12288, .k = 2048 },
    { .at = G, .kind = "NT", .n = 16384, .m = 2048, .k = 6144 },
    { .at = G, .kind = "NT", .n = 4096, .m = 151936, .k = 2048 },
    { .at = G, .kind = "NT", .n = 16384, .m = 28672, .k = 4096 },
    { .at = G, .kind = "NN", .n = 16384, .m = 2048, .k = 12288 },
    { .at = G, .kind = "NN", .n = 4096, .m = 2048, .k = 151936 },
    { .at = G, .kind = "TN", .n = 12288, .m = 2048, .k = 16384 },
    { .at = G, .kind = "TN", .n = 151936, .m = 2048, .k = 4096 },
    { .at = G, .kind = "NT", .n = 1, .m = 12288, .k = 2048 }, { .at = G, .kind = "NT", .n = 64, .m = 12288, .k = 2048 },
    { .at = G, .kind = "NT", .n = 256, .m = 12288, .k = 2048 },
    { .at = C, .kind = "NT", .n = 512, .m = 960, .k = 576 }, { .at = C, .kind = "NT", .n = 512, .m = 3072, .k = 576 },
    { .at = C, .kind = "NN", .n = 512, .m = 576, .k = 3072 }, { .at = C, .kind = "TN", .n = 3072, .m = 576, .k = 512 },
    { .at = C, .kind = "NT", .n = 1, .m = 3072, .k = 576 },
    { .at = T, .kind = "NT", .n = 3, .m = 17, .k = 24 },            { .at = T, .kind = "NN", .n = 3, .m = 24, .k = 16 },
    { .at = T, .kind = "TN", .n = 16, .m = 24, .k = 5 },
    { 0 },
};

static void product_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    o->x = bench_elems(b, d->n * d->k, 1);
    o->w = bench_elems(b, (int64_t)d->m * d->k, 1);
    if (strcmp(d->kind, "TN")) o->y = bench_elems(b, d->n * d->m, 1);
    else o->a = bench_accs(b, d->n * d->m, -1, 1);
}

/* Except for gradients, b is a weight: the C backend keeps it packed, as in a model. */
static void product_run(const struct bench_dims *d, struct bench_operands *o)
{
    const enum gemm_form form = !strcmp(d->kind, "NT") ? GEMM_NT : !strcmp(d->kind, "NN") ? GEMM_NN : GEMM_TN;
    op_gemm((struct gemm){ .form = form,
                           .d = o->y,
                           .dw = o->a,
                           .a = o->x,
                           .b = o->w,
                           .m = d->n,
                           .n = d->m,
                           .k = d->k,
                           .weight = form != GEMM_TN });
}

static double product_bytes(const struct bench_dims *d)
{
    return R * ((double)d->n * d->k + (double)d->m * d->k) + (strcmp(d->kind, "TN") ? R : W) * (double)d->n * d->m;
}
static double product_flops(const struct bench_dims *d) { return 2.0 * (double)d->n * d->m * d->k; }

/* ---- logits ---- */

static const struct bench_dims logits[] = {
    { .at = G, .n = 16384, .vocab = 49152 }, { .at = G, .n = 16384, .vocab = 128256 },
    { .at = G, .n = 16384, .vocab = 151936 }, { .at = C, .n = 256, .vocab = 49152 },
    { .at = C, .n = 64, .vocab = 151936 }, { .at = T, .n = 3, .vocab = 67 },
    { 0 },
};
static const struct bench_dims sampled[] = {
    { .at = G, .n = 1, .vocab = 151936 }, { .at = G, .n = 64, .vocab = 151936 }, { .at = G, .n = 256, .vocab = 151936 },
    { .at = G, .n = 256, .vocab = 49152 }, { .at = G, .n = 256, .vocab = 128256 },
    { .at = G, .kind = "top_p", .n = 256, .vocab = 151936 }, { .at = G, .kind = "top_k", .n = 256, .vocab = 151936 },
    { .at = C, .n = 1, .vocab = 49152 }, { .at = C, .n = 64, .vocab = 49152 },
    { .at = C, .kind = "top_p", .n = 64, .vocab = 49152 }, { .at = T, .n = 3, .vocab = 67 },
    { .at = T, .kind = "top_k", .n = 2, .vocab = 67 },
    { 0 },
};

static void logits_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    o->x = bench_elems(b, d->n * ld(d), 16);
    o->ids = bench_ids(b, d->n, d->vocab);
    o->a = bench_accs(b, d->n, -1, 1);         /* lse, logp, entropy */
    o->b = bench_accs(b, d->n, -1, 1);
    o->c = bench_accs(b, d->n, -1, 1);
}

static void row_stats_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_row_stats((struct row_stats_args){
        .lse = o->a, .logp = o->b, .ent = o->c, .x = o->x, .inv_temp = 1, .tgt = o->ids, .n = d->n, .vocab = d->vocab,
        .ld = ld(d) });
}
static double read_once(const struct bench_dims *d) { return R * cells(d); }
static double read_and_write(const struct bench_dims *d) { return 2 * R * cells(d); }

static void top_entropy_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    logits_make(b, d, o);
    row_stats_run(d, o);
}
static void top_entropy_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_top_k_entropy((struct top_k_entropy_args){
        .ent = o->c, .lse = o->a, .x = o->x, .inv_temp = 1, .k = 10, .n = d->n, .vocab = d->vocab, .ld = ld(d) });
}

/* dlogits destroys the logits: y keeps them, f and g are the coefficients. */
static void dlogits_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    logits_make(b, d, o);
    o->y = bench_elems(b, d->n * ld(d), 16);
    o->f = bench_accs(b, d->n, -1e-3, 1e-3);
    o->g = bench_accs(b, d->n, -1e-3, 1e-3);
    dev_copy(o->x, o->y, (size_t)(d->n * ld(d)) * sizeof(elem_t));
    row_stats_run(d, o);
}
static void dlogits_reset(const struct bench_dims *d, struct bench_operands *o)
{
    dev_copy(o->x, o->y, (size_t)(d->n * ld(d)) * sizeof(elem_t));
}
static void dlogits_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_dlogits((struct dlogits_args){
        .x = o->x, .lse = o->a, .ent = o->c, .g = o->f, .ge = o->g, .inv_temp = 1, .tgt = o->ids, .n = d->n,
        .vocab = d->vocab, .ld = ld(d) });
}

static void sample_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    logits_make(b, d, o);
    struct sample_key *key = xcalloc((size_t)d->n, sizeof *key);
    for (int64_t i = 0; i < d->n; i++) key[i] = (struct sample_key){ 1, (uint32_t)i, 0, 7 };
    o->key = bench_put(b, key, (size_t)d->n * sizeof *key);
    free(key);
}

static void sample_run(const struct bench_dims *d, struct bench_operands *o)
{
    const bool p = d->kind && !strcmp(d->kind, "top_p"), k = d->kind && !strcmp(d->kind, "top_k");
    const struct sample_rule rule = { .temperature = 1, .top_p = p ? 0.95 : 1, .top_k = k ? 20 : 0, .seed = 1 };
    op_sample((struct sample_args){
        .id = o->ids, .logp = o->b, .ent = o->c, .x = o->x, .rule = &rule, .key = o->key, .n = d->n, .vocab = d->vocab,
        .ld = ld(d) });
}

/* ---- the loss block: logits, statistics, their gradient, both products of the backward pass; logits exist for one
 * chunk of rows at a time ---- */

static const struct bench_dims blocks[] = {
    { .at = G, .n = 16384, .vocab = 49152, .dim = 576 }, { .at = G, .n = 16384, .vocab = 151936, .dim = 2048 },
    { .at = G, .n = 16384, .vocab = 248320, .dim = 2048 }, { .at = C, .n = 256, .vocab = 49152, .dim = 576 },
    { .at = T, .n = 5, .vocab = 67, .dim = 24 },
    { 0 },
};

/* As in training. */
static int64_t chunk_of(const struct bench_dims *d)
{
    return logits_chunk(d->vocab, sizeof(elem_t), 64, d->n);
}

/* x: hidden rows, w: the output matrix, y: a chunk's logits, z: gradient of x, d: of w */
static void block_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    o->x = bench_elems(b, d->n * d->dim, 2);
    o->w = bench_elems(b, (int64_t)d->vocab * d->dim, 0.1);
    o->y = bench_elems(b, chunk_of(d) * ld(d), 1);
    o->z = bench_elems(b, d->n * d->dim, 1);
    o->d = bench_accs(b, (int64_t)d->vocab * d->dim, -1, 1);
    o->ids = bench_ids(b, d->n, d->vocab);
    o->a = bench_accs(b, d->n, -1, 1);
    o->b = bench_accs(b, d->n, -1, 1);
    o->c = bench_accs(b, d->n, -1, 1);
    o->f = bench_accs(b, d->n, -1e-3, 1e-3);
    o->g = bench_accs(b, d->n, -1e-3, 1e-3);
}

static void block_run(const struct bench_dims *d, struct bench_operands *o)
{
    for (int64_t at = 0; at < d->n; at += chunk_of(d)) {
        const int64_t n = d->n - at < chunk_of(d) ? d->n - at : chunk_of(d);
        const elem_t *x = o->x + at * d->dim;
        op_gemm((struct gemm){ .form = GEMM_NT,
                               .d = o->y,
                               .a = x,
                               .b = o->w,
                               .m = n,
                               .n = d->vocab,
                               .k = d->dim,
                               .ldd = ld(d),
                               .weight = true });
        op_row_stats((struct row_stats_args){
            .lse = o->a + at, .logp = o->b + at, .ent = o->c + at, .x = o->y, .inv_temp = 1, .tgt = o->ids + at, .n = n,
            .vocab = d->vocab, .ld = ld(d) });
        op_dlogits((struct dlogits_args){
            .x = o->y, .lse = o->a + at, .ent = o->c + at, .g = o->f + at, .ge = o->g + at, .inv_temp = 1,
            .tgt = o->ids + at, .n = n, .vocab = d->vocab, .ld = ld(d) });
        op_gemm((struct gemm){ .form = GEMM_NN,
                               .d = o->z + at * d->dim,
                               .a = o->y,
                               .b = o->w,
                               .m = n,
                               .n = d->dim,
                               .k = d->vocab,
                               .lda = ld(d),
                               .weight = true });
        op_gemm((struct gemm){ .form = GEMM_TN,
                               .dw = o->d,
                               .a = o->y,
                               .b = x,
                               .m = d->vocab,
                               .n = d->dim,
                               .k = n,
                               .lda = ld(d),
                               .add = true });
    }
}

/* hidden rows and their gradient once; the matrix read, its gradient written */
static double block_bytes(const struct bench_dims *d)
{
    return 2 * R * (double)d->n * d->dim + (R + W) * (double)d->vocab * d->dim;
}
static double block_flops(const struct bench_dims *d) { return 6 * cells(d) * d->dim; }

const struct bench_op bench_head[] = {
    { "gemm", product_make, NULL, product_run, product_bytes, product_flops, false, products },
    { "row_stats", logits_make, NULL, row_stats_run, read_once, NULL, false, logits },
    { "top_entropy", top_entropy_make, NULL, top_entropy_run, read_once, NULL, false, logits },
    { "dlogits", dlogits_make, dlogits_reset, dlogits_run, read_and_write, NULL, false, logits },
    { "loss_block", block_make, NULL, block_run, block_bytes, block_flops, false, blocks },
    { "sample", sample_make, NULL, sample_run, read_once, NULL, false, sampled },
    { 0 },
};
