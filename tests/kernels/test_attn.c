/* test_attn.c: attention over random trees and over pages, forward and back: against loops in double, and the same bits
 * in rows and in pages, for every number of threads and any contents of rows that are not visible. */
#include "tests/kernels/case.h"
#include <sys/wait.h>
#include <unistd.h>

struct tree { int n; int *end, *up; };

/* A random forest: a row goes on from the row before it, or with probability fork/100 from a random row above it, or
 * starts a new tree. */
static struct tree grow(struct rng *r, int n, int fork)
{
    struct tree t = { n, keep(xcalloc((size_t)n + 1, sizeof(int)), false),
                      keep(xcalloc((size_t)n + 1, sizeof(int)), false) };
    for (int i = 0; i < n; i++) {
        int a = i - 1;
        if ((int)rng_below(r, 100) < fork)
            for (int steps = (int)rng_below(r, 40); steps > 0 && a >= 0; steps--) a = t.up[a];
        t.up[i] = a;
        t.end[i] = i + 1;
    }
    for (int i = n - 1; i >= 0; i--) if (t.up[i] >= 0 && t.end[t.up[i]] < t.end[i]) t.end[t.up[i]] = t.end[i];
    return t;
}

struct attn { struct tree t; struct heads h; int width; double *qkv, *dout, *out, *lse, *dqkv, *mag; };

/* Forward by the definition; returns sum out dout. mag: sum of the magnitudes of the terms of an output. */
static double naive(void *ctx)
{
    struct attn *k = ctx;
    int hd = k->h.hd, hq = k->h.heads * hd, group = k->h.heads / k->h.kv;
    double loss = 0, *s = xcalloc((size_t)k->t.n, sizeof *s);
    for (int i = 0; i < k->t.n; i++)
        for (int a = 0; a < k->h.heads; a++) {
            const double *q = k->qkv + (int64_t)i * k->width + a * hd;
            double max = -HUGE_VAL, sum = 0;
            for (int j = 0; j <= i; j++) {
                if (k->t.end[j] <= i) continue;
                const double *key = k->qkv + (int64_t)j * k->width + hq + a / group * hd;
                s[j] = 0;
                for (int d = 0; d < hd; d++) s[j] += q[d] * key[d] / sqrt(hd);
                max = fmax(max, s[j]);
            }
            for (int j = 0; j <= i; j++) if (k->t.end[j] > i) sum += exp(s[j] - max);
            k->lse[i * k->h.heads + a] = max + log(sum);
            for (int d = 0; d < hd; d++) {
                double o = 0, m = 0;
                for (int j = 0; j <= i; j++) {
                    if (k->t.end[j] <= i) continue;
                    double v =
                        exp(s[j] - max) / sum * k->qkv[(int64_t)j * k->width + hq + (k->h.kv + a / group) * hd + d];
                    o += v;
                    m += fabs(v);
                }
                k->out[(int64_t)i * hq + a * hd + d] = o;
                k->mag[(int64_t)i * hq + a * hd + d] = m;
                loss += o * k->dout[(int64_t)i * hq + a * hd + d];
            }
        }
    free(s);
    return loss;
}

/* Backward by the formulas of the softmax, in double, from the output as it is stored; compared with central
 * differences of naive() in the small cases. */
