/* test_messages.c: messages as data sets, APIs and Arrow write them: keys that are read, keys without meaning, and keys
 * rejected because they would be lost. */
#include "data/messages.h"
#include "base/json.h"
#include "tests/check.h"
#include <string.h>

#define U(more) "[{\"role\":\"user\",\"content\":\"q\"" more "}]"
#define A(more) "[{\"role\":\"assistant\",\"content\":\"a\"" more "}]"
#define F(args) "{\"type\":\"function\",\"id\":\"c1\",\"function\":{\"name\":\"f\",\"arguments\":" args "}}"

static void read_messages(void **state)
{
    (void)state;
    static const struct { const char *json, *text, *thought, *calls; enum role role; bool quiet; } cases[] = {
        { U(""), "q", NULL, NULL, ROLE_USER, false },
        { "[{\"role\":\"developer\",\"content\":\"d\"}]", "d", NULL, NULL, ROLE_DEVELOPER, false },
        { "[{\"role\":\"function\",\"content\":\"r\",\"name\":\"g\"}]", "r", NULL, NULL, ROLE_FUNCTION, false },
        /* Arrow's padding, and keys that no template prints */
        { U(",\"tool_calls\":null,\"reasoning_content\":null,\"name\":null,\"weight\":null,\"prefix\":null,"
          "\"images\":[]"),
          "q", NULL, NULL, ROLE_USER, false },
        { U(",\"tool_calls\":[],\"name\":\"Bob\",\"id\":7,\"timestamp\":\"now\",\"toxic\":false"), "q", NULL, NULL,
          ROLE_USER, false },
        { "[{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"c1\",\"name\":\"f\"}]", "r", NULL, NULL, ROLE_TOOL,
          false },
        { A(",\"prefix\":false,\"audio\":null,\"refusal\":null,\"function_call\":null"), "a", NULL, NULL,
          ROLE_ASSISTANT, false },
        { A(",\"function_call\":{\"name\":null,\"arguments\":null},\"tool_calls\":[{\"id\":null,\"type\":null,"
          "\"function\":{\"name\":null,\"arguments\":null}}]"),
          "a", NULL, NULL, ROLE_ASSISTANT, false },
        { A(",\"tool_calls\":[null],\"images\":[null]"), "a", NULL, NULL, ROLE_ASSISTANT, false },
        /* parts */
        { "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one \"},{\"type\":\"text\",\"text\":\"two\","
          "\"image_url\":null}]}]",
          "one two", NULL, NULL, ROLE_USER, false },
        /* calls: OpenAI's form, flat, with padding; arguments keep their types, order and numbers */
        { A(",\"tool_calls\":[" F("{\"z\":1,\"a\":0.1}") "]"), "a", NULL,
          "[{\"name\":\"f\",\"arguments\":{\"z\":1,\"a\":0.10000000000000001}}]", ROLE_ASSISTANT, false },
        { "[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"name\":\"f\",\"arguments\":\"{}\"}]}]", "",
          NULL, "[{\"name\":\"f\",\"arguments\":\"{}\"}]", ROLE_ASSISTANT, false },
        { "[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":null,\"type\":null,\"name\":\"f\","
          "\"arguments\":null}," F("[]") "]}]",
          "", NULL,
          "[{\"name\":\"f\",\"arguments\":null},{\"name\":\"f\",\"arguments\":[]}]", ROLE_ASSISTANT, false },
        /* thoughts */
        { A(",\"reasoning_content\":\"hm\""), "a", "hm", NULL, ROLE_ASSISTANT, false },
        { A(",\"reasoning_content\":\"\""), "a", "", NULL, ROLE_ASSISTANT, false },
        { "[{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"hm\"}]", "", "hm", NULL, ROLE_ASSISTANT,
          false },
        /* weights */
        { A(",\"weight\":0"), "a", NULL, NULL, ROLE_ASSISTANT, true },
        { A(",\"weight\":1.0,\"train\":true,\"loss\":1"), "a", NULL, NULL, ROLE_ASSISTANT, false },
        { A(",\"train\":false"), "a", NULL, NULL, ROLE_ASSISTANT, true },
        { A(",\"loss\":false"), "a", NULL, NULL, ROLE_ASSISTANT, true },
        { A(",\"training\":false"), "a", NULL, NULL, ROLE_ASSISTANT, true },
        { A(",\"loss_scale\":0.0,\"trainable\":null"), "a", NULL, NULL, ROLE_ASSISTANT, true },
        { U(",\"weight\":0"), "q", NULL, NULL, ROLE_USER, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct messages m = { 0 };
        struct err e = { "" };
        json_t *list = json_from("case", cases[i].json, strlen(cases[i].json), &e);
        CHECK(list && messages_read(&m, list, json_array_size(list), "messages", &e), "%s: %s", cases[i].json, e.text);
        const struct message *x = &m.p[0];
        CHECK(m.n == 1 && x->role == cases[i].role && x->quiet == cases[i].quiet && !strcmp(x->text, cases[i].text),
              "%s: %s", cases[i].json, x->text);
        CHECK(!x->thought == !cases[i].thought && (!x->thought || !strcmp(x->thought, cases[i].thought)), "%s: %s",
              cases[i].json, x->thought ? x->thought : "no thought");
        CHECK(!x->calls == !cases[i].calls && (!x->calls || !strcmp(x->calls, cases[i].calls)), "%s: %s", cases[i].json,
              x->calls ? x->calls : "no calls");
        messages_free(&m);
        json_decref(list);
    }
}

static void rejected(void **state)
{
    (void)state;
    static const struct { const char *json, *says; } cases[] = {
        { "[7]", "must have \"role\"" }, { "[{}]", "must have \"role\"" },
        { "[{\"role\":\"king\",\"content\":\"\"}]", "no role \"king\"" },
        { "[{\"role\":\"user\"}]", "must have \"content\"" },
        { "[{\"role\":\"user\",\"content\":null}]", "must have \"content\"" },
        { "[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]}]", "must have \"content\"" },
        { "[{\"role\":\"user\",\"content\":[]}]", "must have \"content\"" },
        { "[{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"\"}]", "must have \"content\"" },
        { "[{\"role\":\"user\",\"content\":7}]", "a text or a list" },
        { "[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}]",
          "part 0 of \"content\" is of type \"image_url\"" },
        { "[{\"role\":\"user\",\"content\":[\"text\"]}]", "is of type \"none\"" },
        { "[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", "has no \"text\"" },
        { U(",\"tool_calls\":[" F("{}") "]"), "belong to role \"assistant\"" },
        { U(",\"reasoning_content\":\"x\""), "belongs to role \"assistant\"" },
        { A(",\"tool_calls\":\"f()\""), "must be a list" }, { A(",\"tool_calls\":[7]"), "tool_calls[0] must be" },
        { A(",\"tool_calls\":[{\"name\":\"f\"}]"), "tool_calls[0] must be" },
        { A(",\"tool_calls\":[{\"name\":7,\"arguments\":{}}]"), "tool_calls[0] must be" },
        { A(",\"tool_calls\":[{\"type\":\"custom\",\"name\":\"f\",\"arguments\":{}}]"), "type \"custom\"" },
        { A(",\"reasoning_content\":[\"x\"]"), "must be a text" },
        { A(",\"weight\":0.5"), "\"weight\" must be 0 or 1" }, { A(",\"train\":\"yes\""), "\"train\" must be 0 or 1" },
        { U(",\"train\":true"), "asks to learn from role \"user\"" },
        { A(",\"thinking\":\"x\""), "\"thinking\" would be lost" },
        { A(",\"reasoning\":\"x\""), "\"reasoning_content\" is its name here" },
        { A(",\"function_call\":{\"name\":\"f\"}"), "\"tool_calls\" is its name here" },
        { U(",\"images\":[\"x.png\"]"), "only text can be read" },
        { A(",\"prefix\":true"), "for the model to continue" },
        { A(",\"prefill\":1"), "for the model to continue" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct messages m = { 0 };
        struct err e = { "" };
        json_t *list = json_from("case", cases[i].json, strlen(cases[i].json), &e);
        CHECK(list, "%s: %s", cases[i].json, e.text);
        CHECK(!messages_read(&m, list, json_array_size(list), "messages", &e), "accepted: %s", cases[i].json);
        CHECK(strstr(e.text, cases[i].says) && strstr(e.text, "message 0 of \"messages\""), "%s: says %s",
              cases[i].json, e.text);
        messages_free(&m);
        json_decref(list);
    }
    struct messages m = { 0 };
    struct err e = { "" };
    json_t *zero = json_loads("[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]", JSON_ALLOW_NUL, NULL),
           *object = json_object();
    assert_false(messages_read(&m, zero, 1, "messages", &e));
    CHECK(strstr(e.text, "zero byte"), "%s", e.text);
    assert_false(messages_read(&m, object, 0, "messages", &e));
    CHECK(strstr(e.text, "must be a list"), "%s", e.text);
    json_decref(zero);
    json_decref(object);
}

/* Other columns of a record with a conversation. */
static void beside(void **state)
{
    (void)state;
    static const struct { const char *row, *says; } cases[] = {
        { "{}", NULL },
        { "{\"images\":[],\"image\":null,\"audio\":\"\",\"picture\":\"x.png\",\"chat_template_kwargs\":{},"
          "\"continue_final_message\":false,\"enable_thinking\":true,\"split\":\"train\"}",
          NULL },
        { "{\"images\":[{\"bytes\":\"x\"}]}", "\"images\" would be lost" },
        { "{\"continue_final_message\":true}", "for the model to continue" },
        { "{\"enable_thinking\":false}", "thinking off" },
        { "{\"chat_template_kwargs\":{\"enable_thinking\":false}}", "options of the chat template" },
        { "{\"audios\":[\"a.wav\"]}", "only text" }, { "{\"image\":\"x.png\"}", "\"image\" would be lost: only text" },
        { "{\"audio\":{\"path\":\"a.wav\"}}", "\"audio\" would be lost" },
        /* Arrow's padding, as pandas and polars write it */
        { "{\"images\":[null],\"videos\":[{\"bytes\":null,\"path\":null}],\"audio\":{\"array\":[],\"path\":null},"
          "\"chat_template_kwargs\":{\"enable_thinking\":null}}",
          NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        json_t *row = json_loads(cases[i].row, 0, NULL);
        bool ok = messages_beside(row, &e);
        CHECK(row && ok == !cases[i].says && (ok || strstr(e.text, cases[i].says)), "%s: %s", cases[i].row, e.text);
        json_decref(row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(read_messages), cmocka_unit_test(rejected),
                                        cmocka_unit_test(beside) };
    return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
