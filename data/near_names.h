/* near_names.h: names that were perhaps meant. */
#pragma once
#include "base/str.h"

/* Appends "; there are a, b, c and 4 more. Did you mean b?" to out. names: each with a 0 byte behind it; missing itself
 * may be among them, where it is null. */
void near_names(struct str *out, const char *missing, const struct str *names);
