/* chat_session.h: a random model of 32 dimensions with a tokenizer of bytes and ChatML's tokens, in a folder, and files
 * for it to read. */
#pragma once
#include "base/file.h"
#include "engine/session/session.h"
#include "model/save.h"
#include "tests/engine/train/mini.h"
#include "tests/model/tokenizer/tok_json.h"

enum { CHATTY_START = 256, CHATTY_END, CHATTY_VOCAB };

/* other: a file that belongs to no tokenizer this program writes, to be passed through. */
static const char chatty_config[] = "{\"tokenizer_class\": \"PreTrainedTokenizerFast\",   \"note\": \"as it came\"}\n";

static inline void chatty_write(const char *folder, const char *name, const char *text)
{
    struct err e;
    struct str path = { 0 };
    str_printf(&path, "%s/%s", folder, name);
    if (!file_write(path.p, text, strlen(text), &e)) die("%s", e.text);
    str_free(&path);
}

static inline void chatty_model(const char *folder)
{
    struct err e;
    struct model m;
    struct str json = { 0 };
    struct model_config c = { .arch = "LlamaForCausalLM",
                              .vocab = CHATTY_VOCAB,
                              .dim = 32,
                              .layers = 2,
                              .heads = 4,
                              .kv_heads = 2,
                              .head_dim = 8,
                              .ff = 48,
                              .max_len = 4096,
                              .tied = true,
                              .rms_eps = 1e-5,
                              .rope_theta = 10000,
                              .bos = -1,
                              .pad = -1 };
    model_make(&m, &c);
    model_init(&m, 5);
    if (!model_save(&m, folder, &e)) die("%s", e.text);
    model_free(&m);
    tok_json(&json, (struct tok_json){ .added = "[{\"id\":256,\"content\":\"<|im_start|>\",\"single_word\":false,"
                                                "\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
                                                "\"special\":true},{\"id\":257,\"content\":\"<|im_end|>\","
                                                "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                                                "\"normalized\":false,\"special\":true}]" });
    chatty_write(folder, "tokenizer.json", json.p);
    chatty_write(folder, "tokenizer_config.json", chatty_config);
    str_free(&json);
}

/* The configuration of a session on it, and further keys. */
static inline void chatty_set(struct config *c, const char *folder, const char *const *set)
{
    config_init(c);
    mini_set(
        c, (const char *const[]){ "model.path", folder, "model.chat_format", "chatml", "trainer.threads", "1", NULL });
    mini_set(c, set);
}
