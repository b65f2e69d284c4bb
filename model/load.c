/* load.c: weights from safetensors or GGUF. A file is mapped and converted piece by piece, by all threads, straight to where it belongs: at no time is
 * there a second copy of a tensor. All pieces of all tensors are one loop: a loop a tensor waits for the slower thread 300 times. */
#include "model/gguf.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "base/file.h"
#include "kernels/measure.h"
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 16 };            /* numbers a thread converts at once: they stay in its L2 */

/* One tensor of the file, whichever kind, and where it goes. half > 0: GGUF's interleaved rows in heads of 2 half rows. */
struct source { const struct st_tensor *st; const struct gguf_tensor *gg; real *to; int64_t count, cols, piece, pieces_before; int half; };

/* out[n] = values begin .. of the file's tensor, in the file's order. */
static void get_wide(const struct source *s, int64_t begin, int64_t n, wide *out)
{
    bool ok;
#if defined(REAL_IS_double)
    if (s->st) ok = st_get_f64(s->st, begin, n, out);
    else {
        float *x = xmalloc((size_t)n * sizeof *x);
        ok = gguf_get_f32(s->gg, begin, n, x);
        for (int64_t i = 0; i < n; i++) out[i] = (double)x[i];
        free(x);
    }
#else
    ok = s->st ? st_get_f32(s->st, begin, n, out) : gguf_get_f32(s->gg, begin, n, out);
#endif
    ENSURE(ok);
}

/* The same in the model's order. */
static void get_turned(const struct source *s, int64_t begin, int64_t n, wide *out)
{
    if (!s->half) { get_wide(s, begin, n, out); return; }
    for (int64_t at = begin; at < begin + n; at += s->cols) {       /* begin and n are whole rows */
        int64_t row = at / s->cols, head = row / (2 * s->half), i = row % s->half, part = row / s->half % 2;
        get_wide(s, (head * 2 * s->half + 2 * i + part) * s->cols, s->cols, out + (at - begin));
    }
}

/* The same as they are stored. */
static void get_real(const struct source *s, int64_t begin, int64_t n, real *out)
{
#if defined(REAL_IS_bf16)
    wide *x = xmalloc((size_t)n * sizeof *x);
    get_turned(s, begin, n, x);
    for (int64_t i = 0; i < n; i++) out[i] = real_from((double)x[i]);
    free(x);
#else
    get_turned(s, begin, n, out);
#endif
}

/* The file's numbers are already as they are stored: they go from the map into place. */
static bool as_stored(const struct source *s)
{
#if defined(REAL_IS_bf16)
    return s->st && s->st->dtype == ST_BF16;
#elif defined(REAL_IS_float)
    return s->st && s->st->dtype == ST_F32;
#else
    return s->st && s->st->dtype == ST_F64;
#endif
}

/* Pieces are whole blocks of every quantised type, and whole rows where rows change places. */
static void put_piece(const struct source *s, int64_t begin, real *buf)
{
    int64_t n = s->count - begin < s->piece ? s->count - begin : s->piece;
    const void *from = buf;
    if (as_stored(s)) from = (const char *)s->st->data + (size_t)begin * sizeof *buf;
    else get_real(s, begin, n, buf);
    dev_put(s->to + begin, from, (size_t)n * sizeof *buf);
}

static void put_all(struct source *s, int n)
{
    int64_t pieces = 0, longest = 0;
    for (int i = 0; i < n; i++) {
        s[i].piece = s[i].half ? (PIECE + s[i].cols - 1) / s[i].cols * s[i].cols : PIECE;
        s[i].pieces_before = pieces;
        pieces += (s[i].count + s[i].piece - 1) / s[i].piece;
        if (s[i].piece > longest) longest = s[i].piece;
    }
    #pragma omp parallel num_threads(dev_threads())             /* one where dev_put is not for several: everywhere but on the CPU */
    {
        real *buf = xmalloc((size_t)longest * sizeof *buf);
        int at = 0;
        #pragma omp for schedule(dynamic, 4)
        for (int64_t k = 0; k < pieces; k++) {
            while (at + 1 < n && s[at + 1].pieces_before <= k) at++;        /* a thread's pieces come in ascending order */
            put_piece(&s[at], (k - s[at].pieces_before) * s[at].piece, buf);
        }
        free(buf);
    }
}

/* The file has every tensor: only now is memory taken, which a configuration alone could ask terabytes of. A file with holes can, too. */
static bool take_all(struct model *m, struct source *s, const char *path, struct err *e)
{
    const struct model_config c = m->c;
    size_t left, total, need = (size_t)m->count * sizeof *m->w;
    measure_memory(&left, &total);
    if (!strcmp(dev_name(), "cpu")) left = total;
    if (need > left) return fail(e, "%s: the weights take %.2f GiB, %s has %.2f GiB", path, (double)need / 0x1p30, dev_name(), (double)left / 0x1p30);
    model_free(m);
    model_make(m, &c);
    for (int i = 0; i < m->params; i++) s[i].to = m->w + m->param[i].at;
    put_all(s, m->params);
    return true;
}

static bool right_shape(const struct param *p, int rank, const int64_t *shape, const char *path, const char *name, struct err *e)
{
    int want = p->cols ? 2 : 1;
    if (rank == want && shape[0] == p->rows && (want == 1 || shape[1] == p->cols)) return true;
    return want == 1 ? fail(e, "%s: tensor %s has another shape than the configuration says: [%lld] is needed", path, name, (long long)p->rows)
                     : fail(e, "%s: tensor %s has another shape than the configuration says: [%lld, %lld] is needed", path, name, (long long)p->rows, (long long)p->cols);
}

