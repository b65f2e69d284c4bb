/* embed.cu: the gradient of the token table. Rows are sorted by id, stably, eight bits at a time; then each stretch of
 * 64 sorted rows is summed run by run. A run that lies in one stretch is added to the table at once; one that crosses
 * leaves its pieces, which its first stretch adds up afterwards in ascending order. So every table row has one writer
 * and one order, without float atomics, and a token that fills the batch costs no more than others. */
#include "kernels/cuda/num.cuh"
#include "kernels/ops.h"

enum { TILE = 2048, WARPS = 8, BINS = 256, STRETCH = 64 };

/* A key that stands for an id outside of the vocabulary sorts behind all ids and is left out. */
__global__ void __launch_bounds__(256)
    embed_keys_kernel(int *key, int *row, const int *__restrict__ ids, int64_t n, int vocab)
{
    const int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (i >= n) return;
    key[i] = ids[i] >= 0 && ids[i] < vocab ? ids[i] : vocab;
    row[i] = (int)i;
}

/* count[bin][tile] = how many keys of the tile have these eight bits. */
__global__ void __launch_bounds__(256)
    sort_count_kernel(int *count, const int *__restrict__ key, int64_t n, int shift, int tiles)
{
    __shared__ int bins[BINS];
    bins[threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < TILE; i += 256) {
        const int64_t at = (int64_t)blockIdx.x * TILE + i;
        if (at < n) atomicAdd(&bins[key[at] >> shift & (BINS - 1)], 1);
    }
    __syncthreads();
    count[(int64_t)threadIdx.x * tiles + blockIdx.x] = bins[threadIdx.x];
}

/* count[] becomes its exclusive sums, in place; one block, thread t has the tiles of bin t. */
__global__ void __launch_bounds__(256) sort_scan_kernel(int *count, int tiles)
{
    __shared__ int sums[BINS];
    int *own = count + (int64_t)threadIdx.x * tiles, total = 0;
    for (int t = 0; t < tiles; t++) total += own[t];
    sums[threadIdx.x] = total;
    __syncthreads();
    int before = 0;
    for (int b = 0; b < (int)threadIdx.x; b++) before += sums[b];
    for (int t = 0; t < tiles; t++) {
        const int c = own[t];
        own[t] = before;
        before += c;
    }
}

/* Keys and rows of a tile to their places. A warp goes through its 256 keys 32 at a time; equal keys among them find
 * one another by eight votes. */
__global__ void __launch_bounds__(256)
    sort_move_kernel(int *key_to, int *row_to, const int *__restrict__ key, const int *__restrict__ row,
                     const int *__restrict__ start, int64_t n, int shift, int tiles)
{
    __shared__ int bins[WARPS][BINS];
    const int lane = threadIdx.x % 32, w = threadIdx.x / 32;
    const int64_t first = (int64_t)blockIdx.x * TILE + w * (TILE / WARPS);
    int rank[TILE / WARPS / 32], bin[TILE / WARPS / 32];
    for (int b = lane; b < BINS; b += 32) bins[w][b] = 0;
    __syncwarp();
    #pragma unroll
    for (int k = 0; k < TILE / WARPS / 32; k++) {
        const int64_t at = first + k * 32 + lane;
        unsigned same = __ballot_sync(0xffffffffu, at < n);
        bin[k] = at < n ? key[at] >> shift & (BINS - 1) : -1;
        #pragma unroll
        for (int bit = 0; bit < 8; bit++) {
            const unsigned have = __ballot_sync(0xffffffffu, bin[k] >> bit & 1);
            same &= bin[k] >> bit & 1 ? have : ~have;
        }
        const int before = __popc(same & ((1u << lane) - 1));
        const int base = bin[k] >= 0 ? bins[w][bin[k]] : 0;
        rank[k] = base + before;
        __syncwarp();
        if (bin[k] >= 0 && before == 0) bins[w][bin[k]] = base + __popc(same);
        __syncwarp();
    }
    __syncthreads();
    int sum = start[(int64_t)threadIdx.x * tiles + blockIdx.x];      /* bin threadIdx.x: where each warp's keys begin */
    for (int i = 0; i < WARPS; i++) {
        const int c = bins[i][threadIdx.x];
        bins[i][threadIdx.x] = sum;
        sum += c;
    }
    __syncthreads();
    #pragma unroll
    for (int k = 0; k < TILE / WARPS / 32; k++) {
        const int64_t at = first + k * 32 + lane;
        if (bin[k] < 0) continue;
        const int to = bins[w][bin[k]] + rank[k];
        key_to[to] = key[at];
        row_to[to] = row[at];
    }
}

/* A stretch of sorted rows, a thread one pack of columns. cross[stretch][2]: the run that comes in from the left, and
 * the one that goes on to the right. */
