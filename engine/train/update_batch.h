/* update_batch.h: a mini-batch as flat vectors, the form that op_pg and the advantages read. Private to
 * policy_update.c, gradient.c, rollout_dump.c and their tests. */
#pragma once
#include "engine/train/trainer.h"

/* The trajectories of all groups, the initial rollouts first. Position i of trajectory k is at begin[k] + i of the
 * vectors of n numbers. */
struct update_batch {
    int rows;                       /* trajectories */
    int initial;                    /* of these, initial rollouts */
    struct trajectory **traj;       /* [rows] */
    int *uid;                       /* [rows] index of the group */
    uint8_t *kind;                  /* [rows] 1: a branch */
    uint8_t *live;                  /* [rows] 1: some trained token has an advantage */
    int64_t *begin;                 /* [rows + 1] */
    int64_t n;
    uint8_t *m;                     /* [n] 1: the token is trained */
    acc_t *logp;                    /* [n] as in struct trajectory, like the next three */
    acc_t *logp_old;
    acc_t *logp_ref;
    acc_t *entropy;
    acc_t *adv;                     /* [n] advantage */
    acc_t *g;                       /* [n] d loss / d logp */
    acc_t *ge;                      /* [n] d loss / d entropy */
    acc_t *logp_train;              /* [n] of the training forward pass */
    struct branch_record *rec;      /* [records] of branches whose chain started at an initial rollout */
    int records;
};

void update_batch_make(struct update_batch *f, struct group *g, int n, const struct config *c);
void update_batch_free(struct update_batch *f);
/* Fills adv and live: with appo from the present branches, else from group_advantages(). score_max: the largest branch
 * score of the batch, if larger than the mini-batch's own. */
void update_batch_credit(struct update_batch *f, const struct config *c, double score_max, struct step_sums *z);
/* Whether trajectory k is in the loss. */
bool update_batch_in_loss(const struct update_batch *f, const struct config *c, int k);
/* Fills g and ge. False: no trajectory is in the loss. */
bool update_batch_loss(struct update_batch *f, const struct config *c, struct loss_stats *stats);
