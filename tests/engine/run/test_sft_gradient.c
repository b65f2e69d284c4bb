/* test_sft_gradient.c: the gradient of a supervised step is that of the mean negative log-probability of its targets:
 * against a sum over targets, one pass each, and against the change of the loss along it. AdamW and the clip at a norm
 * hide its scale from every test that looks at weights. */
#define _GNU_SOURCE     /* nftw */
#include "engine/run/sft.h"
#include "tests/engine/train/chat_session.h"
#include "tests/folder.h"
#include <math.h>

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static struct session s;
static struct config c;
static struct sft_conversations t;

/* Most of the tokens are no targets; one conversation has nearly all of them. */
static const char rows[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"you are short\"},{\"role\":\"user\",\"content\":\"what is "
    "it?\"},{\"role\":\"assistant\",\"content\":\"ho\"},{\"role\":\"user\",\"content\":\"and more words "
    "here\"},{\"role\":\"assistant\",\"content\":\"yes\"}]}\n"
    "{\"messages\":[{\"role\":\"user\",\"content\":\"7\"},{\"role\":\"assistant\",\"content\":\"a long answer of "
    "many more tokens than the others\"}]}\n"
    "{\"prompt\":\"plain words before\",\"response\":\"w\"}\n";

static int64_t targets(void)
{
    int64_t n = 0;
    for (int i = 0; i < t.n; i++)
        for (int k = 1; k < t.example[i].ids.n; k++) n += t.example[i].m[k];
    return n;
}

/* Mean negative log-probability of the targets under the present weights. */
static double loss(void)
{
    double sum = 0;
    for (int i = 0; i < t.n; i++) {
        const struct sft_example *d = &t.example[i];
        struct pack p;
        acc_t *logp = xcalloc((size_t)d->ids.n, sizeof *logp);
        pack_make(&p, &(struct seq_view){ .ids = d->ids.p, .m = d->m, .n = d->ids.n }, 1);
        learner_score(&s.learner, &p, &(struct score_rule){ .inv_temp = 1 }, logp, NULL);
        for (int k = 1; k < d->ids.n; k++)
            if (d->m[k]) sum -= (double)logp[k];
        pack_free(&p);
        free(logp);
    }
    return sum / (double)targets();
}

/* -1/T times the gradient of each target's log-probability, every target a pass of its own, summed in double. */
static double *naive_gradient(void)
{
    struct learner *l = &s.learner;
    double *sum = xcalloc((size_t)l->m->count, sizeof *sum), each = -1 / (double)targets();
    for (int i = 0; i < t.n; i++)
        for (int k = 1; k < t.example[i].ids.n; k++) {
            const struct sft_example *d = &t.example[i];
            if (!d->m[k]) continue;
            struct pack p;
            uint8_t *one = xcalloc((size_t)d->ids.n, 1);
            acc_t *g = xcalloc((size_t)d->ids.n, sizeof *g);
            one[k] = 1;
            g[k] = 1;
            pack_make(&p, &(struct seq_view){ .ids = d->ids.p, .m = one, .n = k + 1 }, 1);
            learner_zero(l);
            learner_grad(l, &p, 1, g, NULL, NULL, NULL);
            for (int64_t w = 0; w < l->m->count; w++) sum[w] += each * (double)l->g[w];
            pack_free(&p);
            free(one);
            free(g);
        }
    return sum;
}

struct seen { int reports; double loss, norm; };

static bool note(void *ctx, const struct sft_report *r)
{
    struct seen *x = ctx;
    if (r->part < r->whole) return true;
    x->reports++;
    x->loss = r->loss;
    x->norm = r->norm;
    return true;
}

/* One step on all rows, with weights that stay (lr 0); its gradient is left in the learner. */
static struct seen one_step(void)
{
    struct seen x = { 0 };
    struct err e;
    struct sft_rule r = { .steps = 1, .batch = 3, .lr = 0, .floor = 1, .beta1 = 0.9, .beta2 = 0.98, .max_norm = 1 };
    CHECK(sft_run_conversations(&s.learner, &t, &c, &r, note, &x, &e), "%s", e.text);
    assert_int_equal(x.reports, 1);
    return x;
}

static double norm_of(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

static void a_sum_over_targets(void **state)
{
    (void)state;
    int64_t n = s.learner.m->count;
    double before = loss(), *want = naive_gradient(), norm = norm_of(want, n);
    struct seen x = one_step();
    CHECK_NEAR(x.loss, before, 1e-5 * before, "loss of %lld targets", (long long)targets());
    CHECK_NEAR(x.norm, norm, 1e-4 * norm, "norm of the gradient");
    for (int64_t i = 0; i < n; i++)
        CHECK_NEAR(s.learner.g[i], want[i], 1e-5 * norm, "gradient of weight %lld", (long long)i);
    free(want);
}

/* A small step along the gradient changes the loss by the step's length times the gradient's norm. */
static void the_slope_of_the_loss(void **state)
{
    (void)state;
    struct model *m = s.learner.m;
    elem_t *w = xmalloc((size_t)m->count * sizeof *w);
    double h = 1e-3, side[2];
    memcpy(w, m->w, (size_t)m->count * sizeof *w);
    struct seen x = one_step();
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < m->count; i++)
            m->w[i] = (elem_t)((double)w[i] + (k ? h : -h) * (double)s.learner.g[i] / x.norm);
        gemm_weights_changed();
        side[k] = loss();
    }
    memcpy(m->w, w, (size_t)m->count * sizeof *w);
    gemm_weights_changed();
    CHECK_NEAR((side[1] - side[0]) / (2 * h), x.norm, 0.01 * x.norm, "slope of the loss along its gradient");
    free(w);
}

static int open_all(void **state)
{
    struct err e;
    if (make_dir(state)) return -1;
    chatty_model(dir);
    chatty_write(dir, "rows.jsonl", rows);
    chatty_set(&c, dir, KEYS("actor.ppo_max_token_len_per_gpu", "192", "data.train_files", in_dir("rows.jsonl")));
    if (!session_load(&s, &c, NULL, &e)) die("%s", e.text);
    if (!sft_conversations_open(&t, &c, &s.form, 4096, &e)) die("%s", e.text);
    ENSURE(t.n == 3);
    session_open_learner(&s);
    return 0;
}

static int close_all(void **state)
{
    sft_conversations_free(&t);
    session_close(&s);
    config_free(&c);
    return drop_dir(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_sum_over_targets),
                                        cmocka_unit_test(the_slope_of_the_loss) };
    return cmocka_run_group_tests_name("sft gradient", tests, open_all, close_all);
}
