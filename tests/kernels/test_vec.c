/* test_vec.c: the vector helpers of the CPU backend: exp to 2 ulp over its whole range, partial loads and stores of
 * every length. */
#include "kernels/cpu/vec.h"
#include "kernels/cpu/vec_exp.h"
#include "kernels/cpu/vec_sum.h"
#include "base/philox.h"
#include "tests/check.h"

static double exp_lane(double x, int lane)
{
    vr v = { 0 };
    v[lane] = (elem_t)x;
    return (double)vexp(v)[lane];
}

static void exp_is_within_two_ulp(void **state)
{
    (void)state;
    struct rng r = rng_make(1, 1, 0);
    double worst = 0, bound = sizeof(elem_t) == 4 ? 0x1p-23 : 0x1p-52;
    for (int i = 0; i < 400000; i++) {
        double x = (double)(elem_t)((rng_uniform(&r) * 175.2 - 87) * (i % 3 ? 1 : 0.01)), want = exp(x),
               got = exp_lane(x, i % VL);
        double off = fabs(got - want) / (ldexp(1, ilogb(want)) * bound);
        worst = fmax(worst, off);
        CHECK(off <= 2, "exp(%.9g): got %.9g, want %.9g, %.2f ulp", x, got, want, off);
    }
    print_message("exp: worst %.3f ulp\n", worst);
}

static void exp_at_the_edges(void **state)
{
    (void)state;
    CHECK(exp_lane(0, 0) == 1 && exp_lane(-0.0, 3) == 1, "exp(0)");
    CHECK(exp_lane(-HUGE_VAL, 1) == 0 && exp_lane(-1e30, 1) == 0 && exp_lane(-1e4, 2) == 0, "exp far below 0");
    CHECK(exp_lane(HUGE_VAL, 2) > 1e38 && exp_lane(1e30, 0) > 1e38 && exp_lane(89, 0) > 1e38, "exp far above 0");
    CHECK(isnan(exp_lane((double)NAN, VL - 1)), "exp(NaN)");
    for (double x = -90; x < -87; x += 0.01)
        CHECK_NEAR(exp_lane(x, 0), exp((double)(elem_t)x), sizeof(elem_t) == 4 ? 0x1p-126 : 0,
                   "exp(%g), at the end of the range", x);
}

static void parts_of_vectors(void **state)
{
    (void)state;
    for (int n = 1; n <= VL; n++) {
        elem_t from[VL], to[VL + 1], tail[VL + 1];
        for (int i = 0; i < VL; i++) from[i] = i < n ? (elem_t)(i + 1) : (elem_t)NAN;
        for (int i = 0; i <= VL; i++) to[i] = tail[i] = -7;
        vr v = vget_n(from, n), p = vget_part(from, n), f = vfill(v, n, 3);
        for (int i = 0; i < VL; i++) {
            CHECK((double)v[i] == (i < n ? i + 1 : 0) && (double)p[i] == (double)v[i], "lane %d of a part of %d", i, n);
            CHECK((double)f[i] == (i < n ? i + 1 : 3), "lane %d filled from %d on", i, n);
        }
        vput_n(to, v, n);
        vput_from(tail, vfill(v, n, 3), n);
        for (int i = 0; i <= VL; i++) {
            CHECK((double)to[i] == (i < n ? i + 1 : -7), "stored lane %d of a part of %d", i, n);
            CHECK((double)tail[i] == (i >= n && i < VL ? 3 : -7), "lane %d stored from %d on", i, n);
        }
    }
}

static void sums_and_maxima(void **state)
{
    (void)state;
    vr v = { 0 };
    double sum = 0;
    for (int i = 0; i < VL; i++) sum += (double)(v[i] = (elem_t)((i * 5) % VL - 2));
    struct vacc s = { 0 };
    vacc_add(&s, v);
    vacc_fma(&s, v, vset(2));
    assert_true(vacc_sum(s) == 3 * sum);
    assert_true((double)vmax_all(v) == VL - 3);
    double p[VL] = { 0 };
    struct vsum each = vsum_get(p);
    vsum_add(&each, v);
    vsum_fma(&each, v, vset(2));
    vsum_put(p, each);
    for (int i = 0; i < VL; i++) assert_true(p[i] == 3 * (double)v[i]);
}

/* The lane of a sum is the index modulo 8 floats or 4 doubles, however wide a vector is: numbers whose sum depends on
 * the order show it. */
static void sums_fold_alike(void **state)
{
    (void)state;
    enum { N = 4 * VL_MAX, FOLD = 32 / sizeof(elem_t) };
    struct rng r = rng_make(5, 1, 0);
    for (int run = 0; run < 50; run++) {
        elem_t x[N], y[N];
        double add[FOLD] = { 0 }, mul[FOLD] = { 0 };
        for (int i = 0; i < N; i++) {
            x[i] = (elem_t)ldexp(rng_uniform(&r) - 0.5, (int)rng_below(&r, 40));
            y[i] = (elem_t)ldexp(rng_uniform(&r) - 0.5, (int)rng_below(&r, 40));
            add[i % FOLD] += (double)x[i];
            mul[i % FOLD] = fma((double)x[i], (double)y[i], mul[i % FOLD]);
        }
        struct vacc a = { 0 }, m = { 0 };
        for (int i = 0; i < N; i += VL) {
            vacc_add(&a, vget(x + i));
            vacc_fma(&m, vget(x + i), vget(y + i));
        }
        for (int k = 4; k < FOLD; k++) { add[k - 4] += add[k]; mul[k - 4] += mul[k]; }
        assert_true(vacc_sum(a) == (add[0] + add[1]) + (add[2] + add[3]));
        assert_true(vacc_sum(m) == (mul[0] + mul[1]) + (mul[2] + mul[3]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(exp_is_within_two_ulp), cmocka_unit_test(exp_at_the_edges),
                                        cmocka_unit_test(parts_of_vectors), cmocka_unit_test(sums_and_maxima),
                                        cmocka_unit_test(sums_fold_alike) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
