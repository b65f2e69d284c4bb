/* math_value.c: an answer is cleaned to one notation and split at brackets and commas; its parts are compared by value,
 * or as text if they have none. The difficulty is the comma: "1,000" is a number and a list, so both readings are tried
 * on both sides. */
#include "data/grade/math_value.h"
#include "data/grade/math_expr.h"
#include "data/grade/python_text.h"
#include "base/text.h"
#include "base/utf8.h"
#include <string.h>

enum { PARTS_MAX = 64, NEST_MAX = 4 };
#define WORDS '\x01'        /* marks the start of a \text{...}: inside it even a single letter is a unit */

struct math_text { const char *p; size_t n; };

static bool is_text(struct math_text s, const char *t) { return s.n == strlen(t) && !memcmp(s.p, t, s.n); }
static bool one_of(struct math_text s, const char *const *list)
{
    for (; *list; list++)
        if (is_text(s, *list)) return true;
    return false;
}

static struct math_text trim(struct math_text s)
{
    while (s.n && (*s.p == ' ' || *s.p == WORDS)) s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == WORDS)) s.n--;
    return s;
}

/* --- one notation --- */

/* Replacements for commands and characters; a space keeps \pi r from becoming \pir. */
static const struct { const char *from, *to; } commands[] = {
    { "dfrac", "\\frac" }, { "tfrac", "\\frac" }, { "cfrac", "\\frac" }, { "leq", "\\le " }, { "geq", "\\ge " },
    { "neq", "\\ne " }, { "ast", "*" }, { "quad", " " }, { "qquad", " " }, { "displaystyle", "" }, { "textstyle", "" },
    { "limits", "" }, { "left", "" }, { "right", "" }, { "big", "" },
    { "Big", "" }, { "bigl", "" }, { "bigr", "" }, { "degree", "" }, { "lvert", "|" }, { "rvert", "|" }, { "vert",
      "|" }, { "lbrace", "\\{" },
    { "rbrace", "\\}" }, { "emptyset", "\\varnothing " }, { "percent", "%" },
}, characters[] = {
    { "\xE2\x88\x92", "-" }, { "\xE2\x80\x93", "-" }, { "\xC3\x97", "\\times " }, { "\xC2\xB7", "\\cdot " },
    { "\xE2\x8B\x85", "\\cdot " }, { "\xC3\xB7", "\\div " }, { "\xCF\x80", "\\pi " }, { "\xE2\x88\x9E", "\\infty " },
    { "\xE2\x88\x9A", "\\sqrt " }, { "\xE2\x89\xA4", "\\le " }, { "\xE2\x89\xA5", "\\ge " },
    { "\xE2\x89\xA0", "\\ne " }, { "\xC2\xB1", "\\pm " }, { "\xC2\xB0", "" }, { "\xC2\xBD", "\\frac{1}{2}" },
    { "\xC2\xBC", "\\frac{1}{4}" }, { "\xC2\xBE", "\\frac{3}{4}" }, { "\xC2\xB2", "^{2}" }, { "\xC2\xB3", "^{3}" },
    { "\xE2\x88\xAA", "\\cup " }, { "\xE2\x82\xAC", "" }, { "\xC2\xA3", "" },
};
static const char *const text_commands[] = { "text", "mbox", "mathrm", "textbf", "textrm", "textit", "hbox", NULL };
/* their argument stays as it is */
static const char *const plain_commands[] = { "boxed", "mathbf", "boldsymbol", "mathit", "operatorname", NULL };

/* Do three digits that end a group of thousands, as in 1,000, follow the first i bytes of s? */
static bool thousands(struct math_text s, size_t i)
{
    size_t k = 0;
    while (i + k < s.n && is_digit(s.p[i + k])) k++;
    return k == 3;
}

/* The text being cleaned, the position, and the open braces that belong to a \text: those are removed with the command.
 * */
struct cleaner { struct math_text s; size_t i; struct str *out; unsigned depth; uint64_t text; };

