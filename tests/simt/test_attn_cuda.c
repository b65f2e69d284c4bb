/* test_attn_cuda.c: properties of the CUDA attention that the C backend's does not have: paths of several chunks,
 * decoding split over blocks or not, wide heads and groups, the lists of the plan, and the tensor-core path against
 * loops in double and against a naive version that rounds to bf16 where it does. */
#include "kernels/cuda/attn.h"
#include "tests/kernels/case.h"
#include "base/arith.h"

struct tree { int n; int *end, *up; };

/* A row goes on from the row before it, or with probability fork/1000 from one of the `back` rows above it, or, one
 * time in eight of those, starts a new tree. */
static struct tree grow(struct rng *r, int n, int fork, int back)
{
    struct tree t = { n, keep(xcalloc((size_t)n + 1, sizeof(int)), false),
                      keep(xcalloc((size_t)n + 1, sizeof(int)), false) };
    for (int i = 0; i < n; i++) {
        int a = i - 1;
        if ((int)rng_below(r, 1000) < fork) {
            for (int steps = (int)rng_below(r, (uint32_t)back); steps > 0 && a >= 0; steps--) a = t.up[a];
            if (!rng_below(r, 8)) a = -1;
        }
        t.up[i] = a;
        t.end[i] = i + 1;
    }
    for (int i = n - 1; i >= 0; i--) if (t.up[i] >= 0 && t.end[t.up[i]] < t.end[i]) t.end[t.up[i]] = t.end[i];
    return t;
}

static double bf16(double x)
{
    union {
        uint32_t u;
        float f;
    } v = { .f = (float)x };
    v.u = (v.u + 0x7fffu + (v.u >> 16 & 1)) & 0xffff0000u;
    return (double)v.f;
}
static double same(double x) { return x; }

/* Attention of the tree and its gradients by the definition; weights, score gradients and results go through
 * `round`. */
struct attn { struct tree t; struct heads h; int width; double *qkv, *dout, *out, *lse, *dqkv; };

static void naive_row(struct attn *k, int i, int a, double *s, double *dp, double (*round)(double))
{
    int hd = k->h.hd, hq = k->h.heads * hd, kv = a / (k->h.heads / k->h.kv);
    const double *q = k->qkv + (int64_t)i * k->width + a * hd, *g = k->dout + (int64_t)i * hq + a * hd;
    double *o = k->out + (int64_t)i * hq + a * hd, *dq = k->dqkv + (int64_t)i * k->width + a * hd, max = -HUGE_VAL,
           sum = 0, dot = 0;
    for (int j = i; j >= 0; j = k->t.up[j]) {
        const double *key = k->qkv + (int64_t)j * k->width + hq + kv * hd, *value = key + k->h.kv * hd;
        s[j] = dp[j] = 0;
        for (int d = 0; d < hd; d++) s[j] += q[d] * key[d], dp[j] += g[d] * value[d];
        s[j] /= sqrt(hd);
        max = fmax(max, s[j]);
    }
    for (int j = i; j >= 0; j = k->t.up[j]) sum += exp(s[j] - max);
    k->lse[i * k->h.heads + a] = max + log(sum);
    for (int j = i; j >= 0; j = k->t.up[j])
        for (int d = 0; d < hd; d++)
            o[d] += round(exp(s[j] - max) / sum) * k->qkv[(int64_t)j * k->width + hq + (k->h.kv + kv) * hd + d];
    for (int d = 0; d < hd; d++) dot += (o[d] = round(o[d])) * g[d];
    for (int j = i; j >= 0; j = k->t.up[j]) {
        int64_t at = (int64_t)j * k->width + hq + kv * hd;
        double p = exp(s[j] - max) / sum, ds = round(p * (dp[j] - dot));
        for (int d = 0; d < hd; d++) {
            dq[d] += ds * k->qkv[at + d] / sqrt(hd);
            k->dqkv[at + d] += ds * q[d] / sqrt(hd);
            k->dqkv[at + k->h.kv * hd + d] += round(p) * g[d];
        }
    }
}

