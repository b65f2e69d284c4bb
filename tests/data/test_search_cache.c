/* test_search_cache.c: recorded searches: the same query, the nearest, pages and characters cut, many threads at once,
 * files of other formats. */
#include "base/file.h"
#include "data/search_cache.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];

static struct search_cache *from(const char *text, size_t n, bool nearest, struct err *e)
{
    snprintf(path, sizeof path, "%s/c.json", dir);
    assert_true(file_write(path, text, n, e));
    return search_cache_open(path, nearest, e);
}

static void finds(struct search_cache *c, const char *query, int pages, int chars, enum search_found how,
                  const char *want)
{
    struct str out = { 0 };
    enum search_found found = search_cache_find(c, &out, query, strlen(query), pages, chars);
    CHECK(!strcmp(out.p, want) && found == how, "\"%s\": %d \"%s\" instead of %d \"%s\"", query, found, out.p, how,
          want);
    str_free(&out);
}

static void searches(void **state)
{
    (void)state;
    static const char text[] = "{\" rank of Etna \": \"Page 1: one\\nPage 2: two\\nPage 4: not a page of its "
                               "own\\nPage 3: three\", \"Etna\": \"no pages at all\","
                               " \"the boss of Kiliak\": \"Page 1: h\\u00e9llo\", \"volcano Etna, height of the "
                               "volcano\": \"Page 1: high\","
                               " \"x\": \"Page 1: rank rank rank rank Vesuvius\", \"AND\": \"Page 1: word\"}";
    struct err e;
    for (int nearest = 0; nearest < 2; nearest++) {
        struct search_cache *c = from(text, sizeof text - 1, nearest, &e);
        CHECK(c, "%s", e.text);
        finds(c, "rank of Etna", 9, 100, SEARCH_RECORDED,
              "Page 1: one\nPage 2: two\nPage 4: not a page of its own\nPage 3: three");
        finds(c, "\n rank of Etna\t", 2, 100, SEARCH_RECORDED,
              "Page 1: one\nPage 2: two\nPage 4: not a page of its own");
        finds(c, "rank of Etna", 1, 2, SEARCH_RECORDED, "Page 1: on");
        finds(c, "the boss of Kiliak", 1, 2, SEARCH_RECORDED, "Page 1: h\xc3\xa9");
        finds(c, "Etna", 3, 100, SEARCH_RECORDED, "no pages at all");
        finds(c, "Etna", 3, 5, SEARCH_RECORDED, "no pa");
        static const struct { const char *query, *nearest; } near[] = {
            { "who is KILIAK?", "Page 1: h\xc3\xa9llo" }, { "how high is the volcano", "Page 1: high" },
            { "Vesuvius", "Page 1: rank rank rank rank Vesuvius" },                   /* a word of a result */
            /* words are not operators; another case is another query */
            { "AND OR NEAR(", "Page 1: word" }, { "etna", "no pages at all" },
        };
        /* the second time the memo answers */
        for (int twice = 0; twice < 2; twice++)
            for (size_t i = 0; i < sizeof near / sizeof *near; i++)
                finds(c, near[i].query, 3, 100, nearest ? SEARCH_NEAREST : SEARCH_MISSED,
                      nearest ? near[i].nearest : "no recorded result for this query");
        finds(c, "nowhere", 3, 100, SEARCH_MISSED, "no recorded result for this query");
        finds(c, " \"'; -- ", 3, 100, SEARCH_EMPTY, "error: empty query");
        finds(c, "", 3, 100, SEARCH_EMPTY, "error: empty query");
        search_cache_close(c);
    }
    search_cache_close(NULL);
    struct search_cache *c = from("\xEF\xBB\xBF{\"a\": \"Page 1: b\"}", 21, false, &e);      /* a byte order mark */
    CHECK(c, "%s", e.text);
    finds(c, "a", 3, 100, SEARCH_RECORDED, "Page 1: b");
    search_cache_close(c);
}

/* ENTRIES entries: all have the words "rank" and "rival", each has one word of its own; THREADS threads search the same
 * queries, each in another order. */
#ifdef __SANITIZE_ADDRESS__
enum { ENTRIES = 3000, THREADS = 16, QUERIES = 60 };
#else
enum { ENTRIES = 30000, THREADS = 16, QUERIES = 240 };
#endif
struct asker { pthread_t thread; struct search_cache *c; int first; struct str out[QUERIES]; };