static void naive_back(struct attn *k)
{
    int hd = k->h.hd, hq = k->h.heads * hd, group = k->h.heads / k->h.kv;
    memset(k->dqkv, 0, (size_t)k->t.n * (size_t)k->width * sizeof *k->dqkv);
    for (int i = 0; i < k->t.n; i++)
        for (int a = 0; a < k->h.heads; a++) {
            const double *q = k->qkv + (int64_t)i * k->width + a * hd, *o = k->out + (int64_t)i * hq + a * hd,
                         *g = k->dout + (int64_t)i * hq + a * hd;
            double *dq = k->dqkv + (int64_t)i * k->width + a * hd, dot = 0;
            for (int d = 0; d < hd; d++) dot += rounded(o[d]) * g[d];
            for (int j = 0; j <= i; j++) {
                if (k->t.end[j] <= i) continue;
                int64_t at = (int64_t)j * k->width + hq + a / group * hd, av = at + k->h.kv * hd;
                double s = 0, dp = 0;
                for (int d = 0; d < hd; d++) s += q[d] * k->qkv[at + d] / sqrt(hd), dp += g[d] * k->qkv[av + d];
                double p = exp(s - k->lse[i * k->h.heads + a]), ds = p * (dp - dot) / sqrt(hd);
                for (int d = 0; d < hd; d++) {
                    dq[d] += ds * k->qkv[at + d];
                    k->dqkv[at + d] += ds * q[d];
                    k->dqkv[av + d] += p * g[d];
                }
            }
        }
}

static struct attn make(struct rng *r, int n, int fork, struct heads h, double scale)
{
    struct attn k = { grow(r, n, fork), h, (h.heads + 2 * h.kv) * h.hd, NULL, NULL, NULL, NULL, NULL, NULL };
    k.qkv = noise(r, (int64_t)n * k.width, scale);
    k.dout = noise(r, (int64_t)n * h.heads * h.hd, 1);
    k.out = host((int64_t)n * h.heads * h.hd);
    k.mag = host((int64_t)n * h.heads * h.hd);
    k.lse = host((int64_t)n * h.heads);
    k.dqkv = host((int64_t)n * k.width);
    naive(&k);
    naive_back(&k);
    return k;
}

static const struct { int n, fork; struct heads h; double scale; } cases[] = {
    { 1, 0, { 1, 1, 2 }, 1 }, { 2, 100, { 1, 1, 2 }, 1 }, { 9, 50, { 2, 1, 6 }, 2 }, { 15, 0, { 4, 2, 24 }, 1 },
    { 16, 0, { 4, 2, 24 }, 3 }, { 17, 20, { 3, 1, 10 }, 1 }, { 33, 10, { 4, 4, 8 }, 2 }, { 40, 30, { 7, 1, 64 }, 1 },
    { 20, 90, { 2, 2, 128 }, 1 }, { 70, 15, { 6, 2, 34 }, 1 }, { 64, 5, { 5, 1, 20 }, 2 }, { 150, 8, { 4, 2, 24 }, 1 },
};

static void trees_against_loops(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rng r = rng_make(c, 20, 0);
        struct heads h = cases[c].h;
        struct attn k = make(&r, cases[c].n, cases[c].fork, h, cases[c].scale);
        int64_t n = k.t.n, no = n * h.heads * h.hd, nq = n * k.width;
        /* error of a score: hd terms of scale^2, which exp turns into a share of p */
        double sharp = cases[c].scale * cases[c].scale * sqrt(h.hd), *o[3] = { 0 };
        for (int t = 1; t <= 3; t++) {
            dev_set_threads(t);
            struct attn_plan *plan = attn_plan_make(k.t.end, n);
            elem_t *out = elems(NULL, no), *qkv = elems(k.qkv, nq), *dqkv = elems(NULL, nq), *bare = elems(NULL, no);
            acc_t *lse = accs(NULL, n * h.heads);
            op_attn(out, lse, qkv, plan, h);
            op_attn(bare, NULL, qkv, plan, h);
            op_attn_back(dqkv, elems(k.dout, no), out, lse, qkv, plan, h);
            attn_plan_free(plan);
            double *p[3] = { got(out, no), got(dqkv, nq), got_acc(lse, n * h.heads) };
            near_stored("op_attn", p[0], k.out, k.mag, no, 8 + 4 * sharp);
            near_all("op_attn lse", p[2], k.lse, NULL, n * h.heads, 4 + sharp);
            for (int64_t i = 0; i < nq; i++)
                CHECK_NEAR(p[1][i], k.dqkv[i],
                           4 * EPS * (16 + 8 * sharp) * (1 + fabs(k.dqkv[i])) * cases[c].scale + stored(k.dqkv[i]),
                           "case %zu: dqkv[%lld]", c, (long long)i);
            CHECK(same_bits(p[0], got(bare, no), no), "case %zu: asking for lse changes the output", c);
            if (t > 1)
                CHECK(same_bits(p[0], o[0], no) && same_bits(p[1], o[1], nq) && same_bits(p[2], o[2], n * h.heads),
                      "case %zu: %d threads change the bits", c, t);
            memcpy(o, p, sizeof o);
        }
        for (int64_t i = 0; sizeof(elem_t) > 2 && n < 20 && h.hd < 64 && i < nq; i += 1 + nq / 150) {
            double at = k.qkv[i], want = k.dqkv[i], d = 1e-4, a, b;
            k.qkv[i] = at + d, a = naive(&k);
            k.qkv[i] = at - d, b = naive(&k);
            k.qkv[i] = at;
            CHECK_NEAR(want, (a - b) / (2 * d), 1e-6, "case %zu: the reference's own slope %lld", c, (long long)i);
        }
        drop();
    }
}

