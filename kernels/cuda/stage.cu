/* stage.cu: a mirror of one stretch of device memory. Inputs are laid out first and outputs last, so that each
 * direction is a single copy. */
#include "kernels/cuda/stage.h"
#include "kernels/cuda/simt.h"
#include "kernels/dev.h"
#include <string.h>

static struct { char *host, *dev; size_t bytes; } mirror;

static void grow(size_t bytes)
{
    mirror.dev = (char *)scratch(SCRATCH_RL, bytes);
    if (bytes <= mirror.bytes) return;
    mirror.bytes = bytes + bytes / 2;
    mirror.host = (char *)xrealloc(mirror.host, mirror.bytes);
}

/* Vectors that only go in, then those that go both ways, then those that only come back, then scratch. */
static int kind(const struct stage *s) { return s->in ? (s->out ? 1 : 0) : s->out ? 2 : 3; }

/* Gives every vector its place; end[k] = where the vectors of kinds 0 .. k end. */
static void place(const struct stage *s, int count, size_t *at, size_t *end)
{
    size_t sum = 0;
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < count; i++) {
            if (kind(&s[i]) != k) continue;
            ENSURE(s[i].bytes < SIZE_MAX / 64);
            at[i] = sum;
            sum += (s[i].bytes + 255) & ~(size_t)255;
        }
        end[k] = sum;
    }
}

enum { STAGE_MAX = 24 };

extern "C" void stage_put(struct stage *s, int count)
{
    size_t at[STAGE_MAX], end[4];
    ENSURE(count <= STAGE_MAX);
    place(s, count, at, end);
    grow(end[3]);
    for (int i = 0; i < count; i++) {
        s[i].dev = s[i].bytes ? mirror.dev + at[i] : NULL;
        if (s[i].in && s[i].bytes) memcpy(mirror.host + at[i], s[i].in, s[i].bytes);
    }
    if (end[1]) dev_put(mirror.dev, mirror.host, end[1]);
}

extern "C" void stage_get(const struct stage *s, int count)
{
    size_t at[STAGE_MAX], end[4];
    place(s, count, at, end);
    if (end[2] > end[0]) dev_get(mirror.host + end[0], mirror.dev + end[0], end[2] - end[0]);
    for (int i = 0; i < count; i++)
        if (s[i].out && s[i].bytes) memcpy(s[i].out, mirror.host + at[i], s[i].bytes);
}
