/* model.c: the parameter table, built once from a list of kinds, and the weights it describes. load.c and save.c read
 * and write them under their Hugging Face names. */
#include "model/model.h"
#include "base/philox.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One kind of tensor in a layer. Kinds that share a field (q, k, v; gate, up) follow one another in the flat vector. */
enum size { DIM, Q, KV, HD, FF, ONE };
static const struct kind {
    const char *name;
    size_t field;
    enum size rows, cols;           /* ONE as cols: a vector */
    bool decay, out;                /* out: writes to the residual stream; its initial weights are smaller */
    enum { ALWAYS, BIAS, QKNORM } when;
} kinds[] = {
    { "input_layernorm.weight",          offsetof(struct layer_at, norm1),    DIM, ONE, false, false, ALWAYS },
    { "self_attn.q_proj.weight",         offsetof(struct layer_at, qkv),      Q,   DIM, true,  false, ALWAYS },
    { "self_attn.k_proj.weight",         offsetof(struct layer_at, qkv),      KV,  DIM, true,  false, ALWAYS },
    { "self_attn.v_proj.weight",         offsetof(struct layer_at, qkv),      KV,  DIM, true,  false, ALWAYS },
    { "self_attn.q_proj.bias",           offsetof(struct layer_at, qkv_bias), Q,   ONE, false, false, BIAS },
    { "self_attn.k_proj.bias",           offsetof(struct layer_at, qkv_bias), KV,  ONE, false, false, BIAS },
    { "self_attn.v_proj.bias",           offsetof(struct layer_at, qkv_bias), KV,  ONE, false, false, BIAS },
    { "self_attn.q_norm.weight",         offsetof(struct layer_at, qnorm),    HD,  ONE, false, false, QKNORM },
    { "self_attn.k_norm.weight",         offsetof(struct layer_at, knorm),    HD,  ONE, false, false, QKNORM },
    { "self_attn.o_proj.weight",         offsetof(struct layer_at, o),        DIM, Q,   true,  true,  ALWAYS },
    { "post_attention_layernorm.weight", offsetof(struct layer_at, norm2),    DIM, ONE, false, false, ALWAYS },
    { "mlp.gate_proj.weight",            offsetof(struct layer_at, gate_up),  FF,  DIM, true,  false, ALWAYS },
    { "mlp.up_proj.weight",              offsetof(struct layer_at, gate_up),  FF,  DIM, true,  false, ALWAYS },
    { "mlp.down_proj.weight",            offsetof(struct layer_at, down),     DIM, FF,  true,  true,  ALWAYS },
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int64_t size_of(const struct model *m, enum size s)
{
    switch (s) {
    case DIM: return m->c.dim;
    case Q:   return (int64_t)m->c.heads * m->c.head_dim;
    case KV:  return (int64_t)m->c.kv_heads * m->c.head_dim;
    case HD:  return m->c.head_dim;
    case FF:  return m->c.ff;
    case ONE: return 0;
    }
    return 0;
}

static bool has(const struct model *m, const struct kind *k)
{
    return k->when == ALWAYS || (k->when == BIAS && m->c.qkv_bias) || (k->when == QKNORM && m->c.qk_norm);
}

static int64_t add(struct model *m, const char *name, int64_t rows, int64_t cols, bool decay)
{
    struct param *p = &m->param[m->params++];
    snprintf(p->name, sizeof p->name, "%s", name);
    p->at = m->count;
    p->rows = rows;
    p->cols = cols;
    p->decay = decay;
    m->count += rows * (cols ? cols : 1);
    return p->at;
}

/* Fused matrices begin at multiples of 16 elements, so that rows of a packed product start on a cache line. */
static void align(struct model *m) { m->count = (m->count + 15) & ~(int64_t)15; }

static void lay_out(struct model *m)
{
    const struct model_config *c = &m->c;
    m->param = xcalloc((size_t)c->layers * KINDS + 3, sizeof *m->param);
    m->layer = xcalloc((size_t)c->layers, sizeof *m->layer);
    m->embed = add(m, "model.embed_tokens.weight", c->vocab, c->dim, true);
    for (int l = 0; l < c->layers; l++) {
        struct layer_at *at = &m->layer[l];
        *at = (struct layer_at){ -1, -1, -1, -1, -1, -1, -1, -1, -1 };
        for (int i = 0; i < KINDS; i++) {
            const struct kind *k = &kinds[i];
            if (!has(m, k)) continue;
            int64_t *field = (int64_t *)(void *)((char *)at + k->field);
            if (*field < 0) align(m);
            char name[sizeof m->param->name];
            snprintf(name, sizeof name, "model.layers.%d.%s", l, k->name);
            int64_t where = add(m, name, size_of(m, k->rows), size_of(m, k->cols), k->decay);
            if (*field < 0) *field = where;
        }
    }
    align(m);
    m->norm = add(m, "model.norm.weight", c->dim, 0, false);
    align(m);
    m->head = c->tied ? m->embed : add(m, "lm_head.weight", c->vocab, c->dim, true);
}

void model_lay_out(struct model *m, const struct model_config *c)
{
    *m = (struct model){
        .c = *c, .h = { c->heads, c->kv_heads, c->head_dim }, .version = 1, .query_scale = rope_logit_scale(&c->rope)
    };
    m->qkv_dim = (c->heads + 2 * c->kv_heads) * c->head_dim;
    lay_out(m);
}

/* Frequencies on the device. */
static void freq_make(struct model *m)
{
    size_t n = (size_t)m->c.head_dim / 2;
    double *f = xmalloc(n * sizeof *f);
    acc_t *x = xmalloc(n * sizeof *x);
    rope_freq(f, &m->c.rope, m->c.rope_theta, m->c.head_dim);
    for (size_t j = 0; j < n; j++) x[j] = (acc_t)f[j];
    m->freq = dev_alloc(n * sizeof *x);
    dev_put(m->freq, x, n * sizeof *x);
    free(f);
    free(x);
}

void model_make(struct model *m, const struct model_config *c)
{
    model_lay_out(m, c);
    freq_make(m);
    m->w = dev_alloc((size_t)m->count * sizeof *m->w);
    int64_t end = 0;
    /* the gaps that alignment leaves: operations on the flat vector run over them */
    for (int i = 0; i <= m->params; i++) {
        int64_t at = i < m->params ? m->param[i].at : m->count;
        dev_zero(m->w + end, (size_t)(at - end) * sizeof *m->w);
        if (i < m->params) end = at + param_count(&m->param[i]);
    }
}

void model_free(struct model *m)
{
    dev_free(m->w);
    dev_free(m->freq);
    free(m->param);
    free(m->layer);
    *m = (struct model){ 0 };
}

static double normal(struct rng *r)
{
    double u = rng_uniform(r), v = rng_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * v);
}

