/* rl.h: what the reinforcement-learning operations of this folder share. */
#pragma once
#include "base/err.h"
#include "kernels/ops_rl.h"
#include <math.h>

/* positions: below this the threads cost more than the exp() they save (about 1 ms) */
enum { RL_PARALLEL = 1 << 16 };

/* Not fmin(fmax()): a NaN has to come out again. */
static inline double rl_clamp(double x, double lo, double hi) { return x < lo ? lo : x > hi ? hi : x; }

/* KL estimate at one position; slope = its derivative by logp. */
double rl_kl(double *slope, double logp, double ref, enum kl_kind kind);

/* dloss/dvalue of each position with m = 1 of a row that has row_tokens of them: the aggregations of section 6. */
double rl_row_weight(enum loss_agg agg, double tokens, double rows_live, double row_tokens, double max_len);

/* dense[row] = number of the row's key, in order of first appearance; returns how many there are. */
int rl_groups(int *dense, const int *key, int rows);
