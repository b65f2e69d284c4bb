/* test_bpe_train.c: merges against an oracle that counts everything again each time, and the properties of a trained
 * file: ids, round trips, specials. */
#include "model/tokenizer/bpe_train.h"
#include "base/file.h"
#include "base/philox.h"
#include "base/json.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/appo-train-XXXXXX", path[64];
static const char recipe[] = "\\\\boxed\\{| ?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]|\\s+";

/* Words of letters a..e and single spaces, as one string; a word is a run of letters with the space before it (pattern
 * " ?[a-e]+"). */
static char *make_text(struct rng *r, int n_words)
{
    struct str s = { 0 };
    for (int i = 0; i < n_words; i++) {
        if (i) str_putc(&s, ' ');
        for (int k = 1 + (int)(rng_below(r, 3) * rng_below(r, 4)); k > 0; k--)
            str_putc(&s, (char)('a' + rng_below(r, 2) + rng_below(r, 4)));
    }
    return s.p;
}

/* sym[n] with -1 between words: the commonest pair, of equals the smaller one. Returns its count. */
static int slow_best(const int *sym, int n, const bool *banned, int ids, int *left, int *right)
{
    int *count = xcalloc((size_t)ids * (size_t)ids, sizeof *count), best = 0;
    for (int i = 0; i + 1 < n; i++) if (sym[i] >= 0 && sym[i + 1] >= 0) count[sym[i] * ids + sym[i + 1]]++;
    for (int i = 0; i + 1 < n; i++) {                       /* x x x counts as two pairs in both, as in the trainer */
        if (sym[i] < 0 || sym[i + 1] < 0) continue;
        int p = sym[i] * ids + sym[i + 1];
        if (!banned[p] && (count[p] > best || (count[p] == best && p < *left * ids + *right))) {
            best = count[p];
            *left = sym[i];
            *right = sym[i + 1];
        }
    }
    free(count);
    return best;
}

/* The merges [n][2] that the texts give, by definition. */
static void slow_train(const char *text, int n_merges, int (*merges)[2])
{
    int n = 0, ids = 256 + n_merges, *sym = xmalloc(2 * strlen(text) * sizeof *sym);
    bool *banned = xcalloc((size_t)ids * (size_t)ids, sizeof *banned);
    struct str tok[400] = { 0 };
    for (int b = 0; b < 256; b++) str_putc(&tok[b], (char)b);
    for (const char *s = text; *s; s++) {
        if (*s == ' ') sym[n++] = -1;
        sym[n++] = (unsigned char)*s;
    }
    for (int made = 0; made < n_merges;) {
        int left = 0, right = 0;
        assert_true(slow_best(sym, n, banned, ids, &left, &right) >= 2);
        struct str *t = &tok[256 + made];
        str_clear(t);
        str_puts(t, tok[left].p);
        str_puts(t, tok[right].p);
        bool known = false;
        for (int i = 0; i < 256 + made; i++) known |= !strcmp(tok[i].p, t->p);
        if (known) { banned[left * ids + right] = true; continue; }
        int out = 0;
        for (int i = 0; i < n; i++) {
            bool hit = i + 1 < n && sym[i] == left && sym[i + 1] == right;
            sym[out++] = hit ? 256 + made : sym[i];
            i += hit;
        }
        n = out;
        merges[made][0] = left;
        merges[made++][1] = right;
    }
    for (int i = 0; i < 400; i++) str_free(&tok[i]);
    free(sym);
    free(banned);
}

static json_t *read_json(void)
{
    struct err e;
    struct str s = { 0 };
    assert_true(file_read(path, 1 << 24, &s, &e));
    json_t *j = json_from(path, s.p, s.n, &e);
    str_free(&s);
    return j;
}

