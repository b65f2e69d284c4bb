/* test_optim.c: AdamW against its formulas in double over several steps, the gradient norm against plain sums, at every
 * length around the vector and chunk sizes, and the same bits for every number of threads. */
#include "tests/kernels/case.h"

/* such weights always have an acc_t master, the others may */
static const bool narrow = sizeof(elem_t) < sizeof(acc_t);
static const int lengths[] = { 1, 3, 7, 8, 9, 31, 4095, 4096, 4097, 8200, 100003 };

static void adamw_against_formulas(void **state)
{
    (void)state;
    static const struct adamw rules[] = { { 1e-3, 0.9, 0.999, 1e-8, 0.1, 1, 1, { 0, 0 } },
                                          { 3e-4, 0.9, 0.95, 1e-8, 0, 0.37, 1, { 0, 0 } },
                                          { 0.1, 0, 0, 1e-3, 0.5, 2, 7, { 0, 0 } } };
    for (size_t c = 0; c < sizeof lengths / sizeof *lengths * 3; c++) {
        int n = lengths[c / 3];
        struct adamw a = rules[c % 3];
        struct rng r = rng_make(c, 50, 0);
        double *w = noise(&r, n, 1), *m = host(n), *v = host(n), *w0 = host(n), *o[3] = { 0 }, *g[4];
        memcpy(w0, w, (size_t)n * sizeof *w);
        for (int s = 0; s < 4; s++) g[s] = noise(&r, n, s == 2 ? 1e-6 : 1);
        for (int t = 1; t <= 2; t++) {
            dev_set_threads(t);
            elem_t *d = elems(w0, n);
            /* m and v are still 0 in the first round */
            acc_t *dm = accs(m, n), *dv = accs(v, n), *master = c % 2 || narrow ? accs(w0, n) : NULL;
            if (t == 2) dm = accs(host(n), n), dv = accs(host(n), n);
            a.t = rules[c % 3].t;
            for (int s = 0; s < 4; s++, a.t++) {
                op_adamw(d, master, accs(g[s], n), dm, dv, n, &a);
                if (t == 2) continue;
                for (int i = 0; i < n; i++) {
                    double x = g[s][i] * a.scale;
                    m[i] = a.beta1 * m[i] + (1 - a.beta1) * x;
                    v[i] = a.beta2 * v[i] + (1 - a.beta2) * x * x;
                    w[i] -= a.lr * a.decay * w[i] + a.lr * (m[i] / (1 - pow(a.beta1, (double)a.t))) /
                                                        (sqrt(v[i] / (1 - pow(a.beta2, (double)a.t))) + a.eps);
                }
            }
            double *p[3] = { got(d, n), got_acc(dm, n), got_acc(dv, n) },
                   *kept_w = master ? got_acc(master, n) : p[0];
            near_all("w", kept_w, w, NULL, n, 10);
            near_all("m", p[1], m, NULL, n, 8);
            near_all("v", p[2], v, NULL, n, 8);
            for (int i = 0; i < n; i++)
                CHECK(p[0][i] == rounded(kept_w[i]), "case %zu: weight %d is not the rounded master", c, i);
            if (t > 1)
                for (int i = 0; i < 3; i++)
                    CHECK(same_bits(p[i], o[i], n), "case %zu: 2 threads change the bits of array %d", c, i);
            memcpy(o, p, sizeof o);
        }
        drop();
    }
}

static double as_double(uint16_t bits)
{
    union { uint32_t u; float f; } x = { (uint32_t)bits << 16 };
    return (double)x.f;
}

/* Moments of bf16: the step is op_adamw's on the same moments, and each new moment is one of its two neighbours, the
 * upper one where its random half word is large enough. Walls around the moments, any place in the vector of all
 * weights, and any cut of it into calls. */
