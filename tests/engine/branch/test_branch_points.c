/* test_branch_points.c: every switch of branch_choose, and branch_requests over interleaved prompts. Values where m = 0
 * are NaN. */
#include "engine/branch/branch_points.h"
#include "base/philox.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { N = 40, ROWS = 4 };
#define KEY(seed_, step_, prompt_) (&(struct branch_key){ .seed = seed_, .step = step_, .prompt = prompt_, .round = 1 })

struct rollout { acc_t logp[N], old[N], entropy[N]; uint8_t m[N], ok[N]; };
struct prompt { struct rollout row[ROWS]; struct branch_view view[ROWS]; };

/* Rollouts of N positions, tool results at 10..14 and 25..27. `moved` = 0: pi_theta is pi_old, F is constant. */
static struct prompt *make(uint64_t seed, double moved)
{
    struct prompt *p = xcalloc(1, sizeof *p);
    struct rng g = rng_make(seed, 5, 0);
    for (int r = 0; r < ROWS; r++) {
        struct rollout *x = &p->row[r];
        for (int i = 0; i < N; i++) {
            double lp = -rng_uniform(&g), d = (rng_uniform(&g) - 0.45) * moved, h = rng_uniform(&g);
            x->m[i] = !((i >= 10 && i < 15) || (i >= 25 && i < 28));
            x->ok[i] = i != 3;
            x->logp[i] = x->m[i] ? (acc_t)lp : (acc_t)NAN;
            x->old[i] = x->m[i] ? (acc_t)(moved > 0 ? lp - d : (double)x->logp[i]) : (acc_t)NAN;
            x->entropy[i] = x->m[i] ? (acc_t)h : (acc_t)NAN;
        }
        p->view[r] = (struct branch_view){ x->logp, x->old, x->entropy, x->m, x->ok, N };
    }
    return p;
}

static const char *const signals[] = { "bs", "entropy", "omega", "random", "tool_boundary", "additive" };

/* For all switches: the right number of points, candidates only, the signal's scores, and the same result again. */
static void every_switch(void **state)
{
    (void)state;
    struct branch_choice a[24], b[24];
    for (int moved = 0; moved < 2; moved++) {
        struct prompt *p = make(3, moved * 0.04);
        for (int signal = 0; signal <= SIGNAL_ADDITIVE; signal++)
            for (int pool = 0; pool < 2; pool++)
                for (int gap = 0; gap <= 6; gap += 3) {
                    struct branch_config c = branch_default();
                    c.signal = (enum branch_signal)signal, c.pool = (enum branch_pool)pool, c.min_gap = gap,
                    c.per_row = 3;
                    memset(a, 0, sizeof a);
                    memset(b, 0, sizeof b);
                    CHECK(branch_choose(a, p->view, ROWS, 12, &c, KEY(7, 1, 2)) == 12, "%s: number", signals[signal]);
                    branch_choose(b, p->view, ROWS, 12, &c, KEY(7, 1, 2));
                    assert_memory_equal(a, b, sizeof a);
                    int in_row[ROWS] = { 0 }, flat = 0;
                    for (int i = 0; i < 12; i++) {
                        const struct rollout *x = &p->row[a[i].row];
                        in_row[a[i].row]++;
                        flat += a[i].zf == 0;
                        CHECK(x->m[a[i].pos] && x->ok[a[i].pos], "%s: point %d is a candidate", signals[signal], i);
                        for (int k = 0; k < i; k++)
                            CHECK(a[k].row != a[i].row || abs(a[k].pos - a[i].pos) >= (gap ? gap : 1), "%s: gap %d",
                                  signals[signal], gap);
                        /* F of its rollout is constant */
                        bool stands_in = a[i].zf == 0 && (signal == SIGNAL_BS || signal == SIGNAL_OMEGA);
                        double want[] = { stands_in ? a[i].zh : a[i].zf * a[i].zh,
                                          a[i].zh,
                                          stands_in ? a[i].zh : a[i].zf,
                                          a[i].score,
                                          a[i].zh,
                                          a[i].zf + a[i].zh };
                        CHECK_NEAR(a[i].score, want[signal], 1e-6 * (1 + fabs(want[signal])), "%s: score",
                                   signals[signal]);
                        CHECK(a[i].entropy_fallback == stands_in, "%s: fallback flag", signals[signal]);
                        CHECK(a[i].strict == (a[i].zf > 0 && a[i].zh > 0 && a[i].score > 0), "%s: strict flag",
                              signals[signal]);
                    }
                    CHECK(moved ? flat < 12 : flat == 12, "%s: %d points of rows with a constant F", signals[signal],
                          flat);
                    for (int r = 0; pool == POOL_ROLLOUT && r < ROWS; r++)
                        CHECK(in_row[r] == 3, "%s: row %d gives %d of 3", signals[signal], r, in_row[r]);
                }
        free(p);
    }
}

