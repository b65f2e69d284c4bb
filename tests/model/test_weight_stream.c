/* test_weight_stream.c: logits under weights in host memory have the bits of those on the device, pass after pass, for
 * tied and untied models of any number of layers. On the shim the queue of the copies is late, and the slots hold NaN
 * until a layer comes. */
#include "base/philox.h"
#include "model/forward.h"
#include "model/head.h"
#include "model/weight_stream.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { ROWS = 24 };

static const struct option { const char *name; struct model_config c; } options[] = {
    { "one layer", { .layers = 1, .heads = 2, .kv_heads = 2 } },
    { "one layer, tied", { .layers = 1, .heads = 2, .kv_heads = 2, .tied = true } },
    { "two layers, bias", { .layers = 2, .heads = 4, .kv_heads = 1, .qkv_bias = true } },
    { "five layers, q/k norm", { .layers = 5, .heads = 4, .kv_heads = 2, .qk_norm = true } },
    { "four layers, tied", { .layers = 4, .heads = 4, .kv_heads = 2, .qk_norm = true, .tied = true } },
};
enum { OPTIONS = sizeof options / sizeof *options };

static void make(struct model *m, const struct model_config *kind)
{
    struct model_config c = *kind;
    c.vocab = 67, c.dim = 32, c.head_dim = 16, c.ff = 48, c.max_len = ROWS, c.rms_eps = 1e-5, c.rope_theta = 100;
    model_make(m, &c);
    model_init(m, 5);
    /* norms and biases too, so that each weight matters */
    acc_t *x = xmalloc((size_t)m->count * sizeof *x);
    struct rng r = rng_make(9, 1, 0);
    model_get(x, m->w, m->count);
    for (int64_t i = 0; i < m->count; i++) x[i] += (acc_t)(0.2 * (rng_uniform(&r) - 0.5));
    model_put(m->w, x, m->count);
    gemm_weights_changed();
    free(x);
}

static acc_t *logits(const struct model *m, int turn)
{
    int ids[ROWS], pos[ROWS], end[ROWS], row[ROWS];
    for (int i = 0; i < ROWS; i++) ids[i] = (i * 29 + 3 + turn) % m->c.vocab, pos[i] = i, end[i] = ROWS, row[i] = i;
    struct arena a;
    struct acts acts;
    arena_make(&a, "logits", 2 << 20);
    acts_make(&acts, m, ROWS, RECOMPUTE_NONE, true, &a);
    struct attn_plan *plan = attn_plan_make(end, ROWS);
    int *d = arena_get(&a, 3 * sizeof ids, "ids"), *d_pos = d + ROWS, *d_row = d + 2 * ROWS;
    dev_put(d, ids, sizeof ids);
    dev_put(d_pos, pos, sizeof pos);
    dev_put(d_row, row, sizeof row);
    elem_t *out = arena_elems(&a, ROWS * vocab_ld(m), "logits"), *x = arena_elems(&a, ROWS * m->c.dim, "head in");
    acc_t *got = xmalloc((size_t)(ROWS * vocab_ld(m)) * sizeof *got);
    model_forward(m, &acts, &(struct batch){ .n = ROWS, .ids = d, .pos = d_pos, .plan = plan }, NULL);
    /* in two chunks: the head stays */
    head_forward(m, out, x, acts.hidden, d_row, ROWS / 2);
    head_forward(m, out + ROWS / 2 * vocab_ld(m), x, acts.hidden, d_row + ROWS / 2, ROWS / 2);
    model_get(got, out, ROWS * vocab_ld(m));
    attn_plan_free(plan);
    acts_free(&acts);
    arena_free(&a);
    return got;
}

static void same_bits(void **state)
{
    (void)state;
    for (int o = 0; o < OPTIONS; o++) {
        struct model m;
        struct weight_stream s;
        struct arena dry, a;
        make(&m, &options[o].c);
        struct model copy = m;
        size_t bytes = (size_t)m.count * sizeof *m.w;
        arena_dry(&dry, "stream");
        weight_stream_make(&s, &m, &dry);
        arena_make(&a, "stream", dry.peak);
        weight_stream_make(&s, &m, &a);
        copy.w = dev_host_alloc(bytes);
        copy.stream = &s;
        dev_copy(copy.w, m.w, bytes);
        for (int turn = 0; turn < 3; turn++) {
            acc_t *want = logits(&m, turn), *got = logits(&copy, turn);
            for (int i = 0; i < ROWS; i++)
                CHECK(!memcmp(got + i * vocab_ld(&m), want + i * vocab_ld(&m), (size_t)m.c.vocab * sizeof *got),
                      "%s, pass %d: row %d", options[o].name, turn, i);
            free(want);
            free(got);
        }
        dev_host_free(copy.w);
        arena_free(&a);
        model_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_bits) };
    setenv("APPO_SIMT_GPU", "late", 1);
    return cmocka_run_group_tests_name("weight stream", tests, NULL, NULL);
}
