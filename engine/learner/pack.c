/* pack.c: sorting a group's sequences by their tokens gives the depth-first order of their tree: each sequence adds the
 * rows behind the prefix that it shares with the one before it. */
#include "engine/learner/pack.h"
#include "base/err.h"
#include "base/arith.h"
#include <stdlib.h>
#include <string.h>

static int rows_of(const struct seq_view *s) { return s->n > 0 ? s->n - 1 : 0; }

static int common(const struct seq_view *a, const struct seq_view *b)
{
    int n = MIN(rows_of(a), rows_of(b)), i = 0;
    if (a->group != b->group) return 0;
    while (i < n && a->ids[i] == b->ids[i]) i++;
    return i;
}

struct entry { const struct seq_view *s; int i; };

static int by_tokens(const void *pa, const void *pb)
{
    const struct entry *a = pa, *b = pb;
    int n = MIN(rows_of(a->s), rows_of(b->s));
    for (int i = 0; i < n; i++)
        if (a->s->ids[i] != b->s->ids[i]) return a->s->ids[i] < b->s->ids[i] ? -1 : 1;
    if (rows_of(a->s) != rows_of(b->s)) return rows_of(a->s) < rows_of(b->s) ? -1 : 1;
    return a->i - b->i;
}

static struct entry *sorted(const struct seq_view *s, int n)
{
    struct entry *e = xcalloc((size_t)n, sizeof *e);
    for (int i = 0; i < n; i++) e[i] = (struct entry){ &s[i], i };
    for (int lo = 0, hi; lo < n; lo = hi) {
        for (hi = lo + 1; hi < n && s[hi].group == s[lo].group; hi++) { }
        qsort(e + lo, (size_t)(hi - lo), sizeof *e, by_tokens);
    }
    return e;
}

void pack_sort(const struct seq_view *s, int n, int *order, int *shared)
{
    struct entry *e = sorted(s, n);
    for (int i = 0; i < n; i++) {
        order[i] = e[i].i;
        shared[i] = i ? common(e[i - 1].s, e[i].s) : 0;
    }
    free(e);
}

/* Most targets, and copies of its keys, that a row may have: sizes the learner's memory for a batch. */
enum { GROUP_MAX = 32 };

int pack_fit(const struct seq_view *s, int n, int64_t max_rows)
{
    for (int i = 1, of_group = 1; i < n; i++) {
        of_group = s[i].group == s[i - 1].group ? of_group + 1 : 1;
        if (of_group > GROUP_MAX) n = i;
    }
    /* Count the rows of the sorted tree itself: adding up sequences in the given order is only an upper bound, and
     * would cut trees differently. */
    int lo = 1, hi = n;
    while (lo < hi) {
        int mid = lo + (hi - lo + 1) / 2;
        struct entry *e = sorted(s, mid);
        int64_t rows = 0;
        for (int i = 0; i < mid; i++) rows += rows_of(e[i].s) - (i ? common(e[i - 1].s, e[i].s) : 0);
        free(e);
        if (rows <= max_rows) lo = mid; else hi = mid - 1;
    }
    return lo;
}

static void add_rows(struct pack *p, const struct entry *e, int n)
{
    int64_t at = 0;
    for (int i = 0; i < n; i++) {
        const struct seq_view *s = e[i].s;
        int len = rows_of(s), shared = i ? common(e[i - 1].s, s) : 0;
        p->order[i] = e[i].i;
        p->shared[i] = shared;
        p->path_at[i] = at;
        int *path = p->path + at, before = i ? rows_of(e[i - 1].s) : 0;
        const int *last = i ? p->path + p->path_at[i - 1] : NULL;
        for (int d = shared; d < before; d++) p->end[last[d]] = (int)p->n;
        for (int d = 0; d < shared; d++) path[d] = last[d];
        for (int d = shared; d < len; d++) {
            path[d] = (int)p->n;
            p->ids[p->n] = s->ids[d];
            p->pos[p->n++] = d;
        }
        at += len;
    }
    for (int d = 0; n && d < rows_of(e[n - 1].s); d++) p->end[p->path[p->path_at[n - 1] + d]] = (int)p->n;
}

/* Sorts the targets by row (a counting sort) and leaves out the rows without targets. */
static void add_targets(struct pack *p, const struct entry *e, int n)
{
    int *count = xcalloc((size_t)p->n + 1, sizeof *count);
    for (int i = 0; i < n; i++)
        for (int d = 1; d < e[i].s->n; d++)
            if (e[i].s->m[d]) { count[p->path[p->path_at[i] + d - 1]]++; p->targets++; }
    p->tgt = xcalloc((size_t)p->targets, sizeof *p->tgt);
    p->tgt_flat = xcalloc((size_t)p->targets, sizeof *p->tgt_flat);
    p->row = xcalloc((size_t)p->n, sizeof *p->row);
    p->begin = xcalloc((size_t)p->n + 1, sizeof *p->begin);
    int sum = 0;
    for (int64_t r = 0; r < p->n; r++) {
        int here = count[r];
        count[r] = sum;
        if (here) { p->row[p->rows] = (int)r; p->begin[p->rows++] = sum; }
        sum += here;
    }
    p->begin[p->rows] = sum;
    for (int i = 0; i < n; i++)
        for (int d = 1; d < e[i].s->n; d++)
            if (e[i].s->m[d]) {
                int t = count[p->path[p->path_at[i] + d - 1]]++;
                p->tgt[t] = e[i].s->ids[d];
                p->tgt_flat[t] = e[i].s->flat + d;
            }
    free(count);
}

void pack_make(struct pack *p, const struct seq_view *s, int n)
{
    *p = (struct pack){ .seqs = n };
    size_t total = 0;
    for (int i = 0; i < n; i++) total += (size_t)rows_of(&s[i]);
    p->ids = xcalloc(total, sizeof *p->ids);
    p->pos = xcalloc(total, sizeof *p->pos);
    p->end = xcalloc(total, sizeof *p->end);
    p->path = xcalloc(total, sizeof *p->path);
    p->order = xcalloc((size_t)n, sizeof *p->order);
    p->shared = xcalloc((size_t)n, sizeof *p->shared);
    p->path_at = xcalloc((size_t)n, sizeof *p->path_at);
    struct entry *e = sorted(s, n);
    add_rows(p, e, n);
    add_targets(p, e, n);
    free(e);
    p->plan = attn_plan_make(p->end, p->n);
}

void pack_free(struct pack *p)
{
    attn_plan_free(p->plan);
    free(p->ids); free(p->pos); free(p->end); free(p->row); free(p->begin); free(p->tgt); free(p->tgt_flat);
    free(p->order); free(p->shared); free(p->path_at); free(p->path);
    *p = (struct pack){ 0 };
}
