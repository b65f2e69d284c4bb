/* text.h: ASCII characters and the two ends of a text. Unlike those of <ctype.h> the classes do not depend on the
 * locale, take any char, and white space is JSON's: space, tab, line feed, carriage return. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
static inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
static inline bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static inline bool starts_with(const char *s, const char *head) { return !strncmp(s, head, strlen(head)); }

/* of the n bytes at p, which may hold zeros */
static inline bool bytes_end_with(const char *p, size_t n, const char *tail)
{
    size_t len = strlen(tail);
    return n >= len && !memcmp(p + n - len, tail, len);
}
static inline bool ends_with(const char *s, const char *tail) { return bytes_end_with(s, strlen(s), tail); }
