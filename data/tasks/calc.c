/* calc.c: the embedded python tool. Precedence parsing with two explicit stacks, so that no input causes recursion.
 * Integers have 128 bits and a limit in decimal digits, which every operation checks. */
#include "data/tasks/calc.h"
#include "base/err.h"
#include "base/text.h"
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct calc_limits calc_default = { .input = 4000,
                                          .output = 2000,
                                          .depth = 200,
                                          .statements = 200,
                                          .exponent = 9999,
                                          .digits = 37 };
const struct calc_limits calc_embedded = { .input = 80,
                                           .output = 12,
                                           .depth = 40,
                                           .statements = 8,
                                           .exponent = 99,
                                           .digits = 37 };

enum { DEPTH = 200, VALUES = 256, NAMES = 64, NAME_BYTES = 32, NUMBER_BYTES = 64 };
typedef __int128 int128;

enum kind { INT, FLT, NONE };
struct val { int128 i; double x; enum kind kind; };

enum opcode { ADD, SUB, MUL, DIV, FLOORDIV, MOD, POW, NEG, POS, BRACKET, CALL };
/* higher binds tighter; NEG is between MUL and POW: -2**2 is -4, 2**-1 is 0.5 */
static const int binding[] = {
    [ADD] = 1, [SUB] = 1, [MUL] = 2, [DIV] = 2, [FLOORDIV] = 2, [MOD] = 2, [NEG] = 3, [POS] = 3, [POW] = 4
};
/* CALL: its function, and the start of its arguments on the value stack */
struct op { enum opcode code; int func, base; };

enum func { F_GCD, F_LCM, F_ABS, F_MIN, F_MAX, F_POW, F_ROUND, F_INT, F_FLOAT, F_SQRT, F_PRINT, FUNCS };
static const struct { const char *name; int least, most; } funcs[FUNCS] = {
    [F_GCD] = { "gcd", 1, VALUES }, [F_LCM] = { "lcm", 1, VALUES }, [F_ABS] = { "abs", 1, 1 },
    [F_MIN] = { "min", 2, VALUES }, [F_MAX] = { "max", 2, VALUES }, [F_POW] = { "pow", 2, 3 },
    [F_ROUND] = { "round", 1, 2 }, [F_INT] = { "int", 1, 1 }, [F_FLOAT] = { "float", 1, 1 },
    [F_SQRT] = { "sqrt", 1, 1 }, [F_PRINT] = { "print", 0, VALUES },
};

struct calc {
    const char *s;
    size_t n, at;
    const struct calc_limits *lim;
    int128 bound;                     /* limit on the magnitude of integers */
    int depth, nv, no, open, n_names;
    struct val v[VALUES];
    struct op o[DEPTH];
    struct { char name[NAME_BYTES]; struct val val; } names[NAMES];
    struct str printed;
    const char *error;              /* the first error stays */
};

static void wrong(struct calc *c, const char *what) { if (!c->error) c->error = what; }

static struct val of_int(struct calc *c, int128 i)
{
    if (i >= c->bound || i <= -c->bound) wrong(c, "too large");
    return (struct val){ .kind = INT, .i = i };
}

static struct val of_real(struct calc *c, double x)
{
    if (isnan(x)) wrong(c, "bad value");
    else if (isinf(x)) wrong(c, "too large");
    return (struct val){ .kind = FLT, .x = x };
}

static double as_double(struct val a) { return a.kind == INT ? (double)a.i : a.x; }

static struct val to_int(struct calc *c, double x)          /* x is already rounded */
{
    if (!(fabs(x) < (double)c->bound)) return wrong(c, "too large"), (struct val){ 0 };
    return of_int(c, (int128)x);
}

static void put_int(struct str *out, int128 i)
{
    char buf[48], *p = buf + sizeof buf;
    unsigned __int128 u = i < 0 ? -(unsigned __int128)i : (unsigned __int128)i;
    do *--p = (char)('0' + (int)(u % 10)); while (u /= 10);
    if (i < 0) *--p = '-';
    str_put(out, p, (size_t)(buf + sizeof buf - p));
}

