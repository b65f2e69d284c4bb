/* test_checkpoint.c: checkpoints of one trainer: what is written comes back; numbers that are not finite are neither
 * written nor read; a checkpoint of the same number is replaced without a moment between; what of it decides whether a
 * run may go on. */
#define _GNU_SOURCE      /* nftw */
#include "engine/run/checkpoint_write.h"
#include "engine/run/run_record.h"
#include "engine/train/policy_update.h"
#include "tests/engine/train/mini.h"
#include "tests/folder.h"
#include <math.h>

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static struct mini x;
static struct run_report report;
static struct ckpt_extra extra = { .mark = { 12, 34 }, .best = { 2, 0.5 } };

static int open_all(void **state)
{
    struct err e;
    if (make_dir(state)) return -1;
    mini_open(&x, KEYS("actor.use_kl_loss", "true", "actor.kl_loss_coef", "0.01"), NULL, 5);
    return run_record_hashes(&extra, &x.s, &e) ? 0 : -1;
}
static int close_all(void **state)
{
    mini_close(&x);
    return drop_dir(state);
}

static bool save(int step, struct err *e)
{
    x.t.step = step;
    return ckpt_save(&x.t, &report, &extra, dir, e);
}

static bool take(const char *folder, struct ckpt_state *s, struct metrics *m, bool *pending, struct err *e)
{
    return ckpt_whole(folder, true, e) && ckpt_read(s, folder, -1, e) && ckpt_matches(&x.t, &extra, s, folder, e) &&
           ckpt_load(&x.t, &report, s, folder, m, pending, e);
}

static void comes_back(void **state)
{
    (void)state;
    struct err e;
    struct ckpt_state s = { 0 };
    struct metrics put = { 0 }, got = { 0 };
    bool pending = false;
    int64_t n = x.s.m.count;
    acc_t *adam = xcalloc((size_t)n, sizeof *adam), *back = xcalloc((size_t)n, sizeof *back);
    for (int64_t i = 0; i < n; i++) adam[i] = (acc_t)(0.25 + (double)i);
    dev_put(x.s.learner.adam2, adam, (size_t)n * sizeof *adam);
    metrics_put(&put, "b/second", 1.0 / 3);
    metrics_put(&put, "a/first", (double)NAN);
    extra.pending = &put;
    extra.rolling = true;
    x.t.tokens_trained = 77;
    CHECK(save(3, &e), "%s", e.text);
    extra.pending = NULL;
    extra.rolling = false;
    x.t.step = 0;
    x.t.tokens_trained = 0;
    memset(adam, 0, (size_t)n * sizeof *adam);
    dev_put(x.s.learner.adam2, adam, (size_t)n * sizeof *adam);
    CHECK(take(in_dir("global_step_3"), &s, &got, &pending, &e), "%s", e.text);
    dev_get(back, x.s.learner.adam2, (size_t)n * sizeof *back);
    for (int64_t i = 0; i < n; i++) CHECK_NEAR(back[i], 0.25 + (double)i, 0, "moment %lld", (long long)i);
    CHECK(x.t.step == 3 && x.t.tokens_trained == 77 && s.rolling && s.mark.bytes == 12 && s.mark.hash == 34 &&
              s.best.step == 2,
          "counts");
    CHECK(pending && got.n == 2 && !strcmp(got.v[0].name, "b/second") && isnan(got.v[1].value), "%d metrics", got.n);
    CHECK_NEAR(got.v[0].value, 1.0 / 3, 0, "a metric");
    CHECK(ckpt_get_step(dir, "latest_checkpointed_iteration.txt") == 3, "noted");
    ckpt_state_free(&s);
    metrics_free(&put);
    metrics_free(&got);
    free(adam);
    free(back);
}