static bool starts(const struct cleaner *c, const char *what)
{
    size_t n = strlen(what);
    return c->s.n - c->i >= n && !memcmp(c->s.p + c->i, what, n);
}

/* \, \! \{ ...: one character after the backslash */
static void clean_escape(struct cleaner *c)
{
    char next = c->i + 1 < c->s.n ? c->s.p[c->i + 1] : ' ';
    bool digits = c->out->n && is_digit(c->out->p[c->out->n - 1]);
    if (next == '{' || next == '}' || next == '\\') str_put(c->out, c->s.p + c->i, 2);
    else if (next == '%') str_putc(c->out, '%');
    else if (!strchr("!$()[]", next) && !(next == ',' && digits && thousands(c->s, c->i + 2))) str_putc(c->out, ' ');
    c->i += next & 0x80 ? 1 : 2;
}

static void clean_command(struct cleaner *c)
{
    size_t n = 1;
    while (c->i + n < c->s.n && is_letter(c->s.p[c->i + n])) n++;
    if (n == 1) {
        clean_escape(c);
        return;
    }
    struct math_text name = { c->s.p + c->i + 1, n - 1 };
    c->i += n;
    bool plain = one_of(name, plain_commands);
    if (plain || one_of(name, text_commands)) {
        if (!plain) str_putc(c->out, WORDS);
        while (c->i < c->s.n && c->s.p[c->i] == ' ') c->i++;
        if (!starts(c, "{")) return;
        c->i++;
        if (++c->depth < 64) c->text |= (uint64_t)1 << c->depth;
        return;
    }
    bool side = is_text(name, "left") || is_text(name, "right");
    if (side && starts(c, ".")) c->i++;
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++) {
        if (!is_text(name, commands[k].from)) continue;
        str_puts(c->out, commands[k].to);
        return;
    }
    str_put(c->out, name.p - 1, n);
}

static void clean_brace(struct cleaner *c)
{
    bool open = c->s.p[c->i++] == '{';
    uint64_t bit = c->depth < 64 ? (uint64_t)1 << c->depth : 0;
    if (open) c->depth++;
    else if (c->depth) c->depth--;
    if (!open && c->text & bit) {
        c->text &= ~bit;
        str_putc(c->out, ' ');
    } else str_putc(c->out, open ? '{' : '}');
}

static void clean_character(struct cleaner *c)
{
    for (size_t k = 0; k < sizeof characters / sizeof *characters; k++) {
        if (!starts(c, characters[k].from)) continue;
        str_puts(c->out, characters[k].to);
        c->i += strlen(characters[k].from);
        return;
    }
    uint32_t u = text_next(c->s.p, c->s.n, &c->i);
    if (u < ' ' || u == '~' || utf8_is_space(u)) str_putc(c->out, ' ');
    else str_put_utf8(c->out, u);
}

/* A run of letters; a separate "and" or "or" after some text becomes a comma */
static void clean_word(struct cleaner *c)
{
    size_t n = 0;
    const char *p = c->s.p + c->i;
    while (c->i + n < c->s.n && is_letter(p[n])) n++;
    bool alone = c->i && c->i + n < c->s.n && (p[-1] == ' ' || p[-1] == '{') && (p[n] == ' ' || p[n] == '}');
    if (alone && (is_text((struct math_text){ p, n }, "and") || is_text((struct math_text){ p, n }, "or")))
        str_putc(c->out, ',');
    else str_put(c->out, p, n);
    c->i += n;
}

static void clean(struct str *out, const char *text)
{
    struct cleaner c = { .s = { text, strlen(text) }, .out = out };
    str_clear(out);
    while (c.i < c.s.n) {
        char ch = c.s.p[c.i];
        if (ch == '\\') clean_command(&c);
        else if (is_letter(ch)) clean_word(&c);
        else if (starts(&c, "{,}")) c.i += 3;
        else if (starts(&c, "^{\\circ}")) c.i += 8;
        else if (starts(&c, "^\\circ")) c.i += 6;
        else if (ch == '{' || ch == '}') clean_brace(&c);
        else if (ch == '$') c.i++;
        else if (ch & 0x80 || ch <= ' ' || ch == '~') clean_character(&c);
        else str_putc(out, ch), c.i++;
    }
    while (out->n && strchr(" .,;\x01", out->p[out->n - 1])) out->p[--out->n] = 0;
}

