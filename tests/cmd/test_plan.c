/* test_plan.c: what `appo plan` says against what a run really allocates, byte for byte and name by name. */
#include "cmd/cmd.h"
#include "engine/session/fit_config.h"
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
    memory_estimate_make_as(&n, shape, c, &(struct memory_rule){ what, elem_bytes, 0 });
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

/* Published recipes on cards of 80 and 141 GB, eight ranks: each fits once the keys that change speed only are set, by
 * the steps that a run takes; one that cannot fit stays so. */
static void recipes(void **state)
{
    (void)state;
    static const struct { const char *model, *preset; } cases[] = {
        { "qwen2.5-7b", "paper" },      { "qwen2.5-7b", "official" },     { "llama-3.1-8b", "official" },
        { "qwen3-8b", "official_8b" },  { "qwen3-14b", "official_14b" },
    };
    static const size_t cards[] = { (size_t)80659 << 20, (size_t)142871 << 20 };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        struct config c;
        struct model_config shape;
        struct memory_estimate n;
        struct err e = { "" };
        struct str said = { 0 };
        char path[100], preset[64];
        struct fit_room room = { .rule = { MEMORY_TRAIN, 2, 8 }, .device = cards[i % 2], .host = (size_t)250 << 30 };
        snprintf(path, sizeof path, "tests/cmd/shapes/%s", cases[i / 2].model);
        snprintf(preset, sizeof preset, "algorithm.preset=%s", cases[i / 2].preset);
        char model[120], *argv[] = { model, preset };
        int status;
        snprintf(model, sizeof model, "model.path=%s", path);
        CHECK(cmd_config(&c, 2, argv, "", 0, &status), "%s", preset);
        CHECK(model_load_config(&shape, path, &e), "%s", e.text);
        memory_estimate_make_as(&n, &shape, &c, &room.rule);
        CHECK(n.all > room.device, "%s, %s: it fits as given", path, preset);
        CHECK(fit_config_to_room(&c, &shape, &room, &said), "%s, %s: %.1f GiB", path, preset, (double)n.all / 0x1p30);
        memory_estimate_make_as(&n, &shape, &c, &room.rule);
        CHECK(n.all <= room.device && n.all > room.device / 100 * 98 && memory_pinned(&n) <= room.host,
              "%s, %s: %zu of %zu bytes, %zu pinned", path, preset, n.all, room.device, memory_pinned(&n));
        CHECK(strstr(said.p, "rollout.max_total_tokens=") && strstr(said.p, "actor.zero="), "%s", said.p);
        CHECK(c.rollout.max_total_tokens >= 16 * (int64_t)c.rollout.max_len, "%s, %s: a pool of %lld tokens", path,
              preset, (long long)c.rollout.max_total_tokens);
        /* what was given stays: the whole pool fits a large card with a few rollouts kept, and no other */
        CHECK(config_set(&c, "rollout.max_total_tokens", "0", "test", &e), "%s", e.text);
        CHECK(fit_config_to_room(&c, &shape, &room, &said) == (i == 1), "%s, %s: with whole lengths", path, preset);
        str_free(&said);
        config_free(&c);
    }
}

/* What each of several ranks holds: the range of the optimizer's state, and with zero 2 of the gradient. */
static void shares_of_ranks(void **state)
{
    (void)state;
    struct config c;
    struct model_config shape;
    struct err e = { "" };
    struct memory_estimate n[3], host;
    config_init(&c);
    CHECK(model_load_config(&shape, "tests/cmd/shapes/qwen2.5-7b", &e), "%s", e.text);
    for (int zero = 0; zero < 3; zero++) {
        c.actor.zero = zero;
        memory_estimate_make_as(&n[zero], &shape, &c, &(struct memory_rule){ MEMORY_TRAIN, 2, 8 });
    }
    size_t vector = n[0].state.piece[0].bytes, eighth = vector / 8 + 65536;
    assert_true(n[0].state.peak == 4 * vector);
    assert_true(n[1].state.peak >= vector + 3 * (vector / 8) && n[1].state.peak <= vector + 3 * eighth);
    assert_true(n[2].state.piece[0].bytes <= eighth && n[2].state.peak < n[1].state.peak);
    assert_true(n[0].weights == n[2].weights && n[0].work.peak == n[2].work.peak);
    c.actor.zero = 0;
    c.actor.grad_sum = GRAD_SUM_EXACT;
    memory_estimate_make_as(&host, &shape, &c, &(struct memory_rule){ MEMORY_TRAIN, 2, 8 });
    assert_true(host.state.peak == 6 * vector);
    c.actor.zero = 2;
    c.actor.grad_sum = GRAD_SUM_FAST;
    c.actor.offload = OFFLOAD_OPTIMIZER;
    memory_estimate_make_as(&host, &shape, &c, &(struct memory_rule){ MEMORY_TRAIN, 2, 8 });
    assert_true(host.pinned >= 3 * (vector / 8) && host.pinned <= 3 * eighth);
    assert_true(host.state.peak < n[2].state.peak - 3 * (vector / 8) + (100 << 20));
    config_free(&c);
}

static void words(void **state)
{
    (void)state;
    static const char *const fine[][2] = {
        { "gpu=h200" }, { "gpu=4090", "real=float" }, { "gpu=a100", "memory=10GiB" }, { "real=bf16" }, { "for=sft" },
        { "for=sample", "gpu=l4" }, { "real=float" }, { "ranks=8", "gpu=h100" }, { "gpu=h200", "host=1TiB" },
    };
    static const char *const bad[] = { "gpu=h300", "gpu=", "real=fp8", "real=", "for=fun", "memory=lots", "gpus=2",
                                       "ranks=0", "ranks=two", "ranks=", "host=big" };
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
                                        cmocka_unit_test(recipes), cmocka_unit_test(shares_of_ranks),
                                        cmocka_unit_test(words), cmocka_unit_test(sizes) };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
