/* test_rl_cuda.c: properties of the CUDA operations of ops_rl.h that the C backend's do not have: scans by tiles of 32
 * positions.
 * Rollouts whose lengths are around the borders of tiles, more records a row than a warp tests together,
 * candidates and rows by the thousand; against the recursions as they stand. */
#include "base/philox.h"
#include "kernels/ops_rl.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { ROWS = 14, MAX = 2600 };
static const int lengths[ROWS] = { 0, 1, 31, 32, 33, 63, 64, 65, 96, 97, 250, 500, 1000, 0 };
static const double unit = 2e-6;                    /* results are rounded to float */

struct batch {
    acc_t logp[MAX], old[MAX], entropy[MAX], adv[MAX], reward[MAX];
    uint8_t m[MAX];
    int64_t begin[ROWS + 1];
    int n;
};

/* NaN where m = 0 in vectors that an operation may not read there; the batch starts at position 5. */
static struct batch make(uint64_t seed)
{
    struct batch b = { .n = 5 };
    struct rng g = rng_make(seed, 60, 0);
    for (int r = 0; r < ROWS; r++) {
        b.begin[r] = b.n;
        for (int i = 0; i < lengths[r]; i++, b.n++) {
            bool m = rng_below(&g, 5) > 0;
            acc_t none = (acc_t)NAN;
            double lp = -rng_uniform(&g) * 2;
            b.m[b.n] = m;
            b.logp[b.n] = m ? (acc_t)lp : none;
            b.old[b.n] = m ? (acc_t)(lp + (rng_uniform(&g) - 0.5) * 0.4) : none;
            b.entropy[b.n] = m ? (acc_t)rng_uniform(&g) : none;
            b.adv[b.n] = m ? (acc_t)(rng_uniform(&g) - 0.5) : none;
            b.reward[b.n] = (acc_t)(rng_below(&g, 4) ? 0 : rng_uniform(&g));
        }
    }
    b.begin[ROWS] = b.n;
    return b;
}

static double delta(const struct batch *b, int64_t i) { return b->m[i] ? (double)b->logp[i] - (double)b->old[i] : 0; }

static double z(const double *x, const uint8_t *m, int64_t n, int64_t i)
{
    double mean = 0, var = 0, count = 0;
    for (int64_t k = 0; k < n; k++) if (m[k]) mean += x[k], count++;
    mean /= count;
    for (int64_t k = 0; k < n; k++) if (m[k]) var += (x[k] - mean) * (x[k] - mean) / count;
    return m[i] ? (x[i] - mean) / (sqrt(var) + 1e-6) : 0;
}

static void branch_score(void **state)
{
    (void)state;
    static const struct branch_rule rules[] = { { 0.97, 0.8, 1.2 }, { 1, 0, 0 }, { 0, 0, 0 } };
    static acc_t f[MAX], zf[MAX], zh[MAX], score[MAX];
    static double x[MAX], h[MAX];
    struct batch b = make(1);
    for (int k = 0; k < 3; k++) {
        op_branch_score(&(struct branch_scores){ f, zf, zh, score }, &(struct branch_in){
            .logp = b.logp, .logp_old = b.old, .entropy = b.entropy, .m = b.m, .begin = b.begin, .rows = ROWS
        }, &rules[k]);
        for (int row = 0; row < ROWS; row++) {
            int64_t at = b.begin[row], n = b.begin[row + 1] - at;
            double s = 0;
            for (int64_t i = n - 1; i >= 0; i--) {
                s = delta(&b, at + i) + rules[k].gamma * s;
                x[i] = exp(fmin(fmax(s, -20), 20));
                if (rules[k].hi > rules[k].lo) x[i] = fmin(fmax(x[i], rules[k].lo), rules[k].hi);
                h[i] = (double)b.entropy[at + i];
            }
            for (int64_t i = 0; i < n && n > 1; i++) {
                double wf = z(x, b.m + at, n, i), wh = z(h, b.m + at, n, i);
                CHECK_NEAR(f[at + i], x[i], unit * x[i], "rule %d, row %d: f[%d]", k, row, (int)i);
                CHECK_NEAR(zf[at + i], wf, unit * (1 + fabs(wf)), "rule %d, row %d: zf[%d]", k, row, (int)i);
                CHECK_NEAR(zh[at + i], wh, unit * (1 + fabs(wh)), "rule %d, row %d: zh[%d]", k, row, (int)i);
                CHECK_NEAR(score[at + i], wf * wh, 4 * unit * (1 + fabs(wf * wh)), "rule %d, row %d: score[%d]", k, row,
                           (int)i);
            }
        }
    }
}

