/* map.h: plain files mapped read-only. If a mapped file is cut short, the first read beyond its end raises SIGBUS; the
 * program then ends with status 1 and a message that names the file. */
#pragma once
#include "base/err.h"

struct map { const char *p; size_t n; };                /* p NULL: the file is empty */
bool map_open(struct map *m, const char *path, struct err *e);
void map_close(struct map *m);
