/* test_corpus.c: search by title within a scope, hostile queries, several threads. */
#include "data/tasks/corpus.h"
#include "base/philox.h"
#include "tests/check.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct corpus *open_or_fail(void)
{
    struct err e;
    struct corpus *c = corpus_open(&e);
    CHECK(c, "%s", e.text);
    return c;
}

static void check_search(struct corpus *c, int64_t scope, const char *query, size_t n, int pages, int chars,
                         const char *want)
{
    struct str got = { 0 };
    corpus_search(c, &got, scope, query, n, pages, chars);
    CHECK(!strcmp(got.p, want), "search(%lld, \"%.60s\") gave \"%s\", wanted \"%s\"", (long long)scope, query, got.p,
          want);
    str_free(&got);
}

static void titles_in_scope(void **state)
{
    (void)state;
    struct corpus *c = open_or_fail();
    corpus_add(c, 1, "kazofo", "rank 24, color red.");
    corpus_add(c, 1, "tife", "boss kazofo.");
    corpus_add(c, 2, "kazofo", "rank 99.");
    corpus_add(c, 1, "kazofo", "rank 31.");
    corpus_add(c, 1, "Mount Ren\xc3\xa9", "\xc3\xa9\xc3\xa9\xc3\xa9 high.");
    corpus_add(c, -5, "kazofo", "");
    const struct { int64_t scope; const char *query; int pages, chars; const char *want; } cases[] = {
        { 1, " kazofo", 3, 200, "Page 1: kazofo: rank 24, color red.\nPage 2: kazofo: rank 31." },
        { 2, "kazofo", 3, 200, "Page 1: kazofo: rank 99." },
        { 1, "kazofo", 1, 200, "Page 1: kazofo: rank 24, color red." }, { 3, "kazofo", 3, 200, "no page" },
        { -5, "kazofo", 3, 9, "Page 1: kazofo: " }, { 1, "the rank of tife?", 3, 200, "Page 1: tife: boss kazofo." },
        { 1, "rank color boss", 3, 200, "no page" }, { 1, "kazof", 3, 200, "no page" },
        { 1, "tife kazofo", 9, 6, "Page 1: kazofo: rank 2\nPage 2: tife: boss k\nPage 3: kazofo: rank 3" },
        { 1, "KAZOFO", 1, 4, "Page 1: kazofo: rank" },
        { 1, "mount", 1, 2, "Page 1: Mount Ren\xc3\xa9: \xc3\xa9\xc3\xa9" },
        { 1, "ren\xc3\xa9", 1, 0, "Page 1: Mount Ren\xc3\xa9: " }, { 1, "", 3, 200, "error: empty query" },
        { 1, " \t\n.,\"'()*^:-+", 3, 200, "error: empty query" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_search(c, cases[i].scope, cases[i].query, strlen(cases[i].query), cases[i].pages, cases[i].chars,
                     cases[i].want);
    corpus_drop(c, 1);
    corpus_drop(c, 77);
    check_search(c, 1, "kazofo tife mount", 17, 3, 200, "no page");
    check_search(c, 2, "kazofo", 6, 3, 200, "Page 1: kazofo: rank 99.");
    corpus_add(c, 1, "tife", "new.");
    check_search(c, 1, "kazofo tife", 11, 3, 200, "Page 1: tife: new.");
    corpus_close(c);
    corpus_close(NULL);
}

static void hostile_queries(void **state)
{
    (void)state;
    struct corpus *c = open_or_fail();
    corpus_add(c, 1, "tife", "x.");
    const char *hit[] = { "\"tife\"",
                          "tife\"",
                          "\"\"tife",
                          "tife OR",
                          "OR tife AND",
                          "NOT tife",
                          "NEAR(tife, 2)",
                          "title:tife",
                          "scope : tife",
                          "tife*",
                          "^tife",
                          "-tife",
                          "{title} : tife",
                          "tife'; DROP TABLE page; --",
                          "tife\\",
                          "(tife",
                          "tife)",
                          "+tife",
                          "tife AND nothing NOT tife",
                          "tife;tife",
                          "% _ tife",
                          "\xe2\x80\x94 tife",
                          "\xff\xfe tife",
                          "\xc3 tife",
                          "\xf0\x9f\x98\x80 tife" };
    const char *miss[] = { "\"",       "\"\"",         "*",    "OR",    "AND", "title:",       "NEAR()",
                           "\xff\xfe", "\xe2\x80\x94", "\xc3", "ti fe", "1=1", "\xed\xa0\x80", "\xf4\x90\x80\x80" };
    for (size_t i = 0; i < sizeof hit / sizeof *hit; i++)
        check_search(c, 1, hit[i], strlen(hit[i]), 3, 200, "Page 1: tife: x.");
    for (size_t i = 0; i < sizeof miss / sizeof *miss; i++) {
        struct str got = { 0 };
        corpus_search(c, &got, 1, miss[i], strlen(miss[i]), 3, 200);
        CHECK(!strcmp(got.p, "no page") || !strcmp(got.p, "error: empty query"), "\"%s\" found \"%s\"", miss[i], got.p);
        str_free(&got);
    }
    check_search(c, 1, "tife\0x", 6, 3, 200, "Page 1: tife: x.");
    check_search(c, 1, "\0tife", 5, 3, 200, "Page 1: tife: x.");
    check_search(c, 1, "a\0tife", 6, 3, 200, "Page 1: tife: x.");
    check_search(c, 1, "tife", 3, 3, 200, "no page");                      /* n decides */
    size_t mega = 1 << 20;
    char *big = xmalloc(mega);
    memset(big, 'a', mega);
    check_search(c, 1, big, mega, 3, 200, "error: empty query");           /* no word of at most 64 bytes */
    memset(big, '"', mega);
    check_search(c, 1, big, mega, 3, 200, "error: empty query");
    for (size_t k = 0; k < mega; k += 2) memcpy(big + k, "b ", 2);
    check_search(c, 1, big, mega, 3, 200, "no page");
    /* the 64th word counts, the 65th does not */
    memcpy(big + 63 * 2, "tife ", 5);
    check_search(c, 1, big, mega, 3, 200, "Page 1: tife: x.");
    memcpy(big + 63 * 2, "b b tife", 8);
    check_search(c, 1, big, mega, 3, 200, "no page");
    free(big);
    static const char odd[] = "\"'*()^:+- ORtife{}\\\xc3\xff";               /* its last 0 too */
    struct rng r = rng_make(3, 1, 0);
    for (int k = 0; k < 3000; k++) {
        char q[24];
        for (size_t i = 0; i < sizeof q; i++)
            q[i] = (char)(k % 2 ? rng_u32(&r) : (uint32_t)odd[rng_below(&r, sizeof odd)]);
        struct str got = { 0 };
        corpus_search(c, &got, 1, q, sizeof q, 3, 200);
        assert_true(!strcmp(got.p, "no page") || !strcmp(got.p, "error: empty query") ||
                    !strcmp(got.p, "Page 1: tife: x."));
        str_free(&got);
    }
    corpus_close(c);
}

struct worker { struct corpus *c; int64_t scope; int wrong; };

static void *work(void *arg)
{
    struct worker *w = arg;
    for (int k = 0; k < 200; k++) {
        struct str body = { 0 }, got = { 0 }, want = { 0 };
        str_printf(&body, "rank %d.", (int)w->scope * 1000 + k);
        str_printf(&want, "Page 1: kazofo: %s", body.p);
        corpus_add(w->c, w->scope, "kazofo", body.p);
        corpus_search(w->c, &got, w->scope, "kazofo", 6, 3, 200);
        w->wrong += strcmp(got.p, want.p) != 0;
        corpus_drop(w->c, w->scope);
        str_free(&body);
        str_free(&got);
        str_free(&want);
    }
    return NULL;
}

static void several_threads(void **state)
{
    (void)state;
    struct worker w[4];
    pthread_t t[4];
    struct corpus *c = open_or_fail();
    for (int k = 0; k < 4; k++) {
        w[k] = (struct worker){ .c = c, .scope = k };
        assert_int_equal(pthread_create(&t[k], NULL, work, &w[k]), 0);
    }
    for (int k = 0; k < 4; k++) {
        pthread_join(t[k], NULL);
        assert_int_equal(w[k].wrong, 0);
    }
    corpus_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(titles_in_scope), cmocka_unit_test(hostile_queries),
                                        cmocka_unit_test(several_threads) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
