/* test_base.c: error messages, growable strings, bounded reads, atomic writes, Philox against the published
 * vectors. */
#include "base/dir.h"
#include "base/file.h"
#include "base/json.h"
#include "base/map.h"
#include "base/philox.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

static void philox_vectors(void **state)
{
    (void)state;
    /* known answers of the Random123 distribution, philox4x32-10: counter, key, output */
    static const struct { uint32_t c[4], k[2], out[4]; } cases[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff }, { 0xffffffff, 0xffffffff }, { 0x408f276d, 0x41c83b0e,
          0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 }, { 0xd16cfe09, 0x94fdcceb,
          0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t seed = (uint64_t)cases[i].k[1] << 32 | cases[i].k[0];
        struct philox p = philox4x32(seed, cases[i].c[0], cases[i].c[1], cases[i].c[2], cases[i].c[3]);
        assert_memory_equal(p.v, cases[i].out, sizeof p.v);
    }
}

static void messages_are_cut_not_overrun(void **state)
{
    (void)state;
    struct err e;
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    assert_false(fail(&e, "%s", big));
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_false(fail_in(&e, "file"));
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_memory_equal(e.text, "file: xxx", 9);
    assert_false(fail(NULL, "nobody listens"));
}

static void files(void **state)
{
    (void)state;
    struct err e;
    struct str path = { 0 }, got = { 0 };
    str_printf(&path, "%s/a/b/c.txt", dir);
    assert_false(file_write(path.p, "x", 1, &e));                   /* a path without a folder */
    char *slash = strrchr(path.p, '/');
    *slash = 0;
    assert_true(dir_make(path.p, &e));
    *slash = '/';
    assert_true(file_write(path.p, "hello", 5, &e));
    assert_true(file_read(path.p, 5, &got, &e));
    assert_string_equal(got.p, "hello");
    assert_false(file_read(path.p, 4, &got, &e));                   /* one byte too many */
    assert_true(dir_room(dir, 1, &e));
    assert_false(dir_room(dir, SIZE_MAX, &e));
    assert_non_null(strstr(e.text, "are left on this disk"));
    struct out o;
    assert_true(out_open(&o, path.p, &e));
    fputs("half", o.f);
    out_drop(&o);
    assert_true(file_read(path.p, 99, &got, &e));
    assert_string_equal(got.p, "hello");                            /* out_drop leaves the old file */
    str_free(&got);
    str_free(&path);
}

static void gzip_whole_and_cut(void **state)
{
    (void)state;
    struct err e;
    struct str path = { 0 }, got = { 0 }, raw = { 0 };
    str_printf(&path, "%s/z.gz", dir);
    gzFile g = gzopen(path.p, "wb");
    for (int i = 0; i < 5000; i++) gzprintf(g, "line %d\n", i * 7919);
    gzclose(g);
    assert_true(file_read(path.p, 1 << 20, &got, &e));
    assert_memory_equal(got.p, "line 0\nline 7919\n", 17);
    assert_false(file_read(path.p, 1000, &got, &e));                /* larger than allowed once unpacked */
    FILE *f = fopen(path.p, "rb");
    char buf[65536];
    size_t n = fread(buf, 1, sizeof buf, f);
    fclose(f);
    assert_true(file_write(path.p, buf, n / 2, &e));
    assert_false(file_read(path.p, 1 << 20, &got, &e));
    assert_non_null(strstr(e.text, "z.gz"));
    str_free(&got);
    str_free(&raw);
    str_free(&path);
}

/* For any kind of path: no call blocks, no read is endless, and the message names the path. */
static void what_is_no_file(void **state)
{
    (void)state;
    static const struct { const char *path, *says; bool plain; } cases[] = {
        { "fifo", NULL, false },                                    /* a pipe without a writer: empty */
        { "fifo", "not a plain file", true }, { "folder", "is a folder", false }, { "/dev/zero", "is a device", false },
        { "/dev/zero", "not a plain file", true }, { "loop", "symbolic links", false },
        { "dangling", "No such file", false }, { "to_folder", "is a folder", true }, { "none", "No such file", true },
    };
    struct str got = { 0 };
    struct map map;
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    assert_int_equal(mkdir(in_dir("folder"), 0700), 0);
    assert_int_equal(symlink("loop", in_dir("loop")), 0);
    assert_int_equal(symlink("nowhere", in_dir("dangling")), 0);
    assert_int_equal(symlink("folder", in_dir("to_folder")), 0);
    alarm(60);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        const char *path = *cases[i].path == '/' ? cases[i].path : in_dir(cases[i].path);
        bool ok = cases[i].plain ? map_open(&map, path, &e) : file_read(path, 1000, &got, &e);
        CHECK(ok == !cases[i].says, "%s", path);
        if (!ok)
            CHECK(strstr(e.text, cases[i].says) && !strncmp(e.text, path, strlen(path)), "%s says '%s'", path, e.text);
        CHECK(got.n == 0, "%s", path);
    }
    alarm(0);
    str_free(&got);
}

