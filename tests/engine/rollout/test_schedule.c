/* test_schedule.c: whose rows a pass takes: cases by hand, and properties of random ones. */
#include "engine/rollout/schedule.h"
#include "base/philox.h"
#include "tests/check.h"

enum { MOST = 12 };

static void by_hand(void **state)
{
    (void)state;
    static const struct { const char *name; int n, max_rows, due[5], take[5]; } cases[] = {
        { "nothing runs", 0, 8, { 0 }, { 0 } },
        { "all wait for tools", 2, 8, { 0, 0 }, { 0, 0 } },
        { "all decode", 3, 8, { 1, 1, 1 }, { 1, 1, 1 } },
        { "decoding before a prompt that came first", 3, 4, { 9, 1, 1 }, { 2, 1, 1 } },
        { "a prompt takes several passes", 1, 4, { 9 }, { 4 } },
        { "the second prompt gets what is left", 3, 8, { 5, 6, 1 }, { 5, 2, 1 } },
        { "no row left for prompts", 4, 2, { 3, 1, 1, 4 }, { 0, 1, 1, 0 } },
        { "more sequences than rows", 3, 2, { 1, 1, 1 }, { 1, 1, 0 } },
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int take[5] = { -1, -1, -1, -1, -1 }, sum = 0;
        int rows = schedule_pass(take, cases[k].due, cases[k].n, cases[k].max_rows);
        for (int i = 0; i < cases[k].n; i++) {
            CHECK(take[i] == cases[k].take[i], "%s: sequence %d: %d rows, not %d", cases[k].name, i, take[i],
                  cases[k].take[i]);
            sum += cases[k].take[i];
        }
        CHECK(rows == sum, "%s: %d rows in all, not %d", cases[k].name, rows, sum);
    }
}

/* Every token runs once, in as few passes as rows allow, and a decoding sequence never waits while there are no more of
 * them than rows. */
static void every_token_once(void **state)
{
    (void)state;
    for (uint32_t trial = 0; trial < 300; trial++) {
        struct philox r = philox4x32(7, trial, 0, 0, 0);
        int n = 1 + (int)(r.v[0] % MOST), max_rows = MOST + (int)(r.v[1] % 20), due[MOST], take[MOST], left = 0;
        for (int i = 0; i < n; i++) left += due[i] = (int)(philox4x32(8, trial, (uint32_t)i, 0, 0).v[0] % 40);
        int passes = 0, fewest = (int)ceil_div(left, max_rows);
        for (; left; passes++) {
            int rows = schedule_pass(take, due, n, max_rows);
            CHECK(rows == MIN(left, max_rows), "trial %u: %d rows of %d due, %d allowed", trial, rows, left, max_rows);
            for (int i = 0; i < n; i++) {
                CHECK(take[i] >= 0 && take[i] <= due[i], "trial %u: %d of %d due", trial, take[i], due[i]);
                CHECK(due[i] != 1 || take[i] == 1, "trial %u: a decoding sequence waits", trial);
                due[i] -= take[i];
            }
            left -= rows;
        }
        CHECK(passes == fewest, "trial %u: %d passes, %d would do", trial, passes, fewest);
    }
}

static void limits(void **state)
{
    (void)state;
    assert_int_equal(schedule_limit(10, 20, 100), 30);
    assert_int_equal(schedule_limit(90, 20, 100), 100);
    assert_int_equal(schedule_limit(2000000000, 2000000000, 100), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(by_hand), cmocka_unit_test(every_token_once),
                                        cmocka_unit_test(limits) };
    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
