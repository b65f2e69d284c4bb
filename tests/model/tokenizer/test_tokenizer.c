/* test_tokenizer.c: ids against hand-made answers and a slow oracle, any bytes there and back, look-alikes of special
 * tokens, files that must be rejected. */
#include "model/tokenizer/tokenizer.h"
#include "base/file.h"
#include "base/philox.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/pretok.h"
#include "tests/check.h"
#include "tests/folder.h"
#include "tests/model/tokenizer/tok_json.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define GPT2 "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define QWEN \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?" \
    "\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}," \
    "\"behavior\":\"Isolated\",\"invert\":false}," LEVEL "]}"
#define ADDED(id, text, special) \
    "{\"id\":" #id ",\"content\":\"" text "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false," \
    "\"normalized\":false,\"special\":" #special "}"

static struct tokenizer *make(struct tok_json j)
{
    struct err e;
    struct str s = { 0 };
    tok_json(&s, j);
    struct tokenizer *t = tokenizer_parse("made", s.p, s.n, &e);
    CHECK(t, "%s", e.text);
    str_free(&s);
    return t;
}

/* Encodes and compares with "id id id". */
static void ids_are(const struct tokenizer *t, const char *text, bool special, const char *want)
{
    struct ids x = { 0 };
    struct str got = { 0 };
    assert_true(tokenizer_encode(t, &x, text, strlen(text), special));
    str_clear(&got);
    for (int i = 0; i < x.n; i++) str_printf(&got, i ? " %d" : "%d", x.p[i]);
    CHECK(!strcmp(got.p, want), "'%s' (special %d): got %s, want %s", text, special, got.p, want);
    ids_free(&x);
    str_free(&got);
}

static void there_and_back(const struct tokenizer *t, const char *bytes, size_t n, bool special)
{
    struct ids x = { 0 };
    struct str back = { 0 };
    assert_true(tokenizer_encode(t, &x, bytes, n, special));
    str_clear(&back);
    tokenizer_decode(t, &back, x.p, x.n, true);
    CHECK(back.n == n && !memcmp(back.p, bytes, n), "%zu bytes, special %d, come back as %zu", n, special, back.n);
    if (!special) for (int i = 0; i < x.n; i++) CHECK(!tokenizer_special(t, x.p[i]), "id %d is special", x.p[i]);
    ids_free(&x);
    str_free(&back);
}

static const struct tok_json kinds[] = {
    { .pre = NULL }, { .pre = GPT2 }, { .pre = QWEN, .vocab = ",\"\xc4\xa0t\":256,\"he\":257,\"\xc4\xa0the\":258",
      .merges = "[\"\xc4\xa0 t\",[\"h\",\"e\"],\"\xc4\xa0t he\"]",
        .added = "[" ADDED(259, "<|im_end|>", true) "," ADDED(260, "<tool_call>", false) "]" },
    { .pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true}," GPT2 "]}" },
    { .pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"String\":\".\"},"
      "\"behavior\":\"MergedWithPrevious\",\"invert\":false}," LEVEL "]}" },
};

static void any_bytes(void **state)
{
    (void)state;
    struct rng r = rng_make(1, 2, 3);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct tokenizer *t = make(kinds[k]);
        char s[300];
        for (int b = 0; b < 256; b++) { s[b] = (char)b; there_and_back(t, s + b, 1, b & 1); }
        there_and_back(t, s, 256, false);
        there_and_back(t, s, 0, true);
        for (int i = 0; i < 500; i++) {
            static const char *const parts[] = { " the", "\xe4\xb8\x96", "\xc3\xa9",
                                                 "12",   "<|im_end|>",   "<tool_call>",
                                                 "'s",   "\n\n ",        "\xf0\x9f\x98\x80",
                                                 "\xff" };
            size_t n = 0;
            while (n < 200) {
                const char *p = parts[rng_below(&r, 10)];
                if (i % 2) s[n++] = (char)rng_u32(&r);
                else { memcpy(s + n, p, strlen(p)); n += strlen(p); }
            }
            n = rng_below(&r, (uint32_t)n);
            there_and_back(t, s, n, i & 2);
        }
        tokenizer_free(t);
    }
}