/* Does digits * 10^power as text read back as x? */
static bool reads_back(double x, uint64_t digits, int power)
{
    char buf[64];
    snprintf(buf, sizeof buf, "%llue%d", (unsigned long long)digits, power);
    return strtod(buf, NULL) == x;
}

/* The fewest digits that read back as the same double, laid out as by Python's repr. For each length the nearest
 * decimal is tried first; next to a power of two, where the doubles below are closer, it may fail and its neighbour
 * succeed. */
static void put_double(struct str *out, double x)
{
    char buf[64], digit[32];
    uint64_t d = 0;
    int n = 1, power = 0;
    for (; n <= 17; n++) {
        snprintf(buf, sizeof buf, "%.*e", n - 1, fabs(x));
        power = atoi(strchr(buf, 'e') + 1);
        d = (uint64_t)(buf[0] - '0');
        for (int k = 0; k < n - 1; k++) d = d * 10 + (uint64_t)(buf[2 + k] - '0');
        if (n == 17 || reads_back(fabs(x), d, power - n + 1)) break;
        if (reads_back(fabs(x), d + 1, power - n + 1)) { d++; break; }
        if (d > 1 && reads_back(fabs(x), d - 1, power - n + 1)) { d--; break; }
    }
    n = snprintf(digit, sizeof digit, "%llu", (unsigned long long)d);
    if (signbit(x)) str_putc(out, '-');
    if (power < -4 || power >= 16) {
        str_putc(out, digit[0]);
        str_printf(out, n > 1 ? ".%s" : "%s", digit + 1);
        str_printf(out, "e%c%02d", power < 0 ? '-' : '+', abs(power));
    } else if (power < 0) {
        str_printf(out, "0.%.*s%s", -power - 1, "000", digit);
    } else {
        int whole = power + 1 < n ? power + 1 : n;
        str_printf(out, "%.*s%.*s.%s", whole, digit, power + 1 - whole, "0000000000000000",
                   n > whole ? digit + whole : "0");
    }
}

static void put_val(struct str *out, struct val a)
{
    if (a.kind == INT) put_int(out, a.i);
    else if (a.kind == FLT) put_double(out, a.x);
    else str_puts(out, "None");
}

static void print_line(struct calc *c, const struct val *a, int n)
{
    if (c->printed.n) str_putc(&c->printed, '\n');
    for (int k = 0; k < n; k++) {
        if (k) str_putc(&c->printed, ' ');
        put_val(&c->printed, a[k]);
    }
    if (c->printed.n > (size_t)c->lim->output) wrong(c, "too long");
}

static int128 floor_mod(int128 a, int128 b) { int128 m = a % b; return m && (m < 0) != (b < 0) ? m + b : m; }

static double real_mod(double a, double b)
{
    double m = fmod(a, b);
    if (m == 0) return copysign(0, b);
    return (m < 0) != (b < 0) ? m + b : m;
}

static double real_floordiv(double a, double b)
{
    double m = fmod(a, b), q = (a - m) / b;                /* q: an integer up to rounding, truncated */
    if (m != 0 && (m < 0) != (b < 0)) q -= 1;
    double f = floor(q);
    return q == 0 ? copysign(0, a / b) : q - f > 0.5 ? f + 1 : f;
}

static struct val power(struct calc *c, struct val a, struct val b)
{
    if (fabs(as_double(b)) > c->lim->exponent) return wrong(c, "too large"), a;
    if (as_double(a) == 0 && as_double(b) < 0) return wrong(c, "zero division"), a;
    if (a.kind != INT || b.kind != INT || b.i < 0) return of_real(c, pow(as_double(a), as_double(b)));
    int128 y = 1, base = a.i;
    for (int k = (int)b.i; k; k >>= 1) {
        if ((k & 1) && __builtin_mul_overflow(y, base, &y)) return wrong(c, "too large"), a;
        if (k > 1 && __builtin_mul_overflow(base, base, &base)) return wrong(c, "too large"), a;
    }
    return of_int(c, y);
}

