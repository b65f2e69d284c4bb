/* golden_case.c: reading and comparing golden cases. Nothing in a file is trusted: sizes are checked against the
 * lengths of the arrays. */
#include "eval/golden/golden_case.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 1 << 20, MOST_LEN = 1 << 20, MOST_CELLS = 1 << 26 };

static void broken(struct golden_case *c, const char *path, const char *what)
{
    if (!c->broken) fail(c->e, "case \"%s\": field \"%s\" %s", c->name, path, what);
    c->broken = true;
}

static size_t count_cases(const json_t *root, const char *list, struct err *e)
{
    const json_t *a = json_object_get(root, list);
    if (!json_is_array(a) || json_array_size(a) == 0) fail(e, "no array \"%s\" with cases in it", list);
    return json_array_size(a);
}

static struct golden_case open_case(const json_t *root, const char *list, size_t i, struct golden_tally *t,
                                    struct err *e)
{
    struct golden_case c = { .json = json_array_get(json_object_get(root, list), i), .e = e, .tally = t };
    const char *name = json_string_value(json_object_get(c.json, "name"));
    if (name) snprintf(c.name, sizeof c.name, "%s", name);
    else snprintf(c.name, sizeof c.name, "number %zu of %s", i, list);
    return c;
}

static bool close_case(struct golden_case *c)
{
    for (int i = 0; i < c->owns; i++) free(c->owned[i]);
    if (c->broken) return false;
    struct golden_tally *t = c->tally;
    if (c->skipped) {
        if (!t->skipped++) snprintf(t->why, sizeof t->why, "%s", c->skipped);
        return true;
    }
    if (c->worst <= 1) t->passed++;
    else t->failed++;
    if (!t->worst_case[0] || c->worst > t->worst) {
        t->worst = c->worst;
        snprintf(t->worst_case, sizeof t->worst_case, "%s", c->name);
    }
    return true;
}

const json_t *golden_field(struct golden_case *c, const char *path)
{
    const char *dot = strchr(path, '.');
    const json_t *in = c->json;
    if (dot) {
        char outer[64];
        snprintf(outer, sizeof outer, "%.*s", (int)(dot - path), path);
        in = json_object_get(in, outer);
    }
    const json_t *j = json_object_get(in, dot ? dot + 1 : path);
    if (!j) broken(c, path, "is missing");
    return j;
}

bool golden_is_null(struct golden_case *c, const char *path)
{
    return json_is_null(golden_field(c, path));
}

double golden_number(struct golden_case *c, const char *path)
{
    const json_t *j = golden_field(c, path);
    if (!j || json_is_null(j)) return (double)NAN;
    if (!json_is_number(j)) { broken(c, path, "is not a number"); return 0; }
    return json_number_value(j);
}

int golden_int(struct golden_case *c, const char *path)
{
    double x = golden_number(c, path);
    if (c->broken) return 0;
    if (!(fabs(x) <= INT32_MAX) || x != floor(x)) {
        broken(c, path, "is not a whole number that fits 32 bits");
        return 0;
    }
    return (int)x;
}

bool golden_bool(struct golden_case *c, const char *path, bool otherwise)
{
    const json_t *j = golden_field(c, path);
    if (!j || json_is_null(j)) return otherwise;
    if (!json_is_boolean(j)) broken(c, path, "is neither true nor false");
    return json_is_true(j);
}

const char *golden_text(struct golden_case *c, const char *path)
{
    const json_t *j = golden_field(c, path);
    if (!json_is_string(j)) { broken(c, path, "is not a text"); return ""; }
    return json_string_value(j);
}

void *golden_alloc(struct golden_case *c, size_t bytes)
{
    ENSURE(c->owns < (int)(sizeof c->owned / sizeof *c->owned));
    return c->owned[c->owns++] = xcalloc(bytes + 1, 1);
}

int64_t golden_length(struct golden_case *c, const char *path)
{
    const json_t *j = golden_field(c, path);
    if (j && !json_is_array(j)) broken(c, path, "is not an array");
    return (int64_t)json_array_size(j);
}

