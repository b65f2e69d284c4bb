/* measure.c: on a CPU an operation is done when it returns, so the host's clock is the device's. */
#include "kernels/dev.h"
#include "kernels/measure.h"
#include "base/clock.h"
#include "base/memory.h"

static double began;

void measure_begin(void) { began = seconds(); }
double measure_end(void) { return seconds() - began; }

void dev_memory(size_t *left, size_t *total)
{
    struct host_memory m = host_memory("");
    *left = m.available;
    *total = m.total;
}
