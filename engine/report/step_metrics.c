/* step_metrics.c: sums to metrics, under verl's names. */
#include "engine/report/step_metrics.h"
#include "base/arith.h"
#include <stdio.h>

const char *const token_kind_name[TOKEN_KINDS] = { "think", "call", "answer", "tag" };

void mean_add(struct mean *m, double x)
{
    m->min = m->n ? MIN(m->min, x) : x;
    m->max = m->n ? MAX(m->max, x) : x;
    m->sum += x;
    m->n++;
}

double mean_of(const struct mean *m) { return m->n ? m->sum / (double)m->n : 0; }

static void put3(struct metrics *m, const char *name, const struct mean *x)
{
    char key[96];
    snprintf(key, sizeof key, "%s/mean", name); metrics_put(m, key, mean_of(x));
    snprintf(key, sizeof key, "%s/max", name); metrics_put(m, key, x->max);
    snprintf(key, sizeof key, "%s/min", name); metrics_put(m, key, x->min);
}

static double share(int64_t part, int64_t of) { return of ? (double)part / (double)of : 0; }

static void put_branching(struct metrics *m, const struct step_sums *z)
{
    put3(m, "appo/branch_score", &z->branch_score);
    put3(m, "appo/omega_clamped", &z->omega_clamped);
    put3(m, "appo/future_factor", &z->future_factor);
    put3(m, "appo/future_omega", &z->future_omega);
    metrics_put(m, "appo/omega_noise", mean_of(&z->omega_noise));
    metrics_put(m, "appo/omega_noise_max", z->omega_noise.max);
    metrics_put(m, "appo/branch_copies", share(z->branch_copies, z->branches));
    metrics_put(m, "appo/unique_trajectories", share(z->unique_trajectories, z->trajectories));
    metrics_put(m, "appo/iw_clip_upper", mean_of(&z->iw_clip_upper));
    metrics_put(m, "appo/iw_clip_lower", mean_of(&z->iw_clip_lower));
    metrics_put(m, "appo/branch_points", (double)z->branch_points);
    metrics_put(m, "appo/entropy_fallback_frac", share(z->fallback, z->branch_points));
    metrics_put(m, "appo/strict_frac", share(z->strict, z->branch_points));
    metrics_put(m, "appo/no_candidate_prompts", (double)z->no_candidate_prompts);
    for (int i = 0; i < DEPTHS; i++) {
        char key[64];
        snprintf(key, sizeof key, "appo/points_at_depth/%d", i);
        metrics_put(m, key, share(z->at_depth[i], z->branch_points));
    }
    for (int i = 0; i < TOKEN_KINDS; i++) {
        char key[64];
        snprintf(key, sizeof key, "appo/points_at/%s", token_kind_name[i]);
        metrics_put(m, key, share(z->at_kind[i], z->branch_points));
    }
    metrics_put(m, "appo/reward_init", mean_of(&z->reward_init));
    metrics_put(m, "appo/reward_branch", mean_of(&z->reward_branch));
    metrics_put(m, "appo/reward_gap", z->reward_branch.n ? mean_of(&z->reward_branch) - mean_of(&z->reward_init) : 0);
    metrics_put(m, "appo/branch_tokens/mean", mean_of(&z->branch_tokens));
}

static void put_ranks(struct metrics *m, const struct step_sums *z)
{
    put3(m, "ranks/tokens", &z->rank_tokens);
    put3(m, "ranks/idle_frac", &z->rank_idle);
    put3(m, "ranks/tail_s", &z->rank_tail);
    metrics_put(m, "ranks/stolen_prompts", (double)z->stolen_prompts);
    metrics_put(m, "timing_s/rank_wait", z->t_rank_wait);
}

void step_metrics(struct metrics *m, const struct step_sums *z, int step, int skipped, bool branches, double wall)
{
    metrics_put(m, "training/global_step", step);
    metrics_put(m, "actor/pg_loss", mean_of(&z->pg_loss));
    metrics_put(m, "actor/entropy", mean_of(&z->entropy));
    metrics_put(m, "actor/kl_loss", mean_of(&z->kl_loss));
    metrics_put(m, "actor/ppo_kl", mean_of(&z->ppo_kl));
    metrics_put(m, "actor/pg_clipfrac", mean_of(&z->clipfrac));
    metrics_put(m, "actor/pg_clipfrac_lower", mean_of(&z->clipfrac_lower));
    metrics_put(m, "actor/grad_norm", mean_of(&z->grad_norm));
    metrics_put(m, "actor/lr", mean_of(&z->lr));
    metrics_put(m, "actor/live_rows_frac", share(z->live_rows, z->trained_rows));
    metrics_put(m, "actor/dropped_rows", (double)z->dropped_rows);
    metrics_put(m, "actor/skipped_steps", skipped);
    put3(m, "critic/rewards", &z->reward_init);
    put3(m, "critic/advantages", &z->advantage);
    metrics_put(m, "critic/acc/mean", share(z->correct, z->rollouts));
    metrics_put(m, "critic/format/mean", share(z->well_formed, z->rollouts));
    put3(m, "response_length", &z->response_length);
    metrics_put(m, "response_length/clip_ratio", 1 - share(z->ended, z->rollouts));
    put3(m, "prompt_length", &z->prompt_length);
    put3(m, "tools/calls", &z->calls);
    for (int k = 0; k < tool_table.n; k++) {
        char key[64];
        snprintf(key, sizeof key, "tools/calls/%s", tool_name(k));
        metrics_put(m, key, (double)z->calls_by[k]);
    }
    metrics_put(m, "tools/over_limit", (double)z->over_limit);
    metrics_put(m, "tools/timeouts", (double)z->timeouts);
    if (z->search_hits + z->search_misses) {                              /* of recorded searches */
        metrics_put(m, "tools/search_hits", (double)z->search_hits);
        metrics_put(m, "tools/search_misses", (double)z->search_misses);
        metrics_put(m, "tools/search_hit_share", share(z->search_hits, z->search_hits + z->search_misses));
    }
    if (z->bad_calls.n) put3(m, "tools/bad_calls", &z->bad_calls);        /* where calls run in turns */
    if (branches) put_branching(m, z);
    put3(m, "training/rollout_probs_diff", &z->probs_diff);
    metrics_put(m, "training/rollout_probs_diff_max", z->probs_diff.max);
    metrics_put(m, "perf/total_num_tokens", (double)(z->generated + z->tool_tokens));
    metrics_put(m, "perf/generated_tokens", (double)z->generated);
    metrics_put(m, "perf/branch_tokens", (double)z->generated_branch);
    metrics_put(m, "perf/trained_rows", (double)z->trained_positions);
    metrics_put(m, "perf/scored_rows", (double)z->scored_positions);
    metrics_put(m, "perf/throughput", (double)(z->generated + z->tool_tokens) / wall);
    metrics_put(m, "timing_s/gen", z->t_gen);
    metrics_put(m, "timing_s/score", z->t_score);
    metrics_put(m, "timing_s/branch", z->t_branch);
    metrics_put(m, "timing_s/reward", z->t_reward);
    metrics_put(m, "timing_s/update_actor", z->t_update);
    metrics_put(m, "timing_s/tool_wait", z->tool_wait);
    if (z->ranks > 1) put_ranks(m, z);
    metrics_put(m, "timing_s/step", wall);
}
