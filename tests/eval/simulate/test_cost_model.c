/* test_cost_model.c: times computed by hand, and how they move with the rates. */
#include "eval/simulate/cost_model.h"
#include "tests/check.h"
#include <string.h>

static const struct cost_model plain = { .pass = 1e-3, .weights = 4e-3, .row = 1e-4, .context = 1e-7, .inside = 100,
                                         .between = 10, .latency_inside = 0.5, .latency_between = 2, .host = 50,
                                         .node = 4, .adamw = 12 };

static void by_hand(void **state)
{
    (void)state;
    /* 10 rows: the weights are the longer part; 100 rows: the products */
    CHECK_NEAR(cost_pass(&plain, 10, 0), 5e-3, 1e-15, "10 rows");
    CHECK_NEAR(cost_pass(&plain, 100, 0), 11e-3, 1e-15, "100 rows");
    CHECK_NEAR(cost_pass(&plain, 100, 1e5), 21e-3, 1e-15, "100 rows that read 1e5 positions");
    CHECK_NEAR(cost_sum(&plain, 1, 1000), 0, 0, "one rank");
    /* 2 (3/4 1000/100 + 3 0.5) */
    CHECK_NEAR(cost_sum(&plain, 4, 1000), 18, 1e-12, "a node of four");
    CHECK_NEAR(cost_gather(&plain, 4, 1000), 9, 1e-12, "a node of four, parts to all");
    /* and 250 bytes between two nodes: ring 2 (1/2 250/10 + 2) = 29, trees 2 (25 + 2) = 54 */
    CHECK_NEAR(cost_sum(&plain, 8, 1000), 18 + 29, 1e-12, "two nodes");
    /* 64 nodes: ring 2 (63/64 25 + 63 2) = 301.2, trees 2 (25 + 6 2) = 74 */
    CHECK_NEAR(cost_sum(&plain, 256, 1000), 18 + 74, 1e-12, "64 nodes");
    CHECK_NEAR(cost_host_gather(&plain, 4, 1000), 0.75 * 20 + 2 * 0.5, 1e-12, "host, four");
    CHECK_NEAR(cost_host_gather(&plain, 1, 1000), 0, 0, "host, one");
    struct cost_model shards = plain;
    shards.zero = 1;
    CHECK_NEAR(cost_adamw(&plain, 4), 12, 0, "whole optimizer");
    CHECK_NEAR(cost_adamw(&shards, 4), 3, 0, "a quarter of it");
}

static void monotone(void **state)
{
    (void)state;
    for (int ranks = 2; ranks <= 1024; ranks *= 2) {
        struct cost_model faster = plain;
        double before = cost_sum(&plain, ranks, 1e6);
        faster.inside *= 2;
        CHECK(cost_sum(&faster, ranks, 1e6) < before, "%d ranks: faster links", ranks);
        faster = plain;
        faster.between *= 2;
        CHECK(ranks <= 4 ? cost_sum(&faster, ranks, 1e6) == before : cost_sum(&faster, ranks, 1e6) < before,
              "%d ranks: faster network", ranks);
        CHECK(cost_sum(&plain, 2 * ranks, 1e6) > before, "%d ranks: more of them", ranks);
        CHECK(cost_gather(&plain, ranks, 1e6) < before, "%d ranks: half of the rounds", ranks);
        CHECK(cost_sum(&plain, ranks, 2e6) > before, "%d ranks: more bytes", ranks);
    }
}

/* A model of two layers, counted by hand. */
static void counted(void **state)
{
    (void)state;
    struct model_config c = { .arch = "LlamaForCausalLM", .vocab = 1000, .dim = 64, .layers = 2, .heads = 4,
                              .kv_heads = 2, .head_dim = 16, .ff = 128, .max_len = 128 };
    struct cost_shape s, again, tied;
    const struct cost_card *h200 = cost_card("h200"), *h100 = cost_card("h100");
    struct cost_model a, b, full;
    /* q, o: 64 x 64; k, v: 64 x 32; gate, up, down: 64 x 128; head 1000 x 64 */
    double layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128, matrices = 2 * layer + 64000;
    cost_shape_of(&s, &c, 2, RECOMPUTE_NONE);
    CHECK_NEAR(s.matrices, matrices, 0, "matrices");
    CHECK_NEAR(s.kv_bytes, 2 * 2 * 2 * 16 * 2, 0, "keys and values");
    CHECK(s.parameters >= matrices + 64000 && s.parameters < matrices + 64000 + 1000, "parameters: %g", s.parameters);
    c.tied = true;
    cost_shape_of(&tied, &c, 2, RECOMPUTE_NONE);
    CHECK_NEAR(tied.matrices, matrices, 0, "matrices, tied");
    c.tied = false;
    cost_shape_of(&again, &c, 2, RECOMPUTE_FULL);
    CHECK_NEAR(again.again, 2 * (layer - 64 * 128) / matrices, 1e-12, "recomputed: all but down and head");
    assert_true(again.attention_again && !s.attention_again);
    cost_by_count(&a, &s, h200);
    cost_by_count(&b, &s, h100);
    cost_by_count(&full, &again, h200);
    CHECK_NEAR(b.weights / a.weights, 4.8 / 3.35, 1e-12, "weights by the memory's rate");
    CHECK_NEAR(b.row, a.row, 0, "rows by the same product rate");
    CHECK_NEAR(full.train_row / a.train_row, (6 + 2 * again.again) / 6, 1e-12, "recomputation");
    CHECK_NEAR(a.grad_bytes, s.parameters * 4, 0, "gradient");
    assert_null(cost_card("h300"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(by_hand), cmocka_unit_test(monotone),
                                        cmocka_unit_test(counted) };
    return cmocka_run_group_tests_name("cost_model", tests, NULL, NULL);
}