/* The reading in which commas outside all brackets separate groups of three digits: "1,000, 20" -> "1000, 20" */
static void drop_thousands(struct str *out, struct math_text s)
{
    int depth = 0;
    size_t run = 0;     /* digits just before i, if they may be or are the first group */
    str_clear(out);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        depth += (c == '(' || c == '[' || c == '{') - (c == ')' || c == ']' || c == '}');
        if (c == ',' && depth <= 0 && run >= 1 && run <= 3 && thousands(s, i + 1)) {
            str_put(out, s.p + i + 1, 3);
            i += 3;
            run = 3;
            continue;
        }
        run = is_digit(c) ? run + (run || !i || !(is_digit(s.p[i - 1]) || s.p[i - 1] == '.')) : 0;
        str_putc(out, c);
    }
}

/* --- text --- */

/* Removes single-character braces and spaces ("1 2" keeps its space: it is not 12); lower case for words */
static void squash(struct str *out, struct math_text s)
{
    struct str bare = { 0 };
    bool words = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool between = c == ' ' && bare.n && is_digit(bare.p[bare.n - 1]) && i + 1 < s.n && is_digit(s.p[i + 1]);
        if ((c == ' ' && !between) || c == WORDS) continue;
        bool escaped = i && s.p[i - 1] == '\\';
        bool single = (c == '{' && i + 2 < s.n && s.p[i + 2] == '}' && s.p[i + 1] != '\\') ||
                      (c == '}' && i >= 2 && s.p[i - 2] == '{');
        if (single && !escaped) continue;
        str_putc(&bare, c);
    }
    for (size_t i = 0, run = 0; i < bare.n; i++) {
        bool command = run == 0 && i && bare.p[i - 1] == '\\';
        if (!is_letter(bare.p[i])) run = 0;
        else if (command) while (i + 1 < bare.n && is_letter(bare.p[i + 1])) i++;
        else words = words || ++run >= 2;
    }
    str_clear(out);
    if (words) text_lower(out, bare.p, bare.n);
    else if (bare.n) str_put(out, bare.p, bare.n);
    str_free(&bare);
}

static bool same_text(struct math_text a, struct math_text b)
{
    struct str x = { 0 }, y = { 0 };
    squash(&x, a);
    squash(&y, b);
    bool same = !strcmp(x.p, y.p);
    str_free(&x);
    str_free(&y);
    return same;
}

/* --- one quantity: a value, perhaps with a unit or a percent sign --- */

struct quantity { struct math_text value, unit; bool percent; };

static const char *const units[] = {
    "cm", "mm", "km", "nm", "kg", "mg", "ml", "mL", "ft", "in", "yd", "mi", "lb", "lbs", "oz", "hr", "hrs", "min",
    "sec", "ms", "rad", "deg", "mph", "kph", "kmh", "Hz", "kHz", "eV", "Pa", "kPa", "kJ", "kW", "USD", "EUR", NULL,
};
static const char *const no_units[] = {
    "hundred", "thousand", "million", "billion", "trillion", "dozen", "sqrt", "sin", "cos", "tan", "cot", "sec", "csc",
    "log", "exp", "if", "mod", NULL,
};

/* Can everything from i on be a unit: words, powers, "per"? */
static bool unit_tail(struct math_text s, size_t i)
{
    while (i < s.n) {
        size_t n = 0;
        while (i + n < s.n && is_letter(s.p[i + n])) n++;
        if (n && one_of((struct math_text){ s.p + i, n }, no_units)) return false;
        if (!n && !is_digit(s.p[i]) && !strchr(" ^{}/.-\x01", s.p[i])) return false;
        i += n ? n : 1;
    }
    return true;
}

