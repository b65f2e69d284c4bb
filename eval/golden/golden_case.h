/* golden_case.h: reads one case of a golden file and measures how far our numbers are from it. A field that is missing
 * or of the wrong shape breaks the case: the first such message stays in e and later reads return NULL and 0, so that a
 * check reads all fields of its case and tests `broken` once. */
#pragma once
#include "eval/golden/golden.h"
#include "kernels/dev.h"
#include <stdint.h>

struct golden_case {
    const json_t *json;
    char name[96];
    struct err *e;
    struct golden_tally *tally;
    bool broken;
    const char *skipped;        /* not built, and why; NULL: the case counts */
    bool printed;               /* its first wrong number is on stderr */
    double worst;
    void *owned[48];            /* memory of the arrays below */
    int owns;
};

/* Runs check on every element of the array `list` of root; a case is named by its field "name", else by its number.
 * False with a message at the first broken case, or where there is no case. */
bool golden_each(const json_t *root, const char *list, void (*check)(struct golden_case *), struct golden_tally *t,
                 struct err *e);

/* Fields: a path of one name, or "outer.inner". null is NaN as a number and `otherwise` as a truth value; anything else
 * that is null is broken. */
const json_t *golden_field(struct golden_case *c, const char *path);
bool golden_is_null(struct golden_case *c, const char *path);
double golden_number(struct golden_case *c, const char *path);
int golden_int(struct golden_case *c, const char *path);
bool golden_bool(struct golden_case *c, const char *path, bool otherwise);
const char *golden_text(struct golden_case *c, const char *path);
/* Arrays of exactly n. A null element is NaN as acc_t and double; it breaks the case as int and as byte (0 or 1). */
acc_t *golden_accs(struct golden_case *c, const char *path, int64_t n);
double *golden_doubles(struct golden_case *c, const char *path, int64_t n);
int *golden_ints(struct golden_case *c, const char *path, int64_t n);
uint8_t *golden_bytes(struct golden_case *c, const char *path, int64_t n);
int64_t golden_length(struct golden_case *c, const char *path);       /* of an array */
/* rows (rollouts) and L (tokens each) of the case; both bounded, so that rows * L fits any array index here. */
bool golden_shape(struct golden_case *c, int *rows, int *len);
int64_t *golden_begin(struct golden_case *c, int rows, int len);      /* 0, len, 2 len ... */
void *golden_alloc(struct golden_case *c, size_t bytes);               /* zeroed, freed with the case */

/* Enters |got - want| / allowed into the case. want NaN (null in the file): got must not be finite as float32
 * either. */
void golden_near(struct golden_case *c, const char *what, int64_t i, double got, double want, double allowed);
void golden_same(struct golden_case *c, const char *what, int64_t i, double got, double want);      /* exactly */
/* Allowed error of a float32 number x: 1e-5 (1 + |x|), widened by twice the rounding error that the file itself records
 * (fp64_maxdiff; NaN: none): the z-scores of nearly constant rows are off by up to 4e-5 there. golden_near_all enters n
 * numbers with it. */
double golden_limit(double x, double noise);
void golden_near_all(struct golden_case *c, const char *what, const acc_t *got, const double *want, int64_t n,
                     double noise);
