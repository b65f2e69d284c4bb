/* bpe_train.c: counts words once, then repeatedly merges the most frequent pair; only the words that hold the pair are
 * visited. Counts in the heap may be out of date: an entry is used when its count is still the pair's, else it is
 * pushed again with the present count. */
#include "model/tokenizer/bpe_train.h"
#include "base/file.h"
#include "model/tokenizer/byte_alphabet.h"
#include "model/tokenizer/ids.h"
#include "base/json.h"
#include "model/tokenizer/pretok.h"
#include "model/tokenizer/tokenizer_in.h"
#include "base/utf8.h"
#include "base/hash.h"
#include <string.h>

struct train_word {
    uint32_t at;                    /* bytes pool.p[at .. at + len) */
    int len;
    int n, *sym;                    /* now n symbols */
    int64_t count;
};
struct bpe_pair {
    uint64_t key;                   /* left << 32 | right */
    int64_t count;
    struct ids where;               /* words that hold it or held it once */
    bool banned;
};
struct heap_entry { int64_t count; uint64_t key; };

/* An open-addressing table of indices, at most half full; the keys are in the arrays. */
struct index_table { int *slot; uint64_t mask; };

struct bpe_trainer {
    struct pretok pretok;
    struct pretok_work cut;
    const char *const *specials;
    int n_specials, n_merges;
    struct str pool;
    struct train_word *words;
    int n_words, cap_words;
    struct index_table by_bytes, by_key;
    struct bpe_pair *pairs;
    int n_pairs, cap_pairs;
    struct heap_entry *heap;
    int n_heap, cap_heap;
    struct str *token;              /* [n_tokens]: bytes of each token but the specials; ids begin at n_specials */
    int n_tokens;
    struct ids merges;              /* left, right, left, right ... */
    struct err *e;
};

static void *grow(void *p, int n, int *cap, size_t size)
{
    if (n < *cap) return p;
    ENSURE(*cap <= INT_MAX / 2);
    *cap = *cap ? 2 * *cap : 256;
    return xrealloc(p, (size_t)*cap * size);
}

static void table_init(struct index_table *t, uint64_t size)
{
    free(t->slot);
    t->slot = xmalloc(size * sizeof *t->slot);
    memset(t->slot, 0xff, size * sizeof *t->slot);
    t->mask = size - 1;
}

static uint64_t word_hash(const struct bpe_trainer *t, int i)
{
    return fnv1a(t->pool.p + t->words[i].at, (size_t)t->words[i].len);
}
static uint64_t key_hash(uint64_t key) { key *= 0x9e3779b97f4a7c15u; return key ^ key >> 32; }

static void table_put(struct index_table *t, uint64_t hash, int i)
{
    uint64_t at = hash & t->mask;
    while (t->slot[at] >= 0) at = (at + 1) & t->mask;
    t->slot[at] = i;
}

static void count_word(struct bpe_trainer *t, const char *bytes, int n)
{
    uint64_t h = fnv1a(bytes, (size_t)n);
    for (uint64_t at = h & t->by_bytes.mask; t->by_bytes.slot[at] >= 0; at = (at + 1) & t->by_bytes.mask) {
        struct train_word *w = &t->words[t->by_bytes.slot[at]];
        if (w->len == n && !memcmp(t->pool.p + w->at, bytes, (size_t)n)) { w->count++; return; }
    }
    t->words = grow(t->words, t->n_words, &t->cap_words, sizeof *t->words);
    t->words[t->n_words] = (struct train_word){ .at = (uint32_t)t->pool.n, .len = n, .n = n, .count = 1 };
    str_put(&t->pool, bytes, (size_t)n);
    table_put(&t->by_bytes, h, t->n_words++);
    if (2 * (uint64_t)t->n_words <= t->by_bytes.mask) return;
    table_init(&t->by_bytes, 2 * (t->by_bytes.mask + 1));
    for (int i = 0; i < t->n_words; i++) table_put(&t->by_bytes, word_hash(t, i), i);
}

/* Length of the longest special that text[n] begins with; 0: none. */
static size_t special_at(const struct bpe_trainer *t, const char *text, size_t n)
{
    size_t best = 0;
    for (int i = 0; i < t->n_specials; i++) {
        size_t len = strlen(t->specials[i]);
        if (len > best && len <= n && !memcmp(text, t->specials[i], len)) best = len;
    }
    return best;
}

