/* naive.h: the operations of a transformer as plain loops, every tensor rounded when it is stored, as a program of
 * separate operations rounds it (PyTorch eager with transformers' modelling code: norms, softmax and statistics compute
 * in float and round their result). Gradients of weights are sums in float here as in this program. With exact numbers
 * the same loops are the reference in double. */
#pragma once
#include "base/err.h"
#include "kernels/ops.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* store: rounds an element of a tensor to its storage type. sum: rounds results computed in float: sums, statistics,
 * gradients of weights. */
struct numbers { double (*store)(double), (*sum)(double); };
static inline double naive_same(double x) { return x; }
static inline double naive_elem(double x) { return elem_to(elem_from(x)); }
static inline double naive_acc(double x) { return (double)(acc_t)x; }
static const struct numbers exact_numbers = { naive_same, naive_same }, naive_numbers = { naive_elem, naive_acc };

static inline double *naive_zeros(int64_t n) { return xcalloc((size_t)n + 1, sizeof(double)); }

/* Dense. GEMM_TN is the gradient of a weight: d += product in float; the others store their result, with add the
 * product first. */
struct naive_product { enum gemm_form form; double *d; const double *a, *b, *bias; int64_t m, n, k; bool add; };
static inline void naive_gemm(const struct numbers *z, struct naive_product p)
{
    for (int64_t i = 0; i < p.m; i++)
        for (int64_t j = 0; j < p.n; j++) {
            double s = 0, *d = p.d + i * p.n + j;
            for (int64_t q = 0; q < p.k; q++) {
                double a = p.form == GEMM_TN ? p.a[q * p.m + i] : p.a[i * p.k + q];
                s = z->sum(s + a * (p.form == GEMM_NT ? p.b[j * p.k + q] : p.b[q * p.n + j]));
            }
            if (p.form == GEMM_TN) { *d = z->sum(*d + s); continue; }
            s = z->store(p.bias ? s + p.bias[j] : s);
            *d = p.add ? z->store(*d + s) : s;
        }
}

/* db += sum over rows of dy. */
static inline void naive_bias_back(const struct numbers *z, double *db, const double *dy, int64_t n, int64_t d)
{
    for (int64_t j = 0; j < d; j++) {
        double s = 0;
        for (int64_t i = 0; i < n; i++) s = z->sum(s + dy[i * d + j]);
        db[j] = z->sum(db[j] + s);
    }
}

static inline void naive_embed_back(const struct numbers *z, double *dtable, const double *dx, const int *ids,
                                    int64_t n, int dim, int vocab)
{
    double *s = naive_zeros((int64_t)vocab * dim);
    for (int64_t i = 0; i < n * dim; i++) {
        double *at = s + (int64_t)ids[i / dim] * dim + i % dim;
        *at = z->sum(*at + dx[i]);
    }
    for (int64_t i = 0; i < (int64_t)vocab * dim; i++) dtable[i] = z->sum(dtable[i] + s[i]);
    free(s);
}

/* One row of dim numbers: y = w (x r), x r stored. Returns r = 1 / rms. */
static inline double naive_norm_row(const struct numbers *z, double *y, const double *x, const double *w, double eps,
                                    int dim)
{
    double sq = 0;
    for (int j = 0; j < dim; j++) sq = z->sum(sq + x[j] * x[j]);
    const double r = z->sum(1 / sqrt(z->sum(sq / dim + eps)));
    for (int j = 0; j < dim; j++) y[j] = z->store(w[j] * z->store(x[j] * r));
    return r;
}
/* Backward pass of one row: d(x r) is stored, then float up to dx. dw_row[j] = the row's gradient of the weight. */
static inline void naive_norm_row_back(const struct numbers *z, double *dx, double *dw_row, const double *dy,
                                       const double *x, const double *w, double r, int dim)
{
    double dot = 0;
    for (int j = 0; j < dim; j++) {
        dw_row[j] = z->sum(dy[j] * z->sum(x[j] * r));
        dx[j] = z->store(dy[j] * w[j]);
        dot = z->sum(dot + dx[j] * x[j]);
    }
    for (int j = 0; j < dim; j++)
        dx[j] = z->store(z->sum(z->sum(dx[j] * r) - z->sum(x[j] * r) * z->sum(z->sum(r * r) * dot / dim)));
}

