/* The cores of a host among its ranks: all of them, none twice, shares that differ by one at most. */
#include "engine/run/ranks_start.h"
#include "tests/check.h"

static void shares(void **state)
{
    (void)state;
    for (int n = 1; n <= 130; n++)
        for (int locals = 1; locals <= 17; locals++) {
            int from, to, next = 0, least = n, most = 0;
            for (int i = 0; i < locals; i++) {
                ranks_cores(n, i, locals, &from, &to);
                if (n < locals) {
                    assert_int_equal(from, 0);
                    assert_int_equal(to, n);
                    continue;
                }
                assert_int_equal(from, next);
                next = to;
                if (to - from < least) least = to - from;
                if (to - from > most) most = to - from;
            }
            if (n < locals) continue;
            assert_int_equal(next, n);
            assert_true(least >= 1 && most - least <= 1);
        }
}

/* One rank agrees with itself, whatever the values are. */
static void alone(void **state)
{
    (void)state;
    struct err e;
    assert_true(ranks_same((const struct rank_fact[]){ { "a", "1", NULL } }, 1, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(shares), cmocka_unit_test(alone) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
