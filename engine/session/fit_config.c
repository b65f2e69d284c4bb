/* fit_config.c: defaults that follow from the model and from the available memory. Never changes a key that a preset, a
 * file or an argument sets. */
#include "engine/session/fit_config.h"
#include "engine/comm/comm.h"
#include "engine/config/config_in.h"
#include "kernels/dev.h"
#include "model/load.h"
#include <string.h>

/* Cuts lengths that were not given to the positions of the model. */
static void cut_to_positions(struct config *c, int positions)
{
    bool prompt = config_given(c, "data.max_prompt_length"), response = config_given(c, "data.max_response_length");
    char source[64];
    if (config_given(c, "rollout.max_len") || (prompt && response) || c->rollout.max_len <= positions || positions < 2)
        return;
    snprintf(source, sizeof source, "default for a model of %d positions", positions);
    config_set_int(c, "rollout.max_len", positions, source);
    if (!prompt) {
        int room = response ? positions - c->data.max_response_length : positions / 3;
        if (room >= 1 && c->data.max_prompt_length > room) config_set_int(c, "data.max_prompt_length", room, source);
    }
    if (!response) {
        int room = positions - c->data.max_prompt_length;
        if (room >= 1 && c->data.max_response_length > room)
            config_set_int(c, "data.max_response_length", room, source);
    }
}

void fit_config_to_model(struct config *c, const char *rate, FILE *warn)
{
    struct model_config shape;
    struct err ignored;
    struct model m;
    if (!*c->model.path || !model_load_config(&shape, c->model.path, &ignored)) return;
    cut_to_positions(c, shape.max_len);
    if (!rate || !warn) return;
    model_lay_out(&m, &shape);
    double lr = !strcmp(rate, "sft.lr") ? c->sft.lr : c->actor.optim_lr;
    if (lr > 1e-4 && m.count > 50000000)
        fprintf(warn, "warning: %s=%g is high for a model of %.0f million weights; 1e-6 (sft: 7e-6) is usual\n", rate,
                lr, (double)m.count / 1e6);
    model_free(&m);
}

/* Lowers, step by step, keys that were not given and change memory and speed but no number. The first steps cost a CPU
 * next to no speed; recomputing a quarter of the forward pass comes before recomputing all of it, and both before
 * decoding a few sequences at a time. In supervised fine-tuning only recomputation changes no number: conversations may
 * be as long as a batch. */
static const struct step { const char *key; int value; } steps[] = {
    { "rollout.max_num_seqs", 128 },          { "rollout.max_num_seqs", 64 },
    { "rollout.max_num_seqs", 32 },           { "rollout.max_num_seqs", 16 },
    { "actor.ppo_max_token_len_per_gpu", 0 }, { "model.recompute", RECOMPUTE_CHEAP },
    { "model.recompute", RECOMPUTE_FULL },    { "rollout.max_num_seqs", 8 },
    { "rollout.max_num_seqs", 4 },            { "rollout.max_num_seqs", 2 },
    { "rollout.max_num_seqs", 1 },
};
enum { CHEAP = 5 };
static const char *const recompute_names[] = { "none", "cheap", "full" };

/* Whether the step was taken. */
static bool lower(struct config *c, enum memory_purpose what, const struct step *s)
{
    struct err e;
    bool recompute = !strcmp(s->key, "model.recompute");
    if (config_given(c, s->key) || (what == MEMORY_SFT && !recompute)) return false;
    if (what == MEMORY_SAMPLE && strcmp(s->key, "rollout.max_num_seqs")) return false;
    if (!recompute) config_set_int(c, s->key, s->value ? s->value : c->rollout.max_len, "default that fits memory");
    else if (!config_set(c, s->key, recompute_names[s->value], "default that fits memory", &e)) die("%s", e.text);
    return true;
}

double memory_part(void) { return strcmp(dev_name(), "cpu") ? 1 : 1.0 / comm_local_ranks(); }

void fit_config_to_memory(struct config *c, enum memory_purpose what, FILE *report)
{
    struct err why;
    bool lowered = false, cpu = !strcmp(dev_name(), "cpu");
    const double part = memory_part();
    if (!*c->model.path) return;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (!memory_fits_share(c, c->model.path, what, cpu && i < CHEAP ? part / 2 : part, &why))
            lowered |= lower(c, what, &steps[i]);
        else if (i < CHEAP) break;
    }
    if (!lowered || !report || !memory_fits_share(c, c->model.path, what, part, &why)) return;
    const char *recompute = recompute_names[c->model.recompute];
    if (what == MEMORY_SFT)
        fprintf(report, "to fit memory: model.recompute=%s (it changes speed, not numbers)\n", recompute);
    else if (what == MEMORY_SAMPLE)
        fprintf(report, "to fit memory: rollout.max_num_seqs=%d (it changes speed, not numbers)\n",
                c->rollout.max_num_seqs);
    else
        fprintf(report,
                "to fit memory: rollout.max_num_seqs=%d, actor.ppo_max_token_len_per_gpu=%d, model.recompute=%s "
                "(they change speed, not numbers)\n",
                c->rollout.max_num_seqs, c->actor.ppo_max_token_len_per_gpu, recompute);
}
