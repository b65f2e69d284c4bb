/* head.c: two products with the output matrix, and how many rows of logits they take at once. */
#include "model/head.h"
#include "model/weight_stream.h"

enum { LOGITS_BYTES = 64 << 20 };

/* 64 MiB on every backend. On a CPU a larger product is no faster. On a GPU 512 MiB to 1 GiB would read and write the
 * head's gradient less often, but the bits of a run depend on the number: head_back adds each chunk to the gradient as
 * one sum over its rows, so another chunk is another order of summation. Logits of a row do not depend on the rows
 * beside it, so sampling and scoring may use any number. Training and scoring take at least 64 rows (which binds for
 * fp32 vocabularies above 2^18), sampling at least 1. */
int64_t logits_chunk(int vocab, size_t elem_bytes, int64_t least, int64_t most)
{
    int64_t rows = LOGITS_BYTES / (logits_ld(vocab) * (int64_t)elem_bytes);
    if (rows < least) rows = least;
    return rows < most ? rows : most;
}

void head_forward(const struct model *m, elem_t *logits, elem_t *x, const elem_t *hidden, const int *row, int64_t n)
{
    if (row) op_embed(x, hidden, row, n, m->c.dim);
    else dev_copy(x, hidden, (size_t)(n * m->c.dim) * sizeof *x);
    op_gemm((struct gemm){ .form = GEMM_NT,
                           .d = logits,
                           .a = x,
                           .b = weights_outer(m, m->head) + m->head,
                           .m = n,
                           .n = m->c.vocab,
                           .k = m->c.dim,
                           .ldd = vocab_ld(m),
                           .weight = true });
}

void head_back(const struct model *m, elem_t *dx, const elem_t *dlogits, const elem_t *x, int64_t n, acc_t *g)
{
    int64_t vocab = m->c.vocab, dim = m->c.dim;
    op_gemm((struct gemm){ .form = GEMM_TN,
                           .dw = g + m->head,
                           .a = dlogits,
                           .b = x,
                           .m = vocab,
                           .n = dim,
                           .k = n,
                           .lda = vocab_ld(m),
                           .add = true });
    op_gemm((struct gemm){ .form = GEMM_NN,
                           .d = dx,
                           .a = dlogits,
                           .b = m->w + m->head,
                           .m = n,
                           .n = dim,
                           .k = vocab,
                           .lda = vocab_ld(m),
                           .weight = true });
}
