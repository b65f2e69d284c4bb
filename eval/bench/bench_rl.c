/* bench_rl.c: the operations of branching reinforcement learning. Their vectors are host memory, so on a GPU the floor
 * is the copy there and back at the measured rate of such copies. Rollouts have about 512 tokens, four in five
 * generated. */
#include "eval/bench/bench_in.h"
#include "base/philox.h"
#include "base/arith.h"
#include <math.h>

enum { G = BENCH_GPU, C = BENCH_CPU, T = BENCH_TINY, ROW = 512, BRANCHES = 2 };
static const double W = sizeof(acc_t);

static const struct bench_dims tokens[] = {
    { .at = G, .n = 65536 }, { .at = G, .n = 1 << 20 }, { .at = C, .n = 65536 }, { .at = C, .n = 1 << 20 },
    { .at = T, .n = 1200 },
    { 0 },
};

/* a, b: logp and logp_old; c: entropy; d: advantages or rewards; e, f, g: results */
static void make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    o->rows = (int)ceil_div(d->n, ROW);
    o->begin = bench_host(b, (size_t)(o->rows + 1) * sizeof *o->begin);
    /* row lengths differ: boundaries move by up to a quarter of a row */
    for (int r = 1; r < o->rows; r++) o->begin[r] = (int64_t)r * ROW - rng_below(b->rng, ROW / 4);
    o->begin[o->rows] = d->n;
    o->mask = bench_host(b, (size_t)d->n);
    for (int64_t i = 0; i < d->n; i++) o->mask[i] = i % 5 != 4;
    o->a = bench_host_accs(b, d->n, -4, 0);
    o->b = bench_host_accs(b, d->n, 0, 0);
    for (int64_t i = 0; i < d->n; i++) o->b[i] = o->a[i] + (acc_t)(0.02 * (rng_uniform(b->rng) - 0.5));
    o->c = bench_host_accs(b, d->n, 0, 3);
    o->d = bench_host_accs(b, d->n, -1, 1);
    o->e = bench_host_accs(b, d->n, 0, 1);
    o->f = bench_host_accs(b, d->n, 0, 1);
    o->g = bench_host_accs(b, 2 * d->n, 0, 1);
    o->ids = bench_host(b, (size_t)o->rows * sizeof *o->ids);
    for (int r = 0; r < o->rows; r++) o->ids[r] = r / 8;
}

static void pg_run(const struct bench_dims *d, struct bench_operands *o)
{
    (void)d;
    const struct loss_in in = {
        .logp = o->a, .logp_old = o->b, .entropy = o->c, .adv = o->d, .m = o->mask, .begin = o->begin, .rows = o->rows
    };
    const struct loss_rule r = { .clip_low = 0.2,
                                 .clip_high = 0.28,
                                 .clip_c = 3,
                                 .agg = AGG_TOKEN_MEAN,
                                 .entropy_coef = 1e-3,
                                 .future = { .mode = FUTURE_SCALE,
                                             .b = 1,
                                             .gamma = 0.99,
                                             .lo = 0.8,
                                             .hi = 1.2,
                                             .leave_out = (double)INFINITY,
                                             .safety_thresh = (double)INFINITY } };
    struct loss_stats s;
    op_pg(o->e, o->f, NULL, NULL, &s, &in, &r);
}
static double pg_bytes(const struct bench_dims *d) { return (double)d->n * (6 * W + 1); }

static void kl_run(const struct bench_dims *d, struct bench_operands *o) { op_kl(o->e, o->f, o->a, o->b, d->n, KL_K3); }
static double kl_bytes(const struct bench_dims *d) { return (double)d->n * 4 * W; }

static void branch_score_run(const struct bench_dims *d, struct bench_operands *o)
{
    const struct branch_rule r = { .gamma = 0.99, .lo = 0.8, .hi = 1.2 };
    op_branch_score(&(struct branch_scores){ o->e, o->f, o->g, o->g + d->n }, &(struct branch_in){
        .logp = o->a, .logp_old = o->b, .entropy = o->c, .m = o->mask, .begin = o->begin, .rows = o->rows }, &r);
}
static double branch_score_bytes(const struct bench_dims *d) { return (double)d->n * (7 * W + 1); }

/* one prompt has 16 rollouts at most; all rows are given as one, which is the same work on more tokens */
static void branch_select_run(const struct bench_dims *d, struct bench_operands *o)
{
    (void)d;
    struct branch_point p[64];
    const struct select_rule r = { .want = 64, .min_gap = 8, .strict_first = true };
    op_branch_select(p, &(struct select_in){
        .key = o->a, .zf = o->d, .zh = o->c, .ok = o->mask, .begin = o->begin, .rows = o->rows }, &r);
}
static double branch_select_bytes(const struct bench_dims *d) { return (double)d->n * (3 * W + 1); }

/* the last two of each eight rows are branches of the first two */
static void dual_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    make(b, d, o);
    o->branch = bench_host(b, (size_t)o->rows);
    o->record = bench_host(b, (size_t)(o->rows + 1) * sizeof *o->record);
    for (int r = 0; r < o->rows; r++) {
        o->branch[r] = r % 8 >= 8 - BRANCHES;
        if (o->branch[r])
            o->record[o->records++] =
                (struct branch_record){ .orig = r / 8 * 8 + r % BRANCHES, .row = r, .idx = 17, .score = 1 };
    }
}
static void dual_run(const struct bench_dims *d, struct bench_operands *o)
{
    (void)d;
    const struct advantage_rule r = { .dual = DUAL_PREFIX, .by_std = true };
    op_advantage_dual(o->e, o->f, &(struct dual_in){
        .reward = o->d, .m = o->mask, .begin = o->begin, .rows = o->rows, .uid = o->ids, .kind = o->branch,
        .rec = o->record, .records = o->records }, &r);
}
static double dual_bytes(const struct bench_dims *d) { return (double)d->n * (W + 1); }

static void advantage_run(const struct bench_dims *d, struct bench_operands *o)
{
    (void)d;
    const struct estimator_rule r = { .kind = ADV_GRPO, .by_std = true, .gamma = 1 };
    const struct estimator_in in = {
        .reward = o->d, .m = o->mask, .begin = o->begin, .rows = o->rows, .group = o->ids
    };
    op_advantage(o->e, o->f, &in, &r);
}
static double advantage_bytes(const struct bench_dims *d) { return (double)d->n * (3 * W + 1); }

const struct bench_op bench_rl[] = {
    { "pg", make, NULL, pg_run, pg_bytes, NULL, true, tokens },
    { "kl", make, NULL, kl_run, kl_bytes, NULL, true, tokens },
    { "branch_score", make, NULL, branch_score_run, branch_score_bytes, NULL, true, tokens },
    { "branch_select", make, NULL, branch_select_run, branch_select_bytes, NULL, true, tokens },
    { "advantage_dual", dual_make, NULL, dual_run, dual_bytes, NULL, true, tokens },
    { "advantage", make, NULL, advantage_run, advantage_bytes, NULL, true, tokens },
    { 0 },
};
