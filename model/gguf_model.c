/* gguf_model.c: configuration and vocabulary from GGUF metadata. As in config.c, a key of the architecture that is in
 * no table is rejected unless it is false: it may change the mathematics. llama.cpp writes Llama 3's scaling not as
 * numbers but as a tensor of divisors, which is recognised here. */
#include "model/gguf_model.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct gguf_arch { const char *name, *hf; } archs[] = {
    { "llama", "LlamaForCausalLM" }, { "qwen2", "Qwen2ForCausalLM" }, { "qwen3", "Qwen3ForCausalLM" },
};

/* Keys after "llama." (or the other two), all whole numbers or truth values. must -1: the value goes to `at`; else it
 * is the one value that is implemented. */
static const struct arch_key { const char *key; size_t at; int max; bool needed; int must; } keys[] = {
    { "embedding_length", offsetof(struct model_config, dim), 1 << 17, true, -1 },
    { "block_count", offsetof(struct model_config, layers), 1024, true, -1 },
    { "attention.head_count", offsetof(struct model_config, heads), 4096, true, -1 },
    { "attention.head_count_kv", offsetof(struct model_config, kv_heads), 4096, false, -1 },
    { "attention.key_length", offsetof(struct model_config, head_dim), 4096, false, -1 },
    { "feed_forward_length", offsetof(struct model_config, ff), 1 << 24, true, -1 },
    { "context_length", offsetof(struct model_config, max_len), 1 << 24, true, -1 },
    { "vocab_size", offsetof(struct model_config, vocab), 1 << 24, false, -1 },
    { "expert_count", 0, 0, false, 0 }, { "expert_used_count", 0, 0, false, 0 },
    { "attention.sliding_window", 0, 0, false, 0 }, { "rope.scaling.attn_factor", 0, 0, false, 1 },
    { "rope.scaling.yarn_attn_factor", 0, 0, false, 1 }, { "rope.scaling.yarn_ext_factor", 0, 0, false, 1 },
};
static const char *const others[] = {
    "attention.value_length", "attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base",
    "rope.scale_linear", "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length",
    "rope.scaling.finetuned", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
};
enum { KEYS = sizeof keys / sizeof *keys, OTHERS = sizeof others / sizeof *others };

struct gguf_reader { const struct gguf *g; const struct gguf_arch *arch; char full[128]; struct err *e; };

/* The whole key, "llama." in front; valid until the next call. */
static const char *full(struct gguf_reader *r, const char *key)
{
    snprintf(r->full, sizeof r->full, "%s.%s", r->arch->name, key);
    return r->full;
}

static bool is(struct gguf_text t, const char *s) { return t.n == (int64_t)strlen(s) && !memcmp(t.p, s, (size_t)t.n); }

static bool read_arch(struct gguf_reader *r, struct model_config *c)
{
    struct gguf_text arch;
    if (!gguf_text(r->g, "general.architecture", &arch))
        return fail(r->e, "%s: no general.architecture", gguf_name(r->g));
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) if (is(arch, archs[i].name)) r->arch = &archs[i];
    if (!r->arch)
        return fail(r->e, "%s: general.architecture: %.*s is not supported; llama, qwen2 and qwen3 are",
                    gguf_name(r->g), (int)(arch.n < 60 ? arch.n : 60), arch.p);
    snprintf(c->arch, sizeof c->arch, "%s", r->arch->hf);
    c->qkv_bias = !strcmp(r->arch->name, "qwen2");
    c->qk_norm = !strcmp(r->arch->name, "qwen3");
    int64_t parts;
    if (gguf_int(r->g, "split.count", &parts) && parts > 1)
        return fail(r->e, "%s: split.count: the model is in %lld files; join them with llama-gguf-split --merge",
                    gguf_name(r->g), (long long)parts);
    return true;
}

static bool read_keys(struct gguf_reader *r, struct model_config *c)
{
    for (int i = 0; i < KEYS; i++) {
        const struct arch_key *k = &keys[i];
        const char *name = full(r, k->key);
        int64_t n = 0;
        double x = k->must;
        if (!gguf_find(r->g, name)) {
            if (k->needed) return fail(r->e, "%s: no %s", gguf_name(r->g), name);
        } else if (k->must >= 0) {
            if (!gguf_double(r->g, name, &x) || fabs(x - k->must) > 0)
                return fail(r->e, "%s: %s: only %d is implemented", gguf_name(r->g), name, k->must);
        } else {
            if (!gguf_int(r->g, name, &n) || n < 1 || n > k->max)
                return fail(r->e, "%s: %s must be one whole number from 1 to %d", gguf_name(r->g), name, k->max);
            *(int *)(void *)((char *)c + k->at) = (int)n;
        }
    }
    return true;
}

