/* attn_back.c: backward pass of tree attention. One task is one kv head of one tree, queries ascending, so that
 * every dk and dv has one writer and one order. With p = exp(s - lse), D = dout . out: dv_j += p_j dout; ds_j = p_j
 * (dout . v_j - D); dq = sum ds_j k_j / sqrt(hd); dk_j += ds_j q / sqrt(hd). */
#include "kernels/cpu/lanes.h"
#include <omp.h>

void op_attn_back(elem_t *dqkv, const elem_t *dout, const elem_t *out, const acc_t *lse, const elem_t *qkv,
                  const struct attn_plan *p, struct heads h)
{
    ENSURE(h.kv > 0 && h.heads % h.kv == 0 && dqkv != qkv);
    int d = h.kv * h.hd, most = attn_blocks_most(p), threads = work_threads(p->pairs * h.heads * h.hd / 6);
    int64_t hq = (int64_t)h.heads * h.hd, width = hq + 2 * d;
    size_t packed = work_round((size_t)((p->n + KV_PAGE - 1) / KV_PAGE * d * KV_PAGE) * sizeof(elem_t)),
           bytes = attn_space_bytes(p->longest, most, ATTN_ROWS, h);
    char *base = work_scratch(2 * packed + (size_t)threads * work_round(bytes));
    elem_t *kt = (elem_t *)(void *)base, *vt = (elem_t *)(void *)(base + packed);
    const struct attn_back b = { dqkv, dout, out, qkv, kt, vt, lse, p, h };
    const struct lanes *run = lanes();
    attn_pack(kt, qkv + hq, p->n, width, d, threads);
    attn_pack(vt, qkv + hq + d, p->n, width, d, threads);
    struct share tasks;
    share_make(&tasks, (int64_t)p->trees * h.kv, threads);
    #pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num();
        struct attn_space w =
            attn_space_at(work_part(base + 2 * packed, thread, bytes), p->longest, most, ATTN_ROWS, h);
        for (int64_t t, last; share_take(&tasks, thread, 1, &t, &last); ) {
            const int *tree = p->tree + t / h.kv;
            for (int k = tree[0]; k < tree[1]; k++)
                run->attn_back(&b, p->seg[k].first, p->seg[k].last, (int)(t % h.kv), &w);
        }
    }
}
