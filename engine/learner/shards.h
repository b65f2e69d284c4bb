/* shards.h: how the flat vector of the weights is cut: into one range a rank (of the optimizer's state and, with
 * actor.zero=2, of the gradient), and into the buckets in which gradients are summed over the ranks. Functions of
 * shapes and counts alone. */
#pragma once
#include "model/model.h"

/* First weight of the range of rank r; r = ranks: count. A multiple of 64 weights, 256 bytes of floats. The last ranges
 * are shorter, or empty. */
int64_t shard_begin(int64_t count, int ranks, int r);

/* Bucket i is the weights [begin[i], begin[i + 1]). The backward pass completes the last one first. Whole layers, at
 * least 32 MiB of gradient or an eighth of all; the embedding is bucket 0, and a head of its own the last one. */
struct buckets {
    int n;
    int64_t *begin;                     /* [n + 1] */
};
void buckets_make(struct buckets *b, const struct model *m);
void buckets_free(struct buckets *b);
int bucket_of(const struct buckets *b, int64_t at);
/* Weights of bucket i that are in the range of rank r: begin <= end; both are in the bucket. */
void bucket_part(const struct buckets *b, int i, int ranks, int r, int64_t *begin, int64_t *end);
