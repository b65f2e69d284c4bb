/* test_gemm.c: the matrix product against a higher-precision sum and, bit for bit, against the chain of multiply-adds
 * gemm.h promises.
 * Padding holds NaN everywhere; the gaps between the rows of d must stay unchanged. */
#include "base/philox.h"
#include "kernels/cpu/gemm_isa.h"
#include "tests/check.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined(REAL_IS_double)
typedef long double exact;
#define EPS 0x1p-53
#define FMA(a, b, c) __builtin_fma(a, b, c)
#else
typedef double exact;
#define EPS 0x1p-24
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
#endif
/* |got - exact| <= C eps (1 + sum |a||b|). The worst of these seeds is 3.3, in float and in double. */
enum { C = 4 };

static const char *const form_name[] = { "NT", "NN", "TN" };
static struct rng rng;

/* A product with its operands: matrices of NaN in which only their own elements are filled. */
struct job { struct gemm g; elem_t *a, *b, *d, *d0, *bias; size_t d_len; };

static elem_t draw(void) { return (elem_t)(2 * rng_uniform(&rng) - 1); }

/* rows of cols numbers, ld apart; the last row ends with its last number, so that a sanitizer sees a read past it */
static elem_t *matrix(int64_t rows, int64_t cols, int64_t ld, size_t *len)
{
    *len = rows && cols ? (size_t)((rows - 1) * ld + cols) : 0;
    elem_t *p = dev_alloc(*len * sizeof *p);
    for (size_t i = 0; i < *len; i++) p[i] = (elem_t)NAN;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) p[i * ld + j] = draw();
    return p;
}

static struct job job_make(enum gemm_form form, int64_t m, int64_t n, int64_t k, int pad)
{
    struct job t = { .g = { .form = form, .m = m, .n = n, .k = k } };
    const int64_t a_rows = form == GEMM_TN ? k : m, a_cols = form == GEMM_TN ? m : k, b_rows = form == GEMM_NT ? n : k,
                  b_cols = form == GEMM_NT ? k : n;
    size_t len;
    if (pad) {
        t.g.lda = a_cols + pad;
        t.g.ldb = b_cols + pad + 1;
        t.g.ldd = n + pad + 2;
    }
    t.a = matrix(a_rows, a_cols, pad ? t.g.lda : a_cols, &len);
    t.b = matrix(b_rows, b_cols, pad ? t.g.ldb : b_cols, &len);
    t.d = matrix(m, n, pad ? t.g.ldd : n, &t.d_len);
    t.d0 = dev_alloc(t.d_len * sizeof *t.d0);
    dev_copy(t.d0, t.d, t.d_len * sizeof *t.d);
    t.bias = matrix(1, n, n, &len);
    t.g.a = t.a;
    t.g.b = t.b;
    if (form == GEMM_TN) t.g.dw = (acc_t *)t.d;
    else t.g.d = t.d;
    return t;
}

static void job_free(struct job *t)
{
    dev_free(t->a);
    dev_free(t->b);
    dev_free(t->d);
    dev_free(t->d0);
    dev_free(t->bias);
}

/* Runs the product from the same d0 again. */
static void job_run(struct job *t)
{
    dev_copy(t->d, t->d0, t->d_len * sizeof *t->d);
    op_gemm(t->g);
}

static elem_t a_at(const struct gemm *g, int64_t i, int64_t p)
{
    return g->form == GEMM_TN ? g->a[p * (g->lda ? g->lda : g->m) + i] : g->a[i * (g->lda ? g->lda : g->k) + p];
}

static elem_t b_at(const struct gemm *g, int64_t p, int64_t j)
{
    return g->form == GEMM_NT ? g->b[j * (g->ldb ? g->ldb : g->k) + p] : g->b[p * (g->ldb ? g->ldb : g->n) + j];
}

static double worst;    /* error in units of eps (1 + sum |a||b|), over all checks */

