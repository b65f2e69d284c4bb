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
#include "kernels/simt/simt_mma.h"
#endif
