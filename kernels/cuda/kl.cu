/* kl.cu: estimates of KL(pi_theta || pi_ref) from one sample, and the aggregation every loss term shares. */
#include "kernels/cuda/rl.cuh"

__global__ void __launch_bounds__(256)
    kl_kernel(acc_t *value, acc_t *slope, const acc_t *logp, const acc_t *ref, int64_t n, enum kl_kind kind)
{
    int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (i >= n) return;
    double s, v = rl_kl(&s, (double)logp[i], (double)ref[i], kind);
    if (value) value[i] = (acc_t)v;
    if (slope) slope[i] = (acc_t)s;
}

extern "C" void op_kl(acc_t *value, acc_t *slope, const acc_t *logp, const acc_t *logp_ref, int64_t n,
                      enum kl_kind kind)
{
    if (n <= 0) return;
    size_t w = (size_t)n * sizeof(acc_t);
    struct stage s[] = { { logp, NULL, w, NULL },
                         { logp_ref, NULL, w, NULL },
                         { NULL, value, rl_bytes(value, w), NULL },
                         { NULL, slope, rl_bytes(slope, w), NULL } };
    stage_put(s, 4);
    LAUNCH((kl_kernel), blocks_of(n, 256), 256, 0, queue(), (acc_t *)s[2].dev, (acc_t *)s[3].dev,
           (const acc_t *)s[0].dev, (const acc_t *)s[1].dev, n, kind);
    stage_get(s, 4);
}

struct agg_row { double n, sum; };

__global__ void __launch_bounds__(RL_BLOCK)
    agg_rows_kernel(agg_row *out, const acc_t *value, const uint8_t *m, const int64_t *begin, int rows)
{
    int row = rl_row();
    if (row >= rows) return;
    agg_row a = { 0, 0 };
    for (int64_t i = begin[row + 1] - 32 + rl_lane(); i >= begin[row]; i -= 32)
        if (m[i]) a.n++, a.sum += (double)value[i];
    a.n = rl_sum(a.n);
    a.sum = rl_sum(a.sum);
    if (rl_lane() == 0) out[row] = a;
}

/* One warp: the denominators, the weights, and the whole. */
__global__ void __launch_bounds__(32)
    agg_fold_kernel(double *total, acc_t *weight, const agg_row *row, int rows, enum loss_agg agg, double max_len)
{
    double tokens = 0, live = 0, sum = 0;
    for (int i = rl_lane(); i < rows; i += 32) tokens += row[i].n, live += row[i].n > 0;
    tokens = rl_sum(tokens);
    live = rl_sum(live);
    for (int i = rl_lane(); i < rows; i += 32) {
        double w = rl_row_weight(agg, tokens, live, row[i].n, max_len);
        if (weight) weight[i] = (acc_t)w;
        if (row[i].n > 0) sum += w * row[i].sum;
    }
    sum = rl_sum(sum);
    if (rl_lane() == 0) *total = sum;
}

extern "C" double op_agg(acc_t *weight, const acc_t *value, const uint8_t *m, const int64_t *begin, int rows,
                         enum loss_agg agg, double max_len)
{
    ENSURE(agg >= AGG_TOKEN_MEAN && agg <= AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS);
    if (rows <= 0) return 0;
    double total = 0;
    int64_t base = begin[0], *at = rl_begin(begin, rows);
    size_t n = (size_t)(begin[rows] - base), r = (size_t)rows;
    enum { VALUE, M, BEGIN, WEIGHT, TOTAL, ROWS, COUNT };
    struct stage s[COUNT] = {
        { value + base, NULL, n * sizeof(acc_t), NULL }, { m + base, NULL, n, NULL },
        { at, NULL, (r + 1) * sizeof *at, NULL }, { NULL, weight, rl_bytes(weight, r * sizeof(acc_t)), NULL },
        { NULL, &total, sizeof total, NULL }, { NULL, NULL, r * sizeof(agg_row), NULL },
    };
    stage_put(s, COUNT);
    LAUNCH((agg_rows_kernel), rl_grid(rows), RL_BLOCK, 0, queue(), (agg_row *)s[ROWS].dev, (const acc_t *)s[VALUE].dev,
           (const uint8_t *)s[M].dev, (const int64_t *)s[BEGIN].dev, rows);
    LAUNCH((agg_fold_kernel), 1, 32, 0, queue(), (double *)s[TOTAL].dev, (acc_t *)s[WEIGHT].dev,
           (const agg_row *)s[ROWS].dev, rows, agg, max_len);
    stage_get(s, COUNT);
    free(at);
    return total;
}