static void check_element(const struct job *t, int64_t i, int64_t j)
{
    const struct gemm *g = &t->g;
    const int64_t at = i * (g->ldd ? g->ldd : g->n) + j;
    exact sum = g->add ? (exact)t->d0[at] : 0, size = 1;
    elem_t chain = g->add ? t->d0[at] : 0, got = t->d[at];
    for (int64_t p0 = 0; p0 < g->k; p0 += GEMM_KC) {
        elem_t acc = 0;
        for (int64_t p = p0; p < g->k && p < p0 + GEMM_KC; p++) {
            const elem_t a = a_at(g, i, p), b = b_at(g, p, j);
            acc = FMA(a, b, acc);
            sum += (exact)a * (exact)b;
            size += (exact)fabs((double)a * (double)b);
        }
        chain = p0 || g->add ? chain + acc : acc;
    }
    if (g->bias) {
        chain += g->bias[j];
        sum += (exact)g->bias[j];
    }
    const double off = fabs((double)((exact)got - sum)) / (EPS * (double)size);
    if (off > worst) worst = off;
    CHECK(off <= C,
          "%s %lldx%lldx%lld add %d bias %d weight %d %s, row %lld column %lld: got %.9g, want %.9g, off by %.2f of %d "
          "allowed",
          form_name[g->form], (long long)g->m, (long long)g->n, (long long)g->k, g->add, !!g->bias, g->weight,
          gemm_isa()->name, (long long)i, (long long)j, (double)got, (double)sum, off, C);
    CHECK(!memcmp(&got, &chain, sizeof got),
          "%s %lldx%lldx%lld add %d %s, row %lld column %lld: got %a, the chain gives %a", form_name[g->form],
          (long long)g->m, (long long)g->n, (long long)g->k, g->add, gemm_isa()->name, (long long)i, (long long)j,
          (double)got, (double)chain);
}

static void check_job(const struct job *t)
{
    const struct gemm *g = &t->g;
    const int64_t ldd = g->ldd ? g->ldd : g->n;
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < ldd && i * ldd + j < (int64_t)t->d_len; j++) {
            if (j < g->n) check_element(t, i, j);
            else
                CHECK(isnan(t->d[i * ldd + j]), "%s row %lld: wrote past the end of the row", form_name[g->form],
                      (long long)i);
        }
}

static int isas(const struct gemm_isa *out[3])
{
    const struct gemm_isa *all[] = { gemm_isa_portable(), gemm_isa_avx2(), gemm_isa_avx512() };
    int n = 0;
    for (int i = 0; i < 3; i++)
        if (all[i]) out[n++] = all[i];
    return n;
}

static void run_case(enum gemm_form form, int64_t m, int64_t n, int64_t k, int pad, unsigned flags)
{
    const struct gemm_isa *isa[3];
    struct job t = job_make(form, m, n, k, pad);
    t.g.add = flags & 1;
    t.g.bias = flags & 2 && form == GEMM_NT ? t.bias : NULL;
    t.g.weight = flags & 4;
    if (!t.g.add)
        for (size_t i = 0; i < t.d_len; i++) t.d0[i] = (elem_t)NAN; /* the old contents of d must not matter */
    for (int i = isas(isa) - 1; i >= 0; i--) {
        gemm_isa_force(isa[i]);
        job_run(&t);
        check_job(&t);
    }
    gemm_isa_force(NULL);
    job_free(&t);
}

