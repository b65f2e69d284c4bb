/* policy_update.c: credit, loss coefficients, one backward pass and one AdamW step of a mini-batch. Trajectories
 * without any advantage are left out of the backward pass. */
#include "engine/train/policy_update.h"
#include "engine/train/update_batch.h"
#include "base/clock.h"
#include "engine/train/gradient.h"
#include "engine/train/rollout_dump.h"
#include "base/arith.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void collect(struct update_batch *f, struct group *g, int n)
{
    for (int i = 0; i < n; i++) f->rows += g[i].n;
    f->traj = xcalloc((size_t)f->rows, sizeof *f->traj);
    f->uid = xcalloc((size_t)f->rows, sizeof *f->uid);
    f->kind = xcalloc((size_t)f->rows, 1);
    f->rec = xcalloc((size_t)f->rows + 1, sizeof *f->rec);          /* one more for rewards() */
    int k = 0;
    for (int branch = 0; branch < 2; branch++)
        for (int i = 0; i < n; i++)
            for (int j = branch ? g[i].initial : 0; j < (branch ? g[i].n : g[i].initial); j++) {
                f->traj[k] = g[i].traj[j];
                f->uid[k] = i;
                f->kind[k++] = (uint8_t)branch;
                if (!branch) f->initial++;
            }
}

/* The index in f of trajectory `orig` of group uid. */
static int index_of(const struct update_batch *f, const struct group *g, int uid, int orig)
{
    for (int k = 0; k < f->rows; k++)
        if (f->uid[k] == uid && f->traj[k] == g[uid].traj[orig]) return k;
    die("a branch of prompt %d names a trajectory that does not exist", uid);
}

/* The record of trajectory k, a branch. It counts for the initial rollout from which its chain of branches started, up
 * to the last token that the chain shares with it: the token before the point if that one is sampled again, the token
 * at the point if it is kept; -1: none. */
static struct branch_record record(const struct update_batch *f, const struct group *g, int k, bool resample)
{
    const struct trajectory *r = f->traj[k], *from = g[f->uid[k]].traj[r->orig];
    struct branch_record rec = { r->orig, k, r->idx, r->score };
    for (; from->branch && from->orig >= 0; from = g[f->uid[k]].traj[from->orig]) {
        rec.orig = from->orig;
        rec.idx = MIN(rec.idx, from->idx);
    }
    rec.orig = index_of(f, g, f->uid[k], rec.orig);
    rec.idx -= resample;
    return rec;
}

void update_batch_make(struct update_batch *f, struct group *g, int n, const struct config *c)
{
    *f = (struct update_batch){ 0 };
    collect(f, g, n);
    f->live = xcalloc((size_t)f->rows + 1, 1);
    f->begin = xcalloc((size_t)f->rows + 1, sizeof *f->begin);
    /* an empty response has one position for its reward, m = 0 */
    for (int k = 0; k < f->rows; k++) f->begin[k + 1] = f->begin[k] + MAX(1, trajectory_len(f->traj[k]));
    f->n = f->begin[f->rows];
    acc_t **all[] = { &f->logp, &f->logp_old, &f->logp_ref, &f->entropy, &f->adv, &f->g, &f->ge, &f->logp_train };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) *all[i] = xcalloc((size_t)f->n + 1, sizeof(acc_t));
    f->m = xcalloc((size_t)f->n + 1, 1);
    for (int k = 0; k < f->rows; k++) {
        const struct trajectory *r = f->traj[k];
        int64_t at = f->begin[k];
        size_t len = (size_t)trajectory_len(r);
        memcpy(f->logp + at, r->logp, len * sizeof(acc_t));
        memcpy(f->entropy + at, r->entropy, len * sizeof(acc_t));
        memcpy(f->logp_old + at, trajectory_logp_old(r), len * sizeof(acc_t));
        if (r->logp_ref) memcpy(f->logp_ref + at, r->logp_ref, len * sizeof(acc_t));
        memcpy(f->m + at, r->seq.m + r->seq.prompt_len, len);
        if (!r->branch) continue;
        size_t prefix = r->orig >= 0 ? (size_t)(r->seq.born - r->seq.prompt_len) : 0;
        memset(f->m + at, 0, c->branch.train ? prefix : len);
        if (r->orig >= 0) f->rec[f->records++] = record(f, g, k, c->branch.resample_token);
    }
}

