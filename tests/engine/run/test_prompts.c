/* test_prompts.c: prompts from files: prompts as the chat format writes them, prompts that are too long, the order of
 * epochs, grading, tools; and whole runs on them that go on after a stop as if there had been none. */
#define _GNU_SOURCE     /* nftw */
#include "engine/run/run.h"
#include "engine/train/grade.h"
#include "engine/train/token_kind.h"
#include "tests/engine/train/chat_session.h"
#include "tests/folder.h"
#include "tests/engine/tools/two_tools.h"

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static struct session s;            /* an untrained model with ChatML */
static struct config c;

static const char rows[] =
    "{\"data_source\":\"one\",\"prompt\":[{\"role\":\"system\",\"content\":\"be short\"},{\"role\":\"user\","
    "\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},"
    "{\"role\":\"user\",\"content\":\"<|im_end|>?\"}],\"ability\":\"math\","
    "\"reward_model\":{\"ground_truth\":\"1/2\"}}\n"
    "{\"question\":\"who?\",\"answer\":[\"Anna Clyne\",\"A. Clyne\"]}\n";

static void is_prompt(const struct ids *ids, const char *want)
{
    struct str text = { 0 };
    tokenizer_decode(s.tok, &text, ids->p, ids->n, true);
    CHECK(text.n == strlen(want) && !memcmp(text.p, want, text.n), "\"%s\" instead of \"%s\"", text.p, want);
    str_free(&text);
}

static void prompts(void **state)
{
    (void)state;
    struct prompt_set q;
    struct err e;
    static const char own[] = "<|im_start|>system\nbe short<|im_end|>\n",
                      rest[] = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
                               "<|im_start|>user\n<|im_end|>?<|im_end|>\n<|im_start|>assistant\n",
                      who[] = "<|im_start|>user\nwho?<|im_end|>\n<|im_start|>assistant\n";
    chatty_write(dir, "set.jsonl", rows);
    mini_set(&c, KEYS("data.max_prompt_length", "2000", "data.system_prompt", "auto"));
    CHECK(prompt_set_open(&q, "data.train_files", in_dir("set.jsonl"), &c, &s.form, &e), "%s", e.text);
    char want[512];
    snprintf(want, sizeof want, "%s%s", own, rest);
    is_prompt(&q.prompt[0], want);
    int ends = 0;
    for (int i = 0; i < q.prompt[0].n; i++) ends += q.prompt[0].p[i] == CHATTY_END;
    assert_int_equal(ends, 4);                                              /* the one in the user's message is text */
    struct str text = { 0 };
    /* no system message of its own: it gets the instructions for calls */
    tokenizer_decode(s.tok, &text, q.prompt[1].p, q.prompt[1].n, true);
    assert_non_null(strstr(text.p, "<|im_start|>system\nYou are a helpful assistant that can solve"));
    assert_non_null(strstr(text.p, "<python> python code here </python>"));
    assert_non_null(strstr(text.p, "\\[ \\boxed{answer here} \\]"));
    str_free(&text);
    assert_string_equal(q.rows.prompt[1].data_source, "set");
    prompt_set_free(&q);
    mini_set(&c, KEYS("data.system_prompt", "none"));
    CHECK(prompt_set_open(&q, "data.train_files", in_dir("set.jsonl"), &c, &s.form, &e), "%s", e.text);
    is_prompt(&q.prompt[0], want);
    is_prompt(&q.prompt[1], who);
    uint64_t hash = q.hash;
    prompt_set_free(&q);
    mini_set(&c, KEYS("data.system_prompt", "mine"));
    CHECK(prompt_set_open(&q, "data.train_files", in_dir("set.jsonl"), &c, &s.form, &e), "%s", e.text);
    snprintf(want, sizeof want, "<|im_start|>system\nmine<|im_end|>\n%s", rest);
    is_prompt(&q.prompt[0], want);
    assert_true(q.hash != hash);
    prompt_set_free(&q);
    mini_set(&c, KEYS("data.system_prompt", "none"));
}

