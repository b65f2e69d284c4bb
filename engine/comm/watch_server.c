/* watch_server.c: rank 0's side of the watch: it hears from all ranks and finds the one at fault. Connections that do
 * not begin with the token, which came to the ranks through MPI, are closed. */
#define _GNU_SOURCE                     /* accept4 */
#include "engine/comm/watch_in.h"
#include "base/arith.h"
#include "base/str.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { UNKNOWN = 16 };                  /* connections that have not shown the token yet; each is given 5 s */

struct conn {
    int fd;                             /* -1: free */
    int rank;                           /* -1: unknown */
    double since;
    struct inbox in;
};
struct peer {
    struct conn *conn;
    double heard;
    double closed_at_s;
    struct beat beat;
    bool closed;
    struct ending end;
};
static struct {
    int epoll, listener, ranks, conns;
    char token[TOKEN];
    struct conn *conn;
    struct peer *peer;
    double lived;
    bool over;                          /* all have closed, or all are notified that they end */
    pthread_mutex_t lock;               /* of the work */
    struct work work;
    int64_t phase;
} server = { .epoll = -1, .listener = -1, .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- opening ---- */

static void put_address(struct server_place *l, const struct sockaddr *a)
{
    const struct sockaddr_in *v4 = (const void *)a;
    const struct sockaddr_in6 *v6 = (const void *)a;
    const int most = sizeof l->address / sizeof *l->address;
    if (l->addresses == most) return;
    if (a->sa_family == AF_INET && inet_ntop(AF_INET, &v4->sin_addr, l->address[l->addresses], 46)) l->addresses++;
    else if (a->sa_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) &&
             inet_ntop(AF_INET6, &v6->sin6_addr, l->address[l->addresses], 46))
        l->addresses++;
}

/* The loopback, then this host's other addresses. */
static void find_addresses(struct server_place *l, bool one_host)
{
    struct ifaddrs *all = NULL;
    snprintf(l->address[l->addresses++], 46, "127.0.0.1");
    if (one_host || getifaddrs(&all) != 0) return;
    for (struct ifaddrs *i = all; i; i = i->ifa_next)
        if (i->ifa_addr && i->ifa_flags & IFF_UP && !(i->ifa_flags & IFF_LOOPBACK)) put_address(l, i->ifa_addr);
    freeifaddrs(all);
}

/* Of ranks that share a host nobody else can reach the port. */
static int listen_on(bool one_host, uint16_t *port)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 }, got = { 0 };
    socklen_t n = sizeof got;
    int off = 0;
    v4.sin_addr.s_addr = htonl(one_host ? INADDR_LOOPBACK : INADDR_ANY);
    int fd = one_host ? -1 : socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (fd >= 0 && bind(fd, (const void *)&v6, sizeof v6) != 0) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (const void *)&v4, sizeof v4) != 0) return -1;
    }
    if (listen(fd, 1024) != 0 || getsockname(fd, (void *)&got, &n) != 0) return -1;
    *port = ntohs(got.sin6_port);                        /* at the same place in both */
    return fd;
}

