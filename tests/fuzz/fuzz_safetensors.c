/* fuzz_safetensors.c: any bytes as a .safetensors file; reads every value of an accepted one. */
#include "model/weights/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err e;
    struct st_file *f = st_parse("fuzz", data, n, &e);
    for (int i = 0; f && i < st_count(f); i++) {
        const struct st_tensor *t = st_at(f, i);
        ENSURE(st_find(f, t->name) == t);
        for (int64_t at = 0; t->dtype != ST_OTHER && at < t->count; at++) {
            float x;
            double y;
            ENSURE(st_get_f32(t, at, 1, &x) && st_get_f64(t, at, 1, &y));
        }
    }
    st_close(f);
    return 0;
}
