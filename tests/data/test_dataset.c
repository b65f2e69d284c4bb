/* test_dataset.c: records in verl's and the public benchmarks' layouts as JSON lines, gzip and Parquet; bad records,
 * named by number; the order of an epoch. */
#include "base/file.h"
#include "data/dataset.h"
#include "data/grade/reward.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/data/grade/two_tags.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static char path[64];

static void write_file(const char *name, const void *bytes, size_t n)
{
    struct err e;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK(file_write(path, bytes, n, &e), "%s", e.text);
}

static const char good[] =
    "\xEF\xBB\xBF{\"data_source\":\"mix\",\"prompt\":[{\"content\":\"be good\",\"role\":\"system\"},"
    "{\"content\":\"early\",\"role\":\"user\"},"
    "{\"content\":\"x\",\"role\":\"assistant\"},{\"content\":\"what is \\\"it\\\"? \\u00e9\\n\",\"role\":\"user\"}],"
    "\"ability\":\"math\","
    "\"reward_model\":{\"ground_truth\":\"3\\\\sqrt{3}\",\"style\":\"rule\"},\"extra_info\":{\"index\":41,"
    "\"split\":\"train\"},\"metadata\":null}\n"
    "\n"
    "{\"prompt\":\"plain\",\"ability\":null,\"reward_model\":{\"ground_truth\":[\"a\",\"b\",7]}}\r\n"
    "{\"question\":\"who?\",\"answer\":[\"Anna\"]}\n"
    "  \t \r\n"
    "{\"problem\":\"sum\",\"answer\":237,\"id\":\"21\"}\n"
    "{\"question\":\"real\",\"answer\":0.1}\n"
    "{\"question\":\"gsm\",\"answer\":\"first 1\\nthen 2\\n#### 1,072\"}";      /* no newline at the end */

static void check_good(const struct dataset *d, const char *source)
{
    assert_int_equal(d->n, 6);
    assert_string_equal(d->prompt[0].data_source, "mix");
    assert_string_equal(d->prompt[0].system, "be good");
    assert_string_equal(d->prompt[0].user, "what is \"it\"? \xc3\xa9\n");
    assert_string_equal(d->prompt[0].ability, "math");
    assert_string_equal(d->prompt[0].ground_truth, "3\\sqrt{3}");
    assert_int_equal(d->prompt[0].index, 41);
    assert_string_equal(d->prompt[1].data_source, source);
    assert_string_equal(d->prompt[1].user, "plain");
    assert_null(d->prompt[1].system);
    assert_null(d->prompt[1].ability);
    assert_int_equal(d->prompt[1].n_refs, 3);
    assert_string_equal(d->prompt[1].ground_truth, "a");
    assert_string_equal(d->prompt[1].refs[2], "7");
    assert_int_equal(d->prompt[1].index, 1);
    assert_string_equal(d->prompt[2].ground_truth, "Anna");
    assert_string_equal(d->prompt[3].user, "sum");
    assert_string_equal(d->prompt[3].ground_truth, "237");
    assert_string_equal(d->prompt[4].ground_truth, "0.1");
    assert_string_equal(d->prompt[5].ground_truth, "1072");
}

static void layouts(void **state)
{
    (void)state;
    struct err e;
    struct dataset d = { 0 };
    write_file("bench.jsonl", good, sizeof good - 1);
    CHECK(dataset_load(&d, path, NULL, &e), "%s", e.text);
    check_good(&d, "bench");
    CHECK(dataset_load(&d, path, NULL, &e), "%s", e.text);                  /* appends */
    assert_int_equal(d.n, 12);
    CHECK(strstr(d.note.p, "bench.jsonl: 1 of 6 answers end as GSM8K's"), "%s", d.note.p);
    assert_int_equal(d.prompt[7].index, 1);
    dataset_free(&d);
    snprintf(path, sizeof path, "%s/zip.jsonl.gz", dir);
    gzFile g = gzopen(path, "wb");
    gzwrite(g, good, sizeof good - 1);
    gzclose(g);
    CHECK(dataset_load(&d, path, NULL, &e), "%s", e.text);
    check_good(&d, "zip");
    dataset_free(&d);
    write_file("fr\xe9.jsonl", good, sizeof good - 1);         /* metrics and state.json need names that are text */
    CHECK(dataset_load(&d, path, NULL, &e), "%s", e.text);
    check_good(&d, "fr?");
    dataset_free(&d);
    static const char other[] = "{\"text\":\"mine\",\"prompt\":\"not mine\",\"answer\":\"1\"}";
    write_file("other", other, sizeof other - 1);
    CHECK(dataset_load(&d, path, "text", &e), "%s", e.text);
    assert_string_equal(d.prompt[0].user, "mine");
    dataset_free(&d);
}

static void same_prompt(const struct prompt *a, const struct prompt *b, int k)
{
    #define SAME(x) CHECK(a->x && b->x ? !strcmp(a->x, b->x) : a->x == b->x, "record %d: \"%s\" and \"%s\"", k, \
                          a->x ? a->x : "none", b->x ? b->x : "none")
    SAME(data_source);
    SAME(system);
    SAME(user);
    SAME(ability);
    SAME(ground_truth);
    CHECK(a->index == b->index && a->n_refs == b->n_refs, "row %d", k);
    for (int r = 0; r < a->n_refs; r++) SAME(refs[r]);
}

