/* math_expr.c: recursive descent. One function, group, counts and limits the depth. Expressions with variables are
 * compared by value at three points: polynomials and the like that agree there to nine digits are equal. */
#include "data/grade/math_expr.h"
#include "base/hash.h"
#include "base/text.h"
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct parse { const char *p, *end; int depth; bool bad, product; };    /* product: xy is x times y, not a word */

/* --- values --- */

static void from_doubles(struct math_num *v)
{
    v->exact = false;
    v->p = 0;
    v->q = 1;
}

/* p / q in lowest terms; q != 0 */
static struct math_num ratio(__int128 p, __int128 q)
{
    __int128 a = p < 0 ? -p : p, b = q < 0 ? -q : q;
    while (b) {
        __int128 t = a % b;
        a = b;
        b = t;
    }
    if (q < 0) a = -a;
    struct math_num v = { .exact = true, .p = p / a, .q = q / a };
    for (int k = 0; k < MATH_POINTS; k++) v.z[k] = (double)v.p / (double)v.q;
    return v;
}

static struct math_num real(double x)
{
    struct math_num v = { 0 };
    from_doubles(&v);
    for (int k = 0; k < MATH_POINTS; k++) v.z[k] = x;
    return v;
}

/* Products of two numbers below 2^126 may overflow: then only the doubles remain, marked as lossy. */
static bool times(__int128 a, __int128 b, __int128 *c)
{
    static const __int128 top = (__int128)1 << 126;
    return !__builtin_mul_overflow(a, b, c) && *c < top && *c > -top;
}

static struct math_num add(const struct math_num *a, const struct math_num *b, int sign)
{
    struct math_num v = { 0 };
    __int128 x, y, q;
    if (a->exact && b->exact && times(a->p, b->q, &x) && times(b->p, a->q, &y) && times(a->q, b->q, &q))
        return ratio(x + sign * y, q);
    from_doubles(&v);
    v.lossy = a->lossy || b->lossy || (a->exact && b->exact);
    for (int k = 0; k < MATH_POINTS; k++) v.z[k] = a->z[k] + sign * b->z[k];
    return v;
}

static struct math_num mul(const struct math_num *a, const struct math_num *b)
{
    struct math_num v = { 0 };
    __int128 p, q;
    if (a->exact && b->exact && times(a->p, b->p, &p) && times(a->q, b->q, &q)) return ratio(p, q);
    from_doubles(&v);
    v.lossy = a->lossy || b->lossy || (a->exact && b->exact);
    for (int k = 0; k < MATH_POINTS; k++) v.z[k] = a->z[k] * b->z[k];
    return v;
}

static struct math_num inverse(struct parse *s, const struct math_num *a)
{
    struct math_num v = *a;
    for (int k = 0; k < MATH_POINTS; k++) {
        if (a->z[k] == 0) return s->bad = true, real(0);
        v.z[k] = 1 / a->z[k];
    }
    return a->exact ? ratio(a->q, a->p) : v;
}

static struct math_num apply(const struct math_num *a, double complex (*f)(double complex))
{
    struct math_num v = { .lossy = a->lossy };
    from_doubles(&v);
    for (int k = 0; k < MATH_POINTS; k++) v.z[k] = f(a->z[k]);
    return v;
}

/* The n-th root of an integer, if it is an integer; else -1 */
static __int128 int_root(__int128 x, int n)
{
    __int128 near = (__int128)(pow((double)x, 1.0 / n) + 0.5);
    for (__int128 r = near > 1 ? near - 1 : 0; r <= near + 1; r++) {
        __int128 y = 1;
        bool fits = true;
        for (int i = 0; i < n && fits; i++) fits = times(y, r, &y);
        if (fits && y == x) return r;
    }
    return -1;
}

static struct math_num root(const struct math_num *a, int n)
{
    if (n == 1) return *a;
    bool minus = a->exact && a->p < 0 && n % 2;
    if (a->exact && (a->p >= 0 || minus)) {
        __int128 p = int_root(minus ? -a->p : a->p, n), q = int_root(a->q, n);
        if (p >= 0 && q > 0) return ratio(minus ? -p : p, q);
    }
    struct math_num v = { .lossy = a->lossy };
    from_doubles(&v);
    for (int k = 0; k < MATH_POINTS; k++) {
        double complex z = a->z[k];
        bool negative = n % 2 && cimag(z) == 0 && creal(z) < 0;     /* the real root, not the principal one */
        v.z[k] = n == 2 ? csqrt(z) : negative ? -pow(-creal(z), 1.0 / n) : z == 0 ? 0 : cpow(z, 1.0 / n);
    }
    return v;
}

