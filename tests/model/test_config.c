/* test_config.c: the three architectures read and written, and one changed key at a time: keys that are allowed, and
 * keys that must be rejected by name. */
#include "model/config.h"
#include "base/file.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Qwen2.5-0.5B's file, Qwen3-0.6B's and Llama-3.2-1B's (its rope scaled: a case below puts that line back), keys as
 * their makers wrote them */
static const char qwen2[] =
    "{\"architectures\":[\"Qwen2ForCausalLM\"],\"attention_dropout\":0.0,\"bos_token_id\":151643,\"eos_token_id\":"
    "151645,"
    "\"hidden_act\":\"silu\",\"hidden_size\":896,\"initializer_range\":0.02,\"intermediate_size\":4864,"
    "\"max_position_embeddings\":32768,"
    "\"max_window_layers\":21,\"model_type\":\"qwen2\",\"num_attention_heads\":14,\"num_hidden_layers\":24,"
    "\"num_key_value_heads\":2,"
    "\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,\"sliding_window\":32768,\"tie_word_embeddings\":true,"
    "\"torch_dtype\":\"bfloat16\","
    "\"transformers_version\":\"4.43.1\",\"use_cache\":true,\"use_sliding_window\":false,\"vocab_size\":151936}";
static const char qwen3[] =
    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"attention_bias\":false,\"attention_dropout\":0.0,\"bos_token_id\":"
    "151643,"
    "\"eos_token_id\":151645,\"head_dim\":128,\"hidden_act\":\"silu\",\"hidden_size\":1024,\"initializer_range\":0.02,"
    "\"intermediate_size\":3072,"
    "\"max_position_embeddings\":40960,\"max_window_layers\":28,\"model_type\":\"qwen3\",\"num_attention_heads\":16,"
    "\"num_hidden_layers\":28,"
    "\"num_key_value_heads\":8,\"rms_norm_eps\":1e-06,\"rope_scaling\":null,\"rope_theta\":1000000,"
    "\"sliding_window\":null,\"tie_word_embeddings\":true,"
    "\"torch_dtype\":\"bfloat16\",\"transformers_version\":\"4.51.0\",\"use_cache\":true,\"use_sliding_window\":false,"
    "\"vocab_size\":151936}";
