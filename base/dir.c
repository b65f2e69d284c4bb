/* dir.c: folders: made, proven writable, and filled as a whole. */
#define _GNU_SOURCE      /* nftw */
#include "base/dir.h"
#include "base/str.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

bool dir_make(const char *path, struct err *e)
{
    char *p = xstrdup(path);
    bool ok = *path || fail(e, "an empty name for a folder");
    for (char *s = p + 1; ok; s++) {
        if (*s != '/' && *s != 0) continue;
        char c = *s;
        *s = 0;
        if (mkdir(p, 0777) != 0 && errno != EEXIST) ok = fail(e, "%s: cannot make the folder: %s", p, strerror(errno));
        *s = c;
        if (!c) break;
    }
    free(p);
    if (!ok) return false;
    struct str probe = { 0 };
    str_printf(&probe, "%s/.probe.%ld.tmp", path, (long)getpid());
    int fd = open(probe.p, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0 && errno != EEXIST) ok = fail(e, "%s: no file can be made in this folder: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    if (ok) unlink(probe.p);
    str_free(&probe);
    return ok;
}

bool dir_room(const char *path, size_t bytes, struct err *e)
{
    struct statvfs v;
    if (statvfs(path, &v) != 0) return fail(e, "%s: %s", path, strerror(errno));
    double room = (double)v.f_bavail * (double)v.f_frsize;
    if (room >= (double)bytes) return true;
    return fail(e, "%s: %.1f MiB are left on this disk, about %.1f MiB are needed: make room or choose another folder",
                path, room / 0x1p20, (double)bytes / 0x1p20);
}

int dir_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), why = 0;
    /* a folder that may be written but not listed cannot be synced */
    if (fd < 0) return errno == EACCES ? 0 : errno;
    if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP && errno != ENOSYS && errno != EROFS) why = errno;
    close(fd);
    return why;
}

static int remove_any(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st; (void)type; (void)at;
    return remove(path);
}

void dir_remove(const char *path) { nftw(path, remove_any, 16, FTW_DEPTH | FTW_PHYS); }

char *dir_unused(const char *dir, const char *stem)
{
    struct str path = { 0 };
    struct stat st;
    for (int i = 1; ; i++) {
        str_clear(&path);
        str_printf(&path, "%s/%s%d", dir, stem, i);
        if (lstat(path.p, &st) != 0) return path.p;
    }
}

static void staging_forget(struct staging *s)
{
    lock_drop(&s->lock);
    free(s->dir);
    free(s->tmp);
    *s = (struct staging){ 0 };
}

/* Does something with each file in .tmp, by its two names; false: one failed. */
static bool each(const struct staging *s,
                 bool (*take)(const char *from, const char *to, const char *name, const char *last, struct err *e),
                 const char *last, struct err *e)
{
    struct str from = { 0 }, to = { 0 };
    DIR *d = opendir(s->tmp);
    bool ok = d || fail(e, "%s: %s", s->tmp, strerror(errno));
    for (struct dirent *x; ok && (x = readdir(d)); ) {
        if (!strcmp(x->d_name, ".") || !strcmp(x->d_name, "..")) continue;
        str_clear(&from);
        str_clear(&to);
        str_printf(&from, "%s/%s", s->tmp, x->d_name);
        str_printf(&to, "%s/%s", s->dir, x->d_name);
        ok = take(from.p, to.p, x->d_name, last, e);
    }
    if (d) closedir(d);
    str_free(&from);
    str_free(&to);
    return ok;
}

static bool remove_one(const char *from, const char *to, const char *name, const char *last, struct err *e)
{
    (void)to; (void)name; (void)last; (void)e;
    if (unlink(from) != 0) dir_remove(from);            /* additional_chat_templates of a model */
    return true;
}

/* What killed processes left: with the lock held nobody else writes here. */
static void sweep(const char *dir)
{
    struct str path = { 0 };
    DIR *d = opendir(dir);
    for (struct dirent *x; d && (x = readdir(d)); ) {
        long pid;
        int n = 0;
        if (sscanf(x->d_name, ".new.%ld.tmp%n", &pid, &n) != 1 || !n || x->d_name[n]) continue;
        str_clear(&path);
        str_printf(&path, "%s/%s", dir, x->d_name);
        dir_remove(path.p);
    }
    if (d) closedir(d);
    str_free(&path);
}

bool staging_open(struct staging *s, const char *dir, struct err *e)
{
    struct str tmp = { 0 };
    struct stat there;
    *s = (struct staging){ .made = stat(dir, &there) != 0 };
    if (!dir_make(dir, e) || !lock_take(&s->lock, dir, "another folder", e)) return false;
    sweep(dir);
    str_printf(&tmp, "%s/.new.%ld.tmp", dir, (long)getpid());
    s->dir = xstrdup(dir);
    s->tmp = tmp.p;
    if (mkdir(tmp.p, 0777) == 0) return true;
    fail(e, "%s: cannot make the folder: %s", tmp.p, strerror(errno));
    staging_forget(s);
    return false;
}

static bool move(const char *from, const char *to, struct err *e)
{
    return rename(from, to) == 0 || fail(e, "%s: could not be moved into place: %s", to, strerror(errno));
}
static bool move_others(const char *from, const char *to, const char *name, const char *last, struct err *e)
{
    return !strcmp(name, last) || move(from, to, e);
}
static bool move_last(const char *from, const char *to, const char *name, const char *last, struct err *e)
{
    return strcmp(name, last) || move(from, to, e);
}
bool staging_commit(struct staging *s, const char *last, struct err *e)
{
    if (!each(s, move_others, last, e) || !each(s, move_last, last, e)) return false;
    rmdir(s->tmp);
    int why = dir_sync(s->dir);
    if (why)
        return fail(e, "%s: the files are written, but the folder could not be brought to the disk: %s", s->dir,
                    strerror(why));
    staging_forget(s);
    return true;
}

void staging_drop(struct staging *s)
{
    if (!s->dir) return;
    each(s, remove_one, "", NULL);
    rmdir(s->tmp);
    lock_drop(&s->lock);
    if (s->made) rmdir(s->dir);
    staging_forget(s);
}
