/* utf8.h: one character at a time, with the exact rules of RFC 3629 (no overlong forms, no surrogates, nothing above
 * U+10FFFF), which are PCRE2's too. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length in bytes of the character that this first byte announces; 0: no character begins with it. */
static inline int utf8_len(char first)
{
    unsigned char b = (unsigned char)first;
    return b < 0x80 ? 1 : b < 0xc2 ? 0 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : b < 0xf5 ? 4 : 0;
}

/* Is c a second, third or fourth byte? */
static inline bool utf8_continues(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

/* Length in bytes of the character at p[0..n), its code point in *c; 0 if no valid character begins there. */
static inline int utf8_get(const char *text, size_t n, uint32_t *c)
{
    const unsigned char *p = (const unsigned char *)text;
    if (n == 0) return 0;
    *c = p[0];
    if (p[0] < 0x80) return 1;
    int len = utf8_len(*text);
    if (!len || n < (size_t)len) return 0;
    *c = p[0] & (0x7fu >> len);
    for (int i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        *c = *c << 6 | (p[i] & 0x3f);
    }
    if (len == 3 && (*c < 0x800 || (*c >= 0xd800 && *c < 0xe000))) return 0;
    if (len == 4 && (*c < 0x10000 || *c > 0x10ffff)) return 0;
    return len;
}

/* Where utf8_get finds no character at p[0..n), n > 0: the bytes that one U+FFFD stands for, which are the first byte
 * and those after it that could still have made a character ("maximal subpart", Unicode 3.9). It is n with
 * n < utf8_len(*p) where more bytes could complete the character. */
static inline int utf8_part(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    int len = utf8_len(*text);
    for (int i = 1; i < len; i++) {
        unsigned lo = 0x80, hi = 0xbf;
        if (i == 1 && p[0] == 0xe0) lo = 0xa0;
        if (i == 1 && p[0] == 0xed) hi = 0x9f;
        if (i == 1 && p[0] == 0xf0) lo = 0x90;
        if (i == 1 && p[0] == 0xf4) hi = 0x8f;
        if ((size_t)i >= n || p[i] < lo || p[i] > hi) return i;
    }
    return 1;
}

/* Writes code point c, returns the number of bytes (at most 4). */
static inline int utf8_put(char *out, uint32_t c)
{
    if (c < 0x80) { out[0] = (char)c; return 1; }
    int len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = len - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(0xf00u >> len | c);
    return len;
}

/* Python's str.isspace() */
static inline bool utf8_is_space(uint32_t c)
{
    return (c >= 0x9 && c <= 0xd) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}
