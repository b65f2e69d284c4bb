/* check_ops.c: one function in front of each operation (ld --wrap): it calls the operation, then checks its results.
 * Debug builds only. Results of ops.h are fetched from the device; those of ops_rl.h and ops_loss.h are in host
 * memory. */
#include "kernels/check.h"
#include <math.h>

typedef struct heads heads;
static int64_t width(heads h) { return ((int64_t)h.heads + 2 * h.kv) * h.hd; }

/* ---- layers */

extern typeof(op_embed) __real_op_embed, __wrap_op_embed;
void __wrap_op_embed(elem_t *x, const elem_t *table, const int *ids, int64_t n, int dim)
{
    __real_op_embed(x, table, ids, n, dim);
    check_elems("op_embed", "x", x, n, dim, dim);
}

extern typeof(op_embed_back) __real_op_embed_back, __wrap_op_embed_back;
void __wrap_op_embed_back(acc_t *dtable, const elem_t *dx, const int *ids, int64_t n, int dim, int vocab)
{
    __real_op_embed_back(dtable, dx, ids, n, dim, vocab);
    check_accs("op_embed_back", "dtable", dtable, vocab, dim, dim);
}

/* Rows of y that row[] does not name are unknown, so x is checked, the rows that were put there. */
extern typeof(op_rows_put) __real_op_rows_put, __wrap_op_rows_put;
void __wrap_op_rows_put(elem_t *y, const elem_t *x, const int *row, int64_t n, int dim)
{
    __real_op_rows_put(y, x, row, n, dim);
    check_elems("op_rows_put", "x", x, n, dim, dim);
}

extern typeof(op_add_rmsnorm) __real_op_add_rmsnorm, __wrap_op_add_rmsnorm;
void __wrap_op_add_rmsnorm(struct rmsnorm_args a)
{
    __real_op_add_rmsnorm(a);
    check_elems("op_add_rmsnorm", "res", a.res, a.n, a.dim, a.dim);
    check_elems("op_add_rmsnorm", "y", a.y, a.n, a.dim, a.dim);
    check_accs("op_add_rmsnorm", "rstd", a.rstd, a.n, 1, 1);
}

extern typeof(op_rmsnorm_back) __real_op_rmsnorm_back, __wrap_op_rmsnorm_back;
void __wrap_op_rmsnorm_back(struct rmsnorm_back_args a)
{
    __real_op_rmsnorm_back(a);
    check_elems("op_rmsnorm_back", "dx", a.dx, a.n, a.dim, a.dim);
    check_accs("op_rmsnorm_back", "dw", a.dw, 1, a.dim, a.dim);
}

extern typeof(op_rope) __real_op_rope, __wrap_op_rope;
void __wrap_op_rope(struct rope_args a)
{
    __real_op_rope(a);
    const int64_t w = width(a.h), rotated = a.h.heads + a.h.kv;
    check_elems("op_rope", "out", a.out, a.n, w, w);
    check_accs("op_rope", "rstd", a.qnorm ? a.rstd : NULL, a.n, rotated, rotated);
}

extern typeof(op_rope_back) __real_op_rope_back, __wrap_op_rope_back;
void __wrap_op_rope_back(struct rope_back_args a)
{
    __real_op_rope_back(a);
    check_elems("op_rope_back", "din", a.din, a.n, width(a.h), width(a.h));
    check_accs("op_rope_back", "dqnorm", a.qnorm ? a.dqnorm : NULL, 1, a.h.hd, a.h.hd);
    check_accs("op_rope_back", "dknorm", a.knorm ? a.dknorm : NULL, 1, a.h.hd, a.h.hd);
}

extern typeof(op_query_scale) __real_op_query_scale, __wrap_op_query_scale;
void __wrap_op_query_scale(elem_t *qkv, double by, int64_t n, heads h)
{
    __real_op_query_scale(qkv, by, n, h);
    check_elems("op_query_scale", "qkv", qkv, n, (int64_t)h.heads * h.hd, width(h));
}

extern typeof(op_swiglu) __real_op_swiglu, __wrap_op_swiglu;
void __wrap_op_swiglu(elem_t *y, const elem_t *gate_up, int64_t n, int ff)
{
    __real_op_swiglu(y, gate_up, n, ff);
    check_elems("op_swiglu", "y", y, n, ff, ff);
}

