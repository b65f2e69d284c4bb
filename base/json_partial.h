/* json_partial.h: a row's JSON text as a tree of what is read of it. Values of members that nobody reads are passed
 * over, whatever they are, as long as brackets, quotes and commas make sense; what Python writes and JSON or jansson do
 * not have (NaN, integers beyond 64 bits, \u0000) ends nothing until it is used. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <jansson.h>

/* Start with { .p, .n, .at }. columns: dotted paths ended by NULL ("extra_info.index" reads only that member; a '?' in
 * front is passed over), at most 64; NULL: everything. names: the members of the row, those of objects in it with a
 * dot, one after another with a 0 byte behind each; NULL: not wanted. */
struct json_text {
    const char *p;
    size_t n, at;                   /* at: behind the value; after an error, where it is */
    const char *const *columns;
    bool nul; /* \u0000 is as good as any character in the row's own texts: for readers that know a text's length */
    size_t most;                    /* bytes of texts and numbers that are read at most; 0: any number */
    struct str *names;
    struct str odd; /* "NaN at column 17": what was read and cannot be used, the first few; the caller frees it */
};

/* The value at t->at, a new reference, or NULL with a sentence that does not say where. Limits: what is read is nested
 * at most 1024 deep and 8,388,608 values, what is passed over 100,000 deep. An object that is read and has a key twice
 * is refused. Numbers that are integers beyond 64 bits or reals beyond a double, and texts with \u0000, half a
 * surrogate pair, control characters or bytes that are not UTF-8, become odd values (below); NaN becomes null, as
 * pandas and Parquet readers have it. */
json_t *json_partial(struct json_text *t, struct err *e);

/* An odd value is an object of a shape that its readers take for a mistake, so that it is refused where it is used.
 * number: its text is a number's. */
json_t *odd_make(const char *text, bool number);
/* The digits of an odd number, NULL for anything else. */
const char *odd_number(const json_t *v);
/* Whether the JSON text that jansson made of a value has an odd one in it. */
bool odd_within(const char *dumped);
/* What is odd about a value: "an integer beyond 64 bits", ...; NULL: nothing. */
const char *odd_is(const json_t *v);
