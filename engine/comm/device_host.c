/* device_host.c: collectives on device memory by way of host memory. */
#include "engine/comm/comm.h"
#include "engine/comm/comm_in.h"
#include <stdlib.h>
#include <string.h>

static void *fetch(const void *x, size_t bytes)
{
    void *p = xmalloc(bytes + 1);
    dev_get(p, x, bytes);
    return p;
}

/* Sums x[from .. to) over the ranks, in their order. */
static void sum_range(acc_t *x, int64_t from, int64_t to)
{
    struct comm_parts all;
    size_t n = (size_t)(to - from);
    acc_t *mine = fetch(x + from, n * sizeof *x);
    comm_gather(&all, mine, n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        const acc_t *y = (const acc_t *)(const void *)all.p;
        acc_t s = y[i];
        for (int r = 1; r < comm_ranks(); r++) s += y[(size_t)r * n + i];
        mine[i] = s;
    }
    dev_put(x + from, mine, n * sizeof *x);
    comm_parts_free(&all);
    free(mine);
}

void comm_dev_sum(acc_t *x, int64_t n) { if (comm_ranks() > 1) sum_range(x, 0, n); }

void comm_dev_reduce_scatter(acc_t *x, const int64_t *begin)
{
    for (int r = 0; comm_ranks() > 1 && r < comm_ranks(); r++) sum_range(x, begin[r], begin[r + 1]);
}

void comm_dev_gather(void *x, const size_t *begin)
{
    int n = comm_ranks(), me = comm_rank();
    if (n == 1) return;
    size_t bytes = begin[me + 1] - begin[me];
    char *mine = fetch((char *)x + begin[me], bytes), *all = xmalloc(begin[n] + 1);
    transport_gather(all, begin, mine, bytes);
    dev_put((char *)x + begin[0], all + begin[0], begin[n] - begin[0]);
    free(mine);
    free(all);
}

void comm_dev_bcast(void *x, size_t bytes, int root)
{
    if (comm_ranks() == 1) return;
    char *p = fetch(x, bytes);
    transport_bcast(p, bytes, root);
    dev_put(x, p, bytes);
    free(p);
}

void comm_dev_exchange(void *out, const size_t *out_begin, const void *in, const size_t *in_begin)
{
    int n = comm_ranks();
    char *from = fetch(in, in_begin[n]), *to = xmalloc(out_begin[n] + 1);
    if (n > 1) transport_exchange(to, out_begin, from, in_begin);
    else memcpy(to, from, in_begin[1]);
    dev_put(out, to, out_begin[n]);
    free(from);
    free(to);
}

int64_t comm_mark(void) { return 0; }
void comm_wait(int64_t mark) { (void)mark; }
