/* row_stats.c: log-sum-exp, log-probabilities and entropy from one row of logits, and the gradient into it.
 * With d = (x - max) / T <= 0 and l = sum exp d: logp = d - ln l <= 0 and entropy = ln l - sum d exp(d) / l >= 0,
 * without any clamp. */
#include "kernels/cpu/lanes.h"

struct row_stat row_stat(elem_t *e, const elem_t *x, double inv_temp, int vocab)
{
    return lanes()->stat(e, x, inv_temp, vocab);
}

void op_row_stats(struct row_stats_args a)
{
    ENSURE(a.vocab > 0 && a.ld >= a.vocab && a.inv_temp > 0);
    #pragma omp parallel for schedule(static) num_threads(work_threads(a.n * (60 + (int64_t)a.vocab)))
    for (int64_t i = 0; i < a.n; i++) {
        const elem_t *row = a.x + i * a.ld;
        struct row_stat s = row_stat(NULL, row, a.inv_temp, a.vocab);
        if (CHECKED) ENSURE(s.ent >= 0 && s.ent <= log((double)a.vocab) && s.mass >= 1);
        if (a.lse) a.lse[i] = (acc_t)(s.max * a.inv_temp + s.log_mass);
        if (a.ent) a.ent[i] = (acc_t)s.ent;
        if (!a.logp) continue;
        for (int64_t k = a.begin ? a.begin[i] : i; k < (a.begin ? a.begin[i + 1] : i + 1); k++) {
            ENSURE(a.tgt[k] >= 0 && a.tgt[k] < a.vocab);
            a.logp[k] = row_logp(&s, row, a.inv_temp, a.tgt[k]);
            if (CHECKED) ENSURE(a.logp[k] <= 0);
        }
    }
}

void op_dlogits(struct dlogits_args a)
{
    ENSURE(a.vocab > 0 && a.ld >= a.vocab && a.inv_temp > 0 && (a.ent || !a.ge));
    const struct lanes *run = lanes();
    #pragma omp parallel for schedule(static) num_threads(work_threads(a.n * (60 + (int64_t)a.vocab)))
    for (int64_t i = 0; i < a.n; i++) {
        int64_t from = a.begin ? a.begin[i] : i, to = a.begin ? a.begin[i + 1] : i + 1;
        elem_t *row = a.x + i * a.ld;
        double sum = 0, e = a.ge ? (double)a.ge[i] : 0;
        for (int64_t k = from; k < to; k++) sum += (double)a.g[k];
        /* x_j = -inv_temp p_j (sum + ge ent + ge log p_j) */
        run->dlogits(row, a.inv_temp, -(double)a.lse[i], -a.inv_temp * (sum + (a.ge ? e * (double)a.ent[i] : 0)),
                     -a.inv_temp * e, a.vocab);
        for (int64_t k = from; k < to; k++) {
            ENSURE(a.tgt[k] >= 0 && a.tgt[k] < a.vocab);
            row[a.tgt[k]] = (elem_t)((double)row[a.tgt[k]] + a.inv_temp * (double)a.g[k]);
        }
    }
}
