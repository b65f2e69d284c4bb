/* lock.h: a lock for folders that only one process at a time may write into. The kernel drops it when the process ends,
 * even by a crash. */
#pragma once
#include "base/err.h"

/* {dir}/.lock, locked by flock; its text names the owner. Start with { 0 }. */
struct lock { int fd; char *path; };

/* False: another process holds the lock (the message names host, pid and start, and ends with `fix`: what can be
 * configured instead), or no file can be created there. On file systems without locks (some NFS mounts) the text in the
 * file decides: a process of another host counts as running. */
bool lock_take(struct lock *l, const char *dir, const char *fix, struct err *e);
/* False: the file or its folder was removed meanwhile, so the lock no longer protects anything. */
bool lock_held(const struct lock *l, struct err *e);
void lock_drop(struct lock *l);             /* removes the file; for { 0 } it does nothing */
