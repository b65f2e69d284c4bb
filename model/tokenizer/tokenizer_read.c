/* tokenizer_read.c: tokenizer.json. Vocabulary keys and merges are written in GPT-2's byte alphabet and become bytes
 * here; added tokens are plain text. */
#define _GNU_SOURCE     /* qsort_r */
#include "base/file.h"
#include "model/tokenizer/byte_alphabet.h"
#include "base/json.h"
#include "model/tokenizer/tokenizer_in.h"
#include "base/hash.h"
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 256 << 20, IDS_MAX = 1 << 21 };       /* the largest vocabularies in use have 2^18 ids */

struct tokenizer_reader { struct tokenizer *t; const char *name; struct err *e; };

static bool unset(json_t *v) { return !v || json_is_null(v); }

/* The "type" of an object, "" if it has none. */
static const char *type_of(json_t *v)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    return type ? type : "";
}

/* v[key] must be one of: missing, null, false, 0, "" */
static bool off(struct tokenizer_reader *r, json_t *v, const char *where, const char *key)
{
    json_t *x = json_object_get(v, key);
    const char *s = json_string_value(x);
    if (unset(x) || json_is_false(x) || (s && !*s) || (json_is_number(x) && !(json_number_value(x) > 0))) return true;
    return fail(r->e, "%s: %s.%s is set, which is not supported", r->name, where, key);
}

static bool flag(struct tokenizer_reader *r, json_t *v, const char *where, const char *key, bool missing, bool *out)
{
    json_t *x = json_object_get(v, key);
    *out = unset(x) ? missing : json_is_true(x);
    return unset(x) || json_is_boolean(x) || fail(r->e, "%s: %s.%s must be true or false", r->name, where, key);
}

/* Steps of a Sequence, or the one step that v is. A Sequence within a Sequence is not followed. */
static size_t steps(json_t *v, const char *list)
{
    return strcmp(type_of(v), "Sequence") ? 1 : json_array_size(json_object_get(v, list));
}

static json_t *step(json_t *v, const char *list, size_t i)
{
    return strcmp(type_of(v), "Sequence") ? v : json_array_get(json_object_get(v, list), i);
}

static bool read_id(struct tokenizer_reader *r, const char *key, json_t *v, int *id)
{
    json_int_t x = json_integer_value(v);
    if (!json_is_integer(v) || x < 0 || x >= IDS_MAX)
        return fail(r->e, "%s: token %.80s: id must be a whole number from 0 to %d", r->name, key, IDS_MAX - 1);
    *id = (int)x;
    return true;
}

/* 1 + the largest of the ids in range; read_id rejects the others. */
static int count_ids(json_t *vocab, json_t *added)
{
    json_int_t max = -1;
    const char *key;
    json_t *v;
    size_t i;
    json_object_foreach(vocab, key, v)
        if (json_integer_value(v) > max && json_integer_value(v) < IDS_MAX) max = json_integer_value(v);
    json_array_foreach(added, i, v) {
        json_int_t id = json_integer_value(json_object_get(v, "id"));
        if (id > max && id < IDS_MAX) max = id;
    }
    return (int)max + 1;
}

/* False: more than BPE_PROBES probes: a file made to be slow. */
static bool put_word(struct tokenizer *t, int id)
{
    const struct vocab_token *k = &t->tok[id];
    uint64_t i = fnv1a(t->pool.p + k->at, (size_t)k->n) & t->words_mask;
    for (int probes = 0; t->words[i] >= 0; i = (i + 1) & t->words_mask) if (++probes > BPE_PROBES) return false;
    t->words[i] = id;
    return true;
}

/* model.vocab -> tok, pool, words. A key outside of the byte alphabet keeps its UTF-8; no text becomes it, it can only
 * be printed. */