void update_batch_free(struct update_batch *f)
{
    free(f->traj); free(f->uid); free(f->kind); free(f->rec); free(f->begin); free(f->m);
    free(f->logp);
    free(f->logp_old);
    free(f->logp_ref);
    free(f->entropy);
    free(f->adv);
    free(f->g);
    free(f->ge);
    free(f->logp_train);
    free(f->live);
}

/* Puts each reward on the last token, scales it as the official code does if asked for, and sums it again: one number a
 * trajectory. A record without a trajectory brings score_max in. */
static void rewards(const struct update_batch *f, const struct config *c, double score_max, acc_t *reward,
                    acc_t *token_reward)
{
    memset(token_reward, 0, (size_t)f->n * sizeof *token_reward);
    for (int k = 0; k < f->rows; k++) token_reward[f->begin[k + 1] - 1] = (acc_t)f->traj[k]->seq.reward;
    f->rec[f->records] = (struct branch_record){ -1, 0, 0, score_max };
    if (c->advantage.reward_scale)
        op_reward_scale(token_reward, f->begin, f->rows, f->rec, f->records + 1, c->advantage.reward_scale_discount);
    for (int k = 0; k < f->rows; k++) {
        double sum = 0;
        for (int64_t i = f->begin[k]; i < f->begin[k + 1]; i++) sum += (double)token_reward[i];
        reward[k] = (acc_t)sum;
    }
}

/* AEPO: A (1 + a z(H)), z with the unbiased standard deviation over the tokens of the mini-batch (1 if it is 0). */
static void weigh_by_entropy(struct update_batch *f, double a)
{
    double n = 0, sum = 0, square = 0;
    for (int64_t i = 0; i < f->n; i++) if (f->m[i]) n++, sum += (double)f->entropy[i];
    for (int64_t i = 0; i < f->n; i++) if (f->m[i]) square += pow((double)f->entropy[i] - sum / n, 2);
    double std = n > 1 ? sqrt(square / (n - 1)) : 0;
    for (int64_t i = 0; i < f->n; i++)
        if (f->m[i])
            f->adv[i] *= (acc_t)(1 + a * ((double)f->entropy[i] - sum / n) / (std > 0 ? std : 1));
}

/* Dual-group advantage of the rewards, with the present branches. */
static void dual_group_credit(struct update_batch *f, const struct config *c, double score_max)
{
    acc_t *reward = xcalloc((size_t)f->rows, sizeof *reward),
          *token_reward = xcalloc((size_t)f->n + 1, sizeof *token_reward);
    struct advantage_rule rule = { c->advantage.dual_group, c->advantage.norm_by_std, c->branch.train };
    rewards(f, c, score_max, reward, token_reward);
    struct dual_in in = {
        .reward = reward, .m = f->m, .begin = f->begin, .rows = f->rows, .uid = f->uid, .kind = f->kind,
        .rec = f->rec, .records = f->records
    };
    op_advantage_dual(f->adv, NULL, &in, &rule);
    free(reward);
    free(token_reward);
}

void update_batch_credit(struct update_batch *f, const struct config *c, double score_max, struct step_sums *z)
{
    if (c->algorithm.adv_estimator == ALGO_APPO) dual_group_credit(f, c, score_max);
    else
        for (int k = 0; k < f->rows; k++) {
            ENSURE(f->traj[k]->adv);
            memcpy(f->adv + f->begin[k], f->traj[k]->adv, (size_t)trajectory_len(f->traj[k]) * sizeof *f->adv);
        }
    if (c->advantage.entropy_weight != 0) weigh_by_entropy(f, c->advantage.entropy_weight);
    for (int k = 0; k < f->rows; k++) {
        bool live = false, trained = false;
        for (int64_t i = f->begin[k]; i < f->begin[k + 1]; i++) {
            if (!f->m[i]) continue;
            trained = true;
            live = live || f->adv[i] != 0;
            mean_add(&z->advantage, (double)f->adv[i]);
        }
        z->live_rows += live;
        z->trained_rows += trained;
        f->live[k] = live;
    }
}

