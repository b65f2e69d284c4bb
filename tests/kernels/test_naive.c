/* test_naive.c: every operation that stores numbers as elem_t, beside plain loops that round as a program of separate
 * tensor operations does (tests/naive.h): its error from double is at most twice theirs, in the maximum and in the root
 * mean square. Of small shapes many are sampled, so that the loops are not exact by luck. It was seen to fail for:
 * truncation where numbers are stored, attention weights 4 bits short, a bias gradient without its last row. */
#include "tests/kernels/case.h"
#include "tests/naive.h"

/* Stored as bf16, what is computed in float on the way costs nothing. Stored as float it does: the loops' exp is
 * exact. */
static const double TIMES = sizeof(elem_t) == 2 ? 2 : 4;
/* a shape is sampled until one of its results has that many numbers and all have so many; how often at most */
enum { MOST = 1500, LEAST = 60, DRAWS = 500 };

/* One result over all samples of a shape: [0] ours, [1] the loops'. */
struct tally { const char *what; double most[2], square[2]; int64_t n; };

static void weigh(struct tally *t, const double *ours, const double *loops, const double *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < 2; k++) {
            double e = fabs((k ? loops : ours)[i] - want[i]);
            CHECK(e < 1e300, "%s: element %lld of %lld is %g, want %g", t->what, (long long)i, (long long)n,
                  (k ? loops : ours)[i], want[i]);
            t->most[k] = fmax(t->most[k], e);
            t->square[k] += e * e;
        }
    t->n += n;
}

/* Both kinds of loops on copies of the same numbers: k 0 exact, 1 naive. */
static const struct numbers *const kinds[2] = { &exact_numbers, &naive_numbers };
static double *copy(const double *x, int64_t n) { return memcpy(host(n), x, (size_t)n * sizeof *x); }
static double *acc_noise(struct rng *r, int64_t n, double scale)
{
    double *x = host(n);
    for (int64_t i = 0; i < n; i++) x[i] = (double)(acc_t)((2 * rng_uniform(r) - 1) * scale);
    return x;
}
static int *some_ints(struct rng *r, int64_t n, int below)
{
    int *x = keep(xmalloc((size_t)n * sizeof *x), false);
    for (int64_t i = 0; i < n; i++) x[i] = (int)rng_below(r, (uint32_t)below);
    return x;
}

/* Shapes are up to four numbers; their meaning stands in front of each function. The tallies are in the order of the
 * table's names. */

/* m n k; forms in turn with a bias, with and without d += */
static void products(struct rng *r, const int *s, struct tally *t)
{
    int64_t m = s[0], n = s[1], k = s[2];
    for (int form = GEMM_NT; form <= GEMM_TN; form++)
        for (int add = 0; add < 2; add++) {
            double *a = noise(r, m * k, 1), *b = noise(r, n * k, 1), *bias = form == GEMM_NT ? noise(r, n, 3) : NULL,
                   *d0 = noise(r, m * n, 1), *d[2];
            for (int q = 0; q < 2; q++)
                naive_gemm(kinds[q],
                           (struct naive_product){ form, d[q] = copy(form == GEMM_TN && !add ? host(m * n) : d0, m * n),
                                                   a, b, bias, m, n, k, add });
            struct gemm g = { .form = form,
                              .a = elems(a, m * k),
                              .b = elems(b, n * k),
                              .bias = bias ? elems(bias, n) : NULL,
                              .m = m,
                              .n = n,
                              .k = k,
                              .add = add };
            if (form == GEMM_TN) g.dw = accs(add ? d0 : NULL, m * n);
            else g.d = elems(add ? d0 : NULL, m * n);
            op_gemm(g);
            weigh(&t[form], form == GEMM_TN ? got_acc(g.dw, m * n) : got(g.d, m * n), d[1], d[0], m * n);
        }
}

