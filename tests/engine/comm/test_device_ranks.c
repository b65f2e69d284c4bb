/* test_device_ranks.c: collectives on device memory beside other device work, a part a call, started by mpirun
 * (tests/ranks/nccl.sh); for every backend. A part prints a line for each fault and ends with status 1 if there was
 * one. Without an argument it says that it has nothing to do. */
#include "tests/check.h"
#include "engine/comm/comm.h"
#include "base/hash.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUCKETS = 7, EACH = 5001 };

static int faults;
static void fault(const char *what, int64_t at, double got, double want)
{
    if (faults++ < 5)
        print_error("rank %d: %s: at %lld %.9g, not %.9g\n", comm_rank(), what, (long long)at, got, want);
}

/* Whole numbers, so that every order of the sum gives the same. */
static acc_t whole(int r, int bucket, int64_t i) { return (acc_t)((r + 1) * (bucket + 3) + i % 97); }
static acc_t whole_sum(int bucket, int64_t i)
{
    acc_t s = 0;
    for (int r = 0; r < comm_ranks(); r++) s += whole(r, bucket, i);
    return s;
}

static void fill(acc_t *dev, acc_t *host, int bucket)
{
    for (int64_t i = 0; i < EACH; i++) host[i] = whole(comm_rank(), bucket, i);
    dev_put(dev, host, EACH * sizeof *host);
}

/* As a backward pass does it: buckets are reduced while the next one is computed; then each is used behind its mark, by
 * device work that the host does not wait for. */
static void buckets(int turns)
{
    acc_t *host = xmalloc(EACH * sizeof *host), *copy[BUCKETS], *x[BUCKETS];
    int64_t mark[BUCKETS];
    for (int b = 0; b < BUCKETS; b++) {
        x[b] = dev_alloc(EACH * sizeof *host);
        copy[b] = dev_alloc(EACH * sizeof *host);
    }
    for (int t = 0; t < turns; t++) {
        for (int b = 0; b < BUCKETS; b++) {
            dev_zero(copy[b], EACH * sizeof *host);
            fill(x[b], host, b);
            comm_dev_sum(x[b], EACH);
            mark[b] = comm_mark();
        }
        for (int b = BUCKETS - 1; b >= 0; b--) {
            comm_wait(mark[b]);
            dev_copy(copy[b], x[b], EACH * sizeof *host);
        }
        for (int b = 0; b < BUCKETS; b++) {
            dev_get(host, copy[b], EACH * sizeof *host);
            for (int64_t i = 0; i < EACH; i++)
                if (host[i] != whole_sum(b, i)) fault("bucket", b * EACH + i, (double)host[i], (double)whole_sum(b, i));
        }
    }
    for (int b = 0; b < BUCKETS; b++) {
        dev_free(x[b]);
        dev_free(copy[b]);
    }
    free(host);
}

/* Sums that a float would round and a double does not. */
static void doubles(void)
{
    double *host = xmalloc(EACH * sizeof *host), *x = dev_alloc(EACH * sizeof *x), want = 0;
    for (int64_t i = 0; i < EACH; i++) host[i] = (double)(comm_rank() + 1) * (1 + 0x1p-30) + (double)i;
    dev_put(x, host, EACH * sizeof *host);
    comm_dev_sum_double(x, EACH);
    comm_wait(comm_mark());
    dev_get(host, x, EACH * sizeof *host);
    for (int r = 0; r < comm_ranks(); r++) want += (double)(r + 1) * (1 + 0x1p-30);
    for (int64_t i = 0; i < EACH; i++)
        if (host[i] != want + (double)(i * comm_ranks()))
            fault("doubles", i, host[i], want + (double)(i * comm_ranks()));
    dev_free(x);
    free(host);
}

/* Collectives that follow each other without the host: a sum, of which each rank doubles its share by device work, and
 * the shares gathered; as AdamW on shards does it. */
