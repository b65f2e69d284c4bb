/* ops_head.h: from logits to log-probs, entropies, gradients and sampled ids. Logits are x[n][ld], of which vocab
 * columns are valid and the rest is padding. z = x * inv_temp; p = softmax(z); entropies are in nats. ops.h states the
 * conventions. */
#pragma once
#include "kernels/dev.h"
#ifdef __cplusplus
extern "C" {
#endif

/* One read of the logits: lse = log sum exp z; ent = lse - sum p z over the full vocabulary; logp[t] = z[tgt[t]] - lse
 * <= 0. Row i has the targets tgt[begin[i] .. begin[i+1]-1]. */
struct row_stats_args {
    acc_t *lse;                     /* [n], optional */
    acc_t *logp;                    /* [targets], optional */
    acc_t *ent;                     /* [n], optional */
    const elem_t *x;
    double inv_temp;
    const int *begin;               /* [n + 1]; NULL: exactly one target a row, tgt[i] */
    const int *tgt;
    int64_t n;
    int vocab;
    int64_t ld;
};
void op_row_stats(struct row_stats_args a);

/* ent[i] = -sum p log p over the k most likely entries of the row, not renormalised: the entropy of the official APPO
 * code (k = 10), except that its engine also lists the sampled token where that is not among them. */
struct top_k_entropy_args {
    acc_t *ent;                     /* [n] */
    acc_t *least;                   /* [n], optional: log p of the least likely of the k */
    const acc_t *lse;               /* [n] */
    const elem_t *x;
    double inv_temp;
    int k;                          /* 1 .. 64 */
    int64_t n;
    int vocab;
    int64_t ld;
};
void op_top_k_entropy(struct top_k_entropy_args a);

/* In place: x_j = inv_temp (sum_t g_t (onehot_tgt - p_j) - ge p_j (log p_j + ent)). Rows sum to 0. */
struct dlogits_args {
    elem_t *x;
    const acc_t *lse, *ent;         /* [n]; ent only with ge */
    const acc_t *g;                 /* [targets] dloss/dlogp */
    const acc_t *ge;                /* [n] dloss/dent, optional: 0 */
    double inv_temp;
    const int *begin, *tgt;         /* as in row_stats_args */
    int64_t n;
    int vocab;
    int64_t ld;
};
void op_dlogits(struct dlogits_args a);

/* Samples one id a row. Temperature 0: argmax, lowest id first, logp and entropy at temperature 1. The uniform number
 * is the first word of philox4x32(seed, pos, rollout, prompt, step) against the cumulative sum in id order; logp and
 * ent are those of the full distribution at this temperature, the same bits as op_row_stats gives. */
struct sample_rule {
    double temperature;
    double top_p;                   /* 1: off */
    int top_k;                      /* 0: off */
    uint64_t seed;
    const uint32_t *allow;          /* device, a bit an id: allow[id / 32] >> (id % 32) & 1 == 0 is never sampled; NULL:
                                     * all may be */
};
struct sample_key {
    uint32_t step;
    uint32_t prompt;
    uint32_t rollout;
    uint32_t pos;
};
struct sample_args {
    int *id;                        /* [n] */
    acc_t *logp, *ent;              /* [n], optional */
    const elem_t *x;
    const struct sample_rule *rule; /* host */
    const struct sample_key *key;   /* [n] */
    int64_t n;
    int vocab;
    int64_t ld;
};
void op_sample(struct sample_args a);

#ifdef __cplusplus
}
#endif
