/* test_policy_update.c: whole mini-batches computed again from docs/algorithm.md's formulas, in double and the slow
 * way: advantages by their sums, the future-aware factor by its definition, dloss/dlogp by central differences, the
 * gradient of the weights from one rollout at a time. */
#define _GNU_SOURCE      /* nftw */
#include "engine/train/policy_update.h"
#include "engine/train/rescore.h"
#include "engine/train/update_batch.h"
#include "tests/engine/train/mini.h"
#include "tests/slow.h"

static const bool is_double = sizeof(elem_t) == 8;

/* One response position, one rollout, one mini-batch, as the formulas see them. */
struct token { double logp, logp_old, logp_ref, entropy, adv, factor, g, ge; bool m; };
struct line {
    const struct trajectory *r;
    int group, n;
    bool branch, dropped, live;
    struct token *t;
    double reward, a;
};
struct naive {
    struct line *line;
    int n, dropped, trained;
    double pg, kl, entropy, factor_sum, factor_min, factor_max, tokens, clipped, lower;
};

/* All prompts of the step, mini-batches or not: what REINFORCE++ whitens over */
static struct { const struct group *g; int n; } whole;

static bool is_trained(const struct line *l)
{
    for (int i = 0; i < l->n; i++)
        if (l->t[i].m) return true;
    return false;
}

/* The rows of the mini-batch in the order of struct flat. */
static void lines_make(struct naive *v, const struct group *g, int n, const struct config *c)
{
    *v = (struct naive){ 0 };
    for (int i = 0; i < n; i++) v->n += g[i].n;
    v->line = xcalloc((size_t)v->n, sizeof *v->line);
    for (int branch = 0, k = 0; branch < 2; branch++)
        for (int i = 0; i < n; i++)
            for (int j = 0; j < g[i].n; j++) {
                const struct trajectory *r = g[i].traj[j];
                if (r->branch != branch) continue;
                struct line *l = &v->line[k++];
                *l = (struct line){
                    .r = r, .group = i, .n = trajectory_len(r), .branch = branch, .reward = (double)(acc_t)r->seq.reward
                };
                l->t = xcalloc((size_t)l->n + 1, sizeof *l->t);
                for (int p = 0; p < l->n; p++) {
                    int at = r->seq.prompt_len + p;
                    l->t[p] =
                        (struct token){ .logp = (double)r->logp[p],
                                        .logp_old = (double)r->seq.logp[at],
                                        .entropy = (double)r->entropy[p],
                                        .logp_ref = r->logp_ref ? (double)r->logp_ref[p] : 0,
                                        .m = r->seq.m[at] &&
                                             (!branch || (c->branch.train && (r->orig < 0 || at >= r->seq.born))) };
                }
            }
}

static void lines_free(struct naive *v)
{
    for (int i = 0; i < v->n; i++) free(v->line[i].t);
    free(v->line);
}

/* The initial rollout a branch descends from and the last token that its line shares with it; -1 for a fresh root or
 * its descendants. */
static int root_of(const struct group *g, const struct trajectory *r, const struct config *c, int *pos)
{
    int at = r->orig;
    *pos = r->idx - c->branch.resample_token;
    while (at >= g->initial) {
        const struct trajectory *up = g->traj[at];
        if (up->orig < 0) return -1;
        if (up->idx - c->branch.resample_token < *pos) *pos = up->idx - c->branch.resample_token;
        at = up->orig;
    }
    return at;
}

static double standard(const struct naive *v, int group, bool branch, double reward, bool by_std)
{
    double n = 0, sum = 0, square = 0;
    for (int i = 0; i < v->n; i++)
        if (v->line[i].group == group && v->line[i].branch == branch) {
            n++;
            sum += v->line[i].reward;
        }
    for (int i = 0; i < v->n; i++)
        if (v->line[i].group == group && v->line[i].branch == branch)
            square += (v->line[i].reward - sum / n) * (v->line[i].reward - sum / n);
    double std = sqrt(square / n);
    if (n < 2 || std < 1e-8) return 0;
    return by_std ? (reward - sum / n) / (std + 1e-6) : reward - sum / n;
}

/* Official reward scale: only the last token carries the reward, so M matters there alone. */
static void scale_rewards(struct naive *v, const struct group *g, const struct config *c, double most, double discount)
{
    for (int i = 0; i < v->n; i++)
        if (v->line[i].r->orig >= 0 && v->line[i].r->score > most) most = v->line[i].r->score;
    for (int i = 0; i < v->n && most > 0; i++) {
        struct line *l = &v->line[i];
        double sum = 0, number = 0;
        for (int b = 0; b < v->n && !l->branch; b++) {
            const struct line *x = &v->line[b];
            int pos,
                root = x->branch && x->group == l->group && x->r->orig >= 0 ? root_of(&g[l->group], x->r, c, &pos) : -1;
            if (root < 0 || g[l->group].traj[root] != l->r) continue;
            number++;
            sum += x->r->score > 0 && l->n - 1 <= pos ? 1 + x->r->score / most * pow(discount, pos - (l->n - 1)) : 1;
        }
        if (number > 0) l->reward *= sum / number;
    }
}

/* ---- estimators without branches (section 4) ---- */

static int generated(const struct trajectory *r, int from)
{
    int n = 0;
    for (int i = r->seq.prompt_len + from; i < r->seq.n; i++) n += r->seq.m[i];
    return n;
}

/* Before it is whitened. p: response position */
static double estimate(const struct group *g, const struct trajectory *r, int p, const struct config *c)
{
    double n = g->n, sum = 0, square = 0, long_sum = 0, length = 0, own = (double)(acc_t)r->seq.reward,
           above = (double)-INFINITY;
    bool best = true;
    for (int j = 0; j < g->n; j++) {
        double x = (double)(acc_t)g->traj[j]->seq.reward, len = generated(g->traj[j], 0);
        sum += x, long_sum += len * x, length += len;
    }
    for (int j = 0, later = 0; j < g->n; j++) {
        double x = (double)(acc_t)g->traj[j]->seq.reward;
        square += (x - sum / n) * (x - sum / n);
        if (g->traj[j] == r) { later = 1; continue; }
        above = fmax(above, x);
        best = best && (later ? x <= own : x < own);         /* of equal ones the first */
    }
    double std = sqrt(square / (n - 1)) + 1e-6;
    switch (c->algorithm.adv_estimator) {
    case ALGO_APPO:                 break;
    case ALGO_GRPO:                 return (own - sum / n) / (c->advantage.norm_by_std ? std : 1);
    case ALGO_GRPO_PASSK:           return best ? (own - above) / (c->advantage.norm_by_std ? std : 1) : 0;
    case ALGO_REINFORCE_PP:         return own * pow(c->algorithm.gamma, generated(r, p + 1));
    case ALGO_REINFORCE_PP_BASELINE: return own - sum / n;
    case ALGO_RLOO:                 return own - (sum - own) / (n - 1);
    case ALGO_OPO:                  return own - long_sum / length;
    }
    return NAN;
}

