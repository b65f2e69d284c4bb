/* map.h: plain files mapped read-only. One that is cut short while it is mapped ends the program with a sentence that
 * names it and status 1 (the system says so by SIGBUS, at whichever read comes first). */
#pragma once
#include "base/err.h"

struct map { const char *p; size_t n; };                /* p NULL: an empty file */
bool map_open(struct map *m, const char *path, struct err *e);
void map_close(struct map *m);
