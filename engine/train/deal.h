/* deal.h: how work is dealt to ranks: the prompts of a step for their rollouts, and units of an update for its
 * gradient. Functions of their arguments alone: every rank, and the simulator, gets the same answer. Ties go by
 * index. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Expected cost of all initial rollouts of a prompt, in rows of a forward pass. response: expected tokens of one
 * rollout's response. */
double deal_prompt_cost(int prompt_len, double response, int rollouts);

enum deal_rule {
    DEAL_IN_ORDER,                  /* one after the other, by number */
    DEAL_LONGEST,                   /* the most expensive first, to the rank with the least cost so far */
    DEAL_RULES
};
extern const char *const deal_rule_name[DEAL_RULES];
extern const enum deal_rule deal_rule_default;

/* Items item[begin[r] .. begin[r + 1]) are rank r's, in the order in which it starts them. */
struct deal {
    int *item;                      /* [n] */
    int *begin;                     /* [ranks + 1] */
};
/* Deals the prompts [0 .. n), prompt i of cost[i]. Prompts [k * slice .. (k + 1) * slice) are one update, and no rank
 * gets more than ceil(slice / ranks) of them: branches run where their parent ran, mini-batch by mini-batch. One rank
 * starts its prompts by number under every rule. */
void deal_prompts(struct deal *d, const double *cost, int n, int slice, int ranks, enum deal_rule rule);
void deal_free(struct deal *d);

/* rank[i] becomes the rank of unit i of weight[i] >= 0: the heaviest first, to the rank with the least weight so far,
 * of these to that with the fewest units. With at least as many units as ranks, every rank gets one. */
void deal_units(int *rank, const int64_t *weight, int n, int ranks);
