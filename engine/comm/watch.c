/* watch.c: the watch of one rank. Its clock counts the time that this process has lived: a process that was stopped,
 * with its whole host or alone, does not find the others late when it goes on. */
#include "engine/comm/watch_in.h"
#include "base/arith.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    pthread_mutex_t lock;               /* of what follows, up to the blank line */
    pthread_cond_t changed;
    bool joined, stop, all_closed;
    bool announced;                         /* the others know that this rank has ended alone */
    bool answered;                      /* item is the answer to the last FRAME_ASK */
    int item;
    struct ending own;                  /* on rank 0: its own end, for the thread */
    int own_state;                      /* 0: none; FRAME_CLOSING or FRAME_ENDED; -1: passed on */

    pthread_mutex_t sending;
    pthread_t thread;
    pid_t pid;
    int fd;                             /* to rank 0, on other ranks */
    int wake;
    double timeout, tick;
    double lived, heard;                /* heard: of rank 0, in lived time */
    double waited;
    int64_t waits_in;
} watch = { .lock = PTHREAD_MUTEX_INITIALIZER, .sending = PTHREAD_MUTEX_INITIALIZER, .fd = -1, .wake = -1 };

/* ---- the end ---- */

/* stdout may be held by a thread that hangs in it. */
static _Noreturn void leave(void)
{
    static atomic_flag once = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set(&once)) pause();
    if (ftrylockfile(stdout) == 0) fflush_unlocked(stdout);
    out_sweep();
    _exit(COMM_LOST);
}

static void print(const struct str *s)
{
    for (size_t at = 0; at < s->n;) {
        const ssize_t k = write(2, s->p + at, s->n - at);
        if (k <= 0 && errno != EINTR) return;
        if (k > 0) at += (size_t)k;
    }
}

void watch_print_ring(struct str *s, int rank, const struct ring_op *op, int n)
{
    char text[96];
    str_printf(s, "the last operations of rank %d on %s:\n", rank, comm_host(rank));
    for (int i = 0; i < n; i++) {
        ring_say(text, sizeof text, op[i].number, (enum comm_kind)op[i].kind, op[i].bytes);
        str_printf(s, "  %-44s begun at %9.3f s, %s %.3f s\n", text, op[i].at,
                   op[i].ended ? "took" : "not ended after", op[i].took);
    }
}

static bool send_frame(enum frame type, const void *body, size_t bytes, bool may_drop)
{
    pthread_mutex_lock(&watch.sending);
    bool ok = frame_send(watch.fd, type, body, bytes, may_drop);
    pthread_mutex_unlock(&watch.sending);
    return ok;
}

/* Rank 0, should it go on after all, is not to think that this rank was killed. */
static void tell_end(const char *text)
{
    struct ending e = { .rank = comm_rank() };
    if (watch.fd < 0) return;
    snprintf(e.message, sizeof e.message, "status %d: %s", COMM_LOST, text);
    send_frame(FRAME_ENDED, &e, sizeof e, true);
}

/* Ends this process with a message that only it can give, and its own last operations. */
static _Noreturn void end_alone(const char *text)
{
    struct str s = { 0 };
    struct ring_op op[RING_SHOWN];
    str_printf(&s, "appo: rank %d on %s ends: %s\n", comm_rank(), comm_host(comm_rank()), text);
    watch_print_ring(&s, comm_rank(), op, ring_last(op));
    print(&s);
    tell_end(text);
    leave();
}

void watch_broken(const char *fmt, ...)
{
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sleep(5);                                            /* the watch mostly knows the cause, and ends the process */
    end_alone(text);
}

