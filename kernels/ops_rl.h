/* ops_rl.h: the operations of branching reinforcement learning, on vectors of token positions: branch scores, branch
 * points, advantages; ops_loss.h has the policy losses. Section and equation numbers are those of the APPO paper's
 * algorithm as docs/algorithm.md restates it.
 *
 * Packed rollouts: row r owns the positions begin[r] .. begin[r+1]-1, raw response positions, tool results included;
 * m = 1 where the policy generated the token. Values where m = 0 are never used and may be NaN. Sums run in double in a
 * fixed order. All vectors and results are host memory: a backend with a device copies them there and back, and the
 * call returns when they are there. */
#pragma once
#include "kernels/dev.h"
#include "kernels/ops_loss.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Branching Score, eqs. (4), (5). S_i = m_i (logp - logp_old)_i + gamma S_{i+1}; omega = exp(clamp(S, -20, 20)); f =
 * clamp(omega, lo, hi); zf, zh = per-row z-scores of f and of the entropy over m = 1 with popstd + 1e-6; score = zf zh.
 * zf is exactly 0 in a row where f is constant. */
struct branch_rule {
    double gamma;
    double lo, hi;                  /* hi <= lo: no clamp */
};
struct branch_scores {
    acc_t *f;                       /* [positions], given at every position */
    acc_t *zf, *zh, *score;         /* [positions], 0 where m = 0 */
};
struct branch_in {
    const acc_t *logp, *logp_old, *entropy;
    const uint8_t *m;
    const int64_t *begin;           /* [rows + 1] */
    int rows;
};
void op_branch_score(const struct branch_scores *out, const struct branch_in *in, const struct branch_rule *r);

/* Branch points of ONE prompt. Candidates of a higher ok come before all those of a lower one. Strict candidates have
 * zh > 0, zf > 0 and key > 0; with strict_first they come first, by key, then the rest, by zh (fallback_by_entropy) or
 * by key; without it all are ranked by key. Ties: lower row, then lower position. Too few points: the list is repeated
 * cyclically. Returns how many of want were filled: want, or 0 when there is no candidate at all. */
struct branch_point {
    int row;
    int pos;                        /* from the row's first position */
    acc_t score;                    /* the key */
    bool strict;
};
struct select_rule {
    int want;
    int per_row;                    /* > 0 (pool = rollout): each row of order[] in turn gives its best per_row points,
                                     * until there are want; 0 (pool = prompt): all rows together */
    int min_gap;                    /* two points of a row are at least this far apart */
    bool fallback_by_entropy;
    bool strict_first;
};
struct select_in {
    const acc_t *key;               /* the ranking; a NaN key is no candidate */
    const acc_t *zf, *zh;
    const uint8_t *ok;              /* > 0: a candidate */
    const int64_t *begin;           /* [rows + 1] */
    int rows;
    const int *order;               /* [rows]; NULL: rows ascending */
};
int op_branch_select(struct branch_point *out, const struct select_in *in, const struct select_rule *r);

/* A branch: row `row` continues row `orig` from position idx on. */
struct branch_record {
    int orig;
    int row;
    int idx;
    double score;
};

/* Dual-group advantage, eq. (6). a_r = (R_r - mean) / (popstd + 1e-6) in the group (uid, kind), R_r - mean without
 * by_std; exactly 0 where popstd < 1e-8 or the group has one member. Per position, masked by m:
 *   DUAL_PREFIX   a_r + mean of the a of its branches at a position >= i
 *   DUAL_AVERAGE  mean of a_r and of R_r standardised by the branch group (0 under the same conditions); a_r alone
 *                 where the prompt has no branches
 * Branch rows get 0 unless train_branches, then their own a_r. Records that name no pair of an initial row and a branch
 * are skipped. */
enum dual_group { DUAL_PREFIX, DUAL_AVERAGE, DUAL_OFF };
struct advantage_rule {
    enum dual_group dual;
    bool by_std;
    bool train_branches;
};
struct dual_in {
    const acc_t *reward;            /* [rows] */
    const uint8_t *m;               /* [positions] */
    const int64_t *begin;           /* [rows + 1] */
    int rows;                       /* of both kinds */
    const int *uid;                 /* [rows] the row's prompt */
    const uint8_t *kind;            /* [rows] 0 initial, 1 branch; NULL: all initial */
    const struct branch_record *rec;
    int records;
};
void op_advantage_dual(acc_t *adv, acc_t *base /* [rows] = a_r, optional */, const struct dual_in *in,
                       const struct advantage_rule *r);

/* The official code's reward scale M, on token rewards [positions] in place: each record with row >= 0 gives M[t] = 1 +
 * (score / Smax) discount^(idx - t) for t <= idx, 1 elsewhere and where score <= 0; a row's rewards are multiplied by
 * the mean M of its records. Nothing happens where Smax, of all records with row >= 0, is <= 0. */
void op_reward_scale(acc_t *reward, const int64_t *begin, int rows, const struct branch_record *rec, int records,
                     double discount);

/* Group-relative and return-based estimators, on token rewards; adv and ret (optional) per position. Rewards count at
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

#ifdef __cplusplus
}
#endif