/* The hash covers everything that decides a number, and nothing else. */
static void hashes(void **state)
{
    (void)state;
    static const struct { const char *rows; bool same; } cases[] = {
        { "{\"question\":\"a\",\"answer\":\"1\",\"data_source\":\"s\",\"ability\":\"qa\"}\n{\"question\":\"b\","
          "\"answer\":[\"2\",\"3\"]}\n",
          true },
        { "[{\"x\":NaN,\"ability\":\"qa\",\"data_source\":\"s\",\"id\":7,\"answer\":\"1\",\"question\":\"a\"},"
          "{\"question\":\"b\",\"reward_model\":{\"ground_truth\":[\"2\",\"3\"]}}]",
          true },
        { "{\"question\":\"a\",\"answer\":\"1\",\"data_source\":\"s\",\"ability\":\"math\"}\n{\"question\":\"b\","
          "\"answer\":[\"2\",\"3\"]}\n",
          false },
        { "{\"question\":\"a\",\"answer\":\"1\",\"data_source\":\"t\",\"ability\":\"qa\"}\n{\"question\":\"b\","
          "\"answer\":[\"2\",\"3\"]}\n",
          false },
        { "{\"question\":\"a\",\"answer\":\"1\",\"data_source\":\"s\"}\n"
          "{\"question\":\"b\",\"answer\":[\"2\",\"3\"]}\n",
          false },
        { "{\"question\":\"a\",\"answer\":\"1\",\"data_source\":\"s\",\"ability\":\"qa\"}\n{\"question\":\"b\","
          "\"answer\":[\"3\",\"2\"]}\n",
          false },
        { "{\"question\":\"a\",\"answer\":\"1\",\"data_source\":\"s\",\"ability\":\"qa\"}\n{\"question\":\"b\","
          "\"answer\":[2,3]}\n",
          true },
        { "{\"question\":\"c\",\"answer\":\"1\",\"data_source\":\"s\",\"ability\":\"qa\"}\n{\"question\":\"b\","
          "\"answer\":[\"2\",\"3\"]}\n",
          false },
        { "{\"question\":\"b\",\"answer\":[\"2\",\"3\"]}\n{\"question\":\"a\",\"answer\":\"1\",\"data_source\":\"s\","
          "\"ability\":\"qa\"}\n",
          false },
        { "{\"question\":\"a\",\"answer\":\"1\",\"data_source\":\"s\",\"ability\":\"qa\"}\n", false },
    };
    uint64_t first = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct prompt_set q;
        struct err e;
        char name[32];
        /* the name of the file decides nothing */
        snprintf(name, sizeof name, "hash%zu.jsonl", i);
        chatty_write(dir, name, cases[i].rows);
        CHECK(prompt_set_open(&q, "data.train_files", in_dir(name), &c, &s.form, &e), "%s", e.text);
        if (!i) first = q.hash;
        CHECK((q.hash == first) == cases[i].same, "rows %zu have %s hash", i, cases[i].same ? "another" : "the same");
        prompt_set_free(&q);
    }
}

