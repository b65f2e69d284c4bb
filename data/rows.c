/* rows.c: one way to read rows whatever the file. A line of JSON is parsed on its own, so that a bad one is named by its number. */
#include "data/rows.h"
#include "base/file.h"
#include "data/parquet.h"
#include <stdlib.h>
#include <string.h>

static const size_t max_file = (size_t)2 << 30, max_line = (size_t)16 << 20;

struct rows { char *name; struct str file; size_t at; long long line, row; struct parquet *parquet; };

struct rows *rows_take(const char *name, struct str *file, const char *const *columns, struct err *e)
{
    struct rows *r = xcalloc(1, sizeof *r);
    r->name = xstrdup(name);
    r->file = *file;
    r->row = -1;
    *file = (struct str){ 0 };
    if (r->file.n >= 3 && !memcmp(r->file.p, "\xEF\xBB\xBF", 3)) r->at = 3;        /* a byte order mark */
    if (!parquet_is(r->file.p, r->file.n)) return r;
    r->parquet = parquet_open(name, r->file.p, r->file.n, columns, e);
    if (r->parquet) return r;
    rows_close(r);
    return NULL;
}

struct rows *rows_open(const char *path, const char *const *columns, struct err *e)
{
    struct str file = { 0 };
    struct rows *r = file_read(path, max_file, &file, e) ? rows_take(path, &file, columns, e) : NULL;
    str_free(&file);
    return r;
}

void rows_close(struct rows *r)
{
    if (!r) return;
    parquet_close(r->parquet);
    str_free(&r->file);
    free(r->name);
    free(r);
}

void rows_place(const struct rows *r, struct str *out)
{
    if (r->parquet) str_printf(out, "%s: row %lld", r->name, r->row);
    else str_printf(out, "%s:%lld", r->name, r->line);
}

bool rows_fail(const struct rows *r, struct err *e)
{
    struct str place = { 0 };
    rows_place(r, &place);
    fail_in(e, "%s", place.p);
    str_free(&place);
    return false;
}

static bool is_blank(const char *s, size_t n)
{
    for (size_t k = 0; k < n; k++) if (s[k] != ' ' && s[k] != '\t' && s[k] != '\r') return false;
    return true;
}

static json_t *parse(const char *line, size_t n, struct err *e)
{
    json_error_t why;
    if (n > max_line) { fail(e, "a line of %zu bytes; at most %zu are read", n, max_line); return NULL; }
    json_t *row = json_loadb(line, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
    if (!row) fail(e, "column %d: %s", why.column, why.text);
    return row;
}

int rows_next(struct rows *r, json_t **row, struct err *e)
{
    *row = NULL;
    r->row++;
    if (r->parquet) return parquet_next(r->parquet, row, e);
    while (r->at < r->file.n) {
        const char *p = r->file.p + r->at, *end = r->file.p + r->file.n, *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((stop ? stop : end) - p);
        r->line++;
        r->at += n + (stop != NULL);
        if (is_blank(p, n)) continue;
        *row = parse(p, n, e);
        if (!*row) rows_fail(r, e);
        return *row ? 1 : -1;
    }
    return 0;
}

const json_t *row_at(const json_t *row, const char *path)
{
    const char *dot = strchr(path, '.');
    const json_t *whole = json_object_get(row, path);           /* a column may have a dot in its name */
    if (!whole && dot) {
        char *first = xstrdup(path);
        first[dot - path] = 0;
        const json_t *inner = json_object_get(row, first);
        free(first);
        return json_is_object(inner) ? row_at(inner, dot + 1) : NULL;
    }
    return json_is_null(whole) ? NULL : whole;
}
