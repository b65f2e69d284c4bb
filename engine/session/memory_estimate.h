/* memory_estimate.h: what memory a run takes, and whether the device has it. Asked before the weights are read; `appo
 * plan` prints the same numbers. */
#pragma once
#include "engine/config/config.h"
#include "model/arena.h"
#include "model/model.h"

/* What is counted: training with reinforcement learning, supervised fine-tuning, or sampling alone (evaluations). */
enum memory_purpose { MEMORY_TRAIN, MEMORY_SFT, MEMORY_SAMPLE };

/* For this build: { what }. Else for a GPU's build that stores numbers in real_bytes (2: bf16, 4: float), wherever
 * the question is asked. */
struct memory_rule { enum memory_purpose what; size_t elem_bytes; };

/* Bytes by lifetime, by the run's own layout on dry arenas and, on a GPU, a dry run of its largest steps: nothing is
 * allocated. */
struct memory_estimate {
    size_t weights, copies;         /* the policy; reference, previous and old weights where a key asks for them */
    /* optimizer; activations and logits of training; keys and values and the sampler's buffers */
    struct arena state, work, pool;
    size_t keys;                    /* of the pool: keys and values */
    /* what operations need while they run, on a GPU; another build's plan has a round number */
    size_t scratch;
    /* CPU: matrices as products read them, forward and backward, and forward of each copy that scores */
    size_t packed;
    size_t saving;                  /* CPU: a checkpoint's vector, beyond what is packed while none is written */
    size_t program;                 /* CPU: program, libraries and tokenizer, about */
    size_t all;                     /* SIZE_MAX: more pages of keys and values than a pool can number */
};
void memory_estimate_make_as(struct memory_estimate *n, const struct model_config *shape, const struct config *c,
                  const struct memory_rule *rule);
/* this build; MEMORY_TRAIN or MEMORY_SAMPLE */
void memory_estimate_make(struct memory_estimate *n, const struct model_config *shape, const struct config *c,
                          bool trains);

/* For a run with the model in this folder or file. False, and a sentence with what the run takes in all and in
 * parts, what is there, and the keys to lower; or that operations of this backend do not take the model's shape. A
 * model that cannot be read, and lengths that contradict it, are for others to say: true. On a CPU what is available
 * counts, by MemAvailable and control groups (base/memory.h), but for a twentieth that stays for others. */
bool memory_fits(const struct config *c, const char *path, enum memory_purpose what, struct err *e);
/* within this share of it */
bool memory_fits_share(const struct config *c, const char *path, enum memory_purpose what, double share, struct err *e);
/* MEMORY_TRAIN or MEMORY_SAMPLE */
bool session_fits(const struct config *c, const char *path, bool trains, struct err *e);
