/* bench_policy.h: training and decode steps of a model of the embedded policy's shape. */
#pragma once
#include <stdio.h>

/* One line a case, with the share of the time that the same matrix products take alone. json (may be NULL) gets one
 * object a line. Returns the smallest share. */
double bench_policy(FILE *text, FILE *json);
