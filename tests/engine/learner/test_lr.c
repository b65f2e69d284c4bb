/* test_lr.c: learning rates by hand: a warm-up that reaches the rate with its last step, then constant, or a cosine
 * that ends at the floor. */
#include "engine/learner/learner.h"
#include "tests/check.h"

static void schedules(void **state)
{
    (void)state;
    static const struct { int64_t t, warmup, total; double floor, want; } cases[] = {
        { 0, 0, 0, 1, 8 }, { 99, 0, 0, 1, 8 }, { 0, 4, 0, 1, 2 }, { 2, 4, 0, 1, 6 }, { 3, 4, 0, 1, 8 },
        { 4, 4, 0, 1, 8 }, { 0, 1, 10, 0, 8 }, { 1, 4, 20, 0.5, 4 }, { 4, 4, 20, 0.5, 8 }, { 12, 4, 20, 0.5, 6 },
        { 20, 4, 20, 0.5, 4 }, { 500, 4, 20, 0.5, 4 }, { 0, 0, 8, 0, 8 }, { 4, 0, 8, 0, 4 }, { 8, 0, 8, 0, 0 },
        { 2, 0, 8, 0, 8 * (0.5 + 0.25 * 1.4142135623730951) }, { 5, 4, 4, 0.1, 8 },
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        CHECK_NEAR(lr_at(8, cases[k].t, cases[k].warmup, cases[k].total, cases[k].floor), cases[k].want, 1e-12,
                   "case %zu, step %lld of %lld", k, (long long)cases[k].t, (long long)cases[k].total);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(schedules) };
    return cmocka_run_group_tests_name("learning rate", tests, NULL, NULL);
}
