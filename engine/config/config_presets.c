/* config_presets.c: the keys that algorithm.preset sets: the columns of docs/algorithm.md, one row a key. `default`
 * sets none: it is the table's own values. Keys that neither the paper nor the released scripts give stay as they
 * are. */
#include "engine/config/config_in.h"

const struct config_preset config_presets[] = {
    { PRESET_PAPER, "data.train_batch_size", "128" },
    { PRESET_PAPER, "data.max_prompt_length", "2048" },          /* not given; the released scripts' */
    { PRESET_PAPER, "data.max_response_length", "4096" },
    { PRESET_PAPER, "rollout.n", "16" },
    { PRESET_PAPER, "rollout.initial_rollouts", "4" },
    { PRESET_PAPER, "rollout.max_len", "6144" },
    { PRESET_PAPER, "branch.when", "minibatch" },
    { PRESET_PAPER, "branch.score", "bs" },
    { PRESET_PAPER, "branch.omega", "rollout" },
    { PRESET_PAPER, "branch.pool", "rollout" },
    { PRESET_PAPER, "branch.points", "3" },
    { PRESET_PAPER, "branch.rounds", "1" },
    { PRESET_PAPER, "branch.gamma", "0.9785720620877001" },      /* 2^(-1/32) */
    { PRESET_PAPER, "branch.clip_low", "0" },
    { PRESET_PAPER, "branch.clip_high", "0.2" },
    { PRESET_PAPER, "branch.entropy", "full" },
    { PRESET_PAPER, "branch.candidates", "any" },                /* "valid" positions, not defined further */
    { PRESET_PAPER, "branch.min_gap", "1" },
    { PRESET_PAPER, "branch.strict_first", "false" },            /* eq. (5) ranks by the product alone */
    { PRESET_PAPER, "branch.fallback", "product" },
    { PRESET_PAPER, "branch.entropy_if_flat", "true" },
    { PRESET_PAPER, "branch.resample_token", "true" },
    { PRESET_PAPER, "branch.train", "off" },
    { PRESET_PAPER, "branch.tool_budget", "response" },
    { PRESET_PAPER, "advantage.dual_group", "average" },
    { PRESET_PAPER, "advantage.norm_by_std", "true" },
    { PRESET_PAPER, "advantage.future", "scale" },
    { PRESET_PAPER, "advantage.future_weight", "0.5" },
    { PRESET_PAPER, "advantage.future_gamma", "0.9785720620877001" },
    { PRESET_PAPER, "advantage.future_clip_low", "0" },
    { PRESET_PAPER, "advantage.future_clip_high", "0.2" },
    { PRESET_PAPER, "advantage.future_leave_out", "0" },
    { PRESET_PAPER, "advantage.future_safety", "0" },
    { PRESET_PAPER, "advantage.reward_scale", "false" },
    { PRESET_PAPER, "algorithm.adv_estimator", "appo" },
    { PRESET_PAPER, "actor.ppo_mini_batch_size", "16" },
    /* not given, as the next four; the released scripts' */
    { PRESET_PAPER, "actor.optim.lr", "1e-6" },
    { PRESET_PAPER, "actor.optim.lr_warmup_steps", "0" },
    { PRESET_PAPER, "actor.optim.weight_decay", "0.01" },
    { PRESET_PAPER, "actor.optim.beta1", "0.9" },
    { PRESET_PAPER, "actor.optim.beta2", "0.999" },
    { PRESET_PAPER, "actor.grad_clip", "1" },
    /* the published 2 (search: 5) is trainer.total_epochs */
    { PRESET_PAPER, "actor.ppo_epochs", "1" },
    { PRESET_PAPER, "actor.epoch_order", "inner" },
    { PRESET_PAPER, "actor.clip_ratio_low", "0.2" },
    { PRESET_PAPER, "actor.clip_ratio_high", "0.28" },
    { PRESET_PAPER, "actor.clip_ratio_c", "3" },
    { PRESET_PAPER, "actor.use_kl_loss", "false" },
    { PRESET_PAPER, "actor.kl_loss_coef", "0" },
    { PRESET_PAPER, "actor.entropy_coeff", "0" },
    { PRESET_PAPER, "actor.loss_agg_mode", "seq-mean-token-mean" },
    { PRESET_PAPER, "actor.drop_rows", "false" },
    { PRESET_PAPER, "actor.live_rows_only", "false" },
    { PRESET_PAPER, "reward.tool_bonus", "0.1" },
    { PRESET_PAPER, "tools.format", "tags" },
    { PRESET_PAPER, "tools.call_limit", "3" },                   /* not given; the released scripts' for reasoning */
    { PRESET_PAPER, "tools.timeout", "120" },
    { PRESET_PAPER, "tools.max_pages", "10" },
    { PRESET_PAPER, "tools.max_chars", "1000" },
    { PRESET_PAPER, "tools.max_tokens", "0" },
    { PRESET_PAPER, "tools.threads", "64" },
    { PRESET_PAPER, "trainer.total_epochs", "2" },

    { PRESET_OFFICIAL, "data.train_batch_size", "96" },
    { PRESET_OFFICIAL, "data.max_prompt_length", "2048" },
    { PRESET_OFFICIAL, "data.max_response_length", "6144" },
    { PRESET_OFFICIAL, "rollout.n", "16" },
    { PRESET_OFFICIAL, "rollout.initial_rollouts", "8" },
    { PRESET_OFFICIAL, "rollout.max_len", "8192" },
    { PRESET_OFFICIAL, "branch.when", "step" },
    { PRESET_OFFICIAL, "branch.score", "bs" },
    { PRESET_OFFICIAL, "branch.omega", "rollout" },
    { PRESET_OFFICIAL, "branch.pool", "prompt" },
    { PRESET_OFFICIAL, "branch.points", "1" },
    { PRESET_OFFICIAL, "branch.rounds", "1" },
    { PRESET_OFFICIAL, "branch.gamma", "1" },
    { PRESET_OFFICIAL, "branch.clip_low", "0.2" },
    { PRESET_OFFICIAL, "branch.clip_high", "0.2" },
    { PRESET_OFFICIAL, "branch.entropy", "top10" },
    { PRESET_OFFICIAL, "branch.candidates", "text" },
    { PRESET_OFFICIAL, "branch.min_gap", "1" },
    { PRESET_OFFICIAL, "branch.strict_first", "true" },
    { PRESET_OFFICIAL, "branch.fallback", "product" },
    { PRESET_OFFICIAL, "branch.entropy_if_flat", "false" },
    { PRESET_OFFICIAL, "branch.resample_token", "false" },
    { PRESET_OFFICIAL, "branch.train", "off" },
    { PRESET_OFFICIAL, "branch.tool_budget", "prefix" },
    { PRESET_OFFICIAL, "advantage.dual_group", "prefix" },
    { PRESET_OFFICIAL, "advantage.norm_by_std", "true" },
    { PRESET_OFFICIAL, "advantage.future", "scale" },
    { PRESET_OFFICIAL, "advantage.future_weight", "1" },
    { PRESET_OFFICIAL, "advantage.future_gamma", "0.9892280131939755" },     /* 2^(-1/64) */
    { PRESET_OFFICIAL, "advantage.future_clip_low", "0" },                   /* the scripts'; the YAML file says 0.2 */
    { PRESET_OFFICIAL, "advantage.future_clip_high", "0.2" },
    { PRESET_OFFICIAL, "advantage.future_leave_out", "3" },
    { PRESET_OFFICIAL, "advantage.future_safety", "6" },                     /* the scripts'; the YAML file says 4 */
    { PRESET_OFFICIAL, "advantage.reward_scale", "true" },
    { PRESET_OFFICIAL, "advantage.reward_scale_discount", "0.9" },
    { PRESET_OFFICIAL, "algorithm.adv_estimator", "appo" },
    { PRESET_OFFICIAL, "actor.optim.lr", "1e-6" },
    { PRESET_OFFICIAL, "actor.optim.lr_warmup_steps", "0" },
    { PRESET_OFFICIAL, "actor.optim.weight_decay", "0.01" },
    { PRESET_OFFICIAL, "actor.optim.decay_all", "true" },
    { PRESET_OFFICIAL, "actor.optim.beta1", "0.9" },
    { PRESET_OFFICIAL, "actor.optim.beta2", "0.999" },
    { PRESET_OFFICIAL, "actor.grad_clip", "1" },
    { PRESET_OFFICIAL, "actor.ppo_mini_batch_size", "16" },
    { PRESET_OFFICIAL, "actor.ppo_epochs", "1" },
    { PRESET_OFFICIAL, "actor.epoch_order", "verl" },
    { PRESET_OFFICIAL, "actor.clip_ratio_low", "0.2" },
    { PRESET_OFFICIAL, "actor.clip_ratio_high", "0.28" },
    { PRESET_OFFICIAL, "actor.clip_ratio_c", "3" },
    { PRESET_OFFICIAL, "actor.use_kl_loss", "true" },
    { PRESET_OFFICIAL, "actor.kl_loss_coef", "0.001" },
    { PRESET_OFFICIAL, "actor.kl_loss_type", "k3" },
    { PRESET_OFFICIAL, "actor.entropy_coeff", "0" },
    { PRESET_OFFICIAL, "actor.loss_agg_mode", "token-mean" },
    { PRESET_OFFICIAL, "actor.drop_rows", "true" },
    { PRESET_OFFICIAL, "actor.live_rows_only", "false" },
    { PRESET_OFFICIAL, "reward.kind", "deep_research" },
    { PRESET_OFFICIAL, "reward.tool_bonus", "0.1" },
    { PRESET_OFFICIAL, "tools.format", "tags" },
    { PRESET_OFFICIAL, "tools.call_limit", "3" },
    { PRESET_OFFICIAL, "tools.max_pages", "10" },
    { PRESET_OFFICIAL, "tools.max_chars", "1000" },
    { PRESET_OFFICIAL, "tools.max_tokens", "0" },                            /* results are not cut */
    { PRESET_OFFICIAL, "tools.timeout", "120" },                             /* of python; the search's own is 60 */
    { PRESET_OFFICIAL, "tools.threads", "64" },
    { PRESET_OFFICIAL, "trainer.total_epochs", "2" },

    /* deep search: what differs from PRESET_OFFICIAL */
    { PRESET_OFFICIAL_8B, "data.train_batch_size", "128" },
    { PRESET_OFFICIAL_8B, "data.max_prompt_length", "2000" },
    { PRESET_OFFICIAL_8B, "data.max_response_length", "10000" },
    { PRESET_OFFICIAL_8B, "rollout.max_len", "12000" },
    { PRESET_OFFICIAL_8B, "actor.ppo_max_token_len_per_gpu", "12000" },
    { PRESET_OFFICIAL_8B, "tools.call_limit", "6" },
    { PRESET_OFFICIAL_8B, "trainer.total_epochs", "5" },

    { PRESET_OFFICIAL_14B, "data.train_batch_size", "64" },
    { PRESET_OFFICIAL_14B, "actor.ppo_mini_batch_size", "8" },
    { PRESET_OFFICIAL_14B, "rollout.n", "12" },
    { PRESET_OFFICIAL_14B, "rollout.initial_rollouts", "6" },
    { PRESET_OFFICIAL_14B, "data.max_prompt_length", "2000" },
    { PRESET_OFFICIAL_14B, "data.max_response_length", "6192" },
    { PRESET_OFFICIAL_14B, "rollout.max_len", "8192" },
    { PRESET_OFFICIAL_14B, "tools.call_limit", "6" },
    { PRESET_OFFICIAL_14B, "trainer.total_epochs", "5" },
    { PRESET_DEFAULT, NULL, NULL },
};

bool config_preset(struct config *c, const char *name, struct err *e)
{
    char source[64];
    snprintf(source, sizeof source, "preset %s", name);
    if (!config_set(c, "algorithm.preset", name, source, e)) return false;
    enum preset is = c->algorithm.preset,
                base = is == PRESET_OFFICIAL_8B || is == PRESET_OFFICIAL_14B ? PRESET_OFFICIAL : is;
    for (int pass = 0; pass < 2; pass++)                 /* the one it differs from, then itself */
        for (const struct config_preset *p = config_presets; p->key; p++)
            if (p->preset == (pass ? is : base) && (!pass || is != base) && !config_set(c, p->key, p->value, source, e))
                return false;
    return true;
}
