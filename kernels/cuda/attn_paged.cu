/* attn_paged.cu: attention over pages, for decoding and prompts. A block is one key head of the rows that share a chunk
 * of 256 positions; their query heads go through it eight or four at a time. A chunk is computed as attn.cu does,
 * chunks are joined in the same order: the same bits for every grouping of rows. Bytes: 4 hd a position and key head
 * (bf16), once for a group; later passes of a group find them in L1 (64 KB a chunk of heads of 64). */
#include "kernels/cuda/attn_paged.cuh"
#include "kernels/cuda/mma.cuh"

/* part[] is limited to this many bytes, more rows are processed in several launches: 256 rows of 32 heads of 128 and
 * 16,384 positions would be 273 MB */
static const int64_t PART_MOST = (int64_t)256 << 20;

struct paged_in { const elem_t *qkv, *pool; float scale; bool whole; };

/* Query vector v of the group: head v % heads-per-key of its row v / heads-per-key. */
struct paged_vector { int row, head; };
__device__ __forceinline__ paged_vector vector_of(const paged_group &g, const struct paged &p, int kv, int v)
{
    const int heads = p.h.heads / p.h.kv;
    return paged_vector{ g.row[v / heads], kv * heads + v % heads };
}

/* The chunk for vectors v .. v + N - 1 of the group, of which there are `all`; vectors past the end repeat the last one
 * and are not stored. */
template <int W, int N>
__device__ __forceinline__ void chunk_pass(attn_space<W, N> &sp, const paged_group &g, const struct paged &p,
                                           const paged_in &in, int kv, int c, int v, int all, int longest)
{
    attn_shared<W, N> &sh = sp.sh;
    const int hd = p.h.hd, tid = threadIdx.x;
    for (int k = tid; k < N * W; k += 256) {
        const int d = k % W;
        const paged_vector q = vector_of(g, p, kv, min(v + k / W, all - 1));
        sh.own[k / W][d] =
            d < hd ? to_float(in.qkv[((int64_t)q.row * (p.h.heads + 2 * p.h.kv) + q.head) * hd + d]) : 0.0f;
    }
    if (tid < N) {
        sh.lo[tid] = 0;
        sh.hi[tid] = min(ATTN_CHUNK, p.pos[vector_of(g, p, kv, min(v + tid, all - 1)).row] + 1 - c * ATTN_CHUNK);
    }
    __syncthreads();
    attn_chunk(sp, tid < longest ? in.pool + sh.at[tid] : NULL, in.pool + (int64_t)p.h.kv * hd * KV_PAGE, hd, in.scale,
               longest, in.whole, false);
    attn_total<W, N> x;
    attn_clear(x);
    attn_fold(x, sh, (const attn_stats<N> *)NULL);
    #pragma unroll
    for (int i = 0; i < attn_total<W, N>::COUNT; i++) {
        const int k = tid + 256 * i, j = k / (W / 2), d = 2 * (k % (W / 2));
        if (j >= N || v + j >= all || d >= hd) continue;
        const paged_vector q = vector_of(g, p, kv, v + j);
        float *y = paged_part(p, q.row, q.head, c);
        y[d] = x.v[i][0], y[d + 1] = x.v[i][1];
        if (d == 0) y[hd] = sp.st.m[j], y[hd + 1] = sp.st.l[j];
    }
}

/* The chunk for all vectors of the group, N at a time. */
template <int W, int N>
__device__ __forceinline__ void chunk_passes(attn_space<W, N> &sp, const paged_group &g, const struct paged &p,
                                             const paged_in &in, int kv, int c, int all, int longest)
{
    const int t = threadIdx.x;
    if (t < longest) sp.sh.at[t] = paged_at(p, blockIdx.x, kv, c * ATTN_CHUNK + t);
    for (int v = 0; v < all; v += N) chunk_pass(sp, g, p, in, kv, c, v, all, longest);
    __syncthreads();                                            /* the next chunk writes at[] */
}