static bool read_vocab(struct tokenizer_reader *r, json_t *vocab)
{
    struct tokenizer *t = r->t;
    if (!json_is_object(vocab)) return fail(r->e, "%s: model.vocab must be an object (token to id)", r->name);
    uint64_t size = 1024;
    while (size < 2 * (uint64_t)json_object_size(vocab)) size *= 2;
    t->words = xmalloc(size * sizeof *t->words);
    memset(t->words, 0xff, size * sizeof *t->words);
    t->words_mask = size - 1;
    const char *key;
    json_t *v;
    json_object_foreach(vocab, key, v) {
        int id = 0;
        if (!read_id(r, key, v, &id)) return false;
        struct vocab_token *k = &t->tok[id];
        if (k->kind != TOKEN_NONE)
            return fail(r->e, "%s: model.vocab: token %.80s has the id %d of another token", r->name, key, id);
        size_t at = t->pool.n;
        bool bytes = alphabet_get(&t->pool, key, strlen(key));
        if (!bytes) str_puts(&t->pool, key);
        *k = (struct vocab_token){ (uint32_t)at, (int)(t->pool.n - at), TOKEN_PLAIN };
        if (k->n == 0) return fail(r->e, "%s: model.vocab: id %d is the empty text", r->name, id);
        if (bytes && !put_word(t, id))
            return fail(r->e, "%s: model.vocab: more than %d tokens at one place of the hash table", r->name,
                        BPE_PROBES);
    }
    return true;
}

static bool read_added_one(struct tokenizer_reader *r, json_t *vocab, json_t *a, size_t i)
{
    struct tokenizer *t = r->t;
    const char *text = json_string_value(json_object_get(a, "content"));
    bool special;
    char where[40];
    snprintf(where, sizeof where, "added_tokens[%zu]", i);
    if (!text || !*text) return fail(r->e, "%s: %s: no content", r->name, where);
    if (!off(r, a, where, "lstrip") || !off(r, a, where, "rstrip") || !off(r, a, where, "single_word")) return false;
    if (!flag(r, a, where, "special", false, &special)) return false;
    int id = 0;
    if (!read_id(r, text, json_object_get(a, "id"), &id)) return false;
    json_t *same = json_object_get(vocab, text);
    const struct vocab_token *k = &t->tok[id];
    /* listed twice */
    if (k->kind == (special ? TOKEN_SPECIAL : TOKEN_ADDED) && (size_t)k->n == strlen(text) &&
        !memcmp(t->pool.p + k->at, text, (size_t)k->n))
        return true;
    bool taken = t->tok[id].kind != TOKEN_NONE;
    if (same ? json_integer_value(same) != id || t->tok[id].kind != TOKEN_PLAIN : taken)
        return fail(r->e, "%s: %s: %.80s has the id %d of another token", r->name, where, text, id);
    t->tok[id] = (struct vocab_token){ (uint32_t)t->pool.n, (int)strlen(text), special ? TOKEN_SPECIAL : TOKEN_ADDED };
    /* plain text, where the vocabulary's key would be read as the byte alphabet */
    str_puts(&t->pool, text);
    t->added[t->n_added++] = id;
    t->first[(unsigned char)text[0]] = true;
    return true;
}

static int by_bytes(const void *a, const void *b, void *arg)
{
    const struct tokenizer *t = arg;
    const struct vocab_token *x = &t->tok[*(const int *)a], *y = &t->tok[*(const int *)b];
    int c = memcmp(t->pool.p + x->at, t->pool.p + y->at, (size_t)(x->n < y->n ? x->n : y->n));
    return c ? c : x->n - y->n;
}

static bool read_added(struct tokenizer_reader *r, json_t *vocab, json_t *list)
{
    struct tokenizer *t = r->t;
    if (unset(list)) return true;
    if (!json_is_array(list)) return fail(r->e, "%s: added_tokens must be an array", r->name);
    t->added = xmalloc(json_array_size(list) * sizeof *t->added);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!read_added_one(r, vocab, json_array_get(list, i), i)) return false;
    qsort_r(t->added, (size_t)t->n_added, sizeof *t->added, by_bytes, t);
    for (int i = 1; i < t->n_added; i++)
        if (by_bytes(&t->added[i - 1], &t->added[i], t) == 0)
            return fail(r->e, "%s: added_tokens: %.80s is there twice", r->name, t->pool.p + t->tok[t->added[i]].at);
    return true;
}

