/* lock.c: flock on a file that is removed on release; a process that waited for the removed file tries again. */
#include "base/lock.h"
#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WHO_MAX = 200 };

static void host_name(char out[65])
{
    if (gethostname(out, 64)) strcpy(out, "?");
    out[64] = 0;
    for (char *p = out; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == ',') *p = '_';
}

/* "pid 4711 on HOST, since 2026-01-31 12:00:00 +0000" */
static void who_am_i(char *out, size_t n)
{
    char host[65], when[40];
    time_t now = time(NULL);
    struct tm tm;
    host_name(host);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S %z", localtime_r(&now, &tm));
    snprintf(out, n, "pid %ld on %s, since %s\n", (long)getpid(), host, when);
}

static void who_has_it(int fd, char out[WHO_MAX])
{
    ssize_t n = pread(fd, out, WHO_MAX - 1, 0);
    out[n > 0 ? n : 0] = 0;
    out[strcspn(out, "\n")] = 0;
}

/* For file systems without locks: the process named in the text is of this host and has ended. */
static bool gone(const char *who)
{
    char host[65], own[65];
    long pid;
    host_name(own);
    if (!*who) return true;
    if (sscanf(who, "pid %ld on %64[^,]", &pid, host) != 2 || pid <= 0 || strcmp(host, own)) return false;
    return kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

/* Is the file behind fd still the one at path? Its last owner may have removed it between open and flock. */
static bool is_there(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static bool held_by(const struct lock *l, const char *dir, const char *who, const char *fix, bool locks, struct err *e)
{
    if (!locks)
        return fail(e,
                    "%s: another process writes into this folder: %s. This file system has no locks: remove %s if that "
                    "process has ended; else wait for it, or give %s",
                    dir, who, l->path, fix);
    return fail(e, "%s: another process writes into this folder: %s. Wait for it, or give %s", dir,
                *who ? who : "the lock file is empty", fix);
}

bool lock_take(struct lock *l, const char *dir, const char *fix, struct err *e)
{
    char who[WHO_MAX];
    struct str path = { 0 };
    str_printf(&path, "%s/.lock", dir);
    *l = (struct lock){ .fd = -1, .path = path.p };
    bool ok = true, locks = true;
    do {
        if (l->fd >= 0) close(l->fd);
        l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (l->fd < 0) ok = fail(e, "%s: cannot be opened: %s", l->path, strerror(errno));
        else if (flock(l->fd, LOCK_EX | LOCK_NB) != 0) {
            locks = errno == EWOULDBLOCK || errno == EINTR;
            who_has_it(l->fd, who);
            if (locks || !gone(who)) ok = held_by(l, dir, who, fix, locks, e);
        }
    } while (ok && locks && !is_there(l->fd, l->path));
    if (ok) {
        who_am_i(who, sizeof who);
        ok = (ftruncate(l->fd, 0) == 0 && pwrite(l->fd, who, strlen(who), 0) == (ssize_t)strlen(who)) ||
             fail(e, "%s: cannot be written: %s", l->path, strerror(errno));
        if (ok) {
            out_note(l->path, true);                     /* a process ended by a signal removes it, too */
            return true;
        }
        unlink(l->path);
    }
    if (l->fd >= 0) close(l->fd);
    free(l->path);
    *l = (struct lock){ 0 };
    return false;
}

bool lock_held(const struct lock *l, struct err *e)
{
    return is_there(l->fd, l->path) || fail(e,
                                            "%s: was removed while this process wrote into the folder, or the folder "
                                            "was: it ends, because another process may write there now",
                                            l->path);
}

void lock_drop(struct lock *l)
{
    if (!l->path) return;
    out_note(l->path, false);
    if (is_there(l->fd, l->path)) unlink(l->path);
    close(l->fd);
    free(l->path);
    *l = (struct lock){ 0 };
}
