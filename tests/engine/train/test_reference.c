/* test_reference.c: the algorithm a second time, for comparison: double, sums by their definition, written from the
 * paper's formulas (docs/algorithm.md sections 3 to 6) and from no code of the engine. It reads what real steps of the
 * shipped policy dumped, and computes Omega, z-scores, Branching Score, the choice of points, dual-group advantage,
 * future-aware factor, loss and dloss/dlogp from ids, masks, log-probs, entropies and rewards alone. */
#include "engine/train/train_step.h"
#include "tests/check.h"
#include "tests/slow.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64, LENGTH = 400 };
static const double within = 1e-6;

struct line {
    /* parent: row of the same prompt or -1; n: response positions; start: tokens of the prompt */
    int prompt, rollout, parent, point, rank, n, epoch, mini, start;
    bool branch, strict, fallback, credit, scored;
    double reward, score;
    int id[LENGTH];
    bool m[LENGTH];
    double sampled[LENGTH], logp[LENGTH], entropy[LENGTH], pi_old[LENGTH], omega[LENGTH], bs[LENGTH], logp_ref[LENGTH],
        adv[LENGTH], grad[LENGTH];
    double f[LENGTH], zf[LENGTH], zh[LENGTH];                               /* computed here */
    bool flat;
};
/* The rollouts of one update, prompt by prompt, and what it says of its loss. */
struct update { struct line row[ROWS]; int rows; double loss, pg, kl; };

struct tally { int64_t omegas, points, strict, near_ties, advantages, shared, updates, stale, clipped,
    branches_of_branches; int step; };

/* ---- reading ---- */

static double number(const json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);
    return json_is_null(v) || !v ? -1 : json_is_boolean(v) ? json_is_true(v) : json_number_value(v);
}

static bool vector(double *out, const json_t *o, const char *name, int skip, int n)
{
    json_t *a = json_object_get(o, name);
    if (!a) return false;
    CHECK(json_array_size(a) == (size_t)(skip + n), "%s has %zu numbers, not %d", name, json_array_size(a), skip + n);
    for (int i = 0; i < n; i++) out[i] = json_number_value(json_array_get(a, (size_t)(skip + i)));
    return true;
}

static void read_line(struct line *l, const json_t *o)
{
    double whole[LENGTH];
    int all = (int)json_array_size(json_object_get(o, "ids")), start = (int)number(o, "prompt_len");
    *l = (struct line){ .prompt = (int)number(o, "prompt"), .rollout = (int)number(o, "rollout"),
        .parent = (int)number(o, "parent"), .point = (int)number(o, "branch_index"),
        .rank = (int)number(o, "branch_rank"), .epoch = (int)number(o, "epoch"), .mini = (int)number(o, "mini_batch"),
            .branch = number(o, "branch") > 0,
        .strict = number(o, "branch_strict") > 0, .fallback = number(o, "branch_fallback") > 0,
            .reward = number(o, "score"), .score = number(o, "branch_score"),
        .n = all - start, .start = start };
    assert_true(l->n >= 0 && l->n <= LENGTH && all <= LENGTH);
    assert_true(vector(whole, o, "ids", start, l->n));
    for (int i = 0; i < l->n; i++) l->id[i] = (int)whole[i];
    assert_true(vector(whole, o, "mask", start, l->n));
    for (int i = 0; i < l->n; i++) l->m[i] = whole[i] != 0;
    assert_true(vector(l->sampled, o, "logp", start, l->n));
    vector(l->logp, o, "logp_now", 0, l->n);
    vector(l->entropy, o, "entropy_now", 0, l->n);
    l->scored = vector(l->pi_old, o, "logp_omega", 0, l->n) && vector(l->omega, o, "omega", 0, l->n) &&
        vector(l->bs, o, "bs", 0, l->n);
    vector(l->logp_ref, o, "logp_ref", 0, l->n);
    l->credit = vector(l->adv, o, "advantage", 0, l->n) && vector(l->grad, o, "grad", 0, l->n);
}

/* ---- section 3 ---- */

static double clamp(double x, double lo, double hi) { return x < lo ? lo : x > hi ? hi : x; }

static double omega_at(const struct line *l, int i, const double *old, double gamma, double leave_out)
{
    double s = 0;
    for (int k = i; k < l->n; k++) {
        double d = l->m[k] ? l->logp[k] - old[k] : 0;
        if (d <= leave_out) s += pow(gamma, k - i) * d;
    }
    return exp(clamp(s, -20, 20));
}

/* Over m = 1, population standard deviation; 0 everywhere where x is constant. */
static void z_score(double *z, const double *x, const struct line *l)
{
    double n = 0, sum = 0, square = 0;
    bool constant = true;
    int first = -1;
    for (int i = 0; i < l->n; i++) {
        if (!l->m[i]) continue;
        if (first < 0) first = i;
        constant = constant && x[i] == x[first];
        sum += x[i];
        n++;
    }
    for (int i = 0; i < l->n; i++) if (l->m[i]) square += (x[i] - sum / n) * (x[i] - sum / n);
    for (int i = 0; i < l->n; i++) z[i] = l->m[i] && !constant ? (x[i] - sum / n) / (sqrt(square / n) + 1e-6) : 0;
}

