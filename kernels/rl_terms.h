/* rl_terms.h: what a policy loss is made of beside the loss modes of rl_math.h, compiled into both backends: KL
 * estimates, weights and denominators of the aggregations, the sums of the terms. */
#pragma once
#include "kernels/rl_math.h"

/* KL estimate from one sample; slope = its derivative by logp. */
RL_FN double rl_kl(double *slope, double logp, double ref, enum kl_kind kind)
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

/* dloss/dvalue of each position with m = 1 of a row that has row_tokens of them. */
RL_FN double rl_row_weight(enum loss_agg agg, double tokens, double rows_live, double row_tokens, double max_len)
{
    switch (agg) {
    case AGG_TOKEN_MEAN:              return tokens > 0 ? 1 / tokens : 0;
    case AGG_SEQ_MEAN_TOKEN_MEAN:     return rows_live > 0 && row_tokens > 0 ? 1 / (rows_live * row_tokens) : 0;
    case AGG_SEQ_MEAN_TOKEN_SUM:      return rows_live > 0 ? 1 / rows_live : 0;
    case AGG_SEQ_MEAN_TOKEN_SUM_NORM: return 1 / max_len;
    case AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS: return rows_live > 0 ? 1 / (rows_live * max_len) : 0;
    }
    return (double)NAN;
}

/* The denominators of the policy loss (tokens, rows_live) and of KL and entropy: those of the rule where it sets them,
 * those counted in this call elsewhere. */
struct rl_counts { double tokens, rows_live, tokens_all, rows_all; };
RL_FN struct rl_counts rl_denominators(struct rl_counts c, const struct loss_rule *r)
{
    if (r->tokens > 0) c.tokens = r->tokens;
    if (r->rows_live > 0) c.rows_live = r->rows_live;
    if (r->tokens_all > 0 || r->tokens > 0) c.tokens_all = r->tokens_all > 0 ? r->tokens_all : r->tokens;
    if (r->rows_all > 0 || r->rows_live > 0) c.rows_all = r->rows_all > 0 ? r->rows_all : r->rows_live;
    return c;
}

/* Gradient by logp of a position: weights of its row in the policy loss and in KL, slopes of both. */
RL_FN double rl_grad(double pg_weight, double pg_slope, double kl_weight, double kl_slope, const struct loss_rule *r)
{
    return (pg_weight != 0 ? pg_weight * pg_slope : 0) + r->kl_coef * kl_weight * kl_slope;
}

RL_FN double rl_total_loss(double pg, double kl, double entropy, const struct loss_rule *r)
{
    return pg + (r->kl_coef != 0 ? r->kl_coef * kl : 0) - (r->entropy_coef != 0 ? r->entropy_coef * entropy : 0);
}
