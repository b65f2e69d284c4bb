/* number.h: a double as text: the fewest digits that read back as the same bits, so that files can be compared byte by
 * byte. */
#pragma once
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* x finite; out gets at most 25 bytes and must hold 32. Returns out. */
static inline char *number_text(char *out, double x)
{
    if (fabs(x) < 1e15 && x == floor(x)) {                  /* 100, not 1e+02 */
        snprintf(out, 32, "%.0f", x);
        return out;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, x);
        if (strtod(out, NULL) == x) break;
    }
    return out;
}
