/* test_math_equiv.c: the official string comparison with its faults (data/grade/math_equiv.h), and comparison by value
 * (data/grade/math_value.h). */
#include "base/philox.h"
#include "data/grade/math_equiv.h"
#include "data/grade/math_expr.h"
#include "data/grade/math_value.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void official(void **state)
{
    (void)state;
    static const struct { const char *in, *want; } cases[] = {      /* want NULL: normalising fails */
        { "", "" }, { "\\frac34", "\\frac{3}{4}" }, { "\\dfrac3{4}", "\\frac{3}{4}" }, { "\\frac{3}4", "\\frac{3}4" },
        { "\\frac\u00e9\u4eac!", "\\frac{\u00e9}{\u4eac}!" },
        { "\\frac", NULL }, { "\\frac3", "\\frac3" }, { "\\frac12\\frac3", "\\frac12\\frac3" },
        { "\\frac3\\frac", "\\frac3" "\\frac" },
        { "\\frac12\\frac", NULL },
        { "3/4", "\\frac{3}{4}" }, { "-3/-4", "\\frac{-3}{-4}" }, { "03/4", "03/4" }, { "-0/4", "-0/4" },
        { "0/4", "\\frac{0}{4}" }, { "3/4/5", "3/4/5" }, { "1_0/2", "1_0/2" }, { "3\t/4", "3\t/4" },
        { "\u0663/4", "\u0663/4" }, { "0.5", "\\frac{1}{2}" }, { ".5", "\\frac{1}{2}" }, { "x=.5", ".5" },
        { "x= .5", "\\frac{1}{2}" }, { "0.50", "0.50" },
        { "\\sqrt3", "\\sqrt{3}" }, { "\\sqrt\U0001F600x", "\\sqrt{\U0001F600}x" }, { "\\sqrt 3", "\\sqrt{}3" },
        { "2\\sqrt", NULL }, { "\u00e9\u00e9=3", "3" }, { "abc=3", "abc=3" }, { "a=b=3", "a=b=3" },
        { "3\\text{ cm}", "3" }, { "3\\text{ a}\\text{ b}", NULL }, { "90^{\\circ}", "90" }, { "\\leftarrow", "arrow" },
        { "3\u00a0\\%", "3\u00a0" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str s = { 0 };
        str_clear(&s);
        bool ok = math_strip(&s, cases[i].in);
        CHECK(ok == (cases[i].want != NULL), "%s", cases[i].in);
        assert_string_equal(s.p, ok ? cases[i].want : "");
        str_free(&s);
    }
    assert_true(math_equiv(NULL, NULL));
    assert_false(math_equiv(NULL, "") || math_equiv("", NULL));
    assert_true(math_equiv("\\frac", "\\frac"));        /* compared unchanged */
    assert_false(math_equiv("\\frac", " \\frac"));
    assert_false(math_equiv("-1/2", "-\\frac{1}{2}"));
}

/* Python's int() stops at 4300 digits */
static void long_fractions(void **state)
{
    (void)state;
    for (int digits = 4299; digits <= 4301; digits++) {
        struct str a = { 0 }, s = { 0 };
        for (int i = 0; i < digits; i++) str_putc(&a, '7');
        str_puts(&a, "/2");
        assert_true(math_strip(&s, a.p));
        CHECK((s.p[0] == '\\') == (digits <= 4300), "%d digits", digits);
        str_free(&a);
        str_free(&s);
    }
}

static const struct { const char *a, *b; bool same; } values[] = {
    /* numbers */
    { "-5", "5", false }, { "1/2", "12", false }, { "0.5", "1/2", true }, { "\\frac12", "\\dfrac{1}{2}", true },
    { "-1/2", "-\\frac{1}{2}", true },
    { "6/4", "3/2", true },
    { "1,000", "1000", true }, { "1,000", "1", false }, { "12,345.5", "12345.5", true }, { "1{,}000", "1\\,000", true },
    { "(1,000)", "1000", false }, { "\u2212\u00bd", "-0.5", true },
    { "5.", "5", true }, { "0.333", "1/3", false }, { "2e-3", "0.002", true }, { "1\\frac12", "1.5", true },
    { "2 1/2", "2.5", true }, { "-1\\frac12", "-1.5", true }, { "1 2", "12", false }, { "10^{-3}", "0.001", true },
    { "2^10", "1024", true }, { "1/0", "2/0", false }, { "3!", "6", true }, { "\\binom{5}{2}", "10", true },
    { "1011_2", "1011", false },
    { "100000000000000000000001", "100000000000000000000002", false },
    { "1000000000000000000000000000000000000000001", "1000000000000000000000000000000000000000002", false },
    { "170!", "170!", true }, { "2^{300}", "2^{300}+1", false },
    /* irrational numbers and expressions */
    { "\\sqrt{3}", "\\sqrt 3", true }, { "\\sqrt{8}", "2\\sqrt2", true },
    { "\\frac{1}{\\sqrt 2}", "\\frac{\\sqrt{2}}{2}", true },
    { "\\sqrt{3}", "1.732", false },
    { "\\sqrt[3]{-8}", "-2", true }, { "\\pi", "3.14", false }, { "2\\pi r", "2\u03c0r", true },
    { "\\frac\\pi2", "\\pi/2", true }, { "\\log_2 8", "3", true }, { "|-3|", "3", true },
    { "\\sin^2 x+\\cos^2 x", "1", true }, { "x^2+2x+1", "(x+1)^2", true }, { "x+1", "x-1", false },
    { "3+4i", "4i+3", true }, { "e^{i\\pi}", "-1", true }, { "x", "X", false }, { "-\\infty", "\\infty", false },
    { "0.5x", "\\frac{x}{2}", true }, { "x_{1}+1", "1+x_1", true }, { "\\sin^{-1} x", "\\frac{1}{\\sin x}", false },
    /* names, units, percent */
    { "x=5", "5", true }, { "f(x) = x^2", "x^2", true }, { "2x+y=1", "1=y+2x", true },
    { "x \\le 5", "5 \\le x", false }, { "x \\le 5", "x\\leq 5", true }, { "\\$18", "18 dollars", true },
    { "5\\text{ cm}", "5 cm", true }, { "5\\text{ cm}", "5", true }, { "5\\text{ cm}", "5\\text{ m}", false },
    { "12\\mathrm{~km}", "12 km", true }, { "5 million", "5", false },
    { "90^\\circ", "90", true }, { "50\\%", "50", true }, { "50%", "1/2", true }, { "50%", "5", false },
    { "3x", "3", false },
    /* tuples, intervals, sets, matrices */
    { "\\left(1, \\frac12\\right)", "(1,0.5)", true }, { "(1,2)", "(2,1)", false }, { "[0,1)", "(0,1)", false },
    { "[0,1)", "[0,1.0)", true },
    { "\\{1,2\\}", "\\{2,1\\}", true },
    { "\\{1,2\\}", "(1,2)", false }, { "1, 2", "2, 1", true }, { "1,2,2", "1,1,2", false },
    { "1 \\text{ or } 2", "x=1, x=2", true },
    { "12 \\text{ and } 13", "12", false },
    { "\\pm 2", "2,-2", true }, { "1 \\pm \\sqrt2", "1-\\sqrt{2}, 1+\\sqrt{2}", true },
    { "(-\\infty,1)\\cup(2,3]", "(2,3] \\cup (-\\infty, 1)", true },
    { "(1,2)\\cup(3,4)", "(1,2)", false }, { "(1,2),(3,4)", "(3,4),(1,2)", true },
    { "\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix} 1 \\\\ 2.0 \\end{bmatrix}", true },
    { "\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1&2\\end{pmatrix}", false },
    /* words */
    { "\\text{Evelyn}", "evelyn", true }, { "east", "seat", false }, { "(A)", "A", true }, { "A", "a", false },
    { "\\leftarrow", "arrow", false }, { "", "", true }, { "", "0", false }, { "no solution", "No  Solution.", true },
    { "\\emptyset", "\\varnothing", true },
};

static void by_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        CHECK(math_value_equal(values[i].a, values[i].b) == values[i].same, "%s against %s, want %d", values[i].a,
              values[i].b, values[i].same);
        CHECK(math_value_equal(values[i].b, values[i].a) == values[i].same, "%s against %s, want %d", values[i].b,
              values[i].a, values[i].same);
        CHECK(math_value_equal(values[i].a, values[i].a), "%s against itself", values[i].a);
    }
}