/* a 97, b 98, c 99 ... */
static void merges_by_hand(void **state)
{
    (void)state;
    struct tokenizer *t = make((struct tok_json){ .vocab = ",\"ab\":256,\"bc\":257,\"abc\":258,\"aa\":259,\"aaaa\":260,"
                                                           "\"abab\":261",
                                                  .merges = "[\"a b\",\"b c\",\"ab c\",\"a a\",[\"aa\",\"aa\"],\"ab "
                                                            "ab\"]" });
    assert_int_equal(tokenizer_vocab(t), 262);
    static const struct { const char *text, *ids; } cases[] = {
        { "", "" }, { "a", "97" }, { "ab", "256" }, { "abc", "258" }, { "bc", "257" }, { "bbc", "98 257" },
        { "xabcabc", "120 258 258" }, { "aaa", "259 97" }, { "aaaa", "260" }, { "aaaaa", "260 97" },
        { "aaab", "259 256" }, { "ababab", "261 256" }, { "cab", "99 256" },
        /* 46 a b c: long words */
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabc", "260 260 260 260 260 260 260 260 260 260 260 259 258" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) ids_are(t, cases[i].text, false, cases[i].ids);
    int n;
    const char *bytes = tokenizer_bytes(t, 258, &n);
    assert_true(n == 3 && !memcmp(bytes, "abc", 3));
    assert_null(tokenizer_bytes(t, 262, &n));
    assert_null(tokenizer_bytes(t, -1, &n));
    assert_int_equal(n, 0);
    tokenizer_free(t);
}

/* By definition: of all pairs the one of lowest rank, the leftmost first; again until none is left. */
static int slow_word(const struct bpe *b, int *sym, int n)
{
    for (;;) {
        const struct bpe_merge *best = NULL;
        int at = 0;
        for (int i = 0; i + 1 < n; i++) {
            const struct bpe_merge *m = bpe_find(b, sym[i], sym[i + 1]);
            if (m && (!best || m->rank < best->rank)) { best = m; at = i; }
        }
        if (!best) return n;
        sym[at] = best->id;
        memmove(sym + at + 1, sym + at + 2, (size_t)(n - at - 2) * sizeof *sym);
        n--;
    }
}

static void words_against_oracle(void **state)
{
    (void)state;
    struct rng r = rng_make(5, 6, 7);
    struct bpe_work w = { 0 };
    for (int round = 0; round < 60; round++) {
        struct bpe b;
        bpe_init(&b, 60);
        for (int rank = 0; rank < 60; rank++)
            bpe_add(&b, (int)rng_below(&r, 4 + (uint32_t)rank), (int)rng_below(&r, 4 + (uint32_t)rank), rank, 4 + rank);
        for (int k = 0; k < 30; k++) {
            int x[400], y[400], n = 1 + (int)rng_below(&r, k % 2 ? 60 : 400);
            for (int i = 0; i < n; i++) x[i] = y[i] = (int)rng_below(&r, 4);
            int nx = bpe_word(&b, &w, x, n), ny = slow_word(&b, y, n);
            CHECK(nx == ny && !memcmp(x, y, (size_t)nx * sizeof *x), "round %d, word of %d: %d symbols, oracle %d",
                  round, n, nx, ny);
        }
        bpe_free(&b);
    }
    bpe_work_free(&w);
}

static void megabyte_word(void **state)
{
    (void)state;
    struct tokenizer *t =
        make((struct tok_json){ .vocab = ",\"aa\":256,\"aaaa\":257", .merges = "[\"a a\",\"aa aa\"]" });
    size_t n = 1 << 20;                                     /* scanning for the best pair would take days */
    char *s = memset(xmalloc(n), 'a', n);
    struct ids x = { 0 };
    assert_true(tokenizer_encode(t, &x, s, n - 1, false));
    assert_int_equal(x.n, (int)n / 4 - 1 + 2);              /* 3 left over: aa a */
    assert_true(x.p[0] == 257 && x.p[x.n - 2] == 256 && x.p[x.n - 1] == 'a');
    ids_free(&x);
    free(s);
    tokenizer_free(t);
}

/* Overlapping added tokens: the longest wins; none of them is ever read out of ordinary text. */
static void added_tokens(void **state)
{
    (void)state;
    struct tokenizer *t =
        make((struct tok_json){ .added = "[" ADDED(300, "<a>", true) "," ADDED(256, "<a", false) "," ADDED(
                                    257, "<a>b", true) "," ADDED(258, "\xe4\xb8\x96 x", false) "]",
                                .vocab = ",\"<a\":256" });
    assert_int_equal(tokenizer_vocab(t), 301);
    static const struct { const char *text; bool special; const char *ids; } cases[] = {
        { "<a>", true, "300" }, { "<a>", false, "60 97 62" }, { "<a>b", true, "257" }, { "<a>c", true, "300 99" },
        { "<ab", true, "256 98" }, { "<<a>b<", true, "60 257 60" }, { "x\xe4\xb8\x96 x", true, "120 258" },
        { "\xe4\xb8\x96 y", true, "228 184 150 32 121" }, { "\xe4\xb8\x96 x", false, "228 184 150 32 120" },
        { "<a", false, "60 97" }, { "<a>b", false, "60 97 62 98" }, { "<a><a", true, "300 256" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) ids_are(t, cases[i].text, cases[i].special, cases[i].ids);
    assert_true(tokenizer_special(t, 300) && tokenizer_special(t, 257) && !tokenizer_special(t, 256) &&
                !tokenizer_special(t, 97) && !tokenizer_special(t, 299));
    assert_false(tokenizer_special(t, -1) || tokenizer_special(t, 301));
    assert_int_equal(tokenizer_id(t, "<a>"), 300);
    assert_int_equal(tokenizer_id(t, "<a"), 256);
    assert_int_equal(tokenizer_id(t, "<"), -1);
    assert_int_equal(tokenizer_id(t, "<a>bc"), -1);
    assert_int_equal(tokenizer_id(t, ""), -1);
    assert_int_equal(tokenizer_id(t, "a"), -1);             /* a vocabulary entry, not an added token */
    struct str s = { 0 };
    tokenizer_decode(t, &s, (int[]){ 97, 300, 256, 299, 400, -5, 98, 258 }, 8, true);
    assert_string_equal(s.p, "a<a><ab\xe4\xb8\x96 x");
    str_clear(&s);
    tokenizer_decode(t, &s, (int[]){ 97, 300, 256, 299, 400, -5, 98, 258 }, 8, false);
    assert_string_equal(s.p, "a<ab\xe4\xb8\x96 x");
    str_free(&s);
    tokenizer_free(t);
}

/* An added token that is listed twice alike is there once, as tokenizers reads it. */
static void listed_twice(void **state)
{
    (void)state;
    struct tokenizer *t =
        make((struct tok_json){ .added = "[" ADDED(300, "<a>", true) "," ADDED(301, "<b>", false) "," ADDED(
                                    300, "<a>", true) "," ADDED(301, "<b>", false) "]" });
    struct ids x = { 0 };
    assert_true(tokenizer_encode(t, &x, "<a><b>", 6, true));
    assert_true(x.n == 2 && x.p[0] == 300 && x.p[1] == 301 && tokenizer_special(t, 300) && !tokenizer_special(t, 301));
    ids_free(&x);
    tokenizer_free(t);
}

/* A word that is a token as it stands: only with ignore_merges, and never an added token. */
static void ignore_merges(void **state)
{
    (void)state;
    struct tok_json j = { .pre = GPT2,
                          .vocab = ",\"word\":256,\"pad\":257",
                          .added = "[" ADDED(257, "pad", true) "]",
                          .model = "\"ignore_merges\":true," };
    struct tokenizer *t = make(j);
    ids_are(t, "word", false, "256");
    ids_are(t, "pad", false, "112 97 100");
    ids_are(t, "pad", true, "257");
    ids_are(t, "words", false, "119 111 114 100 115");
    tokenizer_free(t);
    j.model = "\"ignore_merges\":false,\"unk_token\":null,\"dropout\":0.0,\"fuse_unk\":false,\"byte_fallback\":false,"
              "\"end_of_word_suffix\":\"\",";
    t = make(j);
    ids_are(t, "word", false, "119 111 114 100");
    tokenizer_free(t);
}

/* The words that one expression cuts, with | between them; the same as Hugging Face's tokenizers 0.23 gives. */
static const struct { enum pretok_how how; bool invert, literal; const char *pattern, *text, *want; } cuts[] = {
    { PRETOK_ISOLATED, false, false,
      "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
      "Hello world's  12 ab!?\n\n x",
      "Hello| world|'s| | 12| ab|!?|\n\n| x" },
    { PRETOK_ISOLATED, false, false, "\\\\boxed\\{| ?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]|\\s+",
      "is\\boxed{ kazofo} of 47*x", "is|\\boxed{| kazofo|}| of| |4|7|*|x" },
    { PRETOK_ISOLATED, false, false, "\\p{L}+", "a\xc3\xa9\xe4\xb8\x96 1", "a\xc3\xa9\xe4\xb8\x96| 1" },
    /* not UTF-8: words of their own */
    { PRETOK_ISOLATED, false, false, "\\p{L}+", "ab\xff\xfe" "cd\xed\xa0\x80", "ab|\xff\xfe|cd|\xed\xa0\x80" },
    { PRETOK_ISOLATED, false, false, "x*", "axxb", "a|xx|b" },
    { PRETOK_ISOLATED, false, false, "", "a\xc3\xa9" "b", "a|\xc3\xa9|b" },
    { PRETOK_ISOLATED, false, true, ".+", "a.+b", "a|.+|b" },
    { PRETOK_ISOLATED, false, false, "-", "a--b-", "a|-|-|b|-" }, { PRETOK_REMOVED, false, false, "-", "a--b-", "a|b" },
    { PRETOK_WITH_PREVIOUS, false, false, "-", "-a--b-", "-|a-|-|b-" },
    { PRETOK_WITH_NEXT, false, false, "-", "-a--b-", "-a|-|-b|-" },
    { PRETOK_CONTIGUOUS, false, false, "-", "a--b-", "a|--|b|-" },
    { PRETOK_CONTIGUOUS, false, false, "x*", "axxbc", "a|xx|b|c" },
    { PRETOK_REMOVED, true, false, "\\w+", "ab, cd.", "ab|cd" },
    { PRETOK_ISOLATED, true, false, "\\w+", "ab, cd.", "ab|, |cd|." },
    /* U+180E is no space */
    { PRETOK_ISOLATED, false, false, "\\s+", "a \xe1\xa0\x8e \xc2\x85\xe3\x80\x80" "b",
      "a| |\xe1\xa0\x8e| \xc2\x85\xe3\x80\x80|b" },
    /* U+323A0: a letter since Unicode 15 */
    { PRETOK_ISOLATED, false, false, "[^\\s\\p{L}]+", "a\xe1\xa0\x8e b,\xf0\xb2\x8e\xa0",
      "a|\xe1\xa0\x8e| b|,|\xf0\xb2\x8e\xa0" },
    { PRETOK_ISOLATED, false, false, "\\P{L}\\S", "a1 2\xe1\xa0\x8e", "a1| 2|\xe1\xa0\x8e" },
    { PRETOK_ISOLATED, false, false, "[]\\s]+", "a] b", "a|] |b" },
    { PRETOK_WITH_PREVIOUS, true, false, "\\w", "ab, c", "a|b, |c" },
    { PRETOK_WITH_NEXT, true, false, "\\w", "ab, c", "a|b|, c" },
};

static void words(void **state)
{
    (void)state;
    struct err e;
    struct str got = { 0 };
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        struct pretok p = { 0 };
        struct pretok_work w = { 0 };
        CHECK(pretok_add(&p, cuts[i].pattern, cuts[i].literal, cuts[i].how, cuts[i].invert, &e), "%s", e.text);
        assert_true(pretok_cut(&p, &w, cuts[i].text, (int)strlen(cuts[i].text)));
        str_clear(&got);
        for (int k = 0; k < w.cut.n; k++) {
            if (k) str_putc(&got, '|');
            str_put(&got, w.text + w.cut.p[k].at, (size_t)w.cut.p[k].n);
        }
        CHECK(!strcmp(got.p, cuts[i].want), "%s on '%s': %s, want %s", cuts[i].pattern, cuts[i].text, got.p,
              cuts[i].want);
        pretok_work_free(&w);
        pretok_free(&p);
    }
    str_free(&got);
}

/* add_prefix_space, before the expression and in front of every piece that an earlier step left */
static void prefix_space(void **state)
{
    (void)state;
    struct tokenizer *t = make((struct tok_json){ .pre = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_"
                                                         "regex\":true}" });
    ids_are(t, "a", false, "32 97");
    ids_are(t, " a", false, "32 97");
    ids_are(t, "a\xff", false, "32 97 255");
    ids_are(t, "", false, "");
    tokenizer_free(t);
    t = make((struct tok_json){ .pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{\"type\":"
                                       "\"ByteLevel\"}]}" });
    ids_are(t, "a12", false, "32 97 32 49 50");
    tokenizer_free(t);
}

/* Form C: what composes, what must not, marks out of order, Hangul, what is not UTF-8. */
static void normal_form_c(void **state)
{
    (void)state;
    static const struct { const char *in, *want; } cases[] = {
        { "plain \xc3\xa9", "plain \xc3\xa9" }, { "e\xcc\x81", "\xc3\xa9" }, { "xe\xcc\x81y", "x\xc3\xa9y" },
        { "\xcc\x81", "\xcc\x81" }, { "\xff\xcc\x81", "\xff\xcc\x81" },
        { "e\xff\xcc\x81", "e\xff\xcc\x81" },
        /* U+0307 U+0323: reordered, q composes with neither */
        { "q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87" },
        /* d + dot below = U+1E0D, dot above left over */
        { "d\xcc\x87\xcc\xa3", "\xe1\xb8\x8d\xcc\x87" },
        { "\xe1\xb8\x8b\xcc\xa3", "\xe1\xb8\x8d\xcc\x87" },                       /* U+1E0B comes apart for it */
        { "s\xcc\xa3\xcc\x87", "\xe1\xb9\xa9" },                                  /* two steps: U+1E69 */
        { "a\xcc\x81\xcc\x81", "\xc3\xa1\xcc\x81" },                              /* the second acute is blocked */
        /* class 1 lies between, and does not block */
        { "a\xcc\xb4\xcc\x81", "\xc3\xa1\xcc\xb4" },
        /* Angstrom sign, Ohm sign: singletons */
        { "\xe2\x84\xab", "\xc3\x85" }, { "\xe2\x84\xa6", "\xce\xa9" },
        /* U+0958 is excluded from composition */
        { "\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc" },
        { "\xe1\x84\x80\xe1\x85\xa1", "\xea\xb0\x80" }, { "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81" },
        { "\xea\xb0\x80\xe1\x86\xa8", "\xea\xb0\x81" },
        /* the ligature fi stays in form C */
        { "\xea\xb0\x81\xe1\x86\xa8", "\xea\xb0\x81\xe1\x86\xa8" }, { "\xef\xac\x81", "\xef\xac\x81" },
    };
    struct tokenizer *t = make((struct tok_json){ .norm = "{\"type\":\"NFC\"}" });
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ids x = { 0 };
        struct str back = { 0 };
        assert_true(tokenizer_encode(t, &x, cases[i].in, strlen(cases[i].in), false));
        tokenizer_decode(t, &back, x.p, x.n, false);
        CHECK(!strcmp(back.p, cases[i].want), "case %zu: %s, want %s", i, back.p, cases[i].want);
        ids_free(&x);
        str_free(&back);
    }
    tokenizer_free(t);
    t = make((struct tok_json){ .norm = "{\"type\":\"Sequence\",\"normalizers\":[]}" });
    ids_are(t, "e\xcc\x81", false, "101 204 129");
    tokenizer_free(t);
}

#define SPLIT(pattern, behavior) \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":" pattern "," \
    "\"behavior\":\"" behavior "\"}," LEVEL "]}"
static const struct { struct tok_json j; const char *says; } rejected[] = {
    { { .model = "\"byte_fallback\":true," }, "model.byte_fallback" },
    { { .model = "\"dropout\":0.1," }, "model.dropout" },
    { { .model = "\"continuing_subword_prefix\":\"##\"," }, "continuing_subword_prefix" },
    { { .model = "\"ignore_merges\":1," }, "ignore_merges" },
    { { .vocab = ",\"x\\u0020y\":5" }, "id 5 of another token" }, { { .vocab = ",\"ab\":-1" }, "id must be" },
    { { .vocab = ",\"ab\":2097152" }, "id must be" }, { { .vocab = ",\"ab\":1.5" }, "id must be" },
    { { .vocab = ",\"\":256" }, "empty" }, { { .vocab = ",\"a\":256" }, "duplicate" },
    { { .vocab = ",\"\\u0000\":256" }, "not JSON" }, { { .merges = "{}" }, "model.merges" },
    { { .merges = "[\"ab\"]" }, "model.merges[0]" }, { { .merges = "[[\"a\"]]" }, "model.merges[0]" },
    { { .merges = "[[\"a\",\"\"]]" }, "model.merges[0]" }, { { .merges = "[\"a b c\"]" }, "model.merges[0]" },
    { { .merges = "[7]" }, "model.merges[0]" }, { { .merges = "[\"a b\"]" }, "the merged token" },
    { { .merges = "[\"ab c\"]", .vocab = ",\"abc\":256" }, "its left token" },
    { { .merges = "[\"a bc\"]", .vocab = ",\"abc\":256" }, "its right token" },
    { { .merges = "[\"a b\",\"a b\"]", .vocab = ",\"ab\":256" }, "same pair" },
    { { .merges = "[\"a b\"]", .vocab = ",\"ab\":256", .added = "[" ADDED(256, "ab", true) "]" },
      "ordinary text can become it" },
    { { .added = "[" ADDED(97, "a", true) "]" }, "ordinary text can become it" },
    { { .added = "[" ADDED(256, "a", true) "]" }, "of another token" },
    { { .added = "[" ADDED(97, "xy", true) "]" }, "of another token" },
    { { .added = "[" ADDED(256, "xy", true) "," ADDED(257, "xy", true) "]" }, "twice" },
    { { .added = "[" ADDED(256, "xy", true) "," ADDED(256, "xz", true) "]" }, "of another token" },
    { { .added = "[" ADDED(256, "xy", true) "," ADDED(256, "xy", false) "]" }, "of another token" },
    { { .added = "[" ADDED(256, "", true) "]" }, "no content" },
    { { .added = "[{\"id\":256}]" }, "added_tokens[0]: no content" },
    { { .added = "[{\"content\":\"x\"}]" }, "id must be" }, { { .added = "{}" }, "added_tokens" },
    { { .added = "[{\"content\":\"xy\",\"id\":256,\"lstrip\":true}]" }, "lstrip" },
    { { .added = "[{\"content\":\"xy\",\"id\":256,\"single_word\":true}]" }, "single_word" },
    { { .added = "[{\"content\":\"xy\",\"id\":256,\"special\":\"yes\"}]" }, "special" },
    { { .added = "[{\"content\":\"xy\",\"id\":99999999999}]" }, "id must be" },
    { { .norm = "{\"type\":\"NFKC\"}" }, "normalizer NFKC" },
    { { .norm = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Lowercase\"}]}" },
      "Lowercase" },
    { { .norm = "{}" }, "normalizer" }, { { .pre = "null" }, "no ByteLevel" },
    { { .pre = "{\"type\":\"Metaspace\"}" }, "Metaspace" }, { { .pre = "7" }, "pre_tokenizer" },
    { { .pre = "{\"type\":\"Sequence\",\"pretokenizers\":[]}" }, "no ByteLevel" },
    { { .pre = "{\"type\":\"Sequence\",\"pretokenizers\":[" LEVEL "," LEVEL "]}" }, "must be the last" },
    { { .pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Sequence\",\"pretokenizers\":[" LEVEL "]}]}" },
      "Sequence is not supported" },
    { { .pre = "{\"type\":\"ByteLevel\",\"use_regex\":1}" }, "use_regex" },
    { { .pre = SPLIT("{\"Regex\":\"(\"}", "Isolated") }, "regular expression (" },
    { { .pre = SPLIT("{\"Regex\":\"\\\\h+\"}", "Isolated") }, "PCRE2" },
    { { .pre = SPLIT("{\"Regex\":\"[a-z&&[^b]]\"}", "Isolated") }, "PCRE2" },
    { { .pre = SPLIT("{\"Regex\":\"[a[bc]]\"}", "Isolated") }, "PCRE2" },
    { { .pre = SPLIT("{\"Regex\":\"(a{9999}){9999}\"}", "Isolated") }, "regular expression" },
    { { .pre = SPLIT("{}", "Isolated") }, "pattern must be" },
    { { .pre = SPLIT("{\"Regex\":\"a\",\"String\":\"a\"}", "Isolated") }, "pattern must be" },
    { { .pre = SPLIT("{\"Regex\":\"a\"}", "Sideways") }, "Sideways" }, { { .decoder = "null" }, "decoder" },
    { { .decoder = "{\"type\":\"Metaspace\"}" }, "decoder Metaspace" },
};

/* Tokens and pairs chosen so that all fall on one place of their table: a few seconds of reading would be hours. The
 * hash is written down again here. */
static void crowded(void **state)
{
    (void)state;
    struct str s = { 0 }, vocab = { 0 };
    struct err e = { "" };
    int made = 0;
    for (uint64_t i = 0; made < 2300; i++) {                        /* with the 256 bytes: a table of 8192 */
        char word[24];
        uint64_t h = 0xcbf29ce484222325u;
        snprintf(word, sizeof word, "x%llu", (unsigned long long)i);
        for (const char *p = word; *p; p++) h = (h ^ (unsigned char)*p) * 0x100000001b3u;
        if (h % 8192 == 7) str_printf(&vocab, ",\"%s\":%d", word, 256 + made++);
    }
    tok_json(&s, (struct tok_json){ .vocab = vocab.p });
    struct tokenizer *t = tokenizer_parse("made", s.p, s.n, &e);
    CHECK(!t && strstr(e.text, "made: model.vocab: more than 2048 tokens at one place"), "%s", e.text);
    tokenizer_free(t);
    struct bpe b = { 0 };
    int added = 0, tried = 0;
    bpe_init(&b, 4000);                                             /* of 8192 */
    for (uint64_t key = 1; tried < 2300; key++) {
        uint64_t whole = key << 32;
        if (((whole * 0x9e3779b97f4a7c15u ^ whole >> 29) >> 20 & 8191) != 7) continue;
        tried++;
        added += bpe_add(&b, (int)key, 0, added, 0);
    }
    CHECK(added > 2000 && added <= BPE_PROBES + 1, "%d were taken", added);
    bpe_free(&b);
    str_free(&vocab);
    str_free(&s);
}

static void rejected_files(void **state)
{
    (void)state;
    struct str s = { 0 };
    for (size_t i = 0; i < sizeof rejected / sizeof *rejected; i++) {
        struct err e = { "" };
        tok_json(&s, rejected[i].j);
        struct tokenizer *t = tokenizer_parse("made", s.p, s.n, &e);
        CHECK(!t && strstr(e.text, rejected[i].says) && strstr(e.text, "made"), "case %zu, %s: says '%s'", i,
              rejected[i].says, e.text);
        tokenizer_free(t);
    }
    struct err e;
    static const struct { const char *text, *says; } whole[] = {
        { "", "not JSON" }, { "[]", "must be a JSON object" }, { "{}", "no model" },
        { "{\"model\":{\"type\":\"Unigram\"}}", "Unigram" }, { "{\"model\":{\"type\":\"BPE\"}}", "model.vocab" },
        { "{\"model\":{\"vocab\":{},\"merges\":[]}}", "no token for byte 10" },
        { "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", "no token for byte 10" },
    };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        assert_null(tokenizer_parse("made", whole[i].text, strlen(whole[i].text), &e));
        CHECK(strstr(e.text, whole[i].says), "%s: says '%s'", whole[i].text, e.text);
    }
    assert_null(tokenizer_read("/nonexistent/tokenizer.json", &e));
    str_free(&s);
}

