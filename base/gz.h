/* gz.h: writing gzip. */
#pragma once
#include <stdio.h>

/* A stream whose bytes go into `to` packed, as one gzip member without name or time, so that the same text gives the
 * same bytes. fclose ends the member and leaves `to` open; a write that fails is an error of both streams. */
FILE *gz_writer(FILE *to);
