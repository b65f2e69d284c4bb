/* ops_attn.h: attention over trees of tokens, and over paged keys and values. Both give the same bits for one path.
 * ops.h states the conventions. */
#pragma once
#include "kernels/dev.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Head shapes of one attention layer: a qkv row is heads*hd queries, kv*hd keys, kv*hd values. */
struct heads {
    int heads;
    int kv;
    int hd;
};

/* Tree attention. Rows stand in depth-first order and q sees k iff k <= q < end[k]: a causal sequence is a tree with
 * one branch, several sequences are several trees. The plan is made on the host from end[n] (host memory); every layer
 * and the backward pass use it. */
struct attn_plan;
struct attn_plan *attn_plan_make(const int *end, int64_t n);
void attn_plan_free(struct attn_plan *p);
int64_t attn_plan_rows(const struct attn_plan *p);                              /* n */

/* out[n][heads*hd] = softmax(q k^T / sqrt(hd)) v over the visible keys in path order, qkv[n][(heads + 2 kv) hd] after
 * rotation; lse[n][heads] (optional) is kept for the backward pass. */
void op_attn(elem_t *out, acc_t *lse, const elem_t *qkv, const struct attn_plan *p, struct heads h);
/* dqkv = (dq, dk, dv), every element written */
void op_attn_back(elem_t *dqkv, const elem_t *dout, const elem_t *out, const acc_t *lse, const elem_t *qkv,
                  const struct attn_plan *p, struct heads h);

/* On a GPU of compute capability 9.0 with bf16 and numerics=fast, heads of 64 and 128 have two implementations.
 * attn_choose() selects the one that op_attn and op_attn_back use from now on and returns the one used until now.
 * With ATTN_NO_CHOICE it returns the one in use and changes nothing. Elsewhere there is only one implementation:
 * attn_choose() changes nothing and returns ATTN_NO_CHOICE.
 * APPO_ATTN=mma|wgmma selects at the start; the default is mma. */
enum attn_impl { ATTN_NO_CHOICE, ATTN_MMA, ATTN_WGMMA };
enum attn_impl attn_choose(enum attn_impl impl);

/* Paged keys and values of one layer. A page holds KV_PAGE positions of one sequence; its inner layout belongs to the
 * backend. A pool of P pages is P * kv_page_elems(h) elements. */
enum { KV_PAGE = 16 };
static inline int64_t kv_page_elems(struct heads h) { return (int64_t)2 * h.kv * h.hd * KV_PAGE; }
/* slot = page * KV_PAGE + position in the page; slot < 0 is skipped. */
void op_kv_write(elem_t *pool, const elem_t *qkv, const int64_t *slot, int64_t n, struct heads h);
void op_kv_copy(elem_t *pool, int to, int from, struct heads h);                /* one whole page */
/* Row i sees positions 0 .. pos[i] of the sequence whose page numbers are table[i][0 .. pos[i]/KV_PAGE]; table is
 * [n][ld]. */
void op_attn_paged(elem_t *out, const elem_t *qkv, const elem_t *pool, const int *table, int ld, const int *pos,
                   int64_t n, struct heads h);

#ifdef __cplusplus
}
#endif
