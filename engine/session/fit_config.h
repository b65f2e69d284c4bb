/* fit_config.h: defaults that follow from the model and from the memory there is. */
#pragma once
#include "engine/session/memory_estimate.h"

/* Where model.path is given and can be read: lengths that were not given fit its positions. rate (may be NULL): the key
 * of the learning rate that will be used, "actor.optim.lr" or "sft.lr"; one that is high for its size is warned of. */
void fit_config_to_model(struct config *c, const char *rate, FILE *warn);

/* Lowers what was not given and changes speed only (rollout.max_num_seqs, actor.ppo_max_token_len_per_gpu,
 * model.recompute) until the run fits, and says so in a line. On a CPU batches are lowered until it fits half of what
 * is available: there larger ones are hardly faster, and the machine has other users. */
void fit_config_to_memory(struct config *c, enum memory_purpose what, FILE *say);
