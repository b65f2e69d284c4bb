/* bench.h: the C backend's matrix product against others on the same processor. Prints lines of text for people and one
 * JSON object for machines. */
#pragma once
#include <stdio.h>

/* The CPU matrix product (op_gemm) at the embedded policy's shapes and at large squares: median time, GFLOP/s, percent
 * of what its own tile kernel does from L1, ratio to OpenBLAS (same threads; libopenblas.so.0 is looked for at run
 * time, nothing is linked) and to the plain triple loop, peak memory. Operands are random and stay where the caches
 * leave them. json may be NULL. Takes about 20 s. OpenBLAS chooses kernels by processor and says which: a version that
 * does not know the processor falls back to AVX2, OPENBLAS_CORETYPE=SkylakeX gives it AVX-512. Builds for other
 * backends say that they have no such product. */
void bench_openblas(FILE *text, FILE *json);