/* The clipped loss with the future factor by one plain loop; GSPO by two. */
static void policy_loss(void **state)
{
    (void)state;
    static acc_t g[MAX], influence[MAX];
    static double want[MAX];
    struct batch b = make(2);
    for (int gspo = 0; gspo < 2; gspo++) {
        struct loss_rule r = { .clip_low = 0.2, .clip_high = 0.28, .clip_c = 3, .mode = gspo ? LOSS_GSPO : LOSS_PPO,
                               .future = { FUTURE_SCALE, 0.5, 0.98, 0.9, 1.3, HUGE_VAL, HUGE_VAL } };
        struct loss_in in = { b.logp, b.old, NULL, b.entropy, b.adv, b.m, b.begin, ROWS };
        struct loss_stats s;
        double loss = 0, tokens = 0, iw_min = HUGE_VAL, kl = 0, entropy = 0;
        op_pg(g, NULL, influence, NULL, &s, &in, &r);
        for (int row = 0; row < ROWS; row++) {
            double future = 0, n = 0, mean = 0, slopes = 0;
            for (int64_t i = b.begin[row]; i < b.begin[row + 1]; i++) n += b.m[i], mean += delta(&b, i);
            mean /= n > 0 ? n : 1;
            for (int64_t i = b.begin[row + 1] - 1; i >= b.begin[row]; i--) {
                future = delta(&b, i) + r.future.gamma * future;
                double iw = fmin(fmax(exp(future), 0.9), 1.3), ratio = exp(gspo ? mean : delta(&b, i)),
                       bound = fmin(fmax(ratio, 0.8), 1.28);
                CHECK_NEAR(influence[i], iw, unit, "row %d: influence at %d", row, (int)i);
                want[i] = 0;
                if (!b.m[i]) continue;
                double w = (double)b.adv[i] * (1 + 0.5 * iw);
                loss += fmax(-w * ratio, -w * bound);
                want[i] = -w * bound > -w * ratio ? 0 : -w * ratio;
                slopes += want[i];
                tokens++;
                kl -= delta(&b, i);
                entropy += (double)b.entropy[i];
                iw_min = fmin(iw_min, iw);
            }
            for (int64_t i = b.begin[row]; gspo && i < b.begin[row + 1]; i++) want[i] = b.m[i] ? slopes / n : 0;
        }
        CHECK_NEAR(s.loss, loss / tokens, 1e-12, "loss, gspo %d", gspo);
        CHECK_NEAR(s.ppo_kl, kl / tokens, 1e-12, "ppo_kl");
        CHECK_NEAR(s.entropy, entropy / tokens, 1e-12, "entropy");
        CHECK_NEAR(s.iw_min, iw_min, 1e-12, "smallest factor");
        CHECK(s.tokens == tokens && s.rows_live == 12 && s.rows_all == 12, "%g tokens, %d rows", s.tokens, s.rows_live);
        for (int64_t i = b.begin[0]; i < b.n; i++)
            CHECK_NEAR(g[i], want[i] / tokens, unit / tokens, "gspo %d: gradient at %d", gspo, (int)i);
        double value[2] = { 0, 0 };
        static acc_t ones[MAX];
        for (int i = 0; i < MAX; i++) ones[i] = (acc_t)(i % 9);
        for (int64_t i = b.begin[0]; i < b.n; i++) if (b.m[i]) value[0] += (double)(i % 9), value[1]++;
        acc_t weight[ROWS];
        CHECK_NEAR(op_agg(weight, ones, b.m, b.begin, ROWS, AGG_TOKEN_MEAN, 0), value[0] / value[1], 1e-12,
                   "token mean");
        CHECK_NEAR(weight[7], 1 / value[1], 1e-9, "its weight");
    }
}