static void naive_estimates(struct naive *v, const struct config *c)
{
    enum algo kind = c->algorithm.adv_estimator;
    bool white = kind == ALGO_REINFORCE_PP || kind == ALGO_REINFORCE_PP_BASELINE;
    double n = 0, sum = 0, square = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < whole.n; i++)
            for (int j = 0; j < whole.g[i].n; j++) {
                const struct trajectory *r = whole.g[i].traj[j];
                for (int p = 0; p < trajectory_len(r); p++) {
                    if (!r->seq.m[r->seq.prompt_len + p]) continue;
                    double x = estimate(&whole.g[i], r, p, c);
                    if (pass) square += (x - sum / n) * (x - sum / n);
                    else n++, sum += x;
                }
            }
    for (int i = 0; i < v->n; i++) {
        const struct trajectory *r = v->line[i].r;
        const struct group *g = &whole.g[0];
        while (g->number != r->seq.prompt) g++;
        for (int p = 0; p < v->line[i].n; p++) {
            double x = estimate(g, r, p, c);
            v->line[i].t[p].adv = white ? (x - sum / n) / sqrt(square / (n - 1) + 1e-8) : x;
        }
    }
}

/* AEPO: times 1 + a z(H) over the mini-batch */
static void naive_entropy_weight(struct naive *v, double a)
{
    double n = 0, sum = 0, square = 0;
    for (int pass = 0; pass < 3; pass++)
        for (int i = 0; i < v->n; i++)
            for (int p = 0; p < v->line[i].n; p++) {
                struct token *t = &v->line[i].t[p];
                if (!t->m) continue;
                if (pass == 0) n++, sum += t->entropy;
                else if (pass == 1) square += (t->entropy - sum / n) * (t->entropy - sum / n);
                else t->adv *= 1 + a * (t->entropy - sum / n) / sqrt(square / (n - 1));
            }
}

static void naive_dual_group(struct naive *v, const struct group *g, const struct config *c, double score_max)
{
    bool by_std = c->advantage.norm_by_std;
    if (c->advantage.reward_scale) scale_rewards(v, g, c, score_max, c->advantage.reward_scale_discount);
    for (int i = 0; i < v->n; i++)
        v->line[i].a = standard(v, v->line[i].group, v->line[i].branch, v->line[i].reward, by_std);
    for (int i = 0; i < v->n; i++) {
        struct line *l = &v->line[i];
        bool has = false;
        for (int b = 0; b < v->n; b++) has = has || (v->line[b].branch && v->line[b].group == l->group);
        for (int p = 0; p < l->n; p++) {
            double sum = 0, number = 0, base = l->a;
            for (int b = 0; b < v->n && !l->branch; b++) {
                const struct line *x = &v->line[b];
                int pos, root = x->branch && x->group == l->group && x->r->orig >= 0
                                    ? root_of(&g[l->group], x->r, c, &pos)
                                    : -1;
                if (root >= 0 && g[l->group].traj[root] == l->r && pos >= p) { sum += x->a; number++; }
            }
            if (!l->branch && c->advantage.dual_group == DUAL_PREFIX && number > 0) base += sum / number;
            if (!l->branch && c->advantage.dual_group == DUAL_AVERAGE && has)
                base = (base + standard(v, l->group, true, l->reward, by_std)) / 2;
            l->t[p].adv = base;
        }
    }
}

static void naive_advantages(struct naive *v, const struct group *g, const struct config *c, double score_max)
{
    if (c->algorithm.adv_estimator == ALGO_APPO) naive_dual_group(v, g, c, score_max);
    else naive_estimates(v, c);
    if (c->advantage.entropy_weight != 0) naive_entropy_weight(v, c->advantage.entropy_weight);
    for (int i = 0; i < v->n; i++) {
        struct line *l = &v->line[i];
        for (int p = 0; p < l->n; p++) l->live = l->live || (l->t[p].m && (acc_t)l->t[p].adv != 0);
    }
}

static double clamped(double x, double lo, double hi) { return x < lo ? lo : x > hi ? hi : x; }
static double delta(const struct token *t) { return clamped(t->logp - t->logp_old, -20, 20); }

static void naive_factors(struct naive *v, const struct config *c)
{
    v->factor_min = HUGE_VAL, v->factor_max = -HUGE_VAL;
    for (int i = 0; i < v->n; i++)
        for (int p = 0; p < v->line[i].n; p++) {
            struct line *l = &v->line[i];
            double s = 0, b = c->advantage.future_weight;
            for (int k = p; k < l->n; k++) {
                double d = l->t[k].m ? delta(&l->t[k]) : 0;
                if (c->advantage.future_leave_out > 0 && d > log(c->advantage.future_leave_out)) d = 0;
                s += pow(c->advantage.future_gamma, k - p) * d;
            }
            double f =
                clamped(exp(clamped(s, -20, 20)), 1 - c->advantage.future_clip_low, 1 + c->advantage.future_clip_high);
            if (c->advantage.future_safety > 0 && l->t[p].adv < 0 && exp(delta(&l->t[p])) > c->advantage.future_safety)
                f = clamped(f, 0.8, 1);
            switch (c->advantage.future) {
            case FUTURE_OFF:    f = 1; break;
            case FUTURE_SCALE:  f = 1 + b * f; break;
            case FUTURE_FIPO:   break;
            case FUTURE_CENTER: f = 1 + b * (f - 1); break;
            }
            l->t[p].factor = f;
            if (!l->t[p].m) continue;
            v->factor_sum += f;
            v->tokens++;
            v->factor_min = fmin(v->factor_min, f);
            v->factor_max = fmax(v->factor_max, f);
        }
}

/* The policy loss of token p where its log-prob is `now`; sg() of the formulas is what stands in t->logp. mean: of the
 * row's deltas with that change (gspo). */
static double loss_at(const struct token *t, double now, double mean, const struct config *c, bool *at_l3,
                      bool *clipped)
{
    struct token x = *t;
    x.logp = now;
    enum loss_mode mode = c->actor.policy_loss_loss_mode;
    double low = 1 - c->actor.clip_ratio_low, high = 1 + c->actor.clip_ratio_high, sg = exp(delta(t)),
           a = t->adv * t->factor, r = mode == LOSS_GSPO ? exp(mean) : exp(delta(&x)), l1 = -a * r,
           l2 = -a * clamped(r, low, high), l3 = -a * c->actor.clip_ratio_c;
    if (mode == LOSS_GPPO || (mode == LOSS_AEPO && sg > high)) l2 = -a * clamped(sg, low, high) / sg * r;
    if (clipped) *clipped = mode == LOSS_CISPO ? sg < low || sg > high : l2 > l1;
    if (at_l3) *at_l3 = false;
    if (mode == LOSS_CISPO) return -clamped(sg, low, high) * a * now;
    double both = fmax(l1, l2);
    if (mode == LOSS_GSPO) return both;
    if (at_l3) *at_l3 = t->adv < 0 && both > l3;
    return a < 0 ? fmin(l3, both) : both;
}

