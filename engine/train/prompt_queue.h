/* prompt_queue.h: rollouts of many prompts over the ranks. Prompts are dealt by expected cost; a rank starts its own
 * while it has free slots and, when it runs dry, takes whole prompts that another one has not started. */
#pragma once
#include "engine/rollout/rollout.h"

struct prompt_queue {
    /* Set by the caller. Called when this rank takes prompt `item`: *seq becomes its sequences, read at once. Returns
     * how many, at least 1. */
    int (*open)(void *ctx, int item, struct sequence ***seq);
    void (*ended)(void *ctx, int done, int total);      /* as rollout_run's progress, total an estimate; may be NULL */
    void *ctx;
    /* Afterwards: */
    struct rollout_stats stats;                         /* of this rank */
    int taken;                                          /* prompts that this rank has run */
    int stolen;                                         /* of these, dealt to another rank */
    double wait_s;                                      /* for all ranks to begin */
    /* private */
    int *dealt_to;
    int dealt;
    struct sequence **seq;
    int have;
};

/* Runs the prompts [0 .. n), prompt i of cost[i], on all ranks, which call it with the same arguments; slice as in
 * deal_prompts, keep as in rollout_run. run_stop ends it: stats.halted of the rank that saw it, and no rank starts
 * another prompt. rule: sampling; its hooks `more` and `halt` are set here. */
void prompt_queue_run(struct prompt_queue *q, struct rollout *r, const struct rollout_config *rule, const double *cost,
                      int n, int slice, bool keep);
