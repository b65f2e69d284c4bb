/* test_dataset.c: rows of verl's and of the public benchmarks' layouts as JSON lines, gzip'd and as Parquet; rows that must be refused by number; the order of
 * an epoch. */
#include "base/file.h"
#include "data/dataset.h"
#include "tests/check.h"
#include "tests/folder.h"
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
    "\xEF\xBB\xBF{\"data_source\":\"mix\",\"prompt\":[{\"content\":\"be good\",\"role\":\"system\"},{\"content\":\"early\",\"role\":\"user\"},"
    "{\"content\":\"x\",\"role\":\"assistant\"},{\"content\":\"what is \\\"it\\\"? \\u00e9\\n\",\"role\":\"user\"}],\"ability\":\"math\","
    "\"reward_model\":{\"ground_truth\":\"3\\\\sqrt{3}\",\"style\":\"rule\"},\"extra_info\":{\"index\":41,\"split\":\"train\"},\"metadata\":null}\n"
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
    assert_string_equal(d->row[0].data_source, "mix");
    assert_string_equal(d->row[0].system, "be good");
    assert_string_equal(d->row[0].prompt, "what is \"it\"? \xc3\xa9\n");
    assert_string_equal(d->row[0].ability, "math");
    assert_string_equal(d->row[0].ground_truth, "3\\sqrt{3}");
    assert_int_equal(d->row[0].index, 41);
    assert_string_equal(d->row[1].data_source, source);
    assert_string_equal(d->row[1].prompt, "plain");
    assert_null(d->row[1].system);
    assert_null(d->row[1].ability);
    assert_int_equal(d->row[1].n_refs, 3);
    assert_string_equal(d->row[1].ground_truth, "a");
    assert_string_equal(d->row[1].refs[2], "7");
    assert_int_equal(d->row[1].index, 1);
    assert_string_equal(d->row[2].ground_truth, "Anna");
    assert_string_equal(d->row[3].prompt, "sum");
    assert_string_equal(d->row[3].ground_truth, "237");
    assert_string_equal(d->row[4].ground_truth, "0.1");
    assert_string_equal(d->row[5].ground_truth, "1,072");
}

static void layouts(void **state)
{
    (void)state;
    struct err e;
    struct dataset d = { 0 };
    write_file("bench.jsonl", good, sizeof good - 1);
    CHECK(dataset_load(&d, path, NULL, &e), "%s", e.text);
    check_good(&d, "bench");
    CHECK(dataset_load(&d, path, "prompt", &e), "%s", e.text);              /* appends */
    assert_int_equal(d.n, 12);
    assert_int_equal(d.row[7].index, 1);
    dataset_free(&d);
    snprintf(path, sizeof path, "%s/zip.jsonl.gz", dir);
    gzFile g = gzopen(path, "wb");
    gzwrite(g, good, sizeof good - 1);
    gzclose(g);
    CHECK(dataset_load(&d, path, NULL, &e), "%s", e.text);
    check_good(&d, "zip");
    dataset_free(&d);
    static const char other[] = "{\"text\":\"mine\",\"prompt\":\"not mine\",\"answer\":\"1\"}";
    write_file("other", other, sizeof other - 1);
    CHECK(dataset_load(&d, path, "text", &e), "%s", e.text);
    assert_string_equal(d.row[0].prompt, "mine");
    dataset_free(&d);
}

static void same_sample(const struct sample *a, const struct sample *b, int k)
{
    #define SAME(x) CHECK(a->x && b->x ? !strcmp(a->x, b->x) : a->x == b->x, "row %d: \"%s\" and \"%s\"", k, a->x ? a->x : "none", b->x ? b->x : "none")
    SAME(data_source);
    SAME(system);
    SAME(prompt);
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
    for (int k = 0; k < a.n; k++) same_sample(&a.row[k], &b.row[k], k);
    int n = a.n;
    dataset_free(&a);
    dataset_free(&b);
    return n;
}

