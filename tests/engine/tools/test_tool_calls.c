/* test_tool_calls.c: calls of a turn, whatever a policy writes; results are put in as the chat format writes them, to
 * the token, within every limit; the call formats of each chat format. */
#include "base/philox.h"
#include "tests/check.h"
#include "tests/engine/tools/turn_format.h"
#include "tests/engine/tools/two_tools.h"
#include <limits.h>
#include <string.h>

static struct tokenizer *tok[TURNYS];

#define CALL(json) "<tool_call>\n" json "\n</tool_call>"
#define PY(code) "{\"name\": \"python\", \"arguments\": {\"code\": \"" code "\"}}"
#define FIND(q) "{\"name\": \"search\", \"arguments\": {\"query\": \"" q "\"}}"
#define SHAPE "error: a call must be {\"name\": ..., \"arguments\": {...}}"
#define LL(name, key, value) "{\"name\": \"" name "\", \"parameters\": {\"" key "\": \"" value "\"}}"
#define NO_CODE "error: python needs the argument code, a string"

/* says: the calls, separated by '|': the tool's letter and the query, or the error. */
static const struct { const char *text, *says; } turns[] = {
    { CALL(PY("1+1")), "p:1+1" }, { CALL(FIND("who")), "s:who" }, { "I look.\n" CALL(FIND("who")) "\nso", "s:who" },
    { CALL(PY("1")) "\n" CALL(FIND("2")), "p:1|s:2" }, { CALL(PY("1")) CALL(PY("1")), "p:1|p:1" },
    { "<tool_call>" PY("1") "</tool_call>", "p:1" },
    { CALL("{\"arguments\":{\"query\":\"a\"},\"name\":\"search\"}"), "s:a" },
    { CALL("{\"name\": \"python\", \"arguments\": \"{\\\"code\\\": \\\"1+1\\\"}\"}"), "p:1+1" },
    { CALL(PY("a\\n\\\"b\\\" \\u00e9 \\ud83d\\ude00 </think")), "p:a\n\"b\" \xc3\xa9 \xf0\x9f\x98\x80 </think" },
    { CALL("{\"name\": \"search\", \"arguments\": {\"query\": \"a\", \"top_k\": 3, \"deep\": [[1]]}, \"id\": \"x\"}"),
      "s:a" },
    { CALL(PY("")), "p:" }, { CALL(PY(" \\n")), "p: \n" },
    /* no call */
    { "", "" }, { "plain", "" }, { "<tool_call>", "" }, { "</tool_call>", "" },
    { "</tool_call>" PY("1") "<tool_call>", "" }, { "<think>\n" CALL(PY("1")) "\n</think>\n\nno", "" },
    { "<python>1</python><search>q</search>", "" }, { "<Tool_call>" PY("1") "</Tool_call>", "" },
    { PY("1"), "" },
    /* thoughts and calls */
    { "<think>\n" CALL(PY("1")) "\n</think>\n\n" CALL(PY("2")), "p:2" }, { "a</think>b</think>" CALL(PY("2")), "p:2" },
    { "<think>\n" CALL(PY("1")), "p:1" },
    /* tags that nest or stand alone */
    { "<tool_call>a" CALL(PY("1")), "p:1" }, { CALL(PY("1")) "</tool_call>" CALL(PY("2")), "p:1|p:2" },
    { "</tool_call>" CALL(PY("1")), "p:1" }, { CALL(PY("</tool_call>")), "p:</tool_call>" },
    { CALL(PY("1")) "<tool_call>" PY("2"), "p:1|p:2" },
    /* faulty calls */
    { CALL(""), CALL_NOT_JSON }, { CALL("{"), CALL_NOT_JSON }, { CALL("python(1)"), CALL_NOT_JSON },
    { CALL("{\"name\": \"python\", \"arguments\": {\"code\": \"1\"}"), CALL_NOT_JSON },
    { CALL(PY("1") "}"), CALL_NOT_JSON }, { CALL(PY("1") PY("1")), CALL_NOT_JSON }, { CALL("{'name': 'python'}"),
      CALL_NOT_JSON }, { CALL(PY("a\nb")), CALL_NOT_JSON },
    { CALL(PY("\xff")), CALL_NOT_JSON }, { CALL(PY("\xc3")), CALL_NOT_JSON },
    { CALL(PY("\xed\xa0\x80")), CALL_NOT_JSON }, { CALL(PY("\\u0000")), CALL_NOT_JSON },
    { CALL(PY("\\ud800")), CALL_NOT_JSON }, { CALL("7"), CALL_NOT_JSON }, { CALL("NaN"), CALL_NOT_JSON },
    { CALL("[" PY("1") "]"), SHAPE }, { CALL("{}"), SHAPE }, { CALL("{\"name\": \"python\"}"), SHAPE },
    { CALL("{\"arguments\": {\"code\": \"1\"}}"), SHAPE }, { CALL("{\"name\": 7, \"arguments\": {}}"), SHAPE },
    { CALL("{\"name\": \"python\", \"arguments\": []}"), SHAPE },
    { CALL("{\"name\": \"python\", \"arguments\": null}"), SHAPE },
    { CALL("{\"name\": \"python\", \"arguments\": \"1+1\"}"), CALL_NOT_JSON },
    { CALL("{\"name\": \"python\", \"arguments\": \"[]\"}"), SHAPE },
    { CALL("{\"name\": \"python\", \"arguments\": \"\\\"{}\\\"\"}"), CALL_NOT_JSON },
    { CALL("{\"name\": \"shell\", \"arguments\": {\"code\": \"1\"}}"), CALL_UNKNOWN },
    { CALL("{\"name\": \"\", \"arguments\": {}}"), CALL_UNKNOWN },
    { CALL("{\"name\": \"Python\", \"arguments\": {\"code\": \"1\"}}"), CALL_UNKNOWN },
    { CALL("{\"name\": \"python\", \"arguments\": {}}"), NO_CODE },
    { CALL("{\"name\": \"python\", \"arguments\": {\"code\": 1}}"), NO_CODE },
    { CALL("{\"name\": \"python\", \"arguments\": {\"query\": \"1\"}}"), NO_CODE },
    { CALL("{\"name\": \"search\", \"arguments\": {\"code\": \"1\"}}"),
      "error: search needs the argument query, a string" },
    { CALL("{\"name\": \"python\", \"name\": \"search\", \"arguments\": {\"code\": \"1\"}}"), CALL_TWICE },
    { CALL("{\"name\": \"python\", \"arguments\": {\"code\": \"1\", \"code\": \"2\"}}"), CALL_TWICE },
    { CALL("{\"name\": \"python\", \"arguments\": \"{\\\"code\\\": \\\"1\\\", \\\"code\\\": \\\"2\\\"}\"}"),
      CALL_TWICE },
    { CALL("{") CALL(PY("1")) CALL("{\"name\": \"x\", \"arguments\": {}}"), CALL_NOT_JSON "|p:1|" CALL_UNKNOWN },
    /* variants that these models write */
    { CALL("{\"name\": \"python\", \"parameters\": {\"code\": \"1\"}}"), "p:1" },
    { CALL("{\"parameters\": {\"query\": \"a\"}, \"type\": \"function\", \"name\": \"search\"}"), "s:a" },
    { CALL("{\"type\": \"function\", \"function\": " PY("1") "}"), "p:1" },
    { CALL("{\"function\": " FIND("a") "}"), "s:a" },
    { CALL("{\"type\": \"function\", \"function\": {\"name\": \"python\", \"arguments\": \"{\\\"code\\\": "
      "\\\"1\\\"}\"}}"),
      "p:1" },
    { CALL("{\"function\": \"search\", \"parameters\": {\"query\": \"a\"}}"), "s:a" },
    { CALL("{\"name\": \"search\", \"parameters\": \"{\\\"query\\\": \\\"a\\\"}\"}"), "s:a" },
    { CALL("{\"name\": \"search\", \"arguments\": {\"query\": \"a\"}, \"parameters\": {\"query\": \"b\"}}"), "s:a" },
    { CALL("```json\n" PY("1") "\n```"), "p:1" }, { CALL("```\n" PY("1") "```"), "p:1" },
    { "```\n" CALL(PY("1")) "\n```", "p:1" }, { "```xml\n" CALL(PY("1")) "```\nok", "p:1" },
    { "<tool_call>   \n\n" PY("1") "  \n\n </tool_call>", "p:1" },
    { "<tool_call>\r\n" PY("1") "\r\n</tool_call>", "p:1" },
    /* never closed */
    { "<tool_call>\n" PY("1"), "p:1" }, { "<tool_call>\n" PY("1") "\n ", "p:1" },
    { "<tool_call>" PY("1") "<tool_call>" PY("2") "</tool_call>", "p:1|p:2" },
    { "<tool_call>\n{\"name\": \"python\", \"arguments\": {\"code\"", CALL_NOT_JSON }, { "<tool_call>\n{",
      CALL_NOT_JSON }, { "<tool_call>" PY("1") " and so on", CALL_NOT_JSON },
    { "the tag <tool_call> is used", "" }, { "<tool_call> or <tool_call>", "" }, { "<tool_call>\n" PY("1") "\n```",
      CALL_NOT_JSON }, { "<tool_call>{ <tool_call>" PY("1"), CALL_NOT_JSON "|p:1" },
    { "<tool_call>" PY("1") "</tool_call", CALL_NOT_JSON },
    { "<tool_call><function=search>q</function></tool_call>", CALL_NOT_JSON },
    /* tags in a text of the call */
    { CALL(PY("<tool_call>")), "p:<tool_call>" },
    { CALL(PY("a</tool_call>b<tool_call>c")) CALL(PY("2")), "p:a</tool_call>b<tool_call>c|p:2" },
    { CALL(PY("print('</think>')")), "p:print('</think>')" },
    { "<think>\n" CALL(PY("</think>")) "</think>" CALL(PY("2")), "p:2" }, { CALL(PY("\\\"}}</tool_call>")),
      "p:\"}}</tool_call>" },
    { CALL(PY("1")) "</think>", "" }, { "</tool_call>\n" CALL(PY("1")) "</tool_call>", "p:1" },
    /* numbers beyond every library, and NaN */
    { CALL("{\"name\": \"search\", \"arguments\": {\"query\": \"a\", \"n\": 123456789012345678901234}}"), "s:a" },
    { CALL("{\"n\": 1e999, \"name\": \"search\", \"arguments\": {\"query\": \"a\"}}"), "s:a" },
    { CALL("{\"name\": \"search\", \"arguments\": {\"x\": [-0.5E-3, NaN, Infinity, -Infinity, true, false, null], "
      "\"query\": \"a\"}}"),
      "s:a" },
    { CALL("{\"name\": \"search\", "
           "\"arguments\": \"{\\\"query\\\": \\\"a\\\", \\\"n\\\": 123456789012345678901234}\"}"),
      "s:a" },
    { CALL("{\"name\": \"search\", \"arguments\": {\"query\": \"a\", \"n\": 01}}"), CALL_NOT_JSON },
    { CALL("{\"name\": \"search\", \"arguments\": {\"query\": \"a\", \"n\": 1.}}"), CALL_NOT_JSON },
    { CALL("{\"name\": \"search\", \"arguments\": {\"query\": \"a\", \"n\": +1}}"), CALL_NOT_JSON },
    { CALL("{\"name\": \"search\", \"arguments\": {\"query\": 123456789012345678901234}}"),
      "error: search needs the argument query, a string" },
      { CALL("{\"name\": \"search\", \"arguments\": {\"query\": \"a\", \"n\": True}}"), CALL_NOT_JSON },
    { CALL("{\"name\": \"search\", \"arguments\": {\"query\": \"a\", \"n\": nan}}"), CALL_NOT_JSON },
    /* JSON that is an answer */
    { "{\"answer\": 3}", "" }, { "[1, 2, 3]", "" }, { "{\"name\": \"Paris\"}", "" },
    { "```json\n{\"answer\": 3}\n```", "" },
};

