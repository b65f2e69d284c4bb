/* measure.h: how long work took on the device. Benchmarks and reports use it. */
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

#ifdef __cplusplus
}
#endif
