/* attn.c: attention over whole trees. Keys are packed once per call into the blocks that pages use, so that one
 * function serves both. */
#include "kernels/cpu/lanes.h"
#include <omp.h>

/* Score buffers need KV_PAGE - 1 entries of slack before the first and after the last score. */
static size_t scores_bytes(int longest) { return work_round(((size_t)longest + 3 * KV_PAGE) * sizeof(elem_t)); }
static size_t queries_bytes(int rows, struct heads h)
{
    return work_round((size_t)(rows * h.heads * h.hd) * sizeof(elem_t));
}
static size_t blocks_bytes(int blocks) { return work_round((size_t)blocks * sizeof(struct block)); }

size_t attn_space_bytes(int longest, int blocks, int rows, struct heads h)
{
    return (size_t)(4 * rows) * scores_bytes(longest) + queries_bytes(rows, h) + blocks_bytes(blocks);
}

struct attn_space attn_space_at(void *p, int longest, int blocks, int rows, struct heads h)
{
    char *c = (char *)p + blocks_bytes(blocks);
    struct attn_space w = { .b = p, .q = (elem_t *)(void *)c };
    c += queries_bytes(rows, h);
    for (int i = 0; i < 2 * rows; i++) {
        w.s[i] = (elem_t *)(void *)(c + (size_t)i * scores_bytes(longest)) + KV_PAGE;
        w.dp[i] = (elem_t *)(void *)(c + (size_t)(2 * rows + i) * scores_bytes(longest)) + KV_PAGE;
    }
    return w;
}

enum attn_impl attn_choose(enum attn_impl way)
{
    (void)way;
    return ATTN_NO_CHOICE;
}

void op_attn(elem_t *out, acc_t *lse, const elem_t *qkv, const struct attn_plan *p, struct heads h)
{
    ENSURE(h.kv > 0 && h.heads % h.kv == 0);
    int d = h.kv * h.hd, most = attn_blocks_most(p), threads = work_threads(p->pairs * h.heads * h.hd / 12);
    int64_t hq = (int64_t)h.heads * h.hd, width = hq + 2 * d, blocks = (p->n + KV_PAGE - 1) / KV_PAGE;
    size_t packed = work_round((size_t)(blocks * d * KV_PAGE) * sizeof(elem_t)),
           bytes = attn_space_bytes(p->longest, most, 1, h);
    char *base = work_scratch(packed + (size_t)threads * work_round(bytes));
    const struct lanes *run = lanes();
    elem_t *kt = (elem_t *)(void *)base;
    struct share rows;
    share_make(&rows, p->n, threads);
    attn_pack(kt, qkv + hq, p->n, width, d, threads);
    #pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num();
        struct attn_space w = attn_space_at(work_part(base + packed, thread, bytes), p->longest, most, 1, h);
        for (int64_t i, last; share_take(&rows, thread, 8, &i, &last); )
            for (; i < last; i++) {
                struct path path = attn_path(w.b, p, (int)i, h);
                path.kt = kt;
                path.row = qkv + hq + d;
                run->attn(out + i * hq, lse ? lse + i * h.heads : NULL, qkv + i * width, &path, h, &w);
            }
    }
}
