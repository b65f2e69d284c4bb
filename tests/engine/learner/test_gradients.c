/* test_gradients.c: every parameter kind under every model option, loss, aggregation and packing, against central
 * differences. Meaningful in double only: make REAL=double. In float the same code checks that recompute and
 * micro-batches change no bit or next to none. */
#include "engine/learner/learner.h"
#include "base/philox.h"
#include "model/head.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

static const struct option { const char *name; struct model_config c; } options[] = {
    { "llama 2:1 tied", { .vocab = 19, .dim = 12, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 6, .ff = 10,
      .tied = true } },
    { "llama 1:1 untied", { .vocab = 17, .dim = 8, .layers = 2, .heads = 2, .kv_heads = 2, .head_dim = 4, .ff = 9 } },
    { "llama 8:1", { .vocab = 17, .dim = 16, .layers = 1, .heads = 8, .kv_heads = 1, .head_dim = 4, .ff = 8,
      .tied = true } },
    { "qwen2 bias 3:1", { .vocab = 23, .dim = 12, .layers = 2, .heads = 3, .kv_heads = 1, .head_dim = 4, .ff = 12,
      .qkv_bias = true, .tied = true } },
    { "qwen3 norm 4:2", { .vocab = 23, .dim = 10, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 8, .ff = 12,
      .qk_norm = true } },
    { "bias and norm", { .vocab = 16, .dim = 8, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 8, .ff = 8,
      .qk_norm = true, .qkv_bias = true } },
};
enum { OPTIONS = sizeof options / sizeof *options, SEQS = 5, LEN = 11 };

static void fill(acc_t *x, int64_t n, double lo, double hi, uint32_t stream)
{
    struct rng r = rng_make(7, stream, 0);
    for (int64_t i = 0; i < n; i++) x[i] = (acc_t)(lo + (hi - lo) * rng_uniform(&r));
}

/* A random model, with random biases and norms, so that none of their gradients is trivially right. */
static void make(struct model *m, const struct model_config *c)
{
    struct model_config full = *c;
    full.rms_eps = 1e-5;
    full.rope_theta = 100;
    full.max_len = 64;
    model_make(m, &full);
    for (int i = 0; i < m->params; i++) {
        const struct param *p = &m->param[i];
        int64_t n = p->rows * (p->cols ? p->cols : 1);
        struct rng r = rng_make(3, 5, (uint32_t)i);
        for (int64_t j = 0; j < n; j++)
            m->w[p->at + j] = (elem_t)((p->cols ? 0 : strstr(p->name, "bias") ? 0 : 1) + 0.8 * (rng_uniform(&r) - 0.5));
    }
    m->version++;
    gemm_weights_changed();
}

/* Five sequences in two groups; three of the first share prefixes, so that rows have several targets and shared
 * tokens. */
struct data { int ids[SEQS][LEN]; uint8_t m[SEQS][LEN]; struct seq_view s[SEQS]; int64_t begin[SEQS + 1]; };

static void make_data(struct data *d, int vocab)
{
    struct rng r = rng_make(11, 1, 0);
    int64_t flat = 0;
    for (int i = 0; i < SEQS; i++) {
        int n = LEN - i % 3;
        for (int j = 0; j < n; j++) {
            d->ids[i][j] = i > 0 && i < 3 && j < 3 + 2 * i ? d->ids[0][j] : (int)rng_below(&r, (uint32_t)vocab);
            d->m[i][j] = j >= 2 && j != 5;
        }
        d->s[i] = (struct seq_view){ .ids = d->ids[i], .m = d->m[i], .n = n, .group = i < 3 ? 0 : i, .flat = flat };
        d->begin[i] = flat;
        flat += n;
    }
    d->begin[SEQS] = flat;
}

struct vectors {
    acc_t logp[SEQS * LEN], old[SEQS * LEN], ref[SEQS * LEN], ent[SEQS * LEN], adv[SEQS * LEN], g[SEQS * LEN],
        ge[SEQS * LEN];
    uint8_t m[SEQS * LEN];
};