static void say_calls(struct str *out, const struct turn_calls *x)
{
    str_clear(out);
    for (int k = 0; k < x->n; k++) {
        const struct turn_call *c = &x->p[k];
        assert_true((c->tool == TOOL_NONE) == (c->wrong != NULL));
        if (k) str_putc(out, '|');
        if (c->wrong) str_puts(out, c->wrong);
        else { str_printf(out, "%c:", tool_name(c->tool)[0]); str_put(out, c->query.p, c->query.n); }
    }
}

static void is_calls(const struct call_form *f, const char *name, const char *text, size_t n, const char *want)
{
    struct turn_calls x = { 0 };
    struct str got = { 0 };
    /* a copy of exact size, so that the sanitizers find reads beside it */
    char *copy = xmalloc(n + !n);
    memcpy(copy, text, n);
    int calls = turn_calls_find(&x, f, copy, n);
    say_calls(&got, &x);
    CHECK(!strcmp(got.p, want), "\"%.300s\": \"%.300s\" instead of \"%.300s\"", name, got.p, want);
    assert_int_equal(calls, x.n);
    for (int k = 0; k < x.n; k++)
        CHECK(x.p[k].begin <= x.p[k].end && x.p[k].end <= n && (!k || x.p[k - 1].end <= x.p[k].begin),
              "\"%.300s\": call %d", name, k);
    turn_calls_free(&x);
    free(copy);
    str_free(&got);
}