static double mean_delta(const struct line *l)
{
    double sum = 0, n = 0;
    for (int p = 0; p < l->n; p++) if (l->t[p].m) n++, sum += delta(&l->t[p]);
    return sum / n;
}

/* What changes with the log-prob of token p, when that is larger by h: its own loss; gspo: the row's, for the ratio is
 * one of all its tokens. floor: tokens of lower entropy have no loss */
static double loss_by(const struct line *l, int p, double h, double floor, const struct config *c)
{
    double own = 0, sum = 0;
    bool gspo = c->actor.policy_loss_loss_mode == LOSS_GSPO;
    for (int k = 0; k < l->n; k++) own += l->t[k].m;
    for (int k = 0; k < l->n; k++) {
        const struct token *t = &l->t[k];
        if (t->m && t->entropy >= floor && (gspo || k == p))
            sum += loss_at(t, t->logp + (k == p ? h : 0), mean_delta(l) + h / own, c, NULL, NULL);
    }
    return sum;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The entropy of the last of the tokens that the policy loss is on */
static double naive_floor(const struct naive *v, double share)
{
    double *h = xcalloc((size_t)v->tokens + 1, sizeof *h), floor;
    int n = 0;
    for (int i = 0; i < v->n; i++)
        for (int p = 0; p < v->line[i].n; p++)
            if (v->line[i].t[p].m) h[n++] = v->line[i].t[p].entropy;
    qsort(h, (size_t)n, sizeof *h, descending);
    floor = share < 1 ? h[(int)ceil(share * n) - 1] : (double)-INFINITY;
    free(h);
    return floor;
}

static double kl_at(double now, double ref, enum kl_kind kind)
{
    switch (kind) {
    case KL_OFF: break;
    case KL_K1:  return now - ref;
    case KL_ABS: return fabs(now - ref);
    case KL_K2:  return (now - ref) * (now - ref) / 2;
    case KL_K3:  return clamped(exp(ref - now) - (ref - now) - 1, -10, 10);
    }
    return 0;
}

/* What a token of row l weighs among `rows` rows of `tokens` tokens. */
static double weight(const struct config *c, const struct line *l, double rows, double tokens)
{
    double own = 0;
    for (int p = 0; p < l->n; p++) own += l->t[p].m;
    switch (c->actor.loss_agg_mode) {
    case AGG_TOKEN_MEAN:              return 1 / tokens;
    case AGG_SEQ_MEAN_TOKEN_MEAN:     return 1 / (rows * own);
    case AGG_SEQ_MEAN_TOKEN_SUM:      return 1 / rows;
    case AGG_SEQ_MEAN_TOKEN_SUM_NORM: return 1.0 / c->data.max_response_length;
    case AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS: return 1.0 / (c->data.max_response_length * rows);
    }
    return 0;
}

static void naive_loss(struct naive *v, const struct config *c)
{
    double rows = 0, tokens = 0, rows_all = 0, tokens_all = 0, h = 1e-6,
           floor = naive_floor(v, c->actor.top_entropy_quantile);
    for (int i = 0; i < v->n; i++) {
        struct line *l = &v->line[i];
        int number = 0, own = 0;
        for (int p = 0; p < l->n; p++) {
            bool at_l3, clipped;
            const struct token *t = &l->t[p];
            if (!t->m) continue;
            loss_at(t, t->logp, mean_delta(l), c, &at_l3, &clipped);
            own++;
            number += at_l3;
            v->clipped += clipped;
        }
        v->lower += number;
        if (!own) continue;
        l->dropped = c->actor.drop_rows && number > 1;
        v->dropped += l->dropped;
        rows_all++, tokens_all += own;
        if (!l->dropped && (l->live || !c->actor.live_rows_only)) rows++, tokens += own;
    }
    for (int i = 0; i < v->n; i++) {
        struct line *l = &v->line[i];
        if (!is_trained(l)) continue;
        v->trained++;
        double w = l->dropped || !l->live ? 0 : weight(c, l, rows, tokens), all = weight(c, l, rows_all, tokens_all),
               beta = c->actor.kl_loss_coef;
        for (int p = 0; p < l->n; p++) {
            struct token *t = &l->t[p];
            if (!t->m) continue;
            v->pg += w * (t->entropy >= floor ? loss_at(t, t->logp, mean_delta(l), c, NULL, NULL) : 0);
            v->kl += beta > 0 ? all * kl_at(t->logp, t->logp_ref, c->actor.kl_loss_type) : 0;
            v->entropy += all * t->entropy;
            t->g = w * (loss_by(l, p, h, floor, c) - loss_by(l, p, -h, floor, c)) / (2 * h);
            if (beta > 0)
                t->g += beta * all *
                        (kl_at(t->logp + h, t->logp_ref, c->actor.kl_loss_type) -
                         kl_at(t->logp - h, t->logp_ref, c->actor.kl_loss_type)) /
                        (2 * h);
            t->ge = -c->actor.entropy_coeff * all;
        }
    }
}

/* r->now, ref and ent are what a forward pass of this rollout alone gives, bit for bit. */
static void check_scores(const struct mini *x, const struct naive *v, const elem_t *first, const char *name)
{
    const struct config *c = &x->c;
    int top_k = c->branch.entropy == ENTROPY_TOP10 ? 10 : 0;
    for (int i = 0; i < v->n; i++) {
        const struct line *l = &v->line[i];
        if (!is_trained(l)) continue;
        acc_t *now = xcalloc((size_t)l->n + 1, sizeof *now), *ent = xcalloc((size_t)l->n + 1, sizeof *ent),
              *ref = xcalloc((size_t)l->n + 1, sizeof *ref);
        mini_fresh(x, &l->r->seq, NULL, top_k, now, ent);
        if (c->actor.kl_loss_coef > 0) mini_fresh(x, &l->r->seq, first, 0, ref, NULL);
        for (int p = 0; p < l->n; p++) {
            if (!l->t[p].m) continue;
            CHECK(l->r->logp[p] == now[p], "%s: row %d, position %d: logp %.9g, alone %.9g", name, i, p,
                  (double)l->r->logp[p], (double)now[p]);
            CHECK(l->branch || l->r->entropy[p] == ent[p], "%s: row %d, position %d: entropy %.9g, alone %.9g", name, i,
                  p, (double)l->r->entropy[p], (double)ent[p]);
            if (c->actor.kl_loss_coef > 0)
                CHECK(l->r->logp_ref[p] == ref[p], "%s: row %d, position %d: reference %.9g, alone %.9g", name, i, p,
                      (double)l->r->logp_ref[p], (double)ref[p]);
        }
        free(now); free(ent); free(ref);
    }
}

/* Sums over trained tokens and rows that the reported ratios and advantages are made of. */
struct reported { double kl, tokens, adv, live, rows; };

static struct reported naive_reported(const struct naive *v)
{
    struct reported z = { 0 };
    for (int i = 0; i < v->n; i++) {
        const struct line *l = &v->line[i];
        z.live += l->live;
        z.rows += is_trained(l);
        for (int p = 0; p < l->n; p++) {
            const struct token *t = &l->t[p];
            if (!t->m) continue;
            z.tokens++;
            z.kl -= delta(t);
            z.adv += t->adv;
        }
    }
    return z;
}

/* What the update at work has added to the step's sums: each mean has one number more, the naive one. */
static void check_reported(const struct mini *x, const struct naive *v, const struct step_sums *was,
                       const struct step_sums *z, const char *name)
{
    const struct learner *l = &x->s.learner;
    struct reported want = naive_reported(v);
    double tol = is_double ? 1e-8 : 2e-6, square = 0;
    for (int64_t i = 0; i < l->m->count; i++) square += (double)l->g[i] * (double)l->g[i];
    const struct { const char *name; const struct mean *was, *now; double want; } means[] = {
        { "pg_loss", &was->pg_loss, &z->pg_loss, v->pg },
        { "kl_loss", &was->kl_loss, &z->kl_loss, v->kl },
        { "ppo_kl", &was->ppo_kl, &z->ppo_kl, want.kl / want.tokens },
        { "pg_clipfrac", &was->clipfrac, &z->clipfrac, v->clipped / want.tokens },
        { "pg_clipfrac_lower", &was->clipfrac_lower, &z->clipfrac_lower, v->lower / want.tokens },
        { "grad_norm", &was->grad_norm, &z->grad_norm, sqrt(square) },
        { "future_factor", &was->future_factor, &z->future_factor, v->factor_sum / v->tokens },
    };
    for (size_t k = 0; k < sizeof means / sizeof *means; k++) {
        double sum = means[k].now->sum - means[k].was->sum;
        assert_int_equal(means[k].now->n, means[k].was->n + 1);
        CHECK_NEAR(sum, means[k].want, 20 * tol * (1 + fabs(means[k].now->sum)), "%s: %s", name, means[k].name);
    }
    CHECK_NEAR(z->advantage.sum - was->advantage.sum, want.adv, tol * want.tokens, "%s: advantages", name);
    CHECK(z->advantage.n - was->advantage.n == (int64_t)want.tokens, "%s: tokens with an advantage", name);
    CHECK(z->live_rows - was->live_rows == (int64_t)want.live &&
              z->trained_rows - was->trained_rows == (int64_t)want.rows,
          "%s: %lld of %lld rows live, should be %g of %g", name, (long long)(z->live_rows - was->live_rows),
          (long long)(z->trained_rows - was->trained_rows), want.live, want.rows);
    CHECK(z->dropped_rows - was->dropped_rows == v->dropped && z->updates == was->updates + 1,
          "%s: rows dropped, updates", name);
}

static void check_vectors(const struct naive *v, const struct update_batch *f, const struct loss_stats *s,
                          const struct config *c, const char *name)
{
    double tol = is_double ? 1e-8 : 2e-6, most = 1e-30;
    for (int i = 0; i < v->n; i++) for (int p = 0; p < v->line[i].n; p++) most = fmax(most, fabs(v->line[i].t[p].g));
    assert_int_equal(f->rows, v->n);
    for (int i = 0; i < v->n; i++)
        for (int p = 0; p < v->line[i].n; p++) {
            const struct token *t = &v->line[i].t[p];
            int64_t at = f->begin[i] + p;
            CHECK(f->m[at] == t->m, "%s: row %d, position %d", name, i, p);
            if (!t->m) continue;
            CHECK_NEAR(f->adv[at], t->adv, tol * (1 + fabs(t->adv)), "%s: advantage, row %d, position %d", name, i, p);
            CHECK_NEAR(f->g[at], t->g, 10 * tol * most, "%s: dloss/dlogp, row %d, position %d", name, i, p);
            CHECK_NEAR(f->ge[at], t->ge, tol * fabs(t->ge), "%s: dloss/dentropy, row %d, position %d", name, i, p);
        }
    double loss = v->pg + c->actor.kl_loss_coef * v->kl - c->actor.entropy_coeff * v->entropy;
    CHECK_NEAR(s->pg, v->pg, tol * (1 + fabs(v->pg)), "%s: policy loss", name);
    CHECK_NEAR(s->loss, loss, 10 * tol * (1 + fabs(loss)), "%s: loss", name);
    CHECK_NEAR(s->clipfrac, v->clipped / v->tokens, 1e-12, "%s: clipped tokens", name);
    CHECK_NEAR(s->clipfrac_lower, v->lower / v->tokens, 1e-12, "%s: tokens at the dual clip", name);
    CHECK_NEAR(s->factor_mean, v->factor_sum / v->tokens, tol, "%s: mean factor", name);
    CHECK_NEAR(s->factor_min, v->factor_min, tol, "%s: smallest factor", name);
    CHECK_NEAR(s->factor_max, v->factor_max, tol, "%s: largest factor", name);
    CHECK(s->rows_dropped == v->dropped, "%s: %d rows dropped, %d should be", name, s->rows_dropped, v->dropped);
}

/* The gradient of the weights, one rollout at a time: no tree, no micro-batch. */
static double *unrolled(struct mini *x, const struct naive *v)
{
    struct learner *l = &x->s.learner;
    learner_zero(l);
    for (int i = 0; i < v->n; i++) {
        const struct line *q = &v->line[i];
        if (!is_trained(q)) continue;
        const struct sequence *seq = &q->r->seq;
        uint8_t *m = xcalloc((size_t)seq->n, 1);
        acc_t *g = xcalloc((size_t)seq->n, sizeof *g), *ge = xcalloc((size_t)seq->n, sizeof *ge);
        for (int p = 0; p < q->n; p++) {
            m[seq->prompt_len + p] = q->t[p].m;
            g[seq->prompt_len + p] = (acc_t)q->t[p].g;
            ge[seq->prompt_len + p] = (acc_t)q->t[p].ge;
        }
        struct pack p;
        pack_make(&p, &(struct seq_view){ .ids = seq->ids, .m = m, .n = seq->n }, 1);
        learner_grad(l, &p, 1 / x->c.rollout.temperature, g, ge, NULL, NULL);
        pack_free(&p);
        free(m); free(g); free(ge);
    }
    double *all = xcalloc((size_t)l->m->count, sizeof *all);
    for (int64_t i = 0; i < l->m->count; i++) all[i] = (double)l->g[i];
    return all;
}

struct before { elem_t *w; acc_t *adam1, *adam2; };

/* w after the step, from the gradient and the moments before it. */
static void check_step(const struct mini *x, const struct before *b, const char *name)
{
    const struct learner *l = &x->s.learner;
    const struct config *c = &x->c;
    double sum = 0, t = (double)l->steps, step = x->t.step + 1, b1 = c->actor.optim_beta1, b2 = c->actor.optim_beta2,
           lr = c->actor.optim_lr;
    if (step <= c->actor.optim_lr_warmup_steps) lr *= step / c->actor.optim_lr_warmup_steps;
    for (int64_t i = 0; i < l->m->count; i++) sum += (double)l->g[i] * (double)l->g[i];
    double scale =
        c->actor.grad_clip > 0 && sqrt(sum) > c->actor.grad_clip ? c->actor.grad_clip / (sqrt(sum) + 1e-6) : 1;
    for (int k = 0; k < l->m->params; k++) {
        const struct param *p = &l->m->param[k];
        for (int64_t i = p->at; i < p->at + p->rows * (p->cols ? p->cols : 1); i++) {
            double g = scale * (double)l->g[i], m = b1 * (double)b->adam1[i] + (1 - b1) * g,
                   v = b2 * (double)b->adam2[i] + (1 - b2) * g * g;
            double up = m / (1 - pow(b1, t)) / (sqrt(v / (1 - pow(b2, t))) + c->actor.optim_eps);
            double want =
                (double)b->w[i] -
                lr * (up + (p->cols || c->actor.optim_decay_all ? c->actor.optim_weight_decay : 0) * (double)b->w[i]);
            CHECK_NEAR(l->m->w[i], want, is_double ? 1e-10 : 1e-4 * lr + 4e-7 * fabs(want), "%s: %s[%lld]", name,
                       p->name, (long long)(i - p->at));
        }
    }
}

/* Checks the mini-batch g[0..n) as it stands, then updates. */
static void check_update(struct mini *x, struct group *g, int n, bool stale, const elem_t *first, struct step_sums *z,
                         const char *name)
{
    struct learner *l = &x->s.learner;
    struct naive v;
    struct update_batch f;
    struct loss_stats stats;
    struct step_sums aside = { 0 }, was = *z;
    size_t count = (size_t)l->m->count;
    lines_make(&v, g, n, &x->c);
    naive_advantages(&v, g, &x->c, x->t.score_max);
    naive_factors(&v, &x->c);
    naive_loss(&v, &x->c);
    check_scores(x, &v, first, name);
    update_batch_make(&f, g, n, &x->c);
    update_batch_credit(&f, &x->c, x->t.score_max, &aside);
    CHECK(update_batch_loss(&f, &x->c, &stats), "%s", name);
    check_vectors(&v, &f, &stats, &x->c, name);
    update_batch_free(&f);
    double *want = unrolled(x, &v), most = 0;
    struct before b = { xmalloc(count * sizeof(elem_t)), xmalloc(count * sizeof(acc_t)),
                        xmalloc(count * sizeof(acc_t)) };
    memcpy(b.w, l->m->w, count * sizeof(elem_t));
    memcpy(b.adam1, l->adam1, count * sizeof(acc_t));
    memcpy(b.adam2, l->adam2, count * sizeof(acc_t));
    CHECK(policy_update(&x->t, g, n, stale, z), "%s", name);
    for (size_t i = 0; i < count; i++) most = fmax(most, fabs(want[i]));
    CHECK(most > 0, "%s: no gradient", name);
    for (size_t i = 0; i < count; i++)
        CHECK_NEAR(l->g[i], want[i], (is_double ? 1e-7 : 2e-5) * most, "%s: gradient of weight %zu", name, i);
    check_step(x, &b, name);
    check_reported(x, &v, &was, z, name);
    free(want); free(b.w); free(b.adam1); free(b.adam2);
    lines_free(&v);
}

static void rescore_all(struct mini *x, struct group *g, int n, struct step_sums *z)
{
    struct traj_list l = { 0 };
    for (int i = 0; i < n; i++) traj_list_add(&l, &g[i], i, 0, x->c.branch.train ? g[i].n : g[i].initial);
    rescore(&x->t, &l, true, false, z);
    traj_list_free(&l);
}

/* The official reward scale acts only where a branch point is the last token: puts some there. */
static void points_at_the_end(struct group *g, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = g[i].initial; j < g[i].n; j += 2) {
            struct trajectory *r = g[i].traj[j];
            r->idx = trajectory_len(g[i].traj[r->orig]) - 1;
            r->score = 0.5 + j + 3 * i;               /* the largest of the batch is not in the first mini-batch */
        }
}

