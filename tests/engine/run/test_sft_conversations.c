/* test_sft_conversations.c: conversations as ids and masks, conversations that are too long or have no target, and
 * training on three of them. */
#define _GNU_SOURCE     /* nftw */
#include "engine/run/sft.h"
#include "engine/session/model_export.h"
#include "data/conversations.h"
#include "model/load.h"
#include "tests/engine/train/chat_session.h"
#include "tests/folder.h"
#include <math.h>

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static struct session s;
static struct config c;

static const char three[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"hi\"},"
    "{\"role\":\"assistant\",\"content\":\"ho\"},"
    "{\"role\":\"tool\",\"content\":\"t\"},{\"role\":\"assistant\",\"content\":\"yes <|im_end|>\"}]}\n"
    "{\"messages\":[{\"role\":\"user\",\"content\":\"7\"},{\"role\":\"assistant\",\"content\":\"a <search> b</search> "
    "<result>\\nc\\n</result> d\"}]}\n"
    "{\"prompt\":\"plain\",\"response\":\"words\"}\n";

/* Text of the marked tokens, with '|' for each stretch of unmarked ones. */
static void marked_text(const struct sft_example *d, struct str *out)
{
    str_clear(out);
    for (int i = 0; i < d->ids.n; i++) {
        if (d->m[i]) tokenizer_decode(s.tok, out, &d->ids.p[i], 1, true);
        else if (!out->n || out->p[out->n - 1] != '|') str_putc(out, '|');
    }
}

static void targets_are_masked(void **state)
{
    (void)state;
    static const char *const want[] = { "|ho<|im_end|>|yes <|im_end|><|im_end|>|",
                                        "|a <search> b</search>| d<|im_end|>|", "|words<|im_end|>|" };
    struct sft_conversations t;
    struct err e;
    struct str text = { 0 };
    chatty_write(dir, "three.jsonl", three);
    mini_set(&c, KEYS("data.train_files", in_dir("three.jsonl")));
    CHECK(sft_conversations_open(&t, &c, &s.form, 4096, &e), "%s", e.text);
    assert_int_equal(t.n, 3);
    int64_t tokens = 0, targets = 0;
    for (int i = 0; i < 3; i++) {
        marked_text(&t.example[i], &text);
        CHECK(!strcmp(text.p, want[i]), "conversation %d: \"%s\" instead of \"%s\"", i, text.p, want[i]);
        tokens += t.example[i].ids.n;
        for (int k = 0; k < t.example[i].ids.n; k++) targets += t.example[i].m[k];
    }
    assert_true(tokens == t.tokens && targets == t.targets);
    sft_conversations_free(&t);
    mini_set(&c, KEYS("sft.mask_results", "false"));
    CHECK(sft_conversations_open(&t, &c, &s.form, 4096, &e), "%s", e.text);
    marked_text(&t.example[1], &text);
    assert_string_equal(text.p, "|a <search> b</search> <result>\nc\n</result> d<|im_end|>|");
    sft_conversations_free(&t);
    mini_set(&c, KEYS("sft.mask_results", "true"));
    str_free(&text);
}

static void too_long(void **state)
{
    (void)state;
    struct sft_conversations t;
    struct err e;
    struct str text = { 0 };
    mini_set(&c, KEYS("data.max_length", "40"));        /* the third has 35 tokens */
    assert_false(sft_conversations_open(&t, &c, &s.form, 4096, &e));
    CHECK(strstr(e.text, "three.jsonl:1: a conversation of") && strstr(e.text, "data.max_length"), "%s", e.text);
    sft_conversations_free(&t);
    mini_set(&c, KEYS("data.truncation", "filter"));
    CHECK(sft_conversations_open(&t, &c, &s.form, 4096, &e), "%s", e.text);
    assert_int_equal(t.n, 1);
    sft_conversations_free(&t);
    CHECK(!sft_conversations_open(&t, &c, &s.form, 20, &e) && strstr(e.text, "no conversation is left"), "%s", e.text);
    sft_conversations_free(&t);
    mini_set(&c, KEYS("data.truncation", "right"));
    CHECK(sft_conversations_open(&t, &c, &s.form, 4096, &e), "%s", e.text);
    for (int i = 0; i < t.n; i++) assert_true(t.example[i].ids.n <= 40);
    assert_int_equal(t.n, 3);
    marked_text(&t.example[1], &text);
    assert_string_equal(text.p, "|a <search> b</search");
    sft_conversations_free(&t);
    mini_set(&c, KEYS("data.truncation", "left"));       /* marks stay with their tokens */
    CHECK(sft_conversations_open(&t, &c, &s.form, 4096, &e), "%s", e.text);
    assert_true(t.n == 3 && t.example[0].ids.n == 40);
    marked_text(&t.example[0], &text);
    assert_string_equal(text.p, "|yes <|im_end|><|im_end|>|");
    sft_conversations_free(&t);
    mini_set(&c, KEYS("data.truncation", "middle"));     /* the first 20 tokens and the last 20 */
    CHECK(sft_conversations_open(&t, &c, &s.form, 4096, &e), "%s", e.text);
    marked_text(&t.example[1], &text);
    assert_string_equal(text.p, "| d<|im_end|>|");
    sft_conversations_free(&t);
    /* no text of an assistant is left */
    mini_set(&c, KEYS("data.max_length", "12", "data.truncation", "right"));
    CHECK(!sft_conversations_open(&t, &c, &s.form, 4096, &e) && strstr(e.text, "no conversation is left"), "%s",
          e.text);
    sft_conversations_free(&t);
    mini_set(&c, KEYS("data.max_length", "0", "data.truncation", "error"));
    str_free(&text);
}

/* Data formats of other programs: the marked text, the number of targets, the note about the file, the whole text. */
#define U(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define A(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"
static const struct { const char *row, *marked; int targets; const char *form, *text; } formats[] = {
    { "{\"prompt\":\"hi\",\"completion\":\"ho\"}", "|ho<|im_end|>|", 3, "prompt + completion",
      "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>\n" },
    { "{\"prompt\":[" U("a") "," A("bb") "," U("c") "],\"completion\":[" A("ddd") "]}", "|ddd<|im_end|>|", 4,
      "prompt + completion",
      "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nbb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n"
      "<|im_start|>assistant\nddd<|im_end|>\n" },
    { "{\"prompt\":[" U("a") "],\"completion\":[" A("b") "," U("c") "," A("d") "]}", "|b<|im_end|>|d<|im_end|>|", 4,
      "prompt + completion", NULL },
    { "{\"prompt\":[" U("a") "," A("bb") "," U("c") "],\"completion\":\"d\",\"system\":\"s\"}", "|d<|im_end|>|", 2,
      "prompt + completion",
      "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nbb<|im_end|>\n"
      "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\nd<|im_end|>\n" },
    { "{\"question\":\"q\",\"answer\":\"a #### 7\"}", "|a #### 7<|im_end|>|", 9, "question + answer", NULL },
    { "{\"conversations\":[{\"from\":\"system\",\"value\":\"s\"},{\"from\":\"human\",\"value\":\"h\"},"
      "{\"from\":\"gpt\",\"value\":\"g1\"},{\"from\":\"observation\",\"value\":\"o\"},"
      "{\"from\":\"gpt\",\"value\":\"g2\"}],\"id\":NaN}", "|g1<|im_end|>|g2<|im_end|>|", 6, "conversations", NULL },
    { "{\"system\":\"be\",\"conversations\":[{\"from\":\"human\",\"value\":\"h\"},{\"from\":\"gpt\","
      "\"value\":\"g\"}],\"tools\":\"\"}",
      "|g<|im_end|>|", 2, "conversations",
      "<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nh<|im_end|>\n<|im_start|>assistant\ng<|im_end|>\n" },
    { "{\"conversations\":[" U("h") "," A("g") "]}", "|g<|im_end|>|", 2, "conversations", NULL },
    { "{\"messages\":[{\"from\":\"user\",\"value\":\"h\"},{\"from\":\"assistant\",\"value\":\"g\"}]}",
      "|g<|im_end|>|", 2, "messages", NULL },
    { "{\"instruction\":\"do\",\"input\":\"it\",\"output\":\"done\"}", "|done<|im_end|>|", 5,
      "instruction + output", "<|im_start|>user\ndo\nit<|im_end|>\n<|im_start|>assistant\ndone<|im_end|>\n" },
    { "{\"instruction\":\"do\",\"input\":\"\",\"output\":\"x\",\"system\":\"s\",\"history\":[[\"q\",\"r\"]]}",
      "|r<|im_end|>|x<|im_end|>|", 4, "instruction + output",
      "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nr<|im_end|>\n"
      "<|im_start|>user\ndo<|im_end|>\n<|im_start|>assistant\nx<|im_end|>\n" },
    { "{\"prompt\":\"only the first\",\"messages\":[" U("h") "," A("g") "],\"prompt_id\":18446744073709551616}",
      "|g<|im_end|>|", 2, "messages", NULL },
    { "{\"system\":\"s\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"}," U("h") "," A("g") "]}",
      "|g<|im_end|>|", 2, "messages", NULL },
};

