/* sampling.h: one sampling phase of all ranks, event by event: initial rollouts, or the branches of a mini-batch. Which
 * rows a pass takes is decided by the sampler's own schedule_pass (engine/rollout/schedule.h), who takes whose prompts
 * by the queue of engine/comm (work_take); slots, prompts run once for their rollouts and tools beside decoding are as
 * rollout.h has them, in a second form. A pass takes the time of a cost model.
 * Passes between two events (an end, a call, a result) are alike and are added up at once.
 * Not modelled: pages. The pool is made for the worst case of all slots (session_pages), so that slots bind first. */
#pragma once
#include "eval/simulate/cost_model.h"
#include "eval/simulate/workload.h"

struct sampling {
    const struct workload *w;
    const struct cost_model *m;
    int ranks;
    /* units of work, which a rank takes whole: a prompt's initial rollouts, or its branches */
    int units;
    struct sim_rollout **first;     /* [units] each unit's rollouts, one behind the other */
    int each;                       /* their number */
    const int *item, *begin;        /* units dealt to the ranks, as comm_work_begin has them */
    bool steal;                     /* a rank without units takes the last one of the rank that has most left */
    bool prompts;                   /* the prompt is still to be run; false: pages of the prefix are there */
};

struct sampling_rank {
    double end;                     /* seconds until its last rollout ended */
    double busy;                    /* of these, in passes; in the others tools run */
    double passes, rows, positions; /* rows: of all passes; positions: of keys and values that they read */
    int64_t tokens;                 /* sampled */
    int taken;                      /* units taken from others */
};

/* owner[units]: who ran each unit; out[ranks]. */
void sampling_run(const struct sampling *s, int *owner, struct sampling_rank *out);