static void out_to_what_is_no_file(void **state)
{
    (void)state;
    struct err e;
    struct out o;
    struct stat st;
    struct str got = { 0 };
    char tmp[300];
    assert_true(file_write("/dev/null", "x", 1, &e));
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));                               /* the pipe was not replaced by a file */
    assert_false(file_write("/dev/full", "x", 1, &e));
    assert_non_null(strstr(e.text, "/dev/full: could not be written whole: No space left"));
    assert_false(out_open(&o, in_dir("folder"), &e));               /* reported before any work that would be lost */
    assert_false(out_open(&o, in_dir("fifo"), &e));                 /* a pipe without a reader */
    assert_true(file_write(in_dir("target"), "old", 3, &e));
    assert_int_equal(symlink("target", in_dir("link")), 0);
    assert_true(file_write(in_dir("link"), "new", 3, &e));          /* a link stays a link */
    assert_int_equal(lstat(in_dir("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_true(file_read(in_dir("target"), 9, &got, &e));
    assert_string_equal(got.p, "new");
    snprintf(tmp, sizeof tmp, "%s/other.%ld.tmp", dir, (long)getpid());
    assert_int_equal(symlink("target", tmp), 0);                    /* the temporary name exists already */
    assert_true(file_write(in_dir("other"), "mine", 4, &e));
    assert_true(file_read(in_dir("target"), 9, &got, &e));
    assert_string_equal(got.p, "new");
    str_free(&got);
}

/* A program that ends while writing leaves no temporary file. */
static void ends_in_the_middle(void **state)
{
    (void)state;
    struct err e;
    struct out o;
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (!out_open(&o, in_dir("unfinished"), &e)) _exit(4);
        pid_t grandchild = fork();
        if (grandchild == 0) exit(0);                               /* removes nothing: the file is its parent's */
        if (waitpid(grandchild, &status, 0) != grandchild || !file_exists(o.tmp)) _exit(5);
        exit(3);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    char tmp[300];
    snprintf(tmp, sizeof tmp, "%s/unfinished.%ld.tmp", dir, (long)child);
    assert_false(file_exists(tmp));
}

/* The file is cut short under the mapping: the next read beyond its end ends the program with status 1, not with a
 * signal. */
static void a_file_that_shrinks(void **state)
{
    (void)state;
    struct err e;
    struct map map;
    int status, said[2];
    char text[600] = "", *big = xcalloc(1 << 20, 1);
    assert_true(file_write(in_dir("shrinks"), big, 1 << 20, &e));
    free(big);
    assert_int_equal(pipe(said), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(said[1], 2);
        if (!map_open(&map, in_dir("shrinks"), &e) || truncate(in_dir("shrinks"), 100) != 0) _exit(3);
        volatile char last = map.p[map.n - 1];
        _exit(last ? 4 : 5);
    }
    close(said[1]);
    for (size_t n = 0; read(said[0], text + n, 1) == 1 && n < sizeof text - 2; n++) {}
    close(said[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x", (unsigned)status);
    CHECK(strstr(text, "shrinks: was cut short"), "'%s'", text);
}

static void stages(void **state)
{
    (void)state;
    struct err e;
    struct staging s;
    struct str path = { 0 };
    for (int commit = 0; commit < 2; commit++) {
        assert_true(staging_open(&s, in_dir("stage"), &e));
        str_clear(&path);
        str_printf(&path, "%s/a", s.tmp);
        assert_true(file_write(path.p, "a", 1, &e));
        assert_false(file_exists(in_dir("stage/a")));
        if (commit) assert_true(staging_commit(&s, "a", &e));
        staging_drop(&s);
        assert_int_equal(file_exists(in_dir("stage")), commit);     /* staging_drop removes the new folder, too */
    }
    assert_true(file_exists(in_dir("stage/a")));
    assert_true(staging_open(&s, in_dir("stage"), &e));
    staging_drop(&s);
    assert_true(file_exists(in_dir("stage/a")));                    /* existing files stay */
    assert_int_equal(unlink(in_dir("stage/a")), 0);
    assert_int_equal(rmdir(in_dir("stage")), 0);                    /* and it holds nothing else */
    assert_false(staging_open(&s, in_dir("target"), &e));
    str_free(&path);
}

static size_t gz(char *out, size_t room, const char *text, size_t n)
{
    z_stream z = {
        .next_in = (Bytef *)(uintptr_t)text, .avail_in = (uInt)n, .next_out = (Bytef *)out, .avail_out = (uInt)room
    };
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

/* Members, and faults in the second one: a reader that stops there silently would lose half the data. */
static void gzip_members(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int at;
        unsigned char xor ;
        size_t extra;
        char fill;
        const char *says;
    } cases[] = {
        { "two members", 0, 0, 0, 0, NULL },
        { "zero bytes behind", 0, 0, 512, 0, NULL },
        { "other bytes behind", 0, 0, 3, 'x', "3 bytes follow that are not gzip" },
        { "the second one's magic", 0, 1, 0, 0, "follow that are not gzip" },
        { "its method", 2, 7, 0, 0, "damaged after 5 bytes" },
        { "its checksum", -8, 1, 0, 0, "damaged after" },
        { "its length", -4, 1, 0, 0, "damaged after" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str got = { 0 };
        struct err e = { "" };
        char buf[2000];
        size_t one = gz(buf, sizeof buf, "first", 5), two = one + gz(buf + one, sizeof buf - one, "second", 6);
        buf[cases[i].at < 0 ? two - (size_t)-cases[i].at : one + (size_t)cases[i].at] ^= (char)cases[i].xor;
        memset(buf + two, cases[i].fill, cases[i].extra);
        assert_true(file_write(in_dir("members.gz"), buf, two + cases[i].extra, &e));
        bool ok = file_read(in_dir("members.gz"), 1000, &got, &e);
        CHECK(ok == !cases[i].says, "%s: %s", cases[i].what, e.text);
        if (ok) CHECK(!strcmp(got.p, "firstsecond"), "%s: %s", cases[i].what, got.p);
        else CHECK(strstr(e.text, cases[i].says), "%s says '%s'", cases[i].what, e.text);
        str_free(&got);
    }
}

static void gzip_bomb(void **state)
{
    (void)state;
    struct err e;
    struct str got = { 0 };
    size_t n = (size_t)90 << 20;
    char *zeros = xcalloc(n, 1), *packed = xmalloc(1 << 20);
    assert_true(file_write(in_dir("bomb.gz"), packed, gz(packed, 1 << 20, zeros, n), &e));
    assert_false(file_read(in_dir("bomb.gz"), (size_t)1 << 30, &got, &e));
    CHECK(strstr(e.text, "bomb.gz: unpacks to more than"), "%s", e.text);
    CHECK(got.n < (size_t)80 << 20, "%zu bytes were made", got.n);
    free(zeros);
    free(packed);
    str_free(&got);
}

static void json_is_bounded(void **state)
{
    (void)state;
    struct err e;
    size_t n = (size_t)18 << 20;
    char *text = xmalloc(n);
    memset(text, ',', n);
    for (size_t i = 1; i < n; i += 2) text[i] = '0';
    memcpy(text, "[0", 2);
    memcpy(text + n - 2, "0]", 2);
    assert_null(json_from("big", text, n, &e));
    CHECK(strstr(e.text, "big: more than 8388608 values"), "%s", e.text);
    memset(text, ',', n);                                           /* the same commas in a text */
    memcpy(text, "[\"\\\"", 4);
    memcpy(text + n - 2, "\"]", 2);
    json_t *j = json_from("text", text, n, &e);
    CHECK(json_array_size(j) == 1, "%s", e.text);
    json_decref(j);
    assert_null(json_from("twice", "{\"a\":1,\"a\":2}", 13, &e));
    free(text);
}

static void names_do_not_speak_to_terminals(void **state)
{
    (void)state;
    struct err e;
    assert_false(fail(&e, "%s", "a\033[31m\b\177\n\303\244"));
    assert_string_equal(e.text, "a?[31m??\n\303\244");
    assert_false(fail_in(&e, "%s", "\033"));
    assert_string_equal(e.text, "?: a?[31m??\n\303\244");
    assert_false(fail(&e, "%s", "\302\23331m\302\240\302"));                /* U+009B is a CSI of one character */
    assert_string_equal(e.text, "??31m\302\240\302");
    char *shown = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&shown, &n);
    print_clean(f, "%s=%d\n", "key\033]0;x\a", 7);
    fclose(f);
    assert_string_equal(shown, "key?]0;x?=7\n");
    free(shown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_vectors), cmocka_unit_test(messages_are_cut_not_overrun), cmocka_unit_test(files),
        cmocka_unit_test(gzip_whole_and_cut), cmocka_unit_test(what_is_no_file),
        cmocka_unit_test(out_to_what_is_no_file), cmocka_unit_test(ends_in_the_middle),
        cmocka_unit_test(a_file_that_shrinks), cmocka_unit_test(stages), cmocka_unit_test(gzip_members),
        cmocka_unit_test(gzip_bomb), cmocka_unit_test(json_is_bounded),
        cmocka_unit_test(names_do_not_speak_to_terminals),
    };
    return cmocka_run_group_tests_name("base", tests, make_dir, drop_dir);
}