extern typeof(op_swiglu_back) __real_op_swiglu_back, __wrap_op_swiglu_back;
void __wrap_op_swiglu_back(elem_t *dgate_up, const elem_t *dy, const elem_t *gate_up, int64_t n, int ff)
{
    __real_op_swiglu_back(dgate_up, dy, gate_up, n, ff);
    check_elems("op_swiglu_back", "dgate_up", dgate_up, n, 2 * (int64_t)ff, 2 * (int64_t)ff);
}

extern typeof(op_bias_back) __real_op_bias_back, __wrap_op_bias_back;
void __wrap_op_bias_back(acc_t *db, const elem_t *dy, int64_t n, int d)
{
    __real_op_bias_back(db, dy, n, d);
    check_accs("op_bias_back", "db", db, 1, d, d);
}

extern typeof(op_add) __real_op_add, __wrap_op_add;
void __wrap_op_add(elem_t *y, const elem_t *x, int64_t count)
{
    __real_op_add(y, x, count);
    check_elems("op_add", "y", y, 1, count, count);
}

extern typeof(op_gemm) __real_op_gemm, __wrap_op_gemm;
void __wrap_op_gemm(struct gemm g)
{
    static const char *const name[] = { [GEMM_NT] = "op_gemm NT", [GEMM_NN] = "op_gemm NN", [GEMM_TN] = "op_gemm TN" };
    const int64_t ld = g.ldd ? g.ldd : g.n;
    __real_op_gemm(g);
    if (g.form != GEMM_TN) check_elems(name[g.form], "d", g.d, g.m, g.n, ld);
    else check_accs(name[g.form], "dw", g.dw, g.m, g.n, ld);
}

/* ---- attention */

extern typeof(op_attn) __real_op_attn, __wrap_op_attn;
void __wrap_op_attn(elem_t *out, acc_t *lse, const elem_t *qkv, const struct attn_plan *p, heads h)
{
    __real_op_attn(out, lse, qkv, p, h);
    check_elems("op_attn", "out", out, attn_plan_rows(p), (int64_t)h.heads * h.hd, (int64_t)h.heads * h.hd);
    check_accs("op_attn", "lse", lse, attn_plan_rows(p), h.heads, h.heads);
}

extern typeof(op_attn_back) __real_op_attn_back, __wrap_op_attn_back;
void __wrap_op_attn_back(elem_t *dqkv, const elem_t *dout, const elem_t *out, const acc_t *lse, const elem_t *qkv,
                         const struct attn_plan *p, heads h)
{
    __real_op_attn_back(dqkv, dout, out, lse, qkv, p, h);
    check_elems("op_attn_back", "dqkv", dqkv, attn_plan_rows(p), width(h), width(h));
}

extern typeof(op_attn_paged) __real_op_attn_paged, __wrap_op_attn_paged;
void __wrap_op_attn_paged(elem_t *out, const elem_t *qkv, const elem_t *pool, const int *table, int ld, const int *pos,
                          int64_t n, heads h)
{
    __real_op_attn_paged(out, qkv, pool, table, ld, pos, n, h);
    check_elems("op_attn_paged", "out", out, n, (int64_t)h.heads * h.hd, (int64_t)h.heads * h.hd);
}

/* Not checked: pages have a layout of their own and positions that are not written yet. The keys were checked after the
 * rotation, the results are checked after the attention. */
extern typeof(op_kv_write) __real_op_kv_write, __wrap_op_kv_write;
void __wrap_op_kv_write(elem_t *pool, const elem_t *qkv, const int64_t *slot, int64_t n, heads h)
{
    __real_op_kv_write(pool, qkv, slot, n, h);
}
extern typeof(op_kv_copy) __real_op_kv_copy, __wrap_op_kv_copy;
void __wrap_op_kv_copy(elem_t *pool, int to, int from, heads h) { __real_op_kv_copy(pool, to, from, h); }

/* ---- logits */

static int64_t targets(const int *begin, int64_t n)
{
    int last = (int)n;
    if (begin) dev_get(&last, begin + n, sizeof last);
    return last;
}