static void against_oracle(void **state)
{
    (void)state;
    struct err e;
    struct rng r = rng_make(3, 1, 4);
    for (int round = 0; round < 6; round++) {
        int want[80][2], n = 20 + 10 * round;
        const char *text = make_text(&r, 300);
        slow_train(text, n, want);
        CHECK(bpe_train(path, &text, 1, NULL, 0, " ?[a-e]+", n, &e), "%s", e.text);
        json_t *j = read_json(), *vocab = json_object_get(json_object_get(j, "model"), "vocab"),
               *merges = json_object_get(json_object_get(j, "model"), "merges");
        assert_int_equal(json_array_size(merges), n);
        assert_int_equal(json_object_size(vocab), 256 + n);
        for (int i = 0; i < n; i++) {
            char both[300];
            snprintf(both, sizeof both, "%s", json_string_value(json_array_get(merges, (size_t)i)));
            char *space = strchr(both, ' ');
            *space = 0;
            int left = (int)json_integer_value(json_object_get(vocab, both)),
                right = (int)json_integer_value(json_object_get(vocab, space + 1));
            CHECK(left == want[i][0] && right == want[i][1], "round %d, merge %d: got %d %d, want %d %d", round, i,
                  left, right, want[i][0], want[i][1]);
        }
        json_decref(j);
        free((char *)(uintptr_t)text);
    }
}

static const char *const specials[] = { "<pad>",    "<end>",     "<user>",    "<assistant>", "<think>",
                                        "</think>", "<python>",  "</python>", "<search>",    "</search>",
                                        "<result>", "</result>", "<answer>",  "</answer>" };

/* The recipe's tokenizer: 14 specials, 256 bytes, 240 merges; digits are never merged, nothing crosses a special. */
static void recipe_tokenizer(void **state)
{
    (void)state;
    struct err e;
    char *texts[400];
    size_t bytes = 0;
    struct rng r = rng_make(9, 9, 9);
    static const char *const syllables[] = { "ka", "zo", "fo", "mi", "tu", "le", "ri", "pa" };
    for (int i = 0; i < 400; i++) {
        struct str s = { 0 };
        str_puts(&s, "<user>what is the rank of ");
        for (int k = 0; k < 3; k++) str_puts(&s, syllables[rng_below(&r, 8)]);
        str_printf(&s,
                   "?<assistant><think> find rank</think><search> rank</search> <result>\nPage 1: age %u, color red, "
                   "score %u.\n</result>",
                   rng_below(&r, 90) + 10, rng_below(&r, 90) + 10);
        str_printf(&s, "<think> done</think><answer>\\boxed{ %u}</answer><end>", rng_below(&r, 90) + 10);
        texts[i] = s.p;
        bytes += s.n;
    }
    CHECK(bpe_train(path, (const char *const *)texts, 400, specials, 14, recipe, 100, &e), "%s", e.text);
    struct tokenizer *t = tokenizer_read(path, &e);
    CHECK(t, "%s", e.text);
    assert_int_equal(tokenizer_vocab(t), 14 + 256 + 100);
    for (int i = 0; i < 14; i++) assert_true(tokenizer_id(t, specials[i]) == i && tokenizer_special(t, i));
    size_t n = 0;
    struct ids x = { 0 };
    struct str back = { 0 };
    for (int i = 0; i < 400; i++) {
        x.n = 0;
        str_clear(&back);
        assert_true(tokenizer_encode(t, &x, texts[i], strlen(texts[i]), true));
        tokenizer_decode(t, &back, x.p, x.n, true);
        assert_string_equal(back.p, texts[i]);
        n += (size_t)x.n;
        free(texts[i]);
    }
    CHECK(3 * n < bytes, "%zu bytes became %zu tokens", bytes, n);
    for (int id = 0; id < tokenizer_vocab(t); id++) {
        int len;
        const char *b = tokenizer_bytes(t, id, &len);
        assert_non_null(b);
        for (int k = 0; k < len && len > 1; k++)
            CHECK(b[k] < '0' || b[k] > '9', "token %d (%.*s) holds a digit", id, len, b);
    }
    x.n = 0;
    assert_true(tokenizer_encode(t, &x, "</think>", 8, false));
    for (int i = 0; i < x.n; i++) assert_true(x.p[i] >= 14);
    ids_free(&x);
    str_free(&back);
    tokenizer_free(t);
}