static void check_scores(struct line *l, const struct config *c, struct tally *t, const char *name)
{
    l->flat = true;
    for (int i = 0; i < l->n; i++) l->f[i] = clamp(omega_at(l, i, l->pi_old, c->branch.gamma, HUGE_VAL),
        1 - c->branch.clip_low, 1 + c->branch.clip_high);
    z_score(l->zf, l->f, l);
    z_score(l->zh, l->entropy, l);
    for (int i = 0; i < l->n; i++) {
        if (!l->m[i]) continue;
        l->flat = l->flat && l->zf[i] == 0;
        CHECK(l->branch || l->pi_old[i] == l->sampled[i], "%s: pi_old is not what sampled the rollout", name);
        CHECK_NEAR(l->omega[i], l->f[i], within, "%s: Omega of rollout %d of prompt %d at %d", name, l->rollout,
            l->prompt, i);
        CHECK_NEAR(l->bs[i], l->zf[i] * l->zh[i], within * (1 + fabs(l->bs[i])),
            "%s: branching score of rollout %d of prompt %d at %d", name, l->rollout, l->prompt, i);
        t->omegas += l->f[i] != 1;
    }
}

/* A candidate: tier 1 before tier 0, then by rank. */
struct run_folder { int row, pos, tier; double rank, key; bool both; };     /* both: Z(F) > 0 and Z(H) > 0 */

static bool blank(const struct session *s, int id)
{
    int n;
    const char *text = tokenizer_bytes(s->tok, id, &n);
    for (int i = 0; i < n; i++) if (!strchr(" \t\n\v\f\r", text[i])) return false;
    return true;
}

static int by_place(const void *pa, const void *pb)
{
    const struct run_folder *a = pa, *b = pb;
    if (a->tier != b->tier) return b->tier - a->tier;
    if (a->rank != b->rank) return a->rank > b->rank ? -1 : 1;
    return a->row != b->row ? a->row - b->row : a->pos - b->pos;
}

/* Of rows lo .. hi, best first. */
static int places(struct run_folder *out, const struct line *row, int lo, int hi, const struct session *s)
{
    const struct config *c = s->c;
    int n = 0;
    for (int r = lo; r < hi; r++)
        for (int i = 0; i < row[r].n; i++) {
            const struct line *l = &row[r];
            int room = c->data.max_response_length < c->rollout.max_len - l->start
                ? c->data.max_response_length : c->rollout.max_len - l->start;
            bool end = l->id[i] == s->m.c.eos[0];
            if (!l->m[i] || (c->branch.candidates != CANDIDATES_ANY && blank(s, l->id[i]))) continue;
            if (c->branch.candidates == CANDIDATES_OPEN && (end || i + 1 >= room)) continue;
            double key = l->flat && c->branch.entropy_if_flat ? l->zh[i] : l->zf[i] * l->zh[i];
            bool both = l->zf[i] > 0 && l->zh[i] > 0, strict = c->branch.strict_first && both;
            out[n++] = (struct run_folder){ r, i, strict, !strict && c->branch.strict_first &&
                c->branch.fallback == FALLBACK_ENTROPY ? l->zh[i] : key, key, both };
        }
    qsort(out, (size_t)n, sizeof *out, by_place);
    return n;
}

/* Two places of one rank, but for what is left of it in the engine's float. */
static bool near_tie(const struct run_folder *list, int n, const struct run_folder *want, int row, int pos)
{
    for (int i = 0; i < n; i++)
        if (list[i].row == row && list[i].pos == pos) return list[i].tier == want->tier &&
            fabs(list[i].rank - want->rank) <= within * (1 + fabs(want->rank));
    return false;
}

static void check_point(const struct line *b, const struct run_folder *list, int n, const struct run_folder *want,
    struct tally *t, const char *name)
{
    bool same = b->parent == want->row && b->point == want->pos;
    t->near_ties += !same;
    CHECK(same || near_tie(list, n, want, b->parent, b->point),
        "%s: prompt %d, point %d leaves rollout %d at %d, not %d at %d", name, b->prompt, b->rank, b->parent,
          b->point, want->row, want->pos);
    if (same) CHECK_NEAR(b->score, want->key, within * (1 + fabs(want->key)), "%s: score of a point", name);
    if (same) CHECK(b->strict == want->both, "%s: prompt %d, point %d: strict", name, b->prompt, b->rank);
    t->points++;
    t->strict += b->strict;
}

/* One round of one prompt: rows[0 .. before) could be left, rows[before .. after) left one of them. pool=rollout: the
 * rows in an order of the program's own draw, each with its best B, every row once before any comes again; pool=prompt:
 * the best of all. Then the list is used again from its start. */
