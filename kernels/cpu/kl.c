/* kl.c: estimates of KL(pi_theta || pi_ref) from one sample, and the aggregation every loss term shares. */
#include "kernels/cpu/rl.h"

void op_kl(acc_t *value, acc_t *slope, const acc_t *logp, const acc_t *logp_ref, int64_t n, enum kl_kind kind)
{
    for (int64_t i = 0; i < n; i++) {
        double s, v = rl_kl(&s, (double)logp[i], (double)logp_ref[i], kind);
        if (value) value[i] = (acc_t)v;
        if (slope) slope[i] = (acc_t)s;
    }
}

double op_agg(acc_t *weight, const acc_t *value, const uint8_t *m, const int64_t *begin, int rows, enum loss_agg agg,
              double max_len)
{
    ENSURE(agg <= AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS);
    double tokens = 0, live = 0, total = 0;
    for (int row = 0; row < rows; row++) {
        int64_t n = 0;
        for (int64_t i = begin[row]; i < begin[row + 1]; i++) n += m[i] != 0;
        tokens += (double)n;
        live += n > 0;
    }
    for (int row = 0; row < rows; row++) {
        double n = 0, sum = 0;
        for (int64_t i = begin[row]; i < begin[row + 1]; i++) if (m[i]) { n++; sum += (double)value[i]; }
        double w = rl_row_weight(agg, tokens, live, n, max_len);
        if (weight) weight[row] = (acc_t)w;
        if (n > 0) total += w * sum;
    }
    return total;
}