/* Every key of the architecture must be in a table, or be false. */
static bool check_known(struct gguf_reader *r)
{
    const char *prefix = full(r, "");
    size_t n = strlen(prefix);
    for (int i = 0; i < gguf_pairs(r->g); i++) {
        const struct gguf_pair *p = gguf_pair_at(r->g, i);
        if (p->key.n < (int64_t)n || memcmp(p->key.p, prefix, n)) continue;
        struct gguf_text rest = { p->key.p + n, p->key.n - (int64_t)n };
        bool known = p->type == GGUF_BOOL && !p->is_array && !*p->p;
        for (int k = 0; !known && k < KEYS; k++) known = is(rest, keys[k].key);
        for (int k = 0; !known && k < OTHERS; k++) known = is(rest, others[k]);
        if (!known)
            return fail(r->e, "%s: %.*s: unknown key, which may change what the model computes", gguf_name(r->g),
                        (int)(p->key.n < 80 ? p->key.n : 80), p->key.p);
    }
    return true;
}

/* The shapes that follow from tensors and from each other. */
static bool read_shapes(struct gguf_reader *r, struct model_config *c)
{
    const char *name = gguf_name(r->g);
    if (!c->kv_heads) c->kv_heads = c->heads;
    if (!c->head_dim && c->dim % c->heads)
        return fail(r->e, "%s: %s: is no multiple of the number of heads", name, full(r, "embedding_length"));
    if (!c->head_dim) c->head_dim = c->dim / c->heads;
    static const char *const same[] = { "attention.value_length", "rope.dimension_count" };
    for (int i = 0; i < 2; i++) {
        int64_t n;
        if (gguf_find(r->g, full(r, same[i])) && (!gguf_int(r->g, r->full, &n) || n != c->head_dim))
            return fail(r->e, "%s: %s: only the size of a head, %d, is implemented", name, r->full, c->head_dim);
    }
    const struct gguf_tensor *embed = gguf_tensor(r->g, "token_embd.weight");
    if (!embed) return fail(r->e, "%s: no tensor token_embd.weight", name);
    if (embed->rank != 2 || embed->shape[0] > 1 << 24)
        return fail(r->e, "%s: tensor token_embd.weight: must have two dimensions, at most %d rows", name, 1 << 24);
    if (c->vocab && c->vocab != embed->shape[0])
        return fail(r->e, "%s: %s is %d, but token_embd.weight has %lld rows", name, full(r, "vocab_size"), c->vocab,
                    (long long)embed->shape[0]);
    c->vocab = (int)embed->shape[0];
    c->tied = !gguf_tensor(r->g, "output.weight");
    return true;
}

static bool read_real(struct gguf_reader *r, const char *key, double min, double max, double *out)
{
    double x;
    if (!gguf_find(r->g, full(r, key))) return true;
    if (!gguf_double(r->g, r->full, &x) || !(x >= min && x <= max))
        return fail(r->e, "%s: %s must be a number from %g to %g", gguf_name(r->g), r->full, min, max);
    *out = x;
    return true;
}

/* llama.cpp stores floats: 1e-5 is 9.99999974737875e-06 there. The shortest decimal that gives the same float is the
 * number of the original config.json. */
static double as_written(double x)
{
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (!(fabsf(strtof(text, NULL) - (float)x) > 0)) return strtod(text, NULL);
    }
    return x;
}

static bool read_scaling(struct gguf_reader *r, struct model_config *c)
{
    const char *name = gguf_name(r->g);
    struct rope *p = &c->rope;
    struct gguf_text type = { "", 0 };
    double linear = 0, original = c->max_len;
    *p = (struct rope){ .low = 1, .high = 32 };
    if (gguf_find(r->g, full(r, "rope.scaling.type")) && !gguf_text(r->g, r->full, &type))
        return fail(r->e, "%s: %s must be a text", name, r->full);
    if (!read_real(r, "rope.scale_linear", 1, 1e6, &linear) ||
        !read_real(r, "rope.scaling.factor", 1, 1e6, &p->factor) ||
        !read_real(r, "rope.scaling.original_context_length", 1, 1 << 24, &original) ||
        !read_real(r, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, &p->low) ||
        !read_real(r, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, &p->high))
        return false;
    p->original = (int)original;
    if (linear > 1 && p->factor > 1)
        return fail(r->e, "%s: rope.scale_linear and rope.scaling.factor are both there", name);
    if (linear > 1) { *p = (struct rope){ .kind = ROPE_LINEAR, .factor = linear }; return true; }
    if (type.n == 0 || is(type, "none")) {
        bool untyped = p->factor > 1 && type.n == 0;
        *p = (struct rope){ 0 };
        return !untyped || fail(r->e, "%s: rope.scaling.factor without rope.scaling.type", name);
    }
    if (!is(type, "linear") && !is(type, "yarn"))
        return fail(r->e, "%s: %s.rope.scaling.type: %.*s is not implemented; none, linear and yarn are", name,
                    r->arch->name, (int)(type.n < 40 ? type.n : 40), type.p);
    if (!(p->factor > 0)) return fail(r->e, "%s: no %s", name, full(r, "rope.scaling.factor"));
    if (is(type, "linear")) { *p = (struct rope){ .kind = ROPE_LINEAR, .factor = p->factor }; return true; }
    p->kind = ROPE_YARN;
    p->attention = 0.1 * log(p->factor) + 1;
    return true;
}

