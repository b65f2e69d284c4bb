/* test_tokenizer_golden.c: ids of hard strings from the tokenizers of real models
 * (tests/golden/make_golden_tokenizer.py), read from tokenizer.json, from a GGUF file made here of the same vocabulary,
 * and, where APPO_TOKENIZERS names a folder of them, from the whole files. */
#include "model/weights/gguf.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "tests/check.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const struct { const char *name, *pre; bool lossless; } cases[] = {
    { "smollm2", "smollm", false },         /* lacks bytes */
    { "qwen3", "qwen2", false },            /* NFC */
    { "cl100k", "llama-bpe", true }, { "deepseek_v3", NULL, true },
};
enum { CASES = sizeof cases / sizeof *cases };
static json_t *file[CASES];

static json_t *part(int i) { return json_object_get(file[i], "tokenizer"); }

static struct tokenizer *from_json(int i)
{
    struct err e = { "" };
    char *text = json_dumps(part(i), JSON_COMPACT);
    struct tokenizer *t = tokenizer_parse(cases[i].name, text, strlen(text), &e);
    CHECK(t, "%s", e.text);
    free(text);
    return t;
}

static void check_row(const struct tokenizer *t, const char *name, json_t *row, bool special, bool lossless)
{
    json_t *text = json_array_get(row, 0), *want = json_array_get(row, 1);
    struct ids x = { 0 };
    struct str back = { 0 };
    size_t n = json_string_length(text);
    assert_true(tokenizer_encode(t, &x, json_string_value(text), n, special));
    for (int k = 0; k < x.n || k < (int)json_array_size(want); k++) {
        int id = (int)json_integer_value(json_array_get(want, (size_t)k));
        CHECK(k < x.n && k < (int)json_array_size(want) && x.p[k] == id, "%s, '%s': id %d of %d is %d, not %d of %zu",
              name, json_string_value(text), k, x.n, k < x.n ? x.p[k] : -1, id, json_array_size(want));
    }
    str_clear(&back);
    tokenizer_decode(t, &back, x.p, x.n, true);
    if (lossless)
        CHECK(back.n == n && !memcmp(back.p, json_string_value(text), n), "%s, '%s' comes back as '%s'", name,
              json_string_value(text), back.p);
    ids_free(&x);
    str_free(&back);
}

static void check_all(const struct tokenizer *t, int i)
{
    json_t *row;
    size_t k;
    assert_true(json_array_size(json_object_get(file[i], "plain")) >= 120 &&
                json_array_size(json_object_get(file[i], "special")) >= 1);
    json_array_foreach(json_object_get(file[i], "plain"), k, row)
        check_row(t, cases[i].name, row, false, cases[i].lossless);
    json_array_foreach(json_object_get(file[i], "special"), k, row)
        check_row(t, cases[i].name, row, true, cases[i].lossless);
}

static void json_ids(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        struct tokenizer *t = from_json(i);
        check_all(t, i);
        tokenizer_free(t);
    }
}

/* ---- GGUF, little-endian, version 3: only the vocabulary ---- */

static void put32(struct str *s, uint32_t x) { str_put(s, (const char *)&x, 4); }
static void put64(struct str *s, uint64_t x) { str_put(s, (const char *)&x, 8); }
static void put_text(struct str *s, const char *text, size_t n) { put64(s, n); str_put(s, text, n); }

static void put_key(struct str *s, const char *key, enum gguf_type type)
{
    put_text(s, key, strlen(key));
    put32(s, type);
}

static void put_array(struct str *s, const char *key, enum gguf_type type, int n)
{
    put_key(s, key, GGUF_ARRAY);
    put32(s, type);
    put64(s, (uint64_t)n);
}

/* tokens and types by id; gaps in the ids are tokens of type 5, unused. Returns how many. */
static int vocabulary(json_t *j, const char **token, int32_t *type, int max)
{
    const char *key;
    json_t *v;
    size_t k;
    int n = 0;
    for (int i = 0; i < max; i++) { token[i] = "[unused]"; type[i] = 5; }
    json_object_foreach(json_object_get(json_object_get(j, "model"), "vocab"), key, v) {
        int id = (int)json_integer_value(v);
        assert_true(id < max);
        token[id] = key;
        type[id] = 1;
        if (id >= n) n = id + 1;
    }
    json_array_foreach(json_object_get(j, "added_tokens"), k, v) {
        int id = (int)json_integer_value(json_object_get(v, "id"));
        assert_true(id < max);
        token[id] = json_string_value(json_object_get(v, "content"));
        type[id] = json_is_true(json_object_get(v, "special")) ? 3 : 4;
        if (id >= n) n = id + 1;
    }
    return n;
}

static int add_bos = -1;        /* what the file says of it; -1: nothing */

