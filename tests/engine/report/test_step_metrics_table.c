/* test_step_metrics_table.c: a step's metrics from made-up sums. Every number of struct step_sums has a value of its
 * own, so a metric that reads the wrong field, or one that is forgotten, has another value than the table says. */
#include "engine/report/step_metrics.h"
#include "tests/check.h"
#include "tests/engine/tools/two_tools.h"
#include <stdlib.h>
#include <string.h>

/* Number k of the means: all four members differ from those of every other. */
static struct mean mean_made(int k)
{
    return (struct mean){ .sum = 1001 + 34 * k, .min = -57 - 2 * k, .max = 501 + 2 * k, .n = 7 + 4 * k };
}

static struct step_sums sums_made(void)
{
    struct step_sums z = { 0 };
    struct mean *means[] = {
        &z.reward_init, &z.reward_branch, &z.response_length, &z.prompt_length, &z.branch_score, &z.omega_clamped,
        &z.future_factor, &z.future_omega, &z.advantage, &z.probs_diff, &z.calls, &z.bad_calls, &z.branch_tokens,
        &z.pg_loss, &z.kl_loss, &z.entropy, &z.ppo_kl, &z.clipfrac, &z.clipfrac_lower, &z.grad_norm, &z.lr,
        &z.iw_clip_upper, &z.iw_clip_lower, &z.omega_noise, &z.rank_tokens, &z.rank_idle, &z.rank_tail,
    };
    int64_t *counts[] = {
        &z.branch_points, &z.fallback, &z.strict, &z.no_candidate_prompts, &z.well_formed, &z.correct, &z.rollouts,
        &z.ended, &z.live_rows, &z.trained_rows, &z.dropped_rows, &z.updates, &z.skipped_updates, &z.over_limit,
        &z.timeouts, &z.search_hits, &z.search_misses, &z.branches, &z.branch_copies, &z.trajectories,
        &z.unique_trajectories, &z.generated, &z.generated_branch, &z.tool_tokens, &z.trained_positions,
        &z.scored_positions, &z.ranks, &z.stolen_prompts,
    };
    double *times[] = { &z.t_gen, &z.t_score, &z.t_branch, &z.t_update, &z.t_reward, &z.tool_wait,
                        &z.t_rank_wait, &z.t_rank_tail };
    int64_t next = 3001;
    for (size_t k = 0; k < sizeof means / sizeof *means; k++) *means[k] = mean_made((int)k);
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) *counts[k] = next += 46;
    for (int k = 0; k < DEPTHS; k++) z.at_depth[k] = next += 22;
    for (int k = 0; k < TOKEN_KINDS; k++) z.at_kind[k] = next += 26;
    for (int k = 0; k < TOOL_KINDS; k++) z.calls_by[k] = next += 38;
    for (size_t k = 0; k < sizeof times / sizeof *times; k++) *times[k] = 0.37 + 0.11 * (double)k;
    return z;
}

/* A field that sums_made() forgets is 0 here; all of the struct are 8 bytes wide. */
static void every_field_differs(void **state)
{
    (void)state;
    struct step_sums z = sums_made();
    uint64_t word[sizeof z / 8];
    assert_int_equal(sizeof z % 8, 0);
    memcpy(word, &z, sizeof z);
    for (size_t i = 0; i < sizeof word / sizeof *word; i++) {
        CHECK(word[i], "number %zu of struct step_sums has no value: give it one in sums_made()", i);
        for (size_t k = 0; k < i; k++) CHECK(word[i] != word[k], "numbers %zu and %zu of struct step_sums", k, i);
    }
}

struct want { const char *name; double value; };
enum { WANT_MAX = 128 };
struct wants { struct want v[WANT_MAX]; int n; };

static void put(struct wants *w, const struct want *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_true(w->n < WANT_MAX);
        w->v[w->n++] = list[i];
    }
}

static double mean(struct mean m) { return m.sum / (double)m.n; }
static double over(int64_t part, int64_t of) { return (double)part / (double)of; }