static void too_long(void **state)
{
    (void)state;
    struct prompt_set q;
    struct err e;
    struct str file = { 0 };
    for (int i = 0; i < 3; i++)
        str_printf(&file, "{\"question\":\"%s\",\"answer\":\"%d\"}\n", i == 1 ? "0123456789" : "0123", i);
    chatty_write(dir, "long.jsonl", file.p);
    str_free(&file);
    /* <start>user\n....<end>\n<start>assistant\n: 19 tokens and those of the user's message */
    mini_set(&c, KEYS("data.max_prompt_length", "24", "data.truncation", "error"));
    assert_false(prompt_set_open(&q, "data.val_files", in_dir("long.jsonl"), &c, &s.form, &e));
    CHECK(strstr(e.text, "long.jsonl:2: a prompt of 29 tokens") && strstr(e.text, "data.truncation=filter") &&
              strstr(e.text, "data.val_files"),
          "%s", e.text);
    prompt_set_free(&q);
    static const char *const filters[][2] = { { "data.truncation", "filter" },
                                              { "data.filter_overlong_prompts", "true" } };
    for (int i = 0; i < 2; i++) {
        mini_set(&c, KEYS("data.truncation", "error", "data.filter_overlong_prompts", "false", filters[i][0],
                          filters[i][1]));
        CHECK(prompt_set_open(&q, "data.train_files", in_dir("long.jsonl"), &c, &s.form, &e), "%s", e.text);
        assert_int_equal(q.rows.n, 2);
        assert_string_equal(q.rows.prompt[1].ground_truth, "2");
        assert_int_equal(q.prompt[1].n, 23);
        prompt_set_free(&q);
    }
    mini_set(&c, KEYS("data.filter_overlong_prompts", "false"));
    static const struct { const char *how, *want; } cuts[] = {
        { "left", "\n0123456789<|im_end|>\n<|im_start|>assistant\n" },
        { "right", "<|im_start|>user\n0123456789<|im_end|>\n<|im_start|>assis" },
        { "middle", "<|im_start|>user\n012345\n<|im_start|>assistant\n" },
    };
    for (int i = 0; i < 3; i++) {
        mini_set(&c, KEYS("data.truncation", cuts[i].how));
        CHECK(prompt_set_open(&q, "data.train_files", in_dir("long.jsonl"), &c, &s.form, &e), "%s", e.text);
        assert_int_equal(q.prompt[1].n, 24);
        assert_int_equal(q.prompt[0].n, 23);
        is_prompt(&q.prompt[1], cuts[i].want);
        prompt_set_free(&q);
    }
    mini_set(&c, KEYS("data.truncation", "filter", "data.max_prompt_length", "8"));
    assert_false(prompt_set_open(&q, "data.train_files", in_dir("long.jsonl"), &c, &s.form, &e));
    CHECK(strstr(e.text, "every prompt is longer than data.max_prompt_length=8"), "%s", e.text);
    prompt_set_free(&q);
    assert_false(prompt_set_open(&q, "data.train_files", ",", &c, &s.form, &e));
    CHECK(strstr(e.text, "names no file"), "%s", e.text);
    prompt_set_free(&q);
    mini_set(&c, KEYS("data.truncation", "error", "data.max_prompt_length", "2000"));
}

static void order(void **state)
{
    (void)state;
    enum { N = 10, BATCH = 4 };
    int seen[3][N] = { { 0 } }, first[N], moved = 0;
    struct record_order d = { 0 }, other = { 0 };
    /* batches of 4 reach from one epoch into the next */
    for (uint64_t i = 0; i < 3 * N; i++) seen[i / N][record_order_at(&d, &c, N, i)]++;
    for (int e = 0; e < 3; e++)
        for (int k = 0; k < N; k++) CHECK(seen[e][k] == 1, "epoch %d, row %d: %d times", e, k, seen[e][k]);
    for (uint64_t i = 0; i < N; i++) first[i] = record_order_at(&d, &c, N, i);             /* back to the first epoch */
    for (uint64_t i = 0; i < N; i++) moved += record_order_at(&other, &c, N, N + i) != first[i];
    assert_true(moved > 0);
    mini_set(&c, KEYS("data.seed", "1"));
    /* that is trainer.seed's default */
    for (uint64_t i = 0; i < N; i++) assert_int_equal(record_order_at(&other, &c, N, i), first[i]);
    mini_set(&c, KEYS("data.seed", "2"));
    free(other.order);
    other = (struct record_order){ 0 };
    moved = 0;
    for (uint64_t i = 0; i < N; i++) moved += record_order_at(&other, &c, N, i) != first[i];
    assert_true(moved > 0);
    mini_set(&c, KEYS("data.seed", "-1", "data.shuffle", "false"));
    for (uint64_t i = 0; i < 2 * N; i++) assert_int_equal(record_order_at(&other, &c, N, i), (int)(i % N));
    mini_set(&c, KEYS("data.shuffle", "true"));
    free(d.order);
    free(other.order);
}