static void naive(struct attn *k, double (*round)(double))
{
    int64_t no = (int64_t)k->t.n * k->h.heads * k->h.hd, nq = (int64_t)k->t.n * k->width;
    double *s = host(2 * k->t.n);
    k->out = host(no), k->dqkv = host(nq), k->lse = host((int64_t)k->t.n * k->h.heads);
    for (int i = 0; i < k->t.n; i++)
        for (int a = 0; a < k->h.heads; a++) naive_row(k, i, a, s, s + k->t.n, round);
    for (int64_t i = 0; i < nq; i++) k->dqkv[i] = round(k->dqkv[i]);
}

static struct attn make(struct rng *r, struct tree t, struct heads h, double scale)
{
    struct attn k = { t, h, (h.heads + 2 * h.kv) * h.hd, NULL, NULL, NULL, NULL, NULL };
    k.qkv = noise(r, (int64_t)t.n * k.width, scale);
    k.dout = noise(r, (int64_t)t.n * h.heads * h.hd, 1);
    for (int64_t i = 0; i < (int64_t)t.n * k.width; i++) k.qkv[i] = bf16(k.qkv[i]);
    for (int64_t i = 0; i < (int64_t)t.n * h.heads * h.hd; i++) k.dout[i] = bf16(k.dout[i]);
    naive(&k, same);
    return k;
}

struct off { double most, rms; };
static struct off off_by(const double *x, const double *want, int64_t n)
{
    struct off o = { 0, 0 };
    for (int64_t i = 0; i < n; i++) {
        double e = fabs(x[i] - want[i]);
        if (!(e <= o.most) && !isnan(o.most)) o.most = e;
        o.rms += e * e / (double)n;
    }
    o.rms = sqrt(o.rms);
    return o;
}

/* At most twice the naive version's error; `floor` where that is 0. */
static void no_worse(const char *what, size_t c, const double *x, const double *naive_x, const double *want, int64_t n,
                     double floor)
{
    struct off a = off_by(x, want, n), b = off_by(naive_x, want, n);
    CHECK(a.most <= 2 * b.most + floor && a.rms <= 2 * b.rms + floor,
          "case %zu: %s off by %.2e at most, %.2e rms; the naive bf16 version by %.2e and %.2e", c, what, a.most, a.rms,
          b.most, b.rms);
}

/* Every row's path in pages of its own order, as forks share them; table[n][ld]. */
static elem_t *pages_of(struct rng *r, const struct attn *k, const elem_t *qkv, int *table, int ld, int *pos)
{
    int n = k->t.n, *number = keep(xcalloc((size_t)n, sizeof(int)), false), next = 0;
    for (int i = 0; i < n; i++) {
        int j = (int)rng_below(r, (uint32_t)i + 1);
        number[i] = number[j], number[j] = i;
    }
    elem_t *pool = elems(NULL, n * kv_page_elems(k->h));
    bool *went_on = keep(xcalloc((size_t)n, sizeof(bool)), false);
    for (int i = 0; i < n; i++) {
        int a = k->t.up[i];
        if (a >= 0) memcpy(table + (int64_t)i * ld, table + (int64_t)a * ld, (size_t)ld * sizeof *table);
        pos[i] = a < 0 ? 0 : pos[a] + 1;
        int *page = table + (int64_t)i * ld + pos[i] / KV_PAGE, from = *page;
        if (pos[i] % KV_PAGE == 0) *page = number[next++];
        else if (went_on[a]) op_kv_copy(pool, *page = number[next++], from, k->h);
        if (a >= 0) went_on[a] = true;
        int64_t slot = (int64_t)*page * KV_PAGE + pos[i] % KV_PAGE, *d_slot = dev_alloc(sizeof slot);
        dev_put(d_slot, &slot, sizeof slot);
        op_kv_write(pool, qkv + (int64_t)i * k->width, d_slot, 1, k->h);
        dev_sync();
        dev_free(d_slot);
    }
    return pool;
}

/* Paths of up to 580 positions are three chunks. 300 rows decode in one block each, 40 rows in one block a chunk: the
 * same bits, those of op_attn. Stored as float: the tolerances of test_attn.c; as bf16: no worse than the naive bf16
 * version. */