/* pool = prompt, no gap: the points of a signal are the best of all candidates by its key. */
static void ranks(void **state)
{
    (void)state;
    struct prompt *p = make(8, 0.04);
    struct branch_choice all[ROWS * N];
    int candidates = ROWS * (N - 8 - 1);
    for (int signal = 0; signal <= SIGNAL_ADDITIVE; signal++) {
        struct branch_config c = branch_official();
        c.signal = (enum branch_signal)signal;
        c.strict_first = false;
        CHECK(branch_choose(all, p->view, ROWS, candidates + 1, &c, KEY(7, 1, 2)) == candidates + 1, "%s",
              signals[signal]);
        CHECK(all[candidates].row == all[0].row && all[candidates].pos == all[0].pos, "%s: begins again after %d",
              signals[signal], candidates);
        for (int i = 1; i < candidates; i++) {
            bool edge = all[i].pos == 15 || all[i].pos == 28,
                 edge_before = all[i - 1].pos == 15 || all[i - 1].pos == 28;
            if (signal == SIGNAL_TOOL_BOUNDARY && edge != edge_before)
                CHECK(edge_before && i == 2 * ROWS, "boundaries first");
            else CHECK(all[i].score <= all[i - 1].score, "%s: order at %d", signals[signal], i);
        }
    }
    struct branch_config strict = branch_official();
    branch_choose(all, p->view, ROWS, candidates, &strict, KEY(7, 1, 2));
    int n_strict = 0;
    while (n_strict < candidates && all[n_strict].strict) n_strict++;
    CHECK(n_strict > 0 && n_strict < candidates, "%d strict points", n_strict);
    for (int i = n_strict; i < candidates; i++)
        CHECK(!all[i].strict && (i == n_strict || all[i].score <= all[i - 1].score), "rest by product");
    strict.fallback_by_entropy = true;
    branch_choose(all, p->view, ROWS, candidates, &strict, KEY(7, 1, 2));
    for (int i = n_strict; i < candidates; i++)
        CHECK(!all[i].strict && (i == n_strict || all[i].zh <= all[i - 1].zh), "rest by entropy");
    free(p);
}

/* The order of rollouts is uniform: the first one over many steps; and it is a function of seed, step, epoch, round and
 * prompt. */
static void order_of_rollouts(void **state)
{
    (void)state;
    struct prompt *p = make(2, 0.04);
    struct branch_config c = branch_default();
    int first[ROWS] = { 0 }, differ[5] = { 0 };
    for (uint32_t step = 0; step < 2000; step++) {
        struct branch_choice a[ROWS], b[ROWS];
        branch_choose(a, p->view, ROWS, ROWS, &c, KEY(1, step, 0));
        first[a[0].row]++;
        branch_choose(b, p->view, ROWS, ROWS, &c, KEY(1, step, 1));
        differ[0] += a[0].row != b[0].row;
        branch_choose(b, p->view, ROWS, ROWS, &c, KEY(2, step, 0));
        differ[1] += a[0].row != b[0].row;
        branch_choose(b, p->view, ROWS, ROWS, &c, KEY(1, step + 1, 0));
        differ[2] += a[0].row != b[0].row;
        branch_choose(b, p->view, ROWS, ROWS, &c,
                      &(struct branch_key){ .seed = 1, .step = step, .epoch = 1, .round = 1 });
        differ[3] += a[0].row != b[0].row;
        branch_choose(b, p->view, ROWS, ROWS, &c, &(struct branch_key){ .seed = 1, .step = step, .round = 2 });
        differ[4] += a[0].row != b[0].row;
    }
    /* 2000 samples: 500 each, sd 19; 1500 differ, sd 19; allowed 5 sd */
    for (int r = 0; r < ROWS; r++) CHECK_NEAR(first[r], 500, 97, "row %d first", r);
    for (int i = 0; i < 5; i++) CHECK_NEAR(differ[i], 1500, 97, "prompt, seed, step, epoch, round: %d", i);
    free(p);
}

