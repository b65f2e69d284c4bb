/* records.c: reads records of all formats. Each JSON record is parsed on its own, so that a bad one is named by its
 * number. */
#include "data/records.h"
#include "base/file.h"
#include "data/foreign_files.h"
#include "data/near_names.h"
#include "data/parquet/parquet.h"
#include "base/json_partial.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

enum { COLUMNS_MAX = 64 };
/* max_read: limit on the bytes in wanted columns; the rest of a record may be larger (pictures) */
static const size_t max_file = (size_t)2 << 30, max_row = (size_t)256 << 20, max_read = (size_t)16 << 20;

struct records {
    char *name;
    struct str file, odd;                       /* odd: the odd values of this record */
    size_t at, from, to;                        /* the record read last */
    /* line: line breaks passed so far; record_line: the record's line, from 1 */
    long long line, record_line, number;
    bool array;
    char *column[COLUMNS_MAX + 1];
    bool all;
    struct parquet *parquet;
};

static void copy_columns(struct records *r, const char *const *columns)
{
    r->all = !columns;
    for (int k = 0; columns && columns[k]; k++) {
        ENSURE(k < COLUMNS_MAX);
        r->column[k] = xstrdup(columns[k]);
    }
}

static bool begin(struct records *r, struct err *e)
{
    const char *p = r->file.p, *foreign = foreign_is(p ? p : "", r->file.n);
    size_t n = r->file.n;
    if (foreign) return fail(e, "%s: %s", r->name, foreign);
    if (n >= 3 && !memcmp(p, "\xEF\xBB\xBF", 3)) r->at = 3;        /* a byte order mark */
    if (parquet_is(p, n)) {
        r->parquet = parquet_open(r->name, p, n, r->all ? NULL : (const char *const *)r->column, e);
        return r->parquet != NULL;
    }
    if (n && foreign_text(p, n)) {
        size_t k = r->at, shown = 0;
        while (k < n && is_space(p[k])) k++;
        while (shown < 40 && k + shown < n && (unsigned char)p[k + shown] >= ' ' && (unsigned char)p[k + shown] < 0x7f)
            shown++;
        return fail(e, "%s: is neither JSON lines nor a JSON array nor Parquet: it begins with \"%.*s\"", r->name,
                    (int)shown, p + k);
    }
    while (r->at < n && is_space(p[r->at])) {
        r->line += p[r->at] == '\n';
        r->at++;
    }
    r->array = r->at < n && p[r->at] == '[';
    r->at += r->array;
    return true;
}

struct records *records_take(const char *name, struct str *file, const char *const *columns, struct err *e)
{
    struct records *r = xcalloc(1, sizeof *r);
    r->name = xstrdup(name);
    r->file = *file;
    r->number = -1;
    copy_columns(r, columns);
    *file = (struct str){ 0 };
    if (begin(r, e)) return r;
    records_close(r);
    return NULL;
}

struct records *records_open(const char *path, const char *const *columns, struct err *e)
{
    struct str file = { 0 };
    struct records *r = file_read(path, max_file, &file, e) ? records_take(path, &file, columns, e) : NULL;
    str_free(&file);
    return r;
}

void records_close(struct records *r)
{
    if (!r) return;
    parquet_close(r->parquet);
    for (int k = 0; r->column[k]; k++) free(r->column[k]);
    str_free(&r->file);
    str_free(&r->odd);
    free(r->name);
    free(r);
}

void records_place(const struct records *r, struct str *out)
{
    if (r->parquet || r->array) str_printf(out, "%s: row %lld", r->name, r->number);
    else str_printf(out, "%s:%lld", r->name, r->record_line);
}

bool records_fail(const struct records *r, struct err *e)
{
    struct str place = { 0 };
    records_place(r, &place);
    fail_in(e, "%s", place.p);
    size_t n = strlen(e->text);
    if (r->odd.n)
        snprintf(e->text + n, sizeof e->text - n, " (values of the record that cannot be read: %s)", r->odd.p);
    str_free(&place);
    return false;
}

/* Moves to the next record, past the rest of a line or of an array's item. False: *none (no more records), or an error.
 * */
static bool find_record(struct records *r, bool *none, struct err *e)
{
    const char *p = r->file.p;
    const size_t n = r->file.n;
    *none = false;
    while (r->at < n && is_space(p[r->at])) {
        r->line += p[r->at] == '\n';
        r->at++;
    }
    /* byte order marks of concatenated files */
    if (!r->array && n - r->at >= 3 && !memcmp(p + r->at, "\xEF\xBB\xBF", 3)) r->at += 3;
    if (!r->array) {
        *none = r->at == n;
        return !*none;
    }
    if (r->at < n && r->number > 0 && p[r->at] == ',') {
        for (r->at++; r->at < n && is_space(p[r->at]); r->at++) r->line += p[r->at] == '\n';
        if (r->at < n && p[r->at] == ']')
            return fail(e, "%s:%lld: a comma before the end of the array", r->name, r->line + 1);
    } else if (r->at < n && r->number > 0 && p[r->at] != ']') {
        return fail(e, "%s:%lld: a comma or ] is needed after row %lld of the array", r->name, r->line + 1,
                    r->number - 1);
    }
    if (r->at == n) return fail(e, "%s: the file ends within its array: it is cut short", r->name);
    if (p[r->at] != ']') return true;
    for (r->at++; r->at < n; r->at++)
        if (!is_space(p[r->at]))
            return fail(e, "%s: more text after the end of its array", r->name);
    *none = true;
    return false;
}

