/* update_batch.h: a mini-batch as vectors, the way op_pg and the advantages want it. Private to policy_update.c and
 * its tests. */
#pragma once
#include "engine/train/trainer.h"

/* Rows of all groups, the initial ones first; position i of row k is at begin[k] + i. m: what is trained. */
struct update_batch {
    int rows, initial;
    struct trajectory **row;
    int *uid;                       /* index of the row's group */
    uint8_t *kind, *m, *live;       /* kind 1: a branch; live[row]: some trained token has an advantage */
    int64_t *begin, n;
    acc_t *logp, *logp_old, *logp_ref, *entropy, *adv, *g, *ge, *logp_train;
    struct branch_record *rec;      /* of branches that left an initial row, however many branches lie between */
    int records;
};

void update_batch_make(struct update_batch *f, struct group *g, int n, const struct config *c);
void update_batch_free(struct update_batch *f);
/* adv and live: appo's by the branches that there are now, else those that group_advantages() left. score_max: the
 * largest branch score of the batch where it is larger than the mini-batch's own. */
void update_batch_credit(struct update_batch *f, const struct config *c, double score_max, struct step_sums *z);
/* Coefficients: g, ge. False: no row is trained. */
bool update_batch_loss(struct update_batch *f, const struct config *c, struct loss_stats *stats);
