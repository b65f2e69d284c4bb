/* branch_rollouts.c: rounds of choosing, sampling, grading and scoring. Points are chosen on all trajectories that a
 * prompt has so far, so that later rounds branch from branches. */
#include "engine/train/branch_rollouts.h"
#include "base/arith.h"
#include "base/clock.h"
#include "engine/train/exchange.h"
#include "engine/train/grade.h"
#include "engine/train/rescore.h"
#include "engine/train/token_kind.h"
#include <stdlib.h>
#include <string.h>

static struct branch_config branch_config_of(const struct config *c)
{
    return (struct branch_config){
        .rule = { .gamma = c->branch.gamma, .lo = 1 - c->branch.clip_low, .hi = 1 + c->branch.clip_high },
        .signal = c->branch.score,
        .pool = c->branch.pool,
        .per_row = c->branch.points,
        .min_gap = c->branch.min_gap,
        .strict_first = c->branch.strict_first,
        .fallback_by_entropy = c->branch.fallback == FALLBACK_ENTROPY,
        .entropy_if_flat = c->branch.entropy_if_flat || c->branch.omega == OMEGA_NONE,
        .resample_token = c->branch.resample_token,
    };
}

/* The clamped Omega and the branching score of every position, for the metrics and the dump. */
static void set_omega(struct trajectory *r, const struct branch_rule *rule)
{
    int n = trajectory_len(r);
    acc_t *f = xcalloc((size_t)n + 1, sizeof *f), *bs = xcalloc((size_t)n + 1, sizeof *bs),
          *aside = xcalloc((size_t)n * 2 + 1, sizeof *aside);
    int64_t begin[2] = { 0, n };
    op_branch_score(&(struct branch_scores){ f, aside, aside + n, bs }, &(struct branch_in){
        .logp = r->logp, .logp_old = r->logp_omega, .entropy = r->entropy, .m = r->seq.m + r->seq.prompt_len,
        .begin = begin, .rows = 1 }, rule);
    free(aside);
    free(r->omega);
    free(r->bs);
    r->omega = f;
    r->bs = bs;
}

/* [n] from[0 .. keep) and then own[keep .. n). */
static acc_t *copy_prefix(const acc_t *from, int keep, const acc_t *own, int n)
{
    acc_t *x = xcalloc((size_t)n + 1, sizeof *x);
    for (int i = 0; i < n; i++) x[i] = i < keep ? from[i] : own[i];
    return x;
}

/* A branch's prefix gets the numbers that its parent was scored with; its own tokens were just sampled from the present
 * weights. */
static void inherit(struct trajectory *r, const struct trajectory *from)
{
    int n = trajectory_len(r), keep = from ? r->seq.born - r->seq.prompt_len : 0;
    const acc_t *logp = r->seq.logp + r->seq.prompt_len, *ent = r->seq.entropy + r->seq.prompt_len;
    r->logp = copy_prefix(from ? from->logp : NULL, keep, logp, n);
    r->entropy = copy_prefix(from ? from->entropy : NULL, keep, ent, n);
    r->logp_omega = copy_prefix(from ? from->logp_omega : NULL, keep, logp, n);
    r->logp_ref = from && !from->logp_ref ? NULL : copy_prefix(from ? from->logp_ref : NULL, keep, logp, n);
}

/* The official code counts every call tag of a branch's whole prefix against its call limit, those of the prompt too.
 * Returns by how many this exceeds the calls that the prefix made within its limit. */
static int spent_by_tags(const struct session *s, const struct sequence *seq)
{
    struct str text = { 0 };
    str_clear(&text);
    tokenizer_decode(s->tok, &text, seq->ids, seq->n, true);
    int tags = call_form_count(&s->form, text.p);
    str_free(&text);
    return MAX(0, tags - sequence_calls(seq));
}

/* Response tokens that the limits allow. */
static int room_for(const struct config *c, const struct sequence *seq)
{
    return MIN(c->data.max_response_length, c->rollout.max_len - seq->prompt_len);
}

/* What the chooser reads of one trajectory; *ok holds its candidates, free() it. */
static struct branch_view view_of(const struct trainer *t, const struct trajectory *r, uint8_t **ok)
{
    const struct session *s = t->s;
    const uint8_t *m = r->seq.m + r->seq.prompt_len;
    int n = trajectory_len(r), budget = t->c->branch.candidates == CANDIDATES_OPEN ? room_for(t->c, &r->seq) : 0;
    *ok = xcalloc((size_t)n + 1, 1);
    branch_candidates(*ok, r->seq.ids + r->seq.prompt_len, m, n, s->never, s->m.c.vocab, budget);
    return (struct branch_view){
        .logp = r->logp, .logp_old = r->logp_omega, .entropy = r->entropy, .m = m, .ok = *ok, .n = n
    };
}

