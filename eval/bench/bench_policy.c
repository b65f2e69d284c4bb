/* bench_policy.c: the share of matrix products in a training or decode step; the rest is what the engine adds. The
 * products are timed with the same shapes, forms and weight caching, in the order of the pass. */
#include "eval/bench/bench_policy.h"
#include "base/philox.h"
#include "engine/rollout/kv_pages.h"
#include "engine/learner/learner.h"
#include "base/clock.h"
#include "model/forward.h"
#include "model/head.h"
#include <stdlib.h>

enum { REPEATS = 15, SEQS_MAX = 512 };

static const struct model_config shape = {
    .arch = "LlamaForCausalLM", .vocab = 510, .dim = 96, .layers = 4, .heads = 4, .kv_heads = 2, .head_dim = 24,
    .ff = 320, .max_len = 512, .tied = true, .rms_eps = 1e-5, .rope_theta = 10000,
};

/* One matrix of a layer: y = x W^T, W[out][in] at `at` of the flat vector. */
struct product { const elem_t *x; elem_t *y; int64_t at, out, in; };

/* dW += dy^T x and dx = dy W. */
static void product_back(const struct model *m, struct learner *l, const struct product *p, int64_t n)
{
    const int64_t dim = m->c.dim, in = p->in < dim ? p->in : dim;
    op_gemm((struct gemm){ .form = GEMM_TN,
                           .dw = l->g + p->at,
                           .a = l->acts.dwork,
                           .b = p->x,
                           .m = p->out,
                           .n = p->in,
                           .k = n,
                           .add = true });
    op_gemm((struct gemm){ .form = GEMM_NN,
                           .d = l->acts.dx,
                           .a = l->acts.dwork,
                           .b = m->w + p->at,
                           .m = n,
                           .n = in,
                           .k = p->out,
                           .ldb = p->in,
                           .weight = true });
    if (p->in == in) return;
    /* the down projection's input is wider than dx: the rest of it */
    op_gemm((struct gemm){ .form = GEMM_NN,
                           .d = l->acts.dwork2,
                           .a = l->acts.dwork,
                           .b = m->w + p->at + dim,
                           .m = n,
                           .n = p->in - dim,
                           .k = p->out,
                           .ldb = p->in,
                           .weight = true });
}

/* The products of the head with `rows` rows of logits. */
static void head_products(const struct model *m, struct learner *l, int64_t rows, bool backward)
{
    for (int64_t from = 0; from < rows; from += l->chunk) {
        int64_t n = rows - from < l->chunk ? rows - from : l->chunk;
        op_gemm((struct gemm){ .form = GEMM_NT,
                               .d = l->logits,
                               .a = l->head_x,
                               .b = m->w + m->head,
                               .m = n,
                               .n = m->c.vocab,
                               .k = m->c.dim,
                               .ldd = vocab_ld(m),
                               .weight = true });
        if (backward) head_back(m, l->head_dx, l->logits, l->head_x, n, l->g);
    }
}

/* The products of a pass over n rows, the head over `rows` rows; backward: also the two of each in the backward
 * pass. */
static void products(const struct model *m, struct learner *l, const struct acts *s, int64_t n, int64_t rows,
                     bool backward)
{
    const struct model_config *c = &m->c;
    const struct acts_layer *a = &s->layer[0];
    const struct product p[] = {
        { a->x1, a->qkv, m->layer[0].qkv, m->qkv_dim, c->dim },
        { a->attn_out, s->branch_out, m->layer[0].o, c->dim, (int64_t)c->heads * c->head_dim },
        { a->x2, a->gate_up, m->layer[0].gate_up, 2 * c->ff, c->dim },
        { a->ff_act, s->branch_out, m->layer[0].down, c->dim, c->ff },
    };
    for (int k = 0; k < c->layers; k++)
        for (int i = 0; i < 4; i++) {
            op_gemm((struct gemm){ .form = GEMM_NT,
                                   .d = p[i].y,
                                   .a = p[i].x,
                                   .b = m->w + p[i].at,
                                   .m = n,
                                   .n = p[i].out,
                                   .k = p[i].in,
                                   .weight = true });
            if (backward) product_back(m, l, &p[i], n);
        }
    head_products(m, l, rows, backward);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *t, int n)
{
    qsort(t, (size_t)n, sizeof *t, by_value);
    return t[n / 2];
}

static void report(const char *what, int64_t rows, double pass, double gemm, int64_t flop, FILE *text, FILE *json,
                   double *least)
{
    double share = gemm / pass;
    if (share < *least) *least = share;
    fprintf(text, "%-28s %6lld rows  %9.0f us  products alone %9.0f us (%5.1f GFLOP/s)  %5.1f %%  %8.0f rows/s\n", what,
            (long long)rows, pass * 1e6, gemm * 1e6, (double)flop / gemm * 1e-9, 100 * share, (double)rows / pass);
    if (json)
        fprintf(json,
                "{\"bench\": \"%s\", \"rows\": %lld, \"us\": %.1f, \"products_us\": %.1f, \"gflops\": %.2f, \"share\": "
                "%.4f}\n",
                what, (long long)rows, pass * 1e6, gemm * 1e6, (double)flop / gemm * 1e-9, share);
}

static int64_t flop_of(const struct model *m, int64_t n, int64_t rows, bool backward)
{
    int64_t per = 0;
    for (int i = 0; i < m->params; i++)
        if (m->param[i].cols && m->param[i].at != m->embed) per += 2 * m->param[i].rows * m->param[i].cols;
    return (per * n + 2 * (int64_t)m->c.vocab * m->c.dim * rows) * (backward ? 3 : 1);
}

