/* test_gguf.c: packed numbers and whole models against files made by the gguf package (tests/golden/gguf/make_gguf.py);
 * metadata changed one key at a time; files with false sizes and counts. */
#include "model/weights/gguf.h"
#include "model/load.h"
#include "model/gguf_model.h"
#include "model/model.h"
#include "base/file.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void quants(void **state)
{
    (void)state;
    static const char *const types[] = {
        "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"
    };
    struct err e = { "" };
    struct gguf *g = gguf_open("tests/golden/gguf/quants.gguf", &e);
    CHECK(g, "%s", e.text);
    assert_int_equal(gguf_tensors(g), 20);
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        char name[32];
        snprintf(name, sizeof name, "packed.%s", types[k]);
        const struct gguf_tensor *packed = gguf_tensor(g, name);
        snprintf(name, sizeof name, "plain.%s", types[k]);
        const struct gguf_tensor *plain = gguf_tensor(g, name);
        assert_true(packed && plain && packed->count == plain->count && packed->rank == 2 &&
                    packed->shape[1] == plain->shape[1]);
        assert_string_equal(packed->dtype->name, types[k]);
        int64_t n = packed->count, block = packed->dtype->block;
        float *want = xmalloc((size_t)n * sizeof *want), *got = xmalloc((size_t)n * sizeof *got);
        assert_true(gguf_get_f32(plain, 0, n, want));
        for (int64_t at = 0; at < n; at += block) assert_true(gguf_get_f32(packed, at, block, got + at));
        for (int64_t i = 0; i < n; i++)
            CHECK(!memcmp(&got[i], &want[i], sizeof *got), "%s: number %lld is %.9g, not %.9g", types[k], (long long)i,
                  (double)got[i], (double)want[i]);
        assert_true(gguf_get_f32(packed, 0, n, got) && !memcmp(got, want, (size_t)n * sizeof *got));
        assert_false(gguf_get_f32(packed, -block, block, got) || gguf_get_f32(packed, n, block, got) ||
                     gguf_get_f32(packed, 0, n + block, got));
        assert_false(block > 1 && (gguf_get_f32(packed, 1, block, got) || gguf_get_f32(packed, 0, 1, got)));
        free(want);
        free(got);
    }
    gguf_close(g);
}

/* The same model from a Hugging Face folder and from GGUF: configuration and every weight. */
static void models(void **state)
{
    (void)state;
    static const struct { const char *gguf, *folder; int eos; } cases[] = {
        { "llama.gguf", "tests/golden/rope/linear", 1 }, { "qwen2.gguf", "tests/golden/rope/yarn", 0 },
        { "qwen3.gguf", "tests/golden/models/qwen3_norm_2to1", 0 },
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct model a, b;
        struct err e = { "" };
        char path[128];
        snprintf(path, sizeof path, "tests/golden/gguf/%s", cases[k].gguf);
        CHECK(model_load(&a, path, &e), "%s", e.text);
        CHECK(model_load(&b, cases[k].folder, &e), "%s", e.text);
        assert_string_equal(a.c.arch, b.c.arch);
        assert_true(a.c.vocab == b.c.vocab && a.c.dim == b.c.dim && a.c.layers == b.c.layers &&
                    a.c.heads == b.c.heads && a.c.kv_heads == b.c.kv_heads);
        assert_true(a.c.head_dim == b.c.head_dim && a.c.ff == b.c.ff && a.c.max_len == b.c.max_len &&
                    a.c.qkv_bias == b.c.qkv_bias && a.c.qk_norm == b.c.qk_norm);
        assert_true(a.c.tied == b.c.tied && a.c.n_eos == cases[k].eos && a.c.rope.kind == b.c.rope.kind &&
                    a.c.rope.original == b.c.rope.original);
        CHECK_NEAR(a.c.rms_eps, b.c.rms_eps, 0, "%s: rms_eps", path);
        CHECK_NEAR(a.c.rope_theta, b.c.rope_theta, 0, "%s: rope_theta", path);
        CHECK_NEAR(a.c.rope.factor, b.c.rope.factor, 0, "%s: factor", path);
        CHECK_NEAR(a.c.rope.low, b.c.rope.low, 0, "%s: beta_slow", path);
        CHECK_NEAR(a.c.rope.high, b.c.rope.high, 0, "%s: beta_fast", path);
        CHECK_NEAR(a.c.rope.attention, b.c.rope.attention, 1e-15, "%s: attention factor", path);
        elem_t *x = xmalloc((size_t)a.count * sizeof *x), *y = xmalloc((size_t)b.count * sizeof *y);
        assert_true(a.count == b.count && a.params == b.params);
        dev_get(x, a.w, (size_t)a.count * sizeof *x);
        dev_get(y, b.w, (size_t)b.count * sizeof *y);
        for (int i = 0; i < a.params; i++)
            CHECK(!memcmp(x + a.param[i].at, y + a.param[i].at, (size_t)param_count(&a.param[i]) * sizeof *x),
                  "%s: tensor %s differs", path, a.param[i].name);
        free(x);
        free(y);
        model_free(&a);
        model_free(&b);
    }
}

