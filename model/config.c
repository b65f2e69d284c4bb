/* config.c: config.json. Every key is in one of four tables (sizes, ids, keys that must have one value, keys that do
 * not matter). A key in none of them is rejected unless it is null or false, because it may change the mathematics: a
 * wrong model that runs is worse than one that does not load. */
#include "model/config.h"
#include "base/file.h"
#include "base/json.h"
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LLAMA = 1, QWEN2 = 2, QWEN3 = 4, ALL = 7 };
static const struct arch { const char *name, *type; int bit; } archs[] = {
    { "LlamaForCausalLM", "llama", LLAMA }, { "Qwen2ForCausalLM", "qwen2", QWEN2 },
    { "Qwen3ForCausalLM", "qwen3", QWEN3 },
};

static const struct size { const char *key; size_t at; int max; bool optional; } sizes[] = {
    { "vocab_size", offsetof(struct model_config, vocab), 1 << 24, false },
    { "hidden_size", offsetof(struct model_config, dim), 1 << 17, false },
    { "num_hidden_layers", offsetof(struct model_config, layers), 1024, false },
    { "num_attention_heads", offsetof(struct model_config, heads), 4096, false },
    { "num_key_value_heads", offsetof(struct model_config, kv_heads), 4096, true },
    { "head_dim", offsetof(struct model_config, head_dim), 4096, true },
    { "intermediate_size", offsetof(struct model_config, ff), 1 << 24, false },
    { "max_position_embeddings", offsetof(struct model_config, max_len), 1 << 24, false },
};

/* Keys that change the mathematics, with the one value that is implemented; null and a missing key mean it too. */
static const struct must { const char *key, *text; double number; int archs; } musts[] = {
    { "hidden_act", "silu", 0, ALL },                   /* "swish" is another name of it */
    { "mlp_bias", NULL, 0, ALL },
    /* also a bias on the output projection, which is not implemented; transformers' Qwen2 has no such key */
    { "attention_bias", NULL, 0, LLAMA | QWEN3 },
    { "partial_rotary_factor", NULL, 1, ALL },
    { "pretraining_tp", NULL, 1, ALL },
    { "rope_interleaved", NULL, 0, ALL },
    { "attention_dropout", NULL, 0, ALL },
    { "is_encoder_decoder", NULL, 0, ALL },
    { "add_cross_attention", NULL, 0, ALL },
};

/* Keys that do not change the mathematics: book-keeping, settings of generate(), settings of Python. */
static const char *const harmless[] = {
    "architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "use_cache", "initializer_range",
    "tie_word_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling", "rope_parameters", "layer_types",
    "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "use_sliding_window", "sliding_window",
    "max_window_layers", "attn_implementation", "is_decoder", "tie_encoder_decoder", "return_dict",
    "return_dict_in_generate", "output_hidden_states", "output_attentions", "output_scores", "torchscript",
    "use_bfloat16", "tf_legacy_loss", "finetuning_task", "id2label", "label2id", "num_labels", "tokenizer_class",
    "prefix", "decoder_start_token_id", "task_specific_params", "problem_type", "max_length", "min_length", "do_sample",
    "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p", "typical_p",
    "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids",
    "num_return_sequences", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
    "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id", "pruned_heads", "chunk_size_feed_forward",
    "cross_attention_hidden_size", "name_or_path", "is_llama_config", "gradient_checkpointing", "max_sequence_length",
    "model_max_length", "tokenizer_model_max_length", "tokenizer_padding_side", "neftune_noise_alpha",
};

/* Keys of models that are not supported, with what to do instead. */
static const struct unsupported { const char *key, *why; } unsupported[] = {
    { "quantization_config",
      "quantised weights are not read from safetensors; give the model before it was quantised (bf16, f16 or f32), or "
      "a GGUF file" },
    { "compression_config",
      "compressed weights are not read; give the model before it was compressed (bf16, f16 or f32), or a GGUF file" },
    { "auto_map",
      "the model brings Python code of its own, which may compute something else; remove the key if the code is not "
      "needed" },
};

/* A configuration being read from j; name stands for the file in messages. */
struct config_reader { json_t *j; const char *name; const struct arch *arch; struct err *e; };

