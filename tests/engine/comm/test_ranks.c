/* test_ranks.c: what several ranks do to each other, a part a call, started by mpirun (tests/ranks/comm.sh). Every rank
 * computes alone what a collective must yield, from a formula for the data of all ranks. A part prints a line for each
 * fault and ends with status 1 if there was one. Without an argument it says that it has nothing to do. */
#include "tests/check.h"
#include "base/arith.h"
#include "base/clock.h"
#include "engine/comm/comm.h"
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

static int faults;
static void fault(const char *what, int64_t n, int64_t at, double got, double want)
{
    if (faults++ < 5)
        print_error("rank %d: %s of %lld: at %lld %.9g, not %.9g\n", comm_rank(), what, (long long)n, (long long)at,
                    got, want);
}

/* Element i of rank r: numbers of different sizes, so that another order of the sum gives other bits. */
static acc_t value(int r, int64_t i)
{
    uint64_t h = ((uint64_t)r * 0x9E3779B97F4A7C15u + (uint64_t)i + 1) * 0xD1342543DE82EF95u;
    h ^= h >> 29;
    return (acc_t)ldexp((double)(int64_t)(h % 2000003) - 1000001, (int)(h >> 60) - 20);
}

static acc_t total(int64_t i)
{
    acc_t s = value(0, i);
    for (int r = 1; r < comm_ranks(); r++) s += value(r, i);
    return s;
}

struct pair { acc_t *host, *dev; };
static struct pair pair_make(int64_t n)
{
    struct pair p = { xmalloc((size_t)n * sizeof(acc_t)), dev_alloc((size_t)n * sizeof(acc_t)) };
    for (int64_t i = 0; i < n; i++) p.host[i] = value(comm_rank(), i);
    dev_put(p.dev, p.host, (size_t)n * sizeof(acc_t));
    return p;
}
static void pair_get(struct pair *p, int64_t n)
{
    comm_wait(comm_mark());
    dev_get(p->host, p->dev, (size_t)n * sizeof(acc_t));
}
static void pair_free(struct pair *p)
{
    dev_free(p->dev);
    free(p->host);
}

static void check_sum(int64_t n)
{
    struct pair p = pair_make(n);
    comm_dev_sum(p.dev, n);
    pair_get(&p, n);
    for (int64_t i = 0; i < n; i++)
        if (p.host[i] != total(i)) fault("comm_dev_sum", n, i, (double)p.host[i], (double)total(i));
    pair_free(&p);
}

/* Borders of n things among the ranks, unequal, the first part empty if there are several. */
static void borders(int64_t n, int64_t *begin)
{
    const int ranks = comm_ranks();
    begin[0] = 0;
    for (int r = 1; r < ranks; r++) begin[r] = n * (r - 1) * r / ((int64_t)ranks * ranks);
    begin[ranks] = n;
}

static void check_reduce_scatter(int64_t n)
{
    int64_t begin[65];
    struct pair p = pair_make(n);
    borders(n, begin);
    comm_dev_reduce_scatter(p.dev, begin);
    const int64_t first = begin[comm_rank()], last = begin[comm_rank() + 1];
    memset(begin, -1, sizeof begin);                     /* read before the call returned */
    pair_get(&p, n);
    for (int64_t i = first; i < last; i++)
        if (p.host[i] != total(i)) fault("comm_dev_reduce_scatter", n, i, (double)p.host[i], (double)total(i));
    pair_free(&p);
}

static void check_gather(int64_t n)
{
    int64_t begin[65];
    size_t bytes[65];
    struct pair p = pair_make(n);
    borders(n, begin);
    for (int r = 0; r <= comm_ranks(); r++) bytes[r] = (size_t)begin[r] * sizeof(acc_t);
    comm_dev_gather(p.dev, bytes);
    memset(bytes, -1, sizeof bytes);
    pair_get(&p, n);
    for (int r = 0; r < comm_ranks(); r++)
        for (int64_t i = begin[r]; i < begin[r + 1]; i++)
            if (p.host[i] != value(r, i)) fault("comm_dev_gather", n, i, (double)p.host[i], (double)value(r, i));
    pair_free(&p);
}

static void check_bcast(int64_t n)
{
    for (int root = 0; root < comm_ranks(); root++) {
        struct pair p = pair_make(n);
        comm_dev_bcast(p.dev, (size_t)n * sizeof(acc_t), root);
        pair_get(&p, n);
        for (int64_t i = 0; i < n; i++)
            if (p.host[i] != value(root, i))
                fault("comm_dev_bcast", n, i, (double)p.host[i], (double)value(root, i));
        pair_free(&p);
    }
}

