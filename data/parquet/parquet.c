/* parquet.c: opens the file, walks its row groups and assembles rows from the levels of their columns (Melnik et al.,
 * "Dremel", VLDB 2010, section 4). The first column below a list or struct creates it; each further column must find it
 * there, with the same number of items: columns that contradict each other are a fault. */
#include "data/parquet/parquet_in.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Memory of a value in addition to its bytes, about what jansson takes; an empty object has 8 buckets, its key is paid
 * with the first. */
enum { VALUE_COST = 64, GROUP_COST = 256 };

/* 2 GiB as for JSON lines, but for a small file about what gzip could expand to from as many bytes: a dictionary and a
 * run could expand to any size. */
static const int64_t max_all = (int64_t)2 << 30, min_all = (int64_t)64 << 20, growth = 1024;

bool parquet_is(const void *bytes, size_t n) { return n >= 4 && !memcmp(bytes, "PAR1", 4); }
int64_t parquet_rows(const struct parquet *p) { return p->rows; }

/* FileMetaData: reads the schema and skips the row groups, which are read one at a time later */
static bool read_footer(struct parquet *p, const char *const *columns, struct err *e)
{
    struct thrift t = { .p = p->bytes + p->footer, .end = p->bytes + p->n - 8 };
    struct thrift_field f = { 0 };
    p->rows = -1;
    while (thrift_next(&t, &f)) {
        if (f.id == 2) {
            if (!pq_schema(p, &t, thrift_list(&t, f.type, THRIFT_STRUCT), columns, e)) return false;
        } else if (f.id == 3) {
            p->rows = thrift_int(&t, f.type);
        } else if (f.id == 4) {
            p->groups = t;
            p->n_groups = thrift_list(&p->groups, f.type, THRIFT_STRUCT);
            thrift_skip(&t, f.type);
        } else {
            thrift_skip(&t, f.type);
        }
    }
    if (t.fault) return fail(e, "byte %zu: the footer: %s", (size_t)(t.p - p->bytes), t.fault);
    if (p->n_nodes == 0 || p->rows < 0) return fail(e, "the footer has no schema or no number of rows");
    return true;
}

struct parquet *parquet_open(const char *name, const void *bytes, size_t n, const char *const *columns, struct err *e)
{
    struct parquet *p = xcalloc(1, sizeof *p);
    const uint8_t *b = p->bytes = bytes;
    bool ok = parquet_is(bytes, n) || fail(e, "does not begin as a Parquet file does");
    p->name = xstrdup(name);
    p->n = n;
    p->most = (int64_t)n < (max_all - min_all) / growth ? min_all + growth * (int64_t)n : max_all;
    if (ok && (n < 12 || memcmp(b + n - 4, "PAR1", 4)))
        ok = fail(e, "does not end as a Parquet file does: it is cut short or encrypted");
    if (ok) {
        uint32_t size =
            (uint32_t)b[n - 8] | (uint32_t)b[n - 7] << 8 | (uint32_t)b[n - 6] << 16 | (uint32_t)b[n - 5] << 24;
        if (size > n - 12) ok = fail(e, "claims a footer of %u bytes in a file of %zu", size, n);
        else p->footer = n - 8 - size;
    }
    if (ok && read_footer(p, columns, e)) return p;
    fail_in(e, "%s", name);
    parquet_close(p);
    return NULL;
}

void parquet_close(struct parquet *p)
{
    if (!p) return;
    for (int k = 0; k < p->n_leaves; k++) {
        pq_chunk_free(p, &p->leaf[k]);
        str_free(&p->leaf[k].page.last);
        free(p->leaf[k].path);
    }
    for (int k = 0; k < p->n_nodes; k++) free(p->node[k].name);
    free(p->leaf);
    free(p->node);
    free(p->name);
    free(p);
}

