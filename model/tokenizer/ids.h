/* ids.h: a growable array of token ids. Start with struct ids x = { 0 }. */
#pragma once
#include "base/err.h"
#include <limits.h>
#include <stdlib.h>

struct ids { int *p; int n, cap; };

static inline void ids_put(struct ids *x, int id)
{
    if (x->n == x->cap) {
        ENSURE(x->cap <= INT_MAX / 2);
        x->cap = x->cap ? 2 * x->cap : 64;
        x->p = xrealloc(x->p, (size_t)x->cap * sizeof *x->p);
    }
    x->p[x->n++] = id;
}

static inline void ids_free(struct ids *x)
{
    free(x->p);
    *x = (struct ids){ 0 };
}
