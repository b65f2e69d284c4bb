/* pg.c: every policy loss. A row is one reverse scan, because the discounted sum of the future factor runs backwards; a
 * second pass over g puts the denominators in, which are known only when every row has been seen. Row sums are added in
 * row order: threads change nothing. */
#include "kernels/cpu/rl.h"
#include <float.h>
#include <stdlib.h>

struct span { double sum, min, max; };

struct row_sum {
    double loss, kl, entropy, ppo_kl, clipped, lower, at_hi, at_lo;
    struct span factor, iw, raw;
    int64_t n;
    bool kept;
};

static void span_put(struct span *s, double x, bool first)
{
    s->sum += x;
    if (first || !(x >= s->min)) s->min = x;
    if (first || !(x <= s->max)) s->max = x;
}

/* iw, its raw value, and the factor that turns A into W */
struct future { double raw, iw, factor; };

static struct future future_at(double s, double adv, double ratio, const struct future_rule *r)
{
    struct future f = { .raw = exp(s) };
    f.iw = r->hi > r->lo ? rl_clamp(f.raw, r->lo, r->hi) : f.raw > 10 ? 10 : f.raw;
    if (adv < 0 && ratio > r->safety_thresh) f.iw = rl_clamp(f.iw, 0.8, 1);
    switch (r->mode) {
    case FUTURE_OFF:    f.factor = 1; break;
    case FUTURE_SCALE:  f.factor = 1 + r->b * f.iw; break;
    case FUTURE_FIPO:   f.factor = f.iw; break;
    case FUTURE_CENTER: f.factor = 1 + r->b * (f.iw - 1); break;
    }
    return f;
}

/* slope = dloss/dlogp. inside: delta was not clamped, so that it moves with logp. */
struct token { double loss, slope; bool clipped, lower; };

static struct token token_loss(double ratio, bool inside, double w, double adv, double logp, const struct loss_rule *r)
{
    if (r->raw_delta && ratio > (double)FLT_MAX) ratio = (double)INFINITY;      /* what the official float32 sees */
    double bound = rl_clamp(ratio, 1 - r->clip_low, 1 + r->clip_high), l1 = -w * ratio, l2 = -w * bound;
    if (r->mode == LOSS_CISPO) return (struct token){ l2 * logp, l2, ratio != bound, false };
    bool second = l2 > l1;
    bool bounded = (r->mode == LOSS_GPPO || r->mode == LOSS_AEPO) && (r->mode == LOSS_GPPO || ratio > bound);
    struct token t = { second ? l2 : l1, second ? (bounded ? l2 : 0) : (inside ? l1 : 0), second, false };
    double l3 = r->clip_c > 0 && r->mode != LOSS_GSPO ? -w * r->clip_c : (double)INFINITY;
    t.lower = adv < 0 && t.loss > l3;
    if (w < 0 && t.loss > l3) t.loss = l3, t.slope = 0;
    return t;
}

static double delta_at(const struct loss_in *in, int64_t i, bool raw)
{
    double d = (double)in->logp[i] - (double)in->logp_old[i];
    return raw ? d : rl_clamp(d, -20, 20);
}

static bool is_inside(const struct loss_in *in, int64_t i, bool raw)
{
    double d = (double)in->logp[i] - (double)in->logp_old[i];
    return raw || !(d < -20 || d > 20);
}

static double mean_delta(const struct loss_in *in, int row, bool raw)
{
    double sum = 0, n = 0;
    for (int64_t i = in->begin[row]; i < in->begin[row + 1]; i++) if (in->m[i]) { sum += delta_at(in, i, raw); n++; }
    return n > 0 ? sum / n : 0;
}

static void count_token(struct row_sum *s, const struct loss_in *in, int64_t i, double d, struct future f,
                        struct token t, const struct loss_rule *r)
{
    bool first = s->n++ == 0;
    double hi = r->future.hi > r->future.lo ? r->future.hi : 10, lo = r->future.hi > r->future.lo ? r->future.lo : 0,
           slope;
    s->loss += t.loss;
    s->ppo_kl -= d;
    s->clipped += t.clipped;
    s->lower += t.lower;
    span_put(&s->factor, f.factor, first);
    if (r->future.mode != FUTURE_OFF) {
        span_put(&s->iw, f.iw, first);
        span_put(&s->raw, f.raw, first);
        s->at_hi += f.iw >= hi - 1e-7;
        s->at_lo += f.iw <= lo + 1e-7;
    }
    if (in->entropy) s->entropy += (double)in->entropy[i];
    if (in->logp_ref) s->kl += rl_kl(&slope, (double)in->logp[i], (double)in->logp_ref[i], r->kl);
}

