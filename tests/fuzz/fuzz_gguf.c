/* fuzz_gguf.c: any bytes as a GGUF file: reads the configuration, the vocabulary and every number of an accepted one.
 * The first bytes are given, because a fuzzer would hardly find them. */
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/gguf_model.h"
#include "model/tokenizer/tokenizer.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void use_vocabulary(const struct gguf *g)
{
    struct err e = { "" };
    struct tokenizer *t = tokenizer_from_gguf(g, &e);
    struct ids x = { 0 };
    static const char sample[] = "Hello, w\xc3\xb6rld 12 <|im_end|> \xff";
    ENSURE(t || *e.text);
    if (t && tokenizer_encode(t, &x, sample, sizeof sample, true))
        for (int i = 0; i < x.n; i++) ENSURE(x.p[i] >= 0 && x.p[i] < tokenizer_vocab(t));
    ids_free(&x);
    tokenizer_free(t);
}

static void use(const struct gguf *g)
{
    struct err e;
    struct model_config c;
    struct gguf_vocab v;
    if (gguf_config(g, &c, &e))
        ENSURE(c.vocab > 0 && c.dim > 0 && c.layers > 0 && c.heads % c.kv_heads == 0 && c.head_dim % 2 == 0 &&
               c.rms_eps > 0 && c.eos[0] < c.vocab);
    if (gguf_vocab(g, &v, &e)) {
        int64_t sum = 0;
        for (int i = 0; i < v.n; i++)
            sum += v.token[i].n + (v.token[i].n ? v.token[i].p[v.token[i].n - 1] : 0) + v.type[i];
        for (int i = 0; i < v.merges; i++) sum += v.merge[i].n + (v.merge[i].n ? v.merge[i].p[0] : 0);
        ENSURE(v.eos < v.n && sum != INT64_MAX);
        gguf_vocab_free(&v);
    }
    use_vocabulary(g);
    for (int i = 0; i < gguf_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        float x[256];
        for (int64_t at = 0; at < t->count; at += t->dtype->block) ENSURE(gguf_get_f32(t, at, t->dtype->block, x));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err e = { "" };
    size_t all = n + 4;
    char *p = xmalloc(all);
    memcpy(p, "GGUF", 4);
    if (n) memcpy(p + 4, data, n);
    struct gguf *g = gguf_parse("fuzz", p, all, &e);
    ENSURE(g || *e.text);
    if (g) use(g);
    gguf_close(g);
    free(p);
    return 0;
}
