/* json.h: JSON text into jansson's tree, with one sentence when it is not JSON. Doubled keys are rejected; nesting
 * deeper than 2048 too (jansson's own limit). */
#pragma once
#include "base/err.h"
#include <jansson.h>

/* A new reference, or NULL with "name: line L column C: what", or with "name: more than 8388608 values": the tree takes
 * up to 100 bytes for a value, of which two bytes of text can make one, and the text may have come out of a small gzip
 * file. */
json_t *json_from(const char *name, const char *text, size_t n, struct err *e);
/* The same with jansson's flags beside JSON_REJECT_DUPLICATES. */
json_t *json_from_with(const char *name, const char *text, size_t n, size_t flags, struct err *e);
