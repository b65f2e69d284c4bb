/* safetensors.c: reader. The header is checked as the reference implementation checks it: tensors in order of offset
 * must follow each other without overlap or hole and end with the file, so every byte of the file has a meaning.
 * The writer is in safetensors_write.c. */
#include "model/weights/safetensors.h"
#include "base/file.h"
#include "base/json.h"
#include "base/map.h"
#include "model/weights/half.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file's byte order is little-endian");

enum { HEADER_MAX = 100 * 1000 * 1000, SHARDS_MAX = 1000 };     /* 100 MB: the reference implementation's limit */

struct st_file { struct st_tensor *t; int n, cap; struct map *maps; int n_maps; };

/* dtype names of the format with a whole number of bytes per value */
static const struct { const char *name; int bytes; enum st_dtype dtype; } dtypes[] = {
    { "F32", 4, ST_F32 }, { "BF16", 2, ST_BF16 }, { "F16", 2, ST_F16 }, { "F64", 8, ST_F64 },
    { "BOOL", 1, ST_OTHER }, { "U8", 1, ST_OTHER }, { "I8", 1, ST_OTHER }, { "U16", 2, ST_OTHER },
    { "I16", 2, ST_OTHER }, { "U32", 4, ST_OTHER }, { "I32", 4, ST_OTHER }, { "U64", 8, ST_OTHER },
    { "I64", 8, ST_OTHER }, { "F8_E4M3", 1, ST_OTHER }, { "F8_E5M2", 1, ST_OTHER }, { "F8_E8M0", 1, ST_OTHER },
    { "C64", 8, ST_OTHER },
};

/* A tensor's bytes of the data. */
struct data_span { int64_t begin, end; const char *name; };

/* One file being read: header[header_n] is JSON, data[data_n] follows it. */
struct st_reader {
    const char *name, *header;
    size_t header_n;
    const char *data;
    int64_t data_n;
    struct data_span *spans;
    struct err *e;
};

static bool read_dtype(struct st_reader *r, const char *name, json_t *v, struct st_tensor *t, int *bytes)
{
    const char *text = json_string_value(v);
    for (size_t i = 0; text && i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(text, dtypes[i].name)) continue;
        t->dtype = dtypes[i].dtype;
        *bytes = dtypes[i].bytes;
        return true;
    }
    return fail(r->e, "%s: tensor %.120s: dtype %.40s is not known", r->name, name, text ? text : "(not a string)");
}

/* shape -> rank, shape, count; the product with bytes per value must fit an int64_t */
static bool read_shape(struct st_reader *r, const char *name, json_t *v, struct st_tensor *t, int64_t bytes)
{
    if (!json_is_array(v) || json_array_size(v) > ST_RANK_MAX)
        return fail(r->e, "%s: tensor %.120s: shape must be an array of at most %d sizes", r->name, name, ST_RANK_MAX);
    t->rank = (int)json_array_size(v);
    t->count = 1;
    for (int i = 0; i < t->rank; i++) {
        json_t *s = json_array_get(v, (size_t)i);
        t->shape[i] = json_integer_value(s);
        if (!json_is_integer(s) || t->shape[i] < 0)
            return fail(r->e, "%s: tensor %.120s: shape[%d] is not a size", r->name, name, i);
        if (__builtin_mul_overflow(t->count, t->shape[i], &t->count))
            return fail(r->e, "%s: tensor %.120s: shape overflows 64 bits", r->name, name);
    }
    int64_t whole;
    if (__builtin_mul_overflow(t->count, bytes, &whole))
        return fail(r->e, "%s: tensor %.120s: shape overflows 64 bits", r->name, name);
    return true;
}

