/* gguf_quant.c: ggml's packed numbers (ggml-common.h, dequantize_row_* of ggml-quants.c). All products of scales and
 * quants below are exact in float, except the last of Q6_K, so that fused multiply-adds change no bit. */
#include "model/weights/gguf_quant.h"
#include "model/weights/half.h"
#include <string.h>

static float half(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return f32_of_f16(h);
}

static void get_f32(float *out, const void *in, int64_t n) { memcpy(out, in, (size_t)n * sizeof *out); }
static void get_f16(float *out, const void *in, int64_t n) { f32_of_f16_all(out, in, n); }
static void get_bf16(float *out, const void *in, int64_t n) { f32_of_bf16_all(out, in, n); }

/* 32 numbers: half d, int8 q[32]: d q */
static void get_q8_0(float *out, const void *in, int64_t n)
{
    const uint8_t *b = in;
    for (int64_t i = 0; i < n; i++, b += 34, out += 32) {
        float d = half(b);
        for (int j = 0; j < 32; j++) out[j] = d * (float)(int8_t)b[2 + j];
    }
}

/* 32 numbers: half d, q[16], low halves first: d (q - 8) */
static void get_q4_0(float *out, const void *in, int64_t n)
{
    const uint8_t *b = in;
    for (int64_t i = 0; i < n; i++, b += 18, out += 32) {
        float d = half(b);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((b[2 + j] & 15) - 8);
            out[j + 16] = d * (float)((b[2 + j] >> 4) - 8);
        }
    }
}

/* 32 numbers: half d, half m, q[16]: d q + m */
static void get_q4_1(float *out, const void *in, int64_t n)
{
    const uint8_t *b = in;
    for (int64_t i = 0; i < n; i++, b += 20, out += 32) {
        float d = half(b), m = half(b + 2);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(b[4 + j] & 15) + m;
            out[j + 16] = d * (float)(b[4 + j] >> 4) + m;
        }
    }
}

/* The fifth bits of 32 quants lie in a 32-bit word before their low halves. */
static void get_q5(float *out, const uint8_t *b, float d, float m, int less)
{
    uint32_t high;
    memcpy(&high, b, sizeof high);
    for (int j = 0; j < 16; j++) {
        int lo = (b[4 + j] & 15) | (int)(high >> j & 1) << 4, hi = b[4 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4;
        out[j] = d * (float)(lo - less) + m;
        out[j + 16] = d * (float)(hi - less) + m;
    }
}

/* half d, bits[4], q[16]: d (q - 16) */
static void get_q5_0(float *out, const void *in, int64_t n)
{
    const uint8_t *b = in;
    /* x + -0 is x, also for x = -0 */
    for (int64_t i = 0; i < n; i++, b += 22, out += 32) get_q5(out, b + 2, half(b), -0.0f, 16);
}

/* half d, half m, bits[4], q[16]: d q + m */
static void get_q5_1(float *out, const void *in, int64_t n)
{
    const uint8_t *b = in;
    for (int64_t i = 0; i < n; i++, b += 24, out += 32) get_q5(out, b + 4, half(b), half(b + 2), 0);
}

/* Scale and minimum of 32 numbers, j = 0 .. 7: 6 bits each, packed into 12 bytes. */
static void scale_min(const uint8_t *s, int j, int *scale, int *min)
{
    *scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    *min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
}

/* 256 numbers: half d, half dmin, scales[12], (bits[32],) q[128]: (d scale) q - dmin min. high: the fifth bits (Q5_K),
 * or NULL */
static void get_k(float *out, const uint8_t *b, const uint8_t *high, const uint8_t *q)
{
    float d = half(b), dmin = half(b + 2);
    for (int j = 0; j < 8; j++) {
        int scale, min;
        scale_min(b + 4, j, &scale, &min);
        float by = d * (float)scale, less = dmin * (float)min;
        const uint8_t *low = q + j / 2 * 32;
        for (int k = 0; k < 32; k++) {
            int x = j % 2 ? low[k] >> 4 : low[k] & 15;
            if (high) x |= (high[k] >> j & 1) << 4;
            out[32 * j + k] = by * (float)x - less;
        }
    }
}

static void get_q4_k(float *out, const void *in, int64_t n)
{
    const uint8_t *b = in;
    for (int64_t i = 0; i < n; i++, b += 144, out += 256) get_k(out, b, NULL, b + 16);
}

static void get_q5_k(float *out, const void *in, int64_t n)
{
    const uint8_t *b = in;
    for (int64_t i = 0; i < n; i++, b += 176, out += 256) get_k(out, b, b + 16, b + 48);
}

/* 256 numbers: low halves[128], two high bits[64], int8 scales[16], half d: (d scale) (q - 32) */
static void get_q6_k(float *out, const void *in, int64_t n)
{
    const uint8_t *b = in;
    for (int64_t i = 0; i < n; i++, b += 210, out += 256) {
        const int8_t *scale = (const int8_t *)(b + 192);
        float d = half(b + 208);
        for (int part = 0; part < 8; part++) {              /* 32 numbers: of half h, quarter k of it */
            int h = part / 4, k = part % 4;
            const uint8_t *low = b + h * 64 + k % 2 * 32, *high = b + 128 + h * 32;
            for (int j = 0; j < 32; j++) {
                int x = (k < 2 ? low[j] & 15 : low[j] >> 4) | (high[j] >> 2 * k & 3) << 4;
                out[32 * part + j] = d * (float)scale[2 * part + j / 16] * (float)(x - 32);
            }
        }
    }
}

static const struct gguf_dtype dtypes[] = {
    { "F32", 0, 1, 4, get_f32 }, { "F16", 1, 1, 2, get_f16 }, { "BF16", 30, 1, 2, get_bf16 },
    { "Q8_0", 8, 32, 34, get_q8_0 }, { "Q4_0", 2, 32, 18, get_q4_0 }, { "Q4_1", 3, 32, 20, get_q4_1 },
    { "Q5_0", 6, 32, 22, get_q5_0 }, { "Q5_1", 7, 32, 24, get_q5_1 }, { "Q4_K", 12, 256, 144, get_q4_k },
    { "Q5_K", 13, 256, 176, get_q5_k }, { "Q6_K", 14, 256, 210, get_q6_k },
};

const struct gguf_dtype *gguf_dtype(uint32_t id)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) if ((uint32_t)dtypes[i].id == id) return &dtypes[i];
    return NULL;
}