/* The others leave last, so that the launcher sees the status of the rank that was the cause. */
void watch_lost(int ends, const char *text)
{
    struct str s = { 0 };
    if (*text) {
        str_printf(&s, "appo: %s", text);
        print(&s);
        str_free(&s);
    }
    pthread_mutex_lock(&watch.lock);
    watch.announced = ends == comm_rank();
    pthread_cond_broadcast(&watch.changed);
    pthread_mutex_unlock(&watch.lock);
    if (ends == comm_rank()) return;
    out_sweep();                                         /* before a launcher that kills all when the first one ends */
    usleep(comm_first() ? 500000 : 300000);
    leave();
}

void watch_all_closed(void)
{
    pthread_mutex_lock(&watch.lock);
    watch.all_closed = true;
    pthread_cond_broadcast(&watch.changed);
    pthread_mutex_unlock(&watch.lock);
}

/* ---- the thread ---- */

static void rank0_gone(void)
{
    char text[200];
    pthread_mutex_lock(&watch.lock);
    const bool over = watch.all_closed || watch.announced;
    watch.joined = watch.joined && !over;
    pthread_mutex_unlock(&watch.lock);
    if (over) return;
    snprintf(text, sizeof text, "rank 0 on %s ended without a word: killed, or out of memory", comm_host(0));
    end_alone(text);
}

static void hear_rank0(void)
{
    static struct inbox in;
    char body[FRAME_MAX];
    size_t n;
    int type;
    const bool open = inbox_fill(&in, watch.fd);
    watch.heard = watch.lived;
    while ((type = inbox_next(&in, body, &n)) > 0) {
        int32_t item;
        if (type == FRAME_CLOSED) watch_all_closed();
        if ((type != FRAME_GIVE && type != FRAME_LOST) || n != sizeof item) continue;
        memcpy(&item, body, sizeof item);
        if (type == FRAME_LOST) {
            watch_lost(item, "");
            continue;
        }
        pthread_mutex_lock(&watch.lock);
        watch.item = item;
        watch.answered = true;
        pthread_cond_broadcast(&watch.changed);
        pthread_mutex_unlock(&watch.lock);
    }
    if (!open || type < 0) rank0_gone();
}

static void own_beat(struct beat *b, double passed)
{
    memset(b, 0, sizeof *b);
    ring_where(&b->at);
    b->n = ring_last(b->op);
    watch.waited = b->at.inside && b->at.number == watch.waits_in ? watch.waited + passed : 0;
    watch.waits_in = b->at.number;
    b->waited = watch.waited;
}

/* What a rank finds without rank 0, or of rank 0. */
static void check_alone(bool joined)
{
    char text[300];
    const double silent = watch.lived - watch.heard;
    if (!joined && watch.waited > watch.timeout)
        snprintf(text, sizeof text,
                 "the ranks have not found each other in %.0f s (comm.timeout=%g): were all %d processes started, and "
                 "can their hosts reach each other?", watch.waited, watch.timeout, comm_launched());
    else if (joined && !comm_first() && silent > watch.timeout)
        snprintf(text, sizeof text, "rank 0 on %s has been silent for %.0f s: stopped, or its host is gone",
                 comm_host(0), silent);
    else if (watch.waited > 1.5 * watch.timeout + 5)
        snprintf(text, sizeof text, "it has waited for %.0f s in operation %lld, and nobody says for whom",
                 watch.waited, (long long)watch.waits_in);
    else return;
    end_alone(text);
}

static void on_tick(bool joined, double passed)
{
    struct beat b;
    own_beat(&b, passed);
    if (joined && comm_first()) server_tick(watch.lived, watch.timeout, &b);
    else if (joined && !send_frame(FRAME_BEAT, &b, sizeof b, true)) rank0_gone();
    check_alone(joined);
}

/* Rank 0's own end, which its main thread has left here. */
static void own_end(void)
{
    pthread_mutex_lock(&watch.lock);
    const int state = watch.own_state;
    if (state > 0) watch.own_state = -1;
    pthread_mutex_unlock(&watch.lock);
    if (state > 0) server_ended(0, watch.own.number, watch.own.message, state == FRAME_CLOSING);
}

