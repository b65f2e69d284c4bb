/* parquet_schema.c: converts the footer's flat list of schema elements to a tree. A list is three elements in the file
 * (the annotated group, a repeated group, the item), fewer in old files: LogicalTypes.md of parquet-format, "Lists" and
 * its rules for backward compatibility. */
#include "data/parquet/parquet_in.h"
#include <stdlib.h>
#include <string.h>

enum { REQUIRED, OPTIONAL, REPEATED };
enum { MAX_ELEMENTS = 10000, MAX_NAME = 256 };       /* keeps the paths of all leaves together small */

struct element {
    int type, width, repetition, children, converted, scale, logical;
    bool is_unsigned;
    const char *name;
    size_t name_n;
};

/* the union LogicalType: the number of its only field is the type; IntType also has the signedness */
static void read_logical(struct thrift *t, int type, struct element *x)
{
    struct thrift_field u = { 0 };
    thrift_struct(t, type);
    while (thrift_next(t, &u)) {
        x->logical = u.id;
        if (u.id != 10) { thrift_skip(t, u.type); continue; }
        struct thrift_field f = { 0 };
        thrift_struct(t, u.type);
        while (thrift_next(t, &f)) {
            if (f.id == 2) x->is_unsigned = !thrift_bool(t, f.type);
            else thrift_skip(t, f.type);
        }
    }
}

static struct element read_element(struct thrift *t)
{
    struct element x = { .type = -1, .converted = -1, .name = "" };
    struct thrift_field f = { 0 };
    while (thrift_next(t, &f)) {
        int64_t n = f.id <= 7 && f.id != 4 ? thrift_int(t, f.type) : 0;
        if (n > INT32_MAX || n < 0) n = INT32_MAX;          /* each use below has its own, smaller limit */
        switch (f.id) {
        case 1: x.type = (int)n; break;
        case 2: x.width = (int)n; break;
        case 3: x.repetition = (int)n; break;
        case 4: x.name = thrift_text(t, f.type, &x.name_n); break;
        case 5: x.children = (int)n; break;
        case 6: x.converted = (int)n; break;
        case 7: x.scale = (int)n; break;
        case 8: thrift_skip(t, f.type); break;
        case 10: read_logical(t, f.type, &x); break;
        default: thrift_skip(t, f.type); break;
        }
    }
    return x;
}

static bool is_list(const struct element *x)
{
    return x->logical == 2 || x->logical == 3 || (x->converted >= 1 && x->converted <= 3);
}
static bool is_map(const struct element *x) { return x->logical == 2 || x->converted == 1 || x->converted == 2; }

/* The meaning of a leaf's value in JSON. ConvertedType and LogicalType of parquet.thrift; a logical type takes
 * precedence. */
static void set_meaning(struct pq_leaf *c, const struct element *x)
{
    static const char *const logical[] = { [7] = "a TIME", [8] = "a TIMESTAMP", [13] = "BSON", [14] = "a UUID",
        [16] = "a VARIANT", [17] = "a GEOMETRY", [18] = "a GEOGRAPHY" };
    static const char *const converted[] = {
        [7] = "a TIME", [8] = "a TIME", [9] = "a TIMESTAMP", [10] = "a TIMESTAMP", [20] = "BSON", [21] = "an INTERVAL"
    };
    int l = x->logical, k = x->converted;
    c->type = (enum pq_type)x->type;
    c->scale = x->scale;
    c->width = c->type == PQ_FIXED                           ? x->width
               : c->type == PQ_INT32 || c->type == PQ_FLOAT  ? 4
               : c->type == PQ_INT64 || c->type == PQ_DOUBLE ? 8
                                                             : 0;
    c->meaning = c->type == PQ_BYTES || c->type == PQ_FIXED ? PQ_TEXT : PQ_AS_IS;
    bool whole = c->type == PQ_INT32 || c->type == PQ_INT64, date = l == 6 || (l == 0 && k == 6);
    if (l > 18) c->unread = "of an unknown logical type";
    else if (l > 0) c->unread = logical[l];
    else if (k > 21) c->unread = "of an unknown converted type";
    else if (k >= 0) c->unread = converted[k];
    if (c->type == PQ_INT96) c->unread = "an INT96";
    if (c->unread) c->meaning = PQ_UNREAD;
    else if (l == 5 || (l == 0 && k == 5)) c->meaning = PQ_DECIMAL;
    else if (date) c->meaning = c->type == PQ_INT32 ? PQ_DATE : PQ_UNREAD;
    else if (l == 15) c->meaning = c->type == PQ_FIXED && c->width == 2 ? PQ_HALF : PQ_UNREAD;
    else if (whole && (x->is_unsigned || (l == 0 && k >= 11 && k <= 14))) c->meaning = PQ_UNSIGNED;
    if (c->meaning == PQ_UNREAD && !c->unread)
        c->unread = date ? "a DATE of other than 32 bits" : "a FLOAT16 of other than 2 bytes";
    if (c->meaning == PQ_DECIMAL &&
        ((!whole && c->type != PQ_BYTES && c->type != PQ_FIXED) || c->scale > 38 || c->width > 16)) {
        c->meaning = PQ_UNREAD;
        c->unread = "a DECIMAL of more than 38 digits";
    }
}

