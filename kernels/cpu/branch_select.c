/* branch_select.c: ranks branch points. The order is total (row and position break every tie), so that a sort that is
 * not stable gives one answer. */
#include "kernels/cpu/rl.h"
#include <stdlib.h>
#include <string.h>

struct candidate { double rank; int tier, row, pos; acc_t key; bool strict; };

static int better_first(const void *pa, const void *pb)
{
    const struct candidate *a = pa, *b = pb;
    if (a->tier != b->tier) return a->tier > b->tier ? -1 : 1;
    if (a->rank != b->rank) return a->rank > b->rank ? -1 : 1;
    if (a->row != b->row) return a->row < b->row ? -1 : 1;
    return (a->pos > b->pos) - (a->pos < b->pos);
}

/* One prompt's choice in the making. */
struct chooser {
    const struct select_in *in;
    const struct select_rule *rule;
    struct candidate *list;         /* room for every position */
    uint8_t *near;                  /* [positions] 1: too close to a chosen point; NULL without min_gap */
    struct branch_point *out;
    int found;
};

static int collect(struct chooser *c, int row, int n)
{
    const struct select_rule *r = c->rule;
    const struct select_in *in = c->in;
    for (int64_t i = in->begin[row]; i < in->begin[row + 1]; i++) {
        if (!in->ok[i] || isnan(in->key[i])) continue;
        bool strict = in->zh[i] > 0 && in->zf[i] > 0 && in->key[i] > 0;
        bool first = r->strict_first && strict;
        double rank = (double)(r->strict_first && !first && r->fallback_by_entropy ? in->zh[i] : in->key[i]);
        if (isnan(rank)) continue;
        c->list[n++] =
            (struct candidate){ rank, 2 * in->ok[i] + first, row, (int)(i - in->begin[row]), in->key[i], strict };
    }
    return n;
}

static void keep_off(struct chooser *c, int row, int64_t pos)
{
    const int64_t *begin = c->in->begin;
    int64_t len = begin[row + 1] - begin[row], gap = c->rule->min_gap;
    int64_t from = pos - gap + 1 < 0 ? 0 : pos - gap + 1, to = pos + gap > len ? len : pos + gap;
    memset(c->near + (begin[row] - begin[0]) + from, 1, (size_t)(to - from));
}

/* Sorts the n candidates collected and takes at most `most` of them. */
static void take(struct chooser *c, int n, int most)
{
    qsort(c->list, (size_t)n, sizeof *c->list, better_first);
    for (int i = 0; i < n && most > 0 && c->found < c->rule->want; i++) {
        const struct candidate *x = &c->list[i];
        if (c->near) {
            if (c->near[c->in->begin[x->row] - c->in->begin[0] + x->pos]) continue;
            keep_off(c, x->row, x->pos);
        }
        c->out[c->found++] = (struct branch_point){ x->row, x->pos, x->key, x->strict };
        most--;
    }
}

int op_branch_select(struct branch_point *out, const struct select_in *in, const struct select_rule *r)
{
    if (in->rows <= 0 || r->want <= 0) return 0;
    int64_t n = in->begin[in->rows] - in->begin[0];
    ENSURE(n <= INT32_MAX);
    struct chooser c = { .in = in, .rule = r, .out = out };
    c.list = xmalloc((size_t)n * sizeof *c.list + 1);
    if (r->min_gap > 1) c.near = xcalloc((size_t)n + 1, 1);
    int all = 0;
    for (int k = 0; k < in->rows; k++) {
        int row = in->order ? in->order[k] : k;
        if (r->per_row > 0) take(&c, collect(&c, row, 0), r->per_row);
        else all = collect(&c, row, all);
    }
    if (r->per_row <= 0) take(&c, all, r->want);
    free(c.list);
    free(c.near);
    if (!c.found) return 0;
    for (int i = c.found; i < r->want; i++) out[i] = out[i - c.found];
    return r->want;
}
