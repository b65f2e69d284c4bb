/* run_folder.c: a move begins by making a folder old-N.moving. As long as it exists, all files of a run still have to
 * go into it, so a killed process leaves a move that the next one completes. */
#include "engine/run/run_folder.h"
#include "base/dir.h"
#include "base/file.h"
#include "base/manifest.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char moving[] = ".moving";

/* The number after a prefix, without sign or leading zeros; -1: none. *rest: the text after it. */
static int number_in(const char *name, const char *prefix, const char **rest)
{
    size_t n = strlen(prefix);
    char *end;
    if (strncmp(name, prefix, n) || name[n] < '0' || name[n] > '9' ||
        (name[n] == '0' && name[n + 1] >= '0' && name[n + 1] <= '9'))
        return -1;
    errno = 0;
    long x = strtol(name + n, &end, 10);
    *rest = end;
    return errno || x > INT_MAX ? -1 : (int)x;
}

int run_folder_step_of(const char *name)
{
    const char *rest;
    int step = number_in(name, "global_step_", &rest);
    return step >= 0 && !*rest ? step : -1;
}

/* "12.jsonl" and "12.jsonl.gz" -> 12; -1: another name. */
static int dump_of(const char *name)
{
    const char *rest;
    int step = number_in(name, "", &rest);
    return step >= 0 && (!strcmp(rest, ".jsonl") || !strcmp(rest, ".jsonl.gz")) ? step : -1;
}

