/* chat_lex.c: a Jinja template to tokens, as Jinja2's lexer cuts it with trim_blocks and lstrip_blocks (transformers'
 * settings). It is exact for the templates in chat_forms_*.c; constructs that it reads differently from Jinja (raw
 * blocks, braces inside tags) become tokens that none of them has. */
#include "model/chat/chat_in.h"
#include "base/utf8.h"
#include <ctype.h>
#include <string.h>

void jinja_lines(struct str *out, const char *text, size_t n)
{
    size_t start = out->n;
    str_put(out, "", 0);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\r' && i + 1 < n && text[i + 1] == '\n') continue;
        str_putc(out, text[i] == '\r' ? '\n' : text[i]);
    }
    if (out->n > start && out->p[out->n - 1] == '\n') out->p[--out->n] = 0;
}

void jinja_open(struct jinja *x, const char *text, size_t n)
{
    *x = (struct jinja){ .p = text, .end = text + n, .line_start = true };
}

void jinja_close(struct jinja *x) { str_free(&x->text); }

/* The character at p; its length, 1 for a byte that is not UTF-8. */
static size_t char_at(const char *p, const char *end, uint32_t *c)
{
    int len = utf8_get(p, (size_t)(end - p), c);
    if (len <= 0) *c = 0xfffd;
    return len > 0 ? (size_t)len : 1;
}

/* The end of the white space at p. */
static const char *skip_space(const char *p, const char *end)
{
    uint32_t c;
    for (size_t len; p < end && (len = char_at(p, end, &c), utf8_is_space(c)); p += len) {}
    return p;
}

/* Where the white space at the end of [p, end) begins. */
static const char *space_before(const char *p, const char *end)
{
    uint32_t c;
    for (;;) {
        const char *q = end;
        while (q > p && end - q < 4 && utf8_continues(*--q)) {}
        if (q == end || char_at(q, end, &c) != (size_t)(end - q) || !utf8_is_space(c)) return end;
        end = q;
    }
}

/* Appends the part of the text [p, tag) before a tag that is printed. sign: the mark after the tag's bracket; print:
 * the bracket is {{. */
static void put_text(struct jinja *x, const char *p, const char *tag, char sign, bool print)
{
    const char *keep = tag;
    if (sign == '-') {
        keep = space_before(p, tag);
    } else if (sign != '+' && !print) {
        const char *line = tag;
        while (line > p && line[-1] != '\n') line--;
        if ((line > p || x->line_start) && space_before(line, tag) == line) keep = line;
    }
    str_put(&x->text, p, (size_t)(keep - p));
}

/* After a closing bracket; sign: the mark before it. */
static void close_tag(struct jinja *x, const char *behind, char sign, bool print)
{
    x->p = behind;
    if (sign == '-') x->p = skip_space(behind, x->end);
    else if (sign != '+' && !print && x->p < x->end && *x->p == '\n') x->p++;
    x->line_start = x->p[-1] == '\n';
}

static void wrong(struct jinja *x, const char *why)
{
    x->kind = JINJA_WRONG;
    x->p = x->end;
    x->inside = 0;
    str_clear(&x->text);
    str_puts(&x->text, why);
}

static const char *next_tag(const char *p, const char *end)
{
    for (; end - p >= 2; p++) if (*p == '{' && (p[1] == '%' || p[1] == '{' || p[1] == '#')) return p;
    return end;
}

static bool skip_comment(struct jinja *x, const char *begin)
{
    for (const char *p = begin; x->end - p >= 2; p++) {
        if (*p != '#' || p[1] != '}') continue;
        close_tag(x, p + 2, p > begin ? p[-1] : 0, false);
        return true;
    }
    wrong(x, "a comment that does not end");
    return false;
}

static void outside(struct jinja *x)
{
    str_clear(&x->text);
    x->at = x->p;
    for (;;) {
        const char *p = x->p, *tag = next_tag(p, x->end);
        if (!x->text.n) x->at = tag > p ? p : tag;
        if (tag == x->end) {
            str_put(&x->text, p, (size_t)(tag - p));
            x->p = tag;
            x->kind = x->text.n ? JINJA_TEXT : JINJA_END;
            return;
        }
        char sign = tag + 2 < x->end && (tag[2] == '-' || tag[2] == '+') ? tag[2] : 0;
        put_text(x, p, tag, sign, tag[1] == '{');
        if (tag[1] == '#') {
            if (!skip_comment(x, tag + 2 + (sign != 0))) return;
            continue;
        }
        x->p = tag;
        if (x->text.n) {                    /* the text comes first, the tag with the next call */
            x->kind = JINJA_TEXT;
            return;
        }
        x->at = tag;
        x->inside = tag[1];
        x->kind = tag[1] == '%' ? JINJA_BLOCK : JINJA_PRINT;
        x->p = tag + 2 + (sign != 0);
        return;
    }
}