/* Every metric of the loss, the advantages and the optimizer. */
static void want_actor(struct wants *w, struct step_sums z)
{
    const struct want list[] = {
        { "actor/pg_loss", mean(z.pg_loss) },
        { "actor/entropy", mean(z.entropy) },
        { "actor/kl_loss", mean(z.kl_loss) },
        { "actor/ppo_kl", mean(z.ppo_kl) },
        { "actor/pg_clipfrac", mean(z.clipfrac) },
        { "actor/pg_clipfrac_lower", mean(z.clipfrac_lower) },
        { "actor/grad_norm", mean(z.grad_norm) },
        { "actor/lr", mean(z.lr) },
        { "actor/live_rows_frac", over(z.live_rows, z.trained_rows) },
        { "actor/dropped_rows", (double)z.dropped_rows },
        { "critic/advantages/mean", mean(z.advantage) },
        { "critic/advantages/max", z.advantage.max },
        { "critic/advantages/min", z.advantage.min },
        { "training/rollout_probs_diff/mean", mean(z.probs_diff) },
        { "training/rollout_probs_diff/max", z.probs_diff.max },
        { "training/rollout_probs_diff/min", z.probs_diff.min },
        { "training/rollout_probs_diff_max", z.probs_diff.max },
    };
    put(w, list, sizeof list / sizeof *list);
}

/* Every metric of the initial rollouts and of the work. */
static void want_rollouts(struct wants *w, struct step_sums z, double wall)
{
    const struct want list[] = {
        { "critic/rewards/mean", mean(z.reward_init) },
        { "critic/rewards/max", z.reward_init.max },
        { "critic/rewards/min", z.reward_init.min },
        { "critic/acc/mean", over(z.correct, z.rollouts) },
        { "critic/format/mean", over(z.well_formed, z.rollouts) },
        { "response_length/mean", mean(z.response_length) },
        { "response_length/max", z.response_length.max },
        { "response_length/min", z.response_length.min },
        { "response_length/clip_ratio", 1 - over(z.ended, z.rollouts) },
        { "prompt_length/mean", mean(z.prompt_length) },
        { "prompt_length/max", z.prompt_length.max },
        { "prompt_length/min", z.prompt_length.min },
        { "tools/calls/mean", mean(z.calls) },
        { "tools/calls/max", z.calls.max },
        { "tools/calls/min", z.calls.min },
        { "tools/calls/python", (double)z.calls_by[TOOL_PYTHON] },
        { "tools/calls/search", (double)z.calls_by[TOOL_SEARCH] },
        { "tools/over_limit", (double)z.over_limit },
        { "tools/timeouts", (double)z.timeouts },
        { "perf/total_num_tokens", (double)z.generated + (double)z.tool_tokens },
        { "perf/generated_tokens", (double)z.generated },
        { "perf/branch_tokens", (double)z.generated_branch },
        { "perf/trained_rows", (double)z.trained_positions },
        { "perf/scored_rows", (double)z.scored_positions },
        { "perf/throughput", ((double)z.generated + (double)z.tool_tokens) / wall },
        { "timing_s/gen", z.t_gen },
        { "timing_s/score", z.t_score },
        { "timing_s/branch", z.t_branch },
        { "timing_s/reward", z.t_reward },
        { "timing_s/update_actor", z.t_update },
        { "timing_s/tool_wait", z.tool_wait },
        { "timing_s/step", wall },
    };
    put(w, list, sizeof list / sizeof *list);
}

