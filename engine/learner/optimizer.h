/* optimizer.h: the optimizer's state, moments and master weights, on the device or in pinned host memory, and the step
 * that walks over it. The bits do not depend on where it lies. Parts of learner.c. */
#pragma once
#include "engine/learner/learner.h"

/* Lays out what of the state is on the device: all of it or, with l->offload, two pieces. Sets l->host_bytes. */
void optimizer_lay_out(struct learner *l, struct arena *a);
/* Moments 0, master weights those of the model. Takes the host memory. */
void optimizer_open(struct learner *l);
void optimizer_close(struct learner *l);
/* AdamW on the weights [state_from, state_from + state_n); a: without the decay. */
void optimizer_step(struct learner *l, const struct optim_rule *o, struct adamw a);
