/* cases_wgmma.cu: one product by the twins of wgmma, d[64][n] = a[64][64] b[n][64]^T, with operands stored and read in
 * every way, and with one thing wrong. */
#include "tests/simt/cases.h"
#include "kernels/cuda/wgmma.cuh"

enum { K = 64, LINE = 64 };

/* `lines` lines of 64 numbers into atoms of 8; fault: pieces where they are without swizzling. */
__device__ void panel(uint16_t *to, const uint16_t *from, int lines, bool swizzled)
{
    for (int i = threadIdx.x; i < lines * 8; i += 128) {
        int r = i / 8, c = i % 8;
        cp16(to + r * LINE + (swizzled ? c ^ (r & 7) : c) * 8, from + r * LINE + c * 8, true);
    }
}

template <int N>
__device__ void products(float (&d)[N / 8][4], unsigned (&a)[4][4], struct wgmma_case c, uint64_t ma, uint64_t mb)
{
    for (int k = 0; k < K / 16; k++) {
        uint64_t x = wg_on(ma, c.turn_a ? k * 16 * 128 : k * 32), y = wg_on(mb, c.turn_b ? k * 16 * 128 : k * 32);
        if constexpr (N == 64) {
            if (!c.a_in_registers) {
                if (c.turn_a) c.turn_b ? wg_mma<true, true>(d, x, y, k > 0) : wg_mma<true, false>(d, x, y, k > 0);
                else c.turn_b ? wg_mma<false, true>(d, x, y, k > 0) : wg_mma<false, false>(d, x, y, k > 0);
                continue;
            }
        }
        c.turn_b ? wg_mma<true>(d, a[k], y, k > 0) : wg_mma<false>(d, a[k], y, k > 0);
    }
}

/* b transposed: [64 k][n], panels of 64 columns one after another; plain: [n][64 k]. a likewise. */
template <int N>
__global__ void wgmma_case_kernel(float *out, const uint16_t *a, const uint16_t *b, struct wgmma_case c)
{
    SHARED_DYN(uint16_t, raw);
    uint16_t *as = raw + (-shared_address(raw) & 1023) / 2, *bs = as + 64 * LINE;
    const int lane = threadIdx.x % 32, w = threadIdx.x / 32;
    float d[N / 8][4];
    unsigned x[4][4];
    panel(as, a, 64, true);
    panel(bs, b, N, c.fault != WGMMA_NOT_SWIZZLED);
    cp_close();
    if (c.fault != WGMMA_NO_COPY_WAIT) cp_wait_but<0>();
    if (c.fault != WGMMA_NO_PROXY_FENCE) fence_async();
    __syncthreads();
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 4; i++) {
            const uint16_t *row = a + (16 * w + lane / 4 + 8 * (i & 1)) * K + 16 * k + lane % 4 * 2 + 8 * (i >> 1);
            x[k][i] = row[0] | (unsigned)row[1] << 16;
        }
    uint64_t ma = wg_matrix(as, c.turn_a ? 8192 : 16, 1024),
             mb = wg_matrix(bs, c.fault == WGMMA_LEAD ? 4096 : 8192, c.fault == WGMMA_STRIDE ? 2048 : 1024);
    if (c.fault == WGMMA_SWIZZLE_MODE) mb ^= (uint64_t)3 << 62;
    if (c.fault == WGMMA_BEYOND) mb = wg_on(mb, 65536);
    if (c.fault == WGMMA_OTHER_DESCRIPTOR && w == 2) mb = wg_on(mb, 32);
    if (c.fault == WGMMA_ABSENT && threadIdx.x == 77) return;
    if (c.fault != WGMMA_NO_FENCE) wg_fence(d, x);
    products<N>(d, x, c, ma, mb);
    if (c.fault == WGMMA_A_WRITTEN) x[1][2] ^= 1;
    if (c.fault == WGMMA_D_WRITTEN) d[3][1] = 0.0f;
    if (c.fault == WGMMA_OPERAND_WRITTEN) {
        panel(bs, b + 8, 8, true);
        cp_wait();
        fence_async();
        __syncthreads();
    }
    if (c.fault != WGMMA_NO_CLOSE) wg_close();
    if (c.fault != WGMMA_NO_WAIT) wg_wait<0>(d, x);
    for (int j = 0; j < N / 8; j++)
        for (int e = 0; e < 4; e++) out[(16 * w + lane / 4 + 8 * (e / 2)) * N + 8 * j + lane % 4 * 2 + e % 2] = d[j][e];
}

/* Element (r, k) of rows x 64, plain or transposed. */
static uint16_t *stored(const float *x, int rows, bool transposed)
{
    uint16_t *h = (uint16_t *)xmalloc((size_t)rows * K * 2 + 16), *d = (uint16_t *)dev_alloc((size_t)rows * K * 2 + 16);
    memset(h, 0, (size_t)rows * K * 2 + 16);
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < K; k++)
            h[transposed ? r / 64 * 64 * K + k * 64 + r % 64 : r * K + k] =
                (uint16_t)(__float_as_uint(x[r * K + k]) >> 16);
    dev_put(d, h, (size_t)rows * K * 2 + 16);
    free(h);
    return d;
}

extern "C" const char *case_wgmma(const struct wgmma_case *c, int order, const float *a, const float *b, float *out)
{
    static char said[512];
    const int was = simt_get_order();
    /* room for a wrong stride */
    const size_t bytes = (size_t)c->n * 64 * sizeof(float), smem = (size_t)(64 + c->n) * LINE * 2 + 1024 + 4096;
    uint16_t *da = stored(a, 64, c->turn_a), *db = stored(b, c->n, c->turn_b);
    float *d = (float *)dev_alloc(bytes);
    simt_set_order(order);
    simt_catch(true);
    if (c->n == 64) LAUNCH(wgmma_case_kernel<64>, 1, 128, smem, queue(), d, da, db, *c);
    else LAUNCH(wgmma_case_kernel<128>, 1, 128, smem, queue(), d, da, db, *c);
    const char *what = simt_caught();
    if (what) snprintf(said, sizeof said, "%s", what);
    simt_catch(false);
    simt_set_order(was);
    dev_get(out, d, bytes);
    dev_free(d), dev_free(da), dev_free(db);
    return what ? said : nullptr;
}