static bool read_arch(struct config_reader *r, struct model_config *c)
{
    json_t *list = json_object_get(r->j, "architectures");
    const char *arch = json_string_value(json_array_get(list, 0));
    if (json_array_size(list) != 1 || !arch)
        return fail(r->e, "%s: architectures must name one model, as in [\"LlamaForCausalLM\"]", r->name);
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (!strcmp(arch, archs[i].name)) r->arch = &archs[i];
    if (!r->arch)
        return fail(r->e,
                    "%s: architectures: %.60s is not supported; LlamaForCausalLM, Qwen2ForCausalLM and "
                    "Qwen3ForCausalLM are",
                    r->name, arch);
    json_t *type = json_object_get(r->j, "model_type");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), r->arch->type)))
        return fail(r->e, "%s: model_type does not belong to %s, whose type is \"%s\"", r->name, arch, r->arch->type);
    snprintf(c->arch, sizeof c->arch, "%s", r->arch->name);
    return true;
}

static bool read_sizes(struct config_reader *r, struct model_config *c)
{
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const struct size *s = &sizes[i];
        json_t *v = json_object_get(r->j, s->key);
        if (s->optional && (!v || json_is_null(v))) continue;
        if (!v) return fail(r->e, "%s: no %s", r->name, s->key);
        json_int_t n = json_integer_value(v);
        if (!json_is_integer(v) || n < 1 || n > s->max)
            return fail(r->e, "%s: %s must be a whole number from 1 to %d", r->name, s->key, s->max);
        *(int *)((char *)c + s->at) = (int)n;
    }
    json_t *kv = json_object_get(r->j, "num_key_value_heads");
    if (!kv && r->arch->bit != LLAMA) return fail(r->e, "%s: no num_key_value_heads", r->name);
    /* Llama 1 files have no such key; null means this in all three */
    if (!c->kv_heads) c->kv_heads = c->heads;
    /* transformers' default for Qwen3, whatever hidden_size */
    if (!c->head_dim && r->arch->bit == QWEN3) c->head_dim = 128;
    if (!c->head_dim && c->dim % c->heads)
        return fail(r->e, "%s: hidden_size %d is not a multiple of num_attention_heads %d, and there is no head_dim",
                    r->name, c->dim, c->heads);
    if (!c->head_dim) c->head_dim = c->dim / c->heads;
    return true;
}

static bool read_number(struct config_reader *r, json_t *in, const char *key, double max, double *out)
{
    json_t *v = json_object_get(in, key);
    if (!v || json_is_null(v)) return true;
    double x = json_number_value(v);
    if (!json_is_number(v) || !(x > 0 && x <= max))
        return fail(r->e, "%s: %s must be a number above 0, at most %g", r->name, key, max);
    *out = x;
    return true;
}

/* rope_scaling (older files) and rope_parameters (newer, also carries rope_theta). */
static bool read_rope(struct config_reader *r, struct model_config *c)
{
    c->rope_theta = 10000;                              /* transformers' default, all three architectures */
    if (!read_number(r, r->j, "rope_theta", 1e15, &c->rope_theta)) return false;
    static const char *const keys[] = { "rope_scaling", "rope_parameters" };
    for (int i = 0; i < 2; i++) {
        json_t *rope = json_object_get(r->j, keys[i]);
        struct rope scaling;
        if (!rope || json_is_null(rope)) continue;
        if (!json_is_object(rope)) return fail(r->e, "%s: %s must be null or an object", r->name, keys[i]);
        if (!rope_read(&scaling, &c->rope_theta, rope, r->name, keys[i], c->max_len, r->e)) return false;
        if (scaling.kind == ROPE_PLAIN) continue;
        if (c->rope.kind != ROPE_PLAIN)
            return fail(r->e, "%s: rope_scaling and rope_parameters both scale the positions; remove one", r->name);
        c->rope = scaling;
    }
    if (c->rope.kind == ROPE_YARN && !(c->rope_theta > 1))
        return fail(r->e, "%s: rope_theta must be above 1 with yarn", r->name);
    return true;
}

static bool read_id(struct config_reader *r, json_t *v, const char *key, int vocab, int *out)
{
    json_int_t id = json_integer_value(v);
    if (!json_is_integer(v) || id < 0 || id >= vocab)
        return fail(r->e, "%s: %s must be a token id from 0 to %d (vocab_size - 1)", r->name, key, vocab - 1);
    *out = (int)id;
    return true;
}

