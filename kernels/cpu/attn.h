/* attn.h: shared by the attention files. Scores of a path stand in one buffer by position in the path; each score is
 * one chain over the head dimension, each output two chains over the positions, even and odd: so the bits do not depend
 * on where the keys lie, in rows or in pages. */
#pragma once
#include "kernels/cpu/work.h"
#include "kernels/ops.h"
#include <math.h>

/* Consecutive rows of one branch: first .. last-1, each the child of the one before. The path of row
 * i is the path of `parent` up to and with row cut - 1, then first .. i. A tree is a run of segments whose first has no
 * parent. */
struct attn_seg {
    int first, last, parent, cut, before /* length of the path in front of first */,
        depth /* segments on the path, itself included */;
};
struct attn_plan {
    int n, segs, trees, longest, deepest;
    int64_t pairs;
    struct attn_seg *seg;
    int *seg_of /* [n] */, *tree /* [trees + 1], into seg */;
};

/* Consecutive keys of a path that lie in one packed block [hd][KV_PAGE]: lanes skip .. skip + count - 1 of it. kt:
 * offset of the block of kv head 0; row: offset of the first key's row of what is summed; ahead: offset of a block
 * to prefetch, its rows row - kt behind it. */
struct block { int64_t kt, row, ahead; int skip, count; };
/* A path: blocks from the root on. Offsets count from kt and from row; row_ld: from key to key in rows; kt_kv, row_kv:
 * from kv head to kv head. */
struct path {
    const struct block *b;
    int blocks, len;
    const elem_t *kt, *row;
    int64_t row_ld, kt_kv, row_kv;
    bool ahead;
};

/* Per thread: score buffers of two query heads of each of `rows` query rows (dp: for the backward pass), scaled queries
 * of all heads, blocks of a path. */
/* rows that the backward pass processes together, at most: 4628 rows in trees of 89 take 14 ms, one by one 19 */
enum { ATTN_ROWS = 4 };
struct attn_space { elem_t *s[2 * ATTN_ROWS], *dp[2 * ATTN_ROWS], *q; struct block *b; };
size_t attn_space_bytes(int longest, int blocks, int rows, struct heads h);
struct attn_space attn_space_at(void *p, int longest, int blocks, int rows, struct heads h);

struct attn_back {
    elem_t *dqkv;
    const elem_t *dout, *out, *qkv, *kt, *vt /* keys and values, packed */;
    const acc_t *lse;
    const struct attn_plan *plan;
    struct heads h;
};

/* The path of row i over the keys packed by attn_pack: row offsets are those of rows of qkv. Blocks are written into
 * to[attn_blocks_most()]. */
struct path attn_path(struct block *to, const struct attn_plan *p, int i, struct heads h);
static inline int attn_blocks_most(const struct attn_plan *p) { return p->longest / KV_PAGE + 2 * p->deepest + 1; }
static inline double attn_scale(int hd) { return 1 / sqrt((double)hd); }
/* to[block][d][KV_PAGE] from rows of d = kv * hd elements, ld apart; what follows row n - 1 in the last block is 0 */
void attn_pack(elem_t *to, const elem_t *rows, int64_t n, int64_t ld, int d, int threads);
