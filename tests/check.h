/* check.h: additions to cmocka: a failure prints the case, got, want, off by and allowed. */
#pragma once
#include "base/err.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#undef fail      /* cmocka's macro; fail() is that of base/err.h */

/* The trailing arguments are printf's and name the case. A NaN on either side fails. */
#define CHECK_NEAR(got, want, allowed, ...) do { \
    double got_ = (double)(got), want_ = (double)(want), allowed_ = (double)(allowed); \
    if (!(fabs(got_ - want_) <= allowed_)) { \
        print_error(__VA_ARGS__); \
        print_error(": got %.9g, want %.9g, off by %.2e, allowed %.2e\n", got_, want_, fabs(got_ - want_), allowed_); \
        _fail(__FILE__, __LINE__); } } while (0)
#define CHECK(x, ...) do { \
    if (!(x)) { \
        print_error(__VA_ARGS__); \
        print_error(": %s does not hold\n", #x); \
        _fail(__FILE__, __LINE__); } } while (0)