static void *run(void *arg)
{
    (void)arg;
    double last = seconds(), ticked = last, next = last + watch.tick, lived = 0;
    bool was = false;
    prctl(PR_SET_NAME, "appo watch");
    for (;;) {
        pthread_mutex_lock(&watch.lock);
        const bool joined = watch.joined, stop = watch.stop;
        pthread_mutex_unlock(&watch.lock);
        if (stop) return NULL;
        if (joined && !was) watch.heard = watch.lived;
        was = joined;
        struct pollfd p[2] = { { .fd = watch.wake, .events = POLLIN },
                               { .fd = !joined ? -1 : comm_first() ? server_wait_fd() : watch.fd, .events = POLLIN } };
        const int ms = (int)(1000 * MAX(0, next - seconds())) + 1;
        poll(p, 2, ms);
        const double now = seconds();
        watch.lived += MIN(now - last, 2 * watch.tick);
        last = now;
        if (p[0].revents) { eventfd_t n; eventfd_read(watch.wake, &n); }
        if (p[1].revents && comm_first()) server_serve();
        else if (p[1].revents) hear_rank0();
        own_end();
        if (now < next) continue;
        on_tick(joined, MIN(watch.lived - lived, now - ticked));
        lived = watch.lived;
        ticked = now;
        next = now + watch.tick;
    }
}

void watch_start(double timeout_s)
{
    pthread_condattr_t how;
    pthread_condattr_init(&how);
    pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
    pthread_cond_init(&watch.changed, &how);
    watch.timeout = timeout_s;
    watch.tick = MAX(0.05, MIN(1, timeout_s / 20));
    watch.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    watch.pid = getpid();
    if (watch.wake < 0) die("eventfd: %s", strerror(errno));
    thread_start(&watch.thread, run);
}

void watch_stop(void)
{
    pthread_mutex_lock(&watch.lock);
    watch.stop = true;
    pthread_mutex_unlock(&watch.lock);
    eventfd_write(watch.wake, 1);
    pthread_join(watch.thread, NULL);
    if (watch.fd >= 0) close(watch.fd);
    if (comm_first()) server_close();
    close(watch.wake);
    watch.fd = watch.wake = -1;
    watch.joined = false;
}

/* ---- what the main thread asks of it ---- */

/* Tells rank 0 of this rank's end; rank 0 itself leaves it to its thread. */
static void tell(enum frame type, const char *text)
{
    struct ending e = { .rank = comm_rank() };
    struct ring_at at;
    ring_where(&at);
    e.number = at.kind == COMM_CLOSE ? at.number - 1 : at.number;
    snprintf(e.message, sizeof e.message, "%s", text);
    if (!comm_first()) {
        send_frame(type, &e, sizeof e, false);
        return;
    }
    pthread_mutex_lock(&watch.lock);
    watch.own = e;
    watch.own_state = (int)type;
    pthread_mutex_unlock(&watch.lock);
    eventfd_write(watch.wake, 1);
}

bool watch_close(void)
{
    const int64_t number = ring_number();
    ring_begin(number, COMM_CLOSE, 0);
    tell(FRAME_CLOSING, err_last());
    pthread_mutex_lock(&watch.lock);
    while (!watch.all_closed && !watch.announced) pthread_cond_wait(&watch.changed, &watch.lock);
    const bool all = watch.all_closed;
    pthread_mutex_unlock(&watch.lock);
    ring_end(number);
    return all;
}

/* exit() before comm_close(): the others learn the status and the last message. A child that was forked and exits has
 * no part in this. */
static void on_end(int status, void *arg)
{
    (void)arg;
    char text[MESSAGE];
    struct timespec until;
    pthread_mutex_lock(&watch.lock);
    const bool heard = watch.joined && !watch.all_closed && !watch.announced;
    pthread_mutex_unlock(&watch.lock);
    if (!heard || getpid() != watch.pid || pthread_equal(pthread_self(), watch.thread)) return;
    snprintf(text, sizeof text, "status %d%s%s", status, *err_last() ? ": " : "", err_last());
    tell(FRAME_ENDED, text);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 2;
    pthread_mutex_lock(&watch.lock);
    while (!watch.announced && pthread_cond_timedwait(&watch.changed, &watch.lock, &until) == 0) { }
    pthread_mutex_unlock(&watch.lock);
}

