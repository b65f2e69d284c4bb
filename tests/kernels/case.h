/* case.h: shared by the tests of the operations. Every array on the device stands between two walls of NaN that must be
 * unchanged afterwards; inputs are rounded to the number type first, so that the double reference works on the
 * same numbers. */
#pragma once
#include "base/philox.h"
#include "kernels/ops.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

static const double EPS = sizeof(acc_t) == 8 ? 0x1p-53 : 0x1p-24;
enum { WALL = 32, KEEPS = 8192 };

/* Everything allocated in a test case, freed by drop(). */
static void *kept[KEEPS];
static bool kept_dev[KEEPS];
static int keeps;
static inline void *keep(void *p, bool dev)
{
    ENSURE(keeps < KEEPS);
    kept[keeps] = p;
    kept_dev[keeps++] = dev;
    return p;
}
static inline void drop(void)
{
    while (keeps--) if (kept_dev[keeps]) dev_free(kept[keeps]);
                    else free(kept[keeps]);
    keeps = 0;
}

static inline double *host(int64_t n) { return keep(xcalloc((size_t)n + 1, sizeof(double)), false); }
static inline double rounded(double x) { return elem_to(elem_from(x)); }
/* Tolerance of storing x, beyond that of the float sums: half a unit in the last place of bf16, 0 for the wider
 * types. */
static inline double stored(double x) { return sizeof(elem_t) == 2 ? 0x1p-8 * fabs(x) : 0; }
static inline double *noise(struct rng *r, int64_t n, double scale)
{
    double *x = host(n);
    for (int64_t i = 0; i < n; i++) x[i] = rounded((2 * rng_uniform(r) - 1) * scale);
    return x;
}

/* n numbers on the device: those of x, or NaN where x is NULL. */
static inline elem_t *elems(const double *x, int64_t n)
{
    elem_t *h = xmalloc((size_t)(n + 2 * WALL) * sizeof *h),
           *d = keep(dev_alloc((size_t)(n + 2 * WALL) * sizeof *d), true);
    for (int64_t i = 0; i < n + 2 * WALL; i++) h[i] = elem_from((double)NAN);
    if (x) for (int64_t i = 0; i < n; i++) h[WALL + i] = elem_from(x[i]);
    dev_put(d, h, (size_t)(n + 2 * WALL) * sizeof *h);
    free(h);
    return d + WALL;
}
static inline acc_t *accs(const double *x, int64_t n)
{
    acc_t *h = xmalloc((size_t)(n + 2 * WALL) * sizeof *h),
          *d = keep(dev_alloc((size_t)(n + 2 * WALL) * sizeof *d), true);
    for (int64_t i = 0; i < n + 2 * WALL; i++) h[i] = (acc_t)NAN;
    if (x) for (int64_t i = 0; i < n; i++) h[WALL + i] = (acc_t)x[i];
    dev_put(d, h, (size_t)(n + 2 * WALL) * sizeof *h);
    free(h);
    return d + WALL;
}
static inline int *ints(const int *x, int64_t n)
{
    int *d = keep(dev_alloc((size_t)n * sizeof *d + 1), true);
    dev_put(d, x, (size_t)n * sizeof *d);
    return d;
}

/* The n numbers at d back on the host; the walls must stand. */
static inline double *got(const elem_t *d, int64_t n)
{
    elem_t *h = xmalloc((size_t)(n + 2 * WALL) * sizeof *h);
    double *x = host(n);
    dev_get(h, d - WALL, (size_t)(n + 2 * WALL) * sizeof *h);
    for (int64_t i = 0; i < WALL; i++)
        CHECK(isnan(elem_to(h[i])) && isnan(elem_to(h[WALL + n + i])), "written outside of %lld numbers", (long long)n);
    for (int64_t i = 0; i < n; i++) x[i] = elem_to(h[WALL + i]);
    free(h);
    return x;
}
static inline double *got_acc(const acc_t *d, int64_t n)
{
    acc_t *h = xmalloc((size_t)(n + 2 * WALL) * sizeof *h);
    double *x = host(n);
    dev_get(h, d - WALL, (size_t)(n + 2 * WALL) * sizeof *h);
    for (int64_t i = 0; i < WALL; i++)
        CHECK(isnan((double)h[i]) && isnan((double)h[WALL + n + i]), "written outside of %lld numbers", (long long)n);
    for (int64_t i = 0; i < n; i++) x[i] = (double)h[WALL + i];
    free(h);
    return x;
}
static inline bool same_bits(const double *a, const double *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) if (memcmp(a + i, b + i, sizeof *a) && !(isnan(a[i]) && isnan(b[i]))) return false;
    return true;
}

/* Every number within allowed(i) = c EPS (1 + mag[i]); mag NULL: |want|. In the double build the reference itself
 * rounds, hence the factor. */
static inline double allowed(double mag, double c) { return c * (sizeof(acc_t) == 8 ? 4 : 1) * EPS * (1 + mag); }
static inline void near_all(const char *what, const double *g, const double *want, const double *mag, int64_t n,
                            double c)
{
    for (int64_t i = 0; i < n; i++)
        CHECK_NEAR(g[i], want[i], allowed(mag ? mag[i] : fabs(want[i]), c), "%s, element %lld of %lld", what,
                   (long long)i, (long long)n);
}
/* The same for results that are stored as elem_t. */
static inline void near_stored(const char *what, const double *g, const double *want, const double *mag, int64_t n,
                               double c)
{
    for (int64_t i = 0; i < n; i++)
        CHECK_NEAR(g[i], want[i], allowed(mag ? mag[i] : fabs(want[i]), c) + stored(want[i]),
                   "%s, element %lld of %lld", what, (long long)i, (long long)n);
}