/* From rank a to rank b go `each` elements plus a * 3 + b, or none where a + b is odd. */
static int64_t sent(int a, int b, int64_t each) { return (a + b) % 2 ? 0 : each + a * 3 + b; }

static void check_exchange(int64_t each)
{
    const int n = comm_ranks(), me = comm_rank();
    size_t in_begin[65] = { 0 }, out_begin[65] = { 0 };
    for (int r = 0; r < n; r++) {
        in_begin[r + 1] = in_begin[r] + (size_t)sent(me, r, each) * sizeof(acc_t);
        out_begin[r + 1] = out_begin[r] + (size_t)sent(r, me, each) * sizeof(acc_t);
    }
    const int64_t ins = (int64_t)(in_begin[n] / sizeof(acc_t)), outs = (int64_t)(out_begin[n] / sizeof(acc_t));
    struct pair in = pair_make(ins), out = pair_make(outs);
    for (int r = 0, at = 0; r < n; r++)
        for (int64_t i = 0; i < sent(me, r, each); i++) in.host[at++] = value(me * 64 + r, i);
    dev_put(in.dev, in.host, in_begin[n]);
    comm_dev_exchange(out.dev, out_begin, in.dev, in_begin);
    pair_get(&out, outs);
    for (int r = 0, at = 0; r < n; r++)
        for (int64_t i = 0; i < sent(r, me, each); i++, at++)
            if (out.host[at] != value(r * 64 + me, i))
                fault("comm_dev_exchange", each, at, out.host[at], value(r * 64 + me, i));
    pair_free(&in);
    pair_free(&out);
}

static void check_host(void)
{
    const int n = comm_ranks(), me = comm_rank();
    double x[3] = { (double)value(me, 0), 0.1 * me, -0.0 }, want[3] = { 0 };
    int64_t count[2] = { me + 1, (int64_t)1 << 60 >> 8 };
    for (int r = 0; r < n; r++) { want[0] += (double)value(r, 0); want[1] += 0.1 * r; }
    comm_sum(x, 3);
    for (int i = 0; i < 3; i++) if (x[i] != want[i]) fault("comm_sum", 3, i, x[i], want[i]);
    comm_sum_counts(count, 2);
    if (count[0] != n * (n + 1) / 2) fault("comm_sum_counts", 2, 0, (double)count[0], n * (n + 1) / 2);
    if (count[1] != n * ((int64_t)1 << 52)) fault("comm_sum_counts", 2, 1, (double)count[1], n * 0x1p52);
    if (comm_min(-me) != 1 - n) fault("comm_min", 1, 0, comm_min(-me), 1 - n);
    if (comm_max(me) != n - 1) fault("comm_max", 1, 0, comm_max(me), n - 1);
    if (comm_any(me == n - 1) != true || comm_any(false)) fault("comm_any", 1, 0, 0, 1);
    if (comm_all(me == 0) != (n == 1) || !comm_all(true)) fault("comm_all", 1, 0, 0, 1);
    for (int root = 0; root < n; root++) {
        char text[3001];
        memset(text, me == root ? 'a' + root : '?', sizeof text);
        comm_bcast(text, sizeof text, root);
        for (int i = 0; i < (int)sizeof text; i++)
            if (text[i] != 'a' + root) fault("comm_bcast", sizeof text, i, text[i], 'a' + root);
    }
    struct err e = { "" };
    if (!comm_agree(true, &e)) fault("comm_agree", 1, 0, 0, 1);
    if (n > 1) {
        char first[80];
        if (me > 0) fail(&e, "no file %d", me);
        if (comm_agree(me == 0, &e)) fault("comm_agree", 1, 1, 1, 0);
        snprintf(first, sizeof first, me == 1 ? "no file 1" : "rank 1 on %s: no file 1", comm_host(1));
        if (strcmp(e.text, first)) print_error("rank %d: '%s', not '%s'\n", me, e.text, first), faults++;
    }
}

