/* ops.h: every operation a model is built of. One backend is linked; each defines these same functions, a missing one
 * is a link error.
 * Rows are tokens; matrices are row-major, [n][d] with no gap between rows unless a leading dimension ld is given.
 * Pointers are device memory. A row's result depends on that row alone (bit for bit), never on n or on the number of
 * threads. Gradients are added to where "+=" is said. */
#pragma once
#include "kernels/dev.h"
#include "kernels/gemm.h"
#include "kernels/ops_rl.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Head shapes of one attention layer: a qkv row is heads*hd queries, kv*hd keys, kv*hd values. */
struct heads { int heads, kv, hd; };

/* Can this backend run such a model? If not, a sentence with what is asked and what its kernels take; name: of the
 * model. trains: the ways back too. */
struct err;
struct op_shape { const char *name; struct heads h; int dim, vocab; bool trains; };
bool ops_take(const struct op_shape *s, struct err *e);

/* x[n][dim] = table[ids[n]][dim];  back: dtable[ids[i]] += dx[i], rows of one id summed in ascending i. */
void op_embed(elem_t *x, const elem_t *table, const int *ids, int64_t n, int dim);
void op_embed_back(acc_t *dtable, const elem_t *dx, const int *ids, int64_t n, int dim, int vocab);

/* y[row[i]] = x[i], rows not named keep what they hold (gathering rows is op_embed with the matrix as its table). */
void op_rows_put(elem_t *y, const elem_t *x, const int *row, int64_t n, int dim);

/* res = x + add (add may be NULL, res may be x); rstd[n] = 1/sqrt(mean(res^2) + eps); y = w * res * rstd. rstd may be
 * NULL.
 * Zhang and Sennrich, "Root mean square layer normalization" (2019).
 * back: dx = dres + gradient through the norm (dres may be NULL, dx may be dres);  dw += sum over rows. */
void op_add_rmsnorm(elem_t *res, elem_t *y, acc_t *rstd, const elem_t *x, const elem_t *add, const elem_t *w,
                    double eps, int64_t n, int dim);
void op_rmsnorm_back(elem_t *dx, acc_t *dw, const elem_t *dy, const elem_t *dres, const elem_t *res, const elem_t *w,
                     const acc_t *rstd, int64_t n, int dim);

/* Rotary embedding, half-split (rotate_half) as Llama and Qwen use it: pair (j, j + hd/2) turned by pos * freq[j],
 * freq[hd/2] on the device; with qnorm/knorm [hd] not NULL each query and key head is first RMS-normalised (Qwen3),
 * rstd[n][heads+kv] kept for the way back. Values are copied. out may be in when there is no norm. back: din from dout;
 * dqnorm, dknorm +=; din may be dout. in is the row before norm and rotation. */
void op_rope(elem_t *out, acc_t *rstd, const elem_t *in, const elem_t *qnorm, const elem_t *knorm, double eps,
             const acc_t *freq, const int *pos, int64_t n, struct heads h);
void op_rope_back(elem_t *din, acc_t *dqnorm, acc_t *dknorm, const elem_t *dout, const elem_t *in, const acc_t *rstd,
                  const elem_t *qnorm, const elem_t *knorm, const acc_t *freq, const int *pos, int64_t n,
                  struct heads h);

/* The queries of rows [n][(heads + 2 kv) hd] times by, in place; keys and values stay (YaRN: Peng et al. 2023, section
 * 3.4). The way back is the same. */
void op_query_scale(elem_t *qkv, double by, int64_t n, struct heads h);

/* gate_up[n][2 ff]: gate then up; y[n][ff] = silu(gate) * up. Shazeer, "GLU variants improve transformer" (2020).
 * dgate_up may be gate_up. */
void op_swiglu(elem_t *y, const elem_t *gate_up, int64_t n, int ff);
void op_swiglu_back(elem_t *dgate_up, const elem_t *dy, const elem_t *gate_up, int64_t n, int ff);

/* db[d] += sum over rows, fixed order */
void op_bias_back(acc_t *db, const elem_t *dy, int64_t n, int d);
void op_add(elem_t *y, const elem_t *x, int64_t count);                             /* y += x */

/* Tree attention. Rows stand in depth-first order and q sees k iff k <= q < end[k]: a causal sequence is a tree with
 * one branch, several sequences are several trees. The plan is made on the host from end[n] (host memory) and used by
 * every layer and by the way back.
 * out[n][heads*hd] = softmax(q k^T / sqrt(hd)) v over the visible keys in path order; lse[n][heads] is kept for the way
 * back (NULL: not wanted). qkv[n][(heads + 2 kv) hd] is after rotation. back: dqkv = (dq, dk, dv), written whole. */
struct attn_plan;
struct attn_plan *attn_plan_make(const int *end, int64_t n);
void attn_plan_free(struct attn_plan *p);
int64_t attn_plan_rows(const struct attn_plan *p);                              /* n */
void op_attn(elem_t *out, acc_t *lse, const elem_t *qkv, const struct attn_plan *p, struct heads h);
void op_attn_back(elem_t *dqkv, const elem_t *dout, const elem_t *out, const acc_t *lse, const elem_t *qkv,
                  const struct attn_plan *p, struct heads h);