static void same_file_twice(void **state)
{
    (void)state;
    struct err e;
    struct str a = { 0 }, b = { 0 };
    struct rng r = rng_make(7, 7, 7);
    char *text = make_text(&r, 1000);
    const char *two[] = { text, text };
    assert_true(bpe_train(path, two, 2, specials, 14, recipe, 50, &e) && file_read(path, 1 << 24, &a, &e));
    assert_true(bpe_train(path, two, 2, specials, 14, recipe, 50, &e) && file_read(path, 1 << 24, &b, &e));
    assert_true(a.n == b.n && !memcmp(a.p, b.p, a.n));
    str_free(&a);
    str_free(&b);
    free(text);
}

/* " the" is written in the file as U+0120 the: a special with that text takes the place of the merge. A special's own
 * text is cut out before counting. */
static void spelled_special(void **state)
{
    (void)state;
    struct err e;
    const char *text = "the the the the PAPA PAPA PAPAx", *special[] = { "\xc4\xa0the", "PAPA" };
    assert_true(bpe_train(path, &text, 1, special, 2, " ?\\w+", 2, &e));
    struct tokenizer *t = tokenizer_read(path, &e);
    CHECK(t, "%s", e.text);
    static const struct { const char *text; bool special; int n, first; } cases[] = {
        { " the", false, 2, -1 }, { "\xc4\xa0the", true, 1, 0 }, { "the", false, 1, -1 }, { "PAPA", false, 4, 2 + 'P' },
        { "PAPA", true, 1, 1 },
    };
    struct ids x = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        x.n = 0;
        assert_true(tokenizer_encode(t, &x, cases[i].text, strlen(cases[i].text), cases[i].special));
        CHECK(x.n == cases[i].n && (cases[i].first < 0 || x.p[0] == cases[i].first), "'%s': %d ids, first %d",
              cases[i].text, x.n, x.p[0]);
        for (int k = 0; k < x.n; k++) assert_true(cases[i].special || x.p[k] >= 2);
    }
    ids_free(&x);
    tokenizer_free(t);
}

static void rejected(void **state)
{
    (void)state;
    const char *text = "abab abab", *one[] = { "x" }, *twice[] = { "<a>", "<a>" }, *bad[] = { "<\xff>" },
               *empty[] = { "" };
    const struct {
        const char *const *specials;
        int n;
        const char *pattern;
        int merges;
        const char *out, *says;
    } cases[] = {
        { NULL, 0, "\\w+", 2, NULL, NULL },
        { NULL, 0, "\\w+", 3, NULL, "only 2 merges" },
        { NULL, 0, "(", 1, NULL, "regular expression" },
        { one, 1, "\\w+", 1, NULL, "must be longer" },
        { twice, 2, "\\w+", 1, NULL, "twice" },
        { bad, 1, "\\w+", 1, NULL, "not UTF-8" },
        { empty, 1, "\\w+", 1, NULL, "must be longer" },
        { NULL, 0, "\\w+", -1, NULL, "merges" },
        { NULL, 0, "\\w+", 0, NULL, NULL },
        { NULL, 0, "\\w+", 1, "/nonexistent/folder/t.json", "cannot be written" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        bool ok = bpe_train(cases[i].out ? cases[i].out : path, &text, 1, cases[i].specials, cases[i].n,
                            cases[i].pattern, cases[i].merges, &e);
        CHECK(ok == !cases[i].says && (ok || strstr(e.text, cases[i].says)), "case %zu: %s", i, e.text);
    }
}

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    return 0;
}
static int drop_dir(void **state)
{
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_oracle), cmocka_unit_test(recipe_tokenizer), cmocka_unit_test(same_file_twice),
        cmocka_unit_test(spelled_special),
        cmocka_unit_test(rejected),
    };
    return cmocka_run_group_tests_name("bpe_train", tests, make_dir, drop_dir);
}
