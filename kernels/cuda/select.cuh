/* select.cuh: the k highest logits of a row, or the highest that together weigh a share, without sorting: a histogram
 * over the distance from the largest logit (select_bins.cuh) finds the bin in which the limit falls, and the keys of
 * its few logits are bisected bit by bit. One read of the row where the logits that can matter fit into shared memory,
 * which is the rule in a trained model; else a second one that keeps those of the bin alone. */
#pragma once
#include "kernels/cuda/select_bins.cuh"

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

/* Of the list, leaves the logits of one bin; returns how many those are. Compacts in place, one
 * logit of every thread at a time: each place has been read before it is overwritten. */
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
                bool counts = v[e] >= by.least && v[e] > -INFINITY && key < below && key >> bit == prefix >> bit;
                if (counts && row_bin(by.top, v[e]) == bin) sum += select_units(by, v[e]);
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