/* The place of the next element. IN_LIST: the repeated element of the list node; ITEM: the item itself. */
struct open_element { int left, node, def, rep; enum { MEMBER, IN_LIST, ITEM } as; };

static int add_node(struct parquet *p, const struct element *x, int kind, int parent, int def)
{
    if (p->n_nodes == p->cap_nodes) {
        p->cap_nodes = p->cap_nodes ? 2 * p->cap_nodes : 32;
        p->node = xrealloc(p->node, (size_t)p->cap_nodes * sizeof *p->node);
    }
    char *name = NULL;
    if (x) {
        name = xmalloc(x->name_n + 1);
        memcpy(name, x->name, x->name_n);
        name[x->name_n] = 0;
    }
    p->node[p->n_nodes] = (struct pq_node){ .name = name, .kind = kind, .parent = parent, .def = def, .first = -1 };
    return p->n_nodes++;
}

/* "prompt" selects "prompt" and "prompt.content"; "?prompt" does so if its type is supported */
static bool is_wanted(const char *path, const char *const *columns, bool readable)
{
    if (!columns) return true;
    for (; *columns; columns++) {
        bool optional = **columns == '?';
        const char *name = *columns + optional;
        size_t n = strlen(name);
        if ((readable || !optional) && !strncmp(path, name, n) && (path[n] == 0 || path[n] == '.')) return true;
    }
    return false;
}

static bool add_leaf(struct parquet *p, const struct element *x, int node, const struct open_element *at,
                     const char *const *columns, struct err *e)
{
    if (p->n_leaves == p->cap_leaves) {
        p->cap_leaves = p->cap_leaves ? 2 * p->cap_leaves : 16;
        p->leaf = xrealloc(p->leaf, (size_t)p->cap_leaves * sizeof *p->leaf);
    }
    struct pq_leaf *c = &p->leaf[p->n_leaves++];
    *c = (struct pq_leaf){ .def = at->def, .rep = at->rep };
    for (int k = node; k >= 0; k = p->node[k].parent) c->depth++;
    for (int k = node, i = c->depth; k >= 0; k = p->node[k].parent) c->node[--i] = k;
    struct str path = { 0 };
    for (int i = 0; i < c->depth; i++) {
        struct pq_node *n = &p->node[c->node[i]];
        if (n->name) str_printf(&path, "%s%s", path.n ? "." : "", n->name);
        if (n->kind == PQ_LIST) c->need[n->rep] = n->def_item;
    }
    c->path = path.p ? path.p : xstrdup("");
    set_meaning(c, x);
    c->wanted = is_wanted(c->path, columns, c->meaning != PQ_UNREAD);
    if (!c->wanted) return true;
    for (int i = 0; i < c->depth; i++) {
        struct pq_node *n = &p->node[c->node[i]];
        if (n->first < 0) n->first = p->n_leaves - 1;
    }
    if (x->type < 0 || x->type > PQ_FIXED)
        return fail(e, "column \"%s\" is of an unknown type, number %d", c->path, x->type);
    if (c->meaning == PQ_UNREAD)
        return fail(e, "column \"%s\" is %s, which cannot be read; write it as text or as a number", c->path,
                    c->unread);
    if (c->type == PQ_FIXED && (c->width < 1 || c->width > pq_max_page))
        return fail(e, "column \"%s\" has values of %d bytes", c->path, c->width);
    return true;
}

