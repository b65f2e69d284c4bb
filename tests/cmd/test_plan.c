/* test_plan.c: what `appo plan` says against what a run really allocates, byte for byte and name by name. */
#include "cmd/cmd.h"
#include "engine/session/memory_estimate.h"
#include "engine/session/session.h"
#include "engine/train/train_step.h"
#include "model/load.h"
#include "tests/check.h"
#include <string.h>

static void same_arena(const char *name, const struct arena *plan, const struct arena *real_one)
{
    CHECK(plan->peak <= real_one->size && plan->peak == real_one->peak, "%s: planned %zu bytes, taken %zu of %zu", name,
          plan->peak, real_one->peak, real_one->size);
    for (int i = 0; i < plan->names; i++) {
        size_t bytes = 0;
        for (int k = 0; k < real_one->names; k++)
            if (!strcmp(plan->piece[i].what, real_one->piece[k].what)) bytes = real_one->piece[k].bytes;
        CHECK(plan->piece[i].bytes == bytes, "%s, %s: planned %zu bytes, taken %zu", name, plan->piece[i].what,
              plan->piece[i].bytes, bytes);
    }
    assert_int_equal(plan->names, real_one->names);
}

static void equals_the_run(void **state)
{
    (void)state;
    static const char *const keys[][4] = {
        { "model.recompute=false" }, { "model.recompute=true", "actor.ppo_max_token_len_per_gpu=1111" },
        { "model.recompute=cheap", "actor.ppo_max_token_len_per_gpu=777", "actor.offload=optimizer" },
        { "rollout.max_num_seqs=7", "rollout.max_len=300", "rollout.max_num_batched_tokens=33",
          "branch.omega=previous" },
        { "actor.kl_loss_coef=0.1", "ref.offload=true", "branch.omega=previous" },
        { "algorithm.adv_estimator=grpo" }, { "branch.rounds=2", "branch.points=1", "actor.ppo_epochs=2" },
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct config c;
        struct session s;
        struct memory_estimate n;
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
        memory_estimate_make(&n, &s.m.c, &c, true);
        trainer_make(&t, &s);
        size_t weights = (size_t)s.m.count * sizeof(elem_t);
        size_t copies = weights * (size_t)(!!t.w_ref + !!t.w_prev + !!t.w_old);
        assert_true(n.weights == weights);
        assert_true(n.copies == (c.ref.offload ? t.stream_room.size : copies));
        assert_true(n.pinned_copies == (c.ref.offload ? copies : 0));
        assert_true(n.pinned == s.learner.host_bytes);
        same_arena("optimizer", &n.state, &s.learner.state);
        same_arena("training", &n.work, &s.learner.work);
        same_arena("rollout", &n.pool, &s.pool);
        trainer_free(&t);
        session_close(&s);
        config_free(&c);
    }
}

static struct memory_estimate counted(const struct model_config *shape, const struct config *c,
                                      enum memory_purpose what, size_t elem_bytes)
{
    struct memory_estimate n;
    memory_estimate_make_as(&n, shape, c, &(struct memory_rule){ what, elem_bytes });
    return n;
}

/* A GPU's build in bf16, counted on any machine: half of the numbers, whole sums and moments, master weights, nothing
 * packed. */
