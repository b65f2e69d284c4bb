/* rl.h: shared by the reinforcement-learning operations of this folder. */
#pragma once
#include "base/err.h"
#include "kernels/ops_rl.h"
#include "kernels/rl_math.h"
#include "kernels/rl_terms.h"

/* positions: below this the threads cost more than the exp() they save (about 1 ms) */
enum { RL_PARALLEL = 1 << 16 };

/* dense[row] = number of the row's key, in order of first appearance; returns how many there are. */
int rl_groups(int *dense, const int *key, int rows);
