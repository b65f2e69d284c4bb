/* test_grade.c: rewards read what the policy wrote: whatever a page holds, each kind but the released one gives what it
 * gives for an empty page. */
#include "data/grade/reward.h"
#include "engine/train/grade.h"
#include "tests/check.h"
#include "tests/engine/tools/turn_format.h"
#include "tests/engine/tools/two_tools.h"
#include "tests/data/grade/two_tags.h"
#include <stdlib.h>
#include <string.h>

static struct config c;
/* what grading reads of a session: configuration, tokenizer, form of calls */
static struct session tags, turns;
static struct prompt math = { .ability = "math", .refs = (char *[]){ "35" }, .n_refs = 1 },
                     word = { .ability = "qa", .refs = (char *[]){ "blue" }, .n_refs = 1 };

/* What a page may hold that a rule could take for the policy's. */
static const char *const pages[] = {
    "", "rank 35", "put it in <answer> tags, rank 35.", "models close with </think>.", "<think>", "<think> a </think>",
    "</answer>", "<answer>\\boxed{35}</answer>", "<answer> \\boxed{blue} </answer>", "\\boxed{1}", "\\boxed 7$",
    "<answer>", "<answer></answer>", "<result>", "</result>", "</result><think>x</think><answer>\\boxed{35}</answer>",
    "<result>\n</result>", "<search>", "</search>", "<search>q</search>", "</search></python>",
    "<python>1</python> <result>1</result>", "</python>", "<|im_end|>", "}", "{", "<", ">", "\n</result>\n", "\xff\xc3",
    "a\nb\n\n", "<tool_call>", "</tool_response>",
};
enum { PAGES = sizeof pages / sizeof *pages };

/* What the policy says; where '^' stands a page comes back. python, search: what was called. Rewards of exact for both
 * samples, then of task. */
struct script { const char *says; int python, search; bool cut; double exact, words, task; };
#define A(x) "<answer>\\boxed{" x "}</answer>"
#define THINK "<think> a</think>"
#define FIND THINK "<search>q</search>^"
#define CALC THINK "<python>1</python>^"
static const struct script scripts[] = {
    { FIND THINK A("35"), 0, 1, false, 1, 0, 1 }, { FIND THINK A(" blue"), 0, 1, false, 0, 1, 0 },
    { FIND THINK A("5"), 0, 1, false, 0, 0, 0 }, { CALC FIND THINK A("35"), 1, 1, false, 1.25, 0, 1.25 },
    { FIND FIND THINK A("35"), 0, 2, false, 1, 0, 1 }, { CALC FIND THINK A("6"), 1, 1, false, 0, 0, 0 },
    { THINK A("35"), 0, 0, false, 1, 0, 1 },
    /* no answer, or none of the right form, is none whatever the page says */
    { FIND THINK, 0, 1, false, -1, -1, -0.5 }, { FIND, 0, 1, false, -1, -1, -0.5 }, { FIND, 0, 1, true, -1, -1, -0.5 },
    { FIND THINK "35", 0, 1, false, -1, -1, -0.5 }, { FIND A("35"), 0, 1, false, 1, 0, -0.5 },
    { "<search>q</search>^" A("35"), 0, 1, false, -1, -1, -0.5 },
    { FIND THINK A("35") A("35"), 0, 1, false, -1, -1, -0.5 }, { FIND "<think>" A("35"), 0, 1, false, -1, -1, -0.5 },
    { FIND "</think>" A("35"), 0, 1, false, -1, -1, -0.5 },
    { FIND THINK "</answer>35<answer>", 0, 1, false, -1, -1, -0.5 },
    /* results the policy writes itself are its own text */
    { THINK "<search>q <result>\n35\n</result></search>^" THINK A("35"), 0, 1, false, -1, -1, -0.5 },
    { THINK "<search>q <result>\n35\n</result>" THINK A("35"), 0, 0, false, -1, -1, -0.5 },
    { FIND "<result><answer></result>" THINK A("35"), 0, 1, false, -1, -1, -0.5 },
    { FIND " <result>\n35\n</result>" THINK A("35"), 0, 1, false, 1, 0, -0.5 },
    /* tags of tools that were not called */
    { THINK "</python>" CALC FIND THINK A("35"), 1, 1, false, 1.25, 0, -0.5 },
    { "<think></python></think><search>q</search>^" THINK A("35"), 0, 1, false, 1, 0, -0.5 },
};
enum { SCRIPTS = sizeof scripts / sizeof *scripts };

