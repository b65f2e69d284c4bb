/* top_entropy.cu: the entropy the official APPO code sees: of the k most likely entries only, not renormalised. Three
 * reads of the row: the largest logit, the selection, the sum; the later ones come out of L2 for rows of up to 128 k
 * ids. */
#include "kernels/cuda/select.cuh"
#include "kernels/ops.h"

enum { TOP_MAX = 64 };
template <int W> struct top_room { select_room<W> select; double sum[W]; };

template <int W>
__global__ void __launch_bounds__(team_block(W), W == 16 ? 2 : 1) top_entropy_kernel(top_k_entropy_args a)
{
    __shared__ top_room<W> rooms[team_rows(W)];
    int64_t i = team_row<W>();
    if (i >= a.n) return;
    top_room<W> *room = &rooms[team_slot<W>()];
    row_view r = row_at(a.x, i, a.ld, a.vocab, NULL);
    select_by by = { row_top<W>(r, &room->select), (float)a.inv_temp, false, -INFINITY };
    row_cut cut = row_select<W>(r, by, cut_nothing().key, (unsigned long long)a.k, 0, &room->select);
    double sum = 0, lse = (double)a.lse[i];
    row_walk(r, team_thread<W>(), row_chunks(a.vocab), 32 * W, cut_least(cut.key), [&](const float (&v)[CHUNK], int) {
        for (int e = 0; e < CHUNK; e++) {
            double lp = (double)v[e] * a.inv_temp - lse;
            if (v[e] > -INFINITY && row_key(v[e]) < cut.key) sum -= exp(lp) * lp;
        }
    });
    sum = team_sum<W>(sum, room->sum);
    double last = (double)row_logit(cut.key) * a.inv_temp - lse;
    if (team_thread<W>() != 0) return;
    a.ent[i] = (acc_t)(sum - cut.ties * (exp(last) * last));
    if (a.least) a.least[i] = (acc_t)last;
}

extern "C" void op_top_k_entropy(struct top_k_entropy_args a)
{
    ENSURE(a.k >= 1 && a.k <= TOP_MAX && a.vocab > 0 && a.ld >= a.vocab);
    if (a.n > 0) LAUNCH_ROWS(top_entropy_kernel, a.n, a.vocab, a);
}