static const struct pq_leaf *leaf_of(const struct parquet *p, int node)
{
    for (int k = 0; k < p->n_leaves; k++)
        if (p->leaf[k].node[p->leaf[k].depth - 1] == node) return &p->leaf[k];
    return NULL;
}

void parquet_columns(const struct parquet *p, struct str *names)
{
    struct str path = { 0 };
    for (int k = 0; k < p->n_nodes; k++) {
        int up[PQ_DEEP], depth = 0;
        bool named = true;
        for (int n = k; n >= 0 && depth < PQ_DEEP; n = p->node[n].parent) {
            up[depth++] = n;
            named = named && p->node[n].name && (n == k || p->node[n].kind == PQ_STRUCT);
        }
        if (!named) continue;
        str_clear(&path);
        while (depth--) str_printf(&path, "%s%s", path.n ? "." : "", p->node[up[depth]].name);
        const struct pq_leaf *leaf = p->node[k].kind == PQ_LEAF ? leaf_of(p, k) : NULL;
        if (leaf && leaf->meaning == PQ_UNREAD) str_printf(&path, " (%s, not read)", leaf->unread);
        str_put(names, path.p, path.n + 1);
    }
    str_free(&path);
}

struct meta { int64_t type, codec, values, size, data, dictionary; bool is_there, outside; };

static void read_meta(struct thrift *t, int type, struct meta *m)
{
    struct thrift_field f = { 0 };
    thrift_struct(t, type);
    m->is_there = true;
    while (thrift_next(t, &f)) {
        switch (f.id) {
        case 1: m->type = thrift_int(t, f.type); break;
        case 4: m->codec = thrift_int(t, f.type); break;
        case 5: m->values = thrift_int(t, f.type); break;
        case 7: m->size = thrift_int(t, f.type); break;
        case 9: m->data = thrift_int(t, f.type); break;
        case 11: m->dictionary = thrift_int(t, f.type); break;
        default: thrift_skip(t, f.type); break;
        }
    }
}

/* One ColumnChunk; for a wanted column the position of its pages. */
static bool read_chunk(struct parquet *p, struct pq_leaf *c, struct err *e)
{
    struct thrift_field f = { 0 };
    struct meta m = { 0 };
    while (thrift_next(&p->groups, &f)) {
        if (f.id == 3) { read_meta(&p->groups, f.type, &m); continue; }
        m.outside |= f.id == 1;
        thrift_skip(&p->groups, f.type);
    }
    if (p->groups.fault || !c->wanted) return true;
    if (m.outside || !m.is_there) return fail(e, m.outside ? "its pages are in another file" : "it is encrypted");
    if (m.type != (int64_t)c->type)
        return fail(e, "is of type %lld here and of type %d in the schema", (long long)m.type, (int)c->type);
    if (!pq_codec(m.codec < 0 || m.codec > INT_MAX ? -1 : (int)m.codec, e)) return false;
    /* no pages to read: pyarrow then writes byte 0 */
    if (m.values == 0) m = (struct meta){ .type = m.type, .codec = m.codec, .data = 4 };
    int64_t from = m.dictionary > 0 && m.dictionary < m.data ? m.dictionary : m.data;
    if (from < 4 || m.size < 0 || from > (int64_t)p->footer || m.size > (int64_t)p->footer - from || m.values < 0)
        return fail(e, "claims %lld bytes at byte %lld, the footer begins at byte %zu", (long long)m.size,
                    (long long)from, p->footer);
    c->codec = (int)m.codec;
    c->left = m.values;
    c->from = (size_t)from;
    c->to = (size_t)(from + m.size);
    c->page.at = c->from;
    return true;
}

static bool fail_column(const struct parquet *p, const struct pq_leaf *c, struct err *e)
{
    return fail_in(e, "%s: column \"%.200s\", row group %lld", p->name, c->path, (long long)p->group - 1);
}

