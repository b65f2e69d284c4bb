/* gemm_avx2.c: the tile kernels for AVX2 with FMA: 6 rows by two registers are 12 accumulators of 16, a panel is done
 * in two halves. */
#include "kernels/cpu/gemm_isa.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define ISA "avx2"
#define MR 6
#define WIDE 1
enum { VL = 32 / sizeof(elem_t) };
#if defined(REAL_IS_double)
typedef __m256d vec;
static inline __attribute__((always_inline)) vec vzero(void) { return _mm256_setzero_pd(); }
static inline __attribute__((always_inline)) vec vload(const elem_t *p) { return _mm256_loadu_pd(p); }
static inline __attribute__((always_inline)) void vstore(elem_t *p, vec v) { _mm256_storeu_pd(p, v); }
static inline __attribute__((always_inline)) vec vset(const elem_t *p) { return _mm256_set1_pd(*p); }
static inline __attribute__((always_inline)) vec vfma(vec a, vec b, vec c) { return _mm256_fmadd_pd(a, b, c); }
static inline __attribute__((always_inline)) vec vadd(vec a, vec b) { return _mm256_add_pd(a, b); }
#else
typedef __m256 vec;
static inline __attribute__((always_inline)) vec vzero(void) { return _mm256_setzero_ps(); }
static inline __attribute__((always_inline)) vec vload(const elem_t *p) { return _mm256_loadu_ps(p); }
static inline __attribute__((always_inline)) void vstore(elem_t *p, vec v) { _mm256_storeu_ps(p, v); }
static inline __attribute__((always_inline)) vec vset(const elem_t *p) { return _mm256_set1_ps(*p); }
static inline __attribute__((always_inline)) vec vfma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline __attribute__((always_inline)) vec vadd(vec a, vec b) { return _mm256_add_ps(a, b); }
#endif
#include "kernels/cpu/gemm_kernel.h"

const struct gemm_isa *gemm_isa_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &isa : NULL;
}
#else
const struct gemm_isa *gemm_isa_avx2(void) { return NULL; }
#endif