static void check_round(const struct line *row, int before, int after, const struct session *s, struct tally *t,
    const char *name)
{
    static struct run_folder list[ROWS * LENGTH], best[ROWS * LENGTH];
    bool pooled = s->c->branch.pool == POOL_PROMPT, seen[ROWS] = { false };
    int n = places(list, row, 0, before, s), all = 0, left = 0;
    for (int r = 0; r < before; r++) {
        int of_row = 0;
        for (int i = 0; i < n; i++) of_row += list[i].row == r;
        left += of_row > 0;
    }
    for (int at = before; at < after; at++) {
        const struct line *b = &row[at];
        if (b->parent < 0) { CHECK(n == 0, "%s: prompt %d has candidates and got a fresh rollout", name,
            b->prompt); continue; }
        assert_true(n > 0 && b->parent < before);
        if (pooled && !all) memcpy(best, list, (size_t)n * sizeof *best), all = n;
        if (!pooled && b->rank == all && left) {         /* the next row of the order: the one this point is of */
            CHECK(!seen[b->parent], "%s: prompt %d: rollout %d comes again before all have come", name, b->prompt,
                b->parent);
            seen[b->parent] = true;
            left--;
            for (int i = 0, k = 0; i < n && k < s->c->branch.points; i++) if (list[i].row == b->parent)
                best[all++] = list[i], k++;
        }
        check_point(b, list, n, &best[b->rank % all], t, name);
        bool keep = !s->c->branch.resample_token;
        for (int i = 0; i < b->point + keep; i++) CHECK(b->id[i] == row[b->parent].id[i],
            "%s: a branch of another prefix", name);
    }
}

/* ---- section 4 ---- */

static double in_group(const struct update *u, int prompt, bool branch, double reward, bool by_std)
{
    double n = 0, sum = 0, square = 0;
    for (int r = 0; r < u->rows; r++) if (u->row[r].prompt == prompt && u->row[r].branch == branch)
        n++, sum += u->row[r].reward;
    for (int r = 0; r < u->rows; r++)
        if (u->row[r].prompt == prompt && u->row[r].branch == branch) square += (u->row[r].reward - sum / n)
            * (u->row[r].reward - sum / n);
    double std = sqrt(square / n);
    if (n < 2 || std < 1e-8) return 0;
    return by_std ? (reward - sum / n) / (std + 1e-6) : reward - sum / n;
}

/* Is token i of row `own` in branch b, by b's line of ancestors? */
static bool shares(const struct line *first, int b, int own, int i, bool resample)
{
    for (; b != own; b = first[b].parent) {
        if (first[b].parent < 0) return false;
        if (resample ? i >= first[b].point : i > first[b].point) return false;
    }
    return true;
}

/* ---- section 4, estimators without branches ---- */

/* Over all generated tokens of the step, whatever its mini-batches: what REINFORCE++ whitens with. */
static struct { double n, sum, square; } whole;

static double generated(const struct line *l, int from)
{
    double n = 0;
    for (int i = from; i < l->n; i++) n += l->m[i];
    return n;
}

/* first: row 0 of the prompt, of `rows`; own: the row; i: a token of it. Before it is whitened. */
static double estimate(const struct line *first, int rows, int own, int i, const struct config *c)
{
    const struct line *l = &first[own];
    double n = rows, sum = 0, square = 0, product = 0, length = 0, other = -1e9;
    bool best = true;
    for (int r = 0; r < rows; r++) {
        sum += first[r].reward;
        product += generated(&first[r], 0) * first[r].reward;
        length += generated(&first[r], 0);
        if (r != own) other = fmax(other, first[r].reward);
        best = best && (r < own ? first[r].reward < l->reward : first[r].reward <= l->reward);
    }
    for (int r = 0; r < rows; r++) square += pow(first[r].reward - sum / n, 2);
    double std = c->advantage.norm_by_std ? sqrt(square / (n - 1)) + 1e-6 : 1;
    switch (c->algorithm.adv_estimator) {
    case ALGO_APPO:                  break;
    case ALGO_GRPO:                  return (l->reward - sum / n) / std;
    case ALGO_GRPO_PASSK:            return best ? (l->reward - other) / std : 0;
    case ALGO_REINFORCE_PP:          return pow(c->algorithm.gamma, generated(l, i + 1)) * l->reward;
    case ALGO_REINFORCE_PP_BASELINE: return l->reward - sum / n;
    case ALGO_RLOO:                  return l->reward - (sum - l->reward) / (n - 1);
    case ALGO_OPO:                   return l->reward - product / length;
    }
    abort();
}

static bool whitens(const struct config *c)
{
    return c->algorithm.adv_estimator == ALGO_REINFORCE_PP || c->algorithm.adv_estimator == ALGO_REINFORCE_PP_BASELINE;
}

/* u: all rollouts of a step */
static void whole_step(const struct update *u, const struct config *c)
{
    memset(&whole, 0, sizeof whole);
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0, first = 0; r < u->rows; r++) {
            if (u->row[r].prompt != u->row[first].prompt) first = r;
            int rows = 0;
            while (first + rows < u->rows && u->row[first + rows].prompt == u->row[first].prompt) rows++;
            for (int i = 0; i < u->row[r].n; i++) {
                if (!u->row[r].m[i]) continue;
                double x = estimate(&u->row[first], rows, r - first, i, c);
                if (pass) whole.square += pow(x - whole.sum / whole.n, 2);
                else whole.n++, whole.sum += x;
            }
        }
}

