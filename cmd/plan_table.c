/* plan_table.c: the table and the advice of `appo plan`. */
#include "cmd/plan.h"
#include "base/arith.h"
#include <stdio.h>
#include <string.h>

const char *const plan_recompute[] = { "none", "cheap", "full" };

/* The largest value of *key, from 1 to the key's maximum, with which the run still fits; 0: none does. Restores
 * *key. */
static int largest(struct config *c, int *key, int top, const struct model_config *shape, const struct plan_request *q)
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

/* What 4 bytes a weight of the optimizer's state are to a rank. */
static void saves(const char *key, const struct config *c, const struct model_config *shape,
                  const struct plan_request *q)
{
    struct model m;
    model_lay_out(&m, shape);
    printf("%s saves %.2f GiB%s\n", key, (double)m.count * 4 / (c->actor.zero ? q->rule.ranks : 1) / 0x1p30,
           c->actor.offload == OFFLOAD_OPTIMIZER && q->gpu_build ? " of the host's memory" : "");
    model_free(&m);
}

/* Bytes with every key that changes memory but not the result (bf16 moments do, a little) at its smallest. */
static size_t least(const struct config *c, const struct model_config *shape, const struct plan_request *q)
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

void plan_advise(struct config *c, const struct model_config *shape, size_t all, const struct plan_request *q)
{
    enum { TOP = 1 << 20 };
    size_t memory = (size_t)q->memory;
    bool trains = q->rule.what != MEMORY_SAMPLE, samples = q->rule.what != MEMORY_SFT && !c->rollout.max_total_tokens;
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
            printf("  actor.ppo_max_token_len_per_gpu=%d with model.recompute=%s\n", again[r], plan_recompute[r]);
    if (seqs) printf("  rollout.max_num_seqs=%d%s\n", seqs, seqs == 1 << 16 ? " or more" : "");
    if (trains && c->actor.optim_state_dtype != STATE_BF16)
        saves("actor.optim.state_dtype=bf16", c, shape, q);
    if (trains && q->rule.elem_bytes == 2 && c->actor.optim_master != MASTER_NONE)
        saves("actor.optim.master=none", c, shape, q);
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

void plan_table(const struct memory_estimate *n, const struct plan_request *q)
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
    if (n->comm) line(q->gpu_build ? "NCCL, assumed" : "MPI, about", n->comm);
    line("all", n->all);
    if (!memory_pinned(n) || !q->gpu_build) return;
    int ranks = MIN(q->rule.ranks, PLAN_HOST_RANKS);
    printf("\npinned memory of the host%s:\n", ranks > 1 ? ", each rank" : "");
    if (n->pinned) line("optimizer", n->pinned);
    if (n->pinned_copies) line("copies of the weights", n->pinned_copies);
    if (ranks > 1) {
        char what[64];
        snprintf(what, sizeof what, "all of a host's %d ranks", ranks);
        line(what, memory_pinned(n) * (size_t)ranks);
    }
}
