/* wgmma.cuh: the tensor cores of Hopper (sm_90a) as the PTX manual has them: products of 64 rows by the four warps of a
 * warpgroup, asynchronous, their operands in shared memory read by the async proxy; each instruction with a twin that
 * the shim runs on a CPU. Where there is no wgmma the wrappers do nothing: a kernel begins with `if (!WGMMA_HERE) {
 * wg_missing(); return; }`. */
#pragma once
/* The twin decodes the descriptors and multiplies only in wg_wait. It ends the process where a group of products does
 * not begin with wg_fence, and where an operand or an accumulator has changed before the wait; until then the
 * accumulators are NaN. Operands come from a copy of shared memory that has only what the threads that copied it (cp16)
 * have published by fence_async: all else is NaN, also bytes written by ordinary stores. */
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/trap.cuh"

#if !defined(__CUDACC__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define WGMMA_HERE 1
#else
#define WGMMA_HERE 0
#endif

__device__ __forceinline__ void wg_missing()
{
    kernel_die("wgmma asked of a device, or of code, that is not sm_90a (GPUS of the Makefile)", 0);
}

__device__ __forceinline__ unsigned shared_address(const void *p)
{
#ifdef __CUDACC__
    return (unsigned)__cvta_generic_to_shared(p);
#else
    return (unsigned)((const char *)p - simt_b->dyn) + SIMT_SHARED_FROM;
#endif
}

/* The descriptor of a matrix of bf16 in shared memory, in the layout of 128-byte swizzling: atoms of 8 lines of 128
 * bytes, at a multiple of 1024, 16-byte piece c of line l at place c ^ l. Bits 0-13 start / 16, 16-29 lead / 16, 32-45
 * stride / 16, 62-63 the swizzle: 1. Rows of A and columns of B are "rows" here. Plain (K-major): a line is 64 k of one
 * row; the next 8 rows are `stride` bytes on; lead is not used. 16 k further: start + 32 within an atom. Transposed
 * (MN-major): a line is 64 rows at one k; the next 8 k are `stride` bytes on, the next 64 rows `lead` bytes. */
__device__ __forceinline__ uint64_t wg_matrix(const void *start, unsigned lead, unsigned stride)
{
    return (uint64_t)((shared_address(start) & 0x3ffff) >> 4) | (uint64_t)(lead >> 4) << 16 |
           (uint64_t)(stride >> 4) << 32 | (uint64_t)1 << 62;
}
__device__ __forceinline__ uint64_t wg_on(uint64_t matrix, unsigned bytes) { return matrix + (bytes >> 4); }

/* d[j][.] of lane l of warp w: the accumulator of mma_bf16 for rows 16 w .. + 15, columns 8 j .. + 7. a[4]: its A
 * fragment of rows 16 w .. + 15. */
#ifdef __CUDACC__
/* Neither definitions nor uses of these registers move across this line: for registers that a product in flight may
 * read or write, and for work that is to overlap it. */
template <int T> __device__ __forceinline__ void wg_hold(float (&d)[T][4])
{
    #pragma unroll
    for (int j = 0; j < T; j++) asm volatile("" : "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])::"memory");
}
template <int T> __device__ __forceinline__ void wg_hold(unsigned (&a)[T][4])
{
    #pragma unroll
    for (int j = 0; j < T; j++) asm volatile("" : "+r"(a[j][0]), "+r"(a[j][1]), "+r"(a[j][2]), "+r"(a[j][3])::"memory");
}

#if WGMMA_HERE
#define WG_ASM(...) asm volatile(__VA_ARGS__)
#else
#define WG_ASM(...)
#endif
/* The first product of a group comes after this; x are the registers that were written since the last. */
template <class... X> __device__ __forceinline__ void wg_fence(X &...x)
{
    (wg_hold(x), ...);
    WG_ASM("wgmma.fence.sync.aligned;" ::: "memory");
}
/* The products since the last wg_close are one group. */
__device__ __forceinline__ void wg_close() { WG_ASM("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/* All groups but the last N are done; x are registers of theirs. */
template <int N, class... X> __device__ __forceinline__ void wg_wait(X &...x)
{
    WG_ASM("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
    (wg_hold(x), ...);
}
/* Bytes that this thread's completed copies wrote may be read by the tensor cores, after a barrier. */
__device__ __forceinline__ void fence_async() { WG_ASM("fence.proxy.async.shared::cta;" ::: "memory"); }

#define WG_D4(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define WG_D32 WG_D4(0), WG_D4(1), WG_D4(2), WG_D4(3), WG_D4(4), WG_D4(5), WG_D4(6), WG_D4(7)
#define WG_D64 WG_D32, WG_D4(8), WG_D4(9), WG_D4(10), WG_D4(11), WG_D4(12), WG_D4(13), WG_D4(14), WG_D4(15)
#define WG_0_31 \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
    "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define WG_32_63 \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
    "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

/* d (add: +)= 64 x 16 matrix a times 16 x 64 matrix b, or 16 x 128. TRANS_A, TRANS_B: transposed operands. */
template <bool TRANS_A, bool TRANS_B>
__device__ __forceinline__ void wg_mma(float (&d)[8][4], uint64_t a, uint64_t b, bool add)
{
    WG_ASM("{ .reg .pred p; setp.ne.b32 p, %34, 0;\n"
           "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" WG_0_31 "}, %32, %33, p, 1, 1, %35, %36; }"
           : WG_D32 : "l"(a), "l"(b), "r"((int)add), "n"((int)TRANS_A), "n"((int)TRANS_B));
}
template <bool TRANS_B>
__device__ __forceinline__ void wg_mma(float (&d)[8][4], const unsigned (&a)[4], uint64_t b, bool add)
{
    WG_ASM("{ .reg .pred p; setp.ne.b32 p, %37, 0;\n"
           "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" WG_0_31 "}, {%32,%33,%34,%35}, %36, p, 1, 1, %38; }"
           : WG_D32 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add), "n"((int)TRANS_B));
}
template <bool TRANS_B>
__device__ __forceinline__ void wg_mma(float (&d)[16][4], const unsigned (&a)[4], uint64_t b, bool add)
{
    WG_ASM("{ .reg .pred p; setp.ne.b32 p, %69, 0;\n"
           "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" WG_0_31 "," WG_32_63 "}, {%64,%65,%66,%67}, %68, "
                                                                                          "p, 1, 1, %70; }"
           : WG_D64
           : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add), "n"((int)TRANS_B));
}
#undef WG_ASM
#undef WG_D4
#undef WG_D32
#undef WG_D64
#undef WG_0_31
#undef WG_32_63
#else
#include "kernels/simt/simt_wgmma.h"
#endif