static struct math_num power(struct parse *s, const struct math_num *a, const struct math_num *b)
{
    if (b->exact && b->q == 1 && b->p >= -256 && b->p <= 256) {
        int n = (int)b->p;
        struct math_num v = ratio(1, 1);
        for (int i = 0; i < abs(n); i++) v = mul(&v, a);
        return n < 0 ? inverse(s, &v) : v;
    }
    if (b->exact && b->p == 1 && b->q <= 64) return root(a, (int)b->q);
    struct math_num v = { .lossy = a->lossy || b->lossy || (a->exact && b->exact && b->q == 1) };
    from_doubles(&v);
    for (int k = 0; k < MATH_POINTS; k++) v.z[k] = a->z[k] == 0 ? 0 : cpow(a->z[k], b->z[k]);
    return v;
}

static struct math_num factorial(struct parse *s, const struct math_num *a)
{
    if (!a->exact || a->q != 1 || a->p < 0 || a->p > 170) return s->bad = true, real(0);
    struct math_num v = ratio(1, 1);
    for (int i = 2; i <= (int)a->p; i++) {
        struct math_num f = ratio(i, 1);
        v = mul(&v, &f);
    }
    return v;
}

static struct math_num binomial(struct parse *s, const struct math_num *n, const struct math_num *k)
{
    struct math_num v = ratio(1, 1);
    if (!n->exact || !k->exact || n->q != 1 || k->q != 1 || k->p < 0 || k->p > n->p || n->p > 1000)
        return s->bad = true, v;
    for (int i = 1; i <= (int)k->p; i++) {
        struct math_num f = ratio(n->p - k->p + i, i);
        v = mul(&v, &f);
    }
    return v;
}

/* A variable's value at point k: splitmix64 of its name's FNV-1a hash */
static struct math_num variable(const char *name, size_t n)
{
    uint64_t h = fnv1a("", 0);
    for (size_t i = 0; i < n; i++)
        if (!strchr("{} ", name[i])) h = fnv1a_add(h, name + i, 1);
    struct math_num v = real(0);
    for (int k = 0; k < MATH_POINTS; k++) {
        uint64_t x = (h += 0x9e3779b97f4a7c15u);
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
        x = (x ^ x >> 27) * 0x94d049bb133111ebu;
        v.z[k] = 0.5 + 2 * (double)((x ^ x >> 31) >> 11) * 0x1p-53;
    }
    return v;
}

/* --- grammar --- */

static struct math_num sum(struct parse *s);
static struct math_num factor(struct parse *s);

static void spaces(struct parse *s)
{
    while (s->p < s->end && *s->p == ' ') s->p++;
}

static char peek(struct parse *s)
{
    spaces(s);
    return s->p < s->end ? *s->p : 0;
}

static bool take(struct parse *s, char c)
{
    if (peek(s) != c) return false;
    s->p++;
    return true;
}

static struct math_num bad(struct parse *s) { return s->bad = true, real(0); }

/* Length of the name at p: of \name or of a run of letters; 0: none */
static size_t name_at(const char *p, const char *end)
{
    size_t n = p < end && *p == '\\', first = n;
    while (p + n < end && is_letter(p[n])) n++;
    return n > first ? n : 0;
}

static bool is_name(const char *p, size_t n, const char *name)
{
    if (*p == '\\') p++, n--;
    return strlen(name) == n && !memcmp(p, name, n);
}

static bool take_name(struct parse *s, const char *name)
{
    peek(s);
    size_t n = s->p < s->end && *s->p == '\\' ? name_at(s->p, s->end) : 0;
    if (!n || !is_name(s->p, n, name)) return false;
    s->p += n;
    return true;
}

static struct math_num group(struct parse *s, char close)
{
    if (++s->depth > MATH_EXPR_DEPTH) return bad(s);
    struct math_num v = sum(s);
    s->depth--;
    return take(s, close) ? v : bad(s);
}

