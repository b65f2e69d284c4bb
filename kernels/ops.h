/* ops.h: the operations a layer is built of: embedding, norm, rotation, SwiGLU; with ops_attn.h (attention, pages),
 * ops_head.h (logits, sampling), ops_optim.h (AdamW), gemm.h and ops_rl.h these are all operations. Each backend
 * defines the same functions and one backend is linked: a missing operation is a link error.
 *
 * Rows are tokens. Matrices are row-major, [n][d] with no gap between rows unless a leading dimension ld is given.
 * Pointers are device memory. A row's result depends on that row alone, bit for bit, never on n or on the number of
 * threads. "+=" marks gradients that are added to what is there. A struct NAME_args holds the arguments of op_NAME;
 * members that are optional say so and are NULL where they are not wanted. */
#pragma once
#include "kernels/dev.h"
#include "kernels/gemm.h"
#include "kernels/ops_attn.h"
#include "kernels/ops_head.h"
#include "kernels/ops_optim.h"
#include "kernels/ops_rl.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Whether this backend supports a model of these shapes; otherwise e states what was asked and what is supported. */
struct err;
struct op_shape {
    const char *name;               /* of the model, for the message */
    struct heads h;
    int dim;
    int vocab;
    bool trains;                    /* backward kernels are needed too */
};
bool ops_support(const struct op_shape *s, struct err *e);

/* x[n][dim] = table[ids[n]][dim] */
void op_embed(elem_t *x, const elem_t *table, const int *ids, int64_t n, int dim);
/* dtable[ids[i]] += dx[i], rows of one id summed in ascending i */
void op_embed_back(acc_t *dtable, const elem_t *dx, const int *ids, int64_t n, int dim, int vocab);

/* y[row[i]] = x[i]; other rows of y stay as they are. (To gather rows, call op_embed with the matrix as its table.) */
void op_rows_put(elem_t *y, const elem_t *x, const int *row, int64_t n, int dim);

/* res = x + add; rstd = 1 / sqrt(mean(res^2) + eps); y = w * res * rstd.
 * Zhang and Sennrich, "Root mean square layer normalization" (2019). */
struct rmsnorm_args {
    elem_t *res;                    /* [n][dim], may be x */
    elem_t *y;                      /* [n][dim] */
    acc_t *rstd;                    /* [n], optional: the backward pass needs it */
    const elem_t *x;                /* [n][dim] */
    const elem_t *add;              /* [n][dim], optional */
    const elem_t *w;                /* [dim] */
    double eps;
    int64_t n;
    int dim;
};
void op_add_rmsnorm(struct rmsnorm_args a);

/* dx = dres + gradient through the norm; dw += sum over rows */
struct rmsnorm_back_args {
    elem_t *dx;                     /* [n][dim], may be dres */
    acc_t *dw;                      /* [dim] */
    const elem_t *dy;               /* [n][dim] */
    const elem_t *dres;             /* [n][dim], optional */
    const elem_t *res;              /* as op_add_rmsnorm left it */
    const elem_t *w;
    const acc_t *rstd;
    int64_t n;
    int dim;
};
void op_rmsnorm_back(struct rmsnorm_back_args a);

/* Rotary embedding, half-split (rotate_half) as in Llama and Qwen: pair (j, j + hd/2) is rotated by pos * freq[j]. With
 * qnorm and knorm each query and key head is RMS-normalised first (Qwen3). Values are copied. */
struct rope_args {
    elem_t *out;                    /* [n][(heads + 2 kv) hd], may be in where there is no norm */
    acc_t *rstd;                    /* [n][heads + kv], optional: the backward pass of the norm needs it */
    const elem_t *in;
    const elem_t *qnorm, *knorm;    /* [hd], optional */
    double eps;                     /* of the norm */
    const acc_t *freq;              /* [hd / 2] */
    const int *pos;                 /* [n] */
    int64_t n;
    struct heads h;
};
void op_rope(struct rope_args a);

struct rope_back_args {
    elem_t *din;                    /* may be dout */
    acc_t *dqnorm, *dknorm;         /* [hd] +=, optional */
    const elem_t *dout;
    const elem_t *in;               /* the rows before norm and rotation */
    const acc_t *rstd;
    const elem_t *qnorm, *knorm;
    const acc_t *freq;
    const int *pos;
    int64_t n;
    struct heads h;
};
void op_rope_back(struct rope_back_args a);

/* The queries of rows [n][(heads + 2 kv) hd] times by, in place; keys and values stay (YaRN: Peng et al. 2023, section
 * 3.4). The backward pass is the same operation. */
void op_query_scale(elem_t *qkv, double by, int64_t n, struct heads h);

/* gate_up[n][2 ff]: gate, then up; y[n][ff] = silu(gate) * up. Shazeer, "GLU variants improve transformer" (2020).
 * dgate_up may be gate_up. */
void op_swiglu(elem_t *y, const elem_t *gate_up, int64_t n, int ff);
void op_swiglu_back(elem_t *dgate_up, const elem_t *dy, const elem_t *gate_up, int64_t n, int ff);

/* db[d] += sum over rows, in a fixed order */
void op_bias_back(acc_t *db, const elem_t *dy, int64_t n, int d);
/* y += x */
void op_add(elem_t *y, const elem_t *x, int64_t count);

#ifdef __cplusplus
}
#endif
