/* initial_rollouts.c: a rank takes whole prompts from the queue of comm.h, its own and then, when it runs dry, those
 * that another one has not started. What a rollout samples does not depend on who runs it. */
#include "engine/train/initial_rollouts.h"
#include "base/clock.h"
#include "base/stop.h"
#include "engine/comm/comm.h"
#include "engine/train/deal.h"
#include "engine/train/exchange.h"
#include "engine/train/grade.h"
#include "engine/train/rescore.h"
#include "base/arith.h"
#include <stdlib.h>

/* The prompts of the step as this rank takes them. */
struct intake {
    struct trainer *t;
    struct group *g;
    int *dealt_to;                  /* [n] rank; NULL: one rank */
    int dealt;                      /* prompts dealt to this rank */
    int taken;
    struct sequence **seq;          /* [have] of the prompts taken and not yet handed over */
    int have;
    struct step_sums *z;
};

/* Deals the prompts; waits for all ranks. */
static void deal(struct intake *x, int n)
{
    const struct config *c = x->t->c;
    double *cost = xcalloc((size_t)n + 1, sizeof *cost), start = seconds();
    struct deal d;
    for (int i = 0; i < n; i++)
        cost[i] = deal_prompt_cost(x->g[i].traj[0]->seq.prompt_len, x->t->response_length, x->g[i].initial);
    deal_prompts(&d, cost, n, c->actor.ppo_mini_batch_size, comm_ranks(), deal_rule_default);
    x->dealt_to = xcalloc((size_t)n + 1, sizeof *x->dealt_to);
    for (int r = 0; r < comm_ranks(); r++)
        for (int k = d.begin[r]; k < d.begin[r + 1]; k++) x->dealt_to[d.item[k]] = r;
    x->dealt = d.begin[comm_rank() + 1] - d.begin[comm_rank()];
    comm_work_begin(d.item, d.begin);
    x->z->t_rank_wait += seconds() - start;
    deal_free(&d);
    free(cost);
}

/* Takes the next prompt. False: all are taken. */
static bool take_prompt(struct intake *x)
{
    int p = comm_work_next();
    if (p < 0) return false;
    struct group *g = &x->g[p];
    const struct config *c = x->t->c;
    g->owner = comm_rank();
    x->taken++;
    x->z->stolen_prompts += x->dealt_to[p] != comm_rank();
    x->seq = xrealloc(x->seq, (size_t)(x->have + g->initial) * sizeof *x->seq);
    for (int j = 0; j < g->initial; j++) {
        g->traj[j]->seq.unread = p >= branched_prompts(c) || !branched_mini_batch(c, x->t->step, 0);
        x->seq[x->have++] = &g->traj[j]->seq;
    }
    return true;
}

static int more(void *ctx, struct sequence ***seq)
{
    struct intake *x = ctx;
    x->have = 0;
    if (!take_prompt(x)) return 0;
    *seq = x->seq;
    return x->have;
}

static void progress(void *ctx, int done, int total)
{
    const struct intake *x = ctx;
    (void)total;
    trainer_progress(x->t, "rollouts", done, MAX(x->dealt, x->taken) * x->g[0].initial);
}

/* Samples; run_stop gives it up. */
static void sample(struct intake *x, int n, struct rollout_stats *stats)
{
    struct trainer *t = x->t;
    struct rollout_config r = session_sampling(t->s);
    comm_doing("sampling");
    deal(x, n);
    /* Before a rank takes prompts of another one, every rank has taken as many of its own as it can start at once. */
    while (x->have < r.max_seqs && x->taken < x->dealt && take_prompt(x)) {}
    comm_barrier();
    r.halt = &run_stop;
    r.more = more;
    r.more_ctx = x;
    rollout_set(t->s->ro, &r);
    rollout_run(t->s->ro, x->seq, x->have, t->c->algorithm.adv_estimator == ALGO_APPO, progress, x, stats);
    r.more = NULL;
    r.halt = NULL;                                       /* branches belong to a step that is finished */
    rollout_set(t->s->ro, &r);
    /* what nobody has started shall not be started: the step is given up */
    while (stats->halted && comm_work_next() >= 0) {}
    free(x->seq);
    free(x->dealt_to);
}

/* Scores this rank's rollouts under pi_old by the scorer's kernels. */
static void score_own(struct trainer *t, struct group *g, int n, struct step_sums *z)
{
    struct traj_list l = { 0 };
    for (int i = 0; i < n; i++) if (group_own(&g[i])) traj_list_add(&l, &g[i], i, 0, g[i].initial);
    double start = seconds();
    rescore_old(t, &l, z);
    z->t_score += seconds() - start;
    traj_list_free(&l);
}

void initial_rollouts(struct trainer *t, struct group *g, int n, struct step_sums *z)
{
    struct intake x = { .t = t, .g = g, .z = z };
    struct rollout_stats stats;
    bool score = t->score_old && trainer_updates(t->c) > 1;
    double start = seconds(), waited = z->t_rank_wait;
    for (int i = 0; i < n; i++) g[i].owner = -1;
    sample(&x, n, &stats);
    z->t_gen += seconds() - start - (z->t_rank_wait - waited);
    sums_add_run(z, &stats);
    start = seconds();
    for (int i = 0; i < n; i++)
        for (int j = 0; !stats.halted && group_own(&g[i]) && j < g[i].initial; j++)
            trajectory_grade(&g[i], g[i].traj[j], t->s);
    z->t_reward += seconds() - start;
    if (score && !stats.halted) score_own(t, g, n, z);
    start = seconds();
    t->halted = comm_any(stats.halted);
    if (!t->halted) exchange_groups(g, n, t->s);
    sums_add_wait(z, seconds() - start);
    for (int i = 0; score && !t->halted && i < n; i++)
        for (int j = 0; j < g[i].initial; j++) rescore_note_noise(t->c, g[i].traj[j], z);
}