/* Adds an id, or a list of them, to those that end a text; one that is there already only once. */
static bool read_eos(struct config_reader *r, json_t *v, struct model_config *c)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > CONFIG_EOS_FILE) return fail(r->e, "%s: eos_token_id: more than %d ids", r->name, CONFIG_EOS_FILE);
    for (size_t i = 0; i < n; i++) {
        int id = 0, k = 0;
        if (!read_id(r, json_is_array(v) ? json_array_get(v, i) : v, "eos_token_id", c->vocab, &id)) return false;
        while (k < c->n_eos && c->eos[k] != id) k++;
        if (k < c->n_eos) continue;
        ENSURE(c->n_eos < CONFIG_EOS_MAX);
        c->eos[c->n_eos++] = id;
    }
    return true;
}

static bool read_ids(struct config_reader *r, struct model_config *c)
{
    c->bos = c->pad = -1;
    json_t *bos = json_object_get(r->j, "bos_token_id"), *pad = json_object_get(r->j, "pad_token_id"),
           *eos = json_object_get(r->j, "eos_token_id");
    if (bos && !json_is_null(bos) && !read_id(r, bos, "bos_token_id", c->vocab, &c->bos)) return false;
    /* Llama 1 files write -1 for none */
    bool no_pad = !pad || json_is_null(pad) || (json_is_integer(pad) && json_integer_value(pad) == -1);
    if (!no_pad && !read_id(r, pad, "pad_token_id", c->vocab, &c->pad)) return false;
    if (!eos || json_is_null(eos)) return true;
    return read_eos(r, eos, c);
}

static bool must_holds(const struct must *m, json_t *v)
{
    if (!v || json_is_null(v)) return true;
    const char *text = json_string_value(v);
    if (m->text) return text && (!strcmp(text, m->text) || (!strcmp(m->text, "silu") && !strcmp(text, "swish")));
    if (json_is_boolean(v)) return m->number <= 0 && json_is_false(v);
    return json_is_number(v) && fabs(json_number_value(v) - m->number) < DBL_EPSILON;
}

/* Is the key in a table, or switched off? Keys that begin with _, transformers or unsloth are notes of tools. */
static bool known(const char *key, json_t *v)
{
    if (!v || json_is_null(v) || json_is_false(v) || key[0] == '_' || !strncmp(key, "transformers", 12) ||
        !strncmp(key, "unsloth", 7))
        return true;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) if (!strcmp(key, sizes[i].key)) return true;
    for (size_t i = 0; i < sizeof musts / sizeof *musts; i++) if (!strcmp(key, musts[i].key)) return true;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) if (!strcmp(key, harmless[i])) return true;
    return false;
}

/* A sliding window changes nothing where no layer has one, or where it is as long as the longest text. Llama has no
 * such layers in transformers, but files converted from Mistral set sliding_window and mean it. In Qwen
 * use_sliding_window switches it on, from layer max_window_layers (28 if missing) up, unless layer_types lists the
 * layers that have it. */
static bool read_window(struct config_reader *r, const struct model_config *c)
{
    json_t *window = json_object_get(r->j, "sliding_window"), *use = json_object_get(r->j, "use_sliding_window"),
           *types = json_object_get(r->j, "layer_types");
    json_t *from = json_object_get(r->j, "max_window_layers");
    bool given = window && !json_is_null(window) && !json_is_false(window),
         wide_enough = json_integer_value(window) >= c->max_len;
    if (given && !json_is_integer(window))
        return fail(r->e, "%s: sliding_window must be a whole number or null", r->name);
    if (use && !json_is_boolean(use) && !json_is_null(use))
        return fail(r->e, "%s: use_sliding_window must be true or false", r->name);
    if (types && !json_is_array(types) && !json_is_null(types))
        return fail(r->e, "%s: layer_types must be an array", r->name);
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        bool full = type && (!strcmp(type, "full_attention") || (!strcmp(type, "sliding_attention") && wide_enough));
        if (!full) return fail(r->e, "%s: layer_types: only \"full_attention\" is implemented", r->name);
    }
    if (!given || wide_enough || json_array_size(types)) return true;
    if (r->arch->bit == LLAMA && json_integer_value(window) == 0) return true;
    bool layers_have = !from || !json_is_integer(from) ? c->layers > 28 : json_integer_value(from) < c->layers;
    if (r->arch->bit == LLAMA ? !json_is_false(use) : json_is_true(use) && layers_have)
        return fail(r->e, "%s: %s: attention over a sliding window is not implemented", r->name,
                    r->arch->bit == LLAMA ? "sliding_window" : "use_sliding_window");
    return true;
}