/* 12, 12.5, .5, 2e-3; one_digit: only what LaTeX takes as an argument without braces */
static struct math_num number(struct parse *s, bool one_digit)
{
    const char *from = s->p;
    __int128 p = 0, q = 1;
    bool fits = true, point = false;
    if (one_digit) return ratio(*s->p++ - '0', 1);
    for (; s->p < s->end && (is_digit(*s->p) || (*s->p == '.' && !point)); s->p++) {
        if (*s->p == '.') point = true;
        else {
            fits = fits && times(p, 10, &p) && (!point || times(q, 10, &q));
            p += *s->p - '0';
        }
    }
    if (s->p - from == point) return bad(s);        /* a lone point */
    const char *e = s->p + 1;
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        int sign = e < s->end && (*e == '-' || *e == '+') ? (*e++ == '-' ? -1 : 1) : 1, exp = 0;
        if (e < s->end && is_digit(*e)) {
            for (; e < s->end && is_digit(*e); e++) exp = exp < 1000 ? exp * 10 + *e - '0' : exp;
            for (int i = 0; i < exp && fits; i++) fits = times(sign < 0 ? q : p, 10, sign < 0 ? &q : &p);
            s->p = e;
        }
    }
    if (fits) return ratio(p, q);
    char copy[MATH_EXPR_MAX + 1];
    memcpy(copy, from, (size_t)(s->p - from));
    copy[s->p - from] = 0;
    struct math_num v = real(strtod(copy, NULL));
    v.lossy = true;
    return v;
}

/* The argument of \frac, \binom, \sqrt, ^: a group, a number (a single digit where both LaTeX and usage agree), a
 * letter, a command */
static struct math_num argument(struct parse *s, bool one_digit)
{
    char c = peek(s);
    if (take(s, '{')) return group(s, '}');
    if (is_digit(c)) return number(s, one_digit);
    if (is_letter(c)) return s->p++, c == 'e' ? real(M_E) : variable(&c, 1);
    if (c != '\\' && c != '(' && c != '.') return bad(s);
    if (++s->depth > MATH_EXPR_DEPTH) return bad(s);
    struct math_num v = factor(s);
    s->depth--;
    return v;
}

static struct math_num fraction(struct parse *s)
{
    struct math_num a = argument(s, true), b = argument(s, true), i = inverse(s, &b);
    return mul(&a, &i);
}

static struct math_num radical(struct parse *s)
{
    int n = 2;
    if (take(s, '[')) {
        struct math_num order = group(s, ']');
        if (!order.exact || order.q != 1 || order.p < 1 || order.p > 64) return bad(s);
        n = (int)order.p;
    }
    struct math_num v = argument(s, false);
    return root(&v, n);
}

static double complex cot_(double complex z) { return 1 / ctan(z); }
static double complex sec_(double complex z) { return 1 / ccos(z); }
static double complex csc_(double complex z) { return 1 / csin(z); }
static double complex log10_(double complex z) { return clog(z) / M_LN10; }

static const struct { const char *name; double complex (*f)(double complex); } functions[] = {
    { "sin", csin }, { "cos", ccos }, { "tan", ctan }, { "cot", cot_ }, { "sec", sec_ }, { "csc", csc_ },
    { "arcsin", casin }, { "arccos", cacos }, { "arctan", catan }, { "asin", casin }, { "acos", cacos },
    { "atan", catan }, { "exp", cexp }, { "ln", clog }, { "log", log10_ }, { "lg", log10_ }, { "sinh", csinh },
    { "cosh", ccosh }, { "tanh", ctanh },
};

static int function_at(const char *p, size_t n)
{
    for (int i = 0; i < (int)(sizeof functions / sizeof *functions); i++)
        if (is_name(p, n, functions[i].name)) return i;
    return -1;
}

static bool starts_factor(struct parse *s)
{
    char c = peek(s);
    if (c == '(' || c == '{' || c == '[' || is_letter(c)) return true;
    size_t n = name_at(s->p, s->end);
    return n && !is_name(s->p, n, "cdot") && !is_name(s->p, n, "times") && !is_name(s->p, n, "div") &&
           !is_name(s->p, n, "rangle");
}

/* \sin^2 x, \log_2 8, \ln(x), \cos 2x: without parentheses the argument is the following product, up to the next
 * function */
