/* reduce.h: the gradient of a mini-batch over the ranks: where the backward pass puts it and how it is summed, bucket
 * by bucket, while the backward pass of the last pack runs. Buckets are sent in the same order on every rank, whatever
 * its packs. Parts of learner.c. */
#pragma once
#include "engine/learner/learner.h"
#include "model/backward.h"

/* Lays out the gradient: of all weights or, with zero 2, of this rank's and three buckets. */
void reduce_lay_out(struct learner *l, struct arena *a);
/* Before the packs of a mini-batch, `packs` on this rank; -1: nothing is summed. With zero 2 a collective. */
void reduce_begin(struct learner *l, int packs);
/* Where a pack's backward pass puts its gradient. */
struct grad_sink reduce_sink(struct learner *l);
/* After each pack. */
void reduce_pack(struct learner *l);
/* Sends what no pack has sent. */
void reduce_end(struct learner *l);
/* Waits for the sums: afterwards l->g is right in the range of this rank (zero 0: all of it). */
void reduce_wait(struct learner *l);