static void expressions(void **state)
{
    (void)state;
    static const struct { const char *s; double want; } cases[] = {
        { "1+2*3", 7 }, { "-2^2", -4 }, { "2^3^2", 512 }, { "2^-2^2", 1. / 16 }, { "8/4/2", 1 }, { "--3", 3 },
        { "2*-3", -6 }, { "\\frac{1}{3}+\\frac16", .5 }, { "\\sqrt{2}^2", 2 }, { "2**5", 32 }, { "\\sin(\\pi/2)", 1 },
        { "exp(1)", 2.718281828459045 }, { "\\ln e^2", 2 }, { "\\log 100", 2 },
        { "\\frac{\\frac{1}{2}}{\\frac{1}{4}}", 2 }, { "[(1+2)*{3}]", 9 },
    };
    struct math_num v;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK(math_eval(&v, cases[i].s, strlen(cases[i].s)), "%s", cases[i].s);
        CHECK_NEAR(creal(v.z[0]), cases[i].want, 1e-12 * fabs(cases[i].want), "%s", cases[i].s);
        CHECK_NEAR(cimag(v.z[0]), 0, 1e-12, "%s", cases[i].s);
    }
    static const char *const none[] = { "",       "+",  "(1",   "1)",     "1+",           "\\frac{1}",
                                        "\\sqrt", ".",  "1..2", "hello",  "\\unknown{3}", "x \\le 3",
                                        "1 2",    "|1", "^2",   "0^{-1}", "(-1)!",        "3_" };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        CHECK(!math_eval(&v, none[i], strlen(none[i])), "%s", none[i]);
}