static void chunks_and_splits(void **state)
{
    (void)state;
    static const struct { int n, fork, back; struct heads h; double scale; } cases[] = {
        { 530, 0, 1, { 2, 1, 10 }, 1 }, { 580, 8, 400, { 3, 1, 24 }, 1 }, { 300, 30, 40, { 2, 2, 64 }, 2 },
        { 400, 4, 250, { 9, 1, 8 }, 1 }, { 270, 10, 60, { 20, 1, 6 }, 1 }, { 260, 20, 60, { 4, 2, 80 }, 1 },
        { 258, 5, 60, { 1, 1, 256 }, 1 }, { 40, 50, 60, { 2, 1, 130 }, 2 },
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rng r = rng_make(c, 30, 0);
        struct heads h = cases[c].h;
        struct attn k = make(&r, grow(&r, cases[c].n, cases[c].fork, cases[c].back), h, cases[c].scale);
        int n = k.t.n, ld = n / KV_PAGE + 1;
        int64_t no = (int64_t)n * h.heads * h.hd, nq = (int64_t)n * k.width;
        double sharp = cases[c].scale * cases[c].scale * sqrt(h.hd);
        elem_t *out = elems(NULL, no), *qkv = elems(k.qkv, nq), *dqkv = elems(NULL, nq), *paged = elems(NULL, no);
        acc_t *lse = accs(NULL, (int64_t)n * h.heads);
        struct attn_plan *plan = attn_plan_make(k.t.end, n);
        op_attn(out, lse, qkv, plan, h);
        op_attn_back(dqkv, elems(k.dout, no), out, lse, qkv, plan, h);
        double *o = got(out, no), *d = got(dqkv, nq);
        near_all("op_attn lse", got_acc(lse, (int64_t)n * h.heads), k.lse, NULL, (int64_t)n * h.heads, 4 + sharp);
        if (sizeof(elem_t) == 2) {
            struct attn low = k;
            naive(&low, bf16);
            no_worse("op_attn", c, o, low.out, k.out, no, 0x1p-16);
            no_worse("op_attn_back", c, d, low.dqkv, k.dqkv, nq, 0x1p-12);
        } else {
            near_all("op_attn", o, k.out, NULL, no, 8 + 4 * sharp);
            for (int64_t i = 0; i < nq; i++)
                CHECK_NEAR(d[i], k.dqkv[i], 4 * EPS * (16 + 8 * sharp) * (1 + fabs(k.dqkv[i])) * cases[c].scale,
                           "case %zu: dqkv[%lld]", c, (long long)i);
        }
        attn_plan_free(plan);
        int *table = keep(xcalloc((size_t)(n * ld), sizeof(int)), false),
            *pos = keep(xcalloc((size_t)n, sizeof(int)), false);
        elem_t *pool = pages_of(&r, &k, qkv, table, ld, pos);
        int *d_table = ints(table, (int64_t)n * ld), *d_pos = ints(pos, n);
        op_attn_paged(paged, qkv, pool, d_table, ld, d_pos, n, h);
        CHECK(same_bits(o, got(paged, no), no), "case %zu: all rows at once: pages and rows differ in bits", c);
        for (int i = 0; i < n; i += 40) {
            int m = MIN(40, n - i);
            op_attn_paged(paged + (int64_t)i * h.heads * h.hd, qkv + (int64_t)i * k.width, pool,
                          d_table + (int64_t)i * ld, ld, d_pos + i, m, h);
        }
        CHECK(same_bits(o, got(paged, no), no), "case %zu: 40 rows at a time: pages and rows differ in bits", c);
        drop();
    }
}

static int *ints_back(const int *d, int n)
{
    int *x = keep(xcalloc((size_t)n + 1, sizeof *x), false);
    dev_get(x, d, (size_t)n * sizeof *x);
    return x;
}

