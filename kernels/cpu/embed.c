/* embed.c: rows of the token table, and their gradients. The backward pass sorts rows by id, so that each table row
 * has one writer and a fixed order. */
#include "kernels/cpu/vec_sum.h"
#include "kernels/cpu/work.h"
#include "kernels/ops.h"
#include <string.h>

void op_embed(elem_t *x, const elem_t *table, const int *ids, int64_t n, int dim)
{
    #pragma omp parallel for schedule(static) num_threads(work_threads(n * (10 + dim / 16)))
    for (int64_t i = 0; i < n; i++) {
        ENSURE(ids[i] >= 0);
        memcpy(x + i * dim, table + (int64_t)ids[i] * dim, (size_t)dim * sizeof *x);
    }
}

/* row[0..n) of ids, grouped by id and ascending within an id; first[v] .. first[v+1] are those of id v. */
static void sort_rows(int64_t *first, int64_t *row, const int *ids, int64_t n, int vocab)
{
    memset(first, 0, ((size_t)vocab + 1) * sizeof *first);
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= vocab)
            die("op_embed_back: id %d at row %lld is not below the vocabulary of %d", ids[i], (long long)i, vocab);
        first[ids[i] + 1]++;
    }
    for (int v = 0; v < vocab; v++) first[v + 1] += first[v];
    for (int64_t i = 0; i < n; i++) row[first[ids[i]]++] = i;
    for (int v = vocab; v > 0; v--) first[v] = first[v - 1];
    first[0] = 0;
}

void op_embed_back(acc_t *dtable, const elem_t *dx, const int *ids, int64_t n, int dim, int vocab)
{
    size_t counts = ((size_t)vocab + 1) * sizeof(int64_t), rows = (size_t)n * sizeof(int64_t);
    int64_t *first = work_scratch(counts + rows), *row = first + vocab + 1;
    sort_rows(first, row, ids, n, vocab);
    #pragma omp parallel for schedule(dynamic, 16) num_threads(work_threads(n * (10 + dim / 4)))
    for (int v = 0; v < vocab; v++) {
        int64_t a = first[v], b = first[v + 1];
        if (a == b) continue;
        for (int j = 0; j < dim; j += VL) {
            struct vsum s = { 0 };
            double out[VL];
            for (int64_t k = a; k < b; k++) vsum_add(&s, vget_n(dx + row[k] * dim + j, dim - j));
            vsum_put(out, s);
            acc_t *d = dtable + (int64_t)v * dim + j;
            for (int k = 0; k < VL && j + k < dim; k++) d[k] = (acc_t)((double)d[k] + out[k]);
        }
    }
}
