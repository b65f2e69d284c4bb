/* test_zero.c: the cuts of the flat vector, and that a rank's part of the work is that part of the whole, bit for bit.
 * One process plays each rank in turn, so that a sum over the ranks is its own part alone; several processes are
 * tests/ranks/zero.sh. */
#include "engine/learner/learner.h"
#include "base/philox.h"
#include "kernels/ops.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

static const struct model_config shapes[] = {
    { .vocab = 259, .dim = 64, .layers = 5, .heads = 4, .kv_heads = 2, .head_dim = 16, .ff = 112, .tied = true },
    { .vocab = 259, .dim = 64, .layers = 5, .heads = 4, .kv_heads = 2, .head_dim = 16, .ff = 112, .qkv_bias = true },
    { .vocab = 33, .dim = 32, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 16, .ff = 48, .qk_norm = true },
    { .vocab = 20000, .dim = 512, .layers = 28, .heads = 4, .kv_heads = 2, .head_dim = 128, .ff = 1024 },
};
enum { SHAPES = 4, SMALL = 3 };

static struct model_config shape(int i)
{
    struct model_config c = shapes[i];
    c.max_len = 64;
    c.rms_eps = 1e-5;
    c.rope_theta = 100;
    return c;
}

/* Ranges follow one another from 0 to count, begin at multiples of 64, and none is longer than the first. */
static void test_ranges(void **state)
{
    (void)state;
    static const int64_t counts[] = { 1, 63, 64, 65, 1000, 4097, 7615616512 };
    static const int ranks[] = { 1, 2, 3, 4, 7, 64, 1024 };
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (size_t k = 0; k < sizeof ranks / sizeof *ranks; k++) {
            int64_t most = shard_begin(counts[c], ranks[k], 1);
            CHECK(shard_begin(counts[c], ranks[k], 0) == 0 && shard_begin(counts[c], ranks[k], ranks[k]) == counts[c],
                  "%lld weights, %d ranks: the ends", (long long)counts[c], ranks[k]);
            CHECK(most <= counts[c] / ranks[k] + 64, "%lld weights, %d ranks: rank 0 has %lld", (long long)counts[c],
                  ranks[k], (long long)most);
            for (int r = 0; r < ranks[k]; r++) {
                int64_t from = shard_begin(counts[c], ranks[k], r), to = shard_begin(counts[c], ranks[k], r + 1);
                CHECK(from <= to && to - from <= most && (from % 64 == 0 || from == counts[c]),
                      "range %d of %d: %lld to %lld", r, ranks[k], (long long)from, (long long)to);
            }
        }
}

/* Buckets follow one another, the embedding and a head of its own are alone, and a layer is never cut. */
static void test_buckets(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        struct model m;
        struct buckets b;
        struct model_config c = shape(i);
        model_lay_out(&m, &c);
        buckets_make(&b, &m);
        CHECK(b.begin[0] == 0 && b.begin[b.n] == m.count && b.begin[1] == m.layer[0].norm1, "shape %d: the ends", i);
        CHECK(c.tied || b.begin[b.n - 1] == m.norm, "shape %d: the head is not alone", i);
        CHECK(i != 3 || b.n >= 6, "shape %d: %d buckets", i, b.n);
        for (int k = 0; k < b.n; k++) {
            int64_t at = b.begin[k];
            bool edge = k == 0 || at == m.norm;
            for (int l = 0; l < c.layers; l++) edge = edge || at == m.layer[l].norm1;
            CHECK(at < b.begin[k + 1] && edge && bucket_of(&b, at) == k && bucket_of(&b, b.begin[k + 1] - 1) == k,
                  "shape %d: bucket %d begins at %lld", i, k, (long long)at);
            for (int ranks = 1; ranks < 6; ranks++) {
                int64_t next = at, from, to;
                for (int r = 0; r < ranks; r++, next = to) {
                    bucket_part(&b, k, ranks, r, &from, &to);
                    CHECK(from == next && to >= from, "bucket %d, rank %d of %d: %lld to %lld", k, r, ranks,
                          (long long)from, (long long)to);
                }
                CHECK(next == b.begin[k + 1], "bucket %d of %d ranks ends at %lld", k, ranks, (long long)next);
            }
        }
        buckets_free(&b);
        model_free(&m);
    }
}

