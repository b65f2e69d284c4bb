/* train_step.c: a training step from prompts to metrics. A stop signal during the initial rollouts ends the step
 * without an update, because nothing has changed yet; a later signal waits until the step is finished. */
#include "engine/train/train_step.h"
#include "base/clock.h"
#include "base/stop.h"
#include "engine/comm/comm.h"
#include "engine/train/branch_rollouts.h"
#include "engine/train/exchange.h"
#include "engine/train/group_advantages.h"
#include "engine/train/initial_rollouts.h"
#include "engine/train/policy_update.h"
#include "engine/train/rank_sums.h"
#include "engine/train/rescore.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Opens a group for each prompt of the step: the next records of data.train_files, or, without files, embedded tasks:
 * one of each family in turn, and no task twice in a run. */
static struct group *open_groups(struct trainer *t)
{
    const struct config *c = t->c;
    int prompts = c->data.train_batch_size,
        n = c->algorithm.adv_estimator == ALGO_APPO ? c->rollout.initial_rollouts : c->rollout.n;
    struct group *g = xcalloc((size_t)prompts, sizeof *g);
    for (int p = 0; p < prompts; p++) {
        uint64_t index = (uint64_t)t->step * (uint64_t)prompts + (uint64_t)p;
        if (t->s->train.rows.n)
            group_begin_record(&g[p], t->s, &t->s->train, prompt_set_record(&t->s->train, c, index), (uint32_t)t->step,
                            (uint32_t)p, n);
        else
            group_begin_task(&g[p], t->s, (int)(index % FAMILIES), SPLIT_TRAIN, (uint64_t)c->trainer.seed, index,
                        (uint32_t)t->step, (uint32_t)p, n);
    }
    return g;
}

static int bad_calls(const struct sequence *seq)
{
    int n = 0;
    for (int k = 0; k < seq->calls; k++) n += seq->call[k].tool == TOOL_NONE;
    return n;
}

static int over_limit(const struct sequence *seq)
{
    int n = 0;
    for (int k = 0; k < seq->calls; k++) n += seq->call[k].over_limit;
    return n;
}

static void note_rollouts(const struct group *g, int n, bool turns, struct step_sums *z)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < g[i].initial; j++) {
            const struct trajectory *r = g[i].traj[j];
            mean_add(&z->reward_init, r->seq.reward);
            z->rollouts++;
            z->correct += r->correct;
            z->well_formed += r->well_formed;
            z->ended += r->seq.finish == FINISH_END;
            mean_add(&z->response_length, trajectory_len(r));
            mean_add(&z->prompt_length, r->seq.prompt_len);
            mean_add(&z->calls, r->seq.calls);
            for (int k = 0; k < TOOL_KINDS; k++) z->calls_by[k] += r->seq.calls_by[k];
            z->over_limit += over_limit(&r->seq);
            if (turns) mean_add(&z->bad_calls, bad_calls(&r->seq));
            for (int k = r->seq.prompt_len; k < r->seq.n; k++)
                if (r->seq.m[k]) mean_add(&z->entropy, (double)r->seq.entropy[k]);
        }
}

static bool same_tokens(const struct sequence *a, const struct sequence *b)
{
    return a->n == b->n && !memcmp(a->ids, b->ids, (size_t)a->n * sizeof *a->ids);
}

/* Counts the branches of one update that are token by token the trajectory they left, and the distinct trajectories of
 * the prompts. */
static void note_branches(const struct group *g, int n, struct step_sums *z)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < g[i].n; j++) {
            const struct trajectory *r = g[i].traj[j];
            bool seen = false;
            for (int k = 0; k < j && !seen; k++) seen = same_tokens(&r->seq, &g[i].traj[k]->seq);
            z->trajectories++;
            z->unique_trajectories += !seen;
            if (!r->branch) continue;
            mean_add(&z->reward_branch, r->seq.reward);
            z->branches++;
            z->branch_copies += r->orig >= 0 && same_tokens(&r->seq, &g[i].traj[r->orig]->seq);
        }
}

/* Scores the mini-batch again under the present weights, because an update has made it stale since its branches were
 * made (branch.when = step). */
static void rescore_stale(struct trainer *t, struct group *g, int n, struct step_sums *z)
{
    struct traj_list l = { 0 };
    for (int i = 0; i < n; i++)
        if (group_own(&g[i])) traj_list_add(&l, &g[i], i, 0, t->c->branch.train ? g[i].n : g[i].initial);
    rescore(t, &l, true, false, z);
    traj_list_free(&l);
    sums_add_wait(z, exchange_groups(g, n, t->s));
}

static void drop_pages(struct trainer *t, struct group *g, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < g[i].n; j++) kv_drop(&t->s->kv, &g[i].traj[j]->seq.kv);
}

static double largest_score(const struct group *g, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        for (int j = g[i].initial; j < g[i].n; j++)
            if (g[i].traj[j]->orig >= 0 && g[i].traj[j]->score > most) most = g[i].traj[j]->score;
    return most;
}

