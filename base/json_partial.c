/* json_partial.c: one pass over the text with a stack of open brackets on the heap. Each bracket is read whole, read in
 * part (an object on the path to a wanted member) or skipped. */
#include "base/json_partial.h"
#include "base/text.h"
#include "base/utf8.h"
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    VALUES_MAX = 1 << 23,
    DEEP_READ = 1024,
    DEEP_PASSED = 100000,
    DEEP_NAMES = 3,
    COLUMNS_MAX = 64,
    NAMES_MAX = 1 << 16,
    ODD_NOTE = 200
};
enum how { PASS, PART, WHOLE };

static const char number_key[] = "\x01number", other_key[] = "\x01other";

json_t *odd_make(const char *text, bool number) { return json_pack("{s:s}", number ? number_key : other_key, text); }
const char *odd_number(const json_t *v) { return json_string_value(json_object_get(v, number_key)); }

const char *odd_is(const json_t *v)
{
    return odd_number(v) ? "a number beyond 64 bits" : json_string_value(json_object_get(v, other_key));
}

bool odd_within(const char *dumped)
{
    return strstr(dumped, "\"\\u0001number\":") || strstr(dumped, "\"\\u0001other\":");
}

struct level {
    json_t *into;                   /* NULL: skipped */
    uint64_t paths;                 /* PART: the columns that may end inside */
    size_t name;                    /* where this level's names begin in parser.path */
    bool object, begun;
    bool used;                      /* written out again later (tools, calls): nothing in it may be odd */
    unsigned char how;
};

struct parser {
    struct json_text *t;
    struct err *e;
    struct level *level;
    int depth, cap;
    struct str key, text, path;
    json_t *root;
    int values;
    size_t bytes;
};

static bool bad(struct parser *x, size_t at, const char *what)
{
    x->t->at = at;
    return fail(x->e, "%s", what);
}

static void skip_blank(struct json_text *t)
{
    while (t->at < t->n && is_space(t->p[t->at])) t->at++;
}

static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *d = p[i] ? strchr(digits, p[i] | 0x20) : NULL;
        if (!d || (p[i] < '0') || (p[i] > '9' && p[i] < 'A')) return -1;
        v = v * 16 + (int)(d - digits);
    }
    return v;
}

/* Decodes the escape after a backslash at p; *odd: why the text is an odd value. NULL: not an escape of JSON. */
static const char *escape(const char *p, const char *end, struct str *out, const char **odd, bool nul)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p == end) return NULL;
    const char *one = *p ? strchr(from, *p) : NULL;
    if (one) {
        str_putc(out, to[one - from]);
        return p + 1;
    }
    int c = *p == 'u' ? hex4(p + 1, end) : -1, low = -1;
    if (c < 0) return NULL;
    p += 5;
    if (c >= 0xD800 && c < 0xDC00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') low = hex4(p + 2, end);
    if (low >= 0xDC00 && low < 0xE000) {
        str_put_utf8(out, 0x10000u + ((unsigned)c - 0xD800u) * 0x400u + ((unsigned)low - 0xDC00u));
        return p + 6;
    }
    if (c >= 0xD800 && c < 0xE000) *odd = "half a surrogate pair";
    else if (!c && !nul) *odd = "\\u0000";
    else str_put_utf8(out, (unsigned)c);
    return p;
}

/* Reads the string whose quote is at t->at. out NULL: skips it. */
static bool string(struct parser *x, struct str *out, const char **odd)
{
    struct json_text *t = x->t;
    const char *p = t->p + t->at + 1, *end = t->p + t->n;
    *odd = NULL;
    if (out) str_clear(out);
    while (p < end && *p != '"') {
        const char *from = p;
        if (!out) {
            p += *p == '\\' && p + 1 < end ? 2 : 1;
        } else if (*p == '\\') {
            p = escape(p + 1, end, out, odd, t->nul && x->depth == 1);
            if (!p) return bad(x, (size_t)(from - t->p), "an escape that JSON does not have");
        } else {
            uint32_t c;
            size_t n = (size_t)utf8_get(p, (size_t)(end - p), &c);
            if (!n) *odd = "bytes that are not UTF-8";
            else if ((unsigned char)*p < 0x20) *odd = "a control character";
            str_put(out, p, n ? n : 1);
            p += n ? n : 1;
        }
    }
    if (p >= end) return bad(x, t->n, "the text ends within a string");
    t->at = (size_t)(p - t->p) + 1;
    return true;
}

static size_t digits(const char *p, const char *end)
{
    size_t n = 0;
    while (p + n < end && p[n] >= '0' && p[n] <= '9') n++;
    return n;
}

