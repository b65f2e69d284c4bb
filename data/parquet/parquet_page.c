/* parquet_page.c: a cursor over one column's pages in one row group. No number of a page header is trusted before the
 * bytes confirm it; values are decoded one at a time from the page, never into an array whose length the file chose. */
#include "data/parquet/parquet_in.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 };
enum {
    PLAIN,
    PLAIN_DICTIONARY = 2,
    RLE,
    BIT_PACKED,
    DELTA_BINARY,
    DELTA_LENGTH,
    DELTA_BYTES,
    RLE_DICTIONARY,
    BYTE_STREAM_SPLIT
};
/* 64 Mi: the longest row group that writers make by default */
static const int64_t max_values = (int64_t)64 << 20;

/* PageHeader of parquet.thrift with the inner header that is present */
struct header {
    int64_t kind, unpacked, packed, crc, values, encoding, def_encoding, rep_encoding, def_bytes, rep_bytes;
    bool has_crc, inner, compressed;
};

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void read_inner(struct thrift *t, int kind, int type, struct header *h)
{
    struct thrift_field f = { 0 };
    thrift_struct(t, type);
    h->inner = true;
    while (thrift_next(t, &f)) {
        bool v2 = kind == DATA_PAGE_V2;
        if (f.id == 1) h->values = thrift_int(t, f.type);
        else if (f.id == (v2 ? 4 : 2)) h->encoding = thrift_int(t, f.type);
        else if (kind == DATA_PAGE && f.id == 3) h->def_encoding = thrift_int(t, f.type);
        else if (kind == DATA_PAGE && f.id == 4) h->rep_encoding = thrift_int(t, f.type);
        else if (v2 && f.id == 5) h->def_bytes = thrift_int(t, f.type);
        else if (v2 && f.id == 6) h->rep_bytes = thrift_int(t, f.type);
        else if (v2 && f.id == 7) h->compressed = thrift_bool(t, f.type);
        else thrift_skip(t, f.type);
    }
}

static bool read_header(struct thrift *t, struct header *h, struct err *e)
{
    *h = (struct header){ .kind = -1, .compressed = true, .def_encoding = RLE, .rep_encoding = RLE };
    struct thrift_field f = { 0 };
    while (thrift_next(t, &f)) {
        int inner = f.id == 5 ? DATA_PAGE : f.id == 7 ? DICTIONARY_PAGE : f.id == 8 ? DATA_PAGE_V2 : -1;
        if (f.id == 1) h->kind = thrift_int(t, f.type);
        else if (f.id == 2) h->unpacked = thrift_int(t, f.type);
        else if (f.id == 3) h->packed = thrift_int(t, f.type);
        else if (f.id == 4) { h->crc = thrift_int(t, f.type); h->has_crc = true; }
        else if (inner >= 0 && inner == h->kind) read_inner(t, inner, f.type, h);
        else thrift_skip(t, f.type);
    }
    if (t->fault) return fail(e, "its header: %s", t->fault);
    if (h->packed < 0 || h->packed > t->end - t->p)
        return fail(e, "claims %lld bytes where its column has %lld left", (long long)h->packed,
                    (long long)(t->end - t->p));
    if (h->unpacked < 0 || h->unpacked > pq_max_page)
        return fail(e, "claims to unpack to %lld bytes; at most %lld are read", (long long)h->unpacked,
                    (long long)pq_max_page);
    if (h->values < 0 || h->values > max_values)
        return fail(e, "claims %lld values; at most %lld are read", (long long)h->values, (long long)max_values);
    if (h->kind != INDEX_PAGE && !h->inner)
        return fail(e, "is of an unknown kind, number %lld, or has no header of its kind", (long long)h->kind);
    if (h->has_crc && (uint32_t)h->crc != crc32(crc32(0, NULL, 0), t->p, (uInt)h->packed))
        return fail(e, "its checksum is wrong: the file is damaged");
    return true;
}

static bool may_open(const struct parquet *p, int64_t n, struct err *e)
{
    return p->open + n <= pq_max_open ||
           fail(e, "more than %lld bytes of pages open at a time; write smaller pages", (long long)pq_max_open);
}

/* Unpacks in[0 .. n) to `size` bytes: *p points to them, *own owns them if they had to be unpacked. */
static bool unpack(struct parquet *p, const struct pq_leaf *c, bool compressed, const uint8_t *in, int64_t n,
                   int64_t size, const uint8_t **out, uint8_t **own, int64_t *own_n, struct err *e)
{
    bool packed = compressed && c->codec != PQ_PLAIN_BYTES;
    *out = in;
    if (!packed && n != size) return fail(e, "holds %lld bytes and claims %lld", (long long)n, (long long)size);
    p->unpacked += size;
    if (p->unpacked > p->most)
        return fail(e, "the pages come to more than %lld bytes, from a file of %zu; split it", (long long)p->most,
                    p->n);
    if (!packed || size == 0) return true;
    if (!may_open(p, size, e) || !pq_unpack(c->codec, in, (size_t)n, size, own, e)) return false;
    *out = *own;
    *own_n = size;
    p->open += size;
    return true;
}

