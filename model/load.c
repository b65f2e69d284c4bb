/* load.c: weights from safetensors or GGUF. A file is mapped and converted piece by piece, by all threads, straight
 * into the model's memory: there is never a second copy of a tensor. All pieces of all tensors are one parallel loop:
 * one loop a tensor would wait for the slower thread 300 times. */
#include "model/load.h"
#include "model/gguf_model.h"
#include "model/model_place.h"
#include "model/weights/safetensors.h"
#include "base/file.h"
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 16 };            /* numbers a thread converts at once: they stay in its L2 */

/* One tensor of the file and its destination. */
struct tensor_source {
    const struct st_tensor *st;     /* one of the two */
    const struct gguf_tensor *gg;
    elem_t *to;
    int64_t count, cols;
    int64_t piece, pieces_before;   /* numbers a piece has; pieces of the tensors before this one */
    int64_t bad, first_bad;         /* NaN and infinite numbers, and the index of the first; counted with the check */
    int half;                       /* > 0: GGUF's interleaved rows, in heads of 2 half rows */
};

/* out[n] = values begin .. of the file's tensor, in the file's order. */
static void get_acc(const struct tensor_source *s, int64_t begin, int64_t n, acc_t *out)
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

/* The same with the rows in the model's order. */
static void get_reordered(const struct tensor_source *s, int64_t begin, int64_t n, acc_t *out)
{
    if (!s->half) { get_acc(s, begin, n, out); return; }
    for (int64_t at = begin; at < begin + n; at += s->cols) {       /* begin and n are whole rows */
        int64_t row = at / s->cols, head = row / (2 * s->half), i = row % s->half, part = row / s->half % 2;
        get_acc(s, (head * 2 * s->half + 2 * i + part) * s->cols, s->cols, out + (at - begin));
    }
}

/* The same in the storage type. */
static void get_elem(const struct tensor_source *s, int64_t begin, int64_t n, elem_t *out)
{
#if defined(REAL_IS_bf16)
    acc_t *x = xmalloc((size_t)n * sizeof *x);
    get_reordered(s, begin, n, x);
    for (int64_t i = 0; i < n; i++) out[i] = elem_from((double)x[i]);
    free(x);
#else
    get_reordered(s, begin, n, out);
#endif
}

/* Are the file's numbers of the storage type? Then they are copied from the map. */
static bool as_stored(const struct tensor_source *s)
{
#if defined(REAL_IS_bf16)
    return s->st && s->st->dtype == ST_BF16;
#elif defined(REAL_IS_float)
    return s->st && s->st->dtype == ST_F32;
#else
    return s->st && s->st->dtype == ST_F64;
#endif
}

/* How many of x[n] are NaN or infinite (all bits of the exponent are set); *first is the index of the first. Two loops,
 * so that the first, which nearly always finds none, is vector instructions: 25 ms of CPU time for SmolLM2's 135 M
 * numbers, of 330 for all of loading. */
static int64_t count_bad(const elem_t *x, int64_t n, int64_t *first)
{
#if defined(REAL_IS_bf16)
    typedef uint16_t bits;
    const bits exponent = 0x7f80;
#elif defined(REAL_IS_float)
    typedef uint32_t bits;
    const bits exponent = 0x7f800000;
#else
    typedef uint64_t bits;
    const bits exponent = 0x7ff0000000000000;
#endif
    int64_t bad = 0;
    int any = 0;
    for (int64_t i = 0; i < n; i++) {
        bits u;
        memcpy(&u, (const char *)x + (size_t)i * sizeof u, sizeof u);
        any |= (u & exponent) == exponent;
    }
    for (int64_t i = 0; any && i < n; i++) {
        bits u;
        memcpy(&u, (const char *)x + (size_t)i * sizeof u, sizeof u);
        if ((u & exponent) == exponent && bad++ == 0) *first = i;
    }
    return bad;
}

/* Pieces are whole blocks of every quantised type, and whole rows where rows are reordered. */
static void put_piece(struct tensor_source *s, int64_t begin, elem_t *buf, bool check)
{
    int64_t n = s->count - begin < s->piece ? s->count - begin : s->piece;
    const void *from = buf;
    if (as_stored(s)) from = (const char *)s->st->data + (size_t)begin * sizeof *buf;
    else get_elem(s, begin, n, buf);
    int64_t first = 0, bad = check ? count_bad(from, n, &first) : 0;
    if (bad) {
        #pragma omp critical
        {
            if (!s->bad || begin + first < s->first_bad) s->first_bad = begin + first;
            s->bad += bad;
        }
    }
    dev_put(s->to + begin, from, (size_t)n * sizeof *buf);
}