/* pow(a, b, m); m below 2^62 keeps the products inside 128 bits */
static struct val power_mod(struct calc *c, struct val a, struct val b, struct val m)
{
    if (a.kind != INT || b.kind != INT || m.kind != INT || b.i < 0) return wrong(c, "bad value"), a;
    if (m.i == 0) return wrong(c, "zero division"), a;
    if (m.i >= (int128)1 << 62 || m.i <= -((int128)1 << 62)) return wrong(c, "too large"), a;
    int128 y = floor_mod(1, m.i), base = floor_mod(a.i, m.i);
    for (int128 k = b.i; k; k >>= 1) {
        if (k & 1) y = floor_mod(y * base, m.i);
        base = floor_mod(base * base, m.i);
    }
    return of_int(c, y);
}

/* a / b rounded once, to the nearest double, ties to even. */
static double quotient(int128 a, int128 b)
{
    bool minus = (a < 0) != (b < 0);
    unsigned __int128 p = a < 0 ? -(unsigned __int128)a : (unsigned __int128)a,
                      q = b < 0 ? -(unsigned __int128)b : (unsigned __int128)b;
    unsigned __int128 y = p / q, rest = p % q;
    int shift = 0;
    /* quotient bits until there are more than a double has; rest stays below q < 2^124 */
    for (; y >> 60 == 0 && rest; shift--) {
        rest <<= 1;
        y = y << 1 | (rest >= q);
        if (rest >= q) rest -= q;
    }
    double x = ldexp((double)(y | (rest != 0)), shift);       /* a remainder only breaks ties */
    return minus ? -x : x;
}

/* a < b: -1, a == b: 0, a > b: 1, exactly */
static int compare(struct val a, struct val b)
{
    if (a.kind == INT && b.kind == INT) return (a.i > b.i) - (a.i < b.i);
    if (a.kind == FLT && b.kind == FLT) return (a.x > b.x) - (a.x < b.x);
    if (a.kind == FLT) return -compare(b, a);
    if (fabs(b.x) >= 0x1p126) return b.x > 0 ? -1 : 1;        /* integers are smaller */
    int128 whole = (int128)b.x;                                   /* truncated */
    if (a.i != whole) return a.i > whole ? 1 : -1;
    double rest = b.x - (double)whole;                        /* exact: whole is b.x without its fraction */
    return (rest < 0) - (rest > 0);
}

static struct val binary_int(struct calc *c, enum opcode code, int128 a, int128 b)
{
    int128 y = 0;
    if ((code == FLOORDIV || code == MOD) && b == 0) wrong(c, "zero division");
    else if (code == ADD) y = a + b;                       /* both below 10^37: no overflow */
    else if (code == SUB) y = a - b;
    else if (code == MUL && __builtin_mul_overflow(a, b, &y)) { wrong(c, "too large"); y = 0; }
    else if (code == MOD) y = floor_mod(a, b);
    else if (code == FLOORDIV) y = (a - floor_mod(a, b)) / b;
    return of_int(c, y);
}

static struct val binary(struct calc *c, enum opcode code, struct val a, struct val b)
{
    if (a.kind == NONE || b.kind == NONE) return wrong(c, "bad value"), a;
    if (code == POW) return power(c, a, b);
    if (a.kind == INT && b.kind == INT && code != DIV) return binary_int(c, code, a.i, b.i);
    double x = as_double(a), y = as_double(b);
    if (code == DIV && a.kind == INT && b.kind == INT && b.i) return of_real(c, quotient(a.i, b.i));
    if ((code == DIV || code == FLOORDIV || code == MOD) && y == 0) return wrong(c, "zero division"), a;
    switch (code) {
    case ADD: return of_real(c, x + y);
    case SUB: return of_real(c, x - y);
    case MUL: return of_real(c, x * y);
    case DIV: return of_real(c, x / y);
    case MOD: return of_real(c, real_mod(x, y));
    default:  return of_real(c, real_floordiv(x, y));
    }
}

/* gcd or lcm of whole numbers, folded from the left */
static struct val divisor(struct calc *c, enum func f, const struct val *a, int n)
{
    int128 y = f == F_LCM;
    for (int k = 0; k < n; k++) {
        if (a[k].kind != INT) return wrong(c, "bad value"), a[k];
        int128 p = y, q = a[k].i < 0 ? -a[k].i : a[k].i, r = q;
        while (r) { int128 t = p % r; p = r; r = t; }
        if (f == F_GCD) y = p;
        else if (p == 0 || q == 0) y = 0;
        else if (__builtin_mul_overflow(y / p, q, &y)) return wrong(c, "too large"), a[k];
        of_int(c, y);                                      /* may become too large between two arguments */
        if (c->error) return a[k];
    }
    return of_int(c, y);
}