/* Tensors of f in the order of the table. */
static bool find_st(const struct model *m, const struct st_file *f, struct source *s, const char *path, struct err *e)
{
    for (int i = 0; i < m->params; i++) {
        const struct param *p = &m->param[i];
        const struct st_tensor *t = st_find(f, p->name);
        if (!t) return fail(e, "%s: no tensor %s, which config.json asks for", path, p->name);
        if (!right_shape(p, t->rank, t->shape, path, p->name, e)) return false;
        if (t->dtype == ST_OTHER) return fail(e, "%s: tensor %s is of a type that is no floating point number", path, p->name);
        s[i] = (struct source){ .st = t, .count = t->count, .cols = p->cols };
    }
    bool spare_head = m->c.tied && st_find(f, "lm_head.weight");           /* some exports of tied models carry the head twice */
    for (int i = 0; st_count(f) != m->params + spare_head && i < st_count(f); i++) {
        bool known = spare_head && !strcmp(st_at(f, i)->name, "lm_head.weight");
        for (int j = 0; !known && j < m->params; j++) known = !strcmp(st_at(f, i)->name, m->param[j].name);
        if (!known) return fail(e, "%s: tensor %s belongs to no part of the model config.json describes", path, st_at(f, i)->name);
    }
    return true;
}

static bool find_gguf(const struct model *m, const struct gguf *g, struct source *s, struct err *e)
{
    const char *path = gguf_name(g);
    for (int i = 0; i < m->params; i++) {
        const struct param *p = &m->param[i];
        char name[96];
        ENSURE(gguf_tensor_name(p->name, name, sizeof name));
        const struct gguf_tensor *t = gguf_tensor(g, name);
        if (!t) return fail(e, "%s: no tensor %s, which its metadata asks for", path, name);
        if (!right_shape(p, t->rank, t->shape, path, name, e)) return false;
        s[i] = (struct source){ .gg = t, .count = t->count, .cols = p->cols, .half = gguf_interleaved(&m->c, p->name) ? m->c.head_dim / 2 : 0 };
    }
    int used = m->params + !!gguf_tensor(g, "rope_freqs.weight");
    for (int i = 0; gguf_tensors(g) != used && i < gguf_tensors(g); i++) {
        struct gguf_text t = gguf_tensor_at(g, i)->name;
        bool known = t.n == 17 && !memcmp(t.p, "rope_freqs.weight", 17);
        for (int j = 0; !known && j < m->params; j++) {
            char name[96];
            known = gguf_tensor_name(m->param[j].name, name, sizeof name) && t.n == (int64_t)strlen(name) && !memcmp(t.p, name, (size_t)t.n);
        }
        if (!known) return fail(e, "%s: tensor %.*s belongs to no part of the model its metadata describes", path, (int)(t.n < 80 ? t.n : 80), t.p);
    }
    return true;
}

static bool taken(const struct model_config *c, const char *path, struct err *e)
{
    return ops_take(&(struct op_shape){ .name = path, .h = { c->heads, c->kv_heads, c->head_dim }, .dim = c->dim, .vocab = c->vocab }, e);
}

static bool open_gguf(struct model *m, const char *path, struct err *e)
{
    struct gguf *g = gguf_open(path, e);
    struct model_config c;
    bool ok = g && gguf_config(g, &c, e) && taken(&c, path, e);
    if (ok) {
        model_lay_out(m, &c);
        struct source *s = xcalloc((size_t)m->params, sizeof *s);
        ok = find_gguf(m, g, s, e) && take_all(m, s, path, e);
        free(s);
    }
    gguf_close(g);
    return ok;
}

static bool open_folder(struct model *m, const char *folder, struct err *e)
{
    struct str path = { 0 }, index = { 0 };
    struct model_config c;
    str_printf(&path, "%s/model.safetensors", folder);
    str_printf(&index, "%s/model.safetensors.index.json", folder);
    const char *from = !file_exists(path.p) && file_exists(index.p) ? index.p : path.p;
    struct st_file *f = NULL;
    bool ok = model_load_config(&c, folder, e) && taken(&c, folder, e) && (f = st_open(from, e)) != NULL;
    if (ok) {
        model_lay_out(m, &c);
        struct source *s = xcalloc((size_t)m->params, sizeof *s);
        ok = find_st(m, f, s, from, e) && take_all(m, s, from, e);
        free(s);
    }
    st_close(f);
    str_free(&path);
    str_free(&index);
    return ok;
}

bool model_load_config(struct model_config *c, const char *path, struct err *e)
{
    struct str file = { 0 };
    bool ok;
    if (gguf_is(path, &file)) {
        struct gguf *g = gguf_open(file.p, e);
        ok = g && gguf_config(g, c, e);
        gguf_close(g);
    } else {
        str_clear(&file);
        str_printf(&file, "%s/config.json", path);
        ok = model_config_read(c, file.p, e);
    }
    str_free(&file);
    return ok;
}

bool model_load(struct model *m, const char *path, struct err *e)
{
    struct str file = { 0 };
    *m = (struct model){ 0 };
    bool ok = gguf_is(path, &file) ? open_gguf(m, file.p, e) : open_folder(m, path, e);
    str_free(&file);
    if (!ok) { model_free(m); return false; }
    m->version++;
    gemm_weights_changed();
    return true;
}
