/* bench_table.c: results side by side: ours, then those of other programs with the same name and shape, with the ratio
 * of times. */
#include "eval/bench/bench_table.h"
#include "eval/bench/bench_result.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include <string.h>

enum { FILE_MOST = 64 << 20, RESULTS_MOST = 4096 };

/* One file's results, a line each, appended to all. */
static bool read_lines(json_t *all, const char *path, const struct str *text, struct err *e)
{
    struct str place = { 0 };
    bool ok = true;
    int line = 1;
    for (const char *p = text->p, *stop = text->p + text->n; ok && p < stop; line++) {
        const char *end = memchr(p, '\n', (size_t)(stop - p));
        if (!end) end = stop;
        str_clear(&place);
        str_printf(&place, "%s:%d", path, line);
        json_t *result = end > p ? json_from_with(place.p, p, (size_t)(end - p), JSON_DECODE_ANY, e) : NULL;
        if (end > p && !result) ok = false;
        else if (result && !json_is_object(result)) ok = fail(e, "%s: not a JSON object", place.p);
        if (ok && result) json_array_append(all, result);
        json_decref(result);
        p = end + 1;
        if (ok && json_array_size(all) > RESULTS_MOST)
            ok = fail(e, "%s: more than %d results; each is compared with each", path, RESULTS_MOST);
    }
    str_free(&place);
    return ok;
}

/* Results of a file of JSON lines, or of the "bench" and "peers" arrays of gpu-check, appended to all. */
static bool read_results(json_t *all, const char *path, struct err *e)
{
    static const char *const lists[] = { "bench", "peers" };
    struct str text = { 0 };
    bool ok = file_read(path, FILE_MOST, &text, e), lines = true;
    json_t *whole = ok ? json_from(path, text.p, text.n, NULL) : NULL;
    for (int i = 0; ok && i < 2; i++) {
        const json_t *list = json_object_get(whole, lists[i]);
        size_t k;
        json_t *result;
        lines = lines && !list;
        json_array_foreach((json_t *)(uintptr_t)list, k, result) {
            if (!json_is_object(result)) { ok = fail(e, "%s: %s[%zu]: not a JSON object", path, lists[i], k); break; }
            json_array_append(all, result);
        }
    }
    json_decref(whole);
    if (ok && lines) ok = read_lines(all, path, &text, e);
    if (ok && json_array_size(all) > RESULTS_MOST)
        ok = fail(e, "%s: more than %d results; each is compared with each", path, RESULTS_MOST);
    str_free(&text);
    return ok;
}

static const char *string_of(const json_t *result, const char *key)
{
    const char *s = json_string_value(json_object_get(result, key));
    return s ? s : "";
}

static bool same_case(const json_t *a, const json_t *b)
{
    return !strcmp(string_of(a, "name"), string_of(b, "name")) &&
           json_equal(json_object_get(a, "shape"), json_object_get(b, "shape"));
}

static void print_result(FILE *f, const json_t *result, const json_t *ours)
{
    const char *peer = string_of(result, "peer");
    struct str shape = { 0 };
    if (json_is_object(json_object_get(result, "shape"))) bench_shape_text(json_object_get(result, "shape"), &shape);
    const double us = json_number_value(json_object_get(result, "us"));
    if (!json_object_get(result, "us")) {
        fprintf(f, "%-16s %-46s %-24s %s\n", string_of(result, "name"), shape.n ? shape.p : "", peer,
                string_of(result, "left_out"));
    } else {
        fprintf(f, "%-16s %-46s %-24s %12.2f us %10.4g %-8s", string_of(result, "name"), shape.n ? shape.p : "",
                *peer ? peer : "appo", us, json_number_value(json_object_get(result, "rate")),
                string_of(result, "unit"));
        if (!*peer)
            fprintf(f, " %5.1f %% of %s", json_number_value(json_object_get(result, "percent")),
                    string_of(result, "of"));
        else if (ours) fprintf(f, " %5.3g x our time", us / json_number_value(json_object_get(ours, "us")));
        fprintf(f, "\n");
    }
    str_free(&shape);
}

bool bench_table(FILE *text, char *const *files, int count, struct err *e)
{
    json_t *all = json_array(), *result, *other;
    size_t i, k;
    for (int n = 0; n < count; n++)
        if (!read_results(all, files[n], e)) {
            json_decref(all);
            return false;
        }
    json_array_foreach(all, i, result) {
        if (*string_of(result, "peer")) continue;
        print_result(text, result, NULL);
        json_array_foreach(all, k, other) if (*string_of(other, "peer") && same_case(result, other))
            print_result(text, other, result);
    }
    json_array_foreach(all, i, result) {                   /* peers' results without one of ours beside them */
        bool beside = !*string_of(result, "peer");
        json_array_foreach(all, k, other) beside = beside || (!*string_of(other, "peer") && same_case(result, other));
        if (!beside) print_result(text, result, NULL);
    }
    json_decref(all);
    return true;
}
