/* test_kept_checkpoints.c: which checkpoints of a run stay, and which of them is the best: of equal values the first.
 * With a learning rate of 0 every evaluation gives the same number. */
#define _GNU_SOURCE     /* nftw */
#include "engine/run/run.h"
#include "tests/engine/train/mini.h"
#include "tests/folder.h"
#include "tests/slow.h"

static bool there(const char *run, const char *name)
{
    struct str path = { 0 };
    str_printf(&path, "%s/appo/debug/%s", in_dir(run), name);
    bool is = file_exists(path.p);
    str_free(&path);
    return is;
}

/* A run of four small steps whose weights stay; stays: the steps whose checkpoints are there in the end, by digit. */
static void run_of_four(const char *name, const char *const *set, const char *stays)
{
    struct config c;
    struct session s;
    struct run_report r = { 0 };
    struct err e;
    config_init(&c);
    mini_set(&c, (const char *const[]){ "trainer.threads", "1", "data.train_batch_size", "2",
        "actor.ppo_mini_batch_size", "2", "rollout.n", "2", "rollout.initial_rollouts", "1", "branch.points", "1",
        "data.max_response_length", "32", "data.val_per_family", "1", "trainer.total_training_steps", "4",
        "trainer.val_before_train", "false", "actor.optim.lr", "0", "trainer.default_local_dir", in_dir(name), NULL });
    mini_set(&c, set);
    setenv("APPO_HOME", ".", 1);
    CHECK(session_open(&s, &c, true, &e) && run_training(&s, &r, NULL, &e) && r.steps == 4, "%s", e.text);
    for (int step = 1; step <= 4; step++) {
        char folder[64];
        snprintf(folder, sizeof folder, "global_step_%d/state.json", step);
        CHECK(there(name, folder) == (strchr(stays, '0' + step) != NULL), "%s: checkpoint of step %d", name, step);
    }
    session_close(&s);
    config_free(&c);
}

/* The best and the newest stay, however few are to be kept. */
static void first_of_equals(void **state)
{
    (void)state;
    if (on_shim()) skip();
    struct str path = { 0 }, text = { 0 };
    run_of_four("best", (const char *const[]){ "trainer.test_freq", "1", "trainer.save_freq", "1",
        "trainer.max_actor_ckpt_to_keep", "1", NULL }, "14");
    str_printf(&path, "%s/appo/debug/best_checkpointed_iteration.txt", in_dir("best"));
    assert_true(file_read(path.p, 64, &text, NULL));
    CHECK(!strcmp(text.p, "1"), "the best step is %s", text.p);
    str_free(&path);
    str_free(&text);
}

/* Of the checkpoints that time asked for the newest two stay, and the last step's own. */
static void by_time(void **state)
{
    (void)state;
    if (on_shim()) skip();
    run_of_four("time", (const char *const[]){ "trainer.save_minutes", "1e-7", NULL }, "234");
}

/* The same when checkpoints are written beside the steps. */
static void aside(void **state)
{
    (void)state;
    if (on_shim()) skip();
    run_of_four("aside", (const char *const[]){ "trainer.save_minutes", "1e-7", "trainer.save_async", "on", NULL },
                "234");
    run_of_four("aside_best", (const char *const[]){ "trainer.test_freq", "1", "trainer.save_freq", "1",
        "trainer.max_actor_ckpt_to_keep", "1", "trainer.save_async", "on", NULL }, "14");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(first_of_equals), cmocka_unit_test(by_time),
                                        cmocka_unit_test(aside) };
    return cmocka_run_group_tests_name("kept checkpoints", tests, make_dir, drop_dir);
}