/* One number is put somewhere, and the checkpoint rejected by its name; what is there stays. */
static void not_finite(void **state)
{
    (void)state;
    struct err e;
    static const double bad[] = { (double)NAN, (double)INFINITY, -(double)INFINITY, -1e-9 };
    int64_t n = x.s.m.count;
    acc_t *host = xcalloc((size_t)n, sizeof *host), *was = xcalloc((size_t)n, sizeof *was);
    for (int what = 0; what < 3; what++)
        for (int k = 0; k < 4; k++) {
            if (k == 3 && what != 2) continue;           /* weights and first moments may be below 0 */
            void *at = what == 0 ? (void *)x.s.m.w : what == 1 ? x.s.learner.adam1 : x.s.learner.adam2;
            if (what == 0 && sizeof(elem_t) != sizeof(acc_t)) continue;
            dev_get(was, at, (size_t)n * sizeof *was);
            memcpy(host, was, (size_t)n * sizeof *host);
            host[n / 2] = (acc_t)bad[k];
            dev_put(at, host, (size_t)n * sizeof *host);
            CHECK(!save(3, &e) && strstr(e.text, k == 3 ? "is below 0" : "a NaN or an infinity"), "%d, %g: %s", what,
                  bad[k], e.text);
            CHECK(strstr(e.text, what == 0 ? "model.safetensors" : what == 1 ? "exp_avg" : "exp_avg_sq"), "%s", e.text);
            CHECK(ckpt_whole(in_dir("global_step_3"), true, &e), "%s", e.text);
            dev_put(at, was, (size_t)n * sizeof *was);
        }
    int left = 0, *step = ckpt_list(dir, &left);
    CHECK(left == 1 && step[0] == 3, "%d checkpoints", left);
    free(step);
    free(host);
    free(was);
}

static void replaced(void **state)
{
    (void)state;
    struct err e;
    CHECK(save(3, &e), "%s", e.text);
    assert_true(file_write(in_dir("global_step_3/notes.txt"), "mine", 4, &e));
    CHECK(save(3, &e), "%s", e.text);
    CHECK(ckpt_whole(in_dir("global_step_3"), true, &e), "%s", e.text);
    CHECK(file_exists(in_dir("old-1/notes.txt")) && !file_exists(in_dir("old-1/state.json")) &&
              !file_exists(in_dir("global_step_3/notes.txt")),
          "a file of a user's");
}

static void set_all(double w, double moment)
{
    size_t n = (size_t)x.s.m.count;
    elem_t *e = xmalloc(n * sizeof *e);
    acc_t *a = xmalloc(n * sizeof *a);
    for (size_t i = 0; i < n; i++) { e[i] = elem_from(w); a[i] = (acc_t)moment; }
    dev_put(x.s.m.w, e, n * sizeof *e);
    dev_put(x.s.learner.adam1, a, n * sizeof *a);
    free(e);
    free(a);
}

/* Written by a thread: the numbers are those of the call, not those of later steps. The folder appears by ckpt_commit.
 * A number that is not finite is found by the thread. */
static void written_aside(void **state)
{
    (void)state;
    struct err e;
    struct ckpt_job j;
    struct ckpt_state s = { 0 };
    struct metrics m = { 0 };
    bool pending;
    const double bad[] = { 2, (double)NAN };
    size_t bytes = (size_t)x.s.m.count * sizeof(elem_t);
    elem_t *was = xmalloc(bytes), w;
    acc_t a;
    dev_get(was, x.s.m.w, bytes);
    for (int k = 0; k < 2; k++) {
        const char *folder = in_dir(k ? "global_step_8" : "global_step_7");
        x.t.step = 7 + k;
        set_all(0.5, bad[k]);
        CHECK(ckpt_begin(&j, &x.t, &report, &extra, dir, &e), "%s", e.text);
        ckpt_write_aside(&j);
        set_all(4, 8);
        bool ok = ckpt_wait(&j, &e);
        CHECK(ok == !k && !file_exists(folder), "written %d, %s", ok, ok ? "" : e.text);
        CHECK(ckpt_commit(&j, ok, &e) == !k && file_exists(folder) == !k, "%s", e.text);
        CHECK(!k || strstr(e.text, "exp_avg is a NaN"), "%s", e.text);
        CHECK(!file_exists(j.tmp), "%s is left", j.tmp);
        ckpt_job_free(&j);
    }
    CHECK(take(in_dir("global_step_7"), &s, &m, &pending, &e), "%s", e.text);
    dev_get(&w, x.s.m.w, sizeof w);
    dev_get(&a, (acc_t *)x.s.learner.adam1 + x.s.m.count / 2, sizeof a);
    CHECK_NEAR(elem_to(w), 0.5, 0, "a weight");
    CHECK_NEAR(a, 2, 0, "a moment");
    ckpt_state_free(&s);
    dev_put(x.s.m.w, was, bytes);
    free(was);
}

