/* config_yaml.c: YAML text into "a.b.c = value" settings, each with its line. Reads libfyaml's events, not its document
 * tree, so that depth and size are bounded here and nothing recurses. */
#include "engine/config/config_table.h"
#include "base/str.h"
#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16, VALUES_MAX = 4096, KEY_MAX = 256, EMPTY_MAX = 200 };

/* path: length of the path before this mapping's own keys */
struct frame { bool list, has_key; size_t path; int line, values; };

struct reader {
    struct settings *out;
    const char *name;
    struct str path, value;
    struct frame stack[DEPTH_MAX];
    int depth, line, documents;
    struct err *e;
};

void settings_add(struct settings *s, const char *key, const char *value, const char *source)
{
    if (!(s->n & (s->n + 1))) s->v = xrealloc(s->v, (size_t)(2 * s->n + 2) * sizeof *s->v);
    s->v[s->n++] = (struct setting){ .key = xstrdup(key), .value = xstrdup(value), .source = xstrdup(source) };
}

void settings_free(struct settings *s)
{
    for (int i = 0; i < s->n; i++) {
        free(s->v[i].key);
        free(s->v[i].value);
        free(s->v[i].source);
    }
    free(s->v);
    *s = (struct settings){ 0 };
}

static bool put(struct reader *r, int line)
{
    if (r->out->n >= VALUES_MAX) return fail(r->e, "%s:%d: more than %d values", r->name, line, VALUES_MAX);
    for (int i = 0; i < r->out->n; i++) {
        if (strcmp(r->out->v[i].key, r->path.p)) continue;
        return fail(r->e, "%s:%d: %.100s is given twice, first at %s; keep one", r->name, line, r->path.p,
                    r->out->v[i].source);
    }
    /* sources that begin with these words are this program's own (config_given): a file of such a name is named from
     * the folder */
    bool ours = !strncmp(r->name, "default", 7) || !strncmp(r->name, "preset ", 7);
    struct str source = { 0 };
    str_printf(&source, "%s%s:%d", ours ? "./" : "", r->name, line);
    settings_add(r->out, r->path.p, r->value.p ? r->value.p : "", source.p);
    str_free(&source);
    return true;
}

static void cut(struct str *s, size_t n)
{
    s->n = n;
    if (s->p) s->p[n] = 0;
}

static bool open_frame(struct reader *r, bool list)
{
    struct frame *top = r->depth ? &r->stack[r->depth - 1] : NULL;
    if (!top && list) return fail(r->e, "%s:%d: a list where `key: value` lines are expected", r->name, r->line);
    if (top && top->list)
        return fail(r->e, "%s:%d: a list may hold plain values only%s", r->name, r->line,
                    r->path.p && !strcmp(r->path.p, "defaults") ? "; Hydra's way of putting a configuration together "
                                                                  "is not read: give the whole of it, as "
                                                                  "verl's _generated_ppo_trainer.yaml is, with "
                                                                  "--config FILE"
                                                                : "");
    if (top && !top->has_key) return fail(r->e, "%s:%d: a mapping or list cannot be a key", r->name, r->line);
    if (r->depth == DEPTH_MAX) return fail(r->e, "%s:%d: nested deeper than %d levels", r->name, r->line, DEPTH_MAX);
    r->stack[r->depth++] = (struct frame){ .list = list, .path = r->path.n, .line = r->line };
    str_clear(&r->value);
    return true;
}

static bool close_frame(struct reader *r)
{
    struct frame f = r->stack[--r->depth];
    if (f.list && !put(r, f.line)) return false;
    if (!r->depth) return true;
    struct frame *top = &r->stack[r->depth - 1];
    top->has_key = false;
    cut(&r->path, top->path);
    return true;
}

static bool key(struct reader *r, struct frame *top, const char *s, size_t n)
{
    if (!n || n > KEY_MAX)
        return fail(r->e, "%s:%d: a key of %zu bytes; 1 to %d are possible", r->name, r->line, n, KEY_MAX);
    if (r->path.n) str_putc(&r->path, '.');
    str_put(&r->path, s, n);
    top->has_key = true;
    return true;
}

/* An unquoted null, ~ or nothing at all: an empty value. */
static bool is_null(struct fy_token *t, const char *s, size_t n)
{
    if (!t || !n) return true;
    if (fy_token_scalar_style(t) != FYSS_PLAIN) return false;
    return (n == 1 && *s == '~') || (n == 4 && !strncasecmp(s, "null", 4));
}

