/* test_chat_forms.c: every known chat template over fixed and random conversations as data sets have them
 * (tool_calls, reasoning_content, roles, tools), against what transformers renders; and 500 mutated templates, none
 * of which may be accepted and written otherwise than Jinja prints it. Golden data:
 * tests/golden/make_mutated_templates.py. */
#include "base/file.h"
#include "base/json.h"
#include "engine/prompts/prompts.h"
#include "model/chat/chat_in.h"
#include "tests/check.h"
#include "tests/model/tokenizer/tok_json.h"
#include "base/hash.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/appo-forms-XXXXXX";
static json_t *golden;
static struct tokenizer *bytes_of;      /* every byte a token, and the added tokens of all families */

#define A(id, text, special) "{\"id\":" #id ",\"content\":\"" text "\",\"special\":" #special "}"
static const char added[] =
    "["
    A(300, "<|im_start|>", true) ","
    A(301, "<|im_end|>", true) ","
    A(302, "<|endoftext|>", true) ","
    A(303, "<tool_call>", false) ","
    A(304, "</tool_call>", false) ","
    A(305, "<think>", false) ","
    A(306, "</think>", false) ","
    A(307, "<tool_response>", false) ","
    A(308, "</tool_response>", false) ","
    A(310, "<|begin_of_text|>", true) ","
    A(311, "<|start_header_id|>", true) ","
    A(312, "<|end_header_id|>", true) ","
    A(313, "<|eot_id|>", true) ","
    A(314, "<|eom_id|>", true) ","
    A(315, "<|end_of_text|>", true)
    "]";

static const char *text_of(const json_t *v, const char *key) { return json_string_value(json_object_get(v, key)); }

static void put_file(const char *name, const char *text, size_t n)
{
    struct str p = { 0 };
    str_printf(&p, "%s/%s", dir, name);
    unlink(p.p);
    FILE *f = fopen(p.p, "wb");
    assert_non_null(f);
    assert_true(fwrite(text, 1, n, f) == n && fclose(f) == 0);
    str_free(&p);
}

static bool open_text(struct chat *c, const char *text, size_t n, struct err *e)
{
    put_file("chat_template.jinja", text, n);
    return chat_open(c, bytes_of, dir, "auto", e);
}

/* Writes the conversation's ids; false: rejected. */
static bool write_conversation(struct ids *ids, struct chat_mask *mask, const struct chat *c,
                               const json_t *conversation, struct err *e)
{
    const json_t *list = json_object_get(conversation, "messages");
    struct messages x = { 0 };
    struct chat_tools tools = { 0 };
    bool ok = messages_read(&x, list, json_array_size(list), "messages", e) &&
              tools_value(&tools, c, json_object_get(conversation, "tools"), e);
    struct chat_message *m = ok ? chat_messages(&x) : NULL;
    ok = ok && chat_check(c, m, x.n, tools.n > 0, e);
    if (ok) assert_true(chat_write(c, ids, mask, m, x.n, &tools, json_is_true(json_object_get(conversation, "reply"))));
    free(m);
    chat_tools_free(&tools);
    messages_free(&x);
    return ok;
}

static void off(struct chat *c, const json_t *conversation)
{
    if (c->v.think != CHAT_THINK_FREE && c->v.think != CHAT_THINK_OFF) return;
    c->v.think = json_is_true(json_object_get(conversation, "off")) ? CHAT_THINK_OFF : CHAT_THINK_FREE;
}

/* The same text, and the ids that reading the text gives: these texts hold no special token, and results of tools no
 * added one. */
