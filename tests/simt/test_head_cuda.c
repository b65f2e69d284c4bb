/* test_head_cuda.c: properties of the CUDA head and sampler that the C backend's do not have: teams of 1, 4 and 16
 * warps by vocabulary, rows that are not 16-byte aligned, many targets a row, selections whose list overflows, logits
 * stored as bf16. Against loops in double over the numbers as they are stored. */
#include "base/philox.h"
#include "kernels/ops.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { WALL = 16, KEEPS = 64 };
static const double EPS = 0x1p-24;
/* eight exponentials are added in float before they are added in double */
static const bool narrow = sizeof(elem_t) == 2;

static void *kept[KEEPS];
static int keeps;
static void *device(const void *from, size_t bytes)
{
    void *d = kept[keeps++] = dev_alloc(bytes + 1);
    ENSURE(keeps < KEEPS);
    if (from) dev_put(d, from, bytes);
    return d;
}
static void drop(void) { while (keeps) dev_free(kept[--keeps]); }

/* n rows of x, ld apart on the device, NaN in the padding; x becomes what was stored. shift: the first row starts that
 * many numbers off alignment. */
static elem_t *logits(double *x, int n, int vocab, int64_t ld, int shift)
{
    int64_t all = n * ld + shift + WALL;
    elem_t *h = xmalloc((size_t)all * sizeof *h), *d;
    for (int64_t i = 0; i < all; i++) h[i] = elem_from((double)NAN);
    for (int i = 0; i < n; i++) for (int j = 0; j < vocab; j++) {
        double *at = x + (int64_t)i * vocab + j;
        h[shift + i * ld + j] = elem_from(*at);
        *at = elem_to(h[shift + i * ld + j]);
    }
    d = device(h, (size_t)all * sizeof *h);
    free(h);
    return d + shift;
}

static double *random_rows(struct rng *r, int n, int vocab, double scale)
{
    double *x = xmalloc((size_t)n * (size_t)vocab * sizeof *x);
    for (int64_t i = 0; i < (int64_t)n * vocab; i++)
        x[i] = (rng_uniform(r) + rng_uniform(r) + rng_uniform(r) - 1.5) * scale;
    return x;
}

struct naive { double lse, ent; };
static struct naive row_naive(const double *x, int vocab, double it)
{
    double max = -HUGE_VAL, sum = 0, dot = 0;
    for (int j = 0; j < vocab; j++) max = fmax(max, x[j] * it);
    for (int j = 0; j < vocab; j++) sum += exp(x[j] * it - max), dot += exp(x[j] * it - max) * (x[j] * it - max);
    return (struct naive){ max + log(sum), log(sum) - dot / sum };
}

static const int vocabs[] = { 5, 2047, 2048, 2049, 5003, 16384, 16385, 40003 };
enum { VOCABS = sizeof vocabs / sizeof *vocabs, N = 3 };

static void statistics(void **state)
{
    (void)state;
    for (int c = 0; c < VOCABS; c++) {
        int vocab = vocabs[c], tgt[N];
        int64_t lds[] = { (vocab + 15) / 16 * 16, vocab + 3 };
        struct rng r = rng_make((uint64_t)c, 50, 0);
        double scale = c % 2 ? 12 : 3, it = c % 3 ? 1 : 1 / 0.7, *x = random_rows(&r, N, vocab, scale),
               slack = (narrow ? 4 : 1) * EPS * (1 + scale * it * 3);
        float out[2][3][N];
        for (int i = 0; i < N; i++) tgt[i] = i ? (int)rng_below(&r, (uint32_t)vocab) : vocab - 1;
        for (int k = 0; k < 2; k++) {
            acc_t *lse = device(NULL, sizeof out[0][0]), *logp = device(NULL, sizeof out[0][0]),
                  *ent = device(NULL, sizeof out[0][0]);
            op_row_stats((struct row_stats_args){
                .lse = lse, .logp = logp, .ent = ent, .x = logits(x, N, vocab, lds[k], k), .inv_temp = it,
                .tgt = device(tgt, sizeof tgt), .n = N, .vocab = vocab, .ld = lds[k] });
            dev_get(out[k][0], lse, sizeof out[0][0]);
            dev_get(out[k][1], logp, sizeof out[0][0]);
            dev_get(out[k][2], ent, sizeof out[0][0]);
            drop();
        }
        CHECK(!memcmp(out[0], out[1], sizeof out[0]), "vocabulary %d: alignment changes the bits", vocab);
        for (int i = 0; i < N; i++) {
            struct naive want = row_naive(x + (int64_t)i * vocab, vocab, it);
            CHECK_NEAR(out[0][0][i], want.lse, 8 * slack, "vocabulary %d: lse[%d]", vocab, i);
            CHECK_NEAR(out[0][1][i], x[(int64_t)i * vocab + tgt[i]] * it - want.lse, 8 * slack,
                       "vocabulary %d: logp[%d]", vocab, i);
            CHECK_NEAR(out[0][2][i], want.ent, 16 * slack, "vocabulary %d: entropy[%d]", vocab, i);
            CHECK(out[0][1][i] <= 0 && out[0][2][i] >= 0 && (double)out[0][2][i] <= log(vocab) * (1 + 4 * EPS),
                  "vocabulary %d: bounds", vocab);
        }
        free(x);
    }
}

