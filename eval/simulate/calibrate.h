/* calibrate.h: a cost model and the statistics of steps from measured files. A file is
 *   metrics.jsonl of a run, with the run.json beside it that holds its configuration: seconds of the phases, tokens,
 *   lengths; sampling is fitted to the passes, rows and positions that the simulator counts for the same step;
 *   lines of `appo bench cpu --json` (decode, training) or of `appo bench models --json`.
 * Constants are found by least squares, none below 0. Fitted: row, pass, context; score_row; train_row, update (the
 * rest of an update is in them); grade; step. Others stay as they are. Runs of different batches, slots or ranks
 * separate what a pass and what a row costs; where nothing does, rows get it all. */
#pragma once
#include "engine/config/config.h"
#include "eval/simulate/simulate.h"

enum calibrated {
    CALIBRATED_SAMPLING, CALIBRATED_SCORING, CALIBRATED_TRAINING, CALIBRATED_GRADING, CALIBRATED_REST, CALIBRATED
};
struct calibration {
    struct cost_model m;
    struct workload w;              /* statistics: lengths, calls, live, fresh; only where has_run */
    bool has_run, has_bench;
    double error[CALIBRATED];       /* root mean square of the relative errors of the seconds that were fitted */
    int equations;
};

/* files: paths, commas between. m: constants before (all 0, or counted). Errors name file and line. */
bool calibrate(struct calibration *k, const char *files, const struct config *c, const struct cost_model *m,
               struct err *e);

/* An equation: sum of count[i] x[i] = seconds. */
struct calibrate_row { double count[3], seconds; };
/* x[n] >= 0, n <= 3, of the least sum of squared differences. False: no rows. */
bool calibrate_fit(double *x, int n, const struct calibrate_row *row, int rows);
