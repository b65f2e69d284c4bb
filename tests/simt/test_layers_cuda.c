/* test_layers_cuda.c: properties of the CUDA layers that the C backend's do not have: numbers stored as bf16, rows that
 * are not 16-byte aligned (the same bits as aligned ones), rows wider than a block keeps in registers, ids that fill
 * the batch or stand outside of the vocabulary, the matrix product in all its forms. Against loops in double over the
 * numbers as they are stored. */
#include "base/philox.h"
#include "kernels/ops.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

enum { WALL = 16, KEEPS = 128 };
static const double EPS = 0x1p-24;
static const bool narrow = sizeof(elem_t) == 2;

static void *kept[KEEPS], *on_host[4 * KEEPS];
static int keeps, hosts;
static void *device(const void *from, size_t bytes)
{
    ENSURE(keeps < KEEPS);
    void *d = kept[keeps++] = dev_alloc(bytes + 1);
    if (from) dev_put(d, from, bytes);
    return d;
}
static double *host(int64_t n)
{
    ENSURE(hosts < 4 * KEEPS);
    return on_host[hosts++] = xcalloc((size_t)n + 1, sizeof(double));
}
static void drop(void)
{
    while (keeps) dev_free(kept[--keeps]);
    while (hosts) free(on_host[--hosts]);
}

/* n random numbers as they are stored; acc_ones: as float. */
static double *noise(struct rng *r, int64_t n, double scale, bool acc_ones)
{
    double *x = host(n);
    for (int64_t i = 0; i < n; i++) {
        double v = (2 * rng_uniform(r) - 1) * scale;
        x[i] = acc_ones ? (double)(float)v : elem_to(elem_from(v));
    }
    return x;
}

/* n numbers on the device between walls of NaN, `shift` numbers off alignment; x NULL: NaN as well. */
static elem_t *elems(const double *x, int64_t n, int shift)
{
    int64_t all = n + 2 * WALL;
    elem_t *h = xmalloc((size_t)all * sizeof *h), *d;
    for (int64_t i = 0; i < all; i++) h[i] = elem_from((double)NAN);
    for (int64_t i = 0; x && i < n; i++) h[WALL + shift + i] = elem_from(x[i]);
    d = device(h, (size_t)all * sizeof *h);
    free(h);
    return d + WALL + shift;
}
static double *got(const elem_t *d, int64_t n)
{
    elem_t *h = xmalloc((size_t)(n + 2) * sizeof *h);
    double *x = host(n);
    dev_get(h, d - 1, (size_t)(n + 2) * sizeof *h);
    CHECK(isnan(elem_to(h[0])) && isnan(elem_to(h[n + 1])), "written outside of %lld numbers", (long long)n);
    for (int64_t i = 0; i < n; i++) x[i] = elem_to(h[i + 1]);
    free(h);
    return x;
}
static acc_t *accs(const double *x, int64_t n)
{
    float *h = xmalloc((size_t)(n + 2) * sizeof *h);
    for (int64_t i = 0; i < n + 2; i++) h[i] = x && i > 0 && i <= n ? (float)x[i - 1] : NAN;
    acc_t *d = device(h, (size_t)(n + 2) * sizeof *h);
    free(h);
    return d + 1;
}
static double *got_acc(const acc_t *d, int64_t n)
{
    float *h = xmalloc((size_t)(n + 2) * sizeof *h);
    double *x = host(n);
    dev_get(h, d - 1, (size_t)(n + 2) * sizeof *h);
    CHECK(isnan(h[0]) && isnan(h[n + 1]), "written outside of %lld numbers", (long long)n);
    for (int64_t i = 0; i < n; i++) x[i] = (double)h[i + 1];
    free(h);
    return x;
}
static bool same(const double *a, const double *b, int64_t n) { return !memcmp(a, b, (size_t)n * sizeof *a); }

/* |got - want| <= c EPS (1 + mag) (mag NULL: |want|), and one unit of storage where numbers are stored as bf16. */
static void near_all(const char *what, const double *g, const double *want, const double *mag, int64_t n, double c,
                     bool stored)
{
    for (int64_t i = 0; i < n; i++)
        CHECK_NEAR(g[i], want[i],
                   c * EPS * (1 + (mag ? mag[i] : fabs(want[i]))) + (stored && narrow ? 0x1p-8 * fabs(want[i]) : 0),
                   "%s, element %lld of %lld", what, (long long)i, (long long)n);
}

