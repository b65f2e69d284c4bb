/* mma.cuh: the warp-wide instructions of the tensor cores, as the PTX manual lays their fragments out, each with a twin
 * that the shim runs on a CPU: mma.sync m16n8k16, ldmatrix, cp.async. The twin of cp.async moves its bytes only where
 * they are waited for, so that a missing wait reads what was there. */
#pragma once
#include "kernels/cuda/simt.h"
#include <stdint.h>
#include <string.h>

/* Fragments of lane l, with g = l / 4 and t = l % 4, two bf16 a word, the lower column in the lower half:
 *   A 16x16: a[0] row g, columns 2t, 2t+1;  a[1] row g + 8;  a[2] row g, columns + 8;  a[3] row g + 8, columns + 8
 *   B 16x8:  b[0] rows 2t, 2t+1, column g;  b[1] rows + 8
 *   D 16x8:  d[0], d[1] row g, columns 2t, 2t+1;  d[2], d[3] row g + 8 */
#ifdef __CUDACC__
__device__ __forceinline__ void mma_bf16(float d[4], const unsigned a[4], const unsigned b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Four 8x8 matrices; lane l gives the address of row l % 8 of matrix l / 8, 16 bytes of shared memory, and gets in r[i]
 * the two numbers of matrix i at row l / 4, columns 2 (l % 4) and + 1. ldsm4_t: of the transposed matrix. */
__device__ __forceinline__ void ldsm4(unsigned r[4], const void *row)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
__device__ __forceinline__ void ldsm4_t(unsigned r[4], const void *row)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

/* 16 bytes from device memory to shared memory, 0 if not `there` (from is not read then); done for this thread after
 * cp_wait. */
__device__ __forceinline__ void cp16(void *to, const void *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(to)),
                 "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void cp_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }
/* What this thread has asked for since the last cp_close is one group; cp_wait_but<N> waits for all groups but the last
 * N. */
__device__ __forceinline__ void cp_close() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void cp_wait_but()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* Two floats to bf16, nearest, ties to even; lo in the lower half. */
__device__ __forceinline__ unsigned pack_bf16(float lo, float hi)
{
    unsigned r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}
/* 2^x, 2 ulp; 0 for -inf. */
__device__ __forceinline__ float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#else
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
static void simt_ldsm_warp(void **p, bool turned)
{
    for (int i = 0; i < 4; i++) {
        uint16_t x[8][8];
        for (int r = 0; r < 8; r++)
            memcpy(x[r], __builtin_assume_aligned(((const simt_ldsm *)p[8 * i + r])->row, 16), 16);
        for (int l = 0; l < 32; l++) {
            int g = l / 4, c = 2 * (l % 4);
            unsigned lo = turned ? x[c][g] : x[g][c], hi = turned ? x[c + 1][g] : x[g][c + 1];
            ((const simt_ldsm *)p[l])->r[i] = lo | hi << 16;
        }
    }
}
static void simt_ldsm_plain(void **p) { simt_ldsm_warp(p, false); }
static void simt_ldsm_turned(void **p) { simt_ldsm_warp(p, true); }
static inline void ldsm4(unsigned r[4], const void *row)
{
    simt_ldsm m = { r, row };
    simt_collective(0xffffffffu, &m, simt_ldsm_plain, __LINE__);
}
static inline void ldsm4_t(unsigned r[4], const void *row)
{
    simt_ldsm m = { r, row };
    simt_collective(0xffffffffu, &m, simt_ldsm_turned, __LINE__);
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
#endif
