/* arith.h: MIN, MAX and integer division that rounds up. MIN and MAX evaluate the chosen argument twice. */
#pragma once
#include <stdint.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* n >= 0, by > 0: the smallest q with q * by >= n, and the smallest multiple of `by` that is at least n */
static inline int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }
static inline int64_t round_up(int64_t n, int64_t by) { return ceil_div(n, by) * by; }
