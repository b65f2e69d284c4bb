/* estimator.cu: the critic-free estimators as verl defines them. A row's score is the sum of its rewards at every
 * position, m or not. A warp a row; sums over the whole batch (whitening) are added again by every warp from the rows'
 * sums, in one order, so that no block waits for another. */
#include "kernels/cuda/rl.cuh"
#include "kernels/rl_credit.h"

struct estimator_args {
    acc_t *adv, *ret;
    const acc_t *reward, *baseline;
    const uint8_t *m;
    const int64_t *begin;
    const int *group;
    double *x, *back;                   /* [positions] advantage and return before the last rounding */
    /* [rows] score and tokens of a row; part[rows][3]: the sums for whitening: x, tokens, squares */
    double *score, *length, *part;
    int rows;
    struct estimator_rule r;
};

__device__ rl_prompt prompt_of(const estimator_args &a, int key)
{
    rl_prompt p = rl_prompt_start();
    for (int i = 0; i < a.rows; i++) if (a.group[i] == key) rl_prompt_add(&p, a.score[i], a.length[i], i);
    rl_prompt_mean(&p);
    for (int i = 0; i < a.rows; i++) if (a.group[i] == key) p.square += rl_square(a.score[i], p.mean);
    rl_prompt_std(&p);
    return p;
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
    rl_prompt p = prompt_of(a, a.group[row]);
    double x = rl_row_advantage(&a.r, a.score[row], row, &p);
    for (int64_t i = a.begin[row + 1] - 32 + rl_lane(); i >= a.begin[row]; i -= 32)
        a.x[i] = a.m[i] ? x : 0, a.back[i] = a.x[i];
}

/* REINFORCE++ and ReMax: returns. A return of REINFORCE++ does not cross a position with m = 0. */
__global__ void __launch_bounds__(RL_BLOCK) return_kernel(estimator_args a)
{
    int row = rl_row();
    if (row >= a.rows) return;
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
    double mean = rl_white_mean(whole(a, 0), whole(a, 1)), square = 0;
    for (int64_t i = a.begin[row + 1] - 32 + rl_lane(); i >= a.begin[row]; i -= 32)
        if (a.m[i]) square += rl_square(a.x[i], mean);
    square = rl_sum(square);
    if (rl_lane() == 0) a.part[3 * (int64_t)row + 2] = square;
}

/* (x - mean) / sqrt(var + 1e-8) with mean and unbiased variance over m = 1, 0 elsewhere; fewer than two such positions
 * have no variance and give 0. Returns of the estimators of a score are the advantages. */
__global__ void __launch_bounds__(RL_BLOCK) finish_kernel(estimator_args a, int white)
{
    int row = rl_row();
    if (row >= a.rows) return;
    bool own = !rl_uses_returns(a.r.kind);
    double mean = 0, std = 1, count = 0;
    if (white) {
        count = whole(a, 1);
        mean = rl_white_mean(whole(a, 0), count);
        std = rl_white_std(whole(a, 2), count);
    }
    for (int64_t i = a.begin[row + 1] - 32 + rl_lane(); i >= a.begin[row]; i -= 32) {
        double x = a.x[i];
        if (white) x = count > 1 && a.m[i] ? (x - mean) / std : 0;
        a.adv[i] = (acc_t)x;
        if (a.ret) a.ret[i] = (acc_t)(own ? x : a.back[i]);
    }
}

static void run(const estimator_args &a)
{
    unsigned grid = rl_grid(a.rows);
    int white = rl_whitens(a.r.kind);
    if (rl_uses_returns(a.r.kind)) LAUNCH((return_kernel), grid, RL_BLOCK, 0, queue(), a);
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

extern "C" void op_advantage(acc_t *adv, acc_t *ret, const struct estimator_in *in, const struct estimator_rule *r)
{
    int rows = in->rows;
    if (rows <= 0) return;
    ENSURE(r->kind >= ADV_GRPO && r->kind <= ADV_REMAX);
    int64_t base = in->begin[0], *at = rl_begin(in->begin, rows);
    size_t n = (size_t)(in->begin[rows] - base), w = n * sizeof(acc_t), d = n * sizeof(double), k = (size_t)rows;
    bool remax = r->kind == ADV_REMAX, grouped = !rl_uses_returns(r->kind);
    enum { REWARD, BASELINE, M, BEGIN, GROUP, ADV, RET, X, BACK, SCORE, LENGTH, PART, COUNT };
    struct stage s[COUNT] = {
        { in->reward + base, NULL, w, NULL },
        { remax ? in->baseline : NULL, NULL, remax ? k * sizeof(acc_t) : 0, NULL }, { in->m + base, NULL, n, NULL },
        { at, NULL, (k + 1) * sizeof *at, NULL },
        { grouped ? in->group : NULL, NULL, grouped ? k * sizeof *in->group : 0, NULL },
        { NULL, adv + base, w, NULL }, { NULL, ret ? ret + base : NULL, rl_bytes(ret, w), NULL },
        { NULL, NULL, d, NULL }, { NULL, NULL, d, NULL }, { NULL, NULL, k * sizeof(double), NULL },
        { NULL, NULL, k * sizeof(double), NULL }, { NULL, NULL, 3 * k * sizeof(double), NULL },
    };
    stage_put(s, COUNT);
    estimator_args a = { (acc_t *)s[ADV].dev,
                         (acc_t *)s[RET].dev,
                         (const acc_t *)s[REWARD].dev,
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