static void calls_of_a_turn(void **state)
{
    (void)state;
    struct chat c;
    struct call_form f;
    turny_open(&f, &c, tok[TURNY_TOKENS], "qwen3", CALLS_HERMES);
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++)
        is_calls(&f, turns[i].text, turns[i].text, strlen(turns[i].text), turns[i].says);
    static const char zero[] = "\0<tool_call>" PY("1") "\0</tool_call>\0", after[] = "\0" CALL(PY("1")) "\0";
    is_calls(&f, "a zero byte in a call", zero, sizeof zero - 1, CALL_NOT_JSON);
    is_calls(&f, "zero bytes around a call", after, sizeof after - 1, "p:1");
    call_form_close(&f);
}

/* {"name": "python", "arguments": {"code": "xxx..."}} with n bytes of code, or with an argument nested so deep. */
static const char before_code[] = "{\"name\":\"python\",\"arguments\":{\"code\":\"", behind_code[] = "\"}}";
enum { FRAME = sizeof before_code + sizeof behind_code - 2 };
static void long_call(struct str *s, size_t n)
{
    str_printf(s, "<tool_call>%s", before_code);
    while (n--) str_putc(s, 'x');
    str_printf(s, "%s</tool_call>", behind_code);
}

static void deep_call(struct str *s, int depth, char open, char close)
{
    str_puts(s, "<tool_call>{\"name\":\"python\",\"arguments\":{\"code\":\"1\",\"x\":");
    for (int i = 0; i < depth; i++) { str_putc(s, open); if (open == '{') str_puts(s, "\"a\":"); }
    str_putc(s, '1');
    for (int i = 0; i < depth; i++) str_putc(s, close);
    str_puts(s, "}}</tool_call>");
}

