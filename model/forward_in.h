/* forward_in.h: what forward.c and backward.c share: a layer's list of calls, and the rows that it runs on. Private to
 * model/. */
#pragma once
#include "model/forward.h"

/* The rows of a forward pass. plan set: they attend over the packed tree; plan NULL: over pages, through table. pool
 * set: keys and values are also written to slot. */
struct pass {
    int64_t n;
    const int *pos;
    const struct attn_plan *plan;
    elem_t *pool;
    int64_t layer_stride;
    const int64_t *slot;
    int copies;
    const int *table;
    int ld;
};

/* Layer l from its normalised input x1 to ff_act, whose down projection is the layer's output. The backward pass reads
 * what this leaves in the layer's activations. */
void layer_run(const struct model *m, const struct acts *s, int l, const struct pass *at);
/* For the backward pass: what s->recompute did not keep of the layer. */
void layer_again(const struct model *m, const struct acts *s, int l, const struct pass *at);