static struct val rounded(struct calc *c, const struct val *a, int n)
{
    if (n == 1) return a[0].kind == INT ? a[0] : to_int(c, rint(a[0].x));      /* half to even, as in Python */
    if (a[1].kind != INT || a[1].i < 0) return wrong(c, "bad value"), a[0];
    if (a[0].kind == INT || a[1].i > 30) return a[0];
    char buf[400];                                         /* 309 digits before the point, 30 after */
    snprintf(buf, sizeof buf, "%.*f", (int)a[1].i, a[0].x);
    return of_real(c, strtod(buf, NULL));
}

static struct val call(struct calc *c, enum func f, const struct val *a, int n)
{
    if (n < funcs[f].least || n > funcs[f].most) return wrong(c, "bad value"), (struct val){ .kind = NONE };
    if (f == F_PRINT) return print_line(c, a, n), (struct val){ .kind = NONE };
    for (int k = 0; k < n; k++) if (a[k].kind == NONE) return wrong(c, "bad value"), a[k];
    struct val best = a[0];
    switch (f) {
    case F_GCD: case F_LCM: return divisor(c, f, a, n);
    case F_ABS:   return a[0].kind == INT ? of_int(c, a[0].i < 0 ? -a[0].i : a[0].i) : of_real(c, fabs(a[0].x));
    case F_POW:   return n == 3 ? power_mod(c, a[0], a[1], a[2]) : power(c, a[0], a[1]);
    case F_ROUND: return rounded(c, a, n);
    case F_INT:   return a[0].kind == INT ? a[0] : to_int(c, trunc(a[0].x));
    case F_FLOAT: return of_real(c, as_double(a[0]));
    case F_SQRT:  return of_real(c, sqrt(as_double(a[0])));
    default:
        for (int k = 1; k < n; k++) {
            int order = compare(a[k], best);
            if (f == F_MIN ? order < 0 : order > 0) best = a[k];
        }
        return best;
    }
}

static void push(struct calc *c, struct val a)
{
    if (c->nv == VALUES) wrong(c, "too long");
    else c->v[c->nv++] = a;
}

static void push_op(struct calc *c, struct op o)
{
    if (c->no >= c->depth) wrong(c, "too deep");
    else c->o[c->no++] = o;
}

/* Applies operators from the stack down to the nearest open bracket, as long as they bind at least as tightly as
 * `least`. */
static void reduce(struct calc *c, int least)
{
    while (!c->error && c->no) {
        enum opcode code = c->o[c->no - 1].code;
        if (code == BRACKET || code == CALL || binding[code] < least) return;
        c->no--;
        struct val b = c->v[--c->nv];
        if (code == POS || code == NEG) {
            if (b.kind == NONE) wrong(c, "bad value");
            if (code == NEG) { b.i = -b.i; b.x = -b.x; }
            push(c, b);
        } else {
            c->v[c->nv - 1] = binary(c, code, c->v[c->nv - 1], b);
        }
    }
}

static char peek(const struct calc *c, size_t ahead) { return c->at + ahead < c->n ? c->s[c->at + ahead] : 0; }
static bool begins_name(char ch) { return is_letter(ch) || ch == '_'; }

/* Skips white space and comments; with `lines` line ends too, as inside brackets. */
static void skip(struct calc *c, bool lines)
{
    for (; c->at < c->n; c->at++) {
        char ch = c->s[c->at];
        if (ch == '#') while (c->at + 1 < c->n && c->s[c->at + 1] != '\n') c->at++;
        else if (ch != ' ' && ch != '\t' && ch != '\r' && !(lines && ch == '\n')) return;
    }
}

