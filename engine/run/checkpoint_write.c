/* checkpoint_write.c: writing a checkpoint, by all ranks. */
#define _GNU_SOURCE      /* renameat2 */
#include "engine/run/checkpoint_write.h"
#include "base/clock.h"
#include "base/dir.h"
#include "base/file.h"
#include "base/manifest.h"
#include "engine/comm/comm.h"
#include "engine/session/model_export.h"
#include "model/save.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A network file system may show a new name late. */
static const double seen_within_s = 30;

bool ckpt_seen(const char *path, struct err *e)
{
    for (double until = seconds() + seen_within_s; !file_exists(path); usleep(20000))
        if (seconds() > until)
            return fail(e, "%s: rank 0 on %s has made it, but it is not on this machine: "
                        "trainer.default_local_dir must be a folder that all machines of the run share", path,
                        comm_host(0));
    return true;
}

/* ---- the beginning ---- */

static bool make_folder(struct ckpt_job *j, const char *dir, struct err *e)
{
    struct str path = { 0 };
    str_printf(&path, "%s/global_step_%d.%ld.tmp", dir, j->step, (long)getpid());
    j->tmp = xstrdup(path.p);
    str_puts(&path, j->mark.ranks > 1 ? "/actor/optim" : "/actor");
    bool ok = dir_make(path.p, e);
    str_free(&path);
    return ok;
}

/* Rank 0's folder and tag. */
static void hear(struct ckpt_job *j)
{
    size_t n = j->tmp ? strlen(j->tmp) + 1 : 0;
    comm_bcast(&n, sizeof n, 0);
    if (!j->tmp) j->tmp = xcalloc(n, 1);
    comm_bcast(j->tmp, n, 0);
    comm_bcast(&j->mark.tag, sizeof j->mark.tag, 0);
}

bool ckpt_begin(struct ckpt_job *j, const struct trainer *t, const struct run_report *r, const struct ckpt_extra *x,
                const char *dir, struct err *e)
{
    model_ready(&t->s->m);
    *j = (struct ckpt_job){ .s = *t->s,
                            .dir = xstrdup(dir),
                            .step = t->step,
                            .mark = { .step = t->step, .rank = comm_rank(), .ranks = comm_ranks() },
                            .m = t->s->m,
                            .w_ref = t->w_ref,
                            .w_prev = t->w_prev };
    optim_of(&j->optim, &t->s->learner, comm_rank(), comm_ranks(), true);
    bool ok = true;
    if (comm_first()) {
        ckpt_state_text(t, r, x, &j->state);
        j->mark.tag = hash_of(j->state.p, j->state.n);
        ok = make_folder(j, dir, e);
    }
    if (!comm_agree(ok, e)) return false;
    hear(j);
    return true;
}

static void free_copies(struct ckpt_job *j)
{
    if (!j->m.on_host) return;
    free(j->m.w);
    free(j->w_ref);
    free(j->w_prev);
}

void ckpt_job_free(struct ckpt_job *j)
{
    free_copies(j);
    optim_free(&j->optim);
    str_free(&j->state);
    str_free(&j->lines);
    free(j->dir);
    free(j->tmp);
    *j = (struct ckpt_job){ 0 };
}

/* ---- a rank's files ---- */

static bool write_weights(struct ckpt_job *j, struct err *e)
{
    struct str p = { 0 };
    j->s.m = j->m;
    str_printf(&p, "%s/actor/huggingface", j->tmp);
    bool ok = session_save(&j->s, p.p, e) && manifest_add(j->tmp, "actor/huggingface", &j->lines, e);
    /* the first weights are those of model.path, which may no longer exist when the run resumes */
    const struct { const char *name; elem_t *w; } more[] = { { "reference", j->w_ref }, { "previous", j->w_prev } };
    for (int i = 0; ok && i < 2; i++) {
        if (!more[i].w) continue;
        struct model m = j->m;
        m.w = more[i].w;
        str_clear(&p);
        str_printf(&p, "%s/%s", j->tmp, more[i].name);
        ok = model_save(&m, p.p, e) && manifest_add(j->tmp, more[i].name, &j->lines, e);
    }
    str_free(&p);
    return ok;
}

static bool write_optimizer(struct ckpt_job *j, struct err *e)
{
    struct str name = { 0 };
    optim_name(&name, j->mark.rank, j->mark.ranks);
    bool ok = optim_write(&j->optim, &j->mark, j->tmp, e) && manifest_add(j->tmp, name.p, &j->lines, e);
    str_free(&name);
    return ok;
}

bool ckpt_write(struct ckpt_job *j, struct err *e)
{
    struct str p = { 0 };
    if (j->mark.rank) {
        str_printf(&p, "%s/actor/optim", j->tmp);
        bool done = ckpt_seen(p.p, e) && write_optimizer(j, e);
        str_free(&p);
        return done;
    }
    str_printf(&p, "%s/state.json", j->tmp);
    bool ok = write_weights(j, e) && write_optimizer(j, e) && file_write(p.p, j->state.p, j->state.n, e) &&
              manifest_add(j->tmp, "state.json", &j->lines, e);
    str_free(&p);
    return ok;
}

/* ---- by a thread ---- */

