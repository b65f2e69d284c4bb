/* tokenizer_gguf.c: the vocabulary of a GGUF file, written as the tokenizer.json that it was made from and read by
 * tokenizer_read.c. So both give the same ids, and an export has a tokenizer.json. GGUF does not hold the regular
 * expression, only its name: tokenizer.ggml.pre. */
#include "base/file.h"
#include "model/gguf_model.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/weights/gguf.h"
#include "model/tokenizer/tokenizer_in.h"
#include "base/utf8.h"
#include <string.h>

static const char qwen2_words[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char llama3_words[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* words NULL: GPT-2's expression, which ByteLevel has built in; digits: pre_tokenizer Digits before it. The names are
 * llama.cpp's. */
static const struct pre { const char *name, *words; bool digits, nfc, ignore_merges; } pres[] = {
    { "gpt-2", NULL, false, false, false }, { "smollm", NULL, true, false, false },
    { "qwen2", qwen2_words, false, true, false }, { "llama-bpe", llama3_words, false, false, true },
    { "llama3", llama3_words, false, false, true },
    { "llama-v3", llama3_words, false, false, true },
};

static bool is(struct gguf_text t, const char *text)
{
    return (size_t)t.n == strlen(text) && !memcmp(t.p, text, (size_t)t.n);
}

static const struct pre *find_pre(const char *name, struct gguf_text pre, struct err *e)
{
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) if (is(pre, pres[i].name)) return &pres[i];
    fail(e,
         "%s: tokenizer.ggml.pre '%.*s' is not supported (gpt-2, smollm, qwen2 and llama-bpe are); use the model's own "
         "folder with tokenizer.json",
         name, pre.n < 40 ? (int)pre.n : 40, pre.n ? pre.p : "");
    return NULL;
}

/* A JSON string. False: not UTF-8, or with a 0 byte in it. */
static bool put_string(struct str *out, const char *p, int64_t n)
{
    str_putc(out, '"');
    for (uint32_t c; n > 0;) {
        int len = utf8_get(p, (size_t)n, &c);
        if (!len || c == 0) return false;
        if (c < 0x20) str_printf(out, "\\u%04x", (unsigned)c);
        else if (c == '"' || c == '\\') { str_putc(out, '\\'); str_putc(out, (char)c); }
        else str_put(out, p, (size_t)len);
        p += len;
        n -= len;
    }
    str_putc(out, '"');
    return true;
}

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER = 4, TYPE_UNUSED = 5 };

/* Controls are special tokens; user-defined ones are added but printed. Unused ids (padding of the vocabulary) are not
 * tokens. */
static bool put_added(struct str *out, const char *name, const struct gguf_vocab *v, struct err *e)
{
    bool any = false;
    for (int i = 0; i < v->n; i++) {
        bool special = v->type[i] == TYPE_CONTROL || v->type[i] == TYPE_UNKNOWN;
        if (!special && v->type[i] != TYPE_USER) continue;
        str_printf(out, "%s{\"id\":%d,\"content\":", any ? ",\n" : "", i);
        if (!put_string(out, v->token[i].p, v->token[i].n))
            return fail(e, "%s: tokenizer.ggml.tokens[%d] is not text", name, i);
        str_printf(out, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":%s}",
                   special ? "true" : "false");
        any = true;
    }
    return true;
}

/* Added tokens are in the vocabulary too: the tokenizers library takes an added token's id from there, and gives one
 * that is missing the next id after the vocabulary, whatever its "id". No text becomes one through the vocabulary: no
 * merge makes it, and added tokens are cut out before. */
static bool in_vocab(int type)
{
    return type == TYPE_NORMAL || type == TYPE_UNKNOWN || type == TYPE_CONTROL || type == TYPE_USER;
}

static bool put_model(struct str *out, const char *name, const struct gguf_vocab *v, const struct pre *pre,
                      struct err *e)
{
    bool any = false;
    str_printf(out,
               "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,"
               "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":%s,"
               "\"vocab\":{",
               pre->ignore_merges ? "true" : "false");
    for (int i = 0; i < v->n; i++) {
        if (!in_vocab(v->type[i])) continue;
        str_puts(out, any ? ",\n" : "");
        if (!put_string(out, v->token[i].p, v->token[i].n))
            return fail(e, "%s: tokenizer.ggml.tokens[%d] is not text", name, i);
        str_printf(out, ":%d", i);
        any = true;
    }
    str_puts(out, "},\"merges\":[");
    for (int i = 0; i < v->merges; i++) {
        str_puts(out, i ? ",\n" : "");
        if (!put_string(out, v->merge[i].p, v->merge[i].n))
            return fail(e, "%s: tokenizer.ggml.merges[%d] is not text", name, i);
    }
    str_puts(out, "]}");
    return true;
}

