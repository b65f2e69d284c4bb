/* test_row_stats.c: log-sum-exp, logp and entropy of rows of logits, and the gradient into them, against loops in
 * double; NaN beyond the vocabulary; invariants of every row: logp <= 0, entropy from 0 to ln V, a gradient that sums
 * to 0. */
#include "tests/kernels/case.h"

/* In double the reference rounds as much; stored as bf16, eight exponentials are added in float before they are added
 * in double. */
static const double SLACK = sizeof(acc_t) == 8 ? 8 : sizeof(elem_t) == 2 ? 4 : 1;

struct trajectory {
    int vocab;
    double *x, inv_temp;
    int targets;
    const int *tgt;
    const double *g;
    double ge, lse, ent;
};

/* sum_t g_t logp_t + ge ent, by the definition */
static double naive(void *ctx)
{
    struct trajectory *k = ctx;
    double max = -HUGE_VAL, sum = 0, loss = 0;
    for (int j = 0; j < k->vocab; j++) max = fmax(max, k->x[j] * k->inv_temp);
    for (int j = 0; j < k->vocab; j++) sum += exp(k->x[j] * k->inv_temp - max);
    k->lse = max + log(sum);
    k->ent = 0;
    for (int j = 0; j < k->vocab; j++) {
        double lp = k->x[j] * k->inv_temp - k->lse;
        if (lp > -1e300) k->ent -= exp(lp) * lp;
    }
    for (int t = 0; t < k->targets; t++) loss += k->g[t] * (k->x[k->tgt[t]] * k->inv_temp - k->lse);
    return loss + k->ge * k->ent;
}

static const struct { int n, vocab, pad; double scale, inv_temp; bool many; } cases[] = {
    { 1, 1, 0, 1, 1, false }, { 2, 2, 6, 3, 1, true }, { 5, 7, 1, 1, 0.7, true }, { 3, 8, 0, 30, 1, false },
    { 4, 9, 7, 30, 2, true }, { 3, 63, 1, 100, 1, true }, { 6, 510, 2, 10, 1, true },
    { 40, 510, 2, 1e-3, 1 / 0.6, false }, { 2, 4097, 63, 30, 0.5, true }, { 3, 20011, 5, 8, 1, true },
};

