/* test_lock.c: one owner of a folder at a time, even if the owner crashes; staging folders are locked too; gzip
 * streams. */
#include "base/dir.h"
#include "base/file.h"
#include "base/gz.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void one_at_a_time(void **state)
{
    (void)state;
    struct lock a = { 0 }, b = { 0 };
    struct err e;
    char pid[32];
    assert_true(dir_make(in_dir("run"), &e));
    CHECK(lock_take(&a, in_dir("run"), "another name", &e), "%s", e.text);
    CHECK(!lock_take(&b, in_dir("run"), "another name", &e), "taken twice");
    snprintf(pid, sizeof pid, "pid %ld on ", (long)getpid());
    CHECK(strstr(e.text, pid) && strstr(e.text, ", since 20") && strstr(e.text, "or give another name"), "%s", e.text);
    lock_drop(&b);
    lock_drop(&a);
    CHECK(!file_exists(in_dir("run/.lock")), "the file goes with the lock");
    CHECK(lock_take(&a, in_dir("run"), "another name", &e), "%s", e.text);
    CHECK(lock_held(&a, &e), "%s", e.text);
    unlink(in_dir("run/.lock"));
    CHECK(!lock_held(&a, &e) && strstr(e.text, "was removed"), "%s", e.text);
    CHECK(lock_take(&b, in_dir("run"), "another name", &e), "%s", e.text);
    lock_drop(&a);
    CHECK(lock_held(&b, &e), "the other's file is not removed: %s", e.text);
    lock_drop(&b);
}

/* A child that takes the lock, reports it, and ends in a chosen way. */
static void the_kernel_drops_it(void **state)
{
    (void)state;
    struct err e;
    assert_true(dir_make(in_dir("run"), &e));
    for (int way = 0; way < 3; way++) {
        int pipe_[2];
        char c;
        struct lock l = { 0 };
        assert_int_equal(pipe(pipe_), 0);
        pid_t child = fork();
        if (!child) {
            if (!lock_take(&l, in_dir("run"), "x", NULL) || write(pipe_[1], "", 1) != 1) _exit(1);
            if (way == 0) _exit(0);
            for (;;) pause();
        }
        assert_int_equal(read(pipe_[0], &c, 1), 1);
        if (way) {
            CHECK(!lock_take(&l, in_dir("run"), "x", &e), "while the child lives");
            kill(child, way == 1 ? SIGKILL : SIGTERM);
        }
        waitpid(child, NULL, 0);
        CHECK(file_exists(in_dir("run/.lock")), "nobody removed it");
        CHECK(lock_take(&l, in_dir("run"), "x", &e), "way %d: %s", way, e.text);
        lock_drop(&l);
        close(pipe_[0]);
        close(pipe_[1]);
    }
}

/* A file system without locks: here, all of them. */
static bool no_locks;
int flock(int fd, int how)
{
    if (!no_locks) return (int)syscall(SYS_flock, fd, how);
    errno = ENOLCK;
    return -1;
}

/* There the text of the file decides: the lock is taken over only from a process of this machine that has ended. */
static void without_locks(void **state)
{
    (void)state;
    char host[64] = "", who[4][128];
    struct err e;
    struct lock l = { 0 };
    pid_t child = fork();
    if (!child) _exit(0);
    waitpid(child, NULL, 0);
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    snprintf(who[0], sizeof *who, "pid %ld on %s, since 2026-01-31 12:00:00 +0000\n", (long)child, host);
    snprintf(who[1], sizeof *who, "pid %ld on %s, since 2026-01-31 12:00:00 +0000\n", (long)getpid(), host);
    snprintf(who[2], sizeof *who, "pid %ld on not-%s, since 2026-01-31 12:00:00 +0000\n", (long)child, host);
    snprintf(who[3], sizeof *who, "somebody\n");
    assert_true(dir_make(in_dir("plain"), &e));
    no_locks = true;
    for (int i = 0; i < 4; i++) {
        assert_true(file_write(in_dir("plain/.lock"), who[i], strlen(who[i]), &e));
        bool ok = lock_take(&l, in_dir("plain"), "x", &e);
        CHECK(ok == (i == 0), "%s", who[i]);
        CHECK(ok || (strstr(e.text, "has no locks: remove ") && strstr(e.text, "plain/.lock if")), "%s", e.text);
        if (ok) lock_drop(&l);
    }
    no_locks = false;
    unlink(in_dir("plain/.lock"));
}

