/* map.c: mapped files, and the handler for reads beyond the end of one that was cut short. */
#include "base/map.h"
#include "base/file.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The mapped ranges, for the handler, which only reads: an entry is complete before its n is set. Files that do not fit
 * into the table get no message. */
enum { MAPS = 2048 };
static struct { const char *p; char *name; volatile size_t n; } maps[MAPS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before;

static void say(const char *text) { if (write(2, text, strlen(text)) < 0) _exit(1); }

static void on_bus(int signo, siginfo_t *info, void *context)
{
    (void)context;
    for (int i = 0; i < MAPS; i++) {
        if (!maps[i].n || (uintptr_t)info->si_addr - (uintptr_t)maps[i].p >= maps[i].n) continue;
        say("appo: ");
        say(maps[i].name);
        say(": was cut short, or its disk failed, while it was being read\n");
        out_sweep();
        _exit(1);
    }
    /* not our file: restore the former handler and rerun the instruction */
    sigaction(signo, &before, NULL);
}

static void note(const struct map *m, const char *path)
{
    static bool caught;
    pthread_mutex_lock(&lock);
    if (!caught) {
        struct sigaction a = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };
        sigemptyset(&a.sa_mask);
        sigaction(SIGBUS, &a, &before);
        caught = true;
    }
    for (int i = 0; i < MAPS; i++) {
        if (maps[i].n) continue;
        maps[i].p = m->p;
        maps[i].name = xstrdup(path);
        maps[i].n = m->n;
        break;
    }
    pthread_mutex_unlock(&lock);
}

static void forget(const struct map *m)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAPS; i++) {
        if (!maps[i].n || maps[i].p != m->p) continue;
        maps[i].n = 0;
        free(maps[i].name);
        break;
    }
    pthread_mutex_unlock(&lock);
}

bool map_open(struct map *m, const char *path, struct err *e)
{
    struct stat st;
    *m = (struct map){ 0 };
    int fd = file_open(path, true, e);
    if (fd < 0) return false;
    bool ok = fstat(fd, &st) == 0;
    size_t n = ok ? (size_t)st.st_size : 0;
    void *p = n ? mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    int why = errno;
    close(fd);
    if (!ok || p == MAP_FAILED) return fail(e, "%s: cannot be mapped: %s", path, strerror(why));
    *m = (struct map){ p, n };
    if (p) note(m, path);
    return true;
}

void map_close(struct map *m)
{
    if (!m->p) return;
    forget(m);
    munmap((void *)(uintptr_t)m->p, m->n);
    *m = (struct map){ 0 };
}
