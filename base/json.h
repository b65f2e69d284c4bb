/* json.h: JSON text into jansson's tree, with one message when it is not JSON. Duplicate keys are rejected, and so is
 * nesting deeper than 2048 (jansson's own limit). */
#pragma once
#include "base/err.h"
#include <jansson.h>

/* A new reference, or NULL with "name: line L column C: what", or with "name: more than 8388608 values". That limit
 * exists because the tree takes up to 100 bytes for a value that two bytes of text can make, and the text may come from
 * a small gzip file. */
json_t *json_from(const char *name, const char *text, size_t n, struct err *e);
/* The same with further flags of jansson. JSON_REJECT_DUPLICATES is always set. */
json_t *json_from_with(const char *name, const char *text, size_t n, size_t flags, struct err *e);
