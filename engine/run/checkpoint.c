/* checkpoint.c: a checkpoint is a folder that appears as a whole, under its final name, or not at all. The seed and the
 * step are the whole state of the random numbers and of the data; hashes show whether data files have changed. */
#define _GNU_SOURCE      /* renameat2 */
#include "engine/run/checkpoint.h"
#include "base/dir.h"
#include "base/file.h"
#include "base/manifest.h"
#include "engine/run/run_folder.h"
#include "engine/session/model_export.h"
#include "model/load.h"
#include "model/save.h"
#include "model/weights/safetensors.h"
#include "model/weights/safetensors_write.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Optimizer state on the device, as acc_t or bf16; squares are not below 0. */
enum { VECTORS = 3 };
struct vector { const char *name; void *x; bool bf16, square; };
static int vectors(const struct trainer *t, struct vector v[VECTORS])
{
    int n = 0;
    const struct learner *l = &t->s->learner;
    v[n++] = (struct vector){ "exp_avg", l->adam1, l->bf16_moments, false };
    v[n++] = (struct vector){ "exp_avg_sq", l->adam2, l->bf16_moments, true };
    if (l->master) v[n++] = (struct vector){ "master_weights", l->master, false, false };
    return n;
}

union word { float f; uint32_t u; };
static float float_of(uint16_t b) { return (union word){ .u = (uint32_t)b << 16 }.f; }
static uint16_t bf16_of(float x) { return (uint16_t)((union word){ .f = x }.u >> 16); }

/* Copy n numbers from the device and to it, through host[n]. bf16 is the upper half of a float, so nothing is lost. */
static void fetch(acc_t *host, const struct vector *v, int64_t n)
{
    if (!v->bf16) { dev_get(host, v->x, (size_t)n * sizeof *host); return; }
    uint16_t *u = xmalloc((size_t)n * sizeof *u);
    dev_get(u, v->x, (size_t)n * sizeof *u);
    for (int64_t i = 0; i < n; i++) host[i] = (acc_t)float_of(u[i]);
    free(u);
}
static void store(const struct vector *v, const acc_t *host, int64_t n)
{
    if (!v->bf16) { dev_put(v->x, host, (size_t)n * sizeof *host); return; }
    uint16_t *u = xmalloc((size_t)n * sizeof *u);
    for (int64_t i = 0; i < n; i++) u[i] = bf16_of((float)host[i]);
    dev_put(v->x, u, (size_t)n * sizeof *u);
    free(u);
}

/* Whether all numbers are usable: a NaN, an infinity or a negative square would destroy or freeze a weight at the next
 * step. */
static bool sound(const struct vector *v, const acc_t *host, int64_t n, const char *path, struct err *e)
{
    int64_t i = 0;
    while (i < n && isfinite(host[i]) && !(v->square && host[i] < 0)) i++;
    if (i == n) return true;
    if (!isfinite(host[i]))
        return fail(e, "%s: number %lld of %s is a NaN or an infinity", path, (long long)i, v->name);
    return fail(e, "%s: number %lld of %s, a mean of squares, is below 0", path, (long long)i, v->name);
}

bool ckpt_save_optimizer(const struct trainer *t, const char *path, struct err *e)
{
    int64_t n = t->s->m.count;
    struct vector v[VECTORS];
    int vs = vectors(t, v);
    struct st_writer *w = st_create(path, e);
    if (!w) return false;
    bool f64 = sizeof(acc_t) == 8;
    for (int i = 0; i < vs; i++) st_declare(w, v[i].name, v[i].bf16 ? ST_BF16 : f64 ? ST_F64 : ST_F32, 1, &n);
    acc_t *host = xmalloc((size_t)n * sizeof *host);
    bool ok = true;
    for (int i = 0; ok && i < vs; i++) {
        fetch(host, &v[i], n);
        ok = sound(&v[i], host, n, path, e);
        if (!ok) continue;
        if (f64) st_put_f64(w, (double *)host, n); else st_put_f32(w, (float *)host, n);
    }
    free(host);
    if (ok) return st_finish(w, e);
    st_abandon(w);
    return false;
}

