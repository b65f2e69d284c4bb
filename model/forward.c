/* forward.c: the forward pass, a list of calls, on packed trees and on paged sequences. Both go through the same
 * operations row by row, so that a token's numbers are the same bits when it is sampled, scored and trained on. */
#include "model/forward.h"
#include "model/forward_in.h"
#include "model/weight_stream.h"
#include "base/err.h"

static void rotate(const struct model *m, const struct acts_layer *a, const struct layer_at *p, const struct pass *at)
{
    const struct model_config *c = &m->c;
    const elem_t *w = m->w;
    op_rope((struct rope_args){
        .out = a->qkv_rot, .rstd = a->rstdq, .in = a->qkv, .qnorm = c->qk_norm ? w + p->qnorm : NULL,
        .knorm = c->qk_norm ? w + p->knorm : NULL, .eps = c->rms_eps, .freq = m->freq, .pos = at->pos, .n = at->n,
        .h = m->h });
    if (m->query_scale != 1.0) op_query_scale(a->qkv_rot, m->query_scale, at->n, m->h);
}

static void gate_up(const struct model *m, const struct acts_layer *a, const struct layer_at *p, int64_t n)
{
    const struct model_config *c = &m->c;
    op_gemm((struct gemm){
        .form = GEMM_NT, .d = a->gate_up, .a = a->x2, .b = m->w + p->gate_up, .m = n, .n = 2 * c->ff, .k = c->dim,
        .weight = true });
    op_swiglu(a->ff_act, a->gate_up, n, c->ff);
}

void layer_run(const struct model *m, const struct acts *s, int l, const struct pass *at)
{
    const struct model_config *c = &m->c;
    const struct layer_at *p = &m->layer[l];
    const struct acts_layer *a = &s->layer[l];
    const elem_t *w = m->w;
    int64_t n = at->n, att = (int64_t)c->heads * c->head_dim;
    op_gemm((struct gemm){ .form = GEMM_NT,
                           .d = a->qkv,
                           .a = a->x1,
                           .b = w + p->qkv,
                           .m = n,
                           .n = m->qkv_dim,
                           .k = c->dim,
                           .bias = c->qkv_bias ? w + p->qkv_bias : NULL,
                           .weight = true });
    rotate(m, a, p, at);
    for (int i = 0; i < at->copies; i++)
        op_kv_write(at->pool + l * at->layer_stride, a->qkv_rot, at->slot + i * n, n, m->h);
    if (at->plan) op_attn(a->attn_out, a->lse, a->qkv_rot, at->plan, m->h);
    else op_attn_paged(a->attn_out, a->qkv_rot, at->pool + l * at->layer_stride, at->table, at->ld, at->pos, n, m->h);
    op_gemm((struct gemm){
        .form = GEMM_NT, .d = s->branch_out, .a = a->attn_out, .b = w + p->o, .m = n, .n = c->dim, .k = att,
        .weight = true });
    op_add_rmsnorm((struct rmsnorm_args){
        .res = a->res2, .y = a->x2, .rstd = a->rstd2, .x = a->res1, .add = s->branch_out, .w = w + p->norm2,
        .eps = c->rms_eps, .n = n, .dim = c->dim });
    gate_up(m, a, p, n);
}

/* A norm of a residual that is kept. */
static void norm_again(elem_t *y, acc_t *rstd, elem_t *res, const elem_t *w, const struct model_config *c, int64_t n)
{
    op_add_rmsnorm((struct rmsnorm_args){
        .res = res, .y = y, .rstd = rstd, .x = res, .w = w, .eps = c->rms_eps, .n = n, .dim = c->dim });
}

void layer_again(const struct model *m, const struct acts *s, int l, const struct pass *at)
{
    const struct layer_at *p = &m->layer[l];
    const struct acts_layer *a = &s->layer[l];
    if (s->recompute == RECOMPUTE_NONE) return;
    norm_again(a->x1, a->rstd1, a->res1, m->w + p->norm1, &m->c, at->n);
    if (s->recompute == RECOMPUTE_FULL) { layer_run(m, s, l, at); return; }
    if (m->c.qk_norm) rotate(m, a, p, at);
    norm_again(a->x2, a->rstd2, a->res2, m->w + p->norm2, &m->c, at->n);
    gate_up(m, a, p, at->n);
}

static void run(const struct model *m, const struct acts *s, const int *ids, const struct pass *at)
{
    const struct model_config *c = &m->c;
    if (at->n > s->max_rows)
        die("forward pass of %lld rows, activations hold %lld", (long long)at->n, (long long)s->max_rows);
    struct model here = *m;                         /* w: where those of the layer are */
    weights_begin(m);
    op_embed(s->layer[0].res1, weights_outer(m, m->embed) + m->embed, ids, at->n, c->dim);
    for (int l = 0; l < c->layers; l++) {
        const struct acts_layer *a = &s->layer[l];
        const elem_t *res = l ? s->layer[l - 1].res2 : a->res1, *branch = l ? s->branch_out : NULL;
        here.w = (elem_t *)(uintptr_t)weights_of_layer(m, l);
        op_add_rmsnorm((struct rmsnorm_args){
            .res = a->res1, .y = a->x1, .rstd = a->rstd1, .x = res, .add = branch, .w = here.w + m->layer[l].norm1,
            .eps = c->rms_eps, .n = at->n, .dim = c->dim });
        layer_run(&here, s, l, at);
        op_gemm((struct gemm){
            .form = GEMM_NT, .d = s->branch_out, .a = a->ff_act, .b = here.w + m->layer[l].down, .m = at->n,
            .n = c->dim, .k = c->ff, .weight = true });
    }
    weights_end(m);
    op_add_rmsnorm((struct rmsnorm_args){
        .res = s->res, .y = s->hidden, .rstd = s->rstd, .x = s->layer[c->layers - 1].res2, .add = s->branch_out,
        .w = weights_outer(m, m->norm) + m->norm, .eps = c->rms_eps, .n = at->n, .dim = c->dim });
}

void model_forward(const struct model *m, struct acts *s, const struct batch *b, const struct kv_out *kv)
{
    struct pass at = { .n = b->n, .pos = b->pos, .plan = b->plan };
    model_ready(m);
    if (kv) { at.pool = kv->pool; at.layer_stride = kv->layer_stride; at.slot = kv->slot; at.copies = kv->copies; }
    run(m, s, b->ids, &at);
}

void model_forward_paged(const struct model *m, struct acts *s, const struct paged *p)
{
    struct pass at = { .n = p->n,
                        .pos = p->pos,
                        .slot = p->slot,
                        .copies = 1,
                        .table = p->table,
                        .ld = p->ld,
                        .pool = p->pool,
                        .layer_stride = p->layer_stride };
    run(m, s, p->ids, &at);
}
