/* query_scale.c: queries times a constant: YaRN's attention factor, which other implementations multiply cosines and
 * sines with, acts on the logits as its square. */
#include "kernels/cpu/vec.h"
#include "kernels/cpu/work.h"
#include "kernels/ops.h"

void op_query_scale(elem_t *qkv, double by, int64_t n, struct heads h)
{
    int64_t width = (int64_t)(h.heads + 2 * h.kv) * h.hd, queries = (int64_t)h.heads * h.hd;
    elem_t scale = (elem_t)by;
    #pragma omp parallel for schedule(static) num_threads(work_threads(n * queries))
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < queries; j++) qkv[i * width + j] *= scale;
}
