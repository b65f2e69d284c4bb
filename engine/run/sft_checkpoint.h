/* sft_checkpoint.h: what a fine-tuning keeps while it runs: {sft.save}/sft/global_step_N with weights, optimizer and
 * state, and {sft.save}/metrics.jsonl, so that one that was stopped or killed continues as if it had not been.
 * docs/checkpoints.md */
#pragma once
#include "base/hash.h"
#include "engine/report/metrics.h"
#include "engine/run/sft.h"
#include "engine/session/session.h"

struct sft_checkpoints {
    struct session *s;
    struct str dir;                     /* {sft.save} */
    struct str state;                   /* {sft.save}/sft */
    json_t *identity;                   /* of the run: settings, steps, data */
    struct metrics_log log;
    int saved;                          /* step of the newest checkpoint; 0: none */
    double saved_at;                    /* seconds() */
    double step_at;                     /* likewise, the end of the last step */
    bool stopped;                       /* by a signal; a checkpoint is written */
    bool began;                         /* the metrics file is open */
    bool done;                          /* an equal run has finished in this folder */
};

/* Reads the newest complete checkpoint into the session and r's *_before and begin; reports a damaged one on stderr and
 * takes the one before it. The caller holds the lock of the folder (staging_open). data: a hash of the conversations.
 * trainer.resume=off: renames what is there. False: it belongs to another run (the message names the difference), or
 * the folder cannot be written. Call sft_checkpoints_close in either case. */
bool sft_checkpoints_open(struct sft_checkpoints *k, struct session *s, struct sft_rule *r, uint64_t data,
                          struct err *e);
/* After each step: writes its metrics, and a checkpoint by trainer.save_freq, trainer.save_minutes or a signal (then
 * k->stopped is set and the run should end). */
bool sft_checkpoints_step(struct sft_checkpoints *k, const struct sft_report *r, struct err *e);
/* Writes the run's identity into folder/sft_run.json, before the finished model in it is put in place. */
bool sft_checkpoints_finish(struct sft_checkpoints *k, const char *folder, struct err *e);
/* finished: the model is in its place; removes the checkpoints. */
bool sft_checkpoints_close(struct sft_checkpoints *k, bool finished, struct err *e);
/* A hash of the tokens and targets of all conversations. */
uint64_t sft_conversations_hash(const struct sft_conversations *t);
