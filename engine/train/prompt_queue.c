/* prompt_queue.c: the queue of comm.h between the dealing (deal.h) and a rollout that asks for more. What a rollout
 * samples does not depend on who runs it. */
#include "engine/train/prompt_queue.h"
#include "base/arith.h"
#include "base/clock.h"
#include "base/stop.h"
#include "engine/comm/comm.h"
#include "engine/train/deal.h"
#include <stdlib.h>
#include <string.h>

/* Waits for all ranks. */
static void deal(struct prompt_queue *q, const double *cost, int n, int slice)
{
    struct deal d;
    double start = seconds();
    int me = comm_rank();
    deal_prompts(&d, cost, n, slice, comm_ranks(), deal_rule_default);
    q->dealt_to = xcalloc((size_t)n + 1, sizeof *q->dealt_to);
    for (int r = 0; r < comm_ranks(); r++)
        for (int k = d.begin[r]; k < d.begin[r + 1]; k++) q->dealt_to[d.item[k]] = r;
    q->dealt = d.begin[me + 1] - d.begin[me];
    comm_work_begin(d.item, d.begin);
    q->wait_s = seconds() - start;
    deal_free(&d);
}

/* Takes the next prompt. False: all are taken. */
static bool take(struct prompt_queue *q)
{
    struct sequence **seq;
    int item = comm_work_next();
    if (item < 0) return false;
    q->taken++;
    q->stolen += q->dealt_to[item] != comm_rank();
    int n = q->open(q->ctx, item, &seq);
    ENSURE(n > 0);
    q->seq = xrealloc(q->seq, (size_t)(q->have + n) * sizeof *q->seq);
    memcpy(q->seq + q->have, seq, (size_t)n * sizeof *seq);
    q->have += n;
    return true;
}

static int more(void *ctx, struct sequence ***seq)
{
    struct prompt_queue *q = ctx;
    q->have = 0;
    if (!take(q)) return 0;
    *seq = q->seq;
    return q->have;
}

static void progress(void *ctx, int done, int total)
{
    struct prompt_queue *q = ctx;
    q->ended(q->ctx, done, q->taken ? (int)((int64_t)total * MAX(q->dealt, q->taken) / q->taken) : total);
}

void prompt_queue_run(struct prompt_queue *q, struct rollout *r, const struct rollout_config *rule, const double *cost,
                      int n, int slice, bool keep)
{
    struct rollout_config c = *rule;
    deal(q, cost, n, slice);
    /* Before a rank takes prompts of another one, every rank has taken as many of its own as it can start at once. */
    while (q->have < c.max_seqs && q->taken < q->dealt && take(q)) {}
    comm_barrier();
    c.halt = &run_stop;
    c.more = more;
    c.more_ctx = q;
    rollout_set(r, &c);
    rollout_run(r, q->seq, q->have, keep, q->ended ? progress : NULL, q, &q->stats);
    c.halt = NULL;
    c.more = NULL;
    rollout_set(r, &c);
    /* given up: nobody shall start what is left */
    while (q->stats.halted && comm_work_next() >= 0) {}
    free(q->seq);
    free(q->dealt_to);
    q->seq = NULL;
    q->dealt_to = NULL;
}
