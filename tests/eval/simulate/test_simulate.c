/* test_simulate.c: steps that can be computed by hand, and what must hold for every number of ranks and every rule:
 * all tokens are sampled and trained once, shares add up, more bandwidth takes no longer, one seed gives one result. */
#include "eval/simulate/simulate.h"
#include "base/arith.h"
#include "tests/check.h"
#include <string.h>

static const struct workload small = {
    .seed = 3, .prompts = 24, .mini_batch = 8, .epochs = 1, .initial = 4, .all = 10, .points = 2, .branches = true,
    .every = 1, .max_prompt = 200, .max_response = 400, .max_len = 600, .max_seqs = 8, .max_rows = 128, .pack = 4096,
    .prompt_mean = 60, .prompt_sigma = 0.4, .response_mean = 100, .response_sigma = 0.8, .alike = 0.5, .calls = 1.5,
    .call_s = 0.3, .call_tokens = 12, .fresh = 0.5, .distinct = 1, .live = 0.8,
};
static const struct cost_model costs = {
    .pass = 1e-3, .row = 2e-5, .context = 1e-8, .pack = 1e-3, .score_row = 1e-5, .score_context = 1e-9,
    .train_row = 3e-5, .train_context = 3e-9, .adamw = 2e-3, .grade = 1e-4, .branch = 1e-4, .credit = 1e-7,
    .update = 1e-3, .step = 1e-2, .grad_bytes = 1e8, .weight_bytes = 1e6, .token_bytes = 13, .inside = 1e9,
    .between = 1e8, .latency_inside = 1e-5, .latency_between = 5e-5, .host = 1e9, .overlap = 0.5, .node = 4,
};

/* One prompt, one rollout of one segment, one rank: the sum of its parts. */
static void one_by_hand(void **state)
{
    (void)state;
    struct workload w = small;
    struct sim_result r;
    w.prompts = w.mini_batch = w.initial = w.all = 1;
    w.branches = false;
    w.calls = 0;
    w.prompt_sigma = w.response_sigma = 0;
    w.live = 1;
    simulate(&r, &w, &costs, sim_rule("order"), 1, 1, NULL);
    /* 60 tokens of prompt, 100 of response: 60 rows, then 99 passes of one row at positions 60 to 158 */
    double read = 60 * 61 / 2.0, gen = 0, tree = 60 * 60 / 2.0 + 100 * 60 + 100 * 100 / 2.0;
    gen += cost_pass(&costs, 60, read);
    for (int i = 61; i <= 159; i++) gen += cost_pass(&costs, 1, i), read += i;
    CHECK_NEAR(r.wall[SIM_GEN], gen, 1e-12, "sampling");
    CHECK_NEAR(r.positions, read, 0, "positions");
    CHECK_NEAR(r.generated, 100, 0, "tokens");
    CHECK_NEAR(r.trained, 160, 0, "trained");
    CHECK_NEAR(r.wall[SIM_SCORE], 0, 0, "nothing is stale before the first update");
    CHECK_NEAR(r.wall[SIM_UPDATE], 160 * costs.train_row + tree * costs.train_context + costs.pack + costs.update +
               costs.adamw, 1e-12, "update");
    CHECK_NEAR(r.wall[SIM_HOST], costs.grade + 160 * costs.credit + costs.step, 1e-12, "host");
    CHECK_NEAR(r.wall[SIM_REDUCE], 0, 0, "one rank reduces nothing");
    double sum = 0;
    for (int p = 0; p < SIM_PHASES; p++) sum += r.wall[p];
    CHECK_NEAR(r.step, sum, 1e-12, "step");
    CHECK_NEAR(r.idle, 0, 1e-12, "one rank waits for nobody");
}

