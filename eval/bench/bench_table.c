/* bench_table.c: rows of measurements side by side: ours, then whoever measured the same name and shape, with the ratio
 * of times. */
#include "eval/bench/bench.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include <string.h>

enum { FILE_MOST = 64 << 20, ROWS_MOST = 4096 };

/* One file's rows, a line each, appended to all. */
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
        json_t *row = end > p ? json_from_with(place.p, p, (size_t)(end - p), JSON_DECODE_ANY, e) : NULL;
        if (end > p && !row) ok = false;
        else if (row && !json_is_object(row)) ok = fail(e, "%s: not a JSON object", place.p);
        if (ok && row) json_array_append(all, row);
        json_decref(row);
        p = end + 1;
        if (ok && json_array_size(all) > ROWS_MOST)
            ok = fail(e, "%s: more than %d rows; every one is compared with every other", path, ROWS_MOST);
    }
    str_free(&place);
    return ok;
}

/* Rows of a file of JSON lines, or of the "bench" and "peers" arrays of a gpu-check result, appended to all. */
static bool read_rows(json_t *all, const char *path, struct err *e)
{
    static const char *const lists[] = { "bench", "peers" };
    struct str text = { 0 };
    bool ok = file_read(path, FILE_MOST, &text, e), lines = true;
    json_t *whole = ok ? json_from(path, text.p, text.n, NULL) : NULL;
    for (int i = 0; ok && i < 2; i++) {
        const json_t *list = json_object_get(whole, lists[i]);
        size_t k;
        json_t *row;
        lines = lines && !list;
        json_array_foreach((json_t *)(uintptr_t)list, k, row) {
            if (!json_is_object(row)) { ok = fail(e, "%s: %s[%zu]: not a JSON object", path, lists[i], k); break; }
            json_array_append(all, row);
        }
    }
    json_decref(whole);
    if (ok && lines) ok = read_lines(all, path, &text, e);
    if (ok && json_array_size(all) > ROWS_MOST)
        ok = fail(e, "%s: more than %d rows; every one is compared with every other", path, ROWS_MOST);
    str_free(&text);
    return ok;
}

static const char *string_of(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));
    return s ? s : "";
}

static bool same_case(const json_t *a, const json_t *b)
{
    return !strcmp(string_of(a, "name"), string_of(b, "name")) &&
           json_equal(json_object_get(a, "shape"), json_object_get(b, "shape"));
}

static void print_row(FILE *f, const json_t *row, const json_t *ours)
{
    const char *peer = string_of(row, "peer");
    struct str shape = { 0 };
    if (json_is_object(json_object_get(row, "shape"))) bench_shape_text(json_object_get(row, "shape"), &shape);
    const double us = json_number_value(json_object_get(row, "us"));
    if (!json_object_get(row, "us")) {
        fprintf(f, "%-16s %-46s %-24s %s\n", string_of(row, "name"), shape.n ? shape.p : "", peer,
                string_of(row, "left_out"));
    } else {
        fprintf(f, "%-16s %-46s %-24s %12.2f us %10.4g %-8s", string_of(row, "name"), shape.n ? shape.p : "",
                *peer ? peer : "appo", us, json_number_value(json_object_get(row, "rate")), string_of(row, "unit"));
        if (!*peer)
            fprintf(f, " %5.1f %% of %s", json_number_value(json_object_get(row, "percent")), string_of(row, "of"));
        else if (ours) fprintf(f, " %5.3g x our time", us / json_number_value(json_object_get(ours, "us")));
        fprintf(f, "\n");
    }
    str_free(&shape);
}

bool bench_table(FILE *text, char *const *files, int count, struct err *e)
{
    json_t *all = json_array(), *row, *other;
    size_t i, k;
    for (int n = 0; n < count; n++)
        if (!read_rows(all, files[n], e)) {
            json_decref(all);
            return false;
        }
    json_array_foreach(all, i, row) {
        if (*string_of(row, "peer")) continue;
        print_row(text, row, NULL);
        json_array_foreach(all, k, other) if (*string_of(other, "peer") && same_case(row, other))
            print_row(text, other, row);
    }
    json_array_foreach(all, i, row) {                   /* peers' rows that nothing of ours stands beside */
        bool beside = !*string_of(row, "peer");
        json_array_foreach(all, k, other) beside = beside || (!*string_of(other, "peer") && same_case(row, other));
        if (!beside) print_row(text, row, NULL);
    }
    json_decref(all);
    return true;
}
