/* reference_answers.c: the answer column's value to the references for rewards. */
#include "data/reference_answers.h"
#include "base/str.h"
#include "base/json_partial.h"
#include "base/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *value_is(const json_t *v, char *buf, size_t n)
{
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_STRING] = "a text", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",    [JSON_FALSE] = "false",   [JSON_NULL] = "null"
    };
    const char *key, *odd = odd_is(v);
    json_t *member;
    if (!v) return "missing";
    snprintf(buf, n, "%s", odd ? odd : kinds[json_typeof(v)]);
    if (odd || !json_is_object(v) || !json_object_size(v)) return buf;
    const char *before = " with ";
    json_object_foreach((json_t *)v, key, member) {
        size_t at = strlen(buf);
        snprintf(buf + at, n - at, "%s%.60s", before, key);
        before = ", ";
    }
    return buf;
}

/* Removes the commas of a number with groups of digits: 1,072 and 1,00,000.5; "1,2" stays. */
static void drop_thousands(char *s)
{
    size_t n = strlen(s), at = strspn(s, "+-$"), group, commas = 0;
    size_t first = strspn(s + at, "0123456789");
    if (!first || first > 3) return;
    for (at += first; s[at] == ','; at += 1 + group) {
        group = strspn(s + at + 1, "0123456789");
        bool last = s[at + 1 + group] != ',';
        if (group != 3 && (last || group != 2)) return;
        commas++;
    }
    if (s[at] == '.') at += 1 + strspn(s + at + 1, "0123456789");
    if (!commas || (at != n && strspn(s + at, " %$") == 0)) return;
    char *to = s;
    for (const char *p = s; *p; p++) if (*p != ',') *to++ = *p;
    *to = 0;
}

/* GSM8K: the text after the last "####", if it is one line. */
static char *behind_mark(const char *s)
{
    const char *last = NULL;
    for (const char *p = s; (p = strstr(p, "####")); ) {
        size_t n = strspn(p, "#");
        if (n == 4) last = p + 4;
        p += n;
    }
    if (!last) return NULL;
    last += strspn(last, " \t");
    size_t n = strlen(last);
    while (n && is_space(last[n - 1])) n--;
    if (!n || memchr(last, '\n', n)) return NULL;
    char *t = xcalloc(n + 1, 1);
    memcpy(t, last, n);
    drop_thousands(t);
    return t;
}

/* The content of the last \boxed{..} or \fbox{..}, or between \boxed and the next $, which MATH has, too. */
static char *last_box(const char *s)
{
    static const char *const opens[] = { "\\boxed{", "\\boxed ", "\\fbox{" };
    const char *last = NULL;
    bool braced = true;
    for (int k = 0; k < 3; k++)
        for (const char *p = s; (p = strstr(p, opens[k])); ) {
            p += strlen(opens[k]);
            if (!last || p > last) last = p, braced = k != 1;
        }
    if (last && !braced) {
        size_t n = strcspn(last, "$\n");
        while (n && strchr(" \t\r", last[n - 1])) n--;
        char *t = xcalloc(n + 1, 1);
        memcpy(t, last, n);
        if (n) return t;
        free(t);
        return NULL;
    }
    int depth = 1;
    const char *p = last;
    for (; p && *p && depth; p++) {
        if (*p == '\\' && p[1]) { p++; continue; }
        depth += (*p == '{') - (*p == '}');
    }
    if (!p || depth) return NULL;
    size_t n = (size_t)(p - 1 - last);
    char *t = xcalloc(n + 1, 1);
    memcpy(t, last, n);
    if (strspn(t, " \t\r\n") == n) { free(t); return NULL; }
    return t;
}

/* A number with the fewest digits that read back the same; a whole one without a point, because pandas turns a column
 * of 7 and null into 7.0. */
static char *number_text(const json_t *a)
{
    char *shown = NULL;
    size_t digits = 1;
    double v = json_number_value(a);
    if (json_is_real(a) && floor(v) == v && fabs(v) < 1e15) {
        struct str s = { 0 };
        str_printf(&s, "%.0f", v == 0 ? 0 : v);
        return s.p;
    }
    do { free(shown); shown = json_dumps(a, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits)); }
    while (shown && json_is_real(a) && strtod(shown, NULL) != v && digits++ < 17);
    if (!shown) die("answers: out of memory");
    return shown;
}

/* Is the whole text a number: -324, $1,072.50, 12%? Word overlap, which drops signs and points, would accept 35 for
 * 3.5. */
static bool is_number(const char *s)
{
    char *t = xstrdup(s + strspn(s, " \t\r\n"));
    drop_thousands(t);
    const char *p = t + strspn(t, "+-$");
    size_t whole = strspn(p, "0123456789"), digits = whole;
    p += whole;
    if (*p == '.') p++, digits += strspn(p, "0123456789"), p += strspn(p, "0123456789");
    bool is = digits && !p[strspn(p, " %$\t\r\n")];
    free(t);
    return is;
}

