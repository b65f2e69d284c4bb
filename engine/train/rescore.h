/* rescore.h: log-probs and entropies of sampled trajectories by a forward pass: under the present, previous, old and
 * reference weights. */
#pragma once
#include "engine/train/trainer.h"

/* Fills logp, entropy, logp_omega and, with a KL term, logp_ref of every trajectory of l. stale: the weights have
 * changed since they were sampled. refill: also writes the pages of keys and values that branches will read, if they
 * are stale or were not kept. */
void rescore(struct trainer *t, const struct traj_list *l, bool stale, bool refill, struct step_sums *z);
/* Fills logp_old by one scoring pass before any update. The sampler's own numbers stay in the sequence. */
void rescore_old(struct trainer *t, const struct traj_list *l, struct step_sums *z);

/* Adds the noise of Omega, |exp(S) - 1| where pi_theta is pi_old and sampler and scorer differ by rounding alone, of a
 * trajectory that rescore_old has scored. */
void rescore_note_noise(const struct config *c, const struct trajectory *r, struct step_sums *z);

/* The factor of the logits, in training as in sampling. */
double train_inv_temp(const struct config *c);
/* [n + 1] offsets: response position i of traj[k] is at begin[k] + i; free() it. */
int64_t *trajectory_begins(struct trajectory **traj, int n);
/* [n] the trajectories as sequences to pack; free() it. */
struct seq_view *trajectory_views(struct trajectory **traj, const int *uid, int n, const int64_t *begin);
