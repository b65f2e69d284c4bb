/* token_scores.h: what a model thinks of given tokens: the training forward pass without a way back, and the likeliest
 * tokens beside each. */
#pragma once
#include "engine/learner/pack.h"
#include "model/acts.h"

enum { SCORER_TOP = 64 };           /* at most so many of the likeliest are kept */

struct token_scorer {
    const struct model *m;
    struct arena arena;
    struct acts acts;
    int64_t max_rows, chunk;        /* rows of a pass; rows of logits at once */
    int top;                        /* likeliest tokens a row: what was asked for, at most the vocabulary */
    elem_t *logits, *x;
};

void token_scorer_make(struct token_scorer *s, const struct model *m, int64_t max_rows, int top);
void token_scorer_free(struct token_scorer *s);

/* The pack's targets, each alone on its row (no two sequences of one group): logp[flat] and entropy[flat] (nats, full
 * vocabulary) of the distribution the token was drawn from, at 1 / inv_temp; the same bits as learner_score. The s->top
 * likeliest tokens of each, likeliest first, of equals the lowest id: top_id, top_logp [flat * top ..]; not touched
 * where top is 0. */
void token_scorer_run(struct token_scorer *s, const struct pack *p, double inv_temp, acc_t *logp, acc_t *entropy,
                      int *top_id, acc_t *top_logp);
