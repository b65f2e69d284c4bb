/* err.c: error messages, die() and allocation that cannot fail. */
#include "base/err.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void (*die_hook)(void);

/* Messages quote names from files, which must not control the terminal. U+0080 to U+009F are control characters too
 * (CSI is one of them); in UTF-8 they are the byte C2 and the byte of their number. */
static void quiet(char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s, next = (unsigned char)s[1];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) *s = '?';
        else if (c == 0xc2 && next >= 0x80 && next < 0xa0) s[0] = s[1] = '?';
    }
}

void print_clean(FILE *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    char *text = xmalloc((size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, ap);
    va_end(ap);
    quiet(text);
    fputs(text, f);
    free(text);
}

static FILE *nowhere;

FILE *notes(void) { return nowhere ? nowhere : stderr; }
void notes_off(void) { if (!nowhere) nowhere = fopen("/dev/null", "w"); }

bool fail(struct err *e, const char *fmt, ...)
{
    if (!e) return false;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    quiet(e->text);
    return false;
}

bool fail_in(struct err *e, const char *fmt, ...)
{
    if (!e) return false;
    char tail[sizeof e->text];
    memcpy(tail, e->text, sizeof tail);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    for (const char *s = ": "; n >= 0 && (size_t)n + 1 < sizeof e->text && *s; s++) e->text[n++] = *s;
    for (const char *s = tail; n >= 0 && (size_t)n + 1 < sizeof e->text && *s; s++) e->text[n++] = *s;
    if (n >= 0 && (size_t)n < sizeof e->text) e->text[n] = 0;
    quiet(e->text);
    return false;
}

static char hint[400];

void err_hint(const char *fmt, ...)
{
    *hint = 0;
    if (!fmt) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(hint, sizeof hint, fmt, ap);
    va_end(ap);
    quiet(hint);
}

static char last[sizeof ((struct err *)0)->text];

const char *err_last(void) { return last; }
void err_keep(const char *text) { snprintf(last, sizeof last, "%s", text); }

static void say(const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    vsnprintf(last, sizeof last, fmt, again);
    va_end(again);
    fflush(stdout);
    fputs("appo: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    if (*hint) fprintf(stderr, "%s\n", hint);
}

void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    if (die_hook) die_hook();
    exit(70);
}

void end_with(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    exit(1);
}

void *xmalloc(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p) die("out of memory: %zu bytes requested", bytes);
    return p;
}

void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p) die("out of memory: %zu x %zu bytes requested", n, size);
    return p;
}

void *xrealloc(void *p, size_t bytes)
{
    p = realloc(p, bytes ? bytes : 1);
    if (!p) die("out of memory: %zu bytes requested", bytes);
    return p;
}

char *xstrdup(const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(xmalloc(n), s, n);
}
