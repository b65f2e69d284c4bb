/* workload.h: what a training step consists of: prompts, rollouts with their lengths and calls, branches. All of it is
 * keyed by (seed, step, prompt, rollout), never by the order of work, so that every number of ranks and every dealing
 * rule simulates the same step. */
#pragma once
#include "engine/config/config.h"

/* What a configuration and a few statistics say of all steps. */
struct workload {
    uint64_t seed;
    int prompts, mini_batch, epochs;
    int initial, all;               /* rollouts of a prompt: from the root, and with branches */
    int points;                     /* branch points of a chosen rollout */
    bool branches;                  /* branches are made (appo) */
    bool at_step;                   /* branch.when=step */
    int every;                      /* branch.every */
    bool verl;                      /* epochs outside, mini-batches inside */
    bool train_branches;            /* branch.train */
    bool score_old;                 /* a scoring pass before the first update (numerics that are not exact) */
    bool reference;                 /* a scoring pass under the first weights (KL) */
    int max_prompt, max_response, max_len;
    int max_seqs, max_rows;         /* of the sampler: slots, rows of a pass */
    int pack;                       /* positions of a pack */
    double prompt_mean, prompt_sigma;                   /* tokens; sigma of the logarithm */
    double response_mean, response_sigma;               /* tool results included */
    double alike;                   /* share of the logarithm's variance that a prompt's rollouts have in common */
    double calls, call_s, call_tokens;                  /* of a rollout: mean number; of a call: seconds, tokens */
    double fresh;                   /* mean share of its parent's length that a branch samples anew */
    double distinct;                /* share of the responses' tokens that no rollout before shares as a prefix */
    double live;                    /* share of prompts with an advantage, which alone are trained */
};
/* From keys of a configuration. The statistics get round defaults: half of the longest prompt and response. */
void workload_of(struct workload *w, const struct config *c);

enum { SEGMENTS = 8 };              /* calls of a rollout, and one */

/* A rollout or a branch: tokens present at its start, then segments of generated tokens with a call between two. */
struct sim_rollout {
    int prompt;
    int number;
    int start;                      /* tokens that are there: the prompt, or the shared prefix */
    bool branch;
    int segments;
    int generate[SEGMENTS];         /* tokens of each segment */
    int result[SEGMENTS];           /* tokens of the result behind it; the last has none */
    double wait[SEGMENTS];          /* seconds of the call behind it */
    int length;                     /* tokens at its end */
};

struct sim_prompt {
    int length;
    bool live;
    struct sim_rollout *initial;    /* [w->initial], or [w->all] without branches */
    struct sim_rollout *branch;     /* [w->all - w->initial]; NULL without branches */
};

/* All branches of a prompt are one round, whatever branch.rounds; every epoch has the same ones. */
struct sim_prompt *workload_step(const struct workload *w, int step);
void workload_free(struct sim_prompt *p, const struct workload *w);
int workload_initial(const struct workload *w);         /* rollouts from the root of a prompt */
int workload_branches(const struct workload *w);        /* branches of a prompt; 0 without */
int64_t workload_generated(const struct sim_rollout *r);
int64_t workload_results(const struct sim_rollout *r);

/* A standard normal number from two uniform ones of (0, 1) (Box and Muller 1958). */
double workload_normal(double u, double v);
/* The sigma of a log-normal distribution of which n numbers have this mean and this largest value:
 * ln(max/mean) = sigma z - sigma^2/2, z the normal quantile of 1 - 1/(n + 1). */
double workload_sigma(double mean, double max, double n);