/* pass@k learns from nothing else than a best rollout that is better than the second. */
static void no_ties(struct group *g, int n, const struct config *c)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < g[i].n; j++) g[i].traj[j]->seq.reward += 0.07 * ((3 * j + i) % 5);
    group_advantages(g, n, c);
}

/* Two mini-batches of two prompts, ppo_epochs updates each: the first under the sampler's weights, the others under
 * newer ones. */
static struct step_sums check_case(const char *name, const char *const *preset, const char *const *set, bool at_end,
                                   struct script *script)
{
    static const char *const small[] = { "data.train_batch_size",
                                         "4",
                                         "actor.ppo_mini_batch_size",
                                         "2",
                                         "rollout.n",
                                         "9",
                                         "rollout.initial_rollouts",
                                         "3",
                                         "data.max_prompt_length",
                                         "64",
                                         "data.max_response_length",
                                         "40",
                                         "rollout.max_len",
                                         "104",
                                         "actor.optim.lr",
                                         "0.02",
                                         "actor.optim.lr_warmup_steps",
                                         "2",
                                         NULL };
    static const char *all[64];
    struct mini x;
    struct group g[4];
    struct step_sums z = { 0 };
    int n = 0;
    for (int k = 0; preset && preset[k]; k++) all[n++] = preset[k];
    for (int k = 0; small[k]; k++) all[n++] = small[k];
    all[n] = NULL;
    mini_open(&x, all, set, 5);
    x.script.shared = script ? script->shared : 9;
    if (script) x.script.ends = script->ends;
    size_t bytes = (size_t)x.s.m.count * sizeof(elem_t);
    elem_t *first = xmalloc(bytes);
    memcpy(first, x.s.m.w, bytes);
    mini_sample(&x, g, 4, 3);
    if (x.c.algorithm.adv_estimator == ALGO_GRPO_PASSK) no_ties(g, 4, &x.c);
    whole.g = g, whole.n = 4;
    uint64_t sampled = x.s.m.version;
    bool at_step = x.c.branch.when == BRANCH_STEP;
    if (at_step) mini_branch(&x, g, 4, false, &z);
    if (at_end) points_at_the_end(g, 4);
    for (int i = 0; at_step && i < 4; i++)
        for (int j = g[i].initial; j < g[i].n; j++) x.t.score_max = fmax(x.t.score_max, g[i].traj[j]->score);
    bool verl = x.c.actor.epoch_order == EPOCHS_VERL;
    for (int outer = 0; outer < (verl ? x.c.actor.ppo_epochs : 2); outer++)
        for (int inner = 0; inner < (verl ? 2 : x.c.actor.ppo_epochs); inner++) {
            char what[96];
            int lo = 2 * (verl ? inner : outer), epoch = verl ? outer : inner;
            x.t.epoch = epoch;
            bool stale = x.s.m.version != sampled;
            snprintf(what, sizeof what, "%s, mini-batch %d, epoch %d", name, lo / 2, epoch);
            if (!at_step) mini_branch(&x, g + lo, 2, stale, &z);
            else if (stale) rescore_all(&x, g + lo, 2, &z);
            check_update(&x, g + lo, 2, stale, first, &z, what);
            mini_drop_pages(&x, g, 4);
        }
    CHECK(z.probs_diff.n > 0 && z.probs_diff.max == 0, "%s: sampled and trained probabilities differ by %g", name,
          z.probs_diff.max);
    free(first);
    mini_end(&x, g, 4);
    mini_close(&x);
    return z;
}

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void presets(void **state)
{
    (void)state;
    check_case("default", NULL, NULL, false, NULL);
    check_case("paper", KEYS("algorithm.preset", "paper"), NULL, false, NULL);
    check_case("official", KEYS("algorithm.preset", "official"), NULL, true, NULL);
    check_case("official, larger steps", KEYS("algorithm.preset", "official"),
               KEYS("actor.optim.lr", "0.05", "actor.kl_loss_coef", "0.3"), false, NULL);
}

