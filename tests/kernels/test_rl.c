/* test_rl.c: Branching Score, choice of points, advantages, reward scale, estimators: against sums written out as the
 * formulas stand, and by hand. NaN wherever m = 0. */
#include "base/philox.h"
#include "kernels/ops_rl.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { ROWS = 6, MAX = 160 };
static const double unit = sizeof(acc_t) == 8 ? 1e-12 : 2e-6;

struct scores {
    acc_t logp[MAX], old[MAX], entropy[MAX], f[MAX], zf[MAX], zh[MAX], score[MAX];
    uint8_t m[MAX];
    int64_t begin[ROWS + 1];
    int n;
};

/* Row 1 has one token of its own, row 2 none, row 3 no position. Row 4's log-ratios are 0, row 5's so large that the
 * sums pass 20. */
static struct scores make(uint64_t seed)
{
    static const int lengths[ROWS] = { 40, 1, 7, 0, 30, 50 };
    struct scores s = { .n = 0 };
    struct rng g = rng_make(seed, 2, 0);
    for (int r = 0; r < ROWS; r++) {
        s.begin[r] = s.n;
        for (int i = 0; i < lengths[r]; i++, s.n++) {
            bool m = r != 2 && (i % 11 < 8);
            double lp = -floor(rng_uniform(&g) * 8192) / 4096, d = (rng_uniform(&g) - 0.5) * (r == 4   ? 0
                                                                                              : r == 5 ? 30
                                                                                                       : 0.05);
            s.m[s.n] = m;
            s.logp[s.n] = m ? (acc_t)lp : (acc_t)NAN;
            s.old[s.n] = m ? (acc_t)(lp - floor(d * 4096) / 4096 * (r != 4)) : (acc_t)NAN;
            s.entropy[s.n] = m ? (acc_t)rng_uniform(&g) : (acc_t)NAN;
        }
    }
    s.begin[ROWS] = s.n;
    return s;
}

static double omega(const struct scores *s, int row, int64_t i, double gamma)
{
    double sum = 0;
    for (int64_t k = i; k < s->begin[row + 1]; k++)
        if (s->m[k]) sum += pow(gamma, (double)(k - i)) * ((double)s->logp[k] - (double)s->old[k]);
    return exp(fmin(fmax(sum, -20), 20));
}

static double z_at(const double *x, const uint8_t *m, int64_t n, int64_t i)
{
    double mean = 0, var = 0, count = 0;
    for (int64_t k = 0; k < n; k++) if (m[k]) { mean += x[k]; count++; }
    mean /= count;
    for (int64_t k = 0; k < n; k++) if (m[k]) var += (x[k] - mean) * (x[k] - mean) / count;
    return (x[i] - mean) / (sqrt(var) + 1e-6);
}

static void branch_scores(void **state)
{
    (void)state;
    static const struct branch_rule rules[] = {
        { 1, 0.8, 1.2 }, { 0.9785720620877001, 1, 1.2 }, { 0.9, 0, 0 }, { 0, 0.99, 1.01 }
    };
    struct scores s = make(1);
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
        const struct branch_rule *r = &rules[k];
        op_branch_score(&(struct branch_scores){ s.f, s.zf, s.zh, s.score }, &(struct branch_in){
            .logp = s.logp, .logp_old = s.old, .entropy = s.entropy, .m = s.m, .begin = s.begin, .rows = ROWS }, r);
        for (int row = 0; row < ROWS; row++) {
            double f[MAX], h[MAX];
            int64_t at = s.begin[row], n = s.begin[row + 1] - at;
            for (int64_t i = 0; i < n; i++) {
                double w = omega(&s, row, at + i, r->gamma);
                f[i] = r->hi > r->lo ? fmin(fmax(w, r->lo), r->hi) : w;
                h[i] = (double)s.entropy[at + i];
                CHECK_NEAR(s.f[at + i], f[i], unit * f[i], "rule %zu, row %d, f at %d", k, row, (int)i);
            }
            for (int64_t i = 0; i < n; i++) {
                if (!s.m[at + i]) {
                    CHECK(s.score[at + i] == 0 && s.zf[at + i] == 0 && s.zh[at + i] == 0, "row %d, m = 0 at %d", row,
                          (int)i);
                    continue;
                }
                bool alone = row == 1, flat = alone || row == 4;
                double zf = flat ? 0 : z_at(f, s.m + at, n, i), zh = alone ? 0 : z_at(h, s.m + at, n, i);
                CHECK_NEAR(s.zf[at + i], zf, 1e-7 + unit * fabs(zf), "rule %zu, row %d, zf at %d", k, row, (int)i);
                CHECK_NEAR(s.zh[at + i], zh, unit * (1 + fabs(zh)), "rule %zu, row %d, zh at %d", k, row, (int)i);
                CHECK_NEAR(s.score[at + i], zf * zh, 1e-6 + unit * fabs(zf * zh), "rule %zu, row %d, score at %d", k,
                           row, (int)i);
                CHECK(!flat || (s.zf[at + i] == 0 && s.score[at + i] == 0), "row %d: a constant f gives exactly 0",
                      row);
            }
        }
    }
    /* no rows: nothing happens */
    op_branch_score(&(struct branch_scores){ s.f, s.zf, s.zh, s.score }, &(struct branch_in){
        .logp = s.logp, .logp_old = s.old, .entropy = s.entropy, .m = s.m, .begin = s.begin, .rows = 0 }, &rules[0]);
}

