/* calc.h: the embedded python tool. A small calculator for the arithmetic part of Python that prints what Python
 * prints. It starts no process and has no access to anything outside the text; struct calc_limits bounds every
 * cost. */
#pragma once
#include "base/str.h"

/* Statements are separated by newlines or ';', '#' starts a comment. A statement is an expression, name = expression,
 * or name op= expression.
 * Operators: + - * / // % ** and brackets, with Python's precedence, floor division and floor remainder. Functions: gcd
 * lcm abs min max pow round int float sqrt print. Integers are exact (up to .digits decimal digits). 3/2 and literals
 * such as 1.5 or 2e3 are doubles (/ of integers beyond 2^53 rounds them first), printed with the fewest digits that
 * read back as the same value.
 * If the last statement is a bare expression, its value is printed after all earlier output, one line each. */
struct calc_limits {
    int input;          /* bytes of source; longer: "error: too long" */
    int output;         /* bytes of printed text; more: "error: too long" and nothing else */
    int depth;          /* open brackets and pending operators, at most 200; more: "error: too deep" */
    int statements;     /* more: "error: too long" */
    int exponent;       /* largest right side of ** (absolute): "error: too large" */
    int digits;         /* decimal digits of an integer, at most 37: "error: too large" */
};

/* 4000 bytes in, 2000 out, 200 deep, 200 statements, exponent 9999, 37 digits */
extern const struct calc_limits calc_default;
extern const struct calc_limits calc_embedded;      /* of the embedded policy: 80 in, 12 out, exponent 99 */

/* Appends the output of src[0..n) to out, without a last newline; "(no output)" if there is none. A failing program
 * appends its output up to the error, then one line: "error: syntax", "error: zero division", "error: too large",
 * "error: too long", "error: too deep", "error: unknown name", "error: bad value" (sqrt(-1), gcd(1.5,2), the value of
 * print()). src may hold any bytes. */
void calc_run(struct str *out, const char *src, size_t n, const struct calc_limits *lim);