static bool is(struct gguf_text t, const char *s) { return t.n == (int64_t)strlen(s) && !memcmp(t.p, s, (size_t)t.n); }

static void vocabulary(void **state)
{
    (void)state;
    struct err e = { "" };
    struct gguf_vocab v;
    struct gguf *g = gguf_open("tests/golden/gguf/llama.gguf", &e);
    CHECK(g && gguf_vocab(g, &v, &e), "%s", e.text);
    assert_true(is(v.model, "gpt2") && is(v.pre, "smollm") && is(v.chat_template, "{{ messages }}"));
    assert_true(v.n == 29 && is(v.token[0], "<|im_end|>") && is(v.token[1], "a") && is(v.token[28], "abc") &&
                v.type[0] == 3 && v.type[1] == 1);
    assert_true(v.merges == 2 && is(v.merge[0], "a b") && is(v.merge[1], "ab c"));
    assert_true(v.eos == 0 && v.pad == 2 && v.bos == -1 && v.eot == -1 && v.unk == -1 && !v.add_bos &&
                !v.add_space_prefix);
    gguf_vocab_free(&v);
    gguf_close(g);
    g = gguf_open("tests/golden/gguf/qwen2.gguf", &e);
    assert_false(gguf_vocab(g, &v, &e));
    CHECK(strstr(e.text, "no tokenizer.ggml.model"), "%s", e.text);
    gguf_close(g);
}

/* ---- files made here ---- */
static void u32(struct str *s, uint32_t x) { str_put(s, (const char *)&x, 4); }
static void u64(struct str *s, uint64_t x) { str_put(s, (const char *)&x, 8); }
static void f32(struct str *s, float x) { str_put(s, (const char *)&x, 4); }
static void text(struct str *s, const char *t) { u64(s, strlen(t)); str_puts(s, t); }
static void key_u32(struct str *s, const char *key, uint32_t x) { text(s, key); u32(s, GGUF_U32); u32(s, x); }
static void key_f32(struct str *s, const char *key, float x) { text(s, key); u32(s, GGUF_F32); f32(s, x); }
static void key_text(struct str *s, const char *key, const char *x) { text(s, key); u32(s, GGUF_STRING); text(s, x); }

/* Tensors: name, shape innermost first, F32 zeros, or what by[] holds. */
struct tensor { const char *name; int64_t cols, rows; const float *by; };

static void make_file(struct str *s, const struct str *pairs, int n_pairs, const struct tensor *t, int n_tensors)
{
    uint64_t at = 0;
    str_clear(s);
    str_puts(s, "GGUF");
    u32(s, 3);
    u64(s, (uint64_t)n_tensors);
    u64(s, (uint64_t)n_pairs);
    str_put(s, pairs->p ? pairs->p : "", pairs->n);
    for (int i = 0; i < n_tensors; i++) {
        text(s, t[i].name);
        u32(s, t[i].rows ? 2 : 1);
        u64(s, (uint64_t)t[i].cols);
        if (t[i].rows) u64(s, (uint64_t)t[i].rows);
        u32(s, 0);
        u64(s, at);
        at += ((uint64_t)t[i].cols * (uint64_t)(t[i].rows ? t[i].rows : 1) * 4 + 31) / 32 * 32;
    }
    while (s->n % 32) str_putc(s, 0);
    for (int i = 0; i < n_tensors; i++) {
        for (int64_t k = 0; k < t[i].cols * (t[i].rows ? t[i].rows : 1); k++) f32(s, t[i].by ? t[i].by[k] : 0);
        while (s->n % 32) str_putc(s, 0);
    }
}

