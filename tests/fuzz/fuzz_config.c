/* fuzz_config.c: any bytes as a config.json and as a generation_config.json; an accepted one satisfies the guarantees
 * of the header. */
#include "model/config.h"
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err e;
    struct model_config c = { .vocab = 100 };
    model_generation_parse(&c, "fuzz", (const char *)data, n, &e);
    ENSURE(c.n_eos >= 0 && c.n_eos <= CONFIG_EOS_FILE);
    for (int i = 0; i < c.n_eos; i++) ENSURE(c.eos[i] >= 0 && c.eos[i] < c.vocab);
    if (!model_config_parse(&c, "fuzz", (const char *)data, n, &e)) return 0;
    ENSURE(c.vocab > 0 && c.dim > 0 && c.layers > 0 && c.heads > 0 && c.kv_heads > 0 && c.ff > 0 && c.max_len > 0);
    ENSURE(c.heads % c.kv_heads == 0 && c.head_dim > 0 && c.head_dim % 2 == 0 && c.heads * c.head_dim <= 1 << 17);
    ENSURE(c.n_eos >= 0 && c.n_eos <= CONFIG_EOS_MAX && c.bos < c.vocab && c.pad < c.vocab && c.rms_eps > 0 &&
           c.rope_theta > 0);
    return 0;
}
