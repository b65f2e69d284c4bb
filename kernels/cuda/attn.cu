/* attn.cu: attention over whole trees, forward. Head sizes 64 and 128 of bf16 take tensor cores unless numerics=exact
 * asks for this fp32 path, whose bits decoding repeats. A block is up to 8 rows of one segment, so that they share a
 * path; each key is read once for all of them. */
#include "kernels/cuda/attn_chunk.cuh"
#include <stdlib.h>
#include <string.h>

template <int W>
__global__ void __launch_bounds__(256, 2)
    attn_kernel(elem_t *out, acc_t *lse, const elem_t *__restrict__ qkv, const attn_seg *__restrict__ seg,
                const attn_rows *__restrict__ tiles, struct heads h, float scale, bool whole)
{
    typedef attn_space<W, ATTN_OWN> space;
    SHARED_DYN(space, sp);
    attn_shared<W, ATTN_OWN> &sh = sp->sh;
    attn_stats<ATTN_OWN> &st = sp->st;
    attn_rows tile = tiles[blockIdx.x];
    int a = blockIdx.y, hd = h.hd, tid = threadIdx.x, s = tile.seg;
    int64_t width = (int64_t)(h.heads + 2 * h.kv) * hd;
    const elem_t *keys = qkv + (int64_t)(h.heads + a / (h.heads / h.kv)) * hd, *values = keys + (int64_t)h.kv * hd;
    attn_total<W, ATTN_OWN> total;
    attn_clear(total);
    attn_own(sh.own, qkv + tile.first * width + (int64_t)a * hd, width, tile.rows, hd);
    if (tid < ATTN_OWN) st.m[tid] = -INFINITY, st.l[tid] = 0.0f, sh.lo[tid] = 0;
    __syncthreads();
    for (int c = (tile.len - 1) / ATTN_CHUNK; c >= 0; c--) {
        int t = c * ATTN_CHUNK + tid, count = min(ATTN_CHUNK, tile.len - c * ATTN_CHUNK);
        const elem_t *row = NULL;
        if (t < tile.len) {
            sh.at[tid] = attn_row_at(seg, &s, t) * width;
            row = keys + sh.at[tid];
        }
        if (tid < ATTN_OWN) sh.hi[tid] = attn_sees(tile, tid, c);
        attn_chunk(*sp, row, values, hd, scale, count, whole, true);
        attn_fold(total, sh, &st);
    }
    if (tid < tile.rows) {
        if (lse) lse[(int64_t)(tile.first + tid) * h.heads + a] = st.m[tid] + logf(st.l[tid]);
        st.inverse[tid] = 1.0f / st.l[tid];
    }
    __syncthreads();
    attn_store(out + ((int64_t)tile.first * h.heads + a) * hd, (int64_t)h.heads * hd, total, st.inverse, 0.0f,
               tile.rows, hd);
}

template <int W>
static void forward(elem_t *out, acc_t *lse, const elem_t *qkv, const struct attn_plan *p, struct heads h)
{
    LAUNCH(attn_kernel<W>, dim3(p->row_tiles, h.heads), 256, sizeof(attn_space<W, ATTN_OWN>), queue(), out, lse, qkv,
           p->seg, p->row_tile, h, 1.0f / sqrtf((float)h.hd), attn_whole(h, qkv));
}

static enum attn_impl chosen;                /* ATTN_NO_CHOICE: APPO_ATTN was not read yet */

static bool have_wgmma(void)
{
    static int have = -1;
    int d;
    cudaDeviceProp p;
    if (have < 0)
        have = cudaGetDevice(&d) == cudaSuccess && cudaGetDeviceProperties(&p, d) == cudaSuccess && p.major == 9 &&
               p.minor == 0;
    return have;
}

extern "C" bool attn_by_wgmma(void)
{
    if (chosen) return chosen == ATTN_WGMMA;
    const char *s = getenv("APPO_ATTN");
    const bool asked = s && !strcmp(s, "wgmma");
    if (s && *s && !asked && strcmp(s, "mma")) die("APPO_ATTN=%s: it is mma or wgmma", s);
    if (asked && !have_wgmma())
        die("APPO_ATTN=wgmma: that needs compute capability 9.0 (H100, H200), which %s does not have", dev_name());
    chosen = asked ? ATTN_WGMMA : ATTN_MMA;
    return asked;
}

extern "C" bool attn_wgmma_takes(struct heads h) { return attn_mma_takes(h) && have_wgmma(); }

extern "C" enum attn_impl attn_choose(enum attn_impl way)
{
    if (sizeof(elem_t) != 2 || exact_numerics() || !have_wgmma()) return ATTN_NO_CHOICE;
    const enum attn_impl was = attn_by_wgmma() ? ATTN_WGMMA : ATTN_MMA;
    if (way != ATTN_NO_CHOICE) chosen = way;
    return was;
}

extern "C" void op_attn(elem_t *out, acc_t *lse, const elem_t *qkv, const struct attn_plan *p, struct heads h)
{
    attn_check("op_attn", h);
    if (!p->n) return;
#ifdef REAL_IS_bf16
    if (attn_mma_takes(h) && !exact_numerics()) {
        (attn_by_wgmma() ? attn_wgmma : attn_mma)((uint16_t *)out, lse, (const uint16_t *)qkv, p, h);
        return;
    }
#endif
    ATTN_WIDTH(forward, h.hd, out, lse, qkv, p, h);
}