static void query_of(char *text, size_t n, int i)
{
    if (i % 4 == 0) snprintf(text, n, "rank of the rival");                            /* only the most common words */
    else if (i % 4 == 1) snprintf(text, n, "who is the rival of name%d?", i * 7);
    else if (i % 4 == 2) snprintf(text, n, "rival of name%d", i * 7);                  /* unchanged */
    else snprintf(text, n, "rank of name%d and name%d", i * 11, i * 3);
}

static void *asks(void *arg)
{
    struct asker *a = arg;
    char text[96];
    for (int k = 0; k < QUERIES; k++) {
        int i = (a->first * 13 + k) % QUERIES;
        query_of(text, sizeof text, i);
        search_cache_find(a->c, &a->out[i], text, strlen(text), 3, 100);
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    struct str all = { 0 };
    struct err e;
    for (int i = 0; i < ENTRIES; i++)
        str_printf(&all, "%s\"rival of name%d\": \"Page 1: %d rank rank\"", i ? ",\n" : "{", i, i);
    str_putc(&all, '}');
    struct search_cache *c = from(all.p, all.n, true, &e);
    CHECK(c, "%s", e.text);
    str_free(&all);
    static struct asker a[THREADS + 1];
    for (int t = 0; t <= THREADS; t++) a[t] = (struct asker){ .c = c, .first = t };
    for (int t = 0; t < THREADS; t++) assert_int_equal(pthread_create(&a[t].thread, NULL, asks, &a[t]), 0);
    for (int t = 0; t < THREADS; t++) pthread_join(a[t].thread, NULL);
    search_cache_close(c);
    snprintf(path, sizeof path, "%s/c.json", dir);
    /* one thread, empty memo */
    a[THREADS].c = search_cache_open(path, true, &e);
    asks(&a[THREADS]);
    search_cache_close(a[THREADS].c);
    for (int i = 0; i < QUERIES; i++) {
        char want[64];
        snprintf(want, sizeof want, "Page 1: %d rank rank", i % 4 ? i * (i % 4 == 3 ? 3 : 7) : 0);
        if (i % 4 != 3)
            CHECK(!strcmp(a[THREADS].out[i].p, want), "query %d: %s instead of %s", i, a[THREADS].out[i].p, want);
        for (int t = 0; t < THREADS; t++) {
            CHECK(!strcmp(a[t].out[i].p, a[THREADS].out[i].p), "thread %d, query %d: %s instead of %s", t, i,
                  a[t].out[i].p, a[THREADS].out[i].p);
            str_free(&a[t].out[i]);
        }
        str_free(&a[THREADS].out[i]);
    }
}

static void rejected(void **state)
{
    (void)state;
    static const struct { const char *text, *says; size_t n; } cases[] = {
        { "", "c.json: not JSON: line", 0 }, { "[]", "one JSON object", 2 }, { "{}", "one JSON object", 2 },
        { "{\"a\": 7}", "the result of \"a\" is not a string", 8 },
        { "{\"a\": \"b\"", "c.json: not JSON: line 1", 9 }, { "\0\0\0", "c.json: not JSON: line", 3 },
        { "{\"a\": \"\\u0000\"}", "c.json: not JSON: line 1", 15 },
        { "garbage", "c.json: not JSON: line 1", 7 }, { "<!DOCTYPE html><html>", "c.json: is an HTML page", 21 },
        { "version https://git-lfs.github.com/spec/v1\n", "c.json: is a Git LFS pointer", 43 },
        { "{\"a\":\"b\",\"a\":\"c\"}", "duplicate", 17 },
    };
    struct err e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK(!from(cases[i].text, cases[i].n, true, &e), "case %zu: accepted", i);
        CHECK(strstr(e.text, cases[i].says), "case %zu: %s", i, e.text);
    }
    assert_null(search_cache_open("/nowhere/c.json", false, &e));
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
    struct search_cache *c = search_cache_open(file, true, &e);
    CHECK(c, "%s", e.text);
    static const char *const same[] = { "Amy Smart film debut Campfire Tales", "which film was the debut of Amy Smart, "
                                                                               "Campfire Tales?" };
    for (int i = 0; i < 2; i++) {
        str_clear(&out);
        search_cache_find(c, &out, same[i], strlen(same[i]), 2, 40);
        assert_string_equal(out.p, "Page 1: The film is made up of three individual \nPage 2: Nov 5, 2021 \xc2\xb7 "
                                   "Campfire Tales: Directed b");
    }
    str_free(&out);
    search_cache_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(searches), cmocka_unit_test(many_threads),
                                        cmocka_unit_test(rejected), cmocka_unit_test(released) };
    return cmocka_run_group_tests_name("search_cache", tests, make_dir, drop_dir);
}
