/* test_third_tool.c: this program is linked with a table of three tools. The third is declared, called in tags and in
 * turns, run, counted and credited under its own name, though no other file of the program names it. */
#define _GNU_SOURCE     /* nftw */
#include "engine/run/run.h"
#include "engine/train/grade.h"
#include "engine/train/rollout_dump.h"
#include "engine/train/token_kind.h"
#include "tests/engine/train/chat_session.h"
#include "tests/folder.h"
#include "tests/slow.h"

extern tool_function tool_python, tool_search;

static void date(const struct tool_env *env, const struct tool_caller *who, const char *query, size_t n,
                 struct str *out)
{
    (void)env;
    str_puts(out, "day ");
    str_put(out, query, n);
    str_printf(out, " of step %u", (unsigned)who->step);
}

enum { PYTHON, SEARCH, DATE, ROWS };
static struct tool rows[ROWS] = {
    { "python", "<python>", "</python>", "Evaluates.", "code", "The code.", tool_python, true, false, true },
    { "search", "<search>", "</search>", "Searches.", "query", "What to search for.", tool_search, true, true, true },
    { "date", "<date>", "</date>", "Tells the date.", "format", "The format of the date.", date, true, false, true },
};
const struct tool_table tool_table = { rows, ROWS };

static struct config c;

static bool open_as(struct session *s, const char *format, struct err *e)
{
    chatty_set(&c, dir,
               (const char *const[]){ "tools.format", format, "data.train_files", in_dir("set.jsonl"),
                                      "data.system_prompt", "tools", "reward.kind", "exact", "reward.tool_bonus",
                                      "0.25", "rollout.max_len", "3000", "data.max_prompt_length", "2800",
                                      "data.max_response_length", "600", "actor.ppo_max_token_len_per_gpu", "3000",
                                      "rollout.max_num_seqs", "2", "rollout.max_num_batched_tokens", "512", NULL });
    return session_open(s, &c, false, e) && session_open_prompts(s, true, e);
}

/* The script, a token after the other. */
static void given(void *ctx, const struct sequence *seq, int *id)
{
    const struct ids *script = ctx;
    int k = 0;
    for (int i = seq->prompt_len; i < seq->n; i++) k += seq->m[i];
    *id = k < script->n ? script->p[k] : CHATTY_END;
}

/* A rollout of the data set's prompt that generates the text; '|' ends a turn. */
static void recite(struct session *s, struct group *g, const char *text)
{
    struct ids script = { 0 };
    struct rollout_config r = session_sampling(s);
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "|");
        assert_true(tokenizer_encode(s->tok, &script, p, n, false));
        if (p[n]) ids_put(&script, CHATTY_END);
        p += n + (p[n] == '|');
    }
    r.force = given;
    r.force_ctx = &script;
    rollout_set(s->ro, &r);
    group_begin_record(g, s, &s->train, 0, 7, 0, 1);
    struct sequence *seq = &g->traj[0]->seq;
    rollout_run(s->ro, &seq, 1, false, NULL, NULL, NULL);
    assert_int_equal(seq->finish, FINISH_END);
    ids_free(&script);
}

static void is_text(const struct session *s, const struct ids *ids, int from, int to, const char *want)
{
    struct str text = { 0 };
    tokenizer_decode(s->tok, &text, ids->p + from, to - from, true);
    CHECK(strstr(text.p, want), "\"%s\" is not in \"%s\"", want, text.p);
    str_free(&text);
}

static void has(const struct session *s, const struct sequence *seq, const char *want)
{
    is_text(s, &(struct ids){ .p = seq->ids, .n = seq->n }, seq->prompt_len, seq->n, want);
}

static double graded(struct session *s, const char *text)
{
    struct group g;
    recite(s, &g, text);
    trajectory_grade(&g, g.traj[0], s);
    double reward = g.traj[0]->seq.reward;
    group_end(&g, s);
    return reward;
}

#define THINK "<think>a</think>"
#define ANSWER THINK "<answer>\\boxed{2}</answer>"