static int same_dataset(const char *one, const char *other, const char *prompt_key)
{
    struct err e;
    struct dataset a = { 0 }, b = { 0 };
    CHECK(dataset_load(&a, one, prompt_key, &e) && dataset_load(&b, other, prompt_key, &e), "%s", e.text);
    assert_int_equal(a.n, b.n);
    for (int k = 0; k < a.n; k++) same_prompt(&a.prompt[k], &b.prompt[k], k);
    int n = a.n;
    dataset_free(&a);
    dataset_free(&b);
    return n;
}

static void parquet(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int rows;
    } files[] = { { "verl_pandas", 60 }, { "verl_v2", 90 }, { "question", 30 }, { "messages", 20 } };
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        char a[96], b[96];
        snprintf(a, sizeof a, "tests/data/parquet/%s.parquet", files[k].name);
        snprintf(b, sizeof b, "tests/data/parquet/%s.jsonl", files[k].name);
        assert_int_equal(same_dataset(a, b, k == 0 ? "prompt" : NULL), files[k].rows);
    }
    struct err e;
    struct dataset d = { 0 };
    CHECK(dataset_load(&d, "tests/data/parquet/verl_v2.parquet", NULL, &e), "%s", e.text);
    const struct prompt *s = &d.prompt[44];                                    /* in the second row group */
    assert_string_equal(s->data_source, "MATH \xe2\x84\x95");
    assert_string_equal(s->system, "Think, then answer in <answer>.");
    assert_string_equal(s->user, "What is 44 + 1936? \xc3\xa9 \xf0\x9d\x95\x8f\nwhy why why why ");
    assert_string_equal(s->ability, "math");
    assert_string_equal(s->ground_truth, "1980");
    assert_int_equal(s->index, 44);
    assert_null(d.prompt[45].system);
    assert_null(d.prompt[45].ability);
    dataset_free(&d);
    CHECK(dataset_load(&d, "tests/data/parquet/question.parquet", NULL, &e), "%s", e.text);
    assert_string_equal(d.prompt[7].data_source, "question");
    assert_int_equal(d.prompt[7].n_refs, 2);
    assert_int_equal(d.prompt[7].index, 7);
    dataset_free(&d);
    assert_false(dataset_load(&d, "tests/data/parquet/types_plain.parquet", "text", &e));
    CHECK(strstr(e.text, "types_plain.parquet: row 0: no answer: one of reward_model.ground_truth, \"answer\""), "%s",
          e.text);
    assert_false(dataset_load(&d, "tests/data/parquet/nested.parquet", NULL, &e));
    CHECK(strstr(e.text, "nested.parquet: row 0: no prompt: one of \"prompt\""), "%s", e.text);
    assert_int_equal(d.n, 0);
    dataset_free(&d);
}

/* Answers of every type that Parquet has for them; columns of unsupported types are no error while nobody reads them.
 * */
