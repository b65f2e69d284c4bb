/* naive_model.h: a whole transformer of the loops of naive.h, forward and backward, on sequences side by side. In
 * double it is the reference for model/; with rounded numbers it computes what a plain bf16 program would. Weights and
 * gradients are laid out as in struct model. */
#pragma once
#include "model/head.h"
#include "model/forward.h"
#include "model/backward.h"
#include "model/model.h"
#include "tests/naive.h"

/* Names as in struct acts_layer. */
struct naive_layer {
    double *res1, *x1, *qkv, *qkv_rot, *attn_out;
    double *res2, *x2, *gate_up, *ff_act;
    double *rstd1, *rstd2, *rstdq, *lse;
};
struct naive_net {
    const struct numbers *z;
    const struct model *m;                      /* shapes and where each tensor is */
    const double *w;                            /* [m->count] */
    int64_t n;
    const int *ids, *pos, *end;                 /* [n]: as in a packed batch */
    double inv_temp;
    double *freq, *last, *hidden, *rstd, *logits /* [n][vocab] */;
    struct naive_layer *layer;
};

static inline struct naive_rope naive_net_rope(const struct naive_net *s, const struct layer_at *p)
{
    const bool norm = s->m->c.qk_norm;
    return (struct naive_rope){ s->m->h,
                                s->freq,
                                { norm ? (double *)s->w + p->qnorm : NULL, norm ? (double *)s->w + p->knorm : NULL },
                                s->m->c.rms_eps,
                                s->pos };
}

/* y[n][out] = x[n][in] w^T */
static inline void naive_linear(const struct naive_net *s, double *y, const double *x, int64_t w, int64_t bias,
                                int64_t out, int64_t in)
{
    naive_gemm(s->z,
               (struct naive_product){ GEMM_NT, y, x, s->w + w, bias < 0 ? NULL : s->w + bias, s->n, out, in, false });
}
/* dx = dy w and g += dy^T x */
static inline void naive_linear_back(const struct naive_net *s, double *dx, double *g, const double *dy,
                                     const double *x, int64_t w, int64_t out, int64_t in)
{
    naive_gemm(s->z, (struct naive_product){ GEMM_TN, g + w, dy, x, NULL, out, in, s->n, true });
    naive_gemm(s->z, (struct naive_product){ GEMM_NN, dx, dy, s->w + w, NULL, s->n, in, out, false });
}

static inline void naive_layer_make(struct naive_layer *a, const struct model *m, int64_t n)
{
    const struct model_config *c = &m->c;
    double **const rows[] = { &a->res1, &a->x1, &a->qkv,   &a->qkv_rot, &a->attn_out,   &a->res2, &a->x2,
                              &a->gate_up,   &a->ff_act,  &a->rstd1, &a->rstd2,  &a->rstdq, &a->lse };
    const int64_t width[] = { c->dim,
                              c->dim,
                              m->qkv_dim,
                              m->qkv_dim,
                              (int64_t)c->heads * c->head_dim,
                              c->dim,
                              c->dim,
                              2 * (int64_t)c->ff,
                              c->ff,
                              1,
                              1,
                              c->heads + c->kv_heads,
                              c->heads };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) *rows[i] = naive_zeros(n * width[i]);
}

/* The fields up to inv_temp are set by the caller. */
static inline void naive_forward(struct naive_net *s)
{
    const struct model_config *c = &s->m->c;
    const int64_t n = s->n, dim = c->dim;
    double *up = naive_zeros(n * dim);
    s->freq = naive_zeros(c->head_dim / 2);
    for (int j = 0; j < c->head_dim / 2; j++) s->freq[j] = s->z->sum(pow(c->rope_theta, -2.0 * j / c->head_dim));
    s->layer = xcalloc((size_t)c->layers, sizeof *s->layer);
    s->last = naive_zeros(n * dim), s->hidden = naive_zeros(n * dim), s->rstd = naive_zeros(n),
    s->logits = naive_zeros(n * c->vocab);
    for (int l = 0; l < c->layers; l++) {
        struct naive_layer *a = &s->layer[l];
        const struct layer_at *p = &s->m->layer[l];
        const struct naive_rope rope = naive_net_rope(s, p);
        naive_layer_make(a, s->m, n);
        for (int64_t i = 0; l == 0 && i < n * dim; i++)
            a->res1[i] = s->w[s->m->embed + s->ids[i / dim] * dim + i % dim];
        naive_norm(s->z, a->res1, a->x1, a->rstd1, l ? s->layer[l - 1].res2 : a->res1, l ? up : NULL, s->w + p->norm1,
                   c->rms_eps, n, c->dim);
        naive_linear(s, a->qkv, a->x1, p->qkv, c->qkv_bias ? p->qkv_bias : -1, s->m->qkv_dim, dim);
        naive_rope(s->z, a->qkv_rot, a->rstdq, a->qkv, &rope, n);
        naive_attn(s->z, a->attn_out, a->lse, a->qkv_rot, s->end, n, s->m->h);
        naive_linear(s, up, a->attn_out, p->o, -1, dim, (int64_t)c->heads * c->head_dim);
        naive_norm(s->z, a->res2, a->x2, a->rstd2, a->res1, up, s->w + p->norm2, c->rms_eps, n, c->dim);
        naive_linear(s, a->gate_up, a->x2, p->gate_up, -1, 2 * (int64_t)c->ff, dim);
        naive_swiglu(s->z, a->ff_act, a->gate_up, n, c->ff);
        naive_linear(s, up, a->ff_act, p->down, -1, dim, c->ff);
    }
    naive_norm(s->z, s->last, s->hidden, s->rstd, s->layer[c->layers - 1].res2, up, s->w + s->m->norm, c->rms_eps, n,
               c->dim);
    naive_linear(s, s->logits, s->hidden, s->m->head, -1, c->vocab, dim);
    free(up);
}

