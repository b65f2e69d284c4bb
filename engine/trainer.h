/* trainer.h: one training step (Algorithm 1 of the paper): sample, and for each mini-batch score, choose, branch, reward, credit, update. */
#pragma once
#include "engine/group.h"
#include "engine/metrics.h"
#include "engine/step.h"

struct trainer {
    struct session *s;
    const struct config *c;
    real *w_ref, *w_prev;           /* the first weights; those before the last update. NULL where no key asks for them */
    int step;                       /* steps done */
    int64_t tokens_generated, tokens_trained;
    double probs_diff_max;          /* largest |p_train - p_rollout| of a trained token, same weights, over the run */
    double score_max;               /* branch.when = step: the largest branch score of the step's whole batch, which the official reward scale divides by; else 0 */
    int skipped;                    /* updates not done because a number was not finite */
};

/* Copies the present weights as the reference where the configuration needs one. */
void trainer_make(struct trainer *t, struct session *s);
void trainer_free(struct trainer *t);

/* Runs step t->step + 1 and fills m. dump (may be NULL) gets one JSON line a rollout. False: updates failed five times in a row. */
bool trainer_step(struct trainer *t, struct metrics *m, FILE *dump, struct err *e);

/* The pieces, in the order in which a mini-batch g[0..n) goes through them. */
/* score.c */
double train_inv_temp(const struct config *c);          /* what logits are multiplied by, in training as when sampling */
int64_t *row_begins(struct row **row, int rows);        /* [rows + 1]: position i of row r lives at begin[r] + i; free() it */
struct seq_view *row_views(struct row **row, const int *uid, int rows, const int64_t *begin);       /* the rows as sequences to pack; free() it */
void score_rows(struct trainer *t, struct row **row, const int *uid, int rows, bool stale, bool refill, struct step_sums *z);
/* update.c */
bool update_rows(struct trainer *t, struct group *g, int n, bool stale, struct step_sums *z);
/* branching.c */
/* What a generated token at response position pos is part of (TOKEN_THINK, ... of step.h), by the tags before it, be they tokens or text. */
int token_kind(const struct session *s, const struct episode *ep, int pos);
void branch_groups(struct trainer *t, struct group *g, int n, bool stale, struct step_sums *z);
