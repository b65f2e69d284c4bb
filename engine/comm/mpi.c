/* mpi.c: bytes between ranks by MPI. A message is at most 1 GiB, because MPI counts with an int. */
#include "engine/comm/comm_in.h"
#include "engine/comm/comm.h"
#include "base/arith.h"
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 30 };

bool transport_open(int *rank, int *ranks, struct err *e)
{
    int got;
    *rank = 0;
    *ranks = 1;
    if (comm_launched() == 1) return true;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &got) != MPI_SUCCESS)
        return fail(e, "MPI_Init failed: start the ranks by mpirun or srun of the MPI that this build uses");
    MPI_Comm_rank(MPI_COMM_WORLD, rank);
    MPI_Comm_size(MPI_COMM_WORLD, ranks);
    if (*ranks != comm_launched())
        return fail(e,
                    "the launcher started %d processes, MPI knows %d: mpirun or srun is of another MPI than this build",
                    comm_launched(), *ranks);
    return true;
}

/* The first line of what the library says of itself, up to a comma: "Open MPI v4.1.4, package: ..." */
const char *transport_name(void)
{
    static char name[MPI_MAX_LIBRARY_VERSION_STRING];
    int n = 0;
    MPI_Get_library_version(name, &n);
    name[strcspn(name, ",\n")] = 0;
    for (char *c = name; *c; c++) if (*c == '\t') *c = ' ';
    return name;
}

void transport_close(void)
{
    int open = 0;
    MPI_Initialized(&open);
    if (open) MPI_Finalize();
}

void transport_barrier(void) { MPI_Barrier(MPI_COMM_WORLD); }

void transport_bcast(void *p, size_t bytes, int root)
{
    for (size_t at = 0; at < bytes; at += PIECE)
        MPI_Bcast((char *)p + at, (int)MIN(bytes - at, (size_t)PIECE), MPI_BYTE, root, MPI_COMM_WORLD);
}

void transport_gather(char *out, const size_t *begin, const void *p, size_t bytes)
{
    memcpy(out + begin[comm_rank()], p, bytes);
    for (int r = 0; r < comm_ranks(); r++) transport_bcast(out + begin[r], begin[r + 1] - begin[r], r);
}

static void both(char *out, size_t out_n, const char *in, size_t in_n, int to, int from)
{
    MPI_Sendrecv(in, (int)in_n, MPI_BYTE, to, 1, out, (int)out_n, MPI_BYTE, from, 1, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
}

void transport_exchange(char *out, const size_t *out_begin, const char *in, const size_t *in_begin)
{
    int n = comm_ranks(), me = comm_rank();
    for (int k = 0; k < n; k++) {
        int to = (me + k) % n, from = (me + n - k) % n;
        size_t in_n = in_begin[to + 1] - in_begin[to], out_n = out_begin[from + 1] - out_begin[from];
        for (size_t at = 0; at < in_n || at < out_n; at += PIECE)
            both(out + out_begin[from] + MIN(at, out_n), MIN(out_n - MIN(at, out_n), (size_t)PIECE),
                 in + in_begin[to] + MIN(at, in_n), MIN(in_n - MIN(at, in_n), (size_t)PIECE), to, from);
    }
}
