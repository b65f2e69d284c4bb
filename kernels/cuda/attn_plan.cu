/* attn_plan.cu: the keys that each row sees, as lists of work for the kernels. Host code: it runs once a batch, in one
 * pass over the rows, and its lists are as large as the tree's own blocks, never rows times rows. A block of 128 rows
 * of a 4096-row sequence has at most 64 tiles. */
#include "kernels/cuda/attn.cuh"
#include <stdlib.h>
#include <string.h>

struct ints { int *p; size_t n, cap; };

static void append(struct ints *v, int x)
{
    if (v->n == v->cap) v->p = (int *)xrealloc(v->p, (v->cap = v->cap * 2 + 64) * sizeof *v->p);
    v->p[v->n++] = x;
}

static void check_end(const int *end, int64_t n, int k, int up)
{
    if (end[k] <= k || end[k] > n)
        die("attn_plan_make: end[%d] = %d is not in %d .. %lld", k, end[k], k + 1, (long long)n);
    if (up >= 0 && end[k] > end[up])
        die("attn_plan_make: end[%d] = %d goes beyond end[%d] = %d of the row above it", k, end[k], up, end[up]);
}

/* The segments of the forest and, in root[], the first row of each tree; returns the number of segments. */
static int segments(struct attn_seg *seg, int *seg_of, struct ints *root, const int *end, int n)
{
    int segs = 0, *up = (int *)xmalloc(((size_t)n + 1) * sizeof *up);
    for (int i = 0; i < n; i++) {
        int a = i - 1;
        while (a >= 0 && end[a] <= i) a = up[a];
        check_end(end, n, i, a);
        up[i] = a;
        if (i && a == i - 1) {
            seg[segs - 1].last = i + 1;
        } else {
            struct attn_seg s = { i, 0, -1, i + 1 };
            if (a < 0) append(root, i);
            else s.parent = seg_of[a], s.before = seg[seg_of[a]].before + a + 1 - seg[seg_of[a]].first;
            seg[segs++] = s;
        }
        seg_of[i] = segs - 1;
    }
    free(up);
    return segs;
}

static int by_len(const void *pa, const void *pb)
{
    const struct attn_rows *a = (const struct attn_rows *)pa, *b = (const struct attn_rows *)pb;
    return a->len != b->len ? (a->len < b->len ? 1 : -1) : (a->first > b->first) - (a->first < b->first);
}

static int row_tiles(struct attn_rows *to, const struct attn_seg *seg, int segs)
{
    int n = 0;
    for (int s = 0; s < segs; s++)
        for (int i = seg[s].first; i < seg[s].last; i += ATTN_OWN) {
            int m = MIN(ATTN_OWN, seg[s].last - i);
            struct attn_rows t = { s, i, m, seg[s].before + i + m - seg[s].first };
            to[n++] = t;
        }
    qsort(to, (size_t)n, sizeof *to, by_len);
    return n;
}

static int by_reach(const void *pa, const void *pb)
{
    const struct attn_keys *a = (const struct attn_keys *)pa, *b = (const struct attn_keys *)pb;
    int x = a->last - a->first, y = b->last - b->first;
    return x != y ? (x < y ? 1 : -1) : (a->first > b->first) - (a->first < b->first);
}

static int key_tiles(struct attn_keys *to, const struct ints *root, const int *end)
{
    int n = 0;
    for (size_t r = 0; r < root->n; r++)
        for (int i = root->p[r], stop = end[i]; i < stop; i += ATTN_OWN) {
            struct attn_keys t = { i, MIN(ATTN_OWN, stop - i), root->p[r], 0 };
            for (int k = i; k < i + t.rows; k++) t.last = MAX(t.last, end[k]);
            to[n++] = t;
        }
    qsort(to, (size_t)n, sizeof *to, by_reach);
    return n;
}

/* A list under construction: tiles of block b start at begin[b]; sorted() puts the blocks with most tiles first. */
struct list { struct ints begin, tile, own; };

static const int *sort_begin;
static int by_tiles(const void *pa, const void *pb)
{
    int a = *(const int *)pa, b = *(const int *)pb, x = sort_begin[a + 1] - sort_begin[a],
        y = sort_begin[b + 1] - sort_begin[b];
    return x != y ? (x < y ? 1 : -1) : a - b;
}

static void sorted(struct list *l)
{
    struct list out = { { NULL, 0, 0 }, { NULL, 0, 0 }, { NULL, 0, 0 } };
    int blocks = (int)l->begin.n - 1;
    for (int b = 0; b < blocks; b++) append(&out.own, b);
    sort_begin = l->begin.p;
    if (blocks > 1) qsort(out.own.p, (size_t)blocks, sizeof *out.own.p, by_tiles);
    for (int i = 0; i < blocks; i++) {
        int b = out.own.p[i];
        append(&out.begin, (int)out.tile.n);
        for (int k = l->begin.p[b]; k < l->begin.p[b + 1]; k++) append(&out.tile, l->tile.p[k]);
    }
    append(&out.begin, (int)out.tile.n);
    free(l->begin.p), free(l->tile.p);
    *l = out;
}

static void reach(const int *end, int n, int first, int rows, int *least, int *most)
{
    *least = n, *most = 0;
    for (int k = first; k < MIN(n, first + rows); k++) *least = MIN(*least, end[k]), *most = MAX(*most, end[k]);
}

/* Tiles of keys for blocks of queries: from the root of the block's first tree on, those that have a key seen by a row
 * of the block. */