static void sizes(void **state)
{
    (void)state;
    static const struct { int m, n, k; } edge[] = {
        { 1, 1, 1 }, { 1, 1, 0 }, { 3, 40, 0 }, { 0, 5, 5 }, { 5, 0, 5 }, { 1, 129, 7 }, { 2, 128, 33 }, { 3, 130, 20 },
        { 3, 97, 255 }, { 15, 31, 256 }, { 14, 32, 257 }, { 13, 33, 511 }, { 29, 64, 512 }, { 2, 65, 513 },
        { 6, 16, 700 }, { 7, 17, 769 }, { 113, 5, 19 }, { 225, 33, 6 },
        { 2, 4100, 3 },         /* more columns than are packed at once */
        { 2, 3, 33000 },        /* more of k than is packed at once */
    };
    for (size_t i = 0; i < sizeof edge / sizeof *edge; i++)
        for (unsigned flags = 0; flags < 24; flags += 5) /* 0, 5, 10, 15, 20: every flag on and off, every form */
            run_case((enum gemm_form)((flags / 5 + i) % 3), edge[i].m, edge[i].n, edge[i].k, flags % 2 ? 3 : 0,
                     flags & 7);
    for (int i = 0; i < 150; i++) {
        const int m = 1 + (int)rng_below(&rng, 70), n = 1 + (int)rng_below(&rng, 70), k = 1 + (int)rng_below(&rng, 70);
        run_case((enum gemm_form)(i % 3), m, n, k, (int)rng_below(&rng, 4), rng_below(&rng, 8));
    }
    print_message("worst error %.2f eps (1 + sum |a||b|), %d allowed\n", worst, C);
}

/* Every tile height, by rows and across, whole and cut panels. */
static void tails(void **state)
{
    (void)state;
    for (int m = 1; m <= 30; m++)
        for (int form = 0; form < 3; form++)
            run_case((enum gemm_form)form, m, 2 * GEMM_NR + m % 3 * 5, 9, 1, (unsigned)m % 8);
}

static void row_bits(void **state)
{
    (void)state;
    enum { M = 61, N = 77, K = 300 };
    for (int form = 0; form < 3; form++) {
        struct job t = job_make((enum gemm_form)form, M, N, K, 0);
        if (form == GEMM_NT) t.g.bias = t.bias;
        t.g.weight = true;
        job_run(&t);
        elem_t row[20 * N];
        static const int part[][2] = { { 0, 1 },  { 60, 1 }, { 17, 1 },  { 5, 2 },
                                       { 30, 3 }, { 1, 13 }, { 40, 14 }, { 41, 20 } };
        for (size_t i = 0; i < sizeof part / sizeof *part; i++) {           /* a run of rows alone */
            struct gemm g = t.g;
            g.lda = form == GEMM_TN ? M : K;
            g.a += part[i][0] * (form == GEMM_TN ? 1 : K);
            g.m = part[i][1];
            if (form == GEMM_TN) g.dw = (acc_t *)row;
            else g.d = row;
            op_gemm(g);
            CHECK(!memcmp(row, t.d + part[i][0] * N, (size_t)(part[i][1] * N) * sizeof *row),
                  "%s: rows %d, %d of them alone", form_name[form], part[i][0], part[i][1]);
        }
        struct job u = job_make((enum gemm_form)form, M, N, K, 0);          /* the rows in another order */
        for (int i = 0; i < M; i++)
            for (int p = 0; p < K; p++) {
                const int from = i * 7 % M;
                if (form == GEMM_TN) u.a[p * M + i] = t.a[p * M + from];
                else u.a[i * K + p] = t.a[from * K + p];
            }
        u.g.b = t.b;
        u.g.bias = t.g.bias;
        job_run(&u);
        for (int i = 0; i < M; i++)
            CHECK(!memcmp(u.d + i * N, t.d + i * 7 % M * N, N * sizeof(elem_t)), "%s: row %d moved to %d",
                  form_name[form], i * 7 % M, i);
        job_free(&u);
        job_free(&t);
    }
}

/* Large enough for threads (more than 1.6 MFLOP): one, two and three of them, every instruction set, kept panels or
 * not: one result. */
