/* bench_vectors.c: operations on rows and vectors. All are bound by memory: the floor is each input read once and each
 * output written once. */
#include "eval/bench/bench_in.h"
#include <math.h>
#include <stdlib.h>

enum { G = BENCH_GPU, C = BENCH_CPU, T = BENCH_TINY };
static const double R = sizeof(elem_t), W = sizeof(acc_t);

/* hidden sizes of SmolLM2-135M, Qwen2.5-0.5B, Qwen3-1.7B and an 8B Llama */
static const struct bench_dims hidden[] = {
    { .at = G, .n = 16384, .dim = 576 }, { .at = G, .n = 16384, .dim = 896 }, { .at = G, .n = 4096, .dim = 2048 },
    { .at = G, .n = 16384, .dim = 2048 }, { .at = G, .n = 65536, .dim = 2048 }, { .at = G, .n = 16384, .dim = 4096 },
    { .at = G, .n = 256, .dim = 2048 }, { .at = C, .n = 4096, .dim = 576 }, { .at = C, .n = 2048, .dim = 2048 },
    { .at = T, .n = 3, .dim = 40 },
    { 0 },
};
static const struct bench_dims rotated[] = {
    { .at = G, .n = 16384, .heads = 9, .kv = 3, .hd = 64 }, { .at = G, .n = 16384, .heads = 14, .kv = 2, .hd = 64 },
    { .at = G, .kind = "norm", .n = 16384, .heads = 16, .kv = 8, .hd = 128 },
    { .at = G, .n = 16384, .heads = 32, .kv = 8, .hd = 128 }, { .at = C, .n = 4096, .heads = 9, .kv = 3, .hd = 64 },
    { .at = C, .kind = "norm", .n = 1024, .heads = 16, .kv = 8, .hd = 128 },
    { .at = T, .kind = "norm", .n = 3, .heads = 2, .kv = 1, .hd = 16 },
    { 0 },
};
static const struct bench_dims gated[] = {
    { .at = G, .n = 16384, .ff = 1536 }, { .at = G, .n = 16384, .ff = 4864 }, { .at = G, .n = 16384, .ff = 6144 },
    { .at = G, .n = 65536, .ff = 6144 }, { .at = G, .n = 16384, .ff = 14336 }, { .at = C, .n = 2048, .ff = 1536 },
    { .at = T, .n = 3, .ff = 24 },
    { 0 },
};
static const struct bench_dims looked_up[] = {
    { .at = G, .n = 16384, .vocab = 49152, .dim = 576 }, { .at = G, .n = 16384, .vocab = 151936, .dim = 2048 },
    { .at = G, .n = 65536, .vocab = 128256, .dim = 4096 }, { .at = C, .n = 4096, .vocab = 49152, .dim = 576 },
    { .at = T, .n = 5, .vocab = 11, .dim = 24 },
    { 0 },
};
static const struct bench_dims flat[] = { { .at = G, .n = 134515008 },
                                          { .at = C, .n = 4 << 20 },
                                          { .at = T, .n = 1001 },
                                          { 0 } };

static double rows(const struct bench_dims *d) { return (double)d->n * d->dim; }
static struct heads heads(const struct bench_dims *d) { return (struct heads){ d->heads, d->kv, d->hd }; }
static int64_t width(const struct bench_dims *d) { return (int64_t)(d->heads + 2 * d->kv) * d->hd; }

/* ---- norm: reads x and what is added to it, writes their sum and the normalised row ---- */

static void norm_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    const int64_t n = d->n * d->dim;
    o->x = bench_elems(b, n, 2);
    o->z = bench_elems(b, n, 2);
    o->y = bench_elems(b, n, 1);
    o->w = bench_elems(b, d->dim, 2);
    o->a = bench_accs(b, d->n, -1, 1);
    o->b = bench_accs(b, d->dim, -1, 1);
    o->u = bench_elems(b, n, 1);
}
static void norm_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_add_rmsnorm((struct rmsnorm_args){
        .res = o->u, .y = o->y, .rstd = o->a, .x = o->x, .add = o->z, .w = o->w, .eps = 1e-5, .n = d->n, .dim = d->dim
    });
}
static double norm_bytes(const struct bench_dims *d) { return 4 * rows(d) * R; }