static bool read_offsets(struct st_reader *r, const char *name, json_t *v, struct st_tensor *t, int64_t bytes,
                         struct data_span *span)
{
    json_t *b = json_array_get(v, 0), *n = json_array_get(v, 1);
    if (!json_is_array(v) || json_array_size(v) != 2 || !json_is_integer(b) || !json_is_integer(n))
        return fail(r->e, "%s: tensor %.120s: data_offsets must be [begin, end]", r->name, name);
    int64_t begin = json_integer_value(b), end = json_integer_value(n);
    if (begin < 0 || end < begin || end > r->data_n)
        return fail(r->e, "%s: tensor %.120s: data_offsets [%lld, %lld] lie outside the %lld bytes of data%s", r->name,
                    name, (long long)begin, (long long)end, (long long)r->data_n,
                    end > r->data_n ? "; is the file cut short?" : "");
    if (end - begin != t->count * bytes)
        return fail(r->e, "%s: tensor %.120s: %lld bytes of data, its shape needs %lld", r->name, name,
                    (long long)(end - begin), (long long)(t->count * bytes));
    t->data = r->data + begin;
    *span = (struct data_span){ begin, end, name };
    return true;
}

static bool read_tensor(struct st_reader *r, const char *name, json_t *v, struct data_span *span, struct st_file *f)
{
    struct st_tensor t = { 0 };
    int bytes = 0;
    if (!json_is_object(v)) return fail(r->e, "%s: tensor %.120s: must be an object", r->name, name);
    const char *key;
    json_t *x;
    json_object_foreach(v, key, x)
        if (strcmp(key, "dtype") && strcmp(key, "shape") && strcmp(key, "data_offsets"))
            return fail(r->e, "%s: tensor %.120s: unknown key %.40s", r->name, name, key);
    if (!read_dtype(r, name, json_object_get(v, "dtype"), &t, &bytes)) return false;
    if (!read_shape(r, name, json_object_get(v, "shape"), &t, bytes)) return false;
    if (!read_offsets(r, name, json_object_get(v, "data_offsets"), &t, bytes, span)) return false;
    if (f->n == f->cap) {
        f->cap = f->cap ? 2 * f->cap : 64;              /* at most one tensor per 2 bytes of header: far from 2^31 */
        f->t = xrealloc(f->t, (size_t)f->cap * sizeof *f->t);
    }
    t.name = xstrdup(name);
    f->t[f->n++] = t;
    return true;
}

