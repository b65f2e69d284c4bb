/* branch_rollouts.h: steps 1 to 4 of a mini-batch: score its initial rollouts, choose branch points, sample branches
 * from them under the present weights, grade. */
#pragma once
#include "engine/train/trainer.h"

/* Adds the branches of all rounds to the groups g[0 .. n), if the mini-batch t->mini_batch gets any
 * (branched_mini_batch); else only scores. stale: the weights have changed since the initial rollouts were sampled. */
void branch_rollouts(struct trainer *t, struct group *g, int n, bool stale, struct step_sums *z);
