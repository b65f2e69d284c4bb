/* arena.c: one allocation a lifetime, taken from the front, released by marks. */
#include "model/arena.h"
#include "base/err.h"
#include "base/arith.h"
#include <string.h>

enum { ALIGN = 256 };

/* Pieces of a dry arena have distinct addresses: layout code compares them and dereferences none. */
void arena_dry_as(struct arena *a, const char *name, size_t elem_bytes)
{
    *a = (struct arena){ .name = name, .dry = true, .base = (char *)(uintptr_t)ALIGN, .elem_bytes = elem_bytes };
}

void arena_dry(struct arena *a, const char *name) { arena_dry_as(a, name, sizeof(elem_t)); }

void arena_make(struct arena *a, const char *name, size_t size)
{
    *a = (struct arena){ .name = name, .size = size, .base = dev_alloc(size), .elem_bytes = sizeof(elem_t) };
}

void arena_free(struct arena *a)
{
    if (!a->dry) dev_free(a->base);
    *a = (struct arena){ 0 };
}

static void note(struct arena *a, const char *what, size_t bytes)
{
    for (int i = 0; i < a->names; i++)
        if (!strcmp(a->piece[i].what, what)) { a->piece[i].bytes += bytes; return; }
    if (a->names < ARENA_NAMES) { a->piece[a->names].what = what; a->piece[a->names++].bytes = bytes; }
}

void *arena_get(struct arena *a, size_t bytes, const char *what)
{
    size_t need = (size_t)round_up((int64_t)bytes, ALIGN);
    if (!a->dry && (need < bytes || need > a->size - a->used)) {
        arena_print(a, stderr);
        die("arena %s: %zu bytes asked for %s, %zu of %zu are free", a->name, bytes, what, a->size - a->used, a->size);
    }
    char *p = a->base + a->used;
    a->used += need;
    if (a->used > a->peak) { a->peak = a->used; note(a, what, need); }
    return p;
}

void *arena_elems(struct arena *a, int64_t n, const char *what)
{
    return arena_get(a, (size_t)n * a->elem_bytes, what);
}
size_t arena_mark(const struct arena *a) { return a->used; }
void arena_release(struct arena *a, size_t mark) { ENSURE(mark <= a->used); a->used = mark; }

void arena_print(const struct arena *a, FILE *f)
{
    fprintf(f, "arena %-10s %10.2f MiB of %.2f MiB\n", a->name, (double)a->peak / 0x1p20,
            (double)(a->dry ? a->peak : a->size) / 0x1p20);
    for (int i = 0; i < a->names; i++)
        fprintf(f, "  %-28s %10.2f MiB\n", a->piece[i].what, (double)a->piece[i].bytes / 0x1p20);
}