static void statistics_and_gradient(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int n = cases[c].n, vocab = cases[c].vocab, ld = vocab + cases[c].pad, begin[64] = { 0 }, tgt[200];
        struct rng r = rng_make(c, 30, 0);
        double *x = noise(&r, (int64_t)n * ld, cases[c].scale), it = cases[c].inv_temp,
               size = (1 + cases[c].scale * it) * SLACK;
        for (int i = 0; i < n; i++) begin[i + 1] = begin[i] + (cases[c].many ? (i * 2 + 1) % 4 : 1);
        int targets = begin[n];
        for (int t = 0; t < targets; t++) tgt[t] = t == 1 ? vocab - 1 : (int)rng_below(&r, (uint32_t)vocab);
        for (int i = 0; i < n; i++) for (int j = vocab; j < ld; j++) x[(int64_t)i * ld + j] = (double)NAN;
        double *g = noise(&r, targets, 2), *ge = noise(&r, n, 1), *o[4] = { 0 };
        int *d_begin = cases[c].many ? ints(begin, n + 1) : NULL, *d_tgt = ints(tgt, targets);
        int64_t count[4] = { n, targets, n, (int64_t)n * ld };
        for (int t = 1; t <= 2; t++) {
            dev_set_threads(t);
            acc_t *lse = accs(NULL, n), *logp = accs(NULL, targets), *ent = accs(NULL, n);
            elem_t *d = elems(x, (int64_t)n * ld);
            op_row_stats((struct row_stats_args){
                .lse = lse, .logp = logp, .ent = ent, .x = d, .inv_temp = it, .begin = d_begin, .tgt = d_tgt, .n = n,
                .vocab = vocab, .ld = ld });
            op_row_stats((struct row_stats_args){
                .x = d, .inv_temp = it, .begin = d_begin, .tgt = d_tgt, .n = n, .vocab = vocab, .ld = ld });
            op_dlogits((struct dlogits_args){
                .x = d, .lse = lse, .ent = ent, .g = accs(g, targets), .ge = accs(ge, n), .inv_temp = it,
                .begin = d_begin, .tgt = d_tgt, .n = n, .vocab = vocab, .ld = ld });
            double *p[4] = { got_acc(lse, n), got_acc(logp, targets), got_acc(ent, n), got(d, (int64_t)n * ld) };
            for (int i = 0; i < 4 && t > 1; i++)
                CHECK(same_bits(p[i], o[i], count[i]), "case %zu: 2 threads change the bits of array %d", c, i);
            memcpy(o, p, sizeof o);
        }
        for (int i = 0; i < n; i++) {
            struct trajectory k = {
                vocab, x + (int64_t)i * ld, it, begin[i + 1] - begin[i], tgt + begin[i], g + begin[i], ge[i], 0, 0
            };
            naive(&k);
            CHECK_NEAR(o[0][i], k.lse, 4 * EPS * size, "case %zu: lse[%d]", c, i);
            CHECK_NEAR(o[2][i], k.ent, 16 * EPS * size, "case %zu: ent[%d]", c, i);
            CHECK(o[2][i] >= 0 && o[2][i] <= log(vocab) * (1 + 4 * EPS), "case %zu: entropy %g", c, o[2][i]);
            double sum = 0, all = 0, rounding = 0, top = fabs(k.ge) * (1 + log(vocab));
            for (int t = 0; t < k.targets; t++) {
                double want = k.x[k.tgt[t]] * it - k.lse;
                CHECK_NEAR(o[1][begin[i] + t], want, 4 * EPS * size, "case %zu: logp of row %d", c, i);
                CHECK(o[1][begin[i] + t] <= 0, "case %zu: logp %g", c, o[1][begin[i] + t]);
                all += k.g[t];
                top += fabs(k.g[t]);
            }
            for (int j = 0; j < vocab; j++) {
                double lp = k.x[j] * it - k.lse, want = -exp(lp) * (all + k.ge * (lp + k.ent)),
                       have = o[3][(int64_t)i * ld + j];
                for (int t = 0; t < k.targets; t++) want += k.tgt[t] == j ? k.g[t] : 0;
                CHECK_NEAR(have, it * want, 16 * EPS * it * size * top + stored(it * want), "case %zu: dlogits[%d][%d]",
                           c, i, j);
                sum += have;
                rounding += stored(it * want);
                if (j < 40 && vocab < 600 && cases[c].scale <= 10 && cases[c].scale >= 1) {
                    double at = k.x[j], h = 1e-5, a, b;
                    k.x[j] = at + h, a = naive(&k);
                    k.x[j] = at - h, b = naive(&k);
                    k.x[j] = at;
                    naive(&k);
                    CHECK_NEAR(it * want, (a - b) / (2 * h), 1e-8 * (1 + top), "case %zu: the reference's own slope",
                               c);
                }
            }
            CHECK_NEAR(sum, 0, 16 * EPS * it * size * top + rounding, "case %zu: sum of row %d of dlogits", c, i);
            for (int j = vocab; j < ld; j++) CHECK(isnan(o[3][(int64_t)i * ld + j]), "case %zu: padding written", c);
        }
        drop();
    }
}