/* One update with the mini-batch g[0..n). sampled: the weights' version when the initial rollouts were sampled. */
static bool update_once(struct trainer *t, struct group *all, int prompts, struct group *g, int n, uint64_t sampled,
                        struct step_sums *z)
{
    uint64_t version = t->s->m.version;
    bool stale = version != sampled;
    comm_doing("sampling branches");
    if (t->c->branch.when == BRANCH_MINIBATCH) {
        for (int i = 0; i < n; i++) group_drop_branches(&g[i], t->s);
        branch_rollouts(t, g, n, stale, z);
    } else if (stale) rescore_stale(t, g, n, z);
    comm_doing("training");
    bool ok = policy_update(t, g, n, stale, z);
    if (t->s->m.version != version) drop_pages(t, all, prompts);
    note_branches(g, n, z);
    return ok;
}

/* All updates of the step: epochs outside and mini-batches inside, as in verl and the released code, or each mini-batch
 * ppo_epochs times in a row. */
static bool update(struct trainer *t, struct group *g, int prompts, struct step_sums *z)
{
    const struct config *c = t->c;
    uint64_t sampled = t->s->m.version;
    int each = c->actor.ppo_mini_batch_size, batches = prompts / each, updates = trainer_updates(c);
    bool ok = true, at_step = c->branch.when == BRANCH_STEP, verl = c->actor.epoch_order == EPOCHS_VERL;
    t->epoch = t->mini_batch = 0;
    if (at_step) {
        comm_doing("sampling branches");
        branch_rollouts(t, g, prompts, false, z);
        drop_pages(t, g, prompts);
    }
    if (c->algorithm.adv_estimator != ALGO_APPO) group_advantages(g, prompts, c);
    t->score_max = at_step ? largest_score(g, prompts) : 0;
    for (int k = 0; ok && k < updates; k++) {
        t->epoch = verl ? k / batches : k % c->actor.ppo_epochs;
        t->mini_batch = verl ? k % batches : k / c->actor.ppo_epochs;
        struct group *part = g + t->mini_batch * each;
        trainer_progress(t, "updates", k, updates);
        ok = update_once(t, g, prompts, part, each, sampled, z);
        for (int i = 0; t->epoch == c->actor.ppo_epochs - 1 && i < each; i++) group_drop_branches(&part[i], t->s);
        /* the pool has room for the pages of one mini-batch */
        if (verl || t->epoch == c->actor.ppo_epochs - 1) drop_pages(t, part, each);
    }
    return ok;
}

/* Warns if no update has moved a weight, because all rewards of the step are equal or every advantage is 0. */
static void warn_silent(struct trainer *t, const struct step_sums *z)
{
    bool silent = (!z->grad_norm.n || z->grad_norm.max == 0) && !z->skipped_updates;
    t->silent = silent ? t->silent + 1 : 0;
    if (!silent || (t->silent != 1 && t->silent % 10)) return;
    if (t->silent > 1)
        fprintf(notes(), "warning: steps %d to %d had nothing to learn from: ", t->step - t->silent + 1, t->step);
    else fprintf(notes(), "warning: step %d had nothing to learn from: ", t->step);
    fprintf(notes(), "%s, the gradient is 0. ",
            z->reward_init.n && z->reward_init.min == z->reward_init.max ? "all rewards are equal"
                                                                         : "every prompt's rewards are equal");
    fprintf(notes(),
            "Look at the rollouts (trainer.rollout_data_dir); easier or harder prompts, a larger rollout.n or "
            "rollout.temperature, another reward.kind or a cold start (appo sft) "
            "give rewards that differ; a rate that is too large (actor.optim.lr=%g) destroys a policy\n",
            t->c->actor.optim_lr);
}

bool trainer_step(struct trainer *t, struct metrics *m, FILE *dump, struct err *e)
{
    struct step_sums z = { 0 };
    double start = seconds();
    uint64_t version = t->s->m.version;
    int prompts = t->c->data.train_batch_size;
    struct group *g = open_groups(t);
    t->dump = dump;
    mean_add(&z.lr, trainer_lr(t));
    trainer_begin(t);
    stop_during("the rollouts of step %d are given up, a checkpoint of step %d is written", t->step + 1, t->step);
    initial_rollouts(t, g, prompts, &z);
    if (t->halted) {
        for (int p = 0; p < prompts; p++) group_end(&g[p], t->s);
        free(g);
        t->dump = NULL;
        return true;
    }
    stop_during("finishing step %d and writing its checkpoint", t->step + 1);
    note_rollouts(g, prompts, call_form_turns(&t->s->form), &z);
    bool ok = update(t, g, prompts, &z);
    for (int p = 0; p < prompts; p++) group_end(&g[p], t->s);
    free(g);
    comm_doing("ending a step");
    trainer_end(t, version);
    rank_sums(&z, seconds() - start);
    t->dump = NULL;
    t->step++;
    t->tokens_generated += z.generated;
    double response = mean_of(&z.response_length);
    t->response_length = t->response_length > 0 ? (3 * t->response_length + response) / 4 : response;
    if (ok) warn_silent(t, &z);
    if (z.timeouts)
        fprintf(notes(),
                "warning: step %d: %lld tool calls passed tools.timeout=%g s; the policy read \"" TOOL_TIMEOUT
                "\"\n",
                t->step, (long long)z.timeouts, t->c->tools.timeout);
    step_metrics(m, &z, t->step, t->skipped, t->c->algorithm.adv_estimator == ALGO_APPO, seconds() - start);
    if (!ok)
        return fail(e,
                    "step %d: the loss or its gradient was not finite in five updates in a row: the weights are those "
                    "before them; lower actor.optim.lr",
                    t->step);
    return true;
}