/* The released prompts from Parquet and from the same data as JSONL: the same batches. */
static void parquet_equals_jsonl(void **state)
{
    (void)state;
    static const char *const files[] = { "../shared/data/train_10k.parquet", "../shared/data/train_10k.jsonl.gz" };
    if (!file_exists(files[0])) {
        print_message("skipped: %s and its twin are not here\n", files[0]);
        skip();
    }
    struct prompt_set q[2];
    struct err e;
    mini_set(&c, KEYS("data.truncation", "filter", "data.max_prompt_length", "1600"));
    for (int i = 0; i < 2; i++)
        CHECK(prompt_set_open(&q[i], "data.train_files", files[i], &c, &s.form, &e), "%s", e.text);
    assert_true(q[0].rows.n == q[1].rows.n && q[0].rows.n > 4000 && q[0].rows.n < 10000 && q[0].hash == q[1].hash);
    for (uint64_t at = 0; at < (uint64_t)q[0].rows.n * 2; at += 97) {
        int a = prompt_set_record(&q[0], &c, at), b = prompt_set_record(&q[1], &c, at);
        assert_int_equal(a, b);
        assert_int_equal(q[0].prompt[a].n, q[1].prompt[b].n);
        assert_memory_equal(q[0].prompt[a].p, q[1].prompt[b].p, (size_t)q[0].prompt[a].n * sizeof(int));
        assert_string_equal(q[0].rows.prompt[a].ground_truth, q[1].rows.prompt[b].ground_truth);
        assert_true(prompt_is_math(&q[0].rows.prompt[a]) == !strcmp(q[0].rows.prompt[a].ability, "math"));
    }
    prompt_set_free(&q[0]);
    prompt_set_free(&q[1]);
    mini_set(&c, KEYS("data.truncation", "error", "data.max_prompt_length", "2000"));
}

static void grading(void **state)
{
    (void)state;
    static const struct { int row; const char *kind, *said; double reward; bool correct, formed; } cases[] = {
        { 0, "task", "<think> t</think><answer>\\boxed{0.5}</answer>", 1, true, true },
        { 0, "exact", "<think> t</think><answer>\\boxed{\\frac12}</answer>", 1, true, true },
        { 0, "deep_research", "<think> t</think><answer>\\boxed{0.5}</answer>", 0, false, true },
        { 0, "exact", "<think> t</think><answer>\\boxed{12}</answer>", 0, false, true },
        { 0, "exact", "\\boxed{0.5}", -1, false, false },
        { 0, "exact", "<think> t</think><answer>0.5 {}\\boxed{</answer>", -1, false, false },
        { 1, "exact", "<think> t</think><answer>\\boxed{anna clyne}</answer>", 1, true, true },
        { 1, "exact", "<think> t</think><answer>\\boxed{the A. Clyne}</answer>", 1, true, true },
        { 1, "exact", "<think> t</think><answer>\\boxed{Anna Bell}</answer>", 0.5, false, true },
        { 1, "deep_research",
          "<think> t</think><search> x</search> <result>\ny\n</result><python>1</python> <result>\n1\n"
          "</result><answer>\\boxed{Anna Clyne}</answer>",
          1.1, true, true },
    };
    struct prompt_set q;
    struct err e;
    CHECK(prompt_set_open(&q, "data.train_files", in_dir("set.jsonl"), &c, &s.form, &e), "%s", e.text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct group g;
        struct ids ids = { 0 };
        mini_set(&c, KEYS("reward.kind", cases[i].kind));
        group_begin_record(&g, &s, &q, cases[i].row, 0, 0, 1);
        assert_string_equal(env_prompt_text(&g.prompt), cases[i].row ? "who?" : "<|im_end|>?");
        ENSURE(tokenizer_encode(s.tok, &ids, cases[i].said, strlen(cases[i].said), false));
        for (int k = 0; k < ids.n; k++) sequence_put(&g.traj[0]->seq, ids.p[k], true, -1, 1);
        sequence_put(&g.traj[0]->seq, CHATTY_END, true, -1, 1);
        g.traj[0]->seq.finish = FINISH_END;
        trajectory_grade(&g, g.traj[0], &s);
        CHECK_NEAR(g.traj[0]->seq.reward, cases[i].reward, 1e-12, "case %zu", i);
        CHECK(g.traj[0]->correct == cases[i].correct && g.traj[0]->well_formed == cases[i].formed, "case %zu", i);
        group_end(&g, &s);
        ids_free(&ids);
    }
    prompt_set_free(&q);
    mini_set(&c, KEYS("reward.kind", "task"));
}

