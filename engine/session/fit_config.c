/* fit_config.c: defaults that follow from the model and from the available memory. Never changes a key that a preset, a
 * file or an argument sets. */
#include "engine/session/fit_config.h"
#include "base/arith.h"
#include "engine/comm/comm.h"
#include "engine/config/config_in.h"
#include "engine/session/run_sizes.h"
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

void fit_config_to_device(struct config *c)
{
    struct err e;
    if (!strcmp(dev_name(), "cpu") && !config_given(c, "actor.grad_sum") && c->actor.zero != 2 &&
        !config_set(c, "actor.grad_sum", "exact", "default on a CPU", &e))
        die("%s", e.text);
}

/* Steps that change memory and speed but no number, in the order in which they are tried. A GPU first gives up room
 * for rollouts that wait to be branched, which costs running some of them again, then what costs little beside an
 * update, then decoding more than a few sequences at a time. On a CPU the first steps cost next to no speed. */
enum { ON_CPU = 1, ON_GPU = 2, RANKS = 4, HALF = 8 };
static const struct step {
    unsigned when;                  /* HALF: until the run fits half of the room */
    const char *key, *value;        /* value NULL: rollout.max_len times `rollouts` */
    int rollouts;
} steps[] = {
    { ON_CPU | HALF, "rollout.max_num_seqs", "128", 0 },
    { ON_CPU | HALF, "rollout.max_num_seqs", "64", 0 },
    { ON_CPU | HALF, "rollout.max_num_seqs", "32", 0 },
    { ON_CPU | HALF, "rollout.max_num_seqs", "16", 0 },
    { ON_CPU | HALF, "actor.ppo_max_token_len_per_gpu", NULL, 1 },
    { ON_GPU, "rollout.max_total_tokens", NULL, 64 },
    { ON_CPU | ON_GPU, "model.recompute", "cheap", 0 },
    { ON_CPU | ON_GPU | RANKS, "actor.zero", "1", 0 },
    { ON_GPU, "actor.offload", "optimizer", 0 },
    { ON_CPU | ON_GPU | RANKS, "actor.zero", "2", 0 },
    { ON_GPU, "ref.offload", "true", 0 },
    { ON_GPU, "actor.ppo_max_token_len_per_gpu", NULL, 1 },
    { ON_CPU, "rollout.max_total_tokens", NULL, 16 },
    { ON_CPU | ON_GPU, "model.recompute", "full", 0 },
    { ON_GPU, "rollout.max_total_tokens", NULL, 32 },
    { ON_GPU, "rollout.max_total_tokens", NULL, 16 },
    { ON_CPU | ON_GPU, "rollout.max_total_tokens", NULL, 8 },
    { ON_CPU, "rollout.max_num_seqs", "8", 0 },
    { ON_CPU | ON_GPU, "rollout.max_total_tokens", NULL, 4 },
    { ON_CPU, "rollout.max_num_seqs", "4", 0 },
    { ON_CPU | ON_GPU, "rollout.max_total_tokens", NULL, 2 },
    { ON_CPU, "rollout.max_num_seqs", "2", 0 },
    { ON_CPU | ON_GPU, "rollout.max_total_tokens", NULL, 1 },
    { ON_CPU, "rollout.max_num_seqs", "1", 0 },
};
enum { STEPS = sizeof steps / sizeof *steps };

/* In supervised fine-tuning conversations may be as long as a batch, which therefore stays. */
static bool applies(const struct step *s, const struct config *c, const struct fit_room *room)
{
    struct weight_copies w = trainer_weight_copies(c);
    bool rollouts = !strncmp(s->key, "rollout.", 8);
    if (!(s->when & (room->cpu ? ON_CPU : ON_GPU)) || (s->when & RANKS && room->rule.ranks < 2)) return false;
    if (!strcmp(s->key, "actor.zero") && !strcmp(s->value, "2") && c->actor.grad_sum == GRAD_SUM_EXACT) return false;
    if (!strcmp(s->key, "ref.offload") && !(w.ref || w.prev || w.old)) return false;
    if (room->rule.what == MEMORY_SAMPLE) return rollouts;
    return room->rule.what == MEMORY_TRAIN || !strcmp(s->key, "model.recompute") || !strcmp(s->key, "actor.offload");
}

