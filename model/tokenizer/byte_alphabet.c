/* byte_alphabet.c: printable Latin-1 stands for itself; the other 68 bytes are U+0100 .. U+0143 in order. */
#include "model/tokenizer/byte_alphabet.h"
#include "base/utf8.h"

static bool printable(unsigned b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; }

/* The number of unprintable bytes below b: 0..32, then 127..160, then 173. */
static unsigned before(unsigned b) { return b < 33 ? b : b < 161 ? 33 + b - 127 : 67; }

void alphabet_put(struct str *out, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned b = (unsigned char)bytes[i];
        char text[4];
        str_put(out, text, (size_t)utf8_put(text, printable(b) ? b : 256 + before(b)));
    }
}

bool alphabet_get(struct str *out, const char *text, size_t n)
{
    size_t start = out->n;
    while (n) {
        uint32_t c;
        int len = utf8_get(text, n, &c);
        bool fine = len && (c < 256 ? printable(c) : c < 256 + 68);
        if (!fine) { out->n = start; if (out->p) out->p[start] = 0; return false; }
        if (c >= 256) { c -= 256; c = c < 33 ? c : c < 67 ? c - 33 + 127 : 173; }
        str_putc(out, (char)c);
        text += len;
        n -= (size_t)len;
    }
    return true;
}