static void switches(void **state)
{
    (void)state;
    static const struct { const char *name; const char *set[12]; } cases[] = {
        { "rows without advantage stay",  { "actor.live_rows_only", "false", "reward.malformed", "0" } },
        { "branches trained", { "branch.train", "on", "actor.kl_loss_coef", "0.2", "actor.loss_agg_mode",
          "seq-mean-token-mean" } },
        { "branches trained, once a step", { "branch.train", "on", "branch.when", "step", "actor.kl_loss_coef", "0.2",
          "actor.ppo_epochs", "2" } },
        { "two rounds",                   { "branch.rounds", "2", "branch.points", "1", "rollout.n", "12" } },
        { "two rounds, trained", { "branch.rounds", "2", "branch.points", "1", "rollout.n", "12", "branch.train", "on",
          "branch.omega", "reference" } },
        { "previous weights",             { "branch.omega", "previous", "actor.ppo_epochs", "2" } },
        { "top ten entropy", { "branch.entropy", "top10", "branch.omega", "none", "branch.pool", "prompt" } },
        { "token kept", { "branch.resample_token", "false", "branch.candidates", "any", "advantage.future",
          "center" } },
        { "no dual group", { "advantage.dual_group", "off", "advantage.future", "off", "advantage.norm_by_std",
          "false" } },
        { "average", { "advantage.dual_group", "average", "advantage.future", "fipo", "advantage.norm_by_std",
          "false" } },
        { "k1 and entropy", { "actor.kl_loss_coef", "0.1", "actor.kl_loss_type", "k1", "actor.entropy_coeff",
          "0.02" } },
        { "k2, sums over length", { "actor.kl_loss_coef", "0.1", "actor.kl_loss_type", "k2", "actor.loss_agg_mode",
          "seq-mean-token-sum-norm" } },
        { "sums over length and rows", { "actor.kl_loss_coef", "0.1", "actor.entropy_coeff", "0.02",
          "actor.loss_agg_mode", "seq-mean-token-sum-norm-rows" } },
        { "abs, sums", { "actor.kl_loss_coef", "0.1", "actor.kl_loss_type", "abs", "actor.loss_agg_mode",
          "seq-mean-token-sum" } },
        { "temperature, top p, top k", { "rollout.temperature", "0.7", "rollout.top_p", "0.9", "rollout.top_k", "40",
          "branch.train", "on" } },
        { "large steps", { "actor.optim.lr", "0.1", "actor.ppo_epochs", "2", "actor.optim.lr_warmup_steps", "0" } },
        { "large steps, rows dropped", { "actor.optim.lr", "0.1", "actor.ppo_epochs", "2", "actor.drop_rows", "true",
          "actor.grad_clip", "0" } },
        { "grpo", { "algorithm.adv_estimator", "grpo", "rollout.n", "6", "advantage.future", "off" } },
        { "random points, apart", { "branch.score", "random", "branch.min_gap", "7", "branch.clip_low", "0.5",
          "advantage.future_clip_low", "0.3" } },
        { "at tools", { "branch.score", "tool_boundary", "advantage.future_gamma", "1", "advantage.future_leave_out",
          "1.01" } },
        { "recompute, small batches", { "model.recompute", "true", "actor.ppo_max_token_len_per_gpu", "104",
          "actor.optim.weight_decay", "0.1" } },
        /* not on the shim, half a minute each */
        { "recompute of what is cheap", { "model.recompute", "cheap", "actor.ppo_max_token_len_per_gpu", "104" } },
        { "rows without advantage, KL", { "actor.kl_loss_coef", "0.3", "actor.entropy_coeff", "0.05", "actor.drop_rows",
          "true", "actor.ppo_epochs", "2" } },
        { "decay of vectors",             { "actor.optim.weight_decay", "0.3", "actor.optim.decay_all", "true" } },
        { "epochs outside",               { "actor.epoch_order", "verl", "actor.ppo_epochs", "2" } },
        { "two rounds, epochs", { "branch.rounds", "2", "branch.points", "1", "rollout.n", "12", "actor.ppo_epochs",
          "2" } },
    };
    int64_t dropped = 0, strict = 0;
    double lower = 0, spread = 0;
    size_t n = sizeof cases / sizeof *cases - (on_shim() ? 5 : 0);
    for (size_t i = 0; i < n; i++) {
        struct step_sums z = check_case(cases[i].name, NULL, cases[i].set, false, NULL);
        dropped += z.dropped_rows;
        strict += z.strict;
        lower = fmax(lower, z.clipfrac_lower.max);
        spread = fmax(spread, z.future_factor.max - z.future_factor.min);
    }
    CHECK(dropped > 0 && strict > 0 && lower > 0.01 && spread > 0.09, "the cases do not reach what they are there for");
}

