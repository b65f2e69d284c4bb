/* fuzz_yaml.c: any bytes as a configuration file, applied to a configuration: settings or a message, never a crash. */
#include "engine/config/config_in.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct err e = { "" };
    struct settings s = { 0 };
    struct config c;
    bool ok = config_yaml(&s, "fuzz.yaml", (const char *)bytes, n, &e);
    ENSURE(ok || *e.text);
    config_init(&c);
    for (int i = 0; ok && i < s.n; i++) config_set(&c, s.v[i].key, s.v[i].value, s.v[i].source, &e);
    config_free(&c);
    settings_free(&s);
    return 0;
}
