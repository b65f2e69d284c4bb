/* resume.c: where a run begins: anew, or at the newest complete checkpoint. A damaged one is reported and never used,
 * and is no reason to begin anew. */
#include "engine/run/resume.h"
#include "base/file.h"
#include "base/hash.h"
#include "engine/comm/comm.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char latest[] = "latest_checkpointed_iteration.txt";

/* Whether the run reached its last step and made the evaluation after it. */
static bool finished(const struct trainer *t, const struct ckpt_state *s)
{
    return s->step >= t->s->steps && !json_is_array(json_object_get(s->json, "pending"));
}

/* trainer.resume=interrupted (`appo debug`): resumes only if the very same command was interrupted. */
static bool same_run(const struct trainer *t, const struct run_origin *from, const struct ckpt_state *s)
{
    struct err e;
    return (!s->steps || s->steps == t->s->steps) && ckpt_matches(t, from->extra, s, "", &e);
}

/* True: t, r and m are those of the checkpoint, or the run begins anew. *other: the checkpoint is complete, but of a
 * run with other settings, which e names. */
static bool use(struct trainer *t, struct run_report *r, struct run_origin *from, struct metrics *m, int step,
                bool *other, struct err *e)
{
    struct ckpt_state s = { 0 };
    const char *folder = from->folder.p;
    bool shows = !strcmp(t->c->trainer.resume, "interrupted"),
         ok = ckpt_whole(folder, t->c->trainer.verify && comm_first(), e) && ckpt_read(&s, folder, step, e);
    *other = false;
    if (ok && shows && !same_run(t, from, &s)) {
        from->how = RUN_ANEW;
        ckpt_state_free(&s);
        return true;
    }
    if (ok && !ckpt_matches(t, from->extra, &s, folder, e)) {
        *other = true;
        ok = false;
    }
    from->how = RUN_RESUMED;
    if (ok && finished(t, &s)) {
        from->how = RUN_DONE;
        t->step = s.step;
        t->tokens_generated = (int64_t)json_integer_value(json_object_get(s.json, "tokens_generated"));
        t->tokens_trained = (int64_t)json_integer_value(json_object_get(s.json, "tokens_trained"));
        t->probs_diff_max = json_number_value(json_object_get(s.json, "probs_diff_max"));
        ok = ckpt_evaluations(r, &s) || fail(e, "%s/state.json: the evaluation in it cannot be read", folder);
    } else ok = ok && ckpt_load(t, r, &s, folder, m, &from->pending, e);
    if (ok) {
        from->extra->mark = s.mark;
        /* values of two metrics cannot be compared */
        const char *metric = json_string_value(json_object_get(json_object_get(s.json, "best"), "metric"));
        from->extra->best = metric && strcmp(metric, t->c->trainer.best_metric) ? (struct best){ .step = -1 } : s.best;
        from->rolling = s.rolling;
        if (from->how == RUN_RESUMED && s.ranks != comm_ranks() && comm_first())
            fprintf(stderr,
                    "note: %s was written by a run of %d rank%s, this one has %d: from here on its numbers are those "
                    "of the other number of ranks up to rounding, not bit for bit\n",
                    folder, s.ranks, s.ranks == 1 ? "" : "s", comm_ranks());
    }
    ckpt_state_free(&s);
    return ok;
}

static void set_folder(struct run_origin *from, const char *dir, int step)
{
    str_clear(&from->folder);
    str_printf(&from->folder, "%s/global_step_%d", dir, step);
}

/* Uses the newest complete checkpoint of dir. */
static bool newest(struct trainer *t, struct run_report *r, const char *dir, struct run_origin *from, struct metrics *m,
                   struct err *e)
{
    struct err why;
    int n, noted = ckpt_get_step(dir, latest), *step = ckpt_list(dir, &n), i = 0;
    struct str path = { 0 };
    bool ok = false, other = false;
    str_printf(&path, "%s/%s", dir, latest);
    from->how = RUN_ANEW;
    if (!n && file_exists(path.p))
        fail(e,
             "%s: names step %d, but no checkpoint is here: put it back, or give trainer.resume=off to start anew",
             path.p, noted);
    else if (!n) ok = true;
    for (; i < n && !ok && !other; i++) {
        set_folder(from, dir, step[i]);
        ok = use(t, r, from, m, step[i], &other, i ? &why : e);
        if (!ok && other) *e = i ? why : *e;
        if (!ok && !other && i + 1 < n)
            fprintf(stderr, "warning: %s. Trying the checkpoint before it\n", i ? why.text : e->text);
    }
    if (n && !ok && !other)
        fail_in(e,
                "no checkpoint in %s is whole; trainer.resume=off starts anew and moves these files aside. The "
                "newest",
                dir);
    if (n && ok && from->how != RUN_ANEW && (i > 1 || noted != step[0])) {
        const char *fault = !file_exists(path.p) ? "is missing"
                           : noted < 0          ? "holds no step number"
                                                : "names another step";
        if (i > 1) fprintf(stderr, "warning: %s is the newest whole checkpoint and is used\n", from->folder.p);
        else
            fprintf(stderr, "warning: %s %s; %s is the newest whole checkpoint and is used\n", path.p, fault,
                    from->folder.p);
    }
    free(step);
    str_free(&path);
    return ok;
}

