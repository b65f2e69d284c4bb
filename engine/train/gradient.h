/* gradient.h: the gradient of a mini-batch, each rank with its share of the trajectories. */
#pragma once
#include "engine/train/update_batch.h"

/* Forward and backward pass of the trajectories in the loss of f, made of the groups g, from f->g and f->ge. Afterwards
 * every rank has f->logp_train of all of them and the learner the gradient of all. */
void batch_gradient(struct trainer *t, struct update_batch *f, const struct group *g, int groups, struct step_sums *z);

/* Ends of the packs of s[0 .. n): pack i is the sequences [end[i - 1], end[i]). one_prompt: none has two prompts, so
 * that a prompt's packs do not depend on what else the rank has. free() the result. */
int *gradient_packs(const struct seq_view *s, int n, int64_t max_rows, bool one_prompt, int *count);
