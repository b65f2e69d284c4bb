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
    const acc_t *key, *zf, *zh;
    const uint8_t *ok;
    const int64_t *begin;
    const struct select_rule *rule;
    struct candidate *list;         /* room for every position */
    uint8_t *near;                  /* [positions] 1: too close to a chosen point; NULL without min_gap */
    struct branch_point *out;
    int found;
};

static int collect(struct chooser *c, int row, int n)
{
    const struct select_rule *r = c->rule;
    for (int64_t i = c->begin[row]; i < c->begin[row + 1]; i++) {
        if (!c->ok[i] || isnan(c->key[i])) continue;
        bool strict = c->zh[i] > 0 && c->zf[i] > 0 && c->key[i] > 0;
        bool first = r->strict_first && strict;
        double rank = (double)(r->strict_first && !first && r->fallback_by_entropy ? c->zh[i] : c->key[i]);
        if (isnan(rank)) continue;
        c->list[n++] =
            (struct candidate){ rank, 2 * c->ok[i] + first, row, (int)(i - c->begin[row]), c->key[i], strict };
    }
    return n;
}

static void keep_off(struct chooser *c, int row, int64_t pos)
{
    int64_t len = c->begin[row + 1] - c->begin[row], gap = c->rule->min_gap;
    int64_t from = pos - gap + 1 < 0 ? 0 : pos - gap + 1, to = pos + gap > len ? len : pos + gap;
    memset(c->near + (c->begin[row] - c->begin[0]) + from, 1, (size_t)(to - from));
}

/* Sorts the n candidates collected and takes at most `most` of them. */
static void take(struct chooser *c, int n, int most)
{
    qsort(c->list, (size_t)n, sizeof *c->list, better_first);
    for (int i = 0; i < n && most > 0 && c->found < c->rule->want; i++) {
        const struct candidate *x = &c->list[i];
        if (c->near) {
            if (c->near[c->begin[x->row] - c->begin[0] + x->pos]) continue;
            keep_off(c, x->row, x->pos);
        }
        c->out[c->found++] = (struct branch_point){ x->row, x->pos, x->key, x->strict };
        most--;
    }
}

int op_branch_select(struct branch_point *out, const acc_t *key, const acc_t *zf, const acc_t *zh, const uint8_t *ok,
                     const int64_t *begin, int rows, const int *order, const struct select_rule *r)
{
    if (rows <= 0 || r->want <= 0) return 0;
    int64_t n = begin[rows] - begin[0];
    ENSURE(n <= INT32_MAX);
    struct chooser c = { .key = key, .zf = zf, .zh = zh, .ok = ok, .begin = begin, .rule = r, .out = out };
    c.list = xmalloc((size_t)n * sizeof *c.list + 1);
    if (r->min_gap > 1) c.near = xcalloc((size_t)n + 1, 1);
    int all = 0;
    for (int k = 0; k < rows; k++) {
        int row = order ? order[k] : k;
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
