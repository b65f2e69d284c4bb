/* records.h: the records of a file as JSON objects, one after another: JSON lines, one JSON array of objects, or
 * Parquet; plain, gzip or zstd. The format is recognised by the file's first bytes, not by its name. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <jansson.h>

struct records;

/* columns: the dotted paths wanted, ended by NULL, at most 64; NULL: all. A '?' in front of a path: if Parquet stores
 * that column in an unsupported type, it is treated as absent. Other members are skipped whatever they hold
 * (json_partial.h, parquet.h). NULL: no such file, or an unsupported format, named if it is a known one
 * (foreign_files.h). Limits: 2 GiB unpacked, 256 MiB a record of JSON, 16 MiB of it in wanted columns. */
struct records *records_open(const char *path, const char *const *columns, struct err *e);
/* The same from bytes in memory: takes over file, which is empty afterwards. name is used in error messages. */
struct records *records_take(const char *name, struct str *file, const char *const *columns, struct err *e);

/* 1: *record is the next record, a new JSON value (an object, unless the file has something else there); 0: end of
 * file; -1: a bad record, e names its place. */
int records_next(struct records *r, json_t **record, struct err *e);
/* Appends the place of the last record read: "a.jsonl:12" (lines from 1), "a.parquet: row 11", "a.json: row 11" (an
 * array; from 0). */
void records_place(const struct records *r, struct str *out);
/* For errors in a record's content: puts its place in front of the message in e, appends the values of the record that
 * could not be read, and returns false. */
bool records_fail(const struct records *r, struct err *e);
/* Appends "; there are a, b, c. Did you mean b?" about a column that the last record read lacks. It lists the record's
 * columns and members of columns, the nearest name first. */
void records_near(const struct records *r, const char *missing, struct str *out);
void records_close(struct records *r);

/* The value of a record at a dotted path ("extra_info.index"); a column whose own name has the dot takes precedence.
 * NULL: absent, or null, which is how Parquet shows an absent member. */
const json_t *record_at(const json_t *record, const char *path);
/* True for null and for an object whose members (at least one) are all null or objects of nulls. */
bool record_is_null(const json_t *record);
