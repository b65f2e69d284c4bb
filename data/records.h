/* records.h: the rows of a file as JSON objects one after another: JSON lines, one JSON array of objects, or Parquet;
 * plain, gzip'd or zstd'd. Which it is, its first bytes say. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <jansson.h>

struct records;

/* columns: the dotted paths wanted, ended by NULL, at most 64; a '?' in front of one: where Parquet has it as a type
 * that is not read, it is as if it were not there. NULL: all. The rest of a row is passed over whatever it holds
 * (json_partial.h, parquet.h). NULL: no such file, or not one that can be read: said in words where it is known what
 * else it is (foreign_files.h). Limits: 2 GiB unpacked, 256 MiB a row of JSON and 16 MiB of what is read of it. */
struct records *records_open(const char *path, const char *const *columns, struct err *e);
/* The same from bytes that are taken over from file, which is empty afterwards; name is for error sentences. */
struct records *records_take(const char *name, struct str *file, const char *const *columns, struct err *e);

/* 1: *row is the next row, a new JSON value (an object unless it is something else in the file); 0: there are no more;
 * -1: a bad row; e says where. */
int records_next(struct records *r, json_t **row, struct err *e);
/* Appends the place of the row read last: "a.jsonl:12" (lines from 1), "a.parquet: row 11", "a.json: row 11" (an array;
 * from 0). */
void records_place(const struct records *r, struct str *out);
/* Puts that place in front of the sentence, for complaints about what is in it, and behind it what in this row could
 * not be read; returns false. */
bool records_fail(const struct records *r, struct err *e);
/* "; there are a, b, c. Did you mean b?" about a column that the row read last does not have: its columns and members
 * of columns, the nearest first named. */
void records_near(const struct records *r, const char *missing, struct str *out);
void records_close(struct records *r);

/* The value of a row at a dotted path ("extra_info.index"); a column whose own name has the dot comes first. NULL:
 * none, or null, which is what Parquet has for a member that is not there. */
const json_t *record_at(const json_t *row, const char *path);
/* Nothing is in it: null, or an object of at least one member that all hold nothing. */
bool record_is_null(const json_t *row);