static void bf16_moments_round_by_their_words(void **state)
{
    (void)state;
    const uint16_t wall = 0x7fc1;
    for (size_t c = 0; c < sizeof lengths / sizeof *lengths; c++) {
        int n = lengths[c];
        int64_t at = c % 2 ? (int64_t)(c * 13) : ((int64_t)5 << 33) + 4 * (int64_t)c;
        struct rng r = rng_make(c, 53, 0);
        struct adamw a = { .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = 0.1, .scale = 0.5, .t = 3 };
        double *w = noise(&r, n, 1), *g = noise(&r, n, 1), *m = host(n), *v = host(n);
        uint16_t *h = keep(xcalloc((size_t)(2 * (n + 2 * WALL)), sizeof *h), false), *hm = h + WALL,
                 *hv = hm + n + 2 * WALL, *d = keep(dev_alloc((size_t)(2 * (n + 2 * WALL)) * sizeof *d), true);
        for (int i = 0; i < 2 * (n + 2 * WALL); i++) h[i] = wall;
        for (int i = 0; i < n; i++) {
            hm[i] = (uint16_t)(rng_u32(&r) & 0x81ff) | 0x3c00;
            hv[i] = (uint16_t)((rng_u32(&r) & 0x01ff) | 0x3a00);
            m[i] = as_double(hm[i]), v[i] = as_double(hv[i]);
        }
        dev_put(d, h, (size_t)(2 * (n + 2 * WALL)) * sizeof *h);
        elem_t *dw = elems(w, n), *dw2 = elems(w, n);
        acc_t *dg = accs(g, n), *dm = accs(m, n), *dv = accs(v, n), *master = narrow ? accs(w, n) : NULL,
              *master2 = narrow ? accs(w, n) : NULL;
        op_adamw(dw, master, dg, dm, dv, n, &a);
        int cut = n / 3;            /* two calls for one vector */
        uint16_t *m16 = d + WALL, *v16 = d + n + 3 * WALL;
        a.key = (struct round_key){ 11, at };
        op_adamw_bf16(dw2, master2, dg, m16, v16, cut, &a);
        a.key.at += cut;
        op_adamw_bf16(dw2 + cut, narrow ? master2 + cut : NULL, dg + cut, m16 + cut, v16 + cut, n - cut, &a);
        CHECK(same_bits(got(dw, n), got(dw2, n), n), "length %d: the weights are not op_adamw's", n);
        double *want[2] = { got_acc(dm, n), got_acc(dv, n) };
        dev_get(h, d, (size_t)(2 * (n + 2 * WALL)) * sizeof *h);
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < n; i++) {
                uint64_t e = (uint64_t)(at + i);
                uint32_t word = philox4x32(11, (uint32_t)(e >> 2), (uint32_t)(e >> 34), 3, 0).v[e & 3],
                         half = k ? word >> 16 : word & 0xffff;
                union { float f; uint32_t u; } x = { (float)want[k][i] };
                uint16_t low = (uint16_t)(x.u >> 16), is = k ? hv[i] : hm[i],
                         must = low + ((x.u & 0xffff) + half > 0xffff);
                CHECK(is == must, "length %d, moment %d of weight %d: %04x, must be %04x", n, k + 1, i, is, must);
            }
        for (int i = 0; i < WALL; i++)
            CHECK(h[i] == wall && hm[n + i] == wall && hv[-1 - i] == wall && hv[n + i] == wall,
                  "length %d: written outside of the moments", n);
        drop();
    }
}

/* The purpose of stochastic rounding: with gradients of one size, v must converge although no single step is as large
 * as bf16 resolves. */
static void bf16_moments_do_not_stop(void **state)
{
    (void)state;
    enum { N = 2048, STEPS = 600 };
    double *one = host(N), mean = 0;
    for (int i = 0; i < N; i++) one[i] = 1;
    elem_t *w = elems(one, N);
    acc_t *g = accs(one, N), *master = narrow ? accs(one, N) : NULL;
    uint16_t *m = keep(dev_alloc(2 * N * sizeof *m), true), h[N];
    dev_zero(m, 2 * N * sizeof *m);
    struct adamw a = { .lr = 1e-6, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .scale = 1, .key = { 5, 0 } };
    for (a.t = 1; a.t <= STEPS; a.t++) op_adamw_bf16(w, master, g, m, m + N, N, &a);
    dev_get(h, m + N, sizeof h);
    for (int i = 0; i < N; i++) mean += as_double(h[i]) / N;
    double want = 1 - pow(0.999, STEPS);                    /* 0.45; rounded to the nearest it stands still at 0.25 */
    CHECK_NEAR(mean, want, 0.005 * want, "mean of v after %d steps", STEPS);
    drop();
}