enum { PAIRS = 9 };
static const struct { const char *key; double x; bool real; } base[PAIRS - 1] = {
    { "llama.block_count", 2, false }, { "llama.context_length", 256, false }, { "llama.embedding_length", 128, false },
    { "llama.feed_forward_length", 64, false }, { "llama.attention.head_count", 2, false },
    { "llama.attention.head_count_kv", 1, false }, { "llama.attention.layer_norm_rms_epsilon", 1e-5, true },
    { "llama.rope.freq_base", 500000, true },
};

/* The base metadata with one pair left out and one put in. */
static int metadata(struct str *s, const char *without, const struct str *more)
{
    int n = more->n > 0;
    str_clear(s);
    if (strcmp(without, "general.architecture")) { key_text(s, "general.architecture", "llama"); n++; }
    for (int i = 0; i < PAIRS - 1; i++) {
        if (!strcmp(base[i].key, without)) continue;
        if (base[i].real) key_f32(s, base[i].key, (float)base[i].x);
        else key_u32(s, base[i].key, (uint32_t)base[i].x);
        n++;
    }
    if (more->n) str_put(s, more->p, more->n);
    return n;
}

enum value { WHOLE, REAL, TEXT, TRUE, ARRAY, NONE };
static const struct { const char *without, *key; enum value kind; double x; const char *text, *says; } changes[] = {
    /* fine */
    { "", "", NONE, 0, 0, NULL }, { "llama.attention.head_count_kv", "", NONE, 0, 0, NULL },
    { "llama.rope.freq_base", "", NONE, 0, 0, NULL }, { "", "llama.vocab_size", WHOLE, 16, 0, NULL },
    { "", "llama.rope.dimension_count", WHOLE, 64, 0, NULL }, { "", "llama.attention.key_length", WHOLE, 64, 0, NULL },
    { "", "llama.attention.sliding_window", WHOLE, 0, 0, NULL }, { "", "llama.expert_count", WHOLE, 0, 0, NULL },
    { "", "llama.rope.scaling.type", TEXT, 0, "none", NULL }, { "", "llama.rope.scale_linear", REAL, 1, 0, NULL },
    { "", "tokenizer.ggml.eos_token_id", WHOLE, 15, 0, NULL }, { "", "general.something", ARRAY, 0, 0, NULL },
    { "", "split.count", WHOLE, 1, 0, NULL }, { "", "general.alignment", WHOLE, 32, 0, NULL },
    /* what would change the mathematics */
    { "", "llama.attention.sliding_window", WHOLE, 4096, 0, "sliding_window: only 0" },
    { "", "llama.expert_count", WHOLE, 8, 0, "expert_count: only 0" },
    { "", "llama.logit_scale", REAL, 0.5, 0, "llama.logit_scale: unknown key" },
    { "", "llama.attention.alibi", TRUE, 0, 0, "alibi: unknown key" },
    { "", "llama.attention.value_length", WHOLE, 32, 0, "only the size of a head, 64" },
    { "", "llama.rope.dimension_count", WHOLE, 32, 0, "dimension_count" },
    { "", "llama.rope.scaling.type", TEXT, 0, "longrope", "longrope is not implemented" },
    { "", "llama.rope.scaling.type", TEXT, 0, "yarn", "no llama.rope.scaling.factor" },
    { "", "llama.rope.scaling.factor", REAL, 4, 0, "without rope.scaling.type" },
    { "", "llama.rope.scaling.attn_factor", REAL, 2, 0, "attn_factor: only 1" },
    { "", "llama.rope.scaling.yarn_log_multiplier", REAL, 0.1, 0, "unknown key" },
    { "", "split.count", WHOLE, 3, 0, "split.count" },
    /* missing, wrong, hostile */
    { "general.architecture", "", NONE, 0, 0, "no general.architecture" },
    { "general.architecture", "general.architecture", TEXT, 0, "mamba", "mamba is not supported" },
    { "general.architecture", "general.architecture", WHOLE, 1, 0, "no general.architecture" },
    { "llama.block_count", "", NONE, 0, 0, "no llama.block_count" },
    { "llama.embedding_length", "", NONE, 0, 0, "no llama.embedding_length" },
    { "llama.attention.head_count", "", NONE, 0, 0, "no llama.attention.head_count" },
    { "llama.attention.layer_norm_rms_epsilon", "", NONE, 0, 0, "layer_norm_rms_epsilon" },
    { "llama.block_count", "llama.block_count", WHOLE, 0, 0, "block_count must be" },
    { "llama.block_count", "llama.block_count", WHOLE, 4294967295.0, 0, "block_count must be" },
    { "llama.block_count", "llama.block_count", ARRAY, 0, 0, "block_count must be one" },
    { "llama.attention.head_count", "llama.attention.head_count", ARRAY, 0, 0, "head_count must be one" },
    { "llama.attention.head_count", "llama.attention.head_count", WHOLE, 3, 0, "no multiple" },
    { "llama.attention.head_count_kv", "llama.attention.head_count_kv", WHOLE, 4, 0, "not a multiple" },
    { "", "llama.attention.key_length", WHOLE, 63, 0, "odd" },
    { "", "llama.vocab_size", WHOLE, 17, 0, "token_embd.weight has 16 rows" },
    { "llama.rope.freq_base", "llama.rope.freq_base", REAL, -1, 0, "freq_base must be" },
    { "llama.rope.freq_base", "llama.rope.freq_base", REAL, (double)NAN, 0, "freq_base must be" },
    { "", "llama.rope.scale_linear", REAL, 0.1, 0, "scale_linear must be" },
    { "", "tokenizer.ggml.eos_token_id", WHOLE, 16, 0, "eos_token_id must be" },
    { "", "tokenizer.ggml.bos_token_id", TEXT, 0, "x", "bos_token_id must be" },
    { "", "llama.block_count", WHOLE, 2, 0, "there twice" }, { "", "general.alignment", WHOLE, 24, 0, "power of two" },
    { "", "general.alignment", WHOLE, 0, 0, "power of two" },
    { "", "general.alignment", TEXT, 0, "32", "power of two" },
};

