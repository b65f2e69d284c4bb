/* bench_attn.c: attention over packed sequences and trees, over pages, and the pages themselves. Floating-point
 * operations are those of the visible pairs: 4 hd each in the forward pass (two products), 10 hd in the backward pass
 * (five); scores that are computed and discarded do not count. */
#include "eval/bench/bench_in.h"
#include "base/arith.h"
#include <stdlib.h>
#include <string.h>

enum { G = BENCH_GPU, C = BENCH_CPU, T = BENCH_TINY };
static const double R = sizeof(elem_t), W = sizeof(acc_t);

/* causal: sequences of ctx tokens one after another. tree: 8 rollouts of ctx tokens that share their first four fifths,
 * again and again. All are whole. */
static const struct bench_dims packed[] = {
    { .at = G, .kind = "causal", .n = 4096, .heads = 9, .kv = 3, .hd = 64, .ctx = 4096 },
    { .at = G, .kind = "causal", .n = 16384, .heads = 9, .kv = 3, .hd = 64, .ctx = 4096 },
    { .at = G, .kind = "causal", .n = 16384, .heads = 14, .kv = 2, .hd = 64, .ctx = 4096 },
    { .at = G, .kind = "causal", .n = 16384, .heads = 16, .kv = 8, .hd = 128, .ctx = 4096 },
    { .at = G, .kind = "causal", .n = 65536, .heads = 16, .kv = 8, .hd = 128, .ctx = 4096 },
    { .at = G, .kind = "causal", .n = 65536, .heads = 16, .kv = 8, .hd = 128, .ctx = 16384 },
    { .at = G, .kind = "causal", .n = 16384, .heads = 32, .kv = 8, .hd = 128, .ctx = 4096 },
    { .at = G, .kind = "tree", .n = 19584, .heads = 14, .kv = 2, .hd = 64, .ctx = 4080 },
    { .at = G, .kind = "tree", .n = 19584, .heads = 16, .kv = 8, .hd = 128, .ctx = 4080 },
    { .at = C, .kind = "causal", .n = 2048, .heads = 9, .kv = 3, .hd = 64, .ctx = 512 },
    { .at = C, .kind = "causal", .n = 2048, .heads = 4, .kv = 2, .hd = 128, .ctx = 512 },
    { .at = C, .kind = "tree", .n = 2400, .heads = 9, .kv = 3, .hd = 64, .ctx = 500 },
    { .at = T, .kind = "causal", .n = 51, .heads = 2, .kv = 1, .hd = 64, .ctx = 17 },
    { .at = T, .kind = "tree", .n = 96, .heads = 2, .kv = 1, .hd = 64, .ctx = 20 },
    { 0 },
};
static const struct bench_dims paged[] = {
    { .at = G, .n = 1, .heads = 16, .kv = 8, .hd = 128, .ctx = 2048 },
    { .at = G, .n = 64, .heads = 16, .kv = 8, .hd = 128, .ctx = 2048 },
    { .at = G, .n = 256, .heads = 16, .kv = 8, .hd = 128, .ctx = 2048 },
    { .at = G, .n = 256, .heads = 9, .kv = 3, .hd = 64, .ctx = 2048 },
    { .at = G, .n = 256, .heads = 14, .kv = 2, .hd = 64, .ctx = 2048 },
    { .at = G, .n = 64, .heads = 32, .kv = 8, .hd = 128, .ctx = 8192 },
    { .at = G, .kind = "forks", .n = 256, .heads = 16, .kv = 8, .hd = 128, .ctx = 2048 },
    { .at = C, .n = 1, .heads = 9, .kv = 3, .hd = 64, .ctx = 512 },
    { .at = C, .n = 64, .heads = 9, .kv = 3, .hd = 64, .ctx = 512 },
    { .at = C, .kind = "forks", .n = 64, .heads = 9, .kv = 3, .hd = 64, .ctx = 512 },
    { .at = T, .n = 3, .heads = 2, .kv = 1, .hd = 16, .ctx = 19 },
    { .at = T, .kind = "forks", .n = 9, .heads = 2, .kv = 1, .hd = 16, .ctx = 40 },
    { 0 },
};
static const struct bench_dims written[] = {
    { .at = G, .n = 256, .heads = 16, .kv = 8, .hd = 128 }, { .at = G, .n = 16384, .heads = 16, .kv = 8, .hd = 128 },
    { .at = G, .n = 16384, .heads = 9, .kv = 3, .hd = 64 }, { .at = C, .n = 64, .heads = 9, .kv = 3, .hd = 64 },
    { .at = C, .n = 2048, .heads = 9, .kv = 3, .hd = 64 }, { .at = T, .n = 5, .heads = 2, .kv = 1, .hd = 16 },
    { 0 },
};
static const struct bench_dims page[] = {
    { .at = G, .heads = 16, .kv = 8, .hd = 128 }, { .at = C, .heads = 9, .kv = 3, .hd = 64 },
    { .at = T, .heads = 2, .kv = 1, .hd = 16 },
    { 0 },
};

