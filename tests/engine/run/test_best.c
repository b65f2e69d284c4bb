/* test_best.c: which step of a run is the best: of equal values the first. With a learning rate of 0 every evaluation
 * gives the same number. */
#define _GNU_SOURCE     /* nftw */
#include "engine/run/run.h"
#include "tests/engine/train/mini.h"
#include "tests/folder.h"
#include "tests/slow.h"

static void first_of_equals(void **state)
{
    (void)state;
    if (on_shim()) skip();
    struct config c;
    struct session s;
    struct run_report r = { 0 };
    struct str path = { 0 }, text = { 0 };
    struct err e;
    config_init(&c);
    mini_set(&c, (const char *const[]){ "trainer.threads", "1", "data.train_batch_size", "2",
        "actor.ppo_mini_batch_size", "2", "rollout.n", "2", "rollout.initial_rollouts", "1", "branch.points", "1",
        "data.max_response_length", "32", "data.val_per_family", "1", "trainer.total_training_steps", "3",
        "trainer.test_freq", "1", "trainer.save_freq", "1", "trainer.max_actor_ckpt_to_keep", "1",
        "trainer.val_before_train", "false", "actor.optim.lr", "0", "trainer.default_local_dir", in_dir("runs"),
        NULL });
    setenv("APPO_HOME", ".", 1);
    CHECK(session_open(&s, &c, true, &e) && run_training(&s, &r, NULL, &e) && r.steps == 3, "%s", e.text);
    str_printf(&path, "%s/appo/debug/best_checkpointed_iteration.txt", in_dir("runs"));
    CHECK(file_read(path.p, 64, &text, &e) && !strcmp(text.p, "1"), "the best step is %s", text.p ? text.p : e.text);
    /* the best and the newest stay */
    for (int step = 1; step <= 3; step++) {
        str_clear(&path);
        str_printf(&path, "%s/appo/debug/global_step_%d/state.json", in_dir("runs"), step);
        CHECK(file_exists(path.p) == (step != 2), "checkpoint of step %d", step);
    }
    str_free(&path);
    str_free(&text);
    session_close(&s);
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(first_of_equals) };
    return cmocka_run_group_tests_name("best", tests, make_dir, drop_dir);
}