/* seen[block][tile]: 0 not listed, 1 in part, 2 whole; against every pair of the tree. */
static void check_list(const struct attn_list *l, const struct tree *t, bool by_key)
{
    int tiles = (t->n + ATTN_TILE - 1) / ATTN_TILE, *own = ints_back(l->own, l->blocks),
        *begin = ints_back(l->begin, l->blocks + 1);
    int *tile = ints_back(l->tile, begin[l->blocks]),
        *seen = keep(xcalloc((size_t)(l->blocks * tiles) + 1, sizeof(int)), false), last = INT32_MAX;
    CHECK(l->blocks == (t->n + ATTN_BLOCK - 1) / ATTN_BLOCK, "%d blocks for %d rows", l->blocks, t->n);
    for (int i = 0; i < l->blocks; i++) {
        CHECK(begin[i + 1] - begin[i] <= last, "block %d has more tiles than the one before it", own[i]);
        last = begin[i + 1] - begin[i];
        for (int k = begin[i]; k < begin[i + 1]; k++) seen[own[i] * tiles + (tile[k] >> 1)] += 1 + (tile[k] & 1);
    }
    for (int b = 0; b < l->blocks; b++)
        for (int c = 0; c < tiles; c++) {
            int pairs = 0;
            for (int x = b * ATTN_BLOCK; x < MIN(t->n, (b + 1) * ATTN_BLOCK); x++)
                for (int y = c * ATTN_TILE; y < MIN(t->n, (c + 1) * ATTN_TILE); y++) {
                    int q = by_key ? y : x, k = by_key ? x : y;
                    pairs += k <= q && q < t->end[k];
                }
            int all = MIN(ATTN_BLOCK, t->n - b * ATTN_BLOCK) * ATTN_TILE,
                want = !pairs                                                      ? 0
                       : pairs == all && (!by_key || (b + 1) * ATTN_BLOCK <= t->n) ? 2
                                                                                   : 1;
            CHECK(seen[b * tiles + c] == want, "block %d, tile %d, %d pairs: listed as %d, want %d", b, c, pairs,
                  seen[b * tiles + c], want);
        }
}

static void lists_name_every_tile(void **state)
{
    (void)state;
    /* cut: two sequences, the second from that row on */
    static const struct { int n, fork, back, cut; } cases[] = {
        { 1, 0, 1, 0 }, { 64, 0, 1, 0 }, { 128, 0, 1, 0 }, { 129, 20, 50, 0 }, { 700, 0, 1, 0 }, { 900, 10, 500, 0 },
        { 640, 100, 30, 0 }, { 512, 3, 512, 0 }, { 384, 0, 1, 255 }, { 384, 0, 1, 256 }, { 384, 0, 1, 257 },
        { 400, 0, 1, 191 }, { 400, 0, 1, 192 },
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rng r = rng_make(c, 31, 0);
        struct tree t = grow(&r, cases[c].n, cases[c].fork, cases[c].back);
        for (int i = 0; i < cases[c].cut; i++) t.end[i] = cases[c].cut;
        struct attn_plan *p = attn_plan_make(t.end, t.n);
        check_list(&p->by_query, &t, false);
        check_list(&p->by_key, &t, true);
        attn_plan_free(p);
        drop();
    }
}

/* bf16 between walls of NaN. */
static uint16_t *halves(const double *x, int64_t n)
{
    uint16_t *h = xmalloc((size_t)(n + 2 * WALL) * sizeof *h),
             *d = keep(dev_alloc((size_t)(n + 2 * WALL) * sizeof *d), true);
    for (int64_t i = 0; i < n + 2 * WALL; i++) h[i] = 0x7fff;
    for (int64_t i = 0; x && i < n; i++) {
        union {
            float f;
            uint32_t u;
        } v = { (float)x[i] };
        h[WALL + i] = (uint16_t)(v.u >> 16);
    }
    dev_put(d, h, (size_t)(n + 2 * WALL) * sizeof *h);
    free(h);
    return d + WALL;
}
static double *got_halves(const uint16_t *d, int64_t n)
{
    uint16_t *h = xmalloc((size_t)(n + 2 * WALL) * sizeof *h);
    double *x = host(n);
    dev_get(h, d - WALL, (size_t)(n + 2 * WALL) * sizeof *h);
    for (int64_t i = 0; i < WALL; i++)
        CHECK(h[i] == 0x7fff && h[WALL + n + i] == 0x7fff, "written outside of %lld numbers", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        union {
            uint32_t u;
            float f;
        } v = { (uint32_t)h[WALL + i] << 16 };
        x[i] = (double)v.f;
    }
    free(h);
    return x;
}

