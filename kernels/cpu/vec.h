/* vec.h: a vector of elements, as wide as what this file is compiled for has: 64 bytes with AVX-512, else 32. Bits
 * never depend on the width: multiply-adds that decide bits are written as vfma, never left to the compiler. */
#pragma once
#include "kernels/dev.h"
#include <math.h>
#if defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512BW__) && defined(__AVX512DQ__)
#include <immintrin.h>
#define VEC 512
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define VEC 256
#else
#define VEC 0
#pragma GCC diagnostic ignored "-Wpsabi"        /* vectors are passed between inlined functions only */
#endif

/* Vectors are passed between inlined functions only: without AVX no calling convention covers them. */
#define INLINE static inline __attribute__((always_inline))

enum {
    VBYTES = VEC == 512 ? 64 : 32,
    VL = VBYTES / sizeof(elem_t),
    VL_MAX = 64 / sizeof(elem_t) /* what rows of partial sums are padded to */
};
typedef elem_t vr __attribute__((vector_size(VBYTES)));
typedef elem_t vr_any __attribute__((vector_size(VBYTES), aligned(sizeof(elem_t)), may_alias));

INLINE vr vget(const elem_t *p) { return *(const vr_any *)p; }
INLINE void vput(elem_t *p, vr v) { *(vr_any *)p = v; }
INLINE vr vset(double x) { return (elem_t)x - (vr){ 0 }; }
INLINE vr vsetr(elem_t x) { return x - (vr){ 0 }; }
INLINE vr vneg(vr a) { return -a; }

#if VEC == 512 && defined(REAL_IS_double)
typedef __m512d vn;
typedef __mmask8 vbits;
#define I(op) _mm512_##op##_pd
#elif VEC == 512
typedef __m512 vn;
typedef __mmask16 vbits;
#define I(op) _mm512_##op##_ps
#elif VEC == 256 && defined(REAL_IS_double)
typedef __m256d vn;
#define I(op) _mm256_##op##_pd
#elif VEC == 256
typedef __m256 vn;
#define I(op) _mm256_##op##_ps
#endif

#if VEC
INLINE vr vfma(vr a, vr b, vr c) { return (vr)I(fmadd)((vn)a, (vn)b, (vn)c); }
INLINE vr vmax(vr a, vr b) { return (vr)I(max)((vn)a, (vn)b); }
INLINE vr vmin(vr a, vr b) { return (vr)I(min)((vn)a, (vn)b); }
#else
INLINE vr vfma(vr a, vr b, vr c) { return a * b + c; }
INLINE vr vmax(vr a, vr b)       /* b where either is NaN, as the x86 instruction */
{
    __typeof__(a > b) m = a > b;
    return (vr)((m & (__typeof__(m))a) | (~m & (__typeof__(m))b));
}
INLINE vr vmin(vr a, vr b) { return -vmax(-a, -b); }
#endif

/* n lanes of p, the others 0 (vget_part: 0 < n <= VL, without a branch); the first n lanes to p; lanes n and up to p +
 * n; v with x in lanes n and up. n >= VL is all of them. */
#if VEC == 512
INLINE vbits vmask(int n) { return (vbits)(n >= VL ? ~0u : (1u << n) - 1); }
INLINE vr vget_part(const elem_t *p, int n) { return (vr)I(maskz_loadu)(vmask(n), p); }
INLINE vr vget_n(const elem_t *p, int n) { return vget_part(p, n); }
/* A load cannot be served by a masked store that is still under way, hence the branch. */
INLINE void vput_n(elem_t *p, vr v, int n)
{
    if (n >= VL) vput(p, v);
    else I(mask_storeu)(p, vmask(n), (vn)v);
}
INLINE void vput_from(elem_t *p, vr v, int n) { I(mask_storeu)(p, (vbits)~vmask(n), (vn)v); }
INLINE vr vfill(vr v, int n, elem_t x) { return (vr)I(mask_mov)((vn)vsetr(x), vmask(n), (vn)v); }
#else
#if defined(REAL_IS_double)
typedef int64_t vint;
#else
typedef int32_t vint;
#endif
typedef vint vints __attribute__((vector_size(VBYTES)));
INLINE vints vmask(int n)
{
    static const vint on[2 * VL] = { [0 ... VL - 1] = -1 };
    typedef vints any __attribute__((aligned(sizeof(elem_t)), may_alias));
    return *(const any *)(on + VL - (n < VL ? n : VL));
}
INLINE vr vfill(vr v, int n, elem_t x)
{
    vints m = vmask(n);
    return (vr)((m & (vints)v) | (~m & (vints)vsetr(x)));
}
INLINE vr vget_part(const elem_t *p, int n)
{
#if VEC
    return (vr)I(maskload)(p, (__m256i)vmask(n));
#else
    vr v = { 0 };
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
#endif
}
INLINE vr vget_n(const elem_t *p, int n) { return n >= VL ? vget(p) : vget_part(p, n); }
/* Lane by lane and in halves: AVX2's masked store is 20 times as slow as a plain one on Zen. */
INLINE void vput_n(elem_t *p, vr v, int n)
{
    if (n >= VL) { vput(p, v); return; }
    elem_t lane[VL];
    int i = 0;
    vput(lane, v);
    if (VL == 8 && n & 4) for (; i < 4; i++) p[i] = lane[i];
    for (; i < n; i++) p[i] = lane[i];
}
INLINE void vput_from(elem_t *p, vr v, int n)
{
    elem_t lane[VL];
    vput(lane, v);
    for (; n < VL; n++) p[n] = lane[n];
}
#endif

/* v, loaded once: GCC would load it anew for each multiply-add that it is an operand of. */
INLINE vr vheld(vr v)
{
#if VEC == 512
    __asm__("" : "+v"(v));
#elif VEC
    __asm__("" : "+x"(v));
#endif
    return v;
}

/* The largest lane; NaN lanes may be lost. */
INLINE elem_t vmax_all(vr a)
{
#if VEC == 512
    return I(reduce_max)((vn)a);
#else
    elem_t m[VL];
    vput(m, a);
    for (int k = VL / 2; k; k /= 2)
        for (int i = 0; i < k; i++) m[i] = m[i + k] > m[i] ? m[i + k] : m[i];
    return m[0];
#endif
}