/* Start of the unit after a number; s.n if there is none. */
static size_t unit_at(struct math_text s)
{
    if (!s.n || !(is_digit(*s.p) || strchr("-+.\\(|", *s.p))) return s.n;
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == WORDS) return unit_tail(s, i) ? i : s.n;
        if (!is_letter(s.p[i])) continue;
        size_t n = 0;
        while (i + n < s.n && is_letter(s.p[i + n])) n++;
        struct math_text w = { s.p + i, n };
        char before = s.p[i - 1];
        if (before == '\\') {                       /* a command; the words of \frac{..} are not units either */
            i += n - 1;
            continue;
        }
        bool known = one_of(w, units) && !one_of(w, no_units) && (before == ' ' || is_digit(before) || before == '}');
        if ((known || (before == ' ' && n >= 3)) && unit_tail(s, i)) return i;
        i += n - 1;
    }
    return s.n;
}

static struct quantity quantity(struct math_text s)
{
    struct quantity q = { .value = trim(s) };
    size_t at = unit_at(q.value);
    q.unit = trim((struct math_text){ q.value.p + at, q.value.n - at });
    q.value = trim((struct math_text){ q.value.p, at });
    if (q.value.n && q.value.p[q.value.n - 1] == '%') {
        q.percent = true;
        q.value = trim((struct math_text){ q.value.p, q.value.n - 1 });
    }
    return q;
}

static bool same_unit(struct math_text a, struct math_text b)
{
    if (a.n && a.p[a.n - 1] == 's') a.n--;
    if (b.n && b.p[b.n - 1] == 's') b.n--;
    return !a.n || !b.n || same_text(a, b);
}

static bool value_of(struct math_num *v, struct math_text s)
{
    char copy[MATH_EXPR_MAX];
    if (!s.n || s.n > sizeof copy) return false;
    for (size_t i = 0; i < s.n; i++) copy[i] = s.p[i] == WORDS ? ' ' : s.p[i];
    return math_eval(v, copy, s.n);
}

static bool same_quantity(struct math_text a, struct math_text b)
{
    struct quantity x = quantity(a), y = quantity(b);
    struct math_num u, v;
    if (!same_unit(x.unit, y.unit)) return false;
    if (!value_of(&u, x.value) || !value_of(&v, y.value)) return same_text(x.value, y.value);
    if (math_same(&u, &v)) return true;
    if (x.percent == y.percent) return false;
    math_percent(x.percent ? &u : &v);
    return math_same(&u, &v);
}

/* --- parts --- */

/* A part of an answer; pm: the sign taken for its \pm, 0: none */
struct math_part { struct math_text s; char pm; };
/* open: '(' or '[' with its close: ordered; '{', 0 (bare) or 'U' (union): unordered; 'm': matrix, number of rows in
 * close */
struct math_list { int open, close, n; struct math_part part[PARTS_MAX]; };

static int step(struct math_text s, size_t i)
{
    char c = s.p[i];
    return (c == '(' || c == '[' || c == '{') - (c == ')' || c == ']' || c == '}');
}

/* The first occurrence of `what` at or after `from`, outside all brackets; s.n: none. The backslash of \{ is
 * irrelevant: the brace counts. */
static size_t find_top(struct math_text s, const char *what, size_t from)
{
    size_t n = strlen(what);
    int depth = 0;
    for (size_t i = from; i + n <= s.n; i++) {
        if (depth == 0 && !memcmp(s.p + i, what, n)) return i;
        depth += step(s, i);
        if (depth < 0) break;
    }
    return s.n;
}