static void data_formats(void **state)
{
    (void)state;
    struct str text = { 0 };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct sft_conversations t;
        struct err e;
        chatty_write(dir, "form.jsonl", formats[i].row);
        mini_set(&c, KEYS("data.train_files", in_dir("form.jsonl")));
        CHECK(sft_conversations_open(&t, &c, &s.form, 4096, &e), "%s: %s", formats[i].row, e.text);
        marked_text(&t.example[0], &text);
        CHECK(!strcmp(text.p, formats[i].marked), "%s: marked \"%s\" instead of \"%s\"", formats[i].row, text.p,
              formats[i].marked);
        CHECK(t.targets == formats[i].targets, "%s: %lld tokens with loss instead of %d", formats[i].row,
              (long long)t.targets, formats[i].targets);
        str_clear(&text);
        tokenizer_decode(s.tok, &text, t.example[0].ids.p, t.example[0].ids.n, true);
        CHECK(!formats[i].text || !strcmp(text.p, formats[i].text), "%s: \"%s\" instead of \"%s\"", formats[i].row,
              text.p, formats[i].text);
        sft_conversations_free(&t);
        struct conversations d = { 0 };
        char want[200];
        CHECK(conversations_load(&d, in_dir("form.jsonl"), &(struct dataset_keys){ 0 }, &e), "%s", e.text);
        snprintf(want, sizeof want, "form.jsonl: 1 conversations in %s\n", formats[i].form);
        CHECK(strstr(d.note.p, want), "%s: \"%s\" instead of \"%s\"", formats[i].row, d.note.p, want);
        conversations_free(&d);
    }
    str_free(&text);
    mini_set(&c, KEYS("data.train_files", in_dir("three.jsonl")));
}

