/* test_ranks.c: what several ranks do to each other, a part a call, started by mpirun (tests/ranks/comm.sh). Every rank
 * computes alone what a collective must yield, from a formula for the data of all ranks. A part prints a line for each
 * fault and ends with status 1 if there was one. Without an argument it says that it has nothing to do. */
#include "tests/check.h"
#include "engine/comm/comm.h"
#include <stdlib.h>
#include <string.h>

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

int main(int argc, char **argv)
{
    struct err e;
    const char *part = argc > 1 ? argv[1] : "";
    if (!*part) {
        puts("[  SKIPPED ] 1 test(s): this program is for several ranks: tests/ranks/comm.sh");
        return 0;
    }
    if (!strcmp(part, "mpi")) return !comm_mpi();
    if (!comm_open(&(struct comm_options){ .timeout_s = 60 }, &e)) {
        print_error("%s\n", e.text);
        return 1;
    }
    const int64_t n = argc > 2 ? atoll(argv[2]) : 0;
    if (!strcmp(part, "collectives")) collectives(n);
    else fault("no such part", 0, 0, 0, 0);
    if (comm_first() && !faults) printf("%s of %d ranks: right\n", part, comm_ranks());
    comm_close();
    return faults != 0;
}
