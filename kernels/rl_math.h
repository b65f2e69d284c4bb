/* rl_math.h: the arithmetic of a policy loss at one position, compiled into both backends: the future-aware factor and
 * every loss mode. A new loss mode is a name in ops_loss.h and a rule in rl_ratio_loss(). rl_terms.h has the rest of
 * the loss, rl_credit.h advantages and branch scores. The tests have oracles of their own. */
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

/* Loss of one token. slope = dloss/dlogp; clipped: the clip bound decides; lower: the bound of the dual clip decides,
 * with A < 0. */
struct rl_token { double loss, slope; bool clipped, lower; };

/* Whether a mode takes one ratio for the whole row, exp(mean delta), instead of one per token. */
RL_FN bool rl_sequence_ratio(enum loss_mode mode) { return mode == LOSS_GSPO; }

/* Whether a mode has the dual clip, the bound -W clip_c for W < 0. The configuration asks too: actor.drop_rows and
 * actor.clip_ratio_c mean nothing without it. */
RL_FN bool rl_dual_clip(enum loss_mode mode) { return mode != LOSS_GSPO && mode != LOSS_CISPO; }

/* moves: the ratio has a derivative by logp; where it has none (it is clamped), a slope by way of the ratio is 0. w =
 * adv x factor. ops_loss.h has the formulas. An infinite ratio may give an infinite loss, never a NaN. */
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
    double l3 = r->clip_c > 0 && rl_dual_clip(r->mode) ? -w * r->clip_c : (double)INFINITY;
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
