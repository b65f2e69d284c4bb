/* test_gemm_cuda.c: the matrix product by cuBLASLt: layouts, strides, additions and biases against sums in double, rows
 * that do not depend on their number in numerics=exact, more shapes than there are plans, a product of no terms, and
 * products inside a CUDA graph. */
#include "tests/kernels/case.h"
#include <stdio.h>

void op_gemm_exact(bool exact);

/* Operands as they are stored, and on the device with NaN behind every row. */
struct job { struct gemm g; double *a, *b, *bias, *old; int64_t rows; };

static elem_t *padded(const double *x, int64_t rows, int64_t cols, int64_t ld)
{
    double *y = host(rows * ld);
    for (int64_t i = 0; i < rows * ld; i++) y[i] = i % ld < cols ? x[i / ld * cols + i % ld] : (double)NAN;
    return elems(y, (rows - 1) * ld + cols);
}

static int64_t or_dense(int64_t ld, int64_t cols) { return ld ? ld : cols; }

/* pad: further numbers between rows, 0 for none. flags: 1 add, 2 bias, 4 weight. */
static struct job job_make(struct rng *r, enum gemm_form form, int64_t m, int64_t n, int64_t k, int64_t pad,
                           unsigned flags)
{
    struct job t = { .g = { .form = form, .m = m, .n = n, .k = k, .add = flags & 1, .weight = flags & 4 }, .rows = m };
    const int64_t ar = form == GEMM_TN ? k : m, ac = form == GEMM_TN ? m : k, br = form == GEMM_NT ? n : k,
                  bc = form == GEMM_NT ? k : n;
    if (pad) t.g.lda = ac + pad, t.g.ldb = bc + 2 * pad, t.g.ldd = n + 3 * pad;
    const int64_t ldd = or_dense(t.g.ldd, n), count = (m - 1) * ldd + n;
    t.a = noise(r, ar * ac, 1);
    t.b = noise(r, br * bc, 1);
    t.old = host(m * ldd);
    for (int64_t i = 0; i < m * ldd; i++)
        t.old[i] = i % ldd < n && t.g.add ? rounded(2 * rng_uniform(r) - 1) : (double)NAN;
    t.g.a = padded(t.a, ar, ac, or_dense(t.g.lda, ac));
    t.g.b = padded(t.b, br, bc, or_dense(t.g.ldb, bc));
    if (form == GEMM_TN) t.g.dw = accs(t.old, count);
    else t.g.d = elems(t.old, count);
    if (flags & 2 && form == GEMM_NT) t.g.bias = elems(t.bias = noise(r, n, 1), n);
    return t;
}

static double *result(const struct job *t)
{
    const int64_t count = (t->g.m - 1) * or_dense(t->g.ldd, t->g.n) + t->g.n;
    return t->g.form == GEMM_TN ? got_acc(t->g.dw, count) : got(t->g.d, count);
}

/* Sums in any order: the error grows with the root of their length; 8 units of it are twice the largest that was
 * measured. */
static void check(const struct job *t, const char *how)
{
    const struct gemm *g = &t->g;
    const int64_t ldd = or_dense(g->ldd, g->n);
    const double *d = result(t), c = 8 + sqrt((double)g->k);
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < ldd && i * ldd + j <= (g->m - 1) * ldd + g->n - 1; j++) {
            double want = g->add ? t->old[i * ldd + j] : 0, mag = 0;
            if (j >= g->n) {
                CHECK(isnan(d[i * ldd + j]), "row %lld: written between the rows", (long long)i);
                continue;
            }
            for (int64_t p = 0; p < g->k; p++) {
                const double x = g->form == GEMM_TN ? t->a[p * g->m + i] : t->a[i * g->k + p],
                             y = g->form == GEMM_NT ? t->b[j * g->k + p] : t->b[p * g->n + j];
                want += x * y;
                mag += fabs(x * y);
            }
            if (t->bias) want += t->bias[j], mag += fabs(t->bias[j]);
            CHECK_NEAR(d[i * ldd + j], want, allowed(mag, c) + (g->form == GEMM_TN ? 0 : stored(want)),
                       "%s: form %d, %lld x %lld x %lld, add %d, bias %d, row %lld, column %lld", how, g->form,
                       (long long)g->m, (long long)g->n, (long long)g->k, g->add, g->bias != NULL, (long long)i,
                       (long long)j);
        }
}

