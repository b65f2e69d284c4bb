/* config_yaml.c: parses YAML text into "a.b.c = value" settings, each with its line. Reads libyaml's events, not its
 * document tree, so that depth and size are bounded here and nothing recurses. */
#include "engine/config/config_in.h"
#include "base/str.h"
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH_MAX = 16, VALUES_MAX = 4096, KEY_MAX = 256 };

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
static bool is_null(bool plain, const char *s, size_t n)
{
    if (!n) return true;
    return plain && ((n == 1 && *s == '~') || (n == 4 && !strncasecmp(s, "null", 4)));
}

static bool scalar(struct reader *r, const char *s, size_t n, bool plain)
{
    if (memchr(s, 0, n)) return fail(r->e, "%s:%d: a zero byte in a value", r->name, r->line);
    bool null = is_null(plain, s, n);
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

/* Whether the event carries an anchor or a tag, or is an alias. */
static bool decorated(const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_ALIAS_EVENT:          return true;
    case YAML_SCALAR_EVENT:         return ev->data.scalar.anchor || ev->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT: return ev->data.sequence_start.anchor || ev->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT:  return ev->data.mapping_start.anchor || ev->data.mapping_start.tag;
    default:                        return false;
    }
}

static bool event(struct reader *r, const yaml_event_t *ev)
{
    r->line = (int)ev->start_mark.line + 1;
    if (decorated(ev))
        return fail(r->e, "%s:%d: anchors, aliases and tags are not understood here; write the value out", r->name,
                    r->line);
    switch (ev->type) {
    case YAML_DOCUMENT_START_EVENT:
        return !r->documents++ || fail(r->e, "%s:%d: a second document; one is read", r->name, r->line);
    case YAML_MAPPING_START_EVENT:  return open_frame(r, false);
    case YAML_SEQUENCE_START_EVENT: return open_frame(r, true);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:   return close_frame(r);
    case YAML_SCALAR_EVENT:
        return scalar(r, (const char *)ev->data.scalar.value, ev->data.scalar.length,
                      ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE);
    default:                        return true;
    }
}

/* libyaml's own message: the error and, if it began elsewhere, its context. */
static bool syntax(struct reader *r, const yaml_parser_t *p)
{
    if (p->error == YAML_MEMORY_ERROR) die("out of memory while %s was read", r->name);
    if (p->error == YAML_READER_ERROR)
        return fail(r->e, "%s:%d: not YAML: %.200s", r->name, (int)p->mark.line + 1, p->problem);
    int line = (int)p->problem_mark.line + 1, begin = (int)p->context_mark.line + 1;
    if (!p->context) return fail(r->e, "%s:%d: not YAML: %.200s", r->name, line, p->problem);
    if (begin == line) return fail(r->e, "%s:%d: not YAML: %.200s %.200s", r->name, line, p->problem, p->context);
    return fail(r->e, "%s:%d: not YAML: %.200s %.200s that begins in line %d", r->name, line, p->problem, p->context,
                begin);
}

static bool parse(struct reader *r, yaml_parser_t *p)
{
    for (;;) {
        yaml_event_t ev;
        if (!yaml_parser_parse(p, &ev)) return syntax(r, p);
        bool end = ev.type == YAML_STREAM_END_EVENT, ok = event(r, &ev);
        yaml_event_delete(&ev);
        if (!ok || end) return ok;
    }
}

/* YAML 1.1, libyaml's version, ends lines at these characters too and would fold them into blanks; 1.2 does not. */
static bool plain_lines(const char *name, const char *text, size_t n, struct err *e)
{
    static const char *const ends[] = { "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9" };
    static const char *const names[] = { "U+0085", "U+2028", "U+2029" };
    int line = 1;
    for (size_t i = 0; i < n; i++) {
        line += text[i] == '\n';
        for (int k = 0; k < 3; k++)
            if (n - i >= strlen(ends[k]) && !memcmp(text + i, ends[k], strlen(ends[k])))
                return fail(e, "%s:%d: the line end %s, which YAML reads as a blank; write it as \\u%s in \"...\"",
                            name, line, names[k], names[k] + 2);
    }
    return true;
}

bool config_yaml(struct settings *s, const char *name, const char *text, size_t n, struct err *e)
{
    struct reader r = { .out = s, .name = name, .e = e };
    yaml_parser_t p;
    const char *nul = memchr(text, 0, n);                   /* libyaml would end there without an error */
    if (nul) {
        int line = 1;
        for (const char *q = text; q < nul; q++) line += *q == '\n';
        return fail(e, "%s:%d: a NUL byte: this is no text; the file may have been cut by a crash", name, line);
    }
    json_t *utf8 = json_stringn(text, n);                   /* libyaml would read FF FE at the start as UTF-16 */
    if (!utf8) return fail(e, "%s: not UTF-8 text", name);
    json_decref(utf8);
    if (!plain_lines(name, text, n, e)) return false;
    if (!yaml_parser_initialize(&p)) die("out of memory while %s was read", name);
    yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p, (const unsigned char *)text, n);
    bool ok = parse(&r, &p);
    yaml_parser_delete(&p);
    str_free(&r.path);
    str_free(&r.value);
    return ok;
}
