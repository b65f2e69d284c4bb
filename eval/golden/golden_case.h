/* golden_case.h: reads one case of a golden file and measures how far our numbers are from it. A field that is missing
 * or of the wrong shape breaks the case: the first such sentence stays in e, later reads give NULL and 0, so that a
 * case reads all its fields and then asks `broken` once. */
#pragma once
#include "eval/golden/golden.h"
#include "kernels/dev.h"
#include <stdint.h>

struct golden_case {
    const json_t *json;
    char name[96];
    struct err *e;
    struct golden_tally *tally;
    bool broken, said;
    double worst;
    void *room[48];             /* what the arrays below live in */
    int rooms;
};

/* Runs check on every element of the array `list` of root; a case is named by its field "name", else by its number.
 * False with a sentence at the first broken case, or where there is no case. */
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
/* Arrays of exactly n; null elements are NaN as wide and double, broken as int and byte (which is 0 or 1). */
acc_t *golden_wides(struct golden_case *c, const char *path, int64_t n);
double *golden_doubles(struct golden_case *c, const char *path, int64_t n);
int *golden_ints(struct golden_case *c, const char *path, int64_t n);
uint8_t *golden_bytes(struct golden_case *c, const char *path, int64_t n);
int64_t golden_length(struct golden_case *c, const char *path);       /* of an array */
/* rows and L of the case; both bounded, so that rows * L fits any array index here. */
bool golden_shape(struct golden_case *c, int *rows, int *len);
int64_t *golden_begin(struct golden_case *c, int rows, int len);      /* 0, len, 2 len ... */
void *golden_room(struct golden_case *c, size_t bytes);                /* zeroed, freed with the case */

/* Enters |got - want| / allowed into the case. want NaN (null in the file): got must not be finite as float32
 * either. */
void golden_near(struct golden_case *c, const char *what, int64_t i, double got, double want, double allowed);
void golden_same(struct golden_case *c, const char *what, int64_t i, double got, double want);      /* exactly */
/* Limit of a float32 number x: 1e-5 (1 + |x|), widened by twice the rounding error that the file itself records
 * (fp64_maxdiff; NaN: none): the z-scores of nearly constant rows are off by up to 4e-5 there. golden_near_all enters n
 * numbers with it. */
double golden_limit(double x, double noise);
void golden_near_all(struct golden_case *c, const char *what, const acc_t *got, const double *want, int64_t n,
                     double noise);
