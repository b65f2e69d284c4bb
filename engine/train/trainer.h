/* trainer.h: the state of a training run between steps: weight copies, counts, where progress goes. */
#pragma once
#include "engine/report/step_metrics.h"
#include "engine/train/group.h"
#include "model/weight_stream.h"

struct trainer {
    struct session *s;
    const struct config *c;
    /* Copies of the weights; NULL: no key asks for them. */
    elem_t *w_ref;                  /* the first weights */
    elem_t *w_prev;                 /* those at the start of the last step that changed them */
    elem_t *w_old;                  /* those at the start of this step (pi_old) */
    struct weight_stream stream;    /* ref.offload: they are in host memory and come through this */
    struct arena stream_room;
    int epoch;                      /* of the update in progress, from 0 */
    int mini_batch;                 /* likewise */
    FILE *dump;                     /* destination of the step's rollout dump, or NULL */
    /* Sampler and scorer differ in bits (!exact_numerics()), so pi_old is scored once before the first update. */
    bool score_old;
    int warmup;                     /* training steps; a share of all steps is that of the steps at the run's start */
    double response_length;         /* mean of the last steps, for dealing prompts to ranks; 0: none yet */
    int silent;                     /* consecutive steps whose every gradient was 0: nothing to learn from */
    int step;                       /* steps done */
    int64_t tokens_generated;
    int64_t tokens_trained;
    double probs_diff_max;          /* largest |p_train - p_rollout| of a trained token, same weights, over the run */
    /* branch.when = step: the largest branch score of the step's whole batch, the divisor of the official reward
     * scale; else 0. */
    double score_max;
    int skipped;                    /* updates skipped because a number was not finite */
    void (*progress)(void *ctx, const char *what, int done, int total);     /* within a step; may be NULL */
    void *progress_ctx;
    bool halted;                    /* the last trainer_step was given up for run_stop before anything had changed */
};

/* Copies the present weights where the configuration needs copies. */
void trainer_make(struct trainer *t, struct session *s);
void trainer_free(struct trainer *t);

/* Start of a step (pi_old <- pi_theta) and its end, which makes pi_old the previous weights if the step changed any. */
void trainer_begin(struct trainer *t);
void trainer_end(struct trainer *t, uint64_t version_at_begin);

/* Calls t->progress, if there is one. */
void trainer_progress(const struct trainer *t, const char *what, int done, int total);
/* Adds seconds for which this rank waited for others at the end of rollouts. */
void sums_add_wait(struct step_sums *z, double wait_s);
/* Adds the counts of a rollout_run to the step's. */
void sums_add_run(struct step_sums *z, const struct rollout_stats *s);
