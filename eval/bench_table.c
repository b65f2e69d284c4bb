/* bench_table.c: rows of measurements side by side: ours, then whoever measured the same name and shape, with the ratio of times. */
#include "eval/bench.h"
#include "base/file.h"
#include "base/str.h"
#include <string.h>

enum { FILE_MOST = 64 << 20 };

/* Rows of a file of JSON lines, or of the "bench" and "peers" arrays of a gpu-check result, appended to all. */
static bool read_rows(json_t *all, const char *path, struct err *e)
{
    struct str text = { 0 };
    json_error_t at;
    if (!file_read(path, FILE_MOST, &text, e)) {
        str_free(&text);
        return false;
    }
    json_t *whole = json_loadb(text.p, text.n, 0, &at);
    if (whole && (json_object_get(whole, "bench") || json_object_get(whole, "peers"))) {
        json_array_extend(all, json_object_get(whole, "bench"));
        json_array_extend(all, json_object_get(whole, "peers"));
        json_decref(whole);
        str_free(&text);
        return true;
    }
    json_decref(whole);
    int line = 1;
    for (char *p = text.p; p < text.p + text.n; line++) {
        char *end = memchr(p, '\n', (size_t)(text.p + text.n - p));
        if (!end) end = text.p + text.n;
        json_t *row = end > p ? json_loadb(p, (size_t)(end - p), 0, &at) : NULL;
        if (end > p && !json_is_object(row)) {
            json_decref(row);
            str_free(&text);
            return fail(e, "%s:%d: not a JSON object: %s", path, line, row ? "another value" : at.text);
        }
        if (row) json_array_append_new(all, row);
        p = end + 1;
    }
    str_free(&text);
    return true;
}

static const char *string_of(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));
    return s ? s : "";
}

static bool same_case(const json_t *a, const json_t *b)
{
    return !strcmp(string_of(a, "name"), string_of(b, "name")) && json_equal(json_object_get(a, "shape"), json_object_get(b, "shape"));
}

static void print_row(FILE *f, const json_t *row, const json_t *ours)
{
    const char *peer = string_of(row, "peer");
    struct str shape = { 0 };
    if (json_is_object(json_object_get(row, "shape"))) bench_shape_text(json_object_get(row, "shape"), &shape);
    const double us = json_number_value(json_object_get(row, "us"));
    if (!json_object_get(row, "us")) {
        fprintf(f, "%-16s %-46s %-24s %s\n", string_of(row, "name"), shape.n ? shape.p : "", peer, string_of(row, "left_out"));
    } else {
        fprintf(f, "%-16s %-46s %-24s %12.2f us %10.4g %-8s", string_of(row, "name"), shape.n ? shape.p : "", *peer ? peer : "appo", us,
                json_number_value(json_object_get(row, "rate")), string_of(row, "unit"));
        if (!*peer) fprintf(f, " %5.1f %% of %s", json_number_value(json_object_get(row, "percent")), string_of(row, "of"));
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
        json_array_foreach(all, k, other) if (*string_of(other, "peer") && same_case(row, other)) print_row(text, other, row);
    }
    json_array_foreach(all, i, row) {                   /* peers' rows that nothing of ours stands beside */
        bool beside = !*string_of(row, "peer");
        json_array_foreach(all, k, other) beside = beside || (!*string_of(other, "peer") && same_case(row, other));
        if (!beside) print_row(text, row, NULL);
    }
    json_decref(all);
    return true;
}