/* bf16 weights without master: a step from the stored number, rounded by its word: first moments of any size, any cut
 * into calls, any place in the vector. The moments are those of a step with a master. */
static void weights_round_by_their_words(void **state)
{
    (void)state;
    if (!narrow) skip();
    for (size_t c = 0; c < 2 * sizeof lengths / sizeof *lengths; c++) {
        int n = lengths[c / 2], cut = n / 3;
        bool bf16 = c % 2;
        int64_t at = c % 3 ? (int64_t)(c * 13) : ((int64_t)5 << 33) + 4 * (int64_t)c;
        struct rng r = rng_make(c, 54, 0);
        struct adamw a = { .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = 0.1, .scale = 0.5, .t = 3 };
        double *w = noise(&r, n, 1), *g = noise(&r, n, 1);
        size_t moment = bf16 ? sizeof(uint16_t) : sizeof(acc_t), bytes = (size_t)n * moment;
        char *m[4], *host_m[4];
        for (int k = 0; k < 4; k++) {
            m[k] = keep(dev_alloc(bytes), true), host_m[k] = keep(xcalloc(1, bytes), false);
            dev_zero(m[k], bytes);
        }
        elem_t *dw = elems(w, n), *dw2 = elems(w, n);
        acc_t *dg = accs(g, n), *master = accs(got(dw, n), n);
        for (int k = 0; k < 3; k++) {
            int from = k == 2 ? cut : 0, len = k == 1 ? cut : n - from;
            elem_t *x = (k ? dw2 : dw) + from;
            char *m1 = m[k ? 2 : 0] + (size_t)from * moment, *m2 = m[k ? 3 : 1] + (size_t)from * moment;
            a.key = (struct round_key){ 11, at + from };
            if (!bf16) op_adamw(x, k ? NULL : master, dg + from, (acc_t *)(void *)m1, (acc_t *)(void *)m2, len, &a);
            else
                op_adamw_bf16(x, k ? NULL : master, dg + from, (uint16_t *)(void *)m1, (uint16_t *)(void *)m2, len,
                              &a);
        }
        for (int k = 0; k < 4; k++) dev_get(host_m[k], m[k], bytes);
        CHECK(!memcmp(host_m[0], host_m[2], bytes) && !memcmp(host_m[1], host_m[3], bytes), "case %zu: moments", c);
        double *exact = got_acc(master, n), *is = got(dw2, n);
        for (int i = 0; i < n; i++) {
            uint64_t e = (uint64_t)(at + i);
            uint32_t half = philox4x32(11, (uint32_t)(e >> 2), (uint32_t)(e >> 34), 3, 1).v[e & 3] & 0xffff;
            union { float f; uint32_t u; } x = { (float)exact[i] };
            double must = as_double((uint16_t)((x.u + half) >> 16));
            CHECK(is[i] == must, "case %zu: weight %d is %.9g, must be %.9g", c, i, is[i], must);
        }
        drop();
    }
}

/* Steps of a thousandth of what bf16 resolves at 1: the mean of many weights follows them, and none stands still for
 * ever; rounded to nearest, all would stay 1. */
