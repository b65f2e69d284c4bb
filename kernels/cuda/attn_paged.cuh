/* attn_paged.cuh: what the two paged kernels share. Rows whose pages for a stretch of positions are the same read it
 * once: of every window of rows the first such row is the reader and works for all of them, the blocks of the others
 * pass on. Each stretch leaves its own sums, which a last kernel joins. */
#pragma once
#include "kernels/cuda/attn_chunk.cuh"

/* rows that may share a read: one thread a row and page, 256 threads for the 16 pages of 256 positions */
enum { WINDOW = 16 };

struct paged {
    const int *table, *pos;
    float *part;                    /* [n][heads][stretches][hd + 2]: sums, maximum, sum of weights */
    struct heads h;
    int n, ld, stretches, window;
};

/* The rows a block reads for, ascending, and how far the longest of them sees. */
struct paged_group { int row[WINDOW], same[256 / 32]; };

/* Fills g for stretch s of row i and returns the number of rows, 0 if an earlier row of the window reads for this one.
 * Rows that share have the same pages, all of them, so that "shares" is an equivalence. Called by all 256 threads; ends
 * in a barrier. */
template <int SPAN>
__device__ __forceinline__ int paged_rows(paged_group &g, const struct paged &p, int i, int s, int &longest)
{
    enum { PAGES = SPAN / KV_PAGE, ROWS = 32 / PAGES };         /* ROWS: rows that one warp looks at */
    const int first = i / p.window * p.window, k = threadIdx.x / PAGES, j = first + k,
              t = s * PAGES + threadIdx.x % PAGES;
    const int mine = min(p.pos[i] / KV_PAGE, s * PAGES + PAGES - 1);
    const bool there = k < p.window && j < p.n;
    const int other = there ? min(p.pos[j] / KV_PAGE, s * PAGES + PAGES - 1) : -1;
    const bool same = other == mine && (t > mine || p.table[(int64_t)i * p.ld + t] == p.table[(int64_t)j * p.ld + t]);
    const unsigned votes = __ballot_sync(0xffffffffu, same);
    if (threadIdx.x % 32 == 0) {
        int bits = 0;
        for (int r = 0; r < ROWS; r++)
            bits |= (votes >> r * PAGES & ((1u << PAGES) - 1)) == (1u << PAGES) - 1 ? 1 << r : 0;
        g.same[threadIdx.x / 32] = bits;
    }
    __syncthreads();
    unsigned mask = 0;
    for (int w = 0; w * ROWS < WINDOW; w++) mask |= (unsigned)g.same[w] << w * ROWS;
    if (threadIdx.x < WINDOW && mask >> threadIdx.x & 1)
        g.row[__popc(mask & ((1u << threadIdx.x) - 1))] = first + (int)threadIdx.x;
    longest = 0;
    for (unsigned m = mask; m; m &= m - 1) longest = max(longest, p.pos[first + __ffs((int)m) - 1] + 1 - s * SPAN);
    longest = min(longest, (int)SPAN);
    __syncthreads();
    return i - first == __ffs((int)mask) - 1 ? __popc(mask) : 0;
}

/* Where the sums of a row's head for stretch s go. */
__device__ __forceinline__ float *paged_part(const struct paged &p, int row, int head, int s)
{
    return p.part + (((int64_t)row * p.h.heads + head) * p.stretches + s) * (p.h.hd + 2);
}

/* The place of position t's key in the pool, for the key head; values lie kv * hd * KV_PAGE behind. */
__device__ __forceinline__ int64_t paged_at(const struct paged &p, int i, int kv, int t)
{
    const int64_t page = p.table[(int64_t)i * p.ld + t / KV_PAGE];
    return ((page * 2 * p.h.kv + kv) * KV_PAGE + t % KV_PAGE) * p.h.hd;
}

/* Blocks along z: one for each stretch, unless the grid then has more than 8192 blocks (62 an SM), most of which would
 * find nothing at short paths. */
static inline dim3 paged_grid(const struct paged &p)
{
    const int64_t most = 8192 / ((int64_t)p.n * p.h.kv);
    return dim3((unsigned)p.n, (unsigned)p.h.kv, (unsigned)MAX((int64_t)1, MIN(most, (int64_t)p.stretches)));
}

/* Tensor cores: positions of a stretch, 64 KB of keys and values; part[] of all stretches of these rows. */
__host__ __device__ constexpr int attn_mma_span(int hd) { return 16384 / hd; }
void attn_mma_pages(const struct paged &p, const uint16_t *qkv, const uint16_t *pool);