static void set(struct config *c, const char *key, const char *value)
{
    struct err e;
    if (!config_set(c, key, value, "default that fits memory", &e)) die("%s", e.text);
}

/* Whether the step was taken. A later value of a key is taken only where an earlier one was not given by the user. */
static bool take(struct config *c, const struct step *s)
{
    char text[32];
    if (config_given(c, s->key)) return false;
    int64_t tokens = (int64_t)c->rollout.max_len * s->rollouts;
    snprintf(text, sizeof text, "%lld", (long long)tokens);
    set(c, s->key, s->value ? s->value : text);
    return true;
}

static bool fits(const struct config *c, const struct model_config *shape, const struct fit_room *room, double share,
                 struct memory_estimate *n)
{
    memory_estimate_make_as(n, shape, c, &room->rule);
    return (double)n->all <= (double)room->device * share && (room->cpu || memory_pinned(n) <= room->host);
}

/* A pool that was bounded takes what is left but a hundredth, up to the whole lengths. */
static void grow_pool(struct config *c, const struct memory_estimate *n, const struct fit_room *room)
{
    int64_t pages = session_pages_of(c, room->rule.ranks), given = c->rollout.max_total_tokens;
    double left = (double)room->device * 0.99 - (double)n->all, page = (double)n->keys / (double)pages;
    c->rollout.max_total_tokens = 0;
    int64_t whole = session_pages_of(c, room->rule.ranks), more = left > 0 ? pages + (int64_t)(left / page) : pages;
    c->rollout.max_total_tokens = given;
    config_set_int(c, "rollout.max_total_tokens", MIN(whole, more) * KV_PAGE, "default that fits memory");
}

/* "a=1, b=2" of the keys that were set, each once. */
static void put_taken(struct str *s, const struct config *c, const bool *taken)
{
    char text[64];
    for (int i = 0; i < STEPS; i++) {
        bool first = taken[i];
        for (int k = 0; k < i; k++) first = first && !(taken[k] && !strcmp(steps[k].key, steps[i].key));
        if (first)
            str_printf(s, "%s%s=%s", s->n ? ", " : "", steps[i].key,
                       config_text(c, config_find(steps[i].key), text));
    }
}

bool fit_config_to_room(struct config *c, const struct model_config *shape, const struct fit_room *room,
                        struct str *said)
{
    struct memory_estimate n;
    bool taken[STEPS] = { false }, pool = false, ok = false;
    for (int i = 0; i < STEPS && !ok; i++) {
        if (!applies(&steps[i], c, room)) continue;
        ok = fits(c, shape, room, steps[i].when & HALF ? 0.5 : 1, &n);
        if (!ok) pool |= (taken[i] = take(c, &steps[i])) && !strcmp(steps[i].key, "rollout.max_total_tokens");
    }
    ok = fits(c, shape, room, 1, &n);
    if (ok && pool && !room->cpu) grow_pool(c, &n, room);
    put_taken(said, c, taken);
    return ok;
}

double memory_part(void) { return strcmp(dev_name(), "cpu") ? 1 : 1.0 / comm_local_ranks(); }

void fit_config_to_memory(struct config *c, enum memory_purpose what, FILE *report)
{
    struct model_config shape;
    struct err ignored;
    struct str said = { 0 };
    size_t left, total;
    bool known = *c->model.path && model_load_config(&shape, c->model.path, &ignored) &&
                 (what == MEMORY_SFT || c->rollout.max_len <= shape.max_len);
    if (!comm_all(known)) return;                   /* a host may lack the model; the loader reports it */
    dev_memory(&left, &total);
    struct fit_room room = { .rule = { .what = what, .ranks = comm_ranks() }, .cpu = !strcmp(dev_name(), "cpu") };
    if (room.cpu) left -= left / 20;
    size_t host = memory_pinnable() / (size_t)comm_local_ranks();
    /* all ranks decide alike */
    room.device = (size_t)comm_min((double)left * memory_part());
    room.host = (size_t)comm_min((double)host);
    if (fit_config_to_room(c, &shape, &room, &said) && said.n && report)
        fprintf(report, "to fit memory: %s (speed changes, numbers do not)\n", said.p);
    str_free(&said);
}
