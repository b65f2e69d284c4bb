/* gguf.c: the container. Every length is checked against what is left of the file before it is used or anything is
 * allocated for it; there is no recursion, because arrays of arrays, which no model uses, are rejected. */
#include "model/weights/gguf.h"
#include "base/file.h"
#include "base/map.h"
#include "base/arith.h"
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file's byte order is little-endian");

/* least bytes of a pair, of a tensor's row */
enum { PAIR_MIN = 8 + 4 + 1, TENSOR_MIN = 8 + 4 + 8 + 4 + 8, ALIGN_MAX = 1 << 16 };

struct gguf {
    char *name;
    struct map map;
    struct gguf_pair *pair;
    struct gguf_tensor *tensor;
    int pairs, tensors;
};

/* The rest of the file: p[at .. n). */
struct cursor { const char *name, *p; int64_t at, n; struct err *e; };
static const int widths[GGUF_TYPES] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

static int shown(struct gguf_text t) { return (int)(t.n < 80 ? t.n : 80); }
#define SHOW(t) shown(t), (t).p

static bool take(struct cursor *c, void *out, int64_t n, const char *what)
{
    if (n > c->n - c->at) {
        fail(c->e, "%s: byte %lld: the file ends inside %s; is it cut short?", c->name, (long long)c->at, what);
        /* a constant, so that the compiler knows that *out is not read */
        return false;
    }
    memcpy(out, c->p + c->at, (size_t)n);
    c->at += n;
    return true;
}

static bool take_text(struct cursor *c, struct gguf_text *t, const char *what)
{
    uint64_t n;
    if (!take(c, &n, 8, what)) return false;
    if (n > (uint64_t)(c->n - c->at))
        return fail(c->e, "%s: byte %lld: %s of %llu bytes, %lld are left", c->name, (long long)c->at - 8, what,
                    (unsigned long long)n, (long long)(c->n - c->at));
    *t = (struct gguf_text){ c->p + c->at, (int64_t)n };
    c->at += (int64_t)n;
    return true;
}

/* Skips p->n values of p->type. */
static bool skip_values(struct cursor *c, struct gguf_pair *p)
{
    p->p = c->p + c->at;
    if (p->type == GGUF_STRING) {
        struct gguf_text t;
        for (int64_t i = 0; i < p->n; i++) if (!take_text(c, &t, "a text")) return false;
        return true;
    }
    if (p->n > (c->n - c->at) / widths[p->type])
        return fail(c->e, "%s: %.*s: %lld values, the file has room for fewer; is it cut short?", c->name, SHOW(p->key),
                    (long long)p->n);
    for (int64_t i = 0; p->type == GGUF_BOOL && i < p->n; i++)
        if (p->p[i] & ~1) return fail(c->e, "%s: %.*s: a truth value that is neither 0 nor 1", c->name, SHOW(p->key));
    c->at += p->n * widths[p->type];
    return true;
}

static bool take_pair(struct cursor *c, struct gguf_pair *p)
{
    uint32_t type;
    uint64_t n = 1;
    if (!take_text(c, &p->key, "a metadata key") || !take(c, &type, 4, "a metadata type")) return false;
    p->is_array = type == GGUF_ARRAY;
    if (p->is_array && (!take(c, &type, 4, "an array's type") || !take(c, &n, 8, "an array's length"))) return false;
    if (type >= GGUF_TYPES || type == GGUF_ARRAY)
        return fail(c->e, "%s: %.*s: %s", c->name, SHOW(p->key),
                    type == GGUF_ARRAY ? "arrays of arrays are not read" : "its type is not one of GGUF's");
    if (n > (uint64_t)(c->n - c->at))
        return fail(c->e, "%s: %.*s: an array of %llu values, only %lld bytes are left", c->name, SHOW(p->key),
                    (unsigned long long)n, (long long)(c->n - c->at));
    p->type = (enum gguf_type)type;
    p->n = (int64_t)n;
    return skip_values(c, p);
}

