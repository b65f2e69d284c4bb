/* test_tokenize.c: `appo tokenize` as a user runs it: bytes in, ids out, and back. The embedded policy's tokenizer. */
#include "cmd/cmd.h"
#include "base/file.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs the command in a child with in[n] on stdin; stdout and stderr together come back in out. */
static int run(char **argv, const char *in, size_t n, struct str *out)
{
    char from[64], to[64];
    struct err e;
    snprintf(from, sizeof from, "%s/in", dir);
    snprintf(to, sizeof to, "%s/out", dir);
    CHECK(file_write(from, in, n, &e), "%s", e.text);
    int argc = 0, status = 0;
    while (argv[argc]) argc++;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen(from, "rb", stdin) || !freopen(to, "wb", stdout)) _exit(99);
        dup2(fileno(stdout), 2);
        int code = cmd_tokenize(argc, argv);
        fflush(stdout);
        _exit(code);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    str_clear(out);
    CHECK(file_read(to, 1 << 20, out, &e), "%s", e.text);
    return WEXITSTATUS(status);
}

#define RUN(in, n, out, ...) run((char *[]){ "model.path=policy", __VA_ARGS__ __VA_OPT__(,) NULL }, in, n, out)

static void there_and_back(void **state)
{
    (void)state;
    struct str ids = { 0 }, back = { 0 };
    char any[512];
    for (int i = 0; i < 512; i++) any[i] = (char)(i * 37);
    static const char text[] = "take 59, minus 49 <think> \\boxed{7}\n\n\xe4\xb8\x96\xff";
    const struct {
        const char *p;
        size_t n;
    } cases[] = { { "", 0 }, { text, sizeof text - 1 }, { any, sizeof any }, { "<|end|>", 7 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(RUN(cases[i].p, cases[i].n, &ids), 0);
        assert_true(ids.n > 0 && ids.p[ids.n - 1] == '\n' && strspn(ids.p, "0123456789 \n") == ids.n);
        assert_int_equal(RUN(ids.p, ids.n, &back, "--decode"), 0);
        CHECK(back.n == cases[i].n && !memcmp(back.p, cases[i].p, back.n), "case %zu: %zu bytes come back as %zu", i,
              cases[i].n, back.n);
    }
    assert_int_equal(RUN("<|end|><|user|>", 15, &ids, "--special"), 0);
    assert_string_equal(ids.p, "1 2\n");
    assert_int_equal(RUN("1\n 2\t0", 6, &back, "--decode"), 0);
    assert_true(back.n == 0);
    assert_int_equal(RUN("1\n 2\t0", 6, &back, "--decode", "--special"), 0);
    assert_string_equal(back.p, "<|end|><|user|><|pad|>");
    str_free(&ids);
    str_free(&back);
}

static void conversations(void **state)
{
    (void)state;
    struct str ids = { 0 }, back = { 0 };
    static const char conversation[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi "
                               "<|end|>\"},{\"role\":\"assistant\",\"content\":\"<think> "
                               "x\"},{\"role\":\"user\",\"content\":\"b\"}]}";
    assert_int_equal(RUN(conversation, sizeof conversation - 1, &ids, "--chat"), 0);
    assert_int_equal(RUN(ids.p, ids.n, &back, "--decode", "--special"), 0);
    assert_string_equal(back.p, "<|user|>hi <|end|><|assistant|><think> x<|end|><|user|>b<|assistant|>");
    assert_int_equal(RUN(ids.p, ids.n, &back, "--decode"), 0);
    assert_string_equal(back.p, "hi <|end|> xb");        /* the user's look-alike is text, the turn's end is not */
    static const char odd[] = "\xEF\xBB\xBF{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"id\":NaN,\"n\":"
                              "12345678901234567890123,\"x\":\"\\u0000\"}\n";
    /* a byte order mark, and what nobody reads */
    assert_int_equal(RUN(odd, sizeof odd - 1, &ids, "--chat"), 0);
    assert_int_equal(RUN("[{\"role\":\"user\",\"content\":\"q\"}]", 31, &ids, "--chat", "model.chat_format=appo"), 0);
    str_free(&ids);
    str_free(&back);
}

static void rejected(void **state)
{
    (void)state;
    struct str out = { 0 };
    static const struct { char *argv[4]; const char *in; int status; const char *why; } cases[] = {
        { { "--decode" }, "1 x 2", 1, "word 2: 'x'" }, { { "--decode" }, "-1", 1, "'-1'" },
        { { "--decode" }, "99999999999999999999", 1, "word 1" }, { { "--decode" }, "1 2 123456", 1, "word 3" },
        { { "--decode" }, "1.5", 1, "'1.5'" }, { { "model.path=/nonexistent" }, "x", 1, "/nonexistent" },
        { { "--chat" }, "", 1, "not JSON" }, { { "--chat" }, "[]", 1, "array of messages" },
        { { "--chat" }, "[] x", 1, "stdin: not JSON: byte 4: more text" },
        { { "--chat" }, "{\"messages\":[}", 1, "stdin: not JSON: byte 14" },
        { { "--chat" }, "{\"messages\":[{\"role\":\"judge\",\"content\":\"\"}]}", 1, "message 0 of" },
        { { "--chat" }, "[{\"role\":\"user\",\"content\":[]}]", 1, "message 0 of" },
        { { "--chat" }, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"name\":\"f\"}]}", 1,
          "no place" },
        { { "--chat", "model.chat_format=nope" }, "[]", 1, "there is no chat format 'nope'" },
        { { "--chat", "model.chat_format=llama3" }, "[]", 1, "<|begin_of_text|>" },
        { { "--chat", "--decode" }, "", 2, "cannot be combined" }, { { "--verbose" }, "", 2, "--verbose" },
        { { "model.path=" }, "", 2, "not understood" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *argv[6] = { "model.path=policy", cases[i].argv[0], cases[i].argv[1], cases[i].argv[2], NULL };
        int status = run(argv, cases[i].in, strlen(cases[i].in), &out);
        CHECK(status == cases[i].status && strstr(out.p, cases[i].why), "case %zu: status %d, says %s", i, status,
              out.p);
    }
    assert_int_equal(run((char *[]){ "--help", NULL }, "", 0, &out), 0);
    assert_non_null(strstr(out.p, "--decode"));
    str_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(there_and_back), cmocka_unit_test(conversations),
                                        cmocka_unit_test(rejected) };
    return cmocka_run_group_tests_name("tokenize", tests, make_dir, drop_dir);
}