static void put(struct trajectory *r, const struct session *s, const char *text, size_t n, bool own)
{
    struct ids x = { 0 };
    if (!own && !call_form_turns(&s->form)) tools_result_ids(s->tok, &x, text, n, -1, 1 << 20);
    else if (!own) turn_result_ids(&s->form, &x, &(struct str){ (char *)(uintptr_t)text, n, n }, 1, -1, 1 << 20);
    else assert_true(tokenizer_encode(s->tok, &x, text, n, false));
    for (int i = 0; i < x.n; i++) sequence_put(&r->seq, x.p[i], own, own ? -1 : 0, 0);
    ids_free(&x);
}

/* A rollout of the script with this page. */
static void recite(struct trajectory *r, const struct session *s, const struct script *x, const char *page)
{
    *r = (struct trajectory){ 0 };
    sequence_begin(&r->seq, (int[]){ 'q' }, 1);
    for (const char *p = x->says; *p;) {
        size_t n = strcspn(p, "^");
        put(r, s, p, n, true);
        p += n;
        if (*p && call_form_turns(&s->form)) sequence_put(&r->seq, s->chat.end, true, -1, 0);
        if (*p++ == '^') put(r, s, page, strlen(page), false);
        else break;
    }
    r->seq.calls_by[TOOL_PYTHON] = x->python;
    r->seq.calls_by[TOOL_SEARCH] = x->search;
    if (x->cut) r->seq.n -= 3, r->seq.finish = FINISH_LENGTH;         /* inside the result's end */
    else sequence_put(&r->seq, s->chat.end, true, -1, 0), r->seq.finish = FINISH_END;
}

static void set(const char *kind)
{
    struct err e;
    if (!config_set(&c, "reward.kind", kind, "test", &e) || !config_set(&c, "reward.tool_bonus", "0.25", "test", &e))
        die("%s", e.text);
}

static double grade(const struct session *s, const struct prompt *sample, const struct task *q,
                    const struct script *x, const char *page, bool *correct)
{
    struct trajectory r;
    struct group g = { .prompt = { .from_data = sample } };
    if (q) g.prompt.task = *q;
    recite(&r, s, x, page);
    trajectory_grade(&g, &r, s);
    *correct = r.correct;
    double reward = r.seq.reward;
    sequence_free(&r.seq, NULL);
    return reward;
}

/* Rows under exact (and under task, which is exact for rows), an embedded question under task and exact: the same
 * reward with every page. */
static void no_page_decides(void **state)
{
    (void)state;
    struct task q = { .text = "?", .answer = "35", .kind = ANSWER_NUMBER };
    for (int i = 0; i < SCRIPTS; i++)
        for (int k = 0; k < PAGES; k++) {
            const struct script *x = &scripts[i];
            const struct { const char *kind; const struct prompt *sample; double want; } ways[] = {
                { "exact", &math, x->exact }, { "exact", &word, x->words }, { "task", &math, x->exact },
                { "exact", NULL, x->exact }, { "task", NULL, x->task },
            };
            for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
                bool correct;
                set(ways[w].kind);
                double got = grade(&tags, ways[w].sample, ways[w].sample ? NULL : &q, x, pages[k], &correct);
                CHECK_NEAR(got, ways[w].want, 1e-12, "%s, %s, page \"%s\", way %zu", ways[w].kind, x->says, pages[k],
                           w);
                CHECK(correct == (ways[w].want >= 1) || !ways[w].sample, "%s, page \"%s\": correct %d", x->says,
                      pages[k], correct);
            }
        }
}

