/* comm_in.h: what the parts of engine/comm share, and nobody else: ring.c, diagnosis.c, stream.c, collective.c,
 * mpi.c or, in a build without MPI, no_mpi.c; device_host.c or, for GPUs, device_nccl.cu or no_nccl.c. The watch has
 * watch_in.h. */
#pragma once
#include "base/err.h"
#include "engine/comm/comm.h"
#include "engine/comm/work.h"
#include "kernels/dev.h"
#include <pthread.h>

/* ---- ring.c: the last operations of this rank, for messages. Any thread ---- */
enum comm_kind {
    COMM_OPEN, COMM_BARRIER, COMM_BCAST, COMM_GATHER, COMM_SUM, COMM_REDUCE_SCATTER, COMM_EXCHANGE, COMM_CLOSE
};
enum { RING = 64, RING_SHOWN = 16, DOING = 40 };
struct ring_op {
    int64_t number;                     /* collectives are numbered from 1, the same on every rank */
    int64_t bytes;
    int32_t kind;
    int32_t ended;
    double at;                          /* seconds since the start of the ring */
    double took;                        /* so far, if it has not ended */
};
/* Where a rank is: inside the oldest operation that has not ended, or behind the last one. */
struct ring_at {
    int64_t number;
    int64_t bytes;
    int32_t kind;
    int32_t inside;
    double doing_s;                     /* seconds since comm_doing() said so */
    char doing[DOING];
};
int64_t ring_number(void);              /* for the next collective, in the order of the calls */
void ring_begin(int64_t number, enum comm_kind kind, int64_t bytes);
void ring_end(int64_t number);
void ring_doing(const char *what);
void ring_where(struct ring_at *at);
int ring_last(struct ring_op *op);      /* [RING_SHOWN], oldest first: how many */
/* "operation 121 (sum of 42.0 MiB)" */
void ring_say(char *text, size_t n, int64_t number, enum comm_kind kind, int64_t bytes);

/* ---- diagnosis.c: who is at fault ---- */
struct rank_seen {
    const char *host;
    double silent;                      /* seconds since its last heartbeat */
    double waited;                      /* seconds inside the present operation */
    struct ring_at at;
    bool closed;                        /* it has ended, or waits in comm_close, behind operation closed_at */
    int64_t closed_at;
    double closed_s;                    /* since when */
    const char *message;                /* that it ended with; "" */
};
/* The rank for which the others wait in vain, with the message; -1: none so far. */
int diagnose(const struct rank_seen *seen, int ranks, double timeout, char *text, size_t n);

/* ---- stream.c: the thread that alone calls MPI; runs operations in their order ---- */
struct op {
    enum comm_kind kind;
    int64_t number;
    void *p;                            /* what it works on, host memory */
    const void *in;                     /* exchange */
    size_t bytes;
    int root;
    bool doubles;                       /* sum: of doubles, else of acc_t */
    size_t *begin;                      /* [ranks + 1], the op's own copies */
    size_t *in_begin;
    struct comm_parts *parts;           /* gather of o->in, whose sizes are not known */
    bool *ok;                           /* open: whether it worked, else *e; p: int[2], gets rank and ranks; root: bytes
                                         * of the largest message */
    struct err *e;
    struct op *next;
};
void stream_start(void);
void stream_stop(void);                 /* after all operations */
/* Takes a copy of *o, and of begin and in_begin, if given. Returns its number. */
int64_t stream_put(const struct op *o);
int64_t stream_last(void);              /* number of the operation that was put last */
void stream_wait(int64_t number);       /* until all operations up to this number are done */

void thread_start(pthread_t *thread, void *(*f)(void *));    /* signals do not reach it */

/* ---- collective.c, in the stream's thread ---- */
void collective_run(struct op *o);
/* x[i] = from[0][i] + from[1][i] + ..., added in this order */
void sum_in_order(acc_t *x, const acc_t *const *from, int ranks, size_t n);

/* ---- device_host.c, device_nccl.cu, no_nccl.c: the collectives on device memory ---- */
/* Chooses this rank's device and connects it to the others'; when the watch has joined. A collective. */
bool device_open(struct err *e);
void device_close(void);

/* ---- mpi.c, no_mpi.c: messages between ranks, in the stream's thread. Messages from one rank to another come in
 * their order ---- */
struct wire { char request[8] __attribute__((aligned(8))); bool busy; };
bool transport_open(int *rank, int *ranks, struct err *e);
void transport_close(void);
const char *transport_name(void);       /* NULL: a build without MPI */
void wire_send(struct wire *w, int to, const void *p, size_t bytes);
void wire_recv(struct wire *w, int from, void *p, size_t bytes);
bool wire_done(struct wire *w);         /* true too if it was never used */
