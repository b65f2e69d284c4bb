/* golden.h: the official implementation's recorded vectors, run through this project's own functions. */
#pragma once
#include "base/err.h"
#include <jansson.h>

/* worst: largest error over allowed error, i.e. 1 = at the limit; infinite where something that must be exact is
 * not. */
struct golden_tally { int passed, failed; double worst; char worst_case[96]; };

/* One parsed file each: true when every case could be read, whatever it gave; false with a sentence (case, field) where
 * the file is ill-formed. What a failing case gave and should have given is printed on stderr. */
bool golden_reward(const json_t *root, struct golden_tally *t, struct err *e);
bool golden_math_equiv(const json_t *root, struct golden_tally *t, struct err *e);
bool golden_qa_metrics(const json_t *root, struct golden_tally *t, struct err *e);
bool golden_branch_select(const json_t *root, struct golden_tally *t, struct err *e);
bool golden_advantage(const json_t *root, struct golden_tally *t, struct err *e);
bool golden_grpo_family(const json_t *root, struct golden_tally *t, struct err *e);
bool golden_policy_loss(const json_t *root, struct golden_tally *t, struct err *e);

/* `appo golden DIR`: every known file found in DIR, one line a file. The exit status: 0 if at least one was found and
 * no case of any failed. */
int golden_main(const char *dir);
