/* test_pg.c: policy losses. The oracle is a plain restatement of the rules with stop-gradients as frozen numbers: its
 * value must be op_pg's loss, its central differences op_pg's gradient. Every input holds NaN where m = 0. */
#include "base/philox.h"
#include "kernels/ops_rl.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { ROWS = 7, MAX = 96 };
static const int lengths[ROWS] = { 1, 13, 1, 20, 0, 9, 17 };
static const bool fine = sizeof(acc_t) == 8;         /* the double build is the gradient checker */

struct batch {
    acc_t logp[MAX], logp_old[MAX], logp_ref[MAX], entropy[MAX], adv[MAX];
    uint8_t m[MAX];
    int64_t begin[ROWS + 1];
    int n;
};

/* No log-ratio within 0.01 of a threshold of any rule used below, so that a difference never steps over a kink. */
static double safe_delta(struct rng *g, double spread)
{
    static const double kinks[] = { -0.2231436, -0.1053605, 0,         0.1823216, 0.2468601,
                                    1.0986123,  1.7917595,  0.6931472, 20,        -20 };
    for (;;) {
        double d = floor((rng_uniform(g) * 2 - 1) * spread * 4096) / 4096;
        bool near = false;
        for (size_t i = 0; i < sizeof kinks / sizeof *kinks; i++) near |= fabs(d - kinks[i]) < 0.01;
        if (!near) return d;
    }
}

/* Row 2 has no token of its own (m = 0), row 4 no position; tool results in the middle of the long ones. */
static struct batch make(uint64_t seed, double spread)
{
    struct batch b = { .n = 0 };
    struct rng g = rng_make(seed, 1, 0);
    for (int r = 0; r < ROWS; r++) {
        b.begin[r] = b.n;
        double a = floor((rng_uniform(&g) * 4 - 2.4) * 256) / 256;
        for (int i = 0; i < lengths[r]; i++, b.n++) {
            bool m = r != 2 && !(lengths[r] > 10 && i >= 5 && i < 8);
            double lp = -floor(rng_uniform(&g) * 3 * 4096) / 4096 - 0.01171875;
            b.m[b.n] = m;
            b.logp[b.n] = m ? (acc_t)lp : (acc_t)NAN;
            b.logp_old[b.n] = m ? (acc_t)(lp - safe_delta(&g, spread)) : (acc_t)NAN;
            b.logp_ref[b.n] = m ? (acc_t)(lp - safe_delta(&g, 0.9)) : (acc_t)NAN;
            b.entropy[b.n] = m ? (acc_t)(rng_uniform(&g) * 2) : (acc_t)NAN;
            b.adv[b.n] = m ? (acc_t)(a + (i % 3 == 0 ? 0.25 : 0)) : (acc_t)NAN;
        }
    }
    b.begin[ROWS] = b.n;
    return b;
}

static struct loss_in in_of(const struct batch *b)
{
    return (struct loss_in){ b->logp, b->logp_old, b->logp_ref, b->entropy, b->adv, b->m, b->begin, ROWS };
}

static double clip(double x, double lo, double hi) { return fmin(fmax(x, lo), hi); }

/* Constants with respect to logp: factor, the clamped ratio, the dropped rows. */
struct frozen { double factor[MAX], ratio[MAX], bound[MAX]; bool dropped[ROWS]; };

static double raw_future(const struct batch *b, const struct loss_rule *r, int row, int64_t i)
{
    double s = 0;
    for (int64_t k = b->begin[row + 1] - 1; k >= i; k--) {
        double d = b->m[k] ? clip((double)b->logp[k] - (double)b->logp_old[k], -20, 20) : 0;
        if (d <= r->future.leave_out) s += pow(r->future.gamma, (double)(k - i)) * d;
    }
    return exp(s);
}

static bool dual_clip(enum loss_mode mode) { return mode != LOSS_CISPO && mode != LOSS_GSPO; }

