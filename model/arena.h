/* arena.h: device memory by lifetime. An arena is one allocation; pieces are taken from its front and released by
 * marks, never one by one. A dry arena (arena_dry) only counts: run the layout code on it, then make the real arena of
 * that size and run the code again. */
#pragma once
#include "kernels/dev.h"
#include <stdio.h>

enum { ARENA_NAMES = 48 };
struct arena {
    const char *name;
    char *base;
    size_t size, used, peak;
    bool dry;
    size_t elem_bytes;              /* sizeof(elem_t), or that of another build (arena_dry_as) */
    struct { const char *what; size_t bytes; } piece[ARENA_NAMES];      /* by name: most bytes it held at once */
    int names;
};

void arena_dry(struct arena *a, const char *name);
/* For a build whose numbers have 2 (bf16), 4 or 8 bytes. */
void arena_dry_as(struct arena *a, const char *name, size_t elem_bytes);
void arena_make(struct arena *a, const char *name, size_t size);
void arena_free(struct arena *a);
/* 256-byte aligned, not cleared; die() with the arena's table if it does not fit. The pointer of a dry arena must not
 * be dereferenced. */
void *arena_get(struct arena *a, size_t bytes, const char *what);
void *arena_elems(struct arena *a, int64_t n, const char *what);                /* n of elem_bytes */
size_t arena_mark(const struct arena *a);
void arena_release(struct arena *a, size_t mark);
/* The total, then one line a name: bytes and purpose. */
void arena_print(const struct arena *a, FILE *f);
