/* rl_math.h: the arithmetic of a policy loss at one position, compiled into both backends: the future-aware factor,
 * every loss mode, the KL estimates and the weights of the aggregations. A new loss mode is a name in ops_rl.h and a
 * rule here. rl_credit.h holds the same for advantages and branch scores. The tests keep oracles of their own. */
#pragma once
#include "kernels/ops_loss.h"
#include <float.h>
#include <math.h>
#ifdef __CUDACC__
#define RL_FN static __host__ __device__ __forceinline__
#else
#define RL_FN static inline
#endif

/* Not fmin(fmax()): a NaN must stay a NaN. */
RL_FN double rl_clamp(double x, double lo, double hi) { return x < lo ? lo : x > hi ? hi : x; }

/* logp - logp_old, the log of the importance ratio */
RL_FN double rl_raw_delta(const struct loss_in *in, int64_t i) { return (double)in->logp[i] - (double)in->logp_old[i]; }
RL_FN double rl_delta(const struct loss_in *in, int64_t i, const struct loss_rule *r)
{
    double d = rl_raw_delta(in, i);
    return r->raw_delta ? d : rl_clamp(d, -20, 20);
}
/* Whether rl_delta() has a derivative by logp: false where it is clamped. */
RL_FN bool rl_delta_moves(const struct loss_in *in, int64_t i, const struct loss_rule *r)
{
    double d = rl_raw_delta(in, i);
    return r->raw_delta || !(d < -20 || d > 20);
}

/* Future-aware factor: W = A x factor; iw = influence weight A_fut, raw = iw before its clamp. */
struct rl_future { double raw, iw, factor; };

/* The bounds of iw. */
RL_FN double rl_iw_lo(const struct future_rule *r) { return r->hi > r->lo ? r->lo : 0; }
RL_FN double rl_iw_hi(const struct future_rule *r) { return r->hi > r->lo ? r->hi : 10; }

/* sum: discounted sum of the deltas from this position on; ratio = e^delta here. */
RL_FN struct rl_future rl_future_at(double sum, double adv, double ratio, const struct future_rule *r)
{
    struct rl_future f = { exp(sum), 0, 1 };
    f.iw = r->hi > r->lo ? rl_clamp(f.raw, r->lo, r->hi) : f.raw > 10 ? 10 : f.raw;
    if (adv < 0 && ratio > r->safety_thresh) f.iw = rl_clamp(f.iw, 0.8, 1);
    switch (r->mode) {
    case FUTURE_OFF:    break;
    case FUTURE_SCALE:  f.factor = 1 + r->b * f.iw; break;
    case FUTURE_FIPO:   f.factor = f.iw; break;
    case FUTURE_CENTER: f.factor = 1 + r->b * (f.iw - 1); break;
    }
    return f;
}

/* Loss of one token. slope = dloss/dlogp; clipped: the clip bound decides; lower: the dual clip does, with A < 0. */
struct rl_token { double loss, slope; bool clipped, lower; };

/* Whether a mode takes one ratio for the whole row, exp(mean delta), instead of one per token. */
RL_FN bool rl_sequence_ratio(enum loss_mode mode) { return mode == LOSS_GSPO; }

/* moves: the ratio has a derivative by logp. w = adv x factor. The formulas stand in ops_rl.h. */
RL_FN struct rl_token rl_ratio_loss(double ratio, bool moves, double w, double adv, double logp,
                                    const struct loss_rule *r)
{
    if (r->raw_delta && ratio > (double)FLT_MAX) ratio = (double)INFINITY;      /* as the official float32 code */
    double bound = rl_clamp(ratio, 1 - r->clip_low, 1 + r->clip_high), l1 = -w * ratio, l2 = -w * bound;
    if (r->mode == LOSS_CISPO) {
        struct rl_token t = { l2 * logp, l2, ratio != bound, false };
        return t;
    }
    bool second = l2 > l1, bounded = r->mode == LOSS_GPPO || (r->mode == LOSS_AEPO && ratio > bound);
    struct rl_token t = { second ? l2 : l1, second ? (bounded ? l2 : 0) : (moves ? l1 : 0), second, false };
    double l3 = r->clip_c > 0 && r->mode != LOSS_GSPO ? -w * r->clip_c : (double)INFINITY;
    t.lower = adv < 0 && t.loss > l3;
    if (w < 0 && t.loss > l3) {
        t.loss = l3;
        t.slope = 0;
    }
    return t;
}

/* Position i with m = 1; d = its delta, row_delta = mean delta of the row (for modes with one ratio a row). */
RL_FN struct rl_token rl_token_loss(const struct loss_in *in, int64_t i, double d, double row_delta, double factor,
                                    const struct loss_rule *r)
{
    bool whole = rl_sequence_ratio(r->mode);
    double adv = (double)in->adv[i];
    struct rl_token t = rl_ratio_loss(exp(whole ? row_delta : d), whole || rl_delta_moves(in, i, r), adv * factor, adv,
                                      (double)in->logp[i], r);
    if (r->entropy_floor > 0 && !((double)in->entropy[i] >= r->entropy_floor)) t.loss = t.slope = 0;
    return t;
}

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
