/* swiglu.c: silu(gate) * up, the middle of the feed-forward block. */
#include "kernels/cpu/lanes.h"

void op_swiglu(elem_t *y, const elem_t *gate_up, int64_t n, int ff)
{
    const struct lanes *run = lanes();
    #pragma omp parallel for schedule(static) num_threads(work_threads(n * (4 + ff / 5)))
    for (int64_t i = 0; i < n; i++) run->swiglu(y + i * ff, gate_up + i * 2 * ff, gate_up + i * 2 * ff + ff, ff);
}

void op_swiglu_back(elem_t *dgate_up, const elem_t *dy, const elem_t *gate_up, int64_t n, int ff)
{
    const struct lanes *run = lanes();
    #pragma omp parallel for schedule(static) num_threads(work_threads(n * (4 + ff / 5)))
    for (int64_t i = 0; i < n; i++)
        run->swiglu_back(dgate_up + i * 2 * ff, dgate_up + i * 2 * ff + ff, dy + i * ff, gate_up + i * 2 * ff,
                         gate_up + i * 2 * ff + ff, ff);
}
