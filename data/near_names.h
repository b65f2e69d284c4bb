/* near_names.h: suggestions for a mistyped name. */
#pragma once
#include "base/str.h"

/* Appends "; there are a, b, c and 4 more. Did you mean b?" to out. names: each followed by a 0 byte; `missing` itself
 * may be among them, if its value is null. */
void near_names(struct str *out, const char *missing, const struct str *names);
