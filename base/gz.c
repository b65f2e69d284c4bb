/* gz.c: a stdio stream over deflate. Level 4: rollouts of the embedded tasks shrink to 1/12 at 170 MB/s; level 6 gives
 * 9 % smaller files and takes 1.5 times as long. */
#define _GNU_SOURCE      /* fopencookie */
#include "base/gz.h"
#include "base/err.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

struct gz { z_stream z; FILE *to; bool failed; };

static bool pack(struct gz *g, int flush)
{
    unsigned char out[16384];
    int code = Z_OK;
    do {
        g->z.next_out = out;
        g->z.avail_out = sizeof out;
        code = deflate(&g->z, flush);
        size_t n = sizeof out - g->z.avail_out;
        if (fwrite(out, 1, n, g->to) != n) g->failed = true;
    } while (!g->failed && (g->z.avail_out == 0 || (flush == Z_FINISH && code != Z_STREAM_END)));
    return !g->failed;
}

static ssize_t gz_write(void *cookie, const char *bytes, size_t n)
{
    struct gz *g = cookie;
    g->z.next_in = (Bytef *)(uintptr_t)bytes;
    g->z.avail_in = (uInt)n;
    return pack(g, Z_NO_FLUSH) ? (ssize_t)n : 0;
}

static int gz_close(void *cookie)
{
    struct gz *g = cookie;
    bool ok = !g->failed && pack(g, Z_FINISH);
    deflateEnd(&g->z);
    free(g);
    return ok ? 0 : -1;
}

FILE *gz_writer(FILE *to)
{
    struct gz *g = xcalloc(1, sizeof *g);
    g->to = to;
    if (deflateInit2(&g->z, 4, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        die("deflateInit2: %s", g->z.msg ? g->z.msg : "no memory");
    FILE *f = fopencookie(g, "w", (cookie_io_functions_t){ .write = gz_write, .close = gz_close });
    if (!f) die("fopencookie: no memory");
    setvbuf(f, NULL, _IOFBF, 65536);
    return f;
}
