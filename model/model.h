/* model.h: a decoder-only transformer: RMSNorm, rotary positions, grouped-query attention, SwiGLU; optional q/k/v bias,
 * q/k norm, tied embedding. Llama, Qwen2 and Qwen3 are settings of it. All weights are one flat vector; gradients and
 * optimizer state are vectors of the same layout. forward.h, backward.h and head.h compute with it. */
#pragma once
#include "model/config.h"
#include "kernels/ops.h"

/* Where each tensor of a layer begins in the flat vector (elements); -1: this model has none. */
struct layer_at {
    int64_t norm1;
    int64_t qkv;                    /* q, k, v one after another */
    int64_t qkv_bias;
    int64_t qnorm, knorm;
    int64_t o;
    int64_t norm2;
    int64_t gate_up;                /* gate, then up */
    int64_t down;
};

/* One tensor under its Hugging Face name: [rows][cols], cols 0 for a vector. */
struct param {
    char name[96];
    int64_t at;                     /* in the flat vector */
    int64_t rows, cols;
    bool decay;                     /* weight decay applies */
};
static inline int64_t param_count(const struct param *p) { return p->rows * (p->cols ? p->cols : 1); }

struct model {
    struct model_config c;
    struct heads h;
    int qkv_dim;                    /* (heads + 2 kv_heads) head_dim */
    int64_t count;                  /* weights in all, with the gaps that alignment leaves */
    int params;                     /* tensors */
    struct param *param;            /* [params], in the order of the flat vector */
    struct layer_at *layer;         /* [layers] */
    int64_t embed, norm, head;      /* where they begin in the flat vector; head == embed when tied */
    elem_t *w;                      /* [count], device; with a stream, host memory */
    bool on_host;                   /* w is plain host memory: a copy that is only saved */
    struct weight_stream *stream;   /* NULL, or what brings w to the device for a forward pass (weight_stream.h) */
    acc_t *freq;                    /* [head_dim / 2], device: rope_freq */
    double query_scale;             /* rope_logit_scale: multiplies queries after the rotation; 1 without YaRN */
    void (*arrive)(void *ctx);      /* waits for weights that other ranks have computed; NULL: w has them all */
    void *arrive_ctx;
    uint64_t version;               /* of the weights: code that changes w adds 1; pages of keys and values carry it */
};

/* Before w is read. Forward passes on packs and model_save call it. */
static inline void model_ready(const struct model *m) { if (m->arrive) m->arrive(m->arrive_ctx); }

/* Lays out the parameter table and allocates the weights, uninitialised (gaps between tensors are 0). */
void model_make(struct model *m, const struct model_config *c);

/* The table only: w and freq stay NULL. For memory estimates. */
void model_lay_out(struct model *m, const struct model_config *c);
void model_free(struct model *m);

/* Normal weights: embedding sd 0.02, matrices sd 1/sqrt(fan in), output and down projections times 1/sqrt(2 layers),
 * norms 1, biases 0. */
void model_init(struct model *m, uint64_t seed);

/* Bytes of all its matrices in packed form, for backends whose products keep one (the CPU's): those that the forward
 * pass multiplies with, or those of the backward pass. */
size_t model_packed(const struct model *m, bool backward);

/* n weights from and to host numbers, rounded to the storage type. */
void model_put(elem_t *w, const acc_t *x, int64_t n);
void model_get(acc_t *x, const elem_t *w, int64_t n);