static void norm_back_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    norm_make(b, d, o);
    norm_run(d, o);
}
/* reads dy, dres and the residual, writes dx */
static void norm_back_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_rmsnorm_back((struct rmsnorm_back_args){
        .dx = o->y, .dw = o->b, .dy = o->x, .dres = o->z, .res = o->u, .w = o->w, .rstd = o->a, .n = d->n, .dim = d->dim
    });
}

/* ---- rope: with q/k norm (kind) the backward pass also reads the row before the rotation ---- */

static void rope_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    acc_t *freq = xcalloc((size_t)d->hd, sizeof *freq);
    for (int j = 0; j < d->hd / 2; j++) freq[j] = (acc_t)pow(1e-6, 2.0 * j / d->hd);
    o->c = bench_put(b, freq, (size_t)(d->hd / 2) * sizeof *freq);
    free(freq);
    o->x = bench_elems(b, d->n * width(d), 2);
    o->y = bench_elems(b, d->n * width(d), 2);
    o->z = bench_elems(b, d->n * width(d), 2);
    o->pos = bench_ids(b, d->n, 4096);
    o->a = bench_accs(b, d->n * (d->heads + d->kv), -1, 1);
    if (!d->kind) return;
    o->w = bench_elems(b, d->hd, 2);
    o->b = bench_accs(b, d->hd, -1, 1);
    o->d = bench_accs(b, d->hd, -1, 1);
}
static void rope_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_rope((struct rope_args){
        .out = o->y, .rstd = o->a, .in = o->x, .qnorm = o->w, .knorm = o->w, .eps = 1e-6, .freq = o->c, .pos = o->pos,
        .n = d->n, .h = heads(d) });
}
static void rope_back_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    rope_make(b, d, o);
    rope_run(d, o);
}
static void rope_back_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_rope_back((struct rope_back_args){
        .din = o->z, .dqnorm = o->b, .dknorm = o->d, .dout = o->y, .in = o->x, .rstd = o->a, .qnorm = o->w,
        .knorm = o->w, .freq = o->c, .pos = o->pos, .n = d->n, .h = heads(d) });
}
static double rope_bytes(const struct bench_dims *d) { return 2 * (double)(d->n * width(d)) * R; }
static double rope_back_bytes(const struct bench_dims *d) { return (d->kind ? 3 : 2) * (double)(d->n * width(d)) * R; }

static void query_scale_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_query_scale(o->x, -1, d->n, heads(d));
}
static double query_bytes(const struct bench_dims *d) { return 2 * (double)d->n * d->heads * d->hd * R; }

/* ---- swiglu: 2 ff read, ff written; back 3 ff read, 2 ff written ---- */

static void swiglu_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    o->x = bench_elems(b, 2 * d->n * d->ff, 4);
    o->y = bench_elems(b, d->n * d->ff, 1);
    o->z = bench_elems(b, 2 * d->n * d->ff, 4);
}
static void swiglu_run(const struct bench_dims *d, struct bench_operands *o) { op_swiglu(o->y, o->x, d->n, d->ff); }
static void swiglu_back_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_swiglu_back(o->z, o->y, o->x, d->n, d->ff);
}
static double swiglu_bytes(const struct bench_dims *d) { return 3 * (double)d->n * d->ff * R; }
static double swiglu_back_bytes(const struct bench_dims *d) { return 5 * (double)d->n * d->ff * R; }

/* ---- embedding: the backward pass adds to each row of the table that an id names, at most vocab of them ---- */

static void embed_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    o->w = bench_elems(b, (int64_t)d->vocab * d->dim, 1);
    o->x = bench_elems(b, d->n * d->dim, 1);
    o->ids = bench_ids(b, d->n, d->vocab);
}
static void embed_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_embed(o->x, o->w, o->ids, d->n, d->dim);
}
static void embed_back_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    o->a = bench_accs(b, (int64_t)d->vocab * d->dim, -1, 1);
    o->x = bench_elems(b, d->n * d->dim, 1);
    o->ids = bench_ids(b, d->n, d->vocab);
}
static void embed_back_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_embed_back(o->a, o->x, o->ids, d->n, d->dim, d->vocab);
}
static double move_bytes(const struct bench_dims *d) { return 2 * rows(d) * R; }
/* of n random ids, vocab (1 - e^(-n / vocab)) are different */
static double embed_back_bytes(const struct bench_dims *d)
{
    return rows(d) * R + 2 * W * d->dim * d->vocab * (1 - exp(-(double)d->n / d->vocab));
}