/* AEPO's factor 1 + a z(H) of a token, z over the update's */
static double entropy_weight(const struct update *u, double entropy, const struct config *c)
{
    double n = 0, sum = 0, square = 0;
    if (c->advantage.entropy_weight == 0) return 1;
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < u->rows; r++)
            for (int i = 0; i < u->row[r].n; i++) {
                if (!u->row[r].m[i] || u->row[r].branch) continue;
                if (pass) square += pow(u->row[r].entropy[i] - sum / n, 2);
                else n++, sum += u->row[r].entropy[i];
            }
    return 1 + c->advantage.entropy_weight * (entropy - sum / n) / sqrt(square / (n - 1));
}

/* first: row 0 of the prompt, of `rows`; own: the row. */
static double advantage(const struct update *u, const struct line *first, int rows, int own, int i,
    const struct config *c)
{
    const struct line *l = &first[own];
    bool by_std = c->advantage.norm_by_std, any = false;
    double base = in_group(u, l->prompt, false, l->reward, by_std), sum = 0, n = 0;
    if (c->algorithm.adv_estimator != ALGO_APPO) {
        double x = estimate(first, rows, own, i, c);
        return whitens(c) ? (x - whole.sum / whole.n) / sqrt(whole.square / (whole.n - 1) + 1e-8) : x;
    }
    for (int b = 0; b < rows; b++) {
        if (!first[b].branch) continue;
        any = true;
        if (!shares(first, b, own, i, c->branch.resample_token)) continue;
        sum += in_group(u, l->prompt, true, first[b].reward, by_std);
        n++;
    }
    switch (c->advantage.dual_group) {
    case DUAL_PREFIX:  return n > 0 ? base + sum / n : base;
    case DUAL_AVERAGE: return any ? (base + in_group(u, l->prompt, true, l->reward, by_std)) / 2 : base;
    case DUAL_OFF:     break;
    }
    return base;
}

static void check_advantages(const struct update *u, const struct config *c, struct tally *t, const char *name)
{
    for (int first = 0, rows; first < u->rows; first += rows) {
        for (rows = 1; first + rows < u->rows && u->row[first + rows].prompt == u->row[first].prompt; ) rows++;
        for (int r = 0; r < rows; r++) {
            const struct line *l = &u->row[first + r];
            if (l->branch) { CHECK(!l->credit, "%s: a branch has credit", name); continue; }
            assert_true(l->credit);
            for (int i = 0; i < l->n; i++) {
                double want = l->m[i] ? advantage(u, &u->row[first], rows, r, i, c) : 0;
                if (l->m[i]) want *= entropy_weight(u, l->entropy[i], c);
                CHECK_NEAR(l->adv[i], want, within * (1 + fabs(want)),
                    "%s: advantage of rollout %d of prompt %d at %d", name, l->rollout, l->prompt, i);
                t->advantages++;
                t->shared += l->m[i] && want != in_group(u, l->prompt, false, l->reward, c->advantage.norm_by_std);
            }
        }
    }
}

/* ---- sections 5, 6 ---- */

static double factor(const struct line *l, int i, double adv, const struct config *c)
{
    double none = HUGE_VAL, b = c->advantage.future_weight;
    if (c->advantage.future == FUTURE_OFF) return 1;
    double omega = omega_at(l, i, l->sampled, c->advantage.future_gamma,
        c->advantage.future_leave_out > 0 ? log(c->advantage.future_leave_out) : none);
    double fut = clamp(omega, 1 - c->advantage.future_clip_low, 1 + c->advantage.future_clip_high);
    if (c->advantage.future_safety > 0 && adv < 0 && exp(l->logp[i] - l->sampled[i]) > c->advantage.future_safety)
        fut = clamp(fut, 0.8, 1);
    assert_true(c->advantage.future == FUTURE_SCALE);
    return 1 + b * fut;
}

/* W = A times the factor. was: the present log-prob, which sg() keeps while `now` moves away from it; mean: of the
 * row's log-ratios, with `now` (gspo) */
static double token_loss(double w, double now, double was, double old, double mean, const struct config *c)
{
    enum loss_mode mode = c->actor.policy_loss_loss_mode;
    double r = exp(clamp(mode == LOSS_GSPO ? mean : now - old, -20, 20)), sg = exp(was - old),
        low = 1 - c->actor.clip_ratio_low, high = 1 + c->actor.clip_ratio_high, l1 = -w * r,
        l2 = -w * clamp(r, low, high), l3 = -w * c->actor.clip_ratio_c;
    switch (mode) {
    case LOSS_PPO:   break;
    case LOSS_GSPO:  return fmax(l1, l2);
    case LOSS_CISPO: return -clamp(sg, low, high) * w * now;
    case LOSS_GPPO:  l2 = -w * clamp(sg, low, high) * r / sg; break;
    case LOSS_AEPO:  l2 = sg > high ? -w * high * r / sg : l2; break;
    }
    return w < 0 ? fmin(l3, fmax(l1, l2)) : fmax(l1, l2);
}

