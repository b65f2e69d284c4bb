/* test_run_folder.c: what of a run's folder stays and what is moved when a run begins anew or goes on from a step:
 * checkpoints, rollouts, metrics; a user's own files are never touched. */
#include "base/dir.h"
#include "base/file.h"
#include "engine/run/run_folder.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>

static void put(const char *folder, const char *name)
{
    struct str path = { 0 };
    struct err e;
    str_printf(&path, "%s/%s", folder, name);
    char *slash = strrchr(path.p, '/');
    *slash = 0;
    CHECK(dir_make(path.p, &e), "%s", e.text);
    *slash = '/';
    CHECK(file_write(path.p, name, strlen(name), &e), "%s", e.text);
    str_free(&path);
}

static bool there(const char *folder, const char *name)
{
    struct str path = { 0 };
    str_printf(&path, "%s/%s", folder, name);
    bool is = file_exists(path.p);
    str_free(&path);
    return is;
}

static struct run_folder folder_of(const char *name, const char *dumps)
{
    struct run_folder p = { .dir = { 0 } };
    str_puts(&p.dir, in_dir(name));
    if (dumps) str_puts(&p.dumps, in_dir(dumps));
    return p;
}

static void folder_free(struct run_folder *p)
{
    str_free(&p->dir);
    str_free(&p->dumps);
}

static void checkpoints_after_a_step(void **state)
{
    (void)state;
    struct run_folder p = folder_of("after", NULL);
    struct str where = { 0 };
    struct err e;
    static const char *const names[] = { "global_step_2", "global_step_3", "global_step_4", "global_step_10",
                                         "global_step_04", "notes" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char file[64];
        snprintf(file, sizeof file, "%s/state.json", names[i]);
        put(p.dir.p, file);
    }
    CHECK(run_folder_clear_after(&p, 3, &where, &e), "%s", e.text);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool later = i == 2 || i == 3;                      /* _04 is no name of this program */
        CHECK(there(p.dir.p, names[i]) == !later && there(where.p, names[i]) == later, "%s", names[i]);
    }
    CHECK(run_folder_clear_after(&p, 3, &where, &e) && !where.n, "nothing is left to move");
    str_free(&where);
    folder_free(&p);
}

/* Rollouts up to the step stay; what this run made after it goes; what somebody else made is moved. */
static void rollouts_after_a_step(void **state)
{
    (void)state;
    struct run_folder p = folder_of("going", "dumps");
    struct str where = { 0 };
    struct err e;
    static const char *const names[] = { "1.jsonl.gz", "2.jsonl", "3.jsonl.gz", "4.jsonl.gz", "5.jsonl.gz", "6.jsonl",
                                         "7.txt", "08.jsonl" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) put(p.dumps.p, names[i]);
    CHECK(run_folder_clear_dumps(&p, 2, 4, &where, &e), "%s", e.text);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool stays = i < 2 || i > 5, moved = i == 4 || i == 5;
        CHECK(there(p.dumps.p, names[i]) == stays && there(where.p, names[i]) == moved, "%s", names[i]);
    }
    str_free(&where);
    folder_free(&p);
}

static void anew(void **state)
{
    (void)state;
    struct run_folder p = folder_of("anew", NULL);
    struct str where = { 0 };
    struct err e;
    static const struct { const char *name; bool ours; } files[] = {
        { "global_step_1/state.json", true }, { "metrics.jsonl", true }, { "run.json", true },
        { "latest_checkpointed_iteration.txt", true }, { "best_checkpointed_iteration.txt", true },
        { "rollouts/1.jsonl", true }, { "events.out.tfevents.1.host.2", true }, { "notes.txt", false },
        { "global_step_x/mine", false },
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) put(p.dir.p, files[i].name);
    CHECK(run_folder_clear(&p, &where, &e) && where.n, "%s", e.text);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        CHECK(there(p.dir.p, files[i].name) == !files[i].ours && there(where.p, files[i].name) == files[i].ours, "%s",
              files[i].name);
    put(p.dir.p, "run.json");                               /* of a run that never began: nothing worth a move */
    CHECK(run_folder_clear(&p, &where, &e) && !where.n && !there(p.dir.p, "run.json"), "moved to %s", where.p);
    str_free(&where);
    folder_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(checkpoints_after_a_step),
                                        cmocka_unit_test(rollouts_after_a_step), cmocka_unit_test(anew) };
    return cmocka_run_group_tests_name("run folder", tests, make_dir, drop_dir);
}
