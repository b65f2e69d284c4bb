/* no_nccl.c: a build for GPUs without NCCL: one rank. */
#include "engine/comm/comm_in.h"
#include <stdlib.h>

bool device_open(struct err *e)
{
    const char *want = getenv("APPO_COMM");
    if (want && *want) return fail(e, "APPO_COMM=%s: this build has no NCCL: make NCCL=1", want);
    if (comm_ranks() == 1) return true;
    return fail(e, "%d ranks, but this build for GPUs has no NCCL for their collectives: install NCCL (nccl.h and "
                "libnccl of the CUDA toolkit, or libnccl-dev), then make NCCL=1; or start one process", comm_ranks());
}
void device_close(void) { }

void comm_dev_sum(acc_t *x, int64_t n) { (void)x; (void)n; }
void comm_dev_sum_double(double *x, int64_t n) { (void)x; (void)n; }
void comm_dev_reduce_scatter(acc_t *x, const int64_t *begin) { (void)x; (void)begin; }
void comm_dev_gather(void *x, const size_t *begin) { (void)x; (void)begin; }
void comm_dev_bcast(void *x, size_t bytes, int root) { (void)x; (void)bytes; (void)root; }
void comm_dev_exchange(void *out, const size_t *out_begin, const void *in, const size_t *in_begin)
{
    (void)out_begin;
    dev_copy(out, in, in_begin[1]);
}
int64_t comm_mark(void) { return 0; }
void comm_wait(int64_t mark) { (void)mark; }
