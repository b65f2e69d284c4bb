/* bench_operands.c: operands of the benchmarks: random numbers, ids and copies, freed together. */
#include "eval/bench/bench_in.h"
#include "base/arith.h"
#include "base/philox.h"
#include <stdlib.h>

enum { BLOCK = (1 << 20) + 7 };     /* no row length divides it, so that rows differ */

static void *own(struct bench *b, void *p, bool host)
{
    ENSURE(b->owns < (int)(sizeof b->owned / sizeof *b->owned));
    b->on_host[b->owns] = host;
    return b->owned[b->owns++] = p;
}

void bench_drop(struct bench *b)
{
    while (b->owns--) {
        if (b->on_host[b->owns]) free(b->owned[b->owns]);
        else dev_free(b->owned[b->owns]);
    }
    b->owns = 0;
}

/* `bytes` bytes on the device: the first `unit` bytes are given, the rest repeats them, so that 5 GB of logits do not
 * take the host a minute. */
static void *repeated(struct bench *b, const void *block, size_t unit, size_t bytes)
{
    char *p = own(b, dev_alloc(bytes ? bytes : 1), false);
    dev_put(p, block, MIN(unit, bytes));
    for (size_t have = unit; have < bytes; have *= 2) dev_copy(p + have, p, MIN(have, bytes - have));
    return p;
}

elem_t *bench_elems(struct bench *b, int64_t n, double scale)
{
    const int64_t unit = MIN(n, BLOCK);
    elem_t *block = xmalloc((size_t)(unit + 1) * sizeof *block);
    for (int64_t i = 0; i < unit; i++) block[i] = elem_from((rng_uniform(b->rng) - 0.5) * scale);
    elem_t *x = repeated(b, block, (size_t)unit * sizeof *block, (size_t)n * sizeof *x);
    free(block);
    return x;
}

static acc_t *host_accs(struct rng *rng, int64_t n, double low, double high)
{
    acc_t *x = xmalloc((size_t)(n + 1) * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (acc_t)(low + rng_uniform(rng) * (high - low));
    return x;
}

acc_t *bench_accs(struct bench *b, int64_t n, double low, double high)
{
    const int64_t unit = MIN(n, BLOCK);
    acc_t *block = host_accs(b->rng, unit, low, high),
          *x = repeated(b, block, (size_t)unit * sizeof *block, (size_t)n * sizeof *x);
    free(block);
    return x;
}

int *bench_ids(struct bench *b, int64_t n, int below)
{
    int *h = xmalloc((size_t)(n + 1) * sizeof *h);
    for (int64_t i = 0; i < n; i++) h[i] = (int)rng_below(b->rng, (uint32_t)below);
    int *x = bench_put(b, h, (size_t)n * sizeof *h);
    free(h);
    return x;
}

void *bench_put(struct bench *b, const void *host, size_t bytes)
{
    void *p = own(b, dev_alloc(bytes ? bytes : 1), false);
    dev_put(p, host, bytes);
    dev_sync();
    return p;
}

acc_t *bench_host_accs(struct bench *b, int64_t n, double low, double high)
{
    return own(b, host_accs(b->rng, n, low, high), true);
}
void *bench_host(struct bench *b, size_t bytes) { return own(b, xcalloc(1, bytes ? bytes : 1), true); }