/* Parts of unequal length, some empty. */
static void check_parts(size_t most)
{
    const int n = comm_ranks();
    char *mine = xmalloc(most + 1);
    memset(mine, 'A' + comm_rank(), most);
    struct comm_parts all;
    comm_gather(&all, mine, most * (size_t)comm_rank() / (size_t)n);
    for (int r = 0; r < n; r++) {
        const size_t want = most * (size_t)r / (size_t)n;
        if (all.begin[r + 1] - all.begin[r] != want)
            fault("comm_gather: bytes", r, 0, (double)(all.begin[r + 1] - all.begin[r]), (double)want);
        for (size_t i = all.begin[r]; i < all.begin[r + 1]; i++)
            if (all.p[i] != 'A' + r) { fault("comm_gather", r, (int64_t)i, all.p[i], 'A' + r); break; }
    }
    comm_parts_free(&all);
    free(mine);
}

static void collectives(int64_t largest)
{
    const int64_t sizes[] = { 0, 1, 2, 3, 5, 7, 31, 1000, 4097, 100003, largest };
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        check_sum(sizes[k]);
        check_reduce_scatter(sizes[k]);
        check_gather(sizes[k]);
        check_exchange(sizes[k] / comm_ranks());
        if (sizes[k] < 200000 || k == 10) check_bcast(sizes[k]);
        check_parts((size_t)sizes[k]);
    }
    check_host();
}

/* ---- the queue of work ---- */

/* Items 0 .. n - 1, three quarters of them dealt to rank 0; each is handed out once. Rank `slow` takes a nap after each
 * of its items, so that the others take over what is dealt to it, from its end. */
static void check_work(int n, int slow)
{
    const int ranks = comm_ranks(), me = comm_rank();
    int *item = xmalloc((size_t)(n + 1) * sizeof *item), begin[65] = { 0 }, got = 0, last = -1;
    int64_t *taken = xcalloc((size_t)n + 1, sizeof *taken);
    for (int i = 0; i < n; i++) item[i] = i;
    for (int r = 1; r <= ranks; r++) begin[r] = r == ranks ? n : n * 3 / 4 + n / 4 * (r - 1) / ranks;
    comm_work_begin(item, begin);
    memset(item, -1, (size_t)n * sizeof *item);          /* read before the call returned */
    for (int i; (i = comm_work_next()) >= 0; got++) {
        const bool own = i >= begin[me] && i < begin[me + 1];
        if (i >= n) { fault("comm_work_next", n, got, i, n - 1); break; }
        taken[i]++;
        if (own && i < last) fault("comm_work_next: own items in order", n, got, i, last);
        if (own) last = i;
        if (me == slow) usleep(2000);
    }
    if (comm_work_next() != -1) fault("comm_work_next after the end", n, 0, 0, -1);
    comm_sum_counts(taken, n);
    for (int i = 0; i < n; i++) if (taken[i] != 1) fault("comm_work_next: taken", n, i, (double)taken[i], 1);
    const double most = comm_max(got);
    if (ranks > 1 && n >= 200 && slow == 0 && most == got && me == 0)
        fault("comm_work_next: the slow rank did most", n, 0, got, 0);
    free(item);
    free(taken);
}

static void work(int n)
{
    const int sizes[] = { 0, 1, 2, 3, 7, 50, n };
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (int slow = -1; slow < comm_ranks(); slow++) check_work(sizes[k], slow);
}

/* ---- measured ---- */

static void speed(int64_t n)
{
    struct pair p = pair_make(n);
    const double bytes = (double)n * (double)sizeof(acc_t);
    int turns = 20, item[1] = { 0 }, begin[65];
    int64_t part[65];
    size_t at[65];
    for (int r = 0; r < 65; r++) {
        part[r] = n * MIN(r, comm_ranks()) / comm_ranks();
        at[r] = (size_t)part[r] * sizeof(acc_t);
        begin[r] = r > 0;
    }
    comm_dev_sum(p.dev, n);                              /* connects the ranks, and touches the memory */
    for (int what = 0; what < 5; what++) {
        static const char *const names[] = { "sum", "reduce-scatter", "gather", "broadcast", "barrier" };
        if (what == 4) turns = 2000;
        comm_barrier();
        const double t = seconds();
        for (int i = 0; i < turns; i++) {
            if (what == 0) comm_dev_sum(p.dev, n);
            if (what == 1) comm_dev_reduce_scatter(p.dev, part);
            if (what == 2) comm_dev_gather(p.dev, at);
            if (what == 3) comm_dev_bcast(p.dev, at[comm_ranks()], 0);
            if (what == 4) comm_barrier();
        }
        comm_wait(comm_mark());
        const double s = (seconds() - t) / turns;
        if (comm_first() && what < 4)
            printf("%-15s %8.1f MB  %9.3f ms  %6.2f GB/s\n", names[what], bytes / 1e6, s * 1e3, bytes / s / 1e9);
        else if (comm_first()) printf("%-15s %22.1f us\n", names[what], s * 1e6);
    }
    comm_work_begin(item, begin);
    const double t = seconds();
    for (int i = 0; i < 2000 && comm_rank() == 1; i++) comm_work_next();
    if (comm_rank() == 1) printf("%-15s %22.1f us\n", "work item", (seconds() - t) / 2000 * 1e6);
    comm_barrier();
    pair_free(&p);
}