static void weights_do_not_stop(void **state)
{
    (void)state;
    enum { N = 4096, STEPS = 400 };
    if (!narrow) skip();
    double *one = host(N), mean = 0, spread = 0;
    for (int i = 0; i < N; i++) one[i] = 1;
    elem_t *w = elems(one, N);
    acc_t *g = accs(one, N), *m = accs(host(N), N), *v = accs(host(N), N);
    struct adamw a = { .lr = 4e-6, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .scale = 1, .key = { 5, 0 } };
    for (a.t = 1; a.t <= STEPS; a.t++) op_adamw(w, NULL, g, m, v, N, &a);
    double *is = got(w, N);
    for (int i = 0; i < N; i++) mean += is[i] / N;
    for (int i = 0; i < N; i++) spread += (is[i] - mean) * (is[i] - mean) / N;
    /* each step moves a weight by 4e-6; below 1 a weight falls by 2^-8 at a time: after 400 steps a variance of about
     * 0.0016 x 2^-8, of the mean of 4096 one of 1.5e-9, whose root is 3.9e-5 */
    CHECK_NEAR(1 - mean, 4e-6 * STEPS, 4 * 3.9e-5, "mean of the weights after %d steps", STEPS);
    CHECK(spread > 0, "all weights moved alike");
    drop();
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
            double sum = op_sumsq(accs(x, n), n);
            CHECK_NEAR(sum, want, 1e-13 * want, "op_sumsq of %d", n);
            if (t > 1) CHECK(!memcmp(&sum, &first, sizeof sum), "%d threads change the bits of op_sumsq of %d", t, n);
            first = sum;
            acc_t *d = accs(x, n);
            op_scale(d, 0.3, n);
            double *y = got_acc(d, n);
            for (int i = 0; i < n; i++)
                CHECK(y[i] == (double)((acc_t)x[i] * (acc_t)0.3), "op_scale of %d, element %d", n, i);
            acc_t *to = accs(x, n);
            op_acc_add(to, d, n);
            double *z = got_acc(to, n);
            for (int i = 0; i < n; i++)
                CHECK(z[i] == (double)((acc_t)x[i] + (acc_t)y[i]), "op_acc_add of %d, element %d", n, i);
            double *twice = keep(dev_alloc((size_t)n * sizeof *twice), true), *sum2 = host(n);
            dev_put(twice, x, (size_t)n * sizeof *twice);
            op_sum_add(twice, d, n);
            dev_get(sum2, twice, (size_t)n * sizeof *twice);
            op_sum_round(to, twice, n);
            z = got_acc(to, n);
            for (int i = 0; i < n; i++) {
                CHECK(sum2[i] == x[i] + y[i], "op_sum_add of %d, element %d", n, i);
                CHECK(z[i] == (double)(acc_t)sum2[i], "op_sum_round of %d, element %d", n, i);
            }
        }
        for (int bad = 0; bad < 3; bad++) {
            double was = x[n - 1];
            x[n - 1] = bad == 0 ? (double)NAN : bad == 1 ? HUGE_VAL : -HUGE_VAL;
            CHECK(!isfinite(op_sumsq(accs(x, n), n)), "op_sumsq hides what is not finite, length %d", n);
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
    elem_t *d = elems(w, N * K), *y = elems(NULL, N), *z = elems(NULL, N), *in = elems(x, K);
    struct gemm product = { .form = GEMM_NT, .d = y, .a = in, .b = d, .m = 1, .n = N, .k = K, .weight = true };
    op_gemm(product);
    struct adamw a = { 0.5, 0.9, 0.99, 1e-8, 0, 1, 1, { 0, 0 } };
    op_adamw(d, narrow ? accs(w, N * K) : NULL, accs(g, N * K), accs(host(N * K), N * K), accs(host(N * K), N * K),
             N * K, &a);
    op_gemm(product);
    product.d = z;
    product.weight = false;
    op_gemm(product);
    CHECK(same_bits(got(y, N), got(z, N), N), "the product used weights from before the step");
    drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(adamw_against_formulas), cmocka_unit_test(norms_and_scales),
                                        cmocka_unit_test(bf16_moments_round_by_their_words),
                                        cmocka_unit_test(bf16_moments_do_not_stop),
                                        cmocka_unit_test(weights_round_by_their_words),
                                        cmocka_unit_test(weights_do_not_stop),
                                        cmocka_unit_test(products_see_new_weights) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