/* res = x + add (add may be NULL);  y = w res rstd. */
static inline void naive_norm(const struct numbers *z, double *res, double *y, double *rstd, const double *x,
                              const double *add, const double *w, double eps, int64_t n, int dim)
{
    for (int64_t i = 0; i < n * dim; i++) res[i] = add ? z->store(x[i] + add[i]) : x[i];
    for (int64_t i = 0; i < n; i++) rstd[i] = naive_norm_row(z, y + i * dim, res + i * dim, w, eps, dim);
}
/* dx = dres + gradient through the norm (dres may be NULL, may be dx); dw +=. */
static inline void naive_norm_back(const struct numbers *z, double *dx, double *dw, const double *dy,
                                   const double *dres, const double *res, const double *w, const double *rstd,
                                   int64_t n, int dim)
{
    double *rows = naive_zeros(n * dim), *d = naive_zeros(dim);
    for (int64_t i = 0; i < n; i++) {
        naive_norm_row_back(z, d, rows + i * dim, dy + i * dim, res + i * dim, w, rstd[i], dim);
        for (int j = 0; j < dim; j++) dx[i * dim + j] = dres ? z->store(dres[i * dim + j] + d[j]) : d[j];
    }
    naive_bias_back(z, dw, rows, n, dim);
    free(rows);
    free(d);
}

/* Half-split rotation of one head; back rotates the other way. Cosines and sines are tensors of the model's type. */
static inline void naive_turn(const struct numbers *z, double *y, const double *x, const double *freq, int pos, int hd,
                              bool back)
{
    for (int j = 0; j < hd / 2; j++) {
        double angle = z->sum(pos * freq[j]), c = z->store(cos(angle)), s = z->store(back ? -sin(angle) : sin(angle)),
               a = x[j], b = x[j + hd / 2];
        y[j] = z->store(z->store(a * c) - z->store(b * s));
        y[j + hd / 2] = z->store(z->store(b * c) + z->store(a * s));
    }
}

/* Rotation of a layer: q and k heads rotated, normalised before where w[0] (queries) and w[1] (keys) are given; values
 * copied. */
struct naive_rope { struct heads h; double *freq, *w[2], eps; const int *pos; };
static inline void naive_rope(const struct numbers *z, double *out, double *rstd, const double *in,
                              const struct naive_rope *k, int64_t n)
{
    int hd = k->h.hd, rotated = k->h.heads + k->h.kv, width = rotated + k->h.kv;
    double *x = naive_zeros(hd);
    for (int64_t i = 0; i < n * width; i++) {
        const double *w = k->w[i % width >= k->h.heads], *from = in + i * hd;
        if (i % width >= rotated) { memcpy(out + i * hd, from, (size_t)hd * sizeof *out); continue; }
        if (w) rstd[i / width * rotated + i % width] = naive_norm_row(z, x, from, w, k->eps, hd);
        naive_turn(z, out + i * hd, w ? x : from, k->freq, k->pos[i / width], hd, false);
    }
    free(x);
}
/* dw[0], dw[1] += of the two norms. din may be dout. */
static inline void naive_rope_back(const struct numbers *z, double *din, double *const dw[2], const double *dout,
                                   const double *in, const double *rstd, const struct naive_rope *k, int64_t n)
{
    int hd = k->h.hd, rotated = k->h.heads + k->h.kv, width = rotated + k->h.kv, count[2] = { 0, 0 };
    double *d = naive_zeros(hd), *rows[2] = { naive_zeros(n * width * hd), naive_zeros(n * width * hd) };
    for (int64_t i = 0; i < n * width; i++) {
        const int key = i % width >= k->h.heads, head = (int)(i % width);
        if (head >= rotated) { memmove(din + i * hd, dout + i * hd, (size_t)hd * sizeof *din); continue; }
        naive_turn(z, d, dout + i * hd, k->freq, k->pos[i / width], hd, true);
        if (!k->w[key]) { memcpy(din + i * hd, d, (size_t)hd * sizeof *din); continue; }
        naive_norm_row_back(z, din + i * hd, rows[key] + (int64_t)count[key]++ * hd, d, in + i * hd, k->w[key],
                            rstd[i / width * rotated + head], hd);
    }
    for (int key = 0; key < 2; key++) {
        if (k->w[key]) naive_bias_back(z, dw[key], rows[key], count[key], hd);
        free(rows[key]);
    }
    free(d);
}

