/* bench_model.h: training and decode steps of models by name, with random weights. */
#pragma once
#include "eval/bench/bench.h"

/* model NULL: those that suit the sizes. False: no model of that name (b NULL: only asks). */
bool bench_train(struct bench *b, const char *model);
bool bench_decode(struct bench *b, const char *model);

/* The part of bench_shapes. */
void bench_model_shapes(const struct bench *b, FILE *f);