static bool load_vectors(struct trainer *t, const char *path, struct err *e)
{
    int64_t n = t->s->m.count;
    struct vector v[VECTORS];
    int vs = vectors(t, v);
    struct st_file *f = st_open(path, e);
    if (!f) return false;
    bool ok = true, f64 = sizeof(acc_t) == 8;
    acc_t *host = xmalloc((size_t)n * sizeof *host);
    for (int i = 0; ok && i < vs; i++) {
        const struct st_tensor *x = st_find(f, v[i].name);
        ok = x && x->count == n && (f64 ? st_get_f64(x, 0, n, (double *)host) : st_get_f32(x, 0, n, (float *)host));
        if (!ok)
            fail(e, "%s: tensor %s is missing, not floating point, or of another size than the model", path,
                 v[i].name);
        ok = ok && sound(&v[i], host, n, path, e);
        if (ok) store(&v[i], host, n);
    }
    free(host);
    st_close(f);
    return ok;
}

static bool save_into(const struct trainer *t, const struct run_report *r, const struct ckpt_extra *x, const char *tmp,
                      struct err *e)
{
    struct str p = { 0 };
    str_printf(&p, "%s/actor/huggingface", tmp);
    bool ok = session_save(t->s, p.p, e);
    str_clear(&p);
    str_printf(&p, "%s/actor/optimizer.safetensors", tmp);
    ok = ok && ckpt_save_optimizer(t, p.p, e);
    /* the first weights are those of model.path, which may no longer exist when the run resumes */
    const struct { const char *name; elem_t *w; } more[] = { { "reference", t->w_ref }, { "previous", t->w_prev } };
    for (int i = 0; ok && i < 2; i++) {
        if (!more[i].w) continue;
        struct model m = t->s->m;
        m.w = more[i].w;
        str_clear(&p);
        str_printf(&p, "%s/%s", tmp, more[i].name);
        ok = model_save(&m, p.p, e);
    }
    str_clear(&p);
    str_printf(&p, "%s/state.json", tmp);
    ok = ok && ckpt_write_state(t, r, x, p.p, e) && manifest_write(tmp, e);
    str_free(&p);
    return ok;
}

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

/* Removes a checkpoint that is replaced or too old; a user's files in it are kept in a folder of another name. */
static void remove_ours(const char *folder, const char *name, const char *dir)
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
    remove_ours(path.p, path.p, dir);
    str_free(&path);
}

bool ckpt_save(const struct trainer *t, const struct run_report *r, const struct ckpt_extra *x, const char *dir,
               struct err *e)
{
    struct str path = { 0 }, tmp = { 0 };
    bool swapped = false;
    str_printf(&path, "%s/global_step_%d", dir, t->step);
    str_printf(&tmp, "%s.%ld.tmp", path.p, (long)getpid());
    bool ok = save_into(t, r, x, tmp.p, e) && put_in_place(tmp.p, path.p, dir, &swapped, e);
    if (!ok) dir_remove(tmp.p);
    if (swapped) remove_ours(tmp.p, path.p, dir);
    ok = ok && ckpt_put_step(dir, "latest_checkpointed_iteration.txt", t->step, e);
    str_free(&path);
    str_free(&tmp);
    return ok;
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

bool ckpt_load_weights(struct trainer *t, const char *folder, struct err *e)
{
    struct str path = { 0 };
    str_printf(&path, "%s/", folder);
    size_t base = path.n;
    str_puts(&path, "actor/huggingface");
    bool ok = load_weights(&t->s->m, t->s->m.w, path.p, e);
    path.n = base; str_puts(&path, "actor/optimizer.safetensors");
    ok = ok && load_vectors(t, path.p, e);
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
    if (!ckpt_load_weights(t, folder, e) || !ckpt_restore_counts(t, s, folder, e)) return false;
    if (!ckpt_pending(m, s, pending)) return fail(e, "%s/state.json: the metrics in it cannot be read", folder);
    if (!ckpt_evaluations(r, s)) return fail(e, "%s/state.json: the evaluation in it cannot be read", folder);
    /* the evaluation after the last step is made again, or was that of a shorter run */
    r->has_after = false;
    return true;
}