static const char llama[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"attention_bias\":false,\"attention_dropout\":0.0,\"bos_token_id\":"
    "128000,"
    "\"eos_token_id\":[128001,128008,128009],\"head_dim\":64,\"hidden_act\":\"silu\",\"hidden_size\":2048,"
    "\"initializer_range\":0.02,"
    "\"intermediate_size\":8192,\"max_position_embeddings\":131072,\"mlp_bias\":false,\"model_type\":\"llama\","
    "\"num_attention_heads\":32,"
    "\"num_hidden_layers\":16,\"num_key_value_heads\":8,\"pretraining_tp\":1,\"rms_norm_eps\":1e-05,"
    "\"rope_scaling\":null,\"rope_theta\":500000.0,"
    "\"tie_word_embeddings\":true,\"torch_dtype\":\"bfloat16\",\"transformers_version\":\"4.45.0.dev0\","
    "\"use_cache\":true,\"vocab_size\":128256}";

/* Two layers, nothing said of windows. */
static const char small[] = "{\"architectures\":[\"Qwen2ForCausalLM\"],\"hidden_size\":64,\"intermediate_size\":128,"
                            "\"max_position_embeddings\":2048,"
                            "\"num_attention_heads\":4,\"num_hidden_layers\":2,\"num_key_value_heads\":2,\"rms_norm_"
                            "eps\":1e-06,"
                            "\"vocab_size\":409}";

static bool parse(struct model_config *c, const char *text, struct err *e)
{
    return model_config_parse(c, "cfg", text, strlen(text), e);
}

static void three_models(void **state)
{
    (void)state;
    struct err e;
    struct model_config c;
    CHECK(parse(&c, qwen2, &e), "%s", e.text);
    assert_string_equal(c.arch, "Qwen2ForCausalLM");
    assert_true(c.vocab == 151936 && c.dim == 896 && c.layers == 24 && c.heads == 14 && c.kv_heads == 2 &&
                c.head_dim == 64 && c.ff == 4864);
    assert_true(c.max_len == 32768 && c.qkv_bias && !c.qk_norm && c.tied && c.bos == 151643 && c.n_eos == 1 &&
                c.eos[0] == 151645 && c.pad == -1);
    CHECK_NEAR(c.rms_eps, 1e-6, 0, "eps");
    CHECK_NEAR(c.rope_theta, 1e6, 0, "theta");
    CHECK(parse(&c, qwen3, &e), "%s", e.text);
    assert_true(c.head_dim == 128 && c.heads == 16 && !c.qkv_bias && c.qk_norm && c.tied);
    CHECK(parse(&c, llama, &e), "%s", e.text);
    assert_true(c.head_dim == 64 && c.kv_heads == 8 && !c.qkv_bias && !c.qk_norm && c.n_eos == 3 && c.eos[2] == 128009);
    CHECK_NEAR(c.rope_theta, 500000, 0, "theta");
}

/* Puts "key": value in place of the key's value in base, at the end if base has no such key; value NULL removes it. */
static void change(struct str *out, const char *base, const char *key, const char *value)
{
    char quoted[80];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(base, quoted), *end = base + strlen(base) - 1;
    str_clear(out);
    if (at) {
        const char *v = at + strlen(quoted), *next = *v == '[' ? strchr(v, ']') + 1 : v + strcspn(v, ",}");
        str_put(out, base, (size_t)(at - base));
        if (*next == ',') str_put(out, next + 1, (size_t)(end - next - 1));
        else out->n--;                                      /* the last key: the comma before it goes */
    } else {
        str_put(out, base, (size_t)(end - base));
    }
    if (value) str_printf(out, ",%s%s", quoted, value);
    str_putc(out, '}');
}

static const struct { const char *base, *key, *value, *says; } cases[] = {
    /* fine */
    { llama, "num_key_value_heads", NULL, NULL }, { llama, "head_dim", NULL, NULL },
    { llama, "rope_theta", NULL, NULL }, { qwen3, "head_dim", NULL, NULL }, { llama, "head_dim", "128", NULL },
    { llama, "pad_token_id", "-1", NULL }, { llama, "pad_token_id", "128004", NULL },
    { llama, "eos_token_id", "null", NULL }, { llama, "bos_token_id", NULL, NULL },
    { llama, "rope_scaling", "{\"rope_type\":\"default\"}", NULL },
    { llama, "rope_scaling", "{\"type\":\"default\"}", NULL },
    { qwen2, "rope_parameters", "{\"rope_theta\":10000.0,\"rope_type\":\"default\"}", NULL },
    { qwen3, "layer_types", "[\"full_attention\",\"full_attention\"]", NULL },
    { qwen2, "some_new_feature", "false", NULL }, { qwen2, "some_new_feature", "null", NULL },
    { qwen2, "_attn_implementation", "\"eager\"", NULL }, { qwen2, "unsloth_version", "\"2025\"", NULL },
    { qwen2, "attention_bias", "true", NULL }, { llama, "partial_rotary_factor", "1.0", NULL },
    { llama, "rope_scaling",
      "{\"factor\":32.0,\"high_freq_factor\":4.0,\"low_freq_factor\":1.0,\"rope_type\":\"llama3\"}", NULL },
    { qwen2, "rope_scaling", "{\"type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32768}", NULL },
    { llama, "quantization_config", "null", NULL }, { llama, "tie_word_embeddings", NULL, NULL },
    { llama, "model_type", NULL, NULL },
    /* SmolLM2's file, as published, has these; tools leave others */
    { llama, "is_llama_config", "true", NULL }, { llama, "rope_interleaved", "false", NULL },
    { llama, "transformers.js_config", "{\"kv_cache_dtype\":{}}", NULL }, { llama, "_name_or_path", "\"x\"", NULL },
    { llama, "max_sequence_length", "2048", NULL }, { llama, "gradient_checkpointing", "true", NULL },
    { llama, "dtype", "\"bfloat16\"", NULL }, { llama, "hidden_act", "\"swish\"", NULL },
    { llama, "attn_implementation", "\"sdpa\"", NULL }, { qwen2, "num_key_value_heads", "null", NULL },
    { llama, "initializer_range", "0.041666666666666664", NULL }, { llama, "auto_map", "null", NULL },
    /* windows that no layer has, or that are as long as the longest text */
    { small, "use_sliding_window", "true,\"sliding_window\":9", NULL },
    { small, "use_sliding_window", "true,\"sliding_window\":9,\"max_window_layers\":2", NULL },
    { small, "use_sliding_window", "true,\"sliding_window\":2048,\"max_window_layers\":0", NULL },
    { small, "use_sliding_window", "true", NULL },
    { small, "use_sliding_window",
      "true,\"sliding_window\":2048,\"layer_types\":[\"full_attention\",\"sliding_attention\"]", NULL },
    { small, "use_sliding_window",
      "true,\"sliding_window\":9,\"max_window_layers\":0,\"layer_types\":[\"full_attention\",\"full_attention\"]",
      NULL },
    { small, "sliding_window", "9,\"max_window_layers\":0", NULL },
    { small, "sliding_window", "9,\"use_sliding_window\":false,\"max_window_layers\":0", NULL },
    { llama, "sliding_window", "131072", NULL }, { llama, "sliding_window", "4096,\"use_sliding_window\":false", NULL },
    { llama, "sliding_window", "null", NULL },
    /* mathematics that is not implemented */
    { qwen2, "rope_scaling", "{\"type\":\"dynamic\",\"factor\":2.0}", "rope_scaling.type: dynamic" },
    { qwen2, "rope_scaling", "7", "rope_scaling" },
    { qwen2, "rope_scaling", "{\"type\":\"yarn\"}", "rope_scaling: no factor" },
    { llama, "rope_scaling",
      "{\"type\":\"linear\",\"factor\":2.0},\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2.0}",
      "both scale" },
    { llama, "rope_theta", "1,\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":2.0}",
      "rope_theta must be above 1" },
    { qwen2, "rope_parameters", "{\"rope_theta\":-1}", "rope_theta" },
    { qwen2, "rope_parameters", "{\"partial_rotary_factor\":0.5}", "partial_rotary_factor" },
    { small, "use_sliding_window", "true,\"sliding_window\":2047,\"max_window_layers\":1",
      "use_sliding_window: attention over a sliding window" },
    { small, "use_sliding_window", "true,\"sliding_window\":9,\"layer_types\":[\"sliding_attention\"]", "layer_types" },
    { small, "layer_types", "[\"sliding_attention\"]", "layer_types" },
    { small, "sliding_window", "9,\"layer_types\":[\"sliding_attention\"]", "layer_types" },
    { small, "use_sliding_window", "1", "use_sliding_window must be" },
    { small, "sliding_window", "1.5", "sliding_window must be" },
    { llama, "sliding_window", "4096", "sliding_window" },
    { qwen3, "layer_types", "[\"full_attention\",\"sliding_attention\"]", "layer_types" },
    { qwen3, "layer_types", "\"x\"", "layer_types" }, { llama, "hidden_act", "\"gelu\"", "hidden_act" },
    { llama, "hidden_act", "1", "hidden_act" }, { llama, "attention_bias", "true", "attention_bias" },
    { qwen3, "attention_bias", "true", "attention_bias" }, { llama, "mlp_bias", "true", "mlp_bias" },
    { llama, "partial_rotary_factor", "0.5", "partial_rotary" },
    { llama, "attention_dropout", "0.1", "attention_dropout" }, { llama, "pretraining_tp", "2", "pretraining_tp" },
    { llama, "final_logit_softcapping", "30.0", "final_logit_softcapping: unknown key" },
    { llama, "quantization_config", "{\"bits\":4}", "quantization_config: quantised weights are not read" },
    { llama, "compression_config", "{}", "compression_config: compressed" },
    { llama, "auto_map", "{\"AutoConfig\":\"x.Y\"}", "auto_map: the model brings" },
    { llama, "rope_interleaved", "true", "rope_interleaved: only 0" },
    { qwen2, "dual_chunk_attention_config", "{}", "dual_chunk_attention_config: unknown key" },
    { qwen3, "attention_dropout", "0.1", "attention_dropout" },
    { llama, "logits_scaling", "8.0", "logits_scaling: unknown key" },
    { qwen3, "partial_rotary_factor", "0.25", "partial_rotary_factor: only 1" },
    { llama, "num_experts", "8", "num_experts" }, { llama, "is_encoder_decoder", "true", "is_encoder_decoder" },
    /* wrong, missing or hostile */
    { llama, "architectures", "[\"MistralForCausalLM\"]", "MistralForCausalLM is not supported" },
    { llama, "architectures", "[]", "architectures" },
    { llama, "architectures", "[\"LlamaForCausalLM\",\"Qwen2ForCausalLM\"]", "architectures" },
    { llama, "architectures", NULL, "architectures" }, { llama, "model_type", "\"qwen2\"", "model_type" },
    { llama, "model_type", "3", "model_type" }, { llama, "vocab_size", NULL, "no vocab_size" },
    { llama, "hidden_size", NULL, "no hidden_size" }, { llama, "num_hidden_layers", NULL, "no num_hidden_layers" },
    { llama, "num_attention_heads", NULL, "no num_attention_heads" },
    { llama, "intermediate_size", NULL, "no intermediate_size" },
    { llama, "max_position_embeddings", NULL, "no max_position_embeddings" },
    { llama, "rms_norm_eps", NULL, "no rms_norm_eps" },
    { qwen2, "num_key_value_heads", NULL, "no num_key_value_heads" },
    { llama, "hidden_size", "0", "hidden_size" }, { llama, "hidden_size", "-5", "hidden_size" },
    { llama, "hidden_size", "2048.0", "hidden_size" }, { llama, "hidden_size", "9223372036854775807", "hidden_size" },
    { llama, "hidden_size", "\"2048\"", "hidden_size" }, { llama, "vocab_size", "16777217", "vocab_size" },
    { llama, "num_hidden_layers", "1025", "num_hidden_layers" },
    { llama, "num_key_value_heads", "7", "num_key_value_heads" },
    { llama, "num_key_value_heads", "64", "num_key_value_heads" }, { llama, "head_dim", "63", "head_dim 63 is odd" },
    { llama, "head_dim", "4097", "head_dim" }, { qwen2, "num_attention_heads", "16", NULL },
    { qwen2, "num_attention_heads", "18", "not a multiple" }, { qwen3, "num_attention_heads", "2048", "above" },
    { llama, "rms_norm_eps", "0", "rms_norm_eps" }, { llama, "rms_norm_eps", "\"1e-5\"", "rms_norm_eps" },
    { llama, "rope_theta", "0", "rope_theta" }, { llama, "bos_token_id", "128256", "bos_token_id" },
    { llama, "bos_token_id", "-2", "bos_token_id" }, { llama, "pad_token_id", "128256", "pad_token_id" },
    { llama, "eos_token_id", "[1,128256]", "eos_token_id" }, { llama, "eos_token_id", "[1,2,3,4,5,6,7,8]", NULL },
    { llama, "eos_token_id", "[1,2,3,4,5,6,7,8,9]", "more than 8" }, { llama, "eos_token_id", "{}", "eos_token_id" },
    { llama, "tie_word_embeddings", "1", "tie_word_embeddings" },
    { llama, "use_cache", "true,\"use_cache\":true", "duplicate" },
};

