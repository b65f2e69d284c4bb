/* rollout_dump.h: the trajectories of an update as JSON lines, with everything that went into its advantages and loss.
 * docs/algorithm.md section 10 lists the fields. */
#pragma once
#include "engine/train/update_batch.h"

/* An update, apart from its mini-batch. */
struct dump_info {
    int64_t weights;                /* AdamW steps done when its numbers were computed */
    const struct loss_stats *loss;
    double norm;                    /* of the gradient, NaN without one */
};

/* Writes one line for each trajectory of the groups g[0..n), initial rollouts and branches of a prompt together, of the
 * first trainer.rollout_data_prompts prompts. f holds them in its own order. */
void dump_update(FILE *out, const struct trainer *t, const struct group *g, int n, const struct update_batch *f,
                 const struct dump_info *info);

/* The parts, for tests. Appends a JSON string, with U+FFFD for every longest run of bytes that begins no character, as
 * Python's errors="replace" does. */
void dump_string(struct str *out, const char *text, size_t n);
/* A letter for each response position, equal to token_kind(): t think, c call, a answer, g tag or none of these; and r
 * for a tool's result. kind[response + 1] ends with 0. */
void dump_kinds(char *kind, const struct session *s, const struct sequence *seq);
