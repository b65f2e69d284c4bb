/* test_memory.c: the memory that a process may still take, from made-up /proc and /sys: the machine's own numbers,
 * control groups of both versions, and missing files. */
#include "base/memory.h"
#include "base/dir.h"
#include "base/file.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <string.h>

static const char *root;

static void put(const char *path, const char *text)
{
    struct err e = { "" };
    char full[512], folder[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    snprintf(folder, sizeof folder, "%s", full);
    *strrchr(folder, '/') = 0;
    CHECK(dir_make(folder, &e) && file_write(full, text, strlen(text), &e), "%s", e.text);
}

static void begin(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s", in_dir(name));
    root = path;
    put("/proc/meminfo", "MemTotal:       24684064 kB\nMemFree:         1000000 kB\nMemAvailable:   20000000 "
                         "kB\nBuffers: 1 kB\n");
}

static void is(size_t available, size_t total)
{
    struct host_memory m = host_memory(root);
    CHECK(m.available == available && m.total == total, "%s: %zu of %zu, want %zu of %zu", root, m.available, m.total,
          available, total);
}

enum { KIB = 1024, MIB = 1 << 20 };
static const size_t all = (size_t)24684064 * KIB, left = (size_t)20000000 * KIB;

static void machine(void **state)
{
    (void)state;
    begin("plain");
    is(left, all);
    put("/proc/self/cgroup", "0::/\n");
    is(left, all);
    put("/sys/fs/cgroup/memory.max", "max\n");
    is(left, all);
    put("/sys/fs/cgroup/memory.max", "99999999999999\n");      /* more than the machine has */
    is(left, all);
    root = in_dir("nothing");
    struct host_memory m = host_memory(root);
    CHECK(m.total > 1 << 20 && m.available > 0 && m.available <= m.total, "sysconf: %zu of %zu", m.available, m.total);
    m = host_memory("");
    CHECK(m.total > 1 << 20 && m.available > 0 && m.available <= m.total, "this machine: %zu of %zu", m.available,
          m.total);
}

static void version_2(void **state)
{
    (void)state;
    begin("v2");
    put("/proc/self/cgroup", "0::/user.slice/job\n");
    put("/sys/fs/cgroup/user.slice/job/memory.max", "1073741824\n");
    put("/sys/fs/cgroup/user.slice/job/memory.current", "536870912\n");
    is((size_t)512 * MIB, (size_t)1024 * MIB);
    put("/sys/fs/cgroup/user.slice/job/memory.stat", "anon 5\ninactive_file 104857600\nactive_file 52428800\n");
    is((size_t)662 * MIB, (size_t)1024 * MIB);
    put("/sys/fs/cgroup/user.slice/memory.max", "629145600\n");        /* the parent group leaves less */
    put("/sys/fs/cgroup/user.slice/memory.current", "524288000\n");
    is((size_t)100 * MIB, (size_t)600 * MIB);
    put("/sys/fs/cgroup/user.slice/memory.current", "924288000\n");    /* over its limit */
    is(0, (size_t)600 * MIB);
}

static void version_1(void **state)
{
    (void)state;
    begin("v1");
    put("/proc/self/cgroup", "5:devices:/x\n4:cpu,memory:/docker/0123\n0::/\n");
    /* a container sees its own group at the mount; the path is the host's */
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/memory.stat", "cache 9\ninactive_file 1\ntotal_inactive_file "
                                             "536870912\ntotal_active_file 0\n");
    is((size_t)1536 * MIB, (size_t)2048 * MIB);
    put("/sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes", "9223372036854771712\n");
    is((size_t)1536 * MIB, (size_t)2048 * MIB);
    put("/sys/fs/cgroup/memory/memory.stat", "total_inactive_file 99999999999\n");     /* more cache than use */
    is((size_t)2048 * MIB, (size_t)2048 * MIB);
}

static void odd_files(void **state)
{
    (void)state;
    begin("odd");
    char long_path[6000];
    snprintf(long_path, sizeof long_path, "0::/%05000d\n4:memory\n:::\n\nmemory\n9:memory:", 7);
    put("/proc/self/cgroup", long_path);
    is(left, all);
    put("/proc/self/cgroup", "0::/../../x\n1:memory:relative\n");
    put("/sys/fs/cgroup/memory.max", "-5\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "");
    is(left, all);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(machine), cmocka_unit_test(version_2),
                                        cmocka_unit_test(version_1), cmocka_unit_test(odd_files) };
    return cmocka_run_group_tests_name("memory", tests, make_dir, drop_dir);
}