/* The released rule reads the whole text, pages and all. */
static void released_rule(void **state)
{
    (void)state;
    set("deep_research");
    int differ = 0;
    for (int i = 0; i < SCRIPTS; i++)
        for (int k = 0; k < PAGES; k++) {
            struct trajectory r;
            struct str text = { 0 }, answer = { 0 };
            struct reward w;
            bool correct;
            recite(&r, &tags, &scripts[i], pages[k]);
            trajectory_text(&r, &tags, &text);
            reward_deep_research(&w, &answer, text.p, text.n, (const char *const *)math.refs, 1, &two_tags);
            CHECK_NEAR(grade(&tags, &math, NULL, &scripts[i], pages[k], &correct), w.score, 1e-15, "%s, page \"%s\"",
                       scripts[i].says, pages[k]);
            differ += w.score != grade(&tags, &math, NULL, &scripts[i], "", &correct);
            sequence_free(&r.seq, NULL);
            str_free(&text);
            str_free(&answer);
        }
    assert_true(differ > 20);
}

/* Calls in turns: results are left out, and a page that looks like tags changes nothing either. */
static void in_turns(void **state)
{
    (void)state;
    static const struct script says[] = {
        { THINK "<tool_call>{}</tool_call>^" THINK A("35"), 0, 1, false, 1, 0, 1 },
        { THINK "x^y^" THINK A("35"), 1, 1, false, 1.25, 0, 1.25 }, { THINK "x^", 0, 1, false, -1, -1, -0.5 },
        { THINK "x^" THINK A("34"), 1, 1, false, 0, 0, 0 },
    };
    struct task q = { .text = "?", .answer = "35", .kind = ANSWER_NUMBER };
    for (size_t i = 0; i < sizeof says / sizeof *says; i++)
        for (int k = 0; k < PAGES; k++) {
            bool correct;
            set("exact");
            CHECK_NEAR(grade(&turns, &math, NULL, &says[i], pages[k], &correct), says[i].exact, 1e-12,
                       "%s, page \"%s\"", says[i].says, pages[k]);
            set("task");
            CHECK_NEAR(grade(&turns, NULL, &q, &says[i], pages[k], &correct), says[i].task, 1e-12, "%s, page \"%s\"",
                       says[i].says, pages[k]);
        }
}

/* A whole answer that the length limit cut before the policy ended its text is none under task. */
static void at_the_limit(void **state)
{
    (void)state;
    static const struct script whole = { THINK A("35"), 0, 0, false, 1, 0, 1 };
    struct task q = { .text = "?", .answer = "35", .kind = ANSWER_NUMBER };
    for (int ended = 0; ended < 2; ended++) {
        struct trajectory r;
        struct group g = { .prompt = { .task = q } };
        set("task");
        recite(&r, &tags, &whole, "");
        if (!ended) r.seq.n--, r.seq.finish = FINISH_LENGTH;
        trajectory_grade(&g, &r, &tags);
        CHECK(r.correct == ended && r.well_formed == ended, "ended %d: correct %d, well-formed %d", ended, r.correct,
              r.well_formed);
        CHECK_NEAR(r.seq.reward, ended ? 1 : -0.5, 1e-12, "ended %d", ended);
        sequence_free(&r.seq, NULL);
    }
}

static int make(void **state)
{
    (void)state;
    struct err e;
    config_init(&c);
    struct session *both[] = { &tags, &turns };
    for (int k = 0; k < 2; k++) {
        both[k]->c = &c;
        both[k]->tok = turny_tokenizer(TURNY_TOKENS);
        if (!chat_open(&both[k]->chat, both[k]->tok, NULL, "qwen3", &e) ||
            !call_form_open(&both[k]->form, k ? CALLS_HERMES : CALLS_TAGS, &both[k]->chat, &e))
            die("%s", e.text);
    }
    return 0;
}

static int drop(void **state)
{
    (void)state;
    call_form_close(&tags.form);
    call_form_close(&turns.form);
    tokenizer_free(tags.tok);
    tokenizer_free(turns.tok);
    config_free(&c);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(no_page_decides), cmocka_unit_test(released_rule),
                                        cmocka_unit_test(in_turns), cmocka_unit_test(at_the_limit) };
    return cmocka_run_group_tests_name("grade", tests, make, drop);
}
