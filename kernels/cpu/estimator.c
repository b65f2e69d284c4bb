/* estimator.c: the critic-free estimators as verl defines them. A row's score is the sum of its rewards at every
 * position, m or not. */
#include "kernels/cpu/rl.h"
#include "kernels/rl_credit.h"
#include <stdlib.h>

static struct rl_prompt *prompt_stats(const int *of, int prompts, const double *score, const double *length, int rows)
{
    struct rl_prompt *p = xmalloc(((size_t)prompts + 1) * sizeof *p);
    for (int i = 0; i < prompts; i++) p[i] = rl_prompt_start();
    for (int r = 0; r < rows; r++) rl_prompt_add(&p[of[r]], score[r], length[r], r);
    for (int i = 0; i < prompts; i++) rl_prompt_mean(&p[i]);
    for (int r = 0; r < rows; r++) p[of[r]].square += rl_square(score[r], p[of[r]].mean);
    for (int i = 0; i < prompts; i++) rl_prompt_std(&p[i]);
    return p;
}

/* (x - mean) / sqrt(var + 1e-8) with mean and unbiased variance over m = 1, 0 elsewhere; fewer than two such positions
 * have no variance and give 0. */
static void whiten(double *x, const uint8_t *m, int64_t n)
{
    double sum = 0, square = 0, count = 0;
    for (int64_t i = 0; i < n; i++) if (m[i]) { sum += x[i]; count++; }
    double mean = rl_white_mean(sum, count);
    for (int64_t i = 0; i < n; i++) if (m[i]) square += rl_square(x[i], mean);
    double std = rl_white_std(square, count);
    for (int64_t i = 0; i < n; i++) x[i] = m[i] && count > 1 ? (x[i] - mean) / std : 0;
}

/* Estimators of a row's score. x and in's vectors start at the first position of the batch; begin counts from it. */
static void group_estimate(double *x, const struct estimator_in *in, const int64_t *begin,
                           const struct estimator_rule *r)
{
    int rows = in->rows, *of = xmalloc((size_t)rows * sizeof *of);
    double *score = xcalloc((size_t)rows, sizeof *score), *length = xcalloc((size_t)rows, sizeof *length);
    for (int row = 0; row < rows; row++)
        for (int64_t i = begin[row]; i < begin[row + 1]; i++) {
            score[row] += (double)in->reward[i];
            length[row] += in->m[i] != 0;
        }
    int prompts = rl_groups(of, in->group, rows);
    struct rl_prompt *p = prompt_stats(of, prompts, score, length, rows);
    for (int row = 0; row < rows; row++) {
        double a = rl_row_advantage(r, score[row], row, &p[of[row]]);
        for (int64_t i = begin[row]; i < begin[row + 1]; i++) x[i] = in->m[i] ? a : 0;
    }
    free(score);
    free(length);
    free(of);
    free(p);
}

/* Estimators of returns: REINFORCE++ and ReMax. */
static void return_estimate(double *x, double *ret, const struct estimator_in *in, const int64_t *begin,
                            const struct estimator_rule *r)
{
    bool remax = r->kind == ADV_REMAX;
    for (int row = 0; row < in->rows; row++) {
        double carry = 0;
        for (int64_t i = begin[row + 1] - 1; i >= begin[row]; i--) {
            if (remax) carry += in->m[i] ? (double)in->reward[i] : 0;
            else carry = (double)in->reward[i] + r->gamma * carry;
            ret[i] = carry;
            x[i] = remax ? carry - (in->m[i] ? (double)in->baseline[row] : 0) : carry;
            /* REINFORCE++: a return does not cross a position with m = 0 */
            if (!remax && !in->m[i]) carry = 0;
        }
    }
}

void op_advantage(acc_t *adv, acc_t *ret, const struct estimator_in *in, const struct estimator_rule *r)
{
    if (in->rows <= 0) return;
    ENSURE(r->kind <= ADV_REMAX);
    int64_t base = in->begin[0], n = in->begin[in->rows] - base, *at = xmalloc(((size_t)in->rows + 1) * sizeof *at);
    for (int i = 0; i <= in->rows; i++) at[i] = in->begin[i] - base;
    struct estimator_in batch = *in;
    batch.reward += base;
    batch.m += base;
    double *x = xmalloc((size_t)n * sizeof *x + 1), *back = xmalloc((size_t)n * sizeof *back + 1);
    if (rl_uses_returns(r->kind)) return_estimate(x, back, &batch, at, r);
    else group_estimate(x, &batch, at, r);
    if (rl_whitens(r->kind)) whiten(x, batch.m, n);
    for (int64_t i = 0; i < n; i++) {
        adv[base + i] = (acc_t)x[i];
        if (ret) ret[base + i] = (acc_t)(rl_uses_returns(r->kind) ? back[i] : x[i]);
    }
    free(x);
    free(back);
    free(at);
}
