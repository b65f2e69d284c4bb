/* policy_update_in.h: a mini-batch as vectors, the way op_pg and the advantages want it. Private to policy_update.c and
 * its tests. */
#pragma once
#include "engine/train/train_step.h"

/* Rows of all groups, the initial ones first; position i of row k is at begin[k] + i. m: what is trained. */
struct flat {
    int rows, initial;
    struct row **row;
    int *uid;                       /* index of the row's group */
    uint8_t *kind, *m, *live;       /* kind 1: a branch; live[row]: some trained token has an advantage */
    int64_t *begin, n;
    acc_t *now, *old, *ref, *ent, *adv, *g, *ge, *seen;
    struct branch_record *rec;      /* of branches that left an initial row, however many branches lie between */
    int records;
};

void flat_make(struct flat *f, struct group *g, int n, const struct config *c);
void flat_free(struct flat *f);
/* adv and live. score_max: the largest branch score of the batch where it is larger than the mini-batch's own. */
void flat_credit(struct flat *f, const struct config *c, double score_max, struct step_sums *z);
/* Coefficients: g, ge. False: no row is trained. */
bool flat_loss(struct flat *f, const struct config *c, struct loss_stats *stats);
