/* simt_cpu.h: CUDA kernel source on a CPU, one fiber per CUDA thread. A block runs on one OS thread; a fiber gives way
 * only at a rendezvous (barrier, shuffle, vote), so code in between runs at native speed: 15 ns a lane and shuffle, 25
 * ns an empty thread. Two rendezvous on one source line are not told apart. */
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

/* SIMT_SHARED_FROM: where dynamic shared memory begins in the shared window: not a multiple of 1024, which nobody may
 * count on. */
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
/* The sentence in which the last launch would have died, or NULL; only while simt_catch(true) is on (tests of the shim
 * itself). */
void simt_catch(bool on);
const char *simt_caught();

[[noreturn]] void simt_die(const char *what);
void simt_yield();
void simt_block_barrier(int line);
void simt_run_grid(dim3 g, dim3 b, simt_kernel k);

/* Every warp rendezvous is this: put a value in, name a source lane, wait for the mask. */
static inline uint64_t simt_meet(unsigned mask, uint64_t v, int src, int line)
{
    simt_fiber *me = simt_b->cur, *f = simt_b->f + me->warp * SIMT_WARP;
    simt_warp *w = simt_b->w + me->warp;
    me->val = v; me->src = src; me->mask = mask; me->line = line;
    w->meet |= 1u << me->lane;
    if (!(mask >> me->lane & 1)) simt_die("a lane that its own mask leaves out");
    if ((w->meet & mask) == mask) {                 /* last in: hand everyone their value */
        uint64_t vote = 0;
        for (unsigned m = mask; src < 0 && m; m &= m - 1) vote |= (f[__builtin_ctz(m)].val & 1) << __builtin_ctz(m);
        for (unsigned m = mask; m; m &= m - 1) {
            simt_fiber *o = f + __builtin_ctz(m);
            if (o->mask != mask || o->line != line) simt_die("lanes of one warp meet at different places");
            if (o->src >= 0 && !(mask >> (o->src & 31) & 1)) simt_die("a shuffle reads a lane outside its mask");
            o->res = o->src < 0 ? vote : f[o->src & 31].val;
        }
        w->meet &= ~mask; w->run |= mask;
    } else {
        w->run &= ~(1u << me->lane);
        simt_yield();
    }
    return me->res;
}

/* A warp-wide operation on data the lanes hold (a tensor-core product): the last lane in does it for all. */
static inline void simt_collective(unsigned mask, void *p, void (*op)(void **), int line)
{
    simt_fiber *me = simt_b->cur, *f = simt_b->f + me->warp * SIMT_WARP;
    simt_warp *w = simt_b->w + me->warp;
    me->val = (uint64_t)p; me->mask = mask; me->line = line;
    w->meet |= 1u << me->lane;
    if ((w->meet & mask) == mask) {
        void *all[SIMT_WARP];
        for (int l = 0; l < SIMT_WARP; l++) {
            if (f[l].mask != mask || f[l].line != line) simt_die("lanes of one warp meet at different places");
            all[l] = (void *)f[l].val;
        }
        op(all);
        w->meet &= ~mask; w->run |= mask;
    } else {
        w->run &= ~(1u << me->lane);
        simt_yield();
    }
}

/* The same for a warpgroup: four warps, the first a multiple of 4. p[] has what its 128 lanes gave. */
static inline void simt_warpgroup(void *p, void (*op)(void **), int line)
{
    simt_fiber *me = simt_b->cur, *f = simt_b->f + me->warp / 4 * SIMT_GROUP;
    simt_warp *w = simt_b->w + me->warp, *first = simt_b->w + me->warp / 4 * 4;
    me->val = (uint64_t)p; me->line = line;
    w->group |= 1u << me->lane;
    if ((me->warp / 4 + 1) * SIMT_GROUP > simt_b->n) simt_die("a warpgroup of less than four warps");
    if ((first[0].group & first[1].group & first[2].group & first[3].group) == ~0u) {
        void *all[SIMT_GROUP];
        for (int l = 0; l < SIMT_GROUP; l++) {
            if (f[l].line != line) simt_die("lanes of one warpgroup meet at different places");
            all[l] = (void *)f[l].val;
        }
        op(all);
        for (int i = 0; i < 4; i++) first[i].group = 0, first[i].run = ~0u;
    } else {
        w->run &= ~(1u << me->lane);
        simt_yield();
    }
}

template <class T> static inline uint64_t simt_bits(T v)
{
    static_assert(sizeof(T) <= 8);
    uint64_t u = 0;
    memcpy(&u, &v, sizeof v);
    return u;
}
template <class T> static inline T simt_from(uint64_t u) { T v; memcpy(&v, &u, sizeof v); return v; }
static inline int simt_lane() { return simt_b->cur->lane; }
static inline int simt_near(int by) { int l = simt_lane() + by; return l < 0 || l > 31 ? simt_lane() : l; }

#define __shfl_xor_sync(m, v, o)  simt_from<decltype((v) + 0)>(simt_meet(m, simt_bits((v) + 0), simt_lane() ^ (o), __LINE__))
#define __shfl_down_sync(m, v, o) simt_from<decltype((v) + 0)>(simt_meet(m, simt_bits((v) + 0), simt_near((int)(o)), __LINE__))
#define __shfl_up_sync(m, v, o)   simt_from<decltype((v) + 0)>(simt_meet(m, simt_bits((v) + 0), simt_near(-(int)(o)), __LINE__))
#define __shfl_sync(m, v, l)      simt_from<decltype((v) + 0)>(simt_meet(m, simt_bits((v) + 0), (l) & 31, __LINE__))
#define __ballot_sync(m, p)       ((unsigned)simt_meet(m, (p) ? 1 : 0, -1, __LINE__))
#define __any_sync(m, p)          (__ballot_sync(m, p) != 0)
#define __all_sync(m, p)          (__ballot_sync(m, p) == (m))
#define __syncwarp(...)           ((void)simt_meet(0xffffffffu, 0, -1, __LINE__))
#define __syncthreads()           simt_block_barrier(__LINE__)
#define SHARED_DYN(type, name)    type *name = (type *)(void *)simt_b->dyn

#include "kernels/simt/simt_math.h"
#include "kernels/simt/simt_runtime.h"

/* The closure holds the arguments as they are now: a launch that is being captured runs later, any number of times. */
template <class F>
static inline void simt_launch(cudaStream_t queue, dim3 g, dim3 b, const char *name, size_t smem, const F &f)
{
    simt_do(queue, [=] { simt_run_grid(g, b, { name, [](void *p) { (*(const F *)p)(); }, (void *)&f, smem }); });
}
#define LAUNCH(kernel, grid, block, smem, queue, ...) do { \
        auto simt_f_ = [=] { (kernel)(__VA_ARGS__); }; \
        if (!dry_run()) simt_launch(queue, grid, block, #kernel, (size_t)(smem), simt_f_); \
    } while (0)