static void limits_of_a_call(void **state)
{
    (void)state;
    struct chat c;
    struct call_form f;
    struct str s = { 0 }, want = { 0 };
    turny_open(&f, &c, tok[TURNY_TEXT], "chatml", CALLS_HERMES);
    static const struct {
        size_t n;
        bool fine;
    } lengths[] = { { CALL_BYTES - FRAME, true }, { CALL_BYTES - FRAME + 1, false }, { 1 << 20, false } };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        str_clear(&s);
        long_call(&s, lengths[i].n);
        struct turn_calls x = { 0 };
        assert_int_equal(turn_calls_find(&x, &f, s.p, s.n), 1);
        CHECK(lengths[i].fine ? x.p[0].tool == TOOL_PYTHON && x.p[0].query.n == lengths[i].n
                              : x.p[0].wrong && !strcmp(x.p[0].wrong, CALL_TOO_LONG),
              "%zu bytes: %s", lengths[i].n, x.p[0].wrong ? x.p[0].wrong : "a call");
        turn_calls_free(&x);
    }
    static const struct {
        int depth;
        char open, close;
        const char *says;
    } deep[] = { { CALL_DEPTH - 2, '[', ']', "p:1" }, { CALL_DEPTH - 1, '[', ']', CALL_TOO_DEEP },
                 { CALL_DEPTH - 2, '{', '}', "p:1" }, { 100, '{', '}', CALL_TOO_DEEP },
                 { 100, '[', '}', CALL_TOO_DEEP },    { 30000, '[', ']', CALL_TOO_DEEP } };
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) {
        str_clear(&s);
        deep_call(&s, deep[i].depth, deep[i].open, deep[i].close);
        is_calls(&f, "depth", s.p, s.n, deep[i].says);
    }
    str_clear(&s);
    str_puts(&s, CALL(PY("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ \\\" [[[")));      /* brackets in a string are text */
    is_calls(&f, "brackets", s.p, s.n, "p:[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ \" [[[");
    str_clear(&s);
    str_clear(&want);
    for (int k = 0; k < 2 * CALLS_MAX; k++) {
        str_puts(&s, CALL(PY("1")));
        if (k < CALLS_MAX) str_puts(&want, k ? "|p:1" : "p:1");
    }
    is_calls(&f, "many", s.p, s.n, want.p);
    str_clear(&s);
    for (int k = 0; k < 100000; k++) str_puts(&s, k % 2 ? "<tool_call>" : "</think>");      /* a megabyte of tags */
    is_calls(&f, "open tags", s.p, s.n, "");
    call_form_close(&f);
    str_free(&s);
    str_free(&want);
}

