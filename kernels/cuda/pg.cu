/* pg.cu: every policy loss. A warp walks a rollout from its end, because the discounted sum of the future factor runs
 * backwards; one warp then adds the rows up in row order, and a second walk divides by the denominators, which are
 * known only after the last row. Four kernels, one copy each way: splitting the batch or leaving g out changes no
 * bit. 17 bytes a position in, 8 out. */
#include "kernels/cuda/rl.cuh"

/* Fields of a row: sums, then minima, then maxima, then the inputs of the weights. */
enum {
    PPO_KL,
    CLIPPED,
    LOWER,
    AT_HI,
    AT_LO,
    FACTOR_SUM,
    IW_SUM,
    RAW_SUM,
    FACTOR_MIN,
    IW_MIN,
    RAW_MIN,
    FACTOR_MAX,
    IW_MAX,
    RAW_MAX,
    TOKENS,
    KEPT,
    LOSS,
    KL,
    ENTROPY,
    FIELDS
};
/* Fields of the batch: the same, and the counts of struct loss_stats. */
enum { TOKENS_LIVE = FIELDS, ROWS_LIVE, ROWS_ALL, ROWS_DROPPED, TOTALS };
struct row_sum { double v[FIELDS]; };
struct batch_sum { double v[TOTALS]; };

struct pg_args {
    struct loss_in in;                  /* device pointers; positions and begin count from the batch's first */
    struct loss_rule r;
    acc_t *g, *ge, *influence;
    uint8_t *kept;
    row_sum *row;
    batch_sum *all;
};

__device__ double mean_delta(const pg_args &a, int64_t from, int64_t to)
{
    double sum = 0, n = 0;
    for (int64_t i = to - 32 + rl_lane(); i >= from; i -= 32) if (a.in.m[i]) sum += rl_delta(&a.in, i, &a.r), n++;
    sum = rl_sum(sum);
    n = rl_sum(n);
    return n > 0 ? sum / n : 0;
}

/* The next number replaces a NaN in a minimum or maximum; sums keep it. */
__device__ __forceinline__ void span_put(row_sum &s, int sum, int min, int max, double x)
{
    s.v[sum] += x;
    if (!(x >= s.v[min])) s.v[min] = x;
    if (!(x <= s.v[max])) s.v[max] = x;
}

__device__ __forceinline__ void count_token(row_sum &s, const pg_args &a, int64_t i, double d, const rl_future &f,
                                            const rl_token &t)
{
    const struct future_rule &r = a.r.future;
    double slope;
    s.v[TOKENS]++;
    s.v[LOSS] += t.loss;
    s.v[PPO_KL] -= d;
    s.v[CLIPPED] += t.clipped;
    s.v[LOWER] += t.lower;
    span_put(s, FACTOR_SUM, FACTOR_MIN, FACTOR_MAX, f.factor);
    if (r.mode != FUTURE_OFF) {
        span_put(s, IW_SUM, IW_MIN, IW_MAX, f.iw);
        span_put(s, RAW_SUM, RAW_MIN, RAW_MAX, f.raw);
        s.v[AT_HI] += f.iw >= rl_iw_hi(&r) - 1e-7;
        s.v[AT_LO] += f.iw <= rl_iw_lo(&r) + 1e-7;
    }
    if (a.in.entropy) s.v[ENTROPY] += (double)a.in.entropy[i];
    if (a.in.logp_ref) s.v[KL] += rl_kl(&slope, (double)a.in.logp[i], (double)a.in.logp_ref[i], a.r.kl);
}

/* Adds up the lanes. */
__device__ void row_fold(row_sum &s, bool future)
{
    for (int k = 0; k < FIELDS; k++) {
        bool min = k >= FACTOR_MIN && k <= RAW_MIN, max = k >= FACTOR_MAX && k <= RAW_MAX;
        if (k == KEPT) continue;
        s.v[k] = min ? rl_min(s.v[k]) : max ? rl_max(s.v[k]) : rl_sum(s.v[k]);
    }
    s.v[KEPT] = 1;
    bool none = s.v[TOKENS] == 0;
    if (none) s.v[FACTOR_MIN] = s.v[FACTOR_MAX] = 0;
    if (none || !future) s.v[IW_MIN] = s.v[IW_MAX] = s.v[RAW_MIN] = s.v[RAW_MAX] = 0;
}

