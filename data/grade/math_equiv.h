/* math_equiv.h: the string comparison of Hendrycks et al., "Measuring mathematical problem solving with the MATH
 * dataset" (2021), as the official APPO evaluation uses it, its faults included ("-1/2" is not "-\frac{1}{2}"). For
 * comparing values see data/grade/math_value.h. */
#pragma once
#include "base/str.h"
#include <stdbool.h>

/* Appends the normalised form to out: no white space, units, percent signs; \frac12, 1/2 and 0.5 as \frac{1}{2}; \sqrt3
 * as \sqrt{3}; no "x=" in front. Indexing takes one code point. False, with out unchanged, where the official
 * normalisation raises: more than one "\text{ ", or nothing after a \frac or \sqrt. */
bool math_strip(struct str *out, const char *s);

/* Compares the normalised strings, or the strings themselves if either side raises; NULL equals only NULL. */
bool math_equiv(const char *a, const char *b);
