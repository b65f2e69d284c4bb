/* branch_select.cu: the best branch points of one prompt. One block: each round is a search for the best candidate that
 * is left, over some ten thousand positions out of L1, and there are as many rounds as points are wanted (tens). The
 * order is total: tier, rank, then the lower place. */
#include "kernels/cuda/rl.cuh"

/* most threads; positions a thread while there are fewer */
enum { SELECT_BLOCK = 512, SELECT_EACH = 8 };

struct select_args {
    struct branch_point *out;
    int *found;
    const acc_t *key, *zf, *zh;
    const uint8_t *ok;
    uint8_t *taken;                     /* [positions] 1: chosen, or too close to a point that is */
    const int64_t *begin;
    const int *order;                   /* NULL: rows ascending */
    int rows;
    struct select_rule r;
};

/* key: tier, then rank as an integer that sorts as it does; 0: none. at: position in the batch, which ascends with row
 * and position. */
struct candidate { unsigned long long key; int at; };

__device__ __forceinline__ bool better(const candidate &a, const candidate &b)
{
    return a.key > b.key || (a.key == b.key && a.at < b.at);
}

__device__ __forceinline__ bool is_strict(const select_args &a, int64_t i)
{
    return a.zh[i] > 0 && a.zf[i] > 0 && a.key[i] > 0;
}

__device__ __forceinline__ candidate candidate_at(const select_args &a, int64_t i)
{
    candidate none = { 0, 0 };
    if (a.taken[i] || !a.ok[i] || isnan(a.key[i])) return none;
    bool first = a.r.strict_first && is_strict(a, i);
    acc_t rank = a.r.strict_first && !first && a.r.fallback_by_entropy ? a.zh[i] : a.key[i];
    if (isnan(rank)) return none;
    uint32_t bits = __float_as_uint(rank + 0.0f);               /* -0 and 0 are the same rank */
    candidate c = { (unsigned long long)(2 * a.ok[i] + first) << 32 | (bits >> 31 ? ~bits : bits | 1u << 31), (int)i };
    return c;
}

__device__ __forceinline__ candidate warp_best(candidate c)
{
    for (int o = 16; o > 0; o >>= 1) {
        candidate d;
        d.key = __shfl_xor_sync(RL_ALL, c.key, o);
        d.at = __shfl_xor_sync(RL_ALL, c.at, o);
        if (better(d, c)) c = d;
    }
    return c;
}

/* The best of the positions from .. to-1, in every thread. */
__device__ __forceinline__ candidate block_best(const select_args &a, int64_t from, int64_t to, candidate *slot)
{
    candidate best = { 0, 0 };
    for (int64_t i = from + threadIdx.x; i < to; i += blockDim.x) {
        candidate c = candidate_at(a, i);
        if (better(c, best)) best = c;
    }
    best = warp_best(best);
    if (threadIdx.x % 32 == 0) slot[threadIdx.x / 32] = best;
    __syncthreads();
    int lane = threadIdx.x % 32;
    candidate none = { 0, 0 };
    best = warp_best(lane < (int)(blockDim.x / 32) ? slot[lane] : none);
    __syncthreads();
    return best;
}

/* Writes point number `found`; its neighbours in the row are no candidates any more. One thread. */
__device__ __forceinline__ void choose(const select_args &a, const candidate &c, int found)
{
    int lo = 0, hi = a.rows - 1;
    /* the last row that begins at or before c.at: the one that holds it */
    while (lo < hi) {
        int mid = lo + (hi - lo + 1) / 2;
        if (a.begin[mid] <= c.at) lo = mid;
        else hi = mid - 1;
    }
    int64_t first = a.begin[lo], end = a.begin[lo + 1], gap = a.r.min_gap > 1 ? a.r.min_gap : 1;
    struct branch_point p = { lo, (int)(c.at - first), a.key[c.at], is_strict(a, c.at) };
    a.out[found] = p;
    if (c.at - gap + 1 > first) first = c.at - gap + 1;
    if (c.at + gap < end) end = c.at + gap;
    for (int64_t i = first; i < end; i++) a.taken[i] = 1;
}

/* At most `most` points of the positions from .. to-1; returns how many there are by then. */
__device__ __forceinline__ int take(const select_args &a, int64_t from, int64_t to, int most, int found,
                                    candidate *slot)
{
    for (; most > 0 && found < a.r.want; most--) {
        candidate c = block_best(a, from, to, slot);
        if (!c.key) break;                                      /* the same in every thread */
        if (threadIdx.x == 0) choose(a, c, found);
        found++;
        __syncthreads();
    }
    return found;
}

__global__ void __launch_bounds__(SELECT_BLOCK) branch_select_kernel(select_args a)
{
    __shared__ candidate slot[SELECT_BLOCK / 32];
    int found = 0;
    int64_t n = a.begin[a.rows];
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) a.taken[i] = 0;
    __syncthreads();
    bool by_row = a.r.per_row > 0;
    for (int k = 0; k < (by_row ? a.rows : 1); k++) {
        int row = by_row && a.order ? a.order[k] : k;
        found = take(a, by_row ? a.begin[row] : 0, by_row ? a.begin[row + 1] : n, by_row ? a.r.per_row : a.r.want,
                     found, slot);
    }
    if (threadIdx.x) return;
    for (int i = found; found && i < a.r.want; i++) a.out[i] = a.out[i - found];
    *a.found = found;
}

extern "C" int op_branch_select(struct branch_point *out, const struct select_in *in, const struct select_rule *r)
{
    int rows = in->rows;
    if (rows <= 0 || r->want <= 0) return 0;
    int64_t base = in->begin[0], *at = rl_begin(in->begin, rows);
    int found = 0;
    size_t n = (size_t)(in->begin[rows] - base), w = n * sizeof(acc_t), points = (size_t)r->want * sizeof *out;
    ENSURE(n <= INT32_MAX);
    /* out stays as it is where there is no candidate */
    struct branch_point *chosen = (struct branch_point *)xcalloc((size_t)r->want, sizeof *chosen);
    enum { KEY, ZF, ZH, OK, BEGIN, ORDER, OUT, FOUND, TAKEN, COUNT };
    struct stage s[COUNT] = {
        { in->key + base, NULL, w, NULL }, { in->zf + base, NULL, w, NULL }, { in->zh + base, NULL, w, NULL },
        { in->ok + base, NULL, n, NULL }, { at, NULL, ((size_t)rows + 1) * sizeof *at, NULL },
        { in->order, NULL, rl_bytes(in->order, (size_t)rows * sizeof *in->order), NULL },
        { NULL, chosen, points, NULL }, { NULL, &found, sizeof found, NULL }, { NULL, NULL, n, NULL },
    };
    stage_put(s, COUNT);
    select_args a = { (struct branch_point *)s[OUT].dev,
                      (int *)s[FOUND].dev,
                      (const acc_t *)s[KEY].dev,
                      (const acc_t *)s[ZF].dev,
                      (const acc_t *)s[ZH].dev,
                      (const uint8_t *)s[OK].dev,
                      (uint8_t *)s[TAKEN].dev,
                      (const int64_t *)s[BEGIN].dev,
                      (const int *)s[ORDER].dev,
                      rows,
                      *r };
    LAUNCH((branch_select_kernel), 1, threads_of(((int64_t)n + SELECT_EACH - 1) / SELECT_EACH, SELECT_BLOCK), 0,
           queue(), a);
    stage_get(s, COUNT);
    if (found) memcpy(out, chosen, points);
    free(chosen);
    free(at);
    return found ? r->want : 0;
}
