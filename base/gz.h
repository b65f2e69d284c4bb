/* gz.h: writing gzip. */
#pragma once
#include <stdio.h>

/* A stream that writes its bytes to `to` as one gzip member without name or time, so that the same text gives the same
 * bytes. fclose ends the member and leaves `to` open; a failed write sets the error flag of both streams. */
FILE *gz_writer(FILE *to);