static void put_all(struct tensor_source *s, int n, bool check)
{
    int64_t pieces = 0, longest = 0;
    for (int i = 0; i < n; i++) {
        s[i].piece = s[i].half ? (PIECE + s[i].cols - 1) / s[i].cols * s[i].cols : PIECE;
        s[i].pieces_before = pieces;
        pieces += (s[i].count + s[i].piece - 1) / s[i].piece;
        if (s[i].piece > longest) longest = s[i].piece;
    }
    /* dev_threads() is 1 where dev_put is for one thread: everywhere but on the CPU */
    #pragma omp parallel num_threads(dev_threads())
    {
        elem_t *buf = xmalloc((size_t)longest * sizeof *buf);
        int at = 0;
        #pragma omp for schedule(dynamic, 4)
        for (int64_t k = 0; k < pieces; k++) {
            /* a thread's pieces come in ascending order */
            while (at + 1 < n && s[at + 1].pieces_before <= k) at++;
            put_piece(&s[at], (k - s[at].pieces_before) * s[at].piece, buf, check);
        }
        free(buf);
    }
}

/* False: a weight is NaN or infinite; the message names the first such tensor and place. */
static bool all_finite(const struct model *m, const struct tensor_source *s, const char *path, struct err *e)
{
    const struct tensor_source *bad = NULL;
    const char *name = NULL;
    int tensors = 0;
    for (int i = 0; i < m->params; i++) {
        if (!s[i].bad) continue;
        if (!bad) { bad = &s[i]; name = m->param[i].name; }
        tensors++;
    }
    if (!bad) return true;
    int64_t row = bad->cols ? bad->first_bad / bad->cols : bad->first_bad;
    char at[64], others[64] = "";
    if (bad->cols) snprintf(at, sizeof at, "[%lld, %lld]", (long long)row, (long long)(bad->first_bad % bad->cols));
    else snprintf(at, sizeof at, "[%lld]", (long long)row);
    if (tensors > 1)
        snprintf(others, sizeof others, "; %d other tensor%s too", tensors - 1,
                 tensors > 2 ? "s have some" : " has some");
    return fail(e,
                "%s: tensor %s: %lld of %lld numbers are NaN or infinite as they are kept here (%s), the first at "
                "%s%s. The model is damaged: take "
                "an earlier checkpoint, or download it again (model.check=off loads it anyway)",
                path, name, (long long)bad->bad, (long long)bad->count, ELEM_NAME, at, others);
}

/* Allocates only now that the file is known to have every tensor: a configuration alone could ask for terabytes. So can
 * a sparse file, hence the check against free memory. */
static bool take_all(struct model *m, struct tensor_source *s, const char *path, bool check, struct err *e)
{
    const struct model_config c = m->c;
    size_t left, total, need = (size_t)m->count * sizeof *m->w;
    dev_memory(&left, &total);
    if (need > left)
        return fail(e, "%s: the weights take %.2f GiB, %s has %.2f GiB", path, (double)need / 0x1p30, dev_name(),
                    (double)left / 0x1p30);
    model_free(m);
    model_make(m, &c);
    for (int i = 0; i < m->params; i++) s[i].to = m->w + m->param[i].at;
    put_all(s, m->params, check);
    return all_finite(m, s, path, e);
}

static bool right_shape(const struct param *p, int rank, const int64_t *shape, const char *path, const char *name,
                        struct err *e)
{
    int want = p->cols ? 2 : 1;
    if (rank == want && shape[0] == p->rows && (want == 1 || shape[1] == p->cols)) return true;
    return want == 1 ? fail(e, "%s: tensor %s has another shape than the configuration: [%lld] is needed", path,
                            name, (long long)p->rows)
                     : fail(e, "%s: tensor %s has another shape than the configuration: [%lld, %lld] is needed",
                            path, name, (long long)p->rows, (long long)p->cols);
}

/* Buffers that older files hold beside the weights, by the end of their names: tables of rotary positions and causal
 * masks, which are computed here, as in transformers. self_attn.bias is a mask only as [1, 1, n, n]. */