/* One row: its sums, and g[i] = slope of token i before any denominator. */
__global__ void __launch_bounds__(RL_BLOCK) pg_rows_kernel(pg_args a)
{
    int row = rl_row();
    if (row >= a.in.rows) return;                               /* a whole warp */
    int64_t from = a.in.begin[row], to = a.in.begin[row + 1];
    bool future_on = a.r.future.mode != FUTURE_OFF, whole = rl_sequence_ratio(a.r.mode);
    double next = 0, slopes = 0, row_delta = whole ? mean_delta(a, from, to) : 0;
    row_sum s;
    for (int k = 0; k < FIELDS; k++)
        s.v[k] = k >= FACTOR_MIN && k <= RAW_MIN ? INFINITY : k >= FACTOR_MAX && k <= RAW_MAX ? -INFINITY : 0;
    for (int64_t tile = to - 32; tile > from - 32; tile -= 32) {
        int64_t i = tile + rl_lane();
        bool in = i >= from, live = in && a.in.m[i];
        double d = live ? rl_delta(&a.in, i, &a.r) : 0;
        rl_future f = { 1, 1, 1 };
        if (future_on) {
            double sum = rl_scan(d > a.r.future.leave_out ? 0 : d, a.r.future.gamma, next);
            next = rl_first(sum);
            f = rl_future_at(sum, live ? (double)a.in.adv[i] : 0, exp(d), &a.r.future);
        }
        if (!in) continue;
        if (a.influence) a.influence[i] = (acc_t)f.iw;
        rl_token t = { 0, 0, false, false };
        if (live) {
            t = rl_token_loss(&a.in, i, d, row_delta, f.factor, &a.r);
            count_token(s, a, i, d, f, t);
        }
        slopes += t.slope;
        if (a.g) a.g[i] = (acc_t)t.slope;
    }
    row_fold(s, future_on);
    slopes = rl_sum(slopes);
    s.v[KEPT] = !(a.r.drop_rows && s.v[LOWER] > 1);             /* a single such token does not drop the row */
    /* each token moves the mean by 1/n, and the mean moves every token's loss */
    if (whole && a.g)
        for (int64_t i = to - 32 + rl_lane(); i >= from; i -= 32)
            if (a.in.m[i]) a.g[i] = (acc_t)(rl_delta_moves(&a.in, i, &a.r) ? slopes / s.v[TOKENS] : 0);
    if (rl_lane() == 0) {
        a.row[row] = s;
        if (a.kept) a.kept[row] = s.v[KEPT] != 0;
    }
}

/* One warp, a lane a field: everything that needs no weight, in row order. */
__global__ void __launch_bounds__(32) pg_gather_kernel(pg_args a)
{
    int k = rl_lane();
    double x = 0;
    bool first = true;
    /* weighted sums: pg_total_kernel. No lane communicates here. */
    if (k >= LOSS && k < FIELDS) return;
    if (k >= TOTALS) return;
    for (int i = 0; i < a.in.rows; i++) {
        const double *v = a.row[i].v;
        if (k == ROWS_DROPPED) { x += v[KEPT] == 0; continue; }
        if (v[TOKENS] == 0) continue;
        bool min = k >= FACTOR_MIN && k <= RAW_MIN, max = k >= FACTOR_MAX && k <= RAW_MAX;
        double y = k == TOKENS_LIVE ? (v[KEPT] != 0 ? v[TOKENS] : 0)
                   : k == ROWS_LIVE ? v[KEPT]
                   : k == ROWS_ALL  ? 1
                                    : v[k < FIELDS ? k : 0];
        if (!min && !max) x += y;
        else if (first || (min ? !(y >= x) : !(y <= x))) x = y;
        first = false;
    }
    a.all->v[k] = x;
}

/* The second walk: g and ge of a row, whole. wp, wa: the row's weights in the policy loss and in the terms that keep
 * every row. */
__global__ void __launch_bounds__(RL_BLOCK) pg_scale_kernel(pg_args a)
{
    int row = rl_row();
    if (row >= a.in.rows) return;
    const double *all = a.all->v;
    rl_counts c = { all[TOKENS_LIVE], all[ROWS_LIVE], all[TOKENS], all[ROWS_ALL] };
    c = rl_denominators(c, &a.r);
    double *v = a.row[row].v, n = v[TOKENS], kept = v[KEPT];
    double wp = kept != 0 ? rl_row_weight(a.r.agg, c.tokens, c.rows_live, n, a.r.max_len) : 0,
           wa = rl_row_weight(a.r.agg, c.tokens_all, c.rows_all, n, a.r.max_len);
    for (int64_t i = a.in.begin[row + 1] - 32 + rl_lane(); i >= a.in.begin[row]; i -= 32) {
        double slope = 0;
        bool live_here = a.in.m[i];
        if (live_here && a.in.logp_ref && a.r.kl_coef != 0)
            rl_kl(&slope, (double)a.in.logp[i], (double)a.in.logp_ref[i], a.r.kl);
        if (a.g) a.g[i] = live_here ? (acc_t)rl_grad(wp, (double)a.g[i], wa, slope, &a.r) : 0;
        if (a.ge) a.ge[i] = live_here ? (acc_t)(-a.r.entropy_coef * wa) : 0;
    }
    __syncwarp();                                               /* every lane has read the row's sums */
    if (rl_lane() == 0) {
        v[LOSS] = kept != 0 && n > 0 ? wp * v[LOSS] : 0;
        v[KL] *= wa;
        v[ENTROPY] *= wa;
    }
}

