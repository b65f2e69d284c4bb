/* train_step.h: one training step (Algorithm 1 of the paper): sample, and for each mini-batch score, choose, branch,
 * reward, credit, update. */
#pragma once
#include "engine/train/group.h"
#include "engine/report/metrics.h"
#include "engine/report/step_metrics.h"

struct trainer {
    struct session *s;
    const struct config *c;
    /* the first weights; those at the start of the last step that changed them; at the start of this one (pi_old).
     * NULL: not wanted */
    elem_t *w_ref, *w_prev, *w_old;
    int epoch, mini_batch;          /* of the update at work, from 0 */
    FILE *dump;                     /* where the step's rollouts go, or NULL */
    /* sampler and scorer do not share their bits (exact_numerics()): pi_old is scored once before the first update */
    bool score_old;
    /* training steps of the warm-up; of a share of all steps those that the run began with */
    int warmup;
    int silent;                     /* steps in a row without any signal */
    int step;                       /* steps done */
    int64_t tokens_generated, tokens_trained;
    double probs_diff_max;          /* largest |p_train - p_rollout| of a trained token, same weights, over the run */
    /* branch.when = step: the largest branch score of the step's whole batch, which the official reward scale divides
     * by; else 0 */
    double score_max;
    int skipped;                    /* updates not done because a number was not finite */
    void (*progress)(void *ctx, const char *what, int done, int total);     /* NULL, or who is told how far a step is */
    void *progress_ctx;
    /* the last trainer_step was given up for run_stop, before anything had changed: it did not happen */
    bool halted;
};

/* Copies the present weights as the reference where the configuration needs one. */
void trainer_make(struct trainer *t, struct session *s);
void trainer_free(struct trainer *t);

/* Runs step t->step + 1 and fills m. dump (may be NULL) gets one JSON line a rollout, of trainer.rollout_data_prompts
 * prompts. Where run_stop is set while the initial rollouts are made the step is given up (halted); later it is
 * finished. False: updates failed five times in a row. */
bool trainer_step(struct trainer *t, struct metrics *m, FILE *dump, struct err *e);

/* Start of a step (pi_old <- pi_theta) and its end; trainer_step calls both. */
void trainer_begin(struct trainer *t);
void trainer_end(struct trainer *t, uint64_t version_at_begin);
/* The pieces, in the order in which a mini-batch g[0..n) goes through them. */
/* train_step.c */
void note_rollout_stats(const struct rollout_stats *s, struct step_sums *z);
void report_rollouts(void *t, int done, int total);       /* progress of rollout_run, for t->tell */
void report_branches(void *t, int done, int total);
/* score.c */
/* what logits are multiplied by, in training as when sampling */
double train_inv_temp(const struct config *c);
/* [rows + 1]: position i of row r lives at begin[r] + i; free() it */
int64_t *trajectory_begins(struct trajectory **row, int rows);
/* the rows as sequences to pack; free() it */
struct seq_view *trajectory_views(struct trajectory **row, const int *uid, int rows, const int64_t *begin);
void rescore(struct trainer *t, struct trajectory **row, const int *uid, int rows, bool stale, bool refill,
                struct step_sums *z);
/* logp of pi_old for Omega and the ratio: row[k]->old from one scoring pass, before any update; the sampler's own
 * numbers stay in the sequence. */
void rescore_old(struct trainer *t, struct trajectory **row, const int *uid, int rows, struct step_sums *z);
static inline const acc_t *trajectory_logp_old(const struct trajectory *r)
{
    return r->logp_old ? r->logp_old : r->seq.logp + r->seq.prompt_len;
}
/* policy_update.c */
/* of the step at work; actor.optim.lr_warmup_steps counts training steps, as verl's does */
double trainer_lr(const struct trainer *t);
bool policy_update(struct trainer *t, struct group *g, int n, bool stale, struct step_sums *z);
/* branch_rollouts.c */
/* What a generated token at response position pos is part of (TOKEN_THINK, ... of step_metrics.h), by the tags before
 * it, be they tokens or text. */
int token_kind(const struct session *s, const struct sequence *seq, int pos);
void branch_rollouts(struct trainer *t, struct group *g, int n, bool stale, struct step_sums *z);
