/* swiglu.c: silu(gate) * up, the middle of the feed-forward block. */
#include "kernels/cpu/lanes.h"

void op_swiglu(elem_t *y, const elem_t *gu, int64_t n, int ff)
{
    const struct lanes *run = lanes();
    #pragma omp parallel for schedule(static) num_threads(work_threads(n * (4 + ff / 5)))
    for (int64_t i = 0; i < n; i++) run->swiglu(y + i * ff, gu + i * 2 * ff, gu + i * 2 * ff + ff, ff);
}

void op_swiglu_back(elem_t *dgu, const elem_t *dy, const elem_t *gu, int64_t n, int ff)
{
    const struct lanes *run = lanes();
    #pragma omp parallel for schedule(static) num_threads(work_threads(n * (4 + ff / 5)))
    for (int64_t i = 0; i < n; i++)
        run->swiglu_back(dgu + i * 2 * ff, dgu + i * 2 * ff + ff, dy + i * ff, gu + i * 2 * ff, gu + i * 2 * ff + ff,
                         ff);
}
