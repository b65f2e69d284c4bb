/* estimator.c: the critic-free estimators and GAE, as verl defines them. A row's score is the sum of its rewards at
 * every position, m or not. */
#include "kernels/cpu/rl.h"
#include <stdlib.h>

struct prompt { double sum, mean, std, weighted, length, lo, hi, best, second; int n, best_row; };

/* Unbiased std; exactly 0 where the scores are equal. */
static struct prompt *prompt_stats(const int *of, int prompts, const double *score, const double *length, int rows)
{
    struct prompt *p = xcalloc((size_t)prompts + 1, sizeof *p);
    for (int i = 0; i < prompts; i++) {
        p[i].best = p[i].second = p[i].hi = (double)-INFINITY;
        p[i].lo = (double)INFINITY;
    }
    for (int r = 0; r < rows; r++) {
        struct prompt *q = &p[of[r]];
        q->sum += score[r];
        q->weighted += score[r] * length[r];
        q->length += length[r];
        q->n++;
        if (score[r] < q->lo) q->lo = score[r];
        if (score[r] > q->hi) q->hi = score[r];
        if (score[r] > q->best) { q->second = q->best; q->best = score[r]; q->best_row = r; }
        else if (score[r] > q->second) q->second = score[r];
    }
    for (int i = 0; i < prompts; i++) p[i].mean = p[i].lo == p[i].hi ? p[i].lo : p[i].sum / p[i].n;
    for (int r = 0; r < rows; r++) p[of[r]].std += (score[r] - p[of[r]].mean) * (score[r] - p[of[r]].mean);
    for (int i = 0; i < prompts; i++) p[i].std = p[i].n > 1 ? sqrt(p[i].std / (p[i].n - 1)) : 0;
    return p;
}

/* The advantage of row r before it is masked (and, for REINFORCE++ with baseline, whitened). */
static double row_advantage(enum estimator kind, bool by_std, double score, int r, const struct prompt *p)
{
    double n = p->n;
    switch (kind) {
    case ADV_GRPO:
        if (p->n == 1) return by_std ? score / (1 + 1e-6) : score;
        return by_std ? (score - p->mean) / (p->std + 1e-6) : score - p->mean;
    case ADV_GRPO_PASSK:
        if (p->n < 2 || r != p->best_row) return 0;
        return (p->best - p->second) / (by_std ? p->std + 1e-6 : 1);
    case ADV_REINFORCE_PP_BASELINE:
        return p->n > 1 ? score - p->mean : score;
    case ADV_RLOO:
        return p->n > 1 ? (score - p->mean) * (n / (n - 1)) : score;
    case ADV_OPO:
        return p->n > 1 && p->length > 0 ? score - p->weighted / p->length : score;
    case ADV_REINFORCE_PP: case ADV_REMAX: case ADV_GAE:
        break;
    }
    die("estimator %d has no advantage of a row", (int)kind);
}

/* (x - mean) / sqrt(var + 1e-8) with mean and unbiased variance over m = 1; fewer than two such positions have no
 * variance and give 0. */
static void whiten(double *x, const uint8_t *m, int64_t n)
{
    double sum = 0, square = 0, count = 0;
    for (int64_t i = 0; i < n; i++) if (m[i]) { sum += x[i]; count++; }
    double mean = sum / (count + 1e-8);
    for (int64_t i = 0; i < n; i++) if (m[i]) square += (x[i] - mean) * (x[i] - mean);
    double var = count > 1 ? square / (count + 1e-8) * (count / (count - 1)) : 0;
    for (int64_t i = 0; i < n; i++) x[i] = count > 1 ? (x[i] - mean) / sqrt(var + 1e-8) : 0;
}

