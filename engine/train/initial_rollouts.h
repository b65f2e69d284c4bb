/* initial_rollouts.h: the first half of a step: its prompts are dealt to the ranks, each samples, grades and, for
 * sampler and scorer that differ in bits, scores its own; then every rank holds all of them. */
#pragma once
#include "engine/train/trainer.h"

/* Runs the initial rollouts of g[0 .. n) and sets the owners. If run_stop is set on some rank they are given up on all:
 * t->halted. */
void initial_rollouts(struct trainer *t, struct group *g, int n, struct step_sums *z);