static void freeze(struct frozen *f, const struct batch *b, const struct loss_rule *r)
{
    for (int row = 0; row < ROWS; row++) {
        int lower = 0;
        for (int64_t i = b->begin[row]; i < b->begin[row + 1]; i++) {
            if (!b->m[i]) continue;
            double ratio = exp(clip((double)b->logp[i] - (double)b->logp_old[i], -20, 20)), adv = (double)b->adv[i],
                   x = raw_future(b, r, row, i);
            x = r->future.hi > r->future.lo ? clip(x, r->future.lo, r->future.hi) : fmin(x, 10);
            if (adv < 0 && ratio > r->future.safety_thresh) x = clip(x, 0.8, 1);
            /* off, scale, fipo, center */
            double factors[] = { 1, 1 + r->future.b * x, x, 1 + r->future.b * (x - 1) };
            f->factor[i] = factors[r->future.mode];
            f->ratio[i] = ratio;
            f->bound[i] = clip(ratio, 1 - r->clip_low, 1 + r->clip_high);
            double w = adv * f->factor[i], la = fmax(-w * ratio, -w * f->bound[i]);
            if (dual_clip(r->mode)) lower += adv < 0 && r->clip_c > 0 && la > -w * r->clip_c;
        }
        f->dropped[row] = r->drop_rows && lower > 1;
    }
}

static double ref_token(double logp, double ratio, double w, const struct frozen *f, int64_t i,
                        const struct loss_rule *r)
{
    double bound = clip(ratio, 1 - r->clip_low, 1 + r->clip_high);
    if (r->mode == LOSS_CISPO) return -f->bound[i] * w * logp;
    if (r->mode == LOSS_GPPO || (r->mode == LOSS_AEPO && f->ratio[i] > 1)) bound = f->bound[i] / f->ratio[i] * ratio;
    double la = fmax(-w * ratio, -w * bound);
    return w < 0 && dual_clip(r->mode) && r->clip_c > 0 ? fmin(la, -w * r->clip_c) : la;
}

static double ref_kl(double d, enum kl_kind kind)
{
    double values[] = { 0, d, fabs(d), d * d / 2, clip(exp(-d) + d - 1, -10, 10) };
    return values[kind];
}

/* value[i] over m = 1, and `use` rows, aggregated. */
static double ref_agg(const double *value, const struct batch *b, const bool *skip, enum loss_agg agg, double max_len)
{
    double sum = 0, tokens = 0, live = 0, means = 0;
    for (int row = 0; row < ROWS; row++) {
        double s = 0, n = 0;
        for (int64_t i = b->begin[row]; i < b->begin[row + 1]; i++)
            if (b->m[i] && !(skip && skip[row])) {
                s += value[i];
                n++;
            }
        sum += s;
        tokens += n;
        live += n > 0;
        means += n > 0 ? s / n : 0;
    }
    double results[] = { sum / tokens, means / live, sum / live, sum / max_len, sum / (max_len * live) };
    return results[agg];
}

static double ref_loss(const acc_t *logp, const struct batch *b, const struct frozen *f, const struct loss_rule *r)
{
    double pg[MAX] = { 0 }, kl[MAX] = { 0 }, ent[MAX] = { 0 };
    for (int row = 0; row < ROWS; row++) {
        double mean = 0, n = 0;
        for (int64_t i = b->begin[row]; i < b->begin[row + 1]; i++)
            if (b->m[i]) {
                mean += clip((double)logp[i] - (double)b->logp_old[i], -20, 20);
                n++;
            }
        for (int64_t i = b->begin[row]; i < b->begin[row + 1]; i++) {
            if (!b->m[i]) continue;
            double d = clip((double)logp[i] - (double)b->logp_old[i], -20, 20),
                   ratio = exp(r->mode == LOSS_GSPO ? mean / n : d);
            bool counts = !(r->entropy_floor > 0) || (double)b->entropy[i] >= r->entropy_floor;
            pg[i] = counts ? ref_token((double)logp[i], ratio, (double)b->adv[i] * f->factor[i], f, i, r) : 0;
            kl[i] = ref_kl((double)logp[i] - (double)b->logp_ref[i], r->kl);
            ent[i] = (double)b->entropy[i];
        }
    }
    return ref_agg(pg, b, f->dropped, r->agg, r->max_len) + r->kl_coef * ref_agg(kl, b, NULL, r->agg, r->max_len)
         - r->entropy_coef * ref_agg(ent, b, NULL, r->agg, r->max_len);
}