/* An empty tensor comes before the full one that begins at the same byte. */
static int by_place(const void *a, const void *b)
{
    const struct data_span *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static bool check_cover(struct st_reader *r, int n)
{
    qsort(r->spans, (size_t)n, sizeof *r->spans, by_place);
    int64_t at = 0;
    for (int i = 0; i < n; at = r->spans[i++].end) {
        const struct data_span *s = &r->spans[i];
        if (s->begin < at)
            return fail(r->e, "%s: tensor %.120s overlaps tensor %.120s at data byte %lld", r->name, s->name,
                        s[-1].name, (long long)s->begin);
        if (s->begin > at)
            return fail(r->e, "%s: data bytes %lld to %lld, before tensor %.120s, belong to no tensor", r->name,
                        (long long)at, (long long)s->begin, s->name);
    }
    if (at != r->data_n)
        return fail(r->e, "%s: data bytes %lld to %lld, at the end, belong to no tensor", r->name, (long long)at,
                    (long long)r->data_n);
    return true;
}

static bool read_header(struct st_reader *r, json_t *j, struct st_file *f)
{
    if (!json_is_object(j)) return fail(r->e, "%s: the header must be a JSON object", r->name);
    r->spans = xmalloc(json_object_size(j) * sizeof *r->spans);
    const char *key;
    json_t *v;
    int first = f->n;
    json_object_foreach(j, key, v) {
        if (!strcmp(key, "__metadata__")) {
            const char *k;
            json_t *text;
            if (!json_is_object(v)) return fail(r->e, "%s: __metadata__ must be an object", r->name);
            json_object_foreach(v, k, text)
                if (!json_is_string(text)) return fail(r->e, "%s: __metadata__.%.80s must be a string", r->name, k);
        } else if (!read_tensor(r, key, v, &r->spans[f->n - first], f)) {
            return false;
        }
    }
    return check_cover(r, f->n - first);
}

/* Adds the tensors of one file's bytes to f. */
static bool read_bytes(struct st_file *f, const char *name, const char *p, size_t n, struct err *e)
{
    uint64_t len;
    static const char lfs[] = "version https://git-lfs";
    if (n > sizeof lfs && !memcmp(p, lfs, sizeof lfs - 1))
        return fail(e, "%s: is a Git LFS pointer, not the file itself: run git lfs pull in its repository", name);
    if (n < sizeof len)
        return fail(e, "%s: %zu bytes: too short for the 8-byte header length; is the file cut short?", name, n);
    memcpy(&len, p, sizeof len);
    if (len > HEADER_MAX)
        return fail(e, "%s: byte 0: header length %llu is above %d; this is not a safetensors file", name,
                    (unsigned long long)len, HEADER_MAX);
    if (len > n - sizeof len)
        return fail(e, "%s: byte 0: header length %llu, but only %zu bytes follow; is the file cut short?", name,
                    (unsigned long long)len, n - sizeof len);
    struct st_reader r = { .name = name, .header = p + sizeof len, .header_n = (size_t)len, .e = e };
    r.data = r.header + r.header_n;
    r.data_n = (int64_t)(n - sizeof len - r.header_n);
    if (r.header_n == 0 || r.header[0] != '{') return fail(e, "%s: byte 8: the header must begin with {", name);
    json_t *j = json_from(name, r.header, r.header_n, e);
    bool ok = j && read_header(&r, j, f);
    json_decref(j);
    free(r.spans);
    return ok;
}

static bool read_mapped(struct st_file *f, const char *path, struct err *e)
{
    struct map map;
    if (!map_open(&map, path, e)) return false;
    f->maps = xrealloc(f->maps, (size_t)(f->n_maps + 1) * sizeof *f->maps);
    f->maps[f->n_maps++] = map;
    return read_bytes(f, path, map.p, map.n, e);
}

/* Sorts the tensors for st_find; two shards must not hold the same name. */
static struct st_file *finish(struct st_file *f, const char *name, bool ok, struct err *e)
{
    if (ok && f->n) qsort(f->t, (size_t)f->n, sizeof *f->t, by_name);
    for (int i = 1; ok && i < f->n; i++)
        if (!strcmp(f->t[i - 1].name, f->t[i].name))
            ok = fail(e, "%s: tensor %.120s is in two shards", name, f->t[i].name);
    if (ok) return f;
    st_close(f);
    return NULL;
}

/* weight_map -> the shards, each once; a shard must lie beside the index. */
static bool read_index(struct st_file *f, const char *path, json_t *map, struct err *e)
{
    if (!json_is_object(map)) return fail(e, "%s: no weight_map (tensor name to file name)", path);
    json_t *seen = json_object(), *v;
    const char *key, *slash = strrchr(path, '/');
    bool ok = true;
    json_object_foreach(map, key, v) {
        const char *shard = json_string_value(v);
        if (!shard || !*shard || strchr(shard, '/')) {
            ok = fail(e, "%s: weight_map.%.120s must name a file beside this one", path, key);
            break;
        }
        if (json_object_get(seen, shard)) continue;
        if (json_object_size(seen) == SHARDS_MAX) {
            ok = fail(e, "%s: weight_map names more than %d files", path, SHARDS_MAX);
            break;
        }
        json_object_set_new(seen, shard, json_true());
        struct str full = { 0 };
        str_printf(&full, "%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, shard);
        ok = read_mapped(f, full.p, e);
        str_free(&full);
        if (!ok) break;
    }
    json_decref(seen);
    return ok;
}

/* The index may name a head that no file has: save_pretrained of some versions lists it although it is tied. An untied
 * model then lacks it when it is loaded. */
static bool may_lack(const char *name) { return !strcmp(name, "lm_head.weight"); }

static struct st_file *open_index(const char *path, struct err *e)
{
    struct st_file *f = xcalloc(1, sizeof *f);
    struct str text = { 0 };
    bool ok = file_read(path, HEADER_MAX, &text, e);
    json_t *j = ok ? json_from(path, text.p ? text.p : "", text.n, e) : NULL, *map = json_object_get(j, "weight_map"),
           *v;
    ok = j && read_index(f, path, map, e);
    f = finish(f, path, ok, e);
    const char *key;
    if (f) json_object_foreach(map, key, v)
        if (!st_find(f, key) && !may_lack(key)) {
            fail(e, "%s: tensor %.120s is not in %.80s", path, key, json_string_value(v));
            st_close(f);
            f = NULL;
            break;
        }
    json_decref(j);
    str_free(&text);
    return f;
}

struct st_file *st_open(const char *path, struct err *e)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        struct str one = { 0 }, index = { 0 };
        str_printf(&one, "%s/model.safetensors", path);
        str_printf(&index, "%s/model.safetensors.index.json", path);
        struct st_file *f = NULL;
        if (file_exists(one.p)) f = st_open(one.p, e);
        else if (file_exists(index.p)) f = open_index(index.p, e);
        else fail(e, "%s: holds neither model.safetensors nor model.safetensors.index.json", path);
        str_free(&one);
        str_free(&index);
        return f;
    }
    if (ends_with(path, ".index.json")) return open_index(path, e);
    struct st_file *f = xcalloc(1, sizeof *f);
    return finish(f, path, read_mapped(f, path, e), e);
}

