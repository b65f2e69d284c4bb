/* chat_json.c: JSON spaced, escaped and with numbers as Python's json.dumps writes it, as chat templates put it
 * into a prompt, in one flat pass over text that is known to be JSON. Then declared tools and calls, which are written
 * with it. */
#include "model/chat/chat_in.h"
#include "base/json.h"
#include "base/utf8.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

static void put_char(struct str *out, uint32_t c)
{
    static const char *const named[] = {
        ['\b'] = "\\b", ['\f'] = "\\f", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t", ['"'] = "\\\"", ['\\'] = "\\\\"
    };
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
        /* a byte that is not UTF-8 is copied: no Python text could hold it */
        else str_putc(out, text[at]);
        at += len ? (size_t)len : 1;
    }
    str_putc(out, '"');
}

static uint32_t hex4(const char *p)
{
    char digits[5] = { p[0], p[1], p[2], p[3], 0 };
    return (uint32_t)strtoul(digits, NULL, 16);
}

/* One character of a JSON string at p; its length there. The text is valid, so that escapes are whole and surrogates
 * come in pairs. */
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

/* float's repr: the fewest digits that read back the same, with an exponent below 1e-4 and from 1e16 on. */
static void put_double(struct str *out, double x)
{
    char text[40], digits[20];
    int exponent, precision = 0;
    do snprintf(text, sizeof text, "%.*e", precision, x); while (strtod(text, NULL) != x && precision++ < 17);
    int n = 0;
    for (const char *p = text; *p && *p != 'e'; p++) if (*p >= '0' && *p <= '9') digits[n++] = *p;
    exponent = atoi(strchr(text, 'e') + 1);
    if (*text == '-') str_putc(out, '-');
    if (exponent < -4 || exponent >= 16) {
        str_putc(out, digits[0]);
        if (n > 1) { str_putc(out, '.'); str_put(out, digits + 1, (size_t)n - 1); }
        str_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) str_puts(out, "0.");
    for (int i = exponent; i < -1; i++) str_putc(out, '0');
    for (int i = 0; i < n || i <= exponent; i++) {
        if (i == exponent + 1 && exponent >= 0) str_putc(out, '.');
        str_putc(out, i < n ? digits[i] : '0');
    }
    if (exponent >= 0 && n <= exponent + 1) str_puts(out, ".0");
}

/* A number at p; its length there. */
static size_t put_number(struct str *out, const char *p, size_t n)
{
    char text[400];
    size_t len = 0;
    bool fraction = false;
    for (; len < n && strchr("0123456789+-.eE", p[len]); len++) fraction |= strchr(".eE", p[len]) != NULL;
    if (!fraction || len >= sizeof text) { str_put(out, p, len); return len; }
    memcpy(text, p, len);
    text[len] = 0;
    put_double(out, strtod(text, NULL));
    return len;
}

void chat_json(struct str *out, const char *text, size_t n, int indent)
{
    int depth = 0;
    bool empty = false;                                 /* the bracket that was opened last has no member yet */
    for (size_t at = 0; at < n;) {
        char c = text[at];
        uint32_t u;
        if (is_space(c)) { at++; continue; }
        bool closes = c == '}' || c == ']';
        depth -= closes;
        if (indent && empty != closes && (empty || closes)) new_line(out, depth * indent);
        empty = c == '{' || c == '[';
        depth += empty;
        if (c == '-' || (c >= '0' && c <= '9')) {
            at += put_number(out, text + at, n - at);
            continue;
        }
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

/* Are these the tools of OpenAI's API? Checks only the members that a template reads. */
static bool fine(json_t *list, struct err *e)
{
    size_t i;
    json_t *v;
    if (!json_is_array(list)) return fail(e, "tools: must be a JSON array of declarations");
    json_array_foreach(list, i, v)
        if (!json_is_object(v))
            return fail(
                e, "tools: entry %zu must be an object, as {\"type\": \"function\", \"function\": {\"name\": ...}}", i);
    return true;
}

/* Indentation takes four spaces a level for each member: text of two bytes a member could become gigabytes. */
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
    const struct chat_variant *v_of = chat_variant_of(c, true);
    *x = (struct chat_tools){ 0 };
    if (*c->no_tool_use) return fail(e, "tools: the chat template named tool_use: %s", c->no_tool_use);
    if (!v_of->tools) return fail(e, "tools: this model's chat template has no place for declarations of tools");
    json_t *list = bounded(text, n, e) ? json_from("tools", text, n, e) : NULL, *v;
    bool ok = list && fine(list, e);
    size_t i;
    struct str s = { 0 };
    if (ok) x->json = xcalloc(json_array_size(list) + 1, sizeof *x->json);
    json_array_foreach(ok ? list : NULL, i, v) {
        char *one = json_dumps(v, JSON_COMPACT | JSON_REAL_PRECISION(17));
        ENSURE(one);
        str_clear(&s);
        chat_json(&s, one, strlen(one), v_of->family == CHAT_LLAMA3 ? 4 : 0);
        x->json[x->n++] = xstrdup(s.p);
        free(one);
    }
    str_free(&s);
    json_decref(list);
    return ok;
}

/* ---- calls ---- */

int chat_count_calls(const char *calls)
{
    struct err e;
    json_t *list = json_from("tool_calls", calls, strlen(calls), &e);
    int n = (int)json_array_size(list);
    json_decref(list);
    return n;
}

/* The arguments as tojson writes them; a text becomes a JSON string, except with Qwen3, whose template copies it. */
static void put_arguments(struct str *out, const json_t *v, enum chat_calls how)
{
    if (json_is_string(v) && how == CHAT_CALLS_QWEN3) {
        str_put(out, json_string_value(v), json_string_length(v));
        return;
    }
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    ENSURE(text);
    chat_json(out, text, strlen(text), 0);
    free(text);
}

void chat_put_calls(struct str *out, const char *calls, enum chat_calls how, bool text_before)
{
    struct err e;
    json_t *list = json_from("tool_calls", calls, strlen(calls), &e), *one;
    ENSURE(json_is_array(list));
    size_t i;
    json_array_foreach(list, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        ENSURE(name);
        bool llama = how == CHAT_CALLS_LLAMA3;
        if (!llama && (i || text_before)) str_putc(out, '\n');
        str_printf(out, "%s{\"name\": \"%s\", \"%s\": ", llama ? "" : "<tool_call>\n", name,
                   llama ? "parameters" : "arguments");
        put_arguments(out, json_object_get(one, "arguments"), how);
        str_puts(out, llama ? "}" : "}\n</tool_call>");
    }
    json_decref(list);
}

void chat_tools_free(struct chat_tools *x)
{
    for (int i = 0; i < x->n; i++) free(x->json[i]);
    free(x->json);
    *x = (struct chat_tools){ 0 };
}