/* a new loss mode: its name here, its formula in ref_token(), its kinks in safe_delta() */
static const char
    *const modes[] = { "ppo", "gspo", "cispo", "gppo", "aepo" },
           *const aggs[] = { "token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "norm", "norm-rows" },
           *const futures[] = { "off", "scale", "fipo", "center" }, *const kls[] = { "none", "k1", "abs", "k2", "k3" };

enum { MODES = sizeof modes / sizeof *modes };

static void check_one(const struct batch *b, const struct loss_rule *r, const char *what)
{
    struct batch c = *b;
    struct frozen f;
    struct loss_stats s;
    struct loss_in in = in_of(&c);
    acc_t g[MAX], ge[MAX], influence[MAX];
    char name[160];
    snprintf(name, sizeof name, "%s: %s, %s, future %s, kl %s", what, modes[r->mode], aggs[r->agg],
             futures[r->future.mode], kls[r->kl]);
    memset(g, 0xff, sizeof g);                      /* NaN: every element has to be written */
    memset(ge, 0xff, sizeof ge);
    op_pg(g, ge, influence, NULL, &s, &in, r);
    freeze(&f, b, r);
    double want = ref_loss(c.logp, b, &f, r), h = fine ? 1e-5 : 0x1p-10;
    CHECK_NEAR(s.loss, want, 1e-12 * (1 + fabs(want)), "%s: loss", name);
    for (int64_t i = 0; i < c.n; i++) {
        if (!c.m[i]) { CHECK(g[i] == 0 && ge[i] == 0, "%s: position %d, m = 0", name, (int)i); continue; }
        acc_t x = c.logp[i], up = (acc_t)((double)x + h), down = (acc_t)((double)x - h);
        c.logp[i] = up;
        double above = ref_loss(c.logp, b, &f, r);
        c.logp[i] = down;
        double below = ref_loss(c.logp, b, &f, r), slope = (above - below) / ((double)up - (double)down);
        c.logp[i] = x;
        CHECK_NEAR(g[i], slope, (fine ? 1e-7 : 1e-5) * (1 + fabs(slope)), "%s: gradient at %d", name, (int)i);
    }
    double ge_sum = 0, dot = 0;                    /* the entropy term is linear: ge . entropy is the term itself */
    for (int64_t i = 0; i < c.n; i++)
        if (c.m[i]) {
            ge_sum += fabs((double)ge[i]);
            dot += (double)ge[i] * (double)c.entropy[i];
        }
    CHECK((ge_sum > 0) == (r->entropy_coef != 0), "%s: ge", name);
    CHECK_NEAR(dot, -r->entropy_coef * s.entropy, fine ? 1e-12 : 1e-6, "%s: entropy term", name);
}

static struct loss_rule plain(void)
{
    return (struct loss_rule){ .clip_low = 0.2,
                               .clip_high = 0.28,
                               .clip_c = 3,
                               .max_len = 20,
                               .kl_coef = 0.3,
                               .entropy_coef = 0.07,
                               .future = { FUTURE_OFF, 0.5, exp2(-1.0 / 32), 1, 1.2, log(3), 6 } };
}

static void gradients(void **state)
{
    (void)state;
    struct batch narrow = make(5, 0.5), broad = make(6, 2.5);
    int combos = 0;
    for (int mode = 0; mode < MODES; mode++)
        for (int agg = 0; agg <= AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS; agg++)
            for (int future = 0; future <= FUTURE_CENTER; future++)
                for (int kl = 0; kl <= KL_K3; kl++, combos++) {
                    struct loss_rule r = plain();
                    r.mode = (enum loss_mode)mode, r.agg = (enum loss_agg)agg, r.future.mode = (enum future_mode)future,
                    r.kl = (enum kl_kind)kl;
                    check_one(&narrow, &r, "narrow");
                    r.drop_rows = combos % 2;
                    check_one(&broad, &r, "broad");
                    r.future.hi = r.future.lo = 0;
                    r.entropy_floor = op_entropy_floor(broad.entropy, broad.m, broad.n, 0.4);
                    r.entropy_coef = 0;
                    check_one(&broad, &r, "no clamp, 40 % of the tokens");
                }
    print_message("policy loss: %d rules x 3 batches of %d positions against central differences\n", combos, narrow.n);
}

/* Rows through any split of the batch and in any order: the same bits, given the same denominators. */
static void micro_batches(void **state)
{
    (void)state;
    struct batch b = make(11, 2.5);
    struct loss_in in = in_of(&b);
    for (int agg = 0; agg <= AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS; agg++)
        for (int mode = 0; mode < MODES; mode++) {
            struct loss_rule r = plain();
            r.agg = (enum loss_agg)agg, r.mode = (enum loss_mode)mode, r.kl = KL_K3, r.drop_rows = true,
            r.future.mode = FUTURE_SCALE;
            struct loss_stats whole, only, part;
            acc_t g[MAX], ge[MAX], pg[MAX], pge[MAX];
            uint8_t kept[ROWS], pkept[ROWS];
            op_pg(g, ge, NULL, kept, &whole, &in, &r);
            op_pg(NULL, NULL, NULL, NULL, &only, &in, &r);
            assert_memory_equal(&whole, &only, sizeof whole);
            r.tokens = whole.tokens, r.rows_live = whole.rows_live, r.tokens_all = whole.tokens_all,
            r.rows_all = whole.rows_all;
            for (int cut = 0; cut <= ROWS; cut++) {
                double loss = 0;
                for (int half = 0; half < 2; half++) {
                    struct loss_in piece = in;
                    piece.begin = b.begin + (half ? cut : 0);
                    piece.rows = half ? ROWS - cut : cut;
                    op_pg(pg, pge, NULL, pkept + (half ? cut : 0), &part, &piece, &r);
                    loss += part.loss;
                }
                CHECK_NEAR(loss, whole.loss, 1e-13 * (1 + fabs(whole.loss)), "%s, %s, cut at row %d", modes[mode],
                           aggs[agg], cut);
                assert_memory_equal(g, pg, (size_t)b.n * sizeof *g);
                assert_memory_equal(ge, pge, (size_t)b.n * sizeof *ge);
                assert_memory_equal(kept, pkept, sizeof kept);
            }
        }
}

/* Several rollouts through one token: sum_j -min(r A_j, clip(r) A_j) = -(min(r P, clip(r) P) + min(r Q, clip(r) Q)), P
 * and Q the sums of the positive and negative advantages. The unrolled rows, gathered, must give that loss and that
 * gradient. */
static void shared_prefix(void **state)
{
    (void)state;
    static const double adv[] = { 1.5, -0.75, 0.25, -2 };
    for (double d = -0.45; d < 0.5; d += 0.1) {
        acc_t logp[4], old[4], a[4], g[4];
        uint8_t m[] = { 1, 1, 1, 1 };
        int64_t begin[] = { 0, 1, 2, 3, 4 };
        double p = 0, q = 0;
        for (int j = 0; j < 4; j++) {
            logp[j] = -1;
            old[j] = (acc_t)(-1 - d);
            a[j] = (acc_t)adv[j];
            *(adv[j] > 0 ? &p : &q) += adv[j];
        }
        struct loss_in in = { logp, old, NULL, NULL, a, m, begin, 4 };
        struct loss_rule r = { .clip_low = 0.2, .clip_high = 0.28 };
        struct loss_stats s;
        op_pg(g, NULL, NULL, NULL, &s, &in, &r);
        double ratio = exp(-1 - (double)old[0]), bound = clip(ratio, 0.8, 1.28);
        double want = -(fmin(ratio * p, bound * p) + fmin(ratio * q, bound * q)) / 4;
        double slope = -((ratio < 1.28 ? ratio * p : 0) + (ratio > 0.8 ? ratio * q : 0)) / 4;
        CHECK_NEAR(s.loss, want, 1e-12, "delta %.2f: loss", d);
        CHECK_NEAR(g[0] + g[1] + g[2] + g[3], slope, fine ? 1e-12 : 1e-6, "delta %.2f: gradient", d);
    }
}

static void numbers_by_hand(void **state)
{
    (void)state;
    /* r = 2, 4, 1/2, 1; A = 1, -1, -1, 1; clip 0.2 / 0.28, c = 3: losses -1.28, 3 (dual clip), 0.8, -1 */
    acc_t logp[] = { (acc_t)log(2), (acc_t)log(4), (acc_t)-log(2), 0 }, old[4] = { 0 }, adv[] = { 1, -1, -1, 1 }, g[4];
    uint8_t m[] = { 1, 1, 1, 1 }, kept[2];
    int64_t begin[] = { 0, 2, 4 };
    struct loss_in in = { logp, old, NULL, NULL, adv, m, begin, 2 };
    struct loss_rule r = { .clip_low = 0.2, .clip_high = 0.28, .clip_c = 3 };
    struct loss_stats s;
    op_pg(g, NULL, NULL, kept, &s, &in, &r);
    CHECK_NEAR(s.loss, (-1.28 + 3 + 0.8 - 1) / 4, 1e-7, "loss");
    CHECK_NEAR(s.clipfrac, 0.5, 1e-12, "clipfrac");
    CHECK_NEAR(s.clipfrac_lower, 0.25, 1e-12, "clipfrac_lower");
    CHECK_NEAR(s.ppo_kl, -log(4) / 4, 1e-7, "ppo_kl");
    CHECK_NEAR(s.factor_mean, 1, 0, "factor");
    CHECK(g[0] == 0 && g[1] == 0 && g[2] == 0, "three clipped tokens have no gradient");
    CHECK_NEAR(g[3], -0.25, 1e-7, "the fourth");
    r.drop_rows = true;                             /* one token at the dual clip does not drop the row, two do */
    op_pg(g, NULL, NULL, kept, &s, &in, &r);
    CHECK(kept[0] && kept[1] && s.rows_dropped == 0, "one token");
    logp[0] = logp[1], adv[0] = -1;
    op_pg(g, NULL, NULL, kept, &s, &in, &r);
    CHECK(!kept[0] && kept[1] && s.rows_dropped == 1 && s.rows_live == 1 && s.tokens == 2 && s.tokens_all == 4, "two "
                                                                                                                "token"
                                                                                                                "s");
    CHECK_NEAR(s.loss, (0.8 - 1) / 2, 1e-7, "loss of the row that is left");
    CHECK(g[0] == 0 && g[1] == 0, "a dropped row has no gradient");
}

static void nothing_to_train(void **state)
{
    (void)state;
    acc_t x[3] = { (acc_t)NAN, (acc_t)NAN, (acc_t)NAN }, g[3], ge[3];
    uint8_t m[3] = { 0 }, kept[2];
    int64_t begin[] = { 0, 3, 3 };
    struct loss_in in = { x, x, x, x, x, m, begin, 2 };
    for (int agg = 0; agg <= AGG_SEQ_MEAN_TOKEN_SUM_NORM_ROWS; agg++) {
        struct loss_rule r = plain();
        struct loss_stats s, zero = { 0 };
        r.agg = (enum loss_agg)agg, r.kl = KL_K3, r.future.mode = FUTURE_SCALE;
        op_pg(g, ge, NULL, kept, &s, &in, &r);
        assert_memory_equal(&s, &zero, sizeof s);
        CHECK(g[0] == 0 && g[2] == 0 && ge[1] == 0 && kept[0] && kept[1], "%s", aggs[agg]);
        acc_t weight[2];
        CHECK(op_agg(weight, x, m, begin, 2, r.agg, 3) == 0, "%s: op_agg", aggs[agg]);
    }
    struct loss_stats s;
    in.rows = 0;
    struct loss_rule r = plain();
    op_pg(g, ge, NULL, kept, &s, &in, &r);
    CHECK(s.loss == 0 && s.tokens == 0, "no rows");
}

/* A NaN that the policy did produce must not vanish in a clamp. */
static void nan_is_not_hidden(void **state)
{
    (void)state;
    for (int mode = 0; mode < MODES; mode++) {
        acc_t logp[] = { -1, (acc_t)NAN, -1 }, old[] = { -1, -1, -1 }, adv[] = { 1, 1, 1 }, g[3], value[3], slope[3];
        uint8_t m[] = { 1, 1, 1 };
        int64_t begin[] = { 0, 3 };
        struct loss_in in = { logp, old, NULL, NULL, adv, m, begin, 1 };
        struct loss_rule r = plain();
        struct loss_stats s;
        r.mode = (enum loss_mode)mode;
        op_pg(g, NULL, NULL, NULL, &s, &in, &r);
        CHECK(isnan(s.loss) && isnan(g[1]), "%s", modes[mode]);
        for (int kl = KL_K1; kl <= KL_K3; kl++) {
            op_kl(value, slope, logp, old, 3, (enum kl_kind)kl);
            CHECK(isnan(value[1]) && !isnan(value[0]), "kl %s", kls[kl]);
        }
    }
}

/* Log-ratios past every limit: clamped at 20 unless raw_delta, where the ratio overflows as float32 does; never a
 * NaN. */
static void extremes(void **state)
{
    (void)state;
    static const double deltas[] = { 25, -25, 100, -100, 800, -800 };
    for (size_t k = 0; k < sizeof deltas / sizeof *deltas; k++)
        for (int mode = 0; mode < MODES; mode++)
            for (int raw = 0; raw < 2; raw++)
                for (int sign = -1; sign <= 1; sign += 2) {
                    acc_t logp[] = { 0 }, old[] = { (acc_t)-deltas[k] }, adv[] = { (acc_t)sign }, g[1];
                    uint8_t m[] = { 1 };
                    int64_t begin[] = { 0, 1 };
                    struct loss_in in = { logp, old, NULL, NULL, adv, m, begin, 1 };
                    struct loss_rule r = plain();
                    struct loss_stats s;
                    r.mode = (enum loss_mode)mode, r.raw_delta = raw, r.entropy_coef = r.kl_coef = 0,
                    r.future.mode = raw ? FUTURE_OFF : FUTURE_SCALE;
                    op_pg(g, NULL, NULL, NULL, &s, &in, &r);
                    bool unbounded = mode == LOSS_GSPO && sign < 0;      /* neither clip bounds it: may be infinite */
                    CHECK(!isnan(s.loss) && !isnan(g[0]) && (unbounded || (isfinite(s.loss) && isfinite(g[0]))),
                          "%s, delta %g, raw %d, sign %d: loss %g, slope %g", modes[mode], deltas[k], raw, sign, s.loss,
                          (double)g[0]);
                    if (mode == LOSS_PPO)
                        CHECK(g[0] == 0 || (raw && deltas[k] < 0 && sign > 0), "%s, delta %g: gradient", modes[mode],
                              deltas[k]);
                    CHECK(fabs(s.ppo_kl) == (raw ? fabs(deltas[k]) : 20), "delta %g, raw %d: ppo_kl", deltas[k], raw);
                }
    acc_t value, slope, zero = 0, far = 100;
    op_kl(&value, &slope, &zero, &far, 1, KL_K3);
    CHECK(value == 10 && slope == 0, "k3 is clamped");
}

/* Large enough for threads; the same bits with one and with four. */
static void threads(void **state)
{
    (void)state;
    enum { N = 80000, R = 40 };
    acc_t *x = xmalloc(7 * N * sizeof *x), *logp = x, *old = x + N, *adv = x + 2 * N, *g = x + 3 * N, *inf = x + 4 * N,
          *g4 = x + 5 * N, *inf4 = x + 6 * N;
    uint8_t *m = xmalloc(N);
    int64_t begin[R + 1];
    struct rng q = rng_make(3, 3, 3);
    for (int i = 0; i < N; i++) {
        logp[i] = (acc_t)-rng_uniform(&q);
        old[i] = (acc_t)-rng_uniform(&q);
        adv[i] = (acc_t)(rng_uniform(&q) - 0.5);
        m[i] = rng_below(&q, 5) > 0;
    }
    for (int i = 0; i <= R; i++) begin[i] = (int64_t)i * (N / R);
    struct loss_in in = { logp, old, NULL, NULL, adv, m, begin, R };
    struct loss_rule r = plain();
    struct loss_stats s, s4;
    r.future.mode = FUTURE_SCALE;
    dev_set_threads(1);
    op_pg(g, NULL, inf, NULL, &s, &in, &r);
    dev_set_threads(4);
    op_pg(g4, NULL, inf4, NULL, &s4, &in, &r);
    assert_memory_equal(&s, &s4, sizeof s);
    assert_memory_equal(g, g4, N * sizeof *g);
    assert_memory_equal(inf, inf4, N * sizeof *inf);
    free(x);
    free(m);
}

static void entropy_floor(void **state)
{
    (void)state;
    acc_t h[] = { 3, 1, (acc_t)NAN, 2, 5, 4, 2, 2 };
    uint8_t m[] = { 1, 1, 0, 1, 1, 1, 1, 1 };       /* descending: 5 4 3 2 2 2 1 */
    static const struct {
        double share, want;
    } cases[] = { { 0, 5 },   { 0.1, 5 }, { 1 / 7.0, 5 }, { 0.2, 4 }, { 0.4, 3 },
                  { 0.5, 2 }, { 0.9, 1 }, { 1, 1 },       { 2, 1 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_NEAR(op_entropy_floor(h, m, 8, cases[i].share), cases[i].want, 0, "share %g", cases[i].share);
    CHECK(op_entropy_floor(h, m, 0, 0.2) == 0, "nothing");
    acc_t many[1000];
    uint8_t all[1000];
    struct rng g = rng_make(9, 9, 9);
    for (int i = 0; i < 1000; i++) { many[i] = (acc_t)rng_below(&g, 300); all[i] = 1; }
    double floor = op_entropy_floor(many, all, 1000, 0.2);
    int above = 0, at = 0;
    for (int i = 0; i < 1000; i++) { above += (double)many[i] > floor; at += (double)many[i] == floor; }
    CHECK(above < 200 && above + at >= 200, "the 200th of 1000: %d above, %d at it", above, at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients), cmocka_unit_test(micro_batches), cmocka_unit_test(shared_prefix),
        cmocka_unit_test(numbers_by_hand), cmocka_unit_test(nothing_to_train), cmocka_unit_test(nan_is_not_hidden),
        cmocka_unit_test(extremes), cmocka_unit_test(threads),
        cmocka_unit_test(entropy_floor),
    };
    return cmocka_run_group_tests_name("policy loss", tests, NULL, NULL);
}
