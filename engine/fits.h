/* fits.h: what memory a run takes, and whether the device has it. Asked before the weights are read. */
#pragma once
#include "engine/config.h"
#include "model/model.h"

/* Bytes by lifetime, by the run's own layout on dry arenas and a dry run of its largest steps: nothing is allocated. */
struct need {
    size_t weights, copies;         /* the policy; reference and previous weights where a key asks for them */
    struct arena state, work, pool; /* optimizer; activations and logits of training; keys and values and the sampler's buffers */
    size_t keys;                    /* of the pool: keys and values */
    size_t scratch;                 /* what operations need while they run; 0 on a CPU, where it is host memory that grows */
    size_t all;                     /* SIZE_MAX: more pages of keys and values than a pool can number */
};
void need_make(struct need *n, const struct model_config *shape, const struct config *c, bool trains);

/* For sampling from the model in this folder or file and, with trains, updating it. False, and a sentence with what the run takes in all and in parts, what is
 * there, and the keys to lower; or that operations of this backend do not take the model's shape. A model that cannot be read, and lengths that contradict it,
 * are for others to say: true. On a CPU the machine's memory counts, free or not, without what products pack. */
bool session_fits(const struct config *c, const char *path, bool trains, struct err *e);
