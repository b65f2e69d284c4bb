/* backward.h: gradients of the weights from the gradient of the final hidden states. head_back (head.h) comes
 * before. */
#pragma once
#include "model/forward.h"

/* From dhidden[n][dim] (destroyed): g += gradient of every parameter but the head matrix, whose gradient head_back has
 * added. Call after model_forward on the same batch. */
void model_backward(const struct model *m, struct acts *s, const struct batch *b, const elem_t *dhidden, acc_t *g);
