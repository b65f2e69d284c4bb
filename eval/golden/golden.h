/* golden.h: the official implementation's recorded vectors, run through this project's own functions. The cases are in
 * golden_advantage.c (advantages, branch points), golden_loss.c (losses) and golden_grading.c (rewards, answers,
 * metrics). */
#pragma once
#include "base/err.h"
#include <jansson.h>

struct golden_tally {
    int passed, failed;
    /* cases of what this program does not build; why: of the first */
    int skipped;
    char why[96];
    /* largest error / allowed error: 1 is at the limit; infinite: an exact value differs */
    double worst;
    char worst_case[96];
};

/* One parsed file each: true when every case could be read, passed or failed; false where the file is ill-formed, the
 * message names case and field. A failing case's result and expected value are printed on stderr. */
bool golden_reward(const json_t *root, struct golden_tally *t, struct err *e);
bool golden_math_equiv(const json_t *root, struct golden_tally *t, struct err *e);
bool golden_qa_metrics(const json_t *root, struct golden_tally *t, struct err *e);
bool golden_branch_select(const json_t *root, struct golden_tally *t, struct err *e);
bool golden_advantage(const json_t *root, struct golden_tally *t, struct err *e);
bool golden_grpo_family(const json_t *root, struct golden_tally *t, struct err *e);
bool golden_policy_loss(const json_t *root, struct golden_tally *t, struct err *e);

/* `appo golden DIR`: every known file found in DIR, one line a file. Returns the exit status: 0 if at least one was
 * found and no case failed. */
int golden_main(const char *dir);