static int compare(struct gguf_text a, struct gguf_text b)
{
    int d = memcmp(a.p, b.p, (size_t)(a.n < b.n ? a.n : b.n));
    return d ? d : (a.n > b.n) - (a.n < b.n);
}
static int by_key(const void *a, const void *b)
{
    return compare(((const struct gguf_pair *)a)->key, ((const struct gguf_pair *)b)->key);
}
static int by_name(const void *a, const void *b)
{
    return compare(((const struct gguf_tensor *)a)->name, ((const struct gguf_tensor *)b)->name);
}

static bool read_pairs(struct gguf *g, struct cursor *c, uint64_t n)
{
    if (n > (uint64_t)(c->n - c->at) / PAIR_MIN || n > INT_MAX)
        return fail(c->e, "%s: byte 16: %llu metadata pairs do not fit %lld bytes", c->name, (unsigned long long)n,
                    (long long)(c->n - c->at));
    g->pair = xcalloc((size_t)n, sizeof *g->pair);
    for (; g->pairs < (int)n; g->pairs++) if (!take_pair(c, &g->pair[g->pairs])) return false;
    qsort(g->pair, (size_t)g->pairs, sizeof *g->pair, by_key);
    for (int i = 1; i < g->pairs; i++)
        if (!by_key(&g->pair[i - 1], &g->pair[i]))
            return fail(c->e, "%s: %.*s: this metadata key is there twice", c->name, SHOW(g->pair[i].key));
    return true;
}

/* name, rank, sizes (innermost first), type, offset -> t; *offset and *bytes of its data. */
static bool take_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t *offset, int64_t *bytes)
{
    uint32_t rank, type;
    uint64_t size;
    if (!take_text(c, &t->name, "a tensor's name") || !take(c, &rank, 4, "a tensor's rank")) return false;
    if (rank < 1 || rank > GGUF_RANK_MAX)
        return fail(c->e, "%s: tensor %.*s: %u dimensions, 1 to %d are read", c->name, SHOW(t->name), rank,
                    GGUF_RANK_MAX);
    t->rank = (int)rank;
    t->count = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (!take(c, &size, 8, "a tensor's shape")) return false;
        if (size == 0 || size > INT64_MAX || __builtin_mul_overflow(t->count, (int64_t)size, &t->count))
            return fail(c->e, "%s: tensor %.*s: its shape is empty or overflows 64 bits", c->name, SHOW(t->name));
        t->shape[i] = (int64_t)size;
    }
    if (!take(c, &type, 4, "a tensor's type") || !take(c, offset, 8, "a tensor's offset")) return false;
    t->dtype = gguf_dtype(type);
    if (!t->dtype)
        return fail(c->e,
                    "%s: tensor %.*s: ggml type %u is not read; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, "
                    "Q5_K and Q6_K are: "
                    "convert it with llama-quantize",
                    c->name, SHOW(t->name), type);
    if (t->shape[t->rank - 1] % t->dtype->block)
        return fail(c->e, "%s: tensor %.*s: rows of %lld numbers are not whole blocks of %s", c->name, SHOW(t->name),
                    (long long)t->shape[t->rank - 1], t->dtype->name);
    if (__builtin_mul_overflow(t->count / t->dtype->block, (int64_t)t->dtype->bytes, bytes))
        return fail(c->e, "%s: tensor %.*s: its size overflows 64 bits", c->name, SHOW(t->name));
    return true;
}