/* Adds the branch of one chosen point, not yet run. */
static void fork_at(struct trainer *t, struct group *g, const struct branch_choice *b, int rank, int round)
{
    const struct trajectory *from = g->traj[b->row];
    int cut = b->pos + !t->c->branch.resample_token;
    /* a point that keeps the last token that the limits allow is skipped: nothing can follow, as in the official
     * builder */
    if (cut >= room_for(t->c, &from->seq)) return;
    struct trajectory *r = group_fork(g, t->s, b->row, cut);
    r->idx = b->pos;
    r->score = b->score;
    r->rank = rank;
    r->round = round;
    r->strict = b->strict;
    r->fallback = b->entropy_fallback;
    if (t->c->branch.tool_budget == BUDGET_PREFIX) r->seq.calls_spent = spent_by_tags(t->s, &r->seq);
}

/* Adds `want` branches of one round to one group, not yet run; without any candidate, fresh root rollouts. */
static void fork_group(struct trainer *t, struct group *g, int want, int round)
{
    struct branch_config b = branch_config_of(t->c);
    int n = g->n;
    struct branch_view *view = xcalloc((size_t)n, sizeof *view);
    struct branch_choice *choice = xcalloc((size_t)want, sizeof *choice);
    uint8_t **ok = xcalloc((size_t)n, sizeof *ok);
    for (int i = 0; i < n; i++) {
        view[i] = view_of(t, g->traj[i], &ok[i]);
        set_omega(g->traj[i], &b.rule);
    }
    uint32_t step = g->traj[0]->seq.step;
    struct branch_key key = { (uint64_t)t->c->trainer.seed, step, (uint32_t)t->epoch, (uint32_t)round, g->number };
    int got = branch_choose(choice, view, n, want, &b, &key);
    for (int i = 0; i < want; i++) {
        if (got) fork_at(t, g, &choice[i], i, round);
        else {
            struct trajectory *r = group_root(g, t->s, step);
            r->branch = true;
            r->round = round;
        }
    }
    for (int i = 0; i < n; i++) free(ok[i]);
    free(ok);
    free(view);
    free(choice);
}

/* Trajectories of a prompt after round l of L: N (B + 1)^l, M after the last. */
static int size_after(const struct config *c, int round)
{
    if (round == c->branch.rounds) return c->rollout.n;
    double n = c->rollout.initial_rollouts;
    for (int i = 0; i < round; i++) n *= c->branch.points + 1;
    return (int)MIN(n, (double)c->rollout.n);
}

/* Pages of the mini-batch that a round can evict: those of trajectories that are only forked from, the last first.
 * Their forks hold what they share. before[i]: trajectories of group i that the round began with. */
struct evictable {
    struct group *g;
    int n;
    const int *before;
    struct kv *kv;
};

static bool evict_pages(void *ctx)
{
    const struct evictable *s = ctx;
    for (int i = s->n - 1; i >= 0; i--)
        for (int j = s->before[i] - 1; j >= 0; j--) {
            struct kv_seq *kv = &s->g[i].traj[j]->seq.kv;
            if (!kv->n_pages) continue;
            kv_drop(s->kv, kv);
            return true;
        }
    return false;
}

static void progress(void *t, int done, int total) { trainer_progress(t, "branches", done, total); }

/* Samples and grades the branches that a round has added. keep: they keep their pages, for a later round. */
static void run_new(struct trainer *t, struct group *g, int n, const int *before, bool keep, struct step_sums *z)
{
    int total = 0;
    for (int i = 0; i < n; i++) total += g[i].n - before[i];
    struct sequence **seq = xcalloc((size_t)total, sizeof *seq);
    int k = 0;
    for (int i = 0; i < n; i++)
        for (int j = before[i]; j < g[i].n; j++) seq[k++] = &g[i].traj[j]->seq;
    struct rollout_stats stats;
    struct evictable pages = { g, n, before, &t->s->kv };
    rollout_set_evict(t->s->ro, evict_pages, &pages);
    rollout_run(t->s->ro, seq, total, keep, progress, t, &stats);
    rollout_set_evict(t->s->ro, NULL, NULL);
    free(seq);
    z->generated_branch += stats.generated;
    sums_add_run(z, &stats);
    for (int i = 0; i < n; i++)
        for (int j = before[i]; j < g[i].n; j++) {
            struct trajectory *r = g[i].traj[j];
            inherit(r, r->orig >= 0 ? g[i].traj[r->orig] : NULL);
            trajectory_grade(&g[i], r, t->s);
        }
}

