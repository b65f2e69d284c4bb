/* ops_rl.h: the operations of branching reinforcement learning, on vectors of tokens. Section numbers are those of the
 * APPO paper's algorithm as docs/algorithm.md restates it. Packed rollouts: row r owns the positions begin[r] ..
 * begin[r+1]-1, raw response positions, tool results included; m = 1 where the policy generated the token. Values where
 * m = 0 are never used and may be NaN. Sums run in double in a fixed order.
 * All vectors and results are host memory: a backend with a device copies them there and back, and the call returns
 * when they are there. */
#pragma once
#include "kernels/dev.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Branching Score, eqs. (4), (5). S_i = m_i (logp - logp_old)_i + gamma S_{i+1}; omega = exp(clamp(S, -20, 20)); f =
 * clamp(omega, lo, hi) (hi <= lo: no clamp); zf, zh = per-row z-scores of f and of the entropy over m = 1 with popstd +
 * 1e-6; score = zf zh, 0 where m = 0. zf is exactly 0 in a row where f is constant; f itself is given at every
 * position. */
struct branch_rule { double gamma, lo, hi; };
void op_branch_score(acc_t *f, acc_t *zf, acc_t *zh, acc_t *score, const acc_t *logp, const acc_t *logp_old,
                     const acc_t *entropy, const uint8_t *m, const int64_t *begin, int rows,
                     const struct branch_rule *r);

/* Branch points of ONE prompt. ok > 0 marks the candidates; all of a higher ok come before those of a lower one. key:
 * what ranks; a NaN key is no candidate. strict_first: strict candidates (zh > 0, zf > 0, key > 0) come first, by key,
 * then the rest, by zh (fallback_by_entropy) or by key; else all by key. Ties: lower row, then lower position. pos
 * counts from the row's first position; order NULL: rows ascending.
 * per_row > 0 (pool = rollout): each row of order[] in turn gives its best per_row points, until there are want; 0
 * (pool = prompt): all rows together. min_gap: two points of a row are at least this far apart. Too few points: the
 * list is repeated cyclically. Returns how many of want were filled: want, or 0 when there is no candidate at all. */
struct branch_point { int row, pos; acc_t score; bool strict; };
struct select_rule { int want, per_row, min_gap; bool fallback_by_entropy, strict_first; };
int op_branch_select(struct branch_point *out, const acc_t *key, const acc_t *zf, const acc_t *zh, const uint8_t *ok,
                     const int64_t *begin, int rows, const int *order, const struct select_rule *r);

/* Dual-group advantage, eq. (6). Rows of both kinds together: uid = prompt, kind 0 initial, 1 branch (NULL: all
 * initial). A record says that row `row` branched from row `orig` at position idx. a_r = (R_r - mean)/(popstd + 1e-6)
 * in the group (uid, kind), R_r - mean without by_std; exactly 0 where popstd < 1e-8 or the group has one member;
 * base[r] = a_r. DUAL_PREFIX: a_n + mean of the a_b of the branches at a position >= i. DUAL_AVERAGE: mean of a_n and
 * of R_n standardised by the branch group (0 under the same conditions), a_n alone where the prompt has no branches.
 * adv is per position, masked by m; branch rows get 0 unless train_branches, then their own a_r. Records that name no
 * such pair are skipped. */
struct branch_record { int orig, row, idx; double score; };
enum dual_group { DUAL_PREFIX, DUAL_AVERAGE, DUAL_OFF };
struct advantage_rule { enum dual_group dual; bool by_std, train_branches; };
void op_advantage_dual(acc_t *adv, acc_t *base /* [rows], may be NULL */, const acc_t *reward /* [rows] */,
                       const uint8_t *m, const int64_t *begin, int rows, const int *uid, const uint8_t *kind,
                       const struct branch_record *rec, int records, const struct advantage_rule *r);
/* The official code's reward scale M, on token rewards [positions] in place: each record with row >= 0 gives M[t] = 1 +
 * (score / Smax) discount^(idx - t) for t <= idx, 1 elsewhere and where score <= 0; a row's rewards are multiplied by
 * the mean M of its records. Smax, of all records with row >= 0, <= 0: nothing. */
void op_reward_scale(acc_t *reward, const int64_t *begin, int rows, const struct branch_record *rec, int records,
                     double discount);

/* Group-relative and return-based estimators, on token rewards; adv and ret (may be NULL) per position. Rewards count at
 * every position, m or not: no NaN there.
 * GRPO: Shao et al. 2024 (unbiased std; a group of one: mean 0, std 1); pass@k: Chen et al. 2025; REINFORCE++: Hu 2025;
 * RLOO: Ahmadian et al. 2024; OPO: Hao et al. 2025; ReMax: Li et al. 2023. */
enum estimator {
    ADV_GRPO,
    ADV_GRPO_PASSK,
    ADV_REINFORCE_PP,
    ADV_REINFORCE_PP_BASELINE,
    ADV_RLOO,
    ADV_OPO,
    ADV_REMAX
};
struct estimator_rule {
    enum estimator kind;
    bool by_std;
    double gamma;                   /* REINFORCE++ */
};
struct estimator_in {
    const acc_t *reward;            /* [positions] */
    const acc_t *baseline;          /* [rows], ReMax alone */
    const uint8_t *m;               /* [positions] */
    const int64_t *begin;           /* [rows + 1] */
    int rows;
    const int *group;               /* [rows] the row's prompt; NULL for REINFORCE++ and ReMax */
};
void op_advantage(acc_t *adv, acc_t *ret, const struct estimator_in *in, const struct estimator_rule *r);