static bool count_plain(struct bpe_trainer *t, const char *text, size_t n)
{
    if (n > INT_MAX || t->pool.n + n > UINT32_MAX)
        return fail(t->e, "a text to train on is longer than 2 GB, or all of them than 4 GB");
    if (!pretok_cut(&t->pretok, &t->cut, text, (int)n))
        return fail(t->e, "the word pattern ran into PCRE2's limits on a text that begins with: %.60s", text);
    for (int i = 0; i < t->cut.cut.n; i++) count_word(t, t->cut.text + t->cut.cut.p[i].at, t->cut.cut.p[i].n);
    return true;
}

static bool count_text(struct bpe_trainer *t, const char *text)
{
    bool first[256] = { false };
    for (int i = 0; i < t->n_specials; i++) first[(unsigned char)t->specials[i][0]] = true;
    size_t n = strlen(text), from = 0;
    for (size_t at = 0; at < n;) {
        size_t len = first[(unsigned char)text[at]] ? special_at(t, text + at, n - at) : 0;
        if (!len) { at++; continue; }
        if (!count_plain(t, text + from, at - from)) return false;
        from = at += len;
    }
    return count_plain(t, text + from, n - from);
}

static struct bpe_pair *pair_of(struct bpe_trainer *t, uint64_t key)
{
    uint64_t at = key_hash(key) & t->by_key.mask;
    for (; t->by_key.slot[at] >= 0; at = (at + 1) & t->by_key.mask)
        if (t->pairs[t->by_key.slot[at]].key == key) return &t->pairs[t->by_key.slot[at]];
    t->pairs = grow(t->pairs, t->n_pairs, &t->cap_pairs, sizeof *t->pairs);
    t->pairs[t->n_pairs] = (struct bpe_pair){ .key = key };
    t->by_key.slot[at] = t->n_pairs++;
    if (2 * (uint64_t)t->n_pairs > t->by_key.mask) {
        table_init(&t->by_key, 2 * (t->by_key.mask + 1));
        for (int i = 0; i < t->n_pairs; i++) table_put(&t->by_key, key_hash(t->pairs[i].key), i);
    }
    return &t->pairs[t->n_pairs - 1];
}

static bool before(struct heap_entry a, struct heap_entry b)
{
    return a.count > b.count || (a.count == b.count && a.key < b.key);
}

static void push(struct bpe_trainer *t, int64_t count, uint64_t key)
{
    t->heap = grow(t->heap, t->n_heap, &t->cap_heap, sizeof *t->heap);
    struct heap_entry x = { count, key };
    int i = t->n_heap++;
    for (; i > 0 && before(x, t->heap[(i - 1) / 2]); i = (i - 1) / 2) t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = x;
}

static struct heap_entry pop(struct bpe_trainer *t)
{
    struct heap_entry top = t->heap[0], x = t->heap[--t->n_heap];
    int i = 0;
    for (int c; (c = 2 * i + 1) < t->n_heap; i = c) {
        if (c + 1 < t->n_heap && before(t->heap[c + 1], t->heap[c])) c++;
        if (!before(t->heap[c], x)) break;
        t->heap[i] = t->heap[c];
    }
    t->heap[i] = x;
    return top;
}

static uint64_t key_at(const struct train_word *w, int i)
{
    return (uint64_t)(uint32_t)w->sym[i] << 32 | (uint32_t)w->sym[i + 1];
}

/* Adds sign x count to the pairs of word i; a pair remembers the words that hold it. */
static void count_pairs(struct bpe_trainer *t, int i, int sign)
{
    const struct train_word *w = &t->words[i];
    for (int k = 0; k + 1 < w->n; k++) {
        struct bpe_pair *p = pair_of(t, key_at(w, k));
        p->count += sign * w->count;
        if (sign > 0 && (!p->where.n || p->where.p[p->where.n - 1] != i)) ids_put(&p->where, i);
    }
}

/* Pushes the pairs of word i that hold the new token. Counts of other pairs can only have fallen. */
static void push_pairs(struct bpe_trainer *t, int i, int with)
{
    const struct train_word *w = &t->words[i];
    for (int k = 0; k + 1 < w->n; k++)
        if (w->sym[k] == with || w->sym[k + 1] == with) push(t, pair_of(t, key_at(w, k))->count, key_at(w, k));
}

