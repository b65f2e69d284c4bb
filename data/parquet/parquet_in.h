/* parquet_in.h: what the parts of the Parquet reader share. parquet_schema.c turns the schema into a tree of nodes;
 * each wanted leaf has a cursor over its pages (parquet_page.c over parquet_codec.c and parquet_bits.c) that yields
 * repetition level, definition level and value (parquet_value.c); parquet.c assembles these into rows. */
#pragma once
#include "data/parquet/parquet.h"
#include "base/str.h"
#include "data/parquet/thrift.h"

enum { PQ_DEEP = 32 };                              /* levels of nesting */
static const int64_t pq_max_page = (int64_t)256 << 20, pq_max_open = (int64_t)512 << 20, pq_max_row = (int64_t)64 << 20;

/* ---- bit streams (parquet_bits.c); no reader leaves its bytes */

/* the hybrid of runs and bit-packed groups */
struct rle {
    const uint8_t *p, *end;                         /* unread bytes */
    const uint8_t *bits;                            /* the bit-packed groups being read */
    uint64_t left;                                  /* values left of the run or groups */
    uint64_t bit;                                   /* place of the next value in bits */
    uint32_t value;                                 /* of the run */
    int width;                                      /* bits a value */
    bool packed;
};
struct rle rle_make(const uint8_t *p, size_t n, int width);         /* width 0 .. 32 */
/* false: end, or a run longer than its bytes */
bool rle_next(struct rle *r, uint32_t *x);

/* DELTA_BINARY_PACKED; when all values are read, p is at the end of the last block */
struct delta {
    const uint8_t *p, *end, *widths, *bits;
    uint64_t left, block, minis, mini, in_mini, bit, last, min;
    int width;
    bool begun;
};
bool delta_make(struct delta *d, const uint8_t *p, const uint8_t *end);
bool delta_next(struct delta *d, int64_t *x);

/* ---- compression (parquet_codec.c) */

enum { PQ_PLAIN_BYTES, PQ_SNAPPY, PQ_GZIP, PQ_LZO, PQ_BROTLI, PQ_LZ4, PQ_ZSTD, PQ_LZ4_RAW };
bool pq_codec(int codec, struct err *e);                            /* false: not supported */
/* Unpacks exactly size bytes into a new *out. A size that n bytes cannot unpack to is rejected before the
 * allocation. */
bool pq_unpack(int codec, const uint8_t *in, size_t n, int64_t size, uint8_t **out, struct err *e);

/* ---- schema (parquet_schema.c) */

enum pq_type { PQ_BOOLEAN, PQ_INT32, PQ_INT64, PQ_INT96, PQ_FLOAT, PQ_DOUBLE, PQ_BYTES, PQ_FIXED };
enum pq_meaning { PQ_AS_IS, PQ_TEXT, PQ_UNSIGNED, PQ_DECIMAL, PQ_DATE, PQ_HALF, PQ_UNREAD };

/* A value is not null if its definition level is at least def; a list has an item if it is at least def_item. */
struct pq_node {
    char *name;                                     /* NULL: an item of a list */
    enum { PQ_STRUCT, PQ_LIST, PQ_LEAF } kind;
    int parent, def, def_item, rep;
    int first;                                      /* the first wanted leaf below it; -1: none */
    uint64_t items;                                 /* items begun in this row */
};

struct pq_page {                                    /* the page being read */
    size_t at;                                      /* its header's place in the file */
    uint8_t *own;                                   /* the unpacked page */
    int64_t own_n;
    const uint8_t *p, *end;                         /* unread values */
    int64_t left, values;                           /* unread levels; values in the page without nulls */
    int encoding, bit;
    struct rle rep, def, index;
    struct delta delta, suffix;
    struct str last;                                /* DELTA_BYTE_ARRAY: the string before */
};
struct pq_dict {
    uint8_t *own;                                   /* the unpacked page */
    int64_t own_n;
    const uint8_t *p;
    uint32_t *at;                                   /* [n] where each text begins */
    int64_t at_n;                                   /* bytes of at */
    int64_t n;                                      /* values */
    bool is_there;
};

struct pq_leaf {
    char *path;                                     /* "prompt.content" */
    enum pq_type type;
    enum pq_meaning meaning;
    const char *unread;                            /* PQ_UNREAD: what the type is */
    int width;                                      /* bytes of a value; 0: PQ_BYTES, PQ_BOOLEAN */
    int scale;                                      /* digits after the point */
    int def, rep;                                   /* the highest levels */
    int node[2 * PQ_DEEP], depth;                   /* from the top to the leaf; a bare repeated element is two nodes */
    /* the definition level that an item which begins at this repetition level has at least */
    int need[PQ_DEEP + 1];
    bool wanted;
    /* the chunk: this column in the row group being read */
    size_t from, to;
    int64_t left;
    int codec;
    struct pq_page page;
    struct pq_dict dict;
    bool ready;                                     /* r and d are the levels of the next value */
    int r, d;
};

struct pq_value { int64_t i; double f; const char *p; size_t n; };

struct parquet {
    char *name;
    const uint8_t *bytes;                           /* [n] the file */
    size_t n;
    size_t footer;                                  /* where the footer begins and the pages end */
    struct pq_node *node;
    int n_nodes, cap_nodes;
    struct pq_leaf *leaf;
    int n_leaves, cap_leaves;
    struct thrift groups;                           /* unread row groups */
    int64_t n_groups, group, rows, rows_done, group_rows;
    int64_t most;                                   /* limit on the bytes of unpacked pages, and on those of JSON */
    int64_t open, unpacked;                         /* bytes of unpacked pages: now and in all */
    int64_t row_cost, cost;                         /* bytes of JSON: in this row and in all */
};

/* Reads the schema's n elements into p's nodes and leaves. */
bool pq_schema(struct parquet *p, struct thrift *t, int64_t n, const char *const *columns, struct err *e);

/* ---- pages (parquet_page.c) */

/* Reads the levels of the next value into c->r and c->d and sets c->ready. True with c->ready unset: end of chunk. */
bool pq_levels(struct parquet *p, struct pq_leaf *c, struct err *e);
/* The value at the levels just read (c->d == c->def). Text points into the page and is valid until the next call. */
bool pq_value(struct pq_leaf *c, struct pq_value *v, struct err *e);
void pq_chunk_free(struct parquet *p, struct pq_leaf *c);

/* ---- values (parquet_value.c): a new JSON value; NULL: the value cannot be one */
json_t *pq_json(const struct pq_leaf *c, const struct pq_value *v, struct err *e);
