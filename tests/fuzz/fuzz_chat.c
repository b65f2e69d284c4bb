/* fuzz_chat.c: the first byte selects the kind of the rest: a chat template to tokenise and recognise; JSON tools to
 * declare; the texts of a conversation (separated by 0 bytes), which must be written without special tokens of their
 * own and come back; or a conversation in JSON, to be read and written. */
#include "base/json.h"
#include "data/messages.h"
#include "model/chat/chat_in.h"
#include "tests/model/tokenizer/tok_json.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct tokenizer *fixed(void)
{
    static struct tokenizer *t;
    static const char *const names[] = {
        "<|im_start|>",      "<|im_end|>",          "<think>",           "</think>",
        "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
    };
    if (t) return t;
    struct str s = { 0 }, added = { 0 };
    for (int i = 0; i < 8; i++)
        str_printf(&added, "%s{\"content\":\"%s\",\"id\":%d,\"special\":%s}", i ? "," : "[", names[i], 300 + i,
                   strstr(names[i], "think") ? "false" : "true");
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
    struct jinja x;
    const char *last = NULL;
    jinja_open(&x, text, n);
    for (bool more = true; more; more = x.kind != JINJA_END && x.kind != JINJA_WRONG) {
        jinja_next(&x);
        /* positions increase and stay within the text */
        ENSURE(x.kind == JINJA_WRONG || (x.p >= text && x.p <= text + n && x.at >= last));
        last = x.at;
    }
    jinja_close(&x);
    if (chat_recognise(&v, text, n, &e))
        ENSURE(v.family != CHAT_APPO && strlen(v.system) < CHAT_SYSTEM_MAX && strlen(v.date) < CHAT_DATE_MAX);
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
            /* writing is idempotent: the output, written once more, does not change */
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
        m[count++] = (struct chat_message){ .role = (enum chat_role)(data[at] % 4),
                                            .text = (const char *)data + at,
                                            .n = len,
                                            .quiet = data[at] & 4,
                                            .thought = data[at] % 8 == 2 && end ? (const char *)data + at : NULL };
        at += len + 1;
    }
    if (!chat_check(&c, m, count, false, &e)) return;
    ENSURE(chat_write(&c, &x, &mask, m, count, NULL, true) && mask.n == x.n);
    int ends = 0;
    for (int i = 0; i < x.n; i++) ends += x.p[i] == c.end;
    ENSURE(ends <= count + 1);                              /* results that share a turn have fewer; a header has one */
    chat_mask_free(&mask);
    ids_free(&x);
}

/* A conversation read from JSON is written, or rejected with a message; the arguments of its calls come back as JSON.
 * */
static void messages(const char *text, size_t n)
{
    static const char *const names[] = { "chatml", "qwen2.5", "qwen3", "qwen3-training", "llama3.1" };
    struct messages x = { 0 };
    struct err e = { "" };
    json_t *list = json_from("fuzz", text, n, &e);
    bool ok = list && messages_read(&x, list, json_array_size(list), "messages", &e);
    ENSURE(ok || *e.text);
    struct chat_message *m = calloc((size_t)x.n + 1, sizeof *m);
    for (int i = 0; i < x.n; i++)
        m[i] = (struct chat_message){ .role = (enum chat_role)x.p[i].role,
                                      .text = x.p[i].text,
                                      .n = strlen(x.p[i].text),
                                      .thought = x.p[i].thought,
                                      .calls = x.p[i].calls };
    for (size_t i = 0; ok && i < sizeof names / sizeof *names; i++) {
        struct chat c;
        struct ids out = { 0 };
        ENSURE(chat_open(&c, fixed(), NULL, names[i], &e));
        *e.text = 0;
        if (chat_check(&c, m, x.n, false, &e)) ENSURE(chat_write(&c, &out, NULL, m, x.n, NULL, true));
        else ENSURE(*e.text);
        ids_free(&out);
    }
    free(m);
    messages_free(&x);
    json_decref(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0) return 0;
    if (data[0] % 4 == 0) recognise((const char *)data + 1, n - 1);
    else if (data[0] % 4 == 1) declare((const char *)data + 1, n - 1);
    else if (data[0] % 4 == 3) messages((const char *)data + 1, n - 1);
    else converse(data + 1, n - 1);
    return 0;
}