static bool at_close(const struct jinja *x, const char *p)
{
    return x->end - p >= 2 && p[0] == (x->inside == '%' ? '%' : '}') && p[1] == '}';
}

/* n digits of base 16 or up to n of base 8. */
static bool read_number(struct jinja *x, int base, int n, uint32_t *c)
{
    int seen = 0;
    for (*c = 0; seen < n && x->p < x->end; seen++, x->p++) {
        int c1 = tolower((unsigned char)*x->p), d = isdigit(c1) ? c1 - '0' : isxdigit(c1) ? c1 - 'a' + 10 : 99;
        if (d >= base) break;
        *c = *c * (uint32_t)base + (uint32_t)d;
    }
    return base == 8 || seen == n;
}

/* The escape whose character after the backslash is at p, as in Python. */
static bool read_escape(struct jinja *x)
{
    static const char from[] = "nrtabfv\\'\"", to[] = "\n\r\t\a\b\f\v\\'\"";
    char c = *x->p++, utf8[4];
    const char *named = c ? strchr(from, c) : NULL;
    uint32_t u = 0;
    if (named) { str_putc(&x->text, to[named - from]); return true; }
    if (c == '\n') return true;
    /* Jinja escapes non-ASCII characters first, which would change this escape */
    if (c == 'N' || (unsigned char)c >= 0x80) return false;
    int hex = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    bool octal = c >= '0' && c <= '7';
    x->p -= octal;
    if (octal) read_number(x, 8, 3, &u);
    else if (hex && !read_number(x, 16, hex, &u)) return false;
    if (!octal && !hex) { str_putc(&x->text, '\\'); str_putc(&x->text, c); return true; }
    if (u > 0x10ffff || (u >= 0xd800 && u < 0xe000)) return false;
    str_put(&x->text, utf8, (size_t)utf8_put(utf8, u));
    return true;
}

static void literal(struct jinja *x)
{
    char quote = *x->p++;
    x->kind = JINJA_LITERAL;
    while (x->p < x->end && *x->p != quote) {
        if (*x->p != '\\') { str_putc(&x->text, *x->p++); continue; }
        if (++x->p == x->end) break;
        if (!read_escape(x)) { wrong(x, "a literal with an escape that cannot be read"); return; }
    }
    if (x->p == x->end) { wrong(x, "a literal that does not end"); return; }
    x->p++;
}

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80; }

static void in_tag(struct jinja *x)
{
    static const char *const pairs[] = { "==", "!=", ">=", "<=", "//", "**" };
    while (x->p < x->end && isspace((unsigned char)*x->p)) x->p++;
    str_clear(&x->text);
    x->at = x->p;
    if (x->p == x->end) { wrong(x, "a bracket that does not end"); return; }
    bool sign = *x->p == '-' || (*x->p == '+' && x->inside == '%');
    if (at_close(x, x->p + sign)) {
        x->kind = x->inside == '%' ? JINJA_BLOCK_END : JINJA_PRINT_END;
        close_tag(x, x->p + sign + 2, sign ? *x->p : 0, x->inside == '{');
        x->inside = 0;
        return;
    }
    if (*x->p == '\'' || *x->p == '"') { literal(x); return; }
    x->kind = JINJA_SIGN;
    if (is_word(*x->p)) {
        x->kind = JINJA_WORD;
        while (x->p < x->end && is_word(*x->p)) str_putc(&x->text, *x->p++);
        return;
    }
    size_t len = 1;
    for (size_t i = 0; x->end - x->p >= 2 && i < sizeof pairs / sizeof *pairs; i++)
        if (!memcmp(x->p, pairs[i], 2)) len = 2;
    str_put(&x->text, x->p, len);
    x->p += len;
}

void jinja_next(struct jinja *x)
{
    if (x->kind == JINJA_WRONG) return;
    if (x->inside) in_tag(x);
    else outside(x);
}