/* Records with two conversations, keys that choose one, and records that contradict their format; want: the marked
 * text, or the message behind '!'. */
static const char both[] = "{\"messages\":[" U("h") "," A(
    "m") "],\"prompt\":\"p\",\"completion\":\"c\",\"response\":\"r\",\"mine\":[" U("h") "," A("x") "]}";
static const struct { const char *row, *prompt, *answer, *want; } choices[] = {
    { both, "", "",
      "!two conversations in one row: messages and prompt + completion; choose one with data.prompt_key and "
      "data.answer_key" },
    { both, "messages", "", "|m<|im_end|>|" }, { both, "prompt", "response", "|r<|im_end|>|" },
    { both, "prompt", "completion", "|c<|im_end|>|" }, { both, "mine", "", "|x<|im_end|>|" },
    { both, "prompt", "", "!two conversations in one row: prompt + completion and prompt + response" },
    { both, "promt", "",
      "!no column \"promt\", which data.prompt_key names, or it is null here; there are messages, prompt, "
      "completion, response, mine. Did you mean prompt?" },
    { both, "", "respone",
      "!no column \"respone\", which data.answer_key names, or it is null here; there are messages, prompt, "
      "completion, response, mine. Did you mean response?" },
    { both, "messages", "response",
      "!\"messages\" ends with the assistant's turn and \"response\" is another one" },
    { "{\"prompt\":\"p\",\"answer\":\"a\",\"question\":\"q\"}", "", "",
      "!two conversations in one row: prompt + answer and question + answer" },
    { "{\"prompt\":\"p\",\"answer\":\"a\",\"question\":\"q\"}", "question", "", "|a<|im_end|>|" },
    { "{\"conversations\":[{\"from\":\"human\",\"value\":\"h\"},{\"from\":\"gpt\"}]}", "", "",
      "!turn 1 of \"conversations\" must have \"from\" and \"value\", both texts: \"value\" is missing" },
    { "{\"conversations\":[{\"from\":\"gpt\",\"value\":\"h\"},{\"from\":\"king\",\"value\":\"h\"}]}", "", "",
      "!turn 1 of \"conversations\" is from \"king\"; there are human, user, gpt" },
    { "{\"conversations\":[{\"from\":\"function_call\",\"value\":\"not JSON\"}]}", "", "",
      "!turn 0 of \"conversations\" is a call but not JSON" },
    { "{\"instruction\":\"i\",\"output\":\"o\",\"input\":[1]}", "", "", "!\"input\" must be a text, it is a list" },
    { "{\"instruction\":\"i\"}", "", "", "!\"instruction\" is a string; then a reply is needed, in \"output\"" },
    { "{\"instruction\":\"i\",\"output\":\"o\",\"history\":[[\"a\"]]}", "", "",
      "!item 0 of \"history\" must be [question, answer]" },
    { "{\"prompt\":\"p\",\"completion\":7}", "", "",
      "!\"completion\" must be a string or a list of messages, it is a number" },
    { "{\"prompt\":[" U("a") "],\"completion\":[" U("b") "]}", "", "",
      "!\"completion\" has no message of role \"assistant\"" },
    { "{\"system\":\"s\",\"messages\":[{\"role\":\"system\",\"content\":\"t\"}," A("g") "]}", "", "",
      "!\"system\" and the conversation both hold a system message and differ" },
    { "{\"messages\":\"[{'role': 'user', 'content': 'a'}]\"}", "", "",
      "!\"messages\" is a text with a list of messages written out: write it as a list" },
    { "{\"prompt\":\"[{'role': 'user', 'content': 'a'}]\",\"completion\":\"c\"}", "", "",
      "!\"prompt\" is a text with a list" },
    { "{\"prompt\":\"p\",\"completion\":\"[{'from': 'gpt', 'value': 'a'}]\"}", "", "",
      "!\"completion\" is a text with a list" },
    { "{\"system\":[],\"messages\":[" A("g") "]}", "", "", "!\"system\" must be a text, it is a list" },
    { "{\"tools\":[{\"name\":\"f\",\"x\":12345678901234567890}],\"messages\":[" A("g") "]}", "", "",
      "!\"tools\" hold a value that cannot be read (values of the record that cannot be read: a number beyond 64 "
      "bits "
      "at column 27" },
    { "{\"tools\":{\"a\":1},\"messages\":[" A("g") "]}", "", "",
      "!\"tools\" must be a list of declarations, or the JSON text of one; it is an object with a" },
};