/* wgmma only where the device has it. */
static const struct {
    const char *names[3];
    bool (*takes)(struct heads h);
    void (*out)(uint16_t *out, float *lse, const uint16_t *qkv, const struct attn_plan *p, struct heads h);
    void (*back)(uint16_t *dqkv, const uint16_t *dout, const uint16_t *out, const float *lse, const uint16_t *qkv,
                 const struct attn_plan *p, struct heads h);
} ways[] = {
    { { "attn_mma", "attn_mma lse", "attn_mma_back" }, attn_mma_takes, attn_mma, attn_mma_back },
    { { "attn_wgmma", "attn_wgmma lse", "attn_wgmma_back" }, attn_wgmma_takes, attn_wgmma, attn_wgmma_back },
};

static void tensor_cores_against_loops(void **state)
{
    (void)state;
    static const struct { int n, fork, back; struct heads h; double scale; } cases[] = {
        { 1, 0, 1, { 1, 1, 64 }, 1 }, { 63, 0, 1, { 2, 1, 64 }, 1 }, { 65, 30, 40, { 1, 1, 128 }, 2 },
        { 128, 20, 60, { 3, 1, 64 }, 2 }, { 129, 0, 1, { 2, 2, 128 }, 1 }, { 200, 60, 100, { 2, 1, 128 }, 1 },
        { 310, 15, 250, { 4, 2, 64 }, 3 }, { 400, 0, 1, { 1, 1, 64 }, 1 },
        { 450, 8, 400, { 2, 1, 128 }, 1 },
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rng r = rng_make(c, 32, 0);
        struct heads h = cases[c].h;
        struct attn k = make(&r, grow(&r, cases[c].n, cases[c].fork, cases[c].back), h, cases[c].scale), low = k;
        int64_t no = (int64_t)k.t.n * h.heads * h.hd, nq = (int64_t)k.t.n * k.width, nl = (int64_t)k.t.n * h.heads;
        naive(&low, bf16);
        uint16_t *out = halves(NULL, no), *qkv = halves(k.qkv, nq), *dqkv = halves(NULL, nq), *again = halves(NULL, no);
        acc_t *lse = accs(NULL, nl);
        struct attn_plan *plan = attn_plan_make(k.t.end, k.t.n);
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            if (!ways[w].takes(h)) continue;
            ways[w].out(out, lse, qkv, plan, h);
            ways[w].out(again, NULL, qkv, plan, h);
            ways[w].back(dqkv, halves(k.dout, no), out, lse, qkv, plan, h);
            double *o = got_halves(out, no);
            no_worse(ways[w].names[0], c, o, low.out, k.out, no, 0x1p-16);
            near_all(ways[w].names[1], got_acc(lse, nl), k.lse, NULL, nl,
                     8 + cases[c].scale * cases[c].scale * sqrt(h.hd));
            no_worse(ways[w].names[2], c, got_halves(dqkv, nq), low.dqkv, k.dqkv, nq, 0x1p-12);
            CHECK(same_bits(o, got_halves(again, no), no), "case %zu: %s: asking for lse changes the output", c,
                  ways[w].names[0]);
        }
        attn_plan_free(plan);
        drop();
    }
}

/* Rows as in a decoding step: each continues some row's path, cut anywhere, or starts a new one. Full pages are shared,
 * a page that is cut is replaced by one with other numbers, so that a wrong page is detected. */
struct forks { int n, ld, pages, *table, *pos; };

static struct forks fork_rows(struct rng *r, int n, int longest, int fresh)
{
    struct forks f = { n, longest / KV_PAGE + 2, 0, NULL, NULL };
    f.table = keep(xcalloc((size_t)(n * f.ld), sizeof(int)), false),
    f.pos = keep(xcalloc((size_t)n, sizeof(int)), false);
    for (int i = 0; i < n; i++) {
        int *row = f.table + (int64_t)i * f.ld, have = 0;
        if (i && (int)rng_below(r, 1000) >= fresh) {
            int from = (int)rng_below(r, (uint32_t)i),
                cut = rng_below(r, 4) ? f.pos[from] + 1 : (int)rng_below(r, (uint32_t)f.pos[from] + 2);
            have = cut / KV_PAGE;
            memcpy(row, f.table + (int64_t)from * f.ld, (size_t)have * sizeof *row);
            f.pos[i] = MIN(longest, cut + (int)rng_below(r, 40));
        } else f.pos[i] = (int)rng_below(r, (uint32_t)longest + 1);
        for (int t = have; t <= f.pos[i] / KV_PAGE; t++) row[t] = f.pages++;
        for (int t = f.pos[i] / KV_PAGE + 1; t < f.ld; t++) row[t] = -(1 << 24);          /* far outside of the pool */
    }
    return f;
}

