/* test_acts.c: what the backward pass computes again has the bits of what was kept, for every kind of layer, in every
 * storage type; and the layers keep the bytes that acts.h promises. */
#include "base/philox.h"
#include "model/backward.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64, TREE = 37 };

static const struct option { const char *name; struct model_config c; } options[] = {
    { "llama, tied", { .layers = 3, .heads = 4, .kv_heads = 2, .tied = true } },
    { "one layer", { .layers = 1, .heads = 2, .kv_heads = 2 } },
    { "qwen2, bias", { .layers = 2, .heads = 4, .kv_heads = 1, .qkv_bias = true } },
    { "qwen3, q/k norm, tied", { .layers = 3, .heads = 4, .kv_heads = 2, .qk_norm = true, .tied = true } },
    { "bias, q/k norm", { .layers = 2, .heads = 2, .kv_heads = 1, .qk_norm = true, .qkv_bias = true } },
};
enum { OPTIONS = sizeof options / sizeof *options };
static const enum recompute modes[] = { RECOMPUTE_NONE, RECOMPUTE_CHEAP, RECOMPUTE_FULL };

static void fill(acc_t *x, int64_t n, double scale, uint32_t stream)
{
    struct rng r = rng_make(5, stream, 0);
    for (int64_t i = 0; i < n; i++) x[i] = (acc_t)(scale * (2 * rng_uniform(&r) - 1));
}

/* Norms and biases are random too; queries are scaled, as by YaRN. */
static void make(struct model *m, const struct model_config *kind)
{
    struct model_config c = *kind;
    c.vocab = 67, c.dim = 32, c.head_dim = 16, c.ff = 48, c.max_len = ROWS, c.rms_eps = 1e-5, c.rope_theta = 100;
    model_make(m, &c);
    m->query_scale = 1.25;
    acc_t *x = xmalloc((size_t)m->count * sizeof *x);
    for (int i = 0; i < m->params; i++) {
        const struct param *p = &m->param[i];
        fill(x, param_count(p), p->cols ? 0.4 : 0.8, (uint32_t)i);
        for (int64_t k = 0; !p->cols && !strstr(p->name, "bias") && k < param_count(p); k++) x[k] += 1;
        model_put(m->w + p->at, x, param_count(p));
    }
    gemm_weights_changed();
    free(x);
}

static void *put(struct arena *a, const void *host, size_t bytes)
{
    void *p = arena_get(a, bytes, "numbers");
    dev_put(p, host, bytes);
    return p;
}

/* A tree of TREE tokens with one branch, then a sequence: forward pass, backward pass. */
static acc_t *gradient(const struct model *m, enum recompute mode)
{
    int ids[ROWS], pos[ROWS], end[ROWS];
    for (int i = 0; i < ROWS; i++) {
        bool branch = i >= 20 && i < TREE;
        ids[i] = (i * 29 + 3) % m->c.vocab;
        pos[i] = i < 20 ? i : branch ? i - 10 : i - TREE;
        end[i] = i < 10 || branch ? TREE : i < 20 ? 20 : ROWS;
    }
    struct arena a;
    struct acts acts;
    acc_t *dx = xmalloc((size_t)(ROWS * m->c.dim) * sizeof *dx), *got = xmalloc((size_t)m->count * sizeof *got);
    arena_make(&a, "acts", 8 << 20);
    acts_make(&acts, m, ROWS, mode, true, &a);
    struct attn_plan *plan = attn_plan_make(end, ROWS);
    struct batch b = { .n = ROWS, .ids = put(&a, ids, sizeof ids), .pos = put(&a, pos, sizeof pos), .plan = plan };
    elem_t *dhidden = arena_get(&a, (size_t)(ROWS * m->c.dim) * sizeof *dhidden, "d hidden");
    acc_t *g = arena_get(&a, (size_t)m->count * sizeof *g, "gradient");
    fill(dx, ROWS * m->c.dim, 1, 99);
    model_put(dhidden, dx, ROWS * m->c.dim);
    dev_zero(g, (size_t)m->count * sizeof *g);
    model_forward(m, &acts, &b, NULL);
    model_backward(m, &acts, &b, dhidden, g);
    dev_get(got, g, (size_t)m->count * sizeof *got);
    attn_plan_free(plan);
    acts_free(&acts);
    arena_free(&a);
    free(dx);
    return got;
}

static void same_bits(void **state)
{
    (void)state;
    for (int o = 0; o < OPTIONS; o++) {
        struct model m;
        make(&m, &options[o].c);
        acc_t *want = gradient(&m, RECOMPUTE_NONE), sum = 0;
        for (int64_t i = 0; i < m.count; i++) sum += want[i] < 0 ? -want[i] : want[i];
        CHECK(sum > 0, "%s: no gradient", options[o].name);
        for (int k = 1; k < 3; k++) {
            acc_t *got = gradient(&m, modes[k]);
            for (int64_t i = 0; i < m.count; i++)
                CHECK(!memcmp(&got[i], &want[i], sizeof *got), "%s, mode %d: element %lld is %.9g, not %.9g",
                      options[o].name, k, (long long)i, (double)got[i], (double)want[i]);
            free(got);
        }
        free(want);
        model_free(&m);
    }
}

/* Bytes that layers but the first add to the arena. */
static size_t kept(const struct model_config *kind, enum recompute mode)
{
    struct model m;
    struct acts acts;
    struct arena many, one;
    make(&m, kind);
    arena_dry(&many, "many");
    acts_make(&acts, &m, ROWS, mode, true, &many);
    acts_free(&acts);
    m.c.layers = 1;
    arena_dry(&one, "one");
    acts_make(&acts, &m, ROWS, mode, true, &one);
    acts_free(&acts);
    m.c.layers = kind->layers;
    model_free(&m);
    return many.peak - one.peak;
}

/* ROWS and the widths are such that no piece is padded. */
static void bytes(void **state)
{
    (void)state;
    for (int o = 0; o < OPTIONS; o++) {
        const struct model_config *c = &options[o].c;
        size_t more = (size_t)(c->layers - 1) * ROWS, dim = 32, ff = 48, att = (size_t)c->heads * 16,
               qkv = (size_t)(c->heads + 2 * c->kv_heads) * 16, heads = (size_t)c->heads;
        size_t cheap = more * ((2 * dim + qkv + att) * sizeof(elem_t) + heads * sizeof(acc_t)),
               rest = more * ((2 * dim + 3 * ff + (c->qk_norm ? qkv : 0)) * sizeof(elem_t) +
                              (2 + (c->qk_norm ? heads + (size_t)c->kv_heads : 0)) * sizeof(acc_t));
        CHECK(kept(c, RECOMPUTE_FULL) == more * dim * sizeof(elem_t), "%s: full", options[o].name);
        CHECK(kept(c, RECOMPUTE_CHEAP) == cheap, "%s: cheap", options[o].name);
        CHECK(kept(c, RECOMPUTE_NONE) == cheap + rest, "%s: none", options[o].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_bits), cmocka_unit_test(bytes) };
    return cmocka_run_group_tests_name("acts", tests, NULL, NULL);
}
