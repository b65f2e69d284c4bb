/* fit_config.h: defaults that follow from the model and from the available memory. Keys that were given stay as they
 * are. */
#pragma once
#include "engine/session/memory_estimate.h"

/* If model.path is given and readable: cuts lengths that were not given to the model's positions. rate (may be NULL):
 * the key of the learning rate in use, "actor.optim.lr" or "sft.lr"; warns of one that is high for the model's size. */
void fit_config_to_model(struct config *c, const char *rate, FILE *warn);

/* Lowers keys that were not given and change speed only (rollout.max_num_seqs, actor.ppo_max_token_len_per_gpu,
 * model.recompute) until the run fits, and reports that in a line. On a CPU batches are lowered until the run fits half
 * of what is available: larger ones are hardly faster there, and the machine has other users. report may be NULL. */
void fit_config_to_memory(struct config *c, enum memory_purpose what, FILE *report);
/* The share of the free memory that is this rank's: on a CPU the ranks of a host have equal parts. */
double memory_part(void);
