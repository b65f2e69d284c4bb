/* forward.h: the forward pass on packed trees (training, scoring) and on paged sequences (rollout). A token gets the
 * same bits from both. */
#pragma once
#include "model/acts.h"

/* A packed batch: n tokens of trees in depth-first order. */
struct batch {
    int64_t n;
    const int *ids, *pos;           /* [n], device: token ids and their positions */
    const struct attn_plan *plan;   /* of the trees' end[] */
};

/* Where a forward pass also writes keys and values. copies > 1: a row that several sequences with pages of their own
 * share goes to each. */
struct kv_out {
    elem_t *pool;                   /* the pool of layer l is at pool + l * layer_stride */
    int64_t layer_stride;
    const int64_t *slot;            /* [copies][n], device; -1: not written */
    int copies;
};

/* hidden[n][dim] in s->hidden. kv may be NULL. */
void model_forward(const struct model *m, struct acts *s, const struct batch *b, const struct kv_out *kv);

/* Rollout: n rows, each the next token of a sequence. Row i writes its key and value to slot[i] and attends to the
 * positions 0..pos[i] through table[i][ld]. Rows of one sequence may be in one call (prefill, tool results): keys are
 * written before they are read. */
struct paged {
    int64_t n;
    const int *ids, *pos;           /* [n], device */
    const int64_t *slot;            /* [n], device */
    const int *table;               /* [n][ld], device: pages */
    int ld;
    elem_t *pool;
    int64_t layer_stride;
};

/* hidden[n][dim] in s->hidden; s->max_rows >= n. */
void model_forward_paged(const struct model *m, struct acts *s, const struct paged *p);