double *golden_doubles(struct golden_case *c, const char *path, int64_t n)
{
    int64_t length = golden_length(c, path);
    const json_t *j = golden_field(c, path);
    if (c->broken) return NULL;
    if (length != n) { broken(c, path, "does not have as many elements as the case's sizes say"); return NULL; }
    double *x = golden_alloc(c, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(j, (size_t)i);
        if (!json_is_number(v) && !json_is_null(v)) {
            broken(c, path, "holds something that is not a number");
            return NULL;
        }
        x[i] = json_is_null(v) ? (double)NAN : json_number_value(v);
    }
    return x;
}

acc_t *golden_accs(struct golden_case *c, const char *path, int64_t n)
{
    double *x = golden_doubles(c, path, n);
    if (!x) return NULL;
    acc_t *w = golden_alloc(c, (size_t)n * sizeof *w);
    for (int64_t i = 0; i < n; i++) w[i] = (acc_t)x[i];
    return w;
}

int *golden_ints(struct golden_case *c, const char *path, int64_t n)
{
    double *x = golden_doubles(c, path, n);
    if (!x) return NULL;
    int *k = golden_alloc(c, (size_t)n * sizeof *k);
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs(x[i]) <= INT32_MAX) || x[i] != floor(x[i])) {
            broken(c, path, "holds something that is not a whole number of 32 bits");
            return NULL;
        }
        k[i] = (int)x[i];
    }
    return k;
}

uint8_t *golden_bytes(struct golden_case *c, const char *path, int64_t n)
{
    double *x = golden_doubles(c, path, n);
    if (!x) return NULL;
    uint8_t *b = golden_alloc(c, (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        if (x[i] != 0 && x[i] != 1) { broken(c, path, "holds something other than 0 and 1"); return NULL; }
        b[i] = x[i] != 0;
    }
    return b;
}

bool golden_shape(struct golden_case *c, int *rows, int *len)
{
    *rows = golden_int(c, "rows");
    *len = golden_int(c, "L");
    if (c->broken) return false;
    if (*rows < 1 || *rows > MOST_ROWS) broken(c, "rows", "is out of range");
    else if (*len < 1 || *len > MOST_LEN || (int64_t)*rows * *len > MOST_CELLS) broken(c, "L", "is out of range");
    return !c->broken;
}

int64_t *golden_begin(struct golden_case *c, int rows, int len)
{
    int64_t *begin = golden_alloc(c, ((size_t)rows + 1) * sizeof *begin);
    for (int r = 0; r <= rows; r++) begin[r] = (int64_t)r * len;
    return begin;
}

/* Enters how far off a number is; the first wrong one of a case is printed: enough to start from. */
static void enter(struct golden_case *c, const char *what, int64_t i, double got, double want, double allowed,
                  double off)
{
    if (off > c->worst) c->worst = off;
    if (off <= 1 || c->printed) return;
    c->printed = true;
    fprintf(stderr, "case \"%s\": %s[%lld]: got %.9g, want %.9g, allowed %.2e\n", c->name, what, (long long)i, got,
            want, allowed);
}

void golden_near(struct golden_case *c, const char *what, int64_t i, double got, double want, double allowed)
{
    bool want_finite = !isnan(want), got_finite = fabs(got) <= (double)FLT_MAX;
    double off = want_finite && got_finite   ? fabs(got - want) / allowed
                 : want_finite == got_finite ? 0
                                             : (double)INFINITY;
    enter(c, what, i, got, want, allowed, off);
}

void golden_same(struct golden_case *c, const char *what, int64_t i, double got, double want)
{
    enter(c, what, i, got, want, 0, got == want ? 0 : (double)INFINITY);
}

double golden_limit(double x, double noise)
{
    return 1e-5 * (1 + (isnan(x) ? 0 : fabs(x))) + 2 * (isnan(noise) ? 0 : noise);
}

void golden_near_all(struct golden_case *c, const char *what, const acc_t *got, const double *want, int64_t n,
                     double noise)
{
    for (int64_t i = 0; i < n; i++) golden_near(c, what, i, (double)got[i], want[i], golden_limit(want[i], noise));
}

bool golden_each(const json_t *root, const char *list, void (*check)(struct golden_case *), struct golden_tally *t,
                 struct err *e)
{
    size_t n = count_cases(root, list, e);
    for (size_t i = 0; i < n; i++) {
        struct golden_case c = open_case(root, list, i, t, e);
        check(&c);
        if (!close_case(&c)) return false;
    }
    return n > 0;
}