static void make(struct model *m, struct learner *l, int i, struct learner_rule r)
{
    struct model_config c = shape(i);
    model_make(m, &c);
    model_init(m, 3);
    r.max_rows = 64;
    r.seed = 7;
    learner_make(l, m, r);
}

static void drop(struct model *m, struct learner *l)
{
    learner_free(l);
    model_free(m);
}

static void *fetched(const void *p, size_t bytes)
{
    char *x = xmalloc(bytes + 1);
    dev_get(x, p, bytes);
    return x;
}

/* Three steps with given gradients of all weights; of them l holds [g_from, g_from + g_n). */
static void steps(struct learner *l)
{
    int64_t n = l->m->count;
    struct optim_rule o = { .lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .decay = 0.1 };
    acc_t *g = xmalloc((size_t)n * sizeof *g);
    for (int k = 0; k < 3; k++) {
        struct rng r = rng_make(13, (uint32_t)k, 0);
        double norm;
        for (int64_t i = 0; i < n; i++) g[i] = (acc_t)(0.02 * (rng_uniform(&r) - 0.5));
        learner_begin(l, 0);
        dev_put(l->g, g + l->g_from, (size_t)l->g_n * sizeof *g);
        learner_sum(l);
        assert_true(learner_step(l, &o, &norm));
    }
    model_ready(l->m);
    free(g);
}

static void check_part(const char *what, const void *whole, const void *part, int64_t from, int64_t n, size_t size,
                       const struct learner_rule *r)
{
    CHECK(!memcmp((const char *)whole + (size_t)from * size, part, (size_t)n * size),
          "%s of rank %d of %d differ, zero %d, bf16 moments %d, offload %d", what, r->rank, r->ranks, r->zero,
          r->bf16_moments, r->offload);
}

/* Every rank's AdamW makes its range of what one rank makes, and leaves the others' weights alone. */
static void test_adamw(void **state)
{
    (void)state;
    for (int bits = 0; bits < 4; bits++) {
        struct model m, part;
        struct learner l, k;
        struct learner_rule r = { .bf16_moments = bits & 1, .offload = bits & 2 };
        make(&m, &l, 1, r);
        size_t n = (size_t)m.count, each = r.bf16_moments ? sizeof(uint16_t) : sizeof(acc_t);
        elem_t *first = fetched(m.w, n * sizeof(elem_t));
        steps(&l);
        elem_t *w = fetched(m.w, n * sizeof(elem_t));
        char *adam1 = fetched(l.adam1, n * each), *adam2 = fetched(l.adam2, n * each);
        r.ranks = 3;
        for (r.zero = 1; r.zero < 3; r.zero++)
            for (r.rank = 0; r.rank < r.ranks; r.rank++) {
                make(&part, &k, 1, r);
                steps(&k);
                int64_t from = k.state_from, held = k.state_n;
                elem_t *got = fetched(part.w, n * sizeof(elem_t));
                char *m1 = fetched(k.adam1, (size_t)held * each), *m2 = fetched(k.adam2, (size_t)held * each);
                check_part("weights", w, got + from, from, held, sizeof(elem_t), &r);
                check_part("other weights", first, got, 0, from, sizeof(elem_t), &r);
                check_part("other weights", first, got + from + held, from + held, m.count - from - held,
                           sizeof(elem_t), &r);
                check_part("first moments", adam1, m1, from, held, each, &r);
                check_part("second moments", adam2, m2, from, held, each, &r);
                free(got); free(m1); free(m2);
                drop(&part, &k);
            }
        free(first); free(w); free(adam1); free(adam2);
        drop(&m, &l);
    }
}

enum { LEN = 20 };
/* The gradient of `packs` packs of one sequence each. */
static void gradient(struct learner *l, int packs)
{
    acc_t g[LEN];
    learner_begin(l, packs);
    for (int k = 0; k < packs; k++) {
        struct pack p;
        int ids[LEN];
        uint8_t target[LEN];
        struct rng r = rng_make(5, (uint32_t)k, 0);
        for (int i = 0; i < LEN; i++) {
            ids[i] = (int)rng_below(&r, (uint32_t)l->m->c.vocab);
            target[i] = i > 3;
            g[i] = (acc_t)(rng_uniform(&r) - 0.5);
        }
        pack_make(&p, &(struct seq_view){ .ids = ids, .m = target, .n = LEN }, 1);
        learner_grad(l, &p, 1, g, NULL, NULL, NULL);
        pack_free(&p);
    }
    learner_sum(l);
}

