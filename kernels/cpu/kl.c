/* kl.c: estimates of KL(pi_theta || pi_ref) from one sample, and the aggregation every loss term shares. */
#include "kernels/cpu/rl.h"

double rl_kl(double *slope, double logp, double ref, enum kl_kind kind)
{
    double d = logp - ref;
    switch (kind) {
    case KL_OFF: break;
    case KL_K1:  *slope = 1; return d;
    case KL_ABS: *slope = d > 0 ? 1 : d < 0 ? -1 : d; return fabs(d);      /* d itself: 0, or NaN */
    case KL_K2:  *slope = d; return d * d / 2;
    case KL_K3: {
        double raw = expm1(-d) + d;
        *slope = raw > 10 ? 0 : -expm1(-d);
        return rl_clamp(raw, -10, 10);
    }
    }
    *slope = 0;
    return 0;
}

void op_kl(acc_t *value, acc_t *slope, const acc_t *logp, const acc_t *logp_ref, int64_t n, enum kl_kind kind)
{
    for (int64_t i = 0; i < n; i++) {
        double s, v = rl_kl(&s, (double)logp[i], (double)logp_ref[i], kind);
        if (value) value[i] = (acc_t)v;
        if (slope) slope[i] = (acc_t)s;
    }
}

double rl_row_weight(enum loss_agg agg, double tokens, double rows_live, double row_tokens, double max_len)
{
    switch (agg) {
    case AGG_TOKEN_MEAN:              return tokens > 0 ? 1 / tokens : 0;
    case AGG_SEQ_MEAN_TOKEN_MEAN:     return rows_live > 0 && row_tokens > 0 ? 1 / (rows_live * row_tokens) : 0;
    case AGG_SEQ_MEAN_TOKEN_SUM:      return rows_live > 0 ? 1 / rows_live : 0;
    case AGG_SEQ_MEAN_TOKEN_SUM_NORM: return 1 / max_len;
    case AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS: return rows_live > 0 ? 1 / (rows_live * max_len) : 0;
    }
    die("no aggregation has the number %d", (int)agg);
}

double op_agg(acc_t *weight, const acc_t *value, const uint8_t *m, const int64_t *begin, int rows, enum loss_agg agg,
              double max_len)
{
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