/* ---- strangers at rank 0's port ---- */

/* The port that this process listens on at the loopback address. */
static int own_port(void)
{
    for (int fd = 3; fd < 400; fd++) {
        struct sockaddr_in a = { 0 };
        int listens = 0;
        socklen_t n = sizeof listens, m = sizeof a;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) == 0 && listens &&
            getsockname(fd, (void *)&a, &m) == 0 && a.sin_family == AF_INET &&
            a.sin_addr.s_addr == htonl(INADDR_LOOPBACK))
            return ntohs(a.sin_port);
    }
    return 0;
}

/* 60 connections: of other protocols, of frames without the token, of nothing at all; some close, some stay. */
static void garbage(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)own_port()),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    char bytes[5000];
    if (comm_first() && !a.sin_port) fault("no port", 0, 0, 0, 1);
    for (int i = 0; comm_first() && i < 60; i++) {
        static const uint32_t heads[][2] = { { 0x6170706f, 20 }, { 0x6170706f, 1 << 30 }, { 0x61707070, 1000 },
                                             { 0x61707073, 1224 }, { 0x20544547, 0x2f } };
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (void *)&a, sizeof a) != 0) fault("connect", i, 0, 0, 0);
        for (size_t k = 0; k < sizeof bytes; k++) bytes[k] = (char)(i * 31 + (int)k * 7);
        memcpy(bytes, heads[i % 5], sizeof heads[0]);
        if (i % 7) send(fd, bytes, (size_t)(i * 97) % sizeof bytes, MSG_NOSIGNAL);
        if (i % 3) close(fd);
    }
    work(100);
    collectives(5000);
    sleep(6);                                            /* the silent ones are closed meanwhile */
    work(10);
}

/* ---- faults: the script sends the signals ---- */

/* Collectives without end, 20 a second; `rank` does something else at the tenth. */
static void trouble(const char *what, int rank)
{
    struct err e;
    double x[1000] = { 0 };
    for (int i = 0;; i++) {
        comm_doing("computing");
        if (comm_rank() == rank && i == 10) {
            if (!strcmp(what, "late")) {
                comm_doing("sampling");
                sleep(1000);
            }
            if (!strcmp(what, "die")) die("a test dies");
            if (!strcmp(what, "exit")) exit(3);
            if (!strcmp(what, "fail")) {
                fail(&e, "no file x");
                err_keep(e.text);
                comm_close();
                exit(1);
            }
            if (!strcmp(what, "differs")) comm_barrier();
        }
        comm_sum(x, 1000);
        usleep(50000);
        if (i == 5) printf("rank %d pid %d\n", comm_rank(), (int)getpid()), fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct err e;
    const char *part = argc > 1 ? argv[1] : "";
    if (!*part) {
        puts("[  SKIPPED ] 1 test(s): this program is for several ranks: tests/ranks/comm.sh");
        return 0;
    }
    if (!strcmp(part, "mpi")) return !comm_mpi();
    const char *timeout = getenv("TEST_TIMEOUT"), *piece = getenv("TEST_PIECE");
    if (!comm_open(&(struct comm_options){ .timeout_s = timeout ? atof(timeout) : 60,
                                           .piece = piece ? (size_t)atol(piece) : 0 }, &e)) {
        print_error("%s\n", e.text);
        return 1;
    }
    const int64_t n = argc > 2 ? atoll(argv[2]) : 0;
    if (!strcmp(part, "collectives")) collectives(n);
    else if (!strcmp(part, "work")) work((int)n);
    else if (!strcmp(part, "speed")) speed(n);
    else if (!strcmp(part, "garbage")) garbage();
    else if (argc > 3 && !strcmp(part, "trouble")) trouble(argv[3], (int)n);
    else fault("no such part", 0, 0, 0, 0);
    if (comm_first() && !faults) printf("%s of %d ranks: right\n", part, comm_ranks());
    comm_close();
    return faults != 0;
}