/* What goes through buckets is the gradient: of one pack the same bits; of several, whose sums are then rounded at
 * other places, next to it. */
static void test_bucketed_gradient(void **state)
{
    (void)state;
    for (int i = 0; i < SMALL; i++)
        for (int packs = 0; packs < 4; packs++) {
            struct model m, part;
            struct learner l, k;
            struct optim_rule o = { .lr = 0, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8 };
            double norm, squares = 0, whole;
            make(&m, &l, i, (struct learner_rule){ 0 });
            gradient(&l, packs);
            acc_t *g = fetched(l.g, (size_t)m.count * sizeof *g);
            assert_true(learner_step(&l, &o, &whole));
            struct learner_rule r = { .ranks = 4, .zero = 2 };
            for (; r.rank < r.ranks; r.rank++) {
                make(&part, &k, i, r);
                gradient(&k, packs);
                assert_true(learner_step(&k, &o, &norm));
                acc_t *got = fetched(k.g, (size_t)k.g_n * sizeof *got);
                squares += norm * norm;
                CHECK(k.g_from == k.state_from && k.g_n == k.state_n && k.g_n < m.count, "rank %d", r.rank);
                for (int64_t j = 0; j < k.g_n; j++) {
                    double want = (double)g[k.g_from + j], is = (double)got[j];
                    CHECK(packs < 2 ? is == want : fabs(is - want) <= 2e-6 * (0.1 + fabs(want)),
                          "shape %d, %d packs, rank %d, weight %lld: %.9g, want %.9g", i, packs, r.rank,
                          (long long)(k.g_from + j), is, want);
                }
                free(got);
                drop(&part, &k);
            }
            CHECK_NEAR(squares, whole * whole, 1e-6 * whole * whole, "the norm of %d packs, squared", packs);
            free(g);
            drop(&m, &l);
        }
}

/* What rank 0 of n allocates: a quarter of what is shared out. */
static void test_memory(void **state)
{
    (void)state;
    struct model m;
    struct model_config c = shape(3);
    model_lay_out(&m, &c);
    size_t count = (size_t)m.count * sizeof(acc_t), shard = (size_t)shard_begin(m.count, 4, 1) * sizeof(acc_t),
           part = sizeof(elem_t) == sizeof(acc_t) ? 2 : 3, slack = 16 * 256;
    const struct { int ranks, zero; size_t want; } cases[] = {
        { 1, 2, count + part * count }, { 4, 0, count + part * count }, { 4, 1, count + part * shard },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct learner l;
        learner_lay_out(&l, &m, (struct learner_rule){
            .max_rows = 16, .ranks = cases[i].ranks, .zero = cases[i].zero });
        CHECK(l.state.peak >= cases[i].want && l.state.peak < cases[i].want + slack, "%d ranks, zero %d: %zu, want %zu",
              cases[i].ranks, cases[i].zero, l.state.peak, cases[i].want);
        learner_free(&l);
    }
    struct learner l;
    learner_lay_out(&l, &m, (struct learner_rule){ .max_rows = 16, .ranks = 4, .zero = 2 });
    size_t most = 0;
    for (int k = 1; k + 1 < l.buckets.n; k++) {
        size_t bytes = (size_t)(l.buckets.begin[k + 1] - l.buckets.begin[k]) * sizeof(acc_t);
        most = bytes > most ? bytes : most;
    }
    size_t head = (size_t)(m.count - m.norm) * sizeof(acc_t), want = shard + part * shard + head + 2 * most;
    CHECK(l.state.peak > want - most && l.state.peak < want + slack, "zero 2: %zu, want about %zu", l.state.peak, want);
    CHECK(l.state.peak < count + part * shard, "zero 2 of 4 ranks: %zu, zero 1 has %zu", l.state.peak,
          count + part * shard);
    learner_free(&l);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_bucketed_gradient),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
