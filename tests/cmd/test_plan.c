/* test_plan.c: what `appo plan` says against what a run really allocates, byte for byte and name by name. */
#include "cmd/cmd.h"
#include "engine/fits.h"
#include "engine/session.h"
#include "engine/trainer.h"
#include "tests/check.h"
#include <string.h>

static void same_arena(const char *name, const struct arena *plan, const struct arena *real_one)
{
    CHECK(plan->peak <= real_one->size && plan->peak == real_one->peak, "%s: planned %zu bytes, taken %zu of %zu", name, plan->peak, real_one->peak, real_one->size);
    for (int i = 0; i < plan->rows; i++) {
        size_t bytes = 0;
        for (int k = 0; k < real_one->rows; k++) if (!strcmp(plan->row[i].what, real_one->row[k].what)) bytes = real_one->row[k].bytes;
        CHECK(plan->row[i].bytes == bytes, "%s, %s: planned %zu bytes, taken %zu", name, plan->row[i].what, plan->row[i].bytes, bytes);
    }
    assert_int_equal(plan->rows, real_one->rows);
}

static void equals_the_run(void **state)
{
    (void)state;
    static const char *const keys[][4] = {
        { "model.recompute=false" }, { "model.recompute=true", "actor.ppo_max_token_len_per_gpu=1111" },
        { "rollout.max_num_seqs=7", "rollout.max_len=300", "rollout.max_num_batched_tokens=33", "branch.omega=previous" }, { "algorithm.adv_estimator=grpo" },
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct config c;
        struct session s;
        struct need n;
        struct trainer t;
        struct err e = { "" };
        config_init(&c);
        CHECK(config_set(&c, "model.path", "policy", "test", &e), "%s", e.text);
        for (int k = 0; k < 4 && keys[i][k]; k++) {
            char key[64];
            const char *is = strchr(keys[i][k], '=');
            snprintf(key, sizeof key, "%.*s", (int)(is - keys[i][k]), keys[i][k]);
            CHECK(config_set(&c, key, is + 1, "test", &e), "%s", e.text);
        }
        CHECK(session_open(&s, &c, true, &e), "%s", e.text);
        need_make(&n, &s.m.c, &c, true);
        trainer_make(&t, &s);
        size_t weights = (size_t)s.m.count * sizeof(real);
        assert_true(n.weights == weights && n.copies == weights * (!!t.w_ref + !!t.w_prev + !!t.w_old));
        same_arena("optimizer", &n.state, &s.learner.state);
        same_arena("training", &n.work, &s.learner.work);
        same_arena("rollout", &n.pool, &s.pool);
        trainer_free(&t);
        session_close(&s);
        config_free(&c);
    }
}

static void sizes(void **state)
{
    (void)state;
    static const struct { const char *text; int64_t bytes; } cases[] = {
        { "1", 1 }, { "80GiB", 80ll << 30 }, { "5GB", 5000000000 }, { "0.5MiB", 1 << 19 }, { "2e3", 2000 }, { "7KB", 7000 }, { "12B", 12 },
        { "", 0 }, { "GB", 0 }, { "-1GB", 0 }, { "0", 0 }, { "1e30", 0 }, { "nan", 0 }, { "5 GB", 0 }, { "5gb", 0 }, { "5GBs", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t n = 0;
        bool ok = parse_bytes(cases[i].text, &n);
        CHECK(ok == (cases[i].bytes > 0) && n == cases[i].bytes, "'%s': %lld", cases[i].text, (long long)n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(equals_the_run), cmocka_unit_test(sizes) };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