static const int64_t shapes[][3] = {
    { 1, 1, 1 }, { 1, 33, 7 }, { 9, 1, 40 }, { 5, 8, 64 }, { 16, 24, 32 }, { 17, 23, 129 }, { 64, 96, 96 },
    { 3, 10, 1000 }, { 130, 7, 3 }, { 2, 510, 96 },
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void against_sums(void **state)
{
    (void)state;
    for (int exact = 0; exact < 2; exact++) {
        op_gemm_exact(exact);
        for (int s = 0; s < SHAPES; s++)
            for (int form = 0; form < 3; form++)
                for (unsigned flags = 0; flags < 8; flags++)
                    for (int64_t pad = 0; pad <= 8; pad += pad ? 5 : 3) {
                        struct rng r = rng_make((uint64_t)s, (uint32_t)form, flags);
                        struct job t =
                            job_make(&r, (enum gemm_form)form, shapes[s][0], shapes[s][1], shapes[s][2], pad, flags);
                        op_gemm(t.g);
                        check(&t, exact ? "exact" : "fast");
                        drop();
                    }
    }
}

/* The first rows of a batch have the same bits alone, in every other batch, and wherever they begin in memory. */
static void rows_stand_alone(void **state)
{
    (void)state;
    static const int64_t batches[] = { 1, 2, 7, 64, 255, 256, 257, 300 };
    op_gemm_exact(true);
    for (int form = GEMM_NT; form <= GEMM_NN; form++)
        for (int64_t k = 95; k <= 96;
             k++) { /* rows that begin anywhere, and rows that begin at multiples of 64 bytes */
            const int64_t n = k == 96 ? 96 : 41;
            struct rng r = rng_make(7, (uint32_t)form, (uint32_t)k);
            struct job t = job_make(&r, (enum gemm_form)form, 300, n, k, 0, 2);
            op_gemm(t.g);
            const double *all = got(t.g.d, 300 * n);
            for (size_t b = 0; b < sizeof batches / sizeof *batches; b++)
                for (int64_t from = 0; from + batches[b] <= 300; from += 43) {
                    struct gemm g = t.g;
                    g.m = batches[b];
                    g.a += from * k;
                    g.d = elems(NULL, g.m * n);
                    op_gemm(g);
                    CHECK(same_bits(got(g.d, g.m * n), all + from * n, g.m * n),
                          "form %d, n %lld, k %lld: rows %lld to %lld have other bits than among 300", form,
                          (long long)n, (long long)k, (long long)from, (long long)(from + g.m - 1));
                }
            drop();
        }
}

/* Twice as many shapes as there are plans, and all of them again. */
static void more_shapes_than_plans(void **state)
{
    (void)state;
    for (int exact = 0; exact < 2; exact++)
        for (int round = 0; round < 2; round++)
            for (int64_t m = 1; m <= 1100; m++) {
                struct rng r = rng_make(3, (uint32_t)m, 0);
                struct job t = job_make(&r, GEMM_NT, m, 2, 3, 0, 0);
                op_gemm_exact(exact);
                op_gemm(t.g);
                check(&t, "one of many shapes");
                drop();
            }
}

static void no_terms(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++)
        for (unsigned flags = 0; flags < 4; flags++) {
            struct rng r = rng_make(5, (uint32_t)form, flags);
            struct job t = job_make(&r, (enum gemm_form)form, 5, 300, 1, 4, flags);
            t.g.k = 0;
            op_gemm(t.g);
            check(&t, "k = 0");
            drop();
        }
}

static void products(void *ctx)
{
    struct job *t = ctx;
    for (int i = 0; i < 3; i++) op_gemm(t[i].g);
}

/* Operations are run, captured and launched; a shape that is new inside the capture takes an algorithm untimed. */
static void in_a_list(void **state)
{
    (void)state;
    struct dev_graph *graph = NULL;
    struct rng r = rng_make(9, 0, 0);
    struct job t[3];
    op_gemm_exact(false);
    for (int i = 0; i < 3; i++) t[i] = job_make(&r, (enum gemm_form)i, 24, 40, 64, 0, 0);
    for (int turn = 0; turn < 4; turn++) {
        for (int i = 0; i < 3; i++) {
            if (i == GEMM_TN) dev_zero(t[i].g.dw, 24 * 40 * sizeof *t[i].g.dw);
            else dev_zero(t[i].g.d, 24 * 40 * sizeof *t[i].g.d);
        }
        dev_graph_run(&graph, products, t);
        for (int i = 0; i < 3; i++) check(&t[i], "in a list");
    }
    dev_graph_free(graph);
    drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_sums), cmocka_unit_test(rows_stand_alone), cmocka_unit_test(more_shapes_than_plans),
        cmocka_unit_test(no_terms), cmocka_unit_test(in_a_list),
    };
    return cmocka_run_group_tests_name("matrix products by cuBLASLt", tests, NULL, NULL);
}