static double mean_ratio(const struct line *l)
{
    double sum = 0;
    for (int i = 0; i < l->n; i++) if (l->m[i]) sum += l->logp[i] - l->sampled[i];
    return sum / generated(l, 0);
}

/* All of the row's losses that move with token p, whose log-prob is larger by h. Tokens below the floor have none. */
static double moved(const struct line *l, int p, double h, double floor, const struct config *c)
{
    double sum = 0, mean = mean_ratio(l) + h / generated(l, 0);
    for (int i = 0; i < l->n; i++) {
        if (!l->m[i] || l->entropy[i] < floor || (i != p && c->actor.policy_loss_loss_mode != LOSS_GSPO)) continue;
        double w = l->adv[i] * factor(l, i, l->adv[i], c);
        sum += token_loss(w, l->logp[i] + (i == p ? h : 0), l->logp[i], l->sampled[i], mean, c);
    }
    return sum;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* actor.top_entropy_quantile: the entropy of the last token that has a policy loss */
static double entropy_floor(const struct update *u, double share)
{
    static double h[ROWS * LENGTH];
    int n = 0;
    for (int r = 0; r < u->rows; r++)
        for (int i = 0; i < u->row[r].n && !u->row[r].branch; i++)
            if (u->row[r].m[i]) h[n++] = u->row[r].entropy[i];
    qsort(h, (size_t)n, sizeof *h, descending);
    return share < 1 ? h[(int)ceil(share * n) - 1] : -1;
}

static double k3(double now, double ref)
{
    double x = ref - now;
    return clamp(exp(x) - x - 1, -10, 10);
}

static double weight(const struct config *c, double rows, double tokens, double own)
{
    switch (c->actor.loss_agg_mode) {
    case AGG_TOKEN_MEAN:                   return 1 / tokens;
    case AGG_SEQ_MEAN_TOKEN_MEAN:          return 1 / (rows * own);
    case AGG_SEQ_MEAN_TOKEN_SUM:           return 1 / rows;
    case AGG_SEQ_MEAN_TOKEN_SUM_NORM:      return 1.0 / c->data.max_response_length;
    case AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS: return 1 / (rows * c->data.max_response_length);
    }
    return 0;
}

/* actor.live_rows_only: rollouts without any advantage are not counted by the policy term; the KL term counts all. */
static void check_loss(const struct update *u, const struct config *c, struct tally *t, const char *name)
{
    double rows = 0, tokens = 0, rows_all = 0, tokens_all = 0, pg = 0, kl = 0, most = 0, h = 1e-5,
        beta = c->actor.kl_loss_coef;
    double own[ROWS] = { 0 };
    bool live[ROWS] = { false };
    for (int r = 0; r < u->rows; r++) {
        const struct line *l = &u->row[r];
        if (l->branch) continue;
        for (int i = 0; i < l->n; i++) {
            own[r] += l->m[i];
            live[r] = live[r] || (l->m[i] && l->adv[i] != 0);
            most = fmax(most, fabs(l->grad[i]));
        }
        if (own[r] > 0) rows_all++, tokens_all += own[r];
        if (own[r] > 0 && (live[r] || !c->actor.live_rows_only)) rows++, tokens += own[r];
    }
    bool none = rows == 0 && beta == 0, gspo = c->actor.policy_loss_loss_mode == LOSS_GSPO;  /* no update at all */
    double floor = entropy_floor(u, c->actor.top_entropy_quantile);
    for (int r = 0; r < u->rows && !none; r++) {
        const struct line *l = &u->row[r];
        if (l->branch || own[r] == 0) continue;
        double wp = live[r] ? weight(c, rows, tokens, own[r]) : 0, wa = weight(c, rows_all, tokens_all, own[r]);
        for (int i = 0; i < l->n; i++) {
            if (!l->m[i]) continue;
            double w = l->adv[i] * factor(l, i, l->adv[i], c), now = l->logp[i], old = l->sampled[i];
            double g = wp * (moved(l, i, h, floor, c) - moved(l, i, -h, floor, c)) / (2 * h), mean = mean_ratio(l),
                ratio = exp(gspo ? mean : now - old);
            if (l->entropy[i] >= floor) pg += wp * token_loss(w, now, now, old, mean, c);
            if (beta > 0) kl += wa * k3(now, l->logp_ref[i]);
            if (beta > 0) g += beta * wa * (k3(now + h, l->logp_ref[i]) - k3(now - h, l->logp_ref[i])) / (2 * h);
            double edge = fmin(fabs(ratio - 1 + c->actor.clip_ratio_low), fabs(ratio - 1 - c->actor.clip_ratio_high));
            if (edge > 3 * h) CHECK_NEAR(l->grad[i], g, within * fmax(most, 1e-12),
                "%s: dloss/dlogp of rollout %d of prompt %d at %d", name, l->rollout, l->prompt, i);
            t->clipped += wp != 0 && w != 0 && l->grad[i] == 0;
            t->stale += now != old;
        }
    }
    CHECK_NEAR(u->pg, pg, within * (1 + fabs(pg)), "%s: policy loss", name);
    CHECK_NEAR(u->kl, kl, within * (1 + fabs(kl)), "%s: KL", name);
    CHECK_NEAR(u->loss, pg + beta * kl, within * (1 + fabs(pg)), "%s: loss", name);
}

/* ---- runs ---- */

/* Rollouts of a prompt after so many rounds: N (B + 1)^round, at most M. */
static int after_round(const struct config *c, int round)
{
    int n = c->rollout.initial_rollouts;
    for (int i = 0; i < round; i++) n *= c->branch.points + 1;
    return round == c->branch.rounds || n > c->rollout.n ? c->rollout.n : n;
}

/* branch.every: of the run's mini-batches, two a step, those with branches; step from 0. */
static bool branches(const struct config *c, int step, int mini)
{
    return c->algorithm.adv_estimator == ALGO_APPO && (2 * step + mini + 1) % c->branch.every == 0;
}

static void check_update(struct update *u, const struct session *s, struct tally *t, const char *name)
{
    const struct config *c = s->c;
    bool appo = c->algorithm.adv_estimator == ALGO_APPO, branched = branches(c, t->step, u->row[0].mini),
         chose = branched && c->branch.score == SIGNAL_BS;
    for (int r = 0; r < u->rows && appo && !branched; r++)
        CHECK(!u->row[r].branch && !u->row[r].scored, "%s: a branch of mini-batch %d of step %d", name, u->row[r].mini,
              t->step);
    for (int r = 0; r < u->rows; r++) {
        struct line *l = &u->row[r];
        int first = r;
        while (first > 0 && u->row[first - 1].prompt == l->prompt) first--;
        if (l->parent >= 0)                              /* from the number of a rollout to its row */
            for (int k = first; k < r; k++) if (u->row[k].rollout == l->parent)
                { l->parent = k - first; t->branches_of_branches += u->row[k].branch; break; }
        if (l->scored) check_scores(l, c, t, name);
    }
    for (int first = 0, rows; first < u->rows && chose; first += rows) {
        for (rows = 1; first + rows < u->rows && u->row[first + rows].prompt == u->row[first].prompt; ) rows++;
        assert_int_equal(rows, c->rollout.n);
        /* branch.when=step: chosen before the first update, whose numbers the later ones no longer have */
        if (c->branch.when == BRANCH_STEP && (u->row[first].epoch || u->row[first].mini)) continue;
        for (int round = 1; round <= c->branch.rounds; round++)
            check_round(&u->row[first], after_round(c, round - 1), after_round(c, round), s, t, name);
    }
    check_advantages(u, c, t, name);
    check_loss(u, c, t, name);
    t->updates++;
}

/* Reads the dump of one step, update by update. points (may be NULL) gets (prompt, epoch)'s points, one number each. */
static int check_dump(char *text, const struct session *s, struct tally *t, const char *name, uint64_t *points)
{
    static struct update u;
    if (whitens(s->c)) {
        char *copy = xstrdup(text);
        u.rows = 0;
        for (char *p = strtok(copy, "\n"); p; p = strtok(NULL, "\n")) {
            json_t *o = json_loads(p, JSON_ALLOW_NUL, NULL);
            assert_true(o && u.rows < ROWS);
            read_line(&u.row[u.rows], o);
            u.rows += u.row[u.rows].epoch == 0;
            json_decref(o);
        }
        whole_step(&u, s->c);
        free(copy);
    }
    int lines = 0, epoch = -1, mini = -1;
    u.rows = 0;
    for (char *p = strtok(text, "\n"); ; p = strtok(NULL, "\n")) {
        json_error_t why;
        json_t *o = p ? json_loads(p, JSON_ALLOW_NUL, &why) : NULL;
        CHECK(!p || o, "%s: line %d: %s", name, lines + 1, why.text);
        bool next = !p || (int)number(o, "epoch") != epoch || (int)number(o, "mini_batch") != mini;
        if (next && u.rows) check_update(&u, s, t, name), u.rows = 0;
        if (!p) break;
        const json_t *about = json_object_get(o, "update");
        assert_true(u.rows < ROWS);
        struct line *l = &u.row[u.rows++];
        read_line(l, o);
        epoch = l->epoch, mini = l->mini;
        u.loss = number(about, "loss"), u.pg = number(about, "pg"), u.kl = number(about, "kl");
        if (points && l->parent >= 0)
            points[l->prompt * 8 + l->epoch] =
                points[l->prompt * 8 + l->epoch] * 1000003 + (uint64_t)(l->parent * 4096 + l->point);
        lines++;
        json_decref(o);
    }
    return lines;
}

struct test_case { const char *name, *preset; const char *set[16]; };

/* Each call of an initial rollout is of one tool, or over the limit. */
static void check_counts(const struct metrics *m, const struct config *c, const char *name)
{
    static const char *const counts[] = { "tools/timeouts", "tools/over_limit", "tools/calls/python",
        "tools/calls/search", "actor/lr" };
    static const char *const shares[] = { "appo/branch_copies", "appo/unique_trajectories", "appo/iw_clip_upper",
        "appo/iw_clip_lower", "appo/omega_noise" };
    bool appo = c->algorithm.adv_estimator == ALGO_APPO;
    int rows = c->data.train_batch_size * (appo ? c->rollout.initial_rollouts : c->rollout.n);
    double made = metrics_get(m, "tools/calls/python") + metrics_get(m, "tools/calls/search") + metrics_get(m,
        "tools/over_limit");
    CHECK_NEAR(metrics_get(m, "tools/calls/mean") * rows, made, 1e-9 * (1 + made), "%s: calls", name);
    CHECK(made > 0, "%s: no calls", name);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        CHECK(metrics_get(m, counts[i]) >= 0, "%s: %s", name, counts[i]);
    for (size_t i = 0; appo && i < sizeof shares / sizeof *shares; i++)
        CHECK(metrics_get(m, shares[i]) >= 0 && metrics_get(m, shares[i]) <= 1, "%s: %s", name, shares[i]);
    if (appo) CHECK(metrics_get(m, "appo/unique_trajectories") >= 1.0 / c->rollout.n, "%s: different rollouts", name);
}

static struct tally run(const struct test_case *x, int steps, uint64_t *points)
{
    static const char *const small[] = { "data.train_batch_size", "4", "actor.ppo_mini_batch_size", "2", "rollout.n",
        "8", "rollout.initial_rollouts", "4", "branch.points", "1",
        "data.max_prompt_length", "64", "data.max_response_length", "160", "rollout.max_len", "160",
            "actor.ppo_max_token_len_per_gpu", "8192", "rollout.max_num_seqs", "64",
        "actor.optim.lr", "2e-3", "actor.optim.lr_warmup_steps", "0", "reward.kind", "task", "tools.max_tokens", "64",
            "trainer.threads", "1", NULL };
    struct config c;
    struct session s;
    struct trainer t;
    struct metrics m = { 0 };
    struct err e = { { 0 } };
    struct tally z = { 0 };
    config_init(&c);
    CHECK(config_preset(&c, x->preset, &e), "%s", e.text);
    for (int i = 0; small[i]; i += 2) CHECK(config_set(&c, small[i], small[i + 1], "test", &e), "%s", e.text);
    for (int i = 0; x->set[i]; i += 2) CHECK(config_set(&c, x->set[i], x->set[i + 1], "test", &e), "%s", e.text);
    setenv("APPO_HOME", ".", 1);
    CHECK(config_check(&c, NULL, &e) && session_open(&s, &c, true, &e), "%s: %s", x->name, e.text);
    trainer_make(&t, &s);
    for (int k = 0; k < steps; k++) {
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);
        metrics_clear(&m);
        z.step = k;
        CHECK(trainer_step(&t, &m, f, &e), "%s: %s", x->name, e.text);
        fclose(f);
        check_counts(&m, &c, x->name);
        int lines = check_dump(text, &s, &z, x->name, points ? points + 64 * k : NULL);
        int want = 0;
        for (int mini = 0; mini < 2; mini++)
            want += branches(&c, k, mini) || c.algorithm.adv_estimator != ALGO_APPO ? c.rollout.n
                                                                                    : c.rollout.initial_rollouts;
        CHECK(lines == 2 * want * c.actor.ppo_epochs, "%s: %d rollouts in the dump", x->name, lines);
        free(text);
    }
    CHECK(z.updates == steps * trainer_updates(&c), "%s: %lld updates", x->name, (long long)z.updates);
    metrics_free(&m);
    trainer_free(&t);
    session_close(&s);
    config_free(&c);
    return z;
}