static void put_value(struct str *s, const char *key, enum value kind, double x, const char *t)
{
    str_clear(s);
    if (kind == WHOLE) key_u32(s, key, (uint32_t)x);
    if (kind == REAL) key_f32(s, key, (float)x);
    if (kind == TEXT) key_text(s, key, t);
    if (kind == TRUE) { text(s, key); u32(s, GGUF_BOOL); str_putc(s, 1); }
    if (kind == ARRAY) { text(s, key); u32(s, GGUF_ARRAY); u32(s, GGUF_I32); u64(s, 2); u32(s, 1); u32(s, 2); }
}

static void one_change(void **state)
{
    (void)state;
    static const struct tensor embed = { "token_embd.weight", 128, 16, NULL };
    struct str s = { 0 }, pairs = { 0 }, more = { 0 };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct err e = { "" };
        struct model_config c;
        put_value(&more, changes[i].key, changes[i].kind, changes[i].x, changes[i].text);
        int n = metadata(&pairs, changes[i].without, &more);
        make_file(&s, &pairs, n, &embed, 1);
        struct gguf *g = gguf_parse("case", s.p, s.n, &e);
        bool ok = g && gguf_config(g, &c, &e);
        CHECK(ok == !changes[i].says, "case %zu, %s %s: %s", i, changes[i].without, changes[i].key, e.text);
        if (!ok)
            CHECK(strstr(e.text, changes[i].says) && !strncmp(e.text, "case: ", 6), "case %zu, %s: says '%s'", i,
                  changes[i].key, e.text);
        gguf_close(g);
    }
    str_free(&s);
    str_free(&pairs);
    str_free(&more);
}

