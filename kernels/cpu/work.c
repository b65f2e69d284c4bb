/* work.c: scratch memory that the operations keep between calls, and the last step of sums over rows. */
#include "kernels/cpu/work.h"
#include <stdatomic.h>
#include <stdlib.h>

void *work_scratch(size_t bytes)
{
    static _Thread_local void *p;
    static _Thread_local size_t have;
    if (bytes > have) {
        size_t want = MAX(bytes, have + have / 2);
        want = (want + 4095) & ~(size_t)4095;
        free(p);
        p = aligned_alloc(64, want);
        if (!p) die("out of memory: %zu bytes of scratch for one operation", want);
        have = want;
    }
    return p;
}

void share_make(struct share *s, int64_t n, int threads)
{
    s->n = n;
    s->parts = threads < SHARE_PARTS ? threads : SHARE_PARTS;
    for (int i = 0; i < s->parts; i++) atomic_init(&s->of[i].next, n * i / s->parts);
}

bool share_take(struct share *s, int thread, int64_t most, int64_t *first, int64_t *last)
{
    for (int k = 0; k < s->parts; k++) {
        int part = (thread + k) % s->parts;
        int64_t end = s->n * (part + 1) / s->parts;
        if (atomic_load(&s->of[part].next) >= end) continue;
        *first = atomic_fetch_add(&s->of[part].next, most);
        *last = MIN(*first + most, end);
        if (*first < end) return true;
    }
    return false;
}

void work_fold(acc_t *dst, const double *part, int64_t blocks, int d, int ld)
{
    for (int j = 0; j < d; j++) {
        double s = 0;
        for (int64_t b = 0; b < blocks; b++) s += part[b * ld + j];
        dst[j] += (acc_t)s;
    }
}