static void shards(void)
{
    const int n = comm_ranks(), me = comm_rank();
    for (int equal = 0; equal < 2; equal++) {
        int64_t part[65] = { 0 };
        size_t bytes[65] = { 0 };
        const int64_t each = EACH / n, all = equal ? each * n : EACH;
        for (int r = 1; r <= n; r++) part[r] = equal ? r * each : all * r * r / (n * n);
        for (int r = 0; r <= n; r++) bytes[r] = (size_t)part[r] * sizeof(acc_t);
        acc_t *host = xmalloc(EACH * sizeof *host), *x = dev_alloc(EACH * sizeof *x), *y = dev_alloc(EACH * sizeof *x);
        fill(x, host, 0);
        comm_dev_reduce_scatter(x, part);
        comm_wait(comm_mark());
        dev_zero(y, bytes[n]);
        if (bytes[me + 1] > bytes[me]) dev_copy(y + part[me], x + part[me], bytes[me + 1] - bytes[me]);
        comm_dev_gather(y, bytes);
        comm_wait(comm_mark());
        dev_get(host, y, bytes[n]);
        for (int64_t i = 0; i < all; i++)
            if (host[i] != whole_sum(0, i)) fault("shards", i, (double)host[i], (double)whole_sum(0, i));
        dev_free(x);
        dev_free(y);
        free(host);
    }
}

/* More collectives than may be queued, none of which the host waits for. */
static void many(void)
{
    acc_t *host = xmalloc(EACH * sizeof *host), *x = dev_alloc(EACH * sizeof *x);
    fill(x, host, 0);
    for (int i = 0; i < 300; i++) comm_dev_bcast(x, EACH * sizeof *x, i % comm_ranks());
    comm_wait(comm_mark());
    dev_get(host, x, EACH * sizeof *host);
    for (int64_t i = 0; i < EACH; i++)
        if (host[i] != whole(0, 0, i)) fault("many", i, (double)host[i], (double)whole(0, 0, i));
    dev_free(x);
    free(host);
}

/* Sums of numbers that no order adds up exactly: the same bits on every rank, printed for the next run. */
static void bits(void)
{
    acc_t *host = xmalloc(EACH * sizeof *host), *x = dev_alloc(EACH * sizeof *x);
    for (int64_t i = 0; i < EACH; i++) host[i] = (acc_t)(1 / (double)(i + 3 * comm_rank() + 1));
    dev_put(x, host, EACH * sizeof *host);
    comm_dev_sum(x, EACH);
    comm_wait(comm_mark());
    dev_get(host, x, EACH * sizeof *host);
    const double h = (double)(fnv1a(host, EACH * sizeof *host) >> 12);
    if (comm_min(h) != comm_max(h)) fault("bits differ between ranks", 0, h, comm_min(h));
    if (comm_first()) printf("bits %.0f\n", h);
    dev_free(x);
    free(host);
}

/* The program writes to what is being summed. */
static void race(void)
{
    acc_t *host = xmalloc(EACH * sizeof *host), *x = dev_alloc(EACH * sizeof *x);
    fill(x, host, 0);
    comm_dev_sum(x, EACH);
    dev_zero(x, 8);
    comm_wait(comm_mark());
    dev_get(host, x, EACH * sizeof *host);
    fault("a race went unnoticed", 0, 0, 0);
}

/* Sums without end; at the tenth the last rank does nothing any more, or another size. */
static void trouble(const char *what)
{
    acc_t *host = xmalloc(EACH * sizeof *host), *x = dev_alloc(EACH * sizeof *x);
    for (int i = 0;; i++) {
        const bool it = comm_rank() == comm_ranks() - 1 && i == 10;
        if (i == 5) printf("rank %d pid %d\n", comm_rank(), (int)getpid()), fflush(stdout);
        comm_doing("computing");
        if (it && !strcmp(what, "late")) {
            comm_doing("sampling");
            sleep(1000);
        }
        fill(x, host, 0);
        comm_dev_sum(x, it && !strcmp(what, "size") ? EACH - 1 : EACH);
        comm_wait(comm_mark());
        dev_get(host, x, EACH * sizeof *host);
        usleep(50000);
    }
}

int main(int argc, char **argv)
{
    struct err e;
    const char *part = argc > 1 ? argv[1] : "", *timeout = getenv("TEST_TIMEOUT");
    if (!*part) {
        puts("[  SKIPPED ] 1 test(s): this program is for several ranks: tests/ranks/nccl.sh");
        return 0;
    }
    if (!comm_open(&(struct comm_options){ .timeout_s = timeout ? atof(timeout) : 60 }, &e)) {
        print_error("%s\n", e.text);
        return 1;
    }
    if (!strcmp(part, "beside")) {
        buckets(30);
        doubles();
        shards();
        many();
    } else if (!strcmp(part, "bits")) bits();
    else if (!strcmp(part, "race")) race();
    else if (argc > 2 && !strcmp(part, "trouble")) trouble(argv[2]);
    else fault("no such part", 0, 0, 0);
    if (comm_first() && !faults) printf("%s of %d ranks: right\n", part, comm_ranks());
    comm_close();
    return faults != 0;
}
