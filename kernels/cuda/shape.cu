/* shape.cu: the shapes that the kernels support, checked before anything is allocated. Each operation checks its own
 * part again. */
#include "kernels/cuda/attn.cuh"

extern "C" bool ops_support(const struct op_shape *s, struct err *e)
{
    const int head = MIN((int)ATTN_HD_MAX, 64 * (int)PACK), row = 1024 * (int)PACK;
    if (s->h.hd <= 0 || s->h.hd % 2 || s->h.hd > head)
        return fail(e,
                    "%s: a head size of %d; the attention kernels take even sizes up to %d. make BACKEND=cpu takes any",
                    s->name, s->h.hd, head);
    if (s->h.kv <= 0 || s->h.heads % s->h.kv || s->h.heads > 65535)
        return fail(e,
                    "%s: %d query heads and %d key heads; the attention kernels take up to 65535 query heads that "
                    "share the key heads evenly",
                    s->name, s->h.heads, s->h.kv);
    if (s->vocab < 1 || s->vocab > 1 << 18)
        return fail(e, "%s: a vocabulary of %d; the sampler takes up to %d. make BACKEND=cpu takes any", s->name,
                    s->vocab, 1 << 18);
    if (s->trains && s->dim > row)
        return fail(e,
                    "%s: rows of %d numbers; the norm's backward pass takes up to %d of " ELEM_NAME ": REAL=bf16 takes "
                                                                                               "twice as many as float",
                    s->name, s->dim, row);
    return true;
}
