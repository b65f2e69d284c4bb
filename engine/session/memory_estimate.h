/* memory_estimate.h: the memory that a run takes, and whether the device has it. Computed before the weights are read;
 * `appo plan` prints the same numbers. */
#pragma once
#include "engine/config/config.h"
#include "model/arena.h"
#include "model/model.h"

/* Training with reinforcement learning, supervised fine-tuning, or sampling alone (evaluations). */
enum memory_purpose { MEMORY_TRAIN, MEMORY_SFT, MEMORY_SAMPLE };

struct memory_rule {
    enum memory_purpose what;
    size_t elem_bytes;              /* 0: this build; else a GPU's build that stores numbers in 2 (bf16) or 4 (float) */
    int ranks;                      /* 0: those of this run */
};

/* Bytes by lifetime. Lays out the arenas without allocating and, on a GPU, runs the largest steps in dry mode. */
struct memory_estimate {
    size_t weights;                 /* the policy */
    size_t copies;                  /* reference, previous and old weights, if a key asks for them; with ref.offload,
                                     * what brings them in */
    struct arena state;             /* optimizer */
    struct arena work;              /* activations and logits of training */
    struct arena pool;              /* keys and values, the sampler's buffers */
    size_t keys;                    /* of the pool: keys and values */
    size_t scratch;                 /* GPU: buffers of running operations; for another build a round number */
    size_t comm;                    /* several ranks: MPI's buffers on a CPU; NCCL's for another build, assumed */
    size_t packed;                  /* CPU: matrices packed for products, forward and backward, forward of each copy */
    size_t saving;                  /* CPU: the copy that a checkpoint is written from (trainer.save_async=on) */
    size_t program;                 /* CPU: program, libraries and tokenizer, about */
    size_t pinned;                  /* in host memory: optimizer state with actor.offload, */
    size_t pinned_copies;           /* and copies of the weights with ref.offload */
    /* on the device; on a CPU, all of it. SIZE_MAX: more pages of keys and values than a pool can number */
    size_t all;
};
/* Pinned host memory of a rank; how much of it there may be on this host, for all its ranks. */
static inline size_t memory_pinned(const struct memory_estimate *n) { return n->pinned + n->pinned_copies; }
size_t memory_pinnable(void);
void memory_estimate_make_as(struct memory_estimate *n, const struct model_config *shape, const struct config *c,
                             const struct memory_rule *rule);
/* For this build; MEMORY_TRAIN or MEMORY_SAMPLE. */
void memory_estimate_make(struct memory_estimate *n, const struct model_config *shape, const struct config *c,
                          bool trains);

/* Whether the run fits, with the model in this folder or file. False: the message has the run's total and parts, the
 * free memory and the keys to lower; or the operations of this backend do not support the model's shape. Returns true
 * for an unreadable model or contradictory lengths; the loader reports those. On a CPU the available memory counts, by
 * MemAvailable and control groups (base/memory.h), minus a twentieth for other processes. */
bool memory_fits(const struct config *c, const char *path, enum memory_purpose what, struct err *e);
/* Within this share of the free memory. */
bool memory_fits_share(const struct config *c, const char *path, enum memory_purpose what, double share, struct err *e);
/* MEMORY_TRAIN or MEMORY_SAMPLE. */
bool session_fits(const struct config *c, const char *path, bool trains, struct err *e);
