/* step_metrics.h: the sums of one training step, and the metrics made of them. */
#pragma once
#include "engine/tools/tool_calls.h"
#include "engine/report/metrics.h"

/* What a branch point is part of, and in which quarter of its rollout it lies. */
enum { TOKEN_THINK, TOKEN_CALL, TOKEN_ANSWER, TOKEN_TAG, TOKEN_KINDS };
enum { DEPTHS = 4 };
extern const char *const token_kind_name[TOKEN_KINDS];
struct mean { double sum, min, max; int64_t n; };
struct step_sums {
    struct mean reward_init, reward_branch, length, prompt, score, zf, zh, f, factor, raw, adv, probs_diff, calls,
        bad_calls, branch_new;
    struct mean pg, kl, entropy, ppo_kl, clipfrac, clipfrac_lower, norm, lr, at_upper, at_lower, omega_noise;
    int64_t points, fallback, strict, at_depth[DEPTHS], at_kind[TOKEN_KINDS], no_candidate, well_formed, correct, rows,
        ended, live, live_of, dropped, updates, skipped;
    int64_t calls_by[TOOL_KINDS], over_limit, timeouts, search_hits, search_misses, branches, copies, trajectories,
        unique;
    int64_t generated, generated_branch, tool_tokens, trained, scored;
    double t_gen, t_score, t_branch, t_update, t_reward, tool_wait;
};

void mean_add(struct mean *m, double x);
double mean_of(const struct mean *m);                   /* 0 where nothing was added */

/* What the step's line in metrics.jsonl says. step: steps done; skipped: updates skipped in the whole run; branches:
 * also the metrics of branching. */
void step_metrics(struct metrics *m, const struct step_sums *z, int step, int skipped, bool branches, double wall);