static inline double naive_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static inline void naive_swiglu(const struct numbers *z, double *y, const double *gate_up, int64_t n, int ff)
{
    for (int64_t i = 0; i < n * ff; i++) {
        const double *g = gate_up + i / ff * 2 * ff + i % ff;
        y[i] = z->store(z->store(g[0] * naive_sigmoid(g[0])) * g[ff]);
    }
}
static inline void naive_swiglu_back(const struct numbers *z, double *dgate_up, const double *dy, const double *gate_up,
                                     int64_t n, int ff)
{
    for (int64_t i = 0; i < n * ff; i++) {
        const int64_t at = i / ff * 2 * ff + i % ff;
        const double g = gate_up[at], s = naive_sigmoid(g), up = gate_up[at + ff];
        dgate_up[at + ff] = z->store(dy[i] * z->store(g * s));
        dgate_up[at] = z->store(z->store(dy[i] * up) * s * (1 + g * (1 - s)));
    }
}

/* One head's softmax weights p[n][n] over the visible keys (q sees k iff k <= q < end[k]), before they are stored;
 * lse[n][heads]. */
static inline void naive_weights(const struct numbers *z, double *p, double *lse, const double *qkv, const int *end,
                                 int64_t n, struct heads h, int head)
{
    int64_t width = (int64_t)(h.heads + 2 * h.kv) * h.hd, key = (int64_t)(h.heads + head / (h.heads / h.kv)) * h.hd;
    for (int64_t i = 0; i < n; i++) {
        double max = -HUGE_VAL, sum = 0;
        for (int64_t j = 0; j <= i; j++) {
            double s = 0;
            for (int d = 0; d < h.hd; d++) s = z->sum(s + qkv[i * width + head * h.hd + d] * qkv[j * width + key + d]);
            p[i * n + j] = end[j] > i ? z->store(z->store(s) / sqrt(h.hd)) : -HUGE_VAL;
            max = fmax(max, p[i * n + j]);
        }
        for (int64_t j = 0; j <= i; j++) sum = z->sum(sum + (p[i * n + j] = z->sum(exp(z->sum(p[i * n + j] - max)))));
        for (int64_t j = 0; j <= i; j++) p[i * n + j] = z->sum(p[i * n + j] / sum);
        lse[i * h.heads + head] = z->sum(max + z->sum(log(sum)));
    }
}
static inline void naive_attn(const struct numbers *z, double *out, double *lse, const double *qkv, const int *end,
                              int64_t n, struct heads h)
{
    int64_t width = (int64_t)(h.heads + 2 * h.kv) * h.hd;
    double *p = naive_zeros(n * n);
    for (int a = 0; a < h.heads; a++) {
        const double *v = qkv + (int64_t)(h.heads + h.kv + a / (h.heads / h.kv)) * h.hd;
        naive_weights(z, p, lse, qkv, end, n, h, a);
        for (int64_t i = 0; i < n; i++)
            for (int d = 0; d < h.hd; d++) {
                double s = 0;
                for (int64_t j = 0; j <= i; j++) s = z->sum(s + z->store(p[i * n + j]) * v[j * width + d]);
                out[(i * h.heads + a) * h.hd + d] = z->store(s);
            }
    }
    free(p);
}