/* No entropy term: ge NULL and ent NULL; a row alone has the same bits as in a batch. */
static void without_entropy_and_alone(void **state)
{
    (void)state;
    int n = 50, vocab = 510, ld = 512, tgt[50];
    struct rng r = rng_make(1, 31, 0);
    double *x = noise(&r, n * ld, 6), *g = noise(&r, n, 1), *zero = host(n);
    for (int i = 0; i < n; i++) tgt[i] = (int)rng_below(&r, (uint32_t)vocab);
    acc_t *lse = accs(NULL, n), *logp = accs(NULL, n), *ent = accs(NULL, n), *one = accs(NULL, 1);
    elem_t *a = elems(x, n * ld), *b = elems(x, n * ld), *alone = elems(x + 7 * ld, ld);
    op_row_stats((struct row_stats_args){
        .lse = lse, .logp = logp, .ent = ent, .x = a, .inv_temp = 1, .tgt = ints(tgt, n), .n = n, .vocab = vocab,
        .ld = ld });
    op_row_stats((struct row_stats_args){
        .logp = one, .x = alone, .inv_temp = 1, .tgt = ints(tgt + 7, 1), .n = 1, .vocab = vocab, .ld = ld });
    CHECK(same_bits(got_acc(one, 1), got_acc(logp, n) + 7, 1), "a row alone has another logp");
    op_dlogits((struct dlogits_args){
        .x = a, .lse = lse, .ent = ent, .g = accs(g, n), .ge = accs(zero, n), .inv_temp = 1, .tgt = ints(tgt, n),
        .n = n, .vocab = vocab, .ld = ld });
    op_dlogits((struct dlogits_args){
        .x = b, .lse = lse, .g = accs(g, n), .inv_temp = 1, .tgt = ints(tgt, n), .n = n, .vocab = vocab, .ld = ld });
    double *ga = got(a, n * ld), *gb = got(b, n * ld);
    for (int i = 0; i < n * ld; i++)
        if (i % ld < vocab) CHECK_NEAR(ga[i], gb[i], 0, "ge = 0 and ge = NULL, element %d", i);
    drop();
}

/* A certain row: logp exactly 0 and entropy exactly 0; a uniform row: entropy ln V to rounding; ids that cannot be
 * (-inf) leave no NaN. */
static void extremes(void **state)
{
    (void)state;
    enum { V = 19 };
    double *x = host(3 * V);
    int tgt[3] = { 4, 4, 4 };
    for (int j = 0; j < V; j++) {
        x[j] = j == 4 ? 0 : -1e30;
        x[V + j] = 2.5;
        x[2 * V + j] = j % 2 ? -HUGE_VAL : 1;
    }
    acc_t *lse = accs(NULL, 3), *logp = accs(NULL, 3), *ent = accs(NULL, 3);
    elem_t *d = elems(x, 3 * V);
    op_row_stats((struct row_stats_args){
        .lse = lse, .logp = logp, .ent = ent, .x = d, .inv_temp = 1, .tgt = ints(tgt, 3), .n = 3, .vocab = V, .ld = V
    });
    double *p = got_acc(logp, 3), *e = got_acc(ent, 3);
    CHECK(p[0] == 0 && e[0] == 0, "a certain row: logp %g, entropy %g", p[0], e[0]);
    CHECK_NEAR(e[1], log(V), 4 * EPS * 3, "entropy of a uniform row");
    CHECK_NEAR(p[2], -log(10), 4 * EPS * 3, "logp beside -inf");
    CHECK_NEAR(e[2], log(10), 4 * EPS * 3, "entropy beside -inf");
    op_dlogits((struct dlogits_args){
        .x = d, .lse = lse, .ent = ent, .g = accs((double[]){ 1, 1, 1 }, 3), .ge = accs((double[]){ 1, 1, 1 }, 3),
        .inv_temp = 1, .tgt = ints(tgt, 3), .n = 3, .vocab = V, .ld = V });
    double *g = got(d, 3 * V);
    for (int i = 0; i < 3 * V; i++) CHECK(isfinite(g[i]), "dlogits[%d] = %g", i, g[i]);
    drop();
}

/* Invariants of every row, for any logits: usual ones; some at +1e4 and some at -1e4; all the same; all but
 * one at -inf; a staircase. */
