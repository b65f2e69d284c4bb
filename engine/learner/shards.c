/* shards.c: one range a rank, not one of each bucket: a checkpoint's file of a rank, AdamW and its pieces in host
 * memory are then one run of weights, and the new weights are one all-gather of equal parts. Most buckets then belong
 * to one rank; to reduce N bytes to one rank takes a ring as long as to scatter them. */
#include "engine/learner/shards.h"
#include "base/arith.h"
#include "base/err.h"
#include <stdlib.h>

/* 32 MiB: a ring over 64 GPUs still sends 512 KiB at a time, and the first bucket is under way after one layer of a
 * model of 1.5e9 weights. */
enum { SHARD_UNIT = 64, BUCKET_LEAST = (32 << 20) / 4, BUCKETS_LEAST = 8 };

int64_t shard_begin(int64_t count, int ranks, int r)
{
    int64_t each = round_up(ceil_div(count, ranks), SHARD_UNIT);
    return MIN(count, each * r);
}

void buckets_make(struct buckets *b, const struct model *m)
{
    int64_t least = MIN((int64_t)BUCKET_LEAST, m->count / BUCKETS_LEAST), end = m->c.tied ? m->count : m->norm;
    *b = (struct buckets){ .begin = xcalloc((size_t)m->c.layers + 4, sizeof *b->begin) };
    int n = 0;
    int64_t *cut = b->begin;                                /* from the end, reversed below */
    cut[n++] = m->count;
    if (!m->c.tied) cut[n++] = end;
    for (int l = m->c.layers - 1; l >= 0; l--)
        if (l == 0 || end - m->layer[l].norm1 >= least) cut[n++] = end = m->layer[l].norm1;
    cut[n++] = 0;
    for (int i = 0; i < n / 2; i++) {
        int64_t x = cut[i];
        cut[i] = cut[n - 1 - i];
        cut[n - 1 - i] = x;
    }
    b->n = n - 1;
}

void buckets_free(struct buckets *b)
{
    free(b->begin);
    *b = (struct buckets){ 0 };
}

int bucket_of(const struct buckets *b, int64_t at)
{
    int i = b->n - 1;
    while (b->begin[i] > at) i--;
    return i;
}

void bucket_part(const struct buckets *b, int i, int ranks, int r, int64_t *begin, int64_t *end)
{
    int64_t count = b->begin[b->n], lo = b->begin[i], hi = b->begin[i + 1];
    *begin = MIN(MAX(shard_begin(count, ranks, r), lo), hi);
    *end = MIN(MAX(shard_begin(count, ranks, r + 1), lo), hi);
}
