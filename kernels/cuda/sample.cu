/* sample.cu: samples one id per row of logits, a block a row. Without top-k, top-p and mask: the read of op_row_stats,
 * which leaves the mass of every warp's stretch of ids, then 1/16 of the row again and 1/256 of it again. A limit costs
 * two more reads, one that selects and one that weighs what is kept (a third where more logits matter than shared
 * memory holds), out of L2 where 256 rows of 152 k in bf16 (78 MB) half fit. Weights are added in id order in three
 * levels, so that a sample is a function of the row, the rule and the key alone. */
#include "kernels/cuda/philox.cuh"
#include "kernels/cuda/row_stats.cuh"
#include "kernels/cuda/select.cuh"
#include "kernels/cuda/trap.cuh"
#include "kernels/ops.h"

struct sample_run {
    int *id;
    acc_t *logp, *ent;
    const elem_t *x;
    struct sample_rule rule;
    const struct sample_key *key;
    int64_t n, ld;
    int vocab;
    double inv_temp;
};

template <int W> struct sample_room { select_room<W> select; row_part part[W]; double mass[W]; int ties[W]; };

/* State of sampling one row: the weight in front of the remaining ids, the target weight, how many ties may still be
 * taken. */
struct draw { row_cut cut; float top, it; double tie, at, want; int left; };

__device__ __forceinline__ double chunk_weight(int *ties, const float (&v)[CHUNK], const draw &d)
{
    double mass = 0;
    for (int e = 0; e < CHUNK; e++) {
        if (!(v[e] > -INFINITY)) continue;
        uint32_t key = row_key(v[e]);
        if (key < d.cut.key) mass += (double)elem_exp((v[e] - d.top) * d.it);
        else if (key == d.cut.key) ++*ties;
    }
    return mass;
}

/* The first id of the chunk with which the sum passes d.want, or the last one of any weight. at and left are those in
 * front of the chunk. */
__device__ __forceinline__ int chunk_pick(const float (&v)[CHUNK], const draw &d, double at, int left, int first)
{
    int id = -1;
    for (int e = 0; e < CHUNK; e++) {
        if (!(v[e] > -INFINITY) || (id >= 0 && at > d.want)) continue;
        uint32_t key = row_key(v[e]);
        double w = key < d.cut.key                  ? (double)elem_exp((v[e] - d.top) * d.it)
                   : key == d.cut.key && left-- > 0 ? d.tie
                                                    : 0;
        at += w;
        if (w > 0) id = first + e;
    }
    return id;
}

/* Each warp weighs its W-th of the chunks from .. to-1: `per` chunks by warp. */
template <int W>
__device__ void draw_weigh(sample_room<W> *room, const row_view &r, const draw &d, int from, int to, int per)
{
    int warp = team_warp<W>(), begin = from + warp * per, end = begin + per < to ? begin + per : to, ties = 0;
    double mass = 0;
    row_walk(r, begin + (int)threadIdx.x % 32, end, 32, cut_least(d.cut.key),
             [&](const float(&v)[CHUNK], int) { mass += chunk_weight(&ties, v, d); });
    mass = warp_sum(mass);
    ties = warp_sum(ties);
    team_sync<W>();                                             /* all have read the old contents */
    if (threadIdx.x % 32 == 0) room->mass[warp] = mass, room->ties[warp] = ties;
    team_sync<W>();
}

__device__ __forceinline__ double with_ties(double mass, int ties, int left, double tie)
{
    return fma((double)(ties < left ? ties : left), tie, mass);
}

template <int W> __device__ double draw_total(const sample_room<W> *room, const draw &d)
{
    double all = 0;
    int left = d.left;
    for (int w = 0; w < W; w++) {
        all += with_ties(room->mass[w], room->ties[w], left, d.tie);
        left -= room->ties[w] < left ? room->ties[w] : left;
    }
    return all;
}