static void every_token_once(void **state)
{
    (void)state;
    struct sim_result first;
    int64_t generated = 0, results = 0;
    for (int step = 0; step < 3; step++) {
        struct sim_prompt *p = workload_step(&small, step);
        for (int i = 0; i < small.prompts; i++)
            for (int j = 0; j < small.all; j++) {
                const struct sim_rollout *r = j < small.initial ? &p[i].initial[j] : &p[i].branch[j - small.initial];
                generated += workload_generated(r);
                results += workload_results(r);
                CHECK(r->length == r->start + workload_generated(r) + workload_results(r), "lengths");
                CHECK(r->length <= small.max_len && r->length - p[i].length <= small.max_response, "limits");
                CHECK(r->start >= p[i].length && r->generate[r->segments - 1] > 0, "a start behind the prompt");
            }
        workload_free(p, &small);
    }
    simulate(&first, &small, &costs, sim_rule("order"), 1, 3, NULL);
    for (const struct sim_rule *rule = sim_rules; rule->name; rule++)
        for (int ranks = 1; ranks <= 48; ranks = ranks * 3 / 2 + 1) {
            struct sim_result r;
            double busy = 0, sum = 0;
            simulate(&r, &small, &costs, rule, ranks, 3, NULL);
            CHECK_NEAR(r.generated, generated / 3.0, 1e-9, "%s, %d ranks: tokens", rule->name, ranks);
            CHECK_NEAR(r.results, results / 3.0, 1e-9, "%s, %d ranks: results", rule->name, ranks);
            CHECK_NEAR(r.targets, first.targets, 1e-6, "%s, %d ranks: trained", rule->name, ranks);
            CHECK(r.trained - r.targets >= first.trained - first.targets - 1e-6 &&
                  r.trained - r.targets <= small.initial * (first.trained - first.targets) + 1e-6,
                  "%s, %d ranks: a prompt once a rank that trains a rollout of it", rule->name, ranks);
            CHECK_NEAR(r.scored, first.scored, 1e-6, "%s, %d ranks: scored", rule->name, ranks);
            for (int p = 0; p < SIM_PHASES; p++) busy += r.busy[p], sum += r.wall[p];
            CHECK_NEAR(sum, r.step, 1e-9 * r.step, "%s, %d ranks: phases", rule->name, ranks);
            CHECK_NEAR(busy / (r.step * ranks) + r.idle + r.tools, 1, 1e-9, "%s, %d ranks: shares", rule->name, ranks);
            CHECK(r.idle >= 0 && r.idle < 1 && r.tools >= -1e-12 && r.tail >= 0, "%s, %d ranks", rule->name, ranks);
            CHECK(r.step * ranks >= first.step * 0.5, "%s, %d ranks: faster than the work", rule->name, ranks);
            CHECK(rule->steal || r.taken == 0, "%s, %d ranks: taken", rule->name, ranks);
        }
}

static double step_of(const struct cost_model *m, const struct workload *w, const char *rule, int ranks)
{
    struct sim_result r;
    simulate(&r, w, m, sim_rule(rule), ranks, 2, NULL);
    return r.step;
}

static void rates_and_keys(void **state)
{
    (void)state;
    struct cost_model m = costs;
    struct workload w = small;
    double before = step_of(&costs, &small, "steal", 16);
    CHECK_NEAR(step_of(&costs, &small, "steal", 16), before, 0, "the same again");
    m.between *= 4;
    CHECK(step_of(&m, &small, "steal", 16) < before, "a faster network");
    m = costs;
    m.inside *= 4;
    CHECK(step_of(&m, &small, "steal", 16) < before, "faster links");
    m = costs;
    m.row /= 2;
    CHECK(step_of(&m, &small, "longest", 16) < step_of(&costs, &small, "longest", 16), "faster products");
    w.seed = 4;
    CHECK(step_of(&costs, &w, "steal", 16) != before, "another seed");
    w = small;
    w.every = 3;
    double rare = step_of(&costs, &w, "longest", 4), never;
    w.branches = false;
    w.all = w.initial;
    never = step_of(&costs, &w, "longest", 4);
    CHECK(rare < step_of(&costs, &small, "longest", 4) && never < rare, "branches for every third mini-batch");
    w = small;
    w.at_step = true;
    CHECK(step_of(&costs, &w, "longest", 16) < step_of(&costs, &small, "longest", 16), "branches once a step");
    /* a sum of parts of the optimizer's state instead of all of it */
    m = costs;
    m.zero = 1;
    m.adamw = 1;
    double whole = 1 * 3 * (1 - 1 / 16.0);
    m.zero = 0;
    double all = step_of(&m, &small, "longest", 16);
    m.zero = 1;
    CHECK(all - step_of(&m, &small, "longest", 16) > whole * 0.9, "sharded AdamW");
}