int watch_work(int64_t phase)
{
    if (comm_first()) return server_work(0, phase);
    pthread_mutex_lock(&watch.lock);
    watch.answered = false;
    pthread_mutex_unlock(&watch.lock);
    send_frame(FRAME_ASK, &phase, sizeof phase, false);  /* if rank 0 is gone, the thread ends the process */
    pthread_mutex_lock(&watch.lock);
    while (!watch.answered) pthread_cond_wait(&watch.changed, &watch.lock);
    const int item = watch.item;
    pthread_mutex_unlock(&watch.lock);
    return item;
}

void watch_deal(int64_t phase, const int *item, const int *begin) { server_deal(phase, item, begin); }

/* ---- joining ---- */

static bool wait_on(int fd, short events, int ms)
{
    return poll(&(struct pollfd){ .fd = fd, .events = events }, 1, ms) > 0;
}

/* A connection to rank 0 that it has answered; -1: none. */
static int connect_to(const char *address, uint16_t port, const struct hello *h)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    const bool is4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    if (!is4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1) return -1;
    const int fd = socket(is4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
    int why = 0;
    socklen_t n = sizeof why;
    if (fd < 0) return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    const struct sockaddr *to = is4 ? (const void *)&v4 : (const void *)&v6;
    const bool came = (connect(fd, to, is4 ? sizeof v4 : sizeof v6) == 0 || errno == EINPROGRESS) &&
                      wait_on(fd, POLLOUT, 3000) && getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &n) == 0 && why == 0;
    char first;
    if (came && frame_send(fd, FRAME_HELLO, h, sizeof *h, false) && wait_on(fd, POLLIN, 10000) &&
        recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
        return fd;
    close(fd);
    return -1;
}

static bool connect_any(const struct server_place *l, struct err *e)
{
    struct hello h = { .rank = comm_rank() };
    struct str tried = { 0 };
    const bool near = !strcmp(comm_host(0), comm_host(comm_rank()));
    memcpy(h.token, l->token, sizeof h.token);
    for (int i = near ? 0 : 1; i < l->addresses && watch.fd < 0; i++) {
        watch.fd = connect_to(l->address[i], l->port, &h);
        str_printf(&tried, "%s%s", tried.n ? ", " : "", l->address[i]);
    }
    if (watch.fd < 0)
        fail(e, "rank %d on %s cannot reach rank 0 on %s, port %d of %s: a firewall between the hosts?", comm_rank(),
             comm_host(comm_rank()), comm_host(0), l->port, tried.n ? tried.p : "no address");
    str_free(&tried);
    return watch.fd >= 0;
}

bool watch_join(struct err *e)
{
    static bool hooked;
    struct server_place l = { 0 };
    bool ok = true;
    if (comm_first()) ok = server_open(&l, comm_local_ranks() == comm_ranks(), comm_ranks(), e);
    pthread_mutex_lock(&watch.lock);
    watch.joined = ok && comm_first();
    pthread_mutex_unlock(&watch.lock);
    eventfd_write(watch.wake, 1);
    comm_bcast(&l, sizeof l, 0);
    if (!comm_first()) ok = !l.port || connect_any(&l, e);
    if (!comm_agree(ok, e)) return false;
    pthread_mutex_lock(&watch.lock);
    watch.joined = true;
    watch.all_closed = watch.announced = watch.stop = false;
    pthread_mutex_unlock(&watch.lock);
    eventfd_write(watch.wake, 1);
    if (!hooked) hooked = on_exit(on_end, NULL) == 0;
    return true;
}
