/* test_dev.c: memory of the host and of the device under every kind of copy, and the order of the queues. On the shim
 * the side queues are late: what nothing waits for is not done. */
#include "kernels/dev.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { N = 5000, BIG = 3 << 20 };

static void fill(unsigned char *x, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) x[i] = (unsigned char)(i * 7 + (i >> 8) + seed);
}

/* Sizes below and above the rings of the copies. */
static void every_copy(void **state)
{
    (void)state;
    static const size_t sizes[] = { 1, N, BIG };
    unsigned char *a = malloc(BIG), *b = malloc(BIG);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        size_t n = sizes[k];
        unsigned char *host = dev_host_alloc(n), *other = dev_host_alloc(n), *dev = dev_alloc(n);
        for (size_t i = 0; i < n; i++) CHECK(host[i] == 0, "byte %zu of new memory", i);
        fill(a, n, (unsigned)k);
        dev_put(host, a, n);
        dev_copy(dev, host, n);
        dev_copy(other, dev, n);
        memset(b, 0, n);
        dev_get(b, other, n);
        CHECK(!memcmp(a, b, n), "%zu bytes, from host to device to host", n);
        dev_zero(host, n / 2);
        dev_copy(other, host, n);
        dev_sync();
        for (size_t i = 0; i < n; i++) CHECK(other[i] == (i < n / 2 ? 0 : a[i]), "%zu bytes: byte %zu", n, i);
        dev_free(dev);
        dev_host_free(other);
        dev_host_free(host);
    }
    dev_host_free(NULL);
    free(a);
    free(b);
}

/* In by one queue, changed by the main one, out by the third. */
static void order_of_queues(void **state)
{
    (void)state;
    unsigned char *host = dev_host_alloc(N), *back = dev_host_alloc(N), *dev = dev_alloc(N), *next = dev_alloc(N);
    fill(host, N, 1);
    for (int turn = 0; turn < 3; turn++) {
        dev_order(DEV_IN, DEV_OUT);
        dev_copy_on(DEV_IN, dev, host, N);
        dev_order(DEV_MAIN, DEV_IN);
        dev_copy(next, dev, N);
        dev_zero(next, (size_t)turn);
        dev_order(DEV_OUT, DEV_MAIN);
        dev_copy_on(DEV_OUT, back, next, N);
        dev_sync();
        for (int i = 0; i < N; i++) CHECK(back[i] == (i < turn ? 0 : host[i]), "turn %d: byte %d", turn, i);
        host[turn + 5]++;
    }
    dev_free(dev);
    dev_free(next);
    dev_host_free(host);
    dev_host_free(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_copy), cmocka_unit_test(order_of_queues) };
    setenv("APPO_SIMT_GPU", "late", 1);
    return cmocka_run_group_tests_name("dev", tests, NULL, NULL);
}
