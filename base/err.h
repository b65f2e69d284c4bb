/* err.h: the two kinds of failure. A broken invariant ends the program: die(). What the world does wrong (a bad file, a
 * full disk, a mistyped key) is a sentence in a struct err and a false return value: it names the file, the place and
 * the cure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct err { char text[640]; };

/* Writes the sentence (cut to fit) and returns false, so that callers write: return fail(e, "%s: no hidden_size",
 * path); e may be NULL. */
bool fail(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "fmt: " in front of the sentence e already holds; returns false. */
bool fail_in(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Names in sentences come from files, which must not speak to a terminal: control characters but line breaks and tabs
 * become '?'. fail, fail_in and err_hint do it by themselves; say_quietly is fprintf for what else names something of a
 * file. */
void say_quietly(FILE *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prints the message to stderr, then whatever die_hook prints (the arena table), and exits with status 70. */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern void (*die_hook)(void);
/* For what a user can mend and only code without a struct err notices (a kernel that meets a NaN): the sentence and the
 * hint, no table, status 1. */
_Noreturn void end_with(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A line that die() and end_with() print after their message: where one can go on from. NULL: none. */
void err_hint(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* An invariant that holds in every build: cheap ones only. */
#define ENSURE(x) ((x) ? (void)0 : die("%s:%d: broken invariant: %s", __FILE__, __LINE__, #x))

/* malloc, calloc, realloc and strdup that never return NULL: out of memory is die() with the number of bytes asked
 * for. */
void *xmalloc(size_t bytes);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t bytes);
char *xstrdup(const char *s);
