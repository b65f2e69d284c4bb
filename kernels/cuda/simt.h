/* simt.h: what every .cu file includes first: LAUNCH, CU, SHARED_DYN and the foundations, under nvcc or, on a CPU,
 * under g++ with the shim of kernels/simt. The compiler contracts nothing to fused multiply-adds: write fmaf where it
 * is wanted, so that the same line gives the same bits in every kernel. */
#pragma once
/* Rules for kernels: blocks are multiples of 32; shuffles name the full mask; no thread returns before a barrier; rows
 * on grid.x; offsets of rows in 64 bits; shared memory holds plain structs and starts undefined; no spinning, no
 * grid-wide barrier, no float atomics; PTX only in wrappers with a CPU twin. */
extern "C" {
#define _Noreturn __attribute__((noreturn))
#include "base/err.h"
#undef _Noreturn
}
#include "base/arith.h"
#include "kernels/dev.h"
#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#include <cuda_runtime.h>
/* kernel may need brackets of its own: LAUNCH((f<256, true>), ...). An empty grid launches nothing. */
#define LAUNCH(kernel, grid, block, smem, queue, ...) do { \
        dim3 grid_(grid), block_(block); \
        const size_t smem_ = (smem); \
        if (smem_ > 48 << 10) \
            CU(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)smem_)); \
        if (grid_.x && grid_.y && grid_.z && !dry_run()) { \
            (kernel)<<<grid_, block_, smem_, queue>>>(__VA_ARGS__); \
            CU(cudaGetLastError()); \
        } \
    } while (0)
/* name: the block's dynamic shared memory, 16-byte aligned */
#define SHARED_DYN(type, name) \
    extern __shared__ __align__(16) unsigned char shared_dyn_[]; \
    type *name = (type *)shared_dyn_
#else
#include "kernels/simt/simt_cpu.h"
#endif

/* A CUDA call that fails ends the program with the call, its place and the reason. */
#define CU(x) do { \
        cudaError_t e_ = (x); \
        if (e_ != cudaSuccess) die("%s:%d: %s: %s", __FILE__, __LINE__, #x, cudaGetErrorString(e_)); \
    } while (0)

/* The stream that every operation runs on, in the order of the calls. */
cudaStream_t queue(void);
/* The GPUs that this process may use; 0: none. Which of them it uses is chosen before the first other call. */
int gpu_count(void);
void gpu_choose(int device);
/* Called after each wait of the host for the device, before it uses what it waited for. */
void queue_check(void (*check)(void));

/* True between dev_dry_begin() and dev_dry_end(): LAUNCH, copies and products do nothing, scratch() only notes the
 * size, pointers must not be followed. */
bool dry_run(void);
/* True during a CUDA graph capture: nothing may allocate, wait or be timed; kernel arguments keep the values they have
 * now. */
bool capturing(void);
void graph_counts(struct dev_counts *c);

/* At least `bytes` bytes of device memory, 256-byte aligned, contents undefined, valid until the next call with the
 * same place. Grows, which waits for the device; is never freed. Operations run one after the other, so each may
 * use a place of its own for what it needs while it runs. */
enum scratch_place { SCRATCH_SUMS, SCRATCH_SORT, SCRATCH_HEAD, SCRATCH_ATTN, SCRATCH_RL, SCRATCH_GEMM, SCRATCH_PLACES };
void *scratch(enum scratch_place place, size_t bytes);
/* Changes whenever some scratch has moved: CUDA graphs captured before hold old addresses. */
uint64_t scratch_moves(void);
/* Device memory like dev_alloc(), but freed pieces are kept in a pool and reused, so that objects which live for a step
 * (attention plans) allocate nothing after the first few. At most 64 MiB lie idle. */
void *pool_get(size_t bytes);
void pool_put(void *p);

/* numerics=exact: a row has the same bits whatever it is computed with. APPO_NUMERICS=exact|fast chooses at the start;
 * the default is exact where numbers are stored as float, fast where as bf16. */
extern "C" void op_gemm_exact(bool exact);

/* Grids of sums have a fixed size, that of an H200 with its 132 multiprocessors: the order of a sum, and so its bits,
 * must not depend on the GPU. At most 8 partial sums a multiprocessor, so that they stay small beside the rows. */
enum { GRID_SMS = 132, MAX_PARTS = 8 * GRID_SMS };
/* How many blocks `count` things need at `per` a block. */
static inline unsigned blocks_of(int64_t count, int64_t per)
{
    int64_t blocks = (count + per - 1) / per;
    if (blocks > 0x7fffffff) die("%lld blocks are more than a grid takes", (long long)blocks);
    return blocks < 0 ? 0 : (unsigned)blocks;
}
/* Threads for `count` things of one row: a multiple of 32, at most `most`. */
static inline int threads_of(int64_t count, int most)
{
    return count >= most ? most : count <= 32 ? 32 : (int)((count + 31) / 32 * 32);
}