static void parquet(void **state)
{
    (void)state;
    static const struct { const char *name; int rows; } files[] = { { "verl_pandas", 60 }, { "verl_v2", 90 }, { "question", 30 }, { "messages", 20 } };
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        char a[96], b[96];
        snprintf(a, sizeof a, "tests/data/parquet/%s.parquet", files[k].name);
        snprintf(b, sizeof b, "tests/data/parquet/%s.jsonl", files[k].name);
        assert_int_equal(same_dataset(a, b, k % 2 ? NULL : "prompt"), files[k].rows);
    }
    struct err e;
    struct dataset d = { 0 };
    CHECK(dataset_load(&d, "tests/data/parquet/verl_v2.parquet", NULL, &e), "%s", e.text);
    const struct sample *s = &d.row[44];                                    /* in the second row group */
    assert_string_equal(s->data_source, "MATH \xe2\x84\x95");
    assert_string_equal(s->system, "Think, then answer in <answer>.");
    assert_string_equal(s->prompt, "What is 44 + 1936? \xc3\xa9 \xf0\x9d\x95\x8f\nwhy why why why ");
    assert_string_equal(s->ability, "math");
    assert_string_equal(s->ground_truth, "1980");
    assert_int_equal(s->index, 44);
    assert_null(d.row[45].system);
    assert_null(d.row[45].ability);
    dataset_free(&d);
    CHECK(dataset_load(&d, "tests/data/parquet/question.parquet", NULL, &e), "%s", e.text);
    assert_string_equal(d.row[7].data_source, "question");
    assert_int_equal(d.row[7].n_refs, 2);
    assert_int_equal(d.row[7].index, 7);
    dataset_free(&d);
    assert_false(dataset_load(&d, "tests/data/parquet/types_plain.parquet", "text", &e));
    CHECK(strstr(e.text, "types_plain.parquet: row 0: no answer"), "%s", e.text);
    assert_false(dataset_load(&d, "tests/data/parquet/nested.parquet", NULL, &e));
    CHECK(strstr(e.text, "nested.parquet: row 0: no question: one of \"prompt\""), "%s", e.text);
    assert_int_equal(d.n, 0);
    dataset_free(&d);
}

static void released_twins(void **state)
{
    (void)state;
    if (!file_exists("../shared/data/train_10k.parquet")) {
        print_message("skipped: ../shared/data/train_10k.parquet and its twin are not here\n");
        skip();
    }
    assert_int_equal(same_dataset("../shared/data/train_10k.parquet", "../shared/data/train_10k.jsonl.gz", NULL), 10000);
    assert_int_equal(same_dataset("../shared/data/valid.parquet", "../shared/data/valid.jsonl.gz", NULL), 180);
}

static void chosen_names(void **state)
{
    (void)state;
    struct err e;
    struct dataset d = { 0 };
    struct dataset_keys key = { .prompt = "extra_info.split", .answer = "extra_info.index", .source = "reward_model.style" };
    static const char *const paths[] = { "tests/data/parquet/verl_v2.parquet", "tests/data/parquet/verl_v2.jsonl" };
    for (int k = 0; k < 2; k++) {
        CHECK(dataset_load_keys(&d, paths[k], &key, &e), "%s", e.text);
        assert_string_equal(d.row[31].prompt, "train");
        assert_string_equal(d.row[31].ground_truth, "31");
        assert_string_equal(d.row[31].data_source, "rule");
        dataset_free(&d);
    }
    key = (struct dataset_keys){ .answer = "solution" };
    assert_false(dataset_load_keys(&d, paths[0], &key, &e));
    CHECK(strstr(e.text, "verl_v2.parquet: row 0: no answer at \"solution\""), "%s", e.text);
    assert_false(dataset_load_keys(&d, paths[1], &key, &e));
    CHECK(strstr(e.text, "verl_v2.jsonl:1: no answer at \"solution\""), "%s", e.text);
    dataset_free(&d);
    static const char talk[] =                                              /* nulls are nothing; the assistant's last words answer; tool calls have no content */
        "{\"prompt\":null,\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]},"
        "{\"role\":\"tool\",\"content\":\"t\"},{\"role\":\"assistant\",\"content\":\"a\"}],\"answer\":null}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"}],\"answer\":\"b\"}\n"
        "{\"a.b\":\"dotted\",\"question\":\"q\",\"answer\":1}\n"
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"u\"}]}\n";
    write_file("talk.jsonl", talk, sizeof talk - 1);
    assert_false(dataset_load_keys(&d, path, &(struct dataset_keys){ .source = "a.b" }, &e));
    CHECK(strstr(e.text, "talk.jsonl:4: no answer: one of"), "%s", e.text);
    assert_int_equal(d.n, 3);
    assert_string_equal(d.row[0].ground_truth, "a");
    assert_string_equal(d.row[1].ground_truth, "b");
    assert_string_equal(d.row[2].data_source, "dotted");
    dataset_free(&d);
}

