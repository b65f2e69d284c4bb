/* test_probs_diff.c: training/rollout_probs_diff where sampler and trainer differ: one weight is changed between
 * sampling and training, and the metric must be the difference of the two forward passes, computed here one rollout at
 * a time. In an exact build it is 0 without that, so no other test has seen it move. */
#define _GNU_SOURCE      /* nftw */
#include "engine/report/step_metrics.h"
#include "engine/train/policy_update.h"
#include "tests/engine/train/mini.h"
#include <math.h>

enum { PROMPTS = 3 };

struct diff { double n, sum, min, max; };

/* |p - p_rollout| of the trained tokens of initial rollouts under the present weights, rows chosen by counts[]. */
static struct diff diff_of(const struct mini *x, const struct group *g, const bool *counts)
{
    struct diff d = { 0, 0, HUGE_VAL, 0 };
    for (int p = 0; p < PROMPTS; p++)
        for (int j = 0; counts[p] && j < g[p].initial; j++) {
            const struct sequence *seq = &g[p].traj[j]->seq;
            acc_t *logp = xcalloc((size_t)seq->n, sizeof *logp);
            mini_fresh(x, seq, NULL, 0, logp, NULL);
            for (int i = seq->prompt_len; i < seq->n; i++) {
                if (!seq->m[i]) continue;
                double diff = fabs(exp((double)logp[i - seq->prompt_len]) - exp((double)seq->logp[i]));
                d.n++;
                d.sum += diff;
                d.min = fmin(d.min, diff);
                d.max = fmax(d.max, diff);
            }
            free(logp);
        }
    return d;
}

static void is(const struct metrics *m, const char *name, double want)
{
    CHECK_NEAR(metrics_get(m, name), want, 1e-12 + 1e-9 * want, "%s", name);
}

/* The rewards of the initial rollouts of every prompt but flat differ; those of flat and of all branches do not. */
static void set_rewards(struct group *g, int flat)
{
    for (int p = 0; p < PROMPTS; p++)
        for (int j = 0; j < g[p].n; j++) g[p].traj[j]->seq.reward = p == flat || g[p].traj[j]->branch ? 1 : j % 2;
}

/* nudge: what is added to one weight. flat: the prompt whose rollouts have no advantage, -1: none; they are trained
 * only with actor.live_rows_only=false. */
static void check(double nudge, int flat, bool live_only)
{
    struct mini x;
    struct group g[PROMPTS];
    struct step_sums z = { 0 };
    struct metrics m = { 0 };
    bool counts[PROMPTS];
    mini_open(&x, (const char *const[]){ "data.train_batch_size", "3", "actor.ppo_mini_batch_size", "3", "rollout.n",
        "6", "rollout.initial_rollouts", "3", "branch.points", "1", "data.max_response_length", "40",
        "rollout.max_len", "104", "actor.live_rows_only", live_only ? "true" : "false", NULL }, NULL, 5);
    x.script.calls = 60;                                    /* results of tools are not trained and not counted */
    mini_sample(&x, g, PROMPTS, 0);
    mini_branch(&x, g, PROMPTS, false, &z);
    set_rewards(g, flat);
    x.s.m.w[x.s.m.embed + 7 * x.s.m.c.dim] += (elem_t)nudge;
    gemm_weights_changed();
    for (int p = 0; p < PROMPTS; p++) counts[p] = p != flat || !live_only;
    struct diff want = diff_of(&x, g, counts);
    CHECK(want.n > 100 && (nudge != 0 ? want.max > 1e-3 && want.max > 2 * want.sum / want.n : want.max == 0),
          "the case does not reach what it is there for: %g tokens, largest difference %g", want.n, want.max);
    CHECK(policy_update(&x.t, g, PROMPTS, false, &z), "no update");
    CHECK(z.probs_diff.n == (int64_t)want.n, "%lld tokens of %g", (long long)z.probs_diff.n, want.n);
    step_metrics(&m, &z, 1, 0, true, 1);
    is(&m, "training/rollout_probs_diff_max", want.max);
    is(&m, "training/rollout_probs_diff/max", want.max);
    is(&m, "training/rollout_probs_diff/min", want.min);
    is(&m, "training/rollout_probs_diff/mean", want.sum / want.n);
    CHECK_NEAR(x.t.probs_diff_max, want.max, 1e-12 + 1e-9 * want.max, "the run's largest difference");
    /* an update with newer weights than the sampler's says nothing about it */
    CHECK(policy_update(&x.t, g, PROMPTS, true, &z) && z.probs_diff.n == (int64_t)want.n, "stale rollouts counted");
    metrics_free(&m);
    mini_end(&x, g, PROMPTS);
    mini_close(&x);
}

static void weights_changed_after_sampling(void **state)
{
    (void)state;
    check(0.5, -1, false);
    check(-0.25, 1, false);
    check(0.5, 1, true);
    check(0, -1, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(weights_changed_after_sampling) };
    return cmocka_run_group_tests_name("probs diff", tests, NULL, NULL);
}