static void train_case(struct learner *l, int seqs, int len, FILE *text, FILE *json, double *least)
{
    struct rng r = rng_make(1, 2, 3);
    int *ids = xcalloc((size_t)(seqs * len), sizeof *ids);
    uint8_t *m = xcalloc((size_t)(seqs * len), 1);
    struct seq_view *s = xcalloc((size_t)seqs, sizeof *s);
    acc_t *g = xcalloc((size_t)(seqs * len), sizeof *g);
    for (int i = 0; i < seqs * len; i++) {
        ids[i] = (int)rng_below(&r, (uint32_t)l->m->c.vocab);
        /* two tokens in five are generated: recipe of the embedded tasks */
        m[i] = i % len > 16 && i % 5 < 2;
        g[i] = (acc_t)1e-4;
    }
    for (int i = 0; i < seqs; i++)
        s[i] =
            (struct seq_view){ .ids = ids + i * len, .m = m + i * len, .n = len, .group = i, .flat = (int64_t)i * len };
    double pass[REPEATS], gemm[REPEATS];
    struct pack p = { 0 };
    for (int k = -2; k < REPEATS; k++) {
        double t0 = seconds();
        pack_make(&p, s, seqs);
        learner_zero(l);
        learner_grad(l, &p, 1, g, NULL, NULL, NULL);
        double t1 = seconds();
        products(l->m, l, &l->acts, p.n, p.rows, true);
        if (k >= 0) { pass[k] = t1 - t0; gemm[k] = seconds() - t1; }
        if (k < REPEATS - 1) pack_free(&p);
    }
    report("training, forward and back", p.n, median(pass, REPEATS), median(gemm, REPEATS),
           flop_of(l->m, p.n, p.rows, true), text, json, least);
    pack_free(&p);
    free(ids); free(m); free(s); free(g);
}

static void decode_case(struct learner *l, int seqs, int context, FILE *text, FILE *json, double *least)
{
    struct arena a;
    struct kv kv;
    struct kv_seq q[SEQS_MAX] = { 0 };
    const struct model *m = l->m;
    int ld = kv_pages_for(context + 1);
    struct acts s;                                       /* as the rollout has them: one layer's buffers for all */
    arena_dry(&a, "bench");
    kv_make(&kv, m, seqs * ld, &a);
    acts_make(&s, m, seqs, RECOMPUTE_NONE, false, &a);
    kv_destroy(&kv);
    acts_free(&s);
    arena_make(&a, "bench", a.peak);
    kv_make(&kv, m, seqs * ld, &a);
    acts_make(&s, m, seqs, RECOMPUTE_NONE, false, &a);
    dev_zero(kv.pool, (size_t)(kv.layer_stride * m->c.layers) * sizeof(elem_t));
    int ids[SEQS_MAX], pos[SEQS_MAX], out[SEQS_MAX], *table = xcalloc((size_t)(seqs * ld), sizeof *table);
    int64_t slot[SEQS_MAX];
    acc_t logp[SEQS_MAX], ent[SEQS_MAX];
    struct sample_key key[SEQS_MAX];
    for (int i = 0; i < seqs; i++) {
        for (int j = 0; j <= context; j++) slot[i] = kv_slot(&kv, &q[i], j, m->version);
        for (int j = 0; j < ld; j++) table[i * ld + j] = q[i].page[j];
        ids[i] = i % m->c.vocab;
        pos[i] = context;
        key[i] = (struct sample_key){ 1, (uint32_t)i, 0, (uint32_t)context };
    }
    double pass[REPEATS * 4], gemm[REPEATS * 4];
    struct sample_rule rule = { .temperature = 1, .top_p = 1, .seed = 1 };
    for (int k = -4; k < REPEATS * 4; k++) {
        double t0 = seconds();
        model_forward_paged(m, &s, &(struct paged){ seqs, ids, pos, slot, table, ld, kv.pool, kv.layer_stride });
        head_forward(m, l->logits, l->head_x, s.hidden, NULL, seqs);
        op_sample((struct sample_args){
            .id = out, .logp = logp, .ent = ent, .x = l->logits, .rule = &rule, .key = key, .n = seqs,
            .vocab = m->c.vocab, .ld = vocab_ld(m) });
        double t1 = seconds();
        products(m, l, &s, seqs, seqs, false);
        if (k >= 0) { pass[k] = t1 - t0; gemm[k] = seconds() - t1; }
    }
    char what[64];
    snprintf(what, sizeof what, "decode, context %d", context);
    report(what, seqs, median(pass, REPEATS * 4), median(gemm, REPEATS * 4), flop_of(m, seqs, seqs, false), text, json,
           least);
    for (int i = 0; i < seqs; i++) kv_drop(&kv, &q[i]);
    kv_destroy(&kv);
    acts_free(&s);
    arena_free(&a);
    free(table);
}

double bench_policy(FILE *text, FILE *json)
{
    struct model m;
    struct learner l;
    double least = 1e9;
    model_make(&m, &shape);
    model_init(&m, 1);
    learner_make(&l, &m, (struct learner_rule){ .max_rows = 8192 });
    train_case(&l, 32, 80, text, json, &least);
    train_case(&l, 52, 90, text, json, &least);
    static const struct { int seqs, context; } decode[] = { { 32, 60 }, { 104, 60 }, { 256, 60 }, { 256, 120 } };
    for (size_t i = 0; i < sizeof decode / sizeof *decode; i++)
        decode_case(&l, decode[i].seqs, decode[i].context, text, json, &least);
    learner_free(&l);
    model_free(&m);
    return least;
}