static bool is_buffer(const struct st_tensor *t)
{
    static const struct { const char *tail; int rank; } buffers[] = {
        { ".rotary_emb.inv_freq", 1 }, { ".rotary_emb.original_inv_freq", 1 }, { ".rotary_emb.cos_cached", -1 },
        { ".rotary_emb.sin_cached", -1 }, { ".self_attn.masked_bias", 0 }, { ".self_attn.bias", 4 },
        { ".position_ids", -1 },
    };
    size_t n = strlen(t->name);
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        size_t m = strlen(buffers[i].tail);
        if (n > m && !strcmp(t->name + n - m, buffers[i].tail))
            return buffers[i].rank < 0 || buffers[i].rank == t->rank;
    }
    return false;
}

static const char embed_name[] = "model.embed_tokens.weight", head_name[] = "lm_head.weight";

/* The same numbers, in any types; two NaNs of the same bits are the same. */
static bool same_numbers(const struct st_tensor *a, const struct st_tensor *b)
{
    enum { N = 4096 };
    double x[N], y[N];
    if (a->rank != b->rank || a->count != b->count || (a->rank && a->shape[0] != b->shape[0])) return false;
    if (a->dtype == b->dtype && a->dtype != ST_OTHER) {
        static const int widths[] = { [ST_F32] = 4, [ST_F64] = 8, [ST_F16] = 2, [ST_BF16] = 2 };
        if (!memcmp(a->data, b->data, (size_t)a->count * (size_t)widths[a->dtype])) return true;
    }
    for (int64_t at = 0; at < a->count; at += N) {
        int64_t n = a->count - at < N ? a->count - at : N;
        if (!st_get_f64(a, at, n, x) || !st_get_f64(b, at, n, y)) return false;
        for (int64_t i = 0; i < n; i++)
            if (!(x[i] >= y[i] && x[i] <= y[i]) && memcmp(&x[i], &y[i], sizeof *x)) return false;
    }
    return true;
}

/* Where config.json ties the head to the embedding and the file has a head with other numbers, the file is right, as in
 * transformers 5. True: the head was untied. */
static bool untie_head(struct model_config *c, const struct st_file *f)
{
    const struct st_tensor *embed = st_find(f, embed_name), *head = st_find(f, head_name);
    if (!c->tied || !embed || !head || same_numbers(embed, head)) return false;
    c->tied = false;
    return true;
}

/* The file's tensor for a parameter. A tied embedding may be in it under the head's name alone. */
static const struct st_tensor *tensor_of(const struct model *m, const struct st_file *f, const struct param *p)
{
    const struct st_tensor *t = st_find(f, p->name);
    return !t && m->c.tied && !strcmp(p->name, embed_name) ? st_find(f, head_name) : t;
}

/* Tensors of f in the order of the table. */
static bool find_st(const struct model *m, const struct st_file *f, struct tensor_source *s, const char *path,
                    struct err *e)
{
    for (int i = 0; i < m->params; i++) {
        const struct param *p = &m->param[i];
        const struct st_tensor *t = tensor_of(m, f, p);
        if (!t && !strcmp(p->name, head_name))
            return fail(e,
                        "%s: no tensor %s, which config.json asks for: it has no \"tie_word_embeddings\": true. "
                        "Add that if the model's head "
                        "is its embedding",
                        path, p->name);
        if (!t) return fail(e, "%s: no tensor %s, which config.json asks for", path, p->name);
        if (!right_shape(p, t->rank, t->shape, path, t->name, e)) return false;
        if (t->dtype == ST_OTHER)
            return fail(e, "%s: tensor %s is not of a floating point type", path, p->name);
        s[i] = (struct tensor_source){ .st = t, .count = t->count, .cols = p->cols };
    }
    for (int i = 0; st_count(f) != m->params && i < st_count(f); i++) {
        const struct st_tensor *t = st_at(f, i);
        /* a tied head is in the file too, with the embedding's numbers */
        bool known = is_buffer(t) || (m->c.tied && !strcmp(t->name, head_name));
        for (int j = 0; !known && j < m->params; j++) known = !strcmp(t->name, m->param[j].name);
        if (!known)
            return fail(e, "%s: tensor %s belongs to no part of the model config.json describes", path, t->name);
    }
    return true;
}