template <bool FAST>
__global__ void __launch_bounds__(256)
    embed_sum_kernel(acc_t *dtable, float *cross, const elem_t *__restrict__ dx, const int *__restrict__ key,
                     const int *__restrict__ row, int64_t n, int dim, int vocab)
{
    const int j = (blockIdx.y * blockDim.x + threadIdx.x) * PACK;
    const int64_t first = (int64_t)blockIdx.x * STRETCH, last = min(n, first + STRETCH);
    float s[PACK] = { };
    bool from_left = first > 0 && key[first - 1] == key[first];
    for (int64_t i = first; i < last && key[i] < vocab; i++) {
        float v[PACK];
        get<FAST>(v, dx + (int64_t)row[i] * dim + j, dim - j);
        #pragma unroll
        for (int k = 0; k < PACK; k++) s[k] += v[k];
        const bool goes_on = i + 1 < n && key[i + 1] == key[i];
        if (goes_on && i + 1 < last) continue;
        if (from_left || goes_on) put_acc<FAST>(cross + (2 * (int64_t)blockIdx.x + !from_left) * dim + j, s, dim - j);
        else {
            acc_t *to = dtable + (int64_t)key[i] * dim + j;
            get_acc<FAST>(v, to, dim - j);
            #pragma unroll
            for (int k = 0; k < PACK; k++) v[k] += s[k];
            put_acc<FAST>(to, v, dim - j);
        }
        from_left = false;
        #pragma unroll
        for (int k = 0; k < PACK; k++) s[k] = 0.0f;
    }
}

/* The stretch in which a crossing run begins adds up its pieces, in double. */
__global__ void __launch_bounds__(256) embed_cross_kernel(acc_t *dtable, const float *__restrict__ cross,
                                                          const int *__restrict__ key, int64_t n, int dim, int vocab)
{
    const int j = blockIdx.y * 256 + threadIdx.x;
    /* the run in question holds this row and the next */
    const int64_t last = ((int64_t)blockIdx.x + 1) * STRETCH - 1;
    if (j >= dim || last + 1 >= n || key[last] != key[last + 1] || key[last] >= vocab) return;
    const int64_t first = last + 1 - STRETCH;
    if (key[first] == key[last] && first > 0 && key[first - 1] == key[first]) return;
    double s = (double)cross[(2 * (int64_t)blockIdx.x + 1) * dim + j];
    for (int64_t b = blockIdx.x + 1; b * STRETCH < n && key[b * STRETCH] == key[last]; b++)
        s += (double)cross[2 * b * dim + j];
    acc_t *to = dtable + (int64_t)key[last] * dim + j;
    *to += (float)s;
}

struct sorted { int *key, *row; };

static struct sorted sort_rows(const int *ids, int64_t n, int vocab)
{
    const int tiles = (int)((n + TILE - 1) / TILE);
    const size_t each = (size_t)tiles * TILE;
    int *p = (int *)scratch(SCRATCH_SORT, (4 * each + (size_t)BINS * (size_t)tiles) * sizeof *p);
    struct sorted from = { p, p + each }, to = { p + 2 * each, p + 3 * each };
    int *count = p + 4 * each;
    LAUNCH(embed_keys_kernel, blocks_of(n, 256), 256, 0, queue(), from.key, from.row, ids, n, vocab);
    for (int shift = 0; vocab >> shift; shift += 8) {
        LAUNCH(sort_count_kernel, tiles, 256, 0, queue(), count, from.key, n, shift, tiles);
        LAUNCH(sort_scan_kernel, 1, 256, 0, queue(), count, tiles);
        LAUNCH(sort_move_kernel, tiles, 256, 0, queue(), to.key, to.row, from.key, from.row, count, n, shift, tiles);
        const struct sorted t = from;
        from = to;
        to = t;
    }
    return from;
}

/* Reads dx once; the sort moves 16 bytes a row and pass, two passes below a vocabulary of 65,536. */
extern "C" void op_embed_back(acc_t *dtable, const elem_t *dx, const int *ids, int64_t n, int dim, int vocab)
{
    if (n <= 0 || dim <= 0) return;
    if (n > INT32_MAX - TILE) die("op_embed_back: %lld rows; the sort takes %d", (long long)n, INT32_MAX - TILE);
    const struct sorted s = sort_rows(ids, n, vocab);
    const unsigned stretches = blocks_of(n, STRETCH);
    const int threads = threads_of(packs_of(dim), 256);
    const dim3 grid(stretches, blocks_of(packs_of(dim), threads));
    float *cross = (float *)scratch(SCRATCH_SUMS, (size_t)stretches * 2 * (size_t)dim * sizeof *cross);
    if (packed(dim, dx, dtable))
        LAUNCH(embed_sum_kernel<true>, grid, threads, 0, queue(), dtable, cross, dx, s.key, s.row, n, dim, vocab);
    else LAUNCH(embed_sum_kernel<false>, grid, threads, 0, queue(), dtable, cross, dx, s.key, s.row, n, dim, vocab);
    LAUNCH(embed_cross_kernel, dim3(stretches, blocks_of(dim, 256)), 256, 0, queue(), dtable, cross, s.key, n, dim,
           vocab);
}
