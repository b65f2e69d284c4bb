/* math_equiv.c: the normalisation is a chain of replacements over the whole string; their order is part of the result
 * ("\leftarrow" becomes "arrow" because \left is removed whatever follows). */
#include "data/grade/math_equiv.h"
#include "data/grade/python_text.h"
#include <string.h>

enum { INT_DIGITS = 4300 };     /* Python's int() rejects more, and the a/b rule then leaves the string unchanged */

static void replace(struct str *s, const char *from, const char *to)
{
    struct str out = { 0 };
    if (text_find(s->p, s->n, from, 0) < 0) return;
    text_replace(&out, s->p, s->n, from, to);
    str_free(s);
    *s = out;
}

/* "5\text{ cm}" -> "5"; false for two or more of them */
static bool drop_units(struct str *s)
{
    static const char unit[] = "\\text{ ";
    int64_t at = text_find(s->p, s->n, unit, 0);
    if (at < 0) return true;
    if (text_find(s->p, s->n, unit, (size_t)at + strlen(unit)) >= 0) return false;
    s->p[s->n = (size_t)at] = 0;
    return true;
}

/* "k = 5" -> " 5": one '=' with at most two code points before it */
static void drop_name(struct str *s)
{
    int64_t eq = text_find(s->p, s->n, "=", 0);
    if (eq < 0 || text_find(s->p, s->n, "=", (size_t)eq + 1) >= 0) return;
    size_t at = 0;
    for (int i = 0; i < 2 && at < (size_t)eq; i++) at += text_step(s->p + at, s->n - at);
    if (at < (size_t)eq) return;
    struct str out = { 0 };
    str_puts(&out, s->p + eq + 1);
    str_free(s);
    *s = out;
}

static void put_braced(struct str *out, const char *p, size_t n)
{
    str_putc(out, '{');
    str_put(out, p, n);
    str_putc(out, '}');
}

/* Both rules below split the string at a command and edit the text after each; [p, p + n) is one such piece. */
static bool next_piece(const struct str *s, const char *command, size_t *at, const char **p, size_t *n)
{
    if (*at > s->n) return false;
    int64_t end = text_find(s->p, s->n, command, *at);
    *p = s->p + *at;
    *n = (end < 0 ? s->n : (size_t)end) - *at;
    *at = end < 0 ? s->n + 1 : (size_t)end + strlen(command);
    return true;
}

/* \sqrt3 -> \sqrt{3}, for any character; false when nothing follows */
static bool fix_sqrt(struct str *s)
{
    struct str out = { 0 };
    const char *p;
    size_t at = 0, n;
    next_piece(s, "\\sqrt", &at, &p, &n);
    str_put(&out, p, n);
    while (next_piece(s, "\\sqrt", &at, &p, &n)) {
        if (!n) return str_free(&out), false;
        str_puts(&out, "\\sqrt");
        size_t one = *p == '{' ? 0 : text_step(p, n);
        if (one) put_braced(&out, p, one);
        str_put(&out, p + one, n - one);
    }
    str_free(s);
    *s = out;
    return true;
}

/* \frac12 -> \frac{1}{2}, \frac1{2} -> \frac{1}{2}; one character after a \frac: the string stays unchanged; nothing
 * after it: false */
static bool fix_fracs(struct str *s)
{
    struct str out = { 0 };
    const char *p;
    size_t at = 0, n;
    next_piece(s, "\\frac", &at, &p, &n);
    str_put(&out, p, n);
    while (next_piece(s, "\\frac", &at, &p, &n)) {
        if (!n) return str_free(&out), false;
        str_puts(&out, "\\frac");
        size_t a = *p == '{' ? 0 : text_step(p, n);
        if (a == n) return str_free(&out), true;
        if (a) {
            size_t b = p[a] == '{' ? 0 : text_step(p + a, n - a);
            put_braced(&out, p, a);
            if (b) put_braced(&out, p + a, b);
            a += b;
        }
        str_put(&out, p + a, n - a);
    }
    str_free(s);
    *s = out;
    return true;
}

/* Length of an integer as Python prints it: "0", or digits that begin with 1 to 9, "-" allowed in front; 0: none. */
static size_t printed_int(const char *s)
{
    size_t minus = *s == '-', digits = strspn(s + minus, "0123456789");
    if (!digits || digits > INT_DIGITS || (s[minus] == '0' && (digits > 1 || minus))) return 0;
    return minus + digits;
}

/* "-1/2" -> "\frac{-1}{2}", only for integers as Python prints them */
static void fix_slash(struct str *s)
{
    size_t a = printed_int(s->p);
    if (!a || s->p[a] != '/') return;
    size_t b = printed_int(s->p + a + 1);
    if (!b || a + 1 + b != s->n) return;
    struct str out = { 0 };
    str_puts(&out, "\\frac");
    put_braced(&out, s->p, a);
    put_braced(&out, s->p + a + 1, b);
    str_free(s);
    *s = out;
}

static bool normalise(struct str *s)
{
    static const char *const drop[][2] = {
        { "\n", "" }, { "\\!", "" }, { "\\\\", "\\" }, { "tfrac", "frac" }, { "dfrac", "frac" }, { "\\left", "" },
        { "\\right", "" }, { "^{\\circ}", "" }, { "^\\circ", "" }, { "\\$", "" },
    };
    for (size_t i = 0; i < sizeof drop / sizeof *drop; i++) replace(s, drop[i][0], drop[i][1]);
    if (!drop_units(s)) return false;
    replace(s, "\\%", "");
    replace(s, " .", " 0.");
    replace(s, "{.", "{0.");
    if (!s->n) return true;
    if (*s->p == '.') {
        struct str out = { 0 };
        str_printf(&out, "0%s", s->p);
        str_free(s);
        *s = out;
    }
    drop_name(s);
    if (!fix_sqrt(s)) return false;
    replace(s, " ", "");
    if (!fix_fracs(s)) return false;
    if (!strcmp(s->p, "0.5")) {
        str_clear(s);
        str_puts(s, "\\frac{1}{2}");
    }
    fix_slash(s);
    return true;
}

bool math_strip(struct str *out, const char *text)
{
    struct str s = { 0 };
    str_puts(&s, text);
    bool ok = normalise(&s);
    if (ok) str_put(out, s.p, s.n);
    str_free(&s);
    return ok;
}

bool math_equiv(const char *a, const char *b)
{
    if (!a || !b) return a == b;
    struct str x = { 0 }, y = { 0 };
    bool both = math_strip(&x, a) && math_strip(&y, b);
    bool same = both ? !strcmp(x.p, y.p) : !strcmp(a, b);
    str_free(&x);
    str_free(&y);
    return same;
}