/* Reports the place of an error in a record: the column, and the line if records span lines. */
static bool fail_at(const struct records *r, size_t at, struct err *e)
{
    size_t line = (size_t)r->line + 1, begin = r->from;
    for (size_t k = r->from; r->array && k < at && k < r->file.n; k++)
        if (r->file.p[k] == '\n') { line++; begin = k + 1; }
    while (begin && r->file.p[begin - 1] != '\n') begin--;
    if (r->array) fail_in(e, "line %zu, column %zu", line, at - begin + 1);
    else fail_in(e, "column %zu", at - begin + 1);
    return false;
}

/* Parses the record at r->at; for JSON lines its line ends at r->to. */
static json_t *parse(struct records *r, struct err *e)
{
    struct json_text t = { .p = r->file.p,
                          .n = r->to,
                          .at = r->at,
                          .columns = r->all ? NULL : (const char *const *)r->column,
                          .most = max_read };
    json_t *record = json_partial(&t, e);
    str_free(&r->odd);
    r->odd = t.odd;
    if (!record) {
        if (r->array && t.at >= r->to && r->to < r->file.n)
            return fail(e, "a row of more than %zu bytes", max_row), NULL;
        if (!r->array && t.at >= r->to)
            fail_in(e, "the row does not end on its line; where rows have several lines, the file must be one array of "
                       "them, [...]");
        fail_at(r, t.at, e);
        return NULL;
    }
    size_t end = t.at;
    while (!r->array && end < r->to && r->file.p[end] && strchr(" \t\r", r->file.p[end])) end++;
    if (!r->array && end < r->to) {
        fail(e, "more text after the row");
        fail_at(r, end, e);
        json_decref(record);
        return NULL;
    }
    r->to = end;
    return record;
}

static int next_json(struct records *r, json_t **record, struct err *e)
{
    bool none;
    if (!find_record(r, &none, e)) return none ? 0 : -1;
    const char *p = r->file.p + r->at;
    const char *stop = r->array ? NULL : memchr(p, '\n', r->file.n - r->at);
    r->from = r->at;
    r->record_line = r->line + 1;
    r->to = stop ? (size_t)(stop - r->file.p) : r->file.n;
    if (r->array && r->to - r->from > max_row) r->to = r->from + max_row;
    const size_t line_end = r->to;
    str_clear(&r->odd);
    bool ok = r->array || r->to - r->from <= max_row ||
              fail(e, "a line of %zu bytes; at most %zu are read", r->to - r->from, max_row);
    *record = ok ? parse(r, e) : NULL;
    if (!*record) return records_fail(r, e) - 1;
    if (r->array) for (size_t k = r->from; k < r->to; k++) r->line += r->file.p[k] == '\n';
    r->at = r->array ? r->to : line_end;
    return 1;
}

int records_next(struct records *r, json_t **record, struct err *e)
{
    *record = NULL;
    r->number++;
    if (r->parquet) return parquet_next(r->parquet, record, e);
    return next_json(r, record, e);
}

void records_near(const struct records *r, const char *missing, struct str *out)
{
    struct str names = { 0 }, odd = { 0 };
    str_clear(&names);
    if (r->parquet) {
        parquet_columns(r->parquet, &names);
    } else {
        static const char *const none[] = { NULL };
        struct err e;
        struct json_text t = { .p = r->file.p, .n = r->to, .at = r->from, .columns = none, .names = &names };
        json_decref(json_partial(&t, &e));
        odd = t.odd;
    }
    near_names(out, missing, &names);
    str_free(&names);
    str_free(&odd);
}

const json_t *record_at(const json_t *record, const char *path)
{
    const json_t *whole = json_object_get(record, path);           /* a column may have a dot in its name */
    for (const char *dot; !whole && (dot = strchr(path, '.')); path = dot + 1) {
        char *first = xstrdup(path);
        first[dot - path] = 0;
        record = json_object_get(record, first);
        free(first);
        if (!json_is_object(record)) return NULL;
        whole = json_object_get(record, dot + 1);
    }
    return json_is_null(whole) ? NULL : whole;
}

bool record_is_null(const json_t *record)
{
    const char *key;
    json_t *v, *w;
    if (json_is_null(record)) return true;
    if (!json_is_object(record) || !json_object_size(record)) return false;
    json_object_foreach((json_t *)record, key, v) {
        const char *inner;
        if (!json_is_null(v) && !json_is_object(v)) return false;
        json_object_foreach(v, inner, w) if (!json_is_null(w)) return false;
    }
    return true;
}
