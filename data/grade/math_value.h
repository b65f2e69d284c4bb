/* math_value.h: do two answers to a mathematical question have the same value? This project's own rule, used by
 * reward_exact (data/grade/reward.h). */
#pragma once
#include <stdbool.h>

/* Numbers and expressions by value (data/grade/math_expr.h): -5 is not 5, 1/2 is not 12, 0.5 = 1/2 = \frac12 =
 * \dfrac{1}{2}, 1,000 = 1000, \sqrt 3 = \sqrt{3}. Tuples and intervals element by element with the same brackets; sets,
 * lists ("1, 2", "1 or 2", \pm 2) and unions in any order; matrices by rows. A name in front (x = 5), a currency sign,
 * \text{..} and units after a number, and degree signs are ignored, but two different units are different. "50%"
 * equals both "50" and "0.5", because references are written both ways. Everything else compares as text without spaces
 * and layout commands, ignoring the case of words. Numbers beyond 38 digits and texts of more than 1024 bytes are equal
 * only if identical. */
bool math_value_equal(const char *a, const char *b);