static struct math_num function(struct parse *s, int which)
{
    struct math_num base = real(10), raise = ratio(1, 1), v;
    bool with_base = take(s, '_');
    if (with_base) base = argument(s, true);
    if (take(s, '^')) raise = argument(s, true);
    if (take(s, '(')) v = group(s, ')');
    else {
        if (!starts_factor(s) && !is_digit(peek(s)) && peek(s) != '.') return bad(s);
        if (++s->depth > MATH_EXPR_DEPTH) return bad(s);
        v = factor(s);
        while (!s->bad && starts_factor(s) && function_at(s->p, name_at(s->p, s->end)) < 0) {
            struct math_num f = factor(s);
            v = mul(&v, &f);
        }
        s->depth--;
    }
    v = apply(&v, with_base ? clog : functions[which].f);
    if (with_base) {
        base = apply(&base, clog);
        base = inverse(s, &base);
        v = mul(&v, &base);
    }
    /* \sin^{-1}: an inverse function, not a power */
    if (raise.exact && raise.p == -1 && raise.q == 1) return bad(s);
    return power(s, &v, &raise);
}

static struct math_num symbol(struct parse *s, size_t n)
{
    const char *from = s->p;
    s->p += n;
    if (s->p < s->end && *s->p == '_') {
        s->p++;
        if (s->p < s->end && *s->p == '{') while (s->p < s->end && *s->p != '}') s->p++;
        if (s->p++ >= s->end) return bad(s);
    } else if (n == 1 && *from == 'e') return real(M_E);
    else if (n == 1 && *from == 'i') {
        struct math_num v = real(0);
        for (int k = 0; k < MATH_POINTS; k++) v.z[k] = (double complex)I;
        return v;
    }
    return variable(from, (size_t)(s->p - from));
}

/* Commands that denote a quantity; others are relations, sets, layout: not an expression */
static bool is_symbol(const char *p, size_t n)
{
    static const char *const names[] = {
        "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
        "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "Gamma", "Delta",
        "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega", "infty", "ell", "hbar",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_name(p, n, names[i])) return true;
    return false;
}

static struct math_num named(struct parse *s)
{
    const char *p = s->p;
    size_t n = name_at(p, s->end);
    if (!n) return bad(s);
    int which = function_at(p, n);
    bool command = *p == '\\';
    if (which >= 0 || is_name(p, n, "sqrt") || is_name(p, n, "pi") ||
        (command && (is_name(p, n, "frac") || is_name(p, n, "binom")))) {
        s->p += n;
        if (which >= 0) return function(s, which);
        if (is_name(p, n, "sqrt")) return radical(s);
        if (is_name(p, n, "pi")) return real(M_PI);
        if (is_name(p, n, "frac")) return fraction(s);
        struct math_num a = argument(s, true), b = argument(s, true);
        return binomial(s, &a, &b);
    }
    if (!command && n > 1 && (n > 3 || !s->product)) return bad(s);     /* a word */
    if (command && !is_symbol(p, n)) return bad(s);
    return symbol(s, command ? n : 1);
}

/* A whole number as an argument of \frac: {12} or one digit. It reads no further, so that backtracking costs nothing.
 * */
static bool small_argument(struct parse *s, struct math_num *v)
{
    bool braced = take(s, '{');
    if (!is_digit(peek(s))) return false;
    *v = number(s, !braced);
    return !s->bad && v->exact && v->q == 1 && (!braced || take(s, '}'));
}

/* An integer immediately followed by a fraction of integers below 1: 1\frac12, 1 \frac{1}{2}, 1 1/2 */
static struct math_num mixed(struct parse *s, struct math_num whole)
{
    struct parse back = *s;
    struct math_num a = whole, b = whole;
    bool gap = s->p < s->end && *s->p == ' ', found = false;
    if (!whole.exact || whole.q != 1) return whole;
    if (is_digit(peek(s))) {
        a = number(s, false);
        found = gap && take(s, '/') && is_digit(peek(s));
        if (found) b = number(s, false);
    } else if (take_name(s, "frac")) {
        found = small_argument(s, &a) && small_argument(s, &b);
    }
    if (found && !s->bad && a.exact && b.exact && a.q == 1 && b.q == 1 && a.p > 0 && a.p < b.p) {
        struct math_num f = ratio(a.p, b.p);
        return add(&whole, &f, 1);
    }
    *s = back;
    return whole;
}

