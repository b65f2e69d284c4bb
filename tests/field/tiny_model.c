/* tiny_model.c: the folder of a tiny model with random weights, because weights are too large for the repository.
 * tiny_model OUT [VARIANT] [FROM] [KEY=JSON ...]: config.json and the tokenizer's files come from FROM, missing ones
 * from tests/field/tiny_qwen. KEY=JSON sets a key of config.json (KEY= removes it). The weights are normal numbers by
 * Philox, seed 1: the same on every machine up to the C library's log and cos. Shapes follow config.json without
 * model/config.c, so that folders which the program rejects can be made, too. */
#include "base/dir.h"
#include "base/file.h"
#include "base/json.h"
#include "base/philox.h"
#include "model/weights/safetensors.h"
#include "model/weights/safetensors_write.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tensor { char name[96]; int rank; int64_t shape[4]; float *x; };
struct made { struct tensor *t; int n; json_t *config; const char *out; struct rng r; struct err e; };

static int64_t count(const struct tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->shape[i];
    return n;
}

static int size(const struct made *m, const char *key)
{
    return (int)json_integer_value(json_object_get(m->config, key));
}
static bool is(const struct made *m, const char *type)
{
    const char *have = json_string_value(json_object_get(m->config, "model_type"));
    return have && !strcmp(have, type);
}

static _Noreturn void stop(const struct err *e)
{
    fprintf(stderr, "tiny_model: %s\n", e->text);
    exit(1);
}

static float normal(struct rng *r)
{
    double u = rng_uniform(r), v = rng_uniform(r);
    return (float)(sqrt(-2 * log(u)) * cos(2 * M_PI * v));
}

/* cols 0: a vector. sd 0: all ones. */
static struct tensor *add(struct made *m, const char *name, int64_t rows, int64_t cols, double sd)
{
    m->t = xrealloc(m->t, (size_t)(m->n + 1) * sizeof *m->t);
    struct tensor *t = &m->t[m->n++];
    *t = (struct tensor){ .rank = cols ? 2 : 1, .shape = { rows, cols } };
    snprintf(t->name, sizeof t->name, "%s", name);
    t->x = xmalloc((size_t)count(t) * sizeof *t->x);
    for (int64_t i = 0; i < count(t); i++) t->x[i] = sd > 0 ? (float)sd * normal(&m->r) : 1;
    return t;
}

static struct tensor *find(struct made *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->t[i].name, name)) return &m->t[i];
    die("tiny_model: no tensor %s", name);
}

static void add_layer(struct made *m, int l)
{
    int dim = size(m, "hidden_size"), ff = size(m, "intermediate_size"), heads = size(m, "num_attention_heads"),
        kv = size(m, "num_key_value_heads");
    int hd = size(m, "head_dim") ? size(m, "head_dim") : dim / heads;
    if (!kv) kv = heads;
    const struct { const char *name; int rows, cols; double sd; bool has; } part[] = {
        { "input_layernorm.weight", dim, 0, 0, true },         { "post_attention_layernorm.weight", dim, 0, 0, true },
        { "self_attn.q_proj.weight", heads * hd, dim, 1, true },
        { "self_attn.q_proj.bias", heads * hd, 0, 1, is(m, "qwen2") },
        { "self_attn.k_proj.weight", kv * hd, dim, 1, true },
        { "self_attn.k_proj.bias", kv * hd, 0, 1, is(m, "qwen2") },
        { "self_attn.v_proj.weight", kv * hd, dim, 1, true },
        { "self_attn.v_proj.bias", kv * hd, 0, 1, is(m, "qwen2") },
        { "self_attn.q_norm.weight", hd, 0, 0, is(m, "qwen3") },
        { "self_attn.k_norm.weight", hd, 0, 0, is(m, "qwen3") },
        { "self_attn.o_proj.weight", dim, heads * hd, 1, true },
        { "mlp.gate_proj.weight", ff, dim, 1, true }, { "mlp.up_proj.weight", ff, dim, 1, true },
        { "mlp.down_proj.weight", dim, ff, 1, true },
    };
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%d.%s", l, part[i].name);
        if (part[i].has) add(m, name, part[i].rows, part[i].cols, 0.05 * part[i].sd);
    }
}

static void add_all(struct made *m)
{
    int layers = size(m, "num_hidden_layers"), vocab = size(m, "vocab_size"), dim = size(m, "hidden_size");
    add(m, "model.embed_tokens.weight", vocab, dim, 0.05);
    for (int l = 0; l < layers; l++) add_layer(m, l);
    add(m, "model.norm.weight", dim, 0, 0);
    if (!json_is_true(json_object_get(m->config, "tie_word_embeddings"))) add(m, "lm_head.weight", vocab, dim, 0.05);
}