/* A pool in which every position that no row sees is NaN; kv[page * KV_PAGE + t] is a qkv row. */
static elem_t *pool_of(const struct forks *f, const double *kv, struct heads h)
{
    int64_t slots = (int64_t)f->pages * KV_PAGE, width = (h.heads + 2 * h.kv) * h.hd,
            *slot = keep(xmalloc((size_t)slots * sizeof *slot), false);
    for (int64_t k = 0; k < slots; k++) slot[k] = -1;
    for (int i = 0; i < f->n; i++)
        for (int t = 0; t <= f->pos[i]; t++) {
            int64_t k = (int64_t)f->table[(int64_t)i * f->ld + t / KV_PAGE] * KV_PAGE + t % KV_PAGE;
            slot[k] = k;
        }
    int64_t *d = keep(dev_alloc((size_t)slots * sizeof *d), true);
    dev_put(d, slot, (size_t)slots * sizeof *d);
    elem_t *pool = elems(NULL, f->pages * kv_page_elems(h));
    op_kv_write(pool, elems(kv, slots * width), d, slots, h);
    return pool;
}

/* out[n][heads][hd] by the definition, weights and results rounded. */
static double *paged_naive(const struct forks *f, const double *qkv, const double *kv, struct heads h,
                           double (*round)(double))
{
    int width = (h.heads + 2 * h.kv) * h.hd;
    double *out = host((int64_t)f->n * h.heads * h.hd), *s = host(f->ld * KV_PAGE);
    for (int i = 0; i < f->n; i++)
        for (int a = 0; a < h.heads; a++) {
            const double *q = qkv + (int64_t)i * width + a * h.hd;
            double max = -HUGE_VAL, sum = 0, *o = out + ((int64_t)i * h.heads + a) * h.hd;
            for (int pass = 0; pass < 3; pass++)
                for (int t = 0; t <= f->pos[i]; t++) {
                    const double *k =
                        kv + ((int64_t)f->table[(int64_t)i * f->ld + t / KV_PAGE] * KV_PAGE + t % KV_PAGE) * width +
                        (h.heads + a / (h.heads / h.kv)) * h.hd;
                    if (pass == 0) {
                        s[t] = 0;
                        for (int d = 0; d < h.hd; d++) s[t] += q[d] * k[d] / sqrt(h.hd);
                        max = fmax(max, s[t]);
                    }
                    if (pass == 1) sum += exp(s[t] - max);
                    for (int d = 0; pass == 2 && d < h.hd; d++)
                        o[d] += round(exp(s[t] - max) / sum) * k[h.kv * h.hd + d];
                }
            for (int d = 0; d < h.hd; d++) o[d] = round(o[d]);
        }
    return out;
}

/* Positions that a batch must read when rows of one window of 16 with the same pages for a chunk read it once. */
static int64_t reads_wanted(const struct forks *f)
{
    int64_t sum = 0;
    for (int i = 0; i < f->n; i++)
        for (int c = 0; c <= f->pos[i] / ATTN_CHUNK; c++) {
            int first = c * ATTN_CHUNK / KV_PAGE, last = MIN(first + ATTN_CHUNK / KV_PAGE - 1, f->pos[i] / KV_PAGE),
                most = f->pos[i], before = 0;
            for (int j = i / 16 * 16; j < MIN(f->n, i / 16 * 16 + 16); j++) {
                if (MIN(first + ATTN_CHUNK / KV_PAGE - 1, f->pos[j] / KV_PAGE) != last) continue;
                if (memcmp(f->table + (int64_t)i * f->ld + first, f->table + (int64_t)j * f->ld + first,
                           (size_t)(last - first + 1) * sizeof(int)))
                    continue;
                before += j < i;
                most = f->pos[j] > most ? f->pos[j] : most;
            }
            if (!before) sum += MIN(ATTN_CHUNK, most + 1 - c * ATTN_CHUNK);
        }
    return sum;
}

