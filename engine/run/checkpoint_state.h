/* checkpoint_state.h: state.json: what a checkpoint holds beside its tensors, and whether a run may continue from
 * it. */
#pragma once
#include "engine/run/run_report.h"
#include "engine/train/trainer.h"

/* The metrics file when a checkpoint was written: its first `bytes` bytes have this XXH64. */
struct metrics_mark {
    int64_t bytes;                      /* -1: unknown */
    uint64_t hash;
};
/* The best evaluation so far; step -1: none yet. */
struct best {
    int step;
    double value;
};

/* What the run adds to a checkpoint. */
struct ckpt_extra {
    struct metrics_mark mark;
    struct best best;
    uint64_t tokenizer;                 /* hashes of what the run was started with, 0: none */
    uint64_t cache;
    bool rolling;                       /* written because of the time or a signal: not kept for long */
    const struct metrics *pending;      /* metrics of the step whose evaluation is still to be made; NULL: none */
};

/* A state.json that was read. */
struct ckpt_state {
    int step;                           /* steps done */
    int steps;                          /* steps the run was to make; 0: unknown */
    bool rolling;
    int ranks;                          /* that wrote the optimizer's state */
    uint64_t tag;                       /* hash of the file, which every rank's file repeats */
    struct metrics_mark mark;
    struct best best;
    json_t *json;
};

/* The text of state.json. */
void ckpt_state_text(const struct trainer *t, const struct run_report *r, const struct ckpt_extra *x,
                     struct str *text);
/* step: the number in the folder's name; -1: any. Call ckpt_state_free in either case. */
bool ckpt_read(struct ckpt_state *s, const char *folder, int step, struct err *e);
void ckpt_state_free(struct ckpt_state *s);

/* Whether the run would continue with the same settings, data and model. False: the message names the difference. */
bool ckpt_matches(const struct trainer *t, const struct ckpt_extra *x, const struct ckpt_state *s, const char *folder,
                  struct err *e);
/* Restores the counts of s into t. path: for messages. */
bool ckpt_restore_counts(struct trainer *t, const struct ckpt_state *s, const char *path, struct err *e);
/* Reads the evaluations of s, for a run with nothing left to do. */
bool ckpt_evaluations(struct run_report *r, const struct ckpt_state *s);
/* Reads the metrics of a pending evaluation into m. */
bool ckpt_pending(struct metrics *m, const struct ckpt_state *s, bool *pending);