static struct heads heads(const struct bench_dims *d) { return (struct heads){ d->heads, d->kv, d->hd }; }
static int64_t width(const struct bench_dims *d) { return (int64_t)(d->heads + 2 * d->kv) * d->hd; }

/* ---- packed ---- */

/* end[n]; how many (q, k) are visible is the sum of what lies below each row on its path. */
static void ends(const struct bench_dims *d, int *end)
{
    const int shared = !strcmp(d->kind, "tree") ? d->ctx * 4 / 5 : 0, own = d->ctx - shared,
              tree = shared ? shared + 8 * own : d->ctx;
    for (int64_t i = 0; i < d->n; i++) {
        const int64_t from = i / tree * tree, at = i - from;
        const int64_t to = at < shared ? from + tree : from + shared + ((at - shared) / own + 1) * own;
        end[i] = (int)MIN(to, d->n);
    }
}

static double pairs(const struct bench_dims *d)
{
    const int shared = !strcmp(d->kind, "tree") ? d->ctx * 4 / 5 : 0, own = d->ctx - shared,
              tree = shared ? shared + 8 * own : d->ctx;
    double sum = 0;
    for (int64_t i = 0; i < d->n; i++) {
        const int64_t at = i % tree;
        sum += (double)(at < shared ? at + 1 : shared + (at - shared) % own + 1);
    }
    return sum;
}

static void packed_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    int *end = xcalloc((size_t)d->n, sizeof *end);
    ends(d, end);
    o->plan = attn_plan_make(end, d->n);
    free(end);
    o->x = bench_elems(b, d->n * width(d), 4);
    o->y = bench_elems(b, d->n * d->heads * d->hd, 1);
    o->a = bench_accs(b, d->n * d->heads, -1, 1);
}

static void attn_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_attn(o->y, o->a, o->x, o->plan, heads(d));
}

static void back_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    packed_make(b, d, o);
    o->z = bench_elems(b, d->n * d->heads * d->hd, 1);
    o->w = bench_elems(b, d->n * width(d), 1);
    attn_run(d, o);
}
static void back_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_attn_back(o->w, o->z, o->y, o->a, o->x, o->plan, heads(d));
}

/* The same by wgmma; attn and attn_back use the kernels that APPO_ATTN names, mma.sync without it. Both sets of kernels
 * support the heads of all sizes above. */
static void wgmma_run(const struct bench_dims *d, struct bench_operands *o)
{
    const enum attn_impl was = attn_choose(ATTN_WGMMA);
    attn_run(d, o);
    attn_choose(was);
}
static void wgmma_back_run(const struct bench_dims *d, struct bench_operands *o)
{
    const enum attn_impl was = attn_choose(ATTN_WGMMA);
    back_run(d, o);
    attn_choose(was);
}

static double out_bytes(const struct bench_dims *d) { return (double)d->n * d->heads * (d->hd * R); }
static double attn_bytes(const struct bench_dims *d)
{
    return (double)(d->n * width(d)) * R + out_bytes(d) + (double)d->n * d->heads * W;
}
static double back_bytes(const struct bench_dims *d)
{
    return 2 * (double)(d->n * width(d)) * R + 2 * out_bytes(d) + (double)d->n * d->heads * W;
}
static double attn_flops(const struct bench_dims *d) { return 4 * pairs(d) * d->heads * d->hd; }
static double back_flops(const struct bench_dims *d) { return 10 * pairs(d) * d->heads * d->hd; }