/* The text of one reference. Boxed texts count as mathematics. */
static char *answer_text(struct references *x, const json_t *a, int how)
{
    const char *big = odd_number(a);
    if (big) return xstrdup(big);
    if (json_is_number(a)) return number_text(a);
    if (json_is_boolean(a)) x->number = false;
    if (json_is_boolean(a)) return xstrdup(json_is_true(a) ? "true" : "false");
    if (!json_is_string(a)) return NULL;
    bool boxed = false;
    char *t = behind_mark(json_string_value(a));
    x->behind_mark |= t != NULL;
    if (!t && how & REFS_BOX && (t = last_box(json_string_value(a)))) x->boxed = boxed = true;
    if (!t) t = xstrdup(json_string_value(a));
    if (!boxed && (how & REFS_WORDS || !is_number(t))) x->number = false;
    return t;
}

static bool is_blank(const char *s) { return !s[strspn(s, " \t\r\n")]; }

/* The value of an object like {"target": [..]}; NULL: another object. */
static const json_t *target_of(const json_t *a)
{
    const json_t *target = json_object_get(a, "target");
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)a, key, v) if (!json_is_null(v) && v != target) return NULL;
    return json_is_null(target) ? NULL : target;
}

/* Finds the first and the last byte that is not white space; false: there is none. */
static bool ends_of(const char *s, const char **from, const char **last)
{
    size_t n = strlen(s);
    *from = s + strspn(s, " \t\r\n");
    while (n && is_space(s[n - 1])) n--;
    *last = s + n - 1;
    return n > 0 && *last >= *from;
}

/* Does the text contain this name in quotes followed by a colon? */
static bool has_member(const char *s, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = s; (p = strstr(p, name)); p += n) {
        const char *colon = p + n + 1;
        if (p == s || (p[-1] != '"' && p[-1] != '\'') || p[n] != p[-1]) continue;
        if (colon[strspn(colon, " \t\r\n")] == ':') return true;
    }
    return false;
}

bool text_is_messages(const char *s)
{
    const char *from, *last;
    if (!ends_of(s, &from, &last) || *from != '[' || *last != ']' || from[1 + strspn(from + 1, " \t\r\n")] != '{')
        return false;
    return (has_member(from, "role") && has_member(from, "content")) ||
           (has_member(from, "from") && has_member(from, "value"));
}

/* ["a", "b"], ['a' 'b'], {"target": ...} */
static bool is_written_out(const char *s)
{
    const char *from, *last;
    if (!ends_of(s, &from, &last)) return false;
    if (*from == '{' && *last == '}') return has_member(from, "target");
    if (*from != '[' || *last != ']' || last - from < 3) return false;
    do from++; while (is_space(*from));
    do last--; while (is_space(*last));
    return last > from && *from == *last && (*from == '"' || *from == '\'');
}

bool references_read(struct references *x, const json_t *a, const char *name, int how, struct err *e)
{
    char buf[200];
    const json_t *target = json_is_object(a) && !odd_is(a) ? target_of(a) : a;
    *x = (struct references){ .number = true };
    if (target != a) how |= REFS_WORDS;
    if (!target)
        return fail(e,
                    "the answer \"%s\" is %s: name its member with data.answer_key=%s.MEMBER",
                    name, value_is(a, buf, sizeof buf), name);
    size_t n = json_is_array(target) ? json_array_size(target) : 1;
    if (n == 0) return fail(e, "the list of answers in \"%s\" is empty", name);
    x->ref = xcalloc(n, sizeof *x->ref);
    for (size_t k = 0; k < n; k++) {
        const json_t *one = json_is_array(target) ? json_array_get(target, k) : target;
        const char *text = json_string_value(one);
        if (how & REFS_FOUND && text && is_written_out(text))
            return fail(
                e,
                "the answer in \"%s\" is a text with a list or an object written out: write it as one, or, where the "
                "text itself is the answer, data.answer_key=%s",
                name, name);
        char *t = answer_text(x, one, how);
        if (!t)
            return fail(e,
                        "answer %zu in \"%s\" is %s: a text, a number, true, false or a list of them is needed "
                        "(data.answer_key names another column)",
                        k, name, value_is(one, buf, sizeof buf));
        x->ref[x->n++] = t;
    }
    x->empty = true;
    for (int k = 0; k < x->n; k++) x->empty &= is_blank(x->ref[k]);
    return true;
}

bool references_same(const struct references *a, const struct references *b)
{
    if (a->n != b->n) return false;
    for (int k = 0; k < a->n; k++) if (strcmp(a->ref[k], b->ref[k])) return false;
    return true;
}

void references_free(struct references *x)
{
    for (int k = 0; k < x->n; k++) free(x->ref[k]);
    free(x->ref);
    *x = (struct references){ 0 };
}
