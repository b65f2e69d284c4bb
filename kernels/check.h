/* check.h: checks of debug builds (make DEBUG=1) after every operation. The linker puts a function of check_ops.c in
 * front of each op_* (ld --wrap); the operations do not know of it, and an operation without one does not link. An
 * impossible result ends the run with a message that names the operation, the row and the column. */
#pragma once
#include "kernels/ops.h"

/* No NaN in x[n][cols], rows ld apart, on the device. NULL: not checked. */
void check_elems(const char *op, const char *what, const elem_t *x, int64_t n, int64_t cols, int64_t ld);
void check_accs(const char *op, const char *what, const acc_t *x, int64_t n, int64_t cols, int64_t ld);
/* The same of n numbers kept as bf16 bits. */
void check_bf16(const char *op, const char *what, const uint16_t *x, int64_t n);
void check_doubles(const char *op, const char *what, const double *x, int64_t n);
/* The same of host memory, where m (optional) is not 0. */
void check_host(const char *op, const char *what, const acc_t *x, const uint8_t *m, int64_t n);
void check_number(const char *op, const char *what, double x);

/* logp[n] <= 0; 0 <= ent[n] <= ln vocab, with half a unit in the last place of tolerance. Device; NULL: not checked. */
void check_logp(const char *op, const acc_t *logp, int64_t n);
void check_entropy(const char *op, const acc_t *ent, int64_t n, int vocab);

/* Rows of logits' gradients sum to 0. The tolerance is what rounding may leave: a row's weight w = inv_temp (sum |g| +
 * |ge| (1 + ent)) is spread over the vocabulary and subtracted at the targets, with errors of 16 units of the storage
 * type, and of |lse| units of acc_t, the type of lse, from p = exp(z - lse). */
void check_dlogits(const struct dlogits_args *a);
