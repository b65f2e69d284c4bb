/* check.c: the checks of debug builds. Whole results are fetched to the host, which makes a step on a GPU many times
 * slower. */
#include "kernels/check.h"
#include "base/err.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A host copy, which the caller frees. In a dry run nothing is copied: zeros, which pass every check. */
static void *fetched(const void *x, size_t bytes)
{
    void *h = xcalloc(1, bytes);
    dev_get(h, x, bytes);
    return h;
}

_Noreturn static void not_a_number(const char *op, const char *what, int64_t row, int64_t col)
{
    die("%s: row %lld, column %lld of %s is not a number (debug build: the inputs were checked when they were made)",
        op, (long long)row, (long long)col, what);
}

void check_elems(const char *op, const char *what, const elem_t *x, int64_t n, int64_t cols, int64_t ld)
{
    if (!x || n <= 0 || cols <= 0) return;
    elem_t *h = fetched(x, (size_t)((n - 1) * ld + cols) * sizeof *h);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < cols; j++)
            if (isnan(elem_to(h[i * ld + j]))) not_a_number(op, what, i, j);
    free(h);
}

void check_accs(const char *op, const char *what, const acc_t *x, int64_t n, int64_t cols, int64_t ld)
{
    if (!x || n <= 0 || cols <= 0) return;
    acc_t *h = fetched(x, (size_t)((n - 1) * ld + cols) * sizeof *h);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < cols; j++)
            if (isnan(h[i * ld + j])) not_a_number(op, what, i, j);
    free(h);
}

void check_bf16(const char *op, const char *what, const uint16_t *x, int64_t n)
{
    if (!x || n <= 0) return;
    uint16_t *h = fetched(x, (size_t)n * sizeof *h);
    for (int64_t i = 0; i < n; i++)
        if ((h[i] & 0x7fff) > 0x7f80) not_a_number(op, what, 0, i);
    free(h);
}

void check_doubles(const char *op, const char *what, const double *x, int64_t n)
{
    if (!x || n <= 0) return;
    double *h = fetched(x, (size_t)n * sizeof *h);
    for (int64_t i = 0; i < n; i++)
        if (isnan(h[i])) not_a_number(op, what, 0, i);
    free(h);
}

void check_host(const char *op, const char *what, const acc_t *x, const uint8_t *m, int64_t n)
{
    for (int64_t i = 0; x && i < n; i++)
        if ((!m || m[i]) && isnan(x[i])) not_a_number(op, what, i, 0);
}

void check_number(const char *op, const char *what, double x)
{
    if (isnan(x)) die("%s: %s is not a number", op, what);
}

void check_logp(const char *op, const acc_t *logp, int64_t n)
{
    if (!logp || n <= 0) return;
    acc_t *h = fetched(logp, (size_t)n * sizeof *h);
    for (int64_t i = 0; i < n; i++)
        if (!(h[i] <= 0))
            die("%s: row %lld: a log-probability of %.9g; it is at most 0", op, (long long)i, (double)h[i]);
    free(h);
}

void check_entropy(const char *op, const acc_t *ent, int64_t n, int vocab)
{
    if (!ent || n <= 0) return;
    acc_t *h = fetched(ent, (size_t)n * sizeof *h);
    const double most = log((double)vocab) * (1 + (sizeof(acc_t) == 8 ? 0x1p-52 : 0x1p-23));
    for (int64_t i = 0; i < n; i++)
        if (!(h[i] >= 0 && (double)h[i] <= most))
            die("%s: row %lld: an entropy of %.9g nats; it is between 0 and ln %d = %.9g", op, (long long)i,
                (double)h[i], vocab, log((double)vocab));
    free(h);
}

/* Tolerance of the sum of row i. */
static double allowed(const struct dlogits_args *c, const acc_t *lse, const acc_t *ent, const acc_t *g,
                      const acc_t *ge, const int *begin, int64_t i)
{
    const double store = sizeof(elem_t) == 2   ? 0x1p-9
                         : sizeof(elem_t) == 4 ? 0x1p-24
                                               : 0x1p-53,
                 sums = sizeof(acc_t) == 4 ? 0x1p-24 : 0x1p-53;
    double weight = ge ? fabs((double)ge[i]) * (1 + (double)ent[i]) : 0;
    for (int64_t t = begin ? begin[i] : i; t < (begin ? begin[i + 1] : i + 1); t++) weight += fabs((double)g[t]);
    return c->inv_temp * weight * (16 * store + (16 + fabs((double)lse[i])) * 2 * sums);
}

void check_dlogits(const struct dlogits_args *c)
{
    if (c->n <= 0) return;
    int *begin = c->begin ? fetched(c->begin, (size_t)(c->n + 1) * sizeof *begin) : NULL;
    size_t rows = (size_t)c->n, targets = begin ? (size_t)begin[c->n] : rows;
    elem_t *h = fetched(c->x, (size_t)((c->n - 1) * c->ld + c->vocab) * sizeof *h);
    acc_t *lse = fetched(c->lse, rows * sizeof *lse), *g = fetched(c->g, targets * sizeof *g);
    acc_t *ge = c->ge ? fetched(c->ge, rows * sizeof *ge) : NULL,
          *ent = c->ge ? fetched(c->ent, rows * sizeof *ent) : NULL;
    for (int64_t i = 0; i < c->n; i++) {
        double sum = 0, may = allowed(c, lse, ent, g, ge, begin, i);
        for (int64_t j = 0; j < c->vocab; j++) sum += elem_to(h[i * c->ld + j]);
        if (!(fabs(sum) <= may))
            die("op_dlogits: row %lld sums to %.3g; it sums to 0 within %.3g", (long long)i, sum, may);
    }
    void *gone[] = { begin, h, lse, g, ge, ent };
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) free(gone[i]);
}