/* All arrays of the next three start at the first position of the batch; begin is relative to it. */
static void group_estimate(double *x, const acc_t *reward, const uint8_t *m, const int64_t *begin, int rows,
                           const int *group, const struct estimator_rule *r)
{
    double *score = xcalloc((size_t)rows, sizeof *score), *length = xcalloc((size_t)rows, sizeof *length);
    int *of = xmalloc((size_t)rows * sizeof *of);
    for (int row = 0; row < rows; row++)
        for (int64_t i = begin[row]; i < begin[row + 1]; i++) {
            score[row] += (double)reward[i];
            length[row] += m[i] != 0;
        }
    int prompts = rl_groups(of, group, rows);
    struct prompt *p = prompt_stats(of, prompts, score, length, rows);
    for (int row = 0; row < rows; row++) {
        double a = row_advantage(r->kind, r->by_std, score[row], row, &p[of[row]]);
        for (int64_t i = begin[row]; i < begin[row + 1]; i++) x[i] = m[i] ? a : 0;
    }
    if (r->kind == ADV_REINFORCE_PP_BASELINE) {
        whiten(x, m, begin[rows]);
        for (int64_t i = 0; i < begin[rows]; i++) if (!m[i]) x[i] = 0;
    }
    free(score);
    free(length);
    free(of);
    free(p);
}

static void return_estimate(double *x, double *ret, const acc_t *reward, const acc_t *baseline, const uint8_t *m,
                            const int64_t *begin, int rows, const struct estimator_rule *r)
{
    bool remax = r->kind == ADV_REMAX;
    for (int row = 0; row < rows; row++) {
        double carry = 0;
        for (int64_t i = begin[row + 1] - 1; i >= begin[row]; i--) {
            if (remax) carry += m[i] ? (double)reward[i] : 0;
            else carry = (double)reward[i] + r->gamma * carry;
            ret[i] = carry;
            x[i] = remax ? carry - (m[i] ? (double)baseline[row] : 0) : carry;
            /* REINFORCE++: a return does not cross a position with m = 0 */
            if (!remax && !m[i]) carry = 0;
        }
    }
    if (remax) return;
    whiten(x, m, begin[rows]);
    for (int64_t i = 0; i < begin[rows]; i++) if (!m[i]) x[i] = 0;
}

static void gae(double *x, double *ret, const acc_t *reward, const acc_t *value, const uint8_t *m, const int64_t *begin,
                int rows, const struct estimator_rule *r)
{
    for (int row = 0; row < rows; row++) {
        double next = 0, carry = 0;
        for (int64_t i = begin[row + 1] - 1; i >= begin[row]; i--) {
            carry = (double)reward[i] + r->gamma * next - (double)value[i] + r->gamma * r->lambda * carry;
            next = (double)value[i];
            x[i] = carry;
            ret[i] = carry + next;
        }
    }
    whiten(x, m, begin[rows]);
}

void op_advantage(acc_t *adv, acc_t *ret, const acc_t *reward, const acc_t *values, const acc_t *baseline,
                  const uint8_t *m, const int64_t *begin, int rows, const int *group, const struct estimator_rule *r)
{
    if (rows <= 0) return;
    int64_t base = begin[0], n = begin[rows] - base, *at = xmalloc(((size_t)rows + 1) * sizeof *at);
    for (int i = 0; i <= rows; i++) at[i] = begin[i] - base;
    double *x = xmalloc((size_t)n * sizeof *x + 1), *back = xmalloc((size_t)n * sizeof *back + 1), *returns = back;
    switch (r->kind) {
    case ADV_REINFORCE_PP:
    case ADV_REMAX: return_estimate(x, back, reward + base, baseline, m + base, at, rows, r); break;
    case ADV_GAE: gae(x, back, reward + base, values + base, m + base, at, rows, r); break;
    default: group_estimate(x, reward + base, m + base, at, rows, group, r); returns = x;
    }
    for (int64_t i = 0; i < n; i++) {
        adv[base + i] = (acc_t)x[i];
        if (ret) ret[base + i] = (acc_t)returns[i];
    }
    free(x);
    free(back);
    free(at);
}
