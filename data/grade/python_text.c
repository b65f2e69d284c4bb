/* python_text.c: Python's string functions on UTF-8 bytes. Two rules of str.lower() go beyond one character: the
 * capital sigma at the end of a word, and U+0130, which becomes two code points. */
#define _GNU_SOURCE     /* memmem */
#include "data/grade/python_text.h"
#include "base/err.h"
#include "data/grade/python_text_tables.h"
#include "base/utf8.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t text_next(const char *s, size_t n, size_t *at)
{
    uint32_t c;
    int len = utf8_get(s + *at, n - *at, &c);
    *at += len ? (size_t)len : 1;
    return len ? c : 0xFFFD;
}

size_t text_step(const char *s, size_t n)
{
    size_t at = 0;
    text_next(s, n, &at);
    return at;
}

static bool in_ranges(const struct text_range *r, size_t n, uint32_t c)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c > r[mid].last) lo = mid + 1;
        else hi = mid;
    }
    return lo < n && c >= r[lo].first;
}

bool text_is_word(uint32_t c)
{
    if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    return in_ranges(text_word, text_word_n, c);
}

static bool is_ignorable(uint32_t c) { return in_ranges(text_ignorable, text_ignorable_n, c); }
static bool is_cased(uint32_t c) { return in_ranges(text_cased, text_cased_n, c); }

static uint32_t lower_one(uint32_t c)
{
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    size_t lo = 0, hi = text_lower_runs_n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c > text_lower_runs[mid].last) lo = mid + 1;
        else hi = mid;
    }
    if (lo == text_lower_runs_n) return c;
    const struct text_lower_run *r = &text_lower_runs[lo];
    return c < r->first || (c - r->first) % (uint32_t)r->step ? c : (uint32_t)((int64_t)c + r->delta);
}

/* Is the first character from `at` on that is not case-ignorable a cased one? Each scan ends at the next sigma, so all
 * of them together are linear. */
static bool cased_follows(const char *s, size_t n, size_t at)
{
    while (at < n) {
        uint32_t c = text_next(s, n, &at);
        if (!is_ignorable(c)) return is_cased(c);
    }
    return false;
}

void text_lower(struct str *out, const char *s, size_t n)
{
    bool after_cased = false;       /* whether the last character that is not case-ignorable was cased */
    for (size_t at = 0; at < n;) {
        uint32_t c = text_next(s, n, &at);
        if (c == 0x3A3) str_put_utf8(out, after_cased && !cased_follows(s, n, at) ? 0x3C2 : 0x3C3);
        else if (c == 0x130) str_puts(out, "i\xCC\x87");
        else str_put_utf8(out, lower_one(c));
        if (!is_ignorable(c)) after_cased = is_cased(c);
    }
}

static bool is_punct(uint32_t c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

void text_drop_punct(struct str *out, const char *s, size_t n)
{
    for (size_t at = 0; at < n;) {
        uint32_t c = text_next(s, n, &at);
        if (!is_punct(c)) str_put_utf8(out, c);
    }
}

/* Compares whole runs of word characters: \b(a|an|the)\b can match only a whole run. */
void text_drop_articles(struct str *out, const char *s, size_t n)
{
    size_t run = 0;
    for (size_t at = 0; at <= n;) {
        size_t from = at;
        bool word = at < n && text_is_word(text_next(s, n, &at));
        if (word) continue;
        size_t len = from - run;
        const char *w = s + run;
        bool article =
            (len == 1 && *w == 'a') || (len == 2 && !memcmp(w, "an", 2)) || (len == 3 && !memcmp(w, "the", 3));
        if (article) str_putc(out, ' ');
        else str_put(out, w, len);
        if (from == n) break;
        str_put(out, s + from, at - from);
        run = at;
    }
}

bool text_token(const char *s, size_t n, size_t *at, const char **word, size_t *len)
{
    size_t p = *at, from = p;
    while (p < n && utf8_is_space(text_next(s, n, &p))) from = p;
    if (from >= n) return *at = n, false;
    size_t end = p = from;
    while (p < n && !utf8_is_space(text_next(s, n, &p))) end = p;
    *word = s + from;
    *len = end - from;
    *at = end;
    return true;
}

void text_collapse(struct str *out, const char *s, size_t n)
{
    const char *w;
    size_t len;
    bool first = true;
    for (size_t at = 0; text_token(s, n, &at, &w, &len); first = false) {
        if (!first) str_putc(out, ' ');
        str_put(out, w, len);
    }
}

void text_strip(const char **s, size_t *n)
{
    size_t at = 0, from = 0;
    while (at < *n && utf8_is_space(text_next(*s, *n, &at))) from = at;
    size_t end = at = from;
    while (at < *n)
        if (!utf8_is_space(text_next(*s, *n, &at))) end = at;
    *s += from;
    *n = end - from;
}

int64_t text_find(const char *s, size_t n, const char *what, size_t from)
{
    if (from > n) return -1;
    const char *hit = memmem(s + from, n - from, what, strlen(what));
    return hit ? hit - s : -1;
}

void text_replace(struct str *out, const char *s, size_t n, const char *from, const char *to)
{
    size_t at = 0, len = strlen(from);
    for (int64_t hit; (hit = text_find(s, n, from, at)) >= 0; at = (size_t)hit + len) {
        str_put(out, s + at, (size_t)hit - at);
        str_puts(out, to);
    }
    str_put(out, s + at, n - at);
}

struct word_count { const char *p; size_t n; };

static int by_bytes(const void *x, const void *y)
{
    const struct word_count *a = x, *b = y;
    int c = memcmp(a->p, b->p, a->n < b->n ? a->n : b->n);
    return c ? c : (a->n > b->n) - (a->n < b->n);
}

/* The words of s sorted by bytes, *count of them; the caller frees them. */
static struct word_count *sorted_words(const char *s, size_t n, size_t *count)
{
    struct word_count *w = NULL, one;
    size_t cap = 0, at = 0;
    *count = 0;
    while (text_token(s, n, &at, &one.p, &one.n)) {
        if (*count == cap) w = xrealloc(w, (cap = cap ? cap * 2 : 16) * sizeof *w);
        w[(*count)++] = one;
    }
    if (w) qsort(w, *count, sizeof *w, by_bytes);
    return w;
}

double text_f1(const char *a, size_t an, const char *b, size_t bn)
{
    size_t na, nb, same = 0;
    struct word_count *x = sorted_words(a, an, &na), *y = sorted_words(b, bn, &nb);
    for (size_t i = 0, j = 0; i < na && j < nb;) {
        int c = by_bytes(&x[i], &y[j]);
        same += c == 0;
        i += c <= 0;
        j += c >= 0;
    }
    free(x);
    free(y);
    if (!same) return 0;
    double p = (double)same / (double)na, r = (double)same / (double)nb;
    return (2 * p * r) / (p + r);
}

void text_put_double(struct str *out, double v)
{
    if (!isfinite(v)) {
        str_puts(out, isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
        return;
    }
    char buf[40];
    int digits = 1;
    for (; digits < 17; digits++) {
        snprintf(buf, sizeof buf, "%.*e", digits - 1, v);
        if (strtod(buf, NULL) == v) break;
    }
    snprintf(buf, sizeof buf, "%.*e", digits - 1, v);
    int exp = atoi(strchr(buf, 'e') + 1);
    if (exp < -4 || exp >= 16) str_puts(out, buf);
    else str_printf(out, "%.*f", digits - 1 - exp > 1 ? digits - 1 - exp : 1, v);
}