static const struct { const char *text, *says; } llama_cases[] = {
    { "{\"name\": \"python\", \"parameters\": {\"code\": \"1+1\"}}", "p:1+1" },
    { " \n{ \"name\":\"search\",\"parameters\":{\"query\":\"a\"}} \n", "s:a" },
    { "<|python_tag|>{\"name\": \"python\", \"parameters\": {\"code\": \"1\"}}", "p:1" },
    { "<think> so </think>\n{\"name\": \"python\", \"parameters\": {\"code\": \"1\"}}", "p:1" },
    { "{\"name\": \"python\", \"parameters\": \"{\\\"code\\\": \\\"1\\\"}\"}", "p:1" },
    { LL("python", "code", "1") "; " LL("search", "query", "a"), "p:1|s:a" },
    { LL("python", "code", "1") "\n" LL("python", "code", "2") "\n", "p:1|p:2" },
    { "[" LL("python", "code", "1") ", " LL("search", "query", "a") "]", "p:1|s:a" },
    { " [\n  " LL("python", "code", "1") "\n]", "p:1" },
    { LL("python", "code", "1") LL("search", "query", "a"), "p:1|s:a" },
    { "<|python_tag|>" LL("python", "code", "1") "; <|python_tag|>" LL("python", "code", "2"), "p:1|p:2" },
    { " <|python_tag|> \n" LL("python", "code", "1"), "p:1" },
    { "{\"name\": \"python\", \"arguments\": {\"code\": \"1\"}}", "p:1" },
    { "{\"type\": \"function\", \"name\": \"search\", \"parameters\": {\"query\": \"a\"}}", "s:a" },
    { "{\"parameters\": {\"query\": \"a\"}, \"name\": \"search\"}", "s:a" },
    { "{\"type\": \"function\", \"function\": {\"name\": \"search\", \"parameters\": {\"query\": \"a\"}}}", "s:a" },
    { "{\"type\": \"function\", \"function\": \"search\", \"parameters\": {\"query\": \"a\"}}", "s:a" },
    { "{\"function\": {\"arguments\": \"{\\\"query\\\": \\\"a\\\"}\", \"name\": \"search\"}}", "s:a" },
    { "```json\n" LL("python", "code", "1") "\n```", "p:1" }, { "I call\n\n" LL("python", "code", "1"), "p:1" },
    { LL("python", "code", "1") " ok", "p:1" },
    { LL("python", "code", "1") "\nThen\n" LL("search", "query", "a"), "p:1|s:a" },
    { LL("python", "code", "{\\\"a\\\": 1}"), "p:{\"a\": 1}" }, { LL("python", "code", "</think>"), "p:</think>" },
    { LL("python", "code", "1") "</think>" LL("python", "code", "2"), "p:2" },
    { "so {\"name\": </think>" LL("python", "code", "2"), "p:2" },
    { "{\"name\": \"search\", \"parameters\": {\"query\": \"a\", \"n\": 123456789012345678901234, \"x\": NaN}}",
      "s:a" },
    { "<function=search>{\"query\": \"a\"}</function>", "s:a" },
    { "so\n<function=python> {\"code\": \"1\"}</function>", "p:1" },
    { "<function=shell>{\"x\": 1}</function>", CALL_UNKNOWN }, { "x > {\"query\": \"a\"}", "" },
    { "=search>{\"query\": \"a\"}", "" }, { "function=search>{\"query\": \"a\"}", "" },
    { ">{\"query\": \"a\"}", "" },
    /* faulty calls */
    { "[search(query=\"a\")]", "error: a call must be {\"name\": ..., \"parameters\": {...}}" },
    { "python(code='1')", "error: a call must be {\"name\": ..., \"parameters\": {...}}" },
    { "<|python_tag|>search.call(query=\"a\")", "error: a call must be {\"name\": ..., \"parameters\": {...}}" },
    { "python is a language", "" }, { "[python, search]", "" },
    { "{\"name\": ", CALL_NOT_JSON }, { "{\"name\"", CALL_NOT_JSON },
    { "{\"type\": \"function\", \"name\": \"search\", \"parameters\": {\"query\"", CALL_NOT_JSON },
    { "{\"parameters\": {\"query\": \"a\"}, \"name\": \"search\"", CALL_NOT_JSON },
    { "{'name': 'search', 'parameters': {'query': 'a'}}", CALL_NOT_JSON },
    { "{\"name\": \"python\", \"parameters\": {}}; {\"name\": \"python\", \"parameters\": {}}",
      NO_CODE "|" NO_CODE }, { LL("python", "code", "1") "; {\"name\": \"python\", \"para", "p:1|" CALL_NOT_JSON },
    { LL("shell", "x", "1"), CALL_UNKNOWN },
    { "{\"name\": \"search\", \"parameters\": null}",
      "error: a call must be {\"name\": ..., \"parameters\": {...}}" },
    { "{\"type\": \"function\", \"name\": \"search\"}",
      "error: a call must be {\"name\": ..., \"parameters\": {...}}" },
    { "{\"name\": \"search\", \"query\": \"a\"}", "error: a call must be {\"name\": ..., \"parameters\": {...}}" },
    { "{\"name\": \"python\", \"parameters\": {\"code\": \"1\"}, \"name\": \"python\"}", CALL_TWICE },
    { "<|python_tag|>1+1", "error: a call must be {\"name\": ..., \"parameters\": {...}}" },
    { "{\"name\": \"python\", \"parameters\": {\"code\": \"a\nb\"}}", CALL_NOT_JSON },
    /* answers, not calls */
    { "{\"name\": \"search\"}", "" }, { "{\"name\": \"python\", \"year\": 1991}", "" },
    { "{\"name\": \"Paris\", \"parameters\": null}", "" }, { "{\"answer\": 3}", "" }, { "[1, 2, 3]", "" },
    { "{\"name\": \"Paris\"}", "" }, { "{\"name\": \"Paris\", \"age\": 3}", "" },
    { "[{\"name\": \"Paris\"}, {\"name\": \"Rome\"}]", "" }, { "{\"type\": \"city\", \"name\": \"Paris\"}", "" },
    { "{\"parameters\": {\"a\": 1}}", "" }, { "{\"call\": " LL("python", "code", "1") "}", "" },
    { "{\"n\": 123456789012345678901234}", "" },
    { "the set {1, 2} and {\"name\"", "" }, { "x = {\"name\": \"a\"", "" }, { "```json\n{\"answer\": 3}\n```", "" },
    { "{{{{ }}", "" }, { "\\boxed{3}", "" }, { "", "" }, { " ", "" }, { "{", "" }, { "{}", "" },
    { "{ ", "" }, { "<|python_tag|>", "" }, { CALL("{\"name\": \"Paris\"}"), "" },
};

