/* shares.h: which trajectories of a mini-batch each rank trains on. A function of what every rank holds. */
#pragma once
#include "engine/train/update_batch.h"

/* The trajectories in the loss, rank by rank: those of rank r are k[begin[r] .. begin[r + 1]), indices in the batch.
 * rows[r]: the rows of its packs if they had room for all; more where a rank got two parts of a prompt. */
struct shares {
    int *k;
    int *begin;                     /* [ranks + 1] */
    int64_t *rows;                  /* [ranks] */
};
/* f is made of g[0 .. groups). The trajectories of a prompt stay together, because packs compute shared tokens once;
 * prompts are cut only where that evens out the ranks. One rank gets its trajectories in the order of the batch. With
 * actor.grad_sum=exact no prompt is cut, and one rank too gets them prompt by prompt. */
void shares_make(struct shares *s, const struct update_batch *f, const struct config *c, const struct group *g,
                 int groups, int ranks);
void shares_free(struct shares *s);
