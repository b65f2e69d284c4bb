/* parquet_make.h: Parquet files assembled by hand for the tests, so that any of their numbers can be wrong. */
#pragma once
#include "base/str.h"
#include "data/parquet/parquet_in.h"
#include <string.h>

static void varint(struct str *s, uint64_t x)
{
    for (; x > 127; x >>= 7) str_putc(s, (char)(x | 128));
    str_putc(s, (char)x);
}

static void head(struct str *s, int *last, int id, int type)
{
    str_putc(s, (char)((id - *last) << 4 | type));
    *last = id;
}

static void number(struct str *s, int *last, int id, int64_t x)
{
    head(s, last, id, THRIFT_I64);
    varint(s, (uint64_t)x << 1 ^ (uint64_t)(x >> 63));
}

static void list(struct str *s, int *last, int id, int64_t n)
{
    head(s, last, id, THRIFT_LIST);
    str_putc(s, (char)(0xF0 | THRIFT_STRUCT));
    varint(s, (uint64_t)n);
}

/* One column "x" of three rows: "a", null, "bc". A test changes one number (or the page's bytes) and leaves the rest
 * correct. */
struct page {
    int64_t kind, unpacked, packed, values, encoding, def_encoding, def_bytes, rep_bytes, crc, compressed;
    struct str body;
};
struct make {
    int64_t elements, members, type, width, repetition, converted, logical, element_children;
    struct page dictionary, page;           /* dictionary.kind 0: none */
    int64_t columns, chunk_type, codec, values, size, offset, dictionary_offset, outside, encrypted, groups, group_rows,
        rows, footer;
    const char *name;
};
#define TRUE_ONE INT64_MIN                  /* the correct number, or an absent field */

static struct make honest(const char *body, size_t n)
{
    struct make m = { .elements = 2,
                      .members = 1,
                      .type = PQ_BYTES,
                      .repetition = 1,
                      .converted = 0,
                      .logical = TRUE_ONE,
                      .element_children = TRUE_ONE,
                      .page = { .unpacked = (int64_t)n,
                                .packed = (int64_t)n,
                                .values = 3,
                                .def_encoding = 3,
                                .crc = TRUE_ONE,
                                .compressed = TRUE_ONE },
                      .columns = 1,
                      .chunk_type = TRUE_ONE,
                      .values = 3,
                      .size = TRUE_ONE,
                      .offset = TRUE_ONE,
                      .dictionary_offset = TRUE_ONE,
                      .groups = 1,
                      .group_rows = 3,
                      .rows = 3,
                      .footer = TRUE_ONE,
                      .name = "x" };
    str_put(&m.page.body, body, n);
    return m;
}

static void put_page(struct str *s, const struct page *g)
{
    int last = 0, inner = 0;
    number(s, &last, 1, g->kind);
    number(s, &last, 2, g->unpacked);
    number(s, &last, 3, g->packed);
    if (g->crc != TRUE_ONE) number(s, &last, 4, g->crc);
    head(s, &last, g->kind == 2 ? 7 : g->kind == 3 ? 8 : 5, THRIFT_STRUCT);
    number(s, &inner, 1, g->values);
    if (g->kind == 3) {
        number(s, &inner, 4, g->encoding);
        number(s, &inner, 5, g->def_bytes);
        number(s, &inner, 6, g->rep_bytes);
        if (g->compressed != TRUE_ONE) head(s, &inner, 7, g->compressed ? THRIFT_TRUE : THRIFT_FALSE);
    } else {
        number(s, &inner, 2, g->encoding);
        if (g->kind != 2) number(s, &inner, 3, g->def_encoding);
    }
    str_putc(s, 0);
    str_putc(s, 0);
    str_put(s, g->body.p ? g->body.p : "", g->body.n);
}

static void put_schema(struct str *s, const struct make *m)
{
    int last = 0;
    head(s, &last, 4, THRIFT_BINARY);
    str_put(s, "\1r", 2);
    number(s, &last, 5, m->members);
    str_putc(s, 0);
    last = 0;
    if (m->type >= 0) number(s, &last, 1, m->type);
    if (m->width) number(s, &last, 2, m->width);
    number(s, &last, 3, m->repetition);
    head(s, &last, 4, THRIFT_BINARY);
    varint(s, strlen(m->name));
    str_puts(s, m->name);
    if (m->element_children != TRUE_ONE) number(s, &last, 5, m->element_children);
    if (m->converted >= 0) number(s, &last, 6, m->converted);
    if (m->logical != TRUE_ONE) {
        head(s, &last, 10, THRIFT_STRUCT);
        str_putc(s, (char)(m->logical << 4 | THRIFT_STRUCT));
        str_put(s, "\0\0", 2);
    }
    str_putc(s, 0);
}