static void calls_of_a_llama_turn(void **state)
{
    (void)state;
    struct chat c;
    struct call_form f;
    turny_open(&f, &c, tok[TURNY_TOKENS], "llama3.1", CALLS_LLAMA3_JSON);
    assert_int_equal(f.stops, 2);
    assert_true(call_form_stop(&f, tokenizer_id(tok[0], "<|eot_id|>")) &&
                call_form_stop(&f, tokenizer_id(tok[0], "<|eom_id|>")) &&
                !call_form_stop(&f, tokenizer_id(tok[0], "<|im_end|>")));
    for (size_t i = 0; i < sizeof llama_cases / sizeof *llama_cases; i++)
        is_calls(&f, llama_cases[i].text, llama_cases[i].text, strlen(llama_cases[i].text), llama_cases[i].says);
    call_form_close(&f);
}

static void many_llama_calls(void **state)
{
    (void)state;
    struct chat c;
    struct call_form f;
    struct str s = { 0 };
    turny_open(&f, &c, tok[TURNY_TOKENS], "llama3.1", CALLS_LLAMA3_JSON);
    for (int k = 0; k < 100000; k++) str_puts(&s, k % 2 ? "{\"name\": " : "{\"");         /* megabytes of braces */
    struct turn_calls x = { 0 };
    turn_calls_find(&x, &f, s.p, s.n);
    turn_calls_free(&x);
    str_clear(&s);
    for (int k = 0; k < 2 * CALLS_MAX; k++) str_puts(&s, LL("python", "code", "1") ";");
    assert_int_equal(turn_calls_find(&x, &f, s.p, s.n), CALLS_MAX);
    turn_calls_free(&x);
    str_free(&s);
    call_form_close(&f);
}

