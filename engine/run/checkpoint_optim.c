/* checkpoint_optim.c: numbers go between device and file in pieces, so that no whole vector lies in host memory. */
#include "engine/run/checkpoint_optim.h"
#include "base/arith.h"
#include "model/weights/safetensors.h"
#include "model/weights/safetensors_write.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PIECE = 1 << 20, MARKS = 7, RANKS_MAX = 9999 };
static const bool f64 = sizeof(acc_t) == 8;

void optim_of(struct optim_state *o, const struct learner *l, int rank, int ranks, bool to_write)
{
    *o = (struct optim_state){ .count = l->m->count };
    o->v[o->n++] = (struct optim_vector){ "exp_avg", l->adam1, l->bf16_moments, false };
    o->v[o->n++] = (struct optim_vector){ "exp_avg_sq", l->adam2, l->bf16_moments, true };
    if (l->master) o->v[o->n++] = (struct optim_vector){ "master_weights", l->master, false, false };
    o->pieces = learner_pieces(l, rank, ranks, to_write, &o->piece);
}

static size_t width(const struct optim_vector *v) { return v->bf16 ? sizeof(uint16_t) : sizeof(acc_t); }

static int64_t held(const struct optim_state *o)
{
    int64_t n = 0;
    for (int i = 0; i < o->pieces; i++) n += o->piece[i].n;
    return n;
}

size_t optim_bytes(const struct optim_state *o)
{
    size_t bytes = 0;
    for (int i = 0; i < o->n; i++) bytes += (size_t)held(o) * width(&o->v[i]);
    return bytes;
}

static void get(const struct optim_state *o, void *to, const char *from, size_t bytes)
{
    if (o->on_host) memcpy(to, from, bytes);
    else dev_get(to, from, bytes);
}

void optim_copy(struct optim_state *to, const struct optim_state *from)
{
    size_t at = 0;
    *to = *from;
    to->on_host = true;
    to->piece = xmalloc((size_t)(from->pieces + 1) * sizeof *to->piece);
    for (int i = 0; i < from->n; i++) to->v[i].x = xmalloc((size_t)held(from) * width(&from->v[i]));
    for (int k = 0; k < from->pieces; k++) {
        const struct learner_piece *p = &from->piece[k];
        to->piece[k] = (struct learner_piece){ p->at, p->n, (int64_t)at };
        for (int i = 0; i < from->n; i++) {
            size_t w = width(&from->v[i]);
            get(from, (char *)to->v[i].x + at * w, (const char *)from->v[i].x + (size_t)p->held * w, (size_t)p->n * w);
        }
        at += (size_t)p->n;
    }
}

void optim_free(struct optim_state *o)
{
    for (int i = 0; o->on_host && i < o->n; i++) free(o->v[i].x);
    free(o->piece);
    *o = (struct optim_state){ 0 };
}

union word { float f; uint32_t u; };
static float float_of(uint16_t b) { return (union word){ .u = (uint32_t)b << 16 }.f; }
static uint16_t bf16_of(float x) { return (uint16_t)((union word){ .f = x }.u >> 16); }

/* Copy n numbers of a vector from index `at` to host[n], and back. bf16 is the upper half of a float, so nothing is
 * lost. */
static void fetch(const struct optim_state *o, const struct optim_vector *v, int64_t at, acc_t *host, int64_t n)
{
    const char *from = (const char *)v->x + (size_t)at * width(v);
    if (!v->bf16) { get(o, host, from, (size_t)n * sizeof *host); return; }
    uint16_t *u = xmalloc((size_t)n * sizeof *u);
    get(o, u, from, (size_t)n * sizeof *u);
    for (int64_t i = 0; i < n; i++) host[i] = (acc_t)float_of(u[i]);
    free(u);
}
static void store(const struct optim_vector *v, int64_t at, const acc_t *host, int64_t n)
{
    char *to = (char *)v->x + (size_t)at * width(v);
    if (!v->bf16) { dev_put(to, host, (size_t)n * sizeof *host); return; }
    uint16_t *u = xmalloc((size_t)n * sizeof *u);
    for (int64_t i = 0; i < n; i++) u[i] = bf16_of((float)host[i]);
    dev_put(to, u, (size_t)n * sizeof *u);
    free(u);
}

/* Whether numbers at .. at + n are usable: a NaN, an infinity or a negative square would destroy or freeze a weight at
 * the next step. */