/* n dim */
static void norms(struct rng *r, const int *s, struct tally *t)
{
    int n = s[0], dim = s[1], all = n * dim;
    double *x = noise(r, all, 2), *add = noise(r, all, 2), *w = noise(r, dim, 2), *dy = noise(r, all, 1),
           *dres = noise(r, all, 1), *dw0 = acc_noise(r, dim, 1);
    double *res[2], *y[2], *dx[2], *dw[2];
    for (int k = 0; k < 2; k++) {
        double *rstd = host(n);
        naive_norm(kinds[k], res[k] = host(all), y[k] = host(all), rstd, x, add, w, 1e-5, n, dim);
        /* the rest starts from the stored sum in the reference too */
        for (int i = 0; i < all; i++) res[k][i] = rounded(res[k][i]);
        naive_norm(kinds[k], res[k], y[k], rstd, res[k], NULL, w, 1e-5, n, dim);
        naive_norm_back(kinds[k], dx[k] = host(all), dw[k] = copy(dw0, dim), dy, dres, res[k], w, rstd, n, dim);
    }
    elem_t *d_res = elems(NULL, all), *d_y = elems(NULL, all), *d_dx = elems(NULL, all), *d_w = elems(w, dim);
    acc_t *rstd = accs(NULL, n), *d_dw = accs(dw0, dim);
    op_add_rmsnorm((struct rmsnorm_args){
        .res = d_res, .y = d_y, .rstd = rstd, .x = elems(x, all), .add = elems(add, all), .w = d_w, .eps = 1e-5, .n = n,
        .dim = dim });
    op_rmsnorm_back((struct rmsnorm_back_args){
        .dx = d_dx, .dw = d_dw, .dy = elems(dy, all), .dres = elems(dres, all), .res = d_res, .w = d_w, .rstd = rstd,
        .n = n, .dim = dim });
    weigh(&t[0], got(d_res, all), res[1], res[0], all);
    weigh(&t[1], got(d_y, all), y[1], y[0], all);
    weigh(&t[2], got(d_dx, all), dx[1], dx[0], all);
    weigh(&t[3], got_acc(d_dw, dim), dw[1], dw[0], dim);
}

/* n heads kv hd; norm: of each head, as Qwen3 has it */
static void rotations(struct rng *r, const int *s, struct tally *t, bool norm)
{
    struct heads h = { s[1], s[2], s[3] };
    int n = s[0], hd = h.hd, rotated = n * (h.heads + h.kv), all = n * (h.heads + 2 * h.kv) * hd;
    double *x = noise(r, all, 2), *dy = noise(r, all, 1), *freq = host(hd / 2), *dw0 = acc_noise(r, hd, 1), *y[2],
           *d[2], *dw[2][2];
    for (int j = 0; j < hd / 2; j++) freq[j] = (double)(acc_t)pow(10000, -2.0 * j / hd);
    int *pos = some_ints(r, n, 3000);
    struct naive_rope k = { h, freq, { norm ? noise(r, hd, 2) : NULL, norm ? noise(r, hd, 2) : NULL }, 1e-6, pos };
    for (int q = 0; q < 2; q++) {
        double *rstd = host(rotated);
        dw[q][0] = copy(dw0, hd), dw[q][1] = copy(dw0, hd);
        naive_rope(kinds[q], y[q] = host(all), rstd, x, &k, n);
        naive_rope_back(kinds[q], d[q] = host(all), dw[q], dy, x, rstd, &k, n);
    }
    elem_t *in = elems(x, all), *out = elems(NULL, all), *din = elems(NULL, all),
           *w[2] = { norm ? elems(k.w[0], hd) : NULL, norm ? elems(k.w[1], hd) : NULL };
    acc_t *rstd = norm ? accs(NULL, rotated) : NULL, *f = accs(freq, hd / 2), *dq = norm ? accs(dw0, hd) : NULL,
          *dk = norm ? accs(dw0, hd) : NULL;
    op_rope((struct rope_args){
        .out = out, .rstd = rstd, .in = in, .qnorm = w[0], .knorm = w[1], .eps = k.eps, .freq = f, .pos = ints(pos, n),
        .n = n, .h = h });
    op_rope_back((struct rope_back_args){
        .din = din, .dqnorm = dq, .dknorm = dk, .dout = elems(dy, all), .in = in, .rstd = rstd, .qnorm = w[0],
        .knorm = w[1], .freq = f, .pos = ints(pos, n), .n = n, .h = h });
    weigh(&t[0], got(out, all), y[1], y[0], all);
    weigh(&t[1], got(din, all), d[1], d[0], all);
    if (!norm) return;
    weigh(&t[2], got_acc(dq, hd), dw[1][0], dw[0][0], hd);
    weigh(&t[3], got_acc(dk, hd), dw[1][1], dw[0][1], hd);
}
static void plain_rotations(struct rng *r, const int *s, struct tally *t) { rotations(r, s, t, false); }
static void normed_rotations(struct rng *r, const int *s, struct tally *t) { rotations(r, s, t, true); }

