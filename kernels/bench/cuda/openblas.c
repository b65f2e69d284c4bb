/* openblas.c: builds for a GPU have no C product to compare; the products that they have are rows of `bench gemm`. */
#include "kernels/bench/bench.h"
#include "kernels/dev.h"

void bench_openblas(FILE *text, FILE *json)
{
    fprintf(text, "openblas: compares the C backend's product, which the build for %s does not have; see bench gemm\n",
            dev_name());
    if (json) fprintf(json, "{\"bench\": \"openblas\", \"left_out\": \"not the C backend\"}\n");
}