/* Half of the work of eight vectors where there are no more than four: one row of most models with few query heads to a
 * key head. */
template <int W>
__global__ void __launch_bounds__(256, ATTN_BLOCKS(W < 256 ? 2 : 1)) paged_kernel(struct paged p, struct paged_in in)
{
    SHARED_DYN(char, smem);
    __shared__ paged_group g;
    const int i = blockIdx.x, kv = blockIdx.y, last = p.pos[i] / ATTN_CHUNK;
    for (int c = blockIdx.z; c <= last; c += gridDim.z) {
        int longest, all = paged_rows<ATTN_CHUNK>(g, p, i, c, longest) * (p.h.heads / p.h.kv);
        if (all > 4) chunk_passes(*(attn_space<W, 8> *)(void *)smem, g, p, in, kv, c, all, longest);
        else if (all) chunk_passes(*(attn_space<W, 4> *)(void *)smem, g, p, in, kv, c, all, longest);
    }
}

__device__ __forceinline__ void put_number(elem_t *y, float x) { *y = from_float(x); }
__device__ __forceinline__ void put_number(uint16_t *y, float x) { *y = (uint16_t)pack_bf16(x, 0.0f); }

/* A warp joins the stretches of one row's head, last to first, each lane its dimensions; four are read at a time,
 * because a load takes as long as 50 joins. */
template <int W, int SPAN, class T> __global__ void __launch_bounds__(256) join_kernel(T *out, struct paged p)
{
    enum { AHEAD = 4 };
    const int64_t k = (int64_t)blockIdx.x * 8 + threadIdx.x / 32;
    const int lane = threadIdx.x % 32, hd = p.h.hd;
    if (k >= (int64_t)p.n * p.h.heads) return;                  /* whole warps, no barrier below */
    const float *part = p.part + k * p.stretches * (hd + 2);
    float m = -INFINITY, l = 0.0f, a, b, total[W / 32] = { };
    for (int c = p.pos[k / p.h.heads] / SPAN; c >= 0; c -= AHEAD) {
        float x[AHEAD][W / 32], cm[AHEAD], cl[AHEAD];
        #pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            const float *from = part + (int64_t)max(c - u, 0) * (hd + 2);
            cm[u] = from[hd], cl[u] = from[hd + 1];
            #pragma unroll
            for (int e = 0; e < W / 32; e++) x[u][e] = lane + 32 * e < hd ? from[lane + 32 * e] : 0.0f;
        }
        #pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            if (c - u < 0) break;
            attn_join(m, l, cm[u], cl[u], a, b);
            #pragma unroll
            for (int e = 0; e < W / 32; e++) total[e] = fmaf(total[e], a, x[u][e] * b);
        }
    }
    const float by = 1.0f / l;
    #pragma unroll
    for (int e = 0; e < W / 32; e++) if (lane + 32 * e < hd) put_number(out + k * hd + lane + 32 * e, total[e] * by);
}

template <int W> static void exact_rows(elem_t *out, const struct paged &p, const struct paged_in &in)
{
    LAUNCH(paged_kernel<W>, paged_grid(p), 256, sizeof(attn_space<W, 8>), queue(), p, in);
    LAUNCH((join_kernel<W, ATTN_CHUNK, elem_t>), blocks_of((int64_t)p.n * p.h.heads, 8), 256, 0, queue(), out, p);
}

/* Calls go(from, p) for as many rows from `from` on as part[] may hold at once; each call begins at a window. */
template <class F> static void by_parts(struct paged p, int64_t n, int span, F go)
{
    p.stretches = (int)(((int64_t)p.ld * KV_PAGE + span - 1) / span);
    const int64_t each = (int64_t)p.h.heads * p.stretches * (p.h.hd + 2) * (int64_t)sizeof *p.part;
    const int64_t most = MAX((int64_t)WINDOW, PART_MOST / each / WINDOW * WINDOW);
    for (int64_t from = 0; from < n; from += most, p.table += most * p.ld, p.pos += most) {
        p.n = (int)MIN(most, n - from);
        p.part = (float *)scratch(SCRATCH_ATTN, (size_t)(MIN(most, n) * each));
        go(from, p);
    }
}