static void norm_case(int n, int dim, int shift, double *bits[4])
{
    int64_t all = (int64_t)n * dim;
    struct rng r = rng_make((uint64_t)dim, 60, 0);
    double *x = noise(&r, all, 2, false), *add = noise(&r, all, 2, false), *w = noise(&r, dim, 2, false),
           *dy = noise(&r, all, 1, false);
    double *dres = noise(&r, all, 1, false), *dw = noise(&r, dim, 1, true), *res = host(all), *y = host(all),
           *dx = host(all), *mag = host(all), *dw_mag = host(dim), *rs = host(n);
    for (int j = 0; j < dim; j++) dw_mag[j] = fabs(dw[j]);
    elem_t *d_res = elems(x, all, shift), *d_y = elems(NULL, all, shift), *d_dx = elems(dres, all, shift),
           *d_w = elems(w, dim, shift);
    acc_t *rstd = accs(NULL, n), *d_dw = accs(dw, dim);
    op_add_rmsnorm((struct rmsnorm_args){
        .res = d_res, .y = d_y, .rstd = rstd, .x = d_res, .add = elems(add, all, shift), .w = d_w, .eps = 1e-5, .n = n,
        .dim = dim });
    double *g_rs = got_acc(rstd, n), *g_res = got(d_res, all);
    for (int i = 0; i < n; i++) {
        double sq = 0, dot = 0;
        int64_t o = (int64_t)i * dim;
        for (int j = 0; j < dim; j++) sq += pow(res[o + j] = elem_to(elem_from(x[o + j] + add[o + j])), 2);
        rs[i] = 1 / sqrt(sq / dim + 1e-5);
        for (int j = 0; j < dim; j++) y[o + j] = w[j] * res[o + j] * rs[i], dot += dy[o + j] * w[j] * res[o + j];
        for (int j = 0; j < dim; j++) {
            double t = g_rs[i];
            dx[o + j] = dres[o + j] + t * w[j] * dy[o + j] - res[o + j] * t * t * t * dot / dim;
            mag[o + j] = fabs(dres[o + j]) + 4 * t + 8 * t * t * t;
            dw[j] += dy[o + j] * res[o + j] * t;
            dw_mag[j] += fabs(dy[o + j] * res[o + j] * t);
        }
    }
    CHECK(same(g_res, res, all), "norm %d x %d: res is not the rounded sum", n, dim);
    near_all("rstd", g_rs, rs, NULL, n, 4, false);
    near_all("norm y", bits[0] = got(d_y, all), y, NULL, all, 4, true);
    if (dim > 1024 * (int)(16 / sizeof(elem_t))) return;
    op_rmsnorm_back((struct rmsnorm_back_args){
        .dx = d_dx, .dw = d_dw, .dy = elems(dy, all, shift), .dres = d_dx, .res = d_res, .w = d_w, .rstd = rstd, .n = n,
        .dim = dim });
    near_all("norm dx", bits[1] = got(d_dx, all), dx, mag, all, 8, true);
    near_all("norm dw", bits[2] = got_acc(d_dw, dim), dw, dw_mag, dim, 8, false);
}

