/* simulate.h: training steps of many ranks without a device: the dealing rules of engine/train and the sampler's
 * schedule, driven by a cost model. Phases follow one another as in trainer_step(): initial rollouts; for each update
 * scoring, branches, credit, gradient, its reduction, AdamW. A phase ends for all when its last rank is done, because
 * the next one needs what all of them made. */
#pragma once
#include "engine/train/deal.h"
#include "eval/simulate/cost_model.h"
#include "eval/simulate/workload.h"

enum sim_phase { SIM_GEN, SIM_SCORE, SIM_BRANCH, SIM_UPDATE, SIM_REDUCE, SIM_HOST, SIM_PHASES };
extern const char *const sim_phase_name[SIM_PHASES];

/* How prompts are dealt to ranks. A new rule is a row of the table. */
struct sim_rule {
    const char *name, *what;
    enum deal_rule deal;
    bool known;                     /* by the lengths that come out, which no run knows: a bound */
    bool steal;                     /* a rank that runs dry takes prompts that others have not begun */
};
extern const struct sim_rule sim_rules[];               /* ends with name NULL */
const struct sim_rule *sim_rule(const char *name);

/* Means of a step. */
struct sim_result {
    int ranks;
    const struct sim_rule *rule;
    double step;                    /* seconds */
    double wall[SIM_PHASES];        /* seconds from a phase's begin to its end on the last rank */
    double busy[SIM_PHASES];        /* seconds that the ranks worked in it, of all ranks together */
    double idle;                    /* share of all ranks' seconds in which they waited for one another */
    double tools;                   /* share in which a rank waited for tools alone */
    double tail;                    /* seconds: last rank less the median of the ranks, initial rollouts */
    double branch_tail;             /* the same of branches, all mini-batches of the step */
    double generated, results;      /* tokens sampled, tokens of tool results */
    double scored, trained;         /* positions */
    double targets;                 /* response tokens of the trees that were trained */
    double scored_most, trained_most;                   /* of the rank that had most, summed over the phases */
    double passes;                  /* of the rank that ran most */
    double rows, positions;         /* of all passes of all ranks */
    double taken;                   /* units taken from other ranks */
    double weight_reads;            /* bytes of weights that the passes of all ranks read */
    double context_reads;           /* bytes of keys and values */
    double reduced;                 /* bytes of gradients that each rank sends */
    double gathered;                /* bytes of weights and trajectories that each rank receives */
    /* counts for fits, means of the ranks: sampling of initial rollouts, and of branches */
    struct sim_count { double passes, rows, positions; } gen, branch;
};

/* `steps` steps with `ranks` ranks. shape: for the bytes; may be NULL. */
void simulate(struct sim_result *r, const struct workload *w, const struct cost_model *m, const struct sim_rule *rule,
              int ranks, int steps, const struct cost_shape *shape);

/* Real seconds of the end of each rank whose work, had every one its own core, takes end[i] seconds: while more threads
 * work than there are cores, all of them are slower by the same factor. */
void sim_share_cores(double *end, int ranks, int cores, int threads);
