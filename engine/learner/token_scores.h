/* token_scores.h: log-probs, entropies and top-k alternatives of given tokens: the training forward pass without a
 * backward pass. */
#pragma once
#include "engine/learner/pack.h"
#include "model/acts.h"

enum { SCORER_TOP = 64 };           /* largest top */

struct token_scorer {
    const struct model *m;
    struct arena arena;
    struct acts acts;
    int64_t max_rows;               /* of a pass */
    int64_t chunk;                  /* rows of logits at once */
    int top;                        /* most likely tokens kept of each row: as asked for, at most the vocabulary */
    elem_t *logits, *x;
};

void token_scorer_make(struct token_scorer *s, const struct model *m, int64_t max_rows, int top);
void token_scorer_free(struct token_scorer *s);

/* For each target of the pack, which must be alone on its row (no two sequences of one group): logp[flat] and
 * entropy[flat] (nats, full vocabulary) at 1 / inv_temp, the same bits as learner_score; top_id and top_logp
 * [flat * top ..], the s->top most likely tokens, the most likely first, equals by id; not written if top is 0. */
void token_scorer_run(struct token_scorer *s, const struct pack *p, double inv_temp, acc_t *logp, acc_t *entropy,
                      int *top_id, acc_t *top_logp);