static void norms(void **state)
{
    (void)state;
    static const struct {
        int n, dim;
    } cases[] = { { 1, 1 },    { 3, 8 },    { 5, 129 },  { 9, 576 },   { 2, 1032 },
                  { 6, 2048 }, { 2, 4096 }, { 2, 4104 }, { 1, 16385 }, { 2500, 24 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        double *a[4] = { 0 }, *b[4] = { 0 };
        norm_case(cases[c].n, cases[c].dim, 0, a);
        norm_case(cases[c].n, cases[c].dim, 1, b);
        for (int i = 0; i < 3; i++)
            CHECK(!a[i] || same(a[i], b[i], i == 2 ? cases[c].dim : (int64_t)cases[c].n * cases[c].dim),
                  "norm case %zu: alignment changes the bits of array %d", c, i);
        drop();
    }
}

static void swiglu_case(int n, int ff, int shift, double *bits[2])
{
    int64_t all = (int64_t)n * ff;
    struct rng r = rng_make((uint64_t)ff, 61, 0);
    double *gate_up = noise(&r, 2 * all, 9, false), *dy = noise(&r, all, 1, false), *y = host(all), *d = host(2 * all),
           *mag = host(2 * all), c = narrow ? 64 : 8;
    for (int64_t i = 0; i < all; i++) {
        int64_t at = i / ff * 2 * ff + i % ff;
        double g = gate_up[at], u = gate_up[at + ff], s = 1 / (1 + exp(-g));
        y[i] = g * s * u;
        d[at] = dy[i] * u * s * (1 + g * (1 - s));
        d[at + ff] = dy[i] * g * s;
        mag[at] = fabs(u) * (1 + fabs(g));
        mag[at + ff] = fabs(g);
    }
    elem_t *out = elems(NULL, all, shift), *x = elems(gate_up, 2 * all, shift);
    op_swiglu(out, x, n, ff);
    op_swiglu_back(x, elems(dy, all, shift), x, n, ff);
    near_all("swiglu", bits[0] = got(out, all), y, NULL, all, c, true);       /* bf16: approximate exp, |g| 2^-23 off */
    near_all("swiglu back", bits[1] = got(x, 2 * all), d, mag, 2 * all, c, true);
}

static void swiglu(void **state)
{
    (void)state;
    static const struct {
        int n, ff;
    } cases[] = { { 1, 1 }, { 3, 7 }, { 5, 64 }, { 2, 1536 }, { 2, 2056 }, { 1, 4099 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        double *a[2], *b[2];
        int64_t all = (int64_t)cases[c].n * cases[c].ff;
        swiglu_case(cases[c].n, cases[c].ff, 0, a);
        swiglu_case(cases[c].n, cases[c].ff, 1, b);
        CHECK(same(a[0], b[0], all) && same(a[1], b[1], 2 * all), "swiglu case %zu: alignment changes the bits", c);
        drop();
    }
}

/* One head in double: y from x, then d from dy; the gradient of the norm's weights is added to dw. */
struct head { int half; double pos; const double *freq, *w; double r; };
static void head_forward(const struct head *k, const double *x, double *y)
{
    for (int j = 0; j < k->half; j++) {
        double c = cos(k->pos * k->freq[j]), s = sin(k->pos * k->freq[j]), a = x[j], b = x[j + k->half];
        if (k->w) a *= k->r * k->w[j], b *= k->r * k->w[j + k->half];
        y[j] = a * c - b * s;
        y[j + k->half] = b * c + a * s;
    }
}
static void head_backward(const struct head *k, const double *x, const double *dy, double *d, double *dw,
                          double *dw_mag)
{
    double dot = 0;
    for (int j = 0; j < k->half; j++) {
        double c = cos(k->pos * k->freq[j]), s = sin(k->pos * k->freq[j]), a = dy[j], b = dy[j + k->half];
        d[j] = a * c + b * s;
        d[j + k->half] = b * c - a * s;
    }
    for (int j = 0; k->w && j < 2 * k->half; j++) {
        dot += d[j] * k->w[j] * x[j];
        dw[j] += d[j] * k->r * x[j];
        dw_mag[j] += fabs(d[j] * k->r * x[j]);
    }
    for (int j = 0; k->w && j < 2 * k->half; j++)
        d[j] = k->r * k->w[j] * d[j] - x[j] * k->r * k->r * k->r * dot / (2 * k->half);
}

static void rope_case(int n, struct heads h, bool norm, int shift, double *bits[3])
{
    int width = h.heads + 2 * h.kv, rotated = h.heads + h.kv, hd = h.hd;
    int64_t all = (int64_t)n * width * hd;
    struct rng r = rng_make((uint64_t)hd, 62, norm);
    double *x = noise(&r, all, 2, false), *dy = noise(&r, all, 1, false),
           *w[2] = { noise(&r, hd, 2, false), noise(&r, hd, 2, false) };
    double *freq = host(hd / 2), *y = host(all), *d = host(all);
    double *dw[2] = { host(hd), host(hd) }, *dw_mag[2] = { host(hd), host(hd) }, *mag = host(all),
           *rs = host((int64_t)n * rotated);
    int *pos = (int *)(void *)host(n);
    for (int i = 0; i < n; i++) pos[i] = (int)rng_below(&r, i % 2 ? 1 << 20 : 300);
    for (int j = 0; j < hd / 2; j++) freq[j] = (double)(float)pow(10000, -2.0 * j / hd);
    for (int64_t i = 0; i < (int64_t)n * width; i++) {
        int k = (int)(i % width);
        const double *at = x + i * hd;
        double sq = 0;
        for (int j = 0; j < hd; j++) sq += at[j] * at[j];
        struct head one = { hd / 2, pos[i / width], freq, norm ? w[k >= h.heads] : NULL, 1 / sqrt(sq / hd + 1e-6) };
        if (k >= rotated)
            memcpy(y + i * hd, at, (size_t)hd * sizeof *y), memcpy(d + i * hd, dy + i * hd, (size_t)hd * sizeof *d);
        else {
            head_forward(&one, at, y + i * hd);
            head_backward(&one, at, dy + i * hd, d + i * hd, dw[k >= h.heads], dw_mag[k >= h.heads]);
            rs[i / width * rotated + k] = one.r;
        }
        for (int j = 0; j < hd; j++) mag[i * hd + j] = norm ? 4 + 8 * one.r * one.r * one.r : 2;
    }
    elem_t *in = elems(x, all, shift), *out = norm ? elems(NULL, all, shift) : in, *g = elems(dy, all, shift),
           *qn = norm ? elems(w[0], hd, shift) : NULL, *kn = norm ? elems(w[1], hd, shift) : NULL;
    acc_t *rstd = norm ? accs(NULL, (int64_t)n * rotated) : NULL, *dq = accs(host(hd), hd), *dk = accs(host(hd), hd),
          *f = accs(freq, hd / 2);
    int *d_pos = device(pos, (size_t)n * sizeof *pos);
    op_rope((struct rope_args){
        .out = out, .rstd = rstd, .in = in, .qnorm = qn, .knorm = kn, .eps = 1e-6, .freq = f, .pos = d_pos, .n = n,
        .h = h });
    near_all("rope", bits[0] = got(out, all), y, NULL, all, 12, true);
    if (norm) near_all("head rstd", got_acc(rstd, (int64_t)n * rotated), rs, NULL, (int64_t)n * rotated, 8, false);
    op_rope_back((struct rope_back_args){
        .din = g, .dqnorm = norm ? dq : NULL, .dknorm = norm ? dk : NULL, .dout = g, .in = in, .rstd = rstd,
        .qnorm = qn, .knorm = kn, .freq = f, .pos = d_pos, .n = n, .h = h });
    near_all("rope back", bits[1] = got(g, all), d, mag, all, 12, true);
    bits[2] = got_acc(dq, hd);
    if (!norm) return;
    near_all("dqnorm", bits[2], dw[0], dw_mag[0], hd, 12, false);
    near_all("dknorm", got_acc(dk, hd), dw[1], dw_mag[1], hd, 12, false);
}

static void rotation(void **state)
{
    (void)state;
    static const struct { int n; struct heads h; } cases[] = {
        { 2, { 1, 1, 2 } }, { 3, { 3, 1, 10 } }, { 9, { 2, 1, 24 } }, { 5, { 9, 3, 64 } }, { 3, { 6, 2, 128 } },
        { 2, { 2, 1, 96 } }, { 2, { 1, 1, 256 } },
            { 1100, { 1, 1, 8 } } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int norm = 0; norm < 2; norm++) {
            double *a[3], *b[3];
            int64_t all = (int64_t)cases[c].n * (cases[c].h.heads + 2 * cases[c].h.kv) * cases[c].h.hd;
            rope_case(cases[c].n, cases[c].h, norm, 0, a);
            rope_case(cases[c].n, cases[c].h, norm, 1, b);
            CHECK(same(a[0], b[0], all) && same(a[1], b[1], all) && same(a[2], b[2], cases[c].h.hd),
                  "rope case %zu: alignment changes the bits", c);
            drop();
        }
}

/* One id in half of the rows, ids at both ends of the vocabulary, invalid ids; a vocabulary of one, two and three
 * bytes. */
static void embedding(void **state)
{
    (void)state;
    static const struct {
        int n, dim, vocab, shift;
    } cases[] = { { 1, 1, 1, 0 },      { 64, 8, 1, 0 },     { 65, 5, 2, 1 },
                  { 700, 16, 300, 0 }, { 4500, 9, 256, 0 }, { 2100, 24, 70001, 0 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int n = cases[c].n, dim = cases[c].dim, vocab = cases[c].vocab;
        int64_t all = (int64_t)n * dim, cells = (int64_t)vocab * dim;
        struct rng r = rng_make(c, 63, 0);
        double *dx = noise(&r, all, 1, false), *dt = noise(&r, cells, 1, true), *mag = host(cells),
               *table = noise(&r, cells, 1, false), *x;
        int *ids = (int *)(void *)host(n);
        for (int i = 0; i < n; i++)
            ids[i] = rng_below(&r, 2) ? vocab / 2
                     : i % 40 == 7    ? (i % 80 == 7 ? vocab : -1)
                     : i % 50 == 9    ? vocab - 1
                                      : (int)rng_below(&r, (uint32_t)vocab);
        acc_t *d = accs(dt, cells);
        op_embed_back(d, elems(dx, all, cases[c].shift), device(ids, (size_t)n * sizeof *ids), n, dim, vocab);
        for (int64_t i = 0; i < cells; i++) mag[i] = fabs(dt[i]);
        for (int64_t i = 0; i < all; i++) {
            int id = ids[i / dim];
            if (id < 0 || id >= vocab) continue;
            dt[(int64_t)id * dim + i % dim] += dx[i];
            mag[(int64_t)id * dim + i % dim] += fabs(dx[i]);
        }
        near_all("op_embed_back", got_acc(d, cells), dt, mag, cells, 2, false);
        for (int i = 0; i < n; i++) if (ids[i] >= vocab) ids[i] = -5;
        int *d_ids = device(ids, (size_t)n * sizeof *ids);
        elem_t *rows = elems(NULL, all, cases[c].shift), *back = elems(table, cells, cases[c].shift);
        op_embed(rows, back, d_ids, n, dim);
        x = got(rows, all);
        for (int64_t i = 0; i < all; i++)
            CHECK(ids[i / dim] < 0 ? isnan(x[i]) : x[i] == table[(int64_t)ids[i / dim] * dim + i % dim],
                  "case %zu: row %lld is not its table row", c, (long long)(i / dim));
        op_rows_put(back, rows, d_ids, n, dim);
        CHECK(same(got(back, cells), table, cells), "case %zu: rows put back where they came from", c);
        drop();
    }
}

static void flat(void **state)
{
    (void)state;
    static const int lengths[] = { 1, 5, 16, 1023, 4096, 20001 };
    for (size_t c = 0; c < sizeof lengths / sizeof *lengths; c++)
        for (int shift = 0; shift < 2; shift++) {
            int n = lengths[c];
            struct rng r = rng_make(c, 64, 0);
            double *a = noise(&r, n, 1, false), *b = noise(&r, n, 1, false), *master = noise(&r, n, 1, true),
                   *g = noise(&r, n, 1, true), *w = host(n);
            elem_t *y = elems(a, n, shift), *d_w = elems(NULL, n, shift);
            op_add(y, elems(b, n, shift), n);
            for (int i = 0; i < n; i++) w[i] = elem_to(elem_from(a[i] + b[i]));
            CHECK(same(got(y, n), w, n), "op_add of %d is not the rounded sum", n);
            acc_t *d_master = accs(master, n), *m = accs(host(n), n), *v = accs(host(n), n);
            struct adamw rule = { 1e-2, 0.9, 0.99, 1e-8, 0.1, 0.5, 1, { 0, 0 } };
            op_adamw(d_w, d_master, accs(g, n), m, v, n, &rule);
            /* the first step is of size lr */
            for (int i = 0; i < n; i++) master[i] -= 1e-2 * 0.1 * master[i] + 1e-2 * g[i] / (fabs(g[i]) + 2e-8);
            double *now = got_acc(d_master, n), *stored = got(d_w, n);
            near_all("master", now, master, NULL, n, 8, false);
            for (int i = 0; i < n; i++)
                CHECK(stored[i] == elem_to(elem_from(now[i])), "weight %d of %d is not the rounded master", i, n);
            drop();
        }
    struct heads h = { 3, 2, 10 };
    struct rng r = rng_make(1, 65, 0);
    double *x = noise(&r, 4 * 70, 1, false), *want = host(4 * 70);
    elem_t *d = elems(x, 4 * 70, 0);
    op_query_scale(d, 1.3125, 4, h);
    for (int i = 0; i < 4 * 70; i++) want[i] = i % 70 < 30 ? elem_to(elem_from(x[i] * 1.3125)) : x[i];
    CHECK(same(got(d, 4 * 70), want, 4 * 70), "op_query_scale");
    drop();
}

/* Every form of the product, with gaps between rows, bias, addition, and no terms at all. */
static void products(void **state)
{
    (void)state;
    static const struct { int m, n, k, pad, form; bool bias, add; } cases[] = {
        { 1, 8, 8, 0, GEMM_NT, 0, 0 }, { 17, 40, 24, 8, GEMM_NT, 1, 0 }, { 33, 64, 96, 0, GEMM_NT, 1, 1 },
        { 9, 40, 16, 8, GEMM_NN, 0, 0 }, { 64, 96, 40, 0, GEMM_NN, 0, 1 }, { 24, 40, 100, 0, GEMM_TN, 0, 0 },
        { 40, 16, 300, 8, GEMM_TN, 0, 1 }, { 3, 5, 0, 0, GEMM_NT, 1, 1 }, { 4, 8, 0, 0, GEMM_TN, 0, 0 },
        { 70, 8, 1, 0, GEMM_NT, 0, 0 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int m = cases[c].m, n = cases[c].n, k = cases[c].k, pad = cases[c].pad, form = cases[c].form;
        int64_t lda = (form == GEMM_TN ? m : k) + pad, ldb = (form == GEMM_NT ? k : n) + pad, ldd = n + pad,
                na = (form == GEMM_TN ? k : m) * lda, nb = (form == GEMM_NT ? n : k) * ldb, nd = m * ldd;
        struct rng r = rng_make(c, 66, 0);
        double *a = noise(&r, na, 1, false), *b = noise(&r, nb, 1, false), *d = noise(&r, nd, 1, form == GEMM_TN),
               *bias = noise(&r, n, 1, false), *mag = host(nd);
        elem_t *out = form == GEMM_TN ? NULL : elems(d, nd, 0);
        acc_t *dw = form == GEMM_TN ? accs(d, nd) : NULL;
        op_gemm((struct gemm){ .form = (enum gemm_form)form,
                               .d = out,
                               .dw = dw,
                               .a = elems(a, na, 0),
                               .b = elems(b, nb, 0),
                               .m = m,
                               .n = n,
                               .k = k,
                               .lda = lda,
                               .ldb = ldb,
                               .ldd = ldd,
                               .bias = cases[c].bias ? elems(bias, n, 0) : NULL,
                               .add = cases[c].add });
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) {
                double s = (cases[c].add ? d[i * ldd + j] : 0) + (cases[c].bias ? bias[j] : 0), t = fabs(s);
                for (int p = 0; p < k; p++) {
                    double u = (form == GEMM_TN ? a[p * lda + i] : a[i * lda + p]) *
                               (form == GEMM_NT ? b[j * ldb + p] : b[p * ldb + j]);
                    s += u, t += fabs(u);
                }
                d[i * ldd + j] = s, mag[i * ldd + j] = t;
            }
        near_all("op_gemm", form == GEMM_TN ? got_acc(dw, nd) : got(out, nd), d, mag, nd, 4, form != GEMM_TN);
        drop();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(norms),    cmocka_unit_test(swiglu),
                                        cmocka_unit_test(rotation), cmocka_unit_test(embedding),
                                        cmocka_unit_test(flat),     cmocka_unit_test(products) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
