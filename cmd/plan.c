/* plan.c: `appo plan`: prints the memory estimate of a run (engine/session/memory_estimate.h) and the largest batches
 * that fit. */
#include "cmd/cmd.h"
#include "base/arith.h"
#include "base/str.h"
#include "cmd/plan.h"
#include "engine/session/fit_config.h"
#include "engine/session/session.h"
#include "model/load.h"
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: appo plan model.path=DIR [gpu=h200|h100|...] [real=bf16|float] "
                            "[for=train|sft|sample] [ranks=8] [memory=80GiB] [host=1TiB] [key=value ...]: "
                            "where every byte of a run would go, without allocating it";

/* A card's memory as nvidia-smi shows it, in MiB (with error correction on, if the card has it), from its maker's data
 * sheets and public listings. */
static const struct card cards[] = {
    { "b200", "B200 192 GB", 183359 },       { "h200", "H200 141 GB", 143771 },
    { "h20", "H20 96 GB", 97871 },           { "h100", "H100 80 GB", 81559 },
    { "h100-nvl", "H100 NVL 94 GB", 95830 }, { "a100", "A100 80 GB", 81920 },
    { "a100-40gb", "A100 40 GB", 40960 },    { "l40s", "L40S 48 GB", 46068 },
    { "a6000", "RTX A6000 48 GB", 49140 },   { "5090", "RTX 5090 32 GB", 32607 },
    { "4090", "RTX 4090 24 GB", 24564 },     { "3090", "RTX 3090 24 GB", 24576 },
    { "a10", "A10 24 GB", 23028 },           { "l4", "L4 24 GB", 23034 },
};
enum { CARDS = sizeof cards / sizeof *cards };

/* The part of it that the driver, the context and cuBLASLt occupy. */
enum { DRIVER_MIB = 900 };

/* What a run would do that does not fit: sets keys that were not given and change speed only. */
static void fit(struct config *c, const struct model_config *shape, const struct plan_request *q,
                struct memory_estimate *n)
{
    struct fit_room room = { .rule = q->rule, .device = (size_t)q->memory, .host = SIZE_MAX, .cpu = !q->gpu_build };
    struct str said = { 0 };
    size_t all = n->all;
    if (q->host) room.host = (size_t)q->host / (size_t)MIN(q->rule.ranks, PLAN_HOST_RANKS);
    if (!q->memory || (all <= room.device && memory_pinned(n) <= room.host)) return;
    fit_config_to_room(c, shape, &room, &said);
    memory_estimate_make_as(n, shape, c, &q->rule);
    if (said.n && all != SIZE_MAX)
        printf("as given it takes %.2f GiB%s; a run sets what was not given: %s\n", (double)all / 0x1p30,
               q->rule.ranks > 1 ? " a rank" : "", said.p);
    else if (said.n) printf("a run sets what was not given: %s\n", said.p);
    str_free(&said);
}

static void headline(const char *path, const struct model_config *shape, const struct plan_request *q)
{
    struct model m;
    model_lay_out(&m, shape);
    printf("%s: %s, %lld parameters, %d layers of %d, vocabulary %d; numbers stored as %s%s\n", path, shape->arch,
           (long long)m.count, shape->layers, shape->dim, shape->vocab,
           !q->rule.elem_bytes ? ELEM_NAME : q->rule.elem_bytes == 2 ? "bf16" : "float",
           q->gpu_build ? ", on a GPU" : "");
    model_free(&m);
}

static void work(const struct config *c, const struct plan_request *q)
{
    static const char *const whats[] = {
        [MEMORY_TRAIN] = "training", [MEMORY_SFT] = "supervised fine-tuning", [MEMORY_SAMPLE] = "sampling"
    };
    printf("%s", whats[q->rule.what]);
    if (q->rule.ranks > 1) printf(" on %d ranks, actor.zero=%d", q->rule.ranks, c->actor.zero);
    if (q->rule.what != MEMORY_SAMPLE)
        printf(": batches of %d tokens, model.recompute=%s", c->actor.ppo_max_token_len_per_gpu,
               plan_recompute[c->model.recompute]);
    if (q->rule.what != MEMORY_SFT)
        printf("; %d sequence%s of %d tokens decode at once", c->rollout.max_num_seqs,
               c->rollout.max_num_seqs > 1 ? "s" : "", c->rollout.max_len);
    if (q->rule.what != MEMORY_SFT && c->rollout.max_total_tokens)
        printf(" while the pool of %lld tokens has room", (long long)c->rollout.max_total_tokens);
    printf("\n\n%s", q->rule.ranks > 1 ? "each rank:\n" : "");
}

