/* kv.cu: pages of keys and values. A page is keys [kv][KV_PAGE][hd], then values [kv][KV_PAGE][hd]: what one key head's
 * block reads is one stretch. Bytes moved: 2 kv hd numbers a row, read and written once; 16 at a time where rows are
 * aligned. */
#include "kernels/cuda/attn.cuh"

/* Unit is what one thread copies: 16 bytes or one pair; u units a head. */
template <typename unit>
__global__ void __launch_bounds__(256)
    kv_write_kernel(unit *pool, const unit *__restrict__ qkv, const int64_t *__restrict__ slot, int64_t n,
                    struct heads h, int u)
{
    int64_t k = (int64_t)blockIdx.x * 256 + threadIdx.x, row = (int64_t)2 * h.kv * u, i = k / row;
    if (i >= n || slot[i] < 0) return;
    int64_t page = slot[i] / KV_PAGE, at = slot[i] % KV_PAGE, head = k % row / u, e = k % u;
    pool[((page * 2 * h.kv + head) * KV_PAGE + at) * u + e] =
        qkv[i * (h.heads + 2 * h.kv) * u + h.heads * (int64_t)u + k % row];
}

template <typename unit>
__global__ void __launch_bounds__(256) kv_copy_kernel(unit *to, const unit *from, int64_t count)
{
    int64_t k = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (k < count) to[k] = from[k];
}

struct __align__(16) kv_sixteen { unsigned w[4]; };
struct __align__(2 * sizeof(elem_t)) kv_pair { elem_t v[2]; };

template <typename unit>
static void write(elem_t *pool, const elem_t *qkv, const int64_t *slot, int64_t n, struct heads h)
{
    int u = (int)(h.hd * sizeof(elem_t) / sizeof(unit));
    int64_t count = n * 2 * h.kv * u;
    LAUNCH(kv_write_kernel<unit>, blocks_of(count, 256), 256, 0, queue(), (unit *)(void *)pool,
           (const unit *)(const void *)qkv, slot, n, h, u);
}

extern "C" void op_kv_write(elem_t *pool, const elem_t *qkv, const int64_t *slot, int64_t n, struct heads h)
{
    attn_check("op_kv_write", h);
    if (n <= 0) return;
    if (attn_whole(h, pool) && attn_whole(h, qkv)) write<kv_sixteen>(pool, qkv, slot, n, h);
    else write<kv_pair>(pool, qkv, slot, n, h);
}

extern "C" void op_kv_copy(elem_t *pool, int to, int from, struct heads h)
{
    int64_t page = kv_page_elems(h);
    attn_check("op_kv_copy", h);
    if (to == from) return;
    if (attn_whole(h, pool)) {
        int64_t count = page * (int64_t)sizeof(elem_t) / 16;
        LAUNCH(kv_copy_kernel<kv_sixteen>, blocks_of(count, 256), 256, 0, queue(),
               (kv_sixteen *)(void *)(pool + to * page), (const kv_sixteen *)(const void *)(pool + from * page), count);
    } else {
        LAUNCH(kv_copy_kernel<kv_pair>, blocks_of(page / 2, 256), 256, 0, queue(),
               (kv_pair *)(void *)(pool + to * page), (const kv_pair *)(const void *)(pool + from * page), page / 2);
    }
}
