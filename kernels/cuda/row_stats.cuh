/* row_stats.cuh: the one function that reads a row of logits for its statistics, for op_row_stats and op_sample,
 * so that a token's logp and the entropy are the same bits when it is sampled and when it is scored. It is never
 * inlined: two kernels, one machine code.
 * With d = (x - max) / T <= 0 and mass = sum exp d: logp = d - ln mass <= 0 and entropy = ln mass - sum d exp(d) / mass
 * >= 0. */
#pragma once
#include "kernels/cuda/row.cuh"
#include <float.h>

/* float storage is the reference: every exponential is added in double. bf16: eight in float, then double, 0.25
 * conversions an exponential (a Hopper multiprocessor converts 16 a cycle and has to do 9 exponentials a cycle to keep
 * up with memory). */
template <int bytes> struct part_of { typedef double type; };
template <> struct part_of<2> { typedef float type; };
typedef part_of<sizeof(elem_t)>::type part;

struct row_part { float max; double mass, dot; };               /* dot = sum d exp d, d relative to this max */

/* The result in every thread of the team. stretch: the mass of the ids of warp number `lane`, relative to max, in lanes
 * 0 .. W-1. */
struct row_stat { double max, mass, log_mass, ent, stretch; };

/* Moves the sums from one maximum to a higher one. The lowest is finite, so that no sum of an empty part becomes
 * NaN. */
__device__ __forceinline__ void row_rebase(row_part &a, float max, double it)
{
    double by = ((double)a.max - (double)max) * it, e = exp(by);
    a.dot = fma(by, a.mass, a.dot) * e;
    a.mass = a.mass * e;
    a.max = max;
}

/* Eight instructions an element in bf16, of the fourteen for which there is time beside memory. y = -inf: p is 0, and 0
 * times -inf would be NaN, hence the maximum; a logit that is NaN stays one in mass. */
__device__ __forceinline__ void row_add(row_part &a, const float (&v)[CHUNK], double it)
{
    float top = v[0], t = (float)(it / row_unit());
    #pragma unroll
    for (int e = 1; e < CHUNK; e++) top = fmaxf(top, v[e]);
    if (top > a.max) row_rebase(a, top, it);
    part mass = 0, dot = 0;
    #pragma unroll
    for (int e = 0; e < CHUNK; e++) {
        float y = (v[e] - a.max) * t, p = row_power(y), q = fmaxf(y, -160.0f);
        mass += (part)p;
        dot = sizeof(part) == 4 ? (part)fmaf(p, q, (float)dot) : (part)fma((double)p, (double)q, (double)dot);
    }
    a.mass += (double)mass;
    a.dot = fma((double)dot, row_unit(), a.dot);
}

__device__ __forceinline__ row_part row_warp_join(row_part a, double it)
{
    row_rebase(a, warp_max(a.max), it);
    a.mass = warp_sum(a.mass);
    a.dot = warp_sum(a.dot);
    return a;
}

/* Where a warp starts: the largest of its first thousand logits. Without it some lane would meet a new maximum in most
 * steps, and all would wait for it. */
__device__ __forceinline__ float row_first_max(const float (&v)[4][CHUNK])
{
    float top = -FLT_MAX;
    #pragma unroll
    for (int u = 0; u < 4; u++) {
        #pragma unroll
        for (int e = 0; e < CHUNK; e++) top = fmaxf(top, v[u][e]);
    }
    return warp_max(top);
}

/* slot: W parts in shared memory, read until the caller's next team_sync. All threads of the team call. */
template <int W> __device__ __attribute__((noinline)) row_stat row_stat_of(row_view r, double it, row_part *slot)
{
    int chunks = row_chunks(r.vocab), per = (chunks + W - 1) / W, warp = team_warp<W>(), lane = threadIdx.x % 32;
    int end = (warp + 1) * per < chunks ? (warp + 1) * per : chunks;
    row_part a = { -FLT_MAX, 0, 0 };
    /* four loads in flight: 64 bytes a thread, 32 KB a block of 512 */
    for (int c = warp * per; c < end; c += 4 * 32) {
        float v[4][CHUNK];
        #pragma unroll
        for (int u = 0; u < 4; u++) row_load(v[u], r, c + 32 * u + lane < end ? c + 32 * u + lane : chunks);
        if (c == warp * per) a.max = row_first_max(v);
        #pragma unroll
        for (int u = 0; u < 4; u++) row_add(a, v[u], it);
    }
    a = row_warp_join(a, it);
    double stretch = a.mass;
    if (W > 1) {
        if (lane == 0) slot[warp] = a;
        team_sync<W>();
        row_part none = { -FLT_MAX, 0, 0 }, mine = lane < W ? slot[lane % W] : none;
        a = row_warp_join(mine, it);
        stretch = mine.mass * exp(((double)mine.max - (double)a.max) * it);
    }
    row_stat s = { (double)a.max, a.mass, log(a.mass), 0, stretch };
    double most = log((double)r.vocab);
    s.ent = s.log_mass - a.dot / a.mass;
    if (s.ent > most) s.ent = most;
    return s;
}

__device__ __forceinline__ acc_t row_logp(const row_stat &s, const elem_t *x, double it, int id)
{
    return (acc_t)fma((double)to_float(x[id]) - s.max, it, -s.log_mass);
}