/* Rows with no target, one, and seventy of which some are the same id. */
static void gradients(void **state)
{
    (void)state;
    enum { MANY = 70, T = 1 + MANY };
    for (int c = 0; c < VOCABS; c++) {
        int vocab = vocabs[c], begin[N + 1] = { 0, 0, 1, T }, tgt[T];
        int64_t ld = vocab + (c % 2 ? 5 : 16 - vocab % 16), all = N * ld;
        struct rng r = rng_make((uint64_t)c, 51, 0);
        double *x = random_rows(&r, N, vocab, 6), it = 0.9;
        float lse[N], ent[N], g[T], ge[N];
        for (int t = 0; t < T; t++)
            tgt[t] = t % 3 ? (int)rng_below(&r, (uint32_t)vocab) : vocab / 2, g[t] = (float)(rng_uniform(&r) - 0.5);
        for (int i = 0; i < N; i++) ge[i] = (float)(rng_uniform(&r) - 0.5);
        elem_t *d = logits(x, N, vocab, ld, 0), *h = xmalloc((size_t)all * sizeof *h);
        for (int i = 0; i < N; i++) {
            struct naive w = row_naive(x + (int64_t)i * vocab, vocab, it);
            lse[i] = (float)w.lse, ent[i] = (float)w.ent;
        }
        op_dlogits((struct dlogits_args){
            .x = d, .lse = device(lse, sizeof lse), .ent = device(ent, sizeof ent), .g = device(g, sizeof g),
            .ge = device(ge, sizeof ge), .inv_temp = it, .begin = device(begin, sizeof begin),
            .tgt = device(tgt, sizeof tgt), .n = N, .vocab = vocab, .ld = ld });
        dev_get(h, d, (size_t)all * sizeof *h);
        for (int i = 0; i < N; i++) {
            double sum = 0, total = 0, rounding = 0;
            for (int t = begin[i]; t < begin[i + 1]; t++) sum += (double)g[t];
            for (int j = 0; j < vocab; j++) {
                double lp = x[(int64_t)i * vocab + j] * it - (double)lse[i],
                       want = -exp(lp) * (sum + (double)ge[i] * (lp + (double)ent[i]));
                for (int t = begin[i]; t < begin[i + 1]; t++) want += tgt[t] == j ? (double)g[t] : 0;
                double allowed = it * (exp(lp) * 64 * EPS * (1 + fabs(sum)) + 8 * EPS * 30) +
                                 (narrow ? 0x1p-8 * fabs(it * want) : 0);
                CHECK_NEAR(elem_to(h[i * ld + j]), it * want, allowed, "vocabulary %d: dlogits[%d][%d]", vocab, i, j);
                total += elem_to(h[i * ld + j]);
                rounding += narrow ? 0x1p-9 * fabs(it * want) : 0;
            }
            CHECK_NEAR(total, 0, 1e-4 + rounding, "vocabulary %d: sum of row %d", vocab, i);
            for (int64_t j = vocab; j < ld; j++)
                CHECK(isnan(elem_to(h[i * ld + j])), "vocabulary %d: padding written", vocab);
        }
        free(x);
        free(h);
        drop();
    }
}

static const double *by_logit;
static int higher_first(const void *a, const void *b)
{
    int i = *(const int *)a, j = *(const int *)b;
    return by_logit[i] > by_logit[j] ? -1 : by_logit[i] < by_logit[j] ? 1 : i - j;
}