static bool sound(const struct optim_vector *v, int64_t at, const acc_t *host, int64_t n, const char *path,
                  struct err *e)
{
    int64_t i = 0;
    while (i < n && isfinite(host[i]) && !(v->square && host[i] < 0)) i++;
    if (i == n) return true;
    if (!isfinite(host[i]))
        return fail(e, "%s: number %lld of %s is a NaN or an infinity", path, (long long)(at + i), v->name);
    return fail(e, "%s: number %lld of %s, a mean of squares, is below 0", path, (long long)(at + i), v->name);
}

void optim_name(struct str *name, int rank, int ranks)
{
    if (ranks == 1) str_puts(name, "actor/optimizer.safetensors");
    else str_printf(name, "actor/optim/rank_%04d_of_%04d.safetensors", rank, ranks);
}

/* ---- writing ---- */

static void put_values(struct st_writer *w, const acc_t *x, int64_t n)
{
    if (f64) st_put_f64(w, (const double *)(const void *)x, n);
    else st_put_f32(w, (const float *)(const void *)x, n);
}

static bool put_piece(struct st_writer *w, const struct optim_state *o, const struct optim_vector *v,
                      const struct learner_piece *p, acc_t *host, const char *path, struct err *e)
{
    for (int64_t at = 0; at < p->n; at += PIECE) {
        int64_t n = MIN(p->n - at, (int64_t)PIECE);
        fetch(o, v, p->held + at, host, n);
        if (!sound(v, p->at + at, host, n, path, e)) return false;
        put_values(w, host, n);
    }
    return true;
}

static void marks_of(double x[MARKS], const struct optim_mark *m, int64_t count)
{
    const double all[MARKS] = { 1, m->step, m->rank, m->ranks, (double)count, (double)(m->tag >> 32),
                                (double)(m->tag & 0xffffffffu) };
    memcpy(x, all, sizeof all);
}

static void declare(struct st_writer *w, const struct optim_state *o, const struct optim_mark *m)
{
    int64_t marks = MARKS;
    if (m->ranks > 1) st_declare(w, "checkpoint", ST_F64, 1, &marks);
    for (int i = 0; i < o->n; i++)
        for (int k = 0; k < o->pieces; k++) {
            char name[80];
            snprintf(name, sizeof name, "%s@%lld", o->v[i].name, (long long)o->piece[k].at);
            st_declare(w, m->ranks > 1 ? name : o->v[i].name, o->v[i].bf16 ? ST_BF16 : f64 ? ST_F64 : ST_F32, 1,
                       &o->piece[k].n);
        }
}

bool optim_write(const struct optim_state *o, const struct optim_mark *m, const char *folder, struct err *e)
{
    struct str path = { 0 };
    double marks[MARKS];
    str_printf(&path, "%s/", folder);
    optim_name(&path, m->rank, m->ranks);
    struct st_writer *w = st_create(path.p, e);
    bool ok = w != NULL;
    if (ok) declare(w, o, m);
    marks_of(marks, m, o->count);
    if (ok && m->ranks > 1) st_put_f64(w, marks, MARKS);
    acc_t *host = xmalloc(PIECE * sizeof *host);
    for (int i = 0; i < o->n; i++)
        for (int k = 0; ok && k < o->pieces; k++) ok = put_piece(w, o, &o->v[i], &o->piece[k], host, path.p, e);
    free(host);
    if (ok) ok = st_finish(w, e);
    else st_abandon(w);
    str_free(&path);
    return ok;
}

/* ---- reading ---- */

/* The range of a vector that a tensor holds: "exp_avg" all of it, "exp_avg@64" from number 64. False: of another
 * vector, or not a name of this program. */
static bool range_of(const struct st_tensor *x, const struct optim_vector *v, int64_t count, int64_t *at)
{
    size_t n = strlen(v->name);
    char *end;
    *at = 0;
    if (strncmp(x->name, v->name, n) || (x->name[n] && x->name[n] != '@')) return false;
    if (x->name[n]) {
        *at = strtoll(x->name + n + 1, &end, 10);
        if (*end || end == x->name + n + 1) return false;
    }
    return *at >= 0 && x->rank == 1 && x->count <= count && *at <= count - x->count;
}