static void one_change(void **state)
{
    (void)state;
    struct str text = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct model_config c;
        change(&text, cases[i].base, cases[i].key, cases[i].value);
        bool ok = parse(&c, text.p, &e);
        CHECK(ok == !cases[i].says, "%s = %s: %s", cases[i].key, cases[i].value ? cases[i].value : "(removed)", e.text);
        if (!ok)
            CHECK(strstr(e.text, cases[i].says) && strstr(e.text, "cfg"), "%s = %s: says '%s'", cases[i].key,
                  cases[i].value, e.text);
        if (!ok || strcmp(cases[i].key, "head_dim") || cases[i].value) continue;
        assert_int_equal(c.head_dim, cases[i].base == qwen3 ? 128 : 64);       /* defaults differ */
    }
    struct model_config c;
    change(&text, llama, "rope_theta", NULL);
    assert_true(parse(&c, text.p, NULL));
    CHECK_NEAR(c.rope_theta, 10000, 0, "default theta");
    change(&text, qwen2, "rope_parameters", "{\"rope_theta\":5000.5}");
    assert_true(parse(&c, text.p, NULL));
    CHECK_NEAR(c.rope_theta, 5000.5, 0, "newer key wins");
    change(&text, llama, "tie_word_embeddings", NULL);
    assert_true(parse(&c, text.p, NULL) && !c.tied);
    change(&text, llama, "num_key_value_heads", NULL);
    assert_true(parse(&c, text.p, NULL) && c.kv_heads == 32);
    str_free(&text);
}