__global__ void __launch_bounds__(32) pg_total_kernel(pg_args a)
{
    int k = LOSS + rl_lane();
    double x = 0;
    if (k >= FIELDS) return;
    for (int i = 0; i < a.in.rows; i++) x += a.row[i].v[k];
    a.all->v[k] = x;
}

static void stats_of(struct loss_stats *s, const double *v, const struct loss_rule *r)
{
    double n = v[TOKENS] > 0 ? v[TOKENS] : 1;
    s->kl = v[KL], s->entropy = v[ENTROPY], s->pg = v[LOSS];
    s->ppo_kl = v[PPO_KL] / n, s->clipfrac = v[CLIPPED] / n, s->clipfrac_lower = v[LOWER] / n;
    s->factor_mean = v[FACTOR_SUM] / n, s->factor_min = v[FACTOR_MIN], s->factor_max = v[FACTOR_MAX];
    s->iw_mean = v[IW_SUM] / n, s->iw_min = v[IW_MIN], s->iw_max = v[IW_MAX];
    s->iw_raw_mean = v[RAW_SUM] / n, s->iw_raw_min = v[RAW_MIN], s->iw_raw_max = v[RAW_MAX];
    s->iw_clip_upper = v[AT_HI] / n, s->iw_clip_lower = v[AT_LO] / n;
    s->tokens = v[TOKENS_LIVE], s->tokens_all = v[TOKENS];
    s->rows_live = (int)v[ROWS_LIVE], s->rows_all = (int)v[ROWS_ALL], s->rows_dropped = (int)v[ROWS_DROPPED];
    s->loss = rl_total_loss(s->pg, s->kl, s->entropy, r);
}

static const void *vec_in(const acc_t *p, int64_t base) { return p ? p + base : NULL; }
static void *vec_out(acc_t *p, int64_t base) { return p ? p + base : NULL; }

static void run(struct stage *s, int count, pg_args a, int rows)
{
    LAUNCH((pg_rows_kernel), rl_grid(rows), RL_BLOCK, 0, queue(), a);
    LAUNCH((pg_gather_kernel), 1, 32, 0, queue(), a);
    LAUNCH((pg_scale_kernel), rl_grid(rows), RL_BLOCK, 0, queue(), a);
    LAUNCH((pg_total_kernel), 1, 32, 0, queue(), a);
    stage_get(s, count);
}

extern "C" void op_pg(acc_t *g, acc_t *ge, acc_t *influence, uint8_t *kept, struct loss_stats *stats,
                      const struct loss_in *in, const struct loss_rule *r)
{
    memset(stats, 0, sizeof *stats);
    int rows = in->rows;
    if (rows <= 0) return;
    ENSURE(!(r->entropy_floor > 0) || in->entropy);
    ENSURE(r->agg < AGG_SEQ_MEAN_TOKEN_SUM_NORM || r->max_len > 0);
    ENSURE(r->agg >= AGG_TOKEN_MEAN && r->agg <= AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS);
    int64_t base = in->begin[0], *at = rl_begin(in->begin, rows);
    size_t n = (size_t)(in->begin[rows] - base), w = n * sizeof(acc_t);
    batch_sum all;
    enum { LOGP, OLD, REF, ENT, ADV, M, BEGIN, G, GE, INFL, KEEP, ALL, ROWS, COUNT };
    struct stage s[COUNT] = {
        { vec_in(in->logp, base), NULL, w, NULL }, { vec_in(in->logp_old, base), NULL, w, NULL },
        { vec_in(in->logp_ref, base), NULL, rl_bytes(in->logp_ref, w), NULL },
        { vec_in(in->entropy, base), NULL, rl_bytes(in->entropy, w), NULL }, { vec_in(in->adv, base), NULL, w, NULL },
        { in->m + base, NULL, n, NULL }, { at, NULL, ((size_t)rows + 1) * sizeof *at, NULL },
        { NULL, vec_out(g, base), rl_bytes(g, w), NULL }, { NULL, vec_out(ge, base), rl_bytes(ge, w), NULL },
        { NULL, vec_out(influence, base), rl_bytes(influence, w), NULL },
        { NULL, kept, rl_bytes(kept, (size_t)rows), NULL }, { NULL, &all, sizeof all, NULL },
        { NULL, NULL, (size_t)rows * sizeof(row_sum), NULL },
    };
    stage_put(s, COUNT);
    pg_args a = { *in,
                  *r,
                  (acc_t *)s[G].dev,
                  (acc_t *)s[GE].dev,
                  (acc_t *)s[INFL].dev,
                  (uint8_t *)s[KEEP].dev,
                  (row_sum *)s[ROWS].dev,
                  (batch_sum *)s[ALL].dev };
    struct loss_in d = { (const acc_t *)s[LOGP].dev,    (const acc_t *)s[OLD].dev,
                         (const acc_t *)s[REF].dev,     (const acc_t *)s[ENT].dev,
                         (const acc_t *)s[ADV].dev,     (const uint8_t *)s[M].dev,
                         (const int64_t *)s[BEGIN].dev, rows };
    a.in = d;
    run(s, COUNT, a, rows);
    stats_of(stats, all.v, r);
    free(at);
}