/* random: uniform over the candidates, and a rollout's random numbers do not depend on the other rollouts. */
static void random_points(void **state)
{
    (void)state;
    struct prompt *p = make(2, 0.04);
    struct branch_config c = branch_default();
    c.signal = SIGNAL_RANDOM, c.pool = POOL_PROMPT;
    int hits[N] = { 0 }, again[2] = { 0 };
    double sum = 0;
    for (uint32_t step = 0; step < 3000; step++) {
        struct branch_choice one, alone, other;
        branch_choose(&other, p->view, ROWS, 1, &c,
                      &(struct branch_key){ .seed = 1, .step = step, .epoch = 1, .round = 1 });
        branch_choose(&one, p->view, ROWS, 1, &c, KEY(1, step, 0));
        again[0] += other.pos == one.pos && other.row == one.row;
        branch_choose(&other, p->view, ROWS, 1, &c, &(struct branch_key){ .seed = 1, .step = step, .round = 2 });
        again[1] += other.pos == one.pos && other.row == one.row;
        hits[one.pos]++;
        branch_choose(&alone, p->view, 1, 1, &c, KEY(1, step, 0));
        sum += one.row == 0 ? one.pos - alone.pos : 0;
    }
    /* 124 candidates: 24 times the same point by chance, sd 5 */
    for (int i = 0; i < 2; i++)
        CHECK(again[i] < 50, "another %s chooses the same point %d times of 3000", i ? "round" : "epoch", again[i]);
    CHECK(sum == 0, "row 0's best is the same with and without the other rows");
    for (int i = 0; i < N; i++) {
        double want = p->row[0].m[i] && p->row[0].ok[i] ? 3000.0 / (N - 9) : 0;
        CHECK_NEAR(hits[i], want, 5 * sqrt(want) + 0.1, "position %d", i);
    }
    free(p);
}

static void corners(void **state)
{
    (void)state;
    struct prompt *p = make(4, 0.04);
    struct branch_choice out[8];
    struct branch_config c = branch_default();
    CHECK(branch_choose(out, p->view, 0, 4, &c, KEY(1, 1, 1)) == 0, "no rows");
    CHECK(branch_choose(out, p->view, ROWS, 0, &c, KEY(1, 1, 1)) == 0, "none wanted");
    for (int r = 0; r < ROWS; r++) memset(p->row[r].ok, 0, N);
    CHECK(branch_choose(out, p->view, ROWS, 4, &c, KEY(1, 1, 1)) == 0, "no candidate");
    p->row[2].ok[12] = 1;
    CHECK(branch_choose(out, p->view, ROWS, 4, &c, KEY(1, 1, 1)) == 0, "a tool result's token is no candidate");
    p->row[2].ok[20] = 1;
    CHECK(branch_choose(out, p->view, ROWS, 4, &c, KEY(1, 1, 1)) == 4, "one candidate, four times");
    for (int i = 0; i < 4; i++) CHECK(out[i].row == 2 && out[i].pos == 20, "one candidate, four times");
    struct branch_view single = { p->row[0].logp, p->row[0].old, p->row[0].entropy, p->row[0].m, p->row[0].m, 1 };
    CHECK(branch_choose(out, &single, 1, 2, &c, KEY(1, 1, 1)) == 2 && out[1].pos == 0 && out[1].entropy_fallback,
          "a rollout of one token");
    p->row[0].entropy[5] = (acc_t)NAN;
    CHECK(branch_choose(out, p->view, 1, 2, &c, KEY(1, 1, 1)) == 0, "a row with a NaN entropy gives no points");
    free(p);
}