static void drop(struct parquet *p, uint8_t **own, int64_t *own_n)
{
    free(*own);
    p->open -= *own_n;
    *own = NULL;
    *own_n = 0;
}

/* Reads one plain value of at most end - *p bytes. */
static bool plain(const struct pq_leaf *c, const uint8_t **p, const uint8_t *end, struct pq_value *v)
{
    size_t left = (size_t)(end - *p), n = (size_t)c->width;
    if (c->type == PQ_BYTES) {
        if (left < 4 || le32(*p) > left - 4) return false;
        n = le32(*p);
        *p += 4;
    }
    if (c->type != PQ_BYTES && n > left) return false;
    v->p = (const char *)*p;
    v->n = n;
    *p += n;
    return true;
}

static bool read_dictionary(struct parquet *p, struct pq_leaf *c, const struct header *h, const uint8_t *in,
                            struct err *e)
{
    struct pq_dict *d = &c->dict;
    if (d->is_there) return fail(e, "a second dictionary");
    if (c->type == PQ_BOOLEAN || (h->encoding != PLAIN && h->encoding != PLAIN_DICTIONARY))
        return fail(e, "a dictionary in encoding %lld", (long long)h->encoding);
    if (!unpack(p, c, true, in, h->packed, h->unpacked, &d->p, &d->own, &d->own_n, e)) return false;
    int64_t least = c->type == PQ_BYTES ? 4 : c->width;
    if (h->values > h->unpacked / least)
        return fail(e, "claims a dictionary of %lld values in %lld bytes", (long long)h->values,
                    (long long)h->unpacked);
    d->is_there = true;
    d->n = h->values;
    if (c->type != PQ_BYTES) return true;
    const uint8_t *at = d->p, *end = d->p + h->unpacked;
    struct pq_value v;
    if (!may_open(p, d->n * (int64_t)sizeof *d->at, e)) return false;
    d->at_n = d->n * (int64_t)sizeof *d->at;
    p->open += d->at_n;
    d->at = xmalloc((size_t)d->at_n + 1);
    for (int64_t k = 0; k < d->n; k++) {
        d->at[k] = (uint32_t)(at - d->p);
        if (!plain(c, &at, end, &v))
            return fail(e, "value %lld of the dictionary is longer than the page", (long long)k);
    }
    return true;
}

/* Levels of a v1 page: four bytes of length, then the runs. */
static bool levels_v1(struct rle *r, int highest, const uint8_t **p, const uint8_t *end, int64_t encoding,
                      const char *what, struct err *e)
{
    int width = highest ? 32 - __builtin_clz((unsigned)highest) : 0;
    *r = rle_make(*p, 0, 0);
    if (highest == 0) return true;
    if (encoding != RLE)
        return fail(e, "%s levels in encoding %lld; only runs (%d) are read", what, (long long)encoding, RLE);
    if (end - *p < 4 || le32(*p) > end - *p - 4) return fail(e, "%s levels longer than the page", what);
    *r = rle_make(*p + 4, le32(*p), width);
    *p = r->end;
    return true;
}

static bool levels_v2(struct rle *r, int highest, const uint8_t **p, int64_t n)
{
    *r = rle_make(*p, (size_t)n, highest ? 32 - __builtin_clz((unsigned)highest) : 0);
    *p += n;
    return highest > 0 || n == 0;
}

/* Counts the page's non-null values in a copy of the definition levels, for the encodings that need the number. */
static int64_t count_values(const struct pq_page *g, int highest)
{
    struct rle r = g->def;
    uint32_t x;
    int64_t n = 0;
    if (highest == 0) return g->left;
    for (int64_t k = 0; k < g->left && rle_next(&r, &x); k++) n += x == (uint32_t)highest;
    return n;
}

/* Skips the packed lengths at g->p; g->p then points past them. */
static bool pass_lengths(struct pq_page *g, struct delta *d)
{
    int64_t x, n = g->values;
    if (!delta_make(d, g->p, g->end) || d->left > (uint64_t)n) return false;
    struct delta all = *d;
    while (all.left > 0) if (!delta_next(&all, &x)) return false;
    g->p = all.p;
    return true;
}

