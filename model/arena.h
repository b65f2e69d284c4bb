/* arena.h: device memory by lifetime. An arena is one allocation; pieces are taken from its front and given back by
 * marks, never one by one. A dry arena (size 0 at arena_dry) counts only: run the same layout code on it first, then
 * make the real one of that size. */
#pragma once
#include "kernels/dev.h"
#include <stdio.h>

enum { ARENA_ROWS = 48 };
struct arena {
    const char *name;
    char *base;
    size_t size, used, peak;
    bool dry;
    /* of a stored number: sizeof(elem_t), unless a dry arena stands for another build's */
    size_t elem_bytes;
    /* by name, for the table: largest bytes each name ever held at once */
    struct { const char *what; size_t bytes; } row[ARENA_ROWS];
    int rows;
};

void arena_dry(struct arena *a, const char *name);
/* of a build whose numbers have 2 (bf16), 4 or 8 bytes */
void arena_dry_as(struct arena *a, const char *name, size_t elem_bytes);
void arena_make(struct arena *a, const char *name, size_t size);
void arena_free(struct arena *a);
/* 256-byte aligned; a piece that does not fit is die() with the arena's table. The memory is not cleared. On a dry
 * arena the pointer must not be followed. */
void *arena_get(struct arena *a, size_t bytes, const char *what);
void *arena_elems(struct arena *a, int64_t n, const char *what);                /* n stored numbers */
size_t arena_mark(const struct arena *a);
void arena_back(struct arena *a, size_t mark);
/* One line a name: bytes and what for; a total. */
void arena_print(const struct arena *a, FILE *f);
