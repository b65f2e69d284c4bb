/* config_verl.c: keys of verl, ARPO, APPO and Search-R1 that have a meaning only together with others, and notes on
 * keys that both programs have with another meaning or another default. */
#include "engine/config/config_in.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_true(const struct setting *v) { return v && (!strcasecmp(v->value, "true") || !strcmp(v->value, "1")); }
static bool is_false(const struct setting *v)
{
    return v && (!strcasecmp(v->value, "false") || !strcmp(v->value, "0"));
}

static void put(struct reading *r, const struct setting *v, const char *key, const char *value)
{
    char source[256];
    struct err e;
    snprintf(source, sizeof source, "%.80s, %.150s", config_plain_key(v->key), v->source);
    if (!config_set(r->c, key, value, source, &e))
        reading_problem(r, "%.100s=%.100s (%s): %s", v->key, v->value, v->source, e.text);
}

static void put_number(struct reading *r, const struct setting *v, const char *key, double value)
{
    char text[64];
    snprintf(text, sizeof text, "%.17g", value);
    put(r, v, key, text);
}

/* Reads a flag of another program: true, false, or rejected. */
static bool flag(struct reading *r, const char *key, const struct setting **v)
{
    *v = reading_of(r, key);
    if (!*v) return false;
    r->foreign = true;
    if (!is_true(*v) && !is_false(*v))
        reading_problem(r, "%.100s=%.100s (%s): neither true nor false", (*v)->key, (*v)->value, (*v)->source);
    return true;
}

/* The future-aware factor is part of the loss that the released code calls future_kl, and not of its
 * vanilla. Other losses: derive_loss(). */
static void vanilla_or_future(struct reading *r)
{
    const struct setting *v = reading_of(r, "actor.policy_loss.loss_mode");
    if (!v) return;
    if (!strcmp(v->value, "future_kl")) put(r, v, "advantage.future", "scale");
    if (!strcmp(v->value, "vanilla") || !strcmp(v->value, "ppo")) put(r, v, "advantage.future", "off");
}

/* Two names of the loss that do not agree: neither may win silently. */
static void one_loss(struct reading *r, const struct setting *switched, const char *on, const struct setting *other,
                     const char *value)
{
    if (strcmp(on, value))
        reading_problem(r, "%.100s=%.100s (%s): the loss %s, but %.100s=%.100s (%s); give one of them", switched->key,
                        switched->value, switched->source, on, other->key, other->value, other->source);
}

/* AEPO's switches. One that is false leaves the loss as it is. */
static void aepo(struct reading *r)
{
    static const struct { const char *key, *ours, *on, *off; } is[] = {
        { "actor.enable_entropy_balanced_clipping", "actor.policy_loss.loss_mode", "aepo", NULL },
        { "actor.enable_policy_loss_gspo", "actor.policy_loss.loss_mode", "gspo", NULL },
        { "actor.enable_entropy_balanced_advantage", "advantage.entropy_weight", "0.2", "0" },
    };
    const struct setting *v, *mode = reading_of(r, "actor.policy_loss.loss_mode"), *first = NULL;
    for (int i = 0; i < 3; i++) {
        if (!flag(r, is[i].key, &v)) continue;
        if (is_true(v)) put(r, v, is[i].ours, is[i].on);
        if (is_false(v) && is[i].off) put(r, v, is[i].ours, is[i].off);
        if (i == 2 || !is_true(v)) continue;
        if (mode) one_loss(r, v, is[i].on, mode, mode->value);
        if (first) one_loss(r, v, is[i].on, first, is[0].on);
        first = v;
    }
}

void config_verl_before(struct reading *r)
{
    const struct setting *v;
    aepo(r);
    vanilla_or_future(r);
    if (flag(r, "rollout.appo_dynamic_branching", &v) && is_false(v))
        reading_problem(r, "%.100s=false (%s): branches that the engine chooses while it decodes are not built", v->key,
                        v->source);
    v = reading_of(r, "actor.optim.betas");
    if (v) {
        double a, b;
        int end = 0;
        bool list = *v->value == '[';
        const char *text = v->value + list;
        r->foreign = true;
        if (sscanf(text, "%lf ,%lf %n", &a, &b, &end) == 2 && !strcmp(text + end, list ? "]" : "")) {
            put_number(r, v, "actor.optim.beta1", a);
            put_number(r, v, "actor.optim.beta2", b);
        } else
            reading_problem(r, "%.100s=%.100s (%s): two numbers are needed, [0.9,0.999]", v->key, v->value, v->source);
    }
}