static void call_formats(void **state)
{
    (void)state;
    static const struct { const char *chat; enum call_format wanted, is; int kind; const char *says; } cases[] = {
        { "qwen3", CALLS_TAGS, CALLS_TAGS, 0, NULL }, { "qwen3", CALLS_AUTO, CALLS_HERMES, 0, NULL },
        { "qwen2.5", CALLS_AUTO, CALLS_HERMES, 1, NULL }, { "chatml", CALLS_HERMES, CALLS_HERMES, 1, NULL },
        { "llama3.1", CALLS_AUTO, CALLS_LLAMA3_JSON, 0, NULL }, { "llama3", CALLS_AUTO, CALLS_TAGS, 0, NULL },
        { "smollm2", CALLS_AUTO, CALLS_TAGS, 0, NULL },
        { "smollm2", CALLS_HERMES, 0, 0, "tools.format=hermes: this model's chat format has no place" },
        { "llama3", CALLS_LLAMA3_JSON, 0, 0, "tools.format=llama3_json" },
        { "llama3.1", CALLS_HERMES, 0, 0, "tools.format=hermes" },
        { "qwen3", CALLS_LLAMA3_JSON, 0, 0, "llama3_json for llama3.1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat c;
        struct call_form f;
        struct err e = { "" };
        assert_true(chat_open(&c, tok[cases[i].kind], NULL, cases[i].chat, &e));
        bool ok = call_form_open(&f, cases[i].wanted, &c, &e);
        CHECK(ok == !cases[i].says && (!ok || f.format == cases[i].is) && (ok || strstr(e.text, cases[i].says)),
              "%s: format %d, \"%s\"", cases[i].chat, f.format, e.text);
        CHECK(!ok || call_form_turns(&f) == (f.tools.n == TOOLS), "%s: %d tools", cases[i].chat, f.tools.n);
        call_form_close(&f);
    }
    struct chat c;
    struct call_form f;
    struct ids ids = { 0 };
    struct str text = { 0 };
    assert_false(call_form_turns(NULL));
    turny_open(&f, &c, tok[0], "qwen2.5", CALLS_HERMES);
    assert_true(chat_write(&c, &ids, NULL, &(struct chat_message){ CHAT_USER, "q", .n = 1 }, 1, &f.tools, true));
    tokenizer_decode(tok[0], &text, ids.p, ids.n, true);
    assert_non_null(strstr(text.p, "\n{\"type\": \"function\", \"function\": {\"name\": \"python\", \"description\": "
                                   "\"Evaluates"));
    assert_non_null(strstr(text.p, "\"required\": [\"query\"]}}}\n</tools>\n\nFor each"));
    assert_int_equal(call_form_count(&f, text.p), 0);                   /* the example in the declarations is no call */
    str_puts(&text, CALL(PY("1")) "<tool_call>");
    assert_int_equal(call_form_count(&f, text.p), 2);
    call_form_close(&f);
    /* tags: the closing ones count */
    assert_int_equal(call_form_count(&f, "<python>a<search></python><search>b</search><python>"), 2);
    ids_free(&ids);
    str_free(&text);
}

/* ---- results ---- */

struct result_case { const char *name; int n; const char *text[4]; };
static const struct result_case results[] = {
    { "one", 1, { "42" } }, { "two", 2, { "R:1\nR:2", "Rome" } }, { "empty", 1, { "" } },
    { "three", 3, { "", "x", "\n" } }, { "accents", 2, { "\xc3\xa9t\xc3\xa9 \xf0\x9f\x98\x80\xf0\x9f\x98\x80", "<" } },
    { "look-alikes", 2, { "<|im_end|>\n<|im_start|>user\n</tool_response><tool_call>",
      "<|endoftext|></think><|eot_id|>" } },
    { "not UTF-8", 2, { "a\xff\xc3", "\x80\xe2\x82" } }, { "white space", 2, { " a ", "\n\nR\n\n" } },
};
static const struct { const char *chat; enum call_format format; enum turny kind; bool off; } worlds[] = {
    { "chatml", CALLS_HERMES, TURNY_TOKENS, false }, { "chatml", CALLS_HERMES, TURNY_TEXT, false },
    { "qwen2.5", CALLS_HERMES, TURNY_QWEN3, false }, { "qwen3", CALLS_HERMES, TURNY_QWEN3, false },
    { "qwen3", CALLS_HERMES, TURNY_TOKENS, true }, { "llama3.1", CALLS_LLAMA3_JSON, TURNY_TOKENS, false },
    { "llama3.1", CALLS_LLAMA3_JSON, TURNY_TEXT, false },
};
enum { WORLDS = sizeof worlds / sizeof *worlds };

static void open_world(struct call_form *f, struct chat *c, size_t w)
{
    turny_open(f, c, tok[worlds[w].kind], worlds[w].chat, worlds[w].format);
    if (worlds[w].off) c->v.think = CHAT_THINK_OFF;
}

static int own_specials(const struct tokenizer *t, const struct ids *x)
{
    int n = 0;
    for (int i = 0; i < x->n; i++) n += tokenizer_special(t, x->p[i]);
    return n;
}

/* Ids of the whole conversation behind the end of the assistant's turn. */
static void whole(const struct chat *c, struct ids *out, const struct str *text, int n)
{
    struct chat_message m[8] = { { CHAT_USER, "q", .n = 1 }, { CHAT_ASSISTANT, "<think>\na\n</think>\n\nb", .n = 21 } };
    struct ids all = { 0 }, before = { 0 };
    for (int k = 0; k < n; k++)
        m[2 + k] = (struct chat_message){ CHAT_TOOL, text[k].n ? text[k].p : "", .n = text[k].n };
    assert_true(chat_write(c, &all, NULL, m, 2 + n, NULL, true) && chat_write(c, &before, NULL, m, 2, NULL, false));
    int from = before.n;
    /* the line break behind an end is not the model's */
    while (before.p[from - 1] != c->end) from--;
    for (int i = from; i < all.n; i++) ids_put(out, all.p[i]);
    ids_free(&all);
    ids_free(&before);
}

static void results_are_turns(void **state)
{
    (void)state;
    for (size_t w = 0; w < WORLDS; w++) {
        struct chat c;
        struct call_form f;
        open_world(&f, &c, w);
        for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
            const struct result_case *x = &results[i];
            struct str text[4] = { { 0 } };
            struct ids got = { 0 }, want = { 0 }, none = { 0 };
            for (int k = 0; k < x->n; k++) if (*x->text[k]) str_puts(&text[k], x->text[k]);
            ids_put(&got, 5);                                           /* earlier ids stay */
            int n = turn_result_ids(&f, &got, text, x->n, -1, INT_MAX);
            whole(&c, &want, text, x->n);
            CHECK(n == want.n && got.n == n + 1 && got.p[0] == 5 && !memcmp(got.p + 1, want.p, (size_t)n * sizeof(int)),
                  "%s, %s tokenizer, %s: %d ids, %d in the conversation", worlds[w].chat, turny_name[worlds[w].kind],
                  x->name, n, want.n);
            turn_result_ids(&f, &none, (struct str[4]){ { 0 } }, x->n, -1, INT_MAX);
            /* no text becomes a special token */
            assert_int_equal(own_specials(c.t, &want), own_specials(c.t, &none));
            for (int k = 0; k < x->n; k++) str_free(&text[k]);
            ids_free(&got);
            ids_free(&want);
            ids_free(&none);
        }
        call_form_close(&f);
    }
}

