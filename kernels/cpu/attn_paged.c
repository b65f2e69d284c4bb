/* attn_paged.c: pages of keys and values, and attention over a row's page table. A page is, for each kv head, keys
 * [hd][KV_PAGE], so that a vector holds one dimension of many keys, then values [KV_PAGE][hd]: one head reads
 * contiguous memory. */
#include "kernels/cpu/lanes.h"
#include <omp.h>
#include <string.h>

void op_kv_write(elem_t *pool, const elem_t *qkv, const int64_t *slot, int64_t n, struct heads h)
{
    int64_t width = (int64_t)(h.heads + 2 * h.kv) * h.hd, page = kv_page_elems(h), block = (int64_t)h.hd * KV_PAGE;
    #pragma omp parallel for schedule(static) num_threads(work_threads(n * h.kv * h.hd))
    for (int64_t i = 0; i < n; i++) {
        if (slot[i] < 0) continue;
        int at = (int)(slot[i] % KV_PAGE);
        const elem_t *k = qkv + i * width + (int64_t)h.heads * h.hd, *v = k + h.kv * h.hd;
        elem_t *to = pool + slot[i] / KV_PAGE * page;
        for (int kv = 0; kv < h.kv; kv++, to += 2 * block, k += h.hd, v += h.hd) {
            for (int j = 0; j < h.hd; j++) to[j * KV_PAGE + at] = k[j];
            memcpy(to + block + at * h.hd, v, (size_t)h.hd * sizeof *v);
        }
    }
}

void op_kv_copy(elem_t *pool, int to, int from, struct heads h)
{
    int64_t page = kv_page_elems(h);
    if (to != from) memcpy(pool + to * page, pool + from * page, (size_t)page * sizeof *pool);
}

/* The blocks of a row's pages; next: the pages of the row processed after it (NULL: none), which are prefetched. 256
 * rows of 61 positions are 6 MB a layer: 0.5 us a row, 1.0 without. */
static void page_path(struct block *b, struct path *p, const int *pages, const int *next, int next_pages, int len,
                      int64_t page)
{
    p->len = len;
    p->blocks = (len + KV_PAGE - 1) / KV_PAGE;
    p->ahead = next != NULL;
    for (int k = 0; k < p->blocks; k++) {
        int64_t at = pages[k] * page;
        b[k] =
            (struct block){ at, at, next && k < next_pages ? next[k] * page : at, 0, MIN(KV_PAGE, len - k * KV_PAGE) };
    }
}

void op_attn_paged(elem_t *out, const elem_t *qkv, const elem_t *pool, const int *table, int ld, const int *pos,
                   int64_t n, struct heads h)
{
    ENSURE(h.kv > 0 && h.heads % h.kv == 0);
    int longest = 0;
    int64_t pairs = 0, width = (int64_t)(h.heads + 2 * h.kv) * h.hd, page = kv_page_elems(h),
            block = (int64_t)h.hd * KV_PAGE;
    for (int64_t i = 0; i < n; i++) {
        ENSURE(pos[i] >= 0 && pos[i] / KV_PAGE < ld);
        longest = MAX(longest, pos[i] + 1);
        pairs += pos[i] + 1;
    }
    int threads = work_threads(pairs * h.heads * h.hd / 14), most = longest / KV_PAGE + 1;
    size_t bytes = attn_space_bytes(longest, most, 1, h);
    void *base = work_parts(threads, bytes);
    const struct lanes *run = lanes();
    struct share rows;
    share_make(&rows, n, threads);
    #pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num();
        struct attn_space w = attn_space_at(work_part(base, thread, bytes), longest, most, 1, h);
        struct path p = {
            .b = w.b, .kt = pool, .row = pool + block, .row_ld = h.hd, .kt_kv = 2 * block, .row_kv = 2 * block
        };
        for (int64_t i, last; share_take(&rows, thread, 16, &i, &last); )
            for (; i < last; i++) {
                bool more = i + 1 < n;
                page_path(w.b, &p, table + i * ld, more ? table + (i + 1) * ld : NULL,
                          more ? pos[i + 1] / KV_PAGE + 1 : 0, pos[i] + 1, page);
                run->attn(out + i * h.heads * h.hd, NULL, qkv + i * width, &p, h, &w);
            }
    }
}
