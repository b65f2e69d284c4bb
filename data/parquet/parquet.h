/* parquet.h: Parquet files, row by row, as JSON objects: the layout that verl, pandas and pyarrow write (format:
 * apache/parquet-format). Nested lists, structs and nulls; plain, dictionary, delta and byte-stream-split pages, v1 and
 * v2; Snappy, gzip, zstd. Refused: encryption, INT96, LZ4, Brotli. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <jansson.h>
#include <stdint.h>

struct parquet;

/* True when the n bytes begin as a Parquet file does ("PAR1"). */
bool parquet_is(const void *bytes, size_t n);

/* Reads the schema. name is for error sentences. The n bytes must stay until parquet_close. columns: the paths wanted,
 * ended by NULL ("prompt" with all that is below it, "extra_info.index" only that member); NULL: all. Columns not
 * wanted are not looked at, whatever is wrong with them; "?answer": wanted where its type is one that is read. NULL:
 * not a Parquet file, or a wanted column that JSON cannot hold (times, INT96): named, with the cure. */
struct parquet *parquet_open(const char *name, const void *bytes, size_t n, const char *const *columns, struct err *e);

/* The number of rows the footer claims; to be believed only once they have been read. */
int64_t parquet_rows(const struct parquet *p);

/* 1: *row is the next row, a new object; 0: there are no more; -1: the file is damaged or lies, named as file: column,
 * row group, byte of the page; the file is then of no more use. Text becomes a string, a DECIMAL a number (of more than
 * 15 digits an odd one), a DATE a string as in ISO 8601, a FLOAT or FLOAT16 the shortest number that reads back as the
 * same float, NaN and infinities null, a map a list of {"key", "value"}; text that is not UTF-8 or has 0 bytes and
 * integers above 2^63 - 1 are odd values (json_partial.h). Limits: 256 MiB a page, 512 MiB of pages open at a time, 64
 * MiB of JSON a row, in all 2 GiB of pages and of JSON, from a file of n bytes at most 64 MiB + 1024 n; 32 levels of
 * nesting. */
int parquet_next(struct parquet *p, json_t **row, struct err *e);
/* Appends the names of the columns and of the members of structs ("extra_info.index"), each with a 0 byte behind it. */
void parquet_columns(const struct parquet *p, struct str *names);
void parquet_close(struct parquet *p);
