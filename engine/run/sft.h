/* sft.h: supervised fine-tuning on expert transcripts of the embedded tasks, or on conversations from files: packed
 * without padding, loss on the tokens the model is to write only, cosine schedule. */
#pragma once
#include "data/tasks/task.h"
#include "engine/learner/learner.h"
#include "engine/prompts/sft_conversations.h"
#include "model/chat/chat.h"

struct sft_rule {
    int steps, batch, warmup;
    double lr, floor, decay, beta1, beta2, max_norm;        /* floor: the cosine ends at floor * lr */
    double guess_high, guess_low, early, slip;              /* shares of flawed demonstrations, task_expert.h */
    uint64_t seed;
    /* index of the first demonstration: phases use different ones */
    uint64_t first;
    int begin;                                              /* steps done before, of a run that goes on, */
    int64_t tokens_before;                                  /* and their tokens and seconds */
    double wall_before;
};
/* part of whole: demonstrations of the step under way that are done; when it is complete, part is whole and step counts
 * it. */
struct sft_report { int step, steps, part, whole; double loss, norm, lr, wall_s; int64_t tokens; };
/* Every demonstration is fresh. after is called after each step, where returning false stops early, and, with part <
 * whole, within it. False: a non-finite gradient five steps in a row. */
bool sft_run_tasks(struct learner *l, const struct chat *c, const struct sft_rule *r,
             bool (*after)(void *, const struct sft_report *), void *ctx, struct err *e);
/* The same on conversations, in the order of data.shuffle and data.seed; a batch may reach from one epoch into the
 * next. */
bool sft_run_conversations(struct learner *l, struct sft_conversations *t, const struct config *c,
                           const struct sft_rule *r, bool (*after)(void *, const struct sft_report *), void *ctx,
                           struct err *e);