/* Replaces left, right by id in word i. False: the word no longer holds the pair. */
static bool merge_word(struct bpe_trainer *t, int i, int left, int right, int id)
{
    struct train_word *w = &t->words[i];
    int at = 0;
    while (at + 1 < w->n && (w->sym[at] != left || w->sym[at + 1] != right)) at++;
    if (at + 1 >= w->n) return false;
    count_pairs(t, i, -1);
    int n = at;
    for (; at < w->n; n++) {
        bool hit = at + 1 < w->n && w->sym[at] == left && w->sym[at + 1] == right;
        w->sym[n] = hit ? id : w->sym[at];
        at += hit ? 2 : 1;
    }
    w->n = n;
    count_pairs(t, i, 1);
    return true;
}

static const struct str *bytes_of(const struct bpe_trainer *t, int id) { return &t->token[id - t->n_specials]; }

/* A scan: there are few merges compared with words. */
static bool is_token(const struct bpe_trainer *t, const struct str *bytes)
{
    bool hit = false;
    for (int i = 0; i < t->n_tokens && !hit; i++)
        hit = t->token[i].n == bytes->n && !memcmp(t->token[i].p, bytes->p, bytes->n);
    return hit;
}

/* Would these bytes, in the file's alphabet, be the text of a special? */
static bool spells_special(const struct bpe_trainer *t, const struct str *bytes)
{
    struct str key = { 0 };
    alphabet_put(&key, bytes->p, bytes->n);
    bool hit = false;
    for (int i = 0; i < t->n_specials; i++) hit |= !strcmp(key.p, t->specials[i]);
    str_free(&key);
    return hit;
}

/* The most frequent pair that may be merged. False: none occurs twice. */
static bool best_pair(struct bpe_trainer *t, uint64_t *key)
{
    while (t->n_heap) {
        struct heap_entry top = pop(t);
        const struct bpe_pair *p = pair_of(t, top.key);
        if (p->banned || top.count < 2) continue;
        if (p->count == top.count) { *key = top.key; return true; }
        /* the present count; a count that grew was pushed then */
        if (p->count < top.count) push(t, p->count, top.key);
    }
    return false;
}

static void merge_best(struct bpe_trainer *t, uint64_t key)
{
    int left = (int)(key >> 32), right = (int)(uint32_t)key;
    struct str both = { 0 };
    str_put(&both, bytes_of(t, left)->p, bytes_of(t, left)->n);
    str_put(&both, bytes_of(t, right)->p, bytes_of(t, right)->n);
    if (is_token(t, &both) || spells_special(t, &both)) {
        pair_of(t, key)->banned = true;
        str_free(&both);
        return;
    }
    int id = t->n_specials + t->n_tokens;
    t->token[t->n_tokens++] = both;
    ids_put(&t->merges, left);
    ids_put(&t->merges, right);
    struct ids where = pair_of(t, key)->where;          /* moved out: these words cannot get the pair again */
    pair_of(t, key)->where = (struct ids){ 0 };
    int changed = 0;
    for (int i = 0; i < where.n; i++)
        if (merge_word(t, where.p[i], left, right, id)) where.p[changed++] = where.p[i];
    /* after all of them, so that the counts are whole */
    for (int i = 0; i < changed; i++) push_pairs(t, where.p[i], id);
    ids_free(&where);
}

static bool train(struct bpe_trainer *t)
{
    t->token = xcalloc((size_t)(256 + t->n_merges), sizeof *t->token);
    for (int b = 0; b < 256; b++) str_putc(&t->token[t->n_tokens++], (char)b);
    table_init(&t->by_key, 1024);
    for (int i = 0; i < t->n_words; i++) {
        struct train_word *w = &t->words[i];
        w->sym = xmalloc((size_t)w->n * sizeof *w->sym);
        for (int k = 0; k < w->n; k++) w->sym[k] = t->n_specials + (unsigned char)t->pool.p[w->at + (uint32_t)k];
        count_pairs(t, i, 1);
    }
    for (int i = 0; i < t->n_pairs; i++) push(t, t->pairs[i].count, t->pairs[i].key);
    while (t->n_tokens < 256 + t->n_merges) {
        uint64_t key;
        if (!best_pair(t, &key))
            return fail(t->e,
                        "the texts give only %d merges of %d: no other pair occurs twice; give more text",
                        t->n_tokens - 256, t->n_merges);
        merge_best(t, key);
    }
    return true;
}

