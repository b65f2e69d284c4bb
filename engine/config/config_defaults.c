/* config_defaults.c: defaults that follow from given keys. Never changes a key that a preset, a file or an argument
 * sets; the source of a value set here begins with "default". */
#include "engine/config/config_in.h"
#include "base/arith.h"
#include "kernels/rl_math.h"
#include <string.h>

bool config_default_column(struct config *c, struct err *e)
{
    for (int i = 0; i < config_nkeys; i++)
        if (config_keys[i].model &&
            !config_set(c, config_keys[i].name, config_keys[i].model, "default for model.path", e))
            return false;
    return true;
}

void config_set_int(struct config *c, const char *key, int64_t value, const char *source)
{
    char text[32];
    struct err e;
    snprintf(text, sizeof text, "%lld", (long long)value);
    if (!config_set(c, key, text, source, &e)) die("%s", e.text);
}

/* A rollout's length is that of prompt plus response; if it was given, these are cut to fit. */
static bool derive_lengths(struct config *c, struct err *e)
{
    bool prompt = config_given(c, "data.max_prompt_length"), response = config_given(c, "data.max_response_length");
    int64_t sum = (int64_t)c->data.max_prompt_length + c->data.max_response_length;
    if (!config_given(c, "rollout.max_len")) {
        if (!prompt && !response) return true;
        if (sum > config_find("rollout.max_len")->hi)
            return fail(e,
                        "data.max_prompt_length=%d and data.max_response_length=%d are more than %.0f tokens together",
                        c->data.max_prompt_length, c->data.max_response_length, config_find("rollout.max_len")->hi);
        config_set_int(c, "rollout.max_len", sum, "default, data.max_prompt_length + data.max_response_length");
        return true;
    }
    if (!prompt && c->data.max_prompt_length >= c->rollout.max_len)
        config_set_int(c, "data.max_prompt_length", c->rollout.max_len / 2, "default, half of rollout.max_len");
    if (!response && c->data.max_response_length > c->rollout.max_len)
        config_set_int(c, "data.max_response_length", c->rollout.max_len, "default, rollout.max_len");
    return true;
}

/* Batch sizes that change no number, or have only one sensible value for the given keys. */
static void derive_batches(struct config *c)
{
    int batch = c->data.train_batch_size, mini = c->actor.ppo_mini_batch_size;
    if (!config_given(c, "actor.ppo_mini_batch_size") && batch % mini) {
        for (mini = MIN(mini, batch); batch % mini; ) mini--;
        config_set_int(c, "actor.ppo_mini_batch_size", mini, "default, divides data.train_batch_size");
    }
    if (!config_given(c, "actor.ppo_max_token_len_per_gpu") && c->actor.ppo_max_token_len_per_gpu < c->rollout.max_len)
        config_set_int(c, "actor.ppo_max_token_len_per_gpu", c->rollout.max_len, "default, rollout.max_len");
    if (!config_given(c, "rollout.max_num_batched_tokens") &&
        c->rollout.max_num_batched_tokens < c->rollout.max_num_seqs)
        config_set_int(c, "rollout.max_num_batched_tokens", c->rollout.max_num_seqs, "default, rollout.max_num_seqs");
}

/* As in verl: use_kl_loss alone enables the term, with 0.001. */
static bool derive_kl(struct config *c, FILE *warn, struct err *e)
{
    if (c->actor.use_kl_loss) {
        if (config_given(c, "actor.kl_loss_coef")) return true;
        return config_set(c, "actor.kl_loss_coef", "0.001", "default for actor.use_kl_loss=true", e);
    }
    if (c->actor.kl_loss_coef == 0) return true;
    if (warn && !config_given(c, "actor.use_kl_loss"))
        fprintf(warn, "warning: actor.kl_loss_coef=%g without actor.use_kl_loss=true: no KL in the loss (as in verl)\n",
                c->actor.kl_loss_coef);
    return config_set(c, "actor.kl_loss_coef", "0", "actor.use_kl_loss=false", e);
}

/* Sets the value unless a file or an argument sets the key. A preset does not count: its values are APPO's, not those
 * of the estimator or loss that was chosen instead. */
static bool unless_asked(struct config *c, const char *key, const char *value, const char *source, struct err *e)
{
    bool asked = config_given(c, key) && strncmp(config_source(c, key), "preset ", 7);
    return asked || config_set(c, key, value, source, e);
}

static void source_of(const struct config *c, const char *key, char out[96])
{
    char text[64];
    snprintf(out, 96, "default for %s=%s", key, config_text(c, config_find(key), text));
}

/* Parts of APPO that the published GRPO and its variants lack are off with those, unless a file or an argument asks for
 * them. */
static bool derive_estimator(struct config *c, struct err *e)
{
    static const struct { const char *key, *value; } is[] = {
        { "advantage.future", "off" }, { "actor.clip_ratio_low", "0.2" }, { "actor.clip_ratio_high", "0.2" },
        { "actor.live_rows_only", "false" },
    };
    char source[96];
    source_of(c, "algorithm.adv_estimator", source);
    for (size_t i = 0; i < sizeof is / sizeof *is; i++)
        if (!unless_asked(c, is[i].key, is[i].value, source, e)) return false;
    return true;
}

/* Defaults of a loss: its published clip and aggregation, no dual clip if it has none. None of them has the
 * future-aware factor. */
static bool derive_loss(struct config *c, struct err *e)
{
    static const struct { enum loss_mode mode; const char *key, *value; } is[] = {
        { LOSS_GSPO, "actor.loss_agg_mode", "seq-mean-token-mean" },
        { LOSS_GSPO, "actor.clip_ratio_low", "0.0003" }, { LOSS_GSPO, "actor.clip_ratio_high", "0.0004" },
        { LOSS_AEPO, "advantage.entropy_weight", "0.2" },
    };
    char source[96];
    source_of(c, "actor.policy_loss.loss_mode", source);
    if (c->actor.policy_loss_loss_mode != LOSS_PPO && !unless_asked(c, "advantage.future", "off", source, e))
        return false;
    if (!rl_dual_clip(c->actor.policy_loss_loss_mode) && !unless_asked(c, "actor.drop_rows", "false", source, e))
        return false;
    for (size_t i = 0; i < sizeof is / sizeof *is; i++)
        if (is[i].mode == c->actor.policy_loss_loss_mode && !unless_asked(c, is[i].key, is[i].value, source, e))
            return false;
    return true;
}

bool config_derive(struct config *c, FILE *warn, struct err *e)
{
    if (!derive_kl(c, warn, e) || !derive_lengths(c, e)) return false;
    derive_batches(c);
    if (c->actor.optim_lr_warmup_steps_ratio > 0 && !config_given(c, "actor.optim.lr_warmup_steps"))
        config_set_int(c, "actor.optim.lr_warmup_steps", -1, "default for actor.optim.lr_warmup_steps_ratio");
    if (c->algorithm.adv_estimator != ALGO_APPO && !derive_estimator(c, e)) return false;
    return derive_loss(c, e);
}
