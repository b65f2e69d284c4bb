/* ops_loss.h: policy losses on packed rollouts (ops_rl.h states what those are): future-aware factor (7), clipped loss
 * (section 6), KL and entropy terms, aggregation. */
#pragma once
#include "kernels/dev.h"
#ifdef __cplusplus
extern "C" {
#endif

/* delta = logp - logp_old clamped to +-20 unless raw_delta. With W = A x factor, r = e^delta, bound = clamp(r, 1 -
 * clip_low, 1 + clip_high):
 *   PPO    max(-W r, -W bound), dual clip at -W clip_c for W < 0              Schulman et al. 2017; Ye et al. 2020
 *   GSPO   the same without dual clip on one ratio a row, r = exp(mean delta); its own aggregation is
 *          seq-mean-token-mean                                                Zheng et al. 2025
 *   CISPO  -sg(bound) W logp (no gradient through sg): no token loses its own  MiniMax 2025
 *   GPPO   PPO with (bound / sg(r)) r in the place of bound: a bounded gradient outside the clip  Su et al. 2025
 *   AEPO   GPPO above the upper bound only                                    Dong et al. 2025 */
enum loss_mode { LOSS_PPO, LOSS_GSPO, LOSS_CISPO, LOSS_GPPO, LOSS_AEPO };
enum loss_agg {
    AGG_TOKEN_MEAN,
    AGG_SEQ_MEAN_TOKEN_MEAN,
    AGG_SEQ_MEAN_TOKEN_SUM,
    AGG_SEQ_MEAN_TOKEN_SUM_NORM,        /* sum of all tokens / max_len */
    AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS    /* sum of all tokens / (max_len x live rows), Dr. GRPO (Liu et al. 2025) */
};
/* The factor W / A; iw is the influence weight A_fut. */
enum future_mode {
    FUTURE_OFF,                         /* 1 */
    FUTURE_SCALE,                       /* 1 + b iw */
    FUTURE_FIPO,                        /* iw */
    FUTURE_CENTER                       /* 1 + b (iw - 1) */
};
/* Estimates of KL from d = logp - logp_ref: d, |d|, d^2 / 2, and op_kl's k3. */
enum kl_kind { KL_OFF, KL_K1, KL_ABS, KL_K2, KL_K3 };
struct future_rule {
    enum future_mode mode;
    double b;                       /* weight of iw in SCALE and CENTER */
    double gamma;                   /* discount of the sum of later deltas */
    double lo, hi;                  /* clamp of iw; hi <= lo: min(raw, 10) */
    double leave_out;               /* ln c, the bound above which the sum leaves a delta out; INFINITY: none */
    double safety_thresh;           /* ratio above which iw is clamped to [0.8, 1] where A < 0; INFINITY: off */
};
struct loss_rule {
    enum loss_mode mode;
    double clip_low, clip_high;
    double clip_c;                  /* <= 0: no dual clip */
    bool raw_delta;
    bool drop_rows;                 /* a row with more than one token at the dual clip (A < 0) is left out of pg */
    double entropy_floor;           /* > 0: tokens of lower entropy give no loss but stay in the denominators (the
                                     * "80/20" rule, with op_entropy_floor) */
    struct future_rule future;
    enum loss_agg agg;
    double max_len;                 /* of AGG_..._NORM and _NORM_ROWS */
    enum kl_kind kl;
    double kl_coef;
    double entropy_coef;
    /* Denominators, for a mini-batch that several calls or ranks share; 0: counted in this call. */
    double tokens, rows_live;       /* of the policy loss */
    double tokens_all, rows_all;    /* of KL and entropy, which keep dropped rows; 0: tokens, rows_live if set */
};
/* Vectors of positions; logp_ref and entropy are optional. */
struct loss_in {
    const acc_t *logp, *logp_old, *logp_ref, *entropy, *adv;
    const uint8_t *m;
    const int64_t *begin;           /* [rows + 1] */
    int rows;
};
/* loss = pg + kl_coef kl - entropy_coef entropy. Means, minima and maxima are over m = 1 of this call, dropped rows
 * included. kl, entropy: 0 where the input or the kind is missing. */
struct loss_stats {
    double loss;
    double pg;
    double kl;
    double entropy;
    double ppo_kl;                  /* mean of -delta */
    double clipfrac;                /* share of tokens at the clip bound */
    double clipfrac_lower;          /* at the dual clip */
    double factor_mean, factor_min, factor_max;         /* W / A */
    double iw_mean, iw_min, iw_max;                     /* A_fut */
    double iw_raw_mean, iw_raw_min, iw_raw_max;         /* before its clamp */
    double iw_clip_upper, iw_clip_lower;
    double tokens;                  /* denominators as counted here: of pg */
    int rows_live;
    double tokens_all;              /* of kl and entropy */
    int rows_all;
    int rows_dropped;
};
/* g = dloss/dlogp (NULL: statistics only, for ranks that must first add up their denominators), ge = dloss/dentropy,
 * both 0 where m = 0; influence = A_fut; kept[rows] = the row was not dropped; ge, influence and kept are optional. The
 * whole mini-batch is one call, so that micro-batches change nothing. Shared prefixes of a tree are gathered into each
 * row that runs through them and g is added back: exact, since the logits are still one row. */
void op_pg(acc_t *g, acc_t *ge, acc_t *influence, uint8_t *kept, struct loss_stats *s, const struct loss_in *in,
           const struct loss_rule *r);

/* The aggregation alone: of value over m; weight [rows] (optional) = its derivative by each value with m = 1 of a row.
 * 0 where no row has an m = 1. */
double op_agg(acc_t *weight, const acc_t *value, const uint8_t *m, const int64_t *begin, int rows, enum loss_agg agg,
              double max_len);
/* The entropy_floor that keeps the ceil(share n) of the n tokens with m = 1 that have the highest entropy (and ties of
 * the last). 0 where n = 0. */
double op_entropy_floor(const acc_t *entropy, const uint8_t *m, int64_t n, double share);
/* value = the KL estimate of each position, slope = its derivative by logp; either is optional. k3 is clamp(e^x - x -
 * 1, -10, 10), x = logp_ref - logp (Schulman 2020); slope is 0 where clamped. */
void op_kl(acc_t *value, acc_t *slope, const acc_t *logp, const acc_t *logp_ref, int64_t n, enum kl_kind kind);

#ifdef __cplusplus
}
#endif
