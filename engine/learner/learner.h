/* learner.h: updates of the weights: scoring pass, gradient pass, clipped AdamW step. Supervised and reinforcement
 * learning differ only in the coefficients g = dloss/dlogp that they pass in. */
#pragma once
#include "engine/learner/pack.h"
#include "engine/learner/shards.h"
#include "model/acts.h"

struct learner {
    struct model *m;
    struct acts acts;
    int ranks, rank;                    /* that train together; the gradient is summed over them */
    int zero;                           /* actor.zero: 1: optimizer state of one range a rank, 2: the gradient too */
    acc_t *g;                           /* [g_n] gradient of the weights [g_from, g_from + g_n) */
    int64_t g_from, g_n;
    bool exact;                         /* actor.grad_sum=exact */
    double *sum;                        /* [g_n] exact: of the packs' gradients; g is one pack's before learner_step */
    struct buckets buckets;
    struct grad_buffer {                /* zero 2: the gradient of one bucket, of one pack */
        acc_t *x;
        int bucket;                     /* -1: free */
        bool sent;                      /* its reduction is queued, before mark */
        int64_t mark;
    } buffer[3];
    int packs, rounds, unsent;          /* left of the mini-batch: packs, packs of all ranks, buckets of a pack */
    int64_t weights_mark;               /* behind the gathering of the new weights */
    int64_t state_from, state_n;        /* the weights whose optimizer state is here */
    void *adam1, *adam2;                /* [state_n] first and second moment: acc_t, or bf16 with bf16_moments */
    bool bf16_moments;
    uint64_t seed;                      /* for the stochastic rounding of bf16 moments, and of weights without master */
    bool no_master;                     /* weights stored as bf16 are their own master, rounded stochastically */
    acc_t *master;                      /* [state_n] master weights; NULL: no_master, or weights stored as acc_t */
    bool offload;                       /* the optimizer state is in dev_host_alloc's memory, host_bytes at host */
    void *host;
    size_t host_bytes;
    int64_t piece;                      /* offload: weights whose state is on the device at once, twice */
    struct optimizer_slot { void *adam1, *adam2; acc_t *master; } slot[2];
    int64_t steps;                      /* AdamW steps done */
    int64_t max_rows;                   /* of a micro-batch */
    int64_t chunk;                      /* rows of logits at once */
    elem_t *logits;                     /* [chunk][vocab_ld] */
    elem_t *head_x, *head_dx;           /* [chunk][dim] input of the head, and its gradient */
    elem_t *dhidden;                    /* [max_rows][dim] gradient of the final hidden states */
    struct arena state;                 /* optimizer and gradient */
    struct arena work;                  /* activations, logits and the batch */
    /* Work since the start. A gradient pass counts three times: forward once, backward as two forward passes. */
    int64_t rows_run;
    int64_t targets_run;
    int skipped_in_row;                 /* consecutive updates whose gradient was not finite */
};

struct learner_rule {
    int64_t max_rows;
    enum recompute recompute;
    bool bf16_moments;
    bool offload;
    bool no_master;
    int ranks, rank;                    /* 0, 0: one */
    int zero;                           /* of several ranks */
    bool exact;                         /* actor.grad_sum=exact; zero is 0 or 1 */
    uint64_t seed;
    size_t elem_bytes;                  /* to lay out for a build of another storage type; 0: this one's */
};
void learner_make(struct learner *l, struct model *m, struct learner_rule r);
void learner_free(struct learner *l);
/* For the memory estimate: dry arenas, for a model without weights. Only learner_warm_up and learner_free may
 * follow. */
void learner_lay_out(struct learner *l, struct model *m, struct learner_rule r);
/* Warm-up pass: all operations of the largest update, between dev_dry_begin and dev_dry_end, which measure the scratch
 * memory they need. */
void learner_warm_up(struct learner *l);

/* Pages that a scoring pass also writes its keys and values to. */
struct kv_fill {
    elem_t *pool;
    int64_t layer_stride;
    const int64_t *slot;                /* [copies][n] host; -1: nowhere */
    int copies;
};
struct score_rule {
    const elem_t *w;                    /* weights to score under; NULL: the model's own */
    struct weight_stream *stream;       /* NULL: w is on the device; else it is in host memory */
    double inv_temp;
    int top_k;                          /* > 0: entropy over the top_k most likely entries and the target only */
    const struct kv_fill *kv;           /* may be NULL */
};
/* logp[tgt_flat] and entropy[tgt_flat] (host, may be NULL) of every target of the pack. */
void learner_score(struct learner *l, const struct pack *p, const struct score_rule *r, acc_t *logp, acc_t *entropy);

/* Before the first pack of a mini-batch that one rank computes alone. */
void learner_zero(struct learner *l);
/* The same for all ranks together: this one has `packs`, perhaps none. learner_sum follows the last of them: it queues
 * what the packs have not, and learner_step waits for the sums. */
void learner_begin(struct learner *l, int packs);
void learner_sum(struct learner *l);
/* Adds the gradient of sum_t g[flat] logp[flat] + ge[flat] entropy[flat]. ge may be NULL; if several targets share a
 * row, its entropy gradient is added once per target. logp and entropy (host, may be NULL) get the values of this
 * forward pass. */
void learner_grad(struct learner *l, const struct pack *p, double inv_temp, const acc_t *g, const acc_t *ge,
                  acc_t *logp, acc_t *entropy);

struct optim_rule {
    double lr, beta1, beta2, eps, decay;
    double max_norm;                    /* of the gradient; 0: no clipping */
    bool decay_all;                     /* decay vectors too, as torch does */
};
/* One AdamW step with the gradient scaled to at most max_norm. false: the gradient is not finite, nothing was changed.
 * *norm: its norm before clipping. Of several ranks each gets the same answer. With zero 1 and 2 weights of other ranks
 * may still be on their way afterwards: model_ready. */
bool learner_step(struct learner *l, const struct optim_rule *o, double *norm);

/* A range of the flat vector, at .. at + n; its optimizer state begins at index `held` of adam1, adam2 and master. */
struct learner_piece {
    int64_t at, n;
    int64_t held;
};
/* The ranges whose optimizer state a rank holds; to_write: those that it writes to a checkpoint, where each number is
 * written by one rank. Returns how many; free(*piece). */
int learner_pieces(const struct learner *l, int rank, int ranks, bool to_write, struct learner_piece **piece);

/* Learning rate of step t = 0, 1, ... of total: linear warm-up, then constant (floor 1) or a cosine to floor * lr. */
double lr_at(double lr, int64_t t, int64_t warmup, int64_t total, double floor);
