/* tok_json.h: a tokenizer.json made of parts, for tests and the fuzz target. Bytes have ids 0..255; the byte alphabet
 * is written down a second time here, independently of model/tokenizer/byte_alphabet.c. */
#pragma once
#include "base/str.h"

/* NULL: as in the first comment; else the JSON text that stands there */
struct tok_json {
    const char *pre;        /* pre_tokenizer: ByteLevel without its expression */
    const char *norm;       /* normalizer: null */
    const char *added;      /* added_tokens: [] */
    const char *vocab;      /* more entries, each with a comma before it: none */
    const char *merges;     /* [] */
    const char *model;      /* more keys of model, each with a comma behind it: none */
    const char *decoder;    /* ByteLevel */
    const char *post;       /* post_processor: null */
};

static inline void tok_json_byte(struct str *out, int b)
{
    int c = b;
    if (b < 33) c = 256 + b;
    else if (b > 126 && b < 161) c = 256 + 33 + b - 127;
    else if (b == 173) c = 256 + 67;
    if (c == '"' || c == '\\') str_putc(out, '\\');
    if (c < 128) { str_putc(out, (char)c); return; }
    str_putc(out, (char)(0xc0 | c >> 6));
    str_putc(out, (char)(0x80 | (c & 63)));
}

static inline void tok_json(struct str *out, struct tok_json j)
{
    str_clear(out);
    str_printf(out,
               "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":%s,\"normalizer\":%s,\"pre_"
               "tokenizer\":%s,",
               j.added ? j.added : "[]", j.norm ? j.norm : "null",
               j.pre ? j.pre : "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}");
    str_printf(out, "\"post_processor\":%s,\"decoder\":%s,\"model\":{\"type\":\"BPE\",%s\"vocab\":{",
               j.post ? j.post : "null", j.decoder ? j.decoder : "{\"type\":\"ByteLevel\"}", j.model ? j.model : "");
    for (int b = 0; b < 256; b++) {
        str_puts(out, b ? ",\"" : "\"");
        tok_json_byte(out, b);
        str_printf(out, "\":%d", b);
    }
    str_printf(out, "%s},\"merges\":%s}}", j.vocab ? j.vocab : "", j.merges ? j.merges : "[]");
}