static void parquet_answers(void **state)
{
    (void)state;
    static const struct { const char *column, *want, *second; } cases[] = {
        { "half", "0.1", "-65504" }, { "single", "0.1", "16777216" }, { "double", "7", "0.5" },
        { "big", "18446744073709551615", "9223372036854775808" }, { "flag", "true", "false" },
        { "money", "1.5", "-0.02" }, { "day", "2024-02-29", "1599-12-31" }, { "category", "x", "y" },
        { "list", "1|2", "3" }, { "struct", "a|b", "c" }, { "struct.target", "a|b", "c" }, { "two.b", "2", "2" },
        { "bytes", NULL, "row 1: answer 0 in \"bytes\" is a text that is not UTF-8" },
        { "mixed", NULL, "row 0: answer 1 in \"mixed\" is null" },
        { "two", NULL,
          "row 0: the answer \"two\" is an object with a, b: name its member with data.answer_key=" },
        { "label", NULL, "column \"label\" is a TIME, which cannot be read; write it as text or as a number" },
        { "solution", NULL, "column \"solution\" is a TIMESTAMP" },
        { "nothing", NULL, "row 0: no column \"nothing\", which data.answer_key names, or it is null here" },
        { NULL, NULL, "row 0: no answer: one of" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dataset d = { 0 };
        struct err e = { 0 };
        struct str got[2] = { { 0 } };
        bool ok = dataset_load_keys(&d, "tests/data/parquet/answers.parquet",
                                    &(struct dataset_keys){ .answer = cases[i].column }, &e);
        for (int k = 0; ok && k < 2; k++)
            for (int r = 0; r < d.prompt[k].n_refs; r++) str_printf(&got[k], "%s%s", r ? "|" : "", d.prompt[k].refs[r]);
        CHECK(ok == (cases[i].want != NULL), "%s: %s", cases[i].column, e.text);
        CHECK(ok ? !strcmp(got[0].p, cases[i].want) && !strcmp(got[1].p, cases[i].second)
                 : strstr(e.text, cases[i].second) != NULL,
              "%s: %s, %s", cases[i].column, ok ? got[0].p : e.text, ok ? got[1].p : "");
        for (int k = 0; k < 2; k++) str_free(&got[k]);
        dataset_free(&d);
    }
}

static void released_twins(void **state)
{
    (void)state;
    if (!file_exists("../shared/data/train_10k.parquet")) {
        print_message("skipped: ../shared/data/train_10k.parquet and its twin are not here\n");
        skip();
    }
    assert_int_equal(same_dataset("../shared/data/train_10k.parquet", "../shared/data/train_10k.jsonl.gz", NULL),
                     10000);
    assert_int_equal(same_dataset("../shared/data/valid.parquet", "../shared/data/valid.jsonl.gz", NULL), 180);
}

static void chosen_names(void **state)
{
    (void)state;
    struct err e;
    struct dataset d = { 0 };
    struct dataset_keys key = { .prompt = "extra_info.split",
                                .answer = "extra_info.index",
                                .source = "reward_model.style" };
    static const char *const paths[] = { "tests/data/parquet/verl_v2.parquet", "tests/data/parquet/verl_v2.jsonl" };
    for (int k = 0; k < 2; k++) {
        CHECK(dataset_load_keys(&d, paths[k], &key, &e), "%s", e.text);
        assert_string_equal(d.prompt[31].user, "train");
        assert_string_equal(d.prompt[31].ground_truth, "31");
        assert_string_equal(d.prompt[31].data_source, "rule");
        dataset_free(&d);
    }
    key = (struct dataset_keys){ .answer = "solution" };
    assert_false(dataset_load_keys(&d, paths[0], &key, &e));
    CHECK(strstr(e.text, "verl_v2.parquet: row 0: no column \"solution\", which data.answer_key names"), "%s", e.text);
    assert_false(dataset_load_keys(&d, paths[1], &key, &e));
    CHECK(strstr(e.text, "verl_v2.jsonl:1: no column \"solution\", which data.answer_key names"), "%s", e.text);
    dataset_free(&d);
    /* nulls count as absent; the assistant's last message is the answer */
    static const char conversation[] =
        "{\"prompt\":null,\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":null,"
        "\"tool_calls\":[]},"
        "{\"role\":\"tool\",\"content\":\"t\"},{\"role\":\"assistant\",\"content\":\"a\"}],\"answer\":null}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"}],"
        "\"answer\":\"b\"}\n"
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"u\"}]}\n";
    write_file("conversation.jsonl", conversation, sizeof conversation - 1);
    assert_false(dataset_load_keys(&d, path, &(struct dataset_keys){ 0 }, &e));
    CHECK(strstr(e.text, "conversation.jsonl:3: no answer: one of"), "%s", e.text);
    assert_int_equal(d.n, 2);
    assert_string_equal(d.prompt[0].ground_truth, "a");
    assert_string_equal(d.prompt[1].ground_truth, "b");
    dataset_free(&d);
    static const char dotted[] = "{\"a.b\":\"dotted\",\"question\":\"q\",\"answer\":1}";
    write_file("dotted.jsonl", dotted, sizeof dotted - 1);
    CHECK(dataset_load_keys(&d, path, &(struct dataset_keys){ .source = "a.b" }, &e), "%s", e.text);
    assert_string_equal(d.prompt[0].data_source, "dotted");
    dataset_free(&d);
}

/* A given column name is never replaced by a guess, whatever the record has. */
static void given_names(void **state)
{
    (void)state;
    static const char row[] = "{\"question\":\"WRONG\",\"my_prompt\":\"right\",\"answer\":\"1\",\"data_source\":\"d\","
                              "\"extra_info\":{\"kind\":\"k\",\"q\":null}}\n";
    static const struct { struct dataset_keys key; const char *says; } cases[] = {
        { { .prompt = "my_promt" },
          ":1: no column \"my_promt\", which data.prompt_key names, or it is null here; there are question, my_prompt, "
          "answer, data_source, "
                                    "extra_info, extra_info.kind, extra_info.q. Did you mean my_prompt?" },
        { { .prompt = "prompt" }, "no column \"prompt\", which data.prompt_key names" },
        { { .answer = "anwser" },
          "no column \"anwser\", which data.answer_key names, or it is null here; there are question, my_prompt, "
          "answer, data_source, extra_info, "
                                  "extra_info.kind, extra_info.q. Did you mean answer?" },
        { { .source = "nosuch" }, "no column \"nosuch\", which data.source_key names" },
        { { .source = "extra_info.kid" }, "Did you mean extra_info.kind?" },
        { { .source = "extra_info.kind.more" }, "which data.source_key names" },
        { { .prompt = "extra_info.q" }, "or it is null here" },
        { { .source = "extra_info" }, "\"extra_info\" must be a text, it is an object with kind, q" },
    };
    struct err e;
    write_file("typo.jsonl", row, sizeof row - 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dataset d = { 0 };
        CHECK(!dataset_load_keys(&d, path, &cases[i].key, &e), "case %zu is accepted", i);
        CHECK(strstr(e.text, "typo.jsonl") && strstr(e.text, cases[i].says), "case %zu says %s", i, e.text);
        dataset_free(&d);
    }
    struct dataset d = { 0 };
    CHECK(dataset_load_keys(&d, path, &(struct dataset_keys){ .prompt = "my_prompt", .source = "extra_info.kind" }, &e),
          "%s", e.text);
    assert_string_equal(d.prompt[0].user, "right");
    assert_string_equal(d.prompt[0].data_source, "k");
    dataset_free(&d);
    assert_false(
        dataset_load_keys(&d, "tests/data/parquet/verl_v2.parquet", &(struct dataset_keys){ .prompt = "promt" }, &e));
    CHECK(strstr(e.text, "row 0: no column \"promt\"") && strstr(e.text, "Did you mean prompt?"), "%s", e.text);
    dataset_free(&d);
}

