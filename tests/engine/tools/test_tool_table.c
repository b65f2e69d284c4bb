/* test_tool_table.c: the program's table of tools to the byte, and tables that are rejected by the name of the tool. */
#include "tests/check.h"
#include "tests/engine/tools/two_tools.h"
#include "tests/data/grade/two_tags.h"
#include <string.h>

/* Declarations and error texts must not change: policies were trained on them. */
static void the_two_tools(void **state)
{
    (void)state;
    static const char declared[] =
        "[{\"type\": \"function\", \"function\": {\"name\": \"python\", \"description\": \"Evaluates Python "
        "arithmetic: assignments and expressions, and print() of them. Returns what is printed, or the value of the "
        "last expression.\", \"parameters\": {\"type\": \"object\", \"properties\": {\"code\": {\"type\": \"string\", "
        "\"description\": \"The Python code to evaluate.\"}}, \"required\": [\"code\"]}}}, {\"type\": \"function\", "
        "\"function\": {\"name\": \"search\", \"description\": \"Searches for pages about a topic and returns the "
        "best matches.\", \"parameters\": {\"type\": \"object\", \"properties\": {\"query\": {\"type\": \"string\", "
        "\"description\": \"What to search for.\"}}, \"required\": [\"query\"]}}}]";
    struct err e;
    struct str text = { 0 };
    struct tool_tags tags;
    CHECK(tool_table_check(&tool_table, &e), "%s", e.text);
    assert_int_equal(tool_table.n, TOOLS);
    tools_declare(&text);
    assert_string_equal(text.p, declared);
    str_clear(&text);
    tools_list(&text);
    assert_string_equal(text.p, "python and search");
    str_free(&text);
    assert_int_equal(tool_by_name("python"), TOOL_PYTHON);
    assert_int_equal(tool_by_name("search"), TOOL_SEARCH);
    assert_int_equal(tool_by_name("Python"), TOOL_NONE);
    assert_int_equal(tool_by_name(""), TOOL_NONE);
    assert_null(tool_row(TOOL_NONE));
    assert_string_equal(tool_name(TOOL_NONE), "none");
    tools_tags(&tags);
    assert_int_equal(tags.n, two_tags.n);
    for (int k = 0; k < tags.n; k++) {
        assert_string_equal(tags.p[k].open, two_tags.p[k].open);
        assert_string_equal(tags.p[k].close, two_tags.p[k].close);
        assert_int_equal(tags.p[k].bonus, two_tags.p[k].bonus);
    }
}

static void run(const struct tool_env *env, const struct tool_caller *who, const char *query, size_t n,
                struct str *out)
{
    (void)env, (void)who, (void)query, (void)n, (void)out;
}

static void rejected_by_name(void **state)
{
    (void)state;
    static const struct tool good = { "date", "<date>", "</date>", "Tells the date.", "format", "Its format.",
                                      .run = run };
    struct { const char *why; struct tool row; } cases[] = {
        { "no run function", good }, { "no opening tag", good }, { "no closing tag", good }, { "no description", good },
        { "no argument", good }, { "no argument description", good }, { "are no tags", good },
        { "share a name or a tag", good }, { "share a name or a tag", good }, { "share a name or a tag", good },
        { "share a name or a tag", good }, { "are no tags", good }, { "are no tags", good }, { "are no tags", good },
        { "the name", good }, { "the name", good },
    };
    struct err e;
    cases[0].row.run = NULL;
    cases[1].row.open = "";
    cases[2].row.close = NULL;
    cases[3].row.description = NULL;
    cases[4].row.argument = "";
    cases[5].row.argument_description = NULL;
    cases[6].row.close = "/date";
    cases[7].row.name = "python";
    cases[8].row.open = "<search>";
    cases[9].row.close = "</search>";
    cases[10].row.open = "</search>";
    cases[11].row.open = "<result>";                        /* an answer's own */
    cases[12].row.open = cases[12].row.close;
    cases[13].row.close = "</date><x>";
    cases[14].row.name = "none";                            /* the metrics' name of a call that names no tool */
    cases[15].row.name = "a/b";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tool rows[] = { tool_table.row[TOOL_PYTHON], tool_table.row[TOOL_SEARCH], cases[i].row };
        CHECK(!tool_table_check(&(struct tool_table){ rows, 3 }, &e) && strstr(e.text, cases[i].why) &&
                  strstr(e.text, cases[i].row.name),
              "case %zu: \"%s\"", i, e.text);
    }
    struct tool many[TOOLS_MAX + 1] = { good };
    assert_true(tool_table_check(&(struct tool_table){ many, 1 }, &e));
    assert_false(tool_table_check(&(struct tool_table){ many, 0 }, &e));
    assert_false(tool_table_check(&(struct tool_table){ many, TOOLS_MAX + 1 }, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_two_tools), cmocka_unit_test(rejected_by_name) };
    return cmocka_run_group_tests_name("tool_table", tests, NULL, NULL);
}
