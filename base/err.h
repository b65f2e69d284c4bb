/* err.h: the two kinds of failure. A broken invariant ends the program: die(). Environment errors (bad file, full disk,
 * mistyped key) return false and put one message in struct err: file, location, fix. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct err { char text[640]; };

/* Writes the message (cut to fit) and returns false, so that callers write: return fail(e, "%s: no hidden_size",
 * path); e may be NULL. */
bool fail(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "fmt: " in front of the message that e already holds; returns false. */
bool fail_in(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Messages quote names from files, which must not control the terminal: control characters other than line breaks and
 * tabs become '?'. fail, fail_in and err_hint do this themselves; print_clean is fprintf for all other output that
 * quotes a file. */
void print_clean(FILE *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Where warnings and notes for people go: stderr; after notes_off() nowhere, as in ranks that would say what rank 0
 * says. */
FILE *notes(void);
void notes_off(void);

/* Prints the message to stderr, then calls die_hook (it prints the arena table), and exits with status 70. */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern void (*die_hook)(void);
/* For errors that a user can fix but that only code without a struct err detects (a kernel that meets a NaN): message
 * and hint, no table, status 1. */
_Noreturn void end_with(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A line that die() and end_with() print after their message: how to resume the run. NULL: none. */
void err_hint(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The message of die(), of end_with() or of the last err_keep(), for those who learn of the end of the program, the
 * other ranks; "": there was none. */
const char *err_last(void);
void err_keep(const char *text);

/* An invariant that is checked in every build: cheap ones only. */
#define ENSURE(x) ((x) ? (void)0 : die("%s:%d: broken invariant: %s", __FILE__, __LINE__, #x))

/* malloc, calloc, realloc and strdup that never return NULL: when memory runs out they die() with the number of bytes
 * requested. */
void *xmalloc(size_t bytes);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t bytes);
char *xstrdup(const char *s);
