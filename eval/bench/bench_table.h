/* bench_table.h: results of this program and of others ("peer" names the program) side by side, with ratios. */
#pragma once
#include "base/err.h"
#include <stdio.h>

/* files[count]: JSON lines, or results of gpu-check. False: one cannot be read; the message names file and line. */
bool bench_table(FILE *text, char *const *files, int count, struct err *e);