extern "C" void attn_mma_paged(uint16_t *out, const uint16_t *qkv, const uint16_t *pool, const int *table, int ld,
                               const int *pos, int64_t n, struct heads h)
{
    ENSURE(attn_mma_takes(h) && h.kv > 0 && h.heads % h.kv == 0 && h.heads / h.kv <= ATTN_BLOCK &&
           ((uintptr_t)qkv | (uintptr_t)pool) % 16 == 0);
    const int group = h.heads / h.kv;
    struct paged p = { table, pos, NULL, h, 0, ld, 0, MIN((int)WINDOW, ATTN_BLOCK / group) };
    by_parts(p, n, attn_mma_span(h.hd), [=](int64_t from, const struct paged &rows) {
        attn_mma_pages(rows, qkv + from * (h.heads + 2 * h.kv) * h.hd, pool);
        uint16_t *to = out + from * h.heads * h.hd;
        const unsigned blocks = blocks_of((int64_t)rows.n * h.heads, 8);
        if (h.hd == 64) LAUNCH((join_kernel<64, attn_mma_span(64), uint16_t>), blocks, 256, 0, queue(), to, rows);
        else LAUNCH((join_kernel<128, attn_mma_span(128), uint16_t>), blocks, 256, 0, queue(), to, rows);
    });
}

extern "C" void op_attn_paged(elem_t *out, const elem_t *qkv, const elem_t *pool, const int *table, int ld,
                              const int *pos, int64_t n, struct heads h)
{
    attn_check("op_attn_paged", h);
    if (n <= 0) return;
    ENSURE(ld > 0);
#ifdef REAL_IS_bf16
    if (attn_mma_takes(h) && h.heads / h.kv <= ATTN_BLOCK && !exact_numerics()) {
        attn_mma_paged((uint16_t *)out, (const uint16_t *)qkv, (const uint16_t *)pool, table, ld, pos, n, h);
        return;
    }
#endif
    struct paged p = { table, pos, NULL, h, 0, ld, 0, WINDOW };
    const float scale = 1.0f / sqrtf((float)h.hd);
    const bool whole = attn_whole(h, qkv) && attn_whole(h, pool);
    by_parts(p, n, ATTN_CHUNK, [=](int64_t from, const struct paged &rows) {
        const struct paged_in in = { qkv + from * (h.heads + 2 * h.kv) * h.hd, pool, scale, whole };
        ATTN_WIDTH(exact_rows, h.hd, out + from * h.heads * h.hd, rows, in);
    });
}

/* Integers, so the order in which blocks add does not matter. */
__global__ void __launch_bounds__(256) reads_kernel(struct paged p, int *reads)
{
    __shared__ paged_group g;
    for (int c = 0, i = blockIdx.x; c <= p.pos[i] / ATTN_CHUNK; c++) {
        int longest, rows = paged_rows<ATTN_CHUNK>(g, p, i, c, longest);
        if (threadIdx.x == 0 && rows) atomicAdd(reads, longest);
    }
}

extern "C" int64_t attn_paged_reads(const int *table, int ld, const int *pos, int64_t n)
{
    const struct heads one = { 1, 1, 2 };
    struct paged p = { table, pos, NULL, one, (int)n, ld, 0, WINDOW };
    int reads = 0, *sum = (int *)scratch(SCRATCH_ATTN, sizeof *sum);
    dev_zero(sum, sizeof *sum);
    LAUNCH(reads_kernel, blocks_of(n, 1), 256, 0, queue(), p, sum);
    dev_get(&reads, sum, sizeof reads);
    return reads;
}
