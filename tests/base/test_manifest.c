/* test_manifest.c: a folder with its manifest: complete, then with every kind of damage to every file, the manifest
 * included; hostile manifests. */
#include "base/dir.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/manifest.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <string.h>
#include <sys/stat.h>

static const char *const names[] = { "ckpt/actor/huggingface/model.safetensors",
                                     "ckpt/actor/optimizer.safetensors",
                                     "ckpt/state.json",
                                     "ckpt/with space",
                                     "ckpt/empty",
                                     "ckpt/manifest" };
enum { NAMES = sizeof names / sizeof *names };

static void make(void)
{
    struct err e;
    dir_remove(in_dir("ckpt"));
    assert_true(dir_make(in_dir("ckpt/actor/huggingface"), &e));
    for (int i = 0; i < NAMES - 1; i++) {
        char text[500];
        int n = i == 4 ? 0 : 300 + 20 * i;
        for (int k = 0; k < n; k++) text[k] = (char)(k * 7 + i);
        CHECK(file_write(in_dir(names[i]), text, (size_t)n, &e), "%s", e.text);
    }
    CHECK(manifest_write(in_dir("ckpt"), &e), "%s", e.text);
}

static void flip(const char *path, long bit)
{
    FILE *f = fopen(path, "r+");
    fseek(f, bit / 8, SEEK_SET);
    int c = fgetc(f);
    fseek(f, bit / 8, SEEK_SET);
    fputc(c ^ 1 << bit % 8, f);
    fclose(f);
}

static void damage_is_named(void **state)
{
    (void)state;
    struct err e;
    make();
    CHECK(manifest_check(in_dir("ckpt"), true, &e), "%s", e.text);
    for (int i = 0; i < NAMES; i++) {
        const char *path = in_dir(names[i]), *name = strrchr(names[i], '/') + 1;
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        long bits = 8 * (long)st.st_size;
        for (long bit = 0; bit < bits; bit += i == NAMES - 1 ? 1 : 37) {        /* each bit of the manifest itself */
            flip(path, bit);
            CHECK(!manifest_check(in_dir("ckpt"), true, &e) && strstr(e.text, name) && strstr(e.text, "damaged"),
                  "%s, bit %ld: %s", name, bit, e.text);
            path = in_dir(names[i]);
            flip(path, bit);
        }
        if (i == NAMES - 2) continue;
        assert_int_equal(truncate(path, st.st_size - 1), 0);
        CHECK(!manifest_check(in_dir("ckpt"), false, &e) && strstr(e.text, name), "cut short: %s", e.text);
        make();
        unlink(in_dir(names[i]));
        CHECK(!manifest_check(in_dir("ckpt"), false, &e) && strstr(e.text, name) && strstr(e.text, "No such file"),
              "gone: %s", e.text);
        make();
    }
    flip(in_dir(names[0]), 100);
    CHECK(manifest_check(in_dir("ckpt"), false, &e), "sizes only");
    flip(in_dir(names[0]), 100);
    assert_true(file_write(in_dir("ckpt/notes.txt"), "mine", 4, &e));
    CHECK(manifest_check(in_dir("ckpt"), true, &e), "a file of the user's does not count: %s", e.text);
}

static void only_its_own_files_go(void **state)
{
    (void)state;
    struct err e;
    make();
    CHECK(manifest_remove(in_dir("ckpt")) && !file_exists(in_dir("ckpt")), "gone");
    make();
    assert_true(file_write(in_dir("ckpt/actor/notes.txt"), "mine", 4, &e));
    CHECK(!manifest_remove(in_dir("ckpt")), "a file of the user's is in it");
    CHECK(file_exists(in_dir("ckpt/actor/notes.txt")) && !file_exists(in_dir("ckpt/state.json")) &&
              !file_exists(in_dir("ckpt/actor/huggingface")),
          "and stays");
    CHECK(!manifest_remove(in_dir("ckpt")), "no list, nothing is removed");
}

/* A manifest with a correct checksum that names forbidden paths. */
static void hostile_lists(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "0000000000000000 4 ../victim\n", "0000000000000000 4 /etc/passwd\n", "0000000000000000 4 a/../../victim\n",
        "0000000000000000 4 \n", "0000000000000000 4 a//b\n", "0000000000000000 4 ./a\n", "0000000000000000 4 a/\n",
        "0000000000000000 -4 a\n", "0000000000000000 99999999999999999999 a\n", "000000000000000 4 a\n",
        "0000000000000000 4\n", "0000000000000000 4 a", "\n",
    };
    struct err e;
    assert_true(file_write(in_dir("victim"), "mine", 4, &e));
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct str s = { 0 };
        make();
        str_printf(&s, "manifest 1\n%s", lines[i]);
        str_printf(&s, "%016llx\n", (unsigned long long)hash_of(s.p, s.n));
        assert_true(file_write(in_dir("ckpt/manifest"), s.p, s.n, &e));
        CHECK(!manifest_check(in_dir("ckpt"), true, &e) && strstr(e.text, "manifest: damaged"), "%s: %s", lines[i],
              e.text);
        CHECK(!manifest_remove(in_dir("ckpt")) && file_exists(in_dir("victim")), "%s", lines[i]);
        str_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(damage_is_named), cmocka_unit_test(only_its_own_files_go),
                                        cmocka_unit_test(hostile_lists) };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
