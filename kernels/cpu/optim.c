/* optim.c: AdamW and the norm of the gradient, on flat vectors. Sums are over fixed chunks, so that threads change
 * nothing. */
#include "base/philox.h"
#include "kernels/cpu/vec_sum.h"
#include "kernels/cpu/work.h"
#include "kernels/ops.h"

enum { CHUNK = 4096 };

double op_sumsq(const acc_t *x, int64_t n)
{
    int64_t chunks = (n + CHUNK - 1) / CHUNK;
    double *part = work_scratch((size_t)chunks * sizeof *part), sum = 0;
    #pragma omp parallel for schedule(static) num_threads(work_threads(n / 6))
    for (int64_t c = 0; c < chunks; c++) {
        int m = (int)MIN(CHUNK, n - c * CHUNK);
        struct vacc s = { 0 };
        for (int j = 0; j < m; j += VL) {
            vr v = vget_n(x + c * CHUNK + j, m - j);
            vacc_fma(&s, v, v);
        }
        part[c] = vacc_sum(s);
    }
    for (int64_t c = 0; c < chunks; c++) sum += part[c];
    return sum;
}

void op_scale(acc_t *x, double by, int64_t n)
{
    int64_t chunks = (n + CHUNK - 1) / CHUNK;
    vr f = vset(by);
    #pragma omp parallel for schedule(static) num_threads(work_threads(n / 8))
    for (int64_t c = 0; c < chunks; c++) {
        int m = (int)MIN(CHUNK, n - c * CHUNK);
        acc_t *p = x + c * CHUNK;
        for (int j = 0; j < m; j += VL) vput_n(p + j, vget_n(p + j, m - j) * f, m - j);
    }
}

void op_acc_add(acc_t *x, const acc_t *y, int64_t n)
{
    #pragma omp parallel for schedule(static) num_threads(work_threads(n / 8))
    for (int64_t o = 0; o < n; o += CHUNK) {
        int m = (int)MIN(CHUNK, n - o);
        for (int j = 0; j < m; j += VL) vput_n(x + o + j, vget_n(x + o + j, m - j) + vget_n(y + o + j, m - j), m - j);
    }
}

void op_sum_add(double *sum, const acc_t *g, int64_t n)
{
    #pragma omp parallel for schedule(static) num_threads(work_threads(n / 6))
    for (int64_t i = 0; i < n; i++) sum[i] += (double)g[i];
}

void op_sum_round(acc_t *g, const double *sum, int64_t n)
{
    #pragma omp parallel for schedule(static) num_threads(work_threads(n / 6))
    for (int64_t i = 0; i < n; i++) g[i] = (acc_t)sum[i];
}

static inline vr vsqrt(vr x)
{
    for (int i = 0; i < VL; i++) x[i] = sizeof(elem_t) == 4 ? (elem_t)sqrtf((float)x[i]) : (elem_t)sqrt((double)x[i]);
    return x;
}

/* m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w = w (1 - lr decay) - lr/(1 - b1^t) m / (sqrt(v)/sqrt(1 - b2^t) +
 * eps) */
struct rule { vr b1, d1, b2, d2, scale, eps, keep, step, root; };
static struct rule rule_of(const struct adamw *a)
{
    ENSURE(a->t >= 1);
    double c1 = 1 - pow(a->beta1, (double)a->t), c2 = 1 - pow(a->beta2, (double)a->t);
    return (struct rule){ .b1 = vset(a->beta1),
                          .d1 = vset(1 - a->beta1),
                          .b2 = vset(a->beta2),
                          .d2 = vset(1 - a->beta2),
                          .scale = vset(a->scale),
                          .eps = vset(a->eps),
                          .keep = vset(1 - a->lr * a->decay),
                          .step = vset(-a->lr / c1),
                          .root = vset(1 / sqrt(c2)) };
}

static void step_chunk(elem_t *w, acc_t *master, const acc_t *g, acc_t *m, acc_t *v, int len, const struct rule *k)
{
    const acc_t *from = master ? master : w;
    for (int j = 0; j < len; j += VL) {
        int left = len - j;
        vr gr = vget_n(g + j, left) * k->scale;
        vr mm = vfma(vget_n(m + j, left), k->b1, gr * k->d1), vv = vfma(vget_n(v + j, left), k->b2, gr * gr * k->d2);
        vr dir = mm / vfma(vsqrt(vv), k->root, k->eps);
        vr x = vfma(dir, k->step, vget_n(from + j, left) * k->keep);
        vput_n(m + j, mm, left);
        vput_n(v + j, vv, left);
        vput_n(w + j, x, left);
        if (master) vput_n(master + j, x, left);
    }
}

void op_adamw(elem_t *w, acc_t *master, const acc_t *g, acc_t *m, acc_t *v, int64_t n, const struct adamw *a)
{
    const struct rule k = rule_of(a);
    #pragma omp parallel for schedule(static) num_threads(work_threads(n / 2))
    for (int64_t o = 0; o < n; o += CHUNK)
        step_chunk(w + o, master ? master + o : NULL, g + o, m + o, v + o, (int)MIN(CHUNK, n - o), &k);
    gemm_weights_changed();
}

static float from_bf16(uint16_t x)
{
    union { uint32_t u; float f; } b = { (uint32_t)x << 16 };
    return b.f;
}

/* Stochastic rounding to bf16: add dither to the 16 dropped bits, truncate. NaN stays NaN, infinity stays infinity. */
static uint16_t to_bf16(double x, uint32_t dither)
{
    union { float f; uint32_t u; } b = { (float)x };
    if ((b.u & 0x7f800000u) == 0x7f800000u) return (uint16_t)(b.u >> 16 | ((b.u & 0x7fffffu) != 0) << 6);
    return (uint16_t)((b.u + dither) >> 16);
}

void op_adamw_bf16(elem_t *w, acc_t *master, const acc_t *g, uint16_t *m, uint16_t *v, int64_t n,
                   const struct adamw *a)
{
    const struct rule k = rule_of(a);
    #pragma omp parallel for schedule(static) num_threads(work_threads(n / 2))
    for (int64_t o = 0; o < n; o += CHUNK) {
        acc_t mm[CHUNK], vv[CHUNK];
        int len = (int)MIN(CHUNK, n - o);
        for (int j = 0; j < len; j++) mm[j] = (acc_t)from_bf16(m[o + j]), vv[j] = (acc_t)from_bf16(v[o + j]);
        step_chunk(w + o, master ? master + o : NULL, g + o, mm, vv, len, &k);
        struct philox words = { 0 };
        for (int j = 0; j < len; j++) {
            uint64_t i = (uint64_t)(a->key.at + o + j);
            if (j == 0 || (i & 3) == 0)
                words = philox4x32(a->key.seed, (uint32_t)(i >> 2), (uint32_t)(i >> 34), (uint32_t)a->t, 0);
            m[o + j] = to_bf16((double)mm[j], words.v[i & 3] & 0xffff);
            v[o + j] = to_bf16((double)vv[j], words.v[i & 3] >> 16);
        }
    }
    gemm_weights_changed();
}