/* Thousands of rows, so that threads really share the work; the trees of a batch are found again one by one, at other
 * offsets, with the same bits. */
static void trees_are_independent_of_their_neighbours(void **state)
{
    (void)state;
    struct rng r = rng_make(1, 21, 0);
    struct heads h = { 4, 2, 24 };
    struct tree t = grow(&r, 700, 30);
    int n = t.n, hq = h.heads * h.hd, width = (h.heads + 2 * h.kv) * h.hd, trees = 0;
    double *x = noise(&r, (int64_t)n * width, 1), *dy = noise(&r, (int64_t)n * hq, 1), *o[4] = { 0 };
    for (int threads = 1; threads <= 2; threads++) {
        dev_set_threads(threads);
        struct attn_plan *plan = attn_plan_make(t.end, n);
        elem_t *out = elems(NULL, (int64_t)n * hq), *qkv = elems(x, (int64_t)n * width),
               *d = elems(NULL, (int64_t)n * width);
        acc_t *lse = accs(NULL, (int64_t)n * h.heads);
        op_attn(out, lse, qkv, plan, h);
        op_attn_back(d, elems(dy, (int64_t)n * hq), out, lse, qkv, plan, h);
        attn_plan_free(plan);
        o[2 * threads - 2] = got(out, (int64_t)n * hq);
        o[2 * threads - 1] = got(d, (int64_t)n * width);
    }
    CHECK(same_bits(o[0], o[2], (int64_t)n * hq) && same_bits(o[1], o[3], (int64_t)n * width), "2 threads change the "
                                                                                               "bits");
    for (int a = 0, b; a < n; a = b, trees++) {
        int end[700], m = (b = t.end[a]) - a;
        for (int i = 0; i < m; i++) end[i] = t.end[a + i] - a;
        struct attn_plan *plan = attn_plan_make(end, m);
        elem_t *out = elems(NULL, (int64_t)m * hq), *qkv = elems(x + (int64_t)a * width, (int64_t)m * width),
               *d = elems(NULL, (int64_t)m * width);
        acc_t *lse = accs(NULL, (int64_t)m * h.heads);
        op_attn(out, lse, qkv, plan, h);
        op_attn_back(d, elems(dy + (int64_t)a * hq, (int64_t)m * hq), out, lse, qkv, plan, h);
        attn_plan_free(plan);
        CHECK(same_bits(got(out, (int64_t)m * hq), o[0] + (int64_t)a * hq, (int64_t)m * hq),
              "tree at row %d alone has other outputs", a);
        CHECK(same_bits(got(d, (int64_t)m * width), o[1] + (int64_t)a * width, (int64_t)m * width),
              "tree at row %d alone has other gradients", a);
    }
    CHECK(trees > 3, "the batch has %d trees", trees);
    drop();
}