static void number(struct calc *c)
{
    size_t from = c->at;
    bool is_real = false;
    while (is_digit(peek(c, 0))) c->at++;
    size_t whole = c->at - from;
    if (peek(c, 0) == '.') { is_real = true; do c->at++; while (is_digit(peek(c, 0))); }
    if (whole == 0 && c->at - from == 1) { wrong(c, "syntax"); return; }                       /* a lone point */
    if (peek(c, 0) == 'e' || peek(c, 0) == 'E') {
        size_t sign = peek(c, 1) == '+' || peek(c, 1) == '-';
        if (is_digit(peek(c, 1 + sign))) { is_real = true; c->at += 1 + sign; while (is_digit(peek(c, 0))) c->at++; }
    }
    size_t len = c->at - from;
    if (begins_name(peek(c, 0)) || peek(c, 0) == '.') { wrong(c, "syntax"); return; }
    if (len >= NUMBER_BYTES) { wrong(c, "too large"); return; }
    char buf[NUMBER_BYTES];
    memcpy(buf, c->s + from, len);
    buf[len] = 0;
    if (is_real) { push(c, of_real(c, strtod(buf, NULL))); return; }
    int128 i = 0;
    for (size_t k = 0; k < len && !c->error; k++) i = of_int(c, i * 10 + (buf[k] - '0')).i;
    /* 007 is an error, as in Python 3 */
    if (len > 1 && buf[0] == '0' && i) wrong(c, "syntax");
    push(c, (struct val){ .kind = INT, .i = i });
}

/* Reads a name into buf; false: longer than any known name. */
static bool read_name(struct calc *c, char buf[NAME_BYTES])
{
    size_t len = 0;
    for (; begins_name(peek(c, 0)) || is_digit(peek(c, 0)); c->at++, len++)
        if (len < NAME_BYTES - 1) buf[len] = peek(c, 0);
    buf[len < NAME_BYTES ? len : NAME_BYTES - 1] = 0;
    return len < NAME_BYTES;
}

static struct val *variable(struct calc *c, const char *name)
{
    for (int k = 0; k < c->n_names; k++) if (!strcmp(c->names[k].name, name)) return &c->names[k].val;
    return NULL;
}

/* Reads a variable, or a function and its open bracket. True: an operand was read; false: one must follow. */
static bool name_or_call(struct calc *c)
{
    char name[NAME_BYTES];
    bool known = read_name(c, name);
    skip(c, c->open > 0);
    if (peek(c, 0) != '(') {
        struct val *a = known ? variable(c, name) : NULL;
        if (a) push(c, *a);
        else wrong(c, "unknown name");
        return true;
    }
    int f = 0;
    while (f < FUNCS && strcmp(funcs[f].name, name)) f++;
    if (f == FUNCS || !known) { wrong(c, "unknown name"); return true; }
    c->at++;
    c->open++;
    push_op(c, (struct op){ .code = CALL, .func = f, .base = c->nv });
    skip(c, true);
    return peek(c, 0) == ')';                              /* f(): the closing bracket takes the place of an operand */
}

/* Reads at a place where an operand is expected. True: an operand was read. */
static bool operand(struct calc *c)
{
    char ch = peek(c, 0);
    if (is_digit(ch) || ch == '.') { number(c); return true; }
    if (begins_name(ch)) return name_or_call(c);
    if (ch == '(') { c->open++; push_op(c, (struct op){ .code = BRACKET }); }
    else if (ch == '-' || ch == '+') push_op(c, (struct op){ .code = ch == '-' ? NEG : POS });
    else { wrong(c, "syntax"); return true; }
    c->at++;
    return false;
}

/* Length of the operator at the current position; 0: none. */
static int binary_sign(const struct calc *c, enum opcode *code)
{
    bool twice = peek(c, 1) == peek(c, 0);
    switch (peek(c, 0)) {
    case '+': *code = ADD; return 1;
    case '-': *code = SUB; return 1;
    case '%': *code = MOD; return 1;
    case '*': *code = twice ? POW : MUL; return 1 + twice;
    case '/': *code = twice ? FLOORDIV : DIV; return 1 + twice;
    default: return 0;
    }
}

static void close_bracket(struct calc *c)
{
    reduce(c, 0);
    if (c->error) return;
    if (!c->no) { wrong(c, "syntax"); return; }
    struct op o = c->o[--c->no];
    c->open--;
    c->at++;
    if (o.code == BRACKET) return;
    int n = c->nv - o.base;
    c->nv = o.base;
    push(c, call(c, (enum func)o.func, c->v + o.base, n));
}

