/* lanes_attn_back.h: backward pass of attention for the rows of one branch. Included after lanes_attn.h. */
#include <string.h>

/* rows[j] += sum_c p[c][j] x[c], c ascending, over the path's keys. */
struct outer { int c; const elem_t *p[2 * ATTN_ROWS], *x[2 * ATTN_ROWS]; };

/* From dimension d on: C terms, N vectors, the last of n lanes. */
INLINE void outer_tile(elem_t *rows, const struct path *path, const struct outer *o, int d, const int C, const int N,
                       int n)
{
    vr t[2 * ATTN_ROWS][TILE];
    const elem_t *p[2 * ATTN_ROWS];
    const int64_t ld = path->row_ld;
    UNROLL for (int c = 0; c < C; c++) {
        p[c] = o->p[c];
        UNROLL for (int i = 0; i < N; i++) t[c][i] = vget_n(o->x[c] + d + i * VL, i < N - 1 ? VL : n);
    }
    int at = 0;
    for (const struct block *b = path->b; b < path->b + path->blocks; b++) {
        elem_t *row = rows + b->row + d;
        for (int end = at + b->count; at < end; at++, row += ld) {
            vr v[TILE];
            UNROLL for (int i = 0; i < N; i++) v[i] =
                i < N - 1 || n == VL ? vget(row + i * VL) : vget_part(row + i * VL, n);
            UNROLL for (int c = 0; c < C; c++) {
                vr x = vsetr(p[c][at]);
                UNROLL for (int i = 0; i < N; i++) v[i] = vfma(x, t[c][i], v[i]);
            }
            UNROLL for (int i = 0; i < N; i++) vput_n(row + i * VL, v[i], i < N - 1 ? VL : n);
        }
    }
}

INLINE void outer_of(elem_t *rows, const struct path *path, const struct outer *o, int hd, const int C)
{
    const int T = C > 4 && TILE > 2 ? 2 : C > 2 && VL_MAX > VL ? 1 : TILE;
    int d = 0;
    for (; d + T * VL <= hd; d += T * VL) outer_tile(rows, path, o, d, C, T, VL);
    int left = hd - d, n = (left - 1) % VL + 1;
    if (T > 3 && left > 3 * VL) outer_tile(rows, path, o, d, C, TILE, n);
    else if (T > 2 && left > 2 * VL) outer_tile(rows, path, o, d, C, 3, n);
    else if (T > 1 && left > VL) outer_tile(rows, path, o, d, C, 2, n);
    else if (left > 0) outer_tile(rows, path, o, d, C, 1, n);
}

static void outer(elem_t *rows, const struct path *path, const struct outer *o, int hd)
{
    switch (o->c) {
    case 1: outer_of(rows, path, o, hd, 1); break;
    case 2: outer_of(rows, path, o, hd, 2); break;
    case 4: outer_of(rows, path, o, hd, 4); break;
    default: outer_of(rows, path, o, hd, 8);
    }
}

/* p = exp(s - lse) in place, ds = p (dp - D) in place of dp */
static void weights(elem_t *s, elem_t *dp, int len, double lse, double dot)
{
    vr l = vset(lse), o = vset(dot);
    for (int j = 0; j < len; j += VL) {
        vr e = vexp(vget(s + j) - l);
        vput(s + j, e);
        vput(dp + j, e * (vget(dp + j) - o));
    }
}

static double row_dot(const elem_t *a, const elem_t *b, int n)
{
    struct vacc s = { 0 };
    for (int j = 0; j < n; j += VL) vacc_fma(&s, vget_n(a + j, n - j), vget_n(b + j, n - j));
    return vacc_sum(s);
}

/* Rows i .. i + rows - 1 of one branch, the g query heads from a on, all of kv head kv. A row of dk and dv is read and
 * written once for all of them: what a row does not see has weight 0. */
static void back_heads(const struct attn_back *b, int64_t i, int rows, int kv, int a, int g, const struct attn_space *w)
{
    const struct heads h = b->h;
    const int hd = h.hd, hq = h.heads * hd, k0 = hq + kv * hd, v0 = k0 + h.kv * hd;
    const int64_t width = hq + 2 * h.kv * hd, head = (int64_t)kv * hd * KV_PAGE;
    const double by[2] = { attn_scale(hd), attn_scale(hd) };
    struct outer dk = { .c = rows * g }, dv = { .c = rows * g };
    struct path p = { 0 };
    for (int r = 0; r < rows; r++) {
        const int64_t row = i + r;
        const elem_t *dout = b->dout + row * hq + a * hd, *out = b->out + row * hq + a * hd;
        elem_t *q = w->q + r * g * hd, *const *s = w->s + r * g, *const *dp = w->dp + r * g;
        scaled(q, b->qkv + row * width + a * hd, g * hd, hd);
        p = attn_path(w->b, b->plan, (int)row, h);
        scores(s, q, g, &p, b->kt + head, hd);
        scores(dp, dout, g, &p, b->vt + head, hd);
        for (int k = 0; k < g; k++) {
            weights(s[k], dp[k], p.len, (double)b->lse[row * h.heads + a + k],
                    row_dot(dout + k * hd, out + k * hd, hd));
            for (int j = p.len; j < p.len + rows - 1 - r; j++) s[k][j] = dp[k][j] = 0;
            dk.p[r * g + k] = dp[k], dk.x[r * g + k] = q + k * hd;
            dv.p[r * g + k] = s[k], dv.x[r * g + k] = dout + k * hd;
        }
        sums(b->dqkv + row * width + a * hd, by, dp, g, &p, b->qkv + k0, hd);
    }
    outer(b->dqkv + k0, &p, &dk, hd);
    outer(b->dqkv + v0, &p, &dv, hd);
}

static void attn_back(const struct attn_back *b, int first, int last, int kv, const struct attn_space *w)
{
    const struct heads h = b->h;
    const int hd = h.hd, k0 = (h.heads + kv) * hd, v0 = k0 + h.kv * hd, group = h.heads / h.kv;
    const int64_t width = (int64_t)(h.heads + 2 * h.kv) * hd;
    for (int i = first, rows; i < last; i += rows) {
        /* with more than two heads a group of rows would mix the order of sums */
        rows = group > 2 || last - i < 2 ? 1 : last - i < ATTN_ROWS ? 2 : ATTN_ROWS;
        /* no row before has seen these keys */
        for (int r = 0; r < rows; r++) {
            memset(b->dqkv + (i + r) * width + k0, 0, (size_t)hd * sizeof(elem_t));
            memset(b->dqkv + (i + r) * width + v0, 0, (size_t)hd * sizeof(elem_t));
        }
        for (int a = 0; a < group; a += 2) back_heads(b, i, rows, kv, kv * group + a, MIN(2, group - a), w);
    }
}
#undef UNROLL
