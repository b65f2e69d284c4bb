/* shares.c: the units that are dealt are whole prompts or runs of a prompt's trajectories in the depth-first order of
 * their tree, so that a cut costs the tokens that both sides share: most often the prompt alone. */
#include "engine/train/shares.h"
#include "base/arith.h"
#include "engine/train/deal.h"
#include "engine/train/rescore.h"
#include <stdlib.h>
#include <string.h>

/* The trajectories in the loss, in the order of (group, trajectory). Those of a group are s[first .. first + n), in
 * tree order s[first + order[first + i]]. before[i]: new rows of those in front of i in tree order. */
struct live {
    int n;
    int *k;                         /* [n] index in the batch */
    struct seq_view *s;             /* [n] */
    int *order;                     /* [n] */
    int64_t *before;                /* [n + 1] */
};

/* A run [from, to) of one group's tree order. */
struct unit { int from, to; };

static int rows_of(const struct seq_view *s) { return MAX(1, s->n - 1); }

static void live_make(struct live *l, const struct update_batch *f, const struct config *c, const struct group *g,
                      int groups)
{
    size_t most = (size_t)f->rows + 1;
    struct trajectory **traj = xcalloc(most, sizeof *traj);
    int *uid = xcalloc(most, sizeof *uid), *shared = xcalloc(most, sizeof *shared);
    int64_t *begin = xcalloc(most, sizeof *begin);
    *l = (struct live){ .k = xcalloc(most, sizeof *l->k), .order = xcalloc(most, sizeof *l->order),
                        .before = xcalloc(most, sizeof *l->before) };
    for (int i = 0, initial = 0, branch = f->initial; i < groups; i++)
        for (int j = 0; j < g[i].n; j++) {
            int k = j < g[i].initial ? initial++ : branch++;
            if (!update_batch_in_loss(f, c, k)) continue;
            traj[l->n] = f->traj[k];
            uid[l->n] = i;
            l->k[l->n++] = k;
        }
    l->s = trajectory_views(traj, uid, l->n, begin);
    for (int first = 0, end; first < l->n; first = end) {
        for (end = first + 1; end < l->n && uid[end] == uid[first]; end++) { }
        pack_sort(l->s + first, end - first, l->order + first, shared + first);
        for (int i = first; i < end; i++)
            l->before[i + 1] = l->before[i] + MAX(1, rows_of(&l->s[first + l->order[i]]) - shared[i]);
        for (int i = first; i < end; i++) l->order[i] += first;
    }
    free(traj); free(uid); free(shared); free(begin);
}

static void live_free(struct live *l) { free(l->k); free(l->s); free(l->order); free(l->before); }

/* Rows of a pack of order[from .. to): the first one's shared rows are its own again. */
static int64_t unit_rows(const struct live *l, int from, int to)
{
    return rows_of(&l->s[l->order[from]]) + l->before[to] - l->before[from + 1];
}

/* Where to cut a unit so that the larger part is smallest. */
static int middle(const struct live *l, const struct unit *u)
{
    int best = u->from + 1;
    int64_t least = INT64_MAX;
    for (int at = u->from + 1; at < u->to; at++) {
        int64_t larger = MAX(unit_rows(l, u->from, at), unit_rows(l, at, u->to));
        if (larger < least) {
            least = larger;
            best = at;
        }
    }
    return best;
}

/* Whole groups, cut in two until none has more rows than `most`. */
static int units_make(struct unit *u, const struct live *l, int64_t most)
{
    int n = 0;
    for (int from = 0, to; from < l->n; from = to) {
        for (to = from + 1; to < l->n && l->s[to].group == l->s[from].group; to++) { }
        u[n++] = (struct unit){ from, to };
    }
    for (int i = 0; i < n;) {
        if (u[i].to - u[i].from == 1 || unit_rows(l, u[i].from, u[i].to) <= most) { i++; continue; }
        int at = middle(l, &u[i]);
        u[n++] = (struct unit){ at, u[i].to };
        u[i].to = at;
    }
    return n;
}

/* Deals units of at most `most` rows. rank[i]: of trajectory i of l. Returns the rows of the rank that has most. */
static int64_t deal_live(int *rank, int64_t *load, const struct live *l, int64_t most, int ranks)
{
    struct unit *u = xcalloc((size_t)l->n + 1, sizeof *u);
    int n = units_make(u, l, most), *to = xcalloc((size_t)n + 1, sizeof *to);
    int64_t *rows = xcalloc((size_t)n + 1, sizeof *rows), largest = 0;
    for (int i = 0; i < n; i++) rows[i] = unit_rows(l, u[i].from, u[i].to);
    deal_units(to, rows, n, ranks);
    memset(load, 0, (size_t)ranks * sizeof *load);
    for (int i = 0; i < n; i++) {
        for (int j = u[i].from; j < u[i].to; j++) rank[l->order[j]] = to[i];
        load[to[i]] += rows[i];
        largest = MAX(largest, load[to[i]]);
    }
    free(u); free(to); free(rows);
    return largest;
}

/* Whole prompts, or, with `cuts`, cut ever smaller, as long as that takes 2 % from the rank that has most. */
static void deal_evenly(int *rank, int64_t *load, const struct live *l, int ranks, bool cuts)
{
    int64_t all = l->before[l->n], best = deal_live(rank, load, l, INT64_MAX, ranks), fair = all / ranks + 1;
    int *next = xcalloc((size_t)l->n + 1, sizeof *next);
    int64_t *next_load = xcalloc((size_t)ranks, sizeof *next_load);
    for (int cut = 1; cuts && ranks > 1 && cut <= 16 && best > fair + fair / 50; cut *= 2) {
        int64_t got = deal_live(next, next_load, l, MAX((int64_t)1, fair / cut), ranks);
        if (got >= best - best / 50) continue;
        best = got;
        memcpy(rank, next, (size_t)l->n * sizeof *rank);
        memcpy(load, next_load, (size_t)ranks * sizeof *load);
    }
    free(next);
    free(next_load);
}

void shares_make(struct shares *s, const struct update_batch *f, const struct config *c, const struct group *g,
                 int groups, int ranks)
{
    struct live l;
    bool whole = c->actor.grad_sum == GRAD_SUM_EXACT;
    live_make(&l, f, c, g, groups);
    int *rank = xcalloc((size_t)l.n + 1, sizeof *rank), n = 0;
    *s = (struct shares){ .k = xcalloc((size_t)l.n + 1, sizeof *s->k),
                          .begin = xcalloc((size_t)ranks + 1, sizeof *s->begin),
                          .rows = xcalloc((size_t)ranks, sizeof *s->rows) };
    deal_evenly(rank, s->rows, &l, ranks, !whole);
    for (int r = 0; r < ranks; r++) {
        for (int i = 0; i < l.n; i++) if (rank[i] == r) s->k[n++] = l.k[i];
        s->begin[r + 1] = n;
    }
    n = 0;
    for (int k = 0; ranks == 1 && !whole && k < f->rows; k++) if (update_batch_in_loss(f, c, k)) s->k[n++] = k;
    free(rank);
    live_free(&l);
}

void shares_free(struct shares *s)
{
    free(s->k);
    free(s->begin);
    free(s->rows);
    *s = (struct shares){ 0 };
}
