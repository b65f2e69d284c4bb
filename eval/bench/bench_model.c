/* bench_model.c: training and decode steps of models by name, with random weights: tokens a second, and the share of
 * what the device can do. A training step is statistics, gradient and AdamW of one packed batch; a decode step is one
 * token of each sequence, sampled and fetched. */
#include "eval/bench/bench_model.h"
#include "eval/bench/bench_result.h"
#include "base/clock.h"
#include "base/philox.h"
#include "engine/learner/learner.h"
#include "kernels/measure.h"
#include "model/forward.h"
#include "model/head.h"
#include "base/arith.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { G = BENCH_GPU, C = BENCH_CPU, T = BENCH_TINY, BATCHES = 3 };

static const struct model_shape {
    const char *name;
    int at;
    const char *arch;
    int vocab, dim, layers, heads, kv_heads, head_dim, ff;
    bool tied;
} models[] = {
    { "tiny", T, "LlamaForCausalLM", 67, 32, 2, 2, 1, 16, 48, true },
    { "SmolLM2-135M", G | C, "LlamaForCausalLM", 49152, 576, 30, 9, 3, 64, 1536, true },
    { "Qwen2.5-0.5B", G, "Qwen2ForCausalLM", 151936, 896, 24, 14, 2, 64, 4864, true },
    { "Qwen3-0.6B", G, "Qwen3ForCausalLM", 151936, 1024, 28, 16, 8, 128, 3072, true },
    { "Qwen2.5-1.5B", G, "Qwen2ForCausalLM", 151936, 1536, 28, 12, 2, 128, 8960, true },
    { "Qwen3-1.7B", G, "Qwen3ForCausalLM", 151936, 2048, 28, 16, 8, 128, 6144, true },
    { "Qwen2.5-3B", G, "Qwen2ForCausalLM", 151936, 2048, 36, 16, 2, 128, 11008, true },
    { "Qwen3-4B", G, "Qwen3ForCausalLM", 151936, 2560, 36, 32, 8, 128, 9728, true },
    { "Llama-3.1-8B", G, "LlamaForCausalLM", 128256, 4096, 32, 32, 8, 128, 14336, false },
};
enum { MODELS = sizeof models / sizeof *models };

static struct model_config config_of(const struct model_shape *n)
{
    struct model_config c = { .vocab = n->vocab,
                              .dim = n->dim,
                              .layers = n->layers,
                              .heads = n->heads,
                              .kv_heads = n->kv_heads,
                              .head_dim = n->head_dim,
                              .ff = n->ff,
                              .tied = n->tied,
                              .max_len = 32768,
                              .rms_eps = 1e-6,
                              .rope_theta = 1e6,
                              .bos = -1,
                              .pad = -1 };
    snprintf(c.arch, sizeof c.arch, "%s", n->arch);
    c.qkv_bias = !strcmp(n->arch, "Qwen2ForCausalLM");
    c.qk_norm = !strcmp(n->arch, "Qwen3ForCausalLM");
    return c;
}

/* Tokens of a training batch and of a sequence; batches and context of decoding. */
struct load { int rows, len, batch[BATCHES], context; };
static struct load load_of(const struct bench *b)
{
    if (b->sizes == BENCH_GPU) return (struct load){ 32768, 4096, { 1, 64, 256 }, 2048 };
    if (b->sizes == BENCH_CPU) return (struct load){ 512, 256, { 1, 8, 0 }, 256 };
    return (struct load){ 48, 24, { 2, 0, 0 }, 20 };
}

/* Dense bf16 flop/s by data sheet, without sparsity; 0: not in the list. */
static double datasheet(void)
{
    static const struct {
        const char *part;
        double rate;
    } known[] = { { "H200", 989.5e12 }, { "H100", 989.5e12 }, { "A100", 312e12 } };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(dev_name(), known[i].part)) return known[i].rate;
    return 0;
}

/* Weights that stand in products: all matrices but an embedding that is only looked up. */
static int64_t product_weights(const struct model *m)
{
    int64_t n = 0;
    for (int i = 0; i < m->params; i++)
        if (m->param[i].cols && (m->c.tied || m->param[i].at != m->embed)) n += param_count(&m->param[i]);
    return n;
}

