/* no_mpi.c: a build without MPI: one rank. */
#include "engine/comm/comm_in.h"
#include "engine/comm/comm.h"

bool transport_open(int *rank, int *ranks, struct err *e)
{
    *rank = 0;
    *ranks = 1;
    if (comm_launched() == 1) return true;
    return fail(e,
                "%d processes were started, but this build has no MPI to join them: ./run.sh setup --ranks, then make "
                "MPI=1; or start one process",
                comm_launched());
}

const char *transport_name(void) { return NULL; }
void transport_close(void) { }

static _Noreturn void none(void) { die("a collective of several ranks in a build without MPI"); }
void transport_barrier(void) { none(); }
void transport_bcast(void *p, size_t bytes, int root) { (void)p; (void)bytes; (void)root; none(); }
void transport_gather(char *out, const size_t *begin, const void *p, size_t bytes)
{
    (void)out; (void)begin; (void)p; (void)bytes;
    none();
}
void transport_exchange(char *out, const size_t *out_begin, const char *in, const size_t *in_begin)
{
    (void)out; (void)out_begin; (void)in; (void)in_begin;
    none();
}