/* Constants whose rounded mean is not themselves: still exactly 0. */
static void constant_rows(void **state)
{
    (void)state;
    struct scores s = { .begin = { 0, 49 } };
    for (int i = 0; i < 49; i++) { s.m[i] = 1; s.logp[i] = -1; s.old[i] = -2; s.entropy[i] = (acc_t)0.1; }
    op_branch_score(&(struct branch_scores){ s.f, s.zf, s.zh, s.score }, &(struct branch_in){
        .logp = s.logp, .logp_old = s.old, .entropy = s.entropy, .m = s.m, .begin = s.begin, .rows = 1
    }, &(struct branch_rule){ 1, 0.8, 1.1 });
    for (int i = 0; i < 49; i++) CHECK(s.zf[i] == 0 && s.zh[i] == 0 && s.score[i] == 0, "position %d", i);
    s.entropy[3] = (acc_t)NAN;                       /* a NaN of the policy's own token is not a constant */
    op_branch_score(&(struct branch_scores){ s.f, s.zf, s.zh, s.score }, &(struct branch_in){
        .logp = s.logp, .logp_old = s.old, .entropy = s.entropy, .m = s.m, .begin = s.begin, .rows = 1
    }, &(struct branch_rule){ 1, 0.8, 1.1 });
    CHECK(isnan(s.zh[0]) && isnan(s.score[3]), "NaN entropy");
}

/* 3 rows of 4, 0 and 6 positions. Strict: zf, zh, key all > 0. */
static const acc_t key[] = { 5, -1, 3, 3, 3, 9, 2, 0.5, 3, 7 }, zf[] = { 1, 1, 1, 1, 1, -1, 1, 1, 1, 1 },
                   zh[] = { 1, 2, 1, 1, 1, -9, 1, 1, 1, 1 };
static const int64_t begin3[] = { 0, 4, 4, 10 };

