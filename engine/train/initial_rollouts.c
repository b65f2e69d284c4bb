/* initial_rollouts.c: the initial rollouts of a step. A rank owns the prompts that it has run: it keeps their pages. */
#include "engine/train/initial_rollouts.h"
#include "base/clock.h"
#include "engine/comm/comm.h"
#include "engine/train/deal.h"
#include "engine/train/exchange.h"
#include "engine/train/grade.h"
#include "engine/train/prompt_queue.h"
#include "engine/train/rescore.h"
#include <stdlib.h>

/* The step's prompts as this rank takes them. */
struct intake {
    struct trainer *t;
    struct group *g;
    struct sequence **seq;          /* of the prompt taken last */
};

static int open_prompt(void *ctx, int p, struct sequence ***seq)
{
    struct intake *x = ctx;
    struct group *g = &x->g[p];
    const struct config *c = x->t->c;
    g->owner = comm_rank();
    for (int j = 0; j < g->initial; j++) {
        g->traj[j]->seq.unread = p >= branched_prompts(c) || !branched_mini_batch(c, x->t->step, 0);
        x->seq[j] = &g->traj[j]->seq;
    }
    *seq = x->seq;
    return g->initial;
}

static void progress(void *ctx, int done, int total)
{
    const struct intake *x = ctx;
    trainer_progress(x->t, "rollouts", done, total);
}

/* Samples; run_stop gives it up. */
static void sample(struct trainer *t, struct group *g, int n, struct prompt_queue *q)
{
    const struct config *c = t->c;
    struct rollout_config rule = session_sampling(t->s);
    struct intake x = { t, g, xcalloc((size_t)g[0].initial, sizeof *x.seq) };
    double *cost = xcalloc((size_t)n, sizeof *cost);
    for (int i = 0; i < n; i++) {
        g[i].owner = -1;
        cost[i] = deal_prompt_cost(g[i].traj[0]->seq.prompt_len, t->response_length, g[i].initial);
    }
    comm_doing("sampling");
    *q = (struct prompt_queue){ .open = open_prompt, .ended = progress, .ctx = &x };
    prompt_queue_run(q, t->s->ro, &rule, cost, n, c->actor.ppo_mini_batch_size,
                     c->algorithm.adv_estimator == ALGO_APPO);
    free(cost);
    free(x.seq);
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
    struct prompt_queue q;
    bool score = t->score_old && trainer_updates(t->c) > 1;
    double start = seconds();
    sample(t, g, n, &q);
    z->t_gen += seconds() - start - q.wait_s;
    z->t_rank_wait += q.wait_s;
    z->stolen_prompts += q.stolen;
    sums_add_run(z, &q.stats);
    start = seconds();
    for (int i = 0; i < n && !q.stats.halted; i++)
        for (int j = 0; group_own(&g[i]) && j < g[i].initial; j++) trajectory_grade(&g[i], g[i].traj[j], t->s);
    z->t_reward += seconds() - start;
    if (score && !q.stats.halted) score_own(t, g, n, z);
    start = seconds();
    t->halted = comm_any(q.stats.halted);
    if (!t->halted) exchange_groups(g, n, t->s);
    sums_add_wait(z, seconds() - start);
    for (int i = 0; score && !t->halted && i < n; i++)
        for (int j = 0; j < g[i].initial; j++) rescore_note_noise(t->c, g[i].traj[j], z);
}
