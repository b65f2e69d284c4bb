/* sft_checkpoint.h: what a fine-tuning leaves while it runs: {sft.save}/sft/global_step_N with weights, optimizer and
 * state, and {sft.save}/metrics.jsonl; so that one that was stopped or killed goes on as if it had not been.
 * docs/checkpoints.md */
#pragma once
#include "base/hash.h"
#include "engine/report/metrics.h"
#include "engine/session/session.h"
#include "engine/run/sft.h"

struct sft_checkpoints {
    struct session *s;
    struct str dir, state;              /* {sft.save}, {sft.save}/sft */
    json_t *identity;                   /* of the run: settings, steps, data */
    struct metrics_log log;
    int saved;                          /* step of the newest checkpoint; 0: none */
    double saved_at, step_at;           /* seconds() */
    bool stopped;                       /* by a signal; a checkpoint is written */
    bool began;                         /* the metrics file is open */
    bool done;                          /* a finished run of the very same kind is there */
};

/* The lock of the folder is the caller's (staging_open). Reads the newest whole checkpoint into the session and
 * r->begin, r->before; a damaged one is said on stderr and the one before it taken. data: a hash of what is learned
 * from.
 * trainer.resume=off: what is there is renamed. False: it is of another run (the sentence names what differs), or the
 * folder cannot be written. Call sft_checkpoints_close in either case. */
bool sft_checkpoints_open(struct sft_checkpoints *k, struct session *s, struct sft_rule *r, uint64_t data,
                          struct err *e);
/* After each step: its metrics, and a checkpoint by trainer.save_freq, trainer.save_minutes or a signal (then
 * k->stopped, and it is time to end). */
bool sft_checkpoints_step(struct sft_checkpoints *k, const struct sft_report *r, struct err *e);
/* The run's identity into folder/sft_run_tasks.json, before the model that is there is put in place. */
bool sft_checkpoints_finish(struct sft_checkpoints *k, const char *folder, struct err *e);
/* finished: the model is in its place; the checkpoints go. */
bool sft_checkpoints_close(struct sft_checkpoints *k, bool finished, struct err *e);
uint64_t sft_conversations_hash(const struct sft_conversations *t);