static void await(int fd, uint32_t slot)
{
    struct epoll_event e = { .events = EPOLLIN, .data.u32 = slot };
    if (epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl: %s", strerror(errno));
}

bool server_open(struct server_place *l, bool one_host, int ranks, struct err *e)
{
    struct rlimit files;
    server.ranks = ranks;
    server.conns = ranks - 1 + UNKNOWN;
    server.lived = 0;
    server.over = false;
    server.conn = xcalloc((size_t)server.conns, sizeof *server.conn);
    server.peer = xcalloc((size_t)ranks, sizeof *server.peer);
    for (int i = 0; i < server.conns; i++) server.conn[i].fd = server.conn[i].rank = -1;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < (rlim_t)server.conns + 256) {
        files.rlim_cur = MIN(files.rlim_max, (rlim_t)server.conns + 256);
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (getrandom(server.token, TOKEN, 0) != TOKEN) return fail(e, "getrandom: %s", strerror(errno));
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    server.listener = listen_on(one_host, &l->port);
    if (server.epoll < 0 || server.listener < 0) {
        l->port = 0;
        return fail(e, "rank 0 on %s could not open a port for the other ranks: %s", comm_host(0), strerror(errno));
    }
    await(server.listener, (uint32_t)server.conns);
    memcpy(l->token, server.token, TOKEN);
    find_addresses(l, one_host);
    return true;
}

void server_close(void)
{
    for (int i = 0; i < server.conns; i++) if (server.conn[i].fd >= 0) close(server.conn[i].fd);
    if (server.listener >= 0) close(server.listener);
    if (server.epoll >= 0) close(server.epoll);
    server.listener = server.epoll = -1;
    free(server.conn);
    free(server.peer);
    work_free(&server.work);
    server.conn = NULL;
    server.peer = NULL;
    server.conns = 0;
}

int server_wait_fd(void) { return server.epoll; }

/* ---- the end of all ---- */

static void send_all(enum frame type, const void *body, size_t bytes, bool may_drop)
{
    for (int r = 1; r < server.ranks; r++)
        if (server.peer[r].conn) frame_send(server.peer[r].conn->fd, type, body, bytes, may_drop);
}

enum rings { RINGS_NONE, RINGS_CAUSE, RINGS_ALL };
/* Of more than 16 ranks only the cause, rank 0 and the first ones are printed. */
static void lost(int cause, const char *why, enum rings rings)
{
    const int32_t ends = server.peer[cause].closed ? cause : -1;
    struct str s = { 0 };
    if (server.over) return;
    server.over = true;
    send_all(FRAME_LOST, &ends, sizeof ends, false);
    str_printf(&s, "%s\n", why);
    for (int r = 0; r < server.ranks; r++)
        if (r == cause ? rings != RINGS_NONE : rings == RINGS_ALL && r < 16)
            watch_print_ring(&s, r, server.peer[r].beat.op, server.peer[r].beat.n);
    watch_lost(ends, s.p);
    str_free(&s);
}

void server_ended(int rank, int64_t number, const char *message, bool closing)
{
    struct peer *p = &server.peer[rank];
    char why[MESSAGE + 100];
    p->closed = true;
    p->closed_at_s = server.lived;
    p->end.number = number;
    snprintf(p->end.message, sizeof p->end.message, "%s", message);
    if (!closing) {
        snprintf(why, sizeof why, "rank %d on %s ended with %s", rank, comm_host(rank), message);
        lost(rank, why, RINGS_NONE);
        return;
    }
    for (int r = 0; r < server.ranks; r++) if (!server.peer[r].closed) return;
    server.over = true;
    send_all(FRAME_CLOSED, NULL, 0, false);
    watch_all_closed();
}

/* ---- connections ---- */

static void drop(struct conn *c)
{
    const int rank = c->rank;
    close(c->fd);
    c->fd = c->rank = -1;
    c->in.n = 0;
    if (rank < 0) return;
    struct peer *p = &server.peer[rank];
    char why[400], where[96];
    p->conn = NULL;
    ring_say(where, sizeof where, p->beat.at.number, (enum comm_kind)p->beat.at.kind, p->beat.at.bytes);
    snprintf(why, sizeof why, "rank %d on %s ended without a word: killed, or out of memory; it was %s %s, %.40s", rank,
             comm_host(rank), p->beat.at.inside ? "in" : "behind", where, p->beat.at.doing);
    lost(rank, why, RINGS_CAUSE);
}

static void accept_unknown(void)
{
    const int one = 1;
    int fd;
    while ((fd = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        int slot = 0, unknown = 0;
        for (int i = 0; i < server.conns; i++) unknown += server.conn[i].fd >= 0 && server.conn[i].rank < 0;
        while (slot < server.conns && server.conn[slot].fd >= 0) slot++;
        if (slot == server.conns || unknown >= UNKNOWN) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        server.conn[slot].fd = fd;
        server.conn[slot].rank = -1;
        server.conn[slot].since = server.lived;
        server.conn[slot].in.n = 0;
        await(fd, (uint32_t)slot);
    }
}

static bool same_token(const char *a, const char *b)
{
    unsigned differ = 0;
    for (int i = 0; i < TOKEN; i++) differ |= (unsigned)(a[i] ^ b[i]);
    return !differ;
}

static bool accept_hello(struct conn *c, int type, const char *body, size_t n)
{
    struct hello h;
    if (type != FRAME_HELLO || n != sizeof h) return false;
    memcpy(&h, body, sizeof h);
    if (!same_token(h.token, server.token) || h.rank < 1 || h.rank >= server.ranks) return false;
    if (server.peer[h.rank].conn) return false;
    c->rank = h.rank;
    server.peer[h.rank].conn = c;
    server.peer[h.rank].heard = server.lived;
    return frame_send(c->fd, FRAME_BEAT, NULL, 0, false);
}

static bool take_frame(struct conn *c, int type, const char *body, size_t n)
{
    struct peer *p = &server.peer[c->rank];
    struct ending e;
    p->heard = server.lived;
    if (type == FRAME_BEAT && n == sizeof p->beat) {
        memcpy(&p->beat, body, n);
        p->beat.n = MAX(0, MIN(p->beat.n, RING_SHOWN));
        p->beat.at.doing[DOING - 1] = 0;
        return true;
    }
    if (type == FRAME_ASK && n == sizeof(int64_t)) {
        int64_t phase;
        memcpy(&phase, body, n);
        const int32_t item = server_work(c->rank, phase);
        return frame_send(c->fd, FRAME_GIVE, &item, sizeof item, false);
    }
    if ((type != FRAME_CLOSING && type != FRAME_ENDED) || n != sizeof e) return false;
    memcpy(&e, body, n);
    e.message[MESSAGE - 1] = 0;
    server_ended(c->rank, e.number, e.message, type == FRAME_CLOSING);
    return true;
}

static void serve_conn(struct conn *c)
{
    char body[FRAME_MAX];
    size_t n;
    int type = 0;
    bool open = inbox_fill(&c->in, c->fd), ok = true;
    while (ok && (type = inbox_next(&c->in, body, &n)) > 0)
        ok = c->rank < 0 ? accept_hello(c, type, body, n) : take_frame(c, type, body, n);
    if (!open || !ok || type < 0) drop(c);
}

void server_serve(void)
{
    struct epoll_event event[64];
    const int n = epoll_wait(server.epoll, event, 64, 0);
    for (int i = 0; i < n; i++) {
        const uint32_t slot = event[i].data.u32;
        if (slot == (uint32_t)server.conns) accept_unknown();
        else if (server.conn[slot].fd >= 0) serve_conn(&server.conn[slot]);
    }
}

/* ---- every tick ---- */

static void check_ranks(double timeout)
{
    char why[1200];
    struct rank_seen *seen = xcalloc((size_t)server.ranks, sizeof *seen);
    for (int r = 0; r < server.ranks; r++) {
        const struct peer *p = &server.peer[r];
        seen[r] = (struct rank_seen){ .host = comm_host(r), .silent = server.lived - p->heard, .waited = p->beat.waited,
                                      .at = p->beat.at, .closed = p->closed, .closed_at = p->end.number,
                                      .closed_s = server.lived - p->closed_at_s, .message = p->end.message };
    }
    const int cause = diagnose(seen, server.ranks, timeout, why, sizeof why);
    if (cause >= 0) lost(cause, why, seen[cause].closed ? RINGS_NONE : RINGS_ALL);
    free(seen);
}

void server_tick(double lived, double timeout, const struct beat *own)
{
    server.lived = lived;
    server.peer[0].beat = *own;
    server.peer[0].heard = lived;
    send_all(FRAME_BEAT, NULL, 0, true);
    for (int i = 0; i < server.conns; i++)
        if (server.conn[i].fd >= 0 && server.conn[i].rank < 0 && lived - server.conn[i].since > 5)
            drop(&server.conn[i]);
    if (!server.over) check_ranks(timeout);
}

/* ---- work ---- */

void server_deal(int64_t phase, const int *item, const int *begin)
{
    pthread_mutex_lock(&server.lock);
    work_deal(&server.work, item, begin, comm_ranks());
    server.phase = phase;
    pthread_mutex_unlock(&server.lock);
}

/* Of an earlier phase nothing is left: rank 0 goes on only when all is taken, or the phase was given up. */
int server_work(int rank, int64_t phase)
{
    pthread_mutex_lock(&server.lock);
    const int item = phase == server.phase ? work_take(&server.work, rank) : -1;
    pthread_mutex_unlock(&server.lock);
    return item;
}
