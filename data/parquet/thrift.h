/* thrift.h: Apache Thrift's compact protocol, the encoding of Parquet's footer and page headers
 * (thrift-compact-protocol.md). The first fault is kept with its place; after it there are no more fields and every
 * number is 0, so that a caller checks once, at the end. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { THRIFT_TRUE = 1, THRIFT_FALSE, THRIFT_I8, THRIFT_I16, THRIFT_I32, THRIFT_I64, THRIFT_DOUBLE, THRIFT_BINARY,
       THRIFT_LIST, THRIFT_SET, THRIFT_MAP, THRIFT_STRUCT };

struct thrift {
    const uint8_t *p, *end;         /* the unread bytes; after a fault p stays at it */
    const char *fault;              /* NULL: none so far */
};
struct thrift_field { int id, type; };      /* {0} before the first field of a struct */

/* The struct's next field; false at its end or after a fault. Field numbers must rise, as all writers emit them, so no
 * field comes twice. */
bool thrift_next(struct thrift *t, struct thrift_field *f);

/* The value of a field of this type; another type is a fault. */
int64_t thrift_int(struct thrift *t, int type);                             /* I8 to I64 */
bool thrift_bool(struct thrift *t, int type);
/* points into the input; no 0 byte follows */
const char *thrift_text(struct thrift *t, int type, size_t *n);
/* the number of items, all of type `of`; never more than the bytes left */
int64_t thrift_list(struct thrift *t, int type, int of);
/* checks the type only: its fields follow */
void thrift_struct(struct thrift *t, int type);
void thrift_skip(struct thrift *t, int type);                               /* any value, nested up to 32 deep */