/* rope_freqs.weight of Llama 3.2 from the frequencies that transformers has for it (the first of freq.json). */
static void divisors(void **state)
{
    (void)state;
    json_t *all = json_load_file("tests/golden/rope/freq.json", 0, NULL),
           *freq = json_object_get(json_array_get(all, 0), "freq");
    struct str s = { 0 }, pairs = { 0 }, none = { 0 };
    float by[32];
    assert_int_equal(json_array_size(freq), 32);
    for (int j = 0; j < 32; j++)
        by[j] = (float)(pow(500000, -2.0 * j / 64) / json_number_value(json_array_get(freq, (size_t)j)));
    const struct tensor t[] = { { "token_embd.weight", 128, 16, NULL }, { "rope_freqs.weight", 32, 0, by } };
    int n = metadata(&pairs, "", &none);
    for (int way = 0; way < 3; way++) {
        struct err e = { "" };
        struct model_config c;
        if (way == 1) by[14] *= 1.01f;
        if (way == 2) for (int j = 0; j < 32; j++) by[j] = 1;
        make_file(&s, &pairs, n, t, 2);
        struct gguf *g = gguf_parse("case", s.p, s.n, &e);
        CHECK(g, "%s", e.text);
        bool ok = gguf_config(g, &c, &e);
        if (way == 1) CHECK(!ok && strstr(e.text, "rope_freqs.weight: not the scaling of Llama 3"), "%s", e.text);
        else CHECK(ok && c.rope.kind == (way ? ROPE_PLAIN : ROPE_LLAMA3), "%d: %s", way, e.text);
        if (way == 0) CHECK_NEAR(c.rope.factor, 32, 1e-5, "factor");
        gguf_close(g);
    }
    json_decref(all);
    str_free(&s);
    str_free(&pairs);
}

/* ---- containers that lie ---- */
static struct str whole;        /* a right file: two pairs, three tensors */

static void make_whole(void)
{
    struct str pairs = { 0 };
    static const float one[2] = { 1, 2 };
    static const struct tensor t[] = { { "a", 8, 2, NULL }, { "b", 3, 0, NULL }, { "c", 2, 0, one } };
    key_text(&pairs, "k", "value");
    text(&pairs, "list");
    u32(&pairs, GGUF_ARRAY);
    u32(&pairs, GGUF_STRING);
    u64(&pairs, 2);
    text(&pairs, "x");
    text(&pairs, "yz");
    make_file(&whole, &pairs, 2, t, 3);
    str_free(&pairs);
}

/* Byte positions in that file. */
enum {
    AT_VERSION = 4,
    AT_TENSORS = 8,
    AT_PAIRS = 16,
    AT_KEY = 24,
    AT_TYPE = 33,
    AT_VALUE = 37,
    AT_LIST = 50,
    AT_LIST_ITEM = 66,
    AT_LIST_N = 70,
    AT_A = 105,
    AT_A_RANK = 106,
    AT_A_COLS = 110,
    AT_A_TYPE = 126,
    AT_A_OFFSET = 130,
    AT_B_OFFSET = 163,
    AT_B_COLS = 151
};

