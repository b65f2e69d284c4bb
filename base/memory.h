/* memory.h: how much memory of this machine the process may still take. */
#pragma once
#include <stddef.h>

/* available: without swapping, the lower of the kernel's estimate (MemAvailable: free memory and droppable caches) and
 * of what the limits of the process's control groups leave (versions 1 and 2, all parents too). total: the machine's
 * memory, or the lowest limit. root is put in front of /proc and /sys: "" except in tests. Files that cannot be read
 * impose no limit; without /proc/meminfo both values are sysconf's. */
struct host_memory { size_t available, total; };
struct host_memory host_memory(const char *root);
