/* test_resume.c: where a run begins: the newest whole checkpoint of its folder, with what it says of the best one and
 * of the metrics; a folder of damaged checkpoints is an error, never a new run. */
#define _GNU_SOURCE      /* nftw */
#include "base/dir.h"
#include "engine/run/checkpoint_write.h"
#include "engine/run/resume.h"
#include "engine/run/run.h"
#include "engine/run/run_folder.h"
#include "engine/run/run_record.h"
#include "tests/engine/train/mini.h"
#include "tests/folder.h"

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static struct mini x;
static struct ckpt_extra extra = { .mark = { 12, 34 }, .best = { 2, 0.5 } };

/* What run_resume finds in folder; *best: the best checkpoint it goes on with. */
static bool resume(const char *folder, struct run_origin *from, struct best *best, struct err *e)
{
    struct run_report report = { 0 };
    struct metrics m = { 0 };
    struct ckpt_extra now = extra;
    struct run_folder p = { .dir = { 0 } };
    str_puts(&p.dir, folder);
    now.best = (struct best){ -1, 0 };
    *from = (struct run_origin){ .extra = &now };
    x.t.step = 0;
    bool ok = run_resume(&x.t, &report, &p, from, &m, e);
    *best = now.best;
    from->extra = NULL;
    str_free(&p.dir);
    str_free(&from->folder);
    metrics_free(&m);
    return ok;
}

static void save(const char *folder, int step)
{
    struct run_report report = { 0 };
    struct err e;
    x.t.step = step;
    CHECK(dir_make(folder, &e) && ckpt_save(&x.t, &report, &extra, folder, &e), "%s", e.text);
}

static void damage(const char *folder, int step)
{
    struct str path = { 0 };
    struct err e;
    str_printf(&path, "%s/global_step_%d/state.json", folder, step);
    CHECK(file_write(path.p, "{}", 2, &e), "%s", e.text);
    str_free(&path);
}

/* The best value so far is one of trainer.best_metric: with another metric there is none. */
static void best_of_another_metric(void **state)
{
    (void)state;
    struct run_origin from;
    struct best best;
    struct err e;
    const char *folder = in_dir("best");
    save(folder, 3);
    CHECK(resume(folder, &from, &best, &e) && from.how == RUN_RESUMED && x.t.step == 3, "%s", e.text);
    CHECK(best.step == 2 && best.value == 0.5, "best of step %d", best.step);
    mini_set(&x.c, KEYS("trainer.best_metric", "val-core/other/acc/mean@1"));
    CHECK(resume(folder, &from, &best, &e) && from.how == RUN_RESUMED, "%s", e.text);
    CHECK(best.step == -1, "the best of another metric, of step %d, is taken", best.step);
    mini_set(&x.c, KEYS("trainer.best_metric", "auto"));
}

static void newest_whole(void **state)
{
    (void)state;
    struct run_origin from;
    struct best best;
    struct err e;
    const char *folder = in_dir("newest");
    CHECK(dir_make(folder, &e) && resume(folder, &from, &best, &e) && from.how == RUN_ANEW, "an empty folder");
    for (int step = 1; step <= 3; step++) save(folder, step);
    CHECK(resume(folder, &from, &best, &e) && from.how == RUN_RESUMED && x.t.step == 3, "%s", e.text);
    damage(folder, 3);
    CHECK(resume(folder, &from, &best, &e) && from.how == RUN_RESUMED && x.t.step == 2, "step %d", x.t.step);
    damage(folder, 2);
    damage(folder, 1);
    CHECK(!resume(folder, &from, &best, &e) && strstr(e.text, "no checkpoint in") && strstr(e.text, "is whole"), "%s",
          e.text);
    mini_set(&x.c, KEYS("trainer.resume", "off"));
    CHECK(resume(folder, &from, &best, &e) && from.how == RUN_ANEW && x.t.step == 0, "resume=off");
    mini_set(&x.c, KEYS("trainer.resume", "auto"));
}

/* The last step was made and its evaluation, too: nothing is left to do, and the counts are the checkpoint's. */
static void finished(void **state)
{
    (void)state;
    struct run_origin from;
    struct best best;
    struct err e;
    const char *folder = in_dir("finished");
    x.t.tokens_trained = 77;
    save(folder, x.s.steps);
    x.t.tokens_trained = 0;
    CHECK(resume(folder, &from, &best, &e) && from.how == RUN_DONE, "%s", e.text);
    CHECK(x.t.step == x.s.steps && x.t.tokens_trained == 77 && best.step == 2, "%d steps, %lld tokens", x.t.step,
          (long long)x.t.tokens_trained);
}

static void replace(struct str *text, const char *from, const char *to)
{
    char *at = strstr(text->p, from);
    CHECK(at, "no %s in %s", from, text->p);
    memcpy(at, to, strlen(from));                           /* of the same length */
}

/* 8 heads of 4 numbers instead of 4 of 8: every tensor has the same size and another meaning. */
static void heads_cut_otherwise(void **state)
{
    (void)state;
    struct err e;
    struct str path = { 0 }, text = { 0 };
    const char *folder = in_dir("heads");
    save(folder, 1);
    str_printf(&path, "%s/global_step_1", folder);
    CHECK(ckpt_load_weights(&x.t, &(struct ckpt_state){ .step = 1, .ranks = 1 }, path.p, &e), "%s", e.text);
    str_puts(&path, "/actor/huggingface/config.json");
    CHECK(file_read(path.p, 1 << 16, &text, &e), "%s", e.text);
    replace(&text, "\"num_attention_heads\": 4", "\"num_attention_heads\": 8");
    replace(&text, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4");
    replace(&text, "\"head_dim\": 8", "\"head_dim\": 4");
    CHECK(file_write(path.p, text.p, text.n, &e), "%s", e.text);
    str_clear(&path);
    str_printf(&path, "%s/global_step_1", folder);
    CHECK(!ckpt_load_weights(&x.t, &(struct ckpt_state){ .step = 1, .ranks = 1 }, path.p, &e) &&
              strstr(e.text, "its shape differs"), "%s", e.text);
    str_free(&path);
    str_free(&text);
}

static int open_all(void **state)
{
    struct err e;
    if (make_dir(state)) return -1;
    mini_open(&x, KEYS("trainer.total_training_steps", "5"), NULL, 5);
    return run_record_hashes(&extra, &x.s, &e) ? 0 : -1;
}

static int close_all(void **state)
{
    mini_close(&x);
    return drop_dir(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(best_of_another_metric), cmocka_unit_test(newest_whole),
                                        cmocka_unit_test(finished), cmocka_unit_test(heads_cut_otherwise) };
    return cmocka_run_group_tests_name("resume", tests, open_all, close_all);
}
