/* cases.h: kernels of cases.cu, most of them wrong on purpose. Each returns the shim's message about its launch, or
 * NULL if there is none. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif

enum case_kind {
    CASE_SUM,
    CASE_NO_BARRIER,
    CASE_TWO_BARRIERS,
    CASE_BARRIER_AFTER_END,
    CASE_SHUFFLE_AFTER_END,
    CASE_SHUFFLE_APART,
    CASE_OUTSIDE_MASK,
    CASE_NOT_IN_MASK,
    CASE_STALE_SHARED,
    CASE_RACE_BETWEEN_BLOCKS,
    CASES
};
/* order: 0 forward, 1 reverse, 2 both. out[256] is host memory. */
const char *case_run(enum case_kind k, int order, int *out);
/* Shuffles and votes of one warp: lane l of out[row][32], rows in the order of lanes_kernel. */
enum { LANE_ROWS = 9 };
void case_lanes(int out[LANE_ROWS][32]);
/* These end the process: a block of 33 threads; a read, and a write to shared memory, one element beyond the end (found
 * in sanitizer builds). */
void case_odd_block(void);
void case_read_beyond(void);
void case_shared_beyond(void);
/* Every thread of 1000 blocks of 32 counts in six ways; the count if they agree, else -1. */
int case_atomics(void);
/* Counting in a CUDA graph. Each returns NULL, or the difference from a GPU. replay: two launches captured, with no
 * effect, then the graph launched three times. rejected: allocating, freeing, waiting and copying from pageable memory
 * fail within a capture and invalidate it. */
const char *case_replay(void);
const char *case_rejected(void);
/* These end the process: calls that dev.h forbids in a capture: allocating, sending, fetching. */
void case_list_allocates(void);
void case_list_puts(void);
void case_list_gets(void);

/* Wrong calls of NCCL. NULL, or one that the shim's takes or gives another reason for. */
const char *case_nccl(void);

/* One product d[64][n] = a[64][64] b[n][64]^T by the twins of wgmma (n 64 or 128), with at most one fault. Returns
 * the shim's message, or NULL. */
enum wgmma_fault {
    WGMMA_RIGHT,
    WGMMA_NO_FENCE,
    WGMMA_NO_CLOSE,
    WGMMA_NO_WAIT,
    WGMMA_NO_COPY_WAIT,
    WGMMA_NO_PROXY_FENCE,
    WGMMA_A_WRITTEN,
    WGMMA_D_WRITTEN,
    WGMMA_OPERAND_WRITTEN,
    WGMMA_NOT_SWIZZLED,
    WGMMA_LEAD,
    WGMMA_STRIDE,
    WGMMA_SWIZZLE_MODE,
    WGMMA_BEYOND,
    WGMMA_OTHER_DESCRIPTOR,
    WGMMA_ABSENT
};
struct wgmma_case { int n; bool turn_a, turn_b, a_in_registers; enum wgmma_fault fault; };
const char *case_wgmma(const struct wgmma_case *c, int order, const float *a, const float *b, float *out);

#ifdef __cplusplus
}
#endif