static double loss_of(struct learner *l, const struct data *d, struct vectors *v, const struct loss_rule *rule)
{
    int64_t n = d->begin[SEQS];
    for (int64_t i = 0; i < n; i++) v->logp[i] = v->ent[i] = (acc_t)NAN;
    for (int i = 0; i < SEQS; i++) memcpy(v->m + d->begin[i], d->m[i], (size_t)d->s[i].n);
    struct pack p;
    pack_make(&p, d->s, SEQS);
    learner_score(l, &p, &(struct score_rule){ .inv_temp = 0.9 }, v->logp, v->ent);
    pack_free(&p);
    struct loss_in in = { .logp = v->logp,
                          .logp_old = v->old,
                          .logp_ref = v->ref,
                          .entropy = v->ent,
                          .adv = v->adv,
                          .m = v->m,
                          .begin = d->begin,
                          .rows = SEQS };
    struct loss_stats stats;
    op_pg(v->g, v->ge, NULL, NULL, &stats, &in, rule);
    return stats.loss;
}

static void gradient_of(struct learner *l, const struct data *d, const struct vectors *v, int micro)
{
    learner_zero(l);
    for (int i = 0; i < SEQS; i += micro) {
        struct pack p;
        pack_make(&p, d->s + i, i + micro < SEQS ? micro : SEQS - i);
        learner_grad(l, &p, 0.9, v->g, v->ge, NULL, NULL);
        pack_free(&p);
    }
}

static const struct { const char *name; struct loss_rule r; } losses[] = {
    { "token mean, no clip",           { .clip_low = 0.9, .clip_high = 9, .clip_c = 30, .agg = AGG_TOKEN_MEAN } },
    { "sequence mean, clip", { .clip_low = 0.2, .clip_high = 0.28, .clip_c = 3, .agg = AGG_SEQ_MEAN_TOKEN_MEAN } },
    { "sequence sum, k3, entropy", { .clip_low = 0.2, .clip_high = 0.28, .clip_c = 3, .agg = AGG_SEQ_MEAN_TOKEN_SUM,
      .kl = KL_K3, .kl_coef = 0.3, .entropy_coef = 0.2 } },
    { "sum over length, k2", { .clip_low = 0.2, .clip_high = 0.28, .clip_c = 3, .agg = AGG_SEQ_MEAN_TOKEN_SUM_NORM,
      .max_len = 12, .kl = KL_K2, .kl_coef = 0.3 } },
    { "token mean, k1, entropy", { .clip_low = 0.2, .clip_high = 0.28, .clip_c = 3, .agg = AGG_TOKEN_MEAN, .kl = KL_K1,
      .kl_coef = 0.1, .entropy_coef = -0.4 } },
    { "token mean, abs", { .clip_low = 0.2, .clip_high = 0.28, .clip_c = 3, .agg = AGG_TOKEN_MEAN, .kl = KL_ABS,
      .kl_coef = 0.1 } },
};
enum { LOSSES = sizeof losses / sizeof *losses };

static void set_up(struct model *m, struct learner *l, struct data *d, struct vectors *v, const struct option *o,
                   enum recompute recompute)
{
    make(m, &o->c);
    learner_make(l, m, (struct learner_rule){ .max_rows = 64, .recompute = recompute });
    make_data(d, o->c.vocab);
    struct loss_rule none = { .clip_low = 0.2, .clip_high = 0.2, .clip_c = 3 };
    int64_t n = d->begin[SEQS];
    fill(v->adv, n, -1.5, 1.5, 21);
    fill(v->old, n, -3, -2, 22);
    fill(v->ref, n, -3, -2, 23);
    loss_of(l, d, v, &none);
    /* near the present values, so that some ratios are clipped and some are not */
    acc_t noise[SEQS * LEN];
    fill(noise, n, -0.6, 0.6, 24);
    for (int64_t i = 0; i < n; i++)
        if (v->m[i]) { v->old[i] = v->logp[i] + noise[i]; v->ref[i] = v->logp[i] - noise[n - 1 - i]; }
}

static void tear_down(struct model *m, struct learner *l) { learner_free(l); model_free(m); }

static void check_param(struct learner *l, const struct data *d, struct vectors *v, const struct loss_rule *rule,
                        const struct param *p, const char *name)
{
    int64_t n = p->rows * (p->cols ? p->cols : 1), step = n / 4 + 1;
    for (int64_t j = n / 7; j < n; j += step) {
        struct vectors side = *v;
        elem_t *w = l->m->w + p->at + j, keep = *w;
        const double h = 2e-5;
        double f[2];
        for (int k = 0; k < 2; k++) {
            *w = (elem_t)((double)keep + (k ? h : -h));
            gemm_weights_changed();
            f[k] = loss_of(l, d, &side, rule);
        }
        *w = keep;
        gemm_weights_changed();
        double want = (f[1] - f[0]) / (2 * h), got = (double)l->g[p->at + j];
        CHECK_NEAR(got, want, 1e-7 * (1 + fabs(want)), "%s: %s[%lld]", name, p->name, (long long)j);
    }
}

