/* stage.h: the vectors of ops_rl.h are host memory. An operation lists them; they go to the device in one copy, its
 * kernels run, and the outputs come back in one copy: about 20 us a call on top of 2 bytes a nanosecond, for
 * vectors of a few megabytes a training step. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* A vector: copied from `in` if that is not NULL, copied back to `out` if that is not NULL, scratch where both are. dev
 * is where it lies on the device, 256-byte aligned, NULL where bytes is 0. */
struct stage {
    const void *in;
    void *out;
    size_t bytes;
    void *dev;
};

/* The memory is valid until the next stage_put(); it grows and is never freed. `in` may be freed on return. */
void stage_put(struct stage *s, int count);
void stage_get(const struct stage *s, int count);

#ifdef __cplusplus
}
#endif