static struct loss_rule loss_rule(const struct config *c)
{
    return (struct loss_rule){
        .mode = c->actor.policy_loss_loss_mode,
        .clip_low = c->actor.clip_ratio_low,
        .clip_high = c->actor.clip_ratio_high,
        .clip_c = c->actor.clip_ratio_c,
        .drop_rows = c->actor.drop_rows,
        .agg = c->actor.loss_agg_mode,
        .max_len = c->data.max_response_length,
        .kl = c->actor.kl_loss_coef > 0 ? c->actor.kl_loss_type : KL_OFF,
        .kl_coef = c->actor.kl_loss_coef,
        .entropy_coef = c->actor.entropy_coeff,
        .future = {
            .mode = c->advantage.future, .b = c->advantage.future_weight, .gamma = c->advantage.future_gamma,
            .lo = 1 - c->advantage.future_clip_low, .hi = 1 + c->advantage.future_clip_high,
            .leave_out = c->advantage.future_leave_out > 0 ? log(c->advantage.future_leave_out) : (double)INFINITY,
            .safety_thresh = c->advantage.future_safety > 0 ? c->advantage.future_safety : (double)INFINITY,
        },
    };
}

static bool any_target(const struct update_batch *f, int k)
{
    return memchr(f->m + f->begin[k], 1, (size_t)(f->begin[k + 1] - f->begin[k])) != NULL;
}

/* Without any advantage a trajectory has no policy gradient, but it has KL and entropy terms if a coefficient is
 * set. */
bool update_batch_in_loss(const struct update_batch *f, const struct config *c, int k)
{
    return any_target(f, k) &&
           (f->live[k] || !c->actor.live_rows_only || c->actor.kl_loss_coef != 0 || c->actor.entropy_coeff != 0);
}

/* actor.live_rows_only: sets the denominators of the policy term to those without the trajectories that have no
 * advantage. */
static void live_denominators(const struct update_batch *f, const struct loss_in *all, struct loss_rule *rule)
{
    struct loss_stats every, live;
    struct loss_in in = *all;
    uint8_t *m = xmalloc((size_t)f->n + 1);
    memcpy(m, f->m, (size_t)f->n);
    for (int k = 0; k < in.rows; k++)
        if (!f->live[k]) memset(m + f->begin[k], 0, (size_t)(f->begin[k + 1] - f->begin[k]));
    op_pg(NULL, NULL, NULL, NULL, &every, &in, rule);
    in.m = m;
    op_pg(NULL, NULL, NULL, NULL, &live, &in, rule);
    rule->tokens = live.tokens;
    rule->rows_live = live.rows_live;
    rule->tokens_all = every.tokens_all;
    rule->rows_all = every.rows_all;
    free(m);
}

bool update_batch_loss(struct update_batch *f, const struct config *c, struct loss_stats *stats)
{
    struct loss_rule rule = loss_rule(c);
    struct loss_in in = { .logp = f->logp,
                          .logp_old = f->logp_old,
                          .logp_ref = c->actor.kl_loss_coef > 0 ? f->logp_ref : NULL,
                          .entropy = f->entropy,
                          .adv = f->adv,
                          .m = f->m,
                          .begin = f->begin,
                          .rows = c->branch.train ? f->rows : f->initial };
    int count = 0;
    for (int k = 0; k < in.rows; k++) count += update_batch_in_loss(f, c, k);
    *stats = (struct loss_stats){ 0 };
    if (!count) return false;
    if (c->actor.top_entropy_quantile < 1)
        rule.entropy_floor = op_entropy_floor(f->entropy, f->m, f->begin[in.rows], c->actor.top_entropy_quantile);
    if (c->actor.live_rows_only) live_denominators(f, &in, &rule);
    op_pg(f->g, f->ge, NULL, NULL, stats, &in, &rule);
    return true;
}