static void put_chunk(struct str *s, const struct make *m, int64_t size)
{
    int last = 0, meta = 0;
    if (m->outside) { head(s, &last, 1, THRIFT_BINARY); str_put(s, "\1f", 2); }
    if (!m->encrypted) {
        head(s, &last, 3, THRIFT_STRUCT);
        number(s, &meta, 1, m->chunk_type == TRUE_ONE ? m->type : m->chunk_type);
        number(s, &meta, 4, m->codec);
        number(s, &meta, 5, m->values);
        number(s, &meta, 7, m->size == TRUE_ONE ? size : m->size);
        number(s, &meta, 9, m->offset == TRUE_ONE ? 4 : m->offset);
        if (m->dictionary_offset != TRUE_ONE) number(s, &meta, 11, m->dictionary_offset);
        str_putc(s, 0);
    }
    str_putc(s, 0);
}

static struct str write_file(struct make *m)
{
    struct str s = { 0 };
    int last = 0;
    str_puts(&s, "PAR1");
    if (m->dictionary.kind) put_page(&s, &m->dictionary);
    put_page(&s, &m->page);
    size_t pages = s.n;
    number(&s, &last, 1, 1);
    list(&s, &last, 2, m->elements);
    put_schema(&s, m);
    number(&s, &last, 3, m->rows);
    list(&s, &last, 4, m->groups);
    int group = 0;
    list(&s, &group, 1, m->columns);
    for (int k = 0; k < m->columns && k < 2; k++) put_chunk(&s, m, (int64_t)pages - 4);
    number(&s, &group, 3, m->group_rows);
    str_putc(&s, 0);
    str_putc(&s, 0);
    uint32_t footer = m->footer == TRUE_ONE ? (uint32_t)(s.n - pages) : (uint32_t)m->footer;
    str_put(&s, (const char *)&footer, 4);
    str_puts(&s, "PAR1");
    str_free(&m->page.body);
    str_free(&m->dictionary.body);
    return s;
}

/* Levels, one digit each, as in a v1 page: one bit-packed run. */
static void put_levels(struct str *s, const char *digits, int width)
{
    uint32_t n = (uint32_t)strlen(digits), groups = (n + 7) / 8, size = 1 + groups * (uint32_t)width;
    uint64_t bits = 0;
    for (uint32_t k = 0; k < n; k++) bits |= (uint64_t)(digits[k] - '0') << k * (uint32_t)width;
    str_put(s, (const char *)&size, 4);
    str_putc(s, (char)(groups << 1 | 1));
    str_put(s, (const char *)&bits, groups * (uint32_t)width);
}

static void put_element(struct str *s, const char *name, int type, int repetition, int children, int converted)
{
    int last = 0;
    if (type >= 0) number(s, &last, 1, type);
    number(s, &last, 3, repetition);
    head(s, &last, 4, THRIFT_BINARY);
    str_putc(s, (char)strlen(name));
    str_puts(s, name);
    if (children) number(s, &last, 5, children);
    if (converted >= 0) number(s, &last, 6, converted);
    str_putc(s, 0);
}

/* A file of n INT32 columns (at most 2) with values that count up from 1 and given levels, one digit each; repetition
 * levels take one bit. */
static struct str columns_file(const struct str *schema, int elements, int n, const char *const rep[],
                               const char *const def[], int def_bits, int rows)
{
    struct str s = { 0 };
    int64_t from[3] = { 4 };
    int last = 0, group = 0;
    str_puts(&s, "PAR1");
    for (int k = 0; k < n; k++) {
        struct page g = {
            .values = (int64_t)strlen(def[k]), .def_encoding = 3, .crc = TRUE_ONE, .compressed = TRUE_ONE
        };
        put_levels(&g.body, rep[k], 1);
        put_levels(&g.body, def[k], def_bits);
        for (int32_t v = 1; v <= (int32_t)g.values; v++) str_put(&g.body, (const char *)&v, 4);
        g.packed = g.unpacked = (int64_t)g.body.n;
        put_page(&s, &g);
        str_free(&g.body);
        from[k + 1] = (int64_t)s.n;
    }
    list(&s, &last, 2, elements);
    str_put(&s, schema->p, schema->n);
    number(&s, &last, 3, rows);
    list(&s, &last, 4, 1);
    list(&s, &group, 1, n);
    for (int k = 0; k < n; k++) {
        struct make m = { .type = PQ_INT32,
                          .chunk_type = TRUE_ONE,
                          .values = (int64_t)strlen(def[k]),
                          .size = TRUE_ONE,
                          .offset = from[k],
                          .dictionary_offset = TRUE_ONE };
        put_chunk(&s, &m, from[k + 1] - from[k]);
    }
    number(&s, &group, 3, rows);
    str_put(&s, "\0\0", 2);
    uint32_t footer = (uint32_t)(s.n - (size_t)from[n]);
    str_put(&s, (const char *)&footer, 4);
    str_puts(&s, "PAR1");
    return s;
}
