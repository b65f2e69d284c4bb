/* dev.h: the device: its number types, memory, copies, CUDA graphs, scratch memory. On a CPU the device is the process
 * itself. elem_t is the storage type of weights and activations; acc_t is the accumulation type: sums, statistics,
 * gradients and optimizer state. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#if defined(REAL_IS_double)
typedef double elem_t;
typedef double acc_t;
#define ELEM_NAME "double"
#elif defined(REAL_IS_bf16)                                      /* GPU backends only */
typedef struct { uint16_t bits; } elem_t;
typedef float acc_t;
#define ELEM_NAME "bf16"
#else
typedef float elem_t;
typedef float acc_t;
#define ELEM_NAME "float"
#endif

/* On the host: a double rounded to the storage type (bf16: nearest, ties to even), and back. */
static inline elem_t elem_from(double x)
{
#if defined(REAL_IS_bf16)
    union { float f; uint32_t u; } v = { (float)x };
    if ((v.u & 0x7fffffffu) > 0x7f800000u) { elem_t nan = { (uint16_t)(v.u >> 16 | 0x40) }; return nan; }
    elem_t r = { (uint16_t)((v.u + 0x7fffu + (v.u >> 16 & 1)) >> 16) };
    return r;
#else
    return (elem_t)x;
#endif
}
static inline double elem_to(elem_t x)
{
#if defined(REAL_IS_bf16)
    union { uint32_t u; float f; } v = { (uint32_t)x.bits << 16 };
    return (double)v.f;
#else
    return (double)x;
#endif
}

void *dev_alloc(size_t bytes);                                   /* 256-byte aligned; out of memory is die() */
void  dev_free(void *p);
/* Bytes of device memory that are free, and in all; on a CPU the machine's, or of its control groups if these allow
 * less (base/memory.h). */
void  dev_memory(size_t *left, size_t *total);
/* Makes the system back the memory with pages now, not at the first write to each, so that a run that starts does not
 * run out of memory later. Nothing to do on a GPU. */
void  dev_commit(void *p, size_t bytes);
/* host to device; src may be overwritten on return, dst is written in the order of the calls */
void  dev_put(void *dst, const void *src, size_t bytes);
/* device to host, after all earlier work: the host waits for it */
void  dev_get(void *dst, const void *src, size_t bytes);
void  dev_copy(void *dst, const void *src, size_t bytes);        /* device to device, ranges must not overlap */
void  dev_zero(void *p, size_t bytes);
void  dev_sync(void);                                            /* waits for all queues */

/* Host memory that a GPU's copies reach directly (pinned). dev_put, dev_get, dev_copy and dev_zero take it in place of
 * device memory; operations do not. The host may read and write it after dev_sync. */
void *dev_host_alloc(size_t bytes);                              /* 256-byte aligned, 0; out of memory is die() */
void  dev_host_free(void *p);

/* Operations and the calls above go through the main queue. Copies between device memory and dev_host_alloc's may go
 * through two more, so that they run beside operations and beside each other: one for each direction. */
enum dev_queue { DEV_MAIN, DEV_IN, DEV_OUT, DEV_QUEUES };
void  dev_copy_on(enum dev_queue q, void *dst, const void *src, size_t bytes);
/* What is queued on `later` from now on begins when all that has been queued on `earlier` so far is done. */
void  dev_order(enum dev_queue later, enum dev_queue earlier);

/* Whether a token's log-prob has the same bits when it is sampled, scored and trained on. Always on a CPU; on a GPU
 * unless APPO_NUMERICS=fast, the default of bf16. */
bool  exact_numerics(void);
const char *dev_name(void);                                      /* "cpu", "simt", or the GPU's own name */
int   dev_threads(void);                                         /* worker threads of the CPU backend; 1 elsewhere */
void  dev_set_threads(int n);                                    /* results do not depend on it */

/* Counters since start: device allocations, host syncs (both stall a step), CUDA graphs captured and launched. */
struct dev_counts {
    int64_t allocs;
    int64_t syncs;
    int64_t captured;
    int64_t launched;
};
struct dev_counts dev_count(void);

/* CUDA graphs. Runs body(ctx). Where dev_graph_supported() (a GPU), the second call with the same graph captures the
 * operations of body and launches the graph, later calls launch it: a few microseconds for a whole decode step instead
 * of 2 to 4 for each of its kernels. So body must make the same calls with the same pointers, sizes and rules each
 * time, and must not put, get, allocate or sync. When scratch memory of operations has moved, the graph is captured
 * again. *g starts as NULL. */
struct dev_graph;
void dev_graph_run(struct dev_graph **g, void (*body)(void *ctx), void *ctx);
void dev_graph_free(struct dev_graph *g);                        /* NULL is fine */
bool dev_graph_supported(void);
/* off: body runs at every call; for comparisons */
void dev_graph_enable(bool on);

/* Scratch memory of operations, by a dry run: between dev_dry_begin() and dev_dry_end() nothing is computed or copied,
 * pointers are not followed, and each operation only notes how much scratch it needs; so one step of the largest size
 * finds the total before the work starts. dev_dry_end returns the bytes that operations will hold in all, and with
 * `take` allocates them, so that no later step allocates. dev_dry_begin returns false on a CPU: there is nothing to
 * find out, and operations compute as usual. */
bool   dev_dry_begin(void);
size_t dev_dry_end(bool take);
size_t dev_scratch(void);                                        /* bytes of scratch held now */

#ifdef __cplusplus
}
#endif