static void threads_and_isa(void **state)
{
    (void)state;
    static const struct { enum gemm_form form; int m, n, k; bool add; } cases[] = {
        { GEMM_NT, 200, 130, 100, false }, { GEMM_NT, 17, 510, 300, true }, { GEMM_NN, 333, 96, 192, false },
        { GEMM_TN, 96, 96, 700, true },
        { GEMM_TN, 33, 320, 260, false },
    };
    const struct gemm_isa *isa[3];
    const int n = isas(isa), before = dev_threads();
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct job t = job_make(cases[c].form, cases[c].m, cases[c].n, cases[c].k, 0);
        t.g.add = cases[c].add;
        elem_t *want = dev_alloc(t.d_len * sizeof *want);
        for (int run = 0; run < 6 * n; run++) {
            dev_set_threads(1 + run % 3);
            gemm_isa_force(isa[run / 6]);
            t.g.weight = run % 6 >= 3;
            job_run(&t);
            if (!run) dev_copy(want, t.d, t.d_len * sizeof *want);
            CHECK(!memcmp(want, t.d, t.d_len * sizeof *want),
                  "%s %dx%dx%d: %s with %d threads, weight %d, against portable with 1", form_name[cases[c].form],
                  cases[c].m, cases[c].n, cases[c].k, isa[run / 6]->name, 1 + run % 3, t.g.weight);
        }
        dev_free(want);
        job_free(&t);
    }
    dev_set_threads(before);
    gemm_isa_force(NULL);
}

static void weights_change(void **state)
{
    (void)state;
    gemm_weights_changed();
    assert_int_equal(gemm_weight_bytes(), 0);
    struct job t = job_make(GEMM_NT, 3, 40, 50, 1), u = job_make(GEMM_NN, 3, 33, 10, 0);
    t.g.weight = u.g.weight = true;
    job_run(&t);
    const size_t one = gemm_weight_bytes();
    assert_int_equal(one, (40 + GEMM_NR - 1) / GEMM_NR * 50 * GEMM_NR * sizeof(elem_t));
    job_run(&t);
    assert_int_equal(gemm_weight_bytes(), one);         /* packed once */
    job_run(&u);
    assert_true(gemm_weight_bytes() > one);
    t.b[7] += 1;                                        /* a write without gemm_weights_changed(), then the call */
    u.b[7] += 1;
    gemm_weights_changed();
    assert_int_equal(gemm_weight_bytes(), 0);
    job_run(&t);
    check_job(&t);
    job_run(&u);
    check_job(&u);
    /* writes through dev.h need no call, and drop only the packed copies they touch */
    const elem_t five = 5;
    const size_t both = gemm_weight_bytes();
    dev_put(t.b + 39 * t.g.ldb + 49, &five, sizeof five);
    assert_int_equal(gemm_weight_bytes(), both - one);
    job_run(&t);
    check_job(&t);
    dev_zero(t.b, sizeof *t.b);
    job_run(&t);
    check_job(&t);
    dev_put(t.d, &five, sizeof five);                   /* not a weight */
    assert_int_equal(gemm_weight_bytes(), both);
    t.g.n = 39;                                         /* the same memory as another matrix */
    t.g.ldd = 42;
    job_run(&t);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 39; j++) check_element(&t, i, j);
    /* and read both ways, and with other distances between its rows */
    struct job v = job_make(GEMM_NT, 4, 40, 40, 0);
    v.g.weight = true;
    static const struct { enum gemm_form form; int n, ldb; } views[] = {
        { GEMM_NT, 7, 40 }, { GEMM_NT, 40, 40 }, { GEMM_NN, 40, 40 }, { GEMM_NT, 20, 40 }, { GEMM_NT, 20, 60 },
    };
    v.g.ldd = 40;
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        v.g.form = views[i].form;
        v.g.n = views[i].n;
        v.g.ldb = views[i].ldb;
        job_run(&v);
        for (int j = 0; j < 4 * views[i].n; j++) check_element(&v, j / views[i].n, j % views[i].n);
    }
    job_free(&v);
    job_free(&t);
    job_free(&u);
    assert_int_equal(gemm_weight_bytes(), 0);           /* freed memory is forgotten */
}

