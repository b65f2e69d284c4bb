/* device_host.c: collectives on device memory that MPI can read: the process's own, where a queued operation works in
 * place. A device with other memory goes through a copy, and its calls wait; a build with NCCL has device_nccl.cu
 * instead. */
#include "engine/comm/comm_in.h"
#include "kernels/gemm.h"
#include <stdlib.h>
#include <string.h>

bool device_open(struct err *e)
{
    const char *want = getenv("APPO_COMM");
    if (!want || !*want) return true;
    return fail(e, "APPO_COMM=%s: it is nccl, in a build for GPUs that has NCCL; this one has none", want);
}
void device_close(void) { }

static bool direct(void) { return !strcmp(dev_name(), "cpu"); }

/* The operation on x[0 .. bytes), in place or on a copy. */
static void run(struct op *o, void *x, size_t bytes)
{
    o->p = x;
    if (direct()) {
        stream_put(o);
        return;
    }
    o->p = xmalloc(bytes + 1);
    dev_get(o->p, x, bytes);
    stream_wait(stream_put(o));
    dev_put(x, o->p, bytes);
    free(o->p);
}

void comm_dev_sum(acc_t *x, int64_t n)
{
    const size_t bytes = (size_t)n * sizeof *x;
    if (comm_ranks() > 1) run(&(struct op){ .kind = COMM_SUM, .bytes = bytes }, x, bytes);
}

void comm_dev_sum_double(double *x, int64_t n)
{
    const size_t bytes = (size_t)n * sizeof *x;
    if (comm_ranks() > 1) run(&(struct op){ .kind = COMM_SUM, .bytes = bytes, .doubles = true }, x, bytes);
}

void comm_dev_reduce_scatter(acc_t *x, const int64_t *begin)
{
    const int n = comm_ranks();
    if (n == 1) return;
    size_t *at = xmalloc(((size_t)n + 1) * sizeof *at);
    for (int r = 0; r <= n; r++) at[r] = (size_t)begin[r] * sizeof *x;
    run(&(struct op){ .kind = COMM_REDUCE_SCATTER, .bytes = at[n] - at[0], .begin = at }, x, at[n]);
    free(at);
}

/* What is gathered and broadcast may be weights, of which the matrix product keeps packed forms. */
void comm_dev_gather(void *x, const size_t *begin)
{
    const int n = comm_ranks();
    if (n == 1) return;
    gemm_weights_changed();
    run(&(struct op){ .kind = COMM_GATHER, .bytes = begin[n] - begin[0], .begin = (size_t *)(uintptr_t)begin }, x,
        begin[n]);
}

void comm_dev_bcast(void *x, size_t bytes, int root)
{
    if (comm_ranks() == 1) return;
    gemm_weights_changed();
    run(&(struct op){ .kind = COMM_BCAST, .bytes = bytes, .root = root }, x, bytes);
}

void comm_dev_exchange(void *out, const size_t *out_begin, const void *in, const size_t *in_begin)
{
    const int n = comm_ranks();
    struct op o = { .kind = COMM_EXCHANGE, .bytes = in_begin[n], .begin = (size_t *)(uintptr_t)out_begin,
                    .in_begin = (size_t *)(uintptr_t)in_begin, .in = in };
    if (n == 1) {
        if (in_begin[1] > in_begin[0])
            dev_copy((char *)out + out_begin[0], (const char *)in + in_begin[0], in_begin[1] - in_begin[0]);
        return;
    }
    if (direct()) {
        run(&o, out, out_begin[n]);
        return;
    }
    char *copy = xmalloc(in_begin[n] + 1);
    dev_get(copy, in, in_begin[n]);
    o.in = copy;
    run(&o, out, out_begin[n]);
    free(copy);
}

int64_t comm_mark(void) { return stream_last(); }
void comm_wait(int64_t mark) { stream_wait(mark); }