static void steps_computed_again(void **state)
{
    (void)state;
    if (sizeof(elem_t) != 4 || on_shim()) skip();          /* the shim takes a minute a step */
    static const struct test_case cases[] = {
        { "default", "default", { NULL } },
        { "default, two epochs", "default", { "actor.ppo_epochs", "2", "rollout.initial_rollouts", "3", "rollout.n",
            "9", "branch.points", "2" } },
        { "default, two rounds", "default", { "branch.rounds", "2", "rollout.initial_rollouts", "2",
            "actor.ppo_epochs", "2", "actor.kl_loss_coef", "0.2" } },
        { "default, verl's epochs", "default", { "actor.epoch_order", "verl", "actor.ppo_epochs", "2",
            "actor.optim.lr", "4e-3" } },
        { "paper", "paper", { "rollout.n", "12", "branch.points", "2" } },
        { "paper, two epochs", "paper", { "actor.ppo_epochs", "2", "actor.optim.lr", "5e-3" } },
        { "paper, two rounds", "paper", { "branch.rounds", "2", "rollout.initial_rollouts", "2", "actor.ppo_epochs",
            "2" } },
        { "token kept, one pool", "default", { "branch.resample_token", "false", "branch.pool", "prompt",
            "branch.candidates", "text", "actor.ppo_epochs", "2" } },
        { "every second mini-batch", "default", { "branch.every", "2", "actor.ppo_epochs", "2" } },
        { "every third, two rounds", "default", { "branch.every", "3", "branch.rounds", "2",
            "rollout.initial_rollouts", "3", "advantage.dual_group", "average" } },
        { "sums over length and rows", "default", { "actor.loss_agg_mode", "dr-grpo", "actor.kl_loss_coef", "0.1",
            "actor.ppo_epochs", "2" } },
        { "grpo", "default", { "algorithm.adv_estimator", "grpo", "advantage.future", "off", "actor.clip_ratio_high",
            "0.2", "actor.live_rows_only", "false" } },
        { "grpo_passk", "default", { "algorithm.adv_estimator", "grpo_passk", "advantage.future", "off",
            "rollout.n", "2" } },
        { "reinforce_plus_plus", "default", { "algorithm.adv_estimator", "reinforce_plus_plus", "advantage.future",
            "off", "algorithm.gamma", "0.98" } },
        { "reinforce_plus_plus_baseline", "default", { "algorithm.adv_estimator", "reinforce_plus_plus_baseline",
            "advantage.future", "off", "actor.kl_loss_coef", "0.2" } },
        { "rloo", "default", { "algorithm.adv_estimator", "rloo", "advantage.future", "off", "actor.ppo_epochs",
            "2" } },
        { "opo", "default", { "algorithm.adv_estimator", "opo", "advantage.future", "off", "actor.ppo_epochs", "2",
            "actor.live_rows_only", "false" } },
        { "gspo", "default", { "algorithm.adv_estimator", "grpo", "advantage.future", "off", "actor.clip_ratio_low",
            "0.01", "actor.clip_ratio_high", "0.02", "actor.policy_loss.loss_mode", "gspo", "actor.loss_agg_mode",
            "seq-mean-token-mean" } },
        { "cispo", "default", { "actor.policy_loss.loss_mode", "cispo", "advantage.future", "off" } },
        { "gppo", "default", { "actor.policy_loss.loss_mode", "gppo", "advantage.future", "off" } },
        { "aepo", "default", { "actor.policy_loss.loss_mode", "aepo", "advantage.future", "off",
            "advantage.entropy_weight", "0.2" } },
        { "tokens of high entropy", "default", { "actor.top_entropy_quantile", "0.2" } },
    };
    struct tally all = { 0 };
    size_t n = slow_build() ? 3 : sizeof cases / sizeof *cases;
    for (size_t k = 0; k < n; k++) {
        struct tally t = run(&cases[k], slow_build() ? 1 : 2, NULL);
        printf("%-28s %lld updates: %lld positions with Omega not 1, %lld points (%lld strict, %lld near ties), %lld "
               "advantages (%lld with branches), %lld stale tokens, %lld clipped, "
               "%lld branches of branches\n",
               cases[k].name, (long long)t.updates, (long long)t.omegas, (long long)t.points, (long long)t.strict,
               (long long)t.near_ties, (long long)t.advantages, (long long)t.shared, (long long)t.stale,
               (long long)t.clipped, (long long)t.branches_of_branches);
        all.omegas += t.omegas, all.points += t.points, all.strict += t.strict, all.near_ties += t.near_ties,
            all.shared += t.shared, all.stale += t.stale;
        all.clipped += t.clipped, all.branches_of_branches += t.branches_of_branches;
    }
    CHECK(all.near_ties * 100 <= all.points, "%lld near ties of %lld points", (long long)all.near_ties,
        (long long)all.points);
    if (!slow_build())
        CHECK(all.omegas > 1000 && all.strict > 20 && all.shared > 1000 && all.stale > 5000 && all.clipped > 20 &&
            all.branches_of_branches > 10, "the steps do not reach what is compared");
}

