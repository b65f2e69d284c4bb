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

/* Layer l from its normalised input x1 on; the output is left in s->branch_out. */
void layer_run(const struct model *m, const struct acts *s, int l, const struct pass *at);