/* A special token that ordinary text can become could be forged by text, and would vanish when printed. */
static bool plain(struct tokenizer_reader *r, int id)
{
    const struct vocab_token *k = &r->t->tok[id];
    return k->kind != TOKEN_SPECIAL || fail(r->e, "%s: token %d (%.*s) is special, but ordinary text can become it",
                                            r->name, id, k->n < 80 ? k->n : 80, r->t->pool.p + k->at);
}

/* Vocabularies are not always whole: SmolLM2's lacks 21 bytes (rare controls, the first bytes of planes 4 to 11, what
 * UTF-8 never has). Such a byte becomes unk_token, as in the tokenizers library; nothing, where the file has none or it
 * is a special token, which no text may become. */
static bool read_bytes(struct tokenizer_reader *r, json_t *model)
{
    bool fuse;
    if (!flag(r, model, "model", "fuse_unk", false, &fuse)) return false;
    const char *name = json_string_value(json_object_get(model, "unk_token"));
    int other = name ? tokenizer_word(r->t, name, strlen(name)) : -1;
    if (other >= 0 && r->t->tok[other].kind == TOKEN_SPECIAL) other = -1;
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        int id = r->t->byte_id[b] = tokenizer_word(r->t, &c, 1);
        if (id >= 0 && !plain(r, id)) return false;
        if (id < 0 && (b == '\n' || (b >= ' ' && b <= '~')))
            return fail(r->e, "%s: model.vocab: no token for byte %d; only byte-level vocabularies are supported",
                        r->name, b);
        if (id < 0 && other >= 0 && fuse)
            return fail(r->e, "%s: model.fuse_unk is set and bytes are missing, which is not supported", r->name);
        if (id < 0) r->t->byte_id[b] = other;
    }
    return true;
}

/* One merge, "a b" or ["a", "b"], into the bytes of a and b: s[0 .. *left) and s[*left .. n). */
static bool split_merge(json_t *v, struct str *s, size_t *left)
{
    str_clear(s);
    const char *text = json_string_value(v);
    if (text) {
        const char *space = strchr(text, ' ');
        if (!space || !alphabet_get(s, text, (size_t)(space - text))) return false;
        *left = s->n;
        return alphabet_get(s, space + 1, strlen(space + 1)) && *left > 0 && s->n > *left;
    }
    const char *a = json_string_value(json_array_get(v, 0)), *b = json_string_value(json_array_get(v, 1));
    if (json_array_size(v) != 2 || !a || !b || !alphabet_get(s, a, strlen(a))) return false;
    *left = s->n;
    return alphabet_get(s, b, strlen(b)) && *left > 0 && s->n > *left;
}

static bool read_merges(struct tokenizer_reader *r, json_t *list)
{
    struct tokenizer *t = r->t;
    if (!json_is_array(list) || json_array_size(list) > IDS_MAX)
        return fail(r->e, "%s: model.merges must be an array of at most %d", r->name, IDS_MAX);
    bpe_init(&t->bpe, (int)json_array_size(list));
    struct str s = { 0 };
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(list); i++) {
        size_t cut = 0;
        ok = split_merge(json_array_get(list, i), &s, &cut);
        if (!ok) { fail(r->e, "%s: model.merges[%zu] is not two tokens of the byte alphabet", r->name, i); break; }
        int a = tokenizer_word(t, s.p, cut), b = tokenizer_word(t, s.p + cut, s.n - cut),
            both = tokenizer_word(t, s.p, s.n);
        if (a < 0 || b < 0 || both < 0)
            ok = fail(r->e, "%s: model.merges[%zu]: %s is not in model.vocab", r->name, i,
                      both < 0 ? "the merged token" : a < 0 ? "its left token" : "its right token");
        else if (!bpe_add(&t->bpe, a, b, (int)i, both))
            ok = fail(r->e,
                      bpe_find(&t->bpe, a, b) ? "%s: model.merges[%zu]: the same pair as an earlier merge"
                                              : "%s: model.merges[%zu]: more pairs at one place of the hash table than "
                                                "a real vocabulary has",
                      r->name, i);
        else
            ok = plain(r, both);
    }
    str_free(&s);
    return ok;
}

