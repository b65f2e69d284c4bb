/* branch_score.cu: the Branching Score, eqs. (4) and (5), in one kernel: discounted scan, clamp, two z-scores, product.
 * A warp a rollout of any length; the rollouts lie one behind the other. Everything up to the last rounding is double:
 * f often spreads by 1e-6 only, and z divides by that.
 * 12 bytes a position in and 24 out, three walks of which two come out of L1 and L2. */
#include "kernels/cuda/rl.cuh"
#include "kernels/rl_credit.h"

struct score_args {
    acc_t *f, *zf, *zh, *score;
    const acc_t *logp, *logp_old, *entropy;
    const uint8_t *m;
    const int64_t *begin;
    double *work;                       /* [positions] f before it is rounded */
    int rows;
    struct branch_rule r;
};

/* Adds up the lanes. */
__device__ __forceinline__ void moments_fold(rl_moments &s, double count)
{
    s.sum = rl_sum(s.sum);
    s.lo = rl_min(s.lo);
    s.hi = rl_max(s.hi);
    rl_moments_mean(&s, count);
}

/* The walk that fills f; returns how many positions have m = 1. */
__device__ double score_future(const score_args &a, int64_t from, int64_t to, rl_moments &f, rl_moments &h)
{
    double next = 0, count = 0;
    for (int64_t tile = to - 32; tile > from - 32; tile -= 32) {
        int64_t i = tile + rl_lane();
        bool in = i >= from, live = in && a.m[i];
        double s = rl_scan(live ? (double)a.logp[i] - (double)a.logp_old[i] : 0, a.r.gamma, next);
        next = rl_first(s);
        double x = rl_branch_factor(s, &a.r);
        if (in) a.f[i] = (acc_t)x, a.work[i] = x;
        if (!live) continue;
        count++;
        rl_moments_add(&f, x);
        rl_moments_add(&h, (double)a.entropy[i]);
    }
    return rl_sum(count);
}

__global__ void __launch_bounds__(RL_BLOCK) branch_score_kernel(score_args a)
{
    int row = rl_row();
    if (row >= a.rows) return;                                  /* a whole warp */
    int64_t from = a.begin[row], to = a.begin[row + 1];
    rl_moments f = rl_moments_start(), h = f;
    double count = score_future(a, from, to, f, h), ff = 0, hh = 0;
    moments_fold(f, count);
    moments_fold(h, count);
    for (int64_t i = to - 32 + rl_lane(); i >= from; i -= 32) {
        if (!a.m[i]) continue;
        ff += rl_square(a.work[i], f.mean);
        hh += rl_square((double)a.entropy[i], h.mean);
    }
    f.std = count > 0 ? sqrt(rl_sum(ff) / count) : 0;
    h.std = count > 0 ? sqrt(rl_sum(hh) / count) : 0;
    for (int64_t i = to - 32 + rl_lane(); i >= from; i -= 32) {
        double zf = a.m[i] ? rl_zscore(&f, a.work[i]) : 0, zh = a.m[i] ? rl_zscore(&h, (double)a.entropy[i]) : 0;
        a.zf[i] = (acc_t)zf;
        a.zh[i] = (acc_t)zh;
        a.score[i] = (acc_t)(zf * zh);
    }
}

extern "C" void op_branch_score(const struct branch_scores *out, const struct branch_in *in,
                                const struct branch_rule *r)
{
    int rows = in->rows;
    if (rows <= 0) return;
    int64_t base = in->begin[0], *at = rl_begin(in->begin, rows);
    size_t n = (size_t)(in->begin[rows] - base), w = n * sizeof(acc_t);
    enum { LOGP, OLD, ENT, M, BEGIN, F, ZF, ZH, SCORE, WORK, COUNT };
    struct stage s[COUNT] = {
        { in->logp + base, NULL, w, NULL }, { in->logp_old + base, NULL, w, NULL },
        { in->entropy + base, NULL, w, NULL }, { in->m + base, NULL, n, NULL },
        { at, NULL, ((size_t)rows + 1) * sizeof *at, NULL }, { NULL, out->f + base, w, NULL },
        { NULL, out->zf + base, w, NULL }, { NULL, out->zh + base, w, NULL }, { NULL, out->score + base, w, NULL },
        { NULL, NULL, n * sizeof(double), NULL },
    };
    stage_put(s, COUNT);
    score_args a = { (acc_t *)s[F].dev,
                     (acc_t *)s[ZF].dev,
                     (acc_t *)s[ZH].dev,
                     (acc_t *)s[SCORE].dev,
                     (const acc_t *)s[LOGP].dev,
                     (const acc_t *)s[OLD].dev,
                     (const acc_t *)s[ENT].dev,
                     (const uint8_t *)s[M].dev,
                     (const int64_t *)s[BEGIN].dev,
                     (double *)s[WORK].dev,
                     rows,
                     *r };
    LAUNCH((branch_score_kernel), rl_grid(rows), RL_BLOCK, 0, queue(), a);
    stage_get(s, COUNT);
    free(at);
}
