/* test_base.c: error sentences, growable strings, bounded reads, atomic writes, Philox against the published vectors. */
#include "base/file.h"
#include "base/philox.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static void philox_vectors(void **state)
{
    (void)state;
    /* known answers of the Random123 distribution, philox4x32-10: counter, key, output */
    static const struct { uint32_t c[4], k[2], out[4]; } cases[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff }, { 0xffffffff, 0xffffffff }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 }, { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t seed = (uint64_t)cases[i].k[1] << 32 | cases[i].k[0];
        struct philox p = philox4x32(seed, cases[i].c[0], cases[i].c[1], cases[i].c[2], cases[i].c[3]);
        assert_memory_equal(p.v, cases[i].out, sizeof p.v);
    }
}

static void sentences_are_cut_not_overrun(void **state)
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
    assert_false(file_write(path.p, "x", 1, &e));                   /* no folder */
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
    assert_string_equal(got.p, "hello");                            /* a dropped file leaves the old one */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_vectors), cmocka_unit_test(sentences_are_cut_not_overrun), cmocka_unit_test(files), cmocka_unit_test(gzip_whole_and_cut),
    };
    return cmocka_run_group_tests_name("base", tests, make_dir, drop_dir);
}