extern typeof(op_row_stats) __real_op_row_stats, __wrap_op_row_stats;
void __wrap_op_row_stats(struct row_stats_args a)
{
    __real_op_row_stats(a);
    check_accs("op_row_stats", "lse", a.lse, a.n, 1, 1);
    check_logp("op_row_stats", a.logp, a.logp ? targets(a.begin, a.n) : 0);
    check_entropy("op_row_stats", a.ent, a.n, a.vocab);
}

extern typeof(op_top_k_entropy) __real_op_top_k_entropy, __wrap_op_top_k_entropy;
void __wrap_op_top_k_entropy(struct top_k_entropy_args a)
{
    __real_op_top_k_entropy(a);
    check_entropy("op_top_k_entropy", a.ent, a.n, a.vocab);
    check_logp("op_top_k_entropy", a.least, a.least ? a.n : 0);
}

extern typeof(op_dlogits) __real_op_dlogits, __wrap_op_dlogits;
void __wrap_op_dlogits(struct dlogits_args a)
{
    __real_op_dlogits(a);
    check_elems("op_dlogits", "x", a.x, a.n, a.vocab, a.ld);
    check_dlogits(&a);
}

extern typeof(op_sample) __real_op_sample, __wrap_op_sample;
void __wrap_op_sample(struct sample_args a)
{
    __real_op_sample(a);
    check_logp("op_sample", a.logp, a.n);
    check_entropy("op_sample", a.ent, a.n, a.vocab);
}

/* ---- optimizer */

extern typeof(op_sumsq) __real_op_sumsq, __wrap_op_sumsq;
double __wrap_op_sumsq(const acc_t *x, int64_t n)
{
    double sum = __real_op_sumsq(x, n);
    check_number("op_sumsq", "the sum", sum);
    return sum;
}

extern typeof(op_scale) __real_op_scale, __wrap_op_scale;
void __wrap_op_scale(acc_t *x, double by, int64_t n)
{
    __real_op_scale(x, by, n);
    check_accs("op_scale", "x", x, 1, n, n);
}

extern typeof(op_acc_add) __real_op_acc_add, __wrap_op_acc_add;
void __wrap_op_acc_add(acc_t *x, const acc_t *y, int64_t n)
{
    __real_op_acc_add(x, y, n);
    check_accs("op_acc_add", "x", x, 1, n, n);
}

extern typeof(op_sum_add) __real_op_sum_add, __wrap_op_sum_add;
void __wrap_op_sum_add(double *sum, const acc_t *g, int64_t n)
{
    __real_op_sum_add(sum, g, n);
    check_doubles("op_sum_add", "sum", sum, n);
}

extern typeof(op_sum_round) __real_op_sum_round, __wrap_op_sum_round;
void __wrap_op_sum_round(acc_t *g, const double *sum, int64_t n)
{
    __real_op_sum_round(g, sum, n);
    check_accs("op_sum_round", "g", g, 1, n, n);
}

extern typeof(op_adamw) __real_op_adamw, __wrap_op_adamw;
void __wrap_op_adamw(elem_t *w, acc_t *master, const acc_t *g, acc_t *m, acc_t *v, int64_t n, const struct adamw *a)
{
    __real_op_adamw(w, master, g, m, v, n, a);
    check_elems("op_adamw", "w", w, 1, n, n);
    check_accs("op_adamw", "master", master, 1, n, n);
    check_accs("op_adamw", "m", m, 1, n, n);
    check_accs("op_adamw", "v", v, 1, n, n);
}

extern typeof(op_adamw_bf16) __real_op_adamw_bf16, __wrap_op_adamw_bf16;
void __wrap_op_adamw_bf16(elem_t *w, acc_t *master, const acc_t *g, uint16_t *m, uint16_t *v, int64_t n,
                          const struct adamw *a)
{
    __real_op_adamw_bf16(w, master, g, m, v, n, a);
    check_elems("op_adamw_bf16", "w", w, 1, n, n);
    check_accs("op_adamw_bf16", "master", master, 1, n, n);
    check_bf16("op_adamw_bf16", "m", m, n);
    check_bf16("op_adamw_bf16", "v", v, n);
}

/* ---- branching reinforcement learning: vectors of tokens, a position is a row */