/* Policy loss: future-aware factor (7), clipped loss (section 6), KL and entropy terms, aggregation; g = dloss/dlogp,
 * ge = dloss/dentropy, both 0 where m = 0 (ge may be NULL; g NULL: statistics only, for several ranks that must first
 * add up their denominators).
 * delta = logp - logp_old clamped to +-20 unless raw_delta. The whole mini-batch is one call, so that micro-batches
 * change nothing; tokens, rows_live > 0 replace the denominators of the policy loss counted here, tokens_all, rows_all
 * those of KL and entropy, which do not know of dropped rows (0: the same). Shared prefixes of a tree are gathered into
 * each row that runs through them and g is added back: exact, the logits are still one row.
 * Modes, with W = A x factor, r = e^delta, bound = clamp(r, 1 - clip_low, 1 + clip_high):
 *   PPO max(-W r, -W bound), dual clip at -W clip_c for W < 0 (clip_c <= 0: none) Schulman et al. 2017; Ye et al. 2020
 *   GSPO the same without dual clip on one ratio a row, r = exp(mean delta); its own aggregation is seq-mean-token-mean
 *   Zheng et al. 2025
 *   CISPO  -sg(bound) W logp, no token loses its gradient                                         MiniMax 2025
 *   GPPO   PPO with (bound / sg(r)) r in the place of bound: a bounded gradient outside           Su et al. 2025
 *   AEPO   GPPO above the upper bound only                                                        Dong et al. 2025
 * entropy_floor > 0: tokens of lower entropy give no loss but stay in the denominators (the "80/20" rule, with
 * op_entropy_floor). */
enum loss_mode { LOSS_PPO, LOSS_GSPO, LOSS_CISPO, LOSS_GPPO, LOSS_AEPO };
enum loss_agg {
    AGG_TOKEN_MEAN,
    AGG_SEQ_MEAN_TOKEN_MEAN,
    AGG_SEQ_MEAN_TOKEN_SUM,
    AGG_SEQ_MEAN_TOKEN_SUM_NORM,
    AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS
};
enum future_mode { FUTURE_OFF, FUTURE_SCALE, FUTURE_FIPO, FUTURE_CENTER };
enum kl_kind { KL_OFF, KL_K1, KL_ABS, KL_K2, KL_K3 };
struct future_rule {
    enum future_mode mode;
    double b, gamma, lo, hi /* hi <= lo: min(raw, 10) */, leave_out /* ln c; INFINITY: none */,
        safety_thresh /* INFINITY: off */;
};
struct loss_rule {
    double clip_low, clip_high, clip_c;
    /* drop_rows: a row with more than one token at the dual clip (A < 0) leaves pg */
    bool raw_delta, drop_rows;
    enum loss_agg agg;
    /* of seq-mean-token-sum-norm: sum of all tokens / max_len; -rows: / (max_len x live rows), Dr. GRPO (Liu et al.
     * 2025) */
    double max_len;
    struct future_rule future;
    enum kl_kind kl;
    double kl_coef, entropy_coef, tokens, rows_live;
    enum loss_mode mode;
    double entropy_floor, tokens_all, rows_all;
};
/* loss = pg + kl_coef kl - entropy_coef entropy. factor, iw and ppo_kl are means, minima and maxima over m = 1 of this
 * call, dropped rows included; tokens, rows_live: denominators of pg as counted here, tokens_all, rows_all: of kl and
 * entropy. kl, entropy: 0 where the input or the kind is missing. */
struct loss_stats {
    /* factor = W / A */
    double loss, kl, entropy, ppo_kl, clipfrac, clipfrac_lower, factor_mean, factor_min, factor_max;
    /* iw = A_fut; raw before its clamp */
    double iw_mean, iw_min, iw_max, iw_raw_mean, iw_raw_min, iw_raw_max, iw_clip_upper, iw_clip_lower;
    double tokens; int rows_live, rows_dropped;
    double pg, tokens_all; int rows_all;
};
/* logp_ref, entropy may be NULL */
struct loss_in {
    const acc_t *logp, *logp_old, *logp_ref, *entropy, *adv;
    const uint8_t *m;
    const int64_t *begin;
    int rows;
};
void op_pg(acc_t *g, acc_t *ge, acc_t *influence /* may be NULL */, uint8_t *kept /* [rows], may be NULL */,
           struct loss_stats *s, const struct loss_in *in, const struct loss_rule *r);
/* The aggregation alone: of value over m; weight [rows] (may be NULL) = its derivative by each value with m = 1 of a
 * row. 0 where no row has an m = 1. */
double op_agg(acc_t *weight, const acc_t *value, const uint8_t *m, const int64_t *begin, int rows, enum loss_agg agg,
              double max_len);
/* The entropy_floor that keeps the ceil(share n) of the n tokens with m = 1 that have the highest entropy (and ties of
 * the last). 0 where n = 0. */
double op_entropy_floor(const acc_t *entropy, const uint8_t *m, int64_t n, double share);
/* value = the KL estimate of each position, slope = its derivative by logp. k3 is clamp(e^x - x - 1, -10, 10), x =
 * logp_ref - logp (Schulman 2020); slope is 0 where clamped. Either may be NULL. */
void op_kl(acc_t *value, acc_t *slope, const acc_t *logp, const acc_t *logp_ref, int64_t n, enum kl_kind kind);

#ifdef __cplusplus
}
#endif