struct st_file *st_parse(const char *name, const void *bytes, size_t n, struct err *e)
{
    struct st_file *f = xcalloc(1, sizeof *f);
    return finish(f, name, read_bytes(f, name, bytes, n, e), e);
}

void st_close(struct st_file *f)
{
    if (!f) return;
    for (int i = 0; i < f->n; i++) free(f->t[i].name);
    for (int i = 0; i < f->n_maps; i++) map_close(&f->maps[i]);
    free(f->t);
    free(f->maps);
    free(f);
}

int st_count(const struct st_file *f) { return f->n; }

const struct st_tensor *st_at(const struct st_file *f, int i)
{
    ENSURE(i >= 0 && i < f->n);
    return &f->t[i];
}

const struct st_tensor *st_find(const struct st_file *f, const char *name)
{
    struct st_tensor key = { .name = (char *)(uintptr_t)name };
    return f->n ? bsearch(&key, f->t, (size_t)f->n, sizeof *f->t, by_name) : NULL;
}

static bool inside(const struct st_tensor *t, int64_t begin, int64_t n)
{
    return t->dtype != ST_OTHER && begin >= 0 && n >= 0 && begin <= t->count && n <= t->count - begin;
}

#define LOAD(type, p, i) ({ type v_; memcpy(&v_, (const char *)(p) + (i) * (int64_t)sizeof v_, sizeof v_); v_; })

bool st_get_f32(const struct st_tensor *t, int64_t begin, int64_t n, float *out)
{
    if (!inside(t, begin, n)) return false;
    switch (t->dtype) {
    case ST_F32: if (n) memcpy(out, (const char *)t->data + begin * 4, (size_t)n * 4); break;
    case ST_F64: for (int64_t i = 0; i < n; i++) out[i] = (float)LOAD(double, t->data, begin + i); break;
    case ST_F16: f32_of_f16_all(out, (const char *)t->data + begin * 2, n); break;
    case ST_BF16: f32_of_bf16_all(out, (const char *)t->data + begin * 2, n); break;
    case ST_OTHER: return false;
    }
    return true;
}

bool st_get_f64(const struct st_tensor *t, int64_t begin, int64_t n, double *out)
{
    if (!inside(t, begin, n)) return false;
    switch (t->dtype) {
    case ST_F32: for (int64_t i = 0; i < n; i++) out[i] = (double)LOAD(float, t->data, begin + i); break;
    case ST_F64: if (n) memcpy(out, (const char *)t->data + begin * 8, (size_t)n * 8); break;
    case ST_F16: for (int64_t i = 0; i < n; i++) out[i] = (double)f32_of_f16(LOAD(uint16_t, t->data, begin + i)); break;
    case ST_BF16:
        for (int64_t i = 0; i < n; i++) out[i] = (double)f32_of_bf16(LOAD(uint16_t, t->data, begin + i));
        break;
    case ST_OTHER: return false;
    }
    return true;
}
