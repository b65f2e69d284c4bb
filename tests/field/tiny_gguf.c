/* tiny_gguf.c: the GGUF file that llama.cpp's converter would make of a folder (Qwen2 or Qwen3; made by tiny_model),
 * for cases of GGUF models. tiny_gguf FOLDER FILE [front] [holes]: front: the added tokens have the first ids, as in
 * SmolLM2; holes: unused ids lie between the vocabulary and the added tokens, as in Qwen's padding. Then the ids, and
 * the rows of the embedding, differ from those of FOLDER; the cases compare texts. */
#include "base/file.h"
#include "base/json.h"
#include "model/gguf_model.h"
#include "model/weights/gguf.h"
#include "model/weights/safetensors.h"
#include <stdlib.h>
#include <string.h>

enum { NORMAL = 1, CONTROL = 3, USER = 4, UNUSED = 5, HOLES = 5 };

struct file { struct str pairs, tensors; int n_pairs, n_tensors; json_t *config, *tok; struct err e; };

static _Noreturn void stop(const struct err *e)
{
    fprintf(stderr, "tiny_gguf: %s\n", e->text);
    exit(1);
}

static void put_u32(struct str *s, uint32_t x) { str_put(s, (const char *)&x, 4); }
static void put_u64(struct str *s, uint64_t x) { str_put(s, (const char *)&x, 8); }
static void put_text(struct str *s, const char *t) { put_u64(s, strlen(t)); str_puts(s, t); }
static void key(struct file *f, const char *k, enum gguf_type type)
{
    put_text(&f->pairs, k);
    put_u32(&f->pairs, type);
    f->n_pairs++;
}
static void pair_text(struct file *f, const char *k, const char *v) { key(f, k, GGUF_STRING); put_text(&f->pairs, v); }
static void pair_u32(struct file *f, const char *k, uint32_t v) { key(f, k, GGUF_U32); put_u32(&f->pairs, v); }
static void pair_f32(struct file *f, const char *k, double v)
{
    float x = (float)v;
    key(f, k, GGUF_F32);
    str_put(&f->pairs, (const char *)&x, 4);
}
static void array(struct file *f, const char *k, enum gguf_type of, uint64_t n)
{
    key(f, k, GGUF_ARRAY);
    put_u32(&f->pairs, of);
    put_u64(&f->pairs, n);
}

static json_t *read_json(struct file *f, const char *folder, const char *name)
{
    struct str path = { 0 }, text = { 0 };
    str_printf(&path, "%s/%s", folder, name);
    json_t *j = file_read(path.p, 1 << 26, &text, &f->e) ? json_from(path.p, text.p, text.n, &f->e) : NULL;
    if (!j) stop(&f->e);
    str_free(&path);
    str_free(&text);
    return j;
}

static int whole(const struct file *f, const char *k) { return (int)json_integer_value(json_object_get(f->config, k)); }

static void put_shape(struct file *f, const char *arch)
{
    static const struct { const char *gguf, *hf; } sizes[] = {
        { "block_count", "num_hidden_layers" }, { "context_length", "max_position_embeddings" },
        { "embedding_length", "hidden_size" }, { "feed_forward_length", "intermediate_size" },
        { "attention.head_count", "num_attention_heads" }, { "attention.head_count_kv", "num_key_value_heads" },
    };
    char k[96];
    pair_text(f, "general.architecture", arch);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(k, sizeof k, "%s.%s", arch, sizes[i].gguf);
        pair_u32(f, k, (uint32_t)whole(f, sizes[i].hf));
    }
    snprintf(k, sizeof k, "%s.attention.layer_norm_rms_epsilon", arch);
    pair_f32(f, k, json_number_value(json_object_get(f->config, "rms_norm_eps")));
    snprintf(k, sizeof k, "%s.rope.freq_base", arch);
    pair_f32(f, k, json_number_value(json_object_get(f->config, "rope_theta")));
}