static const struct { int at, bytes; uint64_t value; const char *says; } lies[] = {
    { 0, 1, 'g', "not a GGUF file" }, { AT_VERSION, 4, 1, "version 1" }, { AT_VERSION, 4, 4, "version 4" },
    { AT_VERSION, 4, 0x03000000, "big-endian" }, { AT_TENSORS, 8, UINT64_MAX, "tensors do not fit" },
    { AT_TENSORS, 8, 1000, "tensors do not fit" }, { AT_TENSORS, 8, 4, "case: " },
    { AT_TENSORS, 8, 2, "belong to none" }, { AT_PAIRS, 8, UINT64_MAX, "pairs do not fit" },
    { AT_PAIRS, 8, 1ull << 40, "pairs do not fit" }, { AT_PAIRS, 8, 3, "case: " },
    { AT_KEY, 8, UINT64_MAX, "a metadata key of" }, { AT_KEY, 8, 1ull << 62, "a metadata key of" },
    { AT_TYPE, 4, 13, "not one of GGUF's" }, { AT_TYPE, 4, UINT32_MAX, "not one of GGUF's" },
    { AT_VALUE, 8, 1ull << 63, "a text of" }, { AT_VALUE, 8, 1ull << 31, "a text of" },
    { AT_LIST_ITEM, 4, GGUF_ARRAY, "arrays of arrays" }, { AT_LIST_ITEM, 4, 99, "not one of GGUF's" },
    { AT_LIST_N, 8, UINT64_MAX, "an array of" }, { AT_LIST_N, 8, 1ull << 33, "an array of" },
    { AT_LIST_N, 8, 100, "case: " }, { AT_A_RANK, 4, 0, "dimensions" }, { AT_A_RANK, 4, 5, "dimensions" },
    { AT_A_COLS, 8, 0, "empty or overflows" }, { AT_A_COLS, 8, UINT64_MAX, "empty or overflows" },
    { AT_A_COLS, 8, 1ull << 62, "empty or overflows" }, { AT_A_COLS, 8, 1ull << 60, "its size overflows" },
    { AT_A_COLS, 8, 1ull << 40, "outside the file" }, { AT_A_TYPE, 4, 9, "ggml type 9 is not read" },
    { AT_A_TYPE, 4, UINT32_MAX, "is not read" }, { AT_A_TYPE, 4, 2, "not whole blocks of Q4_0" },
    { AT_A_OFFSET, 8, 32, "begins at data byte 32" }, { AT_A_OFFSET, 8, UINT64_MAX, "begins at data byte" },
    { AT_B_OFFSET, 8, 32, "overlaps" }, { AT_B_OFFSET, 8, 96, "begins at data byte" }, { AT_B_COLS, 8, 9, "overlaps" },
    { AT_A, 1, 'b', "there twice" },
};

static void hostile(void **state)
{
    (void)state;
    make_whole();
    struct err e = { "" };
    struct gguf *right = gguf_parse("case", whole.p, whole.n, &e);
    float x[2];
    CHECK(right, "%s", e.text);
    assert_true(gguf_get_f32(gguf_tensor(right, "c"), 0, 2, x) && x[0] < 2 && x[1] > 1 &&
                gguf_tensor(right, "a")->shape[0] == 2);
    gguf_close(right);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        /* no byte after it: a sanitizer sees an overrun */
        char *p = memcpy(xmalloc(whole.n), whole.p, whole.n);
        memcpy(p + lies[i].at, &lies[i].value, (size_t)lies[i].bytes);
        struct gguf *g = gguf_parse("case", p, whole.n, &e);
        CHECK(!g, "byte %d = %llx is taken", lies[i].at, (unsigned long long)lies[i].value);
        CHECK(strstr(e.text, lies[i].says) && !strncmp(e.text, "case: ", 6), "byte %d = %llx: says '%s'", lies[i].at,
              (unsigned long long)lies[i].value, e.text);
        free(p);
    }
    str_free(&whole);
}

/* Reads everything there is. */
static int64_t read_all(const struct gguf *g)
{
    int64_t n = 0;
    struct model_config c;
    struct gguf_vocab v;
    if (gguf_vocab(g, &v, NULL)) gguf_vocab_free(&v);
    gguf_config(g, &c, NULL);
    for (int i = 0; i < gguf_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        float *x = xmalloc((size_t)t->count * sizeof *x);
        n += gguf_get_f32(t, 0, t->count, x);
        free(x);
    }
    return n;
}

/* A file cut anywhere is rejected; a file with any one bit changed is rejected or read, but never read outside its
 * bounds. */