/* Each estimator without branches, tool results in its rollouts, over two mini-batches */
static void estimators(void **state)
{
    (void)state;
    static const char *const kinds[] = { "grpo", "grpo_passk", "reinforce_plus_plus", "reinforce_plus_plus_baseline",
        "rloo", "opo" };
    double norm[6][2];
    size_t n = on_shim() ? 3 : 6;
    for (size_t i = 0; i < n; i++) {
        struct step_sums z = check_case(kinds[i], NULL, KEYS("algorithm.adv_estimator", kinds[i], "rollout.n", "5",
            "advantage.future", "off", "actor.live_rows_only", "false", "algorithm.gamma", "0.9"), false, NULL);
        norm[i][0] = mean_of(&z.advantage), norm[i][1] = mean_of(&z.grad_norm);
        for (size_t k = 0; k < i; k++)
            CHECK(norm[i][0] != norm[k][0] && norm[i][1] != norm[k][1], "%s is %s", kinds[i], kinds[k]);
    }
    if (on_shim()) return;
    check_case("passk, by no deviation", NULL, KEYS("algorithm.adv_estimator", "grpo_passk", "rollout.n", "4",
        "advantage.norm_by_std", "false", "advantage.future", "fipo"), false, NULL);
    check_case("REINFORCE++, KL, two epochs", NULL, KEYS("algorithm.adv_estimator", "reinforce_plus_plus", "rollout.n",
        "3", "actor.kl_loss_coef", "0.1", "actor.kl_loss_type", "k1", "actor.ppo_epochs", "2", "advantage.future",
        "off"), false, NULL);
}