static void is_result(const struct toolbox *box, const struct env_prompt *t, int tool, const char *query,
                      const char *want)
{
    struct tool_caller who = { .scope = t ? t->scope : 0 };
    struct str out = { 0 };
    box->run(box->ctx, &who, tool, query, strlen(query), &out);
    CHECK(out.n == strlen(want) && !memcmp(out.p, want, out.n), "\"%s\": \"%s\" instead of \"%s\"", query, out.p, want);
    str_free(&out);
}

static void tools_of_the_environment(void **state)
{
    (void)state;
    struct env v;
    struct err e;
    struct prompt sample = { 0 };
    struct env_prompt t = { .from_data = &sample };
    chatty_write(dir, "cache.json",
                 "{\"capital of France\": \"Page 1: Paris\\nPage 2: Lyon\\nPage 3: no\", \"height of Etna\": \"Page 1: "
                 "3357 m\"}");
    struct toolbox box;
    for (int nearest = 0; nearest < 2; nearest++) {
        CHECK(env_open(&v, in_dir("cache.json"), nearest, 2, 4, &e), "%s", e.text);
        box = env_tools(&v);
        /* prompts from files do not get the small limits of the embedded tasks */
        is_result(&box, &t, TOOL_PYTHON, "print(3 ** 40)\n7", "12157665459056928801\n7");
        is_result(&box, &t, TOOL_SEARCH, " capital of France\n", "Page 1: Pari\nPage 2: Lyon");
        is_result(&box, NULL, TOOL_SEARCH, "how high is Etna?",
                  nearest ? "Page 1: 3357" : "no recorded result for this query");
        env_close(&v);
    }
    CHECK(env_open(&v, "", false, 2, 4, &e), "%s", e.text);
    box = env_tools(&v);
    is_result(&box, &t, TOOL_SEARCH, "Etna", "error: no search");
    env_close(&v);
    assert_false(env_open(&v, in_dir("nothing.json"), false, 2, 4, &e));
    env_close(&v);
}

/* Tags as text, across token boundaries, divide a response as tags that are tokens do. */
static void token_kinds(void **state)
{
    (void)state;
    static const struct { const char *text; int kind; } parts[] = {
        { "x", TOKEN_TAG }, { "<think>", TOKEN_TAG }, { " a < b>", TOKEN_THINK }, { "</think>", TOKEN_TAG },
        { "<python>", TOKEN_TAG }, { "1+1", TOKEN_CALL }, { "</python>", TOKEN_TAG },
        { "\n<result>2</result>", TOKEN_TAG }, { "<search>", TOKEN_TAG }, { "who", TOKEN_CALL },
        { "</search>", TOKEN_TAG }, { "<answer>", TOKEN_TAG }, { "\\boxed{2}", TOKEN_ANSWER },
        { "</answer>", TOKEN_TAG },
    };
    struct session embedded = { 0 };
    struct config k;
    struct err e;
    config_init(&k);
    setenv("APPO_HOME", ".", 1);
    CHECK(session_load(&embedded, &k, NULL, &e), "%s", e.text);
    const struct session *both[] = { &s, &embedded };
    for (int b = 0; b < 2; b++) {
        struct sequence seq = { 0 };
        int begin[16] = { 0 }, n = (int)(sizeof parts / sizeof *parts);
        sequence_begin(&seq, &(int){ 7 }, 1);
        for (int i = 0; i < n; i++) {
            struct ids ids = { 0 };
            ENSURE(tokenizer_encode(both[b]->tok, &ids, parts[i].text, strlen(parts[i].text), true));
            for (int j = 0; j < ids.n; j++) sequence_put(&seq, ids.p[j], true, -1, 1);
            begin[i + 1] = sequence_response(&seq);
            ids_free(&ids);
        }
        for (int i = 0; i < n; i++) {
            /* a tag that is text begins with the token that completes it; its first bytes belong to the part before */
            for (int pos = parts[i].text[0] == '<' ? begin[i + 1] - 1 : begin[i]; pos < begin[i + 1]; pos++)
                CHECK(token_kind(both[b], &seq, pos) == parts[i].kind, "%s tokenizer, \"%s\", token %d: %d",
                      b ? "embedded" : "text", parts[i].text, pos - begin[i], token_kind(both[b], &seq, pos));
        }
        sequence_free(&seq, NULL);
    }
    session_close(&embedded);
    config_free(&k);
}