static bool read_model(struct tokenizer_reader *r, json_t *root)
{
    json_t *m = json_object_get(root, "model"), *vocab = json_object_get(m, "vocab"),
           *added = json_object_get(root, "added_tokens");
    const char *type = type_of(m);
    if (!json_is_object(m)) return fail(r->e, "%s: no model", r->name);
    if (*type && strcmp(type, "BPE"))
        return fail(r->e, "%s: model.type %.40s is not supported, only BPE", r->name, type);
    static const char *const unsupported[] = { "dropout", "continuing_subword_prefix", "end_of_word_suffix",
                                               "byte_fallback" };
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (!off(r, m, "model", unsupported[i])) return false;
    if (!flag(r, m, "model", "ignore_merges", false, &r->t->ignore_merges)) return false;
    r->t->n = count_ids(vocab, added);
    r->t->tok = xcalloc((size_t)r->t->n, sizeof *r->t->tok);
    return read_vocab(r, vocab) && read_added(r, vocab, added) && read_bytes(r, m) &&
           read_merges(r, json_object_get(m, "merges"));
}

static bool read_normalizer(struct tokenizer_reader *r, json_t *v)
{
    for (size_t i = 0; !unset(v) && i < steps(v, "normalizers"); i++) {
        const char *type = type_of(step(v, "normalizers", i));
        if (strcmp(type, "NFC"))
            return fail(r->e, "%s: normalizer %.40s is not supported, only NFC", r->name, *type ? type : "(no type)");
        r->t->nfc = true;
    }
    return true;
}