/* Every metric of branching. */
static void want_branching(struct wants *w, struct step_sums z)
{
    const struct want list[] = {
        { "appo/branch_score/mean", mean(z.branch_score) },
        { "appo/branch_score/max", z.branch_score.max },
        { "appo/branch_score/min", z.branch_score.min },
        { "appo/omega_clamped/mean", mean(z.omega_clamped) },
        { "appo/omega_clamped/max", z.omega_clamped.max },
        { "appo/omega_clamped/min", z.omega_clamped.min },
        { "appo/future_factor/mean", mean(z.future_factor) },
        { "appo/future_factor/max", z.future_factor.max },
        { "appo/future_factor/min", z.future_factor.min },
        { "appo/future_omega/mean", mean(z.future_omega) },
        { "appo/future_omega/max", z.future_omega.max },
        { "appo/future_omega/min", z.future_omega.min },
        { "appo/omega_noise", mean(z.omega_noise) },
        { "appo/omega_noise_max", z.omega_noise.max },
        { "appo/branch_copies", over(z.branch_copies, z.branches) },
        { "appo/unique_trajectories", over(z.unique_trajectories, z.trajectories) },
        { "appo/iw_clip_upper", mean(z.iw_clip_upper) },
        { "appo/iw_clip_lower", mean(z.iw_clip_lower) },
        { "appo/branch_points", (double)z.branch_points },
        { "appo/entropy_fallback_frac", over(z.fallback, z.branch_points) },
        { "appo/strict_frac", over(z.strict, z.branch_points) },
        { "appo/no_candidate_prompts", (double)z.no_candidate_prompts },
        { "appo/points_at_depth/0", over(z.at_depth[0], z.branch_points) },
        { "appo/points_at_depth/1", over(z.at_depth[1], z.branch_points) },
        { "appo/points_at_depth/2", over(z.at_depth[2], z.branch_points) },
        { "appo/points_at_depth/3", over(z.at_depth[3], z.branch_points) },
        { "appo/points_at/think", over(z.at_kind[TOKEN_THINK], z.branch_points) },
        { "appo/points_at/call", over(z.at_kind[TOKEN_CALL], z.branch_points) },
        { "appo/points_at/answer", over(z.at_kind[TOKEN_ANSWER], z.branch_points) },
        { "appo/points_at/tag", over(z.at_kind[TOKEN_TAG], z.branch_points) },
        { "appo/reward_init", mean(z.reward_init) },
        { "appo/reward_branch", mean(z.reward_branch) },
        { "appo/reward_gap", mean(z.reward_branch) - mean(z.reward_init) },
        { "appo/branch_tokens/mean", mean(z.branch_tokens) },
    };
    put(w, list, sizeof list / sizeof *list);
}

/* What is printed only where a step had searches in a recorded file, or calls that run in turns. */
static void want_some(struct wants *w, struct step_sums z)
{
    const struct want list[] = {
        { "tools/search_hits", (double)z.search_hits },
        { "tools/search_misses", (double)z.search_misses },
        { "tools/search_hit_share", over(z.search_hits, z.search_hits + z.search_misses) },
        { "tools/bad_calls/mean", mean(z.bad_calls) },
        { "tools/bad_calls/max", z.bad_calls.max },
        { "tools/bad_calls/min", z.bad_calls.min },
    };
    put(w, list, sizeof list / sizeof *list);
}

/* What several ranks print. */
static void want_ranks(struct wants *w, struct step_sums z)
{
    const struct want list[] = {
        { "ranks/tokens/mean", mean(z.rank_tokens) },
        { "ranks/tokens/max", z.rank_tokens.max },
        { "ranks/tokens/min", z.rank_tokens.min },
        { "ranks/idle_frac/mean", mean(z.rank_idle) },
        { "ranks/idle_frac/max", z.rank_idle.max },
        { "ranks/idle_frac/min", z.rank_idle.min },
        { "ranks/tail_s/mean", mean(z.rank_tail) },
        { "ranks/tail_s/max", z.rank_tail.max },
        { "ranks/tail_s/min", z.rank_tail.min },
        { "ranks/stolen_prompts", (double)z.stolen_prompts },
        { "timing_s/rank_wait", z.t_rank_wait },
    };
    put(w, list, sizeof list / sizeof *list);
}

