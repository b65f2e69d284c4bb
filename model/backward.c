/* backward.c: the backward pass, layer by layer, mirroring forward.c. What of a layer was not kept
 * is computed again first. */
#include "model/backward.h"
#include "model/forward_in.h"

/* dx = dy W and dW += dy^T x, for y = x W^T with W[out][in]. */
static void product_back(elem_t *dx, acc_t *dw, const elem_t *dy, const elem_t *x, const elem_t *w, int64_t n,
                         int64_t out, int64_t in)
{
    op_gemm((struct gemm){ .form = GEMM_TN, .dw = dw, .a = dy, .b = x, .m = out, .n = in, .k = n, .add = true });
    op_gemm((struct gemm){ .form = GEMM_NN, .d = dx, .a = dy, .b = w, .m = n, .n = in, .k = out, .weight = true });
}

/* dres holds the gradient of the residual stream after the layer; afterwards, of the stream before it. */
static void layer_back(const struct model *m, const struct acts *s, int l, const struct batch *b, acc_t *g)
{
    const struct model_config *c = &m->c;
    const struct layer_at *p = &m->layer[l];
    const struct acts_layer *a = &s->layer[l];
    const elem_t *w = m->w;
    int64_t n = b->n, att = (int64_t)c->heads * c->head_dim;
    product_back(s->dwork2, g + p->down, s->dres, a->ff_act, w + p->down, n, c->dim, c->ff);
    op_swiglu_back(s->dwork, s->dwork2, a->gate_up, n, c->ff);
    product_back(s->dx, g + p->gate_up, s->dwork, a->x2, w + p->gate_up, n, 2 * c->ff, c->dim);
    op_rmsnorm_back((struct rmsnorm_back_args){
        .dx = s->dres, .dw = g + p->norm2, .dy = s->dx, .dres = s->dres, .res = a->res2, .w = w + p->norm2,
        .rstd = a->rstd2, .n = n, .dim = c->dim });
    product_back(s->dwork2, g + p->o, s->dres, a->attn_out, w + p->o, n, c->dim, att);
    op_attn_back(s->dwork, s->dwork2, a->attn_out, a->lse, a->qkv_rot, b->plan, m->h);
    if (m->query_scale != 1.0) op_query_scale(s->dwork, m->query_scale, n, m->h);
    op_rope_back((struct rope_back_args){
        .din = s->dwork, .dqnorm = c->qk_norm ? g + p->qnorm : NULL, .dknorm = c->qk_norm ? g + p->knorm : NULL,
        .dout = s->dwork, .in = a->qkv, .rstd = a->rstdq, .qnorm = c->qk_norm ? w + p->qnorm : NULL,
        .knorm = c->qk_norm ? w + p->knorm : NULL, .freq = m->freq, .pos = b->pos, .n = n, .h = m->h });
    if (c->qkv_bias) op_bias_back(g + p->qkv_bias, s->dwork, n, m->qkv_dim);
    product_back(s->dx, g + p->qkv, s->dwork, a->x1, w + p->qkv, n, m->qkv_dim, c->dim);
    op_rmsnorm_back((struct rmsnorm_back_args){
        .dx = s->dres, .dw = g + p->norm1, .dy = s->dx, .dres = s->dres, .res = a->res1, .w = w + p->norm1,
        .rstd = a->rstd1, .n = n, .dim = c->dim });
}

void model_backward_to(const struct model *m, struct acts *s, const struct batch *b, const elem_t *dhidden,
                       const struct grad_sink *to)
{
    const struct model_config *c = &m->c;
    struct pass at = { .n = b->n, .pos = b->pos, .plan = b->plan };
    op_rmsnorm_back((struct rmsnorm_back_args){
        .dx = s->dres, .dw = to->at(to->ctx, m->norm) + m->norm, .dy = dhidden, .res = s->res, .w = m->w + m->norm,
        .rstd = s->rstd, .n = b->n, .dim = c->dim });
    to->done(to->ctx, m->norm);
    for (int l = c->layers - 1; l >= 0; l--) {
        int64_t from = m->layer[l].norm1;
        layer_again(m, s, l, &at);
        layer_back(m, s, l, b, to->at(to->ctx, from));
        to->done(to->ctx, from);
    }
    op_embed_back(to->at(to->ctx, m->embed) + m->embed, s->dres, b->ids, b->n, c->dim, c->vocab);
    to->done(to->ctx, 0);
}

static acc_t *whole(void *g, int64_t from) { (void)from; return g; }
static void nothing(void *g, int64_t from) { (void)g; (void)from; }

void model_backward(const struct model *m, struct acts *s, const struct batch *b, const elem_t *dhidden, acc_t *g)
{
    model_backward_to(m, s, b, dhidden, &(struct grad_sink){ whole, nothing, g });
}
