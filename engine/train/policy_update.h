/* policy_update.h: steps 5 and 6 of a mini-batch: credit and one AdamW step. */
#pragma once
#include "engine/train/trainer.h"

/* The learning rate of the step in progress; actor.optim.lr_warmup_steps counts training steps, as verl's does. */
double trainer_lr(const struct trainer *t);
/* Updates on the groups g[0 .. n). stale: the weights have changed since the initial rollouts were sampled. False: the
 * fifth update in a row whose loss or gradient was not finite. */
bool policy_update(struct trainer *t, struct group *g, int n, bool stale, struct step_sums *z);
