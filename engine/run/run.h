/* run.h: a training run: evaluation before, steps with their metrics and dumps, checkpoints, evaluation after. It can
 * be stopped at any step and goes on as if it had never been stopped. docs/checkpoints.md says what it keeps. */
#pragma once
#include "base/stop.h"
#include "engine/run/evaluate.h"
#include "engine/run/run_folder.h"
#include "engine/train/train_step.h"

struct run_report {
    struct eval_result before, after;
    bool has_before, has_after;
    bool stopped, done;             /* by a signal; there was nothing left to do */
    double wall_s;
    int64_t tokens_generated, tokens_trained;
    double probs_diff_max;
    int skipped, steps;
};

/* Trains from step 0, or from where trainer.resume says, to trainer.total_training_steps, in the folder that
 * run_folder_open made and locked, and leaves a checkpoint of the last step there. say gets the plain lines of the run
 * (may be NULL).
 * What is damaged or moved aside is said on stderr. False: a sentence; what was done is on disk. */
bool run_training_in(struct session *s, struct run_folder *p, struct run_report *r, FILE *say, struct err *e);
/* The same with the place opened and closed. */
bool run_training(struct session *s, struct run_report *r, FILE *say, struct err *e);
json_t *run_report_json(const struct run_report *r, const struct config *c);

/* resume.c: where a run begins. */
struct ckpt_extra;
enum run_start { RUN_ANEW, RUN_RESUMED, RUN_DONE /* nothing is left to do */ };
struct run_origin {
    enum run_start how;
    struct str folder;              /* the checkpoint it goes on from */
    bool elsewhere;                 /* it is another run's */
    bool pending;                   /* the evaluation of its last step is still to be made */
    bool rolling;
    struct ckpt_extra *extra;       /* in: what the run is started with; out: the mark and the best of the checkpoint */
};
/* Reads it into t, r and m (metrics of the step whose evaluation is pending). False: damaged without another, or of
 * another run. */
bool run_resume(struct trainer *t, struct run_report *r, const struct run_folder *p, struct run_origin *from,
                struct metrics *m, struct err *e);
