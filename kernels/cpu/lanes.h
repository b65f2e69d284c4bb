/* lanes.h: the inner loops, one row at a time, compiled for the base architecture and once more for AVX-512, and the
 * choice between them at run time. Both give the same bits: a lane computes one element, and sums fold into the same
 * double lanes (vec_sum.h). */
#pragma once
#include "kernels/cpu/attn.h"
#include "kernels/cpu/row_stats.h"

struct lanes {
    const char *name;
    /* res = x + add (add NULL: x);  y = w res rstd;  returns rstd */
    acc_t (*norm)(elem_t *res, elem_t *y, const elem_t *x, const elem_t *add, const elem_t *w, double eps, int dim);
    /* dx from dy, dres (may be NULL) and x;  sum[dim, padded to VL_MAX] += dy x rstd */
    void (*norm_back)(elem_t *dx, double *sum, const elem_t *dy, const elem_t *dres, const elem_t *x, const elem_t *w,
                      acc_t rstd, int dim);
    /* y = x, `heads` heads of 2 * half numbers, rotated by +angle (way = 1) or -angle (way = -1); cs is cos[half],
     * then sin[half]; y may be x */
    void (*rotate)(elem_t *y, const elem_t *x, const elem_t *cs, int half, int way, int heads);
    void (*swiglu)(elem_t *y, const elem_t *g, const elem_t *u, int ff);
    void (*swiglu_back)(elem_t *dg, elem_t *du, const elem_t *dy, const elem_t *g, const elem_t *u, int ff);
    struct row_stat (*stat)(elem_t *e, const elem_t *x, double inv_temp, int vocab);            /* row_stat() */
    /* x_j = p_j (a + b log p_j) */
    void (*dlogits)(elem_t *x, double inv_temp, double neg_lse, double a, double b, int vocab);
    /* One query row against its path: out[heads hd], lse[heads] (may be NULL). q[heads hd] unscaled. */
    void (*attn)(elem_t *out, acc_t *lse, const elem_t *q, const struct path *p, struct heads h,
                 const struct attn_space *w);
    /* Backward pass of rows first .. last - 1 of one branch and one kv head: dq, dk and dv of the rows are written, dk
     * and dv of the path above are added to. */
    void (*attn_back)(const struct attn_back *b, int first, int last, int kv, const struct attn_space *w);
};

/* The same choice as gemm_isa(): AVX-512, or the base architecture. APPO_ISA sets both. */
const struct lanes *lanes(void);
const struct lanes *lanes_avx512(void);         /* NULL where the compiler or the processor cannot */
