/* near.h: names that were perhaps meant. */
#pragma once
#include "base/str.h"

/* Appends "; there are a, b and c. Did you mean b?" to out. names: each with a 0 byte behind it; those nearest to missing come first, the rest is counted. */
void near_names(struct str *out, const char *missing, const struct str *names);
