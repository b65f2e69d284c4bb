/* plan.c: `appo plan`: prints the memory estimate of a run (engine/session/memory_estimate.h) and the largest batches
 * that fit. */
#include "cmd/cmd.h"
#include "engine/session/memory_estimate.h"
#include "engine/session/session.h"
#include "model/load.h"
#include <string.h>

static const char usage[] = "usage: appo plan model.path=DIR [gpu=h200|h100|...] [real=bf16|float] "
                            "[for=train|sft|sample] "
                            "[memory=80GiB] [key=value ...]: where every byte of a run would go, without allocating it";

/* A card's memory as nvidia-smi shows it, in MiB (with error correction on, if the card has it), from its maker's data
 * sheets and public listings. */
static const struct card { const char *name, *full; int mib; } cards[] = {
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

static const char *const recomputed[] = { "none", "cheap", "full" };

/* A parsed command line. */
struct request {
    const struct card *card;        /* NULL: none was named */
    struct memory_rule rule;
    int64_t memory;                 /* bytes; 0: not given */
    bool gpu_build;
};

/* The largest value of *key, from 1 to the key's maximum, with which the run still fits; 0: none does. Restores
 * *key. */
static int largest(struct config *c, int *key, int top, const struct model_config *shape, const struct request *q)
{
    int was = *key, low = 0, high = top;
    struct memory_estimate n;
    while (low < high) {
        *key = low + (high - low + 1) / 2;
        memory_estimate_make_as(&n, shape, c, &q->rule);
        if (n.all <= (size_t)q->memory) low = *key;
        else high = *key - 1;
    }
    *key = was;
    return low;
}

static void line(const char *what, size_t bytes) { printf("%-40s %12.2f MiB\n", what, (double)bytes / 0x1p20); }

static void lines(const struct arena *a)
{
    char what[64];
    line(a->name, a->peak);
    for (int i = 0; i < a->names; i++) {
        snprintf(what, sizeof what, "  %s", a->piece[i].what);
        line(what, a->piece[i].bytes);
    }
}

/* Bytes saved by two moments of 2 bytes instead of 4. */
static size_t moments_saved(const struct model_config *shape)
{
    struct model m;
    model_lay_out(&m, shape);
    size_t bytes = (size_t)m.count * 4;
    model_free(&m);
    return bytes;
}

/* Bytes with every key that changes memory but not the result (bf16 moments do, a little) at its smallest. */
static size_t least(const struct config *c, const struct model_config *shape, const struct request *q)
{
    struct config small = *c;
    struct memory_estimate n;
    small.model.recompute = RECOMPUTE_FULL;
    small.actor.optim_state_dtype = STATE_BF16;
    small.actor.optim_master = MASTER_NONE;
    small.rollout.max_num_seqs = 1;
    small.actor.ppo_max_token_len_per_gpu = c->rollout.max_len;
    memory_estimate_make_as(&n, shape, &small, &q->rule);
    return n.all;
}

static void advise(struct config *c, const struct model_config *shape, size_t all, const struct request *q)
{
    enum { TOP = 1 << 20 };
    size_t memory = (size_t)q->memory;
    bool trains = q->rule.what != MEMORY_SAMPLE, samples = q->rule.what != MEMORY_SFT;
    if (all <= memory)
        printf("fits %.2f GiB: %.2f GiB stay free\n", (double)memory / 0x1p30, (double)(memory - all) / 0x1p30);
    else printf("does NOT fit %.2f GiB: %.2f GiB too much\n", (double)memory / 0x1p30, (double)(all - memory) / 0x1p30);
    int rows = trains ? largest(c, &c->actor.ppo_max_token_len_per_gpu, TOP, shape, q) : 0;
    int seqs = samples ? largest(c, &c->rollout.max_num_seqs, 1 << 16, shape, q) : 0;
    int again[RECOMPUTE_FULL + 1] = { 0 }, any = rows || seqs;
    const enum recompute was = c->model.recompute;
    for (int r = was + 1; trains && r <= RECOMPUTE_FULL; r++) {
        c->model.recompute = r;
        any |= again[r] = largest(c, &c->actor.ppo_max_token_len_per_gpu, TOP, shape, q);
    }
    c->model.recompute = was;
    if (any) printf("all else as it is, at most:\n");
    if (rows) printf("  actor.ppo_max_token_len_per_gpu=%d%s\n", rows, rows == TOP ? " or more" : "");
    for (int r = was + 1; r <= RECOMPUTE_FULL; r++)
        if (again[r])
            printf("  actor.ppo_max_token_len_per_gpu=%d with model.recompute=%s\n", again[r], recomputed[r]);
    if (seqs) printf("  rollout.max_num_seqs=%d%s\n", seqs, seqs == 1 << 16 ? " or more" : "");
    if (trains && c->actor.optim_state_dtype != STATE_BF16)
        printf("actor.optim.state_dtype=bf16 saves %.2f GiB\n", (double)moments_saved(shape) / 0x1p30);
    if (trains && q->rule.elem_bytes == 2 && c->actor.optim_master != MASTER_NONE)
        printf("actor.optim.master=none saves %.2f GiB\n", (double)moments_saved(shape) / 0x1p30);
    if (!any)
        printf(
            "no single key of these helps: all at their smallest take %.2f GiB "
            "(model.recompute=full, actor.optim.state_dtype=bf16, actor.optim.master=none,\n"
            "rollout.max_num_seqs=1, actor.ppo_max_token_len_per_gpu=%d); otherwise %smore memory or a smaller model\n",
            (double)least(c, shape, q) / 0x1p30, c->rollout.max_len,
            samples ? c->branch.when == BRANCH_STEP
                          ? "fewer rollouts kept (data.train_batch_size, rollout.max_len), "
                          : "fewer rollouts kept (actor.ppo_mini_batch_size, rollout.max_len), "
                    : "");
}

static void table(const struct memory_estimate *n, const struct request *q)
{
    line("weights", n->weights);
    if (n->copies) line("copies of the weights", n->copies);
    if (n->state.peak) lines(&n->state);
    if (n->pinned_copies && !q->gpu_build) line("copies of the weights, offloaded", n->pinned_copies);
    if (n->pinned && !q->gpu_build) line("optimizer, offloaded", n->pinned);
    if (n->work.peak) lines(&n->work);
    if (n->pool.peak) lines(&n->pool);
    if (n->packed) line("matrices packed for products", n->packed);
    if (n->saving) line("a checkpoint's copy", n->saving);
    if (n->program) line("program and tokenizer", n->program);
    if (n->scratch) line(q->rule.elem_bytes ? "scratch of operations, about" : "scratch of operations", n->scratch);
    line("all", n->all);
    if (n->pinned && q->gpu_build) line("host memory: optimizer", n->pinned);
    if (n->pinned_copies && q->gpu_build) line("host memory: copies of the weights", n->pinned_copies);
}

static bool plan(struct config *c, struct request *q, struct err *e)
{
    static const char *const whats[] = {
        [MEMORY_TRAIN] = "training", [MEMORY_SFT] = "supervised fine-tuning", [MEMORY_SAMPLE] = "sampling"
    };
    const char *path = *c->model.path ? c->model.path : session_embedded_policy();
    struct model_config shape;
    struct model m;
    struct memory_estimate n;
    if (!model_load_config(&shape, path, e)) return false;
    if (q->rule.what != MEMORY_SFT && c->rollout.max_len > shape.max_len)
        return fail(
            e, "rollout.max_len=%d is more than the model's max_position_embeddings=%d: give a smaller rollout.max_len",
            c->rollout.max_len, shape.max_len);
    memory_estimate_make_as(&n, &shape, c, &q->rule);
    if (n.all == SIZE_MAX)
        return fail(
            e,
            "%s=%d x rollout.initial_rollouts=%d and rollout.max_num_seqs=%d rollouts of rollout.max_len=%d tokens are "
            "more keys and values than a pool can number: make one of them smaller",
            c->branch.when == BRANCH_STEP ? "data.train_batch_size" : "actor.ppo_mini_batch_size", branched_prompts(c),
            c->rollout.initial_rollouts, c->rollout.max_num_seqs, c->rollout.max_len);
    model_lay_out(&m, &shape);
    printf("%s: %s, %lld parameters, %d layers of %d, vocabulary %d; numbers stored as %s%s\n", path, shape.arch,
           (long long)m.count, shape.layers, shape.dim, shape.vocab,
           !q->rule.elem_bytes ? ELEM_NAME : q->rule.elem_bytes == 2 ? "bf16" : "float",
           q->gpu_build ? ", on a GPU" : "");
    printf("%s", whats[q->rule.what]);
    if (q->rule.what != MEMORY_SAMPLE)
        printf(": batches of %d tokens, model.recompute=%s", c->actor.ppo_max_token_len_per_gpu,
               recomputed[c->model.recompute]);
    if (q->rule.what != MEMORY_SFT)
        printf("; %d sequence%s of %d tokens decode at once", c->rollout.max_num_seqs,
               c->rollout.max_num_seqs > 1 ? "s" : "", c->rollout.max_len);
    printf("\n\n");
    table(&n, q);
    if (q->card)
        printf("\n%s: %d MiB, of which about %d are the driver's; %.2f GiB can be used\n", q->card->full, q->card->mib,
               DRIVER_MIB, (double)(q->card->mib - DRIVER_MIB) / 1024);
    if (q->memory) { printf("%s", q->card ? "" : "\n"); advise(c, &shape, n.all, q); }
    model_free(&m);
    return true;
}

static bool take_card(struct request *q, const char *name)
{
    for (int i = 0; i < CARDS; i++) if (!strcmp(name, cards[i].name)) { q->card = &cards[i]; return true; }
    return false;
}

/* Reads an option of plan itself. False: not one; *bad: the value is invalid. */
static bool own_option(struct request *q, const char *arg, const char **bad)
{
    static const struct { const char *name; enum memory_purpose what; } whats[] = {
        { "train", MEMORY_TRAIN }, { "sft", MEMORY_SFT }, { "sample", MEMORY_SAMPLE },
    };
    const char *value = strchr(arg, '=');
    if (!value++) return false;
    if (!strncmp(arg, "memory=", 7)) {
        if (!parse_bytes(value, &q->memory)) *bad = "a size is needed, as in memory=80GiB";
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
static void settle(struct request *q)
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
    struct request q = { .rule = { MEMORY_TRAIN, 0 } };
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
    if (cmd_config(&c, argc, argv, usage, 0, &status)) status = plan(&c, &q, &e) ? 0 : cmd_fail(&e);
    config_free(&c);
    return status;
}
