/* sampling.c: an event is a block of equal passes of one rank. The rank whose block ends first goes next, so that work
 * is taken from others in the order of time. */
#include "eval/simulate/sampling.h"
#include "base/arith.h"
#include "engine/comm/work.h"
#include "engine/rollout/schedule.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum slot_use { USE_RUN, USE_WAIT, USE_TOOL };          /* USE_WAIT: another slot runs the same prompt */

struct slot {
    const struct sim_rollout *r;
    enum slot_use use;
    int unit;
    int segment;
    int left;                       /* tokens of the segment still to be sampled */
    int due;                        /* tokens to be run before the next one is sampled */
    int pos;                        /* tokens that were run */
    bool leads;                     /* it runs the prompt for its unit */
    double ready;                   /* when the call ends */
};

struct rank {
    struct slot *slot;              /* [live] in order of admission */
    int live, cap;
    int mine;                       /* the next of the units that it took before all began: place in item */
    int unit, started;              /* the unit being admitted; how many of its rollouts are in; unit -1: none */
    double now;
};

struct run {
    const struct sampling *s;
    struct rank *rank;
    int *due, *take;                /* [slots] */
    bool *ran;                      /* [units] the prompt was run */
    struct work queue;
    int *mine_end;                  /* [ranks] end of each rank's mine */
    bool left;                      /* the queue has units */
    int *heap, n;                   /* ranks by time, then number */
    int *owner;
    struct sampling_rank *out;
};

static bool before(const struct run *x, int a, int b)
{
    double ta = x->rank[a].now, tb = x->rank[b].now;
    return ta < tb || (ta == tb && a < b);
}

static void heap_down(struct run *x, int i)
{
    for (int k; (k = 2 * i + 1) < x->n; i = k) {
        if (k + 1 < x->n && before(x, x->heap[k + 1], x->heap[k])) k++;
        if (!before(x, x->heap[k], x->heap[i])) return;
        int t = x->heap[k];
        x->heap[k] = x->heap[i];
        x->heap[i] = t;
    }
}

/* The next unit of rank k: those that it began with, then what the queue of comm.h gives it. */
static int next_unit(struct run *x, int k)
{
    struct rank *r = &x->rank[k];
    if (r->mine < x->mine_end[k]) return x->s->item[r->mine++];
    bool own = x->queue.next[k] < x->queue.last[k];
    if (!x->left || (!own && !x->s->steal)) return -1;
    int unit = work_take(&x->queue, k);
    x->left = unit >= 0;
    x->out[k].taken += unit >= 0 && !own;
    return unit;
}

/* Fills free slots, rollout by rollout in the order of the units. */
static void admit(struct run *x, int k)
{
    struct rank *r = &x->rank[k];
    while (r->live < x->s->w->max_seqs) {
        if (r->unit < 0) {
            if ((r->unit = next_unit(x, k)) < 0) return;
            r->started = 0;
            x->owner[r->unit] = k;
        }
        const struct sim_rollout *roll = x->s->first[r->unit] + r->started;
        if (r->live == r->cap) r->slot = xrealloc(r->slot, (size_t)(r->cap = r->cap * 2 + 8) * sizeof *r->slot);
        struct slot *s = &r->slot[r->live++];
        *s = (struct slot){ .r = roll, .unit = r->unit, .left = roll->generate[0], .due = 1, .pos = roll->start - 1 };
        if (x->s->prompts && !x->ran[r->unit]) {
            s->leads = r->started == 0;
            s->use = s->leads ? USE_RUN : USE_WAIT;
            if (s->leads) s->due = roll->start, s->pos = 0;
        }
        if (++r->started == x->s->each) r->unit = -1;
    }
}

/* What happens in a slot after it ran `rows` rows in `passes` passes that ended at `now`. False: its rollout ended. */
static bool advance(struct run *x, struct slot *s, int rows, int passes, double now, struct sampling_rank *o)
{
    s->pos += rows;
    if (s->leads && s->pos >= s->r->start) x->ran[s->unit] = true, s->leads = false;
    if (passes == 1 && (s->due -= rows) > 0) return true;
    s->left -= passes;
    s->due = 1;
    o->tokens += passes;
    if (s->left > 0) return true;
    if (s->segment == s->r->segments - 1) return false;
    s->use = USE_TOOL;
    s->ready = now + s->r->wait[s->segment];
    s->due = 1 + s->r->result[s->segment];
    s->left = s->r->generate[++s->segment];
    return true;
}

/* The fewest passes that take `wait` seconds, the first of `pass` seconds and each next one of `more` seconds more. */
static double passes_until(double wait, double pass, double more)
{
    double a = more / 2, b = pass - a;
    return ceil(a > 1e-12 * b ? (sqrt(b * b + 4 * a * wait) - b) / (2 * a) : wait / pass);
}

/* How many passes like the next one, of `pass` seconds, follow each other: until a rollout ends or calls, or a call's
 * result comes. */