static bool find_gguf(const struct model *m, const struct gguf *g, struct tensor_source *s, struct err *e)
{
    const char *path = gguf_name(g);
    for (int i = 0; i < m->params; i++) {
        const struct param *p = &m->param[i];
        char name[96];
        ENSURE(gguf_tensor_name(p->name, name, sizeof name));
        const struct gguf_tensor *t = gguf_tensor(g, name);
        if (!t) return fail(e, "%s: no tensor %s, which its metadata asks for", path, name);
        if (!right_shape(p, t->rank, t->shape, path, name, e)) return false;
        s[i] = (struct tensor_source){ .gg = t,
                                .count = t->count,
                                .cols = p->cols,
                                .half = gguf_interleaved(&m->c, p->name) ? m->c.head_dim / 2 : 0 };
    }
    int used = m->params + !!gguf_tensor(g, "rope_freqs.weight");
    for (int i = 0; gguf_tensors(g) != used && i < gguf_tensors(g); i++) {
        struct gguf_text t = gguf_tensor_at(g, i)->name;
        bool known = t.n == 17 && !memcmp(t.p, "rope_freqs.weight", 17);
        for (int j = 0; !known && j < m->params; j++) {
            char name[96];
            known = gguf_tensor_name(m->param[j].name, name, sizeof name) && t.n == (int64_t)strlen(name) &&
                    !memcmp(t.p, name, (size_t)t.n);
        }
        if (!known)
            return fail(e, "%s: tensor %.*s belongs to no part of the model its metadata describes", path,
                        (int)(t.n < 80 ? t.n : 80), t.p);
    }
    return true;
}

static bool supported(const struct model_config *c, const char *path, struct err *e)
{
    return ops_support(
        &(struct op_shape){
            .name = path, .h = { c->heads, c->kv_heads, c->head_dim }, .dim = c->dim, .vocab = c->vocab },
        e);
}

static bool open_gguf(struct model *m, const char *path, bool check, struct err *e)
{
    struct gguf *g = gguf_open(path, e);
    struct model_config c;
    bool ok = g && gguf_config(g, &c, e) && supported(&c, path, e);
    if (ok) {
        model_lay_out(m, &c);
        struct tensor_source *s = xcalloc((size_t)m->params, sizeof *s);
        ok = find_gguf(m, g, s, e) && take_all(m, s, path, check, e);
        free(s);
    }
    gguf_close(g);
    return ok;
}

/* The weights of a folder; *from gets their path for messages. */
static struct st_file *open_weights(const char *folder, struct str *from, struct err *e)
{
    str_printf(from, "%s/model.safetensors", folder);
    if (!file_exists(from->p)) str_puts(from, ".index.json");
    return file_exists(from->p)     ? st_open(from->p, e)
           : model_place(folder, e) ? (fail(e, "%s: No such file", from->p), NULL)
                                    : NULL;
}

static bool read_config(struct model_config *c, const char *folder, struct err *e)
{
    struct str file = { 0 };
    str_printf(&file, "%s/config.json", folder);
    bool ok = (file_exists(file.p) || model_place(folder, e)) && model_config_read(c, file.p, e);
    str_free(&file);
    return ok;
}

static bool open_folder(struct model *m, const char *folder, bool check, struct err *e)
{
    struct str from = { 0 };
    struct model_config c;
    struct st_file *f = NULL;
    bool ok = read_config(&c, folder, e) && supported(&c, folder, e) && (f = open_weights(folder, &from, e)) != NULL;
    if (ok) {
        if (untie_head(&c, f))
            fprintf(notes(),
                    "appo: note: %s: lm_head.weight is not the embedding, although config.json says "
                    "\"tie_word_embeddings\": true. The head of "
                    "the file is used, as transformers 5 does; a saved model will have false\n",
                    from.p);
        model_lay_out(m, &c);
        struct tensor_source *s = xcalloc((size_t)m->params, sizeof *s);
        ok = find_st(m, f, s, from.p, e) && take_all(m, s, from.p, check, e);
        free(s);
    }
    st_close(f);
    str_free(&from);
    return ok;
}

/* The configuration of the model that would be loaded: if there are weights, they decide whether the head is tied. */
static bool folder_config(struct model_config *c, const char *folder, struct err *e)
{
    struct str from = { 0 };
    struct err ignored;
    if (!read_config(c, folder, e)) return false;
    struct st_file *f = c->tied ? open_weights(folder, &from, &ignored) : NULL;
    if (f) untie_head(c, f);
    st_close(f);
    str_free(&from);
    return true;
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
        ok = folder_config(c, path, e);
    }
    str_free(&file);
    return ok;
}

bool model_load_as(struct model *m, const char *path, bool check, struct err *e)
{
    struct str file = { 0 };
    *m = (struct model){ 0 };
    bool ok = gguf_is(path, &file) ? open_gguf(m, file.p, check, e) : open_folder(m, path, check, e);
    str_free(&file);
    if (!ok) { model_free(m); return false; }
    m->version++;
    gemm_weights_changed();
    return true;
}

bool model_load(struct model *m, const char *path, struct err *e) { return model_load_as(m, path, true, e); }
