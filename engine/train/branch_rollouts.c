/* branch_rollouts.c: steps 1 to 4 of a mini-batch: scores its rollouts, chooses branch points, resamples from them
 * under the present weights, grades. */
#include "engine/train/train_step.h"
#include "base/clock.h"
#include "engine/train/grade.h"
#include "base/arith.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

static struct branch_config chooser(const struct config *c)
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

static const char *const open[] = { "<think>", "<python>", "<search>", "<answer>", "<tool_call>" };
static const char *const close[] = { "</think>", "</python>", "</search>", "</answer>", "</tool_call>" };
static const int kind[] = { TOKEN_THINK, TOKEN_CALL, TOKEN_CALL, TOKEN_ANSWER, TOKEN_CALL };
enum { TAGS = 5, OWN_TAGS = 4 };        /* those of the embedded policy come first */

/* Where tags are ordinary text: by the last one that is complete before the token. A token that completes one is part
 * of it. */
static int kind_by_text(const struct session *s, const struct sequence *seq, int pos)
{
    struct str text = { 0 };
    int found = TOKEN_TAG;
    str_clear(&text);
    tokenizer_decode(s->tok, &text, seq->ids + seq->prompt_len, pos, true);
    size_t before = text.n;
    tokenizer_decode(s->tok, &text, seq->ids + seq->prompt_len + pos, 1, true);
    for (size_t n = text.n; n > 0; n--)
        for (int k = 0; text.p[n - 1] == '>' && k < TAGS; k++) {
            bool opens = bytes_end_with(text.p, n, open[k]), closes = bytes_end_with(text.p, n, close[k]);
            if (!opens && !closes) continue;
            if (opens && n <= before) found = kind[k];
            n = 1;
            break;
        }
    str_free(&text);
    return found;
}

int token_kind(const struct session *s, const struct sequence *seq, int pos)
{
    /* Qwen3 has <think> alone */
    for (int k = 0; k < OWN_TAGS; k++) if (tokenizer_id(s->tok, open[k]) < 0) return kind_by_text(s, seq, pos);
    if (tokenizer_special(s->tok, seq->ids[seq->prompt_len + pos])) return TOKEN_TAG;
    for (int i = seq->prompt_len + pos - 1; i >= seq->prompt_len; i--)
        for (int k = 0; k < OWN_TAGS; k++) {
            if (seq->ids[i] == tokenizer_id(s->tok, open[k])) return kind[k];
            if (seq->ids[i] == tokenizer_id(s->tok, close[k])) return TOKEN_TAG;
        }
    return TOKEN_TAG;
}

static void note_point(const struct session *s, const struct trajectory *from, const struct branch_choice *b,
                       struct step_sums *z)
{
    z->branch_points++;
    z->fallback += b->entropy_fallback;
    z->strict += b->strict;
    z->at_depth[MIN(DEPTHS - 1, b->pos * DEPTHS / MAX(1, trajectory_len(from)))]++;
    z->at_kind[token_kind(s, &from->seq, b->pos)]++;
    mean_add(&z->branch_score, b->score);
}

/* The clamped Omega and the branching score of every position, for the metrics and the dump. */
static void note_omega(struct trajectory *r, const struct branch_rule *rule, struct step_sums *z)
{
    int n = trajectory_len(r);
    acc_t *f = xcalloc((size_t)n + 1, sizeof *f), *bs = xcalloc((size_t)n + 1, sizeof *bs),
          *aside = xcalloc((size_t)n * 2 + 1, sizeof *aside);
    int64_t begin[2] = { 0, n };
    op_branch_score(f, aside, aside + n, bs, r->logp, r->logp_omega, r->entropy, r->seq.m + r->seq.prompt_len, begin, 1,
                    rule);
    for (int i = 0; i < n; i++)
        if (r->seq.m[r->seq.prompt_len + i]) mean_add(&z->omega_clamped, (double)f[i]);
    free(aside);
    free(r->omega);
    free(r->bs);
    r->omega = f;
    r->bs = bs;
}

static acc_t *copy_prefix(const acc_t *from, int keep, const acc_t *own, int n)
{
    acc_t *x = xcalloc((size_t)n + 1, sizeof *x);
    for (int i = 0; i < n; i++) x[i] = i < keep ? from[i] : own[i];
    return x;
}

/* A branch's prefix has the numbers its parent was scored with; its own tokens were drawn from the present weights just
 * now. */