enum shape { USUAL, FAR, EQUAL, ONE_LEFT, STAIRS, SHAPES };
static double shaped(struct rng *r, enum shape s, int j, int vocab)
{
    switch (s) {
    case FAR: return rng_u32(r) & 1 ? 1e4 : -1e4;
    case EQUAL: return -7.25;
    case ONE_LEFT: return j == vocab / 2 ? 3 : -HUGE_VAL;
    case STAIRS: return -0.5 * j;
    default: return (2 * rng_uniform(r) - 1) * 9;
    }
}

static void bounds_case(struct rng *r, enum shape s, int vocab, double it)
{
    enum { N = 5 };
    int ld = vocab + 5, tgt[N];
    double *x = host(N * ld), *g = noise(r, N, 2), *ge = noise(r, N, s == ONE_LEFT ? 0 : 1);
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < ld; j++) x[i * ld + j] = j < vocab ? shaped(r, s, j, vocab) : (double)NAN;
        tgt[i] = s == ONE_LEFT ? vocab / 2 : i ? (int)rng_below(r, (uint32_t)vocab) : vocab - 1;
    }
    elem_t *d = elems(x, N * ld);
    acc_t *lse = accs(NULL, N), *logp = accs(NULL, N), *ent = accs(NULL, N);
    op_row_stats((struct row_stats_args){
        .lse = lse, .logp = logp, .ent = ent, .x = d, .inv_temp = it, .tgt = ints(tgt, N), .n = N, .vocab = vocab,
        .ld = ld });
    op_dlogits((struct dlogits_args){
        .x = d, .lse = lse, .ent = ent, .g = accs(g, N), .ge = accs(ge, N), .inv_temp = it, .tgt = ints(tgt, N),
        .n = N, .vocab = vocab, .ld = ld });
    double *lp = got_acc(logp, N), *h = got_acc(ent, N), *z = got_acc(lse, N), *y = got(d, N * ld);
    for (int i = 0; i < N; i++) {
        /* in the double build a sum in double would be the worse of the two */
        long double sum = 0;
        double size = fabs(g[i]) + fabs(ge[i]) * (1 + log(vocab)), rounding = 0;
        CHECK(lp[i] <= 0 && lp[i] > -HUGE_VAL, "shape %d, vocabulary %d, 1/temperature %g: logp[%d] = %g", s, vocab, it,
              i, lp[i]);
        CHECK(h[i] >= 0 && h[i] <= (double)(acc_t)log(vocab),
              "shape %d, vocabulary %d, 1/temperature %g: entropy[%d] = %.9g", s, vocab, it, i, h[i]);
        for (int j = 0; j < vocab; j++) sum += (long double)y[i * ld + j], rounding += stored(y[i * ld + j]);
        /* each entry is rounded once; that the rest sums to 0 hangs on sum exp(z - lse) = 1, which is off by what lse
         * is rounded by */
        CHECK_NEAR(sum, 0, rounding + it * size * SLACK * EPS * (8 + 2 * fabs(z[i])),
                   "shape %d, vocabulary %d, 1/temperature %g: sum of row %d of dlogits", s, vocab, it, i);
    }
    drop();
}

static void bounds_hold(void **state)
{
    (void)state;
    static const int vocabs[] = { 1, 2, 7, 97, 1003, 4099, 16411 };
    static const double inv_temps[] = { 1, 1 / 0.6, 0.31 };
    for (size_t v = 0; v < sizeof vocabs / sizeof *vocabs; v++)
        for (int s = 0; s < SHAPES; s++)
            for (int t = 0; t < 3; t++) {
                struct rng r = rng_make(v, 32, (uint32_t)(s * 3 + t));
                bounds_case(&r, (enum shape)s, vocabs[v], inv_temps[t]);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(statistics_and_gradient), cmocka_unit_test(bounds_hold),
                                        cmocka_unit_test(without_entropy_and_alone), cmocka_unit_test(extremes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
