/* simt_warp.h: the rendezvous of the lanes of a warp, of a warpgroup and of a block: shuffles, votes, barriers. */
#pragma once

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

#define SIMT_SHFL(m, v, lane) simt_from<decltype((v) + 0)>(simt_meet(m, simt_bits((v) + 0), lane, __LINE__))
#define __shfl_xor_sync(m, v, o)  SIMT_SHFL(m, v, simt_lane() ^ (o))
#define __shfl_down_sync(m, v, o) SIMT_SHFL(m, v, simt_near((int)(o)))
#define __shfl_up_sync(m, v, o)   SIMT_SHFL(m, v, simt_near(-(int)(o)))
#define __shfl_sync(m, v, l)      SIMT_SHFL(m, v, (l) & 31)
#define __ballot_sync(m, p)       ((unsigned)simt_meet(m, (p) ? 1 : 0, -1, __LINE__))
#define __any_sync(m, p)          (__ballot_sync(m, p) != 0)
#define __all_sync(m, p)          (__ballot_sync(m, p) == (m))
#define __syncwarp(...)           ((void)simt_meet(0xffffffffu, 0, -1, __LINE__))
#define __syncthreads()           simt_block_barrier(__LINE__)
#define SHARED_DYN(type, name)    type *name = (type *)(void *)simt_b->dyn