static void rows_put_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    int *to = xcalloc((size_t)d->n, sizeof *to);
    for (int64_t i = 0; i < d->n; i++) to[i] = (int)(i ^ 1) < d->n ? (int)(i ^ 1) : (int)i;
    o->x = bench_elems(b, d->n * d->dim, 1);
    o->y = bench_elems(b, d->n * d->dim, 1);
    o->ids = bench_put(b, to, (size_t)d->n * sizeof *to);
    free(to);
}
static void rows_put_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_rows_put(o->y, o->x, o->ids, d->n, d->dim);
}

static void bias_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    o->x = bench_elems(b, d->n * d->dim, 1);
    o->y = bench_elems(b, d->n * d->dim, 1);
    o->a = bench_accs(b, d->dim, -1, 1);
}
static void bias_run(const struct bench_dims *d, struct bench_operands *o) { op_bias_back(o->a, o->x, d->n, d->dim); }
static double bias_bytes(const struct bench_dims *d) { return rows(d) * R; }
static void add_run(const struct bench_dims *d, struct bench_operands *o) { op_add(o->y, o->x, d->n * d->dim); }
static double add_bytes(const struct bench_dims *d) { return 3 * rows(d) * R; }

/* ---- optimizer ---- */

static void adamw_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    o->w = bench_elems(b, d->n, 1);
    o->a = sizeof(elem_t) == sizeof(acc_t) ? NULL : bench_accs(b, d->n, -1, 1);
    o->b = bench_accs(b, d->n, -1e-3, 1e-3);
    o->c = bench_accs(b, d->n, -1e-3, 1e-3);
    o->d = bench_accs(b, d->n, 1e-8, 1e-6);
}
static void adamw_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_adamw(
        o->w, o->a, o->b, o->c, o->d, d->n,
        &(struct adamw){ .lr = 1e-6, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.01, .scale = 1, .t = 3 });
}
/* gradient read; moments and master weights read and written; stored weights written if they are not the master */
static double adamw_bytes(const struct bench_dims *d)
{
    return (double)d->n * (7 * W + (sizeof(elem_t) == sizeof(acc_t) ? 0 : R));
}
static void vector_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    o->a = bench_accs(b, d->n, -1, 1);
}
static void sumsq_run(const struct bench_dims *d, struct bench_operands *o) { op_sumsq(o->a, d->n); }
static double sumsq_bytes(const struct bench_dims *d) { return (double)d->n * W; }
static void scale_run(const struct bench_dims *d, struct bench_operands *o) { op_scale(o->a, -1, d->n); }
static double scale_bytes(const struct bench_dims *d) { return 2 * (double)d->n * W; }

const struct bench_op bench_vectors[] = {
    { "norm", norm_make, NULL, norm_run, norm_bytes, NULL, false, hidden },
    { "norm_back", norm_back_make, NULL, norm_back_run, norm_bytes, NULL, false, hidden },
    { "rope", rope_make, NULL, rope_run, rope_bytes, NULL, false, rotated },
    { "rope_back", rope_back_make, NULL, rope_back_run, rope_back_bytes, NULL, false, rotated },
    { "query_scale", rope_make, NULL, query_scale_run, query_bytes, NULL, false, rotated },
    { "swiglu", swiglu_make, NULL, swiglu_run, swiglu_bytes, NULL, false, gated },
    { "swiglu_back", swiglu_make, NULL, swiglu_back_run, swiglu_back_bytes, NULL, false, gated },
    { "embed", embed_make, NULL, embed_run, move_bytes, NULL, false, looked_up },
    { "embed_back", embed_back_make, NULL, embed_back_run, embed_back_bytes, NULL, false, looked_up },
    { "rows_put", rows_put_make, NULL, rows_put_run, move_bytes, NULL, false, hidden },
    { "bias_back", bias_make, NULL, bias_run, bias_bytes, NULL, false, hidden },
    { "add", bias_make, NULL, add_run, add_bytes, NULL, false, hidden },
    { "adamw", adamw_make, NULL, adamw_run, adamw_bytes, NULL, false, flat },
    { "sumsq", vector_make, NULL, sumsq_run, sumsq_bytes, NULL, false, flat },
    { "scale", vector_make, NULL, scale_run, scale_bytes, NULL, false, flat },
    { 0 },
};