/* n ff */
static void swiglu(struct rng *r, const int *s, struct tally *t)
{
    int n = s[0], ff = s[1], all = n * ff;
    double *gate_up = noise(r, 2 * all, 6), *dy = noise(r, all, 1), *y[2], *d[2];
    for (int k = 0; k < 2; k++) {
        naive_swiglu(kinds[k], y[k] = host(all), gate_up, n, ff);
        naive_swiglu_back(kinds[k], d[k] = host(2 * all), dy, gate_up, n, ff);
    }
    elem_t *x = elems(gate_up, 2 * all), *out = elems(NULL, all), *dgate_up = elems(NULL, 2 * all);
    op_swiglu(out, x, n, ff);
    op_swiglu_back(dgate_up, elems(dy, all), x, n, ff);
    weigh(&t[0], got(out, all), y[1], y[0], all);
    weigh(&t[1], got(dgate_up, 2 * all), d[1], d[0], 2 * all);
}

/* n dim vocab; operations that only move, add or scale round once, as the loops do */
static void rows(struct rng *r, const int *s, struct tally *t)
{
    int n = s[0], dim = s[1], vocab = s[2], all = n * dim;
    int *ids = some_ints(r, n, vocab);
    double *dx = noise(r, all, 1), *other = noise(r, all, 1), *table = noise(r, vocab * dim, 1),
           *g0 = acc_noise(r, vocab * dim, 1);
    double *got_rows = host(all), *sum[2], *scaled[2], *bias[2], *dtable[2];
    for (int k = 0; k < 2; k++) {
        naive_embed_back(kinds[k], dtable[k] = copy(g0, vocab * dim), dx, ids, n, dim, vocab);
        naive_bias_back(kinds[k], bias[k] = copy(g0, dim), dx, n, dim);
        sum[k] = host(all), scaled[k] = host(all);
        for (int i = 0; i < all; i++)
            sum[k][i] = kinds[k]->store(dx[i] + other[i]), scaled[k][i] = kinds[k]->store(dx[i] * 1.3);
        for (int i = 0; i < all; i++) got_rows[i] = table[ids[i / dim] * dim + i % dim];
    }
    elem_t *d_dx = elems(dx, all), *d_sum = elems(dx, all), *d_rows = elems(NULL, all), *d_scaled = elems(dx, all);
    acc_t *d_table = accs(g0, vocab * dim), *d_bias = accs(g0, dim);
    op_embed(d_rows, elems(table, vocab * dim), ints(ids, n), n, dim);
    op_embed_back(d_table, d_dx, ints(ids, n), n, dim, vocab);
    op_bias_back(d_bias, d_dx, n, dim);
    op_add(d_sum, elems(other, all), all);
    weigh(&t[0], got(d_rows, all), got_rows, got_rows, all);
    weigh(&t[1], got_acc(d_table, vocab * dim), dtable[1], dtable[0], vocab * dim);
    weigh(&t[2], got_acc(d_bias, dim), bias[1], bias[0], dim);
    weigh(&t[3], got(d_sum, all), sum[1], sum[0], all);
    op_query_scale(d_scaled, 1.3, all, (struct heads){ 1, 0, 1 });
    weigh(&t[4], got(d_scaled, all), scaled[1], scaled[0], all);
}