static bool good_name(const struct element *x)
{
    json_t *s = x->name_n > MAX_NAME || memchr(x->name, 0, x->name_n) ? NULL : json_stringn(x->name, x->name_n);
    json_decref(s);
    return s != NULL;
}

/* Is the repeated group of a list the item itself (files from before 2014), not only a wrapper around it? */
static bool is_item(const struct element *x, const struct element *list)
{
    size_t n = list->name_n;
    if (is_map(list) || x->children != 1) return true;
    if (x[1].repetition == REPEATED) return true;           /* the next element is its only child */
    return (x->name_n == 5 && !memcmp(x->name, "array", 5)) ||
           (x->name_n == n + 6 && !memcmp(x->name, list->name, n) && !memcmp(x->name + n, "_tuple", 6));
}

/* Adds element x at the place `at` to the tree; *below: the place of its children. list: the group whose repeated
 * element x is. */
static bool add_element(struct parquet *p, const struct element *x, const struct element *list, struct open_element at,
                        struct open_element *below, const char *const *columns, struct err *e)
{
    if (!good_name(x)) return fail(e, "a column's name is not text or has more than %d bytes", MAX_NAME);
    bool repeated = x->repetition == REPEATED, named = at.as == MEMBER;
    if (at.as == IN_LIST) {
        p->node[at.node].def_item = ++at.def;
        p->node[at.node].rep = ++at.rep;
        if (x->children > 0 && !is_item(x, list)) {
            *below = (struct open_element){ .left = 1, .node = at.node, .def = at.def, .rep = at.rep, .as = ITEM };
            return true;
        }
    /* without an annotation: a list that is never null, of items that are never null */
    } else if (repeated) {
        int l = add_node(p, named ? x : NULL, PQ_LIST, at.node, at.def);
        p->node[l].def_item = ++at.def;
        p->node[l].rep = ++at.rep;
        at.node = l;
        named = false;
    } else {
        at.def += x->repetition == OPTIONAL;
    }
    bool wraps = x->children == 1 && !repeated && is_list(x) && x[1].repetition == REPEATED;
    int kind = x->children > 0 ? wraps ? PQ_LIST : PQ_STRUCT : PQ_LEAF;
    int n = add_node(p, named ? x : NULL, kind, at.node, at.def);
    *below = (struct open_element){
        .left = x->children, .node = n, .def = at.def, .rep = at.rep, .as = wraps ? IN_LIST : MEMBER
    };
    return kind != PQ_LEAF || add_leaf(p, x, n, &at, columns, e);
}

static bool build(struct parquet *p, const struct element *x, int64_t n, const char *const *columns, struct err *e)
{
    struct open_element stack[PQ_DEEP];
    const struct element *owner[PQ_DEEP];
    int depth = 1;
    stack[0] = (struct open_element){ .left = x[0].children, .node = -1 };
    owner[0] = x;
    for (int64_t k = 1; k < n; k++) {
        while (depth > 0 && stack[depth - 1].left == 0) depth--;
        if (depth == 0) return fail(e, "the schema has elements that belong to no group");
        if (depth == PQ_DEEP) return fail(e, "the schema is nested more than %d deep", PQ_DEEP);
        if (x[k].children > n - 1 - k)
            return fail(e, "a group of the schema claims %d members, more than there are", x[k].children);
        stack[depth - 1].left--;
        if (!add_element(p, &x[k], owner[depth - 1], stack[depth - 1], &stack[depth], columns, e)) return false;
        owner[depth++] = &x[k];
    }
    for (; depth > 0; depth--) if (stack[depth - 1].left) return fail(e, "the schema ends before its last group does");
    return true;
}

bool pq_schema(struct parquet *p, struct thrift *t, int64_t n, const char *const *columns, struct err *e)
{
    if (t->fault) return fail(e, "the schema: %s", t->fault);
    if (n > MAX_ELEMENTS) return fail(e, "a schema of %lld elements; at most %d are read", (long long)n, MAX_ELEMENTS);
    if (n == 0) return fail(e, "the schema is empty");
    /* one more: a group may read the element after it */
    struct element *x = xcalloc((size_t)n + 1, sizeof *x);
    for (int64_t k = 0; k < n; k++) x[k] = read_element(t);
    bool ok = t->fault ? fail(e, "the schema: %s", t->fault) : build(p, x, n, columns, e);
    free(x);
    return ok;
}
