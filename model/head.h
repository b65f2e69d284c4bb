/* head.h: the head, i.e. the output matrix: hidden states to logits, and the gradients back. Logits exist for one chunk
 * of rows at a time, never for a whole batch. */
#pragma once
#include "model/model.h"

/* Elements from one row of logits to the next: the vocabulary rounded up to a multiple of 16. */
static inline int64_t logits_ld(int vocab) { return ((int64_t)vocab + 15) & ~(int64_t)15; }
static inline int64_t vocab_ld(const struct model *m) { return logits_ld(m->c.vocab); }

/* Rows of logits in a chunk: as many as fit 64 MiB, but at least `least` and at most `most`. */
int64_t logits_chunk(int vocab, size_t elem_bytes, int64_t least, int64_t most);

/* logits[n][vocab_ld] of the rows row[n] of hidden (row NULL: the first n). x[n][dim] is scratch that keeps the
 * gathered rows for head_back. */
void head_forward(const struct model *m, elem_t *logits, elem_t *x, const elem_t *hidden, const int *row, int64_t n);

/* From dlogits: dx[n][dim] and g += gradient of the head matrix. */
void head_back(const struct model *m, elem_t *dx, const elem_t *dlogits, const elem_t *x, int64_t n, acc_t *g);