static void inherit(struct trajectory *r, const struct trajectory *from)
{
    int n = trajectory_len(r), keep = from ? r->seq.born - r->seq.prompt_len : 0;
    const acc_t *logp = r->seq.logp + r->seq.prompt_len, *ent = r->seq.entropy + r->seq.prompt_len;
    r->logp = copy_prefix(from ? from->logp : NULL, keep, logp, n);
    r->entropy = copy_prefix(from ? from->entropy : NULL, keep, ent, n);
    r->logp_omega = copy_prefix(from ? from->logp_omega : NULL, keep, logp, n);
    r->logp_ref = from && !from->logp_ref ? NULL : copy_prefix(from ? from->logp_ref : NULL, keep, logp, n);
}

/* The official code counts every call tag of a branch's whole prefix against its limit, those of the prompt too.
 * Returns how many that is beyond the calls the prefix made within its limit. */
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

/* Adds the branches of one round to one group, not yet run. */
static void fork_group(struct trainer *t, struct group *g, int want, uint32_t step, int round, struct step_sums *z)
{
    struct session *s = t->s;
    struct branch_config b = chooser(t->c);
    struct branch_view *view = xcalloc((size_t)g->n, sizeof *view);
    struct branch_choice *choice = xcalloc((size_t)want, sizeof *choice);
    uint8_t **ok = xcalloc((size_t)g->n, sizeof *ok);
    int rows = g->n;
    for (int i = 0; i < rows; i++) {
        struct trajectory *r = g->traj[i];
        const uint8_t *m = r->seq.m + r->seq.prompt_len;
        int budget = t->c->branch.candidates == CANDIDATES_OPEN ? room_for(t->c, &r->seq) : 0;
        ok[i] = xcalloc((size_t)trajectory_len(r) + 1, 1);
        branch_candidates(ok[i], r->seq.ids + r->seq.prompt_len, m, trajectory_len(r), s->never, s->m.c.vocab, budget);
        view[i] = (struct branch_view){ .logp = r->logp,
                                        .logp_old = r->logp_omega,
                                        .entropy = r->entropy,
                                        .m = m,
                                        .ok = ok[i],
                                        .n = trajectory_len(r) };
        note_omega(r, &b.rule, z);
    }
    struct branch_key key = { (uint64_t)t->c->trainer.seed, step, (uint32_t)t->epoch, (uint32_t)round, g->number };
    int got = branch_choose(choice, view, rows, want, &b, &key);
    if (!got) z->no_candidate_prompts++;
    for (int i = 0; i < want; i++) {
        struct trajectory *r;
        if (got) {
            const struct sequence *from = &g->traj[choice[i].row]->seq;
            int cut = choice[i].pos + !b.resample_token;
            /* the last token the limits allow is kept: nothing can follow, as in the official builder */
            if (cut >= room_for(t->c, from)) continue;
            r = group_fork(g, s, choice[i].row, cut);
            r->idx = choice[i].pos;
            r->score = choice[i].score;
            r->rank = i;
            r->strict = choice[i].strict;
            r->fallback = choice[i].entropy_fallback;
            if (t->c->branch.tool_budget == BUDGET_PREFIX) r->seq.calls_spent = spent_by_tags(s, &r->seq);
            note_point(s, g->traj[choice[i].row], &choice[i], z);
        } else {
            r = group_root(g, s, step);
            r->branch = true;
        }
    }
    for (int i = 0; i < rows; i++) free(ok[i]);
    free(ok);
    free(view);
    free(choice);
}

/* How many rollouts a prompt has after round l of L: N (B + 1)^l, M after the last. */
static int rows_after(const struct config *c, int round)
{
    if (round == c->branch.rounds) return c->rollout.n;
    double n = c->rollout.initial_rollouts;
    for (int i = 0; i < round; i++) n *= c->branch.points + 1;
    return (int)MIN(n, (double)c->rollout.n);
}

/* Pages of the mini-batch that a round may do without: of whole rollouts that are only forked from, the last first.
 * Their forks hold what they share. */
struct spare { struct group *g; int n; const int *before; struct kv *kv; };

static bool spare_pages(void *ctx)
{
    const struct spare *s = ctx;
    for (int i = s->n - 1; i >= 0; i--)
        for (int j = s->before[i] - 1; j >= 0; j--) {
            struct kv_seq *kv = &s->g[i].traj[j]->seq.kv;
            if (!kv->n_pages) continue;
            kv_drop(s->kv, kv);
            return true;
        }
    return false;
}

