/* chat_json.c: JSON spaced and escaped as Python's json.dumps does it, which is what chat templates put into a prompt. One flat pass over text that is
 * known to be JSON. Numbers are copied (Python would print 1e5 as 100000.0). */
#include "model/chat_in.h"
#include "base/json.h"
#include "model/utf8.h"
#include <stdlib.h>
#include <string.h>

static void put_char(struct str *out, uint32_t c)
{
    static const char *const named[] = { ['\b'] = "\\b", ['\f'] = "\\f", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t", ['"'] = "\\\"", ['\\'] = "\\\\" };
    char text[4];
    if (c < sizeof named / sizeof *named && named[c]) str_puts(out, named[c]);
    else if (c < 0x20) str_printf(out, "\\u%04x", (unsigned)c);
    else str_put(out, text, (size_t)utf8_put(text, c));
}

void chat_json_string(struct str *out, const char *text, size_t n)
{
    str_putc(out, '"');
    for (size_t at = 0; at < n;) {
        uint32_t c;
        int len = utf8_get(text + at, n - at, &c);
        if (len) put_char(out, c);
        else str_putc(out, text[at]);                   /* a byte that is not UTF-8 stays: no Python text could hold it */
        at += len ? (size_t)len : 1;
    }
    str_putc(out, '"');
}

static uint32_t hex4(const char *p)
{
    char digits[5] = { p[0], p[1], p[2], p[3], 0 };
    return (uint32_t)strtoul(digits, NULL, 16);
}

/* One character of a JSON string at p; its length there. The text is valid, so that escapes are whole and surrogates come in pairs. */
static size_t string_char(const char *p, size_t n, uint32_t *c)
{
    if (*p != '\\') {
        int len = utf8_get(p, n, c);
        ENSURE(len > 0);
        return (size_t)len;
    }
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *named = strchr(from, p[1]);
    if (p[1] != 'u') {
        *c = named ? (unsigned char)to[named - from] : (unsigned char)p[1];
        return 2;
    }
    *c = hex4(p + 2);
    if (*c < 0xd800 || *c >= 0xdc00) return 6;
    *c = 0x10000 + ((*c - 0xd800) << 10) + (hex4(p + 8) - 0xdc00);
    return 12;
}

static void new_line(struct str *out, int spaces)
{
    str_putc(out, '\n');
    for (int i = 0; i < spaces; i++) str_putc(out, ' ');
}

void chat_json(struct str *out, const char *text, size_t n, int indent)
{
    int depth = 0;
    bool empty = false;                                 /* nothing stands in the bracket that was opened last */
    for (size_t at = 0; at < n;) {
        char c = text[at];
        uint32_t u;
        if (strchr(" \t\r\n", c)) { at++; continue; }
        bool closes = c == '}' || c == ']';
        depth -= closes;
        if (indent && empty != closes && (empty || closes)) new_line(out, depth * indent);
        empty = c == '{' || c == '[';
        depth += empty;
        if (c != '"') {
            str_putc(out, c);
            at++;
            if (c == ':' || (c == ',' && !indent)) str_putc(out, ' ');
            if (c == ',' && indent) new_line(out, depth * indent);
            continue;
        }
        str_putc(out, '"');
        for (at++; text[at] != '"'; put_char(out, u)) at += string_char(text + at, n - at, &u);
        str_putc(out, '"');
        at++;
    }
}

/* Are these the tools of OpenAI's API? Only what a template reads is looked at. */
static bool fine(json_t *list, struct err *e)
{
    size_t i;
    json_t *v;
    if (!json_is_array(list)) return fail(e, "tools: must be a JSON array of declarations");
    json_array_foreach(list, i, v)
        if (!json_is_object(v)) return fail(e, "tools: entry %zu must be an object, as {\"type\": \"function\", \"function\": {\"name\": ...}}", i);
    return true;
}

/* Indented, a bracket's member takes four spaces for each level it is in: text of two bytes a member could become gigabytes. */
static bool bounded(const char *text, size_t n, struct err *e)
{
    enum { LENGTH = 1 << 20, DEPTH = 64 };
    int depth = 0, deepest = 0;
    bool inside = false;
    if (n > LENGTH) return fail(e, "tools: %zu bytes of declarations; at most %d are read", n, LENGTH);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '"') inside = !inside;
        else if (inside) i += text[i] == '\\';
        else depth += (text[i] == '{' || text[i] == '[') - (text[i] == '}' || text[i] == ']');
        if (depth > deepest) deepest = depth;
    }
    return deepest <= DEPTH || fail(e, "tools: nested %d deep; at most %d levels are read", deepest, DEPTH);
}

bool chat_tools_read(struct chat_tools *x, const struct chat *c, const char *text, size_t n, struct err *e)
{
    *x = (struct chat_tools){ 0 };
    if (!c->v.tools) return fail(e, "tools: this model's chat template has no place for declarations of tools");
    json_t *list = bounded(text, n, e) ? json_from("tools", text, n, e) : NULL, *v;
    bool ok = list && fine(list, e);
    size_t i;
    struct str s = { 0 };
    if (ok) x->json = xcalloc(json_array_size(list) + 1, sizeof *x->json);
    json_array_foreach(ok ? list : NULL, i, v) {
        char *one = json_dumps(v, JSON_COMPACT | JSON_REAL_PRECISION(15));
        ENSURE(one);
        str_clear(&s);
        chat_json(&s, one, strlen(one), c->v.family == CHAT_LLAMA3 ? 4 : 0);
        x->json[x->n++] = xstrdup(s.p);
        free(one);
    }
    str_free(&s);
    json_decref(list);
    return ok;
}

void chat_tools_free(struct chat_tools *x)
{
    for (int i = 0; i < x->n; i++) free(x->json[i]);
    free(x->json);
    *x = (struct chat_tools){ 0 };
}
