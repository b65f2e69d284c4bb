/* simt_memory.h: the device memory of the shim as one thing, for running a launch twice from the same state. */
#pragma once
#include <stddef.h>

void simt_memory_save();                        /* keeps a copy of all device memory */
/* device memory becomes what was kept, and what it was is kept instead */
void simt_memory_swap();
/* Is device memory what is kept? If not, text says which kernel made the difference and where it is. */
bool simt_memory_same(const char *kernel, char *text, size_t size);
