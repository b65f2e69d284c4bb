/* dlogits.cu: the gradient into the logits, in place: one read and one write of the row, each thread its own chunks, no
 * barrier. Chunks that hold a target are processed last, one thread each: to find them costs a comparison a chunk
 * where there is one target, a loop where branches share the row. A thread reads four chunks before it writes the
 * first: the compiler may not move a read over a write of the same row, and one at a time has 24 KB an SM in flight. */
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/trap.cuh"
#include "kernels/ops.h"

/* 16 bytes of a row in four registers: as floats, four chunks of bf16 would take 32, and one of the two blocks that
 * share a multiprocessor. */
struct __align__(16) chunk_words { unsigned w[4]; };

__device__ __forceinline__ void chunk_floats(float (&v)[CHUNK], const chunk_words &q)
{
    #pragma unroll
    for (int e = 0; e < CHUNK; e++)
        v[e] = __uint_as_float(sizeof(elem_t) == 4 ? q.w[e * 4 / CHUNK]
                               : e % 2             ? q.w[e * 4 / CHUNK] & 0xffff0000u
                                                   : q.w[e * 4 / CHUNK] << 16);
}

/* Of one row, in units of row_unit(): x_j = p_j (base + slope log p_j), + back g_t where j is the target t. */
struct dlogits_row { float t, lse, base, slope; int64_t from, to; int one; };

__device__ __forceinline__ void chunk_gradient(float (&v)[CHUNK], const dlogits_row &w)
{
    #pragma unroll
    for (int e = 0; e < CHUNK; e++) {
        float y = fmaf(v[e], w.t, -w.lse);                      /* log p; -inf: p is 0, and 0 times -inf would be NaN */
        v[e] = row_power(y) * fmaf(fmaxf(y, -160.0f), w.slope, w.base);
    }
}

/* Is one of the targets from .. to-1 in chunk c? */
__device__ __forceinline__ bool has_target(const int *tgt, int64_t from, int64_t to, int c)
{
    for (int64_t k = from; k < to; k++) if (tgt[k] / CHUNK == c) return true;
    return false;
}
__device__ __forceinline__ bool left_for_last(const dlogits_row &w, const int *tgt, int c)
{
    return w.one >= 0 ? w.one / CHUNK == c : has_target(tgt, w.from, w.to, c);
}

/* The chunks that hold targets; the thread of a chunk's first target processes it. */
template <int W>
__device__ void target_chunks(elem_t *x, const row_view &r, const dlogits_row &w, const dlogits_args &a)
{
    for (int64_t k = w.from + team_thread<W>(); k < w.to; k += 32 * W) {
        float v[CHUNK];
        const int c = a.tgt[k] / CHUNK;
        if (has_target(a.tgt, w.from, k, c)) continue;
        row_load(v, r, c);
        chunk_gradient(v, w);
        for (int64_t t = k; t < w.to; t++) {
            #pragma unroll
            for (int e = 0; e < CHUNK; e++) if (a.tgt[t] == c * CHUNK + e) v[e] += (float)a.inv_temp * (float)a.g[t];
        }
        put<false>(x + (int64_t)c * CHUNK, v, a.vocab - c * CHUNK);
    }
}

/* x_j = -it p_j (sum g + ge ent + ge log p_j), + it g_t where j is the target t; products before the one rounding to
 * storage. */
template <int W> __global__ void __launch_bounds__(team_block(W), W == 16 ? 2 : 1) dlogits_kernel(dlogits_args a)
{
    enum { AHEAD = 4 };
    int64_t i = team_row<W>();
    if (i >= a.n) return;
    int64_t from = a.begin ? a.begin[i] : i, to = a.begin ? a.begin[i + 1] : i + 1;
    row_view r = row_at(a.x, i, a.ld, a.vocab, NULL);
    double sum = 0, ge = a.ge ? (double)a.ge[i] : 0;
    for (int64_t k = from; k < to; k++) {
        sum += (double)a.g[k];
        if (a.tgt[k] < 0 || a.tgt[k] >= a.vocab) kernel_die("op_dlogits: a target is outside of the vocabulary", i);
    }
    const dlogits_row w = { (float)(a.inv_temp / row_unit()),
                            (float)((double)a.lse[i] / row_unit()),
                            (float)(-a.inv_temp * (sum + (a.ge ? ge * (double)a.ent[i] : 0))),
                            (float)(-a.inv_temp * ge * row_unit()),
                            from,
                            to,
                            to - from == 1 ? a.tgt[from] : -1 };
    elem_t *x = a.x + i * a.ld;
    const int whole = r.aligned ? a.vocab / CHUNK : 0;
    for (int c = team_thread<W>(); c < whole; c += AHEAD * 32 * W) {
        chunk_words q[AHEAD];
        #pragma unroll
        for (int u = 0; u < AHEAD; u++)
            if (c + u * 32 * W < whole) q[u] = ((const chunk_words *)(const void *)x)[c + u * 32 * W];
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            float v[CHUNK];
            if (c + u * 32 * W >= whole || left_for_last(w, a.tgt, c + u * 32 * W)) continue;
            chunk_floats(v, q[u]);
            chunk_gradient(v, w);
            put<true>(x + (int64_t)(c + u * 32 * W) * CHUNK, v, CHUNK);
        }
    }
    for (int c = whole + team_thread<W>(); c * CHUNK < a.vocab; c += 32 * W) {
        float v[CHUNK];
        if (left_for_last(w, a.tgt, c)) continue;
        row_load(v, r, c);
        chunk_gradient(v, w);
        put<false>(x + (int64_t)c * CHUNK, v, a.vocab - c * CHUNK);
    }
    target_chunks<W>(x, r, w, a);
}

extern "C" void op_dlogits(struct dlogits_args a)
{
    ENSURE(a.vocab > 0 && a.ld >= a.vocab && a.inv_temp > 0 && (a.ent || !a.ge));
    if (a.n > 0) LAUNCH_ROWS(dlogits_kernel, a.n, a.vocab, a);
}
