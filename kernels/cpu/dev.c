/* dev.c: the CPU as a device: its memory is the process's own. Writing or freeing memory through here also drops what
 * the matrix product packed from it. */
#include "base/err.h"
#include "kernels/cpu/gemm_isa.h"
#include <malloc.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct dev_counts count;

_Static_assert(sizeof(elem_t) == sizeof(acc_t), "the CPU backend stores and sums in one type");

void *dev_alloc(size_t bytes)
{
    void *p = NULL;
    count.allocs++;
    if (posix_memalign(&p, 256, bytes ? bytes : 1)) die("out of memory: %zu bytes asked for", bytes);
    return p;
}

void dev_free(void *p)
{
    if (!p) return;
    gemm_weight_written(p, malloc_usable_size(p));
    free(p);
}

void dev_commit(void *p, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    #pragma omp parallel for schedule(static)
    for (size_t at = 0; at < bytes; at += page) {
        volatile char *c = (volatile char *)p + at;
        *c = *c;
    }
}

static void write_bytes(void *dst, const void *src, size_t bytes)
{
    if (!bytes) return;
    gemm_weight_written(dst, bytes);
    memcpy(dst, src, bytes);
}

void dev_put(void *dst, const void *src, size_t bytes) { write_bytes(dst, src, bytes); }
void dev_get(void *dst, const void *src, size_t bytes) { if (bytes) memcpy(dst, src, bytes); }
void dev_copy(void *dst, const void *src, size_t bytes) { write_bytes(dst, src, bytes); }

void dev_zero(void *p, size_t bytes)
{
    if (!bytes) return;
    gemm_weight_written(p, bytes);
    memset(p, 0, bytes);
}

void dev_sync(void) { }

void *dev_host_alloc(size_t bytes)
{
    void *p = dev_alloc(bytes);
    memset(p, 0, bytes);
    return p;
}

void dev_host_free(void *p) { dev_free(p); }

void dev_copy_on(enum dev_queue q, void *dst, const void *src, size_t bytes)
{
    (void)q;
    write_bytes(dst, src, bytes);
}

void dev_order(enum dev_queue later, enum dev_queue earlier) { (void)later; (void)earlier; }
struct dev_counts dev_count(void) { return count; }
bool exact_numerics(void) { return true; }

const char *dev_name(void) { return "cpu"; }
int dev_threads(void) { return omp_get_max_threads(); }
void dev_set_threads(int n) { omp_set_num_threads(n < 1 ? 1 : n); }

/* Launching an operation costs next to nothing on a CPU, so nothing is captured: body runs at every call. Operations
 * keep their own scratch memory (work.c), so there is no dry run either. */
void dev_graph_run(struct dev_graph **g, void (*body)(void *ctx), void *ctx)
{
    (void)g;
    body(ctx);
}
void dev_graph_free(struct dev_graph *g) { (void)g; }
bool dev_graph_supported(void) { return false; }
void dev_graph_enable(bool on) { (void)on; }
bool dev_dry_begin(void) { return false; }
size_t dev_dry_end(bool take) { (void)take; return 0; }
size_t dev_scratch(void) { return 0; }
