/* trap.cuh: how a kernel fails on an invalid input. On a device it is a failed assertion: the driver prints the message
 * with the numbers of the block (which give the row) and thread, and the next CUDA call of the host fails; the shim
 * ends the process as die() does. */
#pragma once
#include "kernels/cuda/simt.h"
#ifdef __CUDACC__
#include <assert.h>
__device__ __forceinline__ void kernel_die(const char *what, int64_t)
{
    __assert_fail(what, "kernels/cuda", 0, "kernel");
}
#else
static inline void kernel_die(const char *what, int64_t row) { die("%s (row %lld)", what, (long long)row); }
#endif
