/* test_rollout_dump.c: what a step leaves of its rollouts: text that is no UTF-8, kinds of tokens in one pass, calls,
 * and lines that read back. */
#define _GNU_SOURCE      /* nftw */
#include "engine/train/rollout_dump.h"
#include "engine/train/token_kind.h"
#include "tests/engine/train/mini.h"
#include "tests/engine/rollout/tiny.h"
#include <jansson.h>

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* What Python's decode("utf-8", "replace") made of the same bytes. */
static void strings(void **state)
{
    (void)state;
    static const struct { const char *in; size_t n; const char *want; } cases[] = {
        { "plain", 5, "plain" }, { "", 0, "" }, { "\"\\\n\t\x01\x7f", 6, "\"\\\n\t\x01\x7f" },
            { "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "\xf0\x9f\x98", 3, "\xef\xbf\xbd" }, { "a\xf0\x9f\x62", 4, "a\xef\xbf\xbd" "b" },
            { "\xe2\x82", 2, "\xef\xbf\xbd" }, { "\xff\xfe", 2, "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xc0\xaf", 2, "\xef\xbf\xbd\xef\xbf\xbd" }, { "\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xf4\x90\x80\x80", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
            { "\xe0\x80\xaf", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\x80\x80", 2, "\xef\xbf\xbd\xef\xbf\xbd" }, { "\xf0\x80\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
            { "\xe2(\xa1", 3, "\xef\xbf\xbd(\xef\xbf\xbd" },
        { "\xf1\x80\x80", 3, "\xef\xbf\xbd" }, { "\xc3\xc3\xa9", 3, "\xef\xbf\xbd\xc3\xa9" },
            { "\xf5\x80", 2, "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xe1\x80\xe2\x82\xac", 5, "\xef\xbf\xbd\xe2\x82\xac" },
    };
    struct str s = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str_clear(&s);
        dump_string(&s, cases[i].in, cases[i].n);
        json_t *o = json_loads(s.p, JSON_DECODE_ANY, NULL);
        CHECK(o && json_string_length(o) == strlen(cases[i].want) && !strcmp(json_string_value(o), cases[i].want),
            "case %zu: %s", i, s.p);
        json_decref(o);
    }
    str_clear(&s);
    dump_string(&s, "x\0y", 3);
    assert_string_equal(s.p, "\"x\\u0000y\"");
    struct rng r = rng_make(5, 0, 0);
    for (int i = 0; i < 3000; i++) {                     /* whatever the bytes: JSON */
        char any[16];
        size_t n = rng_below(&r, 17);
        for (size_t k = 0; k < n; k++) any[k] = (char)(rng_below(&r, 3)
            ? 0x80 + rng_below(&r, 128) : rng_below(&r, 256));
        str_clear(&s);
        dump_string(&s, any, n);
        json_t *o = json_loads(s.p, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        CHECK(o != NULL, "not JSON: %s", s.p);
        json_decref(o);
    }
    str_free(&s);
}

static const char letters[] = { [TOKEN_THINK] = 't', [TOKEN_CALL] = 'c', [TOKEN_ANSWER] = 'a', [TOKEN_TAG] = 'g' };

static void check_kinds(const struct session *s, const struct sequence *seq, int seen[256])
{
    char *kind = xmalloc((size_t)sequence_response(seq) + 1);
    dump_kinds(kind, s, seq);
    assert_int_equal(strlen(kind), sequence_response(seq));
    for (int i = 0; i < sequence_response(seq); i++) {
        char want = seq->m[seq->prompt_len + i] ? letters[token_kind(s, seq, i)] : 'r';
        CHECK(kind[i] == want, "position %d is %c, not %c", i, kind[i], want);
        seen[(unsigned char)kind[i]]++;
    }
    free(kind);
}

/* In one pass what token_kind() says of each position, with tags that are tokens and tags that are text. */
static void kinds(void **state)
{
    (void)state;
    static const char *const texts[] = { ("<think>a<b</think><python>1+1</python> "
                                          "<result>\n2</result><answer>x</answer>"),
                                         "no tag",
                                         "<search>on</search>x<search>o",
                                         "</think>x<think></think>",
                                         "<<think>><</think",
                                         "<tool_call>{}</tool_call>" };
    int seen[256] = { 0 };
    for (int special = 0; special < 2; special++) {
        struct session s = { .tok = tiny_tokenizer(special) };
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
            struct ids ids = { 0 };
            struct sequence seq = { 0 };
            int prompt[2] = { 65, 66 };
            assert_true(tokenizer_encode(s.tok, &ids, texts[k], strlen(texts[k]), true));
            sequence_begin(&seq, prompt, 2);
            for (int i = 0; i < ids.n; i++) sequence_put(&seq, ids.p[i], i % 5 != 4, -1, 1);
            check_kinds(&s, &seq, seen);
            sequence_free(&seq, NULL);
            ids_free(&ids);
        }
        tokenizer_free(s.tok);
    }
    CHECK(seen['t'] && seen['c'] && seen['a'] && seen['g'] && seen['r'], "a kind that never came up");
}

/* Two steps of a random policy: every line reads back, with vectors of the right length, calls with what they asked,
 * and text. */
static void lines(void **state)
{
    (void)state;
    struct mini x;
    struct err e;
    struct metrics m = { 0 };
    int calls = 0, rows = 0, branches = 0;
    mini_open(&x, KEYS("data.train_batch_size", "4", "actor.ppo_mini_batch_size", "2", "rollout.n", "6",
        "rollout.initial_rollouts", "3", "branch.points", "1",
        "data.max_response_length", "40", "rollout.max_len", "104", "actor.live_rows_only", "false",
            "actor.entropy_coeff", "0.1", "actor.use_kl_loss", "true", "actor.kl_loss_coef", "0.1",
        "trainer.rollout_data_prompts", "3"), NULL, 8);
    for (int step = 0; step < 2; step++) {
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);
        CHECK(trainer_step(&x.t, &m, f, &e), "%s", e.text);
        fclose(f);
        for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n")) {
            json_t *o = json_loads(p, JSON_ALLOW_NUL, NULL), *at;
            CHECK(o, "no JSON: %.200s", p);
            size_t all = json_array_size(json_object_get(o, "ids")),
                start = (size_t)json_integer_value(json_object_get(o, "prompt_len")), k;
            bool branch = json_is_true(json_object_get(o, "branch"));
            static const char *const whole[] = { "mask", "logp", "entropy" },
                *const own[] = { "logp_now", "entropy_now", "logp_omega", "omega", "bs", "logp_ref", "advantage",
                "grad", "grad_entropy" };
            for (k = 0; k < 3; k++) assert_int_equal(json_array_size(json_object_get(o, whole[k])), all);
            for (k = 0; k < 9; k++) CHECK(branch ? !json_object_get(o,
                own[k]) : json_array_size(json_object_get(o, own[k])) == all - start, "%s", own[k]);
            assert_int_equal(json_string_length(json_object_get(o, "kind")), all - start);
            assert_true(json_is_string(json_object_get(o, "output")) && json_is_string(json_object_get(o, "finish")));
            assert_int_equal(json_integer_value(json_object_get(o, "step")), step + 1);
            assert_int_equal(json_integer_value(json_object_get(o, "weights")),
                2 * step + json_integer_value(json_object_get(o, "mini_batch")));
            assert_true(json_integer_value(json_object_get(o, "prompt")) < 3 &&
                json_is_integer(json_object_get(o, "row")));
            assert_true(json_number_value(json_object_get(json_object_get(o, "update"), "grad_norm")) > 0);
            json_array_foreach(json_object_get(o, "calls"), k, at) {
                size_t from = (size_t)json_integer_value(json_object_get(at, "start")),
                    to = (size_t)json_integer_value(json_object_get(at, "end"));
                assert_true(from < to && to <= all - start);
                assert_true(json_is_string(json_object_get(at, "query")) &&
                    json_is_string(json_object_get(at, "status")) && json_is_number(json_object_get(at, "ms")));
                calls++;
            }
            rows++;
            branches += branch;
            json_decref(o);
        }
        free(text);
    }
    CHECK(rows == 2 * 3 * 6 && branches == 2 * 3 * 3, "%d rollouts, %d branches, %d calls", rows, branches, calls);
    metrics_free(&m);
    mini_close(&x);
}

