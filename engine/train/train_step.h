/* train_step.h: one training step (Algorithm 1 of the paper): sample; then for each mini-batch score, choose branch
 * points, branch, grade, credit and update. */
#pragma once
#include "engine/report/metrics.h"
#include "engine/train/trainer.h"

/* Runs step t->step + 1 and fills m. dump (may be NULL) gets one JSON line a rollout, of trainer.rollout_data_prompts
 * prompts. If run_stop is set during the initial rollouts the step is given up (t->halted); if later, it is finished.
 * False: updates failed five times in a row. */
bool trainer_step(struct trainer *t, struct metrics *m, FILE *dump, struct err *e);
