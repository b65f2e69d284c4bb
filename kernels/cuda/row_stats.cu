/* row_stats.cu: log-sum-exp, log-probabilities of a list of targets a row, and entropy. One read: vocab *
 * sizeof(elem_t) bytes a row and next to nothing else; 16,384 x 151,936 in bf16 are 4.98 GB. A row is a block (four
 * rows below 2 k ids): two blocks of 512 threads with 60 registers share a multiprocessor, 64 KB are under way in it,
 * twice what 4.8 TB/s times 0.8 us asks for; 16,384 rows are 62 waves. */
#include "kernels/cuda/row_stats.cuh"
#include "kernels/cuda/trap.cuh"
#include "kernels/ops.h"

template <int W> __global__ void __launch_bounds__(team_block(W)) row_stats_kernel(row_stats_args a)
{
    __shared__ row_part slot[W];
    int64_t i = team_row<W>();
    if (i >= a.n) return;                                       /* whole warps, and only where a row is one warp */
    row_view r = row_at(a.x, i, a.ld, a.vocab, NULL);
    row_stat s = row_stat_of<W>(r, a.inv_temp, slot);
    int t = team_thread<W>();
    if (t == 0 && a.lse) a.lse[i] = (acc_t)fma(s.max, a.inv_temp, s.log_mass);
    if (t == 0 && a.ent) a.ent[i] = (acc_t)s.ent;
    if (!a.logp) return;
    int64_t from = a.begin ? a.begin[i] : i, to = a.begin ? a.begin[i + 1] : i + 1;
    for (int64_t k = from + t; k < to; k += 32 * W) {
        int id = a.tgt[k];
        if (id < 0 || id >= a.vocab) kernel_die("op_row_stats: a target is outside of the vocabulary", i);
        a.logp[k] = row_logp(s, r.x, a.inv_temp, id);
    }
}

extern "C" void op_row_stats(struct row_stats_args a)
{
    ENSURE(a.vocab > 0 && a.ld >= a.vocab && a.inv_temp > 0);
    if (a.n > 0) LAUNCH_ROWS(row_stats_kernel, a.n, a.vocab, a);
}
