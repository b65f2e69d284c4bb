/* fit_config.h: defaults that follow from the model and from the available memory. Keys that were given stay as they
 * are. */
#pragma once
#include "base/str.h"
#include "engine/session/memory_estimate.h"

/* If model.path is given and readable: cuts lengths that were not given to the model's positions. rate (may be NULL):
 * the key of the learning rate in use, "actor.optim.lr" or "sft.lr"; warns of one that is high for the model's size. */
void fit_config_to_model(struct config *c, const char *rate, FILE *warn);

/* On a CPU: actor.grad_sum=exact, unless it or actor.zero=2 was given, so that a run has the same numbers on any number
 * of ranks. A GPU's memory and time are worth more, and its numbers are not exact by default either. */
void fit_config_to_device(struct config *c);

/* Sets keys that were not given and change speed only (fit_config.c lists them) until the run fits, and reports them in
 * a line. On a CPU batches are lowered until the run fits half of what is available: larger ones are hardly faster
 * there, and the machine has other users. Called by all ranks, which set the same. report may be NULL. */
void fit_config_to_memory(struct config *c, enum memory_purpose what, FILE *report);
/* The share of the free memory that is this rank's: on a CPU the ranks of a host have equal parts. */
double memory_part(void);

/* The same for any room, as `appo plan` has it. rule.ranks must be given. */
struct fit_room {
    struct memory_rule rule;
    size_t device;                  /* bytes that a rank may take on its device */
    size_t host;                    /* and, of a GPU, in pinned host memory */
    bool cpu;                       /* the device is a CPU */
};
/* False: it does not fit with all of them. said: "key=value, key=value", those that were set. */
bool fit_config_to_room(struct config *c, const struct model_config *shape, const struct fit_room *room,
                        struct str *said);