static char *repeat(const char *unit, size_t bytes)
{
    size_t n = strlen(unit), k = bytes / n;
    char *s = xmalloc(k * n + 1);
    for (size_t i = 0; i < k; i++) memcpy(s + i * n, unit, n);
    s[k * n] = 0;
    return s;
}

/* Linear time: 128 KB of each take some milliseconds, 1000 bytes of the worst nesting too, 0.4 s in total; quadratic
 * time would be hours. */
static void hostile(void **state)
{
    (void)state;
    static const char *const units[] = {
        "{", "}", "\\frac", "\\frac1", "\\sqrt", "\\sqrt1", "\\text{", "(", "1,", "1,000", "-", "\\", "\\pm", "|", "^",
        "1\\frac{1", "\\sin",
        "\xff", "\xc3", "a", "=", "9", "!", "1!",
        "\\cup", "\\begin{", "\\\\", "\x01", "\\left", "x^2+", "\\log_", "\\sqrt[3]{", "2^", "(1,(2,", " and ",
    };
    clock_t start = clock();
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        static const size_t sizes[] = { 60, 1000, 1 << 17 };
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            char *a = repeat(units[i], sizes[k]), *b = repeat(units[i], sizes[k]);
            b[strlen(b) / 2] = '7';
            math_equiv(a, b);
            math_value_equal(a, b);
            CHECK(math_value_equal(a, a), "%s repeated", units[i]);
            free(a);
            free(b);
        }
    }
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
#ifndef __SANITIZE_ADDRESS__
    CHECK(seconds < 5, "%.1f s", seconds);
#endif
    print_message("hostile texts: %.2f s\n", seconds);
}

/* Random sequences of the notation's pieces: no crash, reflexive, symmetric; and a text with a value equals its value
 * times one. */
static void random_texts(void **state)
{
    (void)state;
    static const char *const piece[] = {
        "\\frac", "\\sqrt", "{", "}", "(", ")", "[", "]", "1", "2", "10", "0.5", ",", "\\{", "\\}", "-", "+", "*", "/",
        "^", "x", "\\pi", "=", " ",
        "\\text{", "cm", "%", "\\pm", "!", "|",
        "\\cup", "\\sin", "_", "\xe2\x88\x92", "\xff", "\\\\", "&", "\\begin{pmatrix}", "\\end{pmatrix}", "e", "i",
    };
    struct rng r = rng_make(3, 2, 0);
    int evaluated = 0;
    for (int k = 0; k < 20000; k++) {
        struct str t[2] = { { 0 }, { 0 } };
        for (int i = 0; i < 2; i++) {
            str_clear(&t[i]);
            for (uint32_t n = rng_below(&r, 10); n; n--)
                str_puts(&t[i], piece[rng_below(&r, sizeof piece / sizeof *piece)]);
        }
        bool same = math_value_equal(t[0].p, t[1].p);
        CHECK(same == math_value_equal(t[1].p, t[0].p), "%s against %s: not symmetric", t[0].p, t[1].p);
        CHECK(math_value_equal(t[0].p, t[0].p), "%s", t[0].p);
        math_equiv(t[0].p, t[1].p);
        struct math_num v, w;
        if (math_eval(&v, t[0].p, t[0].n)) {
            struct str one = { 0 };
            str_printf(&one, "1*(%s)", t[0].p);
            CHECK(math_eval(&w, one.p, one.n) && (v.lossy || math_same(&v, &w)), "%s", one.p);
            str_free(&one);
            evaluated++;
        }
        str_free(&t[0]);
        str_free(&t[1]);
    }
    CHECK(evaluated > 400, "%d of 20000 evaluated", evaluated);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(official), cmocka_unit_test(long_fractions), cmocka_unit_test(by_value),
        cmocka_unit_test(expressions), cmocka_unit_test(hostile), cmocka_unit_test(random_texts),
    };
    return cmocka_run_group_tests_name("math_equiv", tests, NULL, NULL);
}
