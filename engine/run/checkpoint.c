/* checkpoint.c: a checkpoint is a folder that appears as a whole, under its final name, or not at all. The seed and the
 * step are the whole state of the random numbers and of the data; hashes show whether data files have changed. */
#include "engine/run/checkpoint.h"
#include "base/dir.h"
#include "base/file.h"
#include "base/manifest.h"
#include "engine/comm/comm.h"
#include "engine/run/checkpoint_optim.h"
#include "engine/run/run_folder.h"
#include "model/load.h"
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool ckpt_put_step(const char *dir, const char *name, int step, struct err *e)
{
    struct str path = { 0 };
    char number[32];
    snprintf(number, sizeof number, "%d", step);
    str_printf(&path, "%s/%s", dir, name);
    bool ok = file_write(path.p, number, strlen(number), e);
    str_free(&path);
    return ok;
}

int ckpt_get_step(const char *dir, const char *name)
{
    struct str path = { 0 }, text = { 0 };
    str_printf(&path, "%s/%s", dir, name);
    int step = -1;
    if (file_read(path.p, 64, &text, NULL)) {
        char *end;
        long n = strtol(text.p, &end, 10);
        if (end != text.p && !end[strspn(end, " \r\n")] && n >= 0 && n <= INT_MAX) step = (int)n;
    }
    str_free(&path);
    str_free(&text);
    return step;
}

static int downwards(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x < y) - (x > y);
}

int *ckpt_list(const char *dir, int *n)
{
    int *step = NULL;
    DIR *d = opendir(dir);
    *n = 0;
    for (struct dirent *x; d && (x = readdir(d)); ) {
        int s = run_folder_step_of(x->d_name);
        if (s < 0) continue;
        if (!(*n & (*n - 1))) step = xrealloc(step, (size_t)(*n ? 2 * *n : 1) * sizeof *step);
        step[(*n)++] = s;
    }
    if (d) closedir(d);
    if (*n) qsort(step, (size_t)*n, sizeof *step, downwards);
    return step;
}

/* Removes a checkpoint that is replaced or too old; a user's files in it are kept in a folder of another name. */
void ckpt_remove_ours(const char *folder, const char *name, const char *dir)
{
    if (manifest_remove(folder) || !file_exists(folder)) return;
    char *to = dir_unused(dir, "old-");
    if (rename(folder, to) == 0)
        fprintf(stderr, "%s: holds files that this program did not write; they are in %s now\n", name, to);
    free(to);
}

void ckpt_remove(const char *dir, int step)
{
    struct str path = { 0 };
    str_printf(&path, "%s/global_step_%d", dir, step);
    ckpt_remove_ours(path.p, path.p, dir);
    str_free(&path);
}

bool ckpt_whole(const char *folder, bool verify, struct err *e)
{
    struct str path = { 0 };
    str_printf(&path, "%s/manifest", folder);
    bool there = file_exists(path.p), ok;
    if (!there && !verify) ok = true;
    else if (!there)
        ok = fail(e,
                  "%s: No such file: the checkpoint is damaged, or of an older version of this program "
                  "(trainer.verify=off uses it unchecked)",
                  path.p);
    else ok = manifest_check(folder, verify, e);
    str_free(&path);
    return ok;
}

/* Compares tensors and their meaning: other numbers of heads need not change any size. */
static bool same_shape(const struct model *a, const struct model *b)
{
    bool same = a->count == b->count && a->params == b->params && a->c.heads == b->c.heads &&
                a->c.kv_heads == b->c.kv_heads && a->c.head_dim == b->c.head_dim && !strcmp(a->c.arch, b->c.arch);
    for (int i = 0; same && i < a->params; i++)
        same = a->param[i].rows == b->param[i].rows && a->param[i].cols == b->param[i].cols;
    return same;
}

static bool load_weights(const struct model *m, elem_t *to, const char *folder, struct err *e)
{
    struct model x;
    if (!model_load(&x, folder, e)) return false;
    bool ok = same_shape(m, &x) || fail(e, "%s: its shape differs from that of the model this run began with", folder);
    if (ok) dev_copy(to, x.w, (size_t)m->count * sizeof *to);
    model_free(&x);
    gemm_weights_changed();
    return ok;
}

static bool load_optimizer(struct trainer *t, const struct ckpt_state *s, const char *folder, struct err *e)
{
    struct optim_state o;
    optim_of(&o, &t->s->learner, comm_rank(), comm_ranks(), false);
    bool ok = optim_read(&o, &(struct optim_mark){ .step = s->step, .ranks = s->ranks, .tag = s->tag }, folder, e);
    optim_free(&o);
    return ok;
}

bool ckpt_load_weights(struct trainer *t, const struct ckpt_state *s, const char *folder, struct err *e)
{
    struct str path = { 0 };
    str_printf(&path, "%s/", folder);
    size_t base = path.n;
    str_puts(&path, "actor/huggingface");
    bool ok = load_weights(&t->s->m, t->s->m.w, path.p, e);
    ok = ok && load_optimizer(t, s, folder, e);
    path.n = base; str_puts(&path, "reference");
    if (ok && t->w_ref) ok = load_weights(&t->s->m, t->w_ref, path.p, e);
    path.n = base; str_puts(&path, "previous");
    if (ok && t->w_prev) ok = load_weights(&t->s->m, t->w_prev, path.p, e);
    if (ok) t->s->m.version++;
    str_free(&path);
    return ok;
}

bool ckpt_load(struct trainer *t, struct run_report *r, const struct ckpt_state *s, const char *folder,
               struct metrics *m, bool *pending, struct err *e)
{
    if (!ckpt_load_weights(t, s, folder, e) || !ckpt_restore_counts(t, s, folder, e)) return false;
    if (!ckpt_pending(m, s, pending)) return fail(e, "%s/state.json: the metrics in it cannot be read", folder);
    if (!ckpt_evaluations(r, s)) return fail(e, "%s/state.json: the evaluation in it cannot be read", folder);
    /* the evaluation after the last step is made again, or was that of a shorter run */
    r->has_after = false;
    return true;
}
