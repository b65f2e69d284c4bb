/* group_advantages.h: the estimators without branches (algorithm.adv_estimator but appo): once a step, before its first
 * update, from rewards and masks alone. */
#pragma once
#include "engine/train/group.h"

/* traj[k]->adv of all rollouts of the n prompts of a step. REINFORCE++ whitens over all of them. */
void group_advantages(struct group *g, int n, const struct config *c);
