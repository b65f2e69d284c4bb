/* test_zero_ranks.c: updates that several processes make together, against the same updates made by one: ranks with
 * more, fewer and no packs, zero 0, 1 and 2, a gradient that is not finite on one rank. tests/ranks/zero.sh starts it;
 * alone it plays one rank. */
#include "engine/learner/learner.h"
#include "base/philox.h"
#include "engine/comm/comm.h"
#include "kernels/ops.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

static const struct model_config shapes[] = {
    { .vocab = 259, .dim = 64, .layers = 5, .heads = 4, .kv_heads = 2, .head_dim = 16, .ff = 112, .max_len = 64,
      .rms_eps = 1e-5, .rope_theta = 100, .tied = true },
    { .vocab = 259, .dim = 64, .layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 16, .ff = 112, .max_len = 64,
      .rms_eps = 1e-5, .rope_theta = 100, .qkv_bias = true },
};
enum { LEN = 20, UPDATES = 3 };
static const struct optim_rule adam = { .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-4, .max_norm = 1 };

/* Rank 1 has no pack, the others 1, 3, 4, ... of them. */
static int packs_of(int rank) { return rank == 1 ? 0 : rank + 1; }

/* Packs [first, first + n) of update u. nan: of one target, the coefficient is not a number. */
static void gradient(struct learner *l, int u, int first, int n, bool nan)
{
    acc_t g[LEN];
    learner_begin(l, n);
    for (int k = first; k < first + n; k++) {
        struct pack p;
        int ids[LEN];
        uint8_t target[LEN];
        struct rng r = rng_make(5, (uint32_t)u, (uint32_t)k);
        for (int i = 0; i < LEN; i++) {
            ids[i] = (int)rng_below(&r, (uint32_t)l->m->c.vocab);
            target[i] = i > 3;
            g[i] = (acc_t)(nan && i == 9 ? (double)NAN : rng_uniform(&r) - 0.5);
        }
        pack_make(&p, &(struct seq_view){ .ids = ids, .m = target, .n = LEN }, 1);
        learner_grad(l, &p, 1, g, NULL, NULL, NULL);
        pack_free(&p);
    }
    learner_sum(l);
}

static void make(struct model *m, struct learner *l, int shape, struct learner_rule r)
{
    model_make(m, &shapes[shape]);
    model_init(m, 3);
    r.max_rows = 64;
    r.seed = 7;
    learner_make(l, m, r);
}

static elem_t *weights(const struct model *m)
{
    elem_t *w = xmalloc((size_t)m->count * sizeof *w);
    model_ready(m);
    dev_get(w, m->w, (size_t)m->count * sizeof *w);
    return w;
}

/* Whether all ranks have these bytes. */
static bool same_on_all(const void *x, size_t bytes)
{
    struct comm_parts all;
    bool same = true;
    comm_gather(&all, x, bytes);
    for (int r = 0; r < comm_ranks(); r++) same = same && !memcmp(all.p + all.begin[r], x, bytes);
    comm_parts_free(&all);
    return same;
}

/* The updates of one process that has all packs. */
static elem_t *alone(int shape, struct learner_rule rule, double *norm)
{
    struct model m;
    struct learner l;
    int all = 0;
    for (int r = 0; r < comm_ranks(); r++) all += packs_of(r);
    make(&m, &l, shape, rule);
    for (int u = 0; u < UPDATES; u++) {
        gradient(&l, u, 0, all, false);
        assert_true(learner_step(&l, &adam, &norm[u]));
    }
    elem_t *w = weights(&m);
    learner_free(&l);
    model_free(&m);
    return w;
}

static elem_t *together(int shape, struct learner_rule rule, const double *want)
{
    struct model m;
    struct learner l;
    int first = 0, mine = packs_of(comm_rank());
    for (int r = 0; r < comm_rank(); r++) first += packs_of(r);
    rule.ranks = comm_ranks();
    rule.rank = comm_rank();
    make(&m, &l, shape, rule);
    for (int u = 0; u < UPDATES; u++) {
        double norm;
        if (u == 1) {                       /* is left out, on all ranks */
            elem_t *before = weights(&m);
            gradient(&l, 9, first, mine, comm_first());
            CHECK(!learner_step(&l, &adam, &norm) && !isfinite(norm) && l.skipped_in_row == 1, "zero %d: a NaN",
                  l.zero);
            elem_t *after = weights(&m);
            CHECK(!memcmp(before, after, (size_t)m.count * sizeof *after), "zero %d: a NaN moves weights", l.zero);
            free(before);
            free(after);
        }
        gradient(&l, u, first, mine, false);
        assert_true(learner_step(&l, &adam, &norm));
        /* a moment rounded to the other neighbour moves a weight by a hundredth of the rate */
        CHECK_NEAR(norm, want[u], (l.bf16_moments ? 1e-4 : 1e-6) * want[u], "zero %d, offload %d, update %d: the norm",
                   l.zero, l.offload, u);
        CHECK(same_on_all(&norm, sizeof norm), "zero %d, update %d: norms of ranks differ", l.zero, u);
    }
    elem_t *w = weights(&m);
    CHECK(same_on_all(w, (size_t)m.count * sizeof *w), "zero %d: weights of ranks differ", l.zero);
    learner_free(&l);
    model_free(&m);
    return w;
}

static void test_updates(void **state)
{
    (void)state;
    for (int shape = 0; shape < 2; shape++)
        for (int bits = 0; bits < 4; bits++) {
            struct model m;
            double norm[UPDATES];
            struct learner_rule rule = { .offload = bits & 1, .bf16_moments = bits & 2 };
            model_lay_out(&m, &shapes[shape]);
            elem_t *one = alone(shape, rule, norm), *zero = NULL;
            for (rule.zero = 0; rule.zero < 3; rule.zero++) {
                elem_t *w = together(shape, rule, norm);
                for (int64_t i = 0; i < m.count && !rule.bf16_moments; i++)
                    CHECK_NEAR(elem_to(w[i]), elem_to(one[i]), sizeof(elem_t) < 4 ? 1e-2 : 1e-6,
                               "shape %d, zero %d, weight %lld", shape, rule.zero, (long long)i);
                if (rule.zero == 1)
                    CHECK(!memcmp(w, zero, (size_t)m.count * sizeof *w), "shape %d: zero 0 and 1 differ", shape);
                if (rule.zero == 0) zero = w;
                else free(w);
            }
            free(zero);
            free(one);
            model_free(&m);
        }
}

/* An exact sum: the bits of one process that has all packs, with its optimizer state in shards or not. */
static void test_exact(void **state)
{
    (void)state;
    for (int shape = 0; shape < 2; shape++)
        for (int zero = 0; zero < 2; zero++) {
            struct model m;
            double norm[UPDATES];
            struct learner_rule rule = { .exact = true, .zero = zero };
            model_lay_out(&m, &shapes[shape]);
            elem_t *one = alone(shape, rule, norm), *w = together(shape, rule, norm);
            CHECK(!memcmp(w, one, (size_t)m.count * sizeof *w), "shape %d, zero %d: the bits are others", shape, zero);
            free(one);
            free(w);
            model_free(&m);
        }
}

int main(void)
{
    struct err e;
    if (!comm_open(&(struct comm_options){ .timeout_s = 60 }, &e)) {
        print_error("%s\n", e.text);
        return 1;
    }
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_updates), cmocka_unit_test(test_exact) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed) exit(1);                    /* without comm_close: ends the others */
    if (comm_first()) printf("updates of %d ranks: right\n", comm_ranks());
    comm_close();
    return 0;
}