/* The same names, each once, with the same values. */
static void compare(const struct metrics *m, const struct wants *w)
{
    for (int i = 0; i < m->n; i++) {
        int found = 0;
        for (int k = 0; k < w->n; k++) {
            if (strcmp(m->v[i].name, w->v[k].name)) continue;
            CHECK_NEAR(m->v[i].value, w->v[k].value, 1e-12 * (1 + fabs(w->v[k].value)), "%s", w->v[k].name);
            found++;
        }
        CHECK(found == 1, "%s is printed and stands %d times in the table of this test", m->v[i].name, found);
    }
    for (int k = 0; k < w->n; k++) CHECK(!isnan(metrics_get(m, w->v[k].name)), "%s is not printed", w->v[k].name);
}

static void check_table(struct step_sums z, bool branches, bool some)
{
    const struct want own[] = { { "training/global_step", 71 }, { "actor/skipped_steps", 13 } };
    struct metrics m = { 0 };
    struct wants w = { .n = 0 };
    double wall = 2.75;
    put(&w, own, 2);
    want_actor(&w, z);
    want_rollouts(&w, z, wall);
    if (branches) want_branching(&w, z);
    if (some) want_some(&w, z);
    if (z.ranks > 1) want_ranks(&w, z);
    step_metrics(&m, &z, 71, 13, branches, wall);
    compare(&m, &w);
    metrics_free(&m);
}

static void every_metric(void **state)
{
    (void)state;
    struct step_sums z = sums_made();
    check_table(z, true, true);
    check_table(z, false, true);
    z.search_hits = z.search_misses = 0;
    z.bad_calls = (struct mean){ 0 };
    check_table(z, true, false);
    check_table(z, false, false);
    z.ranks = 1;
    check_table(z, true, false);
}

/* Searches that all failed are counted, too. */
static void only_misses(void **state)
{
    (void)state;
    struct step_sums z = { .search_misses = 3 };
    struct metrics m = { 0 };
    step_metrics(&m, &z, 1, 0, true, 1);
    CHECK(metrics_get(&m, "tools/search_misses") == 3 && metrics_get(&m, "tools/search_hits") == 0, "misses alone");
    CHECK(metrics_get(&m, "tools/search_hit_share") == 0, "no search was found");
    metrics_free(&m);
}

/* A step without branches, updates or rollouts: shares and means are 0, never 0 / 0. */
static void nothing_happened(void **state)
{
    (void)state;
    struct step_sums z = { 0 };
    struct metrics m = { 0 };
    step_metrics(&m, &z, 1, 0, true, 1);
    for (int i = 0; i < m.n; i++) {
        bool one = !strcmp(m.v[i].name, "training/global_step") || !strcmp(m.v[i].name, "response_length/clip_ratio") ||
                   !strcmp(m.v[i].name, "timing_s/step");
        CHECK(m.v[i].value == one, "%s is %g", m.v[i].name, m.v[i].value);
    }
    z.reward_init = (struct mean){ .sum = 3, .n = 2 };      /* a gap to branches that are not there is none */
    step_metrics(&m, &z, 1, 0, true, 1);
    CHECK(metrics_get(&m, "appo/reward_gap") == 0, "a gap without branches");
    metrics_free(&m);
}

static void means(void **state)
{
    (void)state;
    static const double x[] = { 3, -7, 5, 0.5 };
    struct mean m = { 0 };
    CHECK(mean_of(&m) == 0, "the mean of nothing");
    for (int i = 0; i < 4; i++) mean_add(&m, x[i]);
    CHECK(m.n == 4 && m.sum == 1.5 && m.min == -7 && m.max == 5 && mean_of(&m) == 0.375, "mean %g", mean_of(&m));
    struct mean low = { 0 };
    mean_add(&low, -2);                                     /* the first number is the largest so far, below 0, too */
    CHECK(low.max == -2 && low.min == -2, "the first number");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_field_differs), cmocka_unit_test(every_metric),
                                        cmocka_unit_test(only_misses), cmocka_unit_test(nothing_happened),
                                        cmocka_unit_test(means) };
    return cmocka_run_group_tests_name("step metrics table", tests, NULL, NULL);
}