/* Prepares the decoder of the page's encoding. */
static bool begin_values(struct pq_leaf *c, struct err *e)
{
    struct pq_page *g = &c->page;
    bool bytes = c->type == PQ_BYTES, whole = c->type == PQ_INT32 || c->type == PQ_INT64, ok = true;
    if (g->encoding == PLAIN_DICTIONARY) g->encoding = RLE_DICTIONARY;
    if (g->encoding >= DELTA_BINARY && g->encoding != RLE_DICTIONARY) g->values = count_values(g, c->def);
    bool none = g->p == g->end;                             /* a page of nulls may have no values at all */
    if (none && g->encoding != PLAIN && g->encoding <= BYTE_STREAM_SPLIT) { g->encoding = PLAIN; return true; }
    switch (g->encoding) {
    case PLAIN: return true;
    case RLE_DICTIONARY:
        if (!c->dict.is_there) return fail(e, "refers to a dictionary that is not there");
        if (*g->p > 32) return fail(e, "dictionary indices of %d bits", *g->p);
        g->index = rle_make(g->p + 1, (size_t)(g->end - g->p - 1), *g->p);
        return true;
    case RLE:
        ok = c->type == PQ_BOOLEAN && g->end - g->p >= 4 && le32(g->p) <= g->end - g->p - 4;
        if (ok) g->index = rle_make(g->p + 4, le32(g->p), 1);
        break;
    case DELTA_BINARY: ok = whole && delta_make(&g->delta, g->p, g->end); break;
    case DELTA_LENGTH: ok = bytes && pass_lengths(g, &g->delta); break;
    case DELTA_BYTES:
        ok = (bytes || c->type == PQ_FIXED) && pass_lengths(g, &g->delta) && pass_lengths(g, &g->suffix);
        break;
    case BYTE_STREAM_SPLIT: ok = c->width > 0 && g->end - g->p == (int64_t)c->width * g->values; break;
    default: return fail(e, "values in encoding %d, which is not read", g->encoding);
    }
    return ok || fail(e, "its values contradict their encoding, number %d", g->encoding);
}

static bool begin_data(struct parquet *p, struct pq_leaf *c, const struct header *h, const uint8_t *in, struct err *e)
{
    struct pq_page *g = &c->page;
    const uint8_t *body = in;
    bool v2 = h->kind == DATA_PAGE_V2, ok;
    int64_t least = h->packed < h->unpacked ? h->packed : h->unpacked;
    if (h->def_bytes < 0 || h->def_bytes > least || h->rep_bytes < 0 || h->rep_bytes > least - h->def_bytes)
        return fail(e, "levels longer than the page");
    int64_t levels = h->def_bytes + h->rep_bytes;           /* a v1 page has 0 here */
    if (h->values > c->left)
        return fail(e, "claims %lld values where its column has %lld left", (long long)h->values, (long long)c->left);
    g->left = h->values;
    g->encoding = h->encoding < 0 || h->encoding > BYTE_STREAM_SPLIT ? BYTE_STREAM_SPLIT + 1 : (int)h->encoding;
    g->bit = 0;
    str_clear(&g->last);
    if (!unpack(p, c, h->compressed, in + levels, h->packed - levels, h->unpacked - levels, &body, &g->own, &g->own_n,
                e))
        return false;
    g->p = body;
    g->end = body + (h->unpacked - levels);
    if (v2) {
        ok = levels_v2(&g->rep, c->rep, &in, h->rep_bytes) && levels_v2(&g->def, c->def, &in, h->def_bytes);
        if (!ok) return fail(e, "levels in a column that has none");
    } else {
        ok = levels_v1(&g->rep, c->rep, &g->p, g->end, h->rep_encoding, "repetition", e) &&
             levels_v1(&g->def, c->def, &g->p, g->end, h->def_encoding, "definition", e);
        if (!ok) return false;
    }
    c->left -= h->values;
    return begin_values(c, e);
}

/* Reads the page at c->from, which may have no values. */
static bool next_page(struct parquet *p, struct pq_leaf *c, struct err *e)
{
    struct thrift t = { .p = p->bytes + c->from, .end = p->bytes + c->to };
    struct header h;
    c->page.at = c->from;
    drop(p, &c->page.own, &c->page.own_n);
    if (c->from == c->to) return fail(e, "the column ends %lld values too early", (long long)c->left);
    if (!read_header(&t, &h, e)) return false;
    c->from = (size_t)(t.p - p->bytes) + (size_t)h.packed;
    if (h.kind == INDEX_PAGE) return true;
    return h.kind == DICTIONARY_PAGE ? read_dictionary(p, c, &h, t.p, e) : begin_data(p, c, &h, t.p, e);
}

bool pq_levels(struct parquet *p, struct pq_leaf *c, struct err *e)
{
    struct pq_page *g = &c->page;
    uint32_t r = 0, d = 0;
    c->ready = false;
    while (g->left == 0) {
        if (c->left == 0) return true;
        if (!next_page(p, c, e)) return false;
    }
    if ((c->rep && !rle_next(&g->rep, &r)) || (c->def && !rle_next(&g->def, &d)))
        return fail(e, "fewer levels than it claims values");
    if (r > (uint32_t)c->rep || d > (uint32_t)c->def) return fail(e, "a level higher than its column's");
    g->left--;
    c->r = (int)r;
    c->d = (int)d;
    c->ready = true;
    return true;
}