static void note_loss(struct step_sums *z, const struct loss_stats *s)
{
    mean_add(&z->pg_loss, s->pg);
    mean_add(&z->kl_loss, s->kl);
    mean_add(&z->ppo_kl, s->ppo_kl);
    mean_add(&z->clipfrac, s->clipfrac);
    mean_add(&z->clipfrac_lower, s->clipfrac_lower);
    mean_add(&z->future_factor, s->factor_mean);
    z->future_factor.min = MIN(z->future_factor.min, s->factor_min);
    z->future_factor.max = MAX(z->future_factor.max, s->factor_max);
    mean_add(&z->future_omega, s->iw_raw_mean);
    z->future_omega.min = MIN(z->future_omega.min, s->iw_raw_min);
    z->future_omega.max = MAX(z->future_omega.max, s->iw_raw_max);
    z->dropped_rows += s->rows_dropped;
    mean_add(&z->iw_clip_upper, s->iw_clip_upper);
    mean_add(&z->iw_clip_lower, s->iw_clip_lower);
}

/* |p_train - p_rollout| of the tokens just trained on, while the weights were those of the sampler. */
static void note_probs(struct trainer *t, const struct update_batch *f, struct step_sums *z)
{
    for (int k = 0; k < f->rows; k++) {
        const struct sequence *seq = &f->traj[k]->seq;
        for (int i = 0; update_batch_in_loss(f, t->c, k) && i < trajectory_len(f->traj[k]); i++)
            if (f->m[f->begin[k] + i])
                mean_add(&z->probs_diff, fabs(exp((double)f->logp_train[f->begin[k] + i]) -
                                              exp((double)seq->logp[seq->prompt_len + i])));
    }
    if (z->probs_diff.n) t->probs_diff_max = MAX(t->probs_diff_max, z->probs_diff.max);
}

double trainer_lr(const struct trainer *t) { return lr_at(t->c->actor.optim_lr, t->step, t->warmup, 0, 1); }

/* One AdamW step, unless a number is not finite. Returns the gradient's norm. */
static double apply(struct trainer *t, double loss, struct step_sums *z)
{
    const struct config *c = t->c;
    struct learner *l = &t->s->learner;
    double norm = (double)NAN;
    struct optim_rule o = { .lr = trainer_lr(t), .beta1 = c->actor.optim_beta1,
                            .beta2 = c->actor.optim_beta2, .eps = c->actor.optim_eps,
                            .decay = c->actor.optim_weight_decay, .decay_all = c->actor.optim_decay_all,
                            .max_norm = c->actor.grad_clip };
    bool done = isfinite(loss) && learner_step(l, &o, &norm);
    if (!isfinite(loss)) l->skipped_in_row++;
    z->updates += done;
    z->skipped_updates += !done;
    t->skipped += !done;
    if (isfinite(norm)) mean_add(&z->grad_norm, norm);
    return norm;
}

bool policy_update(struct trainer *t, struct group *g, int n, bool stale, struct step_sums *z)
{
    struct update_batch f;
    struct loss_stats stats;
    double start = seconds();
    struct dump_info info = { t->s->learner.steps, &stats, (double)NAN };
    update_batch_make(&f, g, n, t->c);
    update_batch_credit(&f, t->c, t->score_max, z);
    if (update_batch_loss(&f, t->c, &stats)) {
        note_loss(z, &stats);
        if (isfinite(stats.loss)) batch_gradient(t, &f, g, n, z);
        if (!stale && isfinite(stats.loss)) note_probs(t, &f, z);
        info.norm = apply(t, stats.loss, z);
    }
    z->t_update += seconds() - start;
    if (t->dump) dump_update(t->dump, t, g, n, &f, &info);
    update_batch_free(&f);
    return t->s->learner.skipped_in_row < 5;
}