static void cut_files(void **state)
{
    (void)state;
    struct err e;
    struct model_config c;
    for (size_t n = 0; n < sizeof qwen3 - 1; n++) {
        char *cut = memcpy(xmalloc(n), qwen3, n);
        CHECK(!model_config_parse(&c, "cfg", cut, n, &e), "cut to %zu bytes", n);
        free(cut);
    }
    assert_false(parse(&c, "[]", &e));
    assert_false(parse(&c, "null", &e));
    assert_false(model_config_read(&c, "/nonexistent/config.json", &e));
    CHECK(strstr(e.text, "/nonexistent/config.json"), "%s", e.text);
}

static void write_read(void **state)
{
    (void)state;
    struct err e;
    char path[64];
    snprintf(path, sizeof path, "%s/config.json", dir);
    static const char *const bases[] = { llama, qwen2, qwen3 };
    for (int i = 0; i < 3; i++) {
        struct model_config c, back;
        assert_true(parse(&c, bases[i], &e));
        c.rms_eps = i ? 1e-5 : 0.1 + 0.2;                   /* 17 digits needed */
        c.rope_theta = i == 2 ? 1e6 : 12345.6789;
        c.n_eos = i;
        c.eos[0] = 5;
        c.eos[1] = i == 2 ? 7 : c.eos[1];
        c.bos = i ? 4 : -1;
        c.pad = i - 1;
        c.tied = i == 1;
        if (i == 1)
            c.rope = (struct rope){ .kind = ROPE_YARN,
                                    .factor = 3.7,
                                    .low = 1,
                                    .high = 32,
                                    .original = 4096,
                                    .attention = 1.0 / 3,
                                    .exact = true };
        if (i == 2) c.rope = (struct rope){ .kind = ROPE_LINEAR, .factor = 2.5 };
        CHECK(model_config_write(&c, "float32", path, &e), "%s", e.text);
        CHECK(model_config_read(&back, path, &e), "%s", e.text);
        assert_string_equal(back.arch, c.arch);
        assert_true(back.vocab == c.vocab && back.dim == c.dim && back.layers == c.layers && back.heads == c.heads &&
                    back.kv_heads == c.kv_heads);
        assert_true(back.head_dim == c.head_dim && back.ff == c.ff && back.max_len == c.max_len &&
                    back.qkv_bias == c.qkv_bias && back.qk_norm == c.qk_norm);
        assert_true(back.tied == c.tied && back.bos == c.bos && back.pad == c.pad && back.n_eos == c.n_eos);
        for (int k = 0; k < c.n_eos; k++) assert_int_equal(back.eos[k], c.eos[k]);
        CHECK_NEAR(back.rms_eps, c.rms_eps, 0, "eps");
        CHECK_NEAR(back.rope_theta, c.rope_theta, 0, "theta");
        assert_true(back.rope.kind == c.rope.kind && back.rope.original == c.rope.original &&
                    back.rope.exact == c.rope.exact);
        CHECK_NEAR(back.rope.factor, c.rope.factor, 0, "factor");
        CHECK_NEAR(back.rope.attention, c.rope.attention, 0, "attention factor");
        struct model_config odd = c;
        odd.qk_norm = !odd.qk_norm;
        assert_false(model_config_write(&odd, "float32", path, &e));
        odd = c;
        odd.head_dim = 63;
        assert_false(model_config_write(&odd, "float32", path, &e));
        strcpy(odd.arch, "GPT2LMHeadModel");
        assert_false(model_config_write(&odd, "float32", path, &e));
        /* the good file is still there */
        assert_true(model_config_read(&back, path, &e) && back.head_dim == c.head_dim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_models), cmocka_unit_test(one_change), cmocka_unit_test(cut_files),
        cmocka_unit_test(write_read),
    };
    return cmocka_run_group_tests_name("config", tests, make_dir, drop_dir);
}
