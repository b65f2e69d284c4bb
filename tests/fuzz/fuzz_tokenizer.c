/* fuzz_tokenizer.c: the first byte selects the kind of the rest: a whole tokenizer.json; a part of an otherwise correct
 * one (a fuzzer would hardly write the tokens of 256 bytes by itself); or text, which must come back from its ids. */
#include "model/tokenizer/tokenizer.h"
#include "base/utf8.h"
#include "tests/model/tokenizer/tok_json.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void use(const struct tokenizer *t, const char *text, size_t n, bool lossless)
{
    for (int special = 0; special < 2; special++) {
        struct ids x = { 0 };
        struct str back = { 0 };
        bool ok = tokenizer_encode(t, &x, text, n, special);
        struct tokenizer_stream stream = { 0 };
        for (int i = 0; i < x.n; i++) tokenizer_stream_put(t, &stream, &back, x.p[i], i % 2);
        tokenizer_stream_end(&stream, &back);
        for (size_t at = 0; at < back.n;) {             /* always whole characters */
            uint32_t c;
            int len = utf8_get(back.p + at, back.n - at, &c);
            ENSURE(len > 0);
            at += (size_t)len;
        }
        str_clear(&back);
        tokenizer_decode(t, &back, x.p, x.n, true);
        ENSURE(!lossless || (ok && back.n == n && (n == 0 || !memcmp(back.p, text, n))));
        for (int i = 0; i < x.n; i++)
            ENSURE(x.p[i] >= 0 && x.p[i] < tokenizer_vocab(t) && (special || !tokenizer_special(t, x.p[i])));
        ids_free(&x);
        str_free(&back);
    }
}

static void parse_and_use(const char *text, size_t n)
{
    struct err e;
    struct tokenizer *t = tokenizer_parse("fuzz", text, n, &e);
    static const char sample[] = "Hello, w\xc3\xb6rld \xe4\xb8\x96 12 don't\n\n <x> aab \xff end";
    if (t) use(t, sample, sizeof sample, false);
    tokenizer_free(t);
}

static const struct tokenizer *fixed(void)
{
    static struct tokenizer *t;
    if (t) return t;
    struct str s = { 0 };
    tok_json(&s, (struct tok_json){ .pre = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}",
                                    .vocab = ",\"ab\":256,\"abc\":257,\"aa\":258,\"aaa\":259",
                                    .merges = "[\"a b\",\"a a\",\"ab c\",\"aa a\"]",
                                    .added = "[{\"content\":\"<x>\",\"id\":260,\"special\":true},{\"content\":\"<x\","
                                             "\"id\":261}]" });
    struct err e;
    t = tokenizer_parse("fixed", s.p, s.n, &e);
    ENSURE(t);
    str_free(&s);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0) return 0;
    struct str part = { 0 }, s = { 0 };
    str_put(&part, (const char *)data + 1, n - 1);
    struct tok_json j = { 0 };
    switch (data[0] % 8) {
    case 0: parse_and_use((const char *)data + 1, n - 1); break;
    case 1: j.pre = part.p; break;
    case 2: j.added = part.p; break;
    case 3: j.vocab = part.p; break;
    case 4: j.merges = part.p; j.vocab = ",\"ab\":256,\"abc\":257,\"aa\":258"; break;
    case 5: j.norm = part.p; break;
    case 6: j.post = part.p; j.added = "[{\"content\":\"<s>\",\"id\":300,\"special\":true}]"; break;
    default: use(fixed(), (const char *)data + 1, n - 1, true); break;
    }
    if (j.pre || j.added || j.vocab || j.merges || j.norm || j.post) {
        tok_json(&s, j);
        parse_and_use(s.p, s.n);
    }
    str_free(&part);
    str_free(&s);
    return 0;
}
