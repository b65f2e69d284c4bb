/* shape.c: the C backend supports every shape that a configuration may have. */
#include "base/err.h"
#include "kernels/ops.h"

bool ops_support(const struct op_shape *s, struct err *e)
{
    if (s->h.hd > 0 && s->h.hd % 2 == 0 && s->h.kv > 0 && s->h.heads % s->h.kv == 0) return true;
    return fail(e,
                "%s: %d query heads and %d key heads of %d: attention takes even sizes, and query heads that share the "
                "key heads evenly",
                s->name, s->h.heads, s->h.kv, s->h.hd);
}
