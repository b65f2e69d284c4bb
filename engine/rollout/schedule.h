/* schedule.h: what decides the rows of a pass, as functions of counts alone. rollout.h calls them with its slots, the
 * simulator of ranks (eval/simulate) with a cost model in place of a device, so that both follow the same rules. */
#pragma once
#include "base/arith.h"

/* How many rows a pass of at most max_rows takes of each of n running sequences, in order of admission: take[i] of the
 * due[i] tokens that wait (0: none, its tool runs or another sequence runs its prompt). Sequences with one token due
 * (they decode) come first, so that a long prompt delays none of them; prompts and tool results fill what is left and
 * may need several passes. Returns the sum of take. */
int schedule_pass(int *take, const int *due, int n, int max_rows);

/* How many rows a pass that samples `rows` tokens runs with where passes are captured as graphs, `most` at most. Sizes:
 * 1, 2, 4, 8 rows, where reading the weights dominates; multiples of 8 up to 64, because tensor cores take rows in
 * eights; then four sizes an octave: 11 % of filler rows on average, 24 % (65 rows as 80) at most. */
int schedule_pass_size(int rows, int most);

/* Tokens that the limits allow a sequence in all: of prompt and response (max_len), and of the response. */
static inline int schedule_limit(int prompt_len, int max_response, int max_len)
{
    return (int)MIN((int64_t)prompt_len + max_response, (int64_t)max_len);
}
