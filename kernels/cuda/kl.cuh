/* kl.cuh: the KL estimate of one position and the weight of a row in each aggregation, for op_kl, op_agg and op_pg. */
#pragma once
#include "kernels/cuda/rl.cuh"

/* slope = derivative by logp */
__device__ __forceinline__ double rl_kl(double *slope, double logp, double ref, enum kl_kind kind)
{
    double d = logp - ref;
    *slope = 0;
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
    return 0;
}

/* dloss/dvalue of each position with m = 1 of a row that has row_tokens of them */
__device__ __forceinline__ double rl_row_weight(enum loss_agg agg, double tokens, double rows_live, double row_tokens,
                                                double max_len)
{
    switch (agg) {
    case AGG_TOKEN_MEAN:              return tokens > 0 ? 1 / tokens : 0;
    case AGG_SEQ_MEAN_TOKEN_MEAN:     return rows_live > 0 && row_tokens > 0 ? 1 / (rows_live * row_tokens) : 0;
    case AGG_SEQ_MEAN_TOKEN_SUM:      return rows_live > 0 ? 1 / rows_live : 0;
    case AGG_SEQ_MEAN_TOKEN_SUM_NORM: return 1 / max_len;
    case AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS: return rows_live > 0 ? 1 / (rows_live * max_len) : 0;
    }
    return NAN;
}