static bool of_run(const char *name)
{
    static const char *const names[] = { "metrics.jsonl", "run.json", "latest_checkpointed_iteration.txt",
                                         "best_checkpointed_iteration.txt", "rollouts" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return run_folder_step_of(name) >= 0 || !strncmp(name, "events.out.tfevents.", 20);
}

/* Whether a name is that of a temporary file of this program: NAME.PID.tmp, for the names that it writes here. */
static bool temporary(const char *name)
{
    size_t n = strlen(name);
    if (n < 6 || strcmp(name + n - 4, ".tmp")) return false;
    size_t dot = n - 5, end = n - 4;
    while (dot && name[dot] >= '0' && name[dot] <= '9') dot--;
    if (name[dot] != '.' || dot + 1 == end) return false;
    char *stem = xstrdup(name);
    stem[dot] = 0;
    bool is = of_run(stem) || dump_of(stem) >= 0 || !strcmp(stem, ".probe");
    free(stem);
    return is;
}

/* Calls take for every name in dir; reads all names before the first call. */
static bool each(const char *dir, bool (*take)(void *ctx, const char *dir, const char *name, struct err *e), void *ctx,
                 struct err *e)
{
    char **names = NULL;
    int n = 0;
    DIR *d = opendir(dir);
    if (!d) return errno == ENOENT || fail(e, "%s: %s", dir, strerror(errno));
    for (struct dirent *x; (x = readdir(d)); ) {
        if (!(n & (n - 1))) names = xrealloc(names, (size_t)(n ? 2 * n : 1) * sizeof *names);
        names[n++] = xstrdup(x->d_name);
    }
    closedir(d);
    bool ok = true;
    for (int i = 0; i < n; i++) {
        ok = ok && take(ctx, dir, names[i], e);
        free(names[i]);
    }
    free(names);
    return ok;
}

static bool move_into(const char *dir, const char *name, const char *to, struct err *e)
{
    struct str a = { 0 }, b = { 0 };
    str_printf(&a, "%s/%s", dir, name);
    str_printf(&b, "%s/%s", to, name);
    bool ok = rename(a.p, b.p) == 0 || fail(e, "%s: could not be moved into %s: %s", a.p, to, strerror(errno));
    str_free(&a);
    str_free(&b);
    return ok;
}

static bool make_folder(const char *path, struct err *e)
{
    return mkdir(path, 0777) == 0 || fail(e, "%s: cannot make the folder: %s", path, strerror(errno));
}

/* ---- all files of a run ---- */

/* Whether there is a file worth keeping: not the empty metrics, run.json and event file of a run that had not begun. */
static bool any_of_run(void *found, const char *dir, const char *name, struct err *e)
{
    struct str path = { 0 };
    struct stat st;
    (void)e;
    str_printf(&path, "%s/%s", dir, name);
    bool empty = !strcmp(name, "run.json") || !strncmp(name, "events.", 7) ||
                 (!strcmp(name, "metrics.jsonl") && lstat(path.p, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0);
    str_free(&path);
    *(bool *)found = *(bool *)found || (of_run(name) && !empty);
    return true;
}

static bool remove_of_run(void *ctx, const char *dir, const char *name, struct err *e)
{
    struct str path = { 0 };
    (void)ctx; (void)e;
    str_printf(&path, "%s/%s", dir, name);
    if (of_run(name)) unlink(path.p);
    str_free(&path);
    return true;
}

static bool move_of_run(void *to, const char *dir, const char *name, struct err *e)
{
    return !of_run(name) || move_into(dir, name, to, e);
}

/* Moves all files of the run into the folder `to`, which ends in .moving; then removes that ending. */
static bool finish_move(const char *dir, const char *to, struct str *where, struct err *e)
{
    if (!each(dir, move_of_run, (void *)(uintptr_t)to, e)) return false;
    str_clear(where);
    str_put(where, to, strlen(to) - (sizeof moving - 1));
    if (file_exists(where->p)) {
        char *free_name = dir_unused(dir, "old-");
        str_clear(where);
        str_puts(where, free_name);
        free(free_name);
    }
    bool ok = rename(to, where->p) == 0 || fail(e, "%s: could not be renamed to %s: %s", to, where->p, strerror(errno));
    int why = ok ? dir_sync(dir) : 0;
    return ok && (!why || fail(e, "%s: could not be brought to the disk: %s", dir, strerror(why)));
}

static bool finish_moves(void *ctx, const char *dir, const char *name, struct err *e)
{
    size_t n = strlen(name), m = sizeof moving - 1;
    if (n <= m + 4 || strncmp(name, "old-", 4) || strcmp(name + n - m, moving)) return true;
    struct str to = { 0 };
    str_printf(&to, "%s/%s", dir, name);
    bool ok = finish_move(dir, to.p, ctx, e);
    str_free(&to);
    return ok;
}

static bool remove_temporary(void *ctx, const char *dir, const char *name, struct err *e)
{
    (void)ctx; (void)e;
    if (!temporary(name)) return true;
    struct str path = { 0 };
    str_printf(&path, "%s/%s/manifest", dir, name);
    /* a checkpoint that was being replaced; a user may have put a file into it */
    bool whole = file_exists(path.p);
    str_clear(&path);
    str_printf(&path, "%s/%s", dir, name);
    if (!whole) dir_remove(path.p);
    else if (!manifest_remove(path.p)) {
        char *to = dir_unused(dir, "old-");
        if (rename(path.p, to) == 0)
            print_clean(stderr, "%s: holds files that this program did not write; they are in %s now\n", path.p, to);
        free(to);
    }
    str_free(&path);
    return true;
}

/* ---- rollouts ---- */

struct dumps { int after; int64_t seen; struct str to; };

static bool clear_dump(void *ctx, const char *dir, const char *name, struct err *e)
{
    struct dumps *x = ctx;
    int step = dump_of(name);
    if (step <= x->after) return true;
    if (step <= x->seen) {
        struct str path = { 0 };
        str_printf(&path, "%s/%s", dir, name);
        unlink(path.p);
        str_free(&path);
        return true;
    }
    if (!x->to.n) {
        char *to = dir_unused(dir, "old-");
        str_puts(&x->to, to);
        free(to);
        if (!make_folder(x->to.p, e)) return false;
    }
    return move_into(dir, name, x->to.p, e);
}

static bool clear_dumps(const struct run_folder *p, int after, int64_t seen, struct str *where, struct err *e)
{
    struct dumps x = { .after = after, .seen = seen };
    bool ok = !p->dumps.n || each(p->dumps.p, clear_dump, &x, e);
    if (x.to.n && !where->n) str_puts(where, x.to.p);
    str_free(&x.to);
    return ok;
}

/* ---- exported ---- */

static bool open_dumps(struct run_folder *p, const struct config *c, struct err *e)
{
    const char *dir = c->trainer.rollout_data_dir;
    if (!*dir || c->trainer.rollout_data_prompts == 0) return true;
    if (!strcmp(dir, "auto")) str_printf(&p->dumps, "%s/rollouts", p->dir.p);
    else str_puts(&p->dumps, dir);
    if (!strcmp(dir, "auto")) return true;               /* made with the first file */
    if (!dir_make(p->dumps.p, e)) return false;
    if (!file_same(p->dir.p, p->dumps.p) &&
        !lock_take(&p->dumps_lock, p->dumps.p, "another trainer.rollout_data_dir", e))
        return false;
    return each(p->dumps.p, remove_temporary, NULL, e);
}

void run_folder_names(struct run_folder *p, const struct config *c)
{
    *p = (struct run_folder){ 0 };
    str_printf(&p->dir, "%s/%s/%s", c->trainer.default_local_dir, c->trainer.project_name, c->trainer.experiment_name);
    p->was = p->dir.n;
}

bool run_folder_open(struct run_folder *p, const struct config *c, struct err *e)
{
    struct str moved = { 0 }, rollouts = { 0 };
    *p = (struct run_folder){ 0 };
    str_printf(&p->dir, "%s/%s/%s", c->trainer.default_local_dir, c->trainer.project_name, c->trainer.experiment_name);
    char *above = xstrdup(p->dir.p);
    for (char *slash; !file_exists(above) && (slash = strrchr(above, '/')); ) *slash = 0;
    p->was = file_exists(above) ? strlen(above) : 0;
    free(above);
    str_printf(&rollouts, "%s/rollouts", p->dir.p);
    bool ok = dir_make(p->dir.p, e) && lock_take(&p->lock, p->dir.p, "another trainer.experiment_name", e) &&
              each(p->dir.p, finish_moves, &moved, e) && each(p->dir.p, remove_temporary, NULL, e) &&
              each(rollouts.p, remove_temporary, NULL, e) && open_dumps(p, c, e);
    str_free(&moved);
    str_free(&rollouts);
    return ok;
}

void run_folder_close(struct run_folder *p)
{
    lock_drop(&p->dumps_lock);
    lock_drop(&p->lock);
    for (char *slash;
         p->dir.n && strlen(p->dir.p) > p->was && rmdir(p->dir.p) == 0 && (slash = strrchr(p->dir.p, '/'));)
        *slash = 0;
    str_free(&p->dir);
    str_free(&p->dumps);
    *p = (struct run_folder){ 0 };
}

bool run_folder_clear(struct run_folder *p, struct str *where, struct err *e)
{
    struct str to = { 0 };
    bool any = false, ok;
    str_clear(where);
    ok = each(p->dir.p, any_of_run, &any, e);
    if (ok && any) {
        char *old = dir_unused(p->dir.p, "old-");
        str_printf(&to, "%s%s", old, moving);
        free(old);
        ok = make_folder(to.p, e) && dir_sync(p->dir.p) >= 0 && finish_move(p->dir.p, to.p, where, e);
        str_free(&to);
    } else ok = ok && each(p->dir.p, remove_of_run, NULL, e);
    return ok && clear_dumps(p, 0, 0, where, e);
}

static bool latest_of(void *step, const char *dir, const char *name, struct err *e)
{
    int is = run_folder_step_of(name);
    (void)dir; (void)e;
    if (is > *(int *)step) *(int *)step = is;
    return true;
}

bool run_folder_clear_after(struct run_folder *p, int step, struct str *where, struct err *e)
{
    str_clear(where);
    for (;;) {
        int latest = step;
        char name[40];
        if (!each(p->dir.p, latest_of, &latest, e)) return false;
        if (latest == step) return true;
        if (!where->n) {
            char *to = dir_unused(p->dir.p, "old-");
            str_puts(where, to);
            free(to);
            if (!make_folder(where->p, e)) return false;
        }
        snprintf(name, sizeof name, "global_step_%d", latest);
        if (!move_into(p->dir.p, name, where->p, e)) return false;
    }
}

bool run_folder_clear_dumps(struct run_folder *p, int step, int64_t seen, struct str *where, struct err *e)
{
    return clear_dumps(p, step, seen, where, e);
}