/* Variants: changes of the weights (before they are written) and of the files. */
static struct tensor *copy_embed(struct made *m)
{
    bool tied = json_is_true(json_object_get(m->config, "tie_word_embeddings"));
    if (tied) add(m, "lm_head.weight", size(m, "vocab_size"), size(m, "hidden_size"), 1);
    struct tensor *head = find(m, "lm_head.weight"), *embed = find(m, "model.embed_tokens.weight");
    memcpy(head->x, embed->x, (size_t)count(embed) * sizeof *embed->x);
    return head;
}

static void tied_head_same(struct made *m) { copy_embed(m); }
static void tied_head_only(struct made *m)
{
    copy_embed(m);
    struct tensor *embed = find(m, "model.embed_tokens.weight");
    free(embed->x);
    *embed = m->t[--m->n];
}

/* The head is the embedding with its rows in reverse. */
static void tied_head_differs(struct made *m)
{
    struct tensor *head = copy_embed(m), *embed = find(m, "model.embed_tokens.weight");
    int64_t vocab = head->shape[0], dim = head->shape[1];
    for (int64_t i = 0; i < vocab; i++)
        memcpy(head->x + i * dim, embed->x + (vocab - 1 - i) * dim, (size_t)dim * sizeof *head->x);
}

static void nan_weight(struct made *m) { find(m, "model.layers.0.mlp.up_proj.weight")->x[0] = NAN; }
static void inf_weight(struct made *m) { find(m, "model.layers.1.self_attn.o_proj.weight")->x[77] = -INFINITY; }

/* Three tensors, six numbers. */
static void bad_weights(struct made *m)
{
    struct tensor *up = find(m, "model.layers.0.mlp.up_proj.weight"), *norm = find(m, "model.norm.weight");
    up->x[130] = up->x[131] = up->x[8191] = INFINITY;
    norm->x[3] = norm->x[4] = NAN;
    inf_weight(m);
}

static void inv_freq(struct made *m)
{
    for (int l = 0; l < size(m, "num_hidden_layers"); l++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%d.self_attn.rotary_emb.inv_freq", l);
        add(m, name, 8, 0, 0);
    }
}

/* As Hugging Face's and llama's own code stored them. The mask of attention is [1, 1, n, n]. */
static void old_buffers(struct made *m)
{
    add(m, "model.rotary_emb.inv_freq", 8, 0, 0);
    add(m, "model.layers.0.self_attn.rotary_emb.cos_cached", 16, 8, 1);
    add(m, "model.layers.0.self_attn.rotary_emb.sin_cached", 16, 8, 1);
    struct tensor *mask = add(m, "model.layers.1.self_attn.bias", 4, 4, 1);
    mask->rank = 4;
    mask->shape[0] = mask->shape[1] = 1;
    mask->shape[2] = mask->shape[3] = 4;
    add(m, "model.layers.1.self_attn.masked_bias", 1, 0, 1)->rank = 0;
}

static void odd_tensor(struct made *m) { add(m, "model.layers.0.self_attn.gate.weight", 8, 0, 1); }