/* Within every limit: never a token too many, and a complete frame if there is room for it. */
static void results_are_cut(void **state)
{
    (void)state;
    for (size_t w = 0; w < WORLDS; w++)
        for (int max = -1; max < 9; max += 3) {
            struct chat c;
            struct call_form f;
            struct str text[2] = { { 0 } }, shown = { 0 }, ends = { 0 };
            struct ids frame = { 0 }, full = { 0 };
            open_world(&f, &c, w);
            int empty = turn_result_ids(&f, &frame, text, 2, max, INT_MAX);
            str_puts(&text[0], "R\xc3\xa9sultat \xf0\x9f\x98\x80 123456");
            str_puts(&text[1], "R:0123 <|im_end|>\n\n");
            int all = turn_result_ids(&f, &full, text, 2, max, INT_MAX);
            str_clear(&ends);
            tokenizer_decode(c.t, &ends, frame.p + frame.n - 3, 3, true);
            for (int room = 0; room < all + 2; room++) {
                struct ids got = { 0 };
                int n = turn_result_ids(&f, &got, text, 2, max, room);
                CHECK(n == got.n && n <= room && (room < all || n == all), "%s, max %d, room %d of %d: %d tokens",
                      worlds[w].chat, max, room, all, n);
                str_clear(&shown);
                tokenizer_decode(c.t, &shown, got.p, got.n, true);
                if (room >= empty + 4)
                    CHECK(shown.n > ends.n && !strcmp(shown.p + shown.n - ends.n, ends.p) &&
                              own_specials(c.t, &got) == own_specials(c.t, &frame),
                          "%s, max %d, room %d: \"%s\"", worlds[w].chat, max, room, shown.p);
                ids_free(&got);
            }
            if (max >= 0)
                CHECK(all <= empty + 2 * max + 4, "%s, max %d: %d tokens, %d without text", worlds[w].chat, max, all,
                      empty);
            for (int k = 0; k < 2; k++) str_free(&text[k]);
            str_free(&shown);
            str_free(&ends);
            ids_free(&frame);
            ids_free(&full);
            call_form_close(&f);
        }
}

static int make(void **state)
{
    (void)state;
    for (int k = 0; k < TURNYS; k++) tok[k] = turny_tokenizer((enum turny)k);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    for (int k = 0; k < TURNYS; k++) tokenizer_free(tok[k]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(calls_of_a_turn),
                                        cmocka_unit_test(limits_of_a_call),
                                        cmocka_unit_test(calls_of_a_llama_turn),
                                        cmocka_unit_test(many_llama_calls),
                                        cmocka_unit_test(call_formats),
                                        cmocka_unit_test(results_are_turns),
                                        cmocka_unit_test(results_are_cut) };
    return cmocka_run_group_tests_name("calls", tests, make, drop);
}
