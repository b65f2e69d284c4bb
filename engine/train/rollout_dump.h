/* rollout_dump.h: the rollouts of an update as JSON lines, with all that its advantages and its loss were made of.
 * docs/algorithm.md section 10 lists the fields. */
#pragma once
#include "engine/train/update_batch.h"

/* What an update was, beside its mini-batch. weights: AdamW steps that had been done when its numbers were computed;
 * norm: of the gradient, NaN where there was none. */
struct dump_info { int64_t weights; const struct loss_stats *loss; double norm; };

/* One line for each rollout of the groups g[0..n), initial ones and branches of a prompt together, of the first
 * trainer.rollout_data_prompts prompts. f holds them in its own order. */
void dump_update(FILE *out, const struct trainer *t, const struct group *g, int n, const struct update_batch *f,
                 const struct dump_info *note);

/* The parts, for tests. JSON string with U+FFFD for every longest run of bytes that begins no character, as Python's
 * errors="replace" has it. */
void dump_string(struct str *out, const char *text, size_t n);
/* A letter for each response position: t think, c call, a answer, g tag or none of these, r a tool's result; as
 * token_kind() would say. kind[row_len(r) + 1] ends with 0. */
void dump_kinds(char *kind, const struct session *s, const struct sequence *seq);