/* w = weight of the ids that may be sampled, with top_p in the place of the rule's. Returns their sum. */
static double allowed_ids(double *w, int *id, const double *x, const struct sample_rule *r, double top_p,
                          const uint32_t *allow, int vocab)
{
    int n = 0;
    double all = 0, mass = 0;
    for (int j = 0; j < vocab; j++) {
        w[j] = 0;
        if (!allow || (allow[j / 32] >> (j % 32) & 1)) id[n++] = j;
    }
    by_logit = x;
    qsort(id, (size_t)n, sizeof *id, higher_first);
    if (r->temperature <= 0) n = 1;
    if (r->top_k > 0 && r->top_k < n) n = r->top_k;
    double t = r->temperature > 0 ? r->temperature : 1, max = x[id[0]];
    for (int k = 0; k < n; k++) all += exp((x[id[k]] - max) / t);
    for (int k = 0; k < n; k++) {
        if (k > 0 && r->top_p < 1 && mass >= top_p * all) break;
        mass += w[id[k]] = exp((x[id[k]] - max) / t);
    }
    return mass;
}

/* flat: all logits the same; close: all within a tenth, so that one bin holds them all; wide: most further from the
 * best than the bins reach; steps: few different ones, so that limits fall among ties. */
enum shape { USUAL, FLAT, CLOSE, WIDE, STEPS };
static const struct { int vocab; enum shape shape; double temperature, top_p; int top_k; bool mask; } draws[] = {
    { 2047, USUAL, 1, 1, 0, false }, { 2048, USUAL, 0.7, 0.9, 0, false }, { 5003, USUAL, 1, 1, 0, false },
    { 5003, USUAL, 1, 0.95, 0, false }, { 5003, USUAL, 1.2, 1, 50, true }, { 16384, USUAL, 1, 0.5, 300, true },
    { 16385, USUAL, 1, 1, 0, false }, { 16385, USUAL, 1, 1, 0, true }, { 40003, USUAL, 1, 1, 0, false },
    { 40003, USUAL, 0.6, 0.95, 20, false }, { 40003, USUAL, 1, 0.999, 0, false }, { 40003, USUAL, 0, 1, 0, false },
    { 40003, USUAL, 0, 1, 0, true }, { 40003, FLAT, 1, 1, 0, false }, { 40003, FLAT, 1, 0.3, 0, false },
    { 40003, FLAT, 0.5, 1, 10000, false }, { 40003, FLAT, 0.5, 0.4, 10000, true }, { 40003, CLOSE, 1, 1, 9000, false },
    { 40003, CLOSE, 1, 0.25, 0, false }, { 16385, WIDE, 100, 1, 200, false }, { 16385, WIDE, 200, 0.9, 0, false },
    { 40003, WIDE, 1, 1, 12000, false }, { 1000, FLAT, 1, 0.3, 500, true }, { 2048, WIDE, 1, 1, 1, false },
    { 2048, STEPS, 4, 1, 700, false }, { 16384, STEPS, 4, 1, 5000, true }, { 40003, STEPS, 4, 1, 9000, false },
    { 40003, STEPS, 4, 0.4, 0, false },
    { 40003, STEPS, 4, 0.9, 20000, true },
};

