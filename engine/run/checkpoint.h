/* checkpoint.h: checkpoints, {dir}/global_step_N/: actor/huggingface/ (loads in transformers as it is),
 * actor/optimizer.safetensors, state.json, manifest (all files with their checksums, base/manifest.h); and beside them
 * latest_checkpointed_iteration.txt, as verl has it. docs/checkpoints.md */
#pragma once
#include "engine/run/checkpoint_state.h"

/* Writes a checkpoint as a whole or not at all; until then an older one of its number stays in place. False: a number
 * is not finite (the message holds "NaN or an infinity"), the disk is full, ... */
bool ckpt_save(const struct trainer *t, const struct run_report *r, const struct ckpt_extra *x, const char *dir,
               struct err *e);
/* Writes {dir}/{name}: the step number alone. */
bool ckpt_put_step(const char *dir, const char *name, int step, struct err *e);
/* Reads it; -1: no such file, or no number in it. */
int ckpt_get_step(const char *dir, const char *name);

/* The steps of all global_step_N in dir, the latest first; free() it. */
int *ckpt_list(const char *dir, int *n);
/* Checks a folder's manifest, and with verify all checksums; without verify a folder of an older version, which has
 * none, passes. */
bool ckpt_whole(const char *folder, bool verify, struct err *e);
/* Removes global_step_N; moves files that this program did not write aside and reports that. */
void ckpt_remove(const char *dir, int step);

/* The optimizer's part of ckpt_save. */
bool ckpt_save_optimizer(const struct trainer *t, const char *path, struct err *e);
/* Reads weights, reference and optimizer. */
bool ckpt_load_weights(struct trainer *t, const char *folder, struct err *e);
/* Reads counts, weights and optimizer into t and r, and the metrics of a pending evaluation into m (*pending). False: a
 * file is invalid, or a number is not finite. */
bool ckpt_load(struct trainer *t, struct run_report *r, const struct ckpt_state *s, const char *folder,
               struct metrics *m, bool *pending, struct err *e);