/* A warm-up that is a share of all steps is that of the run's beginning, however many steps are to follow. */
static void warmup_stays(void **state)
{
    (void)state;
    struct err e;
    struct ckpt_state s = { 0 };
    struct metrics m = { 0 };
    bool pending;
    const int given = x.c.actor.optim_lr_warmup_steps, warmup = x.t.warmup;
    const struct { int given, now, want; } cases[] = { { -1, 40, 20 }, { -1, 20, 20 }, { 7, 7, 7 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        x.c.actor.optim_lr_warmup_steps = cases[i].given;
        x.t.warmup = cases[i].given < 0 ? 20 : cases[i].given;
        CHECK(save(5, &e), "%s", e.text);
        x.t.warmup = cases[i].now;
        CHECK(take(in_dir("global_step_5"), &s, &m, &pending, &e), "%s", e.text);
        CHECK(x.t.warmup == cases[i].want, "%d steps", x.t.warmup);
        CHECK_NEAR(trainer_lr(&x.t), x.c.actor.optim_lr * fmin(1, 6.0 / cases[i].want), 1e-12, "the rate of step 6");
        ckpt_state_free(&s);
    }
    x.c.actor.optim_lr_warmup_steps = given;
    x.t.warmup = warmup;
}

/* Each of these is another run. */
static void another_run(void **state)
{
    (void)state;
    struct err e;
    struct ckpt_state s = { 0 };
    CHECK(save(3, &e) && ckpt_read(&s, in_dir("global_step_3"), 3, &e), "%s", e.text);
    CHECK(ckpt_matches(&x.t, &extra, &s, "F", &e), "%s", e.text);
    struct ckpt_extra other = extra;
    other.tokenizer++;
    CHECK(!ckpt_matches(&x.t, &other, &s, "F", &e) && strstr(e.text, "F/state.json: model.path has another tokenizer"),
          "%s", e.text);
    other = extra;
    other.cache = 5;
    CHECK(!ckpt_matches(&x.t, &other, &s, "F", &e) && strstr(e.text, "tools.search_cache holds other searches"), "%s",
          e.text);
    x.s.val.rows.n = 1;
    CHECK(!ckpt_matches(&x.t, &extra, &s, "F", &e) && strstr(e.text, "data.val_files hold other"), "%s", e.text);
    x.s.val.rows.n = 0;
    double lr = x.c.actor.optim_lr;
    x.c.actor.optim_lr *= 2;
    CHECK(!ckpt_matches(&x.t, &extra, &s, "F", &e) && strstr(e.text, "actor.optim.lr="), "%s", e.text);
    x.c.actor.optim_lr = lr;
    x.c.actor.ppo_max_token_len_per_gpu++;
    x.c.trainer.total_training_steps++;
    CHECK(ckpt_matches(&x.t, &extra, &s, "F", &e), "%s", e.text);
    /* a state from before there was the key: its default is what the run was made with, another value is not */
    assert_int_equal(json_object_del(json_object_get(s.json, "config"), "actor.policy_loss.loss_mode"), 0);
    CHECK(ckpt_matches(&x.t, &extra, &s, "F", &e), "%s", e.text);
    x.c.actor.policy_loss_loss_mode = LOSS_CISPO;
    CHECK(!ckpt_matches(&x.t, &extra, &s, "F", &e) &&
              strstr(e.text, "was made with actor.policy_loss.loss_mode=\"vanilla\", now it is \"cispo\""),
          "%s", e.text);
    x.c.actor.policy_loss_loss_mode = LOSS_PPO;
    ckpt_state_free(&s);
    /* a number that is none must not make the state one that cannot be read */
    double diff = x.t.probs_diff_max;
    x.t.probs_diff_max = (double)NAN;
    CHECK(save(4, &e) && ckpt_read(&s, in_dir("global_step_4"), 4, &e), "%s", e.text);
    x.t.probs_diff_max = diff;
    ckpt_state_free(&s);
    CHECK(!ckpt_read(&s, in_dir("global_step_3"), 4, &e) && strstr(e.text, "is the state after step 3, not 4"), "%s",
          e.text);
    ckpt_state_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(comes_back), cmocka_unit_test(not_finite),
                                        cmocka_unit_test(replaced), cmocka_unit_test(written_aside),
                                        cmocka_unit_test(another_run), cmocka_unit_test(warmup_stays) };
    return cmocka_run_group_tests_name("ckpt", tests, open_all, close_all);
}
