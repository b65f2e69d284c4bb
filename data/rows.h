/* rows.h: the rows of a file as JSON objects one after another: JSON lines, one JSON array of objects, or Parquet;
 * plain, gzip'd or zstd'd. Which it is, its first bytes say. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <jansson.h>

struct rows;

/* columns: the dotted paths wanted, ended by NULL, at most 64; a '?' in front of one: where Parquet has it as a type
 * that is not read, it is as if it were not there. NULL: all. The rest of a row is passed over whatever it holds
 * (json_partial.h, parquet.h). NULL: no such file, or not one that can be read: said in words where it is known what
 * else it is (foreign_files.h). Limits: 2 GiB unpacked, 256 MiB a row of JSON and 16 MiB of what is read of it. */
struct rows *rows_open(const char *path, const char *const *columns, struct err *e);
/* The same from bytes that are taken over from file, which is empty afterwards; name is for error sentences. */
struct rows *rows_take(const char *name, struct str *file, const char *const *columns, struct err *e);

/* 1: *row is the next row, a new JSON value (an object unless it is something else in the file); 0: there are no more;
 * -1: a bad row; e says where. */
int rows_next(struct rows *r, json_t **row, struct err *e);
/* Appends the place of the row read last: "a.jsonl:12" (lines from 1), "a.parquet: row 11", "a.json: row 11" (an array;
 * from 0). */
void rows_place(const struct rows *r, struct str *out);
/* Puts that place in front of the sentence, for complaints about what is in it, and behind it what in this row could
 * not be read; returns false. */
bool rows_fail(const struct rows *r, struct err *e);
/* "; there are a, b, c. Did you mean b?" about a column that the row read last does not have: its columns and members
 * of columns, the nearest first named. */
void rows_near(const struct rows *r, const char *missing, struct str *out);
void rows_close(struct rows *r);

/* The value of a row at a dotted path ("extra_info.index"); a column whose own name has the dot comes first. NULL:
 * none, or null, which is what Parquet has for a member that is not there. */
const json_t *row_at(const json_t *row, const char *path);
/* Nothing is in it: null, or an object of at least one member that all hold nothing. */
bool row_is_null(const json_t *row);
