/* file.h: reads and writes of whole files. A file is written under a temporary name in the same folder, fsynced, then
 * renamed, so that a half-written file never appears under its final name. Folders are in dir.h. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <stdio.h>

/* Opens for reading and never blocks: a pipe without a writer reads as empty. Folders and devices are rejected, with
 * plain pipes too. Returns -1 on error, with the message in e. */
int file_open(const char *path, bool plain, struct err *e);

/* Reads a plain, gzip or zstd file, recognised by its magic bytes: at most max bytes after decompression, and of a
 * compressed file at most 64 MiB plus 128 bytes for each compressed byte. False: no file, too large, damaged, or
 * followed by bytes of another format. */
bool file_read(const char *path, size_t max, struct str *out, struct err *e);
bool file_copy(const char *from, const char *to, struct err *e);         /* a plain file, byte for byte */
bool file_exists(const char *path);
/* Both exist and are one and the same file or folder, links followed. */
bool file_same(const char *a, const char *b);

/* A file being written: write to .f, then call out_commit or out_drop. out_open fails when the folder is not writable.
 * Links are followed, and a path that is not a plain file (/dev/stdout) is written to directly. out_commit flushes,
 * fsyncs and renames; it fails, and removes the temporary file, if any earlier write failed. out_drop removes it. */
struct out {
    FILE *f;
    char *path;                 /* the final name */
    char *tmp;                  /* the temporary one; NULL: path is not a plain file */
};
bool out_open(struct out *o, const char *path, struct err *e);
bool out_commit(struct out *o, struct err *e);
void out_drop(struct out *o);
/* Removes the temporary files of all open struct out: for signal handlers that end the program. exit() calls it by
 * itself. */
void out_sweep(void);
/* Adds path to the files that out_sweep removes, or takes it off that list. The caller owns path and keeps it until
 * then. */
void out_note(char *path, bool open);

/* out_open, one write, out_commit */
bool file_write(const char *path, const void *bytes, size_t n, struct err *e);
