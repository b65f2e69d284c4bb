/* dir.h: folders: made, proven writable, and filled as a whole. */
#pragma once
#include "base/err.h"
#include "base/lock.h"

/* mkdir -p, and proves that a file can be created in it */
bool dir_make(const char *path, struct err *e);
/* False: the file system of this folder has fewer than `bytes` free. */
bool dir_room(const char *path, size_t bytes, struct err *e);
/* Flushes the names in a folder to the disk: 0 or errno. A file system that cannot do that for folders is no error. */
int dir_sync(const char *path);
/* Removes the folder or file and everything in it; links are removed, not followed. */
void dir_remove(const char *path);
/* A name in this folder that does not exist yet: "{dir}/{stem}1", "...2" and so on. The caller frees it. */
char *dir_unused(const char *dir, const char *stem);

/* A set of files that appears in a folder as a whole. The folder is locked (lock.h) from staging_open to the end. Files
 * are written into .tmp, a folder inside dir; dir is created if needed. staging_commit moves them up, the file named
 * `last` after all others, so that a folder which has that file is complete. staging_drop removes them, and dir if
 * staging_open created it; after a commit, or for {0}, it does nothing. */
struct staging {
    char *dir;
    char *tmp;                  /* dir/.new.PID.tmp, where the files are written */
    bool made;                  /* staging_open created dir */
    struct lock lock;
};
bool staging_open(struct staging *s, const char *dir, struct err *e);
bool staging_commit(struct staging *s, const char *last, struct err *e);
void staging_drop(struct staging *s);
