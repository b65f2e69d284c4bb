/* test_tool_pool.c: calls in text, tokens of results, and the threads: every call is answered once, late ones in
 * time. */
#include "engine/run/run.h"
#include "engine/tools/tool_pool.h"
#include "tests/engine/rollout/tiny.h"
#include "tests/check.h"
#include "base/clock.h"
#include "tests/engine/tools/two_tools.h"
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void calls_in_text(void **state)
{
    (void)state;
    static const struct { const char *text; size_t fresh; const char *query; int tool; } cases[] = {
        { "<search>who</search>", 1, "who", TOOL_SEARCH },
        { "<search>who</search>", 20, "who", TOOL_SEARCH },         /* the whole call in one token */
        { "x<python>1+1</python>", 9, "1+1", TOOL_PYTHON },
        { "<search>who</search>.", 2, "who", TOOL_SEARCH },         /* the token continues behind the tag */
        { "<search>who</search>.", 1, NULL, 0 },                    /* the tag was complete before */
        { "<search>who</search", 5, NULL, 0 },
        { "who</search>", 12, NULL, 0 },
        { "</search>", 9, NULL, 0 },
        { "<search></search>", 1, "", TOOL_SEARCH },
        { "<python>a</search>", 1, NULL, 0 },
        { "<python>a<search>b</python>", 1, "a<search>b", TOOL_PYTHON },
        { "<search>a<search>b</search>", 1, "b", TOOL_SEARCH },
        { "</search><search>b</search>", 1, "b", TOOL_SEARCH },
        /* does not occur in a rollout: the first one was a call */
        { "<search>a</search></search>", 1, "a</search>", TOOL_SEARCH },
        { "<search>a</search><python>b</python>", 36, "a", TOOL_SEARCH },   /* two in one token: the first */
        { "", 0, NULL, 0 }, { ">", 1, NULL, 0 }, { "<search>a</ search>", 19, NULL, 0 },
        { "<Search>a</search>", 1, NULL, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct found_call f;
        size_t n = strlen(cases[i].text);
        bool found = tools_find_call(&f, cases[i].text, n, cases[i].fresh);
        CHECK(found == (cases[i].query != NULL), "\"%s\", fresh %zu", cases[i].text, cases[i].fresh);
        if (!found) continue;
        CHECK(f.tool == cases[i].tool && f.end - f.begin == strlen(cases[i].query) &&
                  !memcmp(cases[i].text + f.begin, cases[i].query, f.end - f.begin),
              "\"%s\": query \"%.*s\"", cases[i].text, (int)(f.end - f.begin), cases[i].text + f.begin);
    }
    struct found_call f;                                            /* bytes of any value, not text */
    static const char zero[] = "<search>\0\xff</search>";
    assert_true(tools_find_call(&f, zero, sizeof zero - 1, 1));
    assert_int_equal(f.end - f.begin, 2);
}

static void result_tokens(void **state)
{
    (void)state;
    for (int special = 0; special < 2; special++) {
        struct tokenizer *t = tiny_tokenizer(special);
        struct ids all = { 0 };
        int n = tools_result_ids(t, &all, "abcdef", 6, -1, INT_MAX), tags = n - 6;
        assert_int_equal(n, all.n);
        if (special) assert_int_equal(tags, 5);
        struct str text = { 0 };
        tokenizer_decode(t, &text, all.p, all.n, true);
        assert_string_equal(text.p, " <result>\nabcdef\n</result>");
        for (int max = 0; max < 9; max++)
            for (int room = 0; room < n + 2; room++) {
                struct ids got = { 0 };
                ids_put(&got, 5);                                   /* earlier ids stay */
                int m = tools_result_ids(t, &got, "abcdef", 6, max, room), body = max < 6 ? max : 6;
                assert_int_equal(m, got.n - 1);
                assert_int_equal(got.p[0], 5);
                if (room - tags < body) body = room > tags ? room - tags : 0;
                CHECK(m == (tags + body < room ? tags + body : room), "max %d, room %d: %d tokens", max, room, m);
                if (room >= tags) {
                    text.n = 0;
                    struct str want = { 0 };
                    tokenizer_decode(t, &text, got.p + 1, m, true);
                    str_printf(&want, " <result>\n%.*s\n</result>", body, "abcdef");
                    assert_string_equal(text.p, want.p);
                    str_free(&want);
                }
                ids_free(&got);
            }
        int before = all.n;
        n = tools_result_ids(t, &all, "</result><|end|>", 16, -1, 1000);
        assert_int_equal(n, all.n - before);
        for (int i = before; i < all.n; i++)
            CHECK(all.p[i] != TINY_END && !(special && all.p[i] == tokenizer_id(t, "</result>") && i < all.n - 1),
                  "token %d of a result is %d", i, all.p[i]);
        str_free(&text);
        ids_free(&all);
        tokenizer_free(t);
    }
}

/* The query is the number of milliseconds that the call takes; the result is the caller's scope, the tool and
 * the query. */
static atomic_int ran;
static void timed(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n,
                  struct str *out)
{
    (void)ctx, (void)n;
    usleep((unsigned)atoi(query) * 1000);
    str_printf(out, "%lld %s %s", (long long)who->scope, tool_name(tool), query);
    atomic_fetch_add(&ran, 1);
}

static void ask(struct tool_pool *p, int tag, const char *ms)
{
    char query[16];
    snprintf(query, sizeof query, "%s", ms);
    tools_call(p, tag, (struct tool_caller){ .scope = tag }, tag & 1 ? TOOL_SEARCH : TOOL_PYTHON, query, strlen(query));
    memset(query, 'x', sizeof query);               /* the pool keeps copies */
}

static void every_call_is_answered_once(void **state)
{
    (void)state;
    struct toolbox box = { .run = timed };
    for (int threads = 1; threads <= 4; threads += 3) {
        enum { N = 400 };
        uint8_t seen[N] = { 0 };
        struct tool_done d;
        struct tool_pool *p = tools_make(&box, threads, 30);
        assert_false(tools_next(p, &d, true));      /* nothing outstanding: no waiting */
        for (int i = 0, got = 0; got < N;) {
            for (int k = 0; k < 7 && i < N; k++, i++) ask(p, i, i % 50 ? "0" : "2");
            while (tools_next(p, &d, i == N && got < N)) {
                char want[64];
                snprintf(want, sizeof want, "%d %s %s", d.tag, d.tag & 1 ? "search" : "python", d.tag % 50 ? "0" : "2");
                assert_int_equal(d.status, CALL_OK);
                assert_string_equal(d.text.p, want);
                assert_int_equal(seen[d.tag]++, 0);
                str_free(&d.text);
                got++;
            }
        }
        assert_false(tools_next(p, &d, true));
        assert_int_equal(tools_drain(p, 10), 0);
        tools_free(p);
    }
}

static void late_calls_time_out(void **state)
{
    (void)state;
    struct toolbox box = { .run = timed };
    struct tool_pool *p = tools_make(&box, 2, 0.1);
    struct tool_done d;
    int late = 0, good = 0, before = ran;
    double t = seconds();
    for (int i = 0; i < 12; i++) ask(p, i, i % 2 ? "0" : "250");       /* six hang, on two threads */
    while (tools_next(p, &d, true)) {
        if (d.status == CALL_TIMEOUT) { assert_int_equal(d.tag % 2, 0); assert_int_equal(d.text.n, 0); late++; }
        else { assert_int_equal(d.tag % 2, 1); good++; }
        str_free(&d.text);
    }
    t = seconds() - t;
    assert_int_equal(late, 6);
    assert_int_equal(good, 6);
    CHECK(t < 0.65, "six hanging calls on two threads held the others up for %.3f s", t);
    assert_int_equal(tools_drain(p, 10), 0);        /* no late call runs any more */
    assert_int_equal(ran - before, 6);              /* they were cancelled in their sleep */
    ask(p, 50, "0");                                /* the pool goes on */
    assert_true(tools_next(p, &d, true));
    assert_int_equal(d.tag, 50);
    assert_int_equal(d.status, CALL_OK);
    str_free(&d.text);
    tools_free(p);
}

/* Takes 100 ms and cannot be cancelled. */
static atomic_bool held;
static void holds_on(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n,
                     struct str *out)
{
    (void)ctx, (void)who, (void)tool, (void)n;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    usleep(100000);
    str_puts(out, query);
    atomic_store(&held, true);
}

/* A call that returns after its time is late, even if nobody asked before: results must not depend on when the caller
 * asks. */
static void a_late_call_is_late_whenever_asked_for(void **state)
{
    (void)state;
    struct toolbox box = { .run = holds_on };
    struct tool_pool *p = tools_make(&box, 1, 0.02);
    struct tool_done d;
    ask(p, 4, "late");
    for (int i = 0; i < 500 && !atomic_load(&held); i++) usleep(10000);
    usleep(50000);                                  /* the thread has returned it */
    assert_true(tools_next(p, &d, true));
    CHECK(d.status == CALL_TIMEOUT && !d.text.n && d.ended - d.begun > 0.02, "%s", call_status_name[d.status]);
    str_free(&d.text);
    tools_free(p);
}

static void free_with_calls_outstanding(void **state)
{
    (void)state;
    struct toolbox box = { .run = timed };
    struct tool_pool *p = tools_make(&box, 2, 0.02);
    struct tool_done d;
    for (int i = 0; i < 20; i++) ask(p, i, "60");
    assert_true(tools_next(p, &d, true));
    assert_int_equal(d.status, CALL_TIMEOUT);
    tools_free(p);                                  /* running, late, waiting: the sanitizers find leaks */
    tools_free(NULL);
}

/* "hang" sleeps for ever; "hold" waits until it is opened, and cannot be cancelled; "ask" polls until it is
 * cancelled. */
static atomic_bool opened;
static void hangs(void *ctx, const struct tool_caller *who, int tool, const char *query, size_t n,
                  struct str *out)
{
    (void)ctx, (void)who, (void)tool, (void)n;
    if (!strcmp(query, "hang")) for (;;) pause();
    if (!strcmp(query, "hold")) {
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        while (!atomic_load(&opened)) usleep(1000);
    }
    if (!strcmp(query, "ask")) {
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        while (!tools_cancelled()) usleep(1000);
    }
    if (!strcmp(query, "slow")) usleep(60000);
    if (!strcmp(query, "nearest")) tools_status(CALL_NEAREST);
    str_puts(out, !strcmp(query, "wrong") ? "error: wrong" : query);
}

static void is_done(struct tool_pool *p, const char *query, enum call_status want)
{
    struct tool_done d;
    ask(p, 2, query);                               /* an even tag: python */
    assert_true(tools_next(p, &d, true));
    CHECK(d.status == want && (want == CALL_TIMEOUT) == !d.text.n && d.ended >= d.begun, "\"%s\": %s, %zu bytes", query,
          call_status_name[d.status], d.text.n);
    str_free(&d.text);
}

/* More calls hang than there can be threads; the pool goes on and waits for none of them. */
static void hanging_calls_do_not_block_the_pool(void **state)
{
    (void)state;
    struct toolbox box = { .run = hangs };
    struct tool_pool *p = tools_make(&box, 4, 0.01);
    double t = seconds();
    for (int i = 0; i < 1200; i++) ask(p, i, "hang");
    struct tool_done d;
    int late = 0;
    while (tools_next(p, &d, true)) late += d.status == CALL_TIMEOUT;
    assert_int_equal(late, 1200);
    assert_int_equal(tools_drain(p, 30), 0);
    for (int i = 0; i < 20; i++) is_done(p, "good", CALL_OK);
    is_done(p, "wrong", CALL_FAILED);
    is_done(p, "errors: 3 of 4", CALL_OK);          /* a result that only mentions errors */
    is_done(p, "nearest", CALL_NEAREST);
    is_done(p, "ask", CALL_TIMEOUT);
    assert_int_equal(tools_drain(p, 30), 0);
    for (int i = 0; i < 3; i++) is_done(p, "hold", CALL_TIMEOUT);
    t = seconds();
    assert_int_equal(tools_drain(p, 0.2), 3);
    run_stop = 1;
    assert_int_equal(tools_drain(p, 600), 3);
    run_stop = 0;
    CHECK(seconds() - t < 5, "waited %.1f s for calls that do not end", seconds() - t);
    is_done(p, "good", CALL_OK);
    atomic_store(&opened, true);
    assert_int_equal(tools_drain(p, 30), 0);
    ask(p, 0, "hang");
    usleep(1000);
    tools_free(p);                                  /* one still runs */
}

/* A tool of this process has no timeout, however long a call takes or waits for a thread. */
static void in_process_is_never_late(void **state)
{
    (void)state;
    struct toolbox box = { .run = hangs, .in_process = 1u << TOOL_PYTHON };
    struct tool_pool *p = tools_make(&box, 1, 0.01);
    struct tool_done d;
    for (int i = 0; i < 6; i += 2) ask(p, i, "slow");
    for (int i = 0; i < 3; i++) {
        assert_true(tools_next(p, &d, true));
        assert_int_equal(d.status, CALL_OK);
        str_free(&d.text);
    }
    ask(p, 1, "slow");                              /* an odd tag: search, which has a timeout */
    assert_true(tools_next(p, &d, true));
    assert_int_equal(d.status, CALL_TIMEOUT);
    tools_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_in_text), cmocka_unit_test(result_tokens), cmocka_unit_test(every_call_is_answered_once),
        cmocka_unit_test(late_calls_time_out), cmocka_unit_test(a_late_call_is_late_whenever_asked_for),

        cmocka_unit_test(free_with_calls_outstanding), cmocka_unit_test(hanging_calls_do_not_block_the_pool),
        cmocka_unit_test(in_process_is_never_late),
    };
    return cmocka_run_group_tests_name("tools", tests, NULL, NULL);
}
