/* file.h: whole files in, whole files out. A file is written under a temporary name beside its place, fsynced, then
 * renamed, so that nothing half-written is ever found under its final name. */
#pragma once
#include "base/err.h"
#include "base/lock.h"
#include "base/str.h"
#include <stdio.h>

/* Opens for reading without waiting for anyone: a pipe that nobody writes to is empty. Folders and devices are refused,
 * with plain pipes too. -1: the sentence is in e. */
int file_open(const char *path, bool plain, struct err *e);

/* Reads a plain, gzip'd or zstd'd file (told by its magic bytes), at most max bytes after decompression, of a packed
 * one at most 64 MiB and 128 bytes for each of its own. False: no file, too large, damaged, or bytes behind it that are
 * none. */
bool file_read(const char *path, size_t max, struct str *out, struct err *e);
bool file_copy(const char *from, const char *to, struct err *e);         /* a plain file, byte for byte */

/* A file being written. out_open fails when the folder cannot be written; a link is followed, and what is no plain file
 * (/dev/stdout) is written to as it is. Write to .f; out_commit flushes, fsyncs and renames, and fails (removing the
 * temporary file) if any write before it failed; out_drop removes it. */
struct out { FILE *f; char *path, *tmp; };
bool out_open(struct out *o, const char *path, struct err *e);
bool out_commit(struct out *o, struct err *e);
void out_drop(struct out *o);
/* Removes the temporary files of all that are open: for handlers of signals that end the program. exit() does it by
 * itself. */
void out_sweep(void);
/* path is such a file from now on, or no more; it stays the caller's, who keeps it until then */
void out_note(char *path, bool open);

/* out_open, one write, out_commit */
bool file_write(const char *path, const void *bytes, size_t n, struct err *e);
/* mkdir -p, and proves that a file can be made in it */
bool dir_make(const char *path, struct err *e);
/* False: the file system of this folder has fewer than bytes left. */
bool dir_room(const char *path, size_t bytes, struct err *e);
bool file_exists(const char *path);
/* Both are there and are one and the same file or folder, links followed. */
bool file_same(const char *a, const char *b);
/* Brings the names in a folder to the disk: 0 or errno. File systems that cannot do that for folders are no error. */
int dir_sync(const char *path);
/* Removes what is there and all in it; links are removed, not followed. */
void dir_remove(const char *path);
/* A name in this folder that nothing has yet: "{dir}/{stem}1", "...2" and so on. free() it. */
char *dir_unused(const char *dir, const char *stem);

/* A folder of files that belong together, locked (lock.h) from staging_open until the end. They are written into .tmp,
 * a folder inside of the final one, which is made if need be; staging_commit moves them up, the one named last after
 * all others, so that a folder which has it is whole; staging_drop removes them, and the folder if staging_open made
 * it. */
struct staging { char *dir, *tmp; bool made; struct lock lock; };
bool staging_open(struct staging *s, const char *dir, struct err *e);
bool staging_commit(struct staging *s, const char *last, struct err *e);
/* after a commit, or of {0}: does nothing */
void staging_drop(struct staging *s);
