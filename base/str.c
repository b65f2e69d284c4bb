/* str.c: growable byte strings. */
#include "base/str.h"
#include "base/err.h"
#include "base/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reserve(struct str *s, size_t more)
{
    if (s->n + more + 1 <= s->cap) return;
    size_t cap = s->cap ? s->cap : 64;
    while (cap < s->n + more + 1) cap *= 2;
    s->p = xrealloc(s->p, cap);
    s->cap = cap;
}

void str_put(struct str *s, const char *bytes, size_t n)
{
    reserve(s, n);
    if (n) memcpy(s->p + s->n, bytes, n);
    s->n += n;
    s->p[s->n] = 0;
}

void str_puts(struct str *s, const char *text) { str_put(s, text, strlen(text)); }
void str_putc(struct str *s, char c) { str_put(s, &c, 1); }

void str_put_utf8(struct str *s, uint32_t c)
{
    char b[4];
    str_put(s, b, (size_t)utf8_put(b, c));
}

void str_printf(struct str *s, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ENSURE(n >= 0);
    reserve(s, (size_t)n);
    vsnprintf(s->p + s->n, (size_t)n + 1, fmt, again);
    va_end(again);
    s->n += (size_t)n;
}

void str_clear(struct str *s)
{
    reserve(s, 0);
    s->n = 0;
    s->p[0] = 0;
}

void str_free(struct str *s)
{
    free(s->p);
    *s = (struct str){ 0 };
}