/* Takes what of the tensor lies in a range of o. */
static bool take(struct optim_state *o, const struct optim_vector *v, const struct st_tensor *x, int64_t at,
                 acc_t *host, const char *path, struct err *e)
{
    for (int k = 0; k < o->pieces; k++) {
        const struct learner_piece *p = &o->piece[k];
        int64_t from = MAX(at, p->at), end = MIN(at + x->count, p->at + p->n);
        for (int64_t n; from < end; from += n) {
            n = MIN(end - from, (int64_t)PIECE);
            bool ok = f64 ? st_get_f64(x, from - at, n, (double *)(void *)host)
                          : st_get_f32(x, from - at, n, (float *)(void *)host);
            if (!ok) return fail(e, "%s: tensor %s is not floating point", path, x->name);
            if (!sound(v, from, host, n, path, e)) return false;
            store(v, p->held + (from - p->at), host, n);
        }
    }
    return true;
}

static bool check_mark(struct st_file *f, const struct optim_mark *m, int64_t count, const char *path, struct err *e)
{
    double is[MARKS], want[MARKS];
    const struct st_tensor *x = st_find(f, "checkpoint");
    marks_of(want, m, count);
    if (!x || x->count != MARKS || !st_get_f64(x, 0, MARKS, is) || !(is[0] == want[0]))
        return fail(e, "%s: tensor checkpoint is missing: not the optimizer state of a rank", path);
    if (!(is[1] == want[1])) return fail(e, "%s: is the state after step %.0f, not %d", path, is[1], m->step);
    if (!(is[2] == want[2]) || !(is[3] == want[3]))
        return fail(e, "%s: is the state that rank %.0f of %.0f wrote", path, is[2], is[3]);
    if (!(is[4] == want[4]))
        return fail(e, "%s: is of a model of %.0f numbers, this one has %lld", path, is[4], (long long)count);
    if (is[5] == want[5] && is[6] == want[6]) return true;
    return fail(e, "%s: belongs to another run's checkpoint than state.json beside it", path);
}

/* The ranges of one vector that were found, to see that they are all of it. */
struct cover { int64_t (*range)[2]; int n; };
static int by_begin(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}
static bool covers(struct cover *c, int64_t count)
{
    int64_t at = 0;
    if (c->n) qsort(c->range, (size_t)c->n, sizeof *c->range, by_begin);
    for (int i = 0; i < c->n; i++) {
        if (c->range[i][0] != at) return false;
        at += c->range[i][1];
    }
    return at == count;
}

static bool read_file(struct optim_state *o, const struct optim_mark *m, const char *path, struct cover *c,
                      acc_t *host, struct err *e)
{
    struct stat st;
    if (m->ranks > 1 && stat(path, &st) != 0)
        return fail(e, "%s: No such file: it holds the optimizer state that rank %d of %d wrote", path, m->rank,
                    m->ranks);
    struct st_file *f = st_open(path, e);
    bool ok = f && (m->ranks == 1 || check_mark(f, m, o->count, path, e));
    for (int k = 0; ok && k < st_count(f); k++)
        for (int i = 0; ok && i < o->n; i++) {
            const struct st_tensor *x = st_at(f, k);
            int64_t at;
            if (!range_of(x, &o->v[i], o->count, &at) || !x->count) continue;
            c[i].range = xrealloc(c[i].range, (size_t)(c[i].n + 1) * sizeof *c[i].range);
            c[i].range[c[i].n][0] = at;
            c[i].range[c[i].n++][1] = x->count;
            ok = take(o, &o->v[i], x, at, host, path, e);
        }
    st_close(f);
    return ok;
}

bool optim_read(struct optim_state *o, const struct optim_mark *m, const char *folder, struct err *e)
{
    struct str path = { 0 };
    struct cover c[OPTIM_VECTORS] = { 0 };
    bool ok = (m->ranks >= 1 && m->ranks <= RANKS_MAX) || fail(e, "%s/state.json: ranks: %d", folder, m->ranks);
    acc_t *host = xmalloc(PIECE * sizeof *host);
    for (int r = 0; ok && r < m->ranks; r++) {
        struct optim_mark one = *m;
        one.rank = r;
        str_clear(&path);
        str_printf(&path, "%s/", folder);
        optim_name(&path, r, m->ranks);
        ok = read_file(o, &one, path.p, c, host, e);
    }
    for (int i = 0; i < o->n; i++) {
        if (ok && !covers(&c[i], o->count))
            ok = fail(e, "%s: tensor %s is missing, not floating point, or of another size than the model",
                      path.p, o->v[i].name);
        free(c[i].range);
    }
    free(host);
    str_free(&path);
    return ok;
}
