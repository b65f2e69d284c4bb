/* test_same_run.c: compares two runs: METRICS METRICS TOLERANCE: two metrics.jsonl, and SAFETENSORS SAFETENSORS
 * TOLERANCE: two files of weights. Prints the largest difference, relative above 1; status 1 if one is above the
 * tolerance. tests/ranks/zero.sh calls it. Without arguments it tests itself. */
#include "base/arith.h"
#include "base/file.h"
#include "base/json.h"
#include "model/weights/safetensors.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>

/* Of the clock, the machine and the number of ranks. */
static const char *const other[] = { "timing_", "perf/", "ranks/" };
/* Metrics in which rounding is larger, by this factor: extremes of an exponential of sums, the norm of a gradient whose
 * large parts cancel, scores in units of a standard deviation that begins near 0, shares of tokens of which one may lie
 * on the edge. */
static const struct { const char *begin; double factor; } looser[] = {
    { "appo/branch_score/", 1e4 }, { "appo/iw_clip", 1e3 }, { "actor/pg_clipfrac", 1e3 },
    { "appo/future_omega/m", 100 }, { "appo/future_factor/m", 100 }, { "appo/omega_clamped/m", 100 },
    { "actor/grad_norm", 100 },
};

static double off(double a, double b) { return a == b ? 0 : fabs(a - b) / MAX(1.0, MAX(fabs(a), fabs(b))); }

static double factor_of(const char *name)
{
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) if (!strncmp(name, other[i], strlen(other[i]))) return 0;
    for (size_t i = 0; i < sizeof looser / sizeof *looser; i++)
        if (!strncmp(name, looser[i].begin, strlen(looser[i].begin))) return looser[i].factor;
    return 1;
}

struct worst { double off, of_tolerance; char name[160]; };
static void note(struct worst *w, double d, double allowed, const char *name)
{
    if (isfinite(d) && d / allowed <= w->of_tolerance) return;
    w->off = d;
    w->of_tolerance = isfinite(d) ? d / allowed : (double)INFINITY;
    snprintf(w->name, sizeof w->name, "%s", name);
}

/* The next line as JSON; NULL at the end. */
static json_t *line(FILE *f, const char *path)
{
    static char text[1 << 16];
    struct err e;
    if (!fgets(text, sizeof text, f)) return NULL;
    json_t *j = json_from(path, text, strlen(text), &e);
    if (!j) die("%s", e.text);
    return j;
}

static void compare_step(struct worst *w, json_t *a, json_t *b, double tolerance)
{
    const char *key;
    char name[160];
    json_t *x;
    long long step = json_integer_value(json_object_get(a, "step"));
    a = json_object_get(a, "data");
    b = json_object_get(b, "data");
    json_object_foreach(a, key, x) {
        double factor = factor_of(key);
        json_t *y = json_object_get(b, key);
        if (!factor) continue;
        snprintf(name, sizeof name, "%s of step %lld", key, step);
        note(w, y ? off(json_number_value(x), json_number_value(y)) : (double)NAN, factor * tolerance, name);
    }
}

static void compare_metrics(struct worst *w, const char *one, const char *two, double tolerance)
{
    FILE *f = fopen(one, "r"), *g = fopen(two, "r");
    if (!f || !g) die("%s: no such file", f ? two : one);
    for (;;) {
        json_t *a = line(f, one), *b = line(g, two);
        if (!a != !b) note(w, (double)NAN, tolerance, "the number of steps");
        if (a && b) compare_step(w, a, b, tolerance);
        json_decref(a);
        json_decref(b);
        if (!a || !b) break;
    }
    fclose(f);
    fclose(g);
}

static void compare_weights(struct worst *w, const char *one, const char *two, double tolerance)
{
    struct err e;
    struct st_file *f = st_open(one, &e), *g = f ? st_open(two, &e) : NULL;
    if (!g) die("%s", e.text);
    if (st_count(f) != st_count(g)) note(w, (double)NAN, tolerance, "the number of tensors");
    for (int i = 0; i < st_count(f); i++) {
        const struct st_tensor *x = st_at(f, i), *y = st_find(g, x->name);
        if (!y || y->count != x->count) { note(w, (double)NAN, tolerance, x->name); continue; }
        double *a = xmalloc((size_t)x->count * sizeof *a), *b = xmalloc((size_t)x->count * sizeof *b);
        if (!st_get_f64(x, 0, x->count, a) || !st_get_f64(y, 0, x->count, b)) die("%s is not of numbers", x->name);
        for (int64_t k = 0; k < x->count; k++) note(w, off(a[k], b[k]), tolerance, x->name);
        free(a);
        free(b);
    }
    st_close(f);
    st_close(g);
}

static bool is_metrics(const char *path) { return strlen(path) > 6 && !strcmp(path + strlen(path) - 6, ".jsonl"); }

static int compare(const char *one, const char *two, double tolerance, bool quiet)
{
    struct worst w = { 0 };
    if (is_metrics(one)) compare_metrics(&w, one, two, tolerance);
    else compare_weights(&w, one, two, tolerance);
    if (!quiet) printf("%s: largest difference %.2g%s%s\n", w.of_tolerance <= 1 ? "same" : "NOT THE SAME", w.off,
                       *w.name ? ", " : "", w.name);
    return w.of_tolerance <= 1 ? 0 : 1;
}

static const char *written(const char *name, const char *text)
{
    struct err e;
    const char *path = in_dir(name);
    if (!file_write(path, text, strlen(text), &e)) die("%s", e.text);
    return path;
}

/* Each pair differs in one thing. */
static void test_metrics(void **state)
{
    (void)state;
    static const char step[] = "{\"step\": 1, \"data\": {\"actor/pg_loss\": 0.5, \"timing_s/gen\": 3}}\n";
    static const struct { const char *text; int status; } cases[] = {
        { step, 0 },
        { "{\"step\": 1, \"data\": {\"actor/pg_loss\": 0.5000005, \"timing_s/gen\": 9}}\n", 0 },
        { "{\"step\": 1, \"data\": {\"actor/pg_loss\": 0.500002, \"timing_s/gen\": 3}}\n", 1 },
        { "{\"step\": 1, \"data\": {\"timing_s/gen\": 3}}\n", 1 },
        { "{\"step\": 1, \"data\": {\"actor/pg_loss\": null, \"timing_s/gen\": 3}}\n", 1 },
        { "", 1 },
    };
    written("a.jsonl", step);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        written("b.jsonl", cases[i].text);
        int got = compare(in_dir("a.jsonl"), in_dir("b.jsonl"), 1e-6, true);
        CHECK(got == cases[i].status, "case %zu: status %d", i, got);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_metrics) };
    if (argc == 4) return compare(argv[1], argv[2], atof(argv[3]), false);
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
