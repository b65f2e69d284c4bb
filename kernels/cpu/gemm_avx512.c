/* gemm_avx512.c: the tile kernels for AVX-512: 14 rows by two registers are 28 accumulators of 32. Compiled for
 * every base architecture, called only on processors that support it. The Makefile has its flags (isa.*). */
#include "kernels/cpu/gemm_isa.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define ISA "avx512"
#define MR 14
#define WIDE 4
enum { VL = 64 / sizeof(elem_t) };
#if defined(REAL_IS_double)
typedef __m512d vec;
static inline __attribute__((always_inline)) vec vzero(void) { return _mm512_setzero_pd(); }
static inline __attribute__((always_inline)) vec vload(const elem_t *p) { return _mm512_loadu_pd(p); }
static inline __attribute__((always_inline)) void vstore(elem_t *p, vec v) { _mm512_storeu_pd(p, v); }
static inline __attribute__((always_inline)) vec vset(const elem_t *p) { return _mm512_set1_pd(*p); }
static inline __attribute__((always_inline)) vec vfma(vec a, vec b, vec c) { return _mm512_fmadd_pd(a, b, c); }
static inline __attribute__((always_inline)) vec vadd(vec a, vec b) { return _mm512_add_pd(a, b); }
#else
typedef __m512 vec;
static inline __attribute__((always_inline)) vec vzero(void) { return _mm512_setzero_ps(); }
static inline __attribute__((always_inline)) vec vload(const elem_t *p) { return _mm512_loadu_ps(p); }
static inline __attribute__((always_inline)) void vstore(elem_t *p, vec v) { _mm512_storeu_ps(p, v); }
static inline __attribute__((always_inline)) vec vset(const elem_t *p) { return _mm512_set1_ps(*p); }
static inline __attribute__((always_inline)) vec vfma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline __attribute__((always_inline)) vec vadd(vec a, vec b) { return _mm512_add_ps(a, b); }
#endif
#include "kernels/cpu/gemm_kernel.h"

const struct gemm_isa *gemm_isa_avx512(void) { return __builtin_cpu_supports("avx512f") ? &isa : NULL; }
#else
const struct gemm_isa *gemm_isa_avx512(void) { return NULL; }
#endif
