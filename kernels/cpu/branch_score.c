/* branch_score.c: the Branching Score. Everything up to the last rounding is double: f often spreads by 1e-6 only, and
 * z divides by that. */
#include "kernels/cpu/rl.h"
#include "kernels/rl_credit.h"
#include <stdlib.h>

/* x becomes its z-score over m = 1 and 0 elsewhere; exactly 0 everywhere where x is constant, which a rounded mean
 * would not give. */
static void zscore(double *x, const uint8_t *m, int64_t n)
{
    struct rl_moments s = rl_moments_start();
    double square = 0, count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!m[i]) continue;
        rl_moments_add(&s, x[i]);
        count++;
    }
    rl_moments_mean(&s, count);
    for (int64_t i = 0; i < n; i++) if (m[i]) square += rl_square(x[i], s.mean);
    s.std = count > 0 ? sqrt(square / count) : 0;
    for (int64_t i = 0; i < n; i++) x[i] = m[i] ? rl_zscore(&s, x[i]) : 0;
}

/* f and h of one row: positions at .. at + n - 1. */
static void row_score(double *f, double *h, const struct branch_in *in, int64_t at, int64_t n,
                      const struct branch_rule *r)
{
    double s = 0;
    for (int64_t i = n - 1; i >= 0; i--) {
        bool m = in->m[at + i];
        s = r->gamma * s + (m ? (double)in->logp[at + i] - (double)in->logp_old[at + i] : 0);
        f[i] = rl_branch_factor(s, r);
        h[i] = m ? (double)in->entropy[at + i] : 0;
    }
}

void op_branch_score(const struct branch_scores *out, const struct branch_in *in, const struct branch_rule *r)
{
    if (in->rows <= 0) return;
    int64_t base = in->begin[0], n = in->begin[in->rows] - base;
    double *wf = xmalloc((size_t)n * sizeof *wf + 1), *wh = xmalloc((size_t)n * sizeof *wh + 1);
#pragma omp parallel for schedule(dynamic, 1) if (n > RL_PARALLEL)
    for (int row = 0; row < in->rows; row++) {
        int64_t at = in->begin[row], len = in->begin[row + 1] - at;
        double *x = wf + (at - base), *h = wh + (at - base);
        row_score(x, h, in, at, len, r);
        for (int64_t i = 0; i < len; i++) out->f[at + i] = (acc_t)x[i];
        zscore(x, in->m + at, len);
        zscore(h, in->m + at, len);
        for (int64_t i = 0; i < len; i++) {
            out->zf[at + i] = (acc_t)x[i];
            out->zh[at + i] = (acc_t)h[i];
            out->score[at + i] = (acc_t)(x[i] * h[i]);
        }
    }
    free(wf);
    free(wh);
}
