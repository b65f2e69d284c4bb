/* test_optim.c: AdamW against its formulas in double over several steps, the gradient norm against plain sums, at every length around the vector and
 * chunk sizes, and the same bits for every number of threads. */
#include "tests/kernels/case.h"

static const bool narrow = sizeof(real) < sizeof(wide);         /* such weights have a wide master always, the others may */
static const int lengths[] = { 1, 3, 7, 8, 9, 31, 4095, 4096, 4097, 8200, 100003 };

static void adamw_against_formulas(void **state)
{
    (void)state;
    static const struct adamw rules[] = { { 1e-3, 0.9, 0.999, 1e-8, 0.1, 1, 1 }, { 3e-4, 0.9, 0.95, 1e-8, 0, 0.37, 1 }, { 0.1, 0, 0, 1e-3, 0.5, 2, 7 } };
    for (size_t c = 0; c < sizeof lengths / sizeof *lengths * 3; c++) {
        int n = lengths[c / 3];
        struct adamw a = rules[c % 3];
        struct rng r = rng_make(c, 50, 0);
        double *w = noise(&r, n, 1), *m = host(n), *v = host(n), *w0 = host(n), *o[3] = { 0 }, *g[4];
        memcpy(w0, w, (size_t)n * sizeof *w);
        for (int s = 0; s < 4; s++) g[s] = noise(&r, n, s == 2 ? 1e-6 : 1);
        for (int t = 1; t <= 2; t++) {
            dev_set_threads(t);
            real *d = reals(w0, n);
            wide *dm = wides(m, n), *dv = wides(v, n), *master = c % 2 || narrow ? wides(w0, n) : NULL;       /* m and v are still 0 in the first round */
            if (t == 2) dm = wides(host(n), n), dv = wides(host(n), n);
            a.t = rules[c % 3].t;
            for (int s = 0; s < 4; s++, a.t++) {
                op_adamw(d, master, wides(g[s], n), dm, dv, n, &a);
                if (t == 2) continue;
                for (int i = 0; i < n; i++) {
                    double x = g[s][i] * a.scale;
                    m[i] = a.beta1 * m[i] + (1 - a.beta1) * x;
                    v[i] = a.beta2 * v[i] + (1 - a.beta2) * x * x;
                    w[i] -= a.lr * a.decay * w[i] + a.lr * (m[i] / (1 - pow(a.beta1, (double)a.t))) / (sqrt(v[i] / (1 - pow(a.beta2, (double)a.t))) + a.eps);
                }
            }
            double *p[3] = { got(d, n), got_wide(dm, n), got_wide(dv, n) }, *kept_w = master ? got_wide(master, n) : p[0];
            near_all("w", kept_w, w, NULL, n, 10);
            near_all("m", p[1], m, NULL, n, 8);
            near_all("v", p[2], v, NULL, n, 8);
            for (int i = 0; i < n; i++) CHECK(p[0][i] == rounded(kept_w[i]), "case %zu: weight %d is not the rounded master", c, i);
            if (t > 1) for (int i = 0; i < 3; i++) CHECK(same_bits(p[i], o[i], n), "case %zu: 2 threads change the bits of array %d", c, i);
            memcpy(o, p, sizeof o);
        }
        drop();
    }
}

static void norms_and_scales(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof lengths / sizeof *lengths; c++) {
        int n = lengths[c];
        struct rng r = rng_make(c, 51, 0);
        double *x = noise(&r, n, 3), want = 0, first = 0;
        for (int i = 0; i < n; i++) want += x[i] * x[i];
        for (int t = 1; t <= 3; t++) {
            dev_set_threads(t);
            double sum = op_sumsq(wides(x, n), n);
            CHECK_NEAR(sum, want, 1e-13 * want, "op_sumsq of %d", n);
            if (t > 1) CHECK(!memcmp(&sum, &first, sizeof sum), "%d threads change the bits of op_sumsq of %d", t, n);
            first = sum;
            wide *d = wides(x, n);
            op_scale(d, 0.3, n);
            double *y = got_wide(d, n);
            for (int i = 0; i < n; i++) CHECK(y[i] == (double)((wide)x[i] * (wide)0.3), "op_scale of %d, element %d", n, i);
        }
        for (int bad = 0; bad < 3; bad++) {
            double was = x[n - 1];
            x[n - 1] = bad == 0 ? (double)NAN : bad == 1 ? HUGE_VAL : -HUGE_VAL;
            CHECK(!isfinite(op_sumsq(wides(x, n), n)), "op_sumsq hides what is not finite, length %d", n);
            x[n - 1] = was;
        }
        drop();
    }
    CHECK(op_sumsq(NULL, 0) == 0, "op_sumsq of nothing");
}

/* A new weight must be seen by the next product, though the product may keep a packed copy of its weights. */
static void products_see_new_weights(void **state)
{
    (void)state;
    enum { K = 24, N = 40 };
    struct rng r = rng_make(3, 52, 0);
    double *w = noise(&r, N * K, 1), *x = noise(&r, K, 1), *g = noise(&r, N * K, 1);
    real *d = reals(w, N * K), *y = reals(NULL, N), *z = reals(NULL, N), *in = reals(x, K);
    struct gemm product = { .form = GEMM_NT, .d = y, .a = in, .b = d, .m = 1, .n = N, .k = K, .weight = true };
    op_gemm(product);
    struct adamw a = { 0.5, 0.9, 0.99, 1e-8, 0, 1, 1 };
    op_adamw(d, narrow ? wides(w, N * K) : NULL, wides(g, N * K), wides(host(N * K), N * K), wides(host(N * K), N * K), N * K, &a);
    op_gemm(product);
    product.d = z;
    product.weight = false;
    op_gemm(product);
    CHECK(same_bits(got(y, N), got(z, N), N), "the product used weights from before the step");
    drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(adamw_against_formulas), cmocka_unit_test(norms_and_scales), cmocka_unit_test(products_see_new_weights) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