static void candidates(void **state)
{
    (void)state;
    static const int ids[] = { 4, 0, 9, -1, 2, 3, 4, 4 };
    static const uint8_t m[] = { 1, 1, 1, 1, 1, 1, 0, 1 }, never[] = { 0, 0, 1, 0, 0 },
                         free_of_budget[] = { 1, 1, 0, 0, 0, 1, 0, 1 }, budget8[] = { 1, 1, 0, 0, 0, 1, 0, 0 };
    uint8_t ok[8];
    CHECK(branch_candidates(ok, ids, m, 8, never, 5, 0) == 4, "blank, unknown and tool tokens");
    assert_memory_equal(ok, free_of_budget, 8);
    CHECK(branch_candidates(ok, ids, m, 8, never, 5, 8) == 3, "nothing is left after the last of 8 positions");
    assert_memory_equal(ok, budget8, 8);
}

/* Two interleaved prompts, the first without a candidate in its first rollout; lengths without padding; a point with no
 * position left after it. */
static void requests(void **state)
{
    (void)state;
    struct prompt *p = make(6, 0.04);
    uint8_t solid[N];
    for (int i = 0; i < N; i++) solid[i] = i % 4 != 1;
    struct branch_row rows[ROWS];
    for (int r = 0; r < ROWS; r++)
        rows[r] = (struct branch_row){ p->view[r], r % 2 ? 30 : 20, 100 + r, r == 1 ? solid : NULL };
    memset(p->row[0].ok, 0, N);
    for (int resample = 0; resample < 2; resample++) {
        struct branch_config c = branch_official();
        c.resample_token = resample;
        struct branch_request q[16];
        struct branch_summary sum[ROWS];
        int prompts, n = branch_requests(q, sum, &prompts, rows, ROWS, 4, N, &c, KEY(1, 1, 0));
        CHECK(n == 8 && prompts == 2 && sum[0].uid == 30 && sum[1].uid == 20, "%d requests, %d prompts, first %d", n,
              prompts, sum[0].uid);
        CHECK(sum[0].candidates == 2 * (N - 9) && sum[1].candidates == N - 9 && sum[0].strict > 0 &&
                  sum[1].first == 4 && sum[1].count == 4,
              "summary");
        for (int i = 0; i < n; i++) {
            int used = 0;
            for (int k = 0; k < q[i].pos + !resample; k++) used += q[i].row == 1 ? solid[k] : 1;
            CHECK(q[i].uid == (i < 4 ? 30 : 20) && rows[q[i].row].uid == q[i].uid, "request %d: prompt", i);
            CHECK(q[i].remaining == N - used && q[i].prefix_len == 100 + q[i].row + used, "request %d: lengths", i);
        }
        struct branch_choice same[4];
        struct branch_view views[] = { p->view[1], p->view[3] };
        branch_choose(same, views, 2, 4, &c, KEY(1, 1, 30));
        for (int i = 0; i < 4; i++)
            CHECK(q[i].pos == same[i].pos && q[i].row == 1 + 2 * same[i].row, "request %d is branch_choose's", i);
    }
    struct branch_config c = branch_official();
    struct branch_request q[16];
    struct branch_summary sum[ROWS];
    int prompts;
    for (int r = 0; r < ROWS; r++) { memset(p->row[r].ok, 0, N); p->row[r].ok[N - 1] = r == 3; }
    CHECK(branch_requests(q, sum, &prompts, rows, ROWS, 4, N, &c, KEY(1, 1, 0)) == 0 && prompts == 1 &&
              sum[0].candidates == 1 && sum[0].count == 0,
          "nothing left after the last token");
    c.resample_token = true;
    CHECK(branch_requests(q, sum, &prompts, rows, ROWS, 4, N, &c, KEY(1, 1, 0)) == 4 && q[0].remaining == 1,
          "sampled again, it is itself what is left");
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_switch), cmocka_unit_test(ranks), cmocka_unit_test(order_of_rollouts),
        cmocka_unit_test(random_points), cmocka_unit_test(corners), cmocka_unit_test(candidates),
        cmocka_unit_test(requests),
    };
    return cmocka_run_group_tests_name("branch points", tests, NULL, NULL);
}
