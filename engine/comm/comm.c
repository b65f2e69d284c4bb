/* comm.c: collectives on host memory, and the number and place of the ranks. */
#include "engine/comm/comm.h"
#include "engine/comm/comm_in.h"
#include "base/arith.h"
#include "base/str.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HOST = 64 };

static struct {
    bool open;
    int rank, ranks, local_rank, local_ranks;
    char (*host)[HOST];                 /* [ranks] */
    int *work;                          /* the items dealt to this rank that are left */
    int work_n, work_at;
} comm = { .ranks = 1, .local_ranks = 1 };

const char *comm_mpi(void) { return transport_name(); }
int comm_rank(void) { return comm.rank; }
int comm_ranks(void) { return comm.ranks; }
int comm_local_rank(void) { return comm.local_rank; }
int comm_local_ranks(void) { return comm.local_ranks; }

const char *comm_host(int rank)
{
    static char here[HOST];
    if (comm.host) return comm.host[rank];
    gethostname(here, sizeof here - 1);
    return here;
}

/* The variables in which launchers tell the number of processes: Open MPI, MPICH (hydra), Slurm's srun. A batch script
 * of Slurm has SLURM_NTASKS too, but no step. */
int comm_launched(void)
{
    static const char *const names[] = { "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *n = getenv(names[i]);
        if (n && atoi(n) > 0) return atoi(n);
    }
    return 1;
}

static void find_hosts(void)
{
    char mine[HOST] = "";
    struct comm_parts all;
    gethostname(mine, sizeof mine - 1);
    comm_gather(&all, mine, sizeof mine);
    comm.host = xcalloc((size_t)comm.ranks, sizeof *comm.host);
    comm.local_ranks = 0;
    for (int r = 0; r < comm.ranks; r++) {
        memcpy(comm.host[r], all.p + all.begin[r], HOST);
        bool here = !strcmp(comm.host[r], mine);
        if (r == comm.rank) comm.local_rank = comm.local_ranks;
        comm.local_ranks += here;
    }
    comm_parts_free(&all);
}

bool comm_open(const struct comm_options *o, struct err *e)
{
    (void)o;
    if (!transport_open(&comm.rank, &comm.ranks, e)) return false;
    comm.open = true;
    if (comm.ranks > 1) find_hosts();
    return true;
}

void comm_close(void)
{
    if (!comm.open) return;
    transport_close();
    free(comm.host);
    free(comm.work);
    comm.host = NULL;
    comm.work = NULL;
    comm.open = false;
    comm.rank = comm.local_rank = 0;
    comm.ranks = comm.local_ranks = 1;
}

void comm_doing(const char *what) { (void)what; }

/* ---- host memory ---- */

void comm_barrier(void) { if (comm.ranks > 1) transport_barrier(); }
void comm_bcast(void *p, size_t bytes, int root) { if (comm.ranks > 1) transport_bcast(p, bytes, root); }

void comm_gather(struct comm_parts *out, const void *p, size_t bytes)
{
    out->begin = xcalloc((size_t)comm.ranks + 1, sizeof *out->begin);
    uint64_t *size = xcalloc((size_t)comm.ranks, sizeof *size), mine = bytes;
    size_t *at = xcalloc((size_t)comm.ranks + 1, sizeof *at);
    for (int r = 0; r <= comm.ranks; r++) at[r] = (size_t)r * sizeof *size;
    if (comm.ranks > 1) transport_gather((char *)size, at, &mine, sizeof mine);
    else size[0] = mine;
    for (int r = 0; r < comm.ranks; r++) out->begin[r + 1] = out->begin[r] + (size_t)size[r];
    out->p = xmalloc(out->begin[comm.ranks] + 1);
    if (comm.ranks > 1) transport_gather(out->p, out->begin, p, bytes);
    else memcpy(out->p, p, bytes);
    free(at);
    free(size);
}

void comm_parts_free(struct comm_parts *parts)
{
    free(parts->p);
    free(parts->begin);
    *parts = (struct comm_parts){ 0 };
}

void comm_sum(double *x, int n)
{
    struct comm_parts all;
    if (comm.ranks == 1) return;
    comm_gather(&all, x, (size_t)n * sizeof *x);
    const double *y = (const double *)(const void *)all.p;
    for (int i = 0; i < n; i++) {
        double s = 0;
        for (int r = 0; r < comm.ranks; r++) s += y[r * n + i];
        x[i] = s;
    }
    comm_parts_free(&all);
}

void comm_sum_counts(int64_t *x, int n)
{
    struct comm_parts all;
    if (comm.ranks == 1) return;
    comm_gather(&all, x, (size_t)n * sizeof *x);
    const int64_t *y = (const int64_t *)(const void *)all.p;
    for (int i = 0; i < n; i++) {
        x[i] = 0;
        for (int r = 0; r < comm.ranks; r++) x[i] += y[r * n + i];
    }
    comm_parts_free(&all);
}

static double extreme(double x, bool largest)
{
    struct comm_parts all;
    if (comm.ranks == 1) return x;
    comm_gather(&all, &x, sizeof x);
    const double *y = (const double *)(const void *)all.p;
    double best = y[0];
    for (int r = 1; r < comm.ranks; r++) best = largest ? fmax(best, y[r]) : fmin(best, y[r]);
    comm_parts_free(&all);
    return best;
}
double comm_min(double x) { return extreme(x, false); }
double comm_max(double x) { return extreme(x, true); }
bool comm_any(bool x) { return comm_max(x) > 0; }
bool comm_all(bool x) { return comm_min(x) > 0; }

bool comm_agree(bool ok, struct err *e)
{
    struct comm_parts all;
    int bad = -1;
    if (comm.ranks == 1) return ok;
    comm_gather(&all, ok ? "" : e->text, ok ? 0 : strlen(e->text) + 1);
    for (int r = comm.ranks - 1; r >= 0; r--) if (all.begin[r + 1] > all.begin[r]) bad = r;
    if (bad >= 0 && bad != comm.rank)
        fail(e, "rank %d on %s: %.600s", bad, comm_host(bad), all.p + all.begin[bad]);
    comm_parts_free(&all);
    return bad < 0;
}

/* ---- work ---- */

void comm_work_begin(const int *item, const int *begin)
{
    free(comm.work);
    comm.work_n = begin[comm.rank + 1] - begin[comm.rank];
    comm.work_at = 0;
    comm.work = xmalloc((size_t)(comm.work_n + 1) * sizeof *comm.work);
    memcpy(comm.work, item + begin[comm.rank], (size_t)comm.work_n * sizeof *comm.work);
    comm_barrier();
}

int comm_work_next(void) { return comm.work_at < comm.work_n ? comm.work[comm.work_at++] : -1; }
