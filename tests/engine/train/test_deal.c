/* test_deal.c: dealing of prompts and of units: by hand, and invariants over random costs. */
#include "engine/train/deal.h"
#include "base/arith.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

static unsigned next(unsigned *x) { return *x = *x * 1664525u + 1013904223u; }

static void by_hand(void **state)
{
    (void)state;
    static const double cost[6] = { 5, 4, 3, 5, 4, 3 };
    struct deal d;
    deal_prompts(&d, cost, 6, 3, 2, DEAL_LONGEST);
    /* the first mini-batch: 0 to rank 0, 1 and 2 to rank 1 (5 and 7); the second evens out: 3 and 5 to rank 0 */
    static const int longest[] = { 0, 3, 5, 1, 4, 2 };
    for (int i = 0; i < 6; i++) assert_int_equal(d.item[i], longest[i]);
    assert_int_equal(d.begin[1], 3);
    deal_free(&d);
    deal_prompts(&d, cost, 6, 3, 2, DEAL_IN_ORDER);
    static const int in_order[] = { 0, 2, 4, 1, 3, 5 };
    for (int i = 0; i < 6; i++) assert_int_equal(d.item[i], in_order[i]);
    deal_free(&d);
    for (int rule = 0; rule < DEAL_RULES; rule++) {
        deal_prompts(&d, cost, 6, 3, 1, rule);
        for (int i = 0; i < 6; i++) assert_int_equal(d.item[i], i);
        deal_free(&d);
    }
}

/* Every prompt once; of each mini-batch at most ceil(slice / ranks) a rank; a rank's list the longest first. */
static void prompts(void **state)
{
    (void)state;
    unsigned x = 7;
    for (int trial = 0; trial < 300; trial++) {
        int slice = 1 + (int)(next(&x) >> 8) % 12, n = slice * (1 + (int)(next(&x) >> 8) % 5),
            ranks = 1 + (int)(next(&x) >> 8) % 9, rule = (int)(next(&x) >> 8) % DEAL_RULES;
        double *cost = calloc((size_t)n, sizeof *cost), total = 0, most = 0;
        int *seen = calloc((size_t)n, sizeof *seen);
        for (int i = 0; i < n; i++) {
            cost[i] = 1 + (next(&x) >> 8) % 100;
            total += cost[i];
            most = MAX(most, cost[i]);
        }
        struct deal d;
        deal_prompts(&d, cost, n, slice, ranks, rule);
        assert_int_equal(d.begin[0], 0);
        assert_int_equal(d.begin[ranks], n);
        for (int r = 0; r < ranks; r++) {
            int of[60] = { 0 };
            double load = 0;
            for (int k = d.begin[r]; k < d.begin[r + 1]; k++) {
                int i = d.item[k];
                assert_true(i >= 0 && i < n);
                seen[i]++;
                load += cost[i];
                of[i / slice]++;
                if (rule == DEAL_LONGEST && ranks > 1 && k > d.begin[r]) assert_true(cost[d.item[k - 1]] >= cost[i]);
            }
            for (int k = 0; k < n / slice; k++) assert_in_range(of[k], 0, ceil_div(slice, ranks));
            if (rule == DEAL_LONGEST && slice % ranks == 0) assert_true(load <= total / ranks + (n / slice) * most);
        }
        for (int i = 0; i < n; i++) assert_int_equal(seen[i], 1);
        deal_free(&d);
        free(seen);
        free(cost);
    }
}

static void units(void **state)
{
    (void)state;
    static const int64_t weight[] = { 3, 9, 0, 4, 4, 7 };
    int rank[40];
    deal_units(rank, weight, 6, 3);             /* 9 | 7 | 4 4 0; 3 to the lightest: 7 + 3 */
    static const int want[] = { 1, 0, 2, 2, 2, 1 };
    for (int i = 0; i < 6; i++) assert_int_equal(rank[i], want[i]);
    unsigned x = 11;
    for (int trial = 0; trial < 300; trial++) {
        int n = 1 + (int)(next(&x) >> 8) % 40, ranks = 1 + (int)(next(&x) >> 8) % 9, have[9] = { 0 };
        int64_t w[40], load[9] = { 0 }, sum = 0, most = 0;
        for (int i = 0; i < n; i++) {
            w[i] = trial % 5 ? (next(&x) >> 8) % 1000 : 0;
            sum += w[i];
            most = MAX(most, w[i]);
        }
        deal_units(rank, w, n, ranks);
        for (int i = 0; i < n; i++) {
            assert_in_range(rank[i], 0, ranks - 1);
            have[rank[i]]++;
            load[rank[i]] += w[i];
        }
        for (int r = 0; r < ranks; r++) {
            if (n >= ranks) assert_in_range(have[r], 1, n);
            assert_true(load[r] * ranks <= sum + most * ranks);
        }
    }
}

static void costs(void **state)
{
    (void)state;
    assert_true(deal_prompt_cost(100, 50, 4) > deal_prompt_cost(90, 50, 4));
    assert_true(deal_prompt_cost(100, 50, 4) > deal_prompt_cost(100, 40, 4));
    assert_true(deal_prompt_cost(100, 50, 4) > deal_prompt_cost(100, 50, 3));
    CHECK_NEAR(deal_prompt_cost(1024, 0, 8), 1024, 0, "no response");
    CHECK_NEAR(deal_prompt_cost(768, 512, 2), 768 + 2 * 512 * 2, 1e-9, "a mean context of 1024 tokens");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(by_hand), cmocka_unit_test(prompts), cmocka_unit_test(units),
                                        cmocka_unit_test(costs) };
    return cmocka_run_group_tests_name("deal", tests, NULL, NULL);
}
