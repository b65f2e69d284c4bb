/* test_optimizer.c: where the optimizer's state lies changes no bit: on the device, or in host memory with AdamW
 * walking over it in pieces. On the shim the queues of the copies are late: work that nothing waits for is not done. */
#include "engine/learner/learner.h"
#include "base/philox.h"
#include "kernels/ops.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { STEPS = 4 };

static void make(struct model *m, struct learner *l, struct learner_rule r)
{
    const struct model_config c = { .vocab = 259, .dim = 64, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 16,
                                    .ff = 112, .max_len = 32, .rms_eps = 1e-5, .rope_theta = 100, .qkv_bias = true };
    model_make(m, &c);
    model_init(m, 3);
    r.max_rows = 8;
    r.seed = 7;
    learner_make(l, m, r);
}

/* Gradients of STEPS steps, the third of which is not finite. */
static void steps(struct learner *l, const struct optim_rule *o)
{
    int64_t n = l->m->count;
    acc_t *g = xmalloc((size_t)n * sizeof *g);
    for (int k = 0; k < STEPS; k++) {
        struct rng r = rng_make(13, (uint32_t)k, 0);
        double norm;
        for (int64_t i = 0; i < n; i++) g[i] = (acc_t)(0.02 * (rng_uniform(&r) - 0.5));
        if (k == 2) g[n / 2] = (acc_t)NAN;
        dev_put(l->g, g, (size_t)n * sizeof *g);
        CHECK(learner_step(l, o, &norm) == (k != 2), "step %d", k);
    }
    free(g);
}

struct state { int64_t n; elem_t *w; char *adam1, *adam2; acc_t *master; };
static void *fetched(const void *p, size_t bytes)
{
    char *x = xmalloc(bytes);
    dev_get(x, p, bytes);
    return x;
}

static struct state run(struct learner_rule r, const struct optim_rule *o, int *pieces)
{
    struct model m;
    struct learner l;
    make(&m, &l, r);
    steps(&l, o);
    size_t n = (size_t)m.count, moments = n * (r.bf16_moments ? 2 : sizeof(acc_t));
    *pieces = l.offload ? (int)((m.count + l.piece - 1) / l.piece) : 1;
    struct state s = { m.count, fetched(m.w, n * sizeof(elem_t)), fetched(l.adam1, moments), fetched(l.adam2, moments),
                       l.master ? fetched(l.master, n * sizeof(acc_t)) : NULL };
    learner_free(&l);
    model_free(&m);
    return s;
}
static void state_free(struct state *s) { free(s->w); free(s->adam1); free(s->adam2); free(s->master); }

static void same_bits(void **state)
{
    (void)state;
    static const struct optim_rule rules[] = {
        { .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1, .max_norm = 1 },
        { .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = 0.3, .decay_all = true },
    };
    for (int k = 0; k < 6; k++) {
        struct learner_rule r = { .bf16_moments = k & 1, .no_master = k >= 4 };
        int pieces;
        struct state here = run(r, &rules[k / 2 % 2], &pieces);
        r.offload = true;
        struct state there = run(r, &rules[k / 2 % 2], &pieces);
        size_t n = (size_t)here.n, moments = n * (r.bf16_moments ? 2 : sizeof(acc_t));
        CHECK(pieces >= 5, "%d pieces: too few to see their order", pieces);
        CHECK(!memcmp(here.w, there.w, n * sizeof *here.w), "case %d: weights", k);
        CHECK(!memcmp(here.adam1, there.adam1, moments), "case %d: first moment", k);
        CHECK(!memcmp(here.adam2, there.adam2, moments), "case %d: second moment", k);
        CHECK(!here.master == (r.no_master || sizeof(elem_t) == sizeof(acc_t)), "case %d: a master copy", k);
        CHECK(!here.master == !there.master && (!here.master || !memcmp(here.master, there.master, n * sizeof(acc_t))),
              "case %d: master weights", k);
        state_free(&here);
        state_free(&there);
    }
}

/* What is on the device: two pieces instead of the state. */
static void bytes(void **state)
{
    (void)state;
    struct model m;
    struct learner l, host;
    make(&m, &l, (struct learner_rule){ 0 });
    learner_lay_out(&host, &m, (struct learner_rule){ .max_rows = 8, .offload = true });
    size_t n = (size_t)m.count, vectors = l.master ? 3 : 2, each = n * sizeof(acc_t);
    CHECK(l.host_bytes == 0 && !l.host, "nothing is in host memory");
    CHECK(host.host_bytes >= vectors * each && host.host_bytes < vectors * (each + 256), "host: %zu", host.host_bytes);
    size_t moved = l.state.peak - host.state.peak, pieces = 2 * vectors * (size_t)host.piece * sizeof(acc_t);
    CHECK(moved <= vectors * (each + 256) - pieces && moved + pieces >= vectors * each, "device: %zu moved", moved);
    learner_free(&host);
    learner_free(&l);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_bits), cmocka_unit_test(bytes) };
    setenv("APPO_SIMT_GPU", "late", 1);
    return cmocka_run_group_tests_name("optimizer", tests, NULL, NULL);
}
