/* rl_credit.h: the arithmetic of branch scores and advantages that both backends compile: z-scores, groups of rewards,
 * the estimators, whitening, the positions that branch records credit. Sums are added by the caller in row order, so
 * that both backends give the same bits where their order is the same. */
#pragma once
#include "kernels/ops_rl.h"
#include "kernels/rl_math.h"

/* f of the Branching Score, eq. (4); sum: discounted sum of the log-ratios from this position on. */
RL_FN double rl_branch_factor(double sum, const struct branch_rule *r)
{
    double omega = exp(rl_clamp(sum, -20, 20));
    return r->hi > r->lo ? rl_clamp(omega, r->lo, r->hi) : omega;
}

/* Mean and std of one row's values, in three walks: add, mean, std. flat: all values are equal, which a rounded mean
 * would not show; a NaN among them is not flat. */
struct rl_moments {
    double sum, lo, hi;
    double mean, std;
    bool flat;
};
RL_FN struct rl_moments rl_moments_start(void)
{
    struct rl_moments s = { 0, (double)INFINITY, (double)-INFINITY, 0, 0, false };
    return s;
}
RL_FN void rl_moments_add(struct rl_moments *s, double x)
{
    s->sum += x;
    if (x < s->lo) s->lo = x;
    if (x > s->hi) s->hi = x;
}
RL_FN void rl_moments_mean(struct rl_moments *s, double count)
{
    s->mean = count > 0 ? s->sum / count : 0;
    s->flat = s->lo == s->hi && !isnan(s->sum);
}
RL_FN double rl_square(double x, double mean) { return (x - mean) * (x - mean); }
RL_FN double rl_zscore(const struct rl_moments *s, double x) { return s->flat ? 0 : (x - s->mean) / (s->std + 1e-6); }

/* Rewards of the rows of one prompt and kind (dual-group advantage, eq. (6)). */
struct rl_group {
    double sum;
    double square;                  /* sum of the squared distances from the mean */
    double mean, std;
    int n;
    bool flat;
};
RL_FN void rl_group_std(struct rl_group *g)
{
    g->std = g->n ? sqrt(g->square / g->n) : 0;
    g->flat = g->n < 2 || g->std < 1e-8;
}
RL_FN double rl_standard(double reward, const struct rl_group *g, bool by_std)
{
    return g->flat ? 0 : by_std ? (reward - g->mean) / (g->std + 1e-6) : reward - g->mean;
}

/* Position of row rec->orig, counted from its start, that the branch of a record credits; -1: the record names no pair
 * of an initial row and a branch. */
RL_FN int64_t rl_record_position(const struct branch_record *rec, const int64_t *begin, int rows, const uint8_t *kind)
{
    int orig = rec->orig, row = rec->row;
    if (orig < 0 || orig >= rows || row < 0 || row >= rows || rec->idx < 0 || !kind || kind[orig] || !kind[row])
        return -1;
    int64_t len = begin[orig + 1] - begin[orig];
    return len == 0 ? -1 : rec->idx < len ? rec->idx : len - 1;
}

/* The reward scale of one record: score / Smax at its position, fading to the left; a record beyond the row's last
 * position has already faded there. at: where it starts, -1: nowhere. */
RL_FN double rl_scale_start(int64_t *at, const struct branch_record *rec, int64_t len, double most, double discount)
{
    *at = -1;
    if (!(rec->score > 0) || rec->idx < 0 || len == 0) return 0;
    int64_t beyond = rec->idx - (len - 1);
    *at = beyond > 0 ? len - 1 : rec->idx;
    return rec->score / most * (beyond > 0 ? pow(discount, (double)beyond) : 1);
}

/* Scores and lengths of the rows of one prompt, in three walks in row order: add, mean, std. Unbiased std; exactly 0
 * where all scores are equal. */
struct rl_prompt {
    double sum, lo, hi;             /* of the scores */
    double weighted;                /* sum of score x length */
    double length;                  /* sum of the lengths */
    double best, second;            /* the two highest scores */
    double mean;
    double square;                  /* sum of the squared distances from the mean */
    double std;
    int n;
    int best_row;
};
RL_FN struct rl_prompt rl_prompt_start(void)
{
    const double inf = (double)INFINITY;
    struct rl_prompt p = { 0, inf, -inf, 0, 0, -inf, -inf, 0, 0, 0, 0, 0 };
    return p;
}
RL_FN void rl_prompt_add(struct rl_prompt *p, double score, double length, int row)
{
    p->sum += score;
    p->weighted += score * length;
    p->length += length;
    p->n++;
    if (score < p->lo) p->lo = score;
    if (score > p->hi) p->hi = score;
    if (score > p->best) {
        p->second = p->best;
        p->best = score;
        p->best_row = row;
    } else if (score > p->second) p->second = score;
}
RL_FN void rl_prompt_mean(struct rl_prompt *p) { p->mean = p->lo == p->hi ? p->lo : p->sum / p->n; }
RL_FN void rl_prompt_std(struct rl_prompt *p) { p->std = p->n > 1 ? sqrt(p->square / (p->n - 1)) : 0; }

/* Whether an estimator works on returns (else on a row's score), and whether its result is whitened over the batch. */
RL_FN bool rl_uses_returns(enum estimator kind) { return kind == ADV_REINFORCE_PP || kind == ADV_REMAX; }
RL_FN bool rl_whitens(enum estimator kind) { return kind == ADV_REINFORCE_PP || kind == ADV_REINFORCE_PP_BASELINE; }

/* The advantage of a row by its score, before it is masked and, for REINFORCE++ with baseline, whitened. */
RL_FN double rl_row_advantage(const struct estimator_rule *r, double score, int row, const struct rl_prompt *p)
{
    double n = p->n;
    bool alone = p->n < 2;
    switch (r->kind) {
    case ADV_GRPO:
        if (alone) return r->by_std ? score / (1 + 1e-6) : score;
        return r->by_std ? (score - p->mean) / (p->std + 1e-6) : score - p->mean;
    case ADV_GRPO_PASSK:
        return alone || row != p->best_row ? 0 : (p->best - p->second) / (r->by_std ? p->std + 1e-6 : 1);
    case ADV_REINFORCE_PP_BASELINE: return alone ? score : score - p->mean;
    case ADV_RLOO:                  return alone ? score : (score - p->mean) * (n / (n - 1));
    case ADV_OPO:                   return !alone && p->length > 0 ? score - p->weighted / p->length : score;
    case ADV_REINFORCE_PP: case ADV_REMAX: break;
    }
    return (double)NAN;
}

/* Whitening: (x - mean) / std over m = 1, count of them; square = sum of (x - mean)^2. Fewer than two have no variance:
 * the caller gives 0. */
RL_FN double rl_white_mean(double sum, double count) { return sum / (count + 1e-8); }
RL_FN double rl_white_std(double square, double count)
{
    return sqrt((count > 1 ? square / (count + 1e-8) * (count / (count - 1)) : 0) + 1e-8);
}