/* Each loss, far from the sampler: ratios beyond either end of the clip, and beyond the dual clip where there is one */
static void losses(void **state)
{
    (void)state;
    static const struct { const char *name; const char *set[16]; } cases[] = {
        { "gspo", { "actor.policy_loss.loss_mode", "gspo", "actor.loss_agg_mode", "seq-mean-token-mean",
          "advantage.future", "off", "actor.clip_ratio_low", "0.05", "actor.clip_ratio_high", "0.1" } },
        { "cispo", { "actor.policy_loss.loss_mode", "cispo", "advantage.future", "off" } },
        { "gppo", { "actor.policy_loss.loss_mode", "gppo", "advantage.future", "off" } },
        { "aepo", { "actor.policy_loss.loss_mode", "aepo", "advantage.future", "off", "advantage.entropy_weight",
          "0.2" } },
        { "the fifth of highest entropy", { "actor.top_entropy_quantile", "0.2", "actor.kl_loss_coef", "0.1",
          "actor.entropy_coeff", "0.02" } },
        { "vanilla", { "actor.policy_loss.loss_mode", "vanilla", "advantage.future", "off" } },
        { "gspo, grpo, token sums", { "actor.policy_loss.loss_mode", "gspo", "algorithm.adv_estimator", "grpo",
          "rollout.n", "6", "actor.loss_agg_mode", "seq-mean-token-sum", "advantage.future", "off",
          "actor.optim.lr", "0.03" } },
        { "cispo, future, KL", { "actor.policy_loss.loss_mode", "cispo", "advantage.future", "scale",
          "actor.kl_loss_coef", "0.1", "branch.train", "on", "actor.live_rows_only", "false" } },
        { "gppo, rows dropped", { "actor.policy_loss.loss_mode", "gppo", "actor.drop_rows", "true",
          "actor.loss_agg_mode", "dr-grpo", "advantage.entropy_weight", "-0.3" } },
        { "aepo, rloo, half of the tokens", { "actor.policy_loss.loss_mode", "aepo", "algorithm.adv_estimator", "rloo",
          "rollout.n", "4", "actor.top_entropy_quantile", "0.5", "advantage.entropy_weight", "0.2" } },
    };
    size_t n = on_shim() ? 5 : sizeof cases / sizeof *cases;
    double pg[sizeof cases / sizeof *cases];
    for (size_t i = 0; i < n; i++) {
        struct step_sums z = check_case(cases[i].name, KEYS("actor.optim.lr", "0.1", "actor.ppo_epochs", "2",
            "actor.optim.lr_warmup_steps", "0"), cases[i].set, false, NULL);
        bool dual = strncmp(cases[i].name, "gspo", 4) && strncmp(cases[i].name, "cispo", 5);
        CHECK(z.clipfrac.max > 0.05 && z.clipfrac.max < 1 && (z.clipfrac_lower.max > 0) == dual,
              "%s: %g of the tokens are clipped, %g at the dual clip", cases[i].name, z.clipfrac.max,
              z.clipfrac_lower.max);
        pg[i] = z.pg_loss.max;
        for (size_t k = 0; k < i; k++) CHECK(pg[i] != pg[k], "%s is %s", cases[i].name, cases[k].name);
    }
}

/* Nothing may follow the only token there is: no candidate, and roots take the branches' places. */
static void no_candidates(void **state)
{
    (void)state;
    struct script none = { .shared = 0 };
    struct step_sums z =
        check_case("fresh roots", NULL, KEYS("data.max_response_length", "1", "branch.train", "on"), false, &none);
    assert_int_equal(z.no_candidate_prompts, 4);
    check_case("fresh roots, untrained", NULL, KEYS("data.max_response_length", "1", "actor.live_rows_only", "false"),
               false, &none);
}

/* A prompt that leaves no room for a response: its reward counts in its group all the same. */
static void empty_response(void **state)
{
    (void)state;
    for (int grpo = 0; grpo < 2; grpo++) {
        struct mini x;
        struct group g[1];
        struct update_batch f;
        struct step_sums z = { 0 };
        mini_open(&x,
                  (const char *const[]){ "data.train_batch_size", "1", "actor.ppo_mini_batch_size", "1", "rollout.n",
                                         "3", "rollout.initial_rollouts", "3", "data.max_response_length", "20",
                                         "rollout.max_len", "84", "algorithm.adv_estimator", grpo ? "grpo" : "appo",
                                         NULL },
                  NULL, 5);
        mini_sample(&x, g, 1, 0);
        mini_branch(&x, g, 1, false, &z);
        g[0].traj[1]->seq.n = g[0].traj[1]->seq.prompt_len;
        g[0].traj[0]->seq.reward = 1, g[0].traj[1]->seq.reward = -1, g[0].traj[2]->seq.reward = 0.5;
        if (grpo) group_advantages(g, 1, &x.c);
        update_batch_make(&f, g, 1, &x.c);
        update_batch_credit(&f, &x.c, 0, &z);
        double mean = 0.5 / 3, square = pow(1 - mean, 2) + pow(-1 - mean, 2) + pow(0.5 - mean, 2),
               std = sqrt(square / (grpo ? 2 : 3));
        for (int k = 0; k < 3; k += 2)
            for (int64_t i = f.begin[k]; i < f.begin[k + 1]; i++)
                if (f.m[i]) CHECK_NEAR(f.adv[i], (g[0].traj[k]->seq.reward - mean) / (std + 1e-6), 1e-6, "row %d", k);
        struct loss_stats s;
        CHECK(update_batch_loss(&f, &x.c, &s) && s.rows_all == 2 && isfinite(s.loss), "%d rows", s.rows_all);
        CHECK(policy_update(&x.t, g, 1, false, &z) && z.updates == 1, "no update");
        update_batch_free(&f);
        mini_end(&x, g, 1);
        mini_close(&x);
    }
}

