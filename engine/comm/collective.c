/* collective.c: the collectives as messages between pairs of ranks, so that sums do not depend on how an MPI adds up:
 * element i is added up by one rank, in the order of the ranks. Each rank sends and receives (ranks - 1) / ranks of the
 * bytes of a reduce-scatter or gather, and twice that of a sum, which is the least there is. */
#include "engine/comm/comm_in.h"
#include "base/arith.h"
#include "base/clock.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    LANE = 8,                           /* messages in flight, each way */
    SMALL = 65536,                      /* bytes below which a broadcast goes down a tree whole */
    LEAST_PIECE = 65536,
    ROUNDS = 4,                         /* of a sum, in flight */
    SUM_BYTES = 64 << 20                /* what a sum may hold of the other ranks' pieces */
};
static struct {
    int rank, ranks;
    size_t piece;
    char *others;                       /* those pieces: kept from one sum to the next */
    size_t others_bytes;
} here;

/* MPI is asked again and again, because it cannot wake a thread: a few times at once, then after sleeps that grow from
 * 20 us to 1 ms and, when the wait is long, to 2 % of it or 5 ms. A question costs 20 us of processor time, so a rank
 * that waits for a slower one takes 0.5 % of its core. sched_yield() instead of the first sleeps costs milliseconds
 * where the core has other work: a thread that yields goes behind it, one that wakes does not. */
struct pause { int turns; double begun; };
static void pause_once(struct pause *p)
{
    if (p->turns++ < 10) return;
    const double now = seconds();
    if (p->turns == 11) p->begun = now;
    const double t = now - p->begun, s = MAX(20e-6, MAX(MIN(1e-3, t / 8), MIN(5e-3, t / 50)));
    nanosleep(&(struct timespec){ 0, (long)(s * 1e9) }, NULL);
}

static void wait_for(struct wire *w, int n)
{
    struct pause p = { 0 };
    for (int i = 0; i < n; i++) while (!wire_done(&w[i])) pause_once(&p);
}

/* ---- bytes to and from all other ranks ---- */

/* One direction: in step k a rank sends to the k-th rank after it and receives from the k-th before it. */
struct lane {
    bool sends;
    char *p;
    const size_t *begin;                /* of rank r: p[begin[r] .. begin[r + 1]); NULL: */
    size_t from, to;                    /* the same p[from .. to) for all */
    int step;
    size_t at;
    struct wire wire[LANE];
};

/* Fills free places with the next pieces: whether any is in flight or left. */
static bool lane_go(struct lane *l, bool *moved)
{
    bool busy = false;
    for (int i = 0; i < LANE; i++) {
        if (!wire_done(&l->wire[i])) { busy = true; continue; }
        while (l->step < here.ranks) {
            const int peer = (here.rank + (l->sends ? l->step : here.ranks - l->step)) % here.ranks;
            const size_t from = l->begin ? l->begin[peer] : l->from, to = l->begin ? l->begin[peer + 1] : l->to;
            if (from + l->at >= to) {
                l->step++;
                l->at = 0;
                continue;
            }
            const size_t n = MIN(here.piece, to - from - l->at);
            if (l->sends) wire_send(&l->wire[i], peer, l->p + from + l->at, n);
            else wire_recv(&l->wire[i], peer, l->p + from + l->at, n);
            l->at += n;
            busy = *moved = true;
            break;
        }
    }
    return busy;
}

static void lanes_run(struct lane *out, struct lane *in)
{
    struct pause p = { 0 };
    out->sends = true;
    out->step = in->step = 1;
    for (bool a = true, b = true; a || b;) {
        bool moved = false;
        a = lane_go(out, &moved);
        b = lane_go(in, &moved);
        if (moved) p.turns = 0;
        else if (a || b) pause_once(&p);
    }
}

static void gather(char *x, const size_t *begin)
{
    struct lane out = { .p = x, .from = begin[here.rank], .to = begin[here.rank + 1] },
                in = { .p = x, .begin = begin };
    lanes_run(&out, &in);
}

static void gather_parts(struct comm_parts *parts, const void *p, size_t bytes)
{
    const size_t ranks = (size_t)here.ranks;
    size_t *at = xcalloc(ranks + 1, sizeof *at), *n = xcalloc(ranks, sizeof *n);
    parts->begin = xcalloc(ranks + 1, sizeof *parts->begin);
    for (size_t r = 0; r <= ranks; r++) at[r] = r * sizeof *n;
    n[here.rank] = bytes;
    gather((char *)n, at);
    for (size_t r = 0; r < ranks; r++) parts->begin[r + 1] = parts->begin[r] + n[r];
    parts->p = xmalloc(parts->begin[ranks] + 1);
    if (bytes) memcpy(parts->p + parts->begin[here.rank], p, bytes);
    gather(parts->p, parts->begin);
    free(at);
    free(n);
}