/* ---- whole runs of the embedded policy on files ---- */

static const int families[] = { FAM_ARITH, FAM_SEQ, FAM_UNITS };

static void write_questions(const char *name, int n, uint64_t seed, const char *last)
{
    struct str file = { 0 };
    for (int i = 0; i < n; i++) {
        struct task q;
        task_make(&q, families[i % 3], SPLIT_TRAIN, seed, (uint64_t)i);
        str_printf(&file,
                   "{\"data_source\":\"%s\",\"ability\":\"math\",\"prompt\":[{\"role\":\"user\",\"content\":\"%s\"}],"
                   "\"reward_model\":{\"ground_truth\":\"%s\"}}\n",
                   family_name[q.family], q.text, i == n - 1 && last ? last : q.answer);
        task_free(&q);
    }
    chatty_write(dir, name, file.p);
    str_free(&file);
}

struct run { char folder[160]; bool ok; struct err e; struct run_report report; };

static void run_files(struct run *r, const char *folder, const char *const *set)
{
    struct config k;
    struct session x;
    *r = (struct run){ 0 };
    snprintf(r->folder, sizeof r->folder, "%s", in_dir(folder));
    config_init(&k);
    mini_set(&k, KEYS("trainer.threads", "1", "data.train_batch_size", "4", "actor.ppo_mini_batch_size", "2",
                      "rollout.n", "4", "rollout.initial_rollouts", "2", "branch.points", "1",
                      "data.max_response_length", "64", "data.train_files", in_dir("train.jsonl"), "data.val_files",
                      in_dir("val.jsonl"), "trainer.total_epochs", "2", "trainer.save_freq", "1",
                      "rollout.val_kwargs.n", "2", "trainer.default_local_dir", r->folder));
    mini_set(&k, set);
    setenv("APPO_HOME", ".", 1);
    r->ok = session_open(&x, &k, true, &r->e) && run_training(&x, &r->report, NULL, &r->e);
    session_close(&x);
    config_free(&k);
}

static json_t *metrics_of(const struct run *r, int line)
{
    struct str path = { 0 }, text = { 0 };
    str_printf(&path, "%s/appo/debug/metrics.jsonl", r->folder);
    assert_true(file_read(path.p, 1 << 20, &text, NULL));
    char *p = strtok(text.p, "\n");
    for (; line > 0 && p; line--) p = strtok(NULL, "\n");
    json_t *whole = p ? json_loads(p, 0, NULL) : NULL, *data = json_object_get(whole, "data"), *value;
    const char *key;
    void *next;
    assert_non_null(data);
    json_object_foreach_safe(data, next, key, value) if (metrics_is_timing(key)) json_object_del(data, key);
    json_incref(data);
    json_decref(whole);
    str_free(&path);
    str_free(&text);
    return data;
}