/* KL and entropy terms do not ask for an advantage; without them a mini-batch of equal rewards is no update. */
static void no_advantage(void **state)
{
    (void)state;
    static const struct { const char *kl, *entropy, *live; int updates; bool moves; } cases[] = {
        { "0", "0", "true", 0, false }, { "0", "0", "false", 1, false }, { "0", "0.1", "true", 1, true },
        { "0", "0.1", "false", 1, true }, { "0.5", "0", "true", 1, false },
    };
    double norm[5];
    for (int k = 0; k < 5; k++) {
        struct mini x;
        struct group g[1];
        struct step_sums z = { 0 };
        mini_open(&x,
                  (const char *const[]){ "data.train_batch_size",
                                         "1",
                                         "actor.ppo_mini_batch_size",
                                         "1",
                                         "rollout.n",
                                         "4",
                                         "rollout.initial_rollouts",
                                         "2",
                                         "branch.points",
                                         "1",
                                         "data.max_response_length",
                                         "20",
                                         "rollout.max_len",
                                         "84",
                                         "actor.kl_loss_coef",
                                         cases[k].kl,
                                         "actor.entropy_coeff",
                                         cases[k].entropy,
                                         "actor.live_rows_only",
                                         cases[k].live,
                                         NULL },
                  NULL, 5);
        mini_sample(&x, g, 1, 0);
        mini_branch(&x, g, 1, false, &z);
        for (int j = 0; j < g[0].n; j++) g[0].traj[j]->seq.reward = 1;
        assert_true(policy_update(&x.t, g, 1, false, &z));
        norm[k] = mean_of(&z.grad_norm);
        CHECK(z.updates == cases[k].updates && (norm[k] > 0) == cases[k].moves, "case %d: %lld updates, gradient %g", k,
              (long long)z.updates, norm[k]);
        mini_end(&x, g, 1);
        mini_close(&x);
    }
    CHECK_NEAR(norm[2], norm[3], 1e-6 * norm[3], "the entropy term does not depend on live_rows_only");
}

static void not_finite(void **state)
{
    (void)state;
    static const char *const set[] = { "data.max_response_length",
                                       "20",
                                       "rollout.max_len",
                                       "84",
                                       "rollout.n",
                                       "6",
                                       "rollout.initial_rollouts",
                                       "3",
                                       "advantage.norm_by_std",
                                       "false",
                                       "branch.omega",
                                       "previous",
                                       "branch.points",
                                       "1",
                                       "advantage.future_weight",
                                       "1000",
                                       NULL };
    /* the last: a finite loss, an infinite gradient */
    static const double bad[] = { (double)NAN, (double)INFINITY, sizeof(elem_t) == 8 ? 1e200 : 1e38 };
    struct mini x;
    struct group g[2];
    struct step_sums z = { 0 };
    mini_open(&x, set, NULL, 5);
    mini_sample(&x, g, 2, 0);
    mini_branch(&x, g, 2, false, &z);
    size_t bytes = (size_t)x.s.m.count * sizeof(elem_t);
    elem_t *w = xmalloc(bytes), *prev = xmalloc(bytes);
    assert_true(policy_update(&x.t, g, 2, false, &z));
    assert_int_equal(z.updates, 1);
    memcpy(w, x.s.m.w, bytes);
    /* the step moved the weights: the next one's "previous" is what this one began with */
    trainer_end(&x.t, x.s.m.version - 1);
    trainer_begin(&x.t);
    memcpy(prev, x.t.w_prev, bytes);
    uint64_t version = x.s.m.version;
    for (int k = 0; k < 5; k++) {
        g[0].traj[0]->seq.reward = bad[k % 3];
        CHECK(policy_update(&x.t, g, 2, true, &z) == (k < 4), "update %d", k);
        CHECK(z.skipped_updates == k + 1 && x.t.skipped == k + 1 && z.updates == 1, "update %d", k);
        CHECK(memcmp(w, x.s.m.w, bytes) == 0 && x.s.m.version == version, "update %d: the weights have changed", k);
        CHECK(memcmp(prev, x.t.w_prev, bytes) == 0, "update %d: the weights of the last step have changed", k);
    }
    trainer_end(&x.t, version);                          /* a step that changed nothing is not the last one */
    CHECK(memcmp(prev, x.t.w_prev, bytes) == 0, "the last step is one that changed nothing");
    g[0].traj[0]->seq.reward = 1;
    assert_true(policy_update(&x.t, g, 2, true, &z));      /* the count starts anew */
    assert_int_equal(x.s.learner.skipped_in_row, 0);
    assert_int_equal(z.updates, 2);
    free(w);
    free(prev);
    mini_end(&x, g, 2);
    mini_close(&x);
}

/* However alike the rollouts of a large group are, a row has at most 32 targets: the learner's room for a batch is
 * sized for that. */
static void large_groups(void **state)
{
    (void)state;
    static const int ids[3] = { 5, 6, 7 };
    static const uint8_t m[3] = { 0, 1, 1 };
    struct seq_view s[70];
    for (int i = 0; i < 70; i++) s[i] = (struct seq_view){ .ids = ids, .m = m, .n = 3, .group = 0, .flat = 3 * i };
    assert_int_equal(pack_fit(s, 70, 1000), 32);
    assert_int_equal(pack_fit(s + 64, 6, 1000), 6);
    for (int i = 0; i < 70; i++) s[i].group = i / 10;
    assert_int_equal(pack_fit(s, 70, 1000), 70);
    assert_int_equal(pack_fit(s, 70, 5), 20);            /* two rows a group */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(presets),       cmocka_unit_test(switches),
                                        cmocka_unit_test(estimators),    cmocka_unit_test(losses),
                                        cmocka_unit_test(no_candidates), cmocka_unit_test(empty_response),
                                        cmocka_unit_test(no_advantage),  cmocka_unit_test(not_finite),
                                        cmocka_unit_test(large_groups) };
    return cmocka_run_group_tests_name("update", tests, NULL, NULL);
}