static void exchange(struct op *o)
{
    struct lane out = { .p = (char *)(uintptr_t)o->in, .begin = o->in_begin }, in = { .p = o->p, .begin = o->begin };
    const size_t own = o->in_begin[here.rank], n = o->in_begin[here.rank + 1] - own;
    if (n) memcpy((char *)o->p + o->begin[here.rank], (const char *)o->in + own, n);
    lanes_run(&out, &in);
}

/* In round k every rank hears from the one 2^k before it: after log2(ranks) rounds of all. */
static void barrier(void)
{
    char out = 0, in;
    for (int k = 1; k < here.ranks; k *= 2) {
        struct wire w[2] = { 0 };
        wire_recv(&w[0], (here.rank + here.ranks - k) % here.ranks, &in, 1);
        wire_send(&w[1], (here.rank + k) % here.ranks, &out, 1);
        wait_for(w, 2);
    }
}

/* Down a binomial tree whose root is rank `root`. */
static void bcast_small(char *p, size_t bytes, int root)
{
    const int me = (here.rank + here.ranks - root) % here.ranks;
    int k = 1;
    struct wire w = { 0 };
    while (k < here.ranks && !(me & k)) k *= 2;
    if (me) {
        wire_recv(&w, (me - k + root) % here.ranks, p, bytes);
        wait_for(&w, 1);
    }
    for (k /= 2; k > 0; k /= 2)
        if (me + k < here.ranks) {
            wire_send(&w, (me + k + root) % here.ranks, p, bytes);
            wait_for(&w, 1);
        }
}

static size_t *equal_parts(size_t n, size_t unit)
{
    size_t *begin = xmalloc(((size_t)here.ranks + 1) * sizeof *begin);
    for (size_t r = 0; r <= (size_t)here.ranks; r++) begin[r] = n / unit * r / (size_t)here.ranks * unit;
    begin[here.ranks] = n;
    return begin;
}

/* A large one: the root sends each rank a part, then all exchange the parts. */
static void bcast(char *p, size_t bytes, int root)
{
    if (bytes <= MIN(here.piece, (size_t)SMALL)) {
        if (bytes) bcast_small(p, bytes, root);
        return;
    }
    size_t *begin = equal_parts(bytes, 1);
    struct lane out = { .p = p, .begin = begin }, in = { .p = p };
    size_t *only = xcalloc((size_t)here.ranks + 1, sizeof *only);
    const size_t own = begin[here.rank], n = begin[here.rank + 1] - own;
    if (here.rank != root) {
        out.begin = NULL;
        for (int r = root; r < here.ranks; r++) only[r + 1] = n;
        in.p = p + own;
    }
    in.begin = only;
    lanes_run(&out, &in);
    gather(p, begin);
    free(only);
    free(begin);
}

/* ---- sums ---- */

void sum_in_order(acc_t *x, const acc_t *const *from, int ranks, size_t n)
{
    enum { BLOCK = 1024 };                               /* elements that stay in the first cache */
    acc_t s[BLOCK];
    for (size_t at = 0; at < n; at += BLOCK) {
        const size_t m = MIN(n - at, (size_t)BLOCK);
        memcpy(s, from[0] + at, m * sizeof *s);
        for (int r = 1; r < ranks; r++) {
            const acc_t *y = from[r] + at;
            for (size_t i = 0; i < m; i++) s[i] += y[i];
        }
        memcpy(x + at, s, m * sizeof *s);
    }
}

static void sum_doubles_in_order(double *x, const double *const *from, int ranks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double s = from[0][i];                           /* x may be one of them */
        for (int r = 1; r < ranks; r++) s += from[r][i];
        x[i] = s;
    }
}

/* Round k is piece k of every rank's part: a rank receives the others' numbers for its own part and sends its numbers
 * for theirs. Several rounds are in flight, so that one is summed while the next ones come. */
struct rounds {
    char *x;
    const size_t *begin;
    size_t piece;
    bool doubles;                       /* else acc_t */
    char *other[ROUNDS];                /* [ranks][piece] */
    struct wire *wire[ROUNDS];          /* [2 ranks] */
};