static double *alone(const struct forks *f, elem_t *qkv, elem_t *pool, const int *table, const int *pos, struct heads h)
{
    int64_t each = (int64_t)h.heads * h.hd;
    elem_t *out = elems(NULL, f->n * each);
    for (int i = 0; i < f->n; i++)
        op_attn_paged(out + i * each, qkv + (int64_t)i * (h.heads + 2 * h.kv) * h.hd, pool, table + (int64_t)i * f->ld,
                      f->ld, pos + i, 1, h);
    return got(out, f->n * each);
}

/* Forks of forks, unequal lengths, groups that windows of 16 rows and launches split anywhere: a row has the bits that
 * it has alone, at any place in the batch, and shared pages are read once. On tensor cores: no worse than the naive
 * bf16 version. */
static void forks_share_reads(void **state)
{
    (void)state;
    static const struct { int n, longest, fresh, first; struct heads h; } cases[] = {
        { 1, 40, 0, 0, { 2, 1, 64 } }, { 16, 530, 0, 0, { 3, 1, 64 } }, { 35, 400, 60, 5, { 4, 2, 64 } },
        { 18, 300, 100, 3, { 7, 1, 128 } }, { 17, 280, 0, 11, { 2, 2, 128 } }, { 9, 270, 1000, 1, { 14, 1, 64 } },
        { 17, 260, 50, 2, { 4, 4, 20 } },
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rng r = rng_make(c, 33, 0);
        struct heads h = cases[c].h;
        struct forks f = fork_rows(&r, cases[c].n, cases[c].longest, cases[c].fresh);
        int64_t width = (h.heads + 2 * h.kv) * h.hd, each = (int64_t)h.heads * h.hd, no = f.n * each,
                pool_size = f.pages * kv_page_elems(h);
        double *q = noise(&r, f.n * width, 2), *kv = noise(&r, f.pages * KV_PAGE * width, 1);
        for (int64_t i = 0; i < f.n * width; i++) q[i] = bf16(q[i]);
        for (int64_t i = 0; i < f.pages * KV_PAGE * width; i++) kv[i] = bf16(kv[i]);
        elem_t *qkv = elems(q, f.n * width), *pool = pool_of(&f, kv, h), *out = elems(NULL, no);
        int *table = ints(f.table, (int64_t)f.n * f.ld), *pos = ints(f.pos, f.n), k = cases[c].first;
        double *want = paged_naive(&f, q, kv, h, same), *naive_out = paged_naive(&f, q, kv, h, bf16),
               *one = alone(&f, qkv, pool, table, pos, h);
        op_attn_paged(out, qkv, pool, table, f.ld, pos, f.n, h);
        CHECK(same_bits(one, got(out, no), no), "case %zu: together and alone differ in bits", c);
        op_attn_paged(out + k * each, qkv + k * width, pool, table + k * f.ld, f.ld, pos + k, f.n - k, h);
        CHECK(same_bits(one, got(out, no), no), "case %zu: from row %d on: other bits", c, k);
        if (sizeof(elem_t) == 4) near_all("op_attn_paged", one, want, NULL, no, 8 + 8 * sqrt(h.hd));
        else no_worse("op_attn_paged", c, one, naive_out, want, no, 0x1p-16);
        int64_t reads = attn_paged_reads(table, f.ld, pos, f.n);
        CHECK(reads == reads_wanted(&f), "case %zu: %lld positions read, %lld would do", c, (long long)reads,
              (long long)reads_wanted(&f));
        if (attn_mma_takes(h)) {
            uint16_t *o = halves(NULL, no);
            attn_mma_paged(o, halves(q, f.n * width), halves(got(pool, pool_size), pool_size), table, f.ld, pos, f.n,
                           h);
            no_worse("attn_mma_paged", c, got_halves(o, no), naive_out, want, no, 0x1p-16);
        }
        drop();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(chunks_and_splits), cmocka_unit_test(lists_name_every_tile),
                                        cmocka_unit_test(tensor_cores_against_loops),
                                        cmocka_unit_test(forks_share_reads) };
    /* bf16 heads of 64: the fp32 path for op_attn, the tensor cores by their own name */
    setenv("APPO_NUMERICS", "exact", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