/* One row: its sums, and g[i] = slope of token i before any denominator. */
static struct row_sum row_loss(acc_t *g, acc_t *influence, const struct loss_in *in, int row, const struct loss_rule *r)
{
    struct row_sum s = { .kept = true };
    double future = 0, slopes = 0, whole = r->mode == LOSS_GSPO ? mean_delta(in, row, r->raw_delta) : 0;
    for (int64_t i = in->begin[row + 1] - 1; i >= in->begin[row]; i--) {
        bool live = in->m[i];
        double d = live ? delta_at(in, i, r->raw_delta) : 0, adv = live ? (double)in->adv[i] : 0;
        struct future f = { .raw = 1, .iw = 1, .factor = 1 };
        if (r->future.mode != FUTURE_OFF) {
            future = r->future.gamma * future + (d > r->future.leave_out ? 0 : d);
            f = future_at(future, adv, exp(d), &r->future);
        }
        if (influence) influence[i] = (acc_t)f.iw;
        if (g) g[i] = 0;
        if (!live) continue;
        double w = adv * f.factor, logp = (double)in->logp[i];
        bool gspo = r->mode == LOSS_GSPO;
        struct token t = token_loss(exp(gspo ? whole : d), gspo || is_inside(in, i, r->raw_delta), w, adv, logp, r);
        if (r->entropy_floor > 0 && !((double)in->entropy[i] >= r->entropy_floor)) t.loss = t.slope = 0;
        count_token(&s, in, i, d, f, t, r);
        slopes += t.slope;
        if (g) g[i] = (acc_t)t.slope;
    }
    s.kept = !(r->drop_rows && s.lower > 1);           /* more than one such token: a single one is forgiven */
    /* each token moves the mean by 1/n, and the mean moves every token's loss */
    if (r->mode == LOSS_GSPO && g)
        for (int64_t i = in->begin[row]; i < in->begin[row + 1]; i++)
            if (in->m[i]) g[i] = (acc_t)(is_inside(in, i, r->raw_delta) ? slopes / (double)s.n : 0);
    return s;
}

/* The second pass: g and ge of a row, whole. wp, wa: the row's weights in the policy loss and in the terms that keep
 * every row. */
static void row_scale(acc_t *g, acc_t *ge, const struct loss_in *in, int row, double wp, double wa,
                      const struct loss_rule *r)
{
    for (int64_t i = in->begin[row]; i < in->begin[row + 1]; i++) {
        double slope = 0;
        if (in->m[i] && in->logp_ref && r->kl_coef != 0)
            rl_kl(&slope, (double)in->logp[i], (double)in->logp_ref[i], r->kl);
        if (g) g[i] = in->m[i] ? (acc_t)((wp != 0 ? wp * (double)g[i] : 0) + r->kl_coef * wa * slope) : 0;
        if (ge) ge[i] = in->m[i] ? (acc_t)(-r->entropy_coef * wa) : 0;
    }
}

static void span_add(struct span *s, struct span x, bool first)
{
    s->sum += x.sum;
    if (first || !(x.min >= s->min)) s->min = x.min;
    if (first || !(x.max <= s->max)) s->max = x.max;
}