static void returns(void **state)
{
    (void)state;
    static acc_t adv[MAX], ret[MAX];
    static double x[MAX];
    double sum = 0, square = 0, n = 0;
    struct batch b = make(3);
    acc_t baseline[ROWS];
    for (int i = 0; i < ROWS; i++) baseline[i] = (acc_t)(i * 0.125);
    struct estimator_rule pp = { .kind = ADV_REINFORCE_PP, .gamma = 0.95 }, remax = { .kind = ADV_REMAX };
    struct estimator_in in = { b.reward, baseline, b.m, b.begin, ROWS, NULL };
    op_advantage(adv, ret, &in, &pp);
    for (int row = 0; row < ROWS; row++) {
        double carry = 0;
        for (int64_t i = b.begin[row + 1] - 1; i >= b.begin[row]; i--) {
            carry = (double)b.reward[i] + pp.gamma * carry;
            CHECK_NEAR(ret[i], carry, unit * (1 + carry), "reinforce++: return at %d of row %d", (int)i, row);
            x[i] = carry;
            if (b.m[i]) sum += carry, n++;
            else carry = 0;
        }
    }
    for (int64_t i = b.begin[0]; i < b.n; i++) if (b.m[i]) square += (x[i] - sum / n) * (x[i] - sum / n);
    for (int64_t i = b.begin[0]; i < b.n; i++)
        CHECK_NEAR(adv[i], b.m[i] ? (x[i] - sum / n) / sqrt(square / (n - 1)) : 0, 1e-5,
                   "reinforce++: advantage at %d", (int)i);
    op_advantage(adv, ret, &in, &remax);
    for (int row = 0; row < ROWS; row++) {
        double carry = 0;
        for (int64_t i = b.begin[row + 1] - 1; i >= b.begin[row]; i--) {
            carry += b.m[i] ? (double)b.reward[i] : 0;
            CHECK_NEAR(ret[i], carry, unit * (1 + carry), "remax: return at %d of row %d", (int)i, row);
            CHECK_NEAR(adv[i], carry - (b.m[i] ? (double)baseline[row] : 0), unit * (1 + carry),
                       "remax: advantage at %d of row %d", (int)i, row);
        }
    }
}

/* A hundred records, most of the longest row, some of no row: the mean of what lies at or after a position; the product
 * of the waves. */
static void records(void **state)
{
    (void)state;
    enum { RECORDS = 100 };
    static acc_t adv[MAX];
    struct batch b = make(4), c = b;
    struct branch_record rec[RECORDS];
    int uid[ROWS];
    uint8_t kind[ROWS];
    acc_t reward[ROWS], base[ROWS];
    struct rng g = rng_make(5, 61, 0);
    for (int r = 0; r < ROWS; r++) uid[r] = 3 - r % 2, kind[r] = r < 8, reward[r] = (acc_t)rng_uniform(&g);
    for (int i = 0; i < RECORDS; i++) {
        int orig = i % 3 ? 12 : 10 + i % 5, row = (int)rng_below(&g, ROWS + 2) - 1, idx = (int)rng_below(&g, 1100) - 5;
        rec[i] = (struct branch_record){ orig, row, idx, rng_uniform(&g) - 0.2 };
    }
    op_advantage_dual(adv, base, &(struct dual_in){
        .reward = reward, .m = b.m, .begin = b.begin, .rows = ROWS, .uid = uid, .kind = kind, .rec = rec,
        .records = RECORDS }, &(struct advantage_rule){ DUAL_PREFIX, true, false });
    op_reward_scale(c.reward, c.begin, ROWS, rec, RECORDS, 0.99);
    double most = 0;
    for (int i = 0; i < RECORDS; i++) if (rec[i].row >= 0) most = fmax(most, rec[i].score);
    for (int row = 0; row < ROWS; row++)
        for (int64_t i = b.begin[row], len = b.begin[row + 1] - i, t = 0; t < len; i++, t++) {
            double sum = 0, wave = 0;
            int count = 0, of = 0;
            for (int k = 0; k < RECORDS; k++) {
                if (rec[k].orig != row || rec[k].row < 0) continue;
                of++;
                wave += 1 + (rec[k].score > 0 && rec[k].idx >= 0 && t <= rec[k].idx
                                 ? rec[k].score / most * pow(0.99, (double)(rec[k].idx - t))
                                 : 0);
                if (rec[k].row >= ROWS || kind[row] || !kind[rec[k].row] || rec[k].idx < 0 ||
                    (rec[k].idx < len ? rec[k].idx : len - 1) < t)
                    continue;
                sum += (double)base[rec[k].row];
                count++;
            }
            double want = !b.m[i] || kind[row] ? 0 : (double)base[row] + (count ? sum / count : 0);
            CHECK_NEAR(adv[i], want, 4 * unit * (1 + fabs(want)), "row %d: advantage at %d", row, (int)t);
            double scaled = (double)b.reward[i] * (of ? wave / of : 1);
            CHECK_NEAR(c.reward[i], scaled, 4 * unit * (1 + scaled), "row %d: reward at %d", row, (int)t);
        }
}

