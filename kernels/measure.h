/* measure.h: what a measurement asks of the device: how long work took there, and how much memory is left. Benchmarks,
 * reports and what refuses a model use it. */
#pragma once
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Seconds from the one call to the other on the device's own clock (events on a GPU: the host's launching does not
 * count unless the device waits for it). measure_end waits until the work in between is done. One measurement at a
 * time. */
void measure_begin(void);
double measure_end(void);

/* Bytes of device memory that can still be had, and all there are; on a CPU the machine's, or of its control groups
 * where these leave less (base/memory.h). */
void measure_memory(size_t *left, size_t *total);

#ifdef __cplusplus
}
#endif
