/* memory.h: memory of this machine that this process may still take. */
#pragma once
#include <stddef.h>

/* available: without swapping, as the kernel estimates it (MemAvailable: free memory and caches that can be
 * dropped), and what the control groups of the process (version 1 and 2, each one above it too) leave of their
 * limits; total: of the machine, or the lowest limit. root stands before /proc and /sys: "" but in tests. What
 * cannot be read limits nothing; without /proc/meminfo both are what sysconf says. */
struct host_memory { size_t available, total; };
struct host_memory host_memory(const char *root);
