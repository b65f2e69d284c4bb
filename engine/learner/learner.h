/* learner.h: one update of the weights: statistics pass, gradient pass, clipped AdamW step. Supervised and
 * reinforcement learning differ only in the coefficients g = dloss/dlogp that they hand in. */
#pragma once
#include "engine/learner/pack.h"
#include "model/acts.h"

struct learner {
    struct model *m;
    struct acts acts;
    acc_t *g;                            /* [count]: gradient */
    void *adam1, *adam2;                /* [count]: first and second moment, acc_t or (bf16_moments) bf16 */
    bool bf16_moments;
    uint64_t seed;                      /* of the rounding of bf16 moments */
    /* [count]: the weights as they are optimised; NULL where they are stored as acc_t themselves */
    acc_t *master;
    int64_t steps;                      /* AdamW steps done */
    int64_t max_rows, chunk;            /* rows of a micro-batch; rows of logits at once */
    elem_t *logits, *head_x, *head_dx, *dhidden;
    struct arena state, work;           /* optimizer and gradients; activations, logits and the batch */
    int64_t rows_run, targets_run;      /* work done since the start: rows forward and backward, targets */
    int skipped_in_row;
};

struct learner_rule {
    int64_t max_rows;
    bool recompute, bf16_moments;
    uint64_t seed;
    size_t elem_bytes /* to lay out as another build; 0: this one */;
};
void learner_make(struct learner *l, struct model *m, struct learner_rule r);
void learner_free(struct learner *l);
/* For counting memory: arenas that are dry, of a model that has no weights; learner_rehearse and learner_free are all
 * that may follow. */
void learner_lay_out(struct learner *l, struct model *m, struct learner_rule r);
static inline size_t moment_bytes(const struct learner *l)
{
    return (size_t)l->m->count * (l->bf16_moments ? sizeof(uint16_t) : sizeof(acc_t));
}
/* All operations of an update of the largest size, in a dry run (dev_dry_begin): what scratch memory they need. */
void learner_warm_up(struct learner *l);

/* logp[tgt_flat] and entropy[tgt_flat] (host, may be NULL) of every target of the pack. w NULL: the model's own
 * weights; top_k > 0: entropy of the top_k most likely entries, and the target, only; kv (may be NULL): slot[copies][n]
 * (host) says where keys and values also go, -1 nowhere. */
struct kv_fill { elem_t *pool; int64_t layer_stride; const int64_t *slot; int copies; };
struct score_rule { const elem_t *w; double inv_temp; int top_k; const struct kv_fill *kv; };
void learner_score(struct learner *l, const struct pack *p, const struct score_rule *r, acc_t *logp, acc_t *entropy);

/* l->g += gradient of sum_t g[flat] logp[flat] + ge[flat] entropy[flat] (ge may be NULL; where targets share a row the
 * row's entropy counts once for each). logp, entropy (host, may be NULL) get the values seen on the way. learner_zero
 * before the first pack of a mini-batch. */
void learner_zero(struct learner *l);
void learner_grad(struct learner *l, const struct pack *p, double inv_temp, const acc_t *g, const acc_t *ge,
                  acc_t *logp, acc_t *entropy);

/* One AdamW step with the gradient scaled to at most max_norm. false: the gradient is not finite, nothing was changed.
 * *norm: its norm before clipping. */
/* decay_all: of vectors too, as torch does */
struct optim_rule { double lr, beta1, beta2, eps, decay, max_norm; bool decay_all; };
bool learner_step(struct learner *l, const struct optim_rule *o, double *norm);
/* Learning rate of step t = 0, 1, ... of total: linear warm-up, then constant (floor 1) or a cosine to floor * lr. */
double lr_at(double lr, int64_t t, int64_t warmup, int64_t total, double floor);
