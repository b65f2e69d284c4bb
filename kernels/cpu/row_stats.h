/* row_stats.h: the one function that reads a row of logits, for op_row_stats and op_sample alike, so that a token's
 * logp and the entropy are the same bits when it is sampled and when it is scored. */
#pragma once
#include "kernels/dev.h"

/* max = the largest logit; mass = sum_j exp((x_j - max) inv_temp) >= 1; log_mass = ln mass; ent = entropy in nats,
 * within 0 .. ln vocab. */
struct row_stat { double max, mass, log_mass, ent; };

/* e[vocab] (NULL: not wanted) keeps exp((x_j - max) inv_temp). */
struct row_stat row_stat(elem_t *e, const elem_t *x, double inv_temp, int vocab);

static inline acc_t row_logp(const struct row_stat *s, const elem_t *x, double inv_temp, int id)
{
    return (acc_t)(((double)x[id] - s->max) * inv_temp - s->log_mass);
}