static void same_line(const struct run *a, const struct run *b, int line, const char *name)
{
    json_t *x = metrics_of(a, line), *y = metrics_of(b, line);
    CHECK(json_object_size(x) > 5 && json_equal(x, y), "%s: line %d of the metrics differs", name, line);
    json_decref(x);
    json_decref(y);
}

static void resumed_runs(void **state)
{
    (void)state;
    struct run whole, cut, other;
    write_questions("train.jsonl", 5, 1, NULL);
    write_questions("val.jsonl", 3, 2, NULL);
    run_files(&whole, "whole", NULL);
    /* 2 x 5 rows in batches of 4 */
    CHECK(whole.ok && whole.report.steps == 3, "%s, %d steps", whole.e.text, whole.report.steps);
    CHECK(whole.report.probs_diff_max == 0 && whole.report.tokens_trained > 0, "%g", whole.report.probs_diff_max);
    json_t *m = metrics_of(&whole, 0);
    for (int f = 0; f < 3; f++) {
        char key[64];
        snprintf(key, sizeof key, "val-core/%s/acc/mean@2", family_name[families[f]]);
        CHECK(json_is_number(json_object_get(m, key)), "no %s", key);
    }
    CHECK(json_number_value(json_object_get(m, "val-core/all/acc/mean@2")) > 0.2, "the policy can answer none of its "
                                                                                  "own questions");
    assert_int_equal(whole.report.before.sources, 3);
    assert_int_equal(whole.report.before.all.n, 6);
    json_decref(m);
    /* in the middle of the second epoch */
    run_files(&cut, "cut", KEYS("trainer.total_epochs", "0", "trainer.total_training_steps", "2"));
    CHECK(cut.ok && cut.report.steps == 2, "%s", cut.e.text);
    write_questions("moved.jsonl", 5, 1, NULL);
    /* the same prompts under another name */
    run_files(&cut, "cut", KEYS("data.train_files", in_dir("moved.jsonl"), "data.train_batch_size", "4"));
    CHECK(cut.ok && cut.report.steps == 3, "%s", cut.e.text);
    /* line 2 has an evaluation, its run's last */
    for (int line = 0; line < 4; line++) if (line != 2) same_line(&whole, &cut, line, "resumed");
    run_files(&cut, "half", KEYS("trainer.total_epochs", "1"));
    assert_true(cut.ok && cut.report.steps == 2);
    write_questions("moved.jsonl", 5, 1, "other");
    run_files(&other, "half", KEYS("data.train_files", in_dir("moved.jsonl")));
    CHECK(!other.ok && strstr(other.e.text, "data.train_files hold other prompts"), "%s",
          other.ok ? "went on" : other.e.text);
    run_files(&other, "none",
              KEYS("data.val_files", "", "trainer.total_epochs", "0", "trainer.total_training_steps", "1"));
    CHECK(other.ok && !other.report.has_before && !other.report.has_after, "%s", other.e.text);
    run_files(&other, "bad", KEYS("data.train_files", in_dir("nothing.jsonl")));
    CHECK(!other.ok && strstr(other.e.text, "nothing.jsonl"), "%s", other.e.text);
}

static int open_all(void **state)
{
    struct err e;
    if (make_dir(state)) return -1;
    chatty_model(dir);
    chatty_set(&c, dir,
               KEYS("data.system_prompt", "none", "rollout.max_len", "512", "actor.ppo_max_token_len_per_gpu", "512",
                    "rollout.max_num_seqs", "4"));
    if (!session_open(&s, &c, false, &e)) die("%s", e.text);
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
    const struct CMUnitTest tests[] = { cmocka_unit_test(prompts), cmocka_unit_test(hashes), cmocka_unit_test(too_long),
                                        cmocka_unit_test(order), cmocka_unit_test(parquet_equals_jsonl),
                                        cmocka_unit_test(grading),
                                        cmocka_unit_test(tools_of_the_environment), cmocka_unit_test(token_kinds),
                                        cmocka_unit_test(resumed_runs) };
    return cmocka_run_group_tests_name("prompts", tests, open_all, close_all);
}