/* Against an exhaustive search for every point. Keys are few, so that most are ties. */
static void points(void **state)
{
    (void)state;
    enum { WANT = 40 };
    static acc_t key[MAX], zf[MAX], zh[MAX];
    static uint8_t ok[MAX], near[MAX];
    struct batch b = make(6);
    struct rng g = rng_make(7, 62, 0);
    for (int i = 0; i < MAX; i++) {
        key[i] = rng_below(&g, 9) ? (acc_t)((int)rng_below(&g, 9) - 3) : (acc_t)NAN;
        zf[i] = (acc_t)((int)rng_below(&g, 3) - 1), zh[i] = (acc_t)((int)rng_below(&g, 5) - 1),
        ok[i] = (uint8_t)(rng_below(&g, 7) * (i % 3 == 0) / 3);
    }
    for (int gap = 0; gap < 30; gap += 7) {
        struct select_rule r = { WANT, 0, gap, true, true };
        struct branch_point out[WANT];
        int n = op_branch_select(out, &(struct select_in){
            .key = key, .zf = zf, .zh = zh, .ok = ok, .begin = b.begin, .rows = ROWS }, &r), found = 0;
        CHECK(n == WANT, "gap %d: %d points", gap, n);
        memset(near, 0, sizeof near);
        for (; found < WANT; found++) {
            int best = -1, best_row = 0, best_tier = 0;
            double best_rank = 0;
            for (int row = 0; row < ROWS; row++)
                for (int64_t i = b.begin[row]; i < b.begin[row + 1]; i++) {
                    if (near[i] || !ok[i] || isnan(key[i])) continue;
                    bool strict = key[i] > 0 && zf[i] > 0 && zh[i] > 0;
                    int tier = 2 * ok[i] + strict;
                    double rank = (double)(strict ? key[i] : zh[i]);
                    if (best >= 0 && (tier < best_tier || (tier == best_tier && rank <= best_rank))) continue;
                    best = (int)i, best_row = row, best_tier = tier, best_rank = rank;
                }
            if (best < 0) break;
            CHECK(out[found].row == best_row && b.begin[best_row] + out[found].pos == best,
                  "gap %d: point %d is row %d, position %d", gap, found, out[found].row, out[found].pos);
            for (int64_t i = b.begin[best_row]; i < b.begin[best_row + 1]; i++)
                near[i] |= i == best || (i > best - gap && i < best + gap);
        }
        for (int i = found; i < WANT; i++)
            CHECK(out[i].row == out[i - found].row && out[i].pos == out[i - found].pos,
                  "gap %d: point %d is no repetition", gap, i);
    }
}

static int descending(const void *a, const void *b)
{
    acc_t x = *(const acc_t *)a, y = *(const acc_t *)b;
    return (x < y) - (x > y);
}

static void entropy_floor(void **state)
{
    (void)state;
    enum { N = 70001 };
    acc_t *x = xmalloc(N * sizeof *x), *sorted = xmalloc(N * sizeof *x);
    uint8_t *m = xmalloc(N);
    struct rng g = rng_make(8, 63, 0);
    int n = 0;
    for (int i = 0; i < N; i++) {
        x[i] = (acc_t)(rng_uniform(&g) * 3 - 1);             /* negative ones too: a top-k entropy may be anything */
        m[i] = rng_below(&g, 3) > 0;
        if (m[i]) sorted[n++] = x[i];
        else x[i] = (acc_t)NAN;
    }
    qsort(sorted, (size_t)n, sizeof *sorted, descending);
    for (double share = 0.001; share < 1.2; share += 0.2499) {
        int rank = (int)ceil(share * n);
        CHECK_NEAR(op_entropy_floor(x, m, N, share), (double)sorted[(rank > n ? n : rank) - 1], 0, "share %g", share);
    }
    free(x), free(sorted), free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(branch_score), cmocka_unit_test(policy_loss),
                                        cmocka_unit_test(returns),      cmocka_unit_test(records),
                                        cmocka_unit_test(points),       cmocka_unit_test(entropy_floor) };
    return cmocka_run_group_tests_name("branching rl, long rollouts", tests, NULL, NULL);
}
