/* optimizer.c: with l->offload the state stays in pinned host memory and AdamW walks over it in pieces: while a piece
 * is computed the next one comes in and the last one goes back, each through a queue of its own, so a step takes as
 * long as the copies in one direction: by count 1.8 s for 7.6 thousand million weights of 12 bytes at 50 GB/s. */
#include "engine/learner/optimizer.h"
#include "base/arith.h"
#include "base/err.h"
#include "kernels/ops.h"
#include <stdlib.h>

/* Weights of a piece: at most this many, 48 MiB of floats in each direction, and an eighth of small models. */
enum { PIECE_MOST = 4 << 20, PIECE_UNIT = 4096, PIECES_LEAST = 8 };

static size_t moment_size(const struct learner *l) { return l->bf16_moments ? sizeof(uint16_t) : sizeof(acc_t); }

static int64_t piece_of(int64_t n)
{
    int64_t least = ceil_div(ceil_div(n, PIECES_LEAST), PIECE_UNIT) * PIECE_UNIT;
    return MAX(MIN(least, (int64_t)PIECE_MOST), (int64_t)PIECE_UNIT);
}

static size_t padded(size_t bytes) { return (bytes + 255) / 256 * 256; }

void optimizer_lay_out(struct learner *l, struct arena *a)
{
    bool master = a->elem_bytes != sizeof(acc_t) && !l->no_master;
    size_t moments = (size_t)l->state_n * moment_size(l), weights = master ? (size_t)l->state_n * sizeof(acc_t) : 0;
    if (!l->offload) {
        l->adam1 = arena_get(a, moments, "AdamW first moment");
        l->adam2 = arena_get(a, moments, "AdamW second moment");
        l->master = master ? arena_get(a, weights, "master weights") : NULL;
        return;
    }
    l->host_bytes = 2 * padded(moments) + padded(weights);
    l->piece = piece_of(l->state_n);
    for (int i = 0; i < 2; i++) {
        l->slot[i].adam1 = arena_get(a, (size_t)l->piece * moment_size(l), "AdamW pieces");
        l->slot[i].adam2 = arena_get(a, (size_t)l->piece * moment_size(l), "AdamW pieces");
        l->slot[i].master = master ? arena_get(a, (size_t)l->piece * sizeof(acc_t), "AdamW pieces") : NULL;
    }
}

void optimizer_open(struct learner *l)
{
    const struct model *m = l->m;
    size_t moments = (size_t)l->state_n * moment_size(l), weights = (size_t)l->state_n * sizeof(acc_t);
    if (l->offload) {
        char *p = l->host = dev_host_alloc(l->host_bytes);
        l->adam1 = p;
        l->adam2 = p + padded(moments);
        bool master = sizeof(elem_t) != sizeof(acc_t) && !l->no_master;
        l->master = master ? (acc_t *)(void *)(p + 2 * padded(moments)) : NULL;
    }
    dev_zero(l->adam1, moments);
    dev_zero(l->adam2, moments);
    if (!l->master) return;
    acc_t *x = xmalloc(weights);
    model_get(x, m->w + l->state_from, l->state_n);
    dev_put(l->master, x, weights);
    free(x);
}

void optimizer_close(struct learner *l)
{
    dev_host_free(l->host);
    l->host = NULL;
}

/* The state of weight number `from` and of those behind it, on the device. */
struct state_at {
    void *adam1, *adam2;
    acc_t *master;
    int64_t from;
};

static void adamw(struct learner *l, const struct state_at *s, int64_t at, int64_t n, struct adamw *a)
{
    int64_t i = at - s->from;
    const acc_t *g = l->g + (at - l->g_from);
    acc_t *master = s->master ? s->master + i : NULL;
    a->key = (struct round_key){ l->seed, at };
    if (!l->bf16_moments)
        op_adamw(l->m->w + at, master, g, (acc_t *)s->adam1 + i, (acc_t *)s->adam2 + i, n, a);
    else
        op_adamw_bf16(l->m->w + at, master, g, (uint16_t *)s->adam1 + i, (uint16_t *)s->adam2 + i, n, a);
}

/* The weights [s->from, to), tensor by tensor, as decay differs. */
static void step(struct learner *l, const struct state_at *s, int64_t to, const struct optim_rule *o, struct adamw a)
{
    for (int i = 0; i < l->m->params; i++) {
        const struct param *p = &l->m->param[i];
        int64_t lo = MAX(p->at, s->from), hi = MIN(p->at + param_count(p), to);
        a.decay = p->decay || o->decay_all ? o->decay : 0;
        if (lo < hi) adamw(l, s, lo, hi - lo, &a);
    }
}

/* Copies piece k between its place in host memory and its slot. */
static void piece_copy(struct learner *l, enum dev_queue q, int64_t k)
{
    const int64_t at = k * l->piece, n = MIN(l->piece, l->state_n - at);
    const size_t size = moment_size(l), moments = (size_t)n * size;
    const struct optimizer_slot *s = &l->slot[k % 2];
    char *host[3] = { (char *)l->adam1 + (size_t)at * size, (char *)l->adam2 + (size_t)at * size,
                      (char *)(l->master ? l->master + at : NULL) };
    void *dev[3] = { s->adam1, s->adam2, s->master };
    for (int i = 0; i < (l->master ? 3 : 2); i++) {
        size_t bytes = i < 2 ? moments : (size_t)n * sizeof(acc_t);
        if (q == DEV_IN) dev_copy_on(q, dev[i], host[i], bytes);
        else dev_copy_on(q, host[i], dev[i], bytes);
    }
}

/* Piece k + 1 comes in while piece k is computed; it has the slot of piece k - 1, which must have gone back. */
static void step_in_pieces(struct learner *l, const struct optim_rule *o, struct adamw a)
{
    const int64_t pieces = ceil_div(l->state_n, l->piece);
    dev_order(DEV_IN, DEV_OUT);
    piece_copy(l, DEV_IN, 0);
    for (int64_t k = 0; k < pieces; k++) {
        const struct optimizer_slot *slot = &l->slot[k % 2];
        struct state_at s = { slot->adam1, slot->adam2, slot->master, l->state_from + k * l->piece };
        dev_order(DEV_MAIN, DEV_IN);
        if (k + 1 < pieces) {
            dev_order(DEV_IN, DEV_OUT);
            piece_copy(l, DEV_IN, k + 1);
        }
        step(l, &s, MIN(s.from + l->piece, l->state_from + l->state_n), o, a);
        dev_order(DEV_OUT, DEV_MAIN);
        piece_copy(l, DEV_OUT, k);
    }
}

void optimizer_step(struct learner *l, const struct optim_rule *o, struct adamw a)
{
    struct state_at all = { l->adam1, l->adam2, l->master, l->state_from };
    if (l->offload) step_in_pieces(l, o, a);
    else step(l, &all, l->state_from + l->state_n, o, a);
}