/* rope_freqs.weight: the divisor of each frequency. All must be those of Llama 3.1 to 3.3's settings. */
static bool read_divisors(struct gguf_reader *r, struct model_config *c)
{
    const struct gguf_tensor *t = gguf_tensor(r->g, "rope_freqs.weight");
    if (!t) return true;
    const char *name = gguf_name(r->g);
    int half = c->head_dim / 2;
    if (t->rank != 1 || t->count != half || t->dtype->block != 1)
        return fail(r->e, "%s: tensor rope_freqs.weight: must be %d plain numbers", name, half);
    if (c->rope.kind != ROPE_PLAIN)
        return fail(r->e, "%s: rope_freqs.weight and rope.scaling.type are both there", name);
    float *by = xmalloc((size_t)half * sizeof *by);
    double *plain = xmalloc((size_t)half * sizeof *plain), *scaled = xmalloc((size_t)half * sizeof *scaled);
    gguf_get_f32(t, 0, half, by);
    double factor = (double)by[half - 1];
    struct rope guess = { .kind = ROPE_LLAMA3, .factor = factor, .low = 1, .high = 4, .original = 8192 };
    rope_freq(plain, &c->rope, c->rope_theta, c->head_dim);
    bool fits = factor >= 1 && factor <= 1e6;
    if (fits) rope_freq(scaled, &guess, c->rope_theta, c->head_dim);
    for (int j = 0; fits && j < half; j++) fits = fabs(plain[j] / scaled[j] - (double)by[j]) <= 1e-5 * (double)by[j];
    if (fits && factor > 1) c->rope = guess;
    free(by);
    free(plain);
    free(scaled);
    return fits || fail(r->e,
                        "%s: tensor rope_freqs.weight: not the scaling of Llama 3 (low 1, high 4, 8192 positions), the "
                        "only table that is supported",
                        name);
}

static bool read_id(struct gguf_reader *r, const struct model_config *c, const char *key, int *out)
{
    int64_t id;
    *out = -1;
    if (!gguf_find(r->g, key)) return true;
    if (!gguf_int(r->g, key, &id) || id < 0 || id >= c->vocab)
        return fail(r->e, "%s: %s must be a token id from 0 to %d", gguf_name(r->g), key, c->vocab - 1);
    *out = (int)id;
    return true;
}

bool gguf_config(const struct gguf *g, struct model_config *c, struct err *e)
{
    struct gguf_reader r = { .g = g, .e = e };
    *c = (struct model_config){ .rope_theta = 10000 };
    if (!read_arch(&r, c) || !read_keys(&r, c) || !check_known(&r) || !read_shapes(&r, c)) return false;
    if (!read_real(&r, "attention.layer_norm_rms_epsilon", 1e-30, 1, &c->rms_eps) ||
        !read_real(&r, "rope.freq_base", 1e-3, 1e15, &c->rope_theta))
        return false;
    if (!(c->rms_eps > 0)) return fail(e, "%s: no %s", gguf_name(g), full(&r, "attention.layer_norm_rms_epsilon"));
    c->rms_eps = as_written(c->rms_eps);
    if (!read_scaling(&r, c) || !read_divisors(&r, c)) return false;
    int eos, eot;
    if (!read_id(&r, c, "tokenizer.ggml.bos_token_id", &c->bos) ||
        !read_id(&r, c, "tokenizer.ggml.padding_token_id", &c->pad) ||
        !read_id(&r, c, "tokenizer.ggml.eos_token_id", &eos) || !read_id(&r, c, "tokenizer.ggml.eot_token_id", &eot))
        return false;
    if (eos >= 0) c->eos[c->n_eos++] = eos;
    if (eot >= 0 && eot != eos) c->eos[c->n_eos++] = eot;
    return model_config_check(c, gguf_name(g), e);
}

