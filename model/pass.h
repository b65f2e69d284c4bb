/* pass.h: what forward.c and backward.c share: one layer's list of calls and where its keys and values are. Private to
 * model/. */
#pragma once
#include "model/model.h"

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* plan set: rows attend over the packed tree; plan NULL: over pages. pool set: keys and values are also written to
 * slot[]. */
struct where {
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

void layer_run(const struct model *m, const struct acts *s, int l, const struct where *at);