/* A row set to NaN reaches the rows that see it and no others, though its keys share blocks with theirs. */
static void only_visible_keys_are_touched(void **state)
{
    (void)state;
    struct rng r = rng_make(2, 22, 0);
    struct heads h = { 4, 2, 10 };
    for (int turn = 0; turn < 20; turn++) {
        struct attn k = make(&r, 60, 20, h, 1);
        int n = k.t.n, hq = h.heads * h.hd, bad = (int)rng_below(&r, (uint32_t)n);
        double *o[2];
        for (int p = 0; p < 2; p++) {
            if (p) for (int j = 0; j < k.width; j++) k.qkv[bad * k.width + j] = (double)NAN;
            struct attn_plan *plan = attn_plan_make(k.t.end, n);
            elem_t *out = elems(NULL, n * hq);
            op_attn(out, NULL, elems(k.qkv, n * k.width), plan, h);
            attn_plan_free(plan);
            o[p] = got(out, n * hq);
        }
        for (int i = 0; i < n; i++) {
            bool sees = bad <= i && i < k.t.end[bad];
            if (sees) CHECK(isnan(o[1][i * hq]), "row %d sees the NaN of row %d and shows none", i, bad);
            else
                CHECK(same_bits(o[0] + i * hq, o[1] + i * hq, hq), "row %d does not see row %d and changes with it", i,
                      bad);
        }
        drop();
    }
}

/* Writes the tree row by row into pages as the engine does: a row continues in its parent's page; if another row
 * already has, the page is copied first. Unwritten positions hold NaN. Then attention runs over all rows at once. */
static void pages_give_the_same_bits(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rng r = rng_make(c, 23, 0);
        struct heads h = cases[c].h;
        struct attn k = make(&r, cases[c].n, cases[c].fork, h, cases[c].scale);
        int n = k.t.n, hq = h.heads * h.hd, ld = n / KV_PAGE + 1, next = 0, most = n + 1;
        int *table = keep(xcalloc((size_t)(n * ld), sizeof(int)), false),
            *pos = keep(xcalloc((size_t)n, sizeof(int)), false);
        int *number = keep(xcalloc((size_t)most, sizeof(int)), false);
        for (int i = 0; i < most; i++) {                    /* pages in random order */
            int j = (int)rng_below(&r, (uint32_t)i + 1);
            number[i] = number[j];
            number[j] = i;
        }
        elem_t *pool = elems(NULL, most * kv_page_elems(h)), *qkv = elems(k.qkv, (int64_t)n * k.width),
               *out = elems(NULL, (int64_t)n * hq);
        bool *went_on = keep(xcalloc((size_t)n, sizeof(bool)), false);
        for (int i = 0; i < n; i++) {
            int a = k.t.up[i];
            if (a >= 0) memcpy(table + i * ld, table + a * ld, (size_t)ld * sizeof *table);
            pos[i] = a < 0 ? 0 : pos[a] + 1;
            int *page = table + i * ld + pos[i] / KV_PAGE, from = *page;
            if (pos[i] % KV_PAGE == 0) *page = number[next++];
            else if (went_on[a]) op_kv_copy(pool, *page = number[next++], from, h);
            if (a >= 0) went_on[a] = true;
            int64_t slot[2] = { (int64_t)*page * KV_PAGE + pos[i] % KV_PAGE, -1 };
            int64_t *d_slot = keep(dev_alloc(sizeof slot), true);
            dev_put(d_slot, slot, sizeof slot);
            /* the second row has slot -1: skipped */
            op_kv_write(pool, qkv + (int64_t)i * k.width, d_slot, 1 + (i + 1 < n), h);
        }
        struct attn_plan *plan = attn_plan_make(k.t.end, n);
        op_attn(out, NULL, qkv, plan, h);
        attn_plan_free(plan);
        double *rows = got(out, (int64_t)n * hq);
        for (int t = 1; t <= 2; t++) {
            dev_set_threads(t);
            elem_t *paged = elems(NULL, (int64_t)n * hq);
            op_attn_paged(paged, qkv, pool, ints(table, n * ld), ld, ints(pos, n), n, h);
            CHECK(same_bits(rows, got(paged, (int64_t)n * hq), (int64_t)n * hq),
                  "case %zu: pages and rows differ in bits (%d threads)", c, t);
        }
        drop();
    }
}