static bool fail_page(const struct parquet *p, const struct pq_leaf *c, struct err *e)
{
    fail_in(e, "row %lld, page at byte %zu", (long long)p->rows_done, c->page.at);
    return fail_column(p, c, e);
}

static bool next_group(struct parquet *p, struct err *e)
{
    struct thrift *t = &p->groups;
    struct thrift_field f = { 0 };
    int64_t n = 0;
    p->group++;
    p->n_groups--;
    p->group_rows = -1;
    while (thrift_next(t, &f)) {
        if (f.id == 3) {
            p->group_rows = thrift_int(t, f.type);
        } else if (f.id == 1) {
            n = thrift_list(t, f.type, THRIFT_STRUCT);
            if (!t->fault && n != p->n_leaves)
                return fail(e, "%s: row group %lld has %lld columns, the schema %d", p->name, (long long)p->group - 1,
                            (long long)n, p->n_leaves);
            for (int k = 0; k < n && !t->fault; k++)
                if (!read_chunk(p, &p->leaf[k], e)) return fail_column(p, &p->leaf[k], e);
        } else {
            thrift_skip(t, f.type);
        }
    }
    if (t->fault) return fail(e, "%s: byte %zu: the footer: %s", p->name, (size_t)(t->p - p->bytes), t->fault);
    if (n == 0 || p->group_rows < 0)
        return fail(e, "%s: row group %lld has no columns or no number of rows", p->name, (long long)p->group - 1);
    for (int k = 0; k < p->n_leaves; k++)
        if (p->leaf[k].wanted && !pq_levels(p, &p->leaf[k], e)) return fail_page(p, &p->leaf[k], e);
    return true;
}

/* After the last row no column may have values left. */
static bool end_group(struct parquet *p, struct err *e)
{
    for (int k = 0; k < p->n_leaves; k++) {
        struct pq_leaf *c = &p->leaf[k];
        if (c->ready) { fail(e, "has more values than the row group has rows"); return fail_page(p, c, e); }
        pq_chunk_free(p, c);
    }
    return true;
}

static bool end_file(const struct parquet *p, struct err *e)
{
    if (p->rows_done == p->rows) return true;
    return fail(e, "%s: the footer claims %lld rows, its row groups hold %lld", p->name, (long long)p->rows,
                (long long)p->rows_done);
}

static bool pay(struct parquet *p, int64_t n, struct err *e)
{
    p->row_cost += n;
    p->cost += n;
    if (p->row_cost > pq_max_row) return fail(e, "the row takes more than %lld bytes", (long long)pq_max_row);
    return p->cost <= p->most ||
           fail(e, "the rows come to more than %lld bytes, from a file of %zu; split it", (long long)p->most, p->n);
}

/* The row being assembled from one column. at[r]: the item in the list of repetition level r; items[k]: the number of
 * items begun in the list at depth k. */
struct build { json_t *row; size_t at[PQ_DEEP + 1]; uint64_t items[2 * PQ_DEEP]; };

static bool contradicts(struct err *e)
{
    return fail(e, "its levels contradict those of neighbouring columns, or two columns share its name");
}

/* The value at node x for the levels just read; NULL with an error. *inner: further levels are nested in it. */
static json_t *make(struct parquet *p, struct pq_leaf *c, const struct pq_node *x, bool *inner, struct err *e)
{
    struct pq_value v;
    *inner = false;
    if (c->d < x->def) return pay(p, VALUE_COST, e) ? json_null() : NULL;
    if (x->kind == PQ_LEAF)
        return pq_value(c, &v, e) && pay(p, VALUE_COST + (int64_t)v.n, e) ? pq_json(c, &v, e) : NULL;
    *inner = x->kind == PQ_STRUCT || c->d >= x->def_item;
    if (!pay(p, VALUE_COST + GROUP_COST, e)) return NULL;
    return x->kind == PQ_STRUCT ? json_object() : json_array();
}

