/* advantage.c: dual-group advantages and the official reward scale. A row's credit at i counts the branches at or after
 * i: one reverse scan a row. */
#include "kernels/cpu/rl.h"
#include "kernels/rl_credit.h"
#include <stdlib.h>

struct keyed { int key, row; };

static int by_key(const void *pa, const void *pb)
{
    const struct keyed *a = pa, *b = pb;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

int rl_groups(int *dense, const int *key, int rows)
{
    struct keyed *k = xmalloc((size_t)rows * sizeof *k + 1);
    for (int r = 0; r < rows; r++) k[r] = (struct keyed){ key[r], r };
    qsort(k, (size_t)rows, sizeof *k, by_key);
    /* mark each row with the first row of its key, then number the keys in the order of those first rows */
    for (int i = 0, first = 0; i < rows; i++) {
        if (i == 0 || k[i].key != k[i - 1].key) first = k[i].row;
        dense[k[i].row] = first;
    }
    free(k);
    int n = 0;
    for (int r = 0; r < rows; r++) dense[r] = dense[r] == r ? n++ : dense[dense[r]];
    return n;
}

static struct rl_group *group_stats(const int *of, int groups, const acc_t *reward, int rows)
{
    struct rl_group *g = xcalloc((size_t)groups + 1, sizeof *g);
    for (int r = 0; r < rows; r++) { g[of[r]].sum += (double)reward[r]; g[of[r]].n++; }
    for (int i = 0; i < groups; i++) g[i].mean = g[i].n ? g[i].sum / g[i].n : 0;
    for (int r = 0; r < rows; r++) g[of[r]].square += rl_square((double)reward[r], g[of[r]].mean);
    for (int i = 0; i < groups; i++) rl_group_std(&g[i]);
    return g;
}

/* value[i] = sum and count[i] = number of the contributions at position i itself, over all records that name a valid
 * pair of rows. */
static void contributions(double *value, int *count, const double *a, const struct dual_in *in)
{
    for (int i = 0; i < in->records; i++) {
        int64_t at = rl_record_position(&in->rec[i], in->begin, in->rows, in->kind);
        if (at < 0) continue;
        at += in->begin[in->rec[i].orig] - in->begin[0];
        value[at] += a[in->rec[i].row];
        count[at]++;
    }
}

void op_advantage_dual(acc_t *adv, acc_t *base, const struct dual_in *in, const struct advantage_rule *r)
{
    if (in->rows <= 0) return;
    int64_t n = in->begin[in->rows] - in->begin[0];
    int *of = xmalloc((size_t)in->rows * sizeof *of), *count = xcalloc((size_t)n + 1, sizeof *count);
    double *a = xmalloc((size_t)in->rows * sizeof *a), *value = xcalloc((size_t)n + 1, sizeof *value);
    int prompts = rl_groups(of, in->uid, in->rows);
    for (int i = 0; i < in->rows; i++) of[i] = 2 * of[i] + (in->kind && in->kind[i]);
    struct rl_group *g = group_stats(of, 2 * prompts, in->reward, in->rows);
    for (int i = 0; i < in->rows; i++) {
        a[i] = rl_standard((double)in->reward[i], &g[of[i]], r->by_std);
        if (base) base[i] = (acc_t)a[i];
    }
    if (r->dual == DUAL_PREFIX) contributions(value, count, a, in);
    for (int row = 0; row < in->rows; row++) {
        bool branch = in->kind && in->kind[row];
        const struct rl_group *other = &g[of[row] | 1];
        double own = branch && !r->train_branches ? 0 : a[row];
        if (!branch && r->dual == DUAL_AVERAGE && other->n)
            own = (own + rl_standard((double)in->reward[row], other, r->by_std)) / 2;
        double sum = 0;
        int number = 0;
        for (int64_t i = in->begin[row + 1] - 1; i >= in->begin[row]; i--) {
            sum += value[i - in->begin[0]];
            number += count[i - in->begin[0]];
            adv[i] = in->m[i] ? (acc_t)(number ? own + sum / number : own) : 0;
        }
    }
    free(of);
    free(count);
    free(a);
    free(value);
    free(g);
}

void op_reward_scale(acc_t *reward, const int64_t *begin, int rows, const struct branch_record *rec, int records,
                     double discount)
{
    double most = 0;
    for (int i = 0; i < records; i++) if (rec[i].row >= 0 && rec[i].score > most) most = rec[i].score;
    if (rows <= 0 || !(most > 0)) return;
    int64_t n = begin[rows] - begin[0];
    /* score / Smax where a record's wave starts, going left */
    double *start = xcalloc((size_t)n + 1, sizeof *start);
    int *of = xcalloc((size_t)rows, sizeof *of);
    for (int i = 0; i < records; i++) {
        int orig = rec[i].orig;
        if (rec[i].row < 0 || orig < 0 || orig >= rows) continue;
        of[orig]++;
        int64_t at;
        double x = rl_scale_start(&at, &rec[i], begin[orig + 1] - begin[orig], most, discount);
        if (at >= 0) start[begin[orig] - begin[0] + at] += x;
    }
    for (int row = 0; row < rows; row++) {
        double wave = 0;
        for (int64_t i = begin[row + 1] - 1; of[row] && i >= begin[row]; i--) {
            wave = discount * wave + start[i - begin[0]];
            reward[i] = (acc_t)((double)reward[i] * (1 + wave / of[row]));
        }
    }
    free(start);
    free(of);
}
