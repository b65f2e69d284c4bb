/* json_partial.h: a record's JSON text as a tree of the wanted members. Unwanted members are skipped whatever they
 * hold, as long as brackets, quotes and commas match. What Python writes and JSON or jansson cannot hold (NaN, integers
 * beyond 64 bits, \u0000) is no error until it is used. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <jansson.h>

/* Start with { .p, .n, .at }. */
struct json_text {
    const char *p;
    size_t n;
    size_t at;                      /* end of the value; after an error, where the error is */
    /* dotted paths ended by NULL ("extra_info.index" reads only that member; a '?' in front is ignored), at most 64;
     * NULL: everything is read */
    const char *const *columns;
    bool nul;       /* the record's own texts may hold \u0000: for readers that use the text's length */
    size_t most;                    /* limit on the bytes of texts and numbers that are read; 0: none */
    /* gets the members of the record, those of objects in it with a dot, each followed by a 0 byte; NULL: unwanted */
    struct str *names;
    struct str odd;                 /* "NaN at column 17": the first few odd values (below); the caller frees it */
};

/* The value at t->at, a new reference, or NULL with a message that does not name the place. Limits: values that are
 * read may be nested 1024 deep and number 8,388,608; skipped ones may be nested 100,000 deep. An object that is read
 * and has a duplicate key is rejected. Integers beyond 64 bits, reals beyond a double, and texts with \u0000, half a
 * surrogate pair, control characters or bytes that are not UTF-8 become odd values (below). NaN becomes null, as in
 * pandas and Parquet readers. */
json_t *json_partial(struct json_text *t, struct err *e);

/* An odd value is an object whose shape no reader accepts, so that it is rejected where it is used. number: its text is
 * a number's. */
json_t *odd_make(const char *text, bool number);
/* The digits of an odd number, NULL for anything else. */
const char *odd_number(const json_t *v);
/* Does the JSON text that jansson made of a value contain an odd value? */
bool odd_within(const char *dumped);
/* What is odd about a value: "an integer beyond 64 bits", ...; NULL: nothing. */
const char *odd_is(const json_t *v);
