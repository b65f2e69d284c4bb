/* fuzz_chat.c: the first byte says what the rest is: a chat template to recognise, JSON tools to declare, or the texts of a conversation (parted by 0 bytes),
 * which must be written without any special token of their own and come back. */
#include "model/chat_in.h"
#include "tests/model/tok_json.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct tokenizer *fixed(void)
{
    static struct tokenizer *t;
    static const char *const names[] = { "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>" };
    if (t) return t;
    struct str s = { 0 }, added = { 0 };
    for (int i = 0; i < 8; i++)
        str_printf(&added, "%s{\"content\":\"%s\",\"id\":%d,\"special\":%s}", i ? "," : "[", names[i], 300 + i, strstr(names[i], "think") ? "false" : "true");
    str_puts(&added, "]");
    tok_json(&s, (struct tok_json){ .added = added.p });
    struct err e;
    t = tokenizer_parse("fixed", s.p, s.n, &e);
    ENSURE(t);
    str_free(&s);
    str_free(&added);
    return t;
}

static void recognise(const char *text, size_t n)
{
    struct chat_variant v;
    struct err e = { "" };
    if (chat_recognise(&v, text, n, &e)) ENSURE(v.family != CHAT_APPO && strlen(v.system) < CHAT_SYSTEM_MAX && strlen(v.date) < CHAT_DATE_MAX);
    else ENSURE(*e.text);
}

static void declare(const char *text, size_t n)
{
    static const char *const names[] = { "qwen3", "llama3.1" };
    for (int i = 0; i < 2; i++) {
        struct chat c;
        struct chat_tools tools;
        struct err e = { "" };
        ENSURE(chat_open(&c, fixed(), NULL, names[i], &e));
        struct ids x = { 0 };
        if (chat_tools_read(&tools, &c, text, n, &e)) {
            ENSURE(chat_write(&c, &x, NULL, &(struct chat_message){ CHAT_USER, "q", 1 }, 1, &tools, true));
            /* what was written is the same JSON: written once more, nothing changes */
            for (int k = 0; k < tools.n; k++) {
                struct str again = { 0 };
                chat_json(&again, tools.json[k], strlen(tools.json[k]), i ? 4 : 0);
                ENSURE(!strcmp(again.p, tools.json[k]));
                str_free(&again);
            }
        }
        chat_tools_free(&tools);
        ids_free(&x);
    }
}

static void converse(const uint8_t *data, size_t n)
{
    static const char *const names[] = { "chatml", "qwen3", "llama3", "llama3.1" };
    struct chat_message m[8];
    struct chat c;
    struct err e;
    struct chat_mask mask = { 0 };
    struct ids x = { 0 };
    int count = 0;
    ENSURE(chat_open(&c, fixed(), NULL, names[n ? data[0] % 4 : 0], &e));
    for (size_t at = 1; at < n && count < 8;) {
        const uint8_t *end = memchr(data + at, 0, n - at);
        size_t len = end ? (size_t)(end - data) - at : n - at;
        m[count++] = (struct chat_message){ (enum chat_role)(data[at] % 4), (const char *)data + at, len };
        at += len + 1;
    }
    ENSURE(chat_write(&c, &x, &mask, m, count, NULL, true) && mask.n == x.n);
    int ends = 0;
    for (int i = 0; i < x.n; i++) ends += x.p[i] == c.end;
    ENSURE(ends <= count + 1);                              /* results that share a turn have fewer; a head has one */
    chat_mask_free(&mask);
    ids_free(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0) return 0;
    if (data[0] % 3 == 0) recognise((const char *)data + 1, n - 1);
    else if (data[0] % 3 == 1) declare((const char *)data + 1, n - 1);
    else converse(data + 1, n - 1);
    return 0;
}
