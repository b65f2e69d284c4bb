/* gemm.h: the matrix product. A row of d has the same bits whatever the other rows are, however many there are and
 * however many threads work: each element is a chain of fused multiply-adds over k in fixed blocks (CPU), or one pinned
 * algorithm per (n, k) (GPU, numerics=exact). */
#pragma once
#include "kernels/dev.h"
#ifdef __cplusplus
extern "C" {
#endif

enum gemm_form {
    GEMM_NT,        /* d[m][n]  = a[m][k] b[n][k]^T       y  = x W^T   */
    GEMM_NN,        /* d[m][n]  = a[m][k] b[k][n]         dx = dy W    */
    GEMM_TN,        /* dw[m][n] = a[k][m]^T b[k][n]       dW = dy^T x, the only form that writes acc_t */
};

struct gemm {
    enum gemm_form form;
    elem_t *d;                  /* GEMM_NT, GEMM_NN */
    acc_t *dw;                  /* GEMM_TN */
    const elem_t *a, *b;
    int64_t m, n, k;
    int64_t lda, ldb, ldd;      /* elements from row to row; 0: dense */
    const elem_t *bias;         /* [n] added to every row, or NULL (GEMM_NT only) */
    bool add;                   /* d += product instead of d = product */
    bool weight;                /* b is a weight: its packed form may be kept until gemm_weights_changed() */
};

/* On a GPU the plan of a shape is made the first time the shape occurs. With numerics=fast the candidates are then
 * timed on the operands (APPO_GEMM=first: the first is taken, the same in every run). Timing waits for the device, so
 * it does not happen inside a capture: a shape that is new there takes the first candidate. */
void op_gemm(struct gemm g);
/* Code that writes into weights calls this: packed copies made of them are dropped. op_adamw calls it. */
void gemm_weights_changed(void);
/* Bytes kept of one packed weight of a product with n columns and k terms; 0 on a GPU, where nothing is packed. */
size_t gemm_packed_bytes(int64_t n, int64_t k);

#ifdef __cplusplus
}
#endif
