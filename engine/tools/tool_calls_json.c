/* tool_calls_json.c: finds the end of a JSON object in a policy's text. One pass, no recursion. */
#include "engine/tools/tool_calls_in.h"
#include "base/text.h"
#include <string.h>

struct scan {
    const char *p;
    size_t n, at;
    struct str *clean;
    const char *wrong;
    const char *over;               /* the error if the object is not complete in n bytes */
};

static bool bad(struct scan *s, const char *wrong)
{
    s->wrong = wrong;
    return false;
}

static size_t digits(const struct scan *s, size_t at)
{
    while (at < s->n && is_digit(s->p[at])) at++;
    return at;
}

/* -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static bool number(struct scan *s)
{
    size_t at = s->at + (s->p[s->at] == '-'), end = digits(s, at);
    if (end == at || (end > at + 1 && s->p[at] == '0')) return bad(s, CALL_NOT_JSON);
    if (end < s->n && s->p[end] == '.') {
        at = end + 1;
        if ((end = digits(s, at)) == at) return bad(s, CALL_NOT_JSON);
    }
    if (end < s->n && (s->p[end] == 'e' || s->p[end] == 'E')) {
        at = end + 1;
        at += at < s->n && (s->p[at] == '+' || s->p[at] == '-');
        if ((end = digits(s, at)) == at) return bad(s, CALL_NOT_JSON);
    }
    str_putc(s->clean, '0');
    s->at = end;
    return true;
}

static bool word(struct scan *s)
{
    static const struct { const char *word, *as; } words[] = {
        { "true", "true" }, { "false", "false" }, { "null", "null" }, { "NaN", "0" },
        { "Infinity", "0" }, { "-Infinity", "0" },
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t len = strlen(words[i].word);
        if (s->n - s->at < len || memcmp(s->p + s->at, words[i].word, len)) continue;
        str_puts(s->clean, words[i].as);
        s->at += len;
        return true;
    }
    return is_digit(s->p[s->at]) || s->p[s->at] == '-' ? number(s) : bad(s, CALL_NOT_JSON);
}

static bool string(struct scan *s)
{
    size_t at = s->at + 1;
    for (; at < s->n && s->p[at] != '"'; at++) {
        if ((unsigned char)s->p[at] < 0x20) return bad(s, CALL_NOT_JSON);
        if (s->p[at] == '\\' && ++at == s->n) break;
    }
    if (at >= s->n) return bad(s, s->over);
    str_put(s->clean, s->p + s->at, at + 1 - s->at);
    s->at = at + 1;
    return true;
}

static bool object(struct scan *s)
{
    for (int depth = 0; s->at < s->n;) {
        char c = s->p[s->at];
        if (c == '"') { if (!string(s)) return false; continue; }
        if (!strchr("{}[],: \n\t\r", c) || !c) { if (!word(s)) return false; continue; }
        str_putc(s->clean, c);
        s->at++;
        if ((c == '{' || c == '[') && ++depth > CALL_DEPTH) return bad(s, CALL_TOO_DEEP);
        if ((c == '}' || c == ']') && --depth == 0) return true;
    }
    return bad(s, s->over);
}

size_t call_object(const char *text, size_t n, struct str *clean, const char **wrong)
{
    bool more = n > CALL_BYTES;
    struct scan s = { .p = text, .n = more ? CALL_BYTES : n, .clean = clean, .over = CALL_NOT_JSON };
    if (more) s.over = CALL_TOO_LONG;
    str_clear(clean);
    bool fine = n && *text == '{' ? object(&s) : bad(&s, CALL_NOT_JSON);
    *wrong = s.wrong;
    return fine ? s.at : 0;
}