/* Reads a value whose length is packed elsewhere; with a prefix length it shares the beginning of the previous value.
 * */
static bool delta_text(struct pq_leaf *c, struct pq_value *v)
{
    struct pq_page *g = &c->page;
    bool prefixed = g->encoding == DELTA_BYTES;
    int64_t prefix = 0, n;
    if (prefixed && (!delta_next(&g->delta, &prefix) || prefix < 0 || (uint64_t)prefix > g->last.n)) return false;
    if (!delta_next(prefixed ? &g->suffix : &g->delta, &n) || n < 0 || n > g->end - g->p) return false;
    v->p = (const char *)g->p;
    v->n = (size_t)n;
    g->p += n;
    if (!prefixed) return true;
    g->last.n = (size_t)prefix;
    str_put(&g->last, v->p, v->n);
    v->p = g->last.p;
    v->n = g->last.n;
    return c->type != PQ_FIXED || v->n == (size_t)c->width;
}

/* Byte k of value i is at k * values + i; gathered in g->last. */
static bool split_value(struct pq_leaf *c, struct pq_value *v)
{
    struct pq_page *g = &c->page;
    if (g->bit >= g->values) return false;
    str_clear(&g->last);
    for (int k = 0; k < c->width; k++) str_putc(&g->last, (char)g->p[(int64_t)k * g->values + g->bit]);
    g->bit++;
    v->p = g->last.p;
    v->n = g->last.n;
    return true;
}

static bool dictionary_value(struct pq_leaf *c, struct pq_value *v)
{
    const struct pq_dict *d = &c->dict;
    uint32_t k;
    if (!rle_next(&c->page.index, &k) || k >= d->n) return false;
    const uint8_t *p = d->p + (c->type == PQ_BYTES ? (int64_t)d->at[k] : (int64_t)k * c->width);
    v->n = c->type == PQ_BYTES ? le32(p) : (size_t)c->width;
    v->p = (const char *)p + (c->type == PQ_BYTES ? 4 : 0);
    return true;
}

static bool boolean(struct pq_page *g, struct pq_value *v)
{
    uint32_t x;
    if (g->encoding == RLE) {
        bool ok = rle_next(&g->index, &x);
        v->i = ok && x;
        return ok;
    }
    if (g->p == g->end) return false;
    v->i = *g->p >> g->bit & 1;
    g->p += g->bit == 7;
    g->bit = (g->bit + 1) % 8;
    return true;
}

bool pq_value(struct pq_leaf *c, struct pq_value *v, struct err *e)
{
    struct pq_page *g = &c->page;
    bool ok;
    *v = (struct pq_value){ 0 };
    if (c->type == PQ_BOOLEAN) return boolean(g, v) || fail(e, "fewer values than it claims");
    if (g->encoding == DELTA_BINARY) {
        ok = delta_next(&g->delta, &v->i);
        /* the writer's differences wrap at 32 bits */
        if (c->type == PQ_INT32) v->i = (int32_t)(uint32_t)v->i;
        return ok || fail(e, "fewer values than it claims");
    }
    if (g->encoding == PLAIN) ok = plain(c, &g->p, g->end, v);
    else if (g->encoding == RLE_DICTIONARY) ok = dictionary_value(c, v);
    else if (g->encoding == BYTE_STREAM_SPLIT) ok = split_value(c, v);
    else ok = delta_text(c, v);
    if (!ok && g->encoding == RLE_DICTIONARY) return fail(e, "an index outside of the dictionary, or too few of them");
    if (!ok) return fail(e, "a value longer than the page, or too few of them");
    uint64_t raw = 0;
    if (c->type != PQ_BYTES && c->type != PQ_FIXED)
        for (int k = 0; k < c->width; k++) raw |= (uint64_t)(uint8_t)v->p[k] << 8 * k;
    if (c->type == PQ_INT32) v->i = (int32_t)(uint32_t)raw;
    if (c->type == PQ_INT64) v->i = (int64_t)raw;
    if (c->type == PQ_FLOAT) { uint32_t low = (uint32_t)raw; float f; memcpy(&f, &low, 4); v->f = (double)f; }
    if (c->type == PQ_DOUBLE) memcpy(&v->f, &raw, 8);
    return true;
}

void pq_chunk_free(struct parquet *p, struct pq_leaf *c)
{
    drop(p, &c->page.own, &c->page.own_n);
    drop(p, &c->dict.own, &c->dict.own_n);
    p->open -= c->dict.at_n;
    free(c->dict.at);
    c->dict = (struct pq_dict){ 0 };
    c->page.left = c->left = 0;
    c->ready = false;
}
