/* attn.h: shared by the CUDA attention files: the plan, made on the host and kept on the device, and the tensor-core
 * path under its own name, so that a test calls it whatever elem_t is. */
#pragma once
#include "kernels/ops.h"
#ifdef __cplusplus
extern "C" {
#endif

/* fp32 path: a block of ATTN_OWN query rows (or keys) against stretches of ATTN_CHUNK positions. Tensor cores: blocks
 * of 128 rows against tiles of 64. */
enum { ATTN_OWN = 8, ATTN_CHUNK = 256, ATTN_BLOCK = 128, ATTN_TILE = 64, ATTN_HD_MAX = 256 };

/* Rows that follow one another down one branch. Position t of the path of its rows is row first + t - before if t >=
 * before, else the parent's position t. */
struct attn_seg { int first, before, parent, last; };
/* Query rows first .. first+rows-1 of one segment; the path of the last of them is len positions long. */
struct attn_rows { int seg, first, rows, len; };
/* Keys first .. first+rows-1 of the tree whose root is row root; rows in front of `last` may see them. */
struct attn_keys { int first, rows, root, last; };
/* For the i-th block of 128 rows, own[i], the tiles of 64 rows it meets: tile[begin[i] .. begin[i+1]-1], ascending,
 * number << 1 | (every pair is visible). */
struct attn_list { const int *own, *begin, *tile; int blocks; };

/* All pointers are device memory, one allocation. Work is listed longest first. */
struct attn_plan {
    int n, row_tiles, key_tiles;
    const int *end;                                              /* [n] */
    const struct attn_seg *seg;
    const struct attn_rows *row_tile;
    const struct attn_keys *key_tile;
    /* blocks of queries and tiles of keys; blocks of keys and tiles of queries */
    struct attn_list by_query, by_key;
    void *memory;
};

/* op_attn and op_attn_back by mma.sync, fp32 sums, no float atomics; numbers are bf16 bits. h.hd is 64 or 128:
 * attn_mma_takes() checks that.
 * Bits depend on how rows fall into tiles of 64, so this path belongs to numerics=fast; a row that is not finite
 * reaches the rows that share a tile with it. Dao, "FlashAttention-2" (2023), Algorithms 1 and 2, over the tiles of the
 * plan. */
bool attn_mma_takes(struct heads h);
void attn_mma(uint16_t *out, float *lse, const uint16_t *qkv, const struct attn_plan *p, struct heads h);
void attn_mma_back(uint16_t *dqkv, const uint16_t *dout, const uint16_t *out, const float *lse, const uint16_t *qkv,
                   const struct attn_plan *p, struct heads h);
/* The same by wgmma, on devices of compute capability 9.0: attn_wgmma_takes() also checks the device. attn_by_wgmma():
 * op_attn and op_attn_back use these; reads APPO_ATTN at the first call. */
bool attn_wgmma_takes(struct heads h);
bool attn_by_wgmma(void);
void attn_wgmma(uint16_t *out, float *lse, const uint16_t *qkv, const struct attn_plan *p, struct heads h);
void attn_wgmma_back(uint16_t *dqkv, const uint16_t *dout, const uint16_t *out, const float *lse, const uint16_t *qkv,
                     const struct attn_plan *p, struct heads h);
/* op_attn_paged in the same way as attn_mma; a key head has at most 128 query heads. */
void attn_mma_paged(uint16_t *out, const uint16_t *qkv, const uint16_t *pool, const int *table, int ld, const int *pos,
                    int64_t n, struct heads h);

/* How many positions op_attn_paged reads for this batch, each group of rows that share counted once; benchmarks
 * divide by it. Waits for the device. */
int64_t attn_paged_reads(const int *table, int ld, const int *pos, int64_t n);

#ifdef __cplusplus
}
#endif
