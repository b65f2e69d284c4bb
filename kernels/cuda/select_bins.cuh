/* select_bins.cuh: keys that sort logits, the histogram over the distance from the largest logit, and the list of the
 * logits that can matter, in shared memory; select.cuh chooses by them. Counts and weights are integers (2^-44 of the
 * largest), so that the order in which threads add them does not matter. */
#pragma once
#include "kernels/cuda/row.cuh"

/* The kept ids: those with a lower key, and of those with exactly this key the first `ties` in id order. Keys sort from
 * the highest logit down. */
struct row_cut { uint32_t key; int ties; };
/* no logit has this key */
__host__ __device__ constexpr row_cut cut_nothing() { return row_cut{ 0xffffffffu, 0 }; }

__device__ __forceinline__ uint32_t row_key(float x)
{
    uint32_t b = __float_as_uint(x + 0.0f);                     /* -0 and 0 are the same logit */
    return b >> 31 ? b : ~(b | 1u << 31);
}
__device__ __forceinline__ float row_logit(uint32_t key)
{
    return __uint_as_float(key >> 31 ? key : ~key & 0x7fffffffu);
}

/* No kept logit is lower. */
__device__ __forceinline__ float cut_least(uint32_t key) { return key == 0xffffffffu ? -INFINITY : row_logit(key); }

/* 64 units of logit; what is further away shares the last bin */
enum { BINS = 512, BINS_PER_UNIT = 8 };
__device__ __forceinline__ int row_bin(float top, float x)
{
    return (int)fminf((top - x) * BINS_PER_UNIT, BINS - 1.0f);
}

/* Shared memory of one team. A bin is two words: atomics of 64 bits in shared memory are loops of compare-and-swap,
 * those of 32 one instruction (SASS of sm_90: ATOMS.CAST.SPIN.64 and ATOMS.ADD). */
template <int W> struct select_room {
    enum { LIST = 16 * 32 * W };
    unsigned low[BINS], high[BINS];
    float list[LIST];
    unsigned long long sum[W];
    float max[W];
    int count;
};
template <int W> __device__ __forceinline__ void bin_add(select_room<W> *room, int b, unsigned long long units)
{
    const unsigned low = (unsigned)units, before = low ? atomicAdd(&room->low[b], low) : 0;
    /* the add that crosses 2^32 carries into the high word */
    const unsigned high = (unsigned)(units >> 32) + (before + low < before);
    if (high) atomicAdd(&room->high[b], high);
}
template <int W> __device__ __forceinline__ unsigned long long bin_of(const select_room<W> *room, int b)
{
    return (unsigned long long)room->high[b] << 32 | room->low[b];
}

/* How logits count: 1 each, or by their weight exp((x - top) it) in units of 2^-44: 2^18 ids stay below 2^62. least:
 * lower ones cannot matter. */
struct select_by { float top, it; bool weight; float least; };
__device__ __forceinline__ unsigned long long select_units(const select_by &by, float x)
{
    if (!by.weight) return 1;
    float d = (x - by.top) * by.it;
    return d < -105.0f ? 0 : (unsigned long long)(expf(d) * 0x1p44f);
}

/* Largest logit that may be sampled; -inf where there is none. */
template <int W> __device__ float row_top(const row_view &r, select_room<W> *room)
{
    float top = -INFINITY;
    row_walk(r, team_thread<W>(), row_chunks(r.vocab), 32 * W, -INFINITY, [&](const float (&v)[CHUNK], int) {
        for (int e = 0; e < CHUNK; e++) top = fmaxf(top, v[e]);
    });
    return team_max<W>(top, room->max);
}

/* A logit that at least k ids reach, found without the whole row: the k-th largest of the largest logits of as many
 * disjoint parts as there are threads, four chunks each; some k / (the share of the row that was read) ids reach it.
 * -inf where k is more than the threads. */
template <int W> __device__ float row_least(const row_view &r, int k, select_room<W> *room)
{
    const int t = team_thread<W>(), chunks = row_chunks(r.vocab), last = MIN(chunks, 4 * 32 * W);
    if (k > 32 * W) return -INFINITY;
    float top = -INFINITY;
    row_walk(r, t, last, 32 * W, -INFINITY, [&](const float (&v)[CHUNK], int) {
        for (int e = 0; e < CHUNK; e++) top = fmaxf(top, v[e]);
    });
    room->list[t] = top;
    team_sync<W>();
    int above = 0, upto = 0;
    for (int i = 0; i < 32 * W; i++) above += room->list[i] > top, upto += room->list[i] >= top;
    float least = team_max<W>(above < k && k <= upto ? top : -INFINITY, room->max);
    team_sync<W>();
    return least;
}

/* The lowest logit of so many units, lowered by far more than the errors of expf and the subtraction. */
__device__ __forceinline__ float select_least(const select_by &by, unsigned long long floor)
{
    if (!floor) return -INFINITY;
    const double d = log((double)floor * 0x1p-44) - 1e-3;
    return (float)((double)by.top + d / (double)by.it - 1e-6 * fabs((double)by.top));
}

/* Sum over the ids with a key lower than `below`. */
template <int W>
__device__ unsigned long long row_units(const row_view &r, const select_by &by, uint32_t below, select_room<W> *room)
{
    unsigned long long sum = 0;
    row_walk(r, team_thread<W>(), row_chunks(r.vocab), 32 * W, cut_least(below), [&](const float (&v)[CHUNK], int) {
        for (int e = 0; e < CHUNK; e++) if (v[e] > -INFINITY && row_key(v[e]) < below) sum += select_units(by, v[e]);
    });
    return team_sum<W>(sum, room->sum);
}

/* Fills the bins with the ids whose key is lower than `below` and whose units are not below `floor`, and lists those
 * that count; room->count becomes more than LIST where they do not fit. */
template <int W>
__device__ void select_bins(const row_view &r, const select_by &by, uint32_t below, unsigned long long floor,
                            select_room<W> *room)
{
    const int t = team_thread<W>();
    bool full = false;                                          /* seen by this thread, which then stops listing */
    for (int b = t; b < BINS; b += 32 * W) room->low[b] = room->high[b] = 0;
    if (t == 0) room->count = 0;
    team_sync<W>();
    row_walk(r, t, row_chunks(r.vocab), 32 * W, by.least, [&](const float (&v)[CHUNK], int) {
        for (int e = 0; e < CHUNK; e++) {
            if (!(v[e] >= by.least && v[e] > -INFINITY && row_key(v[e]) < below)) continue;
            unsigned long long u = select_units(by, v[e]);
            if (!u || u < floor) continue;
            bin_add(room, row_bin(by.top, v[e]), u);
            if (full) continue;
            const int at = atomicAdd(&room->count, 1);
            full = at >= select_room<W>::LIST;
            if (!full) room->list[at] = v[e];
        }
    });
    team_sync<W>();
}