/* The stretch in which the sum passes d.want, or the last one of any weight; d moves to its beginning. */
template <int W> __device__ int draw_stretch(const sample_room<W> *room, draw &d)
{
    double at = d.at, found_at = d.at;
    int left = d.left, found_left = d.left, found = 0;
    for (int w = 0; w < W; w++) {
        double weight = with_ties(room->mass[w], room->ties[w], left, d.tie);
        if (weight > 0) {
            found = w, found_at = at, found_left = left;
            if (at + weight > d.want) break;
        }
        at += weight;
        left -= room->ties[w] < left ? room->ties[w] : left;
    }
    d.at = found_at, d.left = found_left;
    return found;
}

/* One warp searches the chunks from .. to-1, 32 at a time. */
__device__ int draw_walk(const row_view &r, draw d, int from, int to)
{
    int lane = threadIdx.x % 32, id = -1;
    for (int c = from; c < to; c += 32) {
        float v[CHUNK];
        int ties = 0, upto_ties, own = -1;
        row_load(v, r, c + lane < to ? c + lane : row_chunks(r.vocab));
        double mass = chunk_weight(&ties, v, d), weight, upto;
        upto_ties = ties;
        for (int o = 1; o < 32; o <<= 1) {
            int before = __shfl_up_sync(FULL, upto_ties, o);
            if (lane >= o) upto_ties += before;
        }
        int left = d.left - (upto_ties - ties);
        weight = with_ties(mass, ties, left > 0 ? left : 0, d.tie);
        upto = weight;
        for (int o = 1; o < 32; o <<= 1) {
            double before = __shfl_up_sync(FULL, upto, o);
            if (lane >= o) upto += before;
        }
        unsigned hit = __ballot_sync(FULL, weight > 0 && d.at + upto > d.want), some = __ballot_sync(FULL, weight > 0);
        if (weight > 0) own = chunk_pick(v, d, d.at + (upto - weight), left, (c + lane) * CHUNK);
        int who = hit ? __ffs((int)hit) - 1 : some ? 31 - __clz((int)some) : 0, candidate = __shfl_sync(FULL, own, who);
        if (candidate >= 0) id = candidate;
        if (hit) break;
        d.at += __shfl_sync(FULL, upto, 31);
        int used = __shfl_sync(FULL, upto_ties, 31);
        d.left -= used < d.left ? used : d.left;
    }
    return id;
}

/* The ids that top-k and top-p leave of those the mask allows. mass: of the whole row, used where there is neither mask
 * nor top-k. */
template <int W>
__device__ row_cut sample_cut(select_room<W> *room, const row_view &r, const sample_run &a, float top, double mass)
{
    row_cut cut = cut_nothing();
    select_by by = { top, (float)a.inv_temp, false, -INFINITY };
    bool by_k = a.rule.top_k > 0 && a.rule.top_k < a.vocab;
    if (by_k) cut = row_select<W>(r, by, cut.key, (unsigned long long)a.rule.top_k, 0, room);
    if (!(a.rule.top_p < 1)) return cut;
    by.weight = true;
    unsigned long long lower =
        by_k || r.allow ? row_units<W>(r, by, cut.key, room) : (unsigned long long)(mass * 0x1p44);
    unsigned long long one = by_k ? select_units(by, row_logit(cut.key)) : 0,
                       all = lower + (unsigned long long)cut.ties * one;
    double share = a.rule.top_p > 0 ? a.rule.top_p : 0;
    unsigned long long want = (unsigned long long)ceil(share * (double)all),
                       floor = (unsigned long long)((1 - share) * (double)all / a.vocab / 2);
    if (want < 1) want = 1;
    if (by_k && want > lower) {
        unsigned long long ties = one ? (want - lower + one - 1) / one : 1;
        if (ties < (unsigned long long)cut.ties) cut.ties = (int)ties;
        return cut;
    }
    return row_select<W>(r, by, cut.key, want, floor, room);
}