static void check_same(struct chat *c, const json_t *conversation, const json_t *want, const char *name, int k)
{
    struct ids ids = { 0 }, again = { 0 };
    struct chat_mask mask = { 0 };
    struct str got = { 0 };
    struct err e = { "" };
    off(c, conversation);
    CHECK(write_conversation(&ids, &mask, c, conversation, &e), "%s, %d: %s", name, k, e.text);
    assert_int_equal(mask.n, ids.n);
    str_clear(&got);
    tokenizer_decode(bytes_of, &got, ids.p, ids.n, true);
    CHECK(got.n == json_string_length(want) && !memcmp(got.p, json_string_value(want), got.n),
          "%s, conversation %d: wrote\n%s\nnot\n%s", name, k, got.p, json_string_value(want));
    assert_true(tokenizer_encode(bytes_of, &again, got.p, got.n, true));
    CHECK(ids.n == again.n && !memcmp(ids.p, again.p, (size_t)ids.n * sizeof(int)),
          "%s, conversation %d: %d ids, %d when read", name, k, ids.n, again.n);
    chat_mask_free(&mask);
    ids_free(&ids);
    ids_free(&again);
    str_free(&got);
}

/* Expected in cases: true, any text; false, a rejection by name; a string, this text. */
static void known_templates(void **state)
{
    (void)state;
    const json_t *conversations = json_object_get(golden, "conversations"), *form, *want;
    size_t i, k, same = 0, rejected = 0;
    json_array_foreach(json_object_get(golden, "forms"), i, form) {
        struct chat c;
        struct err e = { "" };
        const json_t *t = json_object_get(form, "template");
        CHECK(open_text(&c, json_string_value(t), json_string_length(t), &e), "%s: %s", text_of(form, "name"), e.text);
        json_array_foreach(json_object_get(form, "cases"), k, want) {
            const json_t *conversation = json_array_get(conversations, k);
            struct ids ids = { 0 };
            if (json_is_string(want)) check_same(&c, conversation, want, text_of(form, "name"), (int)k);
            else if (json_is_false(want))
                CHECK(!write_conversation(&ids, NULL, &c, conversation, &e) && *e.text,
                      "%s, conversation %zu is written", text_of(form, "name"), k);
            same += json_is_string(want);
            rejected += json_is_false(want);
            ids_free(&ids);
        }
    }
    printf("%zu known templates, %zu conversations the same, %zu rejected by name\n", i, same, rejected);
    assert_true(i == 30 && same >= 380 && rejected >= 100);
}

static void random_conversations(void **state)
{
    (void)state;
    const json_t *forms = json_object_get(golden, "forms"), *conversation;
    size_t i;
    json_array_foreach(json_object_get(golden, "random"), i, conversation) {
        const json_t *form = json_array_get(forms, (size_t)json_integer_value(json_object_get(conversation, "form"))),
                     *t = json_object_get(form, "template");
        struct chat c;
        struct err e = { "" };
        CHECK(open_text(&c, json_string_value(t), json_string_length(t), &e), "%s", e.text);
        check_same(&c, conversation, json_object_get(conversation, "text"), text_of(form, "name"), (int)i);
    }
    assert_int_equal(i, 200);
}

/* Training targets of a conversation: calls inside, nothing of a quiet message, nothing of a turn whose thought the
 * template leaves out. */
