/* measure.c: on a CPU an operation is done when it returns, so the host's clock is the device's. */
#include "kernels/measure.h"
#include "base/clock.h"
#include <unistd.h>

static double began;

void measure_begin(void) { began = seconds(); }
double measure_end(void) { return seconds() - began; }

void measure_memory(size_t *left, size_t *total)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    *left = page * (size_t)sysconf(_SC_AVPHYS_PAGES);
    *total = page * (size_t)sysconf(_SC_PHYS_PAGES);
}