static void run_new(struct trainer *t, struct group *g, int n, const int *before, bool keep, struct step_sums *z)
{
    int total = 0;
    for (int i = 0; i < n; i++) total += g[i].n - before[i];
    struct sequence **seq = xcalloc((size_t)total, sizeof *seq);
    int k = 0;
    for (int i = 0; i < n; i++)
        for (int j = before[i]; j < g[i].n; j++) seq[k++] = &g[i].traj[j]->seq;
    struct rollout_stats stats;
    struct spare spare = { g, n, before, &t->s->kv };
    rollout_spare(t->s->ro, spare_pages, &spare);
    rollout_run(t->s->ro, seq, total, keep, report_branches, t, &stats);
    rollout_spare(t->s->ro, NULL, NULL);
    free(seq);
    z->generated_branch += stats.generated;
    note_rollout_stats(&stats, z);
    for (int i = 0; i < n; i++)
        for (int j = before[i]; j < g[i].n; j++) {
            struct trajectory *r = g[i].traj[j];
            inherit(r, r->orig >= 0 ? g[i].traj[r->orig] : NULL);
            trajectory_grade(&g[i], r, t->s);
            mean_add(&z->branch_tokens, r->seq.n - (r->orig >= 0 ? r->seq.born : r->seq.prompt_len));
        }
}

/* New branches know only what they were sampled with. Their numbers under other weights, or another entropy, are wanted
 * where they are trained against a reference and where a later round chooses points on them. */
static void score_new(struct trainer *t, struct group *g, int n, const int *before, int round, bool stale,
                      struct step_sums *z)
{
    const struct config *c = t->c;
    bool other = c->branch.omega == OMEGA_PREVIOUS || c->branch.omega == OMEGA_REFERENCE ||
                 c->branch.entropy == ENTROPY_TOP10 || (c->branch.omega == OMEGA_ROLLOUT && stale);
    bool old = c->branch.train && t->score_old;          /* their ratio, too, compares two scoring passes */
    if (!old && !(c->branch.train && c->actor.kl_loss_coef > 0) && !(other && round < c->branch.rounds)) return;
    int rows = 0, k = 0;
    for (int i = 0; i < n; i++) rows += g[i].n - before[i];
    struct trajectory **row = xcalloc((size_t)rows, sizeof *row);
    int *uid = xcalloc((size_t)rows, sizeof *uid);
    for (int i = 0; i < n; i++)
        for (int j = before[i]; j < g[i].n; j++) { uid[k] = i; row[k++] = g[i].traj[j]; }
    double start = seconds();
    rescore(t, row, uid, rows, true, false, z);
    for (int i = 0; old && i < rows; i++) {
        free(row[i]->logp_old);
        row[i]->logp_old = copy_prefix(row[i]->logp, trajectory_len(row[i]), NULL, trajectory_len(row[i]));
    }
    z->t_score += seconds() - start;
    free(row);
    free(uid);
}

void branch_rollouts(struct trainer *t, struct group *g, int n, bool stale, struct step_sums *z)
{
    int rows = 0, k = 0;
    for (int i = 0; i < n; i++) rows += g[i].initial;
    struct trajectory **row = xcalloc((size_t)rows, sizeof *row);
    int *uid = xcalloc((size_t)rows, sizeof *uid), *before = xcalloc((size_t)n, sizeof *before);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < g[i].initial; j++) { uid[k] = i; row[k++] = g[i].traj[j]; }
    double start = seconds();
    bool appo = t->c->algorithm.adv_estimator == ALGO_APPO;
    rescore(t, row, uid, rows, stale, appo, z);
    z->t_score += seconds() - start;
    start = seconds();
    for (int round = 1; appo && round <= t->c->branch.rounds; round++) {
        int target = rows_after(t->c, round);
        for (int i = 0; i < n; i++) {
            before[i] = g[i].n;
            if (target > g[i].n) fork_group(t, &g[i], target - g[i].n, row[0]->seq.step, round, z);
        }
        run_new(t, g, n, before, round < t->c->branch.rounds, z);
        score_new(t, g, n, before, round, stale, z);
    }
    z->t_branch += seconds() - start;
    free(row);
    free(uid);
    free(before);
}