static const struct { const char *format, *conversation, *own; } masked[] = {
    { "qwen2.5",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"\","
      "\"tool_calls\":[{\"name\":\"f\",\"arguments\":{\"a\":1}}]},"
      "{\"role\":\"tool\",\"content\":\"r\"},{\"role\":\"assistant\",\"content\":\"x\"}]}",
      "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call><|im_end|>x<|im_end|>" },
    { "qwen2.5",
      "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"weight\":0},{\"role\":\"user\","
      "\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"b\"}]}",
      "b<|im_end|>" },
    { "qwen3",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\","
      "\"reasoning_content\":\"t\"},{\"role\":\"user\",\"content\":\"q\"},"
      "{\"role\":\"assistant\",\"content\":\"<think>\\nu\\n</think>\\n\\nb\"}]}",
      "<think>\nu\n</think>\n\nb<|im_end|>" },
    /* a user's message that is a result is no prompt, but with a tag at one end alone it is one */
    { "qwen3",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\","
      "\"reasoning_content\":\"t\"},"
      "{\"role\":\"user\",\"content\":\"<tool_response>r</tool_response>\"},{\"role\":\"assistant\","
      "\"content\":\"<think>\\nu\\n</think>\\n\\nb\"}]}",
      "<think>\nt\n</think>\n\na<|im_end|><think>\nu\n</think>\n\nb<|im_end|>" },
    { "qwen3",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\","
      "\"reasoning_content\":\"t\"},"
      "{\"role\":\"user\",\"content\":\"what is </tool_response>\"},{\"role\":\"assistant\","
      "\"content\":\"<think>\\nu\\n</think>\\n\\nb\"}]}",
      "<think>\nu\n</think>\n\nb<|im_end|>" },
    { "qwen3",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\","
      "\"reasoning_content\":\"t\"},"
      "{\"role\":\"user\",\"content\":\"<tool_response> is what?\"},{\"role\":\"assistant\","
      "\"content\":\"<think>\\nu\\n</think>\\n\\nb\"}]}",
      "<think>\nu\n</think>\n\nb<|im_end|>" },
    { "qwen3-training",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\","
      "\"reasoning_content\":\"t\"},{\"role\":\"user\","
      "\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"b\"}]}",
      "<think>\nt\n</think>\n\na<|im_end|><think>\n\n</think>\n\nb<|im_end|>" },
    { "qwen3",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"},"
      "{\"role\":\"user\",\"content\":\"q\"},"
      "{\"role\":\"assistant\",\"content\":\"b\"}]}", "a<|im_end|><think>\n\n</think>\n\nb<|im_end|>" },
    { "llama3.1",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","
      "\"tool_calls\":[{\"name\":\"f\",\"arguments\":{}}]},{\"role\":\"tool\","
      "\"content\":\"r\"}]}", "{\"name\": \"f\", \"parameters\": {}}<|eot_id|>" },
};

static void targets_are_masked(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
        struct chat c;
        struct err e = { "" };
        struct ids ids = { 0 };
        struct chat_mask mask = { 0 };
        struct str own = { 0 };
        json_t *conversation = json_from("case", masked[i].conversation, strlen(masked[i].conversation), &e);
        CHECK(conversation && chat_open(&c, bytes_of, NULL, masked[i].format, &e) &&
                  write_conversation(&ids, &mask, &c, conversation, &e),
              "case %zu: %s", i, e.text);
        str_clear(&own);
        for (int k = 0; k < ids.n; k++) if (mask.p[k]) tokenizer_decode(bytes_of, &own, &ids.p[k], 1, true);
        CHECK(!strcmp(own.p, masked[i].own), "case %zu: marked is\n%s\nnot\n%s", i, own.p, masked[i].own);
        json_decref(conversation);
        chat_mask_free(&mask);
        ids_free(&ids);
        str_free(&own);
    }
}

/* Llama 3.1 writes a result that is a list as JSON; it must not be joined. */
static void listed_results(void **state)
{
    (void)state;
    static const char conversation[] = "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
                                       "\"q\"}]},{"
                                       "\"role\":\"tool\",\"content\":[{\"type\":\"text\",\"text\":\"r\"}]}]}";
    static const struct {
        const char *format;
        bool ok;
    } cases[] = { { "llama3.1", false }, { "llama3", true }, { "qwen2.5", true } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat c;
        struct err e = { "" };
        struct ids ids = { 0 };
        json_t *v = json_from("case", conversation, sizeof conversation - 1, &e);
        assert_true(v && chat_open(&c, bytes_of, NULL, cases[i].format, &e));
        bool ok = write_conversation(&ids, NULL, &c, v, &e);
        CHECK(ok == cases[i].ok && (ok || strstr(e.text, "message 1: ")), "%s: %s", cases[i].format, e.text);
        json_decref(v);
        ids_free(&ids);
    }
}

