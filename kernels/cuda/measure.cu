/* measure.cu: time between two events of the one stream. The shim's events keep no time and its kernels run on the
 * host, whose clock is then the device's. */
#include "kernels/cuda/simt.h"
#include "kernels/measure.h"
#include "base/clock.h"

#ifdef __CUDACC__
static cudaEvent_t mark[2];

void measure_begin(void)
{
    for (int i = 0; i < 2 && !mark[i]; i++) CU(cudaEventCreate(&mark[i]));
    CU(cudaEventRecord(mark[0], queue()));
}

double measure_end(void)
{
    float ms = 0;
    CU(cudaEventRecord(mark[1], queue()));
    CU(cudaEventSynchronize(mark[1]));
    CU(cudaEventElapsedTime(&ms, mark[0], mark[1]));
    return 1e-3 * (double)ms;
}
#else
static double began;

void measure_begin(void) { began = seconds(); }
double measure_end(void) { return seconds() - began; }
#endif

void dev_memory(size_t *left, size_t *total)
{
    queue();
    CU(cudaMemGetInfo(left, total));
}
