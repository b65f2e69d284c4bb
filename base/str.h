/* str.h: a growable byte string, always followed by a 0 byte that is not counted. Start with struct str s = {0}. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct str { char *p; size_t n, cap; };

void str_put(struct str *s, const char *bytes, size_t n);
void str_puts(struct str *s, const char *text);
void str_putc(struct str *s, char c);
void str_put_utf8(struct str *s, uint32_t c);       /* one code point */
void str_printf(struct str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void str_clear(struct str *s);       /* empty, memory kept; p is "" afterwards */
void str_free(struct str *s);