static void sampling(void **state)
{
    (void)state;
    enum { ROWS = 5 };
    for (size_t c = 0; c < sizeof draws / sizeof *draws; c++) {
        int vocab = draws[c].vocab, id[ROWS], *order = xmalloc((size_t)vocab * sizeof *order);
        int64_t ld = vocab + (c % 2 ? 7 : 16 - vocab % 16);
        struct rng r = rng_make(c, 52, 0);
        double scales[] = { 8, 0, 0.03, 900, 8 }, *x = random_rows(&r, ROWS, vocab, scales[draws[c].shape]),
               *w = xmalloc((size_t)vocab * sizeof *w);
        for (int64_t j = 0; draws[c].shape == STEPS && j < (int64_t)ROWS * vocab; j++) x[j] = rint(x[j] / 2) * 2;
        uint32_t *allow = xmalloc(((size_t)vocab / 32 + 1) * sizeof *allow);
        struct sample_key key[ROWS];
        for (int i = 0; i <= vocab / 32; i++) allow[i] = rng_u32(&r) & rng_u32(&r);
        allow[0] |= 1;
        for (int i = 0; i < ROWS; i++) key[i] = (struct sample_key){ 1, 2, (uint32_t)i, 70 + (uint32_t)c };
        struct sample_rule rule = { draws[c].temperature, draws[c].top_p, draws[c].top_k, 99, NULL };
        if (draws[c].mask) rule.allow = device(allow, ((size_t)vocab / 32 + 1) * sizeof *allow);
        elem_t *d = logits(x, ROWS, vocab, ld, 0);
        acc_t *stats = device(NULL, 4 * ROWS * sizeof *stats), got[4][ROWS];
        int *d_id = device(NULL, sizeof id);
        op_sample((struct sample_args){
            .id = d_id, .logp = stats, .ent = stats + ROWS, .x = d, .rule = &rule, .key = device(key, sizeof key),
            .n = ROWS, .vocab = vocab, .ld = ld });
        op_row_stats((struct row_stats_args){
            .logp = stats + 2 * ROWS, .ent = stats + 3 * ROWS, .x = d,
            .inv_temp = rule.temperature > 0 ? 1 / rule.temperature : 1, .tgt = d_id, .n = ROWS, .vocab = vocab,
            .ld = ld });
        dev_get(id, d_id, sizeof id);
        dev_get(got, stats, sizeof got);
        CHECK(!memcmp(got[0], got[2], 2 * sizeof got[0]), "case %zu: logp and entropy are not op_row_stats'", c);
        for (int i = 0; i < ROWS; i++) {
            const double *row = x + (int64_t)i * vocab;
            const uint32_t *mask = draws[c].mask ? allow : NULL;
            double mass = allowed_ids(w, order, row, &rule, rule.top_p, mask, vocab),
                   wider = allowed_ids(w, order, row, &rule, rule.top_p + 64 * EPS, mask, vocab);
            /* tolerance of the set, by rounding */
            double below = 0, slack = 200 * EPS + (wider - mass) / mass;
            double u =
                ((double)philox4x32(99, key[i].pos, key[i].rollout, key[i].prompt, key[i].step).v[0] + 0.5) * 0x1p-32;
            CHECK(id[i] >= 0 && id[i] < vocab && w[id[i]] > 0, "case %zu row %d: id %d is not in the set", c, i, id[i]);
            for (int j = 0; j < id[i]; j++) below += w[j];
            CHECK(below / mass <= u + slack && u - slack <= (below + w[id[i]]) / mass,
                  "case %zu row %d: id %d holds %.9g to %.9g, u is %.9g", c, i, id[i], below / mass,
                  (below + w[id[i]]) / mass, u);
        }
        free(x), free(w), free(order), free(allow);
        drop();
    }
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static void top_entropy(void **state)
{
    (void)state;
    static const int ks[] = { 1, 10, 64 };
    for (int c = 0; c < VOCABS; c++)
        for (int k = 0; k < 3; k++) {
            int vocab = vocabs[c];
            struct rng r = rng_make((uint64_t)(c * 3 + k), 53, 0);
            double *x = random_rows(&r, N, vocab, c % 2 ? 10 : 2), it = 1.1;
            if (k == 1) for (int j = 0; j < vocab; j += 2) x[j] = 5;                    /* more ties than k */
            float lse[N], got[N], got_least[N];
            acc_t *ent = device(NULL, sizeof got), *least = device(NULL, sizeof got_least);
            elem_t *d = logits(x, N, vocab, vocab + 3, 0);
            for (int i = 0; i < N; i++) lse[i] = (float)row_naive(x + (int64_t)i * vocab, vocab, it).lse;
            op_top_k_entropy((struct top_k_entropy_args){
                .ent = ent, .least = least, .lse = device(lse, sizeof lse), .x = d, .inv_temp = it, .k = ks[k], .n = N,
                .vocab = vocab, .ld = vocab + 3 });
            dev_get(got, ent, sizeof got);
            dev_get(got_least, least, sizeof got_least);
            for (int i = 0; i < N; i++) {
                double want = 0;
                qsort(x + (int64_t)i * vocab, (size_t)vocab, sizeof *x, descending);
                for (int j = 0; j < ks[k] && j < vocab; j++) {
                    double lp = x[(int64_t)i * vocab + j] * it - (double)lse[i];
                    want -= exp(lp) * lp;
                }
                double last = x[(int64_t)i * vocab + (ks[k] < vocab ? ks[k] : vocab) - 1] * it - (double)lse[i];
                CHECK_NEAR(got_least[i], last, 4 * EPS * (1 + fabs(last)),
                           "vocabulary %d: the last of the top %d of row %d", vocab, ks[k], i);
                CHECK_NEAR(got[i], want, 4 * EPS * (1 + want), "vocabulary %d: entropy of the top %d of row %d", vocab,
                           ks[k], i);
            }
            free(x);
            drop();
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(statistics), cmocka_unit_test(gradients),
                                        cmocka_unit_test(sampling), cmocka_unit_test(top_entropy) };
    return cmocka_run_group_tests_name("head and sampler", tests, NULL, NULL);
}
