/* deal.c: greedy dealing, the longest first: at most 4/3 of the best possible end, and deterministic. */
#include "engine/train/deal.h"
#include "base/arith.h"
#include "base/err.h"
#include <stdlib.h>
#include <string.h>

const char *const deal_rule_name[DEAL_RULES] = { "in_order", "longest" };
const enum deal_rule deal_rule_default = DEAL_LONGEST;

/* Reading the keys and values of so many tokens costs a decoded row as much as the rest of its pass: of a 7B model in
 * bf16 at 256 rows a pass 15 GB of weights are 60 MB a row, 57 KB a token of context. */
static const double CONTEXT_OF_A_ROW = 1024;

double deal_prompt_cost(int prompt_len, double response, int rollouts)
{
    double context = prompt_len + response / 2;
    return prompt_len + rollouts * response * (1 + context / CONTEXT_OF_A_ROW);
}

struct weighted {
    double cost;
    int i;
};

static int dearest_first(const void *a, const void *b)
{
    const struct weighted *x = a, *y = b;
    return x->cost != y->cost ? (x->cost < y->cost) - (x->cost > y->cost) : x->i - y->i;
}

/* [n] the indices of cost[n], the largest cost first; free() it. */
static struct weighted *by_cost(const double *cost, int n)
{
    struct weighted *w = xcalloc((size_t)n + 1, sizeof *w);
    for (int i = 0; i < n; i++) w[i] = (struct weighted){ cost[i], i };
    qsort(w, (size_t)n, sizeof *w, dearest_first);
    return w;
}

/* Deals one mini-batch, prompts w[0 .. n) in this order. load[ranks] goes on from the mini-batch before, so that what
 * one of them deals unevenly the next one evens out. */
static void deal_slice(int *rank, const struct weighted *w, int n, double *load, int ranks)
{
    int most = (int)ceil_div(n, ranks), *have = xcalloc((size_t)ranks, sizeof *have);
    for (int k = 0; k < n; k++) {
        int best = -1;
        for (int r = 0; r < ranks; r++)
            if (have[r] < most && (best < 0 || load[r] < load[best])) best = r;
        rank[w[k].i] = best;
        have[best]++;
        load[best] += w[k].cost;
    }
    free(have);
}

void deal_prompts(struct deal *d, const double *cost, int n, int slice, int ranks, enum deal_rule rule)
{
    ENSURE(n >= 0 && slice > 0 && ranks > 0);
    int *rank = xcalloc((size_t)n + 1, sizeof *rank);
    double *load = xcalloc((size_t)ranks, sizeof *load);
    for (int from = 0; from < n; from += slice) {
        int len = MIN(slice, n - from);
        struct weighted *w = by_cost(cost + from, len);
        if (rule == DEAL_LONGEST) deal_slice(rank + from, w, len, load, ranks);
        for (int i = from; rule == DEAL_IN_ORDER && i < from + len; i++) rank[i] = i % ranks;
        free(w);
    }
    struct weighted *w = by_cost(cost, n);
    d->item = xcalloc((size_t)n + 1, sizeof *d->item);
    d->begin = xcalloc((size_t)ranks + 1, sizeof *d->begin);
    for (int r = 0, at = 0; r < ranks; r++) {
        for (int k = 0; k < n; k++) {
            int i = rule == DEAL_IN_ORDER || ranks == 1 ? k : w[k].i;
            if (rank[i] == r) d->item[at++] = i;
        }
        d->begin[r + 1] = at;
    }
    free(w);
    free(load);
    free(rank);
}

void deal_free(struct deal *d)
{
    free(d->item);
    free(d->begin);
    *d = (struct deal){ 0 };
}

void deal_units(int *rank, const int64_t *weight, int n, int ranks)
{
    ENSURE(n >= 0 && ranks > 0);
    double *cost = xcalloc((size_t)n + 1, sizeof *cost);
    int64_t *load = xcalloc((size_t)ranks, sizeof *load);
    int *have = xcalloc((size_t)ranks, sizeof *have);
    for (int i = 0; i < n; i++) cost[i] = (double)weight[i];
    struct weighted *w = by_cost(cost, n);
    for (int k = 0; k < n; k++) {
        int best = 0;
        for (int r = 1; r < ranks; r++)
            if (load[r] < load[best] || (load[r] == load[best] && have[r] < have[best])) best = r;
        rank[w[k].i] = best;
        load[best] += weight[w[k].i];
        have[best]++;
    }
    free(w);
    free(have);
    free(load);
    free(cost);
}
