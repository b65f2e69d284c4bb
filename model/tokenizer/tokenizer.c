/* tokenizer.c: text to ids and back. Nothing here changes the tokenizer: a call's scratch is on its own stack and
 * heap. */
#include "model/tokenizer/tokenizer.h"
#include "base/file.h"
#include "model/tokenizer/nfc.h"
#include "model/tokenizer/tokenizer_in.h"
#include "base/utf8.h"
#include "base/hash.h"
#include <limits.h>
#include <string.h>

int tokenizer_word(const struct tokenizer *t, const char *bytes, size_t n)
{
    for (uint64_t i = fnv1a(bytes, n) & t->words_mask; t->words[i] >= 0; i = (i + 1) & t->words_mask) {
        const struct vocab_token *k = &t->tok[t->words[i]];
        if ((size_t)k->n == n && !memcmp(t->pool.p + k->at, bytes, n)) return t->words[i];
    }
    return -1;
}

/* The first added token in [lo, hi) whose byte at depth is >= c; tokens that end at depth come first. */
static int bound(const struct tokenizer *t, int lo, int hi, int depth, int c)
{
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        const struct vocab_token *k = &t->tok[t->added[mid]];
        int b = k->n > depth ? (unsigned char)t->pool.p[k->at + (uint32_t)depth] : -1;
        if (b < c) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

int tokenizer_match(const struct tokenizer *t, const char *text, size_t n, size_t *len)
{
    int lo = 0, hi = t->n_added, best = -1;
    for (size_t d = 0; d < n && lo < hi; d++) {
        int c = (unsigned char)text[d];
        lo = bound(t, lo, hi, (int)d, c);
        hi = bound(t, lo, hi, (int)d, c + 1);
        if (lo < hi && (size_t)t->tok[t->added[lo]].n == d + 1) { best = t->added[lo]; *len = d + 1; }
    }
    return best;
}

struct encode_work { struct pretok_work cut; struct bpe_work bpe; struct str nfc; };

static void reserve(struct ids *out, int n)
{
    ENSURE(n <= INT_MAX - out->n);
    if (out->n + n <= out->cap) return;
    int64_t cap = 2 * (int64_t)(out->n + n);
    out->cap = cap > INT_MAX ? INT_MAX : (int)cap;
    out->p = xrealloc(out->p, (size_t)out->cap * sizeof *out->p);
}

static void encode_word(const struct tokenizer *t, struct encode_work *w, struct ids *out, const char *bytes, int n)
{
    int id = t->ignore_merges ? tokenizer_word(t, bytes, (size_t)n) : -1;
    if (id >= 0 && t->tok[id].kind == TOKEN_PLAIN) { ids_put(out, id); return; }
    reserve(out, n);                                    /* ids of bytes are merged in place, in out */
    int *sym = out->p + out->n, known = 0;
    for (int i = 0; i < n; i++) {
        sym[known] = t->byte_id[(unsigned char)bytes[i]];
        known += sym[known] >= 0;
    }
    out->n += bpe_word(&t->bpe, &w->bpe, sym, known);
}

/* text[n] without added tokens */
static bool encode_plain(const struct tokenizer *t, struct encode_work *w, struct ids *out, const char *text, size_t n)
{
    if (n == 0) return true;
    if (t->nfc && !nfc_plain(text, n)) {
        str_clear(&w->nfc);
        nfc_put(&w->nfc, text, n);
        text = w->nfc.p;
        n = w->nfc.n;
    }
    if (n > INT_MAX || !pretok_cut(&t->pretok, &w->cut, text, (int)n)) return false;
    for (int i = 0; i < w->cut.cut.n; i++) encode_word(t, w, out, w->cut.text + w->cut.cut.p[i].at, w->cut.cut.p[i].n);
    return true;
}

bool tokenizer_encode(const struct tokenizer *t, struct ids *out, const char *text, size_t n, bool special)
{
    if (n > INT_MAX) return false;
    struct encode_work w = { 0 };
    int start = out->n;
    size_t from = 0, len = 0;
    bool ok = true;
    for (size_t at = 0; special && ok && at < n;) {
        int id = t->first[(unsigned char)text[at]] ? tokenizer_match(t, text + at, n - at, &len) : -1;
        if (id < 0) { at++; continue; }
        ok = encode_plain(t, &w, out, text + from, at - from);
        ids_put(out, id);
        from = at += len;
    }
    ok = ok && encode_plain(t, &w, out, text + from, n - from);
    if (!ok) out->n = start;
    pretok_work_free(&w.cut);
    bpe_work_free(&w.bpe);
    str_free(&w.nfc);
    return ok;
}

const char *tokenizer_bytes(const struct tokenizer *t, int id, int *n)
{
    *n = 0;
    if (id < 0 || id >= t->n || t->tok[id].kind == TOKEN_NONE) return NULL;
    *n = t->tok[id].n;
    return t->pool.p + t->tok[id].at;
}

void tokenizer_decode(const struct tokenizer *t, struct str *out, const int *ids, int n, bool special)
{
    for (int i = 0; i < n; i++) {
        int len;
        const char *bytes = tokenizer_bytes(t, ids[i], &len);
        if (bytes && (special || !tokenizer_special(t, ids[i]))) str_put(out, bytes, (size_t)len);
    }
}

/* Can more bytes complete the character that held begins? */
static bool incomplete(const struct tokenizer_stream *s)
{
    return s->n < utf8_len(*s->held) && utf8_part(s->held, (size_t)s->n) == s->n;
}

static void stream_byte(struct tokenizer_stream *s, struct str *out, char byte)
{
    uint32_t c;
    s->held[s->n++] = byte;
    if (utf8_get(s->held, (size_t)s->n, &c) == s->n) {
        str_put(out, s->held, (size_t)s->n);
        s->n = 0;
    } else if (!incomplete(s)) {
        /* this byte ended the character before it and may begin another */
        bool again = s->n > 1;
        str_puts(out, "\xef\xbf\xbd");
        s->n = 0;
        if (again) stream_byte(s, out, byte);
    }
}

void tokenizer_stream_put(const struct tokenizer *t, struct tokenizer_stream *s, struct str *out, int id, bool special)
{
    int len;
    const char *bytes = tokenizer_bytes(t, id, &len);
    if (!bytes || (!special && tokenizer_special(t, id))) return;
    for (int i = 0; i < len; i++) stream_byte(s, out, bytes[i]);
}

void tokenizer_stream_end(struct tokenizer_stream *s, struct str *out)
{
    if (s->n) str_puts(out, "\xef\xbf\xbd");
    s->n = 0;
}

int tokenizer_id(const struct tokenizer *t, const char *token)
{
    size_t len = 0, n = strlen(token);
    int id = tokenizer_match(t, token, n, &len);
    return id >= 0 && len == n ? id : -1;
}

bool tokenizer_special(const struct tokenizer *t, int id)
{
    return id >= 0 && id < t->n && t->tok[id].kind == TOKEN_SPECIAL;
}
int tokenizer_vocab(const struct tokenizer *t) { return t->n; }
int tokenizer_bos(const struct tokenizer *t) { return t->bos; }
uint64_t tokenizer_hash(const struct tokenizer *t) { return t->hash; }

bool tokenizer_copy(const struct tokenizer *t, const char *path, struct err *e)
{
    return file_write(path, t->text.p, t->text.n, e);
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t) return;
    str_free(&t->text);
    str_free(&t->pool);
    free(t->tok);
    free(t->words);
    free(t->added);
    bpe_free(&t->bpe);
    pretok_free(&t->pretok);
    free(t);
}
