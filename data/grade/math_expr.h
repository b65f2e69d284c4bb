/* math_expr.h: the value of one mathematical expression in LaTeX or plain notation: exact if rational, else a complex
 * double; an expression with variables is evaluated at fixed points. */
#pragma once
#include <complex.h>
#include <stdbool.h>
#include <stddef.h>

enum { MATH_POINTS = 3, MATH_EXPR_MAX = 1024, MATH_EXPR_DEPTH = 48 };

struct math_num {
    bool exact;                     /* p / q, in lowest terms, q > 0 */
    /* rational, but too large for p / q; the doubles cannot prove two such values equal */
    bool lossy;
    __int128 p, q;
    /* the value with every variable at its k-th point, a number in (0.5, 2.5) that depends only on its name */
    double complex z[MATH_POINTS];
};

/* Reads numbers (1.5, 2e-3, 1\frac12 as a mixed number), + - * / ^ ! |x|, \cdot \times \div, \frac \sqrt[n] \binom,
 * products by juxtaposition, roots, exp, logarithms, (inverse) trigonometric functions, \pi, e, i, variables (x,
 * x_1, \alpha; \infty is one too). False if s[0..n) is not such an expression, has no finite value, or is longer
 * than MATH_EXPR_MAX bytes or deeper than MATH_EXPR_DEPTH. */
bool math_eval(struct math_num *v, const char *s, size_t n);

/* Equal values: by p and q if both are exact, else within 1e-9 relative (or 1e-12) at each point; never if one is
 * lossy. */
bool math_same(const struct math_num *a, const struct math_num *b);

/* a / 100 */
void math_percent(struct math_num *a);
