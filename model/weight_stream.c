/* weight_stream.c: copies of weights go through DEV_IN. A slot is written when all that was queued on the main queue
 * before is done: the layer that it held is then behind us. A layer keeps its place modulo 256 bytes, so that products
 * choose as they do with all weights in place. */
#include "model/weight_stream.h"
#include "base/arith.h"

enum { PLACE = 256 / sizeof(elem_t) };

static int64_t layer_begin(const struct model *m, int l) { return l < m->c.layers ? m->layer[l].norm1 : m->norm; }
static int64_t place(int64_t at) { return at % PLACE; }

int64_t weight_stream_layer(const struct model *m)
{
    int64_t most = 0;
    for (int l = 0; l < m->c.layers; l++) most = MAX(most, layer_begin(m, l + 1) - layer_begin(m, l));
    return most + PLACE;
}

static int64_t front_elems(const struct model *m) { return layer_begin(m, 0); }
static int64_t back_elems(const struct model *m) { return m->count - m->norm; }
/* Tied: the embedding is the head, so the norm comes behind it. */
static int64_t back_at(const struct model *m)
{
    int64_t after = m->c.tied ? (front_elems(m) + PLACE - 1) / PLACE * PLACE : 0;
    return after + place(m->norm);
}

int64_t weight_stream_outer(const struct model *m) { return MAX(front_elems(m), back_at(m) + back_elems(m)); }

void weight_stream_make(struct weight_stream *s, const struct model *m, struct arena *a)
{
    *s = (struct weight_stream){ .m = m, .back = back_at(m) };
    for (int i = 0; i < 2; i++) s->slot[i] = arena_elems(a, weight_stream_layer(m), "layers of a copy");
    s->outer = arena_elems(a, weight_stream_outer(m), "embedding or head of a copy");
}

static void bring(elem_t *to, const struct model *m, int64_t from, int64_t n)
{
    dev_copy_on(DEV_IN, to, m->w + from, (size_t)n * sizeof *to);
}

static void bring_layer(const struct model *m, int l)
{
    int64_t from = layer_begin(m, l);
    bring(m->stream->slot[l % 2] + place(from), m, from, layer_begin(m, l + 1) - from);
}

void weights_begin(const struct model *m)
{
    if (!m->stream) return;
    dev_order(DEV_IN, DEV_MAIN);
    bring(m->stream->outer, m, 0, front_elems(m));
    bring_layer(m, 0);
    dev_order(DEV_MAIN, DEV_IN);
}

const elem_t *weights_of_layer(const struct model *m, int l)
{
    struct weight_stream *s = m->stream;
    if (!s) return m->w;
    dev_order(DEV_MAIN, DEV_IN);
    dev_order(DEV_IN, DEV_MAIN);
    if (l + 1 < m->c.layers) bring_layer(m, l + 1);
    else bring(s->outer + s->back, m, m->norm, back_elems(m));
    int64_t from = layer_begin(m, l);
    return s->slot[l % 2] + place(from) - from;
}

void weights_end(const struct model *m) { if (m->stream) dev_order(DEV_MAIN, DEV_IN); }

const elem_t *weights_outer(const struct model *m, int64_t at)
{
    const struct weight_stream *s = m->stream;
    return !s ? m->w : at < m->norm ? s->outer : s->outer + s->back - m->norm;
}
