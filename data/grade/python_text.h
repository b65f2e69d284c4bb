/* python_text.h: text as Python 3 sees it (str.lower, split, strip, \b of re), on UTF-8 bytes, because the official
 * graders are written in Python. Input need not be valid: a byte that begins no well-formed sequence counts as one
 * U+FFFD. Every function takes linear time, apart from sorting. */
#pragma once
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

/* The code point at s[*at], *at < n; moves *at past it. */
uint32_t text_next(const char *s, size_t n, size_t *at);
/* Length in bytes of the first code point of s (n > 0). */
size_t text_step(const char *s, size_t n);

bool text_is_word(uint32_t c);      /* \w of re: str.isalnum() or '_' */

/* The functions below append their result for s[0..n) to out; out must not be s. */
/* str.lower(), with the final sigma and the dotted capital I */
void text_lower(struct str *out, const char *s, size_t n);
/* without the 32 characters of string.punctuation */
void text_drop_punct(struct str *out, const char *s, size_t n);
void text_drop_articles(struct str *out, const char *s, size_t n);     /* re.sub(r"\b(a|an|the)\b", " ", s) */
void text_collapse(struct str *out, const char *s, size_t n);          /* " ".join(s.split()) */
/* str.replace: every occurrence of from, left to right, becomes to. */
void text_replace(struct str *out, const char *s, size_t n, const char *from, const char *to);

/* str.strip(): narrows [*s, *s + *n). */
void text_strip(const char **s, size_t *n);
/* The next word of str.split() at or after *at; false: none. */
bool text_token(const char *s, size_t n, size_t *at, const char **word, size_t *len);
/* str.find from byte `from` on; -1: not found. */
int64_t text_find(const char *s, size_t n, const char *what, size_t from);

/* Multiset F1 of the words of a and b: p = same / words of a, r = same / words of b, (2 p r) / (p + r) in this order of
 * operations; 0 if none is shared. */
double text_f1(const char *a, size_t an, const char *b, size_t bn);
/* str() of a Python float: shortest digits that read back, "1e+16" and "100000.0" forms. */
void text_put_double(struct str *out, double v);
