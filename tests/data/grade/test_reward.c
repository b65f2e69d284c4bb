/* test_reward.c: the format rules, the box, the official reward and the exact one (data/grade/reward.h). */
#include "base/philox.h"
#include "data/grade/reward.h"
#include "tests/check.h"
#include "tests/data/grade/two_tags.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define T "<think>t</think>"
#define S "<search>q</search> <result>r</result>"
#define P "<python>p</python> <result>r</result>"
#define A(x) "<answer>" x "</answer>"
#define BOX(x) A("\\boxed{" x "}")

static void format(void **state)
{
    (void)state;
    static const struct { const char *text; bool ok; } cases[] = {
        { T BOX("x"), true }, { "", false }, { BOX("x"), false }, { T T S P BOX("x"), true },
        { "<think>" BOX("x"), false },
        { "</think>" BOX("x") "<think>", true },
        { T BOX("x") BOX("x"), false }, { T BOX("x") "</answer>", false }, { T "<answer>" BOX("x"), false },
        { T "\\boxed{x}", false }, { T "</answer>\\boxed{x}<answer>", false },
        { T A("x"), false },
        { T A("\\boxed{x"), false },
        { T A("} \\boxed{x"), true }, { T "<search>q</search>" BOX("x"), false },
        { T "<search>q <result>r</result></search>" BOX("x"), false },
        { T "</python>" BOX("x"), true },
        { T "<search>a<python>b</python></search> <result>r</result>" BOX("x"), true },
        { T S "<search>" BOX("x"), false },
        { "<think><python></think>" BOX("x"), false },
        { T "<search>q</search>" BOX("x") "<result></result>", true },
        { T "<search>q</search></result><result>" BOX("x"), false },
        { T BOX("x") "<answer", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *why = reward_format(cases[i].text, strlen(cases[i].text), &two_tags);
        CHECK(!why == cases[i].ok, "%s: %s", cases[i].text, why ? why : "accepted");
    }
}

static void box(void **state)
{
    (void)state;
    static const struct { const char *answer, *want; } cases[] = {
        { "\\boxed{x}", "x" }, { "\\boxed{a} \\boxed{b}", "b" }, { "\\boxed{{a}{b}} c}", "{a}{b}" },
        { "\\boxed{\\boxed{x} y}", "x" },
        { "\\boxed{}", "" }, { "\\boxed{a{b}", NULL },
        { "\\boxed{x} \\boxedx{y}", NULL }, { "\\boxed{x} \\boxed", NULL }, { "\\boxed{x} \\boxed y$ z", "y" },
        { "\\boxed y $ \\boxed{x}", "y " },
        { "\\fbox{x}", NULL },
        { "\\boxed{\\{1\\}}", "\\{1\\}" }, { "\\boxed \\boxed z", "z" }, { "", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str text = { 0 }, got = { 0 };
        str_clear(&got);
        str_printf(&text, T "<answer>%s</answer>", cases[i].answer);
        CHECK(reward_box(&got, text.p, text.n) == (cases[i].want != NULL), "%s", cases[i].answer);
        assert_string_equal(got.p, cases[i].want ? cases[i].want : "");
        str_free(&text);
        str_free(&got);
    }
}

static void official(void **state)
{
    (void)state;
    static const struct { const char *text, *refs[3]; double score, f1; const char *kind; } cases[] = {
        { T BOX("The Lisbon!"), { "lisbon" }, 1, 1, "correct" },
        { T S P BOX("x y"), { "x" }, 2. / 3 + .1, 2. / 3, "correct_both_tools" },
        { T S P BOX("x"), { "y" }, 0, 0, "wrong" },
        { T BOX("b"), { "a", "b" }, 1, 1, "correct" }, { T BOX("b"), { NULL }, 0, 0, "wrong" },
        { T BOX("Yes."), { "yes" }, 1, 1, "correct" },
        { T BOX("yes it is"), { "yes" }, 0, 0, "wrong" },
        { T BOX("no"), { "no way", "x" }, 0, 0, "wrong" }, { T BOX("-5"), { "5" }, 1, 1, "correct" },
        { T A("\\boxed{x} \\boxed"), { "x" }, -1, 0, "box_error" }, { BOX("x"), { "x" }, -1, 0, "bad_format" },
        { T BOX("a"), { "a" }, 0, 0, "wrong" },
        { T BOX("\u039f\u0394\u039f\u03a3"), { "\u03bf\u03b4\u03bf\u03c2" }, 1, 1, "correct" },
        { T BOX("x\u00a0y"), { "y x" }, 1, 1, "correct" },
        { T BOX("a-b"), { "a b" }, 0, 0, "wrong" },
        { "<think></search></python></think>" BOX("x"), { "x" }, 1.1, 1, "correct_both_tools" },
    };
    struct str answer = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int n = 0;
        while (n < 3 && cases[i].refs[n]) n++;
        struct reward r;
        reward_deep_research(&r, &answer, cases[i].text, strlen(cases[i].text), cases[i].refs, n, &two_tags);
        CHECK_NEAR(r.score, cases[i].score, 1e-15, "case %zu, score", i);
        CHECK_NEAR(r.f1, cases[i].f1, 1e-15, "case %zu, f1", i);
        assert_string_equal(reward_kind_name(r.kind), cases[i].kind);
    }
    str_free(&answer);
}

static void exact(void **state)
{
    (void)state;
    static const struct { const char *text, *ref; bool math; double bonus, score; const char *answer; } cases[] = {
        { T BOX("-5"), "5", true, 0.1, 0, "-5" }, { T BOX("-5"), "5", false, 0.1, 1, "-5" },
        { T BOX("1/2"), "12", true, 0.1, 0, "1/2" }, { T BOX("\\frac{1}{2}"), "0.5", true, 0.1, 1, "\\frac{1}{2}" },
        { T S P BOX("x=3"), "3", true, 0.1, 1.1, "x=3" },
        { T S P BOX("3"), "3", true, 0, 1, "3" },
        { T S P BOX("3"), "4", true, 0.1, 0, "3" },
        { T S P BOX("a b c"), "b d", false, 0.25, 2 * .5 * .5 / 1 + .25, "a b c" },
        { BOX("3"), "3", true, 0.1, -1, "" }, { T A("\\boxed{3} \\boxed"), "3", true, 0.1, -1, "" },
    };
    struct str answer = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *refs[] = { "no such answer", cases[i].ref };
        struct reward r;
        reward_exact(&r, &answer, cases[i].text, strlen(cases[i].text), refs, 2, &two_tags, cases[i].math,
                     cases[i].bonus);
        CHECK_NEAR(r.score, cases[i].score, 1e-15, "case %zu", i);
        assert_string_equal(answer.p, cases[i].answer);
    }
    str_free(&answer);
}