static void list_queries(struct list *l, const int *end, int n, const struct ints *root)
{
    int tiles = (n + ATTN_TILE - 1) / ATTN_TILE, *least = (int *)xmalloc((size_t)(tiles + 1) * 2 * sizeof *least),
        *most = least + tiles + 1;
    for (int t = 0; t < tiles; t++) reach(end, n, t * ATTN_TILE, ATTN_TILE, least + t, most + t);
    size_t r = 0;
    for (int i = 0; i < n; i += ATTN_BLOCK) {
        int stop = MIN(n, i + ATTN_BLOCK);
        while (r + 1 < root->n && root->p[r + 1] <= i) r++;
        append(&l->begin, (int)l->tile.n);
        for (int t = root->p[r] / ATTN_TILE; t * ATTN_TILE < stop; t++)
            if (most[t] > i) append(&l->tile, t << 1 | ((t + 1) * ATTN_TILE <= i + 1 && least[t] >= stop));
    }
    append(&l->begin, (int)l->tile.n);
    free(least);
    sorted(l);
}

/* Tiles of queries for blocks of keys: every key is seen by itself, so the tiles from the block to its farthest end all
 * count. */
static void list_keys(struct list *l, const int *end, int n)
{
    for (int i = 0; i < n; i += ATTN_BLOCK) {
        int least, most;
        reach(end, n, i, ATTN_BLOCK, &least, &most);
        append(&l->begin, (int)l->tile.n);
        for (int t = i / ATTN_TILE; t * ATTN_TILE < most; t++)
            append(&l->tile, t << 1 | (t * ATTN_TILE >= i + ATTN_BLOCK - 1 && least >= (t + 1) * ATTN_TILE));
    }
    append(&l->begin, (int)l->tile.n);
    sorted(l);
}

/* The arrays one behind the other in one allocation: first counted, then copied. */
struct blob { char *host, *dev; size_t at; };
static const void *place(struct blob *b, const void *from, size_t bytes)
{
    size_t at = b->at;
    if (b->host && bytes) memcpy(b->host + at, from, bytes);
    b->at = (at + bytes + 255) / 256 * 256;
    return b->dev + at;
}

static struct attn_list place_list(struct blob *b, const struct list *l)
{
    struct attn_list r = { (const int *)place(b, l->own.p, l->own.n * sizeof(int)),
                           (const int *)place(b, l->begin.p, l->begin.n * sizeof(int)),
                           (const int *)place(b, l->tile.p, l->tile.n * sizeof(int)), (int)l->own.n };
    return r;
}

struct made {
    struct attn_seg *seg;
    struct attn_rows *rows;
    struct attn_keys *keys;
    struct list by_query, by_key;
    int segs;
};

static void upload(struct attn_plan *p, const struct made *m, const int *end)
{
    struct blob b = { NULL, NULL, 0 };
    for (int pass = 0; pass < 2; pass++) {
        p->end = (const int *)place(&b, end, (size_t)p->n * sizeof *end);
        p->seg = (const struct attn_seg *)place(&b, m->seg, (size_t)m->segs * sizeof *m->seg);
        p->row_tile = (const struct attn_rows *)place(&b, m->rows, (size_t)p->row_tiles * sizeof *m->rows);
        p->key_tile = (const struct attn_keys *)place(&b, m->keys, (size_t)p->key_tiles * sizeof *m->keys);
        p->by_query = place_list(&b, &m->by_query);
        p->by_key = place_list(&b, &m->by_key);
        if (pass) break;
        b.host = (char *)xcalloc(1, b.at + 1);
        p->memory = pool_get(b.at);
        b.dev = (char *)p->memory;
        b.at = 0;
    }
    dev_put(p->memory, b.host, b.at);
    free(b.host);
}

extern "C" struct attn_plan *attn_plan_make(const int *end, int64_t n)
{
    if (n < 0 || n > INT32_MAX - ATTN_BLOCK) die("attn_plan_make: %lld rows", (long long)n);
    struct attn_plan *p = (struct attn_plan *)xcalloc(1, sizeof *p);
    struct made m = {};
    struct ints root = { NULL, 0, 0 };
    p->n = (int)n;
    m.seg = (struct attn_seg *)xmalloc(((size_t)n + 1) * sizeof *m.seg);
    int *seg_of = (int *)xmalloc(((size_t)n + 1) * sizeof *seg_of);
    m.segs = segments(m.seg, seg_of, &root, end, p->n);
    free(seg_of);
    m.rows = (struct attn_rows *)xmalloc(((size_t)m.segs + (size_t)n / ATTN_OWN + 1) * sizeof *m.rows);
    m.keys = (struct attn_keys *)xmalloc((root.n + (size_t)n / ATTN_OWN + 1) * sizeof *m.keys);
    p->row_tiles = row_tiles(m.rows, m.seg, m.segs);
    p->key_tiles = key_tiles(m.keys, &root, end);
    list_queries(&m.by_query, end, p->n, &root);
    list_keys(&m.by_key, end, p->n);
    size_t tiles = MAX(m.by_query.tile.n, m.by_key.tile.n);
    if (tiles > INT32_MAX)
        die("attn_plan_make: %zu tiles of %lld rows are more than 32 bits can count", tiles, (long long)n);
    upload(p, &m, end);
    void *gone[] = { root.p,
                     m.seg,
                     m.rows,
                     m.keys,
                     m.by_query.own.p,
                     m.by_query.begin.p,
                     m.by_query.tile.p,
                     m.by_key.own.p,
                     m.by_key.begin.p,
                     m.by_key.tile.p };
    for (void *g : gone) free(g);
    return p;
}

extern "C" int64_t attn_plan_rows(const struct attn_plan *p) { return p->n; }

extern "C" void attn_plan_free(struct attn_plan *p)
{
    if (!p) return;
    pool_put(p->memory);
    free(p);
}
