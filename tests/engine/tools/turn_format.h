/* turn_format.h: tokenizers for conversations with calls: bytes with ChatML's and Llama's special tokens, calls and
 * results as tokens (Qwen3) or as text whose merges cross the joints between the template's words and a result's; and
 * the recorded tokenizer of Qwen3. */
#pragma once
#include "engine/tools/tool_calls.h"
#include "tests/model/tokenizer/tok_json.h"
#include <jansson.h>

enum turny { TURNY_TOKENS, TURNY_TEXT, TURNY_QWEN3, TURNYS };
static const char *const turny_name[TURNYS] = { "tokens", "text", "Qwen3's" };

#define TURNY(id, text, special) "{\"id\":" #id ",\"content\":\"" text "\",\"special\":" #special "}"
#define TURNY_BOTH                                \
    TURNY(256, "<|im_start|>", true) "," \
    TURNY(257, "<|im_end|>", true) "," \
    TURNY(258, "<|endoftext|>", true) "," \
    TURNY(259, "<|begin_of_text|>", true) "," \
    TURNY(260, "<|start_header_id|>", true) "," \
    TURNY(261, "<|end_header_id|>", true) "," \
    TURNY(262, "<|eot_id|>", true) "," \
    TURNY(263, "<|eom_id|>", true) "," \
    TURNY(264, "<|python_tag|>", true)

static inline struct tokenizer *turny_tokenizer(enum turny kind)
{
    struct err e;
    struct str s = { 0 };
    if (kind == TURNY_QWEN3) {
        json_t *root = json_load_file("tests/golden/tokenizer/qwen3.json", JSON_ALLOW_NUL, NULL);
        char *text = json_dumps(json_object_get(root, "tokenizer"), 0);
        str_puts(&s, text ? text : "");
        free(text);
        json_decref(root);
    } else if (kind == TURNY_TOKENS) {
        tok_json(&s, (struct tok_json){
                         .added = "[" TURNY_BOTH
                                  "," TURNY(265, "<tool_call>", false)
                                  "," TURNY(266, "</tool_call>", false)
                                  "," TURNY(267, "<tool_response>", false)
                                  "," TURNY(268, "</tool_response>", false)
                                  "," TURNY(269, "<think>", false)
                                  "," TURNY(270, "</think>", false) "]" });
    } else {
        tok_json(&s, (struct tok_json){ .added = "[" TURNY_BOTH "]",
                                        .vocab = ",\"\xc4\x8aR\":265,\">\xc4\x8a\":266,\"\xc4\x8a<\":267,\">"
                                                 "\xc4\x8aR\":268,\"}\xc4\x8a\":269",
                                        .merges = "[\"\xc4\x8a R\",\"> \xc4\x8a\",\"\xc4\x8a <\",\"> \xc4\x8aR\",\"} "
                                                  "\xc4\x8a\"]" });
    }
    struct tokenizer *t = tokenizer_parse(turny_name[kind], s.p, s.n, &e);
    if (!t) die("%s", e.text);
    str_free(&s);
    return t;
}

/* Opens a chat format and its call format on t. */
static inline void turny_open(struct call_form *f, struct chat *c, const struct tokenizer *t, const char *chat_format,
                              enum call_format wanted)
{
    struct err e;
    if (!chat_open(c, t, NULL, chat_format, &e) || !call_form_open(f, wanted, c, &e)) die("%s", e.text);
}