static bool read_split(struct tokenizer_reader *r, json_t *v)
{
    static const char *const hows[] = { [PRETOK_REMOVED] = "Removed",
                                        [PRETOK_ISOLATED] = "Isolated",
                                        [PRETOK_WITH_PREVIOUS] = "MergedWithPrevious",
                                        [PRETOK_WITH_NEXT] = "MergedWithNext",
                                        [PRETOK_CONTIGUOUS] = "Contiguous" };
    json_t *pattern = json_object_get(v, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex")),
               *string = json_string_value(json_object_get(pattern, "String"));
    const char *behavior = json_string_value(json_object_get(v, "behavior"));
    if (!regex == !string)
        return fail(r->e, "%s: pre_tokenizer Split: pattern must be {\"Regex\": ...} or {\"String\": ...}", r->name);
    int how = -1;
    for (int i = 0; behavior && i < 5; i++) if (!strcmp(behavior, hows[i])) how = i;
    if (how < 0)
        return fail(r->e, "%s: pre_tokenizer Split: behavior %.40s is not known", r->name,
                    behavior ? behavior : "(none)");
    bool invert;
    if (!flag(r, v, "pre_tokenizer Split", "invert", false, &invert)) return false;
    return pretok_add(&r->t->pretok, regex ? regex : string, !regex, (enum pretok_how)how, invert, r->e) ||
           fail_in(r->e, "%s: pre_tokenizer Split", r->name);
}

static bool read_byte_level(struct tokenizer_reader *r, json_t *v)
{
    /* GPT-2's expression, as in the tokenizers library */
    static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    bool regex, space;
    if (!flag(r, v, "pre_tokenizer ByteLevel", "use_regex", true, &regex)) return false;
    if (!flag(r, v, "pre_tokenizer ByteLevel", "add_prefix_space", true, &space)) return false;
    if (space && !pretok_add_space(&r->t->pretok, r->e)) return fail_in(r->e, "%s: pre_tokenizer", r->name);
    if (regex && !pretok_add(&r->t->pretok, gpt2, false, PRETOK_ISOLATED, false, r->e))
        return fail_in(r->e, "%s: pre_tokenizer", r->name);
    return true;
}

static bool read_pretok(struct tokenizer_reader *r, json_t *v)
{
    bool last = false;
    for (size_t i = 0; !unset(v) && i < steps(v, "pretokenizers"); i++) {
        json_t *s = step(v, "pretokenizers", i);
        const char *type = type_of(s);
        bool single;
        if (last) return fail(r->e, "%s: pre_tokenizer: a step after ByteLevel, which must be the last", r->name);
        if (!strcmp(type, "Split")) {
            if (!read_split(r, s)) return false;
        } else if (!strcmp(type, "Digits")) {
            if (!flag(r, s, "pre_tokenizer Digits", "individual_digits", false, &single)) return false;
            if (!pretok_add(&r->t->pretok, "\\p{N}", false, single ? PRETOK_ISOLATED : PRETOK_CONTIGUOUS, false, r->e))
                return fail_in(r->e, "%s: pre_tokenizer Digits", r->name);
        } else if (!strcmp(type, "ByteLevel")) {
            last = true;
            if (!read_byte_level(r, s)) return false;
        } else {
            return fail(r->e,
                        "%s: pre_tokenizer %.40s is not supported, only Split, Digits, ByteLevel and one Sequence of "
                        "them",
                        r->name, *type ? type : "(no type)");
        }
    }
    return last || fail(r->e, "%s: pre_tokenizer: no ByteLevel; only byte-level vocabularies are supported", r->name);
}

/* post_processor: ByteLevel (offsets only), or a TemplateProcessing whose "single" is the text behind at most one
 * special token. The supported families have no token after the text (as BERT has). */
static bool read_bos(struct tokenizer_reader *r, json_t *v)
{
    r->t->bos = -1;
    for (size_t i = 0; !unset(v) && i < steps(v, "processors"); i++) {
        json_t *s = step(v, "processors", i), *single = json_object_get(s, "single"),
               *first = json_object_get(json_array_get(single, 0), "SpecialToken");
        if (!strcmp(type_of(s), "ByteLevel")) continue;
        if (strcmp(type_of(s), "TemplateProcessing"))
            return fail(r->e, "%s: post_processor %.40s is not supported, only ByteLevel and TemplateProcessing",
                        r->name, *type_of(s) ? type_of(s) : "(no type)");
        const char *name = json_string_value(json_object_get(first, "id"));
        if (name) r->t->bos = tokenizer_id(r->t, name);
        if (json_array_size(single) != (name ? 2 : 1) ||
            !json_object_get(json_array_get(single, name ? 1 : 0), "Sequence") || (name && r->t->bos < 0))
            return fail(r->e, "%s: post_processor: single must be the text, or one of the added tokens and the text",
                        r->name);
    }
    return true;
}

static bool read_decoder(struct tokenizer_reader *r, json_t *v)
{
    bool last = false;
    for (size_t i = 0; !unset(v) && i < steps(v, "decoders"); i++) {
        const char *type = type_of(step(v, "decoders", i));
        if (strcmp(type, "ByteLevel") && strcmp(type, "Fuse"))
            return fail(r->e, "%s: decoder %.40s is not supported, only ByteLevel", r->name,
                        *type ? type : "(no type)");
        last |= !strcmp(type, "ByteLevel");
    }
    return last || fail(r->e, "%s: decoder: no ByteLevel; only byte-level vocabularies are supported", r->name);
}

struct tokenizer *tokenizer_parse(const char *name, const char *text, size_t n, struct err *e)
{
    if (n > FILE_MAX) { fail(e, "%s: larger than %d bytes", name, FILE_MAX); return NULL; }
    json_t *root = json_from(name, text, n, e);
    if (!root) return NULL;
    struct tokenizer_reader r = { .t = xcalloc(1, sizeof *r.t), .name = name, .e = e };
    bool ok = json_is_object(root) || fail(e, "%s: must be a JSON object", name);
    ok = ok && read_model(&r, root) && read_normalizer(&r, json_object_get(root, "normalizer")) &&
         read_pretok(&r, json_object_get(root, "pre_tokenizer")) &&
         read_decoder(&r, json_object_get(root, "decoder")) && read_bos(&r, json_object_get(root, "post_processor"));
    json_decref(root);
    if (!ok) { tokenizer_free(r.t); return NULL; }
    str_put(&r.t->text, text, n);
    r.t->hash = fnv1a(text, n);
    return r.t;
}

struct tokenizer *tokenizer_read(const char *path, struct err *e)
{
    struct str text = { 0 };
    struct tokenizer *t =
        file_read(path, FILE_MAX, &text, e) ? tokenizer_parse(path, text.p ? text.p : "", text.n, e) : NULL;
    str_free(&text);
    return t;
}