static json_t *make_model(const struct bpe_trainer *t)
{
    json_t *vocab = json_object(), *merges = json_array();
    for (int i = 0; i < t->n_specials; i++) json_object_set_new(vocab, t->specials[i], json_integer(i));
    struct str key = { 0 };
    for (int i = 0; i < t->n_tokens; i++) {
        str_clear(&key);
        alphabet_put(&key, t->token[i].p, t->token[i].n);
        json_object_set_new(vocab, key.p, json_integer(t->n_specials + i));
    }
    for (int i = 0; i < t->merges.n; i += 2) {
        str_clear(&key);
        alphabet_put(&key, bytes_of(t, t->merges.p[i])->p, bytes_of(t, t->merges.p[i])->n);
        str_putc(&key, ' ');
        alphabet_put(&key, bytes_of(t, t->merges.p[i + 1])->p, bytes_of(t, t->merges.p[i + 1])->n);
        json_array_append_new(merges, json_string(key.p));
    }
    str_free(&key);
    return json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                     "ignore_merges", 0, "vocab", vocab, "merges", merges);
}

static bool write_file(const struct bpe_trainer *t, const char *path, const char *pattern)
{
    json_t *added = json_array();
    for (int i = 0; i < t->n_specials; i++)
        json_array_append_new(added,
                              json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", i, "content", t->specials[i],
                                        "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1));
    json_t *split = json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", pattern, "behavior",
                              "Isolated", "invert", 0);
    json_t *level = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                              "use_regex", 0);
    json_t *root =
        json_pack("{s:s, s:n, s:n, s:o, s:n, s:{s:s, s:[o, O]}, s:n, s:o, s:o}", "version", "1.0", "truncation",
                  "padding", "added_tokens", added, "normalizer", "pre_tokenizer", "type", "Sequence", "pretokenizers",
                  split, level, "post_processor", "decoder", level, "model", make_model(t));
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (!text) die("bpe_train: the tokenizer does not fit JSON");
    struct tokenizer *back = tokenizer_parse(path, text, strlen(text), t->e);   /* checks that it can be read */
    bool ok = back && file_write(path, text, strlen(text), t->e);
    tokenizer_free(back);
    json_decref(root);
    free(text);
    return ok;
}

static bool check_specials(const struct bpe_trainer *t)
{
    for (int i = 0; i < t->n_specials; i++) {
        const char *s = t->specials[i];
        uint32_t c = 0;
        size_t at = 0, n = strlen(s);
        int chars = 0;
        for (int len; at < n && (len = utf8_get(s + at, n - at, &c)) > 0; at += (size_t)len) chars++;
        if (at < n) return fail(t->e, "special token %d is not UTF-8", i);
        if (chars == 0 || (chars == 1 && c < 256 + 68))
            return fail(t->e, "special token %d, \"%s\", must be longer: single characters stand for bytes", i, s);
        for (int k = 0; k < i; k++)
            if (!strcmp(s, t->specials[k])) return fail(t->e, "special token %s is given twice", s);
    }
    return true;
}

static void forget(struct bpe_trainer *t)
{
    pretok_free(&t->pretok);
    pretok_work_free(&t->cut);
    str_free(&t->pool);
    for (int i = 0; i < t->n_words; i++) free(t->words[i].sym);
    for (int i = 0; i < t->n_pairs; i++) ids_free(&t->pairs[i].where);
    for (int i = 0; t->token && i < t->n_tokens; i++) str_free(&t->token[i]);
    free(t->words);
    free(t->pairs);
    free(t->token);
    free(t->heap);
    free(t->by_bytes.slot);
    free(t->by_key.slot);
    ids_free(&t->merges);
}

bool bpe_train(const char *path_out, const char *const *texts, int n_texts, const char *const *specials, int n_specials,
               const char *pattern, int n_merges, struct err *e)
{
    if (n_merges < 0 || n_merges > 1 << 20 || n_specials < 0 || n_specials > 1 << 16)
        return fail(e, "%s: merges must be from 0 to %d", path_out, 1 << 20);
    struct bpe_trainer t = { .specials = specials, .n_specials = n_specials, .n_merges = n_merges, .e = e };
    table_init(&t.by_bytes, 1024);
    bool ok = check_specials(&t) && pretok_add(&t.pretok, pattern, false, PRETOK_ISOLATED, false, e);
    for (int i = 0; ok && i < n_texts; i++) ok = count_text(&t, texts[i]);
    ok = ok && train(&t);
    if (!ok) fail_in(e, "%s", path_out);
    ok = ok && write_file(&t, path_out, pattern);
    forget(&t);
    return ok;
}