/* Hash of the text, as make_mutated_templates.py takes it of Jinja's output; a rejected conversation has the mark of
 * one at which Jinja fails. */
static uint64_t fingerprint(struct chat *c, const json_t *form, struct str *last)
{
    const json_t *want;
    size_t k;
    uint64_t h = fnv1a("", 0);
    json_array_foreach(json_object_get(form, "cases"), k, want) {
        const json_t *conversation = json_array_get(json_object_get(golden, "conversations"), k);
        struct ids ids = { 0 };
        struct err e = { "" };
        if (!json_is_string(want)) continue;
        off(c, conversation);
        str_clear(last);
        if (write_conversation(&ids, NULL, c, conversation, &e)) {
            tokenizer_decode(bytes_of, last, ids.p, ids.n, true);
            h = fnv1a_add(h, last->p, last->n + 1);
        } else {
            h = fnv1a_add(h, "\1", 1);
        }
        ids_free(&ids);
    }
    return h;
}

static void mutated_templates(void **state)
{
    (void)state;
    const json_t *one;
    size_t i;
    int accepted = 0, rejected = 0;
    struct str text = { 0 }, last = { 0 };
    json_array_foreach(json_object_get(golden, "mutated"), i, one) {
        const json_t *form = json_array_get(json_object_get(golden, "forms"),
                                            (size_t)json_integer_value(json_object_get(one, "form"))),
                     *put = json_object_get(one, "put");
        const char *t = text_of(form, "template");
        size_t at = (size_t)json_integer_value(json_object_get(one, "at")),
               cut = (size_t)json_integer_value(json_object_get(one, "cut"));
        struct chat c;
        struct err e = { "" };
        str_clear(&text);
        str_put(&text, t, at);
        str_put(&text, json_string_value(put), json_string_length(put));
        str_puts(&text, t + at + cut);
        if (!open_text(&c, text.p, text.n, &e)) {
            rejected++;
            CHECK(strstr(e.text, "line ") && strstr(e.text, "model.chat_format="), "%s", e.text);
            continue;
        }
        accepted++;
        uint64_t got = fingerprint(&c, form, &last), want = strtoull(text_of(one, "hash"), NULL, 16);
        CHECK(got == want,
              "mutated template %zu (%s, at %zu '%s' for %zu bytes) is accepted, and Jinja prints something else than, "
              "at last,\n%s",
              i, text_of(form, "name"), at, json_string_value(put), cut, last.p);
    }
    printf("%zu mutated templates: %d accepted, all as Jinja prints them; %d rejected\n", i, accepted, rejected);
    assert_true(i == 500 && accepted >= 50 && rejected >= 250);
    str_free(&text);
    str_free(&last);
}

static int set_up(void **state)
{
    (void)state;
    static const char bos[] = "{\"bos_token\": \"<|begin_of_text|>\"}";
    struct str s = { 0 };
    struct err e = { "" };
    bool ok = file_read("tests/golden/chat/forms.json.gz", 64 << 20, &s, &e);
    golden = ok ? json_from("forms.json.gz", s.p, s.n, &e) : NULL;
    CHECK(golden, "%s", e.text);
    tok_json(&s, (struct tok_json){ .added = added });
    bytes_of = tokenizer_parse("made", s.p, s.n, &e);
    CHECK(bytes_of, "%s", e.text);
    str_free(&s);
    if (!mkdtemp(dir)) return -1;
    put_file("tokenizer_config.json", bos, sizeof bos - 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char cmd[128];
    json_decref(golden);
    tokenizer_free(bytes_of);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(known_templates), cmocka_unit_test(random_conversations),
                                        cmocka_unit_test(targets_are_masked), cmocka_unit_test(listed_results),
                                        cmocka_unit_test(mutated_templates) };
    return cmocka_run_group_tests_name("chat forms", tests, set_up, tear_down);
}