static void cut_and_changed(void **state)
{
    (void)state;
    make_whole();
    struct err e;
    int64_t read = 0;
    for (size_t n = 0; n < whole.n; n++) {
        char *cut = memcpy(xmalloc(n), whole.p, n);
        struct gguf *g = gguf_parse("cut", cut, n, &e);
        CHECK(!g || n + 32 > whole.n, "cut to %zu of %zu bytes", n, whole.n);      /* the last bytes only fill up */
        gguf_close(g);
        free(cut);
        for (int bit = 0; bit < 8; bit++) {
            char *p = memcpy(xmalloc(whole.n), whole.p, whole.n);
            p[n] = (char)(p[n] ^ 1 << bit);
            g = gguf_parse("bit", p, whole.n, &e);
            if (g) read += read_all(g);
            gguf_close(g);
            free(p);
        }
    }
    assert_true(read >= 128 * 8 * 3);                       /* at least when the changed bit was one of the data's */
    str_free(&whole);
}

static void copy(const char *from, const char *to)
{
    struct str s = { 0 };
    struct err e = { "" };
    CHECK(file_read(from, 1 << 20, &s, &e) && file_write(to, s.p, s.n, &e), "%s", e.text);
    str_free(&s);
}

/* model.path may be the file or a folder that holds one. */
static void places(void **state)
{
    (void)state;
    struct str file = { 0 };
    struct model m;
    struct err e = { "" };
    const char *folder = in_dir("m");
    assert_int_equal(mkdir(folder, 0777), 0);
    assert_true(gguf_is("tests/golden/gguf/llama.gguf", &file));
    assert_string_equal(file.p, "tests/golden/gguf/llama.gguf");
    assert_false(gguf_is("tests/golden/rope/linear", &file) || gguf_is("tests/golden/rope/linear/config.json", &file) ||
                 gguf_is("nowhere", &file) || gguf_is(folder, &file));
    assert_false(gguf_is("tests/golden/gguf", &file));      /* four of them */
    copy("tests/golden/gguf/llama.gguf", in_dir("m/one.gguf"));
    CHECK(gguf_is(folder, &file) && strstr(file.p, "/m/one.gguf"), "%s", file.p);
    CHECK(model_load(&m, folder, &e), "%s", e.text);
    model_free(&m);
    copy("tests/golden/rope/linear/config.json", in_dir("m/config.json"));
    assert_false(gguf_is(folder, &file));
    assert_false(model_load(&m, folder, &e));
    CHECK(strstr(e.text, "without model.safetensors, and 1 GGUF file: give one"), "%s", e.text);
    assert_int_equal(truncate(in_dir("m/one.gguf"), 20000), 0);
    assert_false(model_load(&m, in_dir("m/one.gguf"), &e));
    CHECK(strstr(e.text, "one.gguf: tensor") && strstr(e.text, "cut short"), "%s", e.text);
    str_free(&file);
}

static void missing_tensors(void **state)
{
    (void)state;
    struct str s = { 0 }, pairs = { 0 }, none = { 0 };
    struct model m;
    struct err e = { "" };
    const struct tensor t[] = { { "token_embd.weight", 128, 16, NULL }, { "blk.0.attn_norm.weight", 64, 0, NULL } };
    int n = metadata(&pairs, "", &none);
    for (int k = 1; k <= 2; k++) {
        make_file(&s, &pairs, n, t, k);
        assert_true(file_write(in_dir("t.gguf"), s.p, s.n, &e));
        assert_false(model_load(&m, in_dir("t.gguf"), &e));
        CHECK(strstr(e.text,
                     k == 1 ? "no tensor blk.0.attn_norm.weight" : "tensor blk.0.attn_norm.weight has another shape"),
              "%s", e.text);
    }
    str_free(&s);
    str_free(&pairs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quants), cmocka_unit_test(models), cmocka_unit_test(vocabulary), cmocka_unit_test(one_change),
        cmocka_unit_test(divisors), cmocka_unit_test(hostile), cmocka_unit_test(cut_and_changed),
        cmocka_unit_test(places), cmocka_unit_test(missing_tensors),
    };
    return cmocka_run_group_tests_name("gguf", tests, make_dir, drop_dir);
}