/* Reads after an operand. True: another operator may follow; false: an operand must. */
static bool after_operand(struct calc *c)
{
    enum opcode code;
    int len = binary_sign(c, &code);
    if (len) {
        /* ** groups from the right */
        reduce(c, code == POW ? binding[POW] + 1 : binding[code]);
        push_op(c, (struct op){ .code = code });
        c->at += (size_t)len;
        return false;
    }
    if (peek(c, 0) == ')') { close_bracket(c); return true; }
    reduce(c, 0);
    if (peek(c, 0) != ',' || !c->no || c->o[c->no - 1].code != CALL || c->nv == c->o[c->no - 1].base) {
        wrong(c, "syntax");
        return true;
    }
    c->at++;
    return false;
}

/* Reads one expression; it ends at ';', at the end, or at a line end outside brackets. */
static struct val expression(struct calc *c)
{
    bool have = false;
    c->nv = c->no = c->open = 0;
    while (!c->error) {
        skip(c, c->open > 0);
        char ch = peek(c, 0);
        bool end = c->at >= c->n || ch == ';' || (ch == '\n' && !c->open);
        if (end && (!have || c->open)) wrong(c, "syntax");
        else if (end) { reduce(c, 0); break; }
        else have = have ? after_operand(c) : operand(c);
    }
    return c->error ? (struct val){ .kind = NONE } : c->v[0];
}

/* Reads "name =" or "name op="; false: not an assignment, nothing read. *code is -1 for a plain one. */
static bool target(struct calc *c, char name[NAME_BYTES], int *code)
{
    size_t back = c->at;
    *code = -1;
    if (begins_name(peek(c, 0)) && read_name(c, name)) {
        enum opcode op;
        skip(c, false);
        int len = binary_sign(c, &op);
        if (len) *code = (int)op;
        if (peek(c, (size_t)len) == '=' && peek(c, (size_t)len + 1) != '=') { c->at += (size_t)len + 1; return true; }
    }
    c->at = back;
    return false;
}

static void assign(struct calc *c, const char *name, int code)
{
    struct val a = expression(c), *to = variable(c, name);
    if (c->error) return;
    if (code >= 0) {
        if (!to) { wrong(c, "unknown name"); return; }
        a = binary(c, (enum opcode)code, *to, a);
    }
    if (!to) {
        if (c->n_names == NAMES) { wrong(c, "too long"); return; }
        snprintf(c->names[c->n_names].name, NAME_BYTES, "%s", name);
        to = &c->names[c->n_names++].val;
    }
    *to = a;
}

static void run(struct calc *c)
{
    bool bare = false;
    struct val last = { .kind = NONE };
    if (c->n > (size_t)c->lim->input) wrong(c, "too long");
    for (int statements = 0; !c->error; ) {
        skip(c, true);
        if (c->at >= c->n) break;
        if (peek(c, 0) == ';') { c->at++; continue; }
        if (++statements > c->lim->statements) { wrong(c, "too long"); break; }
        char name[NAME_BYTES];
        int code;
        bare = !target(c, name, &code);
        if (bare) last = expression(c);
        else assign(c, name, code);
    }
    if (bare && !c->error && last.kind != NONE) print_line(c, &last, 1);
}

void calc_run(struct str *out, const char *src, size_t n, const struct calc_limits *lim)
{
    struct calc *c = xcalloc(1, sizeof *c);
    *c = (struct calc){ .s = src, .n = n, .lim = lim, .depth = lim->depth < DEPTH ? lim->depth : DEPTH, .bound = 1 };
    for (int k = 0; k < lim->digits && k < 37; k++) c->bound *= 10;
    run(c);
    if (c->printed.n && c->printed.n <= (size_t)lim->output) {
        str_put(out, c->printed.p, c->printed.n);
        if (c->error) str_putc(out, '\n');
    }
    if (c->error) str_printf(out, "error: %s", c->error);
    else if (!c->printed.n) str_puts(out, "(no output)");
    str_free(&c->printed);
    free(c);
}