static bool read_musts(struct config_reader *r, const struct model_config *c)
{
    for (size_t i = 0; i < sizeof musts / sizeof *musts; i++) {
        const struct must *m = &musts[i];
        if (!(m->archs & r->arch->bit) || must_holds(m, json_object_get(r->j, m->key))) continue;
        if (m->text) return fail(r->e, "%s: %s: only \"%s\" is implemented", r->name, m->key, m->text);
        return fail(r->e, "%s: %s: only %g (or null, or leaving it out) is implemented for %s", r->name, m->key,
                    m->number, r->arch->name);
    }
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (!known(unsupported[i].key, json_object_get(r->j, unsupported[i].key)))
            return fail(r->e, "%s: %s: %s", r->name, unsupported[i].key, unsupported[i].why);
    if (!read_window(r, c)) return false;
    const char *key;
    json_t *v;
    json_object_foreach(r->j, key, v)
        if (!known(key, v))
            return fail(r->e,
                        "%s: %.80s: unknown key, which may change what the model computes; remove it if it does not",
                        r->name, key);
    return true;
}

/* Checks of both the reader and the writer. */
static bool check(const struct model_config *c, const char *name, struct err *e)
{
    if (c->heads % c->kv_heads)
        return fail(e, "%s: num_attention_heads %d is not a multiple of num_key_value_heads %d", name, c->heads,
                    c->kv_heads);
    if (c->head_dim % 2) return fail(e, "%s: head_dim %d is odd; rotary positions rotate pairs", name, c->head_dim);
    if ((int64_t)c->heads * c->head_dim > 1 << 17)
        return fail(e, "%s: num_attention_heads x head_dim is above %d", name, 1 << 17);
    return true;
}

static bool fill(struct config_reader *r, struct model_config *c)
{
    if (!json_is_object(r->j)) return fail(r->e, "%s: must be a JSON object", r->name);
    if (!read_arch(r, c) || !read_sizes(r, c) || !read_musts(r, c) || !read_rope(r, c) || !read_ids(r, c)) return false;
    if (!read_number(r, r->j, "rms_norm_eps", 1, &c->rms_eps)) return false;
    if (!(c->rms_eps > 0)) return fail(r->e, "%s: no rms_norm_eps", r->name);
    json_t *tied = json_object_get(r->j, "tie_word_embeddings");
    if (tied && !json_is_null(tied) && !json_is_boolean(tied))
        return fail(r->e, "%s: tie_word_embeddings must be true or false", r->name);
    c->tied = json_is_true(tied);                       /* missing: false, as in the three classes of transformers */
    c->qkv_bias = r->arch->bit == QWEN2;
    c->qk_norm = r->arch->bit == QWEN3;
    /* not used here; kept for programs that train the model further */
    json_t *sd = json_object_get(r->j, "initializer_range");
    c->initial_sd =
        json_is_number(sd) && json_number_value(sd) > 0 && json_number_value(sd) <= 1 ? json_number_value(sd) : 0;
    return check(c, r->name, r->e);
}

bool model_config_parse(struct model_config *c, const char *name, const char *text, size_t n, struct err *e)
{
    *c = (struct model_config){ 0 };
    struct config_reader r = { .j = json_from(name, text, n, e), .name = name, .e = e };
    if (!r.j) return false;
    bool ok = fill(&r, c);
    json_decref(r.j);
    return ok;
}

bool model_config_read(struct model_config *c, const char *path, struct err *e)
{
    struct str text = { 0 };
    bool ok = file_read(path, 1 << 20, &text, e) && model_config_parse(c, path, text.p ? text.p : "", text.n, e);
    str_free(&text);
    return ok;
}