static inline void naive_layer_back(const struct naive_net *s, int l, double *dres, double *g)
{
    const struct model_config *c = &s->m->c;
    const struct layer_at *p = &s->m->layer[l];
    const struct naive_layer *a = &s->layer[l];
    const struct naive_rope rope = naive_net_rope(s, p);
    const int64_t n = s->n, att = (int64_t)c->heads * c->head_dim, qkv = s->m->qkv_dim;
    double *dx = naive_zeros(n * c->dim), *dy = naive_zeros(n * c->ff), *dgate_up = naive_zeros(2 * n * c->ff);
    double *datt = naive_zeros(n * att), *dqkv = naive_zeros(n * qkv);
    naive_linear_back(s, dy, g, dres, a->ff_act, p->down, c->dim, c->ff);
    naive_swiglu_back(s->z, dgate_up, dy, a->gate_up, n, c->ff);
    naive_linear_back(s, dx, g, dgate_up, a->x2, p->gate_up, 2 * (int64_t)c->ff, c->dim);
    naive_norm_back(s->z, dres, g + p->norm2, dx, dres, a->res2, s->w + p->norm2, a->rstd2, n, c->dim);
    naive_linear_back(s, datt, g, dres, a->attn_out, p->o, c->dim, att);
    naive_attn_back(s->z, dqkv, datt, a->qkv_rot, s->end, n, s->m->h);
    naive_rope_back(s->z, dqkv, (double *[2]){ c->qk_norm ? g + p->qnorm : NULL, c->qk_norm ? g + p->knorm : NULL },
                    dqkv, a->qkv, a->rstdq, &rope, n);
    if (c->qkv_bias) naive_bias_back(s->z, g + p->qkv_bias, dqkv, n, qkv);
    naive_linear_back(s, dx, g, dqkv, a->x1, p->qkv, qkv, c->dim);
    naive_norm_back(s->z, dres, g + p->norm1, dx, dres, a->res1, s->w + p->norm1, a->rstd1, n, c->dim);
    free(dx), free(dy), free(dgate_up), free(datt), free(dqkv);
}

/* g[count] += gradient of sum coef[i] logp(tgt[i]) + of_entropy[i] entropy. The logits are destroyed. */
static inline void naive_backward(struct naive_net *s, const int *tgt, const double *coef, const double *of_entropy,
                                  double *g)
{
    const struct model_config *c = &s->m->c;
    double *dhidden = naive_zeros(s->n * c->dim), *dres = naive_zeros(s->n * c->dim);
    for (int64_t i = 0; i < s->n; i++) {
        double *row = s->logits + i * c->vocab;
        naive_dlogits(s->z, row, naive_stats(s->z, row, s->inv_temp, c->vocab), tgt[i], coef[i], of_entropy[i],
                      s->inv_temp, c->vocab);
    }
    naive_linear_back(s, dhidden, g, s->logits, s->hidden, s->m->head, c->vocab, c->dim);
    naive_norm_back(s->z, dres, g + s->m->norm, dhidden, NULL, s->last, s->w + s->m->norm, s->rstd, s->n, c->dim);
    for (int l = c->layers - 1; l >= 0; l--) naive_layer_back(s, l, dres, g);
    naive_embed_back(s->z, g + s->m->embed, dres, s->ids, s->n, c->dim, c->vocab);
    free(dhidden), free(dres);
}

static inline void naive_net_free(struct naive_net *s)
{
    for (int l = 0; l < s->m->c.layers; l++) {
        struct naive_layer *a = &s->layer[l];
        double *const rows[] = { a->res1, a->x1, a->qkv,   a->qkv_rot, a->attn_out,   a->res2, a->x2,
                                 a->gate_up,   a->ff_act,  a->rstd1, a->rstd2,  a->rstdq, a->lse };
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) free(rows[i]);
    }
    free(s->layer), free(s->freq), free(s->last), free(s->hidden), free(s->rstd), free(s->logits);
}