/* Does the value that another column created at node x agree with the levels of this one? */
static bool agrees(const struct pq_leaf *c, const struct pq_node *x, const json_t *old, bool *inner)
{
    *inner = c->d >= x->def && (x->kind == PQ_STRUCT || c->d >= x->def_item);
    if (x->kind == PQ_LEAF) return false;                   /* a leaf is created once */
    if (c->d < x->def) return json_is_null(old);
    return x->kind == PQ_STRUCT ? json_is_object(old) : json_is_array(old) && (json_array_size(old) > 0) == *inner;
}

/* Follows column c from the row down to the value at its levels, creating missing containers. */
static bool place(struct parquet *p, struct pq_leaf *c, struct build *b, struct err *e)
{
    json_t *into = b->row;
    bool inner = true;
    for (int k = 0; k < c->depth && inner; k++) {
        const struct pq_node *x = &p->node[c->node[k]], *up = k > 0 ? &p->node[c->node[k - 1]] : NULL;
        bool in_list = up && up->kind == PQ_LIST, mine = &p->leaf[x->first] == c;
        size_t at = in_list ? b->at[up->rep] : 0;
        json_t *now = in_list ? json_array_get(into, at) : json_object_get(into, x->name);
        if (now) {
            if (!agrees(c, x, now, &inner) || (mine && !inner)) return contradicts(e);
        } else {
            if (!mine || (in_list && at != json_array_size(into))) return contradicts(e);
            now = make(p, c, x, &inner, e);
            if (!now) return false;
            if ((in_list ? json_array_append_new(into, now) : json_object_set_new(into, x->name, now)) != 0)
                die("parquet: out of memory");
        }
        if (inner && x->kind == PQ_LIST && c->r <= x->rep) b->items[k]++;
        into = now;
    }
    return true;
}

/* Every column below a list must have begun the same number of items as the first. */
static bool same_items(struct parquet *p, const struct pq_leaf *c, const struct build *b, struct err *e)
{
    for (int k = 0; k < c->depth; k++) {
        struct pq_node *x = &p->node[c->node[k]];
        if (x->kind != PQ_LIST) continue;
        if (&p->leaf[x->first] == c) x->items = b->items[k];
        else if (x->items != b->items[k]) return contradicts(e);
    }
    return true;
}

/* Reads all values of column c in this row. */
static bool read_column(struct parquet *p, struct pq_leaf *c, json_t *row, struct err *e)
{
    struct build b = { .row = row };
    if (!c->ready) return fail(e, "has fewer values than the row group has rows");
    if (c->r != 0) return fail(e, "a row that does not begin at repetition level 0");
    do {
        if (c->r > 0 && c->d < c->need[c->r]) return contradicts(e);
        if (c->r > 0) b.at[c->r]++;
        for (int r = c->r + 1; r <= c->rep; r++) b.at[r] = 0;
        if (!place(p, c, &b, e) || !pq_levels(p, c, e)) return false;
    } while (c->ready && c->r > 0);
    return same_items(p, c, &b, e);
}

int parquet_next(struct parquet *p, json_t **row, struct err *e)
{
    *row = NULL;
    while (p->group_rows == 0) {
        if (p->group > 0 && !end_group(p, e)) return -1;
        if (p->n_groups == 0) return end_file(p, e) ? 0 : -1;
        if (!next_group(p, e)) return -1;
    }
    json_t *o = json_object();
    p->row_cost = 0;
    bool ok = pay(p, GROUP_COST, e) || fail_in(e, "%s: row %lld", p->name, (long long)p->rows_done);
    for (int k = 0; ok && k < p->n_leaves; k++) {
        struct pq_leaf *c = &p->leaf[k];
        if (c->wanted && !read_column(p, c, o, e)) ok = fail_page(p, c, e);
    }
    if (!ok) { json_decref(o); return -1; }
    p->group_rows--;
    p->rows_done++;
    *row = o;
    return 1;
}
