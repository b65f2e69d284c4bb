/* simt_memory.h: the device memory of the shim as one thing, for running a launch twice from the same state. */
#pragma once
#include <stddef.h>

void simt_memory_save();                        /* keeps a copy of all device memory */
/* swaps device memory with the copy */
void simt_memory_swap();
/* Whether device memory equals the copy; if not, text names the kernel that made the difference and its place. */
bool simt_memory_same(const char *kernel, char *text, size_t size);