static int alike(const struct run *x, const struct rank *r, double pass, int rows)
{
    int n = INT32_MAX;
    for (int i = 0; i < r->live; i++) {
        if (x->take[i] && x->due[i] > 1) return 1;
        if (x->take[i]) n = MIN(n, r->slot[i].left);
        else if (r->slot[i].use == USE_TOOL) {
            double k = passes_until(r->slot[i].ready - r->now, pass, x->s->m->context * rows);
            if (k < n) n = k < 1 ? 1 : (int)k;
        } else return 1;
    }
    return n;
}

/* The time of n passes of these rows. */
static double passes_take(struct run *x, const struct rank *r, int rows, bool samples_only, int *n,
                          struct sampling_rank *o)
{
    const struct cost_model *m = x->s->m;
    double read = 0;
    for (int i = 0; i < r->live; i++)
        read += x->take[i] * (r->slot[i].pos + 0.5 * (x->take[i] + 1));
    int run = m->graphs && samples_only && rows <= 1024 ? schedule_pass_size(rows, MAX(rows, x->s->w->max_seqs)) : rows;
    *n = alike(x, r, cost_pass(m, run, read), rows);
    double k = *n, positions = k * read + rows * k * (k - 1) / 2;
    o->passes += k;
    o->rows += k * rows;
    o->positions += positions;
    return k * cost_pass(m, run, 0) + m->context * positions;
}

static int gather(struct run *x, struct rank *r, bool *samples_only)
{
    for (int i = 0; i < r->live; i++) {
        struct slot *s = &r->slot[i];
        if (s->use == USE_TOOL && s->ready <= r->now) s->use = USE_RUN;
        if (s->use == USE_WAIT && x->ran[s->unit]) s->use = USE_RUN;
        x->due[i] = s->use == USE_RUN ? s->due : 0;
    }
    int rows = schedule_pass(x->take, x->due, r->live, x->s->w->max_rows);
    *samples_only = true;
    for (int i = 0; i < r->live; i++) if (x->take[i] && x->due[i] > 1) *samples_only = false;
    return rows;
}

/* The next block of rank k. False: it has no work any more. */
static bool block(struct run *x, int k)
{
    struct rank *r = &x->rank[k];
    struct sampling_rank *o = &x->out[k];
    bool samples_only;
    int n, kept = 0;
    admit(x, k);
    if (!r->live) return false;
    int rows = gather(x, r, &samples_only);
    if (!rows) {
        double first = HUGE_VAL;
        for (int i = 0; i < r->live; i++) if (r->slot[i].use == USE_TOOL) first = MIN(first, r->slot[i].ready);
        ENSURE(isfinite(first));
        r->now = first;
        return true;
    }
    double t = passes_take(x, r, rows, samples_only, &n, o);
    r->now += t;
    o->busy += t;
    o->end = r->now;
    for (int i = 0; i < r->live; i++) {
        bool stays = !x->take[i] || advance(x, &r->slot[i], n == 1 ? x->take[i] : n, n, r->now, o);
        if (stays) r->slot[kept++] = r->slot[i];
    }
    r->live = kept;
    return true;
}

void sampling_run(const struct sampling *s, int *owner, struct sampling_rank *out)
{
    size_t slots = (size_t)MIN(s->w->max_seqs, s->units * s->each);
    struct run x = { .s = s, .owner = owner, .out = out, .left = true };
    x.rank = xcalloc((size_t)s->ranks, sizeof *x.rank);
    x.heap = xcalloc((size_t)s->ranks, sizeof *x.heap);
    x.due = xcalloc(slots + 1, sizeof *x.due);
    x.take = xcalloc(slots + 1, sizeof *x.take);
    x.ran = xcalloc((size_t)s->units + 1, sizeof *x.ran);
    x.mine_end = xcalloc((size_t)s->ranks, sizeof *x.mine_end);
    work_deal(&x.queue, s->item, s->begin, s->ranks);
    memset(out, 0, (size_t)s->ranks * sizeof *out);
    for (int k = 0; k < s->ranks; k++) {
        x.rank[k] = (struct rank){ .mine = s->begin[k], .unit = -1 };
        /* before one rank takes from another, each has as many of its own as it can start at once */
        int most = MIN(s->begin[k + 1] - s->begin[k], (int)ceil_div(s->w->max_seqs, s->each));
        for (int i = 0; i < most; i++) work_take(&x.queue, k);
        x.mine_end[k] = s->begin[k] + most;
        x.heap[x.n++] = k;
    }
    while (x.n) {
        if (!block(&x, x.heap[0])) x.heap[0] = x.heap[--x.n];
        heap_down(&x, 0);
    }
    for (int k = 0; k < s->ranks; k++) free(x.rank[k].slot);
    work_free(&x.queue);
    free(x.mine_end);
    free(x.rank);
    free(x.heap);
    free(x.due);
    free(x.take);
    free(x.ran);
}
