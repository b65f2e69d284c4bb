/* backward.h: gradients of the weights from the gradient of the final hidden states. head_back (head.h) comes
 * before. */
#pragma once
#include "model/forward.h"

/* From dhidden[n][dim] (destroyed): g += gradient of every parameter but the head matrix, whose gradient head_back has
 * added. Call after model_forward on the same batch. */
void model_backward(const struct model *m, struct acts *s, const struct batch *b, const elem_t *dhidden, acc_t *g);

/* Where a gradient goes that is not one vector, or is sent on while it is computed. It is complete from the end of the
 * flat vector on: norm and head first, then layer by layer, the embedding last (a tied head's gradient with it). */
struct grad_sink {
    acc_t *(*at)(void *ctx, int64_t from);      /* the vector that the tensors at `from` lie in, as if it were whole */
    void (*done)(void *ctx, int64_t from);      /* weights from `from` on have their gradient */
    void *ctx;
};
/* model_backward into a sink. */
void model_backward_to(const struct model *m, struct acts *s, const struct batch *b, const elem_t *dhidden,
                       const struct grad_sink *to);
