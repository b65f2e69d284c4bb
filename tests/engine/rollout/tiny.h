/* tiny.h: a random model of 32 dimensions and a tokenizer of bytes, for the tests of rollouts. Tags are either one
 * special token each or ordinary text whose merges cut across the tags ("h>x" ends one and goes on). */
#pragma once
#include "engine/rollout/rollout.h"
#include <string.h>

enum { TINY_END = 256, TINY_VOCAB = 288 };

static inline void tiny_json_byte(struct str *s, int b)
{
    int other = 0, plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    for (int i = 0; i < b; i++) other += !((i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174);
    str_printf(s, "\\u%04x", plain ? b : 256 + other);      /* GPT-2's alphabet of bytes */
}

static inline struct tokenizer *tiny_tokenizer(bool special_tags)
{
    static const char *const tags[] = { "<|end|>",  "<think>",   "</think>", "<search>", "</search>",
                                        "<python>", "</python>", "<result>", "</result>" };
    static const char *const merges[][2] = {
        { "<", "/" },  { "a", "r" },   { "c", "h" }, { "ch", ">" }, { "o", "n" },
        { "on", ">" }, { "ch>", "x" }, { "<", "s" }, { "r", "e" },  { "re", "s" }
    };
    struct str s = { 0 };
    struct err e = { { 0 } };
    int id = TINY_END;
    str_puts(&s, "{\"version\":\"1.0\",\"added_tokens\":[");
    for (int i = 0; i < (special_tags ? 9 : 1); i++)
        str_printf(&s,
                   "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                   "\"normalized\":false,\"special\":true}",
                   i ? "," : "", id++, tags[i]);
    str_puts(&s, "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_"
                 "offsets\":true,\"use_regex\":false},"
                 "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                 "\"trim_offsets\":true,\"use_regex\":true},"
                 "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,"
                 "\"end_of_word_suffix\":null,"
                 "\"fuse_unk\":false,\"byte_fallback\":false,\"vocab\":{");
    for (int b = 0; b < 256; b++) {
        str_puts(&s, b ? ",\"" : "\"");
        tiny_json_byte(&s, b);
        str_printf(&s, "\":%d", b);
    }
    struct str list = { 0 };
    for (size_t i = 0; !special_tags && i < sizeof merges / sizeof *merges; i++) {
        str_printf(&s, ",\"%s%s\":%d", merges[i][0], merges[i][1], id++);
        str_printf(&list, "%s\"%s %s\"", i ? "," : "", merges[i][0], merges[i][1]);
    }
    str_printf(&s, "},\"merges\":[%s]}}", list.n ? list.p : "");
    struct tokenizer *t = tokenizer_parse("tiny", s.p, s.n, &e);
    if (!t) die("%s", e.text);
    str_free(&s);
    str_free(&list);
    return t;
}

static inline void tiny_model(struct model *m, uint64_t seed)
{
    struct model_config c = { .arch = "LlamaForCausalLM",
                              .vocab = TINY_VOCAB,
                              .dim = 32,
                              .layers = 2,
                              .heads = 4,
                              .kv_heads = 2,
                              .head_dim = 8,
                              .ff = 48,
                              .max_len = 512,
                              .tied = true,
                              .rms_eps = 1e-5,
                              .rope_theta = 10000,
                              .bos = -1,
                              .pad = -1,
                              .eos = { TINY_END },
                              .n_eos = 1 };
    model_make(m, &c);
    model_init(m, seed);
}
