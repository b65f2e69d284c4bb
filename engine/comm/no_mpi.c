/* no_mpi.c: a build without MPI: one rank. */
#include "engine/comm/comm_in.h"

bool transport_open(int *rank, int *ranks, struct err *e)
{
    *rank = 0;
    *ranks = 1;
    return fail(e,
                "%d processes were started, but this build has no MPI to join them: ./run.sh setup --ranks, then make "
                "MPI=1; or start one process",
                comm_launched());
}

const char *transport_name(void) { return NULL; }
void transport_close(void) { }

static _Noreturn void none(void) { die("a collective of several ranks in a build without MPI"); }
void wire_send(struct wire *w, int to, const void *p, size_t bytes) { (void)w; (void)to; (void)p; (void)bytes; none(); }
void wire_recv(struct wire *w, int from, void *p, size_t bytes) { (void)w; (void)from; (void)p; (void)bytes; none(); }
bool wire_done(struct wire *w) { (void)w; return true; }