/* New ids: text[new], type[new]; the folder's vocabulary and added tokens in the requested order. */
static int put_tokens(struct file *f, bool front, bool holes, const char *eos)
{
    json_t *vocab = json_object_get(json_object_get(f->tok, "model"), "vocab"),
           *added = json_object_get(f->tok, "added_tokens"), *v;
    json_t *merges = json_object_get(json_object_get(f->tok, "model"), "merges");
    int words = (int)json_object_size(vocab), specials = (int)json_array_size(added), gap = holes ? HOLES : 0,
        n = words + specials + gap, end = -1;
    const char **text = xcalloc((size_t)n, sizeof *text), *k;
    int32_t *type = xcalloc((size_t)n, sizeof *type);
    char pad[HOLES][24];
    int first_word = front ? specials + gap : 0, first_added = front ? 0 : words + gap,
        first_hole = front ? specials : words;
    json_object_foreach(vocab, k, v) {
        int id = first_word + (int)json_integer_value(v);
        text[id] = k;
        type[id] = NORMAL;
    }
    for (int i = 0; i < specials; i++) {
        json_t *a = json_array_get(added, (size_t)i);
        text[first_added + i] = json_string_value(json_object_get(a, "content"));
        type[first_added + i] = json_is_true(json_object_get(a, "special")) ? CONTROL : USER;
        if (!strcmp(text[first_added + i], eos)) end = first_added + i;
    }
    for (int i = 0; i < gap; i++) {
        snprintf(pad[i], sizeof pad[i], "[PAD%d]", i);
        text[first_hole + i] = pad[i];
        type[first_hole + i] = UNUSED;
    }
    pair_text(f, "tokenizer.ggml.model", "gpt2");
    pair_text(f, "tokenizer.ggml.pre", "qwen2");
    pair_u32(f, "tokenizer.ggml.eos_token_id", (uint32_t)end);
    array(f, "tokenizer.ggml.tokens", GGUF_STRING, (uint64_t)n);
    for (int i = 0; i < n; i++) put_text(&f->pairs, text[i]);
    array(f, "tokenizer.ggml.token_type", GGUF_I32, (uint64_t)n);
    str_put(&f->pairs, (const char *)type, (size_t)n * sizeof *type);
    array(f, "tokenizer.ggml.merges", GGUF_STRING, json_array_size(merges));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        struct str m = { 0 };
        json_t *x = json_array_get(merges, i);
        if (json_is_string(x)) str_puts(&m, json_string_value(x));
        else str_printf(&m, "%s %s", json_string_value(json_array_get(x, 0)), json_string_value(json_array_get(x, 1)));
        put_text(&f->pairs, m.p);
        str_free(&m);
    }
    free(text);
    free(type);
    return n;
}

/* Tensors as F32, at multiples of 32 bytes; the embedding is cut or zero-padded to n rows. */
static void put_tensors(struct file *f, const struct st_file *st, int n, struct str *data)
{
    for (int i = 0; i < st_count(st); i++) {
        const struct st_tensor *t = st_at(st, i);
        char name[96];
        if (!gguf_tensor_name(t->name, name, sizeof name)) die("tiny_gguf: %s has no name in GGUF", t->name);
        bool rows = !strcmp(name, "token_embd.weight") || !strcmp(name, "output.weight");
        int64_t count = rows ? n * t->shape[1] : t->count;
        put_text(&f->tensors, name);
        put_u32(&f->tensors, (uint32_t)t->rank);
        for (int k = t->rank - 1; k >= 0; k--) put_u64(&f->tensors, (uint64_t)(k == 0 && rows ? n : t->shape[k]));
        put_u32(&f->tensors, 0);
        put_u64(&f->tensors, data->n);
        float *x = xcalloc((size_t)count, sizeof *x);
        if (!st_get_f32(t, 0, count < t->count ? count : t->count, x)) die("tiny_gguf: %s cannot be read", t->name);
        str_put(data, (const char *)x, (size_t)count * sizeof *x);
        while (data->n % 32) str_putc(data, 0);
        free(x);
        f->n_tensors++;
    }
}

int main(int argc, char **argv)
{
    struct file f = { .n_pairs = 0 };
    bool front = false, holes = false;
    for (int i = 3; i < argc; i++) {
        front |= !strcmp(argv[i], "front");
        holes |= !strcmp(argv[i], "holes");
    }
    if (argc < 3) die("tiny_gguf FOLDER FILE [front] [holes]");
    f.config = read_json(&f, argv[1], "config.json");
    f.tok = read_json(&f, argv[1], "tokenizer.json");
    json_t *more = read_json(&f, argv[1], "tokenizer_config.json");
    struct st_file *st = st_open(argv[1], &f.e);
    if (!st) stop(&f.e);
    put_shape(&f, json_string_value(json_object_get(f.config, "model_type")));
    int n = put_tokens(&f, front, holes, json_string_value(json_object_get(more, "eos_token")));
    pair_text(&f, "tokenizer.chat_template", json_string_value(json_object_get(more, "chat_template")));
    struct str all = { 0 }, data = { 0 };
    put_tensors(&f, st, n, &data);
    str_puts(&all, "GGUF");
    put_u32(&all, 3);
    put_u64(&all, (uint64_t)f.n_tensors);
    put_u64(&all, (uint64_t)f.n_pairs);
    str_put(&all, f.pairs.p, f.pairs.n);
    str_put(&all, f.tensors.p, f.tensors.n);
    while (all.n % 32) str_putc(&all, 0);
    str_put(&all, data.p, data.n);
    if (!file_write(argv[2], all.p, all.n, &f.e)) stop(&f.e);
    str_free(&all);
    str_free(&data);
    str_free(&f.pairs);
    str_free(&f.tensors);
    st_close(st);
    json_decref(f.config);
    json_decref(f.tok);
    json_decref(more);
    return 0;
}