/* Where there are two ways to the tensor cores (a GPU of compute capability 9.0, bf16, numerics=fast), op_attn and
 * op_attn_back take `way` for heads of 64 and 128 from now on; ATTN_ONE_WAY only asks. Returns the way until now, or
 * ATTN_ONE_WAY: there is no choice, nothing changes. APPO_ATTN=mma|wgmma chooses at the start; the default is mma. */
enum attn_way { ATTN_ONE_WAY, ATTN_MMA, ATTN_WGMMA };
enum attn_way attn_choose(enum attn_way way);

/* Paged keys and values of one layer: a page holds KV_PAGE positions of one sequence; its inner layout belongs to the
 * backend.
 * A pool of P pages is P * kv_page_elems(h) reals. slot = page * KV_PAGE + position in the page; slot < 0 is skipped.
 * op_attn_paged: row i sees positions 0..pos[i] of the sequence whose page numbers are table[i][0 .. pos[i]/KV_PAGE]:
 * table is [n][ld].
 * The result has the same bits as op_attn gives for the same path. */
enum { KV_PAGE = 16 };
static inline int64_t kv_page_elems(struct heads h) { return (int64_t)2 * h.kv * h.hd * KV_PAGE; }
void op_kv_write(elem_t *pool, const elem_t *qkv, const int64_t *slot, int64_t n, struct heads h);
void op_kv_copy(elem_t *pool, int to, int from, struct heads h);                  /* one whole page */
void op_attn_paged(elem_t *out, const elem_t *qkv, const elem_t *pool, const int *table, int ld, const int *pos,
                   int64_t n, struct heads h);

/* One read of the logits x[n][ld] (vocab valid, the rest padding): z = x * inv_temp; lse = log sum exp z; ent = lse -
 * sum p z, in nats, full vocabulary; row i has the targets tgt[begin[i] .. begin[i+1]-1] (begin NULL: exactly one
 * target, tgt[i]): logp[t] = z[tgt[t]] - lse <= 0. lse, logp, ent may be NULL. */
void op_row_stats(acc_t *lse, acc_t *logp, acc_t *ent, const elem_t *x, double inv_temp, const int *begin,
                  const int *tgt, int64_t n, int vocab, int64_t ld);
/* ent[i] = -sum p log p over the k <= 64 most likely entries of the row, not renormalised: what the official APPO code
 * calls entropy (k = 10), but for the sampled token, which its engine lists as well where it is none of them. least[i]
 * (may be NULL): log p of the least likely of the k. */
void op_top_k_entropy(acc_t *ent, acc_t *least, const acc_t *lse, const elem_t *x, double inv_temp, int k, int64_t n,
                      int vocab, int64_t ld);
/* In place, with g[t] = dloss/dlogp[t] and ge[i] = dloss/dent[i] (NULL: 0): x_j = inv_temp (sum_t g_t (onehot_tgt -
 * p_j) - ge p_j (log p_j + ent)). Rows sum to 0. */
void op_dlogits(elem_t *x, const acc_t *lse, const acc_t *ent, const acc_t *g, const acc_t *ge, double inv_temp,
                const int *begin, const int *tgt, int64_t n, int vocab, int64_t ld);

/* Sampling. temperature 0: argmax, lowest id first, logp and entropy at temperature 1. top_k 0 and top_p 1 are off. The
 * draw is the first word of philox4x32(seed, pos, rollout, prompt, step) against the cumulative sum in id order; logp
 * and ent are those of the full distribution at this temperature, the same bits as op_row_stats. ids with allow[id /
 * 32] >> (id % 32) & 1 == 0 are never drawn (allow NULL: all may be). */
struct sample_rule { double temperature, top_p; int top_k; uint64_t seed; const uint32_t *allow; };
struct sample_key { uint32_t step, prompt, rollout, pos; };
void op_sample(int *id, acc_t *logp, acc_t *ent, const elem_t *x, const struct sample_rule *r,
               const struct sample_key *key, int64_t n, int vocab, int64_t ld);

/* Optimizer on flat vectors. op_sumsq: fixed order, independent of threads; not finite if any element is not.
 * AdamW (Loshchilov and Hutter 2019), bias-corrected for step t >= 1; g is multiplied by scale first; decay is
 * decoupled. Calls gemm_weights_changed(). */
double op_sumsq(const acc_t *x, int64_t n);
void op_scale(acc_t *x, double by, int64_t n);
struct adamw { double lr, beta1, beta2, eps, decay, scale; int64_t t; };
/* master NULL where elem_t is acc_t */
void op_adamw(elem_t *w, acc_t *master, const acc_t *g, acc_t *m, acc_t *v, int64_t n, const struct adamw *a);
/* The same with moments kept as bf16 bits, 4 bytes a weight instead of 8. They are rounded to one of the two neighbours
 * so that the mean is right: to the nearest, v would never move at beta2 = 0.999, where a step changes it by less than
 * the 2^-9 that bf16 resolves. Weight number at + i rounds m by the lower and v by the upper half of word (at + i) % 4
 * of Philox block {(at + i) / 4 (64 bits), t, 0} under the key seed. */
struct round_key { uint64_t seed; int64_t at; };
void op_adamw_bf16(elem_t *w, acc_t *master, const acc_t *g, uint16_t *m, uint16_t *v, int64_t n, const struct adamw *a,
                   struct round_key key);

#ifdef __cplusplus
}
#endif
