/* run.h: a training run: evaluation before, steps with their metrics and dumps, checkpoints, evaluation after. It can
 * be stopped at any step; the same command continues it to the same files. docs/checkpoints.md lists what it keeps. */
#pragma once
#include "base/stop.h"
#include "engine/run/run_folder.h"
#include "engine/run/run_report.h"
#include "engine/train/train_step.h"

/* Trains from step 0, or from the checkpoint of trainer.resume, to trainer.total_training_steps, in the folder that
 * run_folder_open made and locked, and leaves a checkpoint of the last step there. out (may be NULL) gets the plain
 * lines of the run; what is damaged or moved aside is reported on stderr. False: the message; what was done is on
 * disk. */
bool run_training_in(struct session *s, struct run_folder *p, struct run_report *r, FILE *out, struct err *e);
/* The same, opening and closing the folder. */
bool run_training(struct session *s, struct run_report *r, FILE *out, struct err *e);