/* Length in bytes of the number at p; 0: not a number of JSON. */
static size_t number_size(const char *p, const char *end, bool *real)
{
    const char *from = p;
    *real = false;
    p += p < end && *p == '-';
    size_t n = digits(p, end);
    if (!n || (n > 1 && *p == '0')) return 0;
    p += n;
    if (p < end && *p == '.') {
        if (!(n = digits(p + 1, end))) return 0;
        p += n + 1;
        *real = true;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p += 1 + (p + 1 < end && (p[1] == '+' || p[1] == '-'));
        if (!(n = digits(p, end))) return 0;
        p += n;
        *real = true;
    }
    return (size_t)(p - from);
}

static void note_odd(struct json_text *t, size_t at, const char *what)
{
    if (t->odd.n < ODD_NOTE) str_printf(&t->odd, "%s%s at column %zu", t->odd.n ? ", " : "", what, at + 1);
}

static json_t *odd_at(struct parser *x, size_t at, const char *text, bool number, bool used)
{
    const char *what = number ? "a number beyond 64 bits" : text;
    if (used) {
        bad(x, at, what);
        fail(x->e, "%s, which is not read in calls", what);
        return NULL;
    }
    note_odd(x->t, at, what);
    return odd_make(text, number);
}

static json_t *number(struct parser *x, size_t n, bool real, bool used)
{
    const size_t at = x->t->at;
    str_clear(&x->text);
    str_put(&x->text, x->t->p + at, n);
    x->t->at += n;
    errno = 0;
    long long i = real ? 0 : strtoll(x->text.p, NULL, 10);
    double f = real ? strtod(x->text.p, NULL) : 0;
    if (real ? isinf(f) : errno == ERANGE) return odd_at(x, at, x->text.p, true, used);
    return real ? json_real(f) : json_integer(i);
}

/* Reads a scalar at t->at; *out stays NULL where it is skipped. */
static bool scalar(struct parser *x, bool read, bool used, json_t **out)
{
    static const char *const words[] = { "true", "false", "null", "NaN", "Infinity", "-Infinity" };
    struct json_text *t = x->t;
    const size_t at = t->at;
    const char *p = t->p + at, *end = t->p + t->n, *odd;
    bool real;
    if (*p == '"') {
        if (!string(x, read ? &x->text : NULL, &odd)) return false;
        if (read) *out = odd ? odd_at(x, at, odd, false, used) : json_stringn_nocheck(x->text.p, x->text.n);
        return !read || *out;
    }
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        size_t n = strlen(words[k]);
        if ((size_t)(end - p) < n || memcmp(p, words[k], n)) continue;
        t->at += n;
        if (!read) return true;
        if (k > 3) *out = odd_at(x, at, words[k], false, used);
        else *out = k == 0 ? json_true() : k == 1 ? json_false() : json_null();
        return *out != NULL;
    }
    size_t n = number_size(p, end, &real);
    if (!n) return bad(x, at, "a value is needed here");
    if (read) *out = number(x, n, real, used);
    else t->at += n;
    return !read || *out;
}

/* How to read the member x->key of a level; *paths: the columns that continue inside it. */
static enum how member(const struct parser *x, const struct level *l, uint64_t *paths)
{
    const char *const *columns = x->t->columns;
    *paths = 0;
    if (l->how != PART) return l->how;
    for (int k = 0; k < COLUMNS_MAX && columns[k]; k++) {
        if (!(l->paths >> k & 1)) continue;
        const char *rest = columns[k] + (*columns[k] == '?');
        for (int d = 1; d < x->depth; d++) rest = strchr(rest, '.') + 1;
        if (!strcmp(rest, x->key.p)) return WHOLE;
        if (!strncmp(rest, x->key.p, x->key.n) && rest[x->key.n] == '.' && !memchr(x->key.p, '.', x->key.n))
            *paths |= (uint64_t)1 << k;
    }
    return *paths ? PART : PASS;
}

static void note_name(struct parser *x, const struct level *l)
{
    struct str *names = x->t->names;
    if (!names || !l->object || x->depth > DEEP_NAMES || names->n > NAMES_MAX) return;
    x->path.n = l->name;
    str_put(&x->path, x->key.p, x->key.n);
    for (int d = 0; d < x->depth; d++) if (!x->level[d].object) return;
    str_put(names, x->path.p, x->path.n + 1);
    str_putc(&x->path, '.');
}

/* Two bytes of text can make a value, for which the tree takes up to 100 bytes. */
static bool put(struct parser *x, json_t *v)
{
    if (++x->values > VALUES_MAX) {
        json_decref(v);
        return bad(x, x->t->at, "more than 8388608 values are read");
    }
    struct level *l = x->depth ? &x->level[x->depth - 1] : NULL;
    if (!l) x->root = v;
    else if ((l->object ? json_object_set_new_nocheck(l->into, x->key.p, v) : json_array_append_new(l->into, v)) != 0)
        die("json_partial: out of memory");
    return true;
}

