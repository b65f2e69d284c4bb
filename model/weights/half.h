/* half.h: 16-bit floating point to float, one number and whole arrays at any byte address. Private to model/. */
#pragma once
#include <stdint.h>
#include <string.h>

static inline float f32_of_bf16(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* The bits shifted into place are the value times 2^-112, also for subnormals; infinity and NaN become
 * 2^16 or more. */
static inline float f32_of_f16(uint16_t h)
{
    uint32_t u = (uint32_t)(h & 0x7fff) << 13;
    float x;
    memcpy(&x, &u, sizeof x);
    x *= 0x1p112f;
    memcpy(&u, &x, sizeof u);
    u |= (x >= 65536.0f ? 0x7f800000u : 0) | (uint32_t)(h & 0x8000) << 16;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline uint16_t half_at(const void *p, int64_t i)
{
    uint16_t h;
    memcpy(&h, (const char *)p + 2 * i, sizeof h);
    return h;
}

/* Loops that the compiler vectorises. */
static inline void f32_of_bf16_all(float *out, const void *in, int64_t n)
{
    for (int64_t i = 0; i < n; i++) out[i] = f32_of_bf16(half_at(in, i));
}
static inline void f32_of_f16_all(float *out, const void *in, int64_t n)
{
    for (int64_t i = 0; i < n; i++) out[i] = f32_of_f16(half_at(in, i));
}
