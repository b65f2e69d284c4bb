/* watch_in.h: the watch, a thread of each rank with a connection to rank 0's, which carries heartbeats, the queue of
 * work and the news of a rank's end: watch.c (any rank's side), watch_server.c (rank 0's), watch_frames.c (what
 * goes over a connection). It needs no MPI, so that it works where MPI hangs. */
#pragma once
#include "engine/comm/comm_in.h"
#include "base/str.h"

/* ---- watch.c ---- */
/* From here on the process ends with COMM_LOST if an operation lasts longer than the timeout. */
void watch_start(double timeout_s);
/* Connects all ranks; a collective. False: this rank cannot reach rank 0. */
bool watch_join(struct err *e);
/* Waits until all ranks have come here. False: this rank has ended alone, the others name it and end. */
bool watch_close(void);
void watch_stop(void);
int watch_work(int64_t phase);          /* the next item */
void watch_deal(int64_t phase, const int *item, const int *begin);     /* on rank 0, before a barrier */
/* MPI says that something is wrong: the watch has moments to say what; then the process ends with this message. */
_Noreturn void watch_broken(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- watch_frames.c ---- */
enum frame {
    FRAME_HELLO = 0x6170706f,           /* struct hello: the first of a connection */
    FRAME_BEAT,                         /* to rank 0: struct beat; from it: nothing */
    FRAME_ASK,                          /* int64_t: the phase; answer: */
    FRAME_GIVE,                         /* int32_t: an item or -1 */
    FRAME_CLOSING,                      /* struct ending: waits in comm_close; answer, when all do: */
    FRAME_CLOSED,
    FRAME_ENDED,                        /* struct ending: the process ends without comm_close */
    FRAME_LOST                          /* int32_t: from rank 0: all end; but this rank, or -1, does so by itself */
};
enum { TOKEN = 16, MESSAGE = 1200, FRAME_MAX = 4096 };
struct hello { char token[TOKEN]; int32_t rank; };
struct ending {
    int64_t number;                     /* the last operation */
    int32_t rank;
    char message[MESSAGE];
};
struct beat {
    struct ring_at at;
    double waited;                      /* seconds inside at.number */
    int32_t n;
    struct ring_op op[RING_SHOWN];
};
/* What has come from a connection and is not read yet. */
struct inbox {
    size_t n;
    char bytes[2 * FRAME_MAX];
};
/* False: the connection is of no use any more. A frame that finds no room may be left out. */
bool frame_send(int fd, enum frame type, const void *body, size_t bytes, bool may_drop);
/* Takes in what is there. False: the other side has closed. */
bool inbox_fill(struct inbox *in, int fd);
/* The next whole frame, its body copied to body[FRAME_MAX]. 0: none; -1: that is not a frame. */
int inbox_next(struct inbox *in, char *body, size_t *bytes);

/* ---- watch_server.c: all of it in the watch's thread of rank 0, but for server_open and deal ---- */
struct server_place {
    char token[TOKEN];
    uint16_t port;
    char address[8][46];                /* of this host, as text; the first: the loopback */
    int addresses;
};
bool server_open(struct server_place *l, bool one_host, int ranks, struct err *e);
void server_close(void);
int server_wait_fd(void);                /* readable when server_serve has something to do */
void server_serve(void);
/* Every tick, with the time that this process has lived and its own heartbeat. */
void server_tick(double lived, double timeout, const struct beat *own);
void server_ended(int rank, int64_t number, const char *message, bool closing);
int server_work(int rank, int64_t phase);
void server_deal(int64_t phase, const int *item, const int *begin);
/* Back from server_serve, _tick and _ended to watch.c: */
void watch_all_closed(void);
/* This process ends with COMM_LOST, rank 0 after it has notified the others; but not if it is rank `ends`, which ends
 * with a status of its own (-1: none does). */
void watch_lost(int ends, const char *text);
void watch_print_ring(struct str *s, int rank, const struct ring_op *op, int n);