extern typeof(op_branch_score) __real_op_branch_score, __wrap_op_branch_score;
void __wrap_op_branch_score(const struct branch_scores *out, const struct branch_in *in, const struct branch_rule *r)
{
    __real_op_branch_score(out, in, r);
    const int64_t n = in->begin[in->rows];
    check_host("op_branch_score", "f", out->f, in->m, n);
    check_host("op_branch_score", "zf", out->zf, in->m, n);
    check_host("op_branch_score", "zh", out->zh, in->m, n);
    check_host("op_branch_score", "score", out->score, NULL, n);
}

extern typeof(op_branch_select) __real_op_branch_select, __wrap_op_branch_select;
int __wrap_op_branch_select(struct branch_point *out, const struct select_in *in, const struct select_rule *r)
{
    int filled = __real_op_branch_select(out, in, r);
    for (int i = 0; i < filled; i++) check_host("op_branch_select", "score", &out[i].score, NULL, 1);
    return filled;
}

extern typeof(op_advantage_dual) __real_op_advantage_dual, __wrap_op_advantage_dual;
void __wrap_op_advantage_dual(acc_t *adv, acc_t *base, const struct dual_in *in, const struct advantage_rule *r)
{
    __real_op_advantage_dual(adv, base, in, r);
    check_host("op_advantage_dual", "adv", adv, NULL, in->begin[in->rows]);
    check_host("op_advantage_dual", "base", base, NULL, in->rows);
}

extern typeof(op_reward_scale) __real_op_reward_scale, __wrap_op_reward_scale;
void __wrap_op_reward_scale(acc_t *reward, const int64_t *begin, int rows, const struct branch_record *rec, int records,
                            double discount)
{
    __real_op_reward_scale(reward, begin, rows, rec, records, discount);
    check_host("op_reward_scale", "reward", reward, NULL, begin[rows]);
}

extern typeof(op_advantage) __real_op_advantage, __wrap_op_advantage;
void __wrap_op_advantage(acc_t *adv, acc_t *ret, const struct estimator_in *in, const struct estimator_rule *r)
{
    __real_op_advantage(adv, ret, in, r);
    check_host("op_advantage", "adv", adv, NULL, in->begin[in->rows]);
    check_host("op_advantage", "ret", ret, NULL, in->begin[in->rows]);
}

extern typeof(op_pg) __real_op_pg, __wrap_op_pg;
void __wrap_op_pg(acc_t *g, acc_t *ge, acc_t *influence, uint8_t *kept, struct loss_stats *s, const struct loss_in *in,
                  const struct loss_rule *r)
{
    __real_op_pg(g, ge, influence, kept, s, in, r);
    check_host("op_pg", "g", g, NULL, in->begin[in->rows]);
    check_host("op_pg", "ge", ge, NULL, in->begin[in->rows]);
    check_host("op_pg", "influence", influence, in->m, in->begin[in->rows]);
    check_number("op_pg", "the loss", s->loss);
    check_number("op_pg", "the divergence", s->kl);
    check_number("op_pg", "the entropy", s->entropy);
}

extern typeof(op_agg) __real_op_agg, __wrap_op_agg;
double __wrap_op_agg(acc_t *weight, const acc_t *value, const uint8_t *m, const int64_t *begin, int rows,
                     enum loss_agg agg, double max_len)
{
    double x = __real_op_agg(weight, value, m, begin, rows, agg, max_len);
    check_number("op_agg", "the value", x);
    check_host("op_agg", "weight", weight, NULL, rows);
    return x;
}

extern typeof(op_entropy_floor) __real_op_entropy_floor, __wrap_op_entropy_floor;
double __wrap_op_entropy_floor(const acc_t *entropy, const uint8_t *m, int64_t n, double share)
{
    double x = __real_op_entropy_floor(entropy, m, n, share);
    check_number("op_entropy_floor", "the floor", x);
    return x;
}

/* No mask: positions that the policy did not generate may hold NaN, and then give NaN. */
extern typeof(op_kl) __real_op_kl, __wrap_op_kl;
void __wrap_op_kl(acc_t *value, acc_t *slope, const acc_t *logp, const acc_t *logp_ref, int64_t n, enum kl_kind kind)
{
    __real_op_kl(value, slope, logp, logp_ref, n, kind);
    for (int64_t i = 0; i < n; i++) {
        if (isnan(logp[i]) || isnan(logp_ref[i])) continue;
        if ((value && isnan(value[i])) || (slope && isnan(slope[i]))) check_number("op_kl", "an estimate", (double)NAN);
    }
}