static void choice_of_points(void **state)
{
    (void)state;
    static const int reversed[] = { 2, 1, 0 };
    static const struct {
        const char *name;
        struct select_rule r;
        const int *order;
        uint8_t ok[10];
        int n;
        struct {
            int row, pos;
        } want[12];
    } cases[] = {
        { "strict first, then by key; ties by row and position", { 10, 0, 0, false, true }, NULL, { 1, 1, 1, 1, 1, 1, 1,
          1, 1, 1 }, 10,
          { { 2, 5 }, { 0, 0 }, { 0, 2 }, { 0, 3 }, { 2, 0 }, { 2, 4 }, { 2, 2 }, { 2, 3 }, { 2, 1 }, { 0, 1 } } },
        { "the rest by entropy", { 10, 0, 0, true, true }, NULL, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 10,
          { { 2, 5 }, { 0, 0 }, { 0, 2 }, { 0, 3 }, { 2, 0 }, { 2, 4 }, { 2, 2 }, { 2, 3 }, { 0, 1 }, { 2, 1 } } },
        { "by key alone", { 3, 0, 0, false, false }, NULL, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 3, { { 2, 1 }, { 2, 5 },
          { 0, 0 } } },
        { "by key alone, entropy asked for but no strict set", { 3, 0, 0, true, false }, NULL, { 1, 1, 1, 1, 1, 1, 1, 1,
          1, 1 }, 3, { { 2, 1 }, { 2, 5 }, { 0, 0 } } },
        { "cyclic repeat", { 5, 0, 0, false, true }, NULL, { 0, 0, 0, 1, 0, 0, 0, 1, 0, 0 }, 5, { { 0, 3 }, { 2, 3 },
          { 0, 3 }, { 2, 3 }, { 0, 3 } } },
        { "one candidate", { 3, 0, 0, false, true }, NULL, { 0, 1 }, 3, { { 0, 1 }, { 0, 1 }, { 0, 1 } } },
        { "no candidate", { 3, 0, 0, false, true }, NULL, { 0 }, 0, { { 0, 0 } } },
        { "none wanted", { 0, 0, 0, false, true }, NULL, { 1 }, 0, { { 0, 0 } } },
        { "gap of 3", { 4, 0, 3, false, true }, NULL, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 4, { { 2, 5 }, { 0, 0 }, { 0,
          3 }, { 2, 0 } } },
        { "a gap wider than the rows", { 3, 0, 100, false, true }, NULL, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 3, { { 2,
          5 }, { 0, 0 }, { 2, 5 } } },
        { "one a row", { 2, 1, 0, false, true }, reversed, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 2, { { 2, 5 }, { 0,
          0 } } },
        { "two a row, in order", { 4, 2, 0, false, true }, NULL, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 4, { { 0, 0 }, { 0,
          2 }, { 2, 5 }, { 2, 0 } } },
        { "two a row, three wanted", { 3, 2, 0, false, true }, reversed, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 3, { { 2,
          5 }, { 2, 0 }, { 0, 0 } } },
        { "one a row, a row has none", { 3, 1, 0, false, true }, reversed, { 0, 0, 0, 0, 1, 1, 1, 1, 1, 1 }, 3, { { 2,
          5 }, { 2, 5 }, { 2, 5 } } },
        { "a higher ok comes first", { 4, 0, 0, false, true }, NULL, { 1, 1, 1, 1, 2, 2, 1, 1, 1, 1 }, 4, { { 2, 0 },
          { 2, 1 }, { 2, 5 }, { 0, 0 } } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct branch_point out[12];
        int n = op_branch_select(out, &(struct select_in){
            .key = key, .zf = zf, .zh = zh, .ok = cases[i].ok, .begin = begin3, .rows = 3, .order = cases[i].order
        }, &cases[i].r);
        CHECK(n == cases[i].n, "%s: %d points", cases[i].name, n);
        for (int k = 0; k < n; k++) {
            CHECK(out[k].row == cases[i].want[k].row && out[k].pos == cases[i].want[k].pos,
                  "%s: point %d is row %d, position %d", cases[i].name, k, out[k].row, out[k].pos);
            int64_t at = begin3[out[k].row] + out[k].pos;
            CHECK(out[k].score == key[at] && out[k].strict == (zf[at] > 0 && zh[at] > 0 && key[at] > 0), "%s: point %d",
                  cases[i].name, k);
        }
    }
    acc_t bad[10];
    uint8_t ok[10] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    struct branch_point out[4];
    for (int i = 0; i < 10; i++) bad[i] = i == 6 ? 1 : (acc_t)NAN;
    CHECK(op_branch_select(out, &(struct select_in){
        .key = bad, .zf = zf, .zh = zh, .ok = ok, .begin = begin3, .rows = 3
    }, &(struct select_rule){ .want = 2 }) == 2 &&
              out[1].row == 2 && out[1].pos == 2,
          "a NaN key is no candidate");
}

/* One prompt: initial 0 (length 5, R 1), 1 (3, R 0), 2 (0 positions, R 0.5); branches 3 (R 1), 4 (R 0), 5 (R 1);
 * another prompt: rows 6, 7 equal. */
static const int64_t begin8[] = { 0, 5, 8, 8, 10, 12, 14, 16, 18 };
static const int uid8[] = { 7, 7, 7, 7, 7, 7, -3, -3 };
static const uint8_t kind8[] = { 0, 0, 0, 1, 1, 1, 0, 0 },
                     mask18[] = { 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1 };
static const acc_t reward8[] = { 1, 0, 0.5, 1, 0, 1, (acc_t)0.1, (acc_t)0.1 };
static const struct branch_record rec8[] = { { 0, 3, 1, 1 }, { 0, 4, 3, 1 },  { 1, 5, 99, 1 }, { -1, 3, 1, 1 },
                                             { 0, 1, 4, 1 }, { 0, 8, 4, 1 },  { 0, -1, 4, 1 }, { 8, 3, 1, 1 },
                                             { 3, 4, 1, 1 }, { 0, 3, -1, 1 }, { 2, 4, 0, 1 } };

static void dual_advantage(void **state)
{
    (void)state;
    double si = sqrt(0.5 / 3) + 1e-6, sb = sqrt(2.0 / 9) + 1e-6, a0 = 0.5 / si, b3 = (1 / 3.0) / sb,
           b4 = (-2 / 3.0) / sb;
    double m0 = (a0 + (1 - 2 / 3.0) / sb) / 2, m1 = (-a0 + (0 - 2 / 3.0) / sb) / 2;
    const struct { struct advantage_rule r; double want[18]; } cases[] = {
        { { DUAL_PREFIX, true, false }, { a0 + (b3 + b4) / 2, a0 + (b3 + b4) / 2, 0, a0 + b4, a0, -a0 + b3, -a0 + b3,
          0 } },
        { { DUAL_PREFIX, false, false }, { 0.5 - 1 / 6.0, 0.5 - 1 / 6.0, 0, 0.5 - 2 / 3.0, 0.5, -0.5 + 1 / 3.0,
          -0.5 + 1 / 3.0, 0 } },
        { { DUAL_AVERAGE, true, false }, { m0, m0, 0, m0, m0,  m1, m1, 0 } },
        { { DUAL_OFF, true, false }, { a0, a0, 0, a0, a0,  -a0, -a0, 0 } },
        { { DUAL_OFF, true, true }, { a0, a0, 0, a0, a0,  -a0, -a0, 0,  b3, b3, b4, b4, b3, 0 } },
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        acc_t adv[18], base[8];
        op_advantage_dual(adv, base, &(struct dual_in){
            .reward = reward8, .m = mask18, .begin = begin8, .rows = 8, .uid = uid8, .kind = kind8, .rec = rec8,
            .records = sizeof rec8 / sizeof *rec8 }, &cases[k].r);
        for (int i = 0; i < 18; i++) CHECK_NEAR(adv[i], cases[k].want[i], 10 * unit, "case %zu, position %d", k, i);
        CHECK(base[6] == 0 && base[7] == 0, "equal rewards give exactly 0");
        CHECK_NEAR(base[3], cases[k].r.by_std ? b3 : 1 / 3.0, 10 * unit, "base of a branch");
    }
}

static void degenerate_groups(void **state)
{
    (void)state;
    int64_t begin[] = { 0, 1, 2, 3, 4 };
    uint8_t m[] = { 1, 1, 1, 1 }, kind[] = { 0, 1, 0, 0 };
    int uid[] = { 1, 1, 2, 2 };
    acc_t reward[] = { 1, -1, (acc_t)(1 / 3.0), (acc_t)(1 / 3.0) }, adv[4], base[4];
    struct branch_record rec = { 0, 1, 0, 1 };
    for (int dual = 0; dual <= DUAL_OFF; dual++)
        for (int by_std = 0; by_std < 2; by_std++) {
            op_advantage_dual(adv, base, &(struct dual_in){
                .reward = reward, .m = m, .begin = begin, .rows = 4, .uid = uid, .kind = kind, .rec = &rec, .records = 1
            }, &(struct advantage_rule){ (enum dual_group)dual, by_std, true });
            for (int i = 0; i < 4; i++) CHECK(adv[i] == 0 && base[i] == 0, "dual %d, row %d", dual, i);
        }
    /* all initial */
    op_advantage_dual(adv, base, &(struct dual_in){
        .reward = reward, .m = m, .begin = begin, .rows = 4, .uid = uid, .records = 0
    }, &(struct advantage_rule){ DUAL_PREFIX, false, false });
    CHECK_NEAR(adv[0], 1, unit, "kind NULL");
    CHECK_NEAR(adv[1], -1, unit, "kind NULL");
}

static void reward_scale(void **state)
{
    (void)state;
    static const struct branch_record rec[] = { { 0, 5, 3, 2 },  { 0, 6, 40, 1 },   { 0, 7, 5, -1 }, { 1, 8, 0, 4 },
                                                { -1, 9, 2, 8 }, { 2, -1, 2, 100 }, { 0, 5, -2, 3 }, { 77, 1, 1, 1 } };
    static const double discounts[] = { 0.9, 1, 0, 0.5 };
    int64_t begin[] = { 0, 9, 13, 18, 18 };
    for (size_t k = 0; k < sizeof discounts / sizeof *discounts; k++) {
        acc_t x[18];
        for (int i = 0; i < 18; i++) x[i] = (acc_t)(1 + i * 0.25);
        op_reward_scale(x, begin, 4, rec, sizeof rec / sizeof *rec, discounts[k]);
        for (int row = 0; row < 4; row++)
            for (int64_t i = begin[row]; i < begin[row + 1]; i++) {
                double sum = 0, n = 0, t = (double)(i - begin[row]);
                for (size_t j = 0; j < sizeof rec / sizeof *rec; j++) {
                    if (rec[j].orig != row || rec[j].row < 0) continue;
                    n++;
                    sum +=
                        1 + (rec[j].score > 0 && t <= rec[j].idx ? rec[j].score / 8 * pow(discounts[k], rec[j].idx - t)
                                                                 : 0);
                }
                CHECK_NEAR(x[i], (1 + (double)i * 0.25) * (n > 0 ? sum / n : 1), 10 * unit,
                           "discount %g, row %d, position %d", discounts[k], row, (int)t);
            }
    }
    acc_t x[18];
    for (int i = 0; i < 18; i++) x[i] = (acc_t)i;
    op_reward_scale(x, begin, 4, &(struct branch_record){ 0, 5, 3, -2 }, 1, 0.9);
    for (int i = 0; i < 18; i++) CHECK(x[i] == (acc_t)i, "no positive score: nothing happens");
}

/* Scores 3, 1, 2 in prompt 4 and 5 in prompt 9, lengths 2, 1, 3, 2 (m); one reward on a position with m = 0, which
 * counts in the score. */
static void estimators(void **state)
{
    (void)state;
    int64_t begin[] = { 0, 3, 5, 8, 10 };
    int group[] = { 4, 4, 4, 9 };
    uint8_t m[] = { 1, 1, 0,  1, 0,  1, 1, 1,  1, 1 };
    acc_t reward[] = { 0, 0, 3,  1, 0,  0, 0, 2,  0, 5 }, adv[10], ret[10], baseline[] = { 1, 0.5, 0, 2 };
    struct estimator_in in = { reward, baseline, m, begin, 4, group };
    const struct { struct estimator_rule r; double row[4]; } cases[] = {
        { { ADV_GRPO, true, 0 }, { 1 / (1 + 1e-6), -1 / (1 + 1e-6), 0, 5 / (1 + 1e-6) } },
        { { ADV_GRPO, false, 0 }, { 1, -1, 0, 5 } },
        { { ADV_GRPO_PASSK, true, 0 }, { 1 / (1 + 1e-6), 0, 0, 0 } },
        { { ADV_GRPO_PASSK, false, 0 }, { 1, 0, 0, 0 } },
        { { ADV_RLOO, false, 0 }, { 1.5, -1.5, 0, 5 } },
        /* length-weighted mean (2 3 + 1 1 + 3 2) / 6 */
        { { ADV_OPO, false, 0 }, { 3 - 13 / 6.0, 1 - 13 / 6.0, 2 - 13 / 6.0, 5 } },
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        op_advantage(adv, ret, &in, &cases[k].r);
        for (int r = 0; r < 4; r++)
            for (int64_t i = begin[r]; i < begin[r + 1]; i++) {
                CHECK_NEAR(adv[i], m[i] ? cases[k].row[r] : 0, 10 * unit, "estimator %d, position %d",
                           (int)cases[k].r.kind, (int)i);
                CHECK(ret[i] == adv[i], "estimator %d: returns", (int)cases[k].r.kind);
            }
    }
    in.group = NULL;
    op_advantage(adv, ret, &in, &(struct estimator_rule){ .kind = ADV_REMAX });
    static const double remax[] = { -1, -1, 0, 0.5, 0, 2, 2, 2, 3, 3 }, remax_ret[] = { 0, 0, 0, 1, 0, 2, 2, 2, 5, 5 };
    for (int i = 0; i < 10; i++) {
        CHECK_NEAR(adv[i], remax[i], unit * 5, "remax %d", i);
        CHECK_NEAR(ret[i], remax_ret[i], unit * 5, "remax return %d", i);
    }
}

/* Mean 0 and variance 1 after whitening, and the recursions by hand. */
static void whitened(void **state)
{
    (void)state;
    int64_t begin[] = { 0, 4, 6 };
    int group[] = { 0, 0 };
    uint8_t m[] = { 1, 1, 0, 1,  1, 1 };
    acc_t reward[] = { 1, 0, 0, 2,  0, -1 }, adv[6], ret[6];
    struct estimator_in in = { .reward = reward, .m = m, .begin = begin, .rows = 2 };
    /* REINFORCE++: nothing crosses the hole at 2, whose own return is the 2 of position 3 times gamma */
    op_advantage(adv, ret, &in, &(struct estimator_rule){ .kind = ADV_REINFORCE_PP, .gamma = 0.5 });
    static const double pp[] = { 1, 0, 1, 2, -0.5, -1 };
    for (int i = 0; i < 6; i++) CHECK_NEAR(ret[i], pp[i], unit, "reinforce++ return %d", i);
    CHECK(adv[2] == 0, "m = 0");
    in.group = group;
    for (int kind = 0; kind < 2; kind++) {
        static const enum estimator kinds[] = { ADV_REINFORCE_PP, ADV_REINFORCE_PP_BASELINE };
        op_advantage(adv, NULL, &in, &(struct estimator_rule){ .kind = kinds[kind], .gamma = 0.9 });
        double sum = 0, square = 0;
        for (int i = 0; i < 6; i++) if (m[i]) { sum += (double)adv[i]; square += (double)adv[i] * (double)adv[i]; }
        CHECK_NEAR(sum, 0, 1e-5, "estimator %d: mean", (int)kinds[kind]);
        CHECK(adv[2] == 0, "estimator %d: m = 0", (int)kinds[kind]);
        CHECK_NEAR(square / 4, 1, 1e-5, "estimator %d: unbiased variance", (int)kinds[kind]);
    }
    uint8_t one[] = { 0, 0, 0, 1, 0, 0 };
    in.m = one;
    op_advantage(adv, NULL, &in, &(struct estimator_rule){ .kind = ADV_REINFORCE_PP, .gamma = 1 });
    CHECK(adv[3] == 0, "one token has no variance: 0, not a division by 0");
}

/* A batch may start anywhere in a longer vector. */
static void offsets(void **state)
{
    (void)state;
    struct scores s = make(4), t = s;
    struct branch_rule rule = { 0.97, 1, 1.2 };
    op_branch_score(&(struct branch_scores){ s.f, s.zf, s.zh, s.score }, &(struct branch_in){
        .logp = s.logp, .logp_old = s.old, .entropy = s.entropy, .m = s.m, .begin = s.begin, .rows = ROWS }, &rule);
    for (int half = 0; half < 2; half++)
        op_branch_score(&(struct branch_scores){ t.f, t.zf, t.zh, t.score }, &(struct branch_in){
            .logp = t.logp, .logp_old = t.old, .entropy = t.entropy, .m = t.m, .begin = t.begin + 4 * half,
            .rows = half ? ROWS - 4 : 4 }, &rule);
    assert_memory_equal(s.score, t.score, (size_t)s.n * sizeof *s.score);
    acc_t reward[MAX], a[MAX], b[MAX];
    int group[ROWS] = { 1, 2, 3, 4, 5, 6 };
    for (int i = 0; i < s.n; i++) reward[i] = (acc_t)(i % 7);
    struct estimator_rule e = { ADV_GRPO, true, 1 };
    op_advantage(a, NULL, &(struct estimator_in){ reward, NULL, s.m, s.begin, ROWS, group }, &e);
    for (int row = 0; row < ROWS; row++)
        op_advantage(b, NULL, &(struct estimator_in){ reward, NULL, s.m, s.begin + row, 1, group + row }, &e);
    assert_memory_equal(a, b, (size_t)s.n * sizeof *a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(branch_scores), cmocka_unit_test(constant_rows), cmocka_unit_test(choice_of_points),
        cmocka_unit_test(dual_advantage), cmocka_unit_test(degenerate_groups), cmocka_unit_test(reward_scale),
        cmocka_unit_test(estimators), cmocka_unit_test(whitened),
        cmocka_unit_test(offsets),
    };
    return cmocka_run_group_tests_name("branching rl", tests, NULL, NULL);
}