static size_t part_of(const struct rounds *t, int r, size_t k, size_t *n)
{
    const size_t from = t->begin[r] + k * t->piece, to = t->begin[r + 1];
    *n = from < to ? MIN(t->piece, to - from) : 0;
    return from;
}

static void round_begin(struct rounds *t, size_t k)
{
    size_t n, mine;
    struct wire *w = t->wire[k % ROUNDS];
    part_of(t, here.rank, k, &mine);
    for (int step = 1; step < here.ranks; step++) {
        const int to = (here.rank + step) % here.ranks, from = (here.rank + here.ranks - step) % here.ranks;
        if (mine) wire_recv(&w[2 * step], from, t->other[k % ROUNDS] + (size_t)from * t->piece, mine);
        const size_t at = part_of(t, to, k, &n);
        if (n) wire_send(&w[2 * step + 1], to, t->x + at, n);
    }
}

/* from: [ranks], to work with. */
static void round_end(struct rounds *t, size_t k, const void **from)
{
    size_t n;
    wait_for(t->wire[k % ROUNDS], 2 * here.ranks);
    void *x = t->x + part_of(t, here.rank, k, &n);
    if (!n) return;
    for (int r = 0; r < here.ranks; r++)
        from[r] = r == here.rank ? x : t->other[k % ROUNDS] + (size_t)r * t->piece;
    if (t->doubles) sum_doubles_in_order(x, (const double *const *)(void *)from, here.ranks, n / sizeof(double));
    else sum_in_order(x, (const acc_t *const *)(void *)from, here.ranks, n / sizeof(acc_t));
}

static size_t round_bytes(size_t longest)
{
    const size_t most = MAX((size_t)LEAST_PIECE, SUM_BYTES / ROUNDS / (size_t)here.ranks);
    return (size_t)round_up((int64_t)MIN(MIN(here.piece, most), longest), sizeof(double));
}

static void reduce_scatter(char *x, const size_t *begin, bool doubles)
{
    const size_t ranks = (size_t)here.ranks;
    size_t longest = 0;
    for (size_t r = 0; r < ranks; r++) longest = MAX(longest, begin[r + 1] - begin[r]);
    if (!longest) return;
    struct rounds t = { .x = x, .begin = begin, .doubles = doubles, .piece = round_bytes(longest) };
    const size_t n = (longest + t.piece - 1) / t.piece, held = MIN(n, (size_t)ROUNDS) * ranks * t.piece;
    if (held > here.others_bytes) {
        free(here.others);
        here.others = xmalloc(here.others_bytes = held);
    }
    for (size_t i = 0; i < MIN(n, (size_t)ROUNDS); i++) {
        t.other[i] = here.others + i * ranks * t.piece;
        t.wire[i] = xcalloc(2 * ranks, sizeof(struct wire));
    }
    const void **from = xmalloc(ranks * sizeof *from);
    for (size_t k = 0; k < n + ROUNDS - 1; k++) {
        if (k < n) round_begin(&t, k);
        if (k >= ROUNDS - 1) round_end(&t, k - (ROUNDS - 1), from);
    }
    free(from);
    for (int i = 0; i < ROUNDS; i++) free(t.wire[i]);
}

void collective_run(struct op *o)
{
    switch (o->kind) {
    case COMM_OPEN:
        *o->ok = transport_open(&here.rank, &here.ranks, o->e);
        here.piece = (size_t)o->root;
        memcpy(o->p, (int[2]){ here.rank, here.ranks }, 2 * sizeof(int));
        break;
    case COMM_BARRIER: barrier(); break;
    case COMM_BCAST: bcast(o->p, o->bytes, o->root); break;
    case COMM_GATHER:
        if (o->parts) gather_parts(o->parts, o->in, o->bytes);
        else gather(o->p, o->begin);
        break;
    case COMM_SUM: {
        size_t *begin = equal_parts(o->bytes, o->doubles ? sizeof(double) : sizeof(acc_t));
        reduce_scatter(o->p, begin, o->doubles);
        gather(o->p, begin);
        free(begin);
        break;
    }
    case COMM_REDUCE_SCATTER: reduce_scatter(o->p, o->begin, false); break;
    case COMM_EXCHANGE: exchange(o); break;
    case COMM_CLOSE:
        transport_close();
        free(here.others);
        here.others = NULL;
        here.others_bytes = 0;
        break;
    }
}
