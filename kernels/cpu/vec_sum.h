/* vec_sum.h: sums of vectors of elements, in double, in lanes chosen by the index within the row alone: the bits do not
 * depend on VL. */
#pragma once
#include "kernels/cpu/vec.h"

typedef double vd __attribute__((vector_size(VBYTES)));
typedef double vd_any __attribute__((vector_size(VBYTES), aligned(8), may_alias));
typedef double vd4 __attribute__((vector_size(32)));
INLINE double vadd4(vd4 t) { return (t[0] + t[1]) + (t[2] + t[3]); }

/* Sums of elements in double, folded: element j of a row always lands in the same one of 8 lanes (4 where elements are
 * doubles), whatever VL is. */
#if defined(REAL_IS_double)
struct vacc { vd4 a; };
#if VEC == 512
INLINE vd4 vlow(vr x) { return (vd4)_mm512_castpd512_pd256((vn)x); }
INLINE vd4 vhigh(vr x) { return (vd4)_mm512_extractf64x4_pd((vn)x, 1); }
INLINE vd4 vfma4(vd4 a, vd4 b, vd4 c) { return (vd4)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
INLINE void vacc_add(struct vacc *s, vr x) { s->a += vlow(x); s->a += vhigh(x); }
INLINE void vacc_fma(struct vacc *s, vr x, vr y) { s->a = vfma4(vhigh(x), vhigh(y), vfma4(vlow(x), vlow(y), s->a)); }
#else
INLINE void vacc_add(struct vacc *s, vr x) { s->a += x; }
INLINE void vacc_fma(struct vacc *s, vr x, vr y) { s->a = vfma(x, y, s->a); }
#endif
INLINE double vacc_sum(struct vacc s) { return vadd4(s.a); }
#elif VEC == 512
struct vacc { vd a; };
INLINE vd vlow(vr x) { return (vd)_mm512_cvtps_pd(_mm512_castps512_ps256((vn)x)); }
INLINE vd vhigh(vr x) { return (vd)_mm512_cvtps_pd(_mm512_extractf32x8_ps((vn)x, 1)); }
INLINE vd vfmad(vd a, vd b, vd c) { return (vd)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
INLINE void vacc_add(struct vacc *s, vr x) { s->a += vlow(x); s->a += vhigh(x); }
INLINE void vacc_fma(struct vacc *s, vr x, vr y) { s->a = vfmad(vhigh(x), vhigh(y), vfmad(vlow(x), vlow(y), s->a)); }
INLINE double vacc_sum(struct vacc s)
{
    return vadd4((vd4)_mm512_castpd512_pd256((__m512d)s.a) + (vd4)_mm512_extractf64x4_pd((__m512d)s.a, 1));
}
#else
struct vacc { vd a, b; };
#if VEC
INLINE vd vlow(vr x) { return (vd)_mm256_cvtps_pd(_mm256_castps256_ps128((vn)x)); }
INLINE vd vhigh(vr x) { return (vd)_mm256_cvtps_pd(_mm256_extractf128_ps((vn)x, 1)); }
INLINE vd vfmad(vd a, vd b, vd c) { return (vd)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
#else
INLINE vd vlow(vr x) { return __builtin_convertvector(__builtin_shufflevector(x, x, 0, 1, 2, 3), vd); }
INLINE vd vhigh(vr x) { return __builtin_convertvector(__builtin_shufflevector(x, x, 4, 5, 6, 7), vd); }
INLINE vd vfmad(vd a, vd b, vd c) { return a * b + c; }
#endif
INLINE void vacc_add(struct vacc *s, vr x) { s->a += vlow(x); s->b += vhigh(x); }
INLINE void vacc_fma(struct vacc *s, vr x, vr y)
{
    s->a = vfmad(vlow(x), vlow(y), s->a);
    s->b = vfmad(vhigh(x), vhigh(y), s->b);
}
INLINE double vacc_sum(struct vacc s) { return vadd4(s.a + s.b); }
#endif

/* Sums in double, one for each of VL elements. */
#if defined(REAL_IS_double)
struct vsum { vd a; };
INLINE struct vsum vsum_get(const double *p) { return (struct vsum){ vget(p) }; }
INLINE void vsum_put(double *p, struct vsum s) { vput(p, s.a); }
INLINE void vsum_add(struct vsum *s, vr x) { s->a += x; }
INLINE void vsum_fma(struct vsum *s, vr x, vr y) { s->a = vfma(x, y, s->a); }
#else
struct vsum { vd a, b; };
INLINE struct vsum vsum_get(const double *p) { return (struct vsum){ ((const vd_any *)p)[0], ((const vd_any *)p)[1] }; }
INLINE void vsum_put(double *p, struct vsum s)
{
    ((vd_any *)p)[0] = s.a;
    ((vd_any *)p)[1] = s.b;
}
INLINE void vsum_add(struct vsum *s, vr x)
{
    s->a += vlow(x);
    s->b += vhigh(x);
}
INLINE void vsum_fma(struct vsum *s, vr x, vr y)
{
    s->a = vfmad(vlow(x), vlow(y), s->a);
    s->b = vfmad(vhigh(x), vhigh(y), s->b);
}
#endif
