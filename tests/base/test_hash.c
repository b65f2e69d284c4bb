/* test_hash.c: XXH64 against values printed by the xxHash project's own program; any cut into pieces gives the same
 * hash; no flipped bit goes unnoticed. */
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <string.h>

/* byte i of the test text: i * 131 + 7 */
static void fill(unsigned char *p, size_t n) { for (size_t i = 0; i < n; i++) p[i] = (unsigned char)(i * 131 + 7); }

static void known_values(void **state)
{
    (void)state;
    CHECK(hash_of("", 0) == 0xef46db3751d8e999u, "empty");
    CHECK(hash_of("a", 1) == 0xd24ec4f1a98c6e5bu, "a");
    CHECK(hash_of("abc", 3) == 0x44bc2cf5ad770999u, "abc");
    static const struct { size_t n; uint64_t want; } cases[] = {
        { 4, 0xfa212ae44b3bb23du },
        { 5, 0xd339dcc9ac8e6776u },
        { 8, 0x994b676b71ce94ddu },
        { 13, 0xdadc8a6255b4829bu },
        { 31, 0x6711d55e306b5d8fu },
        { 32, 0x07f7b8e3bc5d6e25u },
        { 33, 0x09f85eeb4e1cbe9fu },
        { 39, 0xb13c137a0fb701c3u },
        { 63, 0xb7c9968c066cb6a5u },
        { 64, 0x50d4159a0411632eu },
        { 100, 0x9ddada11d3dc2d8fu },
        { 255, 0x15a6db05d4e83df4u },
        { 1024, 0x5960af0c625acfb7u },
    };
    unsigned char text[1024];
    fill(text, sizeof text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(hash_of(text, cases[i].n) == cases[i].want, "%zu bytes: %016llx", cases[i].n,
              (unsigned long long)hash_of(text, cases[i].n));
}

static void pieces_give_the_whole(void **state)
{
    (void)state;
    unsigned char text[300];
    fill(text, sizeof text);
    for (size_t step = 1; step < 80; step++) {
        struct hash h;
        hash_begin(&h);
        for (size_t at = 0; at < sizeof text; at += step)
            hash_add(&h, text + at, sizeof text - at < step ? sizeof text - at : step);
        CHECK(hash_end(&h) == hash_of(text, sizeof text), "pieces of %zu", step);
    }
}

static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    unsigned char text[200];
    fill(text, sizeof text);
    uint64_t whole = hash_of(text, sizeof text);
    for (size_t bit = 0; bit < 8 * sizeof text; bit++) {
        text[bit / 8] ^= (unsigned char)(1 << bit % 8);
        CHECK(hash_of(text, sizeof text) != whole, "bit %zu", bit);
        text[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

static void files(void **state)
{
    (void)state;
    enum { N = 3 << 20 };
    unsigned char *text = xmalloc(N);
    uint64_t h;
    int64_t n;
    struct err e;
    fill(text, N);
    assert_true(file_write(in_dir("f"), text, N, &e));
    CHECK(hash_file(in_dir("f"), -1, &h, &n, &e) && n == N && h == hash_of(text, N), "whole");
    CHECK(hash_file(in_dir("f"), 1500000, &h, &n, &e) && n == 1500000 && h == hash_of(text, 1500000), "a part");
    CHECK(hash_file(in_dir("f"), 2 * N, &h, &n, &e) && n == N, "shorter than asked for");
    CHECK(!hash_file(in_dir("none"), -1, &h, &n, &e) && strstr(e.text, "No such file"), "no file: %s", e.text);
    double t = seconds();
    uint64_t sum = 0;
    for (int i = 0; i < 20; i++) sum ^= hash_of(text, N) + (uint64_t)i;
    t = seconds() - t;
    print_message("XXH64: %.1f GB/s (%llx)\n", 20.0 * N / t / 1e9, (unsigned long long)(sum & 15));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values), cmocka_unit_test(pieces_give_the_whole),
        cmocka_unit_test(every_flipped_bit_is_noticed), cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