/* ds[n][n] of one head, times 1 / sqrt(hd), as a stored tensor. */
static inline void naive_score_back(const struct numbers *z, double *ds, const double *p, const double *dout,
                                    const double *v, int64_t n, int64_t width, struct heads h, int head)
{
    for (int64_t i = 0; i < n; i++) {
        double dot = 0;
        for (int64_t j = 0; j <= i; j++) {
            double s = 0;
            for (int d = 0; d < h.hd; d++) s = z->sum(s + dout[(i * h.heads + head) * h.hd + d] * v[j * width + d]);
            ds[i * n + j] = z->store(s);
            dot = z->sum(dot + p[i * n + j] * ds[i * n + j]);
        }
        for (int64_t j = 0; j <= i; j++)
            ds[i * n + j] = z->store(z->store(p[i * n + j] * z->sum(ds[i * n + j] - dot)) / sqrt(h.hd));
    }
}
/* Every element of dqkv is written. A key's and a value's gradient is stored for each query head and then added up over
 * the heads that share it. */
static inline void naive_attn_back(const struct numbers *z, double *dqkv, const double *dout, const double *qkv,
                                   const int *end, int64_t n, struct heads h)
{
    const int group = h.heads / h.kv;
    int64_t width = (int64_t)(h.heads + 2 * h.kv) * h.hd;
    double *p = naive_zeros(n * n), *ds = naive_zeros(n * n), *lse = naive_zeros(n * h.heads);
    memset(dqkv, 0, (size_t)(n * width) * sizeof *dqkv);
    for (int a = 0; a < h.heads; a++) {
        const int64_t q = (int64_t)a * h.hd, k = (int64_t)(h.heads + a / group) * h.hd, v = k + (int64_t)h.kv * h.hd;
        naive_weights(z, p, lse, qkv, end, n, h, a);
        naive_score_back(z, ds, p, dout, qkv + v, n, width, h, a);
        for (int64_t i = 0; i < n; i++)
            for (int d = 0; d < h.hd; d++) {
                double dq = 0, dk = 0, dv = 0;
                for (int64_t j = 0; j <= i; j++) dq = z->sum(dq + ds[i * n + j] * qkv[j * width + k + d]);
                for (int64_t j = i; j < n; j++) {
                    dk = z->sum(dk + ds[j * n + i] * qkv[j * width + q + d]);
                    dv = z->sum(dv + z->store(p[j * n + i]) * dout[(j * h.heads + a) * h.hd + d]);
                }
                dqkv[i * width + q + d] = z->store(dq);
                dqkv[i * width + k + d] = z->sum(dqkv[i * width + k + d] + z->store(dk));
                dqkv[i * width + v + d] = z->sum(dqkv[i * width + v + d] + z->store(dv));
            }
    }
    for (int64_t i = 0; i < n * width; i++) dqkv[i] = z->store(dqkv[i]);
    free(p);
    free(ds);
    free(lse);
}

/* One row of logits, cast to float first: lse and entropy. */
struct naive_row { double lse, ent; };
static inline struct naive_row naive_stats(const struct numbers *z, const double *x, double inv_temp, int vocab)
{
    double max = -HUGE_VAL, mass = 0, mean = 0;
    for (int j = 0; j < vocab; j++) max = fmax(max, z->sum(x[j] * inv_temp));
    for (int j = 0; j < vocab; j++) mass = z->sum(mass + z->sum(exp(z->sum(z->sum(x[j] * inv_temp) - max))));
    const double lse = z->sum(max + z->sum(log(mass)));
    for (int j = 0; j < vocab; j++) {
        double v = z->sum(x[j] * inv_temp);
        mean = z->sum(mean + z->sum(exp(z->sum(v - lse))) * v);
    }
    return (struct naive_row){ lse, z->sum(lse - mean) };
}
/* In place, one target: x_j = inv_temp (g (onehot - p_j) - ge p_j (log p_j + ent)); p and the entropy's part are
 * tensors. */
static inline void naive_dlogits(const struct numbers *z, double *x, struct naive_row s, int tgt, double g, double ge,
                                 double inv_temp, int vocab)
{
    for (int j = 0; j < vocab; j++) {
        double lp = z->sum(z->sum(x[j] * inv_temp) - s.lse), p = z->sum(exp(lp));
        double of_entropy = z->sum(ge * p * z->sum(lp + s.ent));
        x[j] = z->store(inv_temp * z->sum(z->sum(g * ((j == tgt) - p)) - of_entropy));
    }
}
