/* gemm_portable.c: the tile kernels for any processor, on the compiler's own vectors, and the choice among the
 * instruction sets.
 * fma() element by element: one instruction where the processor has it, the C library's slow exact one where it has
 * not. Never a * b + c: same bits. */
#include "base/err.h"
#include "kernels/cpu/gemm_isa.h"
#include <stdlib.h>
#include <string.h>

#define ISA "portable"
#define MR 6
#define WIDE 1
#pragma GCC diagnostic ignored "-Wpsabi"        /* no vector crosses a call that is not inlined */
enum { VL = 32 / sizeof(elem_t) };
typedef elem_t vec __attribute__((vector_size(32)));
typedef elem_t vec_any __attribute__((vector_size(32), aligned(sizeof(elem_t)), may_alias));
static inline __attribute__((always_inline)) vec vzero(void) { return (vec){ 0 }; }
static inline __attribute__((always_inline)) vec vload(const elem_t *p) { return *(const vec_any *)p; }
static inline __attribute__((always_inline)) void vstore(elem_t *p, vec v) { *(vec_any *)p = v; }
static inline __attribute__((always_inline)) vec vset(const elem_t *p) { return *p - (vec){ 0 }; }
static inline __attribute__((always_inline)) vec vadd(vec a, vec b) { return a + b; }
static inline __attribute__((always_inline)) vec vfma(vec a, vec b, vec c)
{
#pragma GCC unroll 8
    for (int i = 0; i < VL; i++) {
#if defined(REAL_IS_double)
        c[i] = __builtin_fma(a[i], b[i], c[i]);
#else
        c[i] = __builtin_fmaf(a[i], b[i], c[i]);
#endif
    }
    return c;
}
#include "kernels/cpu/gemm_kernel.h"

const struct gemm_isa *gemm_isa_portable(void) { return &isa; }

static const struct gemm_isa *choose(void)
{
    const struct gemm_isa *all[] = { gemm_isa_avx512(), gemm_isa_avx2(), gemm_isa_portable() };
    const char *want = getenv("APPO_ISA");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] && (!want || !*want || !strcmp(want, all[i]->name))) return all[i];
    die("APPO_ISA=%s: this processor has no such instructions; say avx512, avx2 or portable, or leave it unset", want);
}

static const struct gemm_isa *chosen, *forced;

void gemm_isa_force(const struct gemm_isa *i) { forced = i; }

const struct gemm_isa *gemm_isa(void)
{
    if (forced) return forced;
    if (!chosen) chosen = choose();
    return chosen;
}