/* The query of a call is what stands between its tags, wherever the tokens are cut. */
static void queries(void **state)
{
    (void)state;
    struct mini x;
    struct group g[2];
    struct step_sums z = { 0 };
    struct update_batch update_batch;
    struct loss_stats stats = { 0 };
    mini_open(&x, KEYS("data.train_batch_size", "2", "actor.ppo_mini_batch_size", "2", "rollout.n", "6",
        "rollout.initial_rollouts", "3", "branch.points", "1",
        "data.max_response_length", "60", "rollout.max_len", "124"), NULL, 8);
    x.script.calls = 150;
    mini_sample(&x, g, 2, 0);
    mini_branch(&x, g, 2, false, &z);
    update_batch_make(&update_batch, g, 2, &x.c);
    char *text = NULL;
    size_t n = 0;
    int calls = 0;
    FILE *f = open_memstream(&text, &n);
    dump_update(f, &x.t, g, 2, &update_batch, &(struct dump_info){ 0, &stats, (double)NAN });
    fclose(f);
    for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n")) {
        json_t *o = json_loads(p, JSON_ALLOW_NUL, NULL), *at;
        size_t k;
        assert_non_null(o);
        json_array_foreach(json_object_get(o, "calls"), k, at) {
            const char *q = json_string_value(json_object_get(at, "query")),
                *status = json_string_value(json_object_get(at, "status"));
            if (strcmp(json_string_value(json_object_get(at, "tool")), "python")) continue;
            CHECK(!strcmp(q, "7"), "query %s", q);
            CHECK(!strcmp(status, json_is_true(json_object_get(at, "over_limit")) ? "refused" : "ok"), "status %s",
                status);
            calls++;
        }
        assert_true(json_is_null(json_object_get(json_object_get(o, "update"), "grad_norm")));
        json_decref(o);
    }
    CHECK(calls > 10, "%d calls", calls);
    free(text);
    update_batch_free(&update_batch);
    mini_end(&x, g, 2);
    mini_close(&x);
}