/* Uses the folder that trainer.resume names: a global_step_N, or one that has some. */
static bool named(struct trainer *t, struct run_report *r, const struct run_folder *p, struct run_origin *from,
                  struct metrics *m, struct err *e)
{
    const char *how = t->c->trainer.resume;
    struct str path = { 0 };
    bool other, ok;
    str_printf(&path, "%s/state.json", how);
    bool itself = file_exists(path.p);
    str_clear(&path);
    str_printf(&path, "%s/..", how);
    from->elsewhere = !file_same(itself ? path.p : how, p->dir.p);
    if (itself) {
        str_clear(&from->folder);
        str_puts(&from->folder, how);
        ok = use(t, r, from, m, -1, &other, e) || (!other && fail_in(e, "trainer.resume")) ;
    } else {
        ok = newest(t, r, how, from, m, e);
        if (ok && from->how == RUN_ANEW) ok = fail(e, "trainer.resume=%s: no checkpoint in this folder", how);
    }
    str_free(&path);
    return ok;
}

/* Rank 0's choice, or any rank's alone. */
static bool choose(struct trainer *t, struct run_report *r, const struct run_folder *p, struct run_origin *from,
                   struct metrics *m, struct err *e)
{
    const char *how = t->c->trainer.resume;
    from->how = RUN_ANEW;
    if (!strcmp(how, "off")) return true;
    if (!strcmp(how, "auto") || !strcmp(how, "interrupted")) return newest(t, r, p->dir.p, from, m, e);
    return named(t, r, p, from, m, e);
}

/* What rank 0 tells the others of its choice. */
struct choice {
    enum run_start how;
    bool elsewhere;
    size_t folder;                  /* bytes of its name */
    uint64_t manifest;              /* hash of the checkpoint's manifest; 0: it has none */
};

static uint64_t manifest_hash(const char *folder)
{
    struct str path = { 0 };
    uint64_t hash = 0;
    int64_t n;
    str_printf(&path, "%s/manifest", folder);
    if (!hash_file(path.p, -1, &hash, &n, NULL)) hash = 0;
    str_free(&path);
    return hash;
}

/* Loads the checkpoint that rank 0 has chosen and checked: only sizes are compared again. */
static bool follow(struct trainer *t, struct run_report *r, struct run_origin *from, const struct choice *c,
                   struct metrics *m, struct err *e)
{
    bool other;
    from->how = RUN_ANEW;
    if (c->how == RUN_ANEW) return true;
    if (!file_exists(from->folder.p))
        return fail(e, "%s: not on this machine: rank 0 on %s resumes from it; put the run's folder where every rank "
                    "reads it", from->folder.p, comm_host(0));
    if (manifest_hash(from->folder.p) != c->manifest)
        return fail(e, "%s: another checkpoint than the one that rank 0 on %s has there (manifest)", from->folder.p,
                    comm_host(0));
    if (!use(t, r, from, m, -1, &other, e)) return false;
    return from->how == c->how || fail(e, "%s: rank 0 on %s resumes otherwise", from->folder.p, comm_host(0));
}

bool run_resume(struct trainer *t, struct run_report *r, const struct run_folder *p, struct run_origin *from,
                struct metrics *m, struct err *e)
{
    bool first = comm_first();
    if (!comm_agree(!first || choose(t, r, p, from, m, e), e)) return false;
    if (comm_ranks() == 1) return true;
    struct choice c = { 0 };
    if (first) c = (struct choice){ from->how, from->elsewhere, from->folder.n, 0 };
    if (first && from->how != RUN_ANEW) c.manifest = manifest_hash(from->folder.p);
    comm_bcast(&c, sizeof c, 0);
    char *name = xcalloc(c.folder + 1, 1);
    if (first && c.folder) memcpy(name, from->folder.p, c.folder);
    comm_bcast(name, c.folder, 0);
    str_clear(&from->folder);
    str_puts(&from->folder, name);
    free(name);
    from->elsewhere = c.elsewhere;
    return comm_agree(first || follow(t, r, from, &c, m, e), e);
}