static double initial_sd(const struct model *m, const struct param *p)
{
    if (p->at == m->embed || p->at == m->head) return 0.02;
    double sd = 1.0 / sqrt((double)p->cols);
    for (int i = 0; i < KINDS; i++)
        if (kinds[i].out && strstr(p->name, kinds[i].name)) sd /= sqrt(2.0 * m->c.layers);
    return sd;
}

void model_init(struct model *m, uint64_t seed)
{
    for (int i = 0; i < m->params; i++) {
        const struct param *p = &m->param[i];
        int64_t n = param_count(p);
        elem_t *w = xmalloc((size_t)n * sizeof *w);
        struct rng r = rng_make(seed, 0x77656967u, (uint32_t)i);
        double sd = p->cols ? initial_sd(m, p) : 0, mean = p->cols || strstr(p->name, ".bias") ? 0 : 1;
        for (int64_t j = 0; j < n; j++) w[j] = elem_from(sd > 0 ? sd * normal(&r) : mean);
        dev_put(m->w + p->at, w, (size_t)n * sizeof *w);
        free(w);
    }
    m->version++;
    gemm_weights_changed();
}

void model_put(elem_t *w, const acc_t *x, int64_t n)
{
    elem_t *host = xmalloc((size_t)n * sizeof *host);
    for (int64_t i = 0; i < n; i++) host[i] = elem_from((double)x[i]);
    dev_put(w, host, (size_t)n * sizeof *host);
    free(host);
}

void model_get(acc_t *x, const elem_t *w, int64_t n)
{
    elem_t *host = xmalloc((size_t)n * sizeof *host);
    dev_get(host, w, (size_t)n * sizeof *host);
    for (int64_t i = 0; i < n; i++) x[i] = (acc_t)elem_to(host[i]);
    free(host);
}

size_t model_packed(const struct model *m, bool backward)
{
    const int64_t dim = m->c.dim, att = (int64_t)m->c.heads * m->c.head_dim, ff = m->c.ff;
    /* the products of forward.c and backward.c */
    const struct { int64_t out, in, times; } matrices[] = {
        { m->qkv_dim, dim, m->c.layers }, { dim, att, m->c.layers }, { 2 * ff, dim, m->c.layers },
        { dim, ff, m->c.layers }, { m->c.vocab, dim, 1 },
    };
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        int64_t n = backward ? matrices[i].in : matrices[i].out, k = backward ? matrices[i].out : matrices[i].in;
        bytes += (size_t)matrices[i].times * gemm_packed_bytes(n, k);
    }
    return bytes;
}
