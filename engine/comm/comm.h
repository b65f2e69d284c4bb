/* comm.h: the ranks of a run: one process a device, started by mpirun or srun. A global, like the device (dev.h). Every
 * collective is called by all ranks in the same order with sizes that agree. With one rank each of them returns at once
 * and needs no MPI.
 *
 * Nothing here returns an error after comm_open. The process ends with a message and status COMM_LOST within seconds
 * when another rank has ended (killed, or with an error: its host and message are named), and after timeout_s when
 * another rank is silent (stopped, or its host is gone) or late: the operation that it is in, what comm_doing() got and
 * the last operations of the ranks are printed, by rank 0 or, if that is at fault, by the others. Time is that of a
 * clock that does not jump and in which a stopped process does not age. No wait for another rank is without end, those
 * of MPI_Init and MPI_Finalize included.
 *
 * Calls come from one thread, the main one, but for comm_doing(). */
#pragma once
#include "base/err.h"
#include "kernels/dev.h"

enum { COMM_LOST = 75 };                /* exit status (EX_TEMPFAIL): another start may succeed and resumes */

struct comm_options {
    double timeout_s;                   /* longest wait for another rank; 0: 300 */
    size_t piece;                       /* bytes of the largest message; 0: 1 MiB. The same on all ranks */
};
/* Joins the ranks that the launcher has started; without a launcher there is one. False: the launcher started several
 * processes and this build or this machine cannot join them; nothing else of this header may be called then. From here
 * on two threads run, which sleep: one calls MPI, one watches the others over a connection of its own. */
bool comm_open(const struct comm_options *o, struct err *e);
/* Waits for all ranks to come here, after their last collective. In a rank that has failed alone (the others go on to a
 * collective) it returns early: the others print this rank's message (err_last()) and end, this one ends with its own
 * status. So does exit() without comm_close(). */
void comm_close(void);
/* Processes that a launcher (Open MPI, MPICH, Slurm) has started with this one, from its environment; 1: none has. */
int comm_launched(void);
/* This one's number among them, by the same launcher; 0: none has, or it does not tell. Before comm_open(). */
int comm_launched_rank(void);

/* The MPI of this build, "Open MPI v4.1.4"; NULL: none. */
const char *comm_mpi(void);

int comm_rank(void);                    /* 0 before comm_open */
int comm_ranks(void);                   /* 1 before comm_open */
int comm_local_rank(void);              /* among the ranks of this host, from 0 */
int comm_local_ranks(void);
const char *comm_host(int rank);        /* its host's name */
static inline bool comm_first(void) { return comm_rank() == 0; }
/* What this rank does, for the message of a rank that waits for it: "sampling". A string that stays. */
void comm_doing(const char *what);

/* ---- host memory; each call waits for the other ranks ---- */
void comm_barrier(void);
void comm_bcast(void *p, size_t bytes, int root);
/* The bytes of every rank, in the order of the ranks: rank r's are p[begin[r] .. begin[r + 1]). */
struct comm_parts {
    char *p;
    size_t *begin;                      /* [ranks + 1] */
};
void comm_gather(struct comm_parts *out, const void *p, size_t bytes);
void comm_parts_free(struct comm_parts *parts);
/* x[i] becomes the sum over the ranks, added in their order: the same bits on every rank. */
void comm_sum(double *x, int n);
void comm_sum_counts(int64_t *x, int n);
double comm_min(double x);
double comm_max(double x);
bool comm_any(bool x);
bool comm_all(bool x);
/* Whether every rank is ok. If not, *e of each rank is the message of the first that failed, with its rank. */
bool comm_agree(bool ok, struct err *e);
/* Whether the last comm_agree() failed because of another rank, whose message that rank prints itself. */
bool comm_other_failed(void);

/* ---- device memory; queued: a call waits for no rank. A collective begins after all device work that was queued
 * before it and runs beside what is queued later, in the order of the calls ---- */
/* x[0 .. n) becomes the sum over the ranks. Element i is x0[i] + x1[i] + x2[i] ..., added in this order: the bits
 * depend on the number of ranks alone. What is passed in stays as it is until comm_wait(); other ranks' pieces take up
 * to 64 MiB here. */
void comm_dev_sum(acc_t *x, int64_t n);
void comm_dev_sum_double(double *x, int64_t n);
/* x[begin[r] .. begin[r + 1]) becomes the sum over the ranks on rank r; the rest of x is undefined. begin[ranks + 1] is
 * read before the call returns. */
void comm_dev_reduce_scatter(acc_t *x, const int64_t *begin);
/* Bytes x[begin[r] .. begin[r + 1]) become those of rank r, on every rank. Packed forms of weights are dropped, as by
 * gemm_weights_changed(). */
void comm_dev_gather(void *x, const size_t *begin);
void comm_dev_bcast(void *x, size_t bytes, int root);
/* Rank r gets in[in_begin[r] .. in_begin[r + 1]) of this one; what came from rank r lies at
 * out[out_begin[r] .. out_begin[r + 1]). Bytes; [ranks + 1] each, read before the call returns. */
void comm_dev_exchange(void *out, const size_t *out_begin, const void *in, const size_t *in_begin);
/* A mark behind the collectives queued so far; device work queued after comm_wait(mark) sees their results. */
int64_t comm_mark(void);
void comm_wait(int64_t mark);

/* ---- a queue of work that ranks take from ---- */
/* Begins a phase: item[begin[r] .. begin[r + 1]) are dealt to rank r, in this order. The same arguments on every rank;
 * waits for all. */
void comm_work_begin(const int *item, const int *begin);
/* The next item of this rank; when it has none left, the last one of the rank that has most left. -1: all are taken.
 * Waits for no other rank's work; rank 0's watch answers, in about 10 us on one host. */
int comm_work_next(void);
