/* simt_cpu.h: CUDA kernel source on a CPU, one fiber per CUDA thread. A block runs on one OS thread; a fiber yields
 * only at a rendezvous (barrier, shuffle, vote), so code in between runs at native speed: 15 ns a lane and shuffle, 25
 * ns an empty thread. Two rendezvous on one source line are not distinguished. */
#pragma once
/* APPO_SIMT_ORDER=forward|reverse|both|SEED: the order of lanes, warps and blocks. both: every launch runs forward,
 * then again in reverse from the same device memory, which must come out with the same bits; it takes about twice the
 * time. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define __global__ static
#define __device__ static __attribute__((unused))
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __shared__ static __thread
#define __constant__ static
#define __align__(n) __attribute__((aligned(n)))
#define SIMT_CPU 1

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 { unsigned x, y, z; };

/* SIMT_SHARED_FROM: where dynamic shared memory begins in the shared window: not a multiple of 1024, on which no kernel
 * may rely. */
enum { SIMT_WARP = 32, SIMT_GROUP = 128, SIMT_MAX_THREADS = 1024, SIMT_SHARED = 227 << 10, SIMT_SHARED_FROM = 128 };

struct simt_fiber {
    void *sp;
    uint3 tid;
    int lane, warp;
    uint64_t val, res;      /* what this lane put in at a warp rendezvous, what it takes out */
    int src;                /* the lane whose value it asked for; -1: wants the vote word */
    unsigned mask;
    int line;               /* where it waits, for the report of a stuck block */
};
/* lanes that can run, that wait for the warp, for the block, for the four warps of a warpgroup */
struct simt_warp { unsigned run, meet, block, group; };
struct simt_kernel { const char *name; void (*fn)(void *); void *arg; size_t smem; };
struct simt_block {
    simt_fiber f[SIMT_MAX_THREADS];
    simt_warp w[SIMT_MAX_THREADS / SIMT_WARP];
    void *sched_sp;
    char *stacks, *dyn;
    int stacks_guarded, n, live;
    uint64_t serial;        /* counts the blocks that this OS thread has run */
    uint3 bid;
    dim3 bdim, gdim;
    const simt_kernel *k;
    simt_fiber *cur;
};
extern __thread simt_block *simt_b;

#define threadIdx (simt_b->cur->tid)
#define blockIdx  (simt_b->bid)
#define blockDim  (simt_b->bdim)
#define gridDim   (simt_b->gdim)
#define warpSize  32

/* Order 0: forward, 1: reverse, 2: both, 3 and more: shuffled by this seed. */
void simt_set_order(int order);
int  simt_get_order();
/* The message with which the last launch would have died, or NULL; only while simt_catch(true) is on (tests of the shim
 * itself). */
void simt_catch(bool on);
const char *simt_caught();

[[noreturn]] void simt_die(const char *what);
void simt_yield();
void simt_block_barrier(int line);
void simt_run_grid(dim3 g, dim3 b, simt_kernel k);

#include "kernels/simt/simt_warp.h"
#include "kernels/simt/simt_math.h"
#include "kernels/simt/simt_runtime.h"

/* The closure holds the arguments as they are now, as a launch on a GPU does: a launch that is being captured, or that
 * waits in its stream, runs later. */
template <class F>
static inline void simt_launch(cudaStream_t queue, dim3 g, dim3 b, const char *name, size_t smem, const F &f)
{
    simt_do(queue, [=] { simt_run_grid(g, b, { name, [](void *p) { (*(const F *)p)(); }, (void *)&f, smem }); });
}
template <class F, class... A> static inline auto simt_bind(F f, A... a) { return [=] { f(a...); }; }
#define LAUNCH(kernel, grid, block, smem, queue, ...) do { \
        auto simt_f_ = [=](auto... a_) { (kernel)(a_...); }; \
        if (!dry_run()) \
            simt_launch(queue, grid, block, #kernel, (size_t)(smem), simt_bind(simt_f_, ##__VA_ARGS__)); \
    } while (0)