static void other_builds(void **state)
{
    (void)state;
    struct config c;
    struct model_config shape;
    struct err e = { "" };
    config_init(&c);
    CHECK(model_load_config(&shape, "policy", &e), "%s", e.text);
    struct memory_estimate two = counted(&shape, &c, MEMORY_TRAIN, 2), four = counted(&shape, &c, MEMORY_TRAIN, 4),
                sft = counted(&shape, &c, MEMORY_SFT, 2);
    struct memory_estimate sample = counted(&shape, &c, MEMORY_SAMPLE, 2);
    assert_true(two.weights * 2 == four.weights && two.keys * 2 == four.keys && two.pool.peak < four.pool.peak &&
                two.work.peak < four.work.peak);
    assert_true(two.state.names == 4 && four.state.names == 3 && !strcmp(two.state.piece[3].what, "master weights") &&
                two.state.piece[3].bytes == two.state.piece[0].bytes);
    for (int i = 0; i < 3; i++) assert_true(two.state.piece[i].bytes == four.state.piece[i].bytes);
    assert_true(!two.packed && !two.program && !two.saving && !four.packed && two.scratch);
    assert_true(two.all == two.weights + two.copies + two.state.peak + two.work.peak + two.pool.peak + two.scratch);
    assert_true(!sft.pool.peak && !sft.copies && sft.state.peak == two.state.peak &&
                sft.all == sft.weights + sft.state.peak + sft.work.peak + sft.scratch);
    assert_true(!sample.state.peak && !sample.work.peak && sample.pool.peak == two.pool.peak);
    /* this build: the copy of the reference, and on a CPU its packed matrices, come with the KL term */
    struct memory_estimate before = counted(&shape, &c, MEMORY_TRAIN, 0);
    CHECK(config_set(&c, "actor.use_kl_loss", "true", "test", &e) &&
              config_set(&c, "actor.kl_loss_coef", "0.01", "test", &e),
          "%s", e.text);
    struct memory_estimate after = counted(&shape, &c, MEMORY_TRAIN, 0);
    assert_true(after.copies == before.copies + before.weights);
    if (!strcmp(dev_name(), "cpu")) {
        struct model m;
        model_lay_out(&m, &shape);
        size_t forward = model_packed(&m, false), backward = model_packed(&m, true), matrices = 0;
        for (int i = 0; i < m.params; i++)
            matrices += m.param[i].cols ? (size_t)param_count(&m.param[i]) * sizeof(elem_t) : 0;
        assert_true(forward >= matrices && forward < matrices + matrices / 4 && backward >= matrices &&
                    backward < matrices + matrices / 4);
        assert_true(before.packed == forward + backward && after.packed == 2 * forward + backward);
        /* a checkpoint written beside the steps: weights, reference and both moments */
        assert_true(!before.saving && !after.saving);
        CHECK(config_set(&c, "trainer.save_async", "on", "test", &e), "%s", e.text);
        after = counted(&shape, &c, MEMORY_TRAIN, 0);
        assert_true(after.saving == 2 * after.weights + 2 * (size_t)m.count * sizeof(acc_t));
        assert_true(after.all == after.weights + after.copies + after.state.peak + after.work.peak + after.pool.peak +
                                     after.packed + after.saving + after.program);
        model_free(&m);
    } else assert_true(!before.packed && !after.packed);
    config_free(&c);
}

static int plan_of(const char *a, const char *b, const char *c)
{
    char text[3][100];
    char *argv[] = { text[0], text[1], text[2] };
    snprintf(text[0], sizeof text[0], "%s", a);
    snprintf(text[1], sizeof text[1], "%s", b ? b : "model.path=policy");
    snprintf(text[2], sizeof text[2], "%s", c ? c : "model.path=policy");
    return cmd_plan(3, argv);
}

static void words(void **state)
{
    (void)state;
    static const char *const fine[][2] = {
        { "gpu=h200" }, { "gpu=4090", "real=float" }, { "gpu=a100", "memory=10GiB" }, { "real=bf16" }, { "for=sft" },
        { "for=sample", "gpu=l4" }, { "real=float" },
    };
    static const char *const bad[] = { "gpu=h300", "gpu=", "real=fp8", "real=", "for=fun", "memory=lots", "gpus=2" };
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        /* a GPU's own build warms up its steps for every size that is tried: minutes on the shim */
        if (fine[i][1] && !strcmp(fine[i][1], "real=float") && strcmp(dev_name(), "cpu")) continue;
        CHECK(plan_of(fine[i][0], fine[i][1], NULL) == 0, "%s", fine[i][0]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(plan_of(bad[i], NULL, NULL) == 2, "%s", bad[i]);
}

static void sizes(void **state)
{
    (void)state;
    static const struct { const char *text; int64_t bytes; } cases[] = {
        { "1", 1 }, { "80GiB", 80ll << 30 }, { "5GB", 5000000000 }, { "0.5MiB", 1 << 19 }, { "2e3", 2000 },
        { "7KB", 7000 }, { "12B", 12 }, { "", 0 }, { "GB", 0 }, { "-1GB", 0 }, { "0", 0 }, { "1e30", 0 }, { "nan", 0 },
        { "5 GB", 0 }, { "5gb", 0 }, { "5GBs", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t n = 0;
        bool ok = parse_bytes(cases[i].text, &n);
        CHECK(ok == (cases[i].bytes > 0) && n == cases[i].bytes, "'%s': %lld", cases[i].text, (long long)n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(equals_the_run), cmocka_unit_test(other_builds),
                                        cmocka_unit_test(words), cmocka_unit_test(sizes) };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