/* The order of floats as unsigned numbers, highest first. */
__device__ __forceinline__ uint32_t entropy_key(float x)
{
    uint32_t b = __float_as_uint(x + 0.0f);
    return b >> 31 ? b : ~(b | 1u << 31);
}

/* A digit of eight bits: how many of the entropies whose leading digits are `prefix` have each value of it. Integer
 * atomics: no order. */
struct digit_state { unsigned bin[256]; unsigned long long rank; uint32_t prefix; unsigned any; };
enum { DIGIT_BLOCK = 256, DIGIT_GRID = 2 * GRID_SMS };

__global__ void __launch_bounds__(DIGIT_BLOCK)
    digit_count_kernel(digit_state *s, const acc_t *entropy, const uint8_t *m, int64_t n, int shift)
{
    __shared__ unsigned bin[256];
    bin[threadIdx.x] = 0;
    __syncthreads();
    for (int64_t i = (int64_t)blockIdx.x * DIGIT_BLOCK + threadIdx.x; i < n; i += (int64_t)gridDim.x * DIGIT_BLOCK) {
        uint32_t key = entropy_key(entropy[i]);
        if (m[i] && (shift == 24 || key >> (shift + 8) == s->prefix)) atomicAdd(&bin[key >> shift & 255], 1u);
    }
    __syncthreads();
    if (bin[threadIdx.x]) atomicAdd(&s->bin[threadIdx.x], bin[threadIdx.x]);
}

/* One thread: the digit of the number of that rank. share >= 0 at the first digit: the rank follows from how many there
 * are. */
__global__ void __launch_bounds__(32) digit_pick_kernel(digit_state *s, double share)
{
    if (threadIdx.x) return;
    unsigned long long all = 0, at = 0;
    int d = 0;
    for (int k = 0; k < 256; k++) all += s->bin[k];
    if (share >= 0) {
        double want = ceil(share * (double)all);
        s->rank = want < 1 ? 1 : want > (double)all ? all : (unsigned long long)want;
        s->prefix = 0;
        s->any = all > 0;
    }
    while (d < 255 && at + s->bin[d] < s->rank) at += s->bin[d++];
    s->rank -= at;
    s->prefix = s->prefix << 8 | (uint32_t)d;
    for (int k = 0; k < 256; k++) s->bin[k] = 0;
}

extern "C" double op_entropy_floor(const acc_t *entropy, const uint8_t *m, int64_t n, double share)
{
    if (n <= 0) return 0;
    digit_state state, zero;
    memset(&zero, 0, sizeof zero);
    struct stage s[] = { { entropy, NULL, (size_t)n * sizeof *entropy, NULL },
                         { m, NULL, (size_t)n, NULL },
                         { &zero, &state, sizeof state, NULL } };
    stage_put(s, 3);
    digit_state *d = (digit_state *)s[2].dev;
    unsigned grid = blocks_of(n, DIGIT_BLOCK);
    for (int shift = 24; shift >= 0; shift -= 8) {
        LAUNCH((digit_count_kernel), MIN(grid, (unsigned)DIGIT_GRID), DIGIT_BLOCK, 0, queue(), d,
               (const acc_t *)s[0].dev, (const uint8_t *)s[1].dev, n, shift);
        LAUNCH((digit_pick_kernel), 1, 32, 0, queue(), d, shift == 24 ? (share > 0 ? share : 0) : -1.0);
    }
    stage_get(s, 3);
    if (!state.any) return 0;
    uint32_t bits = state.prefix >> 31 ? state.prefix : ~state.prefix & 0x7fffffffu;
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}
