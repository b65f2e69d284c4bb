/* test_search_cache.c: recorded searches: the same query, the nearest, pages and characters cut, files that are not such. */
#include "base/file.h"
#include "data/search_cache.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];

static struct search_cache *from(const char *text, size_t n, struct err *e)
{
    snprintf(path, sizeof path, "%s/c.json", dir);
    assert_true(file_write(path, text, n, e));
    return search_cache_open(path, e);
}

static void finds(struct search_cache *c, const char *query, int pages, int chars, const char *want)
{
    struct str out = { 0 };
    search_cache_find(c, &out, query, strlen(query), pages, chars);
    CHECK(!strcmp(out.p, want), "\"%s\": \"%s\" instead of \"%s\"", query, out.p, want);
    str_free(&out);
}

static void searches(void **state)
{
    (void)state;
    static const char text[] = "{\" rank of Etna \": \"Page 1: one\\nPage 2: two\\nPage 4: not a page of its own\\nPage 3: three\", \"Etna\": \"no pages at all\","
                               " \"the boss of Kiliak\": \"Page 1: h\\u00e9llo\", \"volcano Etna, height of the volcano\": \"Page 1: high\","
                               " \"x\": \"Page 1: rank rank rank rank Vesuvius\", \"AND\": \"Page 1: word\"}";
    struct err e;
    struct search_cache *c = from(text, sizeof text - 1, &e);
    CHECK(c, "%s", e.text);
    finds(c, "rank of Etna", 9, 100, "Page 1: one\nPage 2: two\nPage 4: not a page of its own\nPage 3: three");
    finds(c, "\n rank of Etna\t", 2, 100, "Page 1: one\nPage 2: two\nPage 4: not a page of its own");
    finds(c, "rank of Etna", 1, 2, "Page 1: on");
    finds(c, "the boss of Kiliak", 1, 2, "Page 1: h\xc3\xa9");
    finds(c, "Etna", 3, 100, "no pages at all");
    finds(c, "Etna", 3, 5, "no pa");
    finds(c, "who is KILIAK?", 3, 100, "Page 1: h\xc3\xa9llo");
    finds(c, "how high is the volcano", 3, 100, "Page 1: high");
    finds(c, "Vesuvius", 3, 100, "Page 1: rank rank rank rank Vesuvius");          /* a word of a result */
    finds(c, "AND OR NEAR(", 3, 100, "Page 1: word");                             /* no operators */
    finds(c, "nowhere", 3, 100, "no page");
    finds(c, " \"'; -- ", 3, 100, "error: empty query");
    finds(c, "", 3, 100, "error: empty query");
    search_cache_close(c);
    search_cache_close(NULL);
}

static void refused(void **state)
{
    (void)state;
    static const struct { const char *text, *says; size_t n; } cases[] = {
        { "", "c.json: not JSON: line", 0 }, { "[]", "one JSON object", 2 }, { "{}", "one JSON object", 2 }, { "{\"a\": 7}", "the result of \"a\" is not a string", 8 },
        { "{\"a\": \"b\"", "c.json: not JSON: line 1", 9 }, { "\0\0\0", "c.json: not JSON: line", 3 }, { "{\"a\": \"\\u0000\"}", "c.json: not JSON: line 1", 15 },
        { "garbage", "c.json: not JSON: line 1", 7 }, { "{\"a\":\"b\",\"a\":\"c\"}", "duplicate", 17 },
    };
    struct err e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK(!from(cases[i].text, cases[i].n, &e), "case %zu: accepted", i);
        CHECK(strstr(e.text, cases[i].says), "case %zu: %s", i, e.text);
    }
    assert_null(search_cache_open("/nowhere/c.json", &e));
    assert_non_null(strstr(e.text, "/nowhere/c.json"));
}

static void released(void **state)
{
    (void)state;
    static const char file[] = "../shared/data/search_cache.json.gz";
    if (!file_exists(file)) {
        print_message("skipped: %s is not here\n", file);
        skip();
    }
    struct err e;
    struct str out = { 0 };
    struct search_cache *c = search_cache_open(file, &e);
    CHECK(c, "%s", e.text);
    static const char *const same[] = { "Amy Smart film debut Campfire Tales", "which film was the debut of Amy Smart, Campfire Tales?" };
    for (int i = 0; i < 2; i++) {
        str_clear(&out);
        search_cache_find(c, &out, same[i], strlen(same[i]), 2, 40);
        assert_string_equal(out.p, "Page 1: The film is made up of three individual \nPage 2: Nov 5, 2021 \xc2\xb7 Campfire Tales: Directed b");
    }
    str_free(&out);
    search_cache_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(searches), cmocka_unit_test(refused), cmocka_unit_test(released) };
    return cmocka_run_group_tests_name("search_cache", tests, make_dir, drop_dir);
}