/* n heads kv hd: two sequences, of the second half a fork; then its rows from pages of their own order */
static void attention(struct rng *r, const int *s, struct tally *t)
{
    struct heads h = { s[1], s[2], s[3] };
    int n = s[0], cut = n / 3, *end = keep(xmalloc((size_t)n * sizeof *end), false),
        pages = (n + KV_PAGE - 1) / KV_PAGE;
    int64_t no = (int64_t)n * h.heads * h.hd, nq = (int64_t)n * (h.heads + 2 * h.kv) * h.hd, nl = (int64_t)n * h.heads;
    double *x = noise(r, nq, 1.5), *dout = noise(r, no, 1), *out[2], *d[2], *lse[2];
    for (int i = 0; i < n; i++) end[i] = i < cut ? cut : i < cut + (n - cut) / 2 && i % 5 == 4 ? i + 1 : n;
    for (int k = 0; k < 2; k++) {
        naive_attn(kinds[k], out[k] = host(no), lse[k] = host(nl), x, end, n, h);
        naive_attn_back(kinds[k], d[k] = host(nq), dout, x, end, n, h);
    }
    elem_t *o = elems(NULL, no), *qkv = elems(x, nq), *dqkv = elems(NULL, nq), *paged = elems(NULL, no);
    acc_t *l = accs(NULL, nl);
    struct attn_plan *plan = attn_plan_make(end, n);
    op_attn(o, l, qkv, plan, h);
    op_attn_back(dqkv, elems(dout, no), o, l, qkv, plan, h);
    attn_plan_free(plan);
    weigh(&t[0], got(o, no), out[1], out[0], no);
    weigh(&t[1], got_acc(l, nl), lse[1], lse[0], nl);
    weigh(&t[2], got(dqkv, nq), d[1], d[0], nq);
    /* one sequence of all rows: the table of each row names the pages backwards */
    int *table = keep(xmalloc((size_t)(n * pages) * sizeof *table), false),
        *pos = keep(xmalloc((size_t)n * sizeof *pos), false);
    int64_t *slot = keep(xmalloc((size_t)n * sizeof *slot), false),
            *d_slot = keep(dev_alloc((size_t)n * sizeof *slot), true);
    for (int i = 0; i < n; i++) {
        end[i] = n, pos[i] = i, slot[i] = (int64_t)(pages - 1 - i / KV_PAGE) * KV_PAGE + i % KV_PAGE;
        for (int p = 0; p < pages; p++) table[i * pages + p] = pages - 1 - p;
    }
    for (int k = 0; k < 2; k++) naive_attn(kinds[k], out[k], lse[k], x, end, n, h);
    elem_t *pool = elems(NULL, pages * kv_page_elems(h));
    dev_put(d_slot, slot, (size_t)n * sizeof *slot);
    op_kv_write(pool, qkv, d_slot, n, h);
    op_attn_paged(paged, qkv, pool, ints(table, (int64_t)n * pages), pages, ints(pos, n), n, h);
    weigh(&t[3], got(paged, no), out[1], out[0], no);
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}
static double top_entropy(const struct numbers *z, const double *x, double lse, double it, int top, int vocab)
{
    double *v = copy(x, vocab), sum = 0;
    qsort(v, (size_t)vocab, sizeof *v, descending);
    for (int j = 0; j < top && j < vocab; j++) {
        double lp = z->sum(z->sum(v[j] * it) - lse);
        sum = z->sum(sum - z->sum(z->sum(exp(lp)) * lp));
    }
    return sum;
}

/* n vocab, spread of the logits, temperature in tenths: statistics, then the gradient with both coefficients */
static void heads_of_rows(struct rng *r, const int *s, struct tally *t)
{
    int n = s[0], vocab = s[1], ld = vocab + 3, *tgt = some_ints(r, n, vocab);
    double it = 10.0 / s[3], *x = noise(r, (int64_t)n * ld, s[2]), *g = acc_noise(r, n, 1),
           *ge = acc_noise(r, n, 0.3), *out[2][4], *d[2];
    for (int k = 0; k < 2; k++) {
        d[k] = host((int64_t)n * vocab);
        for (int q = 0; q < 4; q++) out[k][q] = host(n);
        for (int i = 0; i < n; i++) {
            struct naive_row st = naive_stats(kinds[k], x + (int64_t)i * ld, it, vocab);
            out[k][0][i] = st.lse, out[k][2][i] = st.ent;
            out[k][1][i] = kinds[k]->sum(kinds[k]->sum(x[(int64_t)i * ld + tgt[i]] * it) - st.lse);
            out[k][3][i] = top_entropy(kinds[k], x + (int64_t)i * ld, st.lse, it, 10, vocab);
            memcpy(d[k] + (int64_t)i * vocab, x + (int64_t)i * ld, (size_t)vocab * sizeof *x);
            naive_dlogits(kinds[k], d[k] + (int64_t)i * vocab, st, tgt[i], g[i], ge[i], it, vocab);
        }
    }
    for (int i = 0; i < n; i++) for (int j = vocab; j < ld; j++) x[(int64_t)i * ld + j] = (double)NAN;
    elem_t *logits = elems(x, (int64_t)n * ld);
    acc_t *lse = accs(NULL, n), *logp = accs(NULL, n), *ent = accs(NULL, n), *top = accs(NULL, n);
    op_row_stats((struct row_stats_args){
        .lse = lse, .logp = logp, .ent = ent, .x = logits, .inv_temp = it, .tgt = ints(tgt, n), .n = n, .vocab = vocab,
        .ld = ld });
    op_top_k_entropy((struct top_k_entropy_args){
        .ent = top, .lse = lse, .x = logits, .inv_temp = it, .k = 10, .n = n, .vocab = vocab, .ld = ld });
    op_dlogits((struct dlogits_args){
        .x = logits, .lse = lse, .ent = ent, .g = accs(g, n), .ge = accs(ge, n), .inv_temp = it, .tgt = ints(tgt, n),
        .n = n, .vocab = vocab, .ld = ld });
    acc_t *const stats[4] = { lse, logp, ent, top };
    for (int q = 0; q < 4; q++) weigh(&t[q], got_acc(stats[q], n), out[1][q], out[0][q], n);
    double *have = got(logits, (int64_t)n * ld), *dense = host((int64_t)n * vocab);
    for (int i = 0; i < n; i++) memcpy(dense + (int64_t)i * vocab, have + (int64_t)i * ld, (size_t)vocab * sizeof *x);
    weigh(&t[4], dense, d[1], d[0], (int64_t)n * vocab);
}

