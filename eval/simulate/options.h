/* options.h: the arguments of `appo plan --simulate` beside configuration keys: one table, which its help prints. */
#pragma once
#include "eval/simulate/simulate.h"

enum { SIM_COUNTS = 32, SIM_RULES = 8, SIM_VALUES = 24, SIM_RANKS_MAX = 65536 };

struct sim_options {
    int ranks[SIM_COUNTS], counts;              /* numbers of ranks, rising */
    const struct sim_rule *rule[SIM_RULES];
    int rules;
    const struct cost_card *card;               /* NULL: none was named */
    bool weak;                                  /* prompts grow with the ranks; false: a fixed batch */
    double value[SIM_VALUES];                   /* by the table; NaN: not given */
    struct cost_model cost;                     /* constants given as cost.NAME=NUMBER; NaN: not given */
};
void sim_options_init(struct sim_options *o);

/* Takes one argument. False with e->text empty: it is no option; else it is invalid. */
bool sim_option(struct sim_options *o, const char *arg, struct err *e);
/* One line an option, "  name=...   meaning", at most 79 columns. */
void sim_options_help(FILE *f);

/* Sets what was given: statistics of the steps, constants, and sizes of the machine. False: values that contradict each
 * other or the configuration. */
bool sim_options_apply(const struct sim_options *o, struct workload *w, struct cost_model *m, struct err *e);
int sim_steps(const struct sim_options *o);
/* The workload with `ranks` ranks: with weak scaling prompts and mini-batches times ranks / o->ranks[0]. False: too
 * many rollouts, or mini-batches that do not come out whole. */
bool sim_scaled(struct workload *scaled, const struct sim_options *o, const struct workload *w, int ranks,
                struct err *e);