/* The random control: another epoch chooses other points. */
static void epochs_choose_anew(void **state)
{
    (void)state;
    if (sizeof(elem_t) != 4 || slow_build()) skip();
    static const struct test_case cases[] = {
        { "random points", "default", { "branch.score", "random", "actor.ppo_epochs", "3", "actor.optim.lr", "0" } },
        { "random points, epochs outside", "default", { "branch.score", "random", "actor.ppo_epochs", "3",
            "actor.optim.lr", "0", "actor.epoch_order", "verl" } },
        { "rollouts in a random order", "default", { "branch.points", "3", "actor.ppo_epochs", "3", "actor.optim.lr",
            "0" } },
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        uint64_t points[4 * 64] = { 0 };
        int same = 0, pairs = 0;
        run(&cases[k], 4, points);
        for (int i = 0; i < 4 * 64; i++)
            for (int j = i + 1; j < (i / 8 + 1) * 8; j++)
                if (points[i] && points[j]) pairs++, same += points[i] == points[j];
        CHECK(pairs == 48 && same < 12, "%s: %d of %d pairs of epochs have the same points", cases[k].name, same,
            pairs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(steps_computed_again), cmocka_unit_test(epochs_choose_anew) };
    return cmocka_run_group_tests_name("reference", tests, NULL, NULL);
}
