/* lanes_attn.h: attention of one query row, two query heads of a group at a time so that they share the loads of keys
 * and values. Included after lanes_scores.h. */

/* s = exp(s - max) over len scores, the rest of the last vector 0; mass[g] = their sum */
INLINE void softmax(double *mass, double *max, elem_t *const s[2], const int G, int len)
{
    vr m[2], top[2];
    struct vacc sum[2];
    int last = (len - 1) / VL * VL;
    UNROLL for (int g = 0; g < G; g++) {
        m[g] = vfill(vget(s[g] + last), len - last, (elem_t)-INFINITY);
        vput(s[g] + last, m[g]);
        sum[g] = (struct vacc){ 0 };
    }
    for (int j = 0; j < last; j += VL) UNROLL for (int g = 0; g < G; g++) m[g] = vmax(m[g], vget(s[g] + j));
    UNROLL for (int g = 0; g < G; g++) {
        max[g] = (double)vmax_all(m[g]);
        top[g] = vset(max[g]);
    }
    for (int j = 0; j <= last; j += VL)
        UNROLL for (int g = 0; g < G; g++) {
            vr e = vexp(vget(s[g] + j) - top[g]);
            vput(s[g] + j, e);
            vacc_add(&sum[g], e);
        }
    UNROLL for (int g = 0; g < G; g++) mass[g] = vacc_sum(sum[g]);
}

/* One position: t[g] += p[g][j] row, N vectors, the last of n lanes. */
INLINE void sum_one(vr t[2][TILE], elem_t *const p[2], int j, const int G, const elem_t *row, const int N, int n)
{
    vr v[TILE];
    UNROLL for (int i = 0; i < N; i++) v[i] =
        vheld(i < N - 1 || n == VL ? vget(row + i * VL) : vget_part(row + i * VL, n));
    UNROLL for (int g = 0; g < G; g++) {
        vr x = vsetr(p[g][j]);
        UNROLL for (int i = 0; i < N; i++) t[g][i] = vfma(x, v[i], t[g][i]);
    }
}

/* out[g hd ..] = by[g] (the sum over even positions + that over odd ones) of N vectors: two chains, since one would
 * wait for each multiply-add. */
INLINE void sum_tile(elem_t *out, int hd, const double *by, elem_t *const p[2], const int G, const struct path *path,
                     const elem_t *rows, const int N, int n, const bool ahead)
{
    vr t[2][2][TILE];
    const int64_t ld = path->row_ld;
    UNROLL for (int k = 0; k < 2; k++) UNROLL for (int g = 0; g < G; g++) UNROLL for (int i = 0; i < N; i++)
        t[k][g][i] = (vr){ 0 };
    int at = 0;
    for (const struct block *b = path->b; b < path->b + path->blocks; b++) {
        const elem_t *row = rows + b->row, *then = row - b->kt + b->ahead;
        int end = at + b->count;
        if (at & 1) {
            sum_one(t[1], p, at++, G, row, N, n);
            row += ld;
        }
        for (; at + 2 <= end; at += 2, row += 2 * ld, then += 2 * ld) {
            if (ahead) UNROLL for (int i = 0; i < (2 * N - 1) * VL; i += LINE) __builtin_prefetch(then + i, 0, 3);
            sum_one(t[0], p, at, G, row, N, n);
            sum_one(t[1], p, at + 1, G, row + ld, N, n);
        }
        if (at < end) sum_one(t[0], p, at++, G, row, N, n);
    }
    UNROLL for (int g = 0; g < G; g++) {
        vr f = vset(by[g]);
        UNROLL for (int i = 0; i < N; i++)
            vput_n(out + g * hd + i * VL, (t[0][g][i] + t[1][g][i]) * f, i < N - 1 ? VL : n);
    }
}

INLINE void sums_of(elem_t *out, const double *by, elem_t *const p[2], const int G, const struct path *path,
                    const elem_t *rows, int hd, const bool ahead)
{
    int d = 0;
    for (; d + TILE * VL <= hd; d += TILE * VL) sum_tile(out + d, hd, by, p, G, path, rows + d, TILE, VL, ahead);
    int left = hd - d, n = (left - 1) % VL + 1;
    if (TILE > 3 && left > 3 * VL) sum_tile(out + d, hd, by, p, G, path, rows + d, TILE, n, ahead);
    else if (left > 2 * VL) sum_tile(out + d, hd, by, p, G, path, rows + d, 3, n, ahead);
    else if (left > VL) sum_tile(out + d, hd, by, p, G, path, rows + d, 2, n, ahead);
    else if (left > 0) sum_tile(out + d, hd, by, p, G, path, rows + d, 1, n, ahead);
}

static void sums(elem_t *out, const double *by, elem_t *const p[2], int g, const struct path *path, const elem_t *rows,
                 int hd)
{
    if (g == 2) sums_of(out, by, p, 2, path, rows, hd, false);
    else sums_of(out, by, p, 1, path, rows, hd, false);
}

/* G query heads from a on, all of kv head kv. */
INLINE void attn_heads(elem_t *out, acc_t *lse, int a, const int G, int kv, const struct path *p, int hd,
                       const struct attn_space *w, const bool ahead)
{
    double mass[2], max[2], by[2];
    scores_of(w->s, w->q + a * hd, G, p, p->kt + kv * p->kt_kv, hd, ahead);
    softmax(mass, max, w->s, G, p->len);
    UNROLL for (int g = 0; g < G; g++) {
        by[g] = 1 / mass[g];
        if (lse) lse[a + g] = (acc_t)(max[g] + log(mass[g]));
    }
    sums_of(out + a * hd, by, w->s, G, p, p->row + kv * p->row_kv, hd, ahead);
}

/* to = q / sqrt(hd) */
static void scaled(elem_t *to, const elem_t *q, int d, int hd)
{
    vr scale = vset(attn_scale(hd));
    for (int j = 0; j < d; j += VL) vput_n(to + j, vget_n(q + j, d - j) * scale, d - j);
}

static void attn(elem_t *out, acc_t *lse, const elem_t *q, const struct path *p, struct heads h,
                 const struct attn_space *w)
{
    int group = h.heads / h.kv, a = 0;
    scaled(w->q, q, h.heads * h.hd, h.hd);
    for (int kv = 0; kv < h.kv; kv++)
        for (int end = a + group; a < end; a += 2) {
            if (a + 1 == end) attn_heads(out, lse, a--, 1, kv, p, h.hd, w, false);
            else if (p->ahead && a + group == end) attn_heads(out, lse, a, 2, kv, p, h.hd, w, true);
            else attn_heads(out, lse, a, 2, kv, p, h.hd, w, false);
        }
}