/* verl's switch for greedy; if true, val_kwargs.temperature counts. */
static void greedy_evaluation(struct reading *r)
{
    const struct setting *v;
    if (!flag(r, "rollout.val_kwargs.do_sample", &v) || !is_false(v)) return;
    put(r, v, "rollout.val_kwargs.temperature", "0");
    put(r, v, "rollout.val_kwargs.top_p", "1");
    put(r, v, "rollout.val_kwargs.top_k", "0");
}

static void without_tools(struct reading *r)
{
    const struct setting *v;
    if (!flag(r, "rollout.multi_turn.enable", &v) || !is_false(v)) return;
    if (!reading_of(r, "tools.call_limit")) put(r, v, "tools.call_limit", "0");
    if (!reading_of(r, "tools.format")) put(r, v, "tools.format", "tags");
    if (!reading_of(r, "data.system_prompt")) put(r, v, "data.system_prompt", "none");
}

/* Search-R1 counts a response by turns: max_turns times (text, result), then one text more. Its max_prompt_length is
 * the whole context, max_start_length the prompt. */
static void lengths_by_turn(struct reading *r)
{
    const struct setting *turns = reading_of(r, "max_turns"), *start = reading_of(r, "data.max_start_length"),
                         *response = reading_of(r, "data.max_response_length");
    const struct config *c = r->c;
    if (start) {
        r->foreign = true;
        put(r, start, "data.max_prompt_length", start->value);
    }
    if (turns && response)
        put_number(r, turns, "data.max_response_length",
                   (double)c->data.max_response_length * (c->tools.call_limit + 1.0) +
                       (double)c->tools.call_limit * c->tools.max_tokens);
}

static void resume_from(struct reading *r)
{
    const struct setting *mode = reading_of(r, "trainer.resume_mode"), *from = reading_of(r, "trainer.resume_from_"
                                                                                             "path");
    bool wants = mode && !strcmp(mode->value, "resume_path");
    if (from) r->foreign = true;
    if (wants && !from)
        reading_problem(r, "%.100s=resume_path (%s) needs trainer.resume_from_path", mode->key, mode->source);
    if (wants && from && !reading_of(r, "trainer.resume")) put(r, from, "trainer.resume", from->value);
}

/* Removes loggers that this program lacks from the list. */
static void leave_out_loggers(struct reading *r)
{
    static const char *const others[] = { "wandb",   "mlflow",  "swanlab", "vemlp_wandb",
                                          "clearml", "trackio", "comet",   "comet_ml" };
    struct str kept = { 0 }, out = { 0 };
    const char *list = r->c->trainer.logger;
    for (const char *p = list; *p; ) {
        size_t n = strcspn(p, ","), i = 0;
        while (i < sizeof others / sizeof *others && (strlen(others[i]) != n || memcmp(others[i], p, n))) i++;
        struct str *to = i < sizeof others / sizeof *others ? &out : &kept;
        if (to->n) str_puts(to, to == &out ? ", " : ",");
        str_put(to, p, n);
        p += n + (p[n] == ',');
    }
    if (out.n) {
        struct err e;
        char source[256];
        snprintf(source, sizeof source, "%.250s", config_source(r->c, "trainer.logger"));
        str_printf(r->notes, "ignored in trainer.logger: %s (metrics.jsonl and tensorboard have verl's names)\n",
                   out.p);
        if (!config_set(r->c, "trainer.logger", kept.n ? kept.p : "console", source, &e))
            reading_problem(r, "%s", e.text);
    }
    str_free(&kept);
    str_free(&out);
}

/* CISPO's own names of its clip */
static void cispo_clip(struct reading *r)
{
    static const char *const names[][2] = {
        { "actor.policy_loss.cispo_clip_ratio_low", "actor.clip_ratio_low" },
        { "actor.policy_loss.cispo_clip_ratio_high", "actor.clip_ratio_high" },
    };
    for (int i = 0; i < 2; i++) {
        const struct setting *v = reading_of(r, names[i][0]);
        if (!v) continue;
        r->foreign = true;
        if (r->c->actor.policy_loss_loss_mode == LOSS_CISPO && !reading_of(r, names[i][1]))
            put(r, v, names[i][1], v->value);
    }
}

