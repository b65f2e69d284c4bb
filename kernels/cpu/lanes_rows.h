/* lanes_rows.h: the inner loops over one row: norm, rotation, SwiGLU, logits. Included once for each instruction set;
 * lanes.h says what each does. */
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/vec_exp.h"
#include "kernels/cpu/vec_sum.h"

/* Prefetch distance: rows are contiguous, so the data AHEAD of this row is needed next. Without it four layers of 2528
 * x 320 take: swiglu 3.1 ms (with it 1.2), its backward pass 3.7 (1.3), on one thread of a Zen 5, whose own prefetchers
 * stop at every page of memory. Past the end of the data it does nothing. */
enum { AHEAD = 2560 / sizeof(elem_t) };
static inline void soon(const elem_t *p) { __builtin_prefetch(p + AHEAD); }
static inline void soon_written(elem_t *p) { __builtin_prefetch(p + AHEAD, 1); }

static acc_t norm(elem_t *res, elem_t *y, const elem_t *x, const elem_t *add, const elem_t *w, double eps, int dim)
{
    struct vacc sq = { 0 };
    for (int j = 0; j < dim; j += VL) {
        soon(x + j);
        soon_written(res + j);
        soon_written(y + j);
        if (add) soon(add + j);
        vr v = vget_n(x + j, dim - j);
        if (add) v += vget_n(add + j, dim - j);
        if (add || res != x) vput_n(res + j, v, dim - j);
        vacc_fma(&sq, v, v);
    }
    acc_t r = (acc_t)(1 / sqrt(vacc_sum(sq) / dim + eps));
    vr scale = vset((double)r);
    for (int j = 0; j < dim; j += VL) vput_n(y + j, vget_n(res + j, dim - j) * scale * vget_n(w + j, dim - j), dim - j);
    return r;
}

/* y = w x r with r = (mean x^2 + eps)^-1/2: dx = dres + r w dy - x r^3 mean(w dy x); sum[j] += dy x r. dx may be
 * dres. */
static void norm_back(elem_t *dx, double *sum, const elem_t *dy, const elem_t *dres, const elem_t *x, const elem_t *w,
                      acc_t rstd, int dim)
{
    struct vacc dot = { 0 };
    vr r = vset((double)rstd);
    for (int j = 0; j < dim; j += VL) {
        soon(dy + j);
        soon(x + j);
        soon_written(dx + j);
        if (dres) soon(dres + j);
        vr g = vget_n(dy + j, dim - j), v = vget_n(x + j, dim - j);
        vacc_fma(&dot, g * vget_n(w + j, dim - j), v);
    }
    vr c = vset(-vacc_sum(dot) / dim * (double)rstd * (double)rstd * (double)rstd);
    for (int j = 0; j < dim; j += VL) {
        vr g = vget_n(dy + j, dim - j), v = vget_n(x + j, dim - j), d = dres ? vget_n(dres + j, dim - j) : (vr){ 0 };
        d = vfma(g * vget_n(w + j, dim - j), r, d);
        vput_n(dx + j, vfma(v, c, d), dim - j);
        struct vsum s = vsum_get(sum + j);
        vsum_fma(&s, g * r, v);
        vsum_put(sum + j, s);
    }
}

static void rotate(elem_t *y, const elem_t *x, const elem_t *cs, int half, int way, int heads)
{
    for (int j = 0; j < half; j += VL) {
        int m = half - j;
        vr c = vget_n(cs + j, m), s = vget_n(cs + half + j, m);
        if (way < 0) s = vneg(s);
        for (int k = 0; k < heads; k++) {
            const int64_t o = (int64_t)k * 2 * half + j;
            soon(x + o);
            soon_written(y + o);
            vr a = vget_n(x + o, m), b = vget_n(x + o + half, m);
            vput_n(y + o, vfma(a, c, vneg(b * s)), m);
            vput_n(y + o + half, vfma(b, c, a * s), m);
        }
    }
}

static void swiglu(elem_t *y, const elem_t *g, const elem_t *u, int ff)
{
    for (int j = 0; j < ff; j += VL) {
        soon(g + j);
        soon(u + j);
        soon_written(y + j);
        vr x = vget_n(g + j, ff - j);
        vput_n(y + j, x * sigmoid(x) * vget_n(u + j, ff - j), ff - j);
    }
}

/* With s = sigmoid(g):  d up = dy g s;  d gate = dy up s (1 + g (1 - s)). */
static void swiglu_back(elem_t *dg, elem_t *du, const elem_t *dy, const elem_t *g, const elem_t *u, int ff)
{
    for (int j = 0; j < ff; j += VL) {
        soon(g + j);
        soon(u + j);
        soon(dy + j);
        soon_written(dg + j);
        soon_written(du + j);
        vr x = vget_n(g + j, ff - j), up = vget_n(u + j, ff - j), d = vget_n(dy + j, ff - j);
        vr s = sigmoid(x), ds = d * s;
        vput_n(dg + j, ds * up * vfma(x, vset(1) - s, vset(1)), ff - j);
        vput_n(du + j, ds * x, ff - j);
    }
}

static elem_t row_max(const elem_t *x, int n)
{
    vr m = vsetr((elem_t)-INFINITY);
    for (int j = 0; j < n; j += VL)
        m = vmax(m, j + VL <= n ? vget(x + j) : vfill(vget_part(x + j, n - j), n - j, (elem_t)-INFINITY));
    return vmax_all(m);
}

static struct row_stat stat(elem_t *e, const elem_t *x, double inv_temp, int vocab)
{
    elem_t top = row_max(x, vocab);
    /* exp is 0 there, and 0 times -inf would be NaN */
    vr m = vsetr(top), t = vset(inv_temp), low = vset(sizeof(elem_t) == 4 ? -105 : -746);
    struct vacc sum = { 0 }, dot = { 0 };
    for (int j = 0; j < vocab; j += VL) {
        int left = vocab - j;
        soon(x + j);
        vr d = vmax(low, (vget_n(x + j, left) - m) * t), p = vexp(d);
        if (e) vput_n(e + j, p, left);
        if (left < VL) p = vfill(p, left, 0), d = vfill(d, left, 0);
        vacc_add(&sum, p);
        vacc_fma(&dot, p, d);
    }
    struct row_stat s = { .max = (double)top, .mass = vacc_sum(sum) };
    s.log_mass = log(s.mass);
    s.ent = s.log_mass - vacc_sum(dot) / s.mass;
    double most = log((double)vocab);
    if (s.ent > most) s.ent = most;
    return s;
}

static void dlogits(elem_t *x, double inv_temp, double neg_lse, double a, double b, int vocab)
{
    vr t = vset(inv_temp), neg = vset(neg_lse), va = vset(a), vb = vset(b),
       low = vset(sizeof(elem_t) == 4 ? -105 : -746);
    for (int j = 0; j < vocab; j += VL) {
        soon_written(x + j);
        vr lp = vmax(low, vfma(vget_n(x + j, vocab - j), t, neg));
        vput_n(x + j, vexp(lp) * vfma(lp, vb, va), vocab - j);
    }
}