static void chosen_formats(void **state)
{
    (void)state;
    struct str text = { 0 };
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        struct sft_conversations t;
        struct err e = { 0 };
        chatty_write(dir, "form.jsonl", choices[i].row);
        mini_set(&c, KEYS("data.train_files", in_dir("form.jsonl"), "data.prompt_key", choices[i].prompt,
                          "data.answer_key", choices[i].answer));
        bool ok = sft_conversations_open(&t, &c, &s.form, 4096, &e);
        if (ok) marked_text(&t.example[0], &text);
        CHECK(ok ? !strcmp(text.p, choices[i].want)
                 : *choices[i].want == '!' && strstr(e.text, "form.jsonl:1: ") && strstr(e.text, choices[i].want + 1),
              "%s: \"%s\" instead of \"%s\"", choices[i].row, ok ? text.p : e.text, choices[i].want);
        sft_conversations_free(&t);
    }
    str_free(&text);
    mini_set(&c, KEYS("data.train_files", in_dir("three.jsonl"), "data.prompt_key", "", "data.answer_key", ""));
}

static void bad_records(void **state)
{
    (void)state;
    static const struct { const char *line, *says; } cases[] = {
        { "{\"messages\":[]}", ":1: \"messages\" has no message of role \"assistant\"" },
        { "{\"messages\":7}", ":1: \"messages\" must be a list of messages or a string" },
        { "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", "nothing to learn" },
        { "{\"other\":1}", ":1: no conversation: \"messages\", \"conversations\"" },
        { "{\"messages\":[{\"role\":\"king\",\"content\":\"a\"}]}", "no role \"king\" is known" },
        { "[1]", ": row 0: a row must be a JSON object" },
        { "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[]}]}", "must have \"content\"" },
        { "{\"prompt\":\"a\"}", "in \"response\"" },
        { "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}],\"tools\":\"{\"}", ":1: tools: " }, { "garbage",
          "is neither JSON lines" },
        { "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\\u0000\"}]}", "cannot be read: \\u0000 at column" },
        { "", "holds no rows" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sft_conversations t;
        struct err e;
        chatty_write(dir, "bad.jsonl", cases[i].line);
        mini_set(&c, KEYS("data.train_files", in_dir("bad.jsonl")));
        CHECK(!sft_conversations_open(&t, &c, &s.form, 4096, &e), "accepted: %s", cases[i].line);
        CHECK(strstr(e.text, "bad.jsonl") && strstr(e.text, cases[i].says), "%s: says %s", cases[i].line, e.text);
        sft_conversations_free(&t);
    }
    mini_set(&c, KEYS("data.train_files", in_dir("three.jsonl")));
}

static double first, last;
static bool note(void *ctx, const struct sft_report *r)
{
    (void)ctx;
    if (r->step == 1) first = r->loss;
    last = r->loss;
    return true;
}

/* The loss of the first step is the mean negative log-probability of the marked tokens, and training lowers it; what
 * the model is saved as loads again. */
static void training(void **state)
{
    (void)state;
    struct sft_conversations t;
    struct err e;
    CHECK(sft_conversations_open(&t, &c, &s.form, 4096, &e), "%s", e.text);
    session_open_learner(&s);
    double sum = 0;
    for (int i = 0; i < t.n; i++) {
        struct pack p;
        struct seq_view v = { .ids = t.example[i].ids.p, .m = t.example[i].m, .n = t.example[i].ids.n };
        acc_t *logp = xcalloc((size_t)v.n, sizeof *logp);
        pack_make(&p, &v, 1);
        learner_score(&s.learner, &p, &(struct score_rule){ .inv_temp = 1 }, logp, NULL);
        for (int k = 1; k < v.n; k++) if (v.m[k]) sum -= (double)logp[k];
        pack_free(&p);
        free(logp);
    }
    struct sft_rule r = { .steps = 30, .batch = 3, .lr = 1e-2, .floor = 1, .beta1 = 0.9, .beta2 = 0.98, .max_norm = 1 };
    CHECK(sft_run_conversations(&s.learner, &t, &c, &r, note, NULL, &e), "%s", e.text);
    CHECK_NEAR(first, sum / (double)t.targets, 1e-5 * first, "loss of the first step");
    CHECK(last < 0.5 * first && isfinite(last), "the loss goes from %g to %g", first, last);
    char folder[128];
    snprintf(folder, sizeof folder, "%s", in_dir("saved"));
    CHECK(session_save(&s, folder, &e), "%s", e.text);
    struct str path = { 0 }, text = { 0 };
    str_printf(&path, "%s/tokenizer_config.json", folder);
    assert_true(file_read(path.p, 1000, &text, &e));
    assert_string_equal(text.p, chatty_config);                             /* as it came */
    str_clear(&text);
    str_clear(&path);
    str_printf(&path, "%s/config.json", folder);
    assert_true(file_read(path.p, 10000, &text, &e));
    /* the chat format's stop is not written into it */
    assert_non_null(strstr(text.p, "\"eos_token_id\": null"));
    assert_int_equal(s.m.c.n_eos, 1);
    struct model m;
    CHECK(model_load(&m, folder, &e), "%s", e.text);
    CHECK(m.count == s.m.count && !memcmp(m.w, s.m.w, (size_t)m.count * sizeof *m.w), "the saved weights differ");
    model_free(&m);
    str_free(&text);
    str_free(&path);
    sft_conversations_free(&t);
}

static int open_all(void **state)
{
    struct err e;
    if (make_dir(state)) return -1;
    chatty_model(dir);
    chatty_set(&c, dir, KEYS("actor.ppo_max_token_len_per_gpu", "128"));
    if (!session_load(&s, &c, NULL, &e)) die("%s", e.text);
    return 0;
}

static int close_all(void **state)
{
    session_close(&s);
    config_free(&c);
    return drop_dir(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(targets_are_masked),    cmocka_unit_test(too_long),
                                        cmocka_unit_test(data_formats), cmocka_unit_test(chosen_formats),
                                        cmocka_unit_test(bad_records), cmocka_unit_test(training) };
    return cmocka_run_group_tests_name("sft_conversations", tests, open_all, close_all);
}