/* n: three steps; what is stored is the rounded master, the loops round as float does */
static void optimizer(struct rng *r, const int *s, struct tally *t)
{
    int n = s[0];
    double *w0 = noise(r, n, 1), *g = acc_noise(r, n, 1), *w[2], *m[2], *v[2];
    struct adamw a = { 1e-2, 0.9, 0.99, 1e-8, 0.1, 0.5, 1, { 0, 0 } };
    elem_t *d_w = elems(w0, n);
    acc_t *master = accs(w0, n), *d_m = accs(host(n), n), *d_v = accs(host(n), n), *d_g = accs(g, n);
    for (int k = 0; k < 2; k++) w[k] = copy(w0, n), m[k] = host(n), v[k] = host(n);
    for (a.t = 1; a.t <= 3; a.t++) {
        op_adamw(d_w, master, d_g, d_m, d_v, n, &a);
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < n; i++) {
                double (*f)(double) = kinds[k]->sum, x = f(g[i] * a.scale);
                m[k][i] = f(f(a.beta1 * m[k][i]) + f((1 - a.beta1) * x));
                v[k][i] = f(f(a.beta2 * v[k][i]) + f((1 - a.beta2) * f(x * x)));
                double up = f(m[k][i] / f(1 - pow(a.beta1, (double)a.t))),
                       down = f(f(sqrt(f(v[k][i] / f(1 - pow(a.beta2, (double)a.t))))) + a.eps);
                w[k][i] = f(f(w[k][i] * f(1 - a.lr * a.decay)) - f(a.lr * f(up / down)));
            }
    }
    double *stored[2] = { w[0], host(n) };
    for (int i = 0; i < n; i++) stored[1][i] = kinds[1]->store(w[1][i]);
    weigh(&t[0], got_acc(master, n), w[1], w[0], n);
    weigh(&t[1], got_acc(d_m, n), m[1], m[0], n);
    weigh(&t[2], got_acc(d_v, n), v[1], v[0], n);
    weigh(&t[3], got(d_w, n), stored[1], stored[0], n);
}

