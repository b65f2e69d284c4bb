/* pg.c: every policy loss. A row is one reverse scan, because the discounted sum of the future factor runs backwards; a
 * second pass over g divides by the denominators, which are known only after the last row. Row sums are added in row
 * order: threads change nothing. */
#include "kernels/cpu/rl.h"
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

static double mean_delta(const struct loss_in *in, int row, const struct loss_rule *r)
{
    double sum = 0, n = 0;
    for (int64_t i = in->begin[row]; i < in->begin[row + 1]; i++) if (in->m[i]) { sum += rl_delta(in, i, r); n++; }
    return n > 0 ? sum / n : 0;
}

static void count_token(struct row_sum *s, const struct loss_in *in, int64_t i, double d, struct rl_future f,
                        struct rl_token t, const struct loss_rule *r)
{
    bool first = s->n++ == 0;
    double slope;
    s->loss += t.loss;
    s->ppo_kl -= d;
    s->clipped += t.clipped;
    s->lower += t.lower;
    span_put(&s->factor, f.factor, first);
    if (r->future.mode != FUTURE_OFF) {
        span_put(&s->iw, f.iw, first);
        span_put(&s->raw, f.raw, first);
        s->at_hi += f.iw >= rl_iw_hi(&r->future) - 1e-7;
        s->at_lo += f.iw <= rl_iw_lo(&r->future) + 1e-7;
    }
    if (in->entropy) s->entropy += (double)in->entropy[i];
    if (in->logp_ref) s->kl += rl_kl(&slope, (double)in->logp[i], (double)in->logp_ref[i], r->kl);
}

/* One row: its sums, and g[i] = slope of token i before any denominator. */
static struct row_sum row_loss(acc_t *g, acc_t *influence, const struct loss_in *in, int row, const struct loss_rule *r)
{
    struct row_sum s = { .kept = true };
    bool whole = rl_sequence_ratio(r->mode);
    double future = 0, slopes = 0, row_delta = whole ? mean_delta(in, row, r) : 0;
    for (int64_t i = in->begin[row + 1] - 1; i >= in->begin[row]; i--) {
        bool live = in->m[i];
        double d = live ? rl_delta(in, i, r) : 0;
        struct rl_future f = { .raw = 1, .iw = 1, .factor = 1 };
        if (r->future.mode != FUTURE_OFF) {
            future = r->future.gamma * future + (d > r->future.leave_out ? 0 : d);
            f = rl_future_at(future, live ? (double)in->adv[i] : 0, exp(d), &r->future);
        }
        if (influence) influence[i] = (acc_t)f.iw;
        if (g) g[i] = 0;
        if (!live) continue;
        struct rl_token t = rl_token_loss(in, i, d, row_delta, f.factor, r);
        count_token(&s, in, i, d, f, t, r);
        slopes += t.slope;
        if (g) g[i] = (acc_t)t.slope;
    }
    s.kept = !(r->drop_rows && s.lower > 1);           /* a single such token does not drop the row */
    /* each token moves the mean by 1/n, and the mean moves every token's loss */
    if (whole && g)
        for (int64_t i = in->begin[row]; i < in->begin[row + 1]; i++)
            if (in->m[i]) g[i] = (acc_t)(rl_delta_moves(in, i, r) ? slopes / (double)s.n : 0);
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
        if (g) g[i] = in->m[i] ? (acc_t)rl_grad(wp, (double)g[i], wa, slope, r) : 0;
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
    ENSURE(r->agg <= AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS);
    struct row_sum *row = xmalloc((size_t)rows * sizeof *row);
    int64_t n = in->begin[rows] - in->begin[0];
#pragma omp parallel for schedule(dynamic, 1) if (n > RL_PARALLEL)
    for (int i = 0; i < rows; i++) row[i] = row_loss(g, influence, in, i, r);
    gather(s, row, rows);
    struct rl_counts c = { s->tokens, s->rows_live, s->tokens_all, s->rows_all };
    c = rl_denominators(c, r);
#pragma omp parallel for schedule(dynamic, 1) if (n > RL_PARALLEL)
    for (int i = 0; i < rows; i++) {
        double wp = row[i].kept ? rl_row_weight(r->agg, c.tokens, c.rows_live, (double)row[i].n, r->max_len) : 0;
        double wa = rl_row_weight(r->agg, c.tokens_all, c.rows_all, (double)row[i].n, r->max_len);
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
    s->loss = rl_total_loss(s->pg, s->kl, s->entropy, r);
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
