/* rope.c: rotary embedding of the queries and keys, with Qwen3's norm of each head in front where there is one.
 * Angles are pos * freq in double; their cosines and sines are kept in a table, since sincos of 12 pairs costs more
 * than rotating four heads. */
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/vec_sum.h"
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* cos[pos][half], then sin[pos][half], of the frequencies last used. Positions past the table are computed when needed,
 * the same way. */
struct angles { acc_t *freq; int half; int64_t have; elem_t *cs; };
enum { ANGLES_MAX = 16384 };

static void angles_make(elem_t *cs, const acc_t *freq, int half, int64_t pos)
{
    for (int j = 0; j < half; j++) {
        double a = (double)pos * (double)freq[j];
        cs[j] = (elem_t)cos(a);
        cs[half + j] = (elem_t)sin(a);
    }
}

static const struct angles *angles_of(const acc_t *freq, int half, const int *pos, int64_t n)
{
    static _Thread_local struct angles t;
    int64_t top = 0;
    for (int64_t i = 0; i < n; i++) top = MAX(top, (int64_t)pos[i] + 1);
    top = MIN(top, ANGLES_MAX);
    if (t.half != half || memcmp(t.freq, freq, (size_t)half * sizeof *freq)) {
        t.freq = xrealloc(t.freq, (size_t)half * sizeof *freq);
        memcpy(t.freq, freq, (size_t)half * sizeof *freq);
        t.half = half;
        t.have = 0;
    }
    if (top > t.have) {
        top = MIN(ANGLES_MAX, MAX(top, MAX(256, 2 * t.have)));
        t.cs = xrealloc(t.cs, (size_t)top * 2 * (size_t)half * sizeof *t.cs);
        for (int64_t p = t.have; p < top; p++) angles_make(t.cs + p * 2 * half, freq, half, p);
        t.have = top;
    }
    return &t;
}

/* The cosines and sines of a position: the table's, or made in own[2 half]. */
static const elem_t *angles_at(const struct angles *t, elem_t *own, int64_t pos)
{
    if (pos >= 0 && pos < t->have) return t->cs + pos * 2 * t->half;
    angles_make(own, t->freq, t->half, pos);
    return own;
}

/* y = w x / rms(x) of one head; returns 1 / rms. */
static acc_t head_norm(elem_t *y, const elem_t *x, const elem_t *w, double eps, int hd)
{
    struct vacc sq = { 0 };
    for (int j = 0; j < hd; j += VL) {
        vr v = vget_n(x + j, hd - j);
        vacc_fma(&sq, v, v);
    }
    acc_t r = (acc_t)(1 / sqrt(vacc_sum(sq) / hd + eps));
    vr scale = vset((double)r);
    for (int j = 0; j < hd; j += VL) vput_n(y + j, vget_n(x + j, hd - j) * scale * vget_n(w + j, hd - j), hd - j);
    return r;
}

void op_rope(struct rope_args a)
{
    const struct heads h = a.h;
    int half = h.hd / 2, rotated = h.heads + h.kv, width = rotated + h.kv;
    ENSURE(h.hd % 2 == 0 && h.hd > 0 && !a.qnorm == !a.knorm);
    const struct angles *t = angles_of(a.freq, half, a.pos, a.n);
    const struct lanes *run = lanes();
    int threads = work_threads(a.n * rotated * (4 + h.hd / 4));
    elem_t *owns = work_parts(threads, (size_t)h.hd * sizeof *owns);
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < a.n; i++) {
        elem_t *own = work_part(owns, omp_get_thread_num(), (size_t)h.hd * sizeof *owns);
        const elem_t *cs = angles_at(t, own, a.pos[i]), *x = a.in + i * width * h.hd;
        elem_t *y = a.out + i * width * h.hd;
        for (int k = 0; a.qnorm && k < rotated; k++) {
            acc_t r = head_norm(y + k * h.hd, x + k * h.hd, k < h.heads ? a.qnorm : a.knorm, a.eps, h.hd);
            if (a.rstd) a.rstd[i * rotated + k] = r;
        }
        run->rotate(y, a.qnorm ? y : x, cs, half, 1, rotated);
        if (y != x) memcpy(y + rotated * h.hd, x + rotated * h.hd, (size_t)(h.kv * h.hd) * sizeof *y);
    }
}

/* dx from dy of one normalised head, in place; sum[j] += dy x r. */
static void head_norm_back(elem_t *d, double *sum, const elem_t *x, const elem_t *w, acc_t rstd, int hd)
{
    struct vacc dot = { 0 };
    vr r = vset((double)rstd);
    for (int j = 0; j < hd; j += VL)
        vacc_fma(&dot, vget_n(d + j, hd - j) * vget_n(w + j, hd - j), vget_n(x + j, hd - j));
    vr c = vset(-vacc_sum(dot) / hd * (double)rstd * (double)rstd * (double)rstd);
    for (int j = 0; j < hd; j += VL) {
        vr g = vget_n(d + j, hd - j), v = vget_n(x + j, hd - j);
        struct vsum s = vsum_get(sum + j);
        vsum_fma(&s, g * r, v);
        vsum_put(sum + j, s);
        vput_n(d + j, vfma(v, c, g * vget_n(w + j, hd - j) * r), hd - j);
    }
}

void op_rope_back(struct rope_back_args a)
{
    const struct heads h = a.h;
    int half = h.hd / 2, rotated = h.heads + h.kv, width = rotated + h.kv, wd = (h.hd + VL_MAX - 1) / VL_MAX * VL_MAX;
    const struct angles *t = angles_of(a.freq, half, a.pos, a.n);
    const struct lanes *run = lanes();
    int64_t blocks = work_blocks(a.n);
    int threads = work_threads(a.n * rotated * (4 + h.hd / 4));
    size_t own_bytes = work_round((size_t)h.hd * sizeof(elem_t)) * (size_t)threads;
    char *base = work_scratch(own_bytes + (size_t)blocks * 2 * (size_t)wd * sizeof(double));
    double *part = (double *)(void *)(base + own_bytes);                            /* [blocks][q and k][wd] */
    memset(part, 0, (size_t)blocks * 2 * (size_t)wd * sizeof *part);
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t b = 0; b < blocks; b++) {
        elem_t *own = work_part(base, omp_get_thread_num(), (size_t)h.hd * sizeof *own);
        for (int64_t i = b * WORK_BLOCK; i < MIN(a.n, (b + 1) * WORK_BLOCK); i++) {
            const elem_t *cs = angles_at(t, own, a.pos[i]), *dy = a.dout + i * width * h.hd;
            elem_t *dx = a.din + i * width * h.hd;
            run->rotate(dx, dy, cs, half, -1, rotated);
            for (int k = 0; a.qnorm && k < rotated; k++)
                head_norm_back(dx + k * h.hd, part + (2 * b + (k >= h.heads)) * wd, a.in + (i * width + k) * h.hd,
                               k < h.heads ? a.qnorm : a.knorm, a.rstd[i * rotated + k], h.hd);
            if (dx != dy) memcpy(dx + rotated * h.hd, dy + rotated * h.hd, (size_t)(h.kv * h.hd) * sizeof *dx);
        }
    }
    if (a.qnorm && a.dqnorm) work_fold(a.dqnorm, part, blocks, h.hd, 2 * wd);
    if (a.knorm && a.dknorm) work_fold(a.dknorm, part + wd, blocks, h.hd, 2 * wd);
}