/* Cut files are rejected; files with a byte changed are rejected or usable. */
static void cut_and_changed(void **state)
{
    (void)state;
    struct err e;
    struct str s = { 0 };
    tok_json(&s, kinds[2]);
    for (size_t n = 0; n < s.n; n += 37) assert_null(tokenizer_parse("cut", s.p, n, &e));
    struct rng r = rng_make(8, 9, 10);
    int usable = 0;
    for (int i = 0; i < 300; i++) {
        size_t at = rng_below(&r, (uint32_t)s.n);
        char was = s.p[at];
        s.p[at] = (char)(32 + rng_below(&r, 95));
        struct tokenizer *t = tokenizer_parse("changed", s.p, s.n, &e);
        struct ids x = { 0 };
        if (t) usable += tokenizer_encode(t, &x, "the <|im_end|> 12 \xff", 19, i & 1);
        ids_free(&x);
        tokenizer_free(t);
        s.p[at] = was;
    }
    assert_true(usable > 10 && usable < 290);
    str_free(&s);
}

/* An expression that never ends on some text is an error of encode, and leaves the ids that were there. */
static void expression_gives_up(void **state)
{
    (void)state;
    struct tokenizer *t = make((struct tok_json){ .pre = SPLIT("{\"Regex\":\"(?:a+)+[bd]\"}", "Isolated") });
    struct ids x = { 0 };
    assert_true(tokenizer_encode(t, &x, "xaab", 4, false));
    assert_int_equal(x.n, 4);
    assert_false(tokenizer_encode(t, &x, "yaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", 42, false));
    assert_int_equal(x.n, 4);
    ids_free(&x);
    tokenizer_free(t);
}

