/* test_qa_metrics.c: Python's string rules (data/grade/python_text.h; wanted values are Python 3.11's) and the answer
 * metrics (data/grade/qa_metrics.h). */
#include "base/philox.h"
#include "data/grade/qa_metrics.h"
#include "data/grade/python_text.h"
#include "tests/check.h"
#include <float.h>
#include <stdlib.h>
#include <string.h>

static struct str out;

static const char *with(void (*f)(struct str *, const char *, size_t), const char *s)
{
    str_clear(&out);
    f(&out, s, strlen(s));
    return out.p;
}

static void lower_case(void **state)
{
    (void)state;
    static const struct { const char *in, *want; } cases[] = {
        { "", "" }, { "ABC xyz 9_", "abc xyz 9_" }, { "\u00c9COLE", "\u00e9cole" },
        { "\u0130stanbul", "i\u0307stanbul" },
        { "STRA\u00dfE", "stra\u00dfe" },
        { "\u1e9e", "\u00df" }, { "\u212a", "k" }, { "\U00010400", "\U00010428" }, { "\u01c5", "\u01c6" },
        { "\u2167", "\u2177" },
        { "\U0001d400", "\U0001d400" },
        /* capital sigma: final if it follows a cased character and precedes none, ignoring case-ignorable ones */
        { "\u03a3", "\u03c3" }, { "\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c2" },
        { "\u03a3\u03a3", "\u03c3\u03c2" },
        { "A\u03a3B", "a\u03c3b" },
        { "A.\u03a3", "a.\u03c2" }, { "A\u03a3'b", "a\u03c3'b" }, { "A\u03a3 b", "a\u03c2 b" },
        { "1\u03a3", "1\u03c3" },
        { "A\u0301\u03a3\u0301", "a\u0301\u03c2\u0301" },
        { "\u4eac\u03a3", "\u4eac\u03c3" }, { "A\u00ad\u03a3", "a\u00ad\u03c2" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(with(text_lower, cases[i].in), cases[i].want);
}

static void white_space(void **state)
{
    (void)state;
    static const struct { const char *in, *want; } cases[] = {
        { "", "" }, { " \t\n", "" }, { "  a\tb\n c ", "a b c" }, { "a\x1c\x1d\x1e\x1f" "b", "a b" },
        { "a\xc2\x85" "b\u00a0c\u1680d\u2003e\u2028f\u3000g", "a b c d e f g" },
        { "a\u200b\u180e\ufeff b", "a\u200b\u180e\ufeff b" }, { "\x1b a", "\x1b a" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(with(text_collapse, cases[i].in), cases[i].want);
    const char *s = "\u00a0\x1f x \u2029y\u3000";
    size_t n = strlen(s);
    text_strip(&s, &n);
    assert_int_equal(n, strlen("x \u2029y"));
    assert_memory_equal(s, "x \u2029y", n);
    s = " \u2003 ";
    n = strlen(s);
    text_strip(&s, &n);
    assert_int_equal(n, 0);
}

static void articles_and_punctuation(void **state)
{
    (void)state;
    static const struct { const char *in, *want; } articles[] = {
        { "", "" }, { "a", " " }, { "the an a", "     " }, { "another thea than an_", "another thea than an_" },
        { "a-b the.", " -b  ." },
        { "a1 1a a\u00b2", "a1 1a a\u00b2" },
        { "\u00e9a a\u00e9", "\u00e9a a\u00e9" }, { "a\u0301", " \u0301" }, { "\u4eac a\u4eac", "\u4eac a\u4eac" },
        { "\u2019the\u2019", "\u2019 \u2019" }, { "The", "The" },
    };
    for (size_t i = 0; i < sizeof articles / sizeof *articles; i++)
        assert_string_equal(with(text_drop_articles, articles[i].in), articles[i].want);
    assert_string_equal(with(text_drop_punct, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"), "");
    assert_string_equal(with(text_drop_punct, "O'Neil \u201cx\u201d \u3002 1.5"), "ONeil \u201cx\u201d \u3002 15");
    str_clear(&out);
    text_replace(&out, "aaaXaa", 6, "aa", "b");
    assert_string_equal(out.p, "baXb");
}

static void numbers_as_python_prints_them(void **state)
{
    (void)state;
    static const struct { double v; const char *want; } cases[] = {
        { 0, "0.0" }, { -0.0, "-0.0" }, { 1, "1.0" }, { 100000, "100000.0" }, { 0.1, "0.1" },
        { 1e15, "1000000000000000.0" }, { 1e16, "1e+16" },
        { 1e-4, "0.0001" },
        { 1e-5, "1e-05" }, { 1.5e-7, "1.5e-07" }, { 123456789012345680.0, "1.2345678901234568e+17" },
        { 2.0 / 3, "0.6666666666666666" },
        { 5e-324, "5e-324" },
        { -DBL_MAX, "-1.7976931348623157e+308" }, { HUGE_VAL, "inf" }, { (double)(double)NAN, "nan" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str_clear(&out);
        text_put_double(&out, cases[i].v);
        assert_string_equal(out.p, cases[i].want);
    }
}

static void damaged_text(void **state)
{
    (void)state;
    static const struct { const char *in, *want; } cases[] = {
        { "a\xff" "B", "a\ufffd" "b" }, { "\xc3", "\ufffd" }, { "\xe2\x82", "\ufffd\ufffd" },
        { "\xc0\x80", "\ufffd\ufffd" },
        { "\xed\xa0\x80", "\ufffd\ufffd\ufffd" },
        { "\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd" }, { "\xf0\x9f\x98", "\ufffd\ufffd\ufffd" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(with(text_lower, cases[i].in), cases[i].want);
    struct rng r = rng_make(7, 1, 0);
    for (int k = 0; k < 2000; k++) {
        char s[24], *copy;
        size_t n = rng_below(&r, sizeof s), points = 0;
        for (size_t i = 0; i < n; i++) s[i] = (char)rng_u32(&r);
        /* exactly n bytes: a sanitizer detects a read past them */
        copy = xmalloc(n);
        memcpy(copy, s, n);
        str_clear(&out);
        text_lower(&out, copy, n);
        for (size_t at = 0; at < out.n; points++) {                 /* the output is well-formed */
            size_t from = at;
            uint32_t c = text_next(out.p, out.n, &at);
            CHECK(c != 0xFFFD || at - from == 3, "random bytes %d", k);
        }
        CHECK(points >= n / 4 && points <= n + n, "random bytes %d: %zu code points", k, points);
        str_clear(&out);
        text_drop_articles(&out, copy, n);
        text_collapse(&out, copy, n);
        text_drop_punct(&out, copy, n);
        free(copy);
    }
}

static void overlap(void **state)
{
    (void)state;
    static const struct { const char *a, *b; double want; } cases[] = {
        { "", "", 0 }, { "a", "", 0 }, { "x", "x", 1 }, { "x y", "y x", 1 },
        { "la la la land", "la la land", 2 * .75 * 1 / (.75 + 1) }, { "a b c d", "e f", 0 },
        { "a b", "a c d", 2 * .5 * (1.0 / 3) / (.5 + 1.0 / 3) }, { "x", "x x x x", 2 * 1 * .25 / 1.25 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_NEAR(text_f1(cases[i].a, strlen(cases[i].a), cases[i].b, strlen(cases[i].b)), cases[i].want, 0, "%s / %s",
                   cases[i].a, cases[i].b);
}

static void metrics(void **state)
{
    (void)state;
    static const struct { bool math; const char *pred, *ref; struct qa_score want; } cases[] = {
        { true, " The  5\n", "the 5", { 1, 1, 1, 1 } },         { false, "The Paris", "paris", { 1, 1, 1, 1 } },
        { true, "The Paris", "paris", { 0, 1, 2. / 3, 0 } },    { false, "Paris.", "Paris", { 0, 1, 0, 0 } },
        { false, "a", "the", { 1, 1, 0, 1 } },                  { false, "x", "", { 0, 1, 0, 0 } },
        { false, "1/2", "\\frac{1}{2}", { 0, 0, 0, 1 } },       { true, "5", "15", { 0, 0, 0, 0 } },
        { false, "b", "[a,b,  c]", { 1, 1, 1, 1 } },            { false, "'b'", "['a', 'b']", { 1, 1, 1, 1 } },
        { false, "x", "[]", { 0, 1, 0, 0 } },
        { false, "one two", "[one, two x, one two three four]", { 0, 1, 2. / 3, 0 } },
        { false, "[a]", " [a]", { 1, 1, 1, 1 } }, { false, "\u0130", "i\u0307", { 1, 1, 1, 1 } },
        { true, "5\u00a0 6", "5 6", { 1, 1, 1, 1 } }, { false, "", "[a,,b]", { 1, 1, 0, 1 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qa_score s;
        if (cases[i].math) s = metrics_math(cases[i].pred, cases[i].ref);
        else {
            struct qa_refs r;
            metrics_refs(&r, cases[i].ref);
            s = metrics_qa(cases[i].pred, (const char *const *)r.p, r.n);
            metrics_refs_free(&r);
        }
        const double got[] = { s.em, s.acc, s.f1, s.math_equal }, *want = &cases[i].want.em;
        for (int k = 0; k < 4; k++)
            CHECK_NEAR(got[k], want[k], 1e-15, "case %zu: %s / %s: metric %d", i, cases[i].pred, cases[i].ref, k);
    }
    struct qa_score none = metrics_qa("x", NULL, 0);
    assert_true(none.em == 0 && none.acc == 0 && none.f1 == 0 && none.math_equal == 0);
}

static int drop(void **state) { (void)state; str_free(&out); return 0; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lower_case), cmocka_unit_test(white_space), cmocka_unit_test(articles_and_punctuation),
        cmocka_unit_test(numbers_as_python_prints_them), cmocka_unit_test(damaged_text), cmocka_unit_test(overlap),
        cmocka_unit_test(metrics),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, drop);
}
