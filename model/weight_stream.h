/* weight_stream.h: a forward pass under weights in host memory (dev_host_alloc): while a layer is computed the next one
 * is brought to the device, so that only two layers lie there, and the embedding or the head. The same bits. */
#pragma once
#include "model/arena.h"
#include "model/model.h"

struct weight_stream {
    const struct model *m;          /* layout of the weights */
    elem_t *slot[2];                /* a layer each */
    elem_t *outer;                  /* untied: the embedding, then the final norm and the head; tied: all of them */
    int64_t back;                   /* where the norm lies in outer, elements */
};

/* For models of this layout. Device memory from the arena, which may be dry. */
void weight_stream_make(struct weight_stream *s, const struct model *m, struct arena *a);
/* Elements of one layer, and of outer. */
int64_t weight_stream_layer(const struct model *m);
int64_t weight_stream_outer(const struct model *m);

/* For forward.c and head.c: a pointer p such that p + at is weight number `at`, for those of layer l; for the
 * embedding, the norm and the head. With m->stream a pass begins with weights_begin, takes the layers in their order
 * and then weights_end; the head stays until the next pass. Without: m->w. */
void weights_begin(const struct model *m);
const elem_t *weights_of_layer(const struct model *m, int l);
void weights_end(const struct model *m);
const elem_t *weights_outer(const struct model *m, int64_t at);