static bool plan(struct config *c, struct plan_request *q, struct err *e)
{
    const char *path = *c->model.path ? c->model.path : session_embedded_policy();
    struct model_config shape;
    struct memory_estimate n;
    if (!model_load_config(&shape, path, e)) return false;
    if (q->rule.what != MEMORY_SFT && c->rollout.max_len > shape.max_len)
        return fail(
            e, "rollout.max_len=%d is more than the model's max_position_embeddings=%d: give a smaller rollout.max_len",
            c->rollout.max_len, shape.max_len);
    headline(path, &shape, q);
    memory_estimate_make_as(&n, &shape, c, &q->rule);
    fit(c, &shape, q, &n);
    if (n.all == SIZE_MAX)
        return fail(
            e,
            "%s=%d x rollout.initial_rollouts=%d and rollout.max_num_seqs=%d rollouts of rollout.max_len=%d tokens are "
            "more keys and values than a pool can number: make one of them smaller",
            c->branch.when == BRANCH_STEP ? "data.train_batch_size" : "actor.ppo_mini_batch_size", branched_prompts(c),
            c->rollout.initial_rollouts, c->rollout.max_num_seqs, c->rollout.max_len);
    work(c, q);
    plan_table(&n, q);
    if (q->card)
        printf("\n%s: %d MiB, of which about %d are the driver's; %.2f GiB can be used\n", q->card->full, q->card->mib,
               DRIVER_MIB, (double)(q->card->mib - DRIVER_MIB) / 1024);
    if (q->memory) { printf("%s", q->card ? "" : "\n"); plan_advise(c, &shape, n.all, q); }
    return true;
}

static bool take_card(struct plan_request *q, const char *name)
{
    for (int i = 0; i < CARDS; i++) if (!strcmp(name, cards[i].name)) { q->card = &cards[i]; return true; }
    return false;
}

/* Reads an option of plan itself. False: not one; *bad: the value is invalid. */
static bool own_option(struct plan_request *q, const char *arg, const char **bad)
{
    static const struct { const char *name; enum memory_purpose what; } whats[] = {
        { "train", MEMORY_TRAIN }, { "sft", MEMORY_SFT }, { "sample", MEMORY_SAMPLE },
    };
    const char *value = strchr(arg, '=');
    if (!value++) return false;
    if (!strncmp(arg, "memory=", 7)) {
        if (!parse_bytes(value, &q->memory)) *bad = "a size is needed, as in memory=80GiB";
    } else if (!strncmp(arg, "host=", 5)) {
        if (!parse_bytes(value, &q->host)) *bad = "a size is needed, as in host=1TiB";
    } else if (!strncmp(arg, "ranks=", 6)) {
        char *end;
        long n = strtol(value, &end, 10);
        if (*end || n < 1 || n > 4096) *bad = "a number of ranks from 1 to 4096 is needed";
        else q->rule.ranks = (int)n;
    } else if (!strncmp(arg, "gpu=", 4)) {
        if (!take_card(q, value)) *bad = "not a card of the list; give memory=80GiB and real=bf16";
    } else if (!strncmp(arg, "real=", 5)) {
        q->rule.elem_bytes = !strcmp(value, "bf16") ? 2 : !strcmp(value, "float") ? 4 : 0;
        if (!q->rule.elem_bytes) *bad = "bf16 or float is needed";
    } else if (!strncmp(arg, "for=", 4)) {
        bool found = false;
        for (int i = 0; i < 3; i++) if (!strcmp(value, whats[i].name)) { q->rule.what = whats[i].what; found = true; }
        if (!found) *bad = "train, sft or sample is needed";
    } else {
        return false;
    }
    return true;
}

/* Completes the request. A card means a GPU's build, which this one cannot run dry, and so does bf16 on a CPU; the
 * number type of this build means this build. */
static void settle(struct plan_request *q)
{
    bool cpu = !strcmp(dev_name(), "cpu");
    if (q->card && !q->rule.elem_bytes) q->rule.elem_bytes = 2;
    if (!q->card && q->rule.elem_bytes == sizeof(elem_t)) q->rule.elem_bytes = 0;
    if (q->card && !q->memory) q->memory = (int64_t)(q->card->mib - DRIVER_MIB) << 20;
    q->gpu_build = !cpu || q->rule.elem_bytes;
}

int cmd_plan(int argc, char **argv)
{
    struct config c;
    struct err e;
    int status;
    struct plan_request q = { .rule = { .what = MEMORY_TRAIN, .ranks = 1 } };
    if (cmd_option(&argc, argv, "--simulate", NULL)) return plan_simulate(argc, argv);
    for (int i = 0; i < argc; i++) {
        const char *bad = NULL;
        if (!own_option(&q, argv[i], &bad)) continue;
        if (bad) {
            fprintf(stderr, "appo: %s: %s. %s\n", argv[i], bad, usage);
            return 2;
        }
        memmove(argv + i, argv + i + 1, (size_t)(argc - i - 1) * sizeof *argv);
        argc--;
        i--;
    }
    settle(&q);
    if (cmd_config(&c, argc, argv, usage, 0, &status)) {
        if (!q.gpu_build && q.rule.what == MEMORY_TRAIN) fit_config_to_device(&c);
        status = plan(&c, &q, &e) ? 0 : cmd_fail(&e);
    }
    config_free(&c);
    return status;
}