/* "x =", "f(x) =": returns the part after it if a name precedes the only '=' */
static struct math_text drop_name(struct math_text s)
{
    const char *eq = memchr(s.p, '=', s.n);
    if (!eq || eq == s.p || eq + 1 == s.p + s.n || memchr(eq + 1, '=', s.n - (size_t)(eq + 1 - s.p)) ||
        strchr("<>!", eq[-1]))
        return s;
    struct math_text name = trim((struct math_text){ s.p, (size_t)(eq - s.p) });
    bool index = false;
    if (!name.n || name.n > 24 || !(is_letter(*name.p) || *name.p == '\\')) return s;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        index = index || c == '_';
        if (!is_letter(c) && !strchr("_(){}\\' \x01", c) && !(index && is_digit(c))) return s;
    }
    return trim((struct math_text){ eq + 1, s.n - (size_t)(eq + 1 - s.p) });
}

/* Does the last character close the first bracket? */
static bool enclosed(struct math_text s)
{
    int depth = 0;
    for (size_t i = 0; i < s.n; i++) {
        depth += step(s, i);
        if (depth == 0) return i + 1 == s.n && s.n >= 2;
    }
    return false;
}

static void add_part(struct math_list *l, struct math_text s)
{
    s = trim(s);
    bool pm = find_top(s, "\\pm", 0) < s.n;
    for (int i = 0; i <= pm; i++, l->n++)
        if (l->n < PARTS_MAX) l->part[l->n] = (struct math_part){ s, pm ? "+-"[i] : 0 };
}

static void split_at(struct math_list *l, struct math_text s, const char *comma)
{
    for (size_t at = 0; at <= s.n;) {
        size_t end = find_top(s, comma, at);
        add_part(l, (struct math_text){ s.p + at, end - at });
        at = end + (end < s.n ? strlen(comma) : 1);
    }
}

/* \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}: the entries by rows */
static bool split_matrix(struct math_list *l, struct math_text s)
{
    static const char begin[] = "\\begin{", end[] = "\\end{";
    if (s.n < strlen(begin) || memcmp(s.p, begin, strlen(begin))) return false;
    size_t name = find_top(s, "}", strlen(begin)), stop = find_top(s, end, name + 1 < s.n ? name + 1 : s.n);
    if (stop == s.n || find_top(s, "}", stop + strlen(end)) + 1 != s.n) return false;
    struct math_text body = { s.p + name + 1, stop - name - 1 };
    l->open = s.p[strlen(begin)] == 'v' ? 'v' : 'm';        /* vmatrix: a determinant */
    for (size_t at = 0; at <= body.n; l->close++) {
        size_t row = find_top(body, "\\\\", at);
        split_at(l, (struct math_text){ body.p + at, row - at }, "&");
        at = row + (row < body.n ? 2 : 1);
    }
    return true;
}

static void split(struct math_list *l, struct math_text s)
{
    *l = (struct math_list){ 0 };
    s = drop_name(trim(s));
    if (find_top(s, "\\cup", 0) < s.n) {
        l->open = 'U';
        split_at(l, s, "\\cup");
    } else if (!split_matrix(l, s)) {
        for (int i = 0; i < NEST_MAX && s.n; i++) {
            bool escaped = s.n >= 4 && s.p[0] == '\\' && s.p[1] == '{' && s.p[s.n - 2] == '\\';
            struct math_text in = escaped ? (struct math_text){ s.p + 1, s.n - 1 } : s;
            if (!step(in, 0) || !enclosed(in)) break;
            l->open = *in.p;
            l->close = in.p[in.n - 1];
            s = drop_name(trim((struct math_text){ in.p + 1, in.n - 2 - escaped }));
            if (find_top(s, ",", 0) < s.n) break;
        }
        split_at(l, s, ",");
        bool zero = false;          /* "1,000" is not a list */
        for (int i = 0; i < l->n && i < PARTS_MAX; i++)
            zero = zero || (l->part[i].s.n > 1 && *l->part[i].s.p == '0' && is_digit(l->part[i].s.p[1]));
        if (zero && !l->open) l->n = PARTS_MAX + 1;
    }
    if (l->n > PARTS_MAX) {
        *l = (struct math_list){ .n = 1 };
        l->part[0] = (struct math_part){ s, 0 };
    }
}

static bool equal(struct math_text a, struct math_text b, int nest);

