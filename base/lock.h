/* lock.h: a folder that one process at a time writes into. The kernel drops the lock when the process ends, however it
 * ends. */
#pragma once
#include "base/err.h"

/* {dir}/.lock, locked by flock and holding who has it. Start with { 0 }. */
struct lock { int fd; char *path; };

/* False: another process has it (the sentence names host, pid, since when, and ends with cure: what else can be given),
 * or no file can be made there. On file systems without locks (some NFS mounts) the text in the file decides: a process
 * of another host counts as running. */
bool lock_take(struct lock *l, const char *dir, const char *cure, struct err *e);
/* Is the file still there? Not where somebody removed it or the whole folder: then the lock protects nothing any
 * more. */
bool lock_held(const struct lock *l, struct err *e);
void lock_drop(struct lock *l);             /* removes the file; of { 0 }: does nothing */
