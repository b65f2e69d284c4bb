/* measure.h: time that work takes on the device. Used by benchmarks and reports. */
#pragma once
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Seconds between the two calls on the device's own clock (events on a GPU: time the host spends launching does not
 * count unless the device waits for it). measure_end waits until the work in between is done. One measurement at a
 * time. */
void measure_begin(void);
double measure_end(void);

#ifdef __cplusplus
}
#endif