static void make_gguf(struct str *s, json_t *j, const char *model, const char *pre, bool space, int bos)
{
    enum { MAX = 200000 };
    const char **token = xmalloc(MAX * sizeof *token);
    int32_t *type = xmalloc(MAX * sizeof *type);
    int n = vocabulary(j, token, type, MAX);
    json_t *merges = json_object_get(json_object_get(j, "model"), "merges"), *m;
    size_t k;
    str_clear(s);
    str_puts(s, "GGUF");
    put32(s, 3);
    put64(s, 0);
    put64(s, (uint64_t)(6 + (bos >= 0) + (add_bos >= 0)));
    if (add_bos >= 0) {
        put_key(s, "tokenizer.ggml.add_bos_token", GGUF_BOOL);
        str_putc(s, (char)add_bos);
    }
    if (bos >= 0) {
        put_key(s, "tokenizer.ggml.bos_token_id", GGUF_U32);
        put32(s, (uint32_t)bos);
    }
    put_key(s, "tokenizer.ggml.model", GGUF_STRING);
    put_text(s, model, strlen(model));
    put_key(s, "tokenizer.ggml.pre", GGUF_STRING);
    put_text(s, pre, strlen(pre));
    put_key(s, "tokenizer.ggml.add_space_prefix", GGUF_BOOL);
    str_putc(s, space);
    put_array(s, "tokenizer.ggml.tokens", GGUF_STRING, n);
    for (int i = 0; i < n; i++) put_text(s, token[i], strlen(token[i]));
    put_array(s, "tokenizer.ggml.token_type", GGUF_I32, n);
    for (int i = 0; i < n; i++) put32(s, (uint32_t)type[i]);
    put_array(s, "tokenizer.ggml.merges", GGUF_STRING, (int)json_array_size(merges));
    json_array_foreach(merges, k, m) {
        char both[512];
        int len = snprintf(both, sizeof both, "%s %s", json_string_value(json_array_get(m, 0)),
                           json_string_value(json_array_get(m, 1)));
        assert_true(len > 0 && len < (int)sizeof both);
        put_text(s, both, (size_t)len);
    }
    while (s->n % 32) str_putc(s, 0);
    free(token);
    free(type);
}

static struct tokenizer *from_gguf(const struct str *s, struct err *e)
{
    struct gguf *g = gguf_parse("made.gguf", s->p, s->n, e);
    CHECK(g, "%s", e->text);
    struct tokenizer *t = tokenizer_from_gguf(g, e);
    gguf_close(g);
    return t;
}

static void gguf_ids(void **state)
{
    (void)state;
    struct str s = { 0 };
    struct err e = { "" };
    for (int i = 0; i < CASES; i++) {
        if (!cases[i].pre) continue;
        int bos =
            (int)json_integer_value(json_object_get(json_array_get(json_object_get(part(i), "added_tokens"), 0), "id"));
        make_gguf(&s, part(i), "gpt2", cases[i].pre, false, bos);
        struct tokenizer *t = from_gguf(&s, &e);
        CHECK(t, "%s", e.text);
        check_all(t, i);
        /* add_bos_token is not said: only Llama 3's files mean that begin-of-text comes first */
        assert_int_equal(tokenizer_bos(t), strcmp(cases[i].pre, "llama-bpe") ? -1 : bos);
        tokenizer_free(t);
        for (add_bos = 0; add_bos < 2; add_bos++) {             /* it is said */
            make_gguf(&s, part(i), "gpt2", cases[i].pre, false, bos);
            t = from_gguf(&s, &e);
            CHECK(t, "%s", e.text);
            assert_int_equal(tokenizer_bos(t), add_bos ? bos : -1);
            tokenizer_free(t);
        }
        add_bos = -1;
    }
    static const struct { const char *model, *pre; bool space; const char *why; } bad[] = {
        { "llama", "default", false, "tokenizer.ggml.model 'llama'" },
        { "gpt2", "tekken", false, "tokenizer.ggml.pre 'tekken'" }, { "gpt2", "", false, "tokenizer.ggml.pre ''" },
        { "gpt2", "qwen2", true, "add_space_prefix" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        make_gguf(&s, part(0), bad[i].model, bad[i].pre, bad[i].space, -1);
        struct tokenizer *t = from_gguf(&s, &e);
        CHECK(!t && strstr(e.text, bad[i].why) && strstr(e.text, "made.gguf"), "%s, %s: %s", bad[i].model, bad[i].pre,
              e.text);
    }
    str_free(&s);
}

static void whole_files(void **state)
{
    (void)state;
    const char *folder = getenv("APPO_TOKENIZERS");
    if (!folder) {
        print_message("skipped: APPO_TOKENIZERS does not name a folder with the whole tokenizers "
                      "(tests/golden/make_golden_tokenizer.py makes one)\n");
        skip();
    }
    for (int i = 0; i < CASES; i++) {
        char path[4096];
        struct err e = { "" };
        snprintf(path, sizeof path, "%s/%s", folder, cases[i].name);
        struct tokenizer *t = tokenizer_open(path, &e);
        CHECK(t, "%s", e.text);
        check_all(t, i);
        tokenizer_free(t);
    }
}

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        char path[80];
        json_error_t why;
        snprintf(path, sizeof path, "tests/golden/tokenizer/%s.json", cases[i].name);
        file[i] = json_load_file(path, JSON_ALLOW_NUL, &why);
        CHECK(file[i], "%s: line %d: %s", path, why.line, why.text);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) json_decref(file[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(json_ids), cmocka_unit_test(gguf_ids),
                                        cmocka_unit_test(whole_files) };
    return cmocka_run_group_tests_name("tokenizer vectors", tests, set_up, tear_down);
}