/* Everything that needs no weight, added up in row order. */
static void gather(struct loss_stats *s, const struct row_sum *row, int rows)
{
    struct row_sum a = { 0 };
    for (int i = 0; i < rows; i++) {
        const struct row_sum *x = &row[i];
        s->rows_dropped += !x->kept;
        if (!x->n) continue;
        s->rows_all++;
        s->rows_live += x->kept;
        s->tokens += x->kept ? (double)x->n : 0;
        a.ppo_kl += x->ppo_kl;
        a.clipped += x->clipped;
        a.lower += x->lower;
        a.at_hi += x->at_hi;
        a.at_lo += x->at_lo;
        span_add(&a.factor, x->factor, a.n == 0);
        span_add(&a.iw, x->iw, a.n == 0);
        span_add(&a.raw, x->raw, a.n == 0);
        a.n += x->n;
    }
    double n = a.n ? (double)a.n : 1;
    s->tokens_all = (double)a.n;
    s->ppo_kl = a.ppo_kl / n;
    s->clipfrac = a.clipped / n;
    s->clipfrac_lower = a.lower / n;
    s->factor_mean = a.factor.sum / n, s->factor_min = a.factor.min, s->factor_max = a.factor.max;
    s->iw_mean = a.iw.sum / n, s->iw_min = a.iw.min, s->iw_max = a.iw.max;
    s->iw_raw_mean = a.raw.sum / n, s->iw_raw_min = a.raw.min, s->iw_raw_max = a.raw.max;
    s->iw_clip_upper = a.at_hi / n;
    s->iw_clip_lower = a.at_lo / n;
}

void op_pg(acc_t *g, acc_t *ge, acc_t *influence, uint8_t *kept, struct loss_stats *s, const struct loss_in *in,
           const struct loss_rule *r)
{
    int rows = in->rows > 0 ? in->rows : 0;
    *s = (struct loss_stats){ 0 };
    if (!rows) return;
    ENSURE(!(r->entropy_floor > 0) || in->entropy);
    ENSURE(r->agg < AGG_SEQ_MEAN_TOKEN_SUM_NORM || r->max_len > 0);
    struct row_sum *row = xmalloc((size_t)rows * sizeof *row);
    int64_t n = in->begin[rows] - in->begin[0];
#pragma omp parallel for schedule(dynamic, 1) if (n > RL_PARALLEL)
    for (int i = 0; i < rows; i++) row[i] = row_loss(g, influence, in, i, r);
    gather(s, row, rows);
    double tokens = r->tokens > 0 ? r->tokens : s->tokens, live = r->rows_live > 0 ? r->rows_live : s->rows_live;
    double tokens_all = r->tokens_all > 0 ? r->tokens_all : r->tokens > 0 ? r->tokens : s->tokens_all;
    double rows_all = r->rows_all > 0 ? r->rows_all : r->rows_live > 0 ? r->rows_live : s->rows_all;
#pragma omp parallel for schedule(dynamic, 1) if (n > RL_PARALLEL)
    for (int i = 0; i < rows; i++) {
        double wp = row[i].kept ? rl_row_weight(r->agg, tokens, live, (double)row[i].n, r->max_len) : 0;
        double wa = rl_row_weight(r->agg, tokens_all, rows_all, (double)row[i].n, r->max_len);
        if (g || ge) row_scale(g, ge, in, i, wp, wa, r);
        row[i].loss = row[i].kept && row[i].n ? wp * row[i].loss : 0;
        row[i].kl *= wa;
        row[i].entropy *= wa;
    }
    for (int i = 0; i < rows; i++) {
        s->pg += row[i].loss;
        s->kl += row[i].kl;
        s->entropy += row[i].entropy;
        if (kept) kept[i] = row[i].kept;
    }
    s->loss =
        s->pg + (r->kl_coef != 0 ? r->kl_coef * s->kl : 0) - (r->entropy_coef != 0 ? r->entropy_coef * s->entropy : 0);
    free(row);
}

double op_entropy_floor(const acc_t *entropy, const uint8_t *m, int64_t n, double share)
{
    acc_t *x = xmalloc((size_t)n * sizeof *x + 1);
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) if (m[i]) x[count++] = entropy[i];
    int64_t want = (int64_t)ceil(share * (double)count), lo = 0, hi = count - 1;
    want = (want < 1 ? 1 : want > count ? count : want) - 1;
    while (lo < hi) {                                           /* Hoare's selection, descending */
        acc_t pivot = x[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i <= j) { acc_t t = x[i]; x[i++] = x[j]; x[j--] = t; }
        }
        if (want <= j) hi = j;
        else if (want >= i) lo = i;
        else break;
    }
    double floor = count ? (double)x[want] : 0;
    free(x);
    return floor;
}
