/* lanes_avx512.c: the inner loops for AVX-512. Compiled for every base architecture, called only on processors that
 * support it. The Makefile has its flags (isa.*). */
#if defined(__x86_64__)
#include "kernels/cpu/lanes.h"

#define ISA "avx512"
#include "kernels/cpu/lanes_rows.h"
#include "kernels/cpu/lanes_scores.h"
#include "kernels/cpu/lanes_attn.h"
#include "kernels/cpu/lanes_attn_back.h"
#include "kernels/cpu/lanes_table.h"

const struct lanes *lanes_avx512(void)
{
    bool can = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    return can ? &table : NULL;
}
#else
#include "kernels/cpu/lanes.h"
const struct lanes *lanes_avx512(void) { return NULL; }
#endif
