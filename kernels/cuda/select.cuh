/* select.cuh: which logits of a row are the best k, or the best that together weigh a share, without sorting: a
 * histogram over the distance from the largest logit finds the stretch in which the limit falls, and the keys of its
 * few logits are halved bit by bit. One read of the row where the logits that can matter fit into shared memory, which
 * is the rule in a trained model; else a second one that keeps those of the stretch alone.
 * Counts and weights are integers (2^-44 of the largest), so that the order in which threads add them is nothing. */
#pragma once
#include "kernels/cuda/row.cuh"

/* The kept ids: those with a lower key, and of those with this very key the first `ties` in id order. Keys sort from
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
    /* every passage of 2^32 is seen by the one that makes it */
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

/* Largest logit that may be drawn; -inf where there is none. */
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

/* The lowest logit of so many units, rather too low by far more than expf and the subtraction are off. */
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
    bool full = false;                                          /* seen by this thread: it need not count on */
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

/* The bin in which the sum from the top reaches *want; *before = the sum of the bins in front. *want is lowered to the
 * sum of all where that is less. */
template <int W> __device__ int select_find(select_room<W> *room, unsigned long long *want, unsigned long long *before)
{
    enum { EACH = BINS / 32 };
    int lane = threadIdx.x % 32;
    unsigned long long own = 0, upto;
    for (int k = 0; k < EACH; k++) own += bin_of(room, lane * EACH + k);
    upto = own;
    for (int o = 1; o < 32; o <<= 1) {
        unsigned long long left = __shfl_up_sync(FULL, upto, o);
        if (lane >= o) upto += left;
    }
    unsigned long long all = __shfl_sync(FULL, upto, 31);
    if (*want > all) *want = all;
    unsigned hit = __ballot_sync(FULL, upto >= *want);
    int who = __ffs((int)hit) - 1, bin = lane * EACH;
    unsigned long long at = upto - own;
    while (bin < lane * EACH + EACH - 1 && at + bin_of(room, bin) < *want) at += bin_of(room, bin++);
    *before = __shfl_sync(FULL, at, who);
    bin = __shfl_sync(FULL, bin, who);
    return bin;
}

/* Of the list, leaves the logits of one bin; returns how many those are. They move down, a logit of every thread at a
 * time: where they go has been read. */
template <int W> __device__ int select_keep(const select_by &by, int bin, select_room<W> *room)
{
    const int n = room->count;
    team_sync<W>();
    if (team_thread<W>() == 0) room->count = 0;
    for (int first = 0; first < n; first += 32 * W) {
        const int i = first + team_thread<W>();
        const float x = i < n ? room->list[i] : -INFINITY;
        team_sync<W>();
        if (x > -INFINITY && row_bin(by.top, x) == bin) room->list[atomicAdd(&room->count, 1)] = x;
        team_sync<W>();
    }
    return room->count;
}

/* Lists the logits of one bin out of the row; returns how many there are, more than LIST when they did not fit. */
template <int W>
__device__ int select_list(const row_view &r, const select_by &by, uint32_t below, int bin, select_room<W> *room)
{
    const float edge = bin < BINS - 1 ? by.top - (float)(bin + 1) / BINS_PER_UNIT : -INFINITY,
                least = edge - 1e-6f * fabsf(edge);
    team_sync<W>();                                             /* everybody has read the count */
    if (team_thread<W>() == 0) room->count = 0;
    team_sync<W>();
    row_walk(
        r, team_thread<W>(), row_chunks(r.vocab), 32 * W, fmaxf(least, by.least), [&](const float(&v)[CHUNK], int) {
            for (int e = 0; e < CHUNK; e++) {
                if (!(v[e] >= by.least && v[e] > -INFINITY && row_key(v[e]) < below && row_bin(by.top, v[e]) == bin))
                    continue;
                int at = atomicAdd(&room->count, 1);
                if (at < select_room<W>::LIST) room->list[at] = v[e];
            }
        });
    team_sync<W>();
    return room->count;
}

/* Sum over those of the bin whose key agrees with prefix above and in the given bit. n > LIST: the row itself is read,
 * for rows that are flat or all ties. */
template <int W>
__device__ unsigned long long select_half(const row_view &r, const select_by &by, uint32_t below, int bin, int n,
                                          uint32_t prefix, int bit, select_room<W> *room)
{
    unsigned long long sum = 0;
    if (n <= select_room<W>::LIST) {
        for (int i = team_thread<W>(); i < n; i += 32 * W)
            if (row_key(room->list[i]) >> bit == prefix >> bit) sum += select_units(by, room->list[i]);
    } else {
        row_walk(r, team_thread<W>(), row_chunks(r.vocab), 32 * W, by.least, [&](const float (&v)[CHUNK], int) {
            for (int e = 0; e < CHUNK; e++) {
                uint32_t key = row_key(v[e]);
                if (v[e] >= by.least && v[e] > -INFINITY && key < below && key >> bit == prefix >> bit && row_bin(by.top,
                  v[e]) == bin) sum += select_units(by, v[e]);
            }
        });
    }
    return team_sum<W>(sum, room->sum);
}

/* The least set of the highest logits (ties: lower ids) among those with a key lower than `below` whose sum reaches
 * want >= 1; all of them where it cannot. The row has at least one logit with units > 0 there. floor: lighter ones
 * cannot be in the set. Storage narrower than float has constant low bits, which are skipped. */
template <int W>
__device__ row_cut row_select(const row_view &r, select_by by, uint32_t below, unsigned long long want,
                              unsigned long long floor, select_room<W> *room)
{
    enum { LOW = 32 - 8 * (sizeof(elem_t) < 4 ? sizeof(elem_t) : 4) };
    unsigned long long at;
    by.least = by.weight ? select_least(by, floor) : want <= 32 * W ? row_least<W>(r, (int)want, room) : -INFINITY;
    select_bins<W>(r, by, below, floor, room);
    const int bin = select_find<W>(room, &want, &at), all = room->count;
    const int n = all <= select_room<W>::LIST ? select_keep<W>(by, bin, room) : select_list<W>(r, by, below, bin, room);
    uint32_t key = 0;
    for (int bit = 31; bit >= LOW; bit--) {
        unsigned long long half = select_half<W>(r, by, below, bin, n, key, bit, room);
        if (at + half >= want) continue;
        at += half;
        key |= 1u << bit;
    }
    if (!(key >> 31)) key |= (1u << LOW) - 1;            /* a positive logit's key is the complement of its bits */
    unsigned long long one = select_units(by, row_logit(key)), ties = one ? (want - at + one - 1) / one : 1;
    row_cut cut = { key, (int)(ties < 1 ? 1 : ties > 0x7fffffff ? 0x7fffffff : ties) };
    return cut;
}