static bool scalar(struct reader *r, struct fy_token *t)
{
    size_t n = 0;
    const char *s = t ? fy_token_get_text(t, &n) : NULL;
    if (!s) n = 0, s = "";
    if (memchr(s, 0, n)) return fail(r->e, "%s:%d: a zero byte in a value", r->name, r->line);
    bool null = is_null(t, s, n);
    if (!r->depth) return null || fail(r->e, "%s:%d: `key: value` lines are expected", r->name, r->line);
    struct frame *top = &r->stack[r->depth - 1];
    if (!top->list && !top->has_key) return key(r, top, s, n);
    if (null) n = 0;
    if (top->list) {
        if (memchr(s, ',', n))
            return fail(r->e, "%s:%d: a comma inside a list's value; lists are joined by commas", r->name, r->line);
        if (top->values++) str_putc(&r->value, ',');
        str_put(&r->value, s, n);
        return true;
    }
    str_clear(&r->value);
    str_put(&r->value, s, n);
    top->has_key = false;
    bool ok = put(r, r->line);
    if (ok) r->out->v[r->out->n - 1].null = null;
    cut(&r->path, top->path);
    return ok;
}

static bool event(struct reader *r, struct fy_event *ev)
{
    const struct fy_mark *m = fy_event_start_mark(ev);
    if (m) r->line = m->line + 1;
    if (fy_event_get_anchor_token(ev) || fy_event_get_tag_token(ev) || ev->type == FYET_ALIAS)
        return fail(r->e, "%s:%d: anchors, aliases and tags are not understood here; write the value out", r->name,
                    r->line);
    switch (ev->type) {
    case FYET_DOCUMENT_START:
        return !r->documents++ || fail(r->e, "%s:%d: a second document; one is read", r->name, r->line);
    case FYET_MAPPING_START:  return open_frame(r, false);
    case FYET_SEQUENCE_START: return open_frame(r, true);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:   return close_frame(r);
    case FYET_SCALAR:         return scalar(r, ev->scalar.value);
    default:                  return true;
    }
}

/* libfyaml's own complaint, which it would otherwise print */
static bool syntax(struct reader *r, struct fy_diag *diag)
{
    void *iter = NULL;
    struct fy_diag_error *d = fy_diag_errors_iterate(diag, &iter);
    if (!d || !d->msg) return fail(r->e, "%s:%d: not YAML", r->name, r->line + 1);
    return fail(r->e, "%s:%d: not YAML: %.200s", r->name, d->line > 0 ? d->line : r->line + 1, d->msg);
}

static bool parse(struct reader *r, struct fy_parser *p, struct fy_diag *diag)
{
    for (;;) {
        struct fy_event *ev = fy_parser_parse(p);
        if (!ev) return syntax(r, diag);
        bool end = ev->type == FYET_STREAM_END, ok = event(r, ev);
        fy_parser_event_free(p, ev);
        if (!ok || end) return ok;
    }
}

/* libfyaml's time grows with the square of the empty lines that follow each other in a block of text: 64,000 of them
 * take a minute, 200 nothing. */
static bool few_empty_lines(const char *name, const char *text, size_t n, struct err *e)
{
    int line = 1, empty = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n' || (text[i] == '\r' && (i + 1 == n || text[i + 1] != '\n'))) {
            line++;
            if (++empty > EMPTY_MAX)
                return fail(e, "%s:%d: more than %d empty lines, one after another", name, line, EMPTY_MAX);
        } else if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') {
            empty = 0;
        }
    }
    return true;
}

bool config_yaml(struct settings *s, const char *name, const char *text, size_t n, struct err *e)
{
    struct reader r = { .out = s, .name = name, .e = e };
    struct fy_diag_cfg dc;
    const char *nul = memchr(text, 0, n);                   /* libfyaml would end there without a word */
    if (nul) {
        int line = 1;
        for (const char *p = text; p < nul; p++) line += *p == '\n';
        return fail(e, "%s:%d: a NUL byte: this is no text; the file may have been cut by a crash", name, line);
    }
    /* libfyaml would read two odd bytes at the start as UTF-16 */
    json_t *utf8 = json_stringn(text, n);
    if (!utf8) return fail(e, "%s: not UTF-8 text", name);
    json_decref(utf8);
    if (!few_empty_lines(name, text, n, e)) return false;
    fy_diag_cfg_default(&dc);
    dc.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&dc);
    ENSURE(diag);
    fy_diag_set_collect_errors(diag, true);
    struct fy_parser *p = fy_parser_create(&(struct fy_parse_cfg){ .diag = diag });
    ENSURE(p);
    bool ok = !n || (fy_parser_set_string(p, text, n) ? fail(e, "%s: not YAML", name) : parse(&r, p, diag));
    fy_parser_destroy(p);
    fy_diag_destroy(diag);
    str_free(&r.path);
    str_free(&r.value);
    return ok;
}