/* Equal prompts on ranks that divide them: nobody waits in sampling. */
static void equal_work(void **state)
{
    (void)state;
    struct workload w = small;
    struct sim_result r, one;
    w.prompt_sigma = w.response_sigma = w.calls = 0;
    w.branches = false;
    w.all = w.initial;
    w.live = 1;
    w.max_seqs = 12;
    simulate(&one, &w, &costs, sim_rule("steal"), 1, 1, NULL);
    simulate(&r, &w, &costs, sim_rule("steal"), 8, 1, NULL);
    /* one rank runs prompts beside the ends of those before: 80 more rows a wave share passes */
    CHECK_NEAR(r.wall[SIM_GEN] * 8, one.wall[SIM_GEN], 0.02 * one.wall[SIM_GEN], "an eighth of the sampling");
    CHECK_NEAR(r.tail, 0, 1e-12, "no tail");
    CHECK_NEAR(r.taken, 0, 0, "nothing to take");
    CHECK_NEAR(r.wall[SIM_SCORE] * 8, one.wall[SIM_SCORE] + 2 * (8 * costs.pack - costs.pack), 1e-9, "scoring");
}

static void shared_cores(void **state)
{
    (void)state;
    /* 4 ranks on 2 cores: half speed until 1 ends at 2 s, two thirds until the next has done its second, ... */
    double end[] = { 4, 1, 2, 2 }, want[] = { 1 * 2 + 1 * 1.5 + 2, 2, 3.5, 3.5 };
    sim_share_cores(end, 4, 2, 1);
    for (int i = 0; i < 4; i++) CHECK_NEAR(end[i], want[i], 1e-12, "rank %d", i);
    double own[] = { 4, 1 };
    sim_share_cores(own, 2, 2, 1);
    CHECK(own[0] == 4 && own[1] == 1, "each has its own core");
    sim_share_cores(own, 2, 0, 9);
    CHECK(own[0] == 4 && own[1] == 1, "no limit");
    struct cost_model m = costs;
    m.cores = 1;
    m.threads = 1;
    /* on one core the phases of many ranks last as long as the work of all */
    struct sim_result one, four;
    struct workload w = small;
    w.calls = 0;
    simulate(&one, &w, &costs, sim_rule("longest"), 4, 1, NULL);
    simulate(&four, &w, &m, sim_rule("longest"), 4, 1, NULL);
    CHECK_NEAR(four.wall[SIM_GEN], one.busy[SIM_GEN], 1e-9, "sampling on one core");
    CHECK_NEAR(four.wall[SIM_UPDATE], one.busy[SIM_UPDATE], 1e-9, "updates on one core");
}

static void statistics(void **state)
{
    (void)state;
    struct workload w = small;
    w.prompts = 4096;
    w.calls = 0;
    w.max_response = w.max_len = 1 << 20;
    double sum = 0, fresh = 0, n = 0, branches = 0;
    struct sim_prompt *p = workload_step(&w, 0), *again = workload_step(&w, 0);
    for (int i = 0; i < w.prompts; i++) {
        for (int j = 0; j < w.initial; j++) sum += p[i].initial[j].length - p[i].length, n++;
        for (int j = 0; j < w.all - w.initial; j++)
            fresh += p[i].branch[j].length - p[i].branch[j].start, branches++;
        CHECK(!memcmp(p[i].initial, again[i].initial, (size_t)w.initial * sizeof *p[i].initial), "prompt %d", i);
    }
    /* sd of the mean: 100 sqrt(exp(0.64) - 1) / sqrt(16384), more for what prompts have in common: below 1.5 */
    CHECK_NEAR(sum / n, w.response_mean, 4, "mean of %g responses", n);
    CHECK_NEAR(fresh / branches, w.fresh * w.response_mean, 4, "new tokens of %g branches", branches);
    workload_free(p, &w);
    workload_free(again, &w);
    /* the largest of 1000: mean exp(sigma z - sigma^2/2), z = 3.09 */
    for (double sigma = 0.1; sigma < 2; sigma += 0.3)
        CHECK_NEAR(workload_sigma(50, 50 * exp(sigma * 3.0905 - sigma * sigma / 2), 1000), sigma, 0.005,
                   "sigma %g", sigma);
    CHECK_NEAR(workload_sigma(50, 50, 1000), 0, 0, "no spread");
    CHECK_NEAR(workload_sigma(0, 50, 1000), 0, 0, "nothing");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(one_by_hand),    cmocka_unit_test(every_token_once),
                                        cmocka_unit_test(rates_and_keys), cmocka_unit_test(equal_work),
                                        cmocka_unit_test(shared_cores),   cmocka_unit_test(statistics) };
    return cmocka_run_group_tests_name("simulate", tests, NULL, NULL);
}