struct tensor_place { uint64_t begin; int64_t bytes; int tensor; };
static int by_place(const void *a, const void *b)
{
    const struct tensor_place *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Data begins at the next multiple of align; each tensor begins where the one before it ends, rounded up. */
static bool place(struct gguf *g, struct cursor *c, struct tensor_place *s, int64_t align)
{
    int64_t data = round_up(c->at, align), at = 0;
    qsort(s, (size_t)g->tensors, sizeof *s, by_place);
    for (int i = 0; i < g->tensors; i++) {
        struct gguf_tensor *t = &g->tensor[s[i].tensor];
        int64_t begin = round_up(at, align);
        if (s[i].begin != (uint64_t)begin)
            return fail(c->e, "%s: tensor %.*s: begins at data byte %llu, %s byte %lld, where the one before it ends",
                        c->name, SHOW(t->name), (unsigned long long)s[i].begin,
                        s[i].begin < (uint64_t)begin ? "which overlaps" : "not at", (long long)begin);
        if (data > c->n || begin > c->n - data || s[i].bytes > c->n - data - begin)
            return fail(c->e, "%s: tensor %.*s: %lld bytes at data byte %lld end outside the file; is it cut short?",
                        c->name, SHOW(t->name), (long long)s[i].bytes, (long long)begin);
        t->data = c->p + data + begin;
        at = begin + s[i].bytes;
    }
    if (c->n - data - at >= align && c->n > data)
        return fail(c->e, "%s: %lld bytes after the last tensor belong to none", c->name,
                    (long long)(c->n - data - at));
    return true;
}

static bool read_tensors(struct gguf *g, struct cursor *c, uint64_t n)
{
    if (n > (uint64_t)(c->n - c->at) / TENSOR_MIN || n > INT_MAX)
        return fail(c->e, "%s: byte 8: %llu tensors do not fit %lld bytes", c->name, (unsigned long long)n,
                    (long long)(c->n - c->at));
    int64_t align = 32;
    if (gguf_find(g, "general.alignment") &&
        (!gguf_int(g, "general.alignment", &align) || align < 1 || align > ALIGN_MAX || (align & (align - 1))))
        return fail(c->e, "%s: general.alignment must be a power of two, at most %d", c->name, ALIGN_MAX);
    g->tensor = xcalloc((size_t)n, sizeof *g->tensor);
    struct tensor_place *s = xcalloc((size_t)n, sizeof *s);
    bool ok = true;
    for (; ok && g->tensors < (int)n; g->tensors += ok) {
        s[g->tensors].tensor = g->tensors;
        ok = take_tensor(c, &g->tensor[g->tensors], &s[g->tensors].begin, &s[g->tensors].bytes);
    }
    ok = ok && place(g, c, s, align);
    free(s);
    if (!ok) return false;
    qsort(g->tensor, (size_t)g->tensors, sizeof *g->tensor, by_name);
    for (int i = 1; i < g->tensors; i++)
        if (!by_name(&g->tensor[i - 1], &g->tensor[i]))
            return fail(c->e, "%s: tensor %.*s is there twice", c->name, SHOW(g->tensor[i].name));
    return true;
}

static bool read_all(struct gguf *g, const char *p, size_t n, struct err *e)
{
    struct cursor c = { .name = g->name, .p = p, .n = (int64_t)n, .e = e };
    char magic[4];
    uint32_t version;
    uint64_t tensors, pairs;
    if (!take(&c, magic, 4, "the header") || !take(&c, &version, 4, "the header") ||
        !take(&c, &tensors, 8, "the header") || !take(&c, &pairs, 8, "the header"))
        return false;
    if (memcmp(magic, "GGUF", 4)) return fail(e, "%s: byte 0: not a GGUF file", g->name);
    if (version != 2 && version != 3)
        return fail(e, "%s: byte 4: GGUF version %u is not read, 2 and 3 are%s", g->name, version,
                    version == 0x03000000 ? " (this file is big-endian)" : "");
    return read_pairs(g, &c, pairs) && read_tensors(g, &c, tensors);
}

struct gguf *gguf_parse(const char *name, const void *bytes, size_t n, struct err *e)
{
    struct gguf *g = xcalloc(1, sizeof *g);
    g->name = xstrdup(name);
    if (read_all(g, bytes, n, e)) return g;
    gguf_close(g);
    return NULL;
}

struct gguf *gguf_open(const char *path, struct err *e)
{
    struct map map;
    if (!map_open(&map, path, e)) return NULL;
    struct gguf *g = xcalloc(1, sizeof *g);
    *g = (struct gguf){ .name = xstrdup(path), .map = map };
    if (read_all(g, map.p, map.n, e)) return g;
    gguf_close(g);
    return NULL;
}

void gguf_close(struct gguf *g)
{
    if (!g) return;
    map_close(&g->map);
    free(g->name);
    free(g->pair);
    free(g->tensor);
    free(g);
}

static bool has_magic(const char *path)
{
    struct stat st;
    char magic[4];
    FILE *f = stat(path, &st) == 0 && S_ISREG(st.st_mode) ? fopen(path, "rb") : NULL;
    bool yes = f && fread(magic, 1, 4, f) == 4 && !memcmp(magic, "GGUF", 4);
    if (f) fclose(f);
    return yes;
}

bool gguf_is(const char *path, struct str *file)
{
    str_clear(file);
    str_puts(file, path);
    if (has_magic(path)) return true;
    str_puts(file, "/config.json");
    if (file_exists(file->p)) return false;
    DIR *d = opendir(path);
    struct str one = { 0 };
    int found = 0;
    for (struct dirent *x; d && (x = readdir(d)); ) {
        size_t n = strlen(x->d_name);
        if (n < 6 || strcmp(x->d_name + n - 5, ".gguf")) continue;
        found++;
        str_clear(&one);
        str_printf(&one, "%s/%s", path, x->d_name);
    }
    if (d) closedir(d);
    str_clear(file);
    if (found == 1) str_puts(file, one.p);
    str_free(&one);
    return found == 1;
}

const char *gguf_name(const struct gguf *g) { return g->name; }
int gguf_pairs(const struct gguf *g) { return g->pairs; }
int gguf_tensors(const struct gguf *g) { return g->tensors; }

const struct gguf_pair *gguf_pair_at(const struct gguf *g, int i)
{
    ENSURE(i >= 0 && i < g->pairs);
    return &g->pair[i];
}
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, int i)
{
    ENSURE(i >= 0 && i < g->tensors);
    return &g->tensor[i];
}