void config_verl_after(struct reading *r)
{
    struct config *c = r->c;
    const struct setting *v;
    cispo_clip(r);
    greedy_evaluation(r);
    without_tools(r);
    lengths_by_turn(r);
    resume_from(r);
    leave_out_loggers(r);
    if (flag(r, "actor.policy_loss.future_kl_clip_high_only", &v) && is_true(v) &&
        !reading_of(r, "advantage.future_clip_low"))
        put(r, v, "advantage.future_clip_low", "0");
    /* an upper bound there: a rollout ends with the longest response */
    v = reading_of(r, "rollout.max_model_len");
    if (!v) return;
    r->foreign = true;
    if (reading_of(r, "rollout.max_len")) return;
    put(r, v, "rollout.max_len", v->value);
    double most = (double)c->data.max_prompt_length + c->data.max_response_length;
    if (c->rollout.max_len > most) put_number(r, v, "rollout.max_len", most);
}

/* ---- notes ---- */

/* verl's defaults of keys that decide numbers, where ours can differ. */
static const struct { const char *key, *value; } verl_default[] = {
    { "algorithm.adv_estimator", "gae" }, { "data.train_batch_size", "1024" }, { "actor.ppo_mini_batch_size", "256" },
    { "data.max_prompt_length", "512" }, { "data.max_response_length", "512" }, { "rollout.n", "1" },
    { "rollout.temperature", "1" }, { "rollout.top_p", "1" }, { "actor.optim.lr", "1e-06" },
    { "actor.optim.lr_warmup_steps", "0" }, { "actor.optim.weight_decay", "0.01" }, { "actor.optim.beta1", "0.9" },
    { "actor.optim.beta2", "0.999" }, { "actor.grad_clip", "1" }, { "actor.ppo_epochs", "1" },
    { "actor.clip_ratio_low", "0.2" }, { "actor.clip_ratio_high", "0.2" }, { "actor.clip_ratio_c", "3" },
    { "actor.entropy_coeff", "0" }, { "actor.loss_agg_mode", "token-mean" }, { "actor.use_kl_loss", "false" },
    { "advantage.norm_by_std", "true" }, { "actor.live_rows_only", "false" }, { "rollout.val_kwargs.temperature", "0" },
    { "rollout.val_kwargs.n", "1" }, { "tools.call_limit", "0" },
};

/* Given keys that have another meaning there. */
static const struct { const char *key, *text; } otherwise[] = {
    { "trainer.default_local_dir",
      "trainer.default_local_dir: checkpoints lie in it under project_name/experiment_name (verl: in the folder "
      "itself)" },
    { "rollout.multi_turn.max_assistant_turns",
      "rollout.multi_turn.max_assistant_turns: past the last call a rollout gets an error result and continues (verl: "
      "it ends)" },
    { "rollout.multi_turn.max_user_turns",
      "rollout.multi_turn.max_user_turns: past the last call a rollout gets an error result and continues (verl: "
      "it ends)" },
    { "rollout.tools.tool_instances.search.class_path",
      "search answers from recorded searches alone (tools.search_cache)" },
    { "rollout.tools.tool_instances.python.class_path", "python is a calculator" },
};

void config_verl_notes(struct reading *r)
{
    char text[64];
    struct str list = { 0 };
    for (size_t i = 0; i < sizeof otherwise / sizeof *otherwise; i++) {
        const struct setting *v = reading_of(r, otherwise[i].key);
        if (!v) continue;
        str_printf(&list, "%s%s", list.n ? "; " : "meant otherwise than in verl: ", otherwise[i].text);
    }
    if (list.n) str_printf(r->notes, "%s\n", list.p);
    str_clear(&list);
    for (size_t i = 0; i < sizeof verl_default / sizeof *verl_default; i++) {
        const struct key *k = config_find(verl_default[i].key);
        const char *ours = config_text(r->c, k, text);
        if (config_given(r->c, k->name) || !strcmp(ours, verl_default[i].value)) continue;
        str_printf(&list, "%s%s=%s (verl: %s)", list.n ? ", " : "not given, and other than verl's default: ", k->name,
                   ours, verl_default[i].value);
    }
    if (list.n) str_printf(r->notes, "%s\n", list.p);
    str_free(&list);
}
