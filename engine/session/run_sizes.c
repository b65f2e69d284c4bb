/* run_sizes.c: sizes and counts of a run. */
#include "engine/session/run_sizes.h"
#include "base/arith.h"
#include "engine/comm/comm.h"
#include "engine/rollout/kv_pages.h"

int trainer_updates(const struct config *c)
{
    return c->data.train_batch_size / c->actor.ppo_mini_batch_size * c->actor.ppo_epochs;
}

struct weight_copies trainer_weight_copies(const struct config *c)
{
    bool appo = c->algorithm.adv_estimator == ALGO_APPO, previous = c->branch.omega == OMEGA_PREVIOUS;
    /* branches of earlier rounds are scored under pi_old, from which the weights differ after the step's first
     * update */
    bool rounds = c->branch.omega == OMEGA_ROLLOUT && c->branch.rounds > 1 && c->branch.when == BRANCH_MINIBATCH &&
                  trainer_updates(c) > 1;
    return (struct weight_copies){ c->actor.kl_loss_coef > 0 || (appo && c->branch.omega == OMEGA_REFERENCE),
                                   appo && previous, appo && (previous || rounds) };
}

int branched_prompts(const struct config *c)
{
    return c->branch.when == BRANCH_STEP ? c->data.train_batch_size : c->actor.ppo_mini_batch_size;
}

const char *branched_prompts_key(const struct config *c)
{
    return c->branch.when == BRANCH_STEP ? "data.train_batch_size" : "actor.ppo_mini_batch_size";
}

bool branched_mini_batch(const struct config *c, int step, int mini_batch)
{
    int64_t batches = c->data.train_batch_size / c->actor.ppo_mini_batch_size;
    return c->algorithm.adv_estimator == ALGO_APPO && (step * batches + mini_batch + 1) % c->branch.every == 0;
}

int64_t session_pages_of(const struct config *c, int ranks)
{
    int64_t kept = c->algorithm.adv_estimator == ALGO_APPO
                       ? ceil_div(branched_prompts(c), ranks) * c->rollout.initial_rollouts
                       : 0;
    int64_t one = kv_pages_for(c->rollout.max_len), whole = one * (c->rollout.max_num_seqs + kept);   /* < 2^58 */
    int64_t given = ceil_div(c->rollout.max_total_tokens, KV_PAGE);
    return given ? MIN(whole, MAX(one, given)) : whole;
}

int64_t session_pages(const struct config *c) { return session_pages_of(c, comm_ranks()); }

struct learner_rule learner_rule_of(const struct config *c)
{
    return (struct learner_rule){ .max_rows = c->actor.ppo_max_token_len_per_gpu,
                                  .recompute = c->model.recompute,
                                  .bf16_moments = c->actor.optim_state_dtype == STATE_BF16,
                                  .offload = c->actor.offload == OFFLOAD_OPTIMIZER,
                                  .no_master = c->actor.optim_master == MASTER_NONE,
                                  .ranks = comm_ranks(),
                                  .rank = comm_rank(),
                                  .zero = c->actor.zero,
                                  .exact = c->actor.grad_sum == GRAD_SUM_EXACT,
                                  .seed = (uint64_t)c->trainer.seed };
}

struct rollout_config rollout_config_of(const struct config *c, const struct call_form *form)
{
    return (struct rollout_config){
        .temperature = c->rollout.temperature,
        .top_p = c->rollout.top_p,
        .top_k = c->rollout.top_k < 0 ? 0 : c->rollout.top_k,
        .seed = (uint64_t)c->trainer.seed,
        .max_len = c->rollout.max_len,
        .max_response = c->data.max_response_length,
        .call_limit = c->tools.call_limit,
        .max_tool_tokens = c->tools.max_tokens,
        .form = form,
        .max_rows = c->rollout.max_num_batched_tokens,
        .max_seqs = c->rollout.max_num_seqs,
        .tool_threads = c->tools.threads,
        .tool_timeout_s = c->tools.timeout,
    };
}

bool session_pages_count(const struct config *c, struct err *e)
{
    if (session_pages(c) <= INT32_MAX / KV_PAGE) return true;
    return fail(e,
                "%s=%d x rollout.initial_rollouts=%d and rollout.max_num_seqs=%d rollouts of rollout.max_len=%d tokens "
                "are more keys and values than a pool can number: make one of them smaller, or give "
                "rollout.max_total_tokens",
                branched_prompts_key(c), branched_prompts(c), c->rollout.initial_rollouts, c->rollout.max_num_seqs,
                c->rollout.max_len);
}