static bool open_bracket(struct parser *x, enum how how, uint64_t paths, bool used)
{
    struct json_text *t = x->t;
    bool object = t->p[t->at] == '{';
    if (how == PART && !object) how = PASS;             /* a path leads through objects only */
    if (x->depth >= (how == PASS ? DEEP_PASSED : DEEP_READ)) return bad(x, t->at, "nested too deep");
    struct level l = { .paths = paths, .object = object, .how = (unsigned char)how, .used = used, .name = x->path.n };
    if (how != PASS) {
        l.into = object ? json_object() : json_array();
        if (!put(x, l.into)) return false;              /* the tree is owned from its root */
    }
    if (x->depth == x->cap)
        x->level = xrealloc(x->level, (size_t)(x->cap = x->cap ? 2 * x->cap : 64) * sizeof *x->level);
    x->level[x->depth++] = l;
    t->at++;
    return true;
}

/* The key of a member and its colon. */
static bool read_key(struct parser *x, struct level *l)
{
    struct json_text *t = x->t;
    const char *odd;
    const size_t at = t->at;
    if (at >= t->n || t->p[at] != '"') return bad(x, at, "a member's name in quotes is needed here");
    bool need = l->how != PASS || t->names;
    if (!string(x, need ? &x->key : NULL, &odd)) return false;
    if (need && (odd || memchr(x->key.p, 0, x->key.n))) {
        if (l->how == WHOLE) return bad(x, at, "a member's name that cannot be read");
        str_clear(&x->key);                             /* matches no column */
        str_puts(&x->key, "\x01");
    }
    skip_blank(t);
    if (t->at >= t->n || t->p[t->at] != ':') return bad(x, t->at, "a colon is needed here");
    t->at++;
    skip_blank(t);
    if (need) note_name(x, l);
    return true;
}

/* Moves to the next item of the innermost bracket, or closes it: *item false. */
static bool next_item(struct parser *x, bool *item)
{
    struct json_text *t = x->t;
    struct level *l = &x->level[x->depth - 1];
    skip_blank(t);
    if (t->at >= t->n) return bad(x, t->n, "the text ends before its last bracket is closed");
    *item = t->p[t->at] != (l->object ? '}' : ']');
    if (!*item) {
        t->at++;
        x->path.n = l->name;
        x->depth--;
        return true;
    }
    if (l->begun) {
        if (t->p[t->at] != ',')
            return bad(x, t->at, l->object ? "a comma or } is needed here" : "a comma or ] is needed here");
        t->at++;
        skip_blank(t);
    }
    l->begun = true;
    return true;
}

static bool value(struct parser *x, enum how how, uint64_t paths, bool used)
{
    struct json_text *t = x->t;
    struct level *l = x->depth ? &x->level[x->depth - 1] : NULL;
    json_t *v = NULL;
    if (t->at >= t->n) return bad(x, t->n, "the text ends where a value is needed");
    bool bracket = t->p[t->at] == '{' || t->p[t->at] == '[',
         read = how == WHOLE || (how == PART && bracket && t->p[t->at] == '{');
    if (read && l && l->object && json_object_get(l->into, x->key.p)) {
        bad(x, t->at, "");
        return fail(x->e, "\"%.100s\" is there twice", x->key.p);
    }
    if (bracket) return open_bracket(x, how, paths, used);
    if (how == PART) how = l ? PASS : WHOLE;
    const size_t at = t->at;
    if (!scalar(x, how == WHOLE, used, &v)) return false;
    x->bytes += v ? t->at - at : 0;
    if (v && t->most && x->bytes > t->most) {
        json_decref(v);
        return bad(x, at, "more is read of this row than 16 MiB");
    }
    return !v || put(x, v);
}

static bool step(struct parser *x)
{
    bool item;
    if (!next_item(x, &item)) return false;
    if (!item) return true;
    struct level *l = &x->level[x->depth - 1];
    enum how how = (enum how)l->how;
    uint64_t paths = 0;
    bool used = l->used;
    if (l->object) {
        if (!read_key(x, l)) return false;
        how = member(x, l, &paths);
        used |= how == WHOLE && !strcmp(x->key.p, "tool_calls");
    }
    return value(x, how, paths, used);
}

json_t *json_partial(struct json_text *t, struct err *e)
{
    struct parser x = { .t = t, .e = e };
    str_clear(&x.key);
    str_clear(&x.text);
    str_clear(&x.path);
    skip_blank(t);
    bool ok = value(&x, t->columns ? PART : WHOLE, ~(uint64_t)0, false);
    while (ok && x.depth) ok = step(&x);
    free(x.level);
    str_free(&x.key);
    str_free(&x.text);
    str_free(&x.path);
    if (ok && !x.root) x.root = json_array();           /* columns are wanted and the record is a list: it has none */
    if (ok) return x.root;
    json_decref(x.root);
    return NULL;
}