static void central_differences(void **state)
{
    (void)state;
    if (sizeof(elem_t) != 8) skip();
    for (int o = 0; o < OPTIONS; o++)
        for (int k = 0; k < LOSSES; k++) {
            struct model m;
            struct learner l;
            struct data d;
            struct vectors v;
            set_up(&m, &l, &d, &v, &options[o], (enum recompute)(k % 3));
            loss_of(&l, &d, &v, &losses[k].r);
            gradient_of(&l, &d, &v, SEQS);
            char name[128];
            snprintf(name, sizeof name, "%s, %s", options[o].name, losses[k].name);
            for (int i = 0; i < m.params; i++) check_param(&l, &d, &v, &losses[k].r, &m.param[i], name);
            tear_down(&m, &l);
        }
}

/* Recompute, cheap and full, gives the same bits; micro-batches and unrolled sequences the same gradient up to
 * rounding. */
static void recompute_micro_batches_and_unrolling(void **state)
{
    (void)state;
    for (int o = 0; o < OPTIONS; o++) {
        acc_t *first = NULL;
        for (int way = 0; way < 5; way++) {
            struct model m;
            struct learner l;
            struct data d;
            struct vectors v;
            set_up(&m, &l, &d, &v, &options[o],
                   way == 1 ? RECOMPUTE_FULL : way == 2 ? RECOMPUTE_CHEAP : RECOMPUTE_NONE);
            if (way == 4) for (int i = 0; i < SEQS; i++) d.s[i].group = i;
            loss_of(&l, &d, &v, &losses[2].r);
            gradient_of(&l, &d, &v, way == 3 ? 1 : SEQS);
            if (!first) {
                first = xmalloc((size_t)m.count * sizeof *first);
                memcpy(first, l.g, (size_t)m.count * sizeof *first);
            } else if (way <= 2) {
                assert_memory_equal(first, l.g, (size_t)m.count * sizeof *first);
            }
            double scale = sqrt(op_sumsq(first, m.count) / (double)m.count);
            for (int64_t i = 0; i < m.count; i++)
                CHECK_NEAR(l.g[i], first[i],
                           (sizeof(elem_t) == 8 ? 1e-13 : 1e-6) * (scale + fabs((double)first[i]) + 1),
                           "%s way %d element %lld", options[o].name, way, (long long)i);
            tear_down(&m, &l);
        }
        free(first);
    }
}

/* Several chunks of logits, NaN in the padding columns: the same numbers as one chunk. */
static void chunks_of_logits(void **state)
{
    (void)state;
    struct model m;
    struct learner l;
    struct data d;
    struct vectors v, w;
    set_up(&m, &l, &d, &v, &options[0], RECOMPUTE_NONE);
    loss_of(&l, &d, &v, &losses[2].r);
    gradient_of(&l, &d, &v, SEQS);
    acc_t *first = xmalloc((size_t)m.count * sizeof *first);
    memcpy(first, l.g, (size_t)m.count * sizeof *first);
    l.chunk = 3;
    for (int64_t i = 0; i < 64 * vocab_ld(&m); i++) l.logits[i] = (elem_t)NAN;
    w = v;
    loss_of(&l, &d, &w, &losses[2].r);
    for (int64_t i = 0; i < d.begin[SEQS]; i++)
        if (v.m[i]) {
            assert_memory_equal(&v.logp[i], &w.logp[i], sizeof(acc_t));
            assert_memory_equal(&v.ent[i], &w.ent[i], sizeof(acc_t));
        }
    gradient_of(&l, &d, &w, SEQS);
    for (int64_t i = 0; i < m.count; i++)
        CHECK_NEAR(l.g[i], first[i], 1e-6 * (1 + fabs((double)first[i])), "element %lld", (long long)i);
    free(first);
    tear_down(&m, &l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(central_differences), cmocka_unit_test(recompute_micro_batches_and_unrolling),
        cmocka_unit_test(chunks_of_logits),
    };
    return cmocka_run_group_tests_name("gradients", tests, NULL, NULL);
}
