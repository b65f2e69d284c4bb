/* attn_plan.c: the keys that each row sees. Rows of one branch share the list of segments above it, so a plan is as
 * large as the tree. */
#include "kernels/cpu/attn.h"
#include <stdlib.h>

static void check_end(const int *end, int64_t n, int64_t k, int up)
{
    if (end[k] <= k || end[k] > n)
        die("attn_plan_make: end[%lld] = %d is not in %lld .. %lld", (long long)k, end[k], (long long)k + 1,
            (long long)n);
    if (up >= 0 && end[k] > end[up])
        die("attn_plan_make: end[%lld] = %d goes beyond end[%d] = %d of the row above it", (long long)k, end[k], up,
            end[up]);
}

struct attn_plan *attn_plan_make(const int *end, int64_t n)
{
    if (n < 0 || n > INT32_MAX - KV_PAGE) die("attn_plan_make: %lld rows", (long long)n);
    struct attn_plan *p = xcalloc(1, sizeof *p);
    int *up = xmalloc(((size_t)n + 1) * sizeof *up);        /* the row above each row, -1 for a root */
    p->n = (int)n;
    p->seg = xmalloc(((size_t)n + 1) * sizeof *p->seg);
    p->seg_of = xmalloc(((size_t)n + 1) * sizeof *p->seg_of);
    p->tree = xmalloc(((size_t)n + 1) * sizeof *p->tree);
    for (int i = 0; i < p->n; i++) {
        int a = i - 1;
        while (a >= 0 && end[a] <= i) a = up[a];
        check_end(end, n, i, a);
        up[i] = a;
        if (i && a == i - 1) {
            p->seg[p->segs - 1].last = i + 1;
        } else {
            struct attn_seg *s = &p->seg[p->segs], *from = a < 0 ? NULL : &p->seg[p->seg_of[a]];
            *s = (struct attn_seg){ i, i + 1, -1, 0, 0, 1 };
            if (from)
                *s = (struct attn_seg){
                    i, i + 1, p->seg_of[a], a + 1, from->before + a + 1 - from->first, from->depth + 1
                };
            else p->tree[p->trees++] = p->segs;
            p->segs++;
        }
        struct attn_seg *s = &p->seg[p->segs - 1];
        int len = s->before + i + 1 - s->first;
        p->seg_of[i] = p->segs - 1;
        p->longest = MAX(p->longest, len);
        p->deepest = MAX(p->deepest, s->depth);
        p->pairs += len;
    }
    p->tree[p->trees] = p->segs;
    p->seg = xrealloc(p->seg, ((size_t)p->segs + 1) * sizeof *p->seg);
    free(up);
    return p;
}

int64_t attn_plan_rows(const struct attn_plan *p) { return p->n; }

void attn_plan_free(struct attn_plan *p)
{
    if (!p) return;
    free(p->seg);
    free(p->seg_of);
    free(p->tree);
    free(p);
}

struct path attn_path(struct block *to, const struct attn_plan *p, int i, struct heads h)
{
    int s = p->seg_of[i], most = attn_blocks_most(p), at = most, last = i + 1;
    int64_t block = (int64_t)h.kv * h.hd * KV_PAGE, ld = (int64_t)(h.heads + 2 * h.kv) * h.hd;
    int len = p->seg[s].before + last - p->seg[s].first;
    for (; s >= 0; last = p->seg[s].cut, s = p->seg[s].parent)
        for (int hi = last, lo; hi > p->seg[s].first; hi = lo) {                /* from the leaf up */
            lo = MAX(p->seg[s].first, (hi - 1) / KV_PAGE * KV_PAGE);
            int64_t kt = lo / KV_PAGE * block;
            to[--at] = (struct block){ kt, lo * ld, kt, lo % KV_PAGE, hi - lo };
        }
    return (struct path){
        .b = to + at, .blocks = most - at, .len = len, .row_ld = ld, .kt_kv = (int64_t)h.hd * KV_PAGE, .row_kv = h.hd
    };
}

void attn_pack(elem_t *to, const elem_t *rows, int64_t n, int64_t ld, int d, int threads)
{
    int64_t blocks = (n + KV_PAGE - 1) / KV_PAGE;
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t b = 0; b < blocks; b++) {
        elem_t *t = to + b * d * KV_PAGE;
        int m = (int)MIN(KV_PAGE, n - b * KV_PAGE);
        for (int j = 0; j < d; j++) {
            for (int i = 0; i < m; i++) t[j * KV_PAGE + i] = rows[(b * KV_PAGE + i) * ld + j];
            for (int i = m; i < KV_PAGE; i++) t[j * KV_PAGE + i] = 0;
        }
    }
}
