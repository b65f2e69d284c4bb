/* nfc.c: decompose, order, compose. Only text around characters from U+0300 on is processed: lower characters compose
 * with nothing before them. Hangul syllables are left whole, since composing L V T and composing LV T give the same. */
#include "model/tokenizer/nfc.h"
#include "base/err.h"
#include "model/tokenizer/nfc_table.h"
#include "base/utf8.h"
#include <stdlib.h>
#include <string.h>

enum { PLAIN_BELOW = 0xcc };        /* first byte of U+0300 */

bool nfc_plain(const char *text, size_t n)
{
    unsigned char max = 0;
    for (size_t i = 0; i < n; i++) max = (unsigned char)text[i] > max ? (unsigned char)text[i] : max;
    return max < PLAIN_BELOW;
}

static const struct nfc_step *find_step(const struct nfc_step *t, int n, uint32_t c)
{
    int lo = 0;
    while (lo < n) {
        int mid = lo + (n - lo) / 2;
        if (t[mid].c == c) return &t[mid];
        if (t[mid].c < c) lo = mid + 1;
        else n = mid;
    }
    return NULL;
}

static const struct nfc_step *decomposition(uint32_t c)
{
    const struct nfc_step *s = find_step(nfc_pairs, NFC_PAIRS, c);
    return s ? s : find_step(nfc_one_way, NFC_ONE_WAY, c);
}

static int class_of(uint32_t c)
{
    int lo = 0, hi = NFC_CLASSES;                       /* the last row that begins at or before c is lo - 1 */
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (nfc_classes[mid].c <= c) lo = mid + 1;
        else hi = mid;
    }
    return lo && c - nfc_classes[lo - 1].c < nfc_classes[lo - 1].n ? nfc_classes[lo - 1].k : 0;
}

/* The character that a, b compose to; 0: none. Hangul: Unicode Standard, section 3.12. */
static uint32_t compose(uint32_t a, uint32_t b)
{
    if (a - 0x1100 < 19 && b - 0x1161 < 21) return 0xac00 + ((a - 0x1100) * 21 + b - 0x1161) * 28;
    if (a - 0xac00 < 11172 && (a - 0xac00) % 28 == 0 && b - 0x11a8 < 27) return a + b - 0x11a7;
    int lo = 0, hi = NFC_PAIRS;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        const struct nfc_step *s = &nfc_pairs[nfc_by_parts[mid]];
        if (s->a == a && s->b == b) return s->c;
        if (s->a < a || (s->a == a && s->b < b)) lo = mid + 1;
        else hi = mid;
    }
    return 0;
}

struct nfc_mark { uint32_t c; int k; };                     /* a character and its combining class */
struct nfc_marks { struct nfc_mark *p, *tmp; size_t n, cap; };

static void add(struct nfc_marks *m, uint32_t c)
{
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 64;
        m->p = xrealloc(m->p, m->cap * sizeof *m->p);
        m->tmp = xrealloc(m->tmp, m->cap * sizeof *m->tmp);
    }
    m->p[m->n++] = (struct nfc_mark){ c, class_of(c) };
}

static void add_decomposed(struct nfc_marks *m, uint32_t c)
{
    /* the table is at most 3 steps deep, and no second part decomposes */
    uint32_t tail[8];
    int n = 0;
    for (const struct nfc_step *s; (s = decomposition(c)); c = s->a) if (s->b) tail[n++] = s->b;
    add(m, c);
    while (n) add(m, tail[--n]);
}

/* A stable sort of p[n] by class: counting, so that a megabyte of marks is not quadratic. */
static void order_run(struct nfc_mark *p, struct nfc_mark *tmp, size_t n)
{
    bool sorted = true;
    for (size_t i = 1; i < n; i++) sorted &= p[i - 1].k <= p[i].k;
    if (sorted) return;
    size_t at[257] = { 0 };
    for (size_t i = 0; i < n; i++) at[p[i].k + 1]++;
    for (int k = 0; k < 256; k++) at[k + 1] += at[k];
    for (size_t i = 0; i < n; i++) tmp[at[p[i].k]++] = p[i];
    memcpy(p, tmp, n * sizeof *p);
}

static void order(struct nfc_marks *m)
{
    for (size_t i = 0; i < m->n;) {
        size_t end = i;
        while (end < m->n && m->p[end].k) end++;
        order_run(m->p + i, m->tmp + i, end - i);
        i = end + 1;
    }
}

/* A mark joins the last character of class 0 unless one of its own or a higher class, or another character of class 0,
 * lies between. */
static void compose_all(struct nfc_marks *m)
{
    size_t n = 0, base = SIZE_MAX;
    for (size_t i = 0; i < m->n; i++) {
        struct nfc_mark x = m->p[i];
        bool free_way = base != SIZE_MAX && (base + 1 == n || m->p[n - 1].k < x.k);
        uint32_t c = free_way ? compose(m->p[base].c, x.c) : 0;
        if (c) { m->p[base].c = c; continue; }
        if (x.k == 0) base = n;
        m->p[n++] = x;
    }
    m->n = n;
}

static void flush(struct str *out, struct nfc_marks *m)
{
    order(m);
    compose_all(m);
    for (size_t i = 0; i < m->n; i++) {
        char text[4];
        str_put(out, text, (size_t)utf8_put(text, m->p[i].c));
    }
    m->n = 0;
}

void nfc_put(struct str *out, const char *text, size_t n)
{
    struct nfc_marks m = { 0 };
    uint32_t c;
    for (size_t at = 0; at < n;) {
        /* text[at .. end) is below U+0300, text[last .. end) its last character */
        size_t end = at, last = at;
        for (int len; end < n && (unsigned char)text[end] < PLAIN_BELOW; end += len > 0 ? (size_t)len : 1) {
            len = utf8_get(text + end, n - end, &c);
            last = len > 0 ? end : end + 1;
        }
        if (end == n) last = end;
        str_put(out, text + at, last - at);
        at = last;
        for (int len; at < n && (at < end || (unsigned char)text[at] >= PLAIN_BELOW) &&
                      (len = utf8_get(text + at, n - at, &c)) > 0;
             at += (size_t)len)
            add_decomposed(&m, c);
        flush(out, &m);
        if (at < n && utf8_get(text + at, n - at, &c) == 0) str_put(out, text + at++, 1);
    }
    free(m.p);
    free(m.tmp);
}
