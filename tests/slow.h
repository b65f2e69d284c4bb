/* slow.h: runs only a sample of the cases where a token takes a thousand times as long (the shim's lanes are fibers) or
 * ten times (sanitizers). */
#pragma once
#include "kernels/dev.h"
#include <string.h>

static inline bool on_shim(void) { return strcmp(dev_name(), "simt") == 0; }
static inline bool slow_build(void)
{
#ifdef __SANITIZE_ADDRESS__
    return true;
#else
    return on_shim();
#endif
}
