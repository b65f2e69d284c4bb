/* parquet.h: Parquet files, row by row, as JSON objects: the layout that verl, pandas and pyarrow write (format:
 * apache/parquet-format). Nested lists, structs and nulls; plain, dictionary, delta and byte-stream-split pages, v1 and
 * v2; Snappy, gzip, zstd. Rejected: encryption, INT96, LZ4, Brotli. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <jansson.h>
#include <stdint.h>

struct parquet;

/* True when the n bytes begin as a Parquet file does ("PAR1"). */
bool parquet_is(const void *bytes, size_t n);

/* Reads the schema. name is used in error messages. The n bytes must stay until parquet_close. columns: the paths
 * wanted, ended by NULL ("prompt" with everything below it, "extra_info.index" only that member); NULL: all. Other
 * columns are ignored, even damaged ones; "?answer": wanted only if its type is supported. NULL: not a Parquet file, or
 * a wanted column that JSON cannot hold (times, INT96), named, with the fix. */
struct parquet *parquet_open(const char *name, const void *bytes, size_t n, const char *const *columns, struct err *e);

/* The number of rows according to the footer; not to be trusted before they have been read. */
int64_t parquet_rows(const struct parquet *p);

/* 1: *row is the next row, a new object; 0: end of file; -1: the file is damaged or contradicts itself; e names file,
 * column, row group and byte of the page, and no more rows can be read. Text becomes a string, a DECIMAL a number (of
 * more than 15 digits an odd one), a DATE a string as in ISO 8601, a FLOAT or FLOAT16 the shortest number that reads
 * back as the same float, NaN and infinities null, a map a list of {"key", "value"}. Texts that are not UTF-8 or have 0
 * bytes, and integers above 2^63 - 1, become odd values (json_partial.h). Limits: 256 MiB a page, 512 MiB of open
 * pages, 64 MiB of JSON a row; in total 2 GiB of pages and of JSON, and at most 64 MiB + 1024 n from a file of n bytes;
 * 32 levels of nesting. */
int parquet_next(struct parquet *p, json_t **row, struct err *e);
/* Appends the names of the columns and of the members of structs ("extra_info.index"), each followed by a 0 byte. */
void parquet_columns(const struct parquet *p, struct str *names);
void parquet_close(struct parquet *p);
