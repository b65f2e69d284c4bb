/* test_export.c: `appo export` from a folder and from GGUF: what goes along byte for byte, what is written anew, and
 * what is rejected. */
#include "cmd/cmd.h"
#include "base/file.h"
#include "model/load.h"
#include "model/model.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int run(const char *from, const char *to, const char *more)
{
    char a[300], b[300], c[100];
    char *argv[] = { a, b, c };
    snprintf(a, sizeof a, "model.path=%s", from);
    snprintf(b, sizeof b, "out=%s", to);
    snprintf(c, sizeof c, "%s", more ? more : "");
    return cmd_export(more ? 3 : 2, argv);
}

static void same_file(const char *a, const char *b)
{
    struct str x = { 0 }, y = { 0 };
    struct err e = { "" };
    CHECK(file_read(a, 1 << 22, &x, &e) && file_read(b, 1 << 22, &y, &e), "%s", e.text);
    CHECK(x.n == y.n && !memcmp(x.p, y.p, x.n), "%s and %s differ", a, b);
    str_free(&x);
    str_free(&y);
}

static void same_model(const char *a, const char *b)
{
    struct model m, n;
    struct err e = { "" };
    CHECK(model_load(&m, a, &e) && model_load(&n, b, &e), "%s", e.text);
    acc_t *x = xmalloc((size_t)m.count * sizeof *x), *y = xmalloc((size_t)m.count * sizeof *y);
    assert_true(m.count == n.count);
    model_get(x, m.w, m.count);
    model_get(y, n.w, n.count);
    CHECK(!memcmp(x, y, (size_t)m.count * sizeof *x), "%s and %s differ", a, b);
    free(x);
    free(y);
    model_free(&m);
    model_free(&n);
}

static void from_folder(void **state)
{
    (void)state;
    struct err e = { "" };
    static const char template[] = "{# mine #}{{ messages }}";
    assert_int_equal(run("policy", in_dir("a"), "dtype=f32"), 0);
    same_file("policy/tokenizer.json", in_dir("a/tokenizer.json"));
    same_file("policy/tokenizer_config.json", in_dir("a/tokenizer_config.json"));
    same_model("policy", in_dir("a"));
    assert_true(file_write(in_dir("a/chat_template.jinja"), template, sizeof template - 1, &e) &&
                file_write(in_dir("a/generation_config.json"), "{}", 2, &e));
    assert_int_equal(run(in_dir("a"), in_dir("b"), NULL), 0);                  /* bf16 unless said */
    same_file(in_dir("a/chat_template.jinja"), in_dir("b/chat_template.jinja"));
    same_file(in_dir("a/generation_config.json"), in_dir("b/generation_config.json"));
    struct str config = { 0 };
    assert_true(file_read(in_dir("b/config.json"), 1 << 20, &config, &e) && strstr(config.p, "\"torch_dtype\": "
                                                                                             "\"bfloat16\""));
    str_free(&config);
    assert_int_equal(run(in_dir("b"), in_dir("c"), "max_shard_size=100KB"), 0);
    assert_true(file_exists(in_dir("c/model.safetensors.index.json")) && !file_exists(in_dir("c/model.safetensors")));
    same_model(in_dir("b"), in_dir("c"));
}

static void from_gguf(void **state)
{
    (void)state;
    struct str s = { 0 };
    struct err e = { "" };
    assert_int_equal(run("tests/golden/gguf/llama.gguf", in_dir("g"), "dtype=f32"), 0);
    same_model("tests/golden/rope/linear", in_dir("g"));
    assert_true(file_read(in_dir("g/chat_template.jinja"), 1000, &s, &e));
    assert_string_equal(s.p, "{{ messages }}");
    str_free(&s);
}

static void rejected(void **state)
{
    (void)state;
    char *none[] = { NULL };
    assert_int_equal(run("policy", in_dir("r"), NULL), 0);
    assert_int_equal(run("policy", in_dir("r"), NULL), 1);                     /* a model is there */
    assert_int_equal(run("nowhere", in_dir("q"), NULL), 1);
    assert_false(file_exists(in_dir("q")));
    assert_int_equal(run("policy", "", NULL), 2);
    assert_int_equal(run("policy", in_dir("q"), "dtype=int4"), 2);
    assert_int_equal(run("policy", in_dir("q"), "max_shard_size=none"), 2);
    assert_int_equal(run("policy", in_dir("q"), "rollout.n=3"), 2);
    assert_int_equal(run("policy", in_dir("q"), "word"), 2);
    assert_int_equal(cmd_export(0, none), 2);
    assert_false(file_exists(in_dir("q")));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(from_folder), cmocka_unit_test(from_gguf),
                                        cmocka_unit_test(rejected) };
    return cmocka_run_group_tests_name("export", tests, make_dir, drop_dir);
}
