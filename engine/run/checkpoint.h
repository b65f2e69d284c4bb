/* checkpoint.h: checkpoints, {dir}/global_step_N/: actor/huggingface/ (loads in transformers as it is), the optimizer's
 * state (checkpoint_optim.h), state.json, manifest (all files with their checksums, base/manifest.h); and beside them
 * latest_checkpointed_iteration.txt, as verl has it. checkpoint_write.h writes them. docs/checkpoints.md */
#pragma once
#include "engine/run/checkpoint_state.h"

/* Writes {dir}/{name}: the step number alone. */
bool ckpt_put_step(const char *dir, const char *name, int step, struct err *e);
/* Reads it; -1: no such file, or no number in it. */
int ckpt_get_step(const char *dir, const char *name);

/* The steps of all global_step_N in dir, the latest first; free() it. */
int *ckpt_list(const char *dir, int *n);
/* Checks a folder's manifest, and with verify all checksums; without verify a folder of an older version, which has
 * none, passes. */
bool ckpt_whole(const char *folder, bool verify, struct err *e);
/* A folder of that name in dir, which holds a checkpoint under this or another name: removes its files; those that this
 * program did not write are kept in a folder old-N, and name is reported. */
void ckpt_remove_ours(const char *folder, const char *name, const char *dir);
/* Removes global_step_N; moves files that this program did not write aside and reports that. */
void ckpt_remove(const char *dir, int step);

/* Reads weights, reference and optimizer. Of s: the step, the ranks that wrote it, the tag. */
bool ckpt_load_weights(struct trainer *t, const struct ckpt_state *s, const char *folder, struct err *e);
/* Reads counts, weights and optimizer into t and r, and the metrics of a pending evaluation into m (*pending). False: a
 * file is invalid, or a number is not finite. */
bool ckpt_load(struct trainer *t, struct run_report *r, const struct ckpt_state *s, const char *folder,
               struct metrics *m, bool *pending, struct err *e);
