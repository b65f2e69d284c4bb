/* acts.c: activations of a batch, laid out in an arena. Names of the pieces are those of the memory estimate. */
#include "model/acts.h"
#include "base/arith.h"
#include "base/err.h"
#include <stdlib.h>

static elem_t *elems(struct arena *a, int64_t n, int64_t d, const char *what) { return arena_elems(a, n * d, what); }
static acc_t *accs(struct arena *a, int64_t n, int64_t d, const char *what)
{
    return arena_get(a, (size_t)(n * d) * sizeof(acc_t), what);
}

/* The pieces that RECOMPUTE_CHEAP keeps of every layer. */
static void kept_get(struct acts_layer *l, const struct model *m, int64_t n, bool backward, struct arena *a)
{
    const struct model_config *c = &m->c;
    l->qkv = elems(a, n, m->qkv_dim, "q, k, v");
    if (!c->qk_norm) l->qkv_rot = l->qkv;
    l->attn_out = elems(a, n, (int64_t)c->heads * c->head_dim, "attention out");
    l->res2 = elems(a, n, c->dim, "residual 2");
    l->lse = backward ? accs(a, n, c->heads, "attention lse") : NULL;
}

static void layer_get(struct acts_layer *l, const struct model *m, int64_t n, bool backward, struct arena *a)
{
    const struct model_config *c = &m->c;
    l->x1 = elems(a, n, c->dim, "norm 1 out");
    kept_get(l, m, n, backward, a);
    if (c->qk_norm) l->qkv_rot = elems(a, n, m->qkv_dim, "q, k, v rotated");
    l->x2 = elems(a, n, c->dim, "norm 2 out");
    l->gate_up = elems(a, n, 2 * (int64_t)c->ff, "gate and up");
    l->ff_act = elems(a, n, c->ff, "swiglu out");
    l->rstd1 = accs(a, n, 1, "1/rms");
    l->rstd2 = accs(a, n, 1, "1/rms");
    l->rstdq = c->qk_norm ? accs(a, n, c->heads + c->kv_heads, "q/k norm 1/rms") : NULL;
}

void acts_make(struct acts *s, const struct model *m, int64_t max_rows, enum recompute recompute, bool backward,
               struct arena *a)
{
    const struct model_config *c = &m->c;
    int64_t n = max_rows, att = (int64_t)c->heads * c->head_dim, work = MAX(m->qkv_dim, 2 * (int64_t)c->ff);
    *s = (struct acts){ .max_rows = n,
                        .recompute = backward ? recompute : RECOMPUTE_FULL,
                        .layer = xcalloc((size_t)c->layers, sizeof *s->layer) };
    for (int l = 0; l < c->layers; l++) {
        if (l > 0) s->layer[l] = s->layer[0];
        if (l == 0 || s->recompute == RECOMPUTE_NONE) layer_get(&s->layer[l], m, n, backward, a);
        else if (s->recompute == RECOMPUTE_CHEAP) kept_get(&s->layer[l], m, n, backward, a);
        s->layer[l].res1 = l == 0 || backward ? elems(a, n, c->dim, "residual 1") : s->layer[0].res1;
    }
    s->branch_out = elems(a, n, c->dim, "layer out");
    s->res = elems(a, n, c->dim, "last residual");
    s->hidden = elems(a, n, c->dim, "hidden");
    s->rstd = accs(a, n, 1, "1/rms");
    if (!backward) return;
    s->dres = elems(a, n, c->dim, "d residual");
    s->dx = elems(a, n, c->dim, "d norm out");
    s->dwork = elems(a, n, work, "d gate and up, d q, k, v");
    s->dwork2 = elems(a, n, MAX(att, c->ff), "d swiglu, d attention");
}

void acts_free(struct acts *s)
{
    free(s->layer);
    *s = (struct acts){ 0 };
}