/* Matrices get random numbers of a trained model's size, norms 1: no zeros, no overflow over 36 layers. */
static void random_model(struct bench *b, struct model *m, const struct model_config *c)
{
    enum { BLOCK = 1 << 20 };
    model_make(m, c);
    const elem_t *noise = bench_elems(b, BLOCK, 0.08);
    acc_t *ones = xmalloc((size_t)(1 << 17) * sizeof *ones);
    for (int i = 0; i < 1 << 17; i++) ones[i] = 1;
    for (int i = 0; i < m->params; i++) {
        const struct param *p = &m->param[i];
        const int64_t n = param_count(p);
        if (!p->cols && !strstr(p->name, "bias")) model_put(m->w + p->at, ones, n);
        else
            for (int64_t at = 0; at < n; at += BLOCK)
                dev_copy(m->w + p->at + at, noise, (size_t)MIN(n - at, BLOCK) * sizeof(elem_t));
    }
    gemm_weights_changed();
    free(ones);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- training ---- */

/* Bytes that training takes: optimizer, gradients, activations, weights (the C backend keeps each matrix twice more,
 * packed), scratch. */
static double train_bytes(const struct model_config *c, struct learner_rule r)
{
    enum { SCRATCH = 512 << 20 };
    struct model m;
    struct learner l;
    model_lay_out(&m, c);
    learner_lay_out(&l, &m, r);
    const double packed = strcmp(dev_name(), "cpu") ? 0 : 2;
    const double all =
        (double)m.count * (1 + packed) * sizeof(elem_t) + (double)l.state.peak + (double)l.work.peak + SCRATCH;
    learner_free(&l);
    model_free(&m);
    return all;
}

/* Fewer rows, then recomputation (cheap, full), then moments of bf16, until it fits; false: it never does. */
static bool train_rule(struct learner_rule *r, const struct model_config *c, struct load *l, double limit)
{
    const int rows = l->rows;
    for (;;) {
        *r = (struct learner_rule){ .max_rows = l->rows, .recompute = r->recompute, .bf16_moments = r->bf16_moments };
        if (train_bytes(c, *r) <= limit) return true;
        if (l->rows / 2 >= l->len) { l->rows /= 2; continue; }
        if (r->bf16_moments) return false;
        if (r->recompute == RECOMPUTE_FULL) r->bf16_moments = true;
        else r->recompute++;
        l->rows = rows;
    }
}

/* Every token but the first of a sequence is a target. */
struct train_batch { int n, *ids; uint8_t *mask; acc_t *g; struct seq_view *seq; };
static void batch_make(struct train_batch *s, const struct bench *b, int vocab, int rows, int len)
{
    s->n = rows / len;
    s->ids = xcalloc((size_t)rows, sizeof *s->ids);
    s->mask = xcalloc((size_t)rows, 1);
    s->g = xcalloc((size_t)rows, sizeof *s->g);
    s->seq = xcalloc((size_t)s->n, sizeof *s->seq);
    for (int i = 0; i < rows; i++) {
        s->ids[i] = (int)rng_below(b->rng, (uint32_t)vocab);
        s->mask[i] = i % len > 0;
        s->g[i] = (acc_t)-1 / (acc_t)rows;
    }
    for (int i = 0; i < s->n; i++)
        s->seq[i] = (struct seq_view){
            .ids = s->ids + i * len, .m = s->mask + i * len, .n = len, .group = i, .flat = (int64_t)i * len
        };
}
static void batch_free(struct train_batch *s) { free(s->ids); free(s->mask); free(s->g); free(s->seq); }

static double train_step(struct learner *l, const struct train_batch *s)
{
    const struct optim_rule o = { .lr = 1e-6, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.01, .max_norm = 1 };
    struct pack p = { 0 };
    double norm;
    dev_sync();
    const double from = seconds();
    pack_make(&p, s->seq, s->n);
    learner_zero(l);
    learner_grad(l, &p, 1, s->g, NULL, NULL, NULL);
    learner_step(l, &o, &norm);
    dev_sync();
    const double t = seconds() - from;
    pack_free(&p);
    if (!isfinite(norm)) die("bench train: the gradient is not finite");
    return t;
}

static void report_train(struct bench *b, const struct model *m, const char *name, const struct load *l, double t,
                      int runs, const struct learner_rule *r)
{
    /* 6 flops a weight and token, and attention's two products, of which a causal mask leaves half, once forward and
     * twice backward: 6 layers width length */
    const double per = 6 * (double)product_weights(m) + 6.0 * m->c.layers * m->c.heads * m->c.head_dim * l->len,
                 rate = l->rows / t;
    static const char *const modes[] = { "none", "cheap", "full" };
    json_t *extra = json_pack("{s:f, s:s, s:b}", "gflop_per_token", per * 1e-9, "recompute", modes[r->recompute],
                              "bf16_moments", (int)r->bf16_moments);
    if (datasheet() > 0) json_object_set_new(extra, "mfu_datasheet_percent", json_real(100 * per * rate / datasheet()));
    const struct bench_dims d = { .model = name, .n = l->rows, .ctx = l->len };
    bench_report(b, &(struct bench_result){ .name = "train",
                                            .d = &d,
                                            .us = t * 1e6,
                                            .rate = rate,
                                            .unit = "tokens/s",
                                            .share = per * rate / b->product,
                                            .of = "product",
                                            .runs = runs,
                                            .extra = extra });
}

static void train(struct bench *b, const struct model_shape *which)
{
    enum { TIMES = 10 };
    const struct model_config c = config_of(which);
    struct load l = load_of(b);
    struct learner_rule rule = { 0 };
    if (!train_rule(&rule, &c, &l, (double)b->limit)) {
        fprintf(b->text,
                "train            %s: left out: takes %.1f GiB for one sequence of %d tokens, the limit is %.1f\n",
                which->name, train_bytes(&c, rule) / 0x1p30, l.len, (double)b->limit / 0x1p30);
        return;
    }
    struct model m;
    struct learner learner;
    struct train_batch s;
    double t[TIMES];
    const int times = b->sizes == BENCH_GPU   ? TIMES
                      : b->sizes == BENCH_CPU ? 3
                                              : 1,
              warm = b->sizes == BENCH_GPU   ? 3
                     : b->sizes == BENCH_CPU ? 1
                                             : 0;
    random_model(b, &m, &c);
    learner_make(&learner, &m, rule);
    batch_make(&s, b, m.c.vocab, l.rows, l.len);
    for (int i = 0; i < warm; i++) train_step(&learner, &s);
    for (int i = 0; i < times; i++) t[i] = train_step(&learner, &s);
    qsort(t, (size_t)times, sizeof *t, ascending);
    report_train(b, &m, which->name, &l, t[times / 2], times, &rule);
    batch_free(&s);
    learner_free(&learner);
    model_free(&m);
    bench_drop(b);
}

/* ---- decoding ---- */

struct decoder {
    const struct model *m;
    struct acts acts;
    struct paged in;
    elem_t *logits, *x;
    struct sample_key *key;
    int *sampled;
    acc_t *logp, *ent;
    struct dev_graph *graph;
};

static void decode_make(struct decoder *s, struct bench *b, const struct model *m, int n, int context, struct arena *a)
{
    const int ld = (context + KV_PAGE) / KV_PAGE;
    const int64_t pages = (int64_t)n * ld, stride = pages * kv_page_elems(m->h);
    int *table = xcalloc((size_t)pages, sizeof *table), *pos = xcalloc((size_t)n, sizeof *pos);
    int64_t *slot = xcalloc((size_t)n, sizeof *slot);
    struct sample_key *key = xcalloc((size_t)n, sizeof *key);
    for (int64_t i = 0; i < pages; i++) table[i] = (int)i;
    for (int i = 0; i < n; i++) {
        pos[i] = context;
        slot[i] = ((int64_t)i * ld + context / KV_PAGE) * KV_PAGE + context % KV_PAGE;
        key[i] = (struct sample_key){ 1, (uint32_t)i, 0, (uint32_t)context };
    }
    *s = (struct decoder){ .m = m };
    arena_dry(a, "bench decode");
    acts_make(&s->acts, m, n, RECOMPUTE_NONE, false, a);
    acts_free(&s->acts);
    arena_make(a, "bench decode", a->peak);
    acts_make(&s->acts, m, n, RECOMPUTE_NONE, false, a);
    s->in = (struct paged){ .n = n,
                            .ids = bench_ids(b, n, m->c.vocab),
                            .pos = bench_put(b, pos, (size_t)n * sizeof *pos),
                            .ld = ld,
                            .layer_stride = stride,
                            .slot = bench_put(b, slot, (size_t)n * sizeof *slot),
                            .table = bench_put(b, table, (size_t)pages * sizeof *table),
                            .pool = bench_elems(b, stride * m->c.layers, 1) };
    s->logits = bench_elems(b, (int64_t)n * vocab_ld(m), 1);
    s->x = bench_elems(b, (int64_t)n * m->c.dim, 1);
    s->key = bench_put(b, key, (size_t)n * sizeof *key);
    s->sampled = bench_ids(b, n, m->c.vocab);
    s->logp = bench_accs(b, n, -1, 0);
    s->ent = bench_accs(b, n, 0, 1);
    free(table);
    free(pos);
    free(slot);
    free(key);
}

static void decode_pass(void *ctx)
{
    struct decoder *s = ctx;
    const struct sample_rule rule = { .temperature = 1, .top_p = 1, .seed = 1 };
    model_forward_paged(s->m, &s->acts, &s->in);
    head_forward(s->m, s->logits, s->x, s->acts.hidden, NULL, s->in.n);
    op_sample((struct sample_args){
        .id = s->sampled, .logp = s->logp, .ent = s->ent, .x = s->logits, .rule = &rule, .key = s->key, .n = s->in.n,
        .vocab = s->m->c.vocab, .ld = vocab_ld(s->m) });
}

/* As in a rollout: one CUDA graph where the device captures them, then the sampled ids are fetched. */
static double decode_step(struct decoder *s, int *host)
{
    dev_sync();
    const double from = seconds();
    dev_graph_run(&s->graph, decode_pass, s);
    dev_get(host, s->sampled, (size_t)s->in.n * sizeof *host);
    return seconds() - from;
}

static void decode_batch(struct bench *b, const struct model *m, const char *name, int n, int context)
{
    enum { WARM = 5, TIMES = 50 };
    const double kv = 2.0 * m->c.layers * m->h.kv * m->h.hd * sizeof(elem_t),
                 all = (double)n * (context + KV_PAGE) * kv, weights = (double)product_weights(m) * sizeof(elem_t);
    if ((double)m->count * sizeof(elem_t) + all + 0x1p29 > (double)b->limit) {
        fprintf(b->text,
                "decode           %s, %d sequences of %d: left out: %.1f GiB of keys and values beside the weights, "
                "the limit is %.1f GiB\n",
                name, n, context, all / 0x1p30, (double)b->limit / 0x1p30);
        return;
    }
    struct decoder s;
    struct arena a;
    double t[TIMES];
    int *host = xcalloc((size_t)n, sizeof *host), runs = 0;
    const int times = b->sizes == BENCH_TINY ? 1 : TIMES;
    decode_make(&s, b, m, n, context, &a);
    for (int i = 0; i < (b->sizes == BENCH_TINY ? 0 : WARM); i++) decode_step(&s, host);
    for (const double from = seconds(); runs < times && (runs < 5 || seconds() - from < 5); runs++)
        t[runs] = decode_step(&s, host);
    qsort(t, (size_t)runs, sizeof *t, ascending);
    const double median = t[runs / 2], must = weights + (double)n * context * kv;
    const struct bench_dims d = { .model = name, .n = n, .ctx = context };
    bench_report(b, &(struct bench_result){ .name = "decode",
                                            .d = &d,
                                            .us = median * 1e6,
                                            .rate = n / median,
                                            .unit = "tokens/s",
                                            .share = must / b->copy / median,
                                            .of = "copy",
                                            .runs = runs,
                                            .extra = json_pack("{s:f}", "gbytes_per_step", must * 1e-9) });
    dev_graph_free(s.graph);
    acts_free(&s.acts);
    arena_free(&a);
    free(host);
    bench_drop(b);
}

static void decode(struct bench *b, const struct model_shape *which)
{
    const struct load l = load_of(b);
    const struct model_config c = config_of(which);
    struct model m;
    model_lay_out(&m, &c);
    const double weights = (double)m.count * sizeof(elem_t) * (strcmp(dev_name(), "cpu") ? 1 : 2);
    model_free(&m);
    if (weights > (double)b->limit) {
        fprintf(b->text, "decode           %s: left out: %.1f GiB of weights, %.1f GiB may be used\n", which->name,
                weights / 0x1p30, (double)b->limit / 0x1p30);
        return;
    }
    random_model(b, &m, &c);
    bench_drop(b);
    for (int i = 0; i < BATCHES && l.batch[i]; i++) decode_batch(b, &m, which->name, l.batch[i], l.context);
    model_free(&m);
}

static bool each(struct bench *b, const char *model, void (*run)(struct bench *, const struct model_shape *))
{
    bool found = false;
    for (int i = 0; i < MODELS; i++)
        if (model ? !strcmp(models[i].name, model) : (models[i].at & (int)b->sizes) != 0) {
            if (b) run(b, &models[i]);
            found = true;
        }
    return found;
}
bool bench_train(struct bench *b, const char *model) { return each(b, model, train); }
bool bench_decode(struct bench *b, const char *model) { return each(b, model, decode); }

void bench_model_shapes(const struct bench *b, FILE *f)
{
    const struct load l = load_of(b);
    for (int i = 0; i < MODELS; i++) {
        const struct model_shape *c = &models[i];
        if (!(models[i].at & (int)b->sizes)) continue;
        json_t *config = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b}", "arch", c->arch, "vocab", c->vocab,
                                   "dim", c->dim, "layers", c->layers, "heads", c->heads, "kv_heads", c->kv_heads,
                                   "head_dim", c->head_dim, "ff", c->ff, "tied", (int)c->tied);
        bench_case(f, "train", &(struct bench_dims){ .model = models[i].name, .n = l.rows, .ctx = l.len },
                   json_pack("{s:O}", "config", config));
        for (int k = 0; k < BATCHES && l.batch[k]; k++)
            bench_case(f, "decode", &(struct bench_dims){ .model = models[i].name, .n = l.batch[k], .ctx = l.context },
                       json_pack("{s:O}", "config", config));
        json_decref(config);
    }
}