/* Names of up to three levels are shown, deeper ones not. */
static void deep_names(void **state)
{
    (void)state;
    static const char row[] = "{\"a\":{\"b\":{\"question\":{\"zz\":1}}},\"l\":[{\"x\":1}],\"answer\":1}";
    struct dataset d = { 0 };
    struct err e;
    write_file("deep.jsonl", row, sizeof row - 1);
    assert_false(dataset_load_keys(&d, path, &(struct dataset_keys){ .prompt = "a.b.questoin" }, &e));
    CHECK(strstr(e.text, "there are a, a.b, a.b.question, l, answer. Did you mean a.b.question?"), "%s", e.text);
    dataset_free(&d);
}

/* References of each layout, joined by '|'; or, after a '!', the error message. */
static const struct { const char *members, *want; bool math; } answers[] = {
    { "\"reward_model\":{\"style\":\"rule\",\"ground_truth\":{\"target\":[\"A. Writer\",\"B. Writer\"]}},"
      "\"answer\":\"not this\"",
      "A. Writer|B. Writer", false },
    { "\"reward_model\":{\"ground_truth\":{\"target\":\"one\",\"pad\":null}}", "one", false },
    { "\"golden_answers\":[\"x\",\"y\"]", "x|y", false },
    /* verl's text is taken unchanged */
    { "\"reward_model\":{\"ground_truth\":\"a \\\\boxed{b}\"}", "a \\boxed{b}", false },
    { "\"label\":\"42\"", "42", true }, { "\"label\":42", "42", true }, { "\"label\":false", "false", false },
    { "\"answer\":true", "true", false }, { "\"solution\":\"$\\\\frac{1}{2}$\"", "$\\frac{1}{2}$", false },
    { "\"solution\":\"so \\\\boxed{3}\\nand \\\\boxed{\\\\frac{1}{2}}.\"", "\\frac{1}{2}", true },
    { "\"solution\":\"first\\nthen\"", "!\"solution\" has several lines and no \\boxed{}", false },
    { "\"solution\":\"worked\\n\",\"answer\":\"7\"", "7", true }, { "\"answer\":\"one two\\n#### 7\"", "7", true },
    { "\"answer\":\"in a line #### 1,234,567.50 \"", "1234567.50", true },
    { "\"answer\":\"#### -1,000\"", "-1000", true }, { "\"answer\":\"#### $12,000\"", "$12000", true },
    { "\"answer\":\"#### 1\\n#### 2\"", "2", true }, { "\"answer\":\"a #### Rome, Italy\"", "Rome, Italy", false },
    { "\"answer\":\"#### (1,2)\"", "(1,2)", false }, { "\"answer\":\"#### 1,2\"", "1,2", false },
    { "\"answer\":\"1,072\"", "1,072", true }, { "\"answer\":\"#### Head\\ntext\"", "#### Head\ntext", false },
    { "\"answer\":\"text ####\"", "text ####", false }, { "\"answer\":\"##### 5\"", "##### 5", false },
    { "\"answer\":[7,0.1,\"x\",true,5.0,-2.50]", "7|0.1|x|true|5|-2.5", false },
    { "\"answer\":[7,2.0]", "7|2", true }, { "\"answer\":1e3", "1000", true },
    { "\"answer\":12345678901234567890123", "12345678901234567890123", true },
    { "\"answer\":[-9223372036854775809,1]", "-9223372036854775809|1", true },
    { "\"answer\":18446744073709551615", "18446744073709551615", true },
    { "\"answer\":9223372036854775807", "9223372036854775807", true },
    { "\"answer\":\"7\",\"ground_truth\":\"7\"", "7", true },
    { "\"answer\":\"x #### 7\",\"ground_truth\":7,\"label\":null", "7", true },
    { "\"answer\":\"7\",\"ground_truth\":\"8\"",
      "!\"answer\" and \"ground_truth\" both hold an answer and differ: choose one with data.answer_key",
      false },
    { "\"golden_answers\":[\"a\"],\"label\":1",
      "!\"golden_answers\" and \"label\" both hold an answer and differ: choose one with data.answer_key", false },
    { "\"answer\":{\"value\":\"x\",\"aliases\":[]}",
      "!the answer \"answer\" is an object with value, aliases: name its member with data.answer_key=",
      false },
    { "\"answer\":{\"target\":[\"a\"],\"other\":1}", "!is an object with target, other: name its member", false },
    { "\"answer\":{\"target\":[]}", "!is empty", false },
    { "\"answer\":{}", "!is an object: name its member", false },
    { "\"answer\":[[1]]", "!answer 0 in \"answer\" is a list: a text, a number, true, false", false },
    { "\"answer\":[\"a\",NaN]", "!answer 1 in \"answer\" is null", false },
    { "\"answer\":NaN", "!no answer: one of reward_model.ground_truth, \"answer\"", false },
    { "\"answer\":Infinity", "!answer 0 in \"answer\" is Infinity: a text, a number", false },
    { "\"other\":1", "!(data.answer_key names it); there are question, other", false },
    { "\"solution\":\"so $\\\\boxed 42$.\"", "42", true }, { "\"solution\":\"\\\\boxed{1}\\nso \\\\fbox{-3.5}\"",
      "-3.5", true }, { "\"solution\":\"\\\\boxed{42\"", "\\boxed{42", false },
    { "\"answer\":[\"1\",\"one\"]", "1|one", false }, { "\"answer\":[\"1\",2.5]", "1|2.5", true },
    { "\"answer\":\" 12.5% \"", " 12.5% ", true }, { "\"answer\":\".\"", ".", false },
    { "\"golden_answers\":[\"1984\"]", "1984", false },
    { "\"reward_model\":{\"ground_truth\":{\"target\":[\"1984\"]}}", "1984", false },
    { "\"answer\":\"\"", "", false },
    { "\"golden_answers\":\"['a', 'b']\"",
      "!the answer in \"golden_answers\" is a text with a list or an object written out: write it as one", false },
    { "\"answer\":\"[\\\"a\\\"]\"", "!is a text with a list", false },
    { "\"reward_model\":{\"ground_truth\":\"{'target': ['a']}\"}", "!data.answer_key=reward_model.ground_truth",
      false },
    { "\"answer\":\"[1, 2]\"", "[1, 2]", false }, { "\"answer\":\"{1, 2}\"", "{1, 2}", false },
    { "\"answer\":\"'a'\"", "'a'", false }, { "\"answer\":\"[]\"", "[]", false },
    { "\"answer\":\"a\\u0000\"", "!is \\u0000: a text, a number, true", false },
    { "\"answer\":\"\\ud800\"", "!is half a surrogate pair", false }, { "\"answer\":1e999", "1e999", true },
};