static void in_tags(void **state)
{
    (void)state;
    struct session s;
    struct group g;
    struct err e;
    struct step_sums z = { 0 };
    struct metrics m = { 0 };
    CHECK(open_as(&s, "tags", &e), "%s", e.text);
    is_text(&s, &s.train.prompt[0], 0, s.train.prompt[0].n,
            " You can also invoke the date tool. Tells the date. Its format is enclosed within <date> </date> and its "
            "result within <result> </result> tags.");
    recite(&s, &g, THINK "<date>iso</date>" ANSWER);
    const struct sequence *seq = &g.traj[0]->seq;
    has(&s, seq, "<date>iso</date> <result>\nday iso of step 7\n</result>" THINK);
    CHECK(seq->calls == 1 && seq->calls_by[DATE] == 1 && !seq->calls_by[PYTHON] && !seq->calls_by[SEARCH] &&
              seq->call[0].tool == DATE && seq->call[0].status == CALL_OK,
          "%d calls, %d of date", seq->calls, seq->calls_by[DATE]);
    assert_int_equal(token_kind(&s, seq, seq->call[0].begin), TOKEN_CALL);
    char *kind = xmalloc((size_t)sequence_response(seq) + 1);
    dump_kinds(kind, &s, seq);
    assert_int_equal(kind[seq->call[0].begin], 'c');
    free(kind);
    for (int k = 0; k < TOOL_KINDS; k++) z.calls_by[k] = seq->calls_by[k];
    step_metrics(&m, &z, 1, 0, false, 1);
    CHECK(metrics_get(&m, "tools/calls/date") == 1 && metrics_get(&m, "tools/calls/python") == 0,
          "tools/calls/date %g", metrics_get(&m, "tools/calls/date"));
    metrics_free(&m);
    group_end(&g, &s);
    session_close(&s);
    config_free(&c);
}

static void in_turns(void **state)
{
    (void)state;
    static const char bad[] = "<tool_call>{\"name\": \"time\", \"arguments\": {\"format\": \"iso\"}}</tool_call>"
                              "<tool_call>{\"name\": \"date\", \"arguments\": {\"query\": \"iso\"}}</tool_call>|";
    struct session s;
    struct group g;
    struct err e;
    CHECK(open_as(&s, "hermes", &e), "%s", e.text);
    is_text(&s, &s.train.prompt[0], 0, s.train.prompt[0].n, "\"name\": \"date\"");
    recite(&s, &g, THINK "<tool_call>{\"name\": \"date\", \"arguments\": {\"format\": \"iso\"}}</tool_call>|" ANSWER);
    const struct sequence *seq = &g.traj[0]->seq;
    has(&s, seq, "day iso of step 7");
    CHECK(seq->calls == 1 && seq->calls_by[DATE] == 1, "%d calls, %d of date", seq->calls, seq->calls_by[DATE]);
    group_end(&g, &s);
    recite(&s, &g, bad);
    seq = &g.traj[0]->seq;
    has(&s, seq, "error: there is no such tool; there are python, search and date");
    has(&s, seq, "error: date needs the argument format, a string");
    assert_int_equal(seq->calls_by[TOOL_NONE], 2);
    group_end(&g, &s);
    session_close(&s);
    config_free(&c);
}

/* The bonus is for all tools that are marked, and the format rules hold for every tool's tags. */
static void credited(void **state)
{
    (void)state;
#define PY "<python>1+1</python>"
#define FIND "<search>x</search>"
#define DAY "<date>iso</date>"
    static const struct { const char *text; bool bonus; double want; } cases[] = {
        { THINK DAY ANSWER, true, 1 },
        { THINK PY FIND ANSWER, true, 1 },
        { THINK PY FIND DAY ANSWER, true, 1.25 },
        { THINK PY FIND ANSWER, false, 1.25 },
        { THINK DAY ANSWER, false, 1 },
        { THINK "<date>" ANSWER, false, -1 },
    };
    struct session s;
    struct err e;
    CHECK(open_as(&s, "tags", &e), "%s", e.text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rows[DATE].bonus = cases[i].bonus;
        CHECK_NEAR(graded(&s, cases[i].text), cases[i].want, 1e-12, "case %zu: %s", i, cases[i].text);
    }
    session_close(&s);
    config_free(&c);
    rows[DATE].bonus = true;
}

static void no_run_function(void **state)
{
    (void)state;
    struct session s;
    struct err e;
    rows[DATE].run = NULL;
    CHECK(!open_as(&s, "tags", &e) && strstr(e.text, "the tool \"date\" has no run function"), "%s", e.text);
    session_close(&s);
    config_free(&c);
    rows[DATE].run = date;
}

static int make_files(void **state)
{
    if (make_dir(state)) return -1;
    chatty_model(dir);
    chatty_write(dir, "set.jsonl", "{\"question\":\"1+1?\",\"answer\":\"2\"}\n");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(in_tags), cmocka_unit_test(in_turns),
                                        cmocka_unit_test(credited), cmocka_unit_test(no_run_function) };
    return cmocka_run_group_tests_name("third_tool", tests, make_files, drop_dir);
}
