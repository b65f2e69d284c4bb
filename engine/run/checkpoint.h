/* checkpoint.h: checkpoints, {dir}/global_step_N/: actor/huggingface/ (loads in transformers as it is),
 * actor/optimizer.safetensors, state.json, manifest (the list of all files with their checksums, base/manifest.h); and
 * beside them latest_checkpointed_iteration.txt, as verl has it. docs/checkpoints.md */
#pragma once
#include "engine/run/run.h"

/* The metrics file as it was when a checkpoint was written: its first `bytes` bytes have this XXH64. */
struct metrics_mark { int64_t bytes; uint64_t hash; };
/* The best evaluation so far, step -1: none yet. */
struct best { int step; double value; };

/* What else a checkpoint says of its run. */
struct ckpt_extra {
    struct metrics_mark mark;
    struct best best;
    uint64_t tokenizer, cache;          /* of what the run was started with: hashes, 0: none */
    bool rolling;                       /* written because of the time or a signal: not kept for long */
    /* the metrics of the step whose evaluation is still to be made; NULL: none is */
    const struct metrics *pending;
};

/* Writes it whole or not at all; what had its number before is in place until then. False: a number is not finite (the
 * sentence holds "NaN or an infinity"), the disk is full, ... */
bool ckpt_save(const struct trainer *t, const struct run_report *r, const struct ckpt_extra *x, const char *dir,
               struct err *e);
bool ckpt_put_step(const char *dir, const char *name, int step, struct err *e);     /* {dir}/{name}: the number alone */
/* -1: no such file, or no number in it */
int ckpt_get_step(const char *dir, const char *name);

/* The steps of all global_step_N in dir, the latest first; free() it. */
int *ckpt_list(const char *dir, int *n);

/* A state.json that was read. */
struct ckpt_state {
    int step, steps;                    /* steps done; how many the run was to make, 0: not said */
    bool rolling;
    struct metrics_mark mark;           /* bytes -1: not said */
    struct best best;
    json_t *json;
};
/* step: the number that the folder's name has; -1: whichever the state says. Call ckpt_state_free in either case. */
bool ckpt_read(struct ckpt_state *s, const char *folder, int step, struct err *e);
void ckpt_state_free(struct ckpt_state *s);
/* Would the run go on with the same settings, data and model? False: the sentence says what differs. */
bool ckpt_matches(const struct trainer *t, const struct ckpt_extra *x, const struct ckpt_state *s, const char *folder,
               struct err *e);
/* Counts, weights and optimizer into t and r; the metrics whose evaluation is pending into m (*pending). False: a file
 * is not what it should be, a number not finite. */
bool ckpt_load(struct trainer *t, struct run_report *r, const struct ckpt_state *s, const char *folder,
               struct metrics *m, bool *pending, struct err *e);
/* What state.json says of the evaluations alone, for a run with nothing left to do. */
bool ckpt_evaluations(struct run_report *r, const struct ckpt_state *s);
/* The folder is a whole one: by its manifest, read whole if verify; without verify, one of an older version has
 * none. */
bool ckpt_whole(const char *folder, bool verify, struct err *e);

/* Removes global_step_N; files in it that are not of this program are moved aside, and that is said. */
void ckpt_remove(const char *dir, int step);
/* The optimizer alone, of ckpt_save. False: a number is not finite, the disk is full, ... */
bool ckpt_save_optimizer(const struct trainer *t, const char *path, struct err *e);
/* Weights, reference and optimizer alone, of ckpt_load. */
bool ckpt_load_weights(struct trainer *t, const char *folder, struct err *e);

/* checkpoint_state.c */
bool ckpt_write_state(const struct trainer *t, const struct run_report *r, const struct ckpt_extra *x, const char *path,
                      struct err *e);