/* Random sequences of tags, with bytes that are not text in between: no crash, and the invariants of the result; 256 KB
 * of each tag in linear time. */
static void hostile(void **state)
{
    (void)state;
    static const char *const piece[] = {
        "<think>", "</think>", "<answer>", "</answer>", "<search>", "</search>", "<python>", "</python>", "<result>",
        "</result>", "\\boxed{",
        "\\boxed ", "}", "{", "$", "x", "\xff",
        T, S, P, BOX("x"), BOX("z"), A("\\boxed{x} \\boxed"),
    };
    enum { PIECES = sizeof piece / sizeof *piece };
    const char *refs[] = { "x", "y \xfe" };
    struct rng r = rng_make(5, 3, 0);
    struct str text = { 0 }, answer = { 0 };
    int kinds[5] = { 0 };
    for (int k = 0; k < 20000; k++) {
        str_clear(&text);
        if (k % 2) str_puts(&text, T);
        for (uint32_t n = rng_below(&r, 8); n; n--) str_puts(&text, piece[rng_below(&r, PIECES)]);
        struct reward w;
        reward_deep_research(&w, &answer, text.p, text.n, refs, 2, &two_tags);
        kinds[w.kind]++;
        bool broken = w.kind == REWARD_BAD_FORMAT || w.kind == REWARD_BOX_ERROR;
        CHECK(broken ? w.score == -1 && answer.n == 0 : w.score >= w.f1 && w.f1 >= 0 && w.f1 <= 1, "%s", text.p);
    }
    for (int i = 0; i < 5; i++) CHECK(kinds[i] > 0, "no %s among the random texts", reward_kind_name(i));
    clock_t start = clock();
    for (int i = 0; i < PIECES; i++) {
        struct reward w;
        str_clear(&text);
        str_puts(&text, T "<answer>\\boxed{");
        while (text.n < 1 << 18) str_puts(&text, piece[i]);
        str_puts(&text, "}</answer>");
        reward_deep_research(&w, &answer, text.p, text.n, refs, 2, &two_tags);
        reward_exact(&w, &answer, text.p, text.n, refs, 2, &two_tags, true, 0.1);
    }
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
#ifndef __SANITIZE_ADDRESS__
    CHECK(seconds < 5, "%.1f s", seconds);
#endif
    print_message("hostile texts: %.2f s\n", seconds);
    str_free(&text);
    str_free(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format), cmocka_unit_test(box), cmocka_unit_test(official), cmocka_unit_test(exact),
        cmocka_unit_test(hostile),
    };
    return cmocka_run_group_tests_name("reward", tests, NULL, NULL);
}
