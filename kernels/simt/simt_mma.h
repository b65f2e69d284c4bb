/* simt_mma.h: the CPU twins of mma.cuh: mma.sync, ldmatrix, cp.async, the conversions. A copy moves its bytes only in
 * the wait for it, so that a missing wait reads the old contents. */
#pragma once

struct simt_mma { float *d; const unsigned *a, *b; };
static void simt_mma_warp(void **p)
{
    float A[16][16], B[8][16], D[16][8];
    for (int l = 0; l < 32; l++) {
        const simt_mma *m = (const simt_mma *)p[l];
        int g = l / 4, t = l % 4;
        for (int i = 0; i < 4; i++)
            for (int h = 0; h < 2; h++)
                A[g + 8 * (i & 1)][2 * t + h + 8 * (i >> 1)] = __uint_as_float((m->a[i] >> 16 * h) << 16);
        for (int i = 0; i < 2; i++)
            for (int h = 0; h < 2; h++) B[g][2 * t + h + 8 * i] = __uint_as_float((m->b[i] >> 16 * h) << 16);
        for (int i = 0; i < 4; i++) D[g + 8 * (i >> 1)][2 * t + (i & 1)] = m->d[i];
    }
    for (int r = 0; r < 16; r++)
        for (int c = 0; c < 8; c++) {
            float s = 0.0f;
            for (int k = 0; k < 16; k++) s += A[r][k] * B[c][k];
            D[r][c] += s;
        }
    for (int l = 0; l < 32; l++) {
        const simt_mma *m = (const simt_mma *)p[l];
        for (int i = 0; i < 4; i++) m->d[i] = D[l / 4 + 8 * (i >> 1)][2 * (l % 4) + (i & 1)];
    }
}
static inline void mma_bf16(float d[4], const unsigned a[4], const unsigned b[2])
{
    simt_mma m = { d, a, b };
    simt_collective(0xffffffffu, &m, simt_mma_warp, __LINE__);
}

struct simt_ldsm { unsigned *r; const void *row; };
static void simt_ldsm_warp(void **p, bool transposed)
{
    for (int i = 0; i < 4; i++) {
        uint16_t x[8][8];
        for (int r = 0; r < 8; r++)
            memcpy(x[r], __builtin_assume_aligned(((const simt_ldsm *)p[8 * i + r])->row, 16), 16);
        for (int l = 0; l < 32; l++) {
            int g = l / 4, c = 2 * (l % 4);
            unsigned lo = transposed ? x[c][g] : x[g][c], hi = transposed ? x[c + 1][g] : x[g][c + 1];
            ((const simt_ldsm *)p[l])->r[i] = lo | hi << 16;
        }
    }
}
static void simt_ldsm_plain(void **p) { simt_ldsm_warp(p, false); }
static void simt_ldsm_transposed(void **p) { simt_ldsm_warp(p, true); }
static inline void ldsm4(unsigned r[4], const void *row)
{
    simt_ldsm m = { r, row };
    simt_collective(0xffffffffu, &m, simt_ldsm_plain, __LINE__);
}
static inline void ldsm4_t(unsigned r[4], const void *row)
{
    simt_ldsm m = { r, row };
    simt_collective(0xffffffffu, &m, simt_ldsm_transposed, __LINE__);
}

/* Copies that the threads of the block have asked for, up to the number `waited` of those whose bytes are there:
 * wgmma.cuh shows these to the tensor cores at a fence, until then they stay in the list while there is room. Kept per
 * OS thread, on the heap: the shim overwrites thread-local arrays as it does shared memory. */
enum { SIMT_CP_MOST = 128 };
struct simt_cp { void *to; const void *from; int64_t group; };
struct simt_cps { uint64_t serial; int64_t group; int n, waited; simt_cp c[SIMT_CP_MOST]; };
static simt_cps simt_cps_none;
static __thread simt_cps *simt_cps_at = &simt_cps_none;
static inline simt_cps *simt_cps_mine()
{
    if (simt_cps_at == &simt_cps_none) simt_cps_at = (simt_cps *)calloc(SIMT_MAX_THREADS, sizeof *simt_cps_at);
    if (!simt_cps_at) simt_die("out of memory");
    simt_cps *mine = simt_cps_at + (simt_b->cur - simt_b->f);
    if (mine->serial != simt_b->serial) mine->serial = simt_b->serial, mine->n = mine->waited = 0;
    return mine;
}
static inline void simt_cps_drop(simt_cps *mine)
{
    mine->n -= mine->waited;
    memmove(mine->c, mine->c + mine->waited, (size_t)mine->n * sizeof *mine->c);
    mine->waited = 0;
}
static inline void cp16(void *to, const void *from, bool there)
{
    simt_cps *mine = simt_cps_mine();
    if (mine->n == SIMT_CP_MOST) simt_cps_drop(mine);
    if (mine->n == SIMT_CP_MOST) simt_die("more than 128 copies of 16 bytes are under way in one thread");
    if (((uintptr_t)to | (there ? (uintptr_t)from : 0)) % 16) simt_die("a copy of 16 bytes is not aligned");
    mine->c[mine->n++] = { to, there ? from : nullptr, mine->group };
}
static inline void cp_close() { simt_cps_mine()->group++; }
static inline void simt_cp_until(int64_t group)
{
    simt_cps *mine = simt_cps_mine();
    for (; mine->waited < mine->n && mine->c[mine->waited].group < group; mine->waited++) {
        simt_cp c = mine->c[mine->waited];
        if (c.from) memcpy(c.to, c.from, 16);
        else memset(c.to, 0, 16);
    }
}
static inline void cp_wait() { simt_cp_until(INT64_MAX); }
template <int N> static inline void cp_wait_but() { simt_cp_until(simt_cps_mine()->group - N); }

static inline unsigned simt_bf16(float x)
{
    unsigned u = __float_as_uint(x);
    return (u & 0x7fffffffu) > 0x7f800000u ? u >> 16 | 0x40 : (u + 0x7fffu + (u >> 16 & 1)) >> 16;
}
static inline unsigned pack_bf16(float lo, float hi) { return simt_bf16(lo) | simt_bf16(hi) << 16; }
static inline float exp2_fast(float x) { return exp2f(x); }