static void bad_lines(void **state)
{
    (void)state;
    static const struct { const char *line, *says; size_t n; } cases[] = {
        { "{", "bad.jsonl:2: column", 0 }, { "[1,2]", ":2: a row must be a JSON object", 0 }, { "7", ":2: ", 0 }, { "nonsense", ":2: column", 0 },
        { "{\"question\":\"q\"}", ":2: no answer", 0 }, { "{\"answer\":\"a\"}", ":2: no question: one of \"prompt\"", 0 },
        { "{\"question\":7,\"answer\":\"a\"}", ":2: \"question\" must be a string or a list", 0 },
        { "{\"question\":\"q\",\"answer\":[]}", ":2: the list of answers is empty", 0 }, { "{\"question\":\"q\",\"answer\":[\"a\",null]}", ":2: answer 1 must be", 0 },
        { "{\"question\":\"q\",\"answer\":{}}", ":2: answer 0 must be", 0 }, { "{\"question\":\"q\",\"answer\":\"a\"} x", ":2: column", 0 },
        { "{\"question\":\"q\\u0000\",\"answer\":\"a\"}", ":2: column", 0 }, { "{\"question\":\"\xff\",\"answer\":\"a\"}", ":2: column", 0 },
        { "{\"question\":\"q\0\",\"answer\":\"a\"}", ":2: column", 29 }, { "{\"question\":\"q\",\"answer\":99999999999999999999999}", ":2: column", 0 },
        { "{\"prompt\":[{\"role\":\"user\"}],\"answer\":\"a\"}", ":2: message 0 of \"prompt\"", 0 }, { "{\"prompt\":[7],\"answer\":\"a\"}", ":2: message 0", 0 },
        { "{\"prompt\":[{\"role\":\"user\",\"content\":[]}],\"answer\":\"a\"}", ":2: message 0", 0 },
        { "{\"prompt\":[{\"role\":\"system\",\"content\":\"s\"}],\"answer\":\"a\"}", ":2: \"prompt\" has no message of role \"user\"", 0 },
        { "{\"prompt\":[],\"answer\":\"a\"}", "has no message of role", 0 }, { "{\"question\":\"q\",\"answer\":\"a\",\"answer\":\"b\"}", ":2: column", 0 },
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
        assert_int_equal(d.n, 1);                                           /* the row before it */
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
    assert_non_null(strstr(e.text, "deep.jsonl:1: "));
    free(deep);
    n = (16 << 20) + 1;
    char *wide = xmalloc(n);
    memset(wide, '7', n);
    write_file("wide.jsonl", wide, n);
    assert_false(dataset_load(&d, path, NULL, &e));
    assert_non_null(strstr(e.text, "wide.jsonl:1: a line of"));
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
    int count[6] = { 0 };                                                   /* every order of three comes equally often */
    for (uint32_t epoch = 0; epoch < 6000; epoch++) {
        dataset_order(3, 9, epoch, a);
        count[a[0] * 2 + (a[1] > a[2])]++;
    }
    for (int k = 0; k < 6; k++) CHECK_NEAR(count[k], 1000, 130, "order %d", k);     /* 4.5 standard deviations */
    dataset_order(0, 1, 1, a);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(layouts), cmocka_unit_test(parquet), cmocka_unit_test(released_twins), cmocka_unit_test(chosen_names),
        cmocka_unit_test(bad_lines), cmocka_unit_test(bad_files), cmocka_unit_test(order) };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