static void not_through_a_link(void **state)
{
    (void)state;
    struct lock l = { 0 };
    struct err e;
    assert_true(dir_make(in_dir("links"), &e) && file_write(in_dir("victim"), "mine", 4, &e));
    assert_int_equal(symlink(in_dir("victim"), in_dir("links/.lock")), 0);
    CHECK(!lock_take(&l, in_dir("links"), "x", &e) && strstr(e.text, ".lock: cannot be opened"), "%s", e.text);
    struct str s = { 0 };
    assert_true(file_read(in_dir("victim"), 100, &s, &e));
    CHECK(s.n == 4, "the file behind the link is as it was");
    str_free(&s);
}

static void folders_being_filled(void **state)
{
    (void)state;
    struct staging a, b;
    struct err e;
    CHECK(staging_open(&a, in_dir("model"), &e), "%s", e.text);
    CHECK(!staging_open(&b, in_dir("model"), &e) && strstr(e.text, "another process writes into this folder"), "%s",
          e.text);
    staging_drop(&b);
    CHECK(file_exists(in_dir("model")), "the first one's folder stays");
    staging_drop(&a);
    CHECK(!file_exists(in_dir("model")), "nothing is left");
    assert_true(dir_make(in_dir("model/.new.99999999.tmp/deep"), &e));             /* as a killed process leaves it */
    CHECK(staging_open(&a, in_dir("model"), &e), "%s", e.text);
    CHECK(!file_exists(in_dir("model/.new.99999999.tmp")), "swept");
    char path[300];
    snprintf(path, sizeof path, "%s/config.json", a.tmp);
    assert_true(file_write(path, "{}", 2, &e) && staging_commit(&a, "config.json", &e));
    CHECK(file_exists(in_dir("model/config.json")) && !file_exists(in_dir("model/.lock")), "whole, and unlocked");
}

static void packed_streams(void **state)
{
    (void)state;
    struct err e;
    struct str got = { 0 }, want = { 0 }, raw[2] = { { 0 }, { 0 } };
    for (int i = 0; i < 30000; i++) str_printf(&want, "{\"line\":%d,\"x\":%d}\n", i, i * i % 977);
    for (int turn = 0; turn < 2; turn++) {
        struct out o;
        assert_true(out_open(&o, in_dir("packed.gz"), &e));
        FILE *f = gz_writer(o.f);
        fwrite(want.p, 1, want.n, f);
        assert_int_equal(fclose(f), 0);
        assert_true(out_commit(&o, &e));
        int fd = open(in_dir("packed.gz"), O_RDONLY);
        char chunk[4096];
        for (ssize_t n; (n = read(fd, chunk, sizeof chunk)) > 0; ) str_put(&raw[turn], chunk, (size_t)n);
        close(fd);
    }
    CHECK(raw[0].n == raw[1].n && !memcmp(raw[0].p, raw[1].p, raw[0].n), "the same bytes each time");
    CHECK(raw[0].n < want.n / 4, "%zu of %zu bytes", raw[0].n, want.n);
    CHECK(file_read(in_dir("packed.gz"), 10 << 20, &got, &e) && got.n == want.n && !memcmp(got.p, want.p, got.n),
          "what was written");
    FILE *full = fopen("/dev/full", "w"), *f = gz_writer(full);
    fwrite(want.p, 1, want.n, f);
    CHECK(fclose(f) != 0 || fflush(full) != 0, "a full disk is an error");
    fclose(full);
    str_free(&got); str_free(&want); str_free(&raw[0]); str_free(&raw[1]);
}

static void names_and_folders(void **state)
{
    (void)state;
    struct err e;
    CHECK(dir_sync(in_dir(".")) == 0, "a folder");
    CHECK(dir_sync(in_dir("none")) != 0, "no folder");
    CHECK(dir_sync("/proc/self") == 0, "a file system that has nothing to sync");
    char *a = dir_unused(in_dir("."), "old-");
    CHECK(strstr(a, "/old-1"), "%s", a);
    assert_true(dir_make(a, &e));
    char *b = dir_unused(in_dir("."), "old-");
    CHECK(strstr(b, "/old-2"), "%s", b);
    dir_remove(a);
    CHECK(!file_exists(a), "removed");
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_at_a_time), cmocka_unit_test(the_kernel_drops_it), cmocka_unit_test(without_locks),
        cmocka_unit_test(not_through_a_link), cmocka_unit_test(folders_being_filled),
        cmocka_unit_test(packed_streams), cmocka_unit_test(names_and_folders),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