static const struct { const char *hf, *gguf; } names[] = {
    { "model.embed_tokens.weight", "token_embd.weight" }, { "model.norm.weight", "output_norm.weight" },
    { "lm_head.weight", "output.weight" }, { "input_layernorm.weight", "attn_norm.weight" },
    { "self_attn.q_proj.weight", "attn_q.weight" }, { "self_attn.k_proj.weight", "attn_k.weight" },
    { "self_attn.v_proj.weight", "attn_v.weight" }, { "self_attn.q_proj.bias", "attn_q.bias" },
    { "self_attn.k_proj.bias", "attn_k.bias" }, { "self_attn.v_proj.bias", "attn_v.bias" },
    { "self_attn.q_norm.weight", "attn_q_norm.weight" }, { "self_attn.k_norm.weight", "attn_k_norm.weight" },
    { "self_attn.o_proj.weight", "attn_output.weight" }, { "post_attention_layernorm.weight", "ffn_norm.weight" },
    { "mlp.gate_proj.weight", "ffn_gate.weight" }, { "mlp.up_proj.weight", "ffn_up.weight" },
    { "mlp.down_proj.weight", "ffn_down.weight" },
};

bool gguf_tensor_name(const char *name, char *out, size_t size)
{
    int layer = -1, n = 0;
    if (sscanf(name, "model.layers.%d.%n", &layer, &n) == 1 && n > 0) name += n;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i].hf)) continue;
        if (layer < 0) snprintf(out, size, "%s", names[i].gguf);
        else snprintf(out, size, "blk.%d.%s", layer, names[i].gguf);
        return true;
    }
    return false;
}

bool gguf_interleaved(const struct model_config *c, const char *name)
{
    return !strcmp(c->arch, "LlamaForCausalLM") && (strstr(name, ".q_proj.") || strstr(name, ".k_proj."));
}

static struct gguf_text *texts(const struct gguf_pair *p)
{
    struct gguf_text *t = xmalloc((size_t)p->n * sizeof *t);
    const char *at = p->p;
    for (int64_t i = 0; i < p->n; i++) {
        memcpy(&t[i].n, at, 8);
        t[i].p = at + 8;
        at += 8 + t[i].n;
    }
    return t;
}

static bool read_tokens(const struct gguf *g, struct gguf_vocab *v, struct err *e)
{
    const struct gguf_pair *tokens = gguf_find(g, "tokenizer.ggml.tokens"),
                           *types = gguf_find(g, "tokenizer.ggml.token_type"),
                           *merges = gguf_find(g, "tokenizer.ggml.merges");
    if (!tokens || !tokens->is_array || tokens->type != GGUF_STRING || tokens->n < 1 || tokens->n > 1 << 24)
        return fail(e, "%s: tokenizer.ggml.tokens: an array of 1 to %d texts is needed", gguf_name(g), 1 << 24);
    if (types && (!types->is_array || types->type != GGUF_I32 || types->n != tokens->n))
        return fail(e, "%s: tokenizer.ggml.token_type: must be an array of %lld int32, one a token", gguf_name(g),
                    (long long)tokens->n);
    if (merges && (!merges->is_array || merges->type != GGUF_STRING || merges->n > 1 << 24))
        return fail(e, "%s: tokenizer.ggml.merges: must be an array of at most %d texts", gguf_name(g), 1 << 24);
    v->n = (int)tokens->n;
    v->token = texts(tokens);
    v->type = xmalloc((size_t)v->n * sizeof *v->type);
    for (int i = 0; i < v->n; i++) v->type[i] = 1;
    if (types) memcpy(v->type, types->p, (size_t)v->n * sizeof *v->type);
    v->merges = merges ? (int)merges->n : 0;
    if (merges) v->merge = texts(merges);
    return true;
}

bool gguf_vocab(const struct gguf *g, struct gguf_vocab *v, struct err *e)
{
    *v = (struct gguf_vocab){ .add_space_prefix = false };
    struct gguf_reader r = { .g = g, .e = e };
    gguf_text(g, "tokenizer.ggml.pre", &v->pre);
    gguf_text(g, "tokenizer.chat_template", &v->chat_template);
    v->has_add_bos = gguf_bool(g, "tokenizer.ggml.add_bos_token", &v->add_bos);
    gguf_bool(g, "tokenizer.ggml.add_space_prefix", &v->add_space_prefix);
    bool ok = gguf_text(g, "tokenizer.ggml.model", &v->model) || fail(e, "%s: no tokenizer.ggml.model", gguf_name(g));
    ok = ok && read_tokens(g, v, e);
    const struct model_config size = { .vocab = v->n };
    static const char *const ids[] = { "bos", "eos", "eot", "padding", "unknown" };
    int *const to[] = { &v->bos, &v->eos, &v->eot, &v->pad, &v->unk };
    for (int i = 0; ok && i < 5; i++) {
        char key[64];
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", ids[i]);
        ok = read_id(&r, &size, key, to[i]);
    }
    if (!ok) gguf_vocab_free(v);
    return ok;
}

void gguf_vocab_free(struct gguf_vocab *v)
{
    free(v->token);
    free(v->type);
    free(v->merge);
    *v = (struct gguf_vocab){ 0 };
}