/* Compares two parts: with \pm resolved, as lists or as quantities */
static bool same_part(struct math_part a, struct math_part b, int nest)
{
    if (!a.pm && !b.pm) return equal(a.s, b.s, nest - 1);
    struct str x = { 0 }, y = { 0 }, *out[] = { &x, &y };
    struct math_part in[] = { a, b };
    for (int i = 0; i < 2; i++) {
        char sign[] = { in[i].pm, 0 };
        text_replace(out[i], in[i].s.p, in[i].s.n, "\\pm", in[i].pm ? sign : "\\pm");
    }
    bool same = equal((struct math_text){ x.p, x.n }, (struct math_text){ y.p, y.n }, nest - 1);
    str_free(&x);
    str_free(&y);
    return same;
}

static bool in_order(const struct math_list *l) { return l->open == '(' || l->open == '['; }
static bool in_any_order(const struct math_list *l) { return l->open == 0 || l->open == '{'; }

static bool same_list(const struct math_list *a, const struct math_list *b, int nest)
{
    bool brackets = a->open == b->open && a->close == b->close;
    bool bare =
        (a->open == 0 && b->open == '(' && b->close == ')') || (b->open == 0 && a->open == '(' && a->close == ')');
    bool sets = in_any_order(a) && in_any_order(b);
    if (a->n != b->n || !(brackets || bare || sets)) return false;
    bool ordered = in_order(a) || in_order(b) || a->open == 'm' || a->open == 'v';
    bool used[PARTS_MAX] = { false };
    for (int i = 0; i < a->n; i++) {
        int j = ordered ? i : 0, end = ordered ? i + 1 : b->n;
        while (j < end && (used[j] || !same_part(a->part[i], b->part[j], nest))) j++;
        if (j == end) return false;
        used[j] = true;
    }
    return true;
}

/* a = b against c = d: both sides by value, in either order */
static bool same_equation(struct math_text a, struct math_text b)
{
    const char *p = memchr(a.p, '=', a.n), *q = memchr(b.p, '=', b.n);
    if (!p || !q || memchr(p + 1, '=', a.n - (size_t)(p + 1 - a.p)) || memchr(q + 1, '=', b.n - (size_t)(q + 1 - b.p)))
        return false;
    struct math_text l = { a.p, (size_t)(p - a.p) }, r = { p + 1, a.n - l.n - 1 }, m = { b.p, (size_t)(q - b.p) },
                s = { q + 1, b.n - m.n - 1 };
    return (same_quantity(l, m) && same_quantity(r, s)) || (same_quantity(l, s) && same_quantity(r, m));
}

static bool equal(struct math_text a, struct math_text b, int nest)
{
    if (same_text(a, b)) return true;
    if (nest <= 0 || a.n > MATH_EXPR_MAX || b.n > MATH_EXPR_MAX) return false;
    struct math_list x, y;
    split(&x, a);
    split(&y, b);
    if (x.n != 1 || y.n != 1 || x.part[0].pm || y.part[0].pm) return same_list(&x, &y, nest);
    struct math_text p = x.part[0].s, q = y.part[0].s;
    if (x.open == 'm' || y.open == 'm' || x.open == 'v' || y.open == 'v')
        return x.open == y.open && same_quantity(p, q);
    return same_quantity(p, q) || same_equation(p, q);
}

bool math_value_equal(const char *a, const char *b)
{
    struct str x = { 0 }, y = { 0 }, u = { 0 }, v = { 0 };
    clean(&x, a);
    clean(&y, b);
    struct math_text p = trim((struct math_text){ x.p, x.n }), q = trim((struct math_text){ y.p, y.n });
    drop_thousands(&u, p);
    drop_thousands(&v, q);
    bool same =
        equal((struct math_text){ u.p, u.n }, (struct math_text){ v.p, v.n }, NEST_MAX) || equal(p, q, NEST_MAX);
    str_free(&x);
    str_free(&y);
    str_free(&u);
    str_free(&v);
    return same;
}
