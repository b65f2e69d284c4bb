/* acts.h: activations of a batch: what the forward pass leaves for the backward pass. What is not kept the backward
 * pass computes again, by the same operations: the same bits in all modes. */
#pragma once
#include "model/arena.h"
#include "model/model.h"

/* What of a layer the backward pass computes again. Llama-3.1-8B in bf16: 136, 36 and 8 KB a token and
 * layer. */
enum recompute {
    RECOMPUTE_NONE,
    /* norms, the rotation where there is a q/k norm, gate and up with SwiGLU: of four products one, the attention
     * none */
    RECOMPUTE_CHEAP,
    RECOMPUTE_FULL                  /* all but the layer's input; not the down projection, whose output nothing reads */
};

/* [n] rows each; names and order are those of layer_run in forward.c. */
struct acts_layer {
    elem_t *res1;                   /* [dim] residual stream before the layer */
    elem_t *x1;                     /* [dim] normalised */
    elem_t *qkv;                    /* [qkv_dim] */
    elem_t *qkv_rot;                /* [qkv_dim] with rotary positions; == qkv without q/k norm */
    elem_t *attn_out;               /* [heads * head_dim] */
    elem_t *res2;                   /* [dim] residual stream after attention */
    elem_t *x2;                     /* [dim] normalised */
    elem_t *gate_up;                /* [2 ff] */
    elem_t *ff_act;                 /* [ff] SwiGLU of gate_up */
    acc_t *rstd1, *rstd2;           /* [1] 1/rms of the two norms */
    acc_t *rstdq;                   /* [heads + kv_heads] 1/rms of the q/k norms; NULL without them */
    acc_t *lse;                     /* [heads] log-sum-exp of attention; NULL without a backward pass */
};

struct acts {
    int64_t max_rows;
    enum recompute recompute;
    struct acts_layer *layer;       /* [layers]; what is computed again lies in memory that all share */
    elem_t *branch_out;             /* [n][dim] output of a layer's second half, before it is added to the residual */
    elem_t *res;                    /* [n][dim] the last residual */
    elem_t *hidden;                 /* [n][dim] the final normalised state */
    acc_t *rstd;                    /* [n] 1/rms of the final norm */
    elem_t *dres, *dx;              /* backward pass: [n][dim] each */
    elem_t *dwork;                  /* backward pass: [n][max(qkv_dim, 2 ff)] */
    elem_t *dwork2;                 /* backward pass: [n][max(heads * head_dim, ff)] */
};

/* For batches of at most max_rows tokens. Without a backward pass layers share their activations. */
void acts_make(struct acts *s, const struct model *m, int64_t max_rows, enum recompute recompute, bool backward,
               struct arena *a);
void acts_free(struct acts *s);