/* The template that puts begin-of-text before raw text. Llama 3's files often leave add_bos_token out; llama.cpp then
 * takes it as set, and so does this program. */
static bool put_bos(struct str *out, const char *name, const struct gguf_vocab *v, const struct pre *pre, struct err *e)
{
    if (v->bos < 0 || !(v->add_bos || (pre->ignore_merges && !v->has_add_bos))) {
        str_puts(out, "null");
        return true;
    }
    struct str id = { 0 };
    bool ok = put_string(&id, v->token[v->bos].p, v->token[v->bos].n) ||
              fail(e, "%s: tokenizer.ggml.tokens[%d] is not text", name, v->bos);
    if (ok)
        str_printf(out,
                   "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":%s,\"type_id\":0}},{"
                   "\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],"
                   "\"pair\":[{\"SpecialToken\":{\"id\":%s,\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},"
                   "{\"SpecialToken\":{\"id\":%s,\"type_id\":1}},"
                   "{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],\"special_tokens\":{%s:{\"id\":%s,\"ids\":[%d],"
                   "\"tokens\":[%s]}}}",
                   id.p, id.p, id.p, id.p, id.p, v->bos, id.p);
    str_free(&id);
    return ok;
}

static bool put_json(struct str *out, const char *name, const struct gguf_vocab *v, struct err *e)
{
    static const char level[] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_"
                                "regex\":%s}";
    if (!is(v->model, "gpt2"))
        return fail(e, "%s: tokenizer.ggml.model '%.*s' is not supported, only gpt2 (byte-level BPE)", name,
                    v->model.n < 40 ? (int)v->model.n : 40, v->model.n ? v->model.p : "");
    if (v->add_space_prefix) return fail(e, "%s: tokenizer.ggml.add_space_prefix is set, which is not supported", name);
    const struct pre *pre = find_pre(name, v->pre, e);
    if (!pre) return false;
    str_puts(out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    if (!put_added(out, name, v, e)) return false;
    str_printf(out, "],\"normalizer\":%s,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[",
               pre->nfc ? "{\"type\":\"NFC\"}" : "null");
    if (pre->digits) str_puts(out, "{\"type\":\"Digits\",\"individual_digits\":true},");
    if (pre->words) {
        str_puts(out, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
        ENSURE(put_string(out, pre->words, (int64_t)strlen(pre->words)));
        str_puts(out, "},\"behavior\":\"Isolated\",\"invert\":false},");
    }
    str_printf(out, level, pre->words ? "false" : "true");
    str_puts(out, "]},\"post_processor\":");
    if (!put_bos(out, name, v, pre, e)) return false;
    str_puts(out, ",\"decoder\":");
    str_printf(out, level, "true");
    str_puts(out, ",");
    if (!put_model(out, name, v, pre, e)) return false;
    str_puts(out, "}\n");
    return true;
}

struct tokenizer *tokenizer_from_gguf(const struct gguf *g, struct err *e)
{
    struct gguf_vocab v;
    struct str text = { 0 };
    if (!gguf_vocab(g, &v, e)) return NULL;
    struct tokenizer *t =
        put_json(&text, gguf_name(g), &v, e) ? tokenizer_parse(gguf_name(g), text.p, text.n, e) : NULL;
    str_free(&text);
    gguf_vocab_free(&v);
    return t;
}

struct tokenizer *tokenizer_open(const char *model_path, struct err *e)
{
    struct str file = { 0 };
    struct tokenizer *t = NULL;
    if (gguf_is(model_path, &file)) {
        struct gguf *g = gguf_open(file.p, e);
        if (g) t = tokenizer_from_gguf(g, e);
        gguf_close(g);
    } else {
        str_clear(&file);
        str_printf(&file, "%s/tokenizer.json", model_path);
        t = tokenizer_read(file.p, e);
    }
    str_free(&file);
    return t;
}
