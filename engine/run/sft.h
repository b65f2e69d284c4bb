/* sft.h: supervised fine-tuning on expert transcripts of the embedded tasks, or on conversations from files. Batches
 * are packed without padding, the loss counts only tokens that the model is to write, the learning rate falls by a
 * cosine. */
#pragma once
#include "data/tasks/task.h"
#include "engine/learner/learner.h"
#include "engine/prompts/sft_conversations.h"
#include "model/chat/chat.h"

struct sft_rule {
    int steps;
    int batch;
    int warmup;
    double lr;
    double floor;                   /* the cosine ends at floor * lr */
    double decay;
    double beta1;
    double beta2;
    double max_norm;
    double guess_high;              /* shares of flawed demonstrations, data/tasks/task_expert.h */
    double guess_low;
    double early;
    double slip;
    uint64_t seed;
    uint64_t first;                 /* index of the first demonstration: phases use different ones */
    int begin;                      /* of a resumed run: steps done before, */
    int64_t tokens_before;          /* their tokens */
    double wall_before;             /* and seconds */
};

/* Progress. part of whole: demonstrations of the present step that are done; at a step's end part is whole and step
 * counts it. */
struct sft_report {
    int step;
    int steps;
    int part;
    int whole;
    double loss;
    double norm;
    double lr;
    double wall_s;
    int64_t tokens;
};
/* Called after each step, where returning false stops early, and with part < whole within a step. */
typedef bool sft_after(void *ctx, const struct sft_report *r);

/* Trains on transcripts of the embedded tasks; every demonstration is used once. after may be NULL. False: the gradient
 * was not finite five steps in a row. */
bool sft_run_tasks(struct learner *l, const struct chat *c, const struct sft_rule *r, sft_after *after, void *ctx,
                   struct err *e);
/* Trains on conversations, in the order of data.shuffle and data.seed; a batch may span two epochs. */
bool sft_run_conversations(struct learner *l, struct sft_conversations *t, const struct config *c,
                           const struct sft_rule *r, sft_after *after, void *ctx, struct err *e);