static void put_json(struct made *m, const char *file, json_t *j)
{
    struct str path = { 0 };
    char *text = json_dumps(j, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    str_printf(&path, "%s/%s", m->out, file);
    if (!file_write(path.p, text, strlen(text), &m->e)) stop(&m->e);
    free(text);
    str_free(&path);
    json_decref(j);
}

/* The layers add zero and the head prefers one token that only generation_config.json lists as an end of text:
 * </tool_call>, id 404 of tiny_qwen. */
static void generation_config_eos(struct made *m)
{
    int end = 404, im_end = 402;
    int64_t dim = size(m, "hidden_size");
    for (int i = 0; i < m->n; i++)
        if (strstr(m->t[i].name, "o_proj") || strstr(m->t[i].name, "down_proj"))
            memset(m->t[i].x, 0, (size_t)count(&m->t[i]) * sizeof(float));
    float *e = find(m, "model.embed_tokens.weight")->x;
    for (int64_t i = 0; i < size(m, "vocab_size") * dim; i++) e[i] = 0.01f * e[i] + (float)(i % dim == 0);
    e[end * dim] += 5;
    put_json(m, "generation_config.json", json_pack("{s:[i,i]}", "eos_token_id", im_end, end));
}

static const struct variant {
    const char *name;
    void (*change)(struct made *m);
    int shards;
    bool listed_head;
} variants[] = {
    { "base", NULL, 1, false },
    { "sharded", NULL, 3, false },
    { "tied_head_same", tied_head_same, 1, false },
    { "tied_head_differs", tied_head_differs, 1, false },
    { "tied_head_only", tied_head_only, 1, false },
    /* as some versions of save_pretrained wrote it: the index names a tensor that is in no file */
    { "index_lists_tied_head", NULL, 1, true },
    { "nan_weight", nan_weight, 1, false },
    { "inf_weight", inf_weight, 1, false },
    { "bad_weights", bad_weights, 1, false },
    { "inv_freq", inv_freq, 1, false },
    { "old_buffers", old_buffers, 1, false },
    { "odd_tensor", odd_tensor, 1, false },
    { "generation_config_eos", generation_config_eos, 1, false },
    { "no_weights", NULL, 0, false },
};

static void write_file(struct made *m, const char *name, int begin, int end)
{
    struct str path = { 0 };
    str_printf(&path, "%s/%s", m->out, name);
    struct st_writer *w = st_create(path.p, &m->e);
    if (!w) stop(&m->e);
    for (int i = begin; i < end; i++) st_declare(w, m->t[i].name, ST_F32, m->t[i].rank, m->t[i].shape);
    for (int i = begin; i < end; i++) st_put_f32(w, m->t[i].x, count(&m->t[i]));
    if (!st_finish(w, &m->e)) stop(&m->e);
    str_free(&path);
}

static void write_weights(struct made *m, const struct variant *v)
{
    if (v->shards == 1 && !v->listed_head) { write_file(m, "model.safetensors", 0, m->n); return; }
    json_t *map = json_object();
    for (int k = 0; k < v->shards; k++) {
        char name[64];
        int begin = m->n * k / v->shards, end = m->n * (k + 1) / v->shards;
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", k + 1, v->shards);
        write_file(m, name, begin, end);
        for (int i = begin; i < end; i++) json_object_set_new(map, m->t[i].name, json_string(name));
        if (v->listed_head) json_object_set_new(map, "lm_head.weight", json_string(name));
    }
    if (v->shards) put_json(m, "model.safetensors.index.json", json_pack("{s:{}, s:o}", "metadata", "weight_map", map));
    else json_decref(map);
}

/* The file from FROM, else from tiny_qwen, if either has it. */
static bool take(const struct made *m, const char *from, const char *file, struct str *path)
{
    struct err e;
    const char *const folders[] = { from, "tests/field/tiny_qwen" };
    for (int i = 0; i < 2; i++) {
        str_clear(path);
        str_printf(path, "%s/%s", folders[i], file);
        if (!file_exists(path->p)) continue;
        struct str to = { 0 };
        str_printf(&to, "%s/%s", m->out, file);
        if (!file_copy(path->p, to.p, &e)) stop(&e);
        str_free(&to);
        return true;
    }
    return false;
}

static void read_config(struct made *m, const char *from, char **set, int n)
{
    struct str path = { 0 }, text = { 0 };
    if (!take(m, from, "config.json", &path)) die("tiny_model: no config.json; run it in the top folder");
    if (!file_read(path.p, 1 << 20, &text, &m->e) || !(m->config = json_from(path.p, text.p, text.n, &m->e)))
        stop(&m->e);
    for (int i = 0; i < n; i++) {
        char *value = strchr(set[i], '=');
        *value++ = 0;
        json_t *v = *value ? json_from_with(set[i], value, strlen(value), JSON_DECODE_ANY, &m->e) : NULL;
        if (*value && !v) stop(&m->e);
        if (v) json_object_set_new(m->config, set[i], v);
        else json_object_del(m->config, set[i]);
    }
    if (n) put_json(m, "config.json", json_incref(m->config));
    str_free(&path);
    str_free(&text);
}

int main(int argc, char **argv)
{
    static const char *const files[] = { "tokenizer.json", "tokenizer_config.json", "generation_config.json",
                                         "chat_template.jinja" };
    struct made m = { .r = rng_make(1, 1, 0) };
    const struct variant *v = variants;
    const char *from = "tests/field/tiny_qwen";
    int set = 1, words = 0;
    while (set < argc && !strchr(argv[set], '=')) {
        words++;
        if (words == 1) m.out = argv[set];
        if (words == 3) from = argv[set];
        for (size_t i = 0; words == 2 && i <= sizeof variants / sizeof *variants; i++) {
            if (i == sizeof variants / sizeof *variants) die("tiny_model: no variant %s", argv[set]);
            if (!strcmp(variants[i].name, argv[set])) { v = &variants[i]; break; }
        }
        set++;
    }
    if (!m.out || words > 3) die("tiny_model OUT [VARIANT] [FROM] [KEY=JSON ...]");
    if (!dir_make(m.out, &m.e)) stop(&m.e);
    read_config(&m, from, argv + set, argc - set);
    struct str path = { 0 };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) take(&m, from, files[i], &path);
    str_free(&path);
    add_all(&m);
    if (v->change) v->change(&m);
    write_weights(&m, v);
    for (int i = 0; i < m.n; i++) free(m.t[i].x);
    free(m.t);
    json_decref(m.config);
    return 0;
}