/* Threads that call at the same time get the results that each gets alone: packed panels, scratch memory and kept
 * weights are not mixed up. */
enum { CALLERS = 4 };

static void *caller(void *arg)
{
    const struct job *t = arg;
    struct gemm g = t->g;
    elem_t *d = dev_alloc(t->d_len * sizeof *d);
    g.d = d;
    g.dw = (acc_t *)d;
    int wrong = 0;
    for (int i = 0; i < 400; i++) {
        op_gemm(g);
        wrong += memcmp(d, t->d, t->d_len * sizeof *d) != 0;
    }
    dev_free(d);
    return (void *)(intptr_t)wrong;
}

static void callers(void **state)
{
    (void)state;
    static const enum gemm_form form[CALLERS] = { GEMM_NT, GEMM_NN, GEMM_TN, GEMM_TN };
    struct job t[CALLERS];
    pthread_t id[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        t[i] = job_make(form[i], 20 + i, 70, 40 + 60 * i, 0);
        t[i].g.weight = i == 0;
        job_run(&t[i]);
        check_job(&t[i]);
    }
    for (int i = 0; i < CALLERS; i++) assert_int_equal(pthread_create(&id[i], NULL, caller, &t[i]), 0);
    for (int i = 0; i < CALLERS; i++) {
        void *wrong;
        pthread_join(id[i], &wrong);
        CHECK(!wrong, "%s among %d callers: %d of 400 results differ", form_name[form[i]], CALLERS,
              (int)(intptr_t)wrong);
    }
    for (int i = 0; i < CALLERS; i++) job_free(&t[i]);
}

/* Not-finite numbers stay in their row and column; numbers too small to be normal are not lost. */
static void special(void **state)
{
    (void)state;
    struct job t = job_make(GEMM_NT, 20, 40, 30, 0);
    t.a[7 * 30 + 3] = (elem_t)INFINITY;
    t.a[9 * 30 + 3] = (elem_t)NAN;
    job_run(&t);
    for (int i = 0; i < 20; i++)
        for (int j = 0; j < 40; j++) {
            const elem_t x = t.d[i * 40 + j];
            CHECK(i == 7 ? isinf(x) : i == 9 ? isnan(x) : isfinite(x), "row %d column %d holds %g", i, j, (double)x);
        }
    job_free(&t);
    const elem_t tiny = sizeof(elem_t) == 4 ? (elem_t)0x1p-80 : (elem_t)0x1p-530, small = tiny * (elem_t)0x1p20;
    elem_t d = 0;
    op_gemm((struct gemm){ .form = GEMM_NT, .d = &d, .a = &tiny, .b = &small, .m = 1, .n = 1, .k = 1 });
    assert_true(d > 0 && d == tiny * small);
}

static void memory(void **state)
{
    (void)state;
    for (size_t n = 0; n < 3000; n += 777) {
        char *p = dev_alloc(n), *q = dev_alloc(n);
        assert_int_equal((uintptr_t)p % 256, 0);
        dev_zero(p, n);
        dev_copy(q, p, n);
        for (size_t i = 0; i < n; i++) assert_int_equal(q[i], 0);
        dev_free(p);
        dev_free(q);
    }
    dev_free(NULL);
    assert_string_equal(dev_name(), "cpu");
    const int before = dev_threads();
    dev_set_threads(3);
    assert_int_equal(dev_threads(), 3);
    dev_set_threads(0);
    assert_int_equal(dev_threads(), 1);
    dev_set_threads(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes), cmocka_unit_test(tails), cmocka_unit_test(row_bits), cmocka_unit_test(threads_and_isa),
        cmocka_unit_test(weights_change), cmocka_unit_test(callers), cmocka_unit_test(special),
        cmocka_unit_test(memory),
    };
    rng = rng_make(2024, 1, 0);
    return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
