/* test_pretok.c: how matches and what lies between them become pieces, as Hugging Face's tokenizers has it: five
 * behaviours, inverted and not, matches of nothing included. An empty match right behind a match does not count. */
#include "model/tokenizer/pretok.h"
#include "tests/check.h"
#include <string.h>

static void check_cut(const char *pattern, enum pretok_how how, bool invert, const char *text, const char *want)
{
    struct pretok p = { .n = 0 };
    struct pretok_work w = { .text = NULL };
    struct str got = { 0 };
    struct err e;
    str_clear(&got);
    CHECK(pretok_add(&p, pattern, false, how, invert, &e), "%s: %s", pattern, e.text);
    assert_true(pretok_cut(&p, &w, text, (int)strlen(text)));
    for (int i = 0; i < w.cut.n; i++) {
        if (i) str_putc(&got, '|');
        str_put(&got, w.text + w.cut.p[i].at, (size_t)w.cut.p[i].n);
    }
    CHECK(!strcmp(got.p, want), "%s, behaviour %d, invert %d, \"%s\": %s instead of %s", pattern, how, invert, text,
          got.p, want);
    str_free(&got);
    pretok_work_free(&w);
    pretok_free(&p);
}

/* Indexed by behaviour: removed, isolated, with previous, with next, contiguous. */
static const struct { const char *pattern, *text, *want[5], *inverted[5]; } cases[] = {
    { "-", "a-b--c",
      { "a|b|c", "a|-|b|-|-|c", "a-|b-|-|c", "a|-b|-|-c", "a|-|b|--|c" },
      { "-|-|-", "a|-|b|-|-|c", "a|-b|-|-c", "a-|b-|-|c", "a|-|b|--|c" } },
    { "[0-9]+", "12ab3",
      { "ab", "12|ab|3", "12|ab3", "12ab|3", "12|ab|3" },
      { "12|3", "12|ab|3", "12ab|3", "12|ab3", "12|ab|3" } },
    { "[0-9]*", "12ab3",
      { "a|b", "12|a|b|3", "12|a|b3", "12a|b|3", "12|a|b|3" },
      { "12|3", "12|a|b|3", "12a|b|3", "12|a|b3", "12|a|b|3" } },
    { "x", "abc", { "abc", "abc", "abc", "abc", "abc" }, { "", "abc", "abc", "abc", "abc" } },
    { "x", "", { "", "", "", "", "" }, { "", "", "", "", "" } },
};

static void behaviours(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        for (int how = 0; how < 5; how++) {
            check_cut(cases[k].pattern, (enum pretok_how)how, false, cases[k].text, cases[k].want[how]);
            check_cut(cases[k].pattern, (enum pretok_how)how, true, cases[k].text, cases[k].inverted[how]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(behaviours) };
    return cmocka_run_group_tests_name("pretok", tests, NULL, NULL);
}
