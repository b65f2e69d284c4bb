/* ops_optim.h: the optimizer, on flat vectors of device memory. */
#pragma once
#include "kernels/dev.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Sum of squares in a fixed order, independent of threads; not finite if any element is not. */
double op_sumsq(const acc_t *x, int64_t n);
void op_scale(acc_t *x, double by, int64_t n);
void op_acc_add(acc_t *x, const acc_t *y, int64_t n);            /* x += y */
/* Sums of gradients in double, which then hardly depend on the order. */
void op_sum_add(double *sum, const acc_t *g, int64_t n);         /* sum += g */
void op_sum_round(acc_t *g, const double *sum, int64_t n);       /* g = sum, to nearest */

/* Where random numbers of stochastic rounding come from. */
struct round_key {
    uint64_t seed;
    int64_t at;                     /* number of the first weight */
};

/* AdamW (Loshchilov and Hutter 2019), bias-corrected; g is multiplied by scale first; decay is decoupled. Calls
 * gemm_weights_changed(). */
struct adamw {
    double lr;
    double beta1;
    double beta2;
    double eps;
    double decay;
    double scale;
    int64_t t;                      /* step, from 1 */
    struct round_key key;           /* of what is rounded stochastically: bf16 moments, bf16 weights without master */
};
/* Where elem_t is acc_t, master is NULL or a copy of w. Where it is bf16 and master is NULL, w takes the step from its
 * own numbers and is rounded stochastically: weight number at + i by the lower half of word (at + i) % 4 of Philox
 * block {(at + i) / 4 (64 bits), t, 1} under the key seed. Rounded to nearest, a weight would not move at rates of
 * 1e-6, whose steps are far below the 2^-9 of it that bf16 resolves. */
void op_adamw(elem_t *w, acc_t *master, const acc_t *g, acc_t *m, acc_t *v, int64_t n, const struct adamw *a);

/* The same with moments kept as bf16 bits, 4 bytes a weight instead of 8, by stochastic rounding: to one of the two
 * neighbours so that the mean is right. Rounded to nearest, v would never move at beta2 = 0.999, where a step changes
 * it by less than the 2^-9 that bf16 resolves. Weight number at + i rounds m by the lower and v by the upper half of
 * word (at + i) % 4 of Philox block {(at + i) / 4 (64 bits), t, 0} under the key seed. */
void op_adamw_bf16(elem_t *w, acc_t *master, const acc_t *g, uint16_t *m, uint16_t *v, int64_t n,
                   const struct adamw *a);

#ifdef __cplusplus
}
#endif
