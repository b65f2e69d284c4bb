/* test_layers.c: embedding, norm, rotation, SwiGLU and the sums over rows, forward and back, against loops in double;
 * bits against the number of threads and rows. Every backward is compared with central differences of the double
 * forward. */
#include "tests/kernels/case.h"

/* d loss / d *x by two central differences, h and 2h, the h^2 terms of which cancel: errors of 1e-16 loss / h and of
 * terms in h^4. */
static double slope(double (*f)(void *), void *ctx, double *x, double h)
{
    double at = *x, v[4];
    for (int i = 0; i < 4; i++) {
        *x = at + (double[]){ h, -h, 2 * h, -2 * h }[i];
        v[i] = f(ctx);
    }
    *x = at;
    return (8 * (v[0] - v[1]) - (v[2] - v[3])) / (12 * h);
}

static void embedding(void **state)
{
    (void)state;
    static const struct {
        int n, dim, vocab;
    } cases[] = { { 1, 1, 1 }, { 7, 5, 3 }, { 40, 24, 11 }, { 900, 96, 510 }, { 2000, 9, 2 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int n = cases[c].n, dim = cases[c].dim, vocab = cases[c].vocab;
        struct rng r = rng_make(c, 2, 0);
        int *ids = keep(xmalloc((size_t)n * sizeof *ids), false);
        for (int i = 0; i < n; i++) ids[i] = (int)rng_below(&r, (uint32_t)vocab);
        double *table = noise(&r, vocab * dim, 1), *dx = noise(&r, n * dim, 1), *dt = noise(&r, vocab * dim, 1),
               *want = host(vocab * dim), *mag = host(vocab * dim);
        int *d_ids = ints(ids, n);
        elem_t *x = elems(NULL, n * dim);
        op_embed(x, elems(table, vocab * dim), d_ids, n, dim);
        double *g = got(x, n * dim);
        for (int i = 0; i < n * dim; i++)
            CHECK(g[i] == table[ids[i / dim] * dim + i % dim], "case %zu: row %d is not its table row", c, i / dim);
        for (int i = 0; i < vocab * dim; i++) mag[i] = fabs(want[i] = dt[i]);
        for (int i = 0; i < n * dim; i++)
            want[ids[i / dim] * dim + i % dim] += dx[i], mag[ids[i / dim] * dim + i % dim] += fabs(dx[i]);
        double *first = NULL;
        for (int t = 1; t <= 3; t++) {
            dev_set_threads(t);
            acc_t *d = accs(dt, vocab * dim);
            op_embed_back(d, elems(dx, n * dim), d_ids, n, dim, vocab);
            double *o = got_acc(d, vocab * dim);
            near_all("op_embed_back", o, want, mag, vocab * dim, 2);
            if (!first) first = o;
            CHECK(same_bits(o, first, vocab * dim), "case %zu: %d threads change the bits of op_embed_back", c, t);
        }
        drop();
    }
}

struct norm { int n, dim; double *x, *add, *w, *dy, *dres, eps; };

static double norm_loss(void *ctx)
{
    struct norm *k = ctx;
    double loss = 0;
    for (int i = 0; i < k->n; i++) {
        double sq = 0;
        for (int j = 0; j < k->dim; j++) sq += pow(k->x[i * k->dim + j] + k->add[i * k->dim + j], 2);
        double r = 1 / sqrt(sq / k->dim + k->eps);
        for (int j = 0; j < k->dim; j++) {
            double v = k->x[i * k->dim + j] + k->add[i * k->dim + j];
            loss += k->dy[i * k->dim + j] * k->w[j] * v * r + k->dres[i * k->dim + j] * v;
        }
    }
    return loss;
}

static void rms_norm(void **state)
{
    (void)state;
    static const struct {
        int n, dim;
        double scale;
    } cases[] = {
        { 1, 1, 1 }, { 1, 7, 3 }, { 2, 8, 1 }, { 3, 9, 0.01 }, { 5, 31, 20 }, { 70, 24, 1 }, { 1200, 96, 2 }
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int n = cases[c].n, dim = cases[c].dim, all = n * dim;
        struct rng r = rng_make(c, 3, 0);
        struct norm k = { n,
                          dim,
                          noise(&r, all, cases[c].scale),
                          noise(&r, all, cases[c].scale),
                          noise(&r, dim, 2),
                          noise(&r, all, 1),
                          noise(&r, all, 1),
                          1e-5 };
        double *res = host(all), *y = host(all), *rs = host(n), *o[4] = { 0 };
        for (int i = 0; i < n; i++) {
            double sq = 0;
            for (int j = 0; j < dim; j++)
                sq += pow(res[i * dim + j] = rounded(k.x[i * dim + j] + k.add[i * dim + j]), 2);
            rs[i] = 1 / sqrt(sq / dim + k.eps);
            for (int j = 0; j < dim; j++) y[i * dim + j] = k.w[j] * res[i * dim + j] * rs[i];
        }
        for (int t = 1; t <= 3; t++) {
            dev_set_threads(t);
            elem_t *d_res = elems(k.x, all), *d_y = elems(NULL, all), *d_dx = elems(k.dres, all), *w = elems(k.w, dim);
            acc_t *rstd = accs(NULL, n), *dw = accs(k.w, dim);
            op_add_rmsnorm((struct rmsnorm_args){
                .res = d_res, .y = d_y, .rstd = rstd, .x = d_res, .add = elems(k.add, all), .w = w, .eps = k.eps,
                .n = n, .dim = dim });
            op_rmsnorm_back((struct rmsnorm_back_args){
                .dx = d_dx, .dw = dw, .dy = elems(k.dy, all), .dres = d_dx, .res = d_res, .w = w, .rstd = rstd, .n = n,
                .dim = dim });
            double *p[4] = { got(d_res, all), got(d_y, all), got(d_dx, all), got_acc(dw, dim) };
            CHECK(same_bits(p[0], res, all), "case %zu: res is not the rounded sum", c);
            near_stored("op_add_rmsnorm y", p[1], y, NULL, all, 4);
            near_all("rstd", got_acc(rstd, n), rs, NULL, n, 2);
            for (int i = 0; i < 4 && t > 1; i++)
                CHECK(same_bits(p[i], o[i], i == 3 ? dim : all), "case %zu: %d threads change the bits of array %d", c,
                      t, i);
            memcpy(o, p, sizeof o);
        }
        /* the last row alone, in place, without an addend or rstd */
        elem_t *one_y = elems(NULL, dim), *one_x = elems(k.x + (n - 1) * dim, dim);
        op_add_rmsnorm((struct rmsnorm_args){
            .res = one_x, .y = one_y, .x = elems(res + (n - 1) * dim, dim), .w = elems(k.w, dim), .eps = k.eps, .n = 1,
            .dim = dim });
        CHECK(same_bits(got(one_y, dim), o[1] + (n - 1) * dim, dim), "case %zu: a row alone has other bits", c);
        k.x = res, k.add = host(all);                           /* the backward pass starts from the stored sum */
        /* a row's dx is the slope of that row's part of the loss */
        for (int i = 0; i < all; i += 1 + all / 60) {
            int64_t o_ = (int64_t)(i / dim) * dim;
            struct norm row = { 1, dim, k.x + o_, k.add + o_, k.w, k.dy + o_, k.dres + o_, k.eps };
            double unit = 1 + 2 * rs[i / dim] * (1 + sqrt(dim)),
                   want = slope(norm_loss, &row, k.x + i, 1e-5 * cases[c].scale);
            CHECK_NEAR(o[2][i], want, unit * (16 * EPS + 3e-10 * (1 + 1 / cases[c].scale)) + stored(want),
                       "case %zu: dx[%d]", c, i);
        }
        for (int j = 0; j < dim; j++)
            CHECK_NEAR(o[3][j], k.w[j] + slope(norm_loss, &k, k.w + j, 0.5), 2 * EPS * (1 + 2 * n) + 1e-12 * all,
                       "case %zu: dw[%d]", c, j);
        drop();
    }
}

struct rope { int n; struct heads h; double *x, *qn, *kn, *dy, *freq, eps; int *pos; double *y; };

static double rope_loss(void *ctx)
{
    struct rope *k = ctx;
    int half = k->h.hd / 2, width = k->h.heads + 2 * k->h.kv, hd = k->h.hd;
    double loss = 0;
    for (int i = 0; i < k->n * width; i++) {
        const double *x = k->x + i * hd, *w = i % width < k->h.heads ? k->qn : k->kn;
        double sq = 0, *y = k->y + i * hd;
        for (int j = 0; j < hd; j++) sq += x[j] * x[j];
        double r = 1 / sqrt(sq / hd + k->eps);
        bool value = i % width >= k->h.heads + k->h.kv;
        for (int j = 0; j < half; j++) {
            double a = k->pos[i / width] * k->freq[j], u = x[j], v = x[j + half];
            if (value) { y[j] = u; y[j + half] = v; continue; }
            if (w) { u *= r * w[j]; v *= r * w[j + half]; }
            y[j] = u * cos(a) - v * sin(a);
            y[j + half] = v * cos(a) + u * sin(a);
        }
        for (int j = 0; j < hd; j++) loss += y[j] * k->dy[i * hd + j];
    }
    return loss;
}

static void rotation_case(size_t c, int n, struct heads h, bool norm, int top)
{
    struct rng r = rng_make(c, 4, norm);
    int width = (h.heads + 2 * h.kv) * h.hd, all = n * width, rotated = h.heads + h.kv;
    double freq[64], zero[128] = { 0 };
    int *pos = keep(xmalloc((size_t)n * sizeof *pos), false);
    for (int i = 0; i < n; i++) pos[i] = i ? (int)rng_below(&r, (uint32_t)top) : top - 1;
    for (int j = 0; j < h.hd / 2; j++) freq[j] = (double)(acc_t)pow(10000, -2.0 * j / h.hd);
    struct rope k = { n,
                      h,
                      noise(&r, all, 2),
                      norm ? noise(&r, h.hd, 2) : NULL,
                      norm ? noise(&r, h.hd, 2) : NULL,
                      noise(&r, all, 1),
                      freq,
                      1e-6,
                      pos,
                      host(all) };
    rope_loss(&k);
    double *o[4] = { 0 };
    int64_t size[4] = { all, all, h.hd, h.hd };
    for (int t = 1; t <= 2; t++) {
        dev_set_threads(t);
        elem_t *in = elems(k.x, all), *out = norm ? elems(NULL, all) : in, *d = elems(k.dy, all),
               *qn = norm ? elems(k.qn, h.hd) : NULL, *kn = norm ? elems(k.kn, h.hd) : NULL;
        acc_t *rstd = norm ? accs(NULL, n * rotated) : NULL, *dq = accs(zero, h.hd), *dk = accs(zero, h.hd),
              *f = accs(freq, h.hd / 2);
        op_rope((struct rope_args){
            .out = out, .rstd = rstd, .in = in, .qnorm = qn, .knorm = kn, .eps = k.eps, .freq = f, .pos = ints(pos, n),
            .n = n, .h = h });
        op_rope_back((struct rope_back_args){
            .din = d, .dqnorm = norm ? dq : NULL, .dknorm = norm ? dk : NULL, .dout = d, .in = in, .rstd = rstd,
            .qnorm = qn, .knorm = kn, .freq = f, .pos = ints(pos, n), .n = n, .h = h });
        double *p[4] = { got(out, all), got(d, all), got_acc(dq, h.hd), got_acc(dk, h.hd) };
        for (int i = 0; i < 4 && t > 1; i++)
            CHECK(same_bits(p[i], o[i], size[i]), "case %zu: 2 threads change the bits of array %d", c, i);
        memcpy(o, p, sizeof o);
    }
    near_stored("op_rope", o[0], k.y, NULL, all, 16);
    for (int i = 0; i < all; i += 1 + all / 40) {
        double rs = 1;
        if (norm) {
            rs = 0;
            for (int j = 0; j < h.hd; j++) rs += pow(k.x[i / h.hd * h.hd + j], 2);
            rs = 1 / sqrt(rs / h.hd + k.eps);
        }
        int row_at = i / width;
        struct rope row = { 1,
                            h,
                            k.x + row_at * width,
                            k.qn,
                            k.kn,
                            k.dy + row_at * width,
                            freq,
                            k.eps,
                            pos + row_at,
                            k.y + row_at * width };
        double want = slope(rope_loss, &row, k.x + i, norm ? 1e-5 : 0.5);
        CHECK_NEAR(o[1][i], want, (16 * EPS + (norm ? 1e-8 : 1e-12)) * (1 + 8 * rs) + stored(want), "case %zu: din[%d]",
                   c, i);
    }
    for (int j = 0; norm && j < h.hd; j++) {
        CHECK_NEAR(o[2][j], slope(rope_loss, &k, k.qn + j, 0.5), 4 * EPS * (1 + n * h.heads) + 1e-12 * all,
                   "case %zu: dqnorm[%d]", c, j);
        CHECK_NEAR(o[3][j], slope(rope_loss, &k, k.kn + j, 0.5), 4 * EPS * (1 + n * h.kv) + 1e-12 * all,
                   "case %zu: dknorm[%d]", c, j);
    }
    drop();
}

static void rotation(void **state)
{
    (void)state;
    static const struct { int n; struct heads h; int top; } cases[] = {
        { 1, { 1, 1, 2 }, 1 }, { 3, { 2, 1, 6 }, 40 }, { 5, { 4, 2, 24 }, 160 }, { 4, { 3, 1, 128 }, 32768 }, { 2, { 1,
          1, 10 }, 300 }, { 600, { 4, 2, 24 }, 150 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int norm = 0; norm < 2; norm++) rotation_case(c, cases[c].n, cases[c].h, norm, cases[c].top);
}

/* Angles come from a table of the frequencies last used, or are computed directly beyond its end: other frequencies in
 * between, positions around the table's sizes, and the same position with small and with large tables must all give the
 * reference's numbers and always the same bits. */
static void rotation_table_changes_nothing(void **state)
{
    (void)state;
    static const int tops[] = { 3, 255, 256, 257, 511, 16383, 16384, 16385, 1000000 };
    enum { HD = 24, W = 4 * HD };
    struct heads h = { 2, 1, HD };
    struct rng r = rng_make(9, 4, 9);
    double freq[HD / 2], *x = noise(&r, 2 * W, 1), *dy = noise(&r, 2 * W, 1), *first = NULL,
                         *other = noise(&r, HD / 2, 1);
    for (int j = 0; j < HD / 2; j++) freq[j] = (double)(acc_t)(1.0 / (1 + j));
    memcpy(x + W, x, W * sizeof *x);
    for (size_t c = 0; c < sizeof tops / sizeof *tops; c++) {
        int pos[2] = { tops[c], 3 };
        elem_t *row = elems(x, 2 * W), *in = elems(x, 2 * W);
        op_rope((struct rope_args){
            .out = row, .in = in, .eps = 0, .freq = accs(other, HD / 2), .pos = ints(pos, 2), .n = 1, .h = h });
        op_rope((struct rope_args){
            .out = row, .in = in, .eps = 0, .freq = accs(freq, HD / 2), .pos = ints(pos, 2), .n = 2, .h = h });
        struct rope k = { 2, h, x, NULL, NULL, dy, freq, 0, pos, host(2 * W) };
        rope_loss(&k);
        double *o = got(row, 2 * W);
        near_stored("op_rope", o, k.y, NULL, 2 * W, 4);
        if (first) CHECK(same_bits(o + W, first + W, W), "position 3 beside %d has other bits", tops[c]);
        first = o;
    }
    drop();
}

static void swiglu(void **state)
{
    (void)state;
    static const struct {
        int n, ff;
        double scale;
    } cases[] = { { 1, 1, 1 }, { 2, 7, 4 }, { 3, 8, 30 }, { 4, 9, 200 }, { 70, 33, 6 }, { 300, 320, 3 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int n = cases[c].n, ff = cases[c].ff, all = n * ff;
        struct rng r = rng_make(c, 5, 0);
        double *gate_up = noise(&r, 2 * all, cases[c].scale), *dy = noise(&r, all, 1), *y = host(all),
               *d = host(2 * all), *mag = host(2 * all), *o[2] = { 0 };
        for (int i = 0; i < all; i++) {
            int at = i / ff * 2 * ff + i % ff;
            double g = gate_up[at], u = gate_up[at + ff], s = 1 / (1 + exp(-g)), h = 1e-4, a = g + h, b = g - h;
            y[i] = g * s * u;
            /* Richardson: the fourth-order difference, exact to 1e-11 here */
            double f1 = (a / (1 + exp(-a)) - b / (1 + exp(-b))) / (2 * h),
                   f2 = ((g + 2 * h) / (1 + exp(-g - 2 * h)) - (g - 2 * h) / (1 + exp(-g + 2 * h))) / (4 * h);
            d[at] = dy[i] * u * (4 * f1 - f2) / 3;
            d[at + ff] = dy[i] * g * s;
            mag[at] = fabs(u) * (1 + fabs(g)) + 1e-11 / EPS * (fabs(u) + 1);
            mag[at + ff] = fabs(d[at + ff]);
        }
        for (int t = 1; t <= 2; t++) {
            dev_set_threads(t);
            elem_t *out = elems(NULL, all), *x = elems(gate_up, 2 * all);
            op_swiglu(out, x, n, ff);
            op_swiglu_back(x, elems(dy, all), x, n, ff);
            double *p[2] = { got(out, all), got(x, 2 * all) };
            near_stored("op_swiglu", p[0], y, NULL, all, 6);
            near_stored("op_swiglu_back", p[1], d, mag, 2 * all, 6);
            if (t > 1)
                CHECK(same_bits(p[0], o[0], all) && same_bits(p[1], o[1], 2 * all),
                      "case %zu: 2 threads change the bits", c);
            memcpy(o, p, sizeof o);
        }
        drop();
    }
}

static void sums_over_rows(void **state)
{
    (void)state;
    static const struct { int n, d; } cases[] = { { 1, 1 }, { 63, 7 }, { 64, 8 }, { 65, 9 }, { 200, 3 }, { 3000, 97 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int n = cases[c].n, d = cases[c].d;
        struct rng r = rng_make(c, 6, 0);
        double *dy = noise(&r, n * d, 1), *db = noise(&r, d, 1), *want = host(d), *mag = host(d), *sum = host(n * d),
               *o = NULL;
        for (int j = 0; j < d; j++) mag[j] = fabs(want[j] = db[j]);
        for (int i = 0; i < n * d; i++)
            want[i % d] += dy[i], mag[i % d] += fabs(dy[i]), sum[i] = rounded(dy[i] + dy[n * d - 1 - i]);
        double *flip = host(n * d);
        for (int i = 0; i < n * d; i++) flip[i] = dy[n * d - 1 - i];
        for (int t = 1; t <= 3; t++) {
            dev_set_threads(t);
            acc_t *b = accs(db, d);
            elem_t *y = elems(dy, n * d);
            op_bias_back(b, y, n, d);
            op_add(y, elems(flip, n * d), n * d);
            double *p = got_acc(b, d);
            near_all("op_bias_back", p, want, mag, d, 2);
            CHECK(same_bits(got(y, n * d), sum, n * d), "case %zu: op_add is not the rounded sum", c);
            if (o) CHECK(same_bits(p, o, d), "case %zu: %d threads change the bits of op_bias_back", c, t);
            o = p;
        }
        drop();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(embedding), cmocka_unit_test(rms_norm),
                                        cmocka_unit_test(rotation),  cmocka_unit_test(rotation_table_changes_nothing),
                                        cmocka_unit_test(swiglu),    cmocka_unit_test(sums_over_rows) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
