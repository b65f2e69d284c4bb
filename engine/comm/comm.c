/* comm.c: collectives on host memory, and the number and place of the ranks. */
#include "engine/comm/comm.h"
#include "engine/comm/watch_in.h"
#include "base/arith.h"
#include "base/str.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HOST = 64, PIECE = 1 << 20 };

static struct {
    bool open;
    int rank, ranks, local_rank, local_ranks;
    char (*host)[HOST];                 /* [ranks] */
    struct work work;                   /* of one rank */
    int64_t phase;
    bool other_failed;
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

/* The variables in which launchers tell the number of processes, and that of this one. A shell of salloc or sbatch has
 * SLURM_NTASKS without those, so it does not count; srun's come last, because a shell that it started may call
 * mpirun. */
static const struct { const char *ranks, *rank; } launchers[] = {
    { "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK" },     /* mpirun of Open MPI 1.3 to 5 */
    { "PMI_SIZE", "PMI_RANK" },                             /* that of MPICH and Intel MPI (hydra); srun --mpi=pmi2 */
    { "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK" },       /* mpirun_rsh of MVAPICH2 */
    { "SLURM_STEP_NUM_TASKS", "SLURM_PROCID" },             /* srun, whatever --mpi is */
};

/* Of the first launcher that set its variables: this rank, or how many there are. */
static int from_launcher(bool rank)
{
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++) {
        const char *n = getenv(launchers[i].ranks), *r = getenv(launchers[i].rank);
        if (n && atoi(n) > 0) return !rank ? atoi(n) : r ? atoi(r) : 0;
    }
    return rank ? 0 : 1;
}

int comm_launched(void) { return from_launcher(false); }
int comm_launched_rank(void) { return from_launcher(true); }

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
    bool ok = false;
    int place[2] = { 0, 1 };
    if (comm_launched() == 1) return device_open(e);
    watch_start(o->timeout_s > 0 ? o->timeout_s : 300);
    stream_start();
    const int piece = (int)MIN(o->piece ? o->piece : (size_t)PIECE, (size_t)1 << 30);
    stream_wait(stream_put(&(struct op){ .kind = COMM_OPEN, .p = place, .root = piece, .ok = &ok, .e = e }));
    comm.open = ok;
    if (!ok) return false;
    comm.rank = place[0];
    comm.ranks = place[1];
    find_hosts();
    return watch_join(e) && device_open(e);
}

void comm_close(void)
{
    if (!comm.open) {
        device_close();
        return;
    }
    stream_wait(stream_last());
    if (!watch_close()) return;
    device_close();
    stream_wait(stream_put(&(struct op){ .kind = COMM_CLOSE }));
    stream_stop();
    watch_stop();
    free(comm.host);
    comm.host = NULL;
    comm.open = false;
    comm.rank = comm.local_rank = 0;
    comm.ranks = comm.local_ranks = 1;
}

void comm_doing(const char *what) { ring_doing(what); }

/* ---- host memory ---- */

static void wait_op(const struct op *o) { if (comm.ranks > 1) stream_wait(stream_put(o)); }

void comm_barrier(void) { wait_op(&(struct op){ .kind = COMM_BARRIER }); }

void comm_bcast(void *p, size_t bytes, int root)
{
    wait_op(&(struct op){ .kind = COMM_BCAST, .p = p, .bytes = bytes, .root = root });
}

void comm_gather(struct comm_parts *out, const void *p, size_t bytes)
{
    if (comm.ranks > 1) {
        wait_op(&(struct op){ .kind = COMM_GATHER, .parts = out, .in = p, .bytes = bytes });
        return;
    }
    out->begin = xcalloc(2, sizeof *out->begin);
    out->begin[1] = bytes;
    out->p = xmalloc(bytes + 1);
    if (bytes) memcpy(out->p, p, bytes);
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
    comm.other_failed = bad >= 0 && bad != comm.rank;
    if (comm.other_failed)
        fail(e, "rank %d on %s: %.600s", bad, comm_host(bad), all.p + all.begin[bad]);
    comm_parts_free(&all);
    return bad < 0;
}

bool comm_other_failed(void) { return comm.other_failed; }

/* ---- work ---- */

void comm_work_begin(const int *item, const int *begin)
{
    comm.phase++;
    if (comm.ranks == 1) {
        work_deal(&comm.work, item, begin, 1);
        return;
    }
    if (comm.rank == 0) watch_deal(comm.phase, item, begin);
    comm_barrier();
}

int comm_work_next(void) { return comm.ranks == 1 ? work_take(&comm.work, 0) : watch_work(comm.phase); }