struct ckpt_writer {
    pthread_t thread;
    atomic_bool ended;
    bool ok;
    struct err why;
};

size_t ckpt_copy_bytes(const struct trainer *t)
{
    struct optim_state o;
    optim_of(&o, &t->s->learner, comm_rank(), comm_ranks(), true);
    size_t bytes = optim_bytes(&o), weights = (size_t)t->s->m.count * sizeof(elem_t);
    optim_free(&o);
    return bytes + (comm_first() ? (1 + (size_t)(t->w_ref != NULL) + (size_t)(t->w_prev != NULL)) * weights : 0);
}

static elem_t *copy_of(const elem_t *w, int64_t count)
{
    if (!w) return NULL;
    elem_t *x = xmalloc((size_t)count * sizeof *x);
    dev_get(x, w, (size_t)count * sizeof *x);
    return x;
}

static void *write_aside(void *job)
{
    struct ckpt_job *j = job;
    struct ckpt_writer *w = j->writer;
    sigset_t all;
    /* signals are the main thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    /* on Linux the priority of a thread: the steps go first */
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
    w->ok = ckpt_write(j, &w->why);
    atomic_store(&w->ended, true);
    return NULL;
}

void ckpt_write_aside(struct ckpt_job *j)
{
    struct optim_state copy;
    struct model m = j->m;
    optim_copy(&copy, &j->optim);
    optim_free(&j->optim);
    j->optim = copy;
    if (j->mark.rank == 0) {
        j->m.w = copy_of(m.w, m.count);
        j->w_ref = copy_of(j->w_ref, m.count);
        j->w_prev = copy_of(j->w_prev, m.count);
        j->m.on_host = true;
    }
    j->writer = xcalloc(1, sizeof *j->writer);
    if (pthread_create(&j->writer->thread, NULL, write_aside, j) != 0) die("no thread to write a checkpoint");
}

bool ckpt_written(const struct ckpt_job *j) { return !j->writer || atomic_load(&j->writer->ended); }

bool ckpt_wait(struct ckpt_job *j, struct err *e)
{
    struct ckpt_writer *w = j->writer;
    pthread_join(w->thread, NULL);
    bool ok = w->ok;
    if (!ok) *e = w->why;
    free(w);
    j->writer = NULL;
    return ok;
}

/* ---- the end ---- */

/* Swaps the new folder with the one that has its name, so that there is one under it at every moment. */
static bool put_in_place(const char *tmp, const char *path, const char *dir, bool *swapped, struct err *e)
{
    *swapped = false;
    if (rename(tmp, path) == 0) return true;
    *swapped = renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_EXCHANGE) == 0;
    if (*swapped) return true;
    /* file systems that cannot swap (NFS): move the old one aside, then the new one in */
    char *to = dir_unused(dir, "old-");
    bool ok = (rename(path, to) == 0 && rename(tmp, path) == 0) ||
              fail(e, "%s: the checkpoint could not be moved into place: %s", path, strerror(errno));
    free(to);
    return ok;
}

/* Whether rank 0 sees the files that the other ranks wrote. */
static bool all_seen(const struct ckpt_job *j, struct err *e)
{
    struct str p = { 0 };
    bool ok = true;
    for (int r = 1; ok && r < j->mark.ranks; r++) {
        str_clear(&p);
        str_printf(&p, "%s/", j->tmp);
        optim_name(&p, r, j->mark.ranks);
        double until = seconds() + seen_within_s;
        while (!file_exists(p.p) && seconds() < until) usleep(20000);
        ok = file_exists(p.p) ||
             fail(e, "%s: rank %d on %s has written it, but it is not on this machine: trainer.default_local_dir must "
                  "be a folder that all machines of the run share", p.p, r, comm_host(r));
    }
    str_free(&p);
    return ok;
}

static bool put_whole(struct ckpt_job *j, const char *lines, struct err *e)
{
    struct str path = { 0 };
    bool swapped = false;
    str_printf(&path, "%s/global_step_%d", j->dir, j->step);
    bool ok = all_seen(j, e) && manifest_put(j->tmp, lines, e) && put_in_place(j->tmp, path.p, j->dir, &swapped, e);
    if (!ok) dir_remove(j->tmp);
    if (swapped) ckpt_remove_ours(j->tmp, path.p, j->dir);
    str_free(&path);
    return ok && ckpt_put_step(j->dir, "latest_checkpointed_iteration.txt", j->step, e);
}

bool ckpt_commit(struct ckpt_job *j, bool ok, struct err *e)
{
    struct comm_parts all;
    if (!comm_agree(ok, e)) {
        if (comm_first()) dir_remove(j->tmp);
        return false;
    }
    comm_gather(&all, j->lines.p, j->lines.n);
    all.p[all.begin[comm_ranks()]] = 0;
    ok = !comm_first() || put_whole(j, all.p, e);
    comm_parts_free(&all);
    return comm_agree(ok, e);
}

bool ckpt_save(const struct trainer *t, const struct run_report *r, const struct ckpt_extra *x, const char *dir,
               struct err *e)
{
    struct ckpt_job j;
    bool ok = ckpt_begin(&j, t, r, x, dir, e);
    if (ok) ok = ckpt_commit(&j, ckpt_write(&j, e), e);
    ckpt_job_free(&j);
    return ok;
}