/* New branches have only the numbers of their sampling. Scores under other weights, or another entropy, are needed if
 * the branches are trained against a reference, and if a later round chooses points on them. */
static void score_new(struct trainer *t, struct group *g, int n, const int *before, int round, bool stale,
                      struct step_sums *z)
{
    const struct config *c = t->c;
    bool other = c->branch.omega == OMEGA_PREVIOUS || c->branch.omega == OMEGA_REFERENCE ||
                 c->branch.entropy == ENTROPY_TOP10 || (c->branch.omega == OMEGA_ROLLOUT && stale);
    bool old = c->branch.train && t->score_old;          /* their ratio, too, compares two scoring passes */
    if (!old && !(c->branch.train && c->actor.kl_loss_coef > 0) && !(other && round < c->branch.rounds)) return;
    struct traj_list l = { 0 };
    for (int i = 0; i < n; i++) traj_list_add(&l, &g[i], i, before[i], g[i].n);
    double start = seconds();
    rescore(t, &l, true, false, z);
    for (int i = 0; old && i < l.n; i++) {
        struct trajectory *r = l.traj[i];
        free(r->logp_old);
        r->logp_old = copy_prefix(r->logp, trajectory_len(r), NULL, trajectory_len(r));
    }
    z->t_score += seconds() - start;
    traj_list_free(&l);
}

/* Adds what one round did with one group, whose first `before` trajectories are older. */
static void note_round(struct trainer *t, const struct group *g, int before, int round, struct step_sums *z)
{
    int roots = 0, forks = 0;
    for (int j = 0; j < before; j++) {
        const struct trajectory *r = g->traj[j];
        for (int i = 0; i < trajectory_len(r); i++)
            if (r->seq.m[r->seq.prompt_len + i]) mean_add(&z->omega_clamped, (double)r->omega[i]);
    }
    for (int j = before; j < g->n && g->traj[j]->round == round; j++) {
        const struct trajectory *r = g->traj[j];
        mean_add(&z->branch_tokens, r->seq.n - (r->orig >= 0 ? r->seq.born : r->seq.prompt_len));
        roots += r->orig < 0;
        if (r->orig < 0) continue;
        const struct trajectory *from = g->traj[r->orig];
        forks++;
        z->fallback += r->fallback;
        z->strict += r->strict;
        z->at_depth[MIN(DEPTHS - 1, r->idx * DEPTHS / MAX(1, trajectory_len(from)))]++;
        z->at_kind[token_kind(t->s, &from->seq, r->idx)]++;
        mean_add(&z->branch_score, r->score);
    }
    z->branch_points += forks;
    z->no_candidate_prompts += roots > 0;
}

/* Adds the branches of all groups, round by round, to the sums of the step: from the trajectories that every rank
 * holds, in the same order on each. */
static void note_branching(struct trainer *t, const struct group *g, int n, struct step_sums *z)
{
    for (int round = 1; round <= t->c->branch.rounds; round++)
        for (int i = 0; i < n; i++) {
            int before = g[i].initial;
            while (before < g[i].n && g[i].traj[before]->round < round) before++;
            if (size_after(t->c, round) > before) note_round(t, &g[i], before, round, z);
        }
}

void branch_rollouts(struct trainer *t, struct group *g, int n, bool stale, struct step_sums *z)
{
    struct traj_list l = { 0 };
    int *before = xcalloc((size_t)n, sizeof *before);
    for (int i = 0; i < n; i++) if (group_own(&g[i])) traj_list_add(&l, &g[i], i, 0, g[i].initial);
    double start = seconds();
    bool branches = branched_mini_batch(t->c, t->step, t->mini_batch);
    rescore(t, &l, stale, branches, z);
    z->t_score += seconds() - start;
    start = seconds();
    for (int round = 1; branches && round <= t->c->branch.rounds; round++) {
        int target = size_after(t->c, round);
        for (int i = 0; i < n; i++) {
            before[i] = g[i].n;
            if (group_own(&g[i]) && target > g[i].n) fork_group(t, &g[i], target - g[i].n, round);
        }
        run_new(t, g, n, before, round < t->c->branch.rounds, z);
        score_new(t, g, n, before, round, stale, z);
    }
    z->t_branch += seconds() - start;
    sums_add_wait(z, exchange_groups(g, n, t->s));
    if (branches) note_branching(t, g, n, z);
    traj_list_free(&l);
    free(before);
}