/* One line's fields against its row: texts, numbers, and where calls stand by the tokens of their tags. */
static void check_fields(const struct mini *x, const struct group *g, const struct trajectory *r, const json_t *o,
                         int *ends)
{
    static const char *const gts[] = { "Anna", "A. \"Clyne\"", "" };
    const struct sequence *seq = &r->seq;
    const json_t *want = json_object_get(o, "gts"), *one;
    size_t k;
    if (g->number == 6) {
        assert_int_equal(json_array_size(want), 3);
        for (k = 0; k < 3; k++) assert_string_equal(json_string_value(json_array_get(want, k)), gts[k]);
        assert_string_equal(json_string_value(json_object_get(o, "data_source")), "set");
    } else {
        assert_string_equal(json_string_value(want), g->prompt.task.answer);
        assert_string_equal(json_string_value(json_object_get(o, "input")), g->prompt.task.text);
    }
    CHECK_NEAR(json_number_value(json_object_get(o, "score")), seq->reward, 1e-12, "score");
    assert_int_equal(json_is_true(json_object_get(o, "acc")), r->correct);
    assert_int_equal(json_integer_value(json_object_get(o, "prompt")), g->number);
    assert_int_equal(json_integer_value(json_object_get(o, "row")), g->index);
    assert_int_equal(json_integer_value(json_object_get(o, "rollout")), seq->rollout);
    bool end = seq->ids[seq->n - 1] == x->script.end;
    assert_string_equal(json_string_value(json_object_get(o, "finish")), end ? "end" : "length");
    *ends += end;
    int open = 0, close = 0;
    for (int i = seq->prompt_len; i < seq->n; i++) open += seq->m[i] && seq->ids[i] == x->script.open;
    json_array_foreach((json_t *)json_object_get(o, "calls"), k, one) {
        int from = (int)json_integer_value(json_object_get(one, "start")),
            to = (int)json_integer_value(json_object_get(one, "end"));
        CHECK(seq->ids[seq->prompt_len + to - 1] == x->script.close, "call %zu ends elsewhere", k);
        CHECK(seq->ids[seq->prompt_len + from - 1] == x->script.open, "call %zu begins elsewhere", k);
        close++;
    }
    CHECK(open == close || open == close + 1, "%d calls of %d", close, open);
    assert_int_equal(json_is_true(json_object_get(o, "branch")), r->branch);
    if (!r->branch) { assert_true(json_is_null(json_object_get(o, "parent"))); return; }
    assert_int_equal(json_integer_value(json_object_get(o, "parent")), g->traj[r->orig]->seq.rollout);
    assert_int_equal(json_integer_value(json_object_get(o, "branch_index")), seq->born - seq->prompt_len);
}

static void fields(void **state)
{
    (void)state;
    struct mini x;
    struct group g[2];
    struct step_sums z = { 0 };
    struct update_batch update_batch;
    struct loss_stats stats = { 0 };
    char *refs[] = { (char[]){ "Anna" }, (char[]){ "A. \"Clyne\"" }, (char[]){ "" } };
    struct prompt sample = { .data_source = (char[]){ "set" }, .user = "who?", .refs = refs, .n_refs = 3 };
    mini_open(&x, KEYS("data.train_batch_size", "2", "actor.ppo_mini_batch_size", "2", "rollout.n", "6",
        "rollout.initial_rollouts", "3", "branch.points", "1",
        "data.max_response_length", "60", "rollout.max_len", "124"), NULL, 8);
    x.script.calls = 100;
    mini_sample(&x, g, 2, 0);
    mini_branch(&x, g, 2, false, &z);
    int ends = 0, lines = 0;
    for (int i = 0; i < 2; i++) {
        g[i].number = 5 + (uint32_t)i, g[i].index = 70 + i;
        for (int j = 0; j < 6; j++) g[i].traj[j]->correct = j % 2, g[i].traj[j]->well_formed = j % 3 > 0;
    }
    g[1].prompt.from_data = &sample;
    update_batch_make(&update_batch, g, 2, &x.c);
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    x.c.trainer.rollout_data_prompts = -1;
    dump_update(f, &x.t, g, 2, &update_batch, &(struct dump_info){ 0, &stats, 1 });
    fclose(f);
    for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n"), lines++) {
        json_t *o = json_loads(p, JSON_ALLOW_NUL, NULL);
        assert_true(o && lines < 12);
        check_fields(&x, &g[lines / 6], g[lines / 6].traj[lines % 6], o, &ends);
        json_decref(o);
    }
    CHECK(lines == 12 && ends > 0 && ends < 12, "%d lines, %d ends", lines, ends);
    g[1].prompt.from_data = NULL;
    free(text);
    update_batch_free(&update_batch);
    mini_end(&x, g, 2);
    mini_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(strings), cmocka_unit_test(kinds), cmocka_unit_test(lines),
        cmocka_unit_test(queries), cmocka_unit_test(fields) };
    return cmocka_run_group_tests_name("dump", tests, NULL, NULL);
}