enum { RESULTS = 5, SHAPES = 8 };
static const struct op {
    const char *name;
    void (*run)(struct rng *r, const int *s, struct tally *t);
    const char *result[RESULTS];
    int shape[SHAPES][4];
} ops[] = {
    { "op_gemm",
      products,
      { "y = x W^T", "dx = dy W", "dW" },
      { { 1, 1, 1 }, { 1, 33, 7 }, { 9, 1, 40 }, { 5, 8, 64 }, { 17, 23, 129 }, { 3, 10, 1000 } } },
    { "norm",
      norms,
      { "res", "y", "dx", "dw" },
      { { 1, 1 }, { 3, 7 }, { 1, 8 }, { 9, 24 }, { 70, 9 }, { 3, 576 }, { 2, 1033 } } },
    { "rope",
      plain_rotations,
      { "out", "din" },
      { { 1, 1, 1, 2 }, { 3, 3, 1, 6 }, { 5, 4, 2, 24 }, { 3, 2, 1, 64 }, { 2, 1, 1, 128 } } },
    { "rope with norms",
      normed_rotations,
      { "out", "din", "dqnorm", "dknorm" },
      { { 1, 1, 1, 2 }, { 3, 3, 1, 6 }, { 5, 4, 2, 24 }, { 3, 2, 1, 64 }, { 2, 1, 1, 128 } } },
    { "swiglu", swiglu, { "y", "dgate_up" }, { { 1, 1 }, { 3, 7 }, { 5, 64 }, { 2, 1033 }, { 40, 9 } } },
    { "rows",
      rows,
      { "embed", "dtable", "db", "add", "query scale" },
      { { 1, 1, 1 }, { 7, 5, 3 }, { 64, 8, 7 }, { 90, 9, 97 }, { 300, 3, 2 } } },
    { "attention",
      attention,
      { "out", "lse", "dqkv", "paged out" },
      { { 1, 1, 1, 2 },
        { 5, 2, 1, 6 },
        { 33, 4, 2, 24 },
        { 67, 2, 1, 64 },
        { 70, 3, 1, 128 },
        { 40, 7, 1, 10 },
        { 17, 9, 3, 8 } } },
    { "head",
      heads_of_rows,
      { "lse", "logp", "entropy", "top entropy", "dlogits" },
      { { 1, 1, 3, 10 },
        { 3, 7, 3, 7 },
        { 5, 97, 8, 10 },
        { 4, 1003, 8, 13 },
        { 3, 4099, 2, 10 },
        { 3, 4099, 30, 10 },
        { 2, 16411, 8, 6 } } },
    { "op_adamw", optimizer, { "master", "m", "v", "w" }, { { 1 }, { 7 }, { 1033 } } },
};

static bool seen_enough(const struct tally *t)
{
    bool most = false, least = true;
    for (int k = 0; k < RESULTS && t[k].what; k++) most |= t[k].n >= MOST, least &= t[k].n >= LEAST;
    return most && least;
}

/* Where the loops are exact (a softmax of one key), what a float is off by at a few units. */
static double ratio(double ours, double loops) { return ours <= 8 * EPS && loops == 0 ? 0 : ours / loops; }

struct worst { double most, rms; const int *shape; };
static void verdict(const struct op *o, const int *s, const struct tally *t, struct worst *w)
{
    for (int k = 0; k < RESULTS && t[k].what; k++) {
        const double n = (double)t[k].n, most = ratio(t[k].most[0], t[k].most[1]),
                     rms = ratio(sqrt(t[k].square[0] / n), sqrt(t[k].square[1] / n));
        CHECK(most <= TIMES && rms <= TIMES,
              "%s %s of %d %d %d %d: off by %.2e at most, the loops by %.2e; in the mean square by %.2f times as much",
              o->name, t[k].what, s[0], s[1], s[2], s[3], t[k].most[0], t[k].most[1], rms);
        if (most >= w[k].most) w[k].most = most, w[k].shape = s;
        w[k].rms = fmax(w[k].rms, rms);
    }
}

static void no_worse_than_loops(void **state)
{
    (void)state;
    if (sizeof(acc_t) == 8) skip();                              /* the reference is no better */
    for (size_t o = 0; o < sizeof ops / sizeof *ops; o++) {
        struct worst w[RESULTS] = { 0 };
        for (int c = 0; c < SHAPES && ops[o].shape[c][0]; c++) {
            struct tally t[RESULTS] = { 0 };
            for (int k = 0; k < RESULTS; k++) t[k].what = ops[o].result[k];
            for (uint32_t draw = 0; draw < DRAWS && !seen_enough(t); draw++) {
                struct rng r = rng_make(o, (uint32_t)c, draw);
                ops[o].run(&r, ops[o].shape[c], t);
                drop();
            }
            verdict(&ops[o], ops[o].shape[c], t, w);
        }
        for (int k = 0; k < RESULTS && ops[o].result[k]; k++)
            print_message("%-16s %-12s off by %.2f of the loops' at most (%d %d %d %d), %.2f rms\n", ops[o].name,
                          ops[o].result[k], w[k].most, w[k].shape[0], w[k].shape[1], w[k].shape[2], w[k].shape[3],
                          w[k].rms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(no_worse_than_loops) };
    return cmocka_run_group_tests_name("operations beside plain loops", tests, NULL, NULL);
}
