/* norm.c: the residual sum and the RMS norm that follows it, in one pass over a row that stays in L1; and the small
 * sums over rows. */
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/vec_sum.h"
#include <string.h>

void op_add_rmsnorm(struct rmsnorm_args a)
{
    const struct lanes *run = lanes();
    #pragma omp parallel for schedule(static) num_threads(work_threads(a.n * (15 + a.dim / 8)))
    for (int64_t i = 0; i < a.n; i++) {
        const int64_t at = i * a.dim;
        acc_t r = run->norm(a.res + at, a.y + at, a.x + at, a.add ? a.add + at : NULL, a.w, a.eps, a.dim);
        if (a.rstd) a.rstd[i] = r;
    }
}

void op_rmsnorm_back(struct rmsnorm_back_args a)
{
    int64_t blocks = work_blocks(a.n);
    int wd = (a.dim + VL_MAX - 1) / VL_MAX * VL_MAX;
    double *part = work_scratch((size_t)blocks * (size_t)wd * sizeof *part);
    const struct lanes *run = lanes();
    #pragma omp parallel for schedule(static) num_threads(work_threads(a.n * (20 + a.dim / 4)))
    for (int64_t b = 0; b < blocks; b++) {
        double *sum = part + b * wd;
        memset(sum, 0, (size_t)wd * sizeof *sum);
        for (int64_t i = b * WORK_BLOCK; i < MIN(a.n, (b + 1) * WORK_BLOCK); i++)
            run->norm_back(a.dx + i * a.dim, sum, a.dy + i * a.dim, a.dres ? a.dres + i * a.dim : NULL,
                           a.res + i * a.dim, a.w, a.rstd[i], a.dim);
    }
    work_fold(a.dw, part, blocks, a.dim, wd);
}

void op_bias_back(acc_t *db, const elem_t *dy, int64_t n, int d)
{
    int64_t blocks = work_blocks(n);
    int wd = (d + VL_MAX - 1) / VL_MAX * VL_MAX;
    double *part = work_scratch((size_t)blocks * (size_t)wd * sizeof *part);
    #pragma omp parallel for schedule(static) num_threads(work_threads(n * (4 + d / 8)))
    for (int64_t b = 0; b < blocks; b++) {
        for (int j = 0; j < d; j += VL) {
            struct vsum s = { 0 };
            for (int64_t i = b * WORK_BLOCK; i < MIN(n, (b + 1) * WORK_BLOCK); i++)
                vsum_add(&s, vget_n(dy + i * d + j, d - j));
            vsum_put(part + b * wd + j, s);
        }
    }
    work_fold(db, part, blocks, d, wd);
}

void op_add(elem_t *y, const elem_t *x, int64_t count)
{
    enum { CHUNK = 4096 };
    int64_t chunks = (count + CHUNK - 1) / CHUNK;
    #pragma omp parallel for schedule(static) num_threads(work_threads(count / 8))
    for (int64_t c = 0; c < chunks; c++) {
        int m = (int)MIN(CHUNK, count - c * CHUNK);
        elem_t *to = y + c * CHUNK;
        const elem_t *from = x + c * CHUNK;
        for (int j = 0; j < m; j += VL) vput_n(to + j, vget_n(to + j, m - j) + vget_n(from + j, m - j), m - j);
    }
}