bool model_generation_parse(struct model_config *c, const char *name, const char *text, size_t n, struct err *e)
{
    struct config_reader r = { .j = json_from(name, text, n, e), .name = name, .e = e };
    if (!r.j) return false;
    json_t *eos = json_object_get(r.j, "eos_token_id");
    bool ok = json_is_object(r.j) || fail(e, "%s: must be a JSON object", name);
    ok = ok && (!eos || json_is_null(eos) || read_eos(&r, eos, c));
    json_decref(r.j);
    return ok;
}

bool model_generation_read(struct model_config *c, const char *folder, struct err *e)
{
    struct str path = { 0 }, text = { 0 };
    str_printf(&path, "%s/generation_config.json", folder);
    bool ok = !file_exists(path.p) || (file_read(path.p, 1 << 20, &text, e) &&
                                       model_generation_parse(c, path.p, text.p ? text.p : "", text.n, e));
    str_free(&path);
    str_free(&text);
    return ok;
}

static void put_double(struct str *s, const char *key, double x)
{
    str_printf(s, "  \"%s\": ", key);
    json_put_double(s, x);
    str_puts(s, ",\n");
}

static void put_ids(struct str *s, const struct model_config *c)
{
    if (c->bos >= 0) str_printf(s, "  \"bos_token_id\": %d,\n", c->bos);
    if (c->n_eos == 1) str_printf(s, "  \"eos_token_id\": %d,\n", c->eos[0]);
    if (c->n_eos > 1) {
        str_puts(s, "  \"eos_token_id\": [");
        for (int i = 0; i < c->n_eos; i++) str_printf(s, "%s%d", i ? ", " : "", c->eos[i]);
        str_puts(s, "],\n");
    }
    /* without the key transformers would use its own default */
    if (c->n_eos == 0) str_puts(s, "  \"eos_token_id\": null,\n");
    if (c->bos < 0) str_puts(s, "  \"bos_token_id\": null,\n");
    if (c->pad >= 0) str_printf(s, "  \"pad_token_id\": %d,\n", c->pad);
}

static void put_config(struct str *s, const struct model_config *c, const struct arch *a, const char *dtype)
{
    str_printf(s, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n", a->name, a->type);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        str_printf(s, "  \"%s\": %d,\n", sizes[i].key, *(const int *)((const char *)c + sizes[i].at));
    if (a->bit != QWEN2) str_puts(s, "  \"attention_bias\": false,\n");
    if (a->bit == LLAMA) str_puts(s, "  \"mlp_bias\": false,\n");
    if (a->bit != LLAMA) str_puts(s, "  \"use_sliding_window\": false,\n");
    str_puts(s, "  \"attention_dropout\": 0.0,\n  \"hidden_act\": \"silu\",\n");
    put_double(s, "initializer_range", c->initial_sd > 0 ? c->initial_sd : 0.02);
    put_double(s, "rms_norm_eps", c->rms_eps);
    put_double(s, "rope_theta", c->rope_theta);
    put_ids(s, c);
    str_puts(s, "  \"rope_scaling\": ");
    rope_put(s, &c->rope);
    str_printf(s, ",\n  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"%s\",\n  \"use_cache\": true\n}\n",
               c->tied ? "true" : "false", dtype);
}

/* The text of config.json, read back as a check. */
static bool render(struct str *s, const struct model_config *c, const char *dtype, const char *name, struct err *e)
{
    const struct arch *a = NULL;
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (!strcmp(c->arch, archs[i].name)) a = &archs[i];
    if (!a) return fail(e, "%s: cannot write a configuration of \"%s\"", name, c->arch);
    if (c->qkv_bias != (a->bit == QWEN2) || c->qk_norm != (a->bit == QWEN3))
        return fail(e, "%s: %s %s biases on q, k, v and %s norms on q and k", name, c->arch,
                    a->bit == QWEN2 ? "has" : "has no", a->bit == QWEN3 ? "has" : "has no");
    struct model_config back;
    put_config(s, c, a, dtype);
    return model_config_parse(&back, name, s->p, s->n, e);
}

bool model_config_check(const struct model_config *c, const char *name, struct err *e)
{
    struct str s = { 0 };
    bool ok = render(&s, c, "float32", name, e);
    str_free(&s);
    return ok;
}

bool model_config_write(const struct model_config *c, const char *dtype, const char *path, struct err *e)
{
    struct str s = { 0 };
    bool ok = render(&s, c, dtype, path, e) && file_write(path, s.p, s.n, e);
    str_free(&s);
    return ok;
}