static struct math_num primary(struct parse *s)
{
    char c = peek(s);
    if (is_digit(c) || c == '.') {
        struct math_num v = number(s, false);
        return s->bad ? v : mixed(s, v);
    }
    if (take(s, '(')) return group(s, ')');
    if (take(s, '{')) return group(s, '}');
    if (take(s, '[')) return group(s, ']');
    if (take(s, '|')) {
        struct math_num v = group(s, '|');
        for (int k = 0; k < MATH_POINTS; k++) v.z[k] = cabs(v.z[k]);
        if (v.exact && v.p < 0) v.p = -v.p;
        return v;
    }
    return named(s);
}

/* The exponent after a ^; of 2^3^2 all of 3^2 */
static struct math_num exponent(struct parse *s)
{
    int sign = take(s, '-') ? -1 : (take(s, '+'), 1);
    struct math_num e = argument(s, false), m = ratio(sign, 1);
    if (!s->bad && take(s, '^')) {
        if (++s->depth > MATH_EXPR_DEPTH) return bad(s);
        struct math_num top = exponent(s);
        s->depth--;
        e = power(s, &e, &top);
    }
    return mul(&e, &m);
}

static struct math_num factor(struct parse *s)
{
    struct math_num v = primary(s);
    while (!s->bad && take(s, '!')) v = factorial(s, &v);
    bool stars = !s->bad && peek(s) == '*' && s->p + 1 < s->end && s->p[1] == '*';
    if (stars) s->p += 2;
    if (s->bad || (!stars && !take(s, '^'))) return v;
    struct math_num e = exponent(s);
    v = power(s, &v, &e);
    while (!s->bad && take(s, '!')) v = factorial(s, &v);
    return v;
}

static struct math_num product(struct parse *s)
{
    struct math_num v = factor(s);
    while (!s->bad) {
        bool over = take(s, '/') || take_name(s, "div");
        bool dot = !over && (take(s, '*') || take_name(s, "cdot") || take_name(s, "times"));
        if (!over && !dot && !starts_factor(s)) break;
        int sign = 1;
        if (over || dot)
            while (peek(s) == '-' || peek(s) == '+') sign = *s->p++ == '-' ? -sign : sign;
        struct math_num f = factor(s), m = ratio(sign, 1);
        if (s->bad) break;
        f = mul(&f, &m);
        if (over) f = inverse(s, &f);
        v = mul(&v, &f);
    }
    return v;
}

static struct math_num sum(struct parse *s)
{
    struct math_num total = ratio(0, 1);
    bool first = true;
    while (!s->bad) {
        int sign = 1, signs = 0;
        for (; peek(s) == '-' || peek(s) == '+'; signs++) sign = *s->p++ == '-' ? -sign : sign;
        if (!first && !signs) break;
        struct math_num v = product(s);
        total = add(&total, &v, sign);
        first = false;
    }
    return total;
}

bool math_eval(struct math_num *v, const char *text, size_t n)
{
    if (n > MATH_EXPR_MAX) return false;
    struct parse s = { .p = text, .end = text + n };
    for (size_t i = 0; i < n; i++) s.product = s.product || is_digit(text[i]) || (text[i] && strchr("+*^\\", text[i]));
    *v = sum(&s);
    if (s.bad || peek(&s) || s.p != s.end) return false;
    for (int k = 0; k < MATH_POINTS; k++)
        if (!isfinite(creal(v->z[k])) || !isfinite(cimag(v->z[k]))) return false;
    return true;
}

bool math_same(const struct math_num *a, const struct math_num *b)
{
    if (a->lossy || b->lossy) return false;
    if (a->exact && b->exact) return a->p == b->p && a->q == b->q;
    for (int k = 0; k < MATH_POINTS; k++) {
        double off = cabs(a->z[k] - b->z[k]);
        if (!(off <= 1e-12 || off <= 1e-9 * fmax(cabs(a->z[k]), cabs(b->z[k])))) return false;
    }
    return true;
}

void math_percent(struct math_num *a)
{
    struct math_num hundredth = ratio(1, 100);
    *a = mul(a, &hundredth);
}