struct job { const struct tokenizer *t; struct ids x; };
static const char sample[] = "User: don't stop at 12 \xe4\xb8\x96\xe7\x95\x8c <|im_end|> the theatre, the end.\n\n";

static void *encode_often(void *p)
{
    struct job *j = p;
    for (int i = 0; i < 200; i++) {
        j->x.n = 0;
        if (!tokenizer_encode(j->t, &j->x, sample, sizeof sample - 1, true)) return NULL;
    }
    return j;
}

static void threads(void **state)
{
    (void)state;
    struct tokenizer *t = make(kinds[2]);
    struct job jobs[4] = { 0 };
    pthread_t ids[4];
    for (int i = 0; i < 4; i++) {
        jobs[i].t = t;
        assert_int_equal(pthread_create(&ids[i], NULL, encode_often, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *ok;
        pthread_join(ids[i], &ok);
        assert_non_null(ok);
        assert_true(jobs[i].x.n == jobs[0].x.n && !memcmp(jobs[i].x.p, jobs[0].x.p, (size_t)jobs[0].x.n * sizeof(int)));
    }
    for (int i = 0; i < 4; i++) ids_free(&jobs[i].x);
    tokenizer_free(t);
}

static void copy_and_hash(void **state)
{
    (void)state;
    struct err e;
    struct str s = { 0 }, back = { 0 };
    char path[64];
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    tok_json(&s, kinds[2]);
    struct tokenizer *t = tokenizer_parse("made", s.p, s.n, &e);
    assert_true(tokenizer_copy(t, path, &e));
    assert_true(file_read(path, 1 << 20, &back, &e));
    assert_true(back.n == s.n && !memcmp(back.p, s.p, s.n));
    struct tokenizer *u = tokenizer_read(path, &e), *v = make(kinds[1]);
    assert_true(u && tokenizer_hash(u) == tokenizer_hash(t) && tokenizer_hash(v) != tokenizer_hash(t));
    tokenizer_free(t);
    tokenizer_free(u);
    tokenizer_free(v);
    str_free(&s);
    str_free(&back);
}

/* Bytes of a text one id at a time: whole characters as soon as they are whole; U+FFFD, here ?, as Python's
 * bytes.decode(errors="replace") has it. */
static void streaming(void **state)
{
    (void)state;
    /* 256: the bytes ca 99 in one */
    struct tokenizer *t =
        make((struct tok_json){ .vocab = ",\"\xc3\x8a\xc4\xbb\":256", .added = "[" ADDED(260, "<s>", true) "]" });
    static const struct { const char *bytes, *want; } texts[] = {
        { "a\xc3\xa9z", "a||\xc3\xa9|z|" }, { "\xe4\xb8\x96", "||\xe4\xb8\x96|" },
        { "\xf0\x9f\x98\x80!", "|||\xf0\x9f\x98\x80|!|" }, { "\xff" "a", "?|a|" }, { "\x80\xbf", "?|?|" },
        { "\xc3" "a", "|?a|" }, { "\xe4\xb8" "a", "||?a|" }, { "\xe4\xc3\xa9", "|?|\xc3\xa9|" }, { "\xc0\xaf", "?|?|" },
        { "\xe0\x80\x80", "|??|?|" }, { "\xed\xa0\x80", "|??|?|" }, { "\xed\x9f\xbf", "||\xed\x9f\xbf|" },
        { "\xf0\x80\x80", "|??|?|" }, { "\xf4\x8f\xbf\xbf", "|||\xf4\x8f\xbf\xbf|" }, { "\xf4\x90\x80", "|??|?|" },
        { "\xf5\x80", "?|?|" }, { "\xf0\x9f\x98", "|||?" }, { "\xc3", "|?" }, { "", "" },
    };
    struct str got = { 0 }, piece = { 0 };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct tokenizer_stream s = { 0 };
        struct ids x = { 0 };
        assert_true(tokenizer_encode(t, &x, texts[i].bytes, strlen(texts[i].bytes), false));
        str_clear(&got);
        for (int k = 0; k <= x.n; k++) {
            str_clear(&piece);
            if (k < x.n) tokenizer_stream_put(t, &s, &piece, x.p[k], false);
            else tokenizer_stream_end(&s, &piece);
            for (char *p; (p = strstr(piece.p, "\xef\xbf\xbd")); piece.n -= 2) {
                *p = '?';
                memmove(p + 1, p + 3, strlen(p + 3) + 1);
            }
            str_put(&got, piece.p, piece.n);
            if (k < x.n) str_putc(&got, '|');
        }
        CHECK(!strcmp(got.p, texts[i].want), "text %zu: '%s', not '%s'", i, got.p, texts[i].want);
        ids_free(&x);
    }
    struct tokenizer_stream s = { 0 };
    str_clear(&got);
    const int ids[] = { 0xe4, 260, 0xb8, 0x96, 260, 999, -1, 256 };
    for (int i = 0; i < 8; i++) tokenizer_stream_put(t, &s, &got, ids[i], false);
    assert_string_equal(got.p, "\xe4\xb8\x96\xca\x99");        /* special tokens print nothing and part nothing */
    tokenizer_stream_put(t, &s, &got, 260, true);
    assert_string_equal(got.p, "\xe4\xb8\x96\xca\x99<s>");
    str_free(&got);
    str_free(&piece);
    tokenizer_free(t);
}

/* What comes before raw text. */
static void begin_of_text(void **state)
{
    (void)state;
#define SINGLE(x) "{\"type\":\"TemplateProcessing\",\"single\":[" x "]}"
#define BOS "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}}"
#define TEXT "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
    static const struct { const char *post; int bos; const char *why; } cases[] = {
        { NULL, -1, NULL }, { LEVEL, -1, NULL }, { SINGLE(TEXT), -1, NULL }, { SINGLE(BOS "," TEXT), 300, NULL },
        { "{\"type\":\"Sequence\",\"processors\":[" LEVEL "," SINGLE(BOS "," TEXT) "]}", 300, NULL },
        { SINGLE(TEXT "," BOS), 0, "single" }, { SINGLE(BOS "," TEXT "," BOS), 0, "single" },
        { SINGLE(""), 0, "single" }, { SINGLE("{\"SpecialToken\":{\"id\":\"<t>\"}}," TEXT), 0, "single" },
        { "{\"type\":\"BertProcessing\"}", 0, "BertProcessing" }, { "7", 0, "(no type)" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str s = { 0 };
        struct err e = { "" };
        tok_json(&s, (struct tok_json){ .added = "[" ADDED(300, "<s>", true) "]", .post = cases[i].post });
        struct tokenizer *t = tokenizer_parse("made", s.p, s.n, &e);
        if (cases[i].why)
            CHECK(!t && strstr(e.text, cases[i].why) && strstr(e.text, "post_processor"), "case %zu: %s", i, e.text);
        else CHECK(t && tokenizer_bos(t) == cases[i].bos, "case %zu: %s", i, e.text);
        tokenizer_free(t);
        str_free(&s);
    }
}

/* Vocabularies without some bytes: they become unk_token, or nothing where there is none or it is a special token. */
static void missing_bytes(void **state)
{
    (void)state;
    static const struct { const char *model, *added, *ids; } kinds_of[] = {
        { NULL, NULL, "97 98" }, { "\"unk_token\":\"b\",\"fuse_unk\":true,", NULL, NULL },
        { "\"unk_token\":\"b\",", NULL, "97 98 98 98 98" },
        { "\"unk_token\":\"<s>\",", "[" ADDED(300, "<s>", true) "]", "97 98" },
    };
    for (size_t k = 0; k < sizeof kinds_of / sizeof *kinds_of; k++) {
        struct str s = { 0 };
        struct err e;
        tok_json(&s, (struct tok_json){ .model = kinds_of[k].model, .added = kinds_of[k].added });
        for (int b = 1; b < 4; b++) {                       /* bytes 1 .. 3 get other names: they are not there */
            char from[8], to[8];
            struct str key = { 0 };
            tok_json_byte(&key, b);
            snprintf(from, sizeof from, "\"%s\"", key.p);
            snprintf(to, sizeof to, "\"\xe4\xb8%c\"", 0x80 + b);
            char *at = strstr(s.p, from);
            assert_non_null(at);
            struct str t = { 0 };
            str_put(&t, s.p, (size_t)(at - s.p));
            str_puts(&t, to);
            str_puts(&t, at + strlen(from));
            str_free(&s);
            str_free(&key);
            s = t;
        }
        struct tokenizer *t = tokenizer_parse("made", s.p, s.n, &e);
        CHECK(!t == !kinds_of[k].ids && (t || strstr(e.text, "fuse_unk")), "%s", e.text);
        if (t) ids_are(t, "a\1\2\3b", false, kinds_of[k].ids);
        tokenizer_free(t);
        str_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bytes), cmocka_unit_test(merges_by_hand), cmocka_unit_test(words_against_oracle),
        cmocka_unit_test(megabyte_word), cmocka_unit_test(added_tokens), cmocka_unit_test(listed_twice),
        cmocka_unit_test(ignore_merges), cmocka_unit_test(words), cmocka_unit_test(prefix_space),
        cmocka_unit_test(normal_form_c), cmocka_unit_test(rejected_files), cmocka_unit_test(crowded),
        cmocka_unit_test(cut_and_changed), cmocka_unit_test(expression_gives_up), cmocka_unit_test(threads),
        cmocka_unit_test(copy_and_hash), cmocka_unit_test(streaming), cmocka_unit_test(missing_bytes),
        cmocka_unit_test(begin_of_text),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, make_dir, drop_dir);
}
