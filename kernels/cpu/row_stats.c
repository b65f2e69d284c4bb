/* row_stats.c: log-sum-exp, log-probabilities and entropy from one row of logits, and the gradient into it.
 * With d = (x - max) / T <= 0 and l = sum exp d: logp = d - ln l <= 0 and entropy = ln l - sum d exp(d) / l >= 0,
 * without any clamp. */
#include "kernels/cpu/lanes.h"

struct row_stat row_stat(elem_t *e, const elem_t *x, double inv_temp, int vocab)
{
    return lanes()->stat(e, x, inv_temp, vocab);
}

void op_row_stats(acc_t *lse, acc_t *logp, acc_t *ent, const elem_t *x, double inv_temp, const int *begin,
                  const int *tgt, int64_t n, int vocab, int64_t ld)
{
    ENSURE(vocab > 0 && ld >= vocab && inv_temp > 0);
    #pragma omp parallel for schedule(static) num_threads(work_threads(n * (60 + (int64_t)vocab)))
    for (int64_t i = 0; i < n; i++) {
        const elem_t *row = x + i * ld;
        struct row_stat s = row_stat(NULL, row, inv_temp, vocab);
        if (CHECKED) ENSURE(s.ent >= 0 && s.ent <= log((double)vocab) && s.mass >= 1);
        if (lse) lse[i] = (acc_t)(s.max * inv_temp + s.log_mass);
        if (ent) ent[i] = (acc_t)s.ent;
        if (!logp) continue;
        for (int64_t k = begin ? begin[i] : i; k < (begin ? begin[i + 1] : i + 1); k++) {
            ENSURE(tgt[k] >= 0 && tgt[k] < vocab);
            logp[k] = row_logp(&s, row, inv_temp, tgt[k]);
            if (CHECKED) ENSURE(logp[k] <= 0);
        }
    }
}

void op_dlogits(elem_t *x, const acc_t *lse, const acc_t *ent, const acc_t *g, const acc_t *ge, double inv_temp,
                const int *begin, const int *tgt, int64_t n, int vocab, int64_t ld)
{
    ENSURE(vocab > 0 && ld >= vocab && inv_temp > 0 && (ent || !ge));
    const struct lanes *run = lanes();
    #pragma omp parallel for schedule(static) num_threads(work_threads(n * (60 + (int64_t)vocab)))
    for (int64_t i = 0; i < n; i++) {
        int64_t from = begin ? begin[i] : i, to = begin ? begin[i + 1] : i + 1;
        elem_t *row = x + i * ld;
        double sum = 0, e = ge ? (double)ge[i] : 0;
        for (int64_t k = from; k < to; k++) sum += (double)g[k];
        /* x_j = -inv_temp p_j (sum + ge ent + ge log p_j) */
        run->dlogits(row, inv_temp, -(double)lse[i], -inv_temp * (sum + (ge ? e * (double)ent[i] : 0)), -inv_temp * e,
                     vocab);
        for (int64_t k = from; k < to; k++) {
            ENSURE(tgt[k] >= 0 && tgt[k] < vocab);
            row[tgt[k]] = (elem_t)((double)row[tgt[k]] + inv_temp * (double)g[k]);
        }
    }
}