const struct gguf_pair *gguf_find(const struct gguf *g, const char *key)
{
    struct gguf_pair want = { .key = { key, (int64_t)strlen(key) } };
    return g->pairs ? bsearch(&want, g->pair, (size_t)g->pairs, sizeof want, by_key) : NULL;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name)
{
    struct gguf_tensor want = { .name = { name, (int64_t)strlen(name) } };
    return g->tensors ? bsearch(&want, g->tensor, (size_t)g->tensors, sizeof want, by_name) : NULL;
}

#define LOAD(type, p) ({ type v_; memcpy(&v_, p, sizeof v_); v_; })

bool gguf_int(const struct gguf *g, const char *key, int64_t *out)
{
    const struct gguf_pair *p = gguf_find(g, key);
    if (!p || p->is_array) return false;
    switch (p->type) {
    case GGUF_U8: *out = LOAD(uint8_t, p->p); return true;
    case GGUF_I8: *out = LOAD(int8_t, p->p); return true;
    case GGUF_U16: *out = LOAD(uint16_t, p->p); return true;
    case GGUF_I16: *out = LOAD(int16_t, p->p); return true;
    case GGUF_U32: *out = LOAD(uint32_t, p->p); return true;
    case GGUF_I32: *out = LOAD(int32_t, p->p); return true;
    case GGUF_I64: *out = LOAD(int64_t, p->p); return true;
    case GGUF_U64: *out = LOAD(int64_t, p->p); return *out >= 0;
    default: return false;
    }
}

bool gguf_double(const struct gguf *g, const char *key, double *out)
{
    const struct gguf_pair *p = gguf_find(g, key);
    int64_t whole;
    if (gguf_int(g, key, &whole)) { *out = (double)whole; return true; }
    if (!p || p->is_array || (p->type != GGUF_F32 && p->type != GGUF_F64)) return false;
    *out = p->type == GGUF_F32 ? (double)LOAD(float, p->p) : LOAD(double, p->p);
    return true;
}

bool gguf_bool(const struct gguf *g, const char *key, bool *out)
{
    const struct gguf_pair *p = gguf_find(g, key);
    if (!p || p->is_array || p->type != GGUF_BOOL) return false;
    *out = *p->p;
    return true;
}

bool gguf_text(const struct gguf *g, const char *key, struct gguf_text *out)
{
    const struct gguf_pair *p = gguf_find(g, key);
    if (!p || p->is_array || p->type != GGUF_STRING) return false;
    *out = (struct gguf_text){ p->p + 8, LOAD(int64_t, p->p) };
    return true;
}

bool gguf_get_f32(const struct gguf_tensor *t, int64_t begin, int64_t n, float *out)
{
    int block = t->dtype->block;
    if (begin < 0 || n < 0 || begin > t->count || n > t->count - begin || begin % block || n % block) return false;
    if (n) t->dtype->get(out, (const char *)t->data + begin / block * t->dtype->bytes, n / block);
    return true;
}
