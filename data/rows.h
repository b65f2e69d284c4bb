/* rows.h: the rows of a file of JSON lines, plain or gzip'd, or of a Parquet file, as JSON objects one after another. Which it is, its first bytes say. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <jansson.h>

struct rows;

/* columns: the dotted paths wanted, ended by NULL; NULL: all. Only a Parquet file heeds them (see parquet.h); JSON rows are always whole. NULL: no such
 * file, or not one that can be read. Limits: 2 GiB unpacked, 16 MiB a line. */
struct rows *rows_open(const char *path, const char *const *columns, struct err *e);
/* The same from bytes that are taken over from file, which is empty afterwards; name is for error sentences. */
struct rows *rows_take(const char *name, struct str *file, const char *const *columns, struct err *e);

/* 1: *row is the next row, a new JSON value (an object unless a line is something else); 0: there are no more; -1: a bad row; e says where. */
int rows_next(struct rows *r, json_t **row, struct err *e);
/* Appends the place of the row read last: "a.jsonl:12" (lines from 1), "a.parquet: row 11" (from 0). */
void rows_place(const struct rows *r, struct str *out);
/* Puts that place in front of the sentence, for complaints about what is in it; returns false. */
bool rows_fail(const struct rows *r, struct err *e);
void rows_close(struct rows *r);

/* The value of a row at a dotted path ("extra_info.index"); a column whose own name has the dot comes first. NULL: none, or null, which is what Parquet has
 * for a member that is not there. */
const json_t *row_at(const json_t *row, const char *path);