/* The id of the row, in the first warp. max, mass: of the whole row; room->mass has the masses of its stretches. */
template <int W>
__device__ int sample_row(sample_room<W> *room, const row_view &r, const sample_run &a, int64_t i, double max,
                          double mass)
{
    int chunks = row_chunks(a.vocab), per = (chunks + W - 1) / W, from = 0, to = chunks;
    draw d = { cut_nothing(), r.allow ? row_top<W>(r, &room->select) : (float)max, (float)a.inv_temp, 0, 0, 0, 0 };
    if (!(d.top > -INFINITY)) kernel_die("op_sample: the mask allows no id at all", i);
    bool greedy = !(a.rule.temperature > 0), limited = a.rule.top_p < 1 || (a.rule.top_k > 0 && a.rule.top_k < a.vocab);
    if (greedy) d.cut.key = row_key(d.top), d.cut.ties = 1;
    else if (limited) d.cut = sample_cut<W>(&room->select, r, a, d.top, mass);
    if (d.cut.ties > 0) d.tie = (double)elem_exp((row_logit(d.cut.key) - d.top) * d.it);
    d.left = d.cut.ties;
    if (greedy || limited || r.allow) draw_weigh<W>(room, r, d, 0, chunks, per);
    else team_sync<W>();
    struct sample_key k = a.key[i];
    uint32_t word = philox_draw(a.rule.seed, k.pos, k.rollout, k.prompt, k.step).v[0];
    d.want = ((double)word + 0.5) * 0x1p-32 * draw_total<W>(room, d);
    if (W > 1) {
        for (int level = 0; level < 2; level++) {
            int w = draw_stretch<W>(room, d);
            from += w * per;
            to = from + per < to ? from + per : to;
            per = (per + W - 1) / W;
            if (level == 0) draw_weigh<W>(room, r, d, from, to, per);
        }
    }
    return team_warp<W>() == 0 ? draw_walk(r, d, from, to) : -1;
}

template <int W> __global__ void __launch_bounds__(team_block(W), W == 16 ? 2 : 1) sample_kernel(sample_run a)
{
    __shared__ sample_room<W> rooms[team_rows(W)];
    int64_t i = team_row<W>();
    if (i >= a.n) return;                                       /* whole warps, and only where a row is one warp */
    sample_room<W> *room = &rooms[team_slot<W>()];
    row_view all = row_at(a.x, i, a.ld, a.vocab, NULL), r = row_at(a.x, i, a.ld, a.vocab, a.rule.allow);
    row_stat s = row_stat_of<W>(all, a.inv_temp, room->part);
    if (!(s.mass >= 1))
        kernel_die("op_sample: a row of the logits holds a NaN or an infinity: the weights have diverged", i);
    /* stored now: registers are scarce below */
    if (team_thread<W>() < W) room->mass[team_thread<W>()] = s.stretch, room->ties[team_thread<W>()] = 0;
    if (team_thread<W>() == 0 && a.ent) a.ent[i] = (acc_t)s.ent;
    int id = sample_row<W>(room, r, a, i, s.max, s.mass);
    if (team_thread<W>() != 0) return;
    if (id < 0) kernel_die("op_sample: no id has a weight", i);
    a.id[i] = id;
    if (a.logp) a.logp[i] = row_logp(s, all.x, a.inv_temp, id);
}

extern "C" void op_sample(struct sample_args a)
{
    const double t = a.rule->temperature;
    ENSURE(a.vocab > 0 && a.vocab <= 1 << 18 && a.ld >= a.vocab && t >= 0);
    if (a.n <= 0) return;
    sample_run run = { a.id, a.logp, a.ent, a.x, *a.rule, a.key, a.n, a.ld, a.vocab, t > 0 ? 1 / t : 1 };
    LAUNCH_ROWS(sample_kernel, run.n, run.vocab, run);
}
