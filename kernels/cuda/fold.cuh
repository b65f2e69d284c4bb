/* fold.cuh: the last step of sums over rows: the partial sums of blocks of rows are added up in double, in one
 * order. */
#pragma once
#include "kernels/cuda/num.cuh"

/* dst[d] += sum of part[parts][ld] over parts. */
void fold(acc_t *dst, const float *part, int parts, int d, int ld);

/* How n rows are split into blocks: at least `least` rows each, at most `most` blocks. It depends on n alone, not on
 * the GPU. */
struct row_split { int parts; int64_t rows; };
static inline struct row_split split_rows(int64_t n, int64_t least, int64_t most)
{
    int64_t rows = MAX(least, (n + most - 1) / most);
    struct row_split c = { (int)((n + rows - 1) / rows), rows };
    return c;
}