/* ---- paged ---- */

/* forks: groups of 8 rows share the pages of the first three quarters of their context; they must be read once a
 * group. */
static int64_t shared_pages(const struct bench_dims *d) { return d->kind ? d->ctx * 3 / 4 / KV_PAGE : 0; }
static int64_t pages_of(const struct bench_dims *d) { return ceil_div(d->ctx, KV_PAGE); }
static int64_t pages_in_all(const struct bench_dims *d)
{
    return d->n * (pages_of(d) - shared_pages(d)) + (d->n + 7) / 8 * shared_pages(d);
}

static void paged_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    const int64_t l = pages_of(d), shared = shared_pages(d), groups = (d->n + 7) / 8;
    int *table = xcalloc((size_t)(d->n * l), sizeof *table), *pos = xcalloc((size_t)d->n, sizeof *pos);
    for (int64_t i = 0; i < d->n; i++) {
        for (int64_t p = 0; p < l; p++)
            table[i * l + p] = (int)(p < shared ? i / 8 * shared + p : groups * shared + i * (l - shared) + p - shared);
        pos[i] = d->ctx - 1;
    }
    o->table = bench_put(b, table, (size_t)(d->n * l) * sizeof *table);
    o->pos = bench_put(b, pos, (size_t)d->n * sizeof *pos);
    o->w = bench_elems(b, pages_in_all(d) * kv_page_elems(heads(d)), 2);
    o->x = bench_elems(b, d->n * width(d), 2);
    o->y = bench_elems(b, d->n * d->heads * d->hd, 1);
    free(table);
    free(pos);
}

static void paged_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_attn_paged(o->y, o->x, o->w, o->table, (int)pages_of(d), o->pos, d->n, heads(d));
}
static double paged_bytes(const struct bench_dims *d)
{
    return (double)(pages_in_all(d) * kv_page_elems(heads(d))) * R + 2 * out_bytes(d);
}
static double paged_flops(const struct bench_dims *d) { return 4.0 * (double)d->n * d->ctx * d->heads * d->hd; }

static void write_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    int64_t *slot = xcalloc((size_t)d->n, sizeof *slot), pages = ceil_div(d->n, KV_PAGE);
    for (int64_t i = 0; i < d->n; i++) slot[i] = i;
    o->slot = bench_put(b, slot, (size_t)d->n * sizeof *slot);
    o->w = bench_elems(b, pages * kv_page_elems(heads(d)), 1);
    o->x = bench_elems(b, d->n * width(d), 1);
    free(slot);
}
static void write_run(const struct bench_dims *d, struct bench_operands *o)
{
    op_kv_write(o->w, o->x, o->slot, d->n, heads(d));
}
static double write_bytes(const struct bench_dims *d) { return 4.0 * (double)d->n * d->kv * d->hd * R; }

static void copy_make(struct bench *b, const struct bench_dims *d, struct bench_operands *o)
{
    o->w = bench_elems(b, 2 * kv_page_elems(heads(d)), 1);
}
static void copy_run(const struct bench_dims *d, struct bench_operands *o) { op_kv_copy(o->w, 1, 0, heads(d)); }
static double copy_bytes(const struct bench_dims *d) { return 2 * (double)kv_page_elems(heads(d)) * R; }

const struct bench_op bench_attn[] = {
    { "attn", packed_make, NULL, attn_run, attn_bytes, attn_flops, false, packed },
    { "attn_back", back_make, NULL, back_run, back_bytes, back_flops, false, packed },
    { "attn_paged", paged_make, NULL, paged_run, paged_bytes, paged_flops, false, paged },
    { "kv_write", write_make, NULL, write_run, write_bytes, NULL, false, written },
    { "kv_copy", copy_make, NULL, copy_run, copy_bytes, NULL, false, page },
    { 0 },
};
const struct bench_op bench_wgmma[] = {
    { "attn_wgmma", packed_make, NULL, wgmma_run, attn_bytes, attn_flops, false, packed },
    { "attn_wgmma_back", back_make, NULL, wgmma_back_run, back_bytes, back_flops, false, packed },
    { 0 },
};
