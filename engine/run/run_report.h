/* run_report.h: the result of a training run. */
#pragma once
#include "engine/run/evaluate.h"

struct run_report {
    struct eval_result before;      /* the evaluation before training, */
    struct eval_result after;       /* and after the last step */
    bool has_before;
    bool has_after;
    bool stopped;                   /* by a signal */
    bool done;                      /* nothing was left to do */
    double wall_s;
    int64_t tokens_generated;
    int64_t tokens_trained;
    double probs_diff_max;          /* largest |p_train - p_rollout| */
    int skipped;                    /* updates that were not finite */
    int steps;
};
json_t *run_report_json(const struct run_report *r, const struct config *c);
