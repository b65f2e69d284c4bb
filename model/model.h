/* model.h: a decoder-only transformer: RMSNorm, rotary positions, grouped-query attention, SwiGLU; optional q/k/v bias,
 * q/k norm, tied embedding. Llama, Qwen2 and Qwen3 are settings of it. Weights are one flat vector, gradients and
 * optimizer state are vectors of the same layout.
 * The same calls run on packed trees (training, scoring) and on paged sequences (rollout), and give the same bits. */
#pragma once
#include "model/arena.h"
#include "model/config.h"
#include "kernels/ops.h"

/* Where each tensor of a layer begins in the flat vector (elements); -1: this model has none. q, k, v stand one after
 * another in qkv, gate and up in gate_up. */
struct layer_at { int64_t norm1, qkv, qkv_bias, qnorm, knorm, o, norm2, gate_up, down; };

/* One tensor under its Hugging Face name: [rows][cols], cols 0 for a vector. */
struct param { char name[96]; int64_t at; int64_t rows, cols; bool decay; };
static inline int64_t param_count(const struct param *p) { return p->rows * (p->cols ? p->cols : 1); }

struct model {
    struct model_config c;
    struct heads h;
    int qkv_dim;                    /* (heads + 2 kv_heads) head_dim */
    int64_t count;                  /* parameters in all */
    int params;
    struct param *param;            /* in the order of the flat vector */
    struct layer_at *layer;
    int64_t embed, norm, head;      /* head == embed when tied */
    elem_t *w;                        /* [count], device */
    acc_t *freq;                     /* [head_dim / 2], device: rope_freq */
    /* queries are multiplied with it after the rotation: rope_logit_scale, 1 but for YaRN */
    double query_scale;
    uint64_t version;               /* of the weights; whoever changes w adds one: pages of keys and values carry it */
};

/* Lays out the parameter table and allocates the weights, not initialised (what lies between tensors is 0). */
void model_make(struct model *m, const struct model_config *c);
/* The table only: w and freq stay NULL. For plans. */
void model_lay_out(struct model *m, const struct model_config *c);
void model_free(struct model *m);
/* Normal weights: embedding sd 0.02, matrices sd 1/sqrt(fan in), output and down projections times 1/sqrt(2 layers),
 * norms 1, biases 0. */
void model_init(struct model *m, uint64_t seed);

/* A Hugging Face folder (config.json; model.safetensors, or shards with model.safetensors.index.json; bf16, f16 or
 * f32), a .gguf file, or a folder that holds one and no config.json. Files are mapped and converted piece by piece into
 * place. The tensors must be those of the table and no others, but for buffers of older files and tied heads, which are
 * read as transformers 5 does. A NaN or infinite weight is an error, unless check is false. */
bool model_load_as(struct model *m, const char *path, bool check, struct err *e);
bool model_load(struct model *m, const char *path, struct err *e);              /* with the check */
/* Only the configuration of the same; weights need not be there. */
bool model_load_config(struct model_config *c, const char *path, struct err *e);
/* Does path hold a model? If not, what it holds instead (an adapter, pickled weights, a checkpoint, ...) and what to
 * do. */
bool model_place(const char *path, struct err *e);

/* How a model is written: numbers as bf16 (rounded to nearest even) or as they are kept, in files of at most max_shard
 * bytes of tensors each (0: one file). */
struct save_rule { bool bf16; int64_t max_shard; };
/* config.json, generation_config.json (unless there is one) and the weights, each under a temporary name first;
 * config.json comes last, so that a folder that has it is whole. */
bool model_save_as(const struct model *m, const char *folder, const struct save_rule *r, struct err *e);
bool model_save(const struct model *m, const char *folder, struct err *e);      /* one file, numbers as they are kept */

/* Bytes that products keep of all its matrices, packed, where one does (a CPU): for forward passes; backward: those of
 * backward passes. */
size_t model_packed(const struct model *m, bool backward);

/* n weights from and to host numbers, rounded to what is stored. */
void model_put(elem_t *w, const acc_t *x, int64_t n);
void model_get(acc_t *x, const elem_t *w, int64_t n);

/* A packed batch: n tokens of trees in depth-first order, pos[n] their positions, plan of their end[]. ids and pos on
 * the device. */
struct batch { int64_t n; const int *ids, *pos; const struct attn_plan *plan; };
/* Where a forward pass also writes keys and values: slot[copies][n] (-1: nowhere; a row that sequences with pages of
 * their own share goes to several), pool of layer l at pool + l * layer_stride. */
struct kv_out { elem_t *pool; int64_t layer_stride; const int64_t *slot; int copies; };

/* Activations of a batch of at most max_rows tokens. recompute keeps only each layer's input and runs the layer again
 * on the way back: same bits. */
struct acts_layer {
    elem_t *res1, *x1, *qkv, *qkv_rot, *attn_out, *res2, *x2, *gate_up, *ff_act;
    acc_t *rstd1, *rstd2, *rstdq, *lse;
};
struct acts {
    int64_t max_rows;
    bool recompute;
    struct acts_layer *layer;       /* [layers]; with recompute all share everything but res1 */
    /* [n][dim]: a layer's output, the last residual, the final normalised state */
    elem_t *branch_out, *res, *hidden;
    acc_t *rstd;
    elem_t *dres, *dx, *dwork;        /* the way back: [n][dim], [n][dim], [n][max(qkv_dim, 2 ff)] */
    elem_t *dwork2;                   /* [n][max(heads*hd, ff)] */
};
void acts_make(struct acts *s, const struct model *m, int64_t max_rows, bool recompute, bool backward, struct arena *a);
void acts_free(struct acts *s);

/* hidden[n][dim] in s->hidden. kv may be NULL. */
void model_forward(const struct model *m, struct acts *s, const struct batch *b, const struct kv_out *kv);
/* From dhidden[n][dim] (destroyed) to g += gradient of every parameter but the head matrix, which head_back has done.
 * Call after model_forward on the same batch. */
void model_backward(const struct model *m, struct acts *s, const struct batch *b, const elem_t *dhidden, acc_t *g);

/* Rollout: n rows, each the next token of some sequence; its key and value go to slot[i], it sees positions 0..pos[i]
 * through table[i][ld]. All on the device. Rows of one sequence may be in one call (prefill, tool results): keys are
 * written before they are read. Uses s of max_rows >= n; hidden in s->hidden. */
struct paged {
    int64_t n;
    const int *ids, *pos;
    const int64_t *slot;
    const int *table;
    int ld;
    elem_t *pool;
    int64_t layer_stride;
};
void model_forward_paged(const struct model *m, struct acts *s, const struct paged *p);
