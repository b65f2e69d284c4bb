/* reduce.c: with zero 0 and 1 packs add to one gradient, whose buckets are summed during the last pack. With zero 2 the
 * whole gradient never exists: each pack's buckets are made in one of three buffers, reduced to the ranks that own them
 * and added to what these have. A rank that has fewer packs than another sends zeros for those it lacks.
 *
 * An exact sum is one of doubles: as long as floats are within a factor of 2^28 of their sum, they add up in double
 * without rounding, and else the order decides its last bit. Each pack's gradient is made in l->g from zero, so it has
 * the same bits on whatever rank it is made. */
#include "engine/learner/reduce.h"
#include "base/arith.h"
#include "base/err.h"
#include "engine/comm/comm.h"
#include "kernels/ops.h"
#include <stdlib.h>

/* Buffer 0 holds the embedding and a head of its own, one after the other; layers take turns in 1 and 2. A tied head's
 * gradient is in the embedding's bucket from the first pass over the logits to the end. */
static int buffer_of(const struct learner *l, int i)
{
    bool head = !l->m->c.tied && i == l->buckets.n - 1;
    return i == 0 || head ? 0 : 1 + i % 2;
}

void reduce_lay_out(struct learner *l, struct arena *a)
{
    int64_t most[3] = { 0 };
    l->g_from = l->zero == 2 ? l->state_from : 0;
    l->g_n = l->zero == 2 ? l->state_n : l->m->count;
    l->g = arena_get(a, (size_t)l->g_n * sizeof *l->g, "gradient");
    if (l->exact) l->sum = arena_get(a, (size_t)l->g_n * sizeof *l->sum, "gradient sum");
    if (l->zero < 2) return;
    for (int i = 0; i < l->buckets.n; i++) {
        int64_t *n = &most[buffer_of(l, i)];
        *n = MAX(*n, l->buckets.begin[i + 1] - l->buckets.begin[i]);
    }
    for (int k = 0; k < 3; k++) l->buffer[k].x = arena_get(a, (size_t)most[k] * sizeof *l->g, "gradient buckets");
}

/* Adds what a bucket's reduction has left of this rank's range, which frees the buffer. */
static void drain(struct learner *l, struct grad_buffer *b)
{
    int64_t from, to;
    if (b->bucket >= 0 && b->sent) {
        comm_wait(b->mark);
        bucket_part(&l->buckets, b->bucket, l->ranks, l->rank, &from, &to);
        op_acc_add(l->g + (from - l->g_from), b->x + (from - l->buckets.begin[b->bucket]), to - from);
    }
    b->bucket = -1;
}

static acc_t *place(void *ctx, int64_t from)
{
    struct learner *l = ctx;
    if (l->zero < 2) return l->g;
    int i = bucket_of(&l->buckets, from);
    int64_t begin = l->buckets.begin[i];
    struct grad_buffer *b = &l->buffer[buffer_of(l, i)];
    if (b->bucket != i || b->sent) {
        drain(l, b);
        dev_zero(b->x, (size_t)(l->buckets.begin[i + 1] - begin) * sizeof *b->x);
        b->bucket = i;
        b->sent = false;
    }
    /* nothing follows the pointers of a dry arena, and 0 minus begin is not one */
    return l->state.dry ? b->x : (acc_t *)(void *)((char *)b->x - (size_t)begin * sizeof *b->x);
}

static void send(struct learner *l, int i)
{
    int64_t lo = l->buckets.begin[i], hi = l->buckets.begin[i + 1], *begin, end;
    struct grad_buffer *b = l->zero == 2 ? &l->buffer[buffer_of(l, i)] : NULL;
    if (l->zero == 0) { comm_dev_sum(l->g + lo, hi - lo); return; }
    begin = xcalloc((size_t)l->ranks + 1, sizeof *begin);
    for (int r = 0; r < l->ranks; r++) {
        bucket_part(&l->buckets, i, l->ranks, r, &begin[r], &end);
        begin[r] -= lo;
    }
    begin[l->ranks] = hi - lo;
    comm_dev_reduce_scatter(b ? b->x : l->g + lo, begin);
    if (b) {
        b->mark = comm_mark();
        b->sent = true;
    }
    free(begin);
}

static void done(void *ctx, int64_t from)
{
    struct learner *l = ctx;
    if (l->ranks == 1 || l->packs < 0 || l->exact || (l->zero < 2 && l->packs > 1)) return;
    while (l->unsent > 0 && l->buckets.begin[l->unsent - 1] >= from) send(l, --l->unsent);
}

struct grad_sink reduce_sink(struct learner *l) { return (struct grad_sink){ place, done, l }; }

void reduce_begin(struct learner *l, int packs)
{
    l->packs = packs;
    l->unsent = l->buckets.n;
    l->rounds = packs < 0 ? 0 : l->zero == 2 ? (int)comm_max(packs) : 1;
    for (int k = 0; k < 3; k++) l->buffer[k].bucket = -1;       /* the warm-up pass has opened some */
    dev_zero(l->g, (size_t)l->g_n * sizeof *l->g);
    if (l->exact) dev_zero(l->sum, (size_t)l->g_n * sizeof *l->sum);
}

void reduce_pack(struct learner *l)
{
    if (l->packs < 0) return;
    ENSURE(l->packs > 0);
    l->packs--;
    if (l->exact) {
        op_sum_add(l->sum, l->g, l->g_n);
        dev_zero(l->g, (size_t)l->g_n * sizeof *l->g);
    }
    if (l->zero < 2) return;
    l->rounds--;
    l->unsent = l->buckets.n;
}

void reduce_end(struct learner *l)
{
    if (l->ranks == 1) return;
    ENSURE(l->packs == 0);
    for (int i = l->buckets.n - 1; l->exact && i >= 0; i--)
        comm_dev_sum_double(l->sum + l->buckets.begin[i], l->buckets.begin[i + 1] - l->buckets.begin[i]);
    if (l->exact) return;
    for (; l->zero == 2 && l->rounds > 0; l->rounds--)
        for (int i = l->buckets.n - 1; i >= 0; i--) {
            place(l, l->buckets.begin[i]);
            send(l, i);
        }
    while (l->zero < 2 && l->unsent > 0) send(l, --l->unsent);
}

void reduce_wait(struct learner *l)
{
    if (l->ranks > 1) {
        ENSURE(l->packs == 0);
        comm_wait(comm_mark());
    }
    if (l->exact && l->packs == 0) op_sum_round(l->g, l->sum, l->g_n);
    for (int k = 0; l->zero == 2 && k < 3; k++) drain(l, &l->buffer[k]);
}
