/* report.h: results of a simulation as a table and as JSON. */
#pragma once
#include "eval/simulate/simulate.h"
#include <jansson.h>

/* What was simulated, for the lines above the table. */
struct sim_report {
    const struct workload *w;
    const struct cost_model *m;
    const struct cost_shape *shape;
    const char *model;              /* name of the model */
    const char *source;             /* "by count from stated rates of ...", or the files of a fit */
    bool weak;
    int steps;
    const struct sim_result *r;     /* [n] rule by rule, ranks rising */
    int n;
};
/* Tokens (sampled and of tools) a second. */
double sim_throughput(const struct sim_result *r);
/* Throughput a rank, relative to that of the first result of the same rule. */
double sim_efficiency(const struct sim_report *p, int i);
void sim_table(FILE *f, const struct sim_report *p);
json_t *sim_json(const struct sim_report *p);           /* a new reference */