static void references(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct dataset d = { 0 };
        struct err e = { 0 };
        struct str row = { 0 }, got = { 0 };
        str_printf(&row, "{\"question\":\"q\",%s}\n", answers[i].members);
        write_file("refs.jsonl", row.p, row.n);
        bool ok = dataset_load(&d, path, NULL, &e);
        str_puts(&got, ok ? "" : "!");
        for (int k = 0; ok && k < d.prompt[0].n_refs; k++) str_printf(&got, "%s%s", k ? "|" : "", d.prompt[0].refs[k]);
        if (!ok) str_puts(&got, e.text);
        CHECK(ok ? !strcmp(got.p, answers[i].want) : *answers[i].want == '!' && strstr(got.p, answers[i].want + 1),
              "%s: %s instead of %s", answers[i].members, got.p, answers[i].want);
        CHECK(ok || strstr(e.text, "refs.jsonl:1: "), "%s", e.text);
        CHECK(!ok || prompt_is_math(&d.prompt[0]) == answers[i].math, "%s: compared as mathematics: %d",
              answers[i].members, !answers[i].math);
        dataset_free(&d);
        str_free(&row);
        str_free(&got);
    }
}

/* A reference that was a number or a boolean is graded as one, for any file name. */
static void graded(void **state)
{
    (void)state;
    static const struct { const char *members, *box; double score; } cases[] = {
        { "\"answer\":7", "7.0", 1 }, { "\"answer\":7.0", "7", 1 }, { "\"answer\":0.5", "\\frac{1}{2}", 1 },
        { "\"answer\":7", "8", 0 }, { "\"answer\":1000", "1,000", 1 }, { "\"answer\":true", "True", 1 },
        { "\"answer\":true", "true", 1 }, { "\"answer\":true", "False", 0 },
        { "\"answer\":false,\"ability\":\"math\"", "false", 1 },
        { "\"answer\":false,\"ability\":\"math\"", "False", 1 }, { "\"answer\":true,\"ability\":\"math\"", "false", 0 },
        { "\"answer\":7.0,\"ability\":\"qa\"", "7", 1 },
        { "\"answer\":12345678901234567890123", "12345678901234567890123", 1 },
        { "\"answer\":12345678901234567890123", "12345678901234567890124", 0 }, { "\"answer\":[1,2]", "2", 1 },
        { "\"answer\":\"x #### 1,072\",\"ability\":\"math\"", "1072", 1 },
        { "\"answer\":\"x #### 1,072\",\"data_source\":\"openai/gsm8k\"", "1,072", 1 },
        { "\"solution\":\"$\\\\frac{3}{4}$\",\"ability\":\"math\"", "0.75", 1 }, { "\"label\":\"42\"", "42", 1 },
        /* a number as a text: word overlap, which ignores signs and points, would accept other numbers */
        { "\"answer\":\"x #### -324\"", "324", 0 }, { "\"answer\":\"x #### 324\"", "324.0", 1 },
        { "\"answer\":\"3.5\"", "35", 0 }, { "\"answer\":\"3.50\"", "\\frac{7}{2}", 1 },
        { "\"solution\":\"so \\\\boxed{\\\\frac12}\"", "0.5", 1 }, { "\"answer\":\"3.5\",\"ability\":\"qa\"", "35", 1 },
        { "\"answer\":\"1,072\"", "1072", 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dataset d = { 0 };
        struct err e;
        struct str row = { 0 }, text = { 0 }, answer = { 0 };
        struct reward r;
        str_printf(&row, "{\"question\":\"q\",%s}", cases[i].members);
        str_printf(&text, "<think>t</think><answer>\\boxed{%s}</answer>", cases[i].box);
        write_file("graded.jsonl", row.p, row.n);
        CHECK(dataset_load(&d, path, NULL, &e), "%s", e.text);
        const struct prompt *s = &d.prompt[0];
        reward_exact(&r, &answer, text.p, text.n, (const char *const *)s->refs, s->n_refs, &two_tags, prompt_is_math(s),
                     0);
        CHECK_NEAR(r.score, cases[i].score, 0, "%s, answered by %s", cases[i].members, cases[i].box);
        dataset_free(&d);
        str_free(&row);
        str_free(&text);
        str_free(&answer);
    }
}

/* Two columns with a prompt, and the choice between them. */
static void prompt_set(void **state)
{
    (void)state;
    static const struct { const char *row, *key, *want; } cases[] = {
        { "{\"prompt\":\"p\",\"question\":\"q\",\"answer\":1}", NULL, "p" },
        { "{\"question\":\"q\",\"problem\":\"q\",\"answer\":1}", NULL, "q" },
        { "{\"problem\":\"q\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","
          "\"content\":\"a\"}],\"answer\":1}",
          NULL, "q" },
        { "{\"question\":\"q\",\"problem\":\"p\",\"answer\":1}", NULL,
          "!\"question\" and \"problem\" both hold a prompt and differ: choose one with data.prompt_key" },
        { "{\"question\":\"q\",\"problem\":\"p\",\"answer\":1}", "problem", "p" },
        { "{\"question\":7,\"answer\":1}", NULL,
          "!\"question\" must be a string or a list of messages, it is a number" },
        { "{\"question\":\"\\u0000\",\"answer\":1}", NULL, "!it is \\u0000" },
        { "{\"question\":\"\\udc00x\",\"answer\":1}", NULL,
          "!it is half a surrogate pair (values of the record that cannot be read: half a surrogate pair at column "
          "13)" },
        { "{\"question\":\"\\ud83d\\ude00\\u00e9\",\"answer\":1}", NULL, "\xf0\x9f\x98\x80\xc3\xa9" },
        { "{\"question\":\" [{'content': 'c', 'role': 'user'}]\",\"answer\":1}", NULL,
          "!\"question\" is a text with a list of messages written out: write it as a list" },
        { "{\"q\":\"[{\\\"role\\\": \\\"user\\\", \\\"content\\\": \\\"c\\\"}]\",\"answer\":1}", "q",
          "!\"q\" is a text with a list of messages written out" },
        { "{\"question\":\"[{a}] what role?\",\"answer\":1}", NULL, "[{a}] what role?" },
        { "{\"question\":\"[{'role'}]\",\"answer\":1}", NULL, "[{'role'}]" },
        { "{\"qu\\u0065stion\":\"escaped\",\"answer\":1}", NULL, "escaped" },
        { "{\"question\":\"q\",\"answer\":1,\"ability\":[]}", NULL, "!\"ability\" must be a text, it is a list" },
        { "{\"question\":\"q\",\"answer\":1,\"data_source\":true}", NULL,
          "!\"data_source\" must be a text, it is true" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dataset d = { 0 };
        struct err e = { 0 };
        write_file("asks.jsonl", cases[i].row, strlen(cases[i].row));
        bool ok = dataset_load(&d, path, cases[i].key, &e);
        CHECK(ok ? !strcmp(d.prompt[0].user, cases[i].want)
                 : *cases[i].want == '!' && strstr(e.text, cases[i].want + 1),
              "%s: %s", cases[i].row, ok ? d.prompt[0].user : e.text);
        dataset_free(&d);
    }
}

/* Records of nulls are left out and counted; a record's number is that in the file. */
static void null_rows(void **state)
{
    (void)state;
    struct dataset d = { 0 };
    struct err e;
    static const char rows[] = "null\n{\"question\":\"a\",\"answer\":1}\n{\"question\":null,\"answer\":null,\"reward_"
                               "model\":{\"ground_truth\":null}}\n{\"question\":\"b\",\"answer\":2}\n";
    write_file("nulls.jsonl", rows, sizeof rows - 1);
    CHECK(dataset_load(&d, path, NULL, &e), "%s", e.text);
    assert_int_equal(d.n, 2);
    assert_int_equal(d.prompt[1].index, 3);
    CHECK(strstr(d.note.p, "nulls.jsonl: 2 rows are null and were left out\n"), "%s", d.note.p);
    dataset_free(&d);
    write_file("nulls.jsonl", "null\nnull\n", 10);
    assert_false(dataset_load(&d, path, NULL, &e));
    CHECK(strstr(e.text, "holds no rows but null ones"), "%s", e.text);
    dataset_free(&d);
    static const char half[] = "{\"question\":null,\"answer\":1}";
    write_file("half.jsonl", half, sizeof half - 1);
    assert_false(dataset_load(&d, path, NULL, &e));
    CHECK(strstr(e.text, "half.jsonl:1: no prompt"), "%s", e.text);
    dataset_free(&d);
}

/* The part of a conversation that is the prompt: no message for the model to read is dropped. */
static void asked(void **state)
{
    (void)state;
#define SAY(role, text) "{\"role\":\"" role "\",\"content\":\"" text "\"}"
#define CALL "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"name\":\"f\",\"arguments\":{}}]}"
    static const struct { const char *line, *last, *answer, *says; int n; } cases[] = {
        { "{\"prompt\":[" SAY("user", "u") "," CALL "," SAY("tool", "r") "],\"answer\":\"x\"}", "r", "x", NULL, 3 },
        { "{\"prompt\":[" SAY("user", "u") "," SAY("system", "s") "],\"answer\":\"x\"}", "s", "x", NULL, 2 },
        { "{\"messages\":[" SAY("user", "u") "," SAY("system", "s") "," SAY("assistant", "a") "]}", "s", "a", NULL, 2 },
        { "{\"messages\":[" SAY("user", "u") "," CALL "," SAY("tool", "r") "," SAY("assistant",
          "a") "],\"answer\":\"x\"}", "u", "x", NULL, 1 },
        { "{\"prompt\":[" SAY("user", "u") "," SAY("assistant", "The answer is") "],\"answer\":\"x\"}", NULL, NULL,
          "\"prompt\" ends with a message of the assistant", 0 },
        { "{\"prompt\":[" SAY("user", "u") "," SAY("assistant", "a") "]}", "u", "a", NULL, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dataset d = { 0 };
        struct err e = { "" };
        write_file("asked.jsonl", cases[i].line, strlen(cases[i].line));
        bool ok = dataset_load(&d, path, NULL, &e);
        CHECK(ok == !cases[i].says && (ok || strstr(e.text, cases[i].says)), "case %zu: %s", i, e.text);
        if (ok) {
            const struct messages *m = &d.prompt[0].messages;
            CHECK(m->n == cases[i].n && !strcmp(m->p[m->n - 1].text, cases[i].last) && !strcmp(d.prompt[0].user, "u"),
                  "case %zu: %d messages, question %s", i, m->n, d.prompt[0].user);
            assert_string_equal(d.prompt[0].ground_truth, cases[i].answer);
        }
        dataset_free(&d);
    }
    struct dataset d = { 0 };
    struct err e;
    static const char tools[] = "{\"question\":\"q\",\"answer\":\"a\",\"tools\":[{\"name\":\"f\"}]}\n{\"question\":"
                                "\"q\",\"answer\":\"a\",\"tools\":[]}\n";
    write_file("asked.jsonl", tools, sizeof tools - 1);
    CHECK(dataset_load(&d, path, NULL, &e) && strstr(d.note.p, "1 of 2 records declare \"tools\""), "%s", d.note.p);
    dataset_free(&d);
}

static void bad_lines(void **state)
{
    (void)state;
    static const struct { const char *line, *says; size_t n; } cases[] = {
        { "{", "bad.jsonl:2: column 2: the row does not end on its line", 0 }, { "[1,2]",
          ":2: a row must be a JSON object", 0 }, { "7", ":2: a row must be", 0 }, { "nonsense", ":2: column", 0 },
        { "{\"question\":\"q\"}", ":2: no answer", 0 },
        { "{\"answer\":\"a\"}", ":2: no prompt: one of \"prompt\"", 0 },
        { "{\"question\":7,\"answer\":\"a\"}", ":2: \"question\" must be a string or a list", 0 },
        { "{\"question\":\"q\",\"answer\":\"a\"} x", ":2: column 31: more text after the row", 0 },
        { "{\"question\":\"\xff\",\"answer\":\"a\"}", ":2: \"question\" must be", 0 },
        { "{\"question\":\"q\0\",\"answer\":\"a\"}", "it is a control character", 30 },
        { "{\"question\":\"q\",\"answer\":\"a\",}", ":2: column 30: a member's name", 0 },
        { "{\"question\":\"q\",\"answer\":01}", ":2: column 26: a value is needed here", 0 },
        { "{\"question\":\"q\",\"answer\":\"\\x\"}", ":2: column", 0 },
        { "{\"question\":\"q\" \"answer\":1}", ":2: column 17: a comma", 0 },
        { "{\"x\":[1,],\"question\":\"q\",\"answer\":1}", ":2: column 9: a value is needed", 0 },
        { "{\"question\":\"q\",", ":2: column 17: the row does not end on its line", 0 },
        { "{\"prompt\":[{\"role\":\"user\"}],\"answer\":\"a\"}", ":2: message 0 of \"prompt\"", 0 },
        { "{\"prompt\":[7],\"answer\":\"a\"}", ":2: message 0", 0 },
        { "{\"prompt\":[{\"role\":\"system\",\"content\":\"s\"}],\"answer\":\"a\"}",
          ":2: \"prompt\" has no message of role \"user\"", 0 },
        { "{\"prompt\":[],\"answer\":\"a\"}", "has no message of role", 0 },
        { "{\"question\":\"q\",\"answer\":\"a\",\"answer\":\"b\"}", ":2: column 39: \"answer\" is there twice", 0 },
    };
    static const char first[] = "{\"question\":\"fine\",\"answer\":\"a\"}\n";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dataset d = { 0 };
        struct err e = { 0 };
        struct str s = { 0 };
        str_puts(&s, first);
        str_put(&s, cases[i].line, cases[i].n ? cases[i].n : strlen(cases[i].line));
        str_puts(&s, "\n");
        str_puts(&s, first);
        write_file("bad.jsonl", s.p, s.n);
        CHECK(!dataset_load(&d, path, NULL, &e), "accepted: %s", cases[i].line);
        CHECK(strstr(e.text, cases[i].says), "\"%s\" does not say \"%s\"", e.text, cases[i].says);
        assert_int_equal(d.n, 1);                                           /* the record before it */
        dataset_free(&d);
        str_free(&s);
    }
}

static void bad_files(void **state)
{
    (void)state;
    struct dataset d = { 0 };
    struct err e;
    assert_false(dataset_load(&d, "/nowhere/x.jsonl", NULL, &e));
    assert_non_null(strstr(e.text, "/nowhere/x.jsonl"));
    assert_false(dataset_load(&d, dir, NULL, &e));
    write_file("empty.jsonl", "", 0);
    assert_false(dataset_load(&d, path, NULL, &e));
    assert_non_null(strstr(e.text, "holds no rows"));
    write_file("blank.jsonl", "\n\n \r\n", 5);
    assert_false(dataset_load(&d, path, NULL, &e));
    size_t n = 200000;                                                      /* deep nesting: an error, not a crash */
    char *deep = xmalloc(n);
    memset(deep, '[', n);
    write_file("deep.jsonl", deep, n);
    assert_false(dataset_load(&d, path, NULL, &e));
    assert_non_null(strstr(e.text, "deep.jsonl: row 0: line 1, column"));
    free(deep);
    n = (16 << 20) + 1;
    char *wide = xmalloc(n);
    memset(wide, '7', n);
    write_file("wide.jsonl", wide, n);
    assert_false(dataset_load(&d, path, NULL, &e));
    assert_non_null(strstr(e.text, "wide.jsonl:1: column 1: more is read of this row than 16 MiB"));
    free(wide);
    write_file("cut.parquet", "PAR1\x15\0\x15", 7);
    assert_false(dataset_load(&d, path, NULL, &e));
    assert_non_null(strstr(e.text, "cut.parquet: does not end as a Parquet file does"));
    write_file("cut.jsonl.gz", "\x1f\x8b\x08\0\0\0\0\0\0\3\xab", 11);
    assert_false(dataset_load(&d, path, NULL, &e));
    assert_int_equal(d.n, 0);
    dataset_free(&d);
}

static void order(void **state)
{
    (void)state;
    enum { N = 1000 };
    int a[N], b[N], moved = 0, same_epoch = 0, seen[N] = { 0 };
    dataset_order(N, 5, 0, a);
    dataset_order(N, 5, 0, b);
    assert_memory_equal(a, b, sizeof a);
    for (int k = 0; k < N; k++) { seen[a[k]]++; moved += a[k] != k; }
    for (int k = 0; k < N; k++) assert_int_equal(seen[k], 1);
    assert_true(moved > N - 20);
    dataset_order(N, 5, 1, b);
    for (int k = 0; k < N; k++) same_epoch += a[k] == b[k];
    assert_true(same_epoch < 20);
    dataset_order(N, 6, 0, b);
    assert_memory_not_equal(a, b, sizeof a);
    /* every order of three is equally frequent */
    int count[6] = { 0 };
    for (uint32_t epoch = 0; epoch < 6000; epoch++) {
        dataset_order(3, 9, epoch, a);
        count[a[0] * 2 + (a[1] > a[2])]++;
    }
    for (int k = 0; k < 6; k++) CHECK_NEAR(count[k], 1000, 130, "order %d", k);     /* 4.5 standard deviations */
    dataset_order(0, 1, 1, a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts),        cmocka_unit_test(parquet),      cmocka_unit_test(parquet_answers),
        cmocka_unit_test(released_twins), cmocka_unit_test(chosen_names), cmocka_unit_test(given_names),
        cmocka_unit_test(deep_names),     cmocka_unit_test(references),   cmocka_unit_test(graded),
        cmocka_unit_test(prompt_set),      cmocka_unit_test(null_rows),    cmocka_unit_test(bad_lines),
        cmocka_unit_test(asked),          cmocka_unit_test(bad_files),    cmocka_unit_test(order)
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
