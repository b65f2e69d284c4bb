/* mpi.c: messages between ranks by MPI, all from one thread: MPI_THREAD_FUNNELED is enough. */
#define _GNU_SOURCE                     /* process_vm_readv */
#include "engine/comm/comm_in.h"
#include "engine/comm/watch_in.h"
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(MPI_Request) <= sizeof ((struct wire *)0)->request, "struct wire holds an MPI_Request");

/* An error of MPI is mostly the end of another rank, which the watch names within moments. */
static void check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    if (code == MPI_SUCCESS) return;
    MPI_Error_string(code, text, &n);
    watch_broken("%s: %s", what, text);
}

/* Settings of the MPI libraries that the user has not given. In a container that forbids process_vm_readv Open MPI
 * prints an error for each message, and it waits in MPI_Init and MPI_Finalize at full speed. */
static void set_environment(void)
{
    char a = 1, b = 0;
    struct iovec to = { &b, 1 }, from = { &a, 1 };
    if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != 1)
        setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    setenv("OMPI_MCA_btl_base_warn_component_unused", "0", 0);
    setenv("OMPI_MCA_btl_openib_warn_no_device_params_found", "0", 0);
    setenv("OMPI_MCA_btl_openib_warn_default_gid_prefix", "0", 0);
}

bool transport_open(int *rank, int *ranks, struct err *e)
{
    int got;
    set_environment();
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &got) != MPI_SUCCESS)
        return fail(e, "MPI_Init failed: start the ranks by mpirun or srun of the MPI that this build uses");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, rank);
    MPI_Comm_size(MPI_COMM_WORLD, ranks);
    if (*ranks != comm_launched())
        return fail(e,
                    "the launcher started %d processes, MPI knows %d: mpirun is of another MPI than this build, which "
                    "has %s, or srun did not connect them (srun --mpi=list; pmix for Open MPI, pmi2 or pmix for MPICH)",
                    comm_launched(), *ranks, transport_name());
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

static MPI_Request *request(struct wire *w) { return (MPI_Request *)(void *)w->request; }

void wire_send(struct wire *w, int to, const void *p, size_t bytes)
{
    w->busy = true;
    check(MPI_Isend(p, (int)bytes, MPI_BYTE, to, 1, MPI_COMM_WORLD, request(w)), "MPI_Isend");
}

void wire_recv(struct wire *w, int from, void *p, size_t bytes)
{
    w->busy = true;
    check(MPI_Irecv(p, (int)bytes, MPI_BYTE, from, 1, MPI_COMM_WORLD, request(w)), "MPI_Irecv");
}

bool wire_done(struct wire *w)
{
    int done = 1;
    if (w->busy) check(MPI_Test(request(w), &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done) w->busy = false;
    return done;
}
