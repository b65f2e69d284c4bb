/* estimator.cu: the critic-free estimators and GAE, as verl defines them. A row's score is the sum of its rewards at
 * every position, m or not. A warp a row; what concerns the whole batch (whitening) is summed by every warp anew from
 * the rows' sums, in one order, so that no kernel waits for another's block. */
#include "kernels/cuda/rl.cuh"

struct estimator_args {
    acc_t *adv, *ret;
    const acc_t *reward, *values, *baseline;
    const uint8_t *m;
    const int64_t *begin;
    const int *group;
    double *x, *back;                   /* [positions] advantage and return before the last rounding */
    /* [rows] score and tokens of a row; part[rows][3]: what whitening sums: x, tokens, squares */
    double *score, *length, *part;
    int rows;
    struct estimator_rule r;
};

/* The prompt of a row. Unbiased std; exactly 0 where the scores are equal. */
struct prompt { double mean, std, weighted, length, best, second; int n, best_row; };

__device__ prompt prompt_of(const estimator_args &a, int key)
{
    prompt p = { 0, 0, 0, 0, -INFINITY, -INFINITY, 0, 0 };
    double sum = 0, lo = INFINITY, hi = -INFINITY;
    for (int i = 0; i < a.rows; i++) {
        if (a.group[i] != key) continue;
        double s = a.score[i];
        sum += s;
        p.weighted += s * a.length[i];
        p.length += a.length[i];
        p.n++;
        if (s < lo) lo = s;
        if (s > hi) hi = s;
        if (s > p.best) p.second = p.best, p.best = s, p.best_row = i;
        else if (s > p.second) p.second = s;
    }
    p.mean = lo == hi ? lo : sum / p.n;
    for (int i = 0; i < a.rows; i++) if (a.group[i] == key) p.std += (a.score[i] - p.mean) * (a.score[i] - p.mean);
    p.std = p.n > 1 ? sqrt(p.std / (p.n - 1)) : 0;
    return p;
}

/* The advantage of a row before it is masked and, for REINFORCE++ with baseline, whitened. */
__device__ double row_advantage(const struct estimator_rule &r, double score, int row, const prompt &p)
{
    double n = p.n;
    bool alone = p.n < 2;
    switch (r.kind) {
    case ADV_GRPO:
        return alone      ? (r.by_std ? score / (1 + 1e-6) : score)
               : r.by_std ? (score - p.mean) / (p.std + 1e-6)
                          : score - p.mean;
    case ADV_GRPO_PASSK: return alone || row != p.best_row ? 0 : (p.best - p.second) / (r.by_std ? p.std + 1e-6 : 1);
    case ADV_REINFORCE_PP_BASELINE: return alone ? score : score - p.mean;
    case ADV_RLOO:                  return alone ? score : (score - p.mean) * (n / (n - 1));
    case ADV_OPO:                   return !alone && p.length > 0 ? score - p.weighted / p.length : score;
    case ADV_REINFORCE_PP: case ADV_REMAX: case ADV_GAE: break;
    }
    return NAN;
}

__global__ void __launch_bounds__(RL_BLOCK) score_kernel(estimator_args a)
{
    int row = rl_row();
    if (row >= a.rows) return;
    double score = 0, length = 0;
    for (int64_t i = a.begin[row + 1] - 32 + rl_lane(); i >= a.begin[row]; i -= 32)
        score += (double)a.reward[i], length += a.m[i] != 0;
    score = rl_sum(score);
    length = rl_sum(length);
    if (rl_lane() == 0) a.score[row] = score, a.length[row] = length;
}

/* Every lane of a row's warp goes through the group: the same loads, the same bits. */
__global__ void __launch_bounds__(RL_BLOCK) group_kernel(estimator_args a)
{
    int row = rl_row();
    if (row >= a.rows) return;
    double x = row_advantage(a.r, a.score[row], row, prompt_of(a, a.group[row]));
    for (int64_t i = a.begin[row + 1] - 32 + rl_lane(); i >= a.begin[row]; i -= 32)
        a.x[i] = a.m[i] ? x : 0, a.back[i] = a.x[i];
}

