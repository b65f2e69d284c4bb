/* memory.c: /proc/meminfo and the limits of control groups. In a container /proc/self/cgroup may name a path of the
 * host that is not mounted: missing folders are skipped, and the last one examined is the mount itself, which then is
 * the container's own group. */
#include "base/memory.h"
#include "base/arith.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 4096 };

/* The number after `word` at the start of a line of the file; word "": the file's first number. False: no number
 * ("max" is not one). */
static bool number_of(const char *file, const char *word, uint64_t *out)
{
    FILE *f = fopen(file, "re");
    char line[512];
    bool found = false;
    size_t n = strlen(word);
    while (f && !found && fgets(line, sizeof line, f)) {
        const char *p = line + n;
        if (strncmp(line, word, n)) continue;
        p += strspn(p, ": \t");
        if (*p < '0' || *p > '9') continue;
        *out = strtoull(p, NULL, 10);
        found = true;
    }
    if (f) fclose(f);
    return found;
}

/* Names of the files in a control group's folder, by version. */
struct names { const char *limit, *usage, *stat_inactive, *stat_active; };
static const struct names v1 = { "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
                                 "total_active_file" };
static const struct names v2 = { "memory.max", "memory.current", "inactive_file", "active_file" };

static void one_group(struct host_memory *m, const char *folder, const struct names *n)
{
    char file[PATH + 64];
    uint64_t limit, usage = 0, cache = 0, x;
    snprintf(file, sizeof file, "%s/%s", folder, n->limit);
    if (!number_of(file, "", &limit) || limit >= m->total) return;
    snprintf(file, sizeof file, "%s/%s", folder, n->usage);
    number_of(file, "", &usage);
    snprintf(file, sizeof file, "%s/memory.stat", folder);
    if (number_of(file, n->stat_inactive, &x)) cache += x;
    if (number_of(file, n->stat_active, &x)) cache += x;
    usage -= MIN(cache, usage);                         /* page cache is dropped when the limit is reached */
    m->total = limit;
    m->available = MIN(m->available, limit - MIN(usage, limit));
}

/* Applies the limits of path under mount and of every parent up to the mount itself. */
static void groups_above(struct host_memory *m, const char *mount, const char *path, const struct names *n)
{
    char folder[PATH];
    size_t base = strlen(mount);
    if (base > 2047 || strlen(path) > 2047) return;
    snprintf(folder, sizeof folder, "%.2047s%.2047s", mount, path);
    for (;;) {
        one_group(m, folder, n);
        char *slash = strrchr(folder, '/');
        if (strlen(folder) <= base || !slash || (size_t)(slash - folder) < base) return;
        *slash = 0;
    }
}

static void groups(struct host_memory *m, const char *root)
{
    char file[PATH], line[PATH], mount[PATH];
    snprintf(file, sizeof file, "%s/proc/self/cgroup", root);
    FILE *f = fopen(file, "re");
    while (f && fgets(line, sizeof line, f)) {          /* "4:memory:/path" (version 1), "0::/path" (version 2) */
        line[strcspn(line, "\n")] = 0;
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        names++;
        if (!*names) {
            static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
            for (int i = 0; i < 2; i++) {
                snprintf(mount, sizeof mount, "%.2000s%s", root, mounts[i]);
                groups_above(m, mount, path, &v2);
            }
        }
        char *rest = names;
        for (char *name; (name = strsep(&rest, ",")); )
            if (!strcmp(name, "memory")) {
                snprintf(mount, sizeof mount, "%.2000s/sys/fs/cgroup/memory", root);
                groups_above(m, mount, path, &v1);
            }
    }
    if (f) fclose(f);
}

struct host_memory host_memory(const char *root)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct host_memory m = { page * (size_t)sysconf(_SC_AVPHYS_PAGES), page * (size_t)sysconf(_SC_PHYS_PAGES) };
    char file[PATH];
    uint64_t kib;
    snprintf(file, sizeof file, "%s/proc/meminfo", root);
    if (number_of(file, "MemTotal", &kib)) m.total = (size_t)kib * 1024;
    if (number_of(file, "MemAvailable", &kib)) m.available = (size_t)kib * 1024;
    groups(&m, root);
    return m;
}
