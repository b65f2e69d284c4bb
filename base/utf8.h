/* utf8.h: one character at a time, with the exact rules of RFC 3629 (no overlong forms, no surrogates, nothing above
 * U+10FFFF), which are PCRE2's too. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Length in bytes of the character at p[0..n), its code point in *c; 0 if no valid character begins there. */
static inline int utf8_get(const char *text, size_t n, uint32_t *c)
{
    const unsigned char *p = (const unsigned char *)text;
    if (n == 0) return 0;
    *c = p[0];
    if (p[0] < 0x80) return 1;
    int len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < (size_t)len) return 0;
    *c = p[0] & (0x7fu >> len);
    for (int i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        *c = *c << 6 | (p[i] & 0x3f);
    }
    if (len == 3 && (*c < 0x800 || (*c >= 0xd800 && *c < 0xe000))) return 0;
    if (len == 4 && (*c < 0x10000 || *c > 0x10ffff)) return 0;
    return len;
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