/* REINFORCE++ and ReMax: returns. A return of REINFORCE++ does not cross a position with m = 0. */
__device__ void return_walk(const estimator_args &a, int row)
{
    bool remax = a.r.kind == ADV_REMAX;
    int64_t from = a.begin[row], to = a.begin[row + 1];
    double next = 0;
    for (int64_t tile = to - 32; tile > from - 32; tile -= 32) {
        int64_t i = tile + rl_lane();
        bool in = i >= from, live = in && a.m[i], next_live = in && i + 1 < to && a.m[i + 1];
        double reward = in ? (double)a.reward[i] : 0;
        double s = remax ? rl_scan(live ? reward : 0, 1, next) : rl_scan(reward, next_live ? a.r.gamma : 0, next);
        next = rl_first(s);
        if (in) a.back[i] = s, a.x[i] = remax ? s - (live ? (double)a.baseline[row] : 0) : s;
    }
}

__device__ void gae_walk(const estimator_args &a, int row)
{
    int64_t from = a.begin[row], to = a.begin[row + 1];
    double next = 0;
    for (int64_t tile = to - 32; tile > from - 32; tile -= 32) {
        int64_t i = tile + rl_lane();
        bool in = i >= from;
        double value = in ? (double)a.values[i] : 0, after = in && i + 1 < to ? (double)a.values[i + 1] : 0;
        double s = rl_scan(in ? (double)a.reward[i] + a.r.gamma * after - value : 0, a.r.gamma * a.r.lambda, next);
        next = rl_first(s);
        if (in) a.x[i] = s, a.back[i] = s + value;
    }
}

__global__ void __launch_bounds__(RL_BLOCK) return_kernel(estimator_args a)
{
    int row = rl_row();
    if (row >= a.rows) return;
    if (a.r.kind == ADV_GAE) gae_walk(a, row);
    else return_walk(a, row);
}

/* Sum over the rows of part[.][k], the same in every warp that asks. */
__device__ double whole(const estimator_args &a, int k)
{
    double s = 0;
    for (int i = rl_lane(); i < a.rows; i += 32) s += a.part[3 * (int64_t)i + k];
    return rl_sum(s);
}

__global__ void __launch_bounds__(RL_BLOCK) white_mean_kernel(estimator_args a)
{
    int row = rl_row();
    if (row >= a.rows) return;
    double sum = 0, count = 0;
    for (int64_t i = a.begin[row + 1] - 32 + rl_lane(); i >= a.begin[row]; i -= 32) if (a.m[i]) sum += a.x[i], count++;
    sum = rl_sum(sum);
    count = rl_sum(count);
    if (rl_lane() == 0) a.part[3 * (int64_t)row] = sum, a.part[3 * (int64_t)row + 1] = count;
}

__global__ void __launch_bounds__(RL_BLOCK) white_square_kernel(estimator_args a)
{
    int row = rl_row();
    if (row >= a.rows) return;
    double mean = whole(a, 0) / (whole(a, 1) + 1e-8), square = 0;
    for (int64_t i = a.begin[row + 1] - 32 + rl_lane(); i >= a.begin[row]; i -= 32)
        if (a.m[i]) square += (a.x[i] - mean) * (a.x[i] - mean);
    square = rl_sum(square);
    if (rl_lane() == 0) a.part[3 * (int64_t)row + 2] = square;
}

/* (x - mean) / sqrt(var + 1e-8) with mean and unbiased variance over m = 1; fewer than two such positions have no
 * variance and give 0. GAE keeps its numbers where m = 0; ReMax and the plain groups are not whitened. Returns of the
 * group estimators are the advantages. */
__global__ void __launch_bounds__(RL_BLOCK) finish_kernel(estimator_args a, int white)
{
    int row = rl_row();
    if (row >= a.rows) return;
    bool own = a.r.kind != ADV_REINFORCE_PP && a.r.kind != ADV_REMAX && a.r.kind != ADV_GAE;
    double mean = 0, by = 1, count = 0;
    if (white) {
        count = whole(a, 1);
        mean = whole(a, 0) / (count + 1e-8);
        double var = count > 1 ? whole(a, 2) / (count + 1e-8) * (count / (count - 1)) : 0;
        by = sqrt(var + 1e-8);
    }
    for (int64_t i = a.begin[row + 1] - 32 + rl_lane(); i >= a.begin[row]; i -= 32) {
        double x = a.x[i];
        if (white) x = count > 1 && (a.m[i] || a.r.kind == ADV_GAE) ? (x - mean) / by : 0;
        a.adv[i] = (acc_t)x;
        if (a.ret) a.ret[i] = (acc_t)(own ? x : a.back[i]);
    }
}

