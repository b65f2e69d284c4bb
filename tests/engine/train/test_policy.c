/* test_policy.c: the shipped policy: a fixed text, a fixed reward curve. A change of one bit anywhere between the
 * tokenizer and AdamW shows up here. */
#include "engine/train/train_step.h"
#include "tests/check.h"
#include "tests/slow.h"
#include <stdlib.h>
#include <string.h>

static bool open_with(struct session *s, struct config *c, const char *const *set)
{
    struct err e;
    config_init(c);
    for (; set && *set; set += 2)
        if (!config_set(c, set[0], set[1], "test", &e)) { print_error("%s\n", e.text); return false; }
    setenv("APPO_HOME", ".", 1);
    if (session_open(s, c, true, &e)) return true;
    print_error("%s\n", e.text);
    return false;
}

static void close_both(struct session *s, struct config *c)
{
    session_close(s);
    config_free(c);
}

/* Greedy answers to the first held-out question of some families. */
static void exact_text(void **state)
{
    (void)state;
    if (sizeof(elem_t) != 4) skip();                      /* the bits of float are what is recorded */
    static const struct { int family; const char *text; } cases[] = {
#include "tests/engine/train/policy_text.h"
    };
    struct session s;
    struct config c;
    assert_true(open_with(&s, &c, NULL));
    struct rollout_config greedy = session_eval_sampling(&s, true);
    rollout_set(s.ro, &greedy);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct group g;
        struct str text = { 0 };
        group_begin_task(&g, &s, cases[i].family, SPLIT_TEST, 20260, 0, 1, 0, 1);
        struct sequence *seq = &g.traj[0]->seq;
        rollout_run(s.ro, &seq, 1, false, NULL, NULL, NULL);
        trajectory_text(g.traj[0], &s, &text);
        assert_string_equal(text.p, cases[i].text);
        str_free(&text);
        group_end(&g, &s);
    }
    assert_int_equal(s.kv.free, s.kv.pages);
    close_both(&s, &c);
}

/* Twenty small steps: the sum of rewards of each. */
static void exact_reward_curve(void **state)
{
    (void)state;
    if (sizeof(elem_t) != 4) skip();
    static const double want[] = {
#include "tests/engine/train/policy_curve.h"
    };
    static const char *const set[] = { "data.train_batch_size",
                                       "6",
                                       "actor.ppo_mini_batch_size",
                                       "3",
                                       "rollout.n",
                                       "6",
                                       "rollout.initial_rollouts",
                                       "3",
                                       "branch.points",
                                       "1",
                                       NULL };
    struct session s;
    struct config c;
    struct trainer t;
    struct metrics m = { 0 };
    struct err e;
    const size_t steps = slow_build() ? 3 : sizeof want / sizeof *want;             /* three seconds each */
    assert_true(open_with(&s, &c, set));
    trainer_make(&t, &s);
    for (size_t i = 0; i < steps; i++) {
        metrics_clear(&m);
        assert_true(trainer_step(&t, &m, NULL, &e));
        double got = metrics_get(&m, "critic/rewards/mean") * 18;
        CHECK_NEAR(got, want[i], 1e-9, "step %zu", i + 1);
        CHECK(metrics_get(&m, "training/rollout_probs_diff_max") == 0, "step %zu", i + 1);
    }
    assert_int_equal(s.kv.free, s.kv.pages);
    metrics_free(&m);
    trainer_free(&t);
    close_both(&s, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(exact_text), cmocka_unit_test(exact_reward_curve) };
    return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