/* 32,768 positions: uniform scores, so that the output is the mean of the values. */
static void long_contexts(void **state)
{
    (void)state;
    struct heads h = { 2, 1, 2 };
    int len = 32768, pages = len / KV_PAGE, width = 8;
    double *x = host((int64_t)len * width), mean[2] = { 0 };
    int64_t *slot = keep(xmalloc((size_t)len * sizeof *slot), false);
    int *table = keep(xmalloc((size_t)pages * sizeof *table), false), pos[1] = { len - 1 };
    for (int i = 0; i < len; i++) {
        x[i * width + 4] = rounded(i * 1e-3);
        x[i * width + 6] = rounded(sin(i) + 1);
        x[i * width + 7] = 1;
        mean[0] += x[i * width + 6] / len;
        mean[1] += 1.0 / len;
        slot[i] = (int64_t)(pages - 1 - i / KV_PAGE) * KV_PAGE + i % KV_PAGE;
    }
    for (int k = 0; k < pages; k++) table[k] = pages - 1 - k;
    elem_t *pool = elems(NULL, pages * kv_page_elems(h)), *qkv = elems(x, (int64_t)len * width), *out = elems(NULL, 4);
    int64_t *d_slot = keep(dev_alloc((size_t)len * sizeof *slot), true);
    dev_put(d_slot, slot, (size_t)len * sizeof *slot);
    op_kv_write(pool, qkv, d_slot, len, h);
    /* the query is row 0's: zero */
    op_attn_paged(out, qkv, pool, ints(table, pages), pages, ints(pos, 1), 1, h);
    double *o = got(out, 4);
    for (int i = 0; i < 4; i++) CHECK_NEAR(o[i], mean[i % 2], 2e4 * EPS, "output %d over %d positions", i, len);
    drop();
}

static void (*broken_plan)(void);
static void plan_behind(void) { attn_plan_make((int[]){ 2, 1 }, 2); }
static void plan_beyond(void) { attn_plan_make((int[]){ 3, 2 }, 2); }
static void plan_crossing(void) { attn_plan_make((int[]){ 2, 3, 3 }, 3); }

/* die() ends the process: each broken plan is tried in a child, whose message must name the row. The child exits at
 * once, without a leak check. */
static void leave(void) { _exit(71); }
static void broken_plans_are_rejected(void **state)
{
    (void)state;
    static const struct {
        void (*f)(void);
        const char *says;
    } bad[] = { { plan_behind, "end[1] = 1" },
                { plan_beyond, "end[0] = 3" },
                { plan_crossing, "end[1] = 3 goes beyond end[0]" } };
    for (size_t c = 0; c < sizeof bad / sizeof *bad; c++) {
        int p[2], status;
        char text[400] = "";
        assert_int_equal(pipe(p), 0);
        broken_plan = bad[c].f;
        pid_t child = fork();
        if (!child) {
            dup2(p[1], 2);
            die_hook = leave;
            broken_plan();
            _exit(0);
        }
        close(p[1]);
        for (ssize_t at = 0, m; (m = read(p[0], text + at, sizeof text - 1 - (size_t)at)) > 0; ) at += m;
        close(p[0]);
        waitpid(child, &status, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 71 && strstr(text, bad[c].says),
              "case %zu: status %d, said: %s", c, status, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(trees_against_loops),
                                        cmocka_unit_test(trees_are_independent_of_their_neighbours),
                                        cmocka_unit_test(only_visible_keys_are_touched),
                                        cmocka_unit_test(pages_give_the_same_bits),
                                        cmocka_unit_test(long_contexts),
                                        cmocka_unit_test(broken_plans_are_rejected) };
    setenv("APPO_NUMERICS", "exact", 1);        /* rows and pages have the same bits in that mode alone */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