static void run(const estimator_args &a)
{
    unsigned grid = rl_grid(a.rows);
    bool returns = a.r.kind == ADV_REINFORCE_PP || a.r.kind == ADV_REMAX || a.r.kind == ADV_GAE;
    int white = a.r.kind == ADV_REINFORCE_PP || a.r.kind == ADV_GAE || a.r.kind == ADV_REINFORCE_PP_BASELINE;
    if (returns) LAUNCH((return_kernel), grid, RL_BLOCK, 0, queue(), a);
    else {
        LAUNCH((score_kernel), grid, RL_BLOCK, 0, queue(), a);
        LAUNCH((group_kernel), grid, RL_BLOCK, 0, queue(), a);
    }
    if (white) {
        LAUNCH((white_mean_kernel), grid, RL_BLOCK, 0, queue(), a);
        LAUNCH((white_square_kernel), grid, RL_BLOCK, 0, queue(), a);
    }
    LAUNCH((finish_kernel), grid, RL_BLOCK, 0, queue(), a, white);
}

extern "C" void op_advantage(acc_t *adv, acc_t *ret, const acc_t *reward, const acc_t *values, const acc_t *baseline,
                             const uint8_t *m, const int64_t *begin, int rows, const int *group,
                             const struct estimator_rule *r)
{
    if (rows <= 0) return;
    ENSURE(r->kind >= ADV_GRPO && r->kind <= ADV_GAE);
    int64_t base = begin[0], *at = rl_begin(begin, rows);
    size_t n = (size_t)(begin[rows] - base), w = n * sizeof(acc_t), d = n * sizeof(double), k = (size_t)rows;
    bool gae = r->kind == ADV_GAE, remax = r->kind == ADV_REMAX,
         grouped = !gae && !remax && r->kind != ADV_REINFORCE_PP;
    enum { REWARD, VALUES, BASELINE, M, BEGIN, GROUP, ADV, RET, X, BACK, SCORE, LENGTH, PART, COUNT };
    struct stage s[COUNT] = {
        { reward + base, NULL, w, NULL }, { gae ? values + base : NULL, NULL, gae ? w : 0, NULL },
        { remax ? baseline : NULL, NULL, remax ? k * sizeof(acc_t) : 0, NULL }, { m + base, NULL, n, NULL },
        { at, NULL, (k + 1) * sizeof *at, NULL },
        { grouped ? group : NULL, NULL, grouped ? k * sizeof *group : 0, NULL }, { NULL, adv + base, w, NULL },
        { NULL, ret ? ret + base : NULL, rl_bytes(ret, w), NULL }, { NULL, NULL, d, NULL }, { NULL, NULL, d, NULL },
        { NULL, NULL, k * sizeof(double), NULL }, { NULL, NULL, k * sizeof(double), NULL },
        { NULL, NULL, 3 * k * sizeof(double), NULL },
    };
    stage_put(s, COUNT);
    estimator_args a = { (acc_t *)s[ADV].dev,
                         (acc_t *)s[RET].dev,
                         (const acc_t *)s[REWARD].dev,
                         (const acc_t *)s[VALUES].dev,
                         (const acc_t *)s[BASELINE].dev,
                         (const uint8_t *)s[M].dev,
                         (const int64_t *)s[BEGIN].dev,
                         (const int *)s[GROUP].dev,
                         (double *)s[X].dev,
                         (double *)s[BACK].dev,
                         (double *)s[SCORE].dev,
                         (double *)s[LENGTH].dev,
                         (double *)s[PART].dev,
                         rows,
                         *r };
    run(a);
    stage_get(s, COUNT);
    free(at);
}
