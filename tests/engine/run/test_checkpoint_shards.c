/* test_checkpoint_shards.c: the optimizer's state written by several ranks and read by another number of them. The
 * ranks are played one after another: rank and number are arguments. */
#include "base/dir.h"
#include "base/file.h"
#include "engine/run/checkpoint_optim.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COUNT = 5000 };

/* Vectors of COUNT numbers; bf16 moments and a master copy, or moments alone. */
struct vectors {
    struct model m;
    struct learner l;
};

/* Number i of a vector: exact as bf16. */
static float value(int vector, int64_t i) { return (float)(vector * 128 + i % 127) / 4; }

static void open_vectors(struct vectors *x, bool bf16, bool fill)
{
    *x = (struct vectors){ .m.count = COUNT };
    x->l = (struct learner){ .m = &x->m, .bf16_moments = bf16, .state_n = COUNT };
    size_t full = COUNT * sizeof(acc_t), bytes = bf16 ? COUNT * sizeof(uint16_t) : full;
    void **at[] = { &x->l.adam1, &x->l.adam2, (void **)&x->l.master };
    for (int v = 0; v < 2 + bf16; v++) {
        size_t n = v < 2 ? bytes : full;
        *at[v] = dev_alloc(n);
        dev_zero(*at[v], n);
        if (!fill) continue;
        acc_t *wide = xmalloc(full);
        uint16_t *narrow = xmalloc(COUNT * sizeof *narrow);
        for (int64_t i = 0; i < COUNT; i++) {
            union { float f; uint32_t u; } w = { value(v, i) };
            wide[i] = (acc_t)w.f;
            narrow[i] = (uint16_t)(w.u >> 16);
        }
        dev_put(*at[v], v < 2 && bf16 ? (void *)narrow : (void *)wide, n);
        free(wide);
        free(narrow);
    }
}

static void close_vectors(struct vectors *x)
{
    dev_free(x->l.adam1);
    dev_free(x->l.adam2);
    if (x->l.master) dev_free(x->l.master);
}

static double number(const struct vectors *x, int v, int64_t i)
{
    const void *at = v == 0 ? x->l.adam1 : v == 1 ? x->l.adam2 : (void *)x->l.master;
    if (v < 2 && x->l.bf16_moments) {
        uint16_t u;
        dev_get(&u, (const uint16_t *)at + i, sizeof u);
        return (double)(union { uint32_t u; float f; }){ .u = (uint32_t)u << 16 }.f;
    }
    acc_t f;
    dev_get(&f, (const acc_t *)at + i, sizeof f);
    return (double)f;
}

/* All ranks' files, from copies or from the vectors themselves. */
static void write_all(const struct vectors *x, const char *folder, int ranks, int step, uint64_t tag, bool copies)
{
    struct err e;
    struct str path = { 0 };
    str_printf(&path, "%s/actor/optim", folder);
    assert_true(dir_make(path.p, &e));
    for (int r = 0; r < ranks; r++) {
        struct optim_state o, copy;
        optim_of(&o, &x->l, r, ranks, true);
        if (copies) optim_copy(&copy, &o);
        struct optim_mark m = { step, r, ranks, tag };
        CHECK(optim_write(copies ? &copy : &o, &m, folder, &e), "%s", e.text);
        if (copies) optim_free(&copy);
        optim_free(&o);
    }
    str_free(&path);
}

static bool read_all(struct vectors *x, const char *folder, int ranks, int step, uint64_t tag, struct err *e)
{
    struct optim_state o;
    optim_of(&o, &x->l, 0, 1, false);
    bool ok = optim_read(&o, &(struct optim_mark){ step, 0, ranks, tag }, folder, e);
    optim_free(&o);
    return ok;
}

/* The same numbers for every number of writers: as a whole, and as the range that a rank of another number holds. */
static void any_number_of_ranks(void **state)
{
    (void)state;
    static const int counts[] = { 1, 2, 3, 4, 7 };
    struct err e;
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            char name[40];
            snprintf(name, sizeof name, "of_%d_%d", counts[k], bf16);
            struct vectors from, to;
            open_vectors(&from, bf16, true);
            open_vectors(&to, bf16, false);
            write_all(&from, in_dir(name), counts[k], 6, 99, k & 1);
            CHECK(read_all(&to, in_dir(name), counts[k], 6, 99, &e), "%s", e.text);
            for (int v = 0; v < 2 + bf16; v++)
                for (int64_t i = 0; i < COUNT; i++)
                    CHECK_NEAR(number(&to, v, i), (double)value(v, i), 0, "%s, vector %d, %lld", name, v, (long long)i);
            /* two ranges, which this rank holds at the beginning of its vectors, the second one first */
            struct learner_piece held[] = { { 700, 900, 300 }, { 4700, 300, 0 } };
            struct optim_state o;
            optim_of(&o, &to.l, 0, 1, false);
            free(o.piece);
            o.piece = held;
            o.pieces = 2;
            CHECK(optim_read(&o, &(struct optim_mark){ 6, 0, counts[k], 99 }, in_dir(name), &e), "%s", e.text);
            for (int v = 0; v < 2 + bf16; v++)
                for (int64_t i = 0; i < 1200; i++)
                    CHECK_NEAR(number(&to, v, i), (double)value(v, i < 300 ? 4700 + i : 400 + i), 0, "%s, range, %lld",
                               name, (long long)i);
            close_vectors(&from);
            close_vectors(&to);
        }
}

/* Each number is written by exactly one rank. */
static void cut(void **state)
{
    (void)state;
    struct vectors x;
    open_vectors(&x, false, false);
    for (int ranks = 1; ranks <= 100; ranks++) {
        int64_t at = 0;
        for (int r = 0; r < ranks; r++) {
            struct learner_piece *p;
            int n = learner_pieces(&x.l, r, ranks, true, &p);
            for (int i = 0; i < n; i++) {
                CHECK(p[i].at == at && p[i].n >= 0, "rank %d of %d begins at %lld", r, ranks, (long long)p[i].at);
                at += p[i].n;
            }
            free(p);
        }
        CHECK(at == COUNT, "%d ranks write %lld", ranks, (long long)at);
    }
    close_vectors(&x);
}

static void file_of(struct str *path, const char *folder, int rank)
{
    str_clear(path);
    str_printf(path, "%s/", folder);
    optim_name(path, rank, 3);
}

/* Ranks that hold a part each write just that: the files of three such ranks give the whole, or have a gap. */
static void three_parts(const int64_t *begin, const int64_t *end, bool whole)
{
    struct err e;
    struct vectors all, to;
    open_vectors(&all, true, true);
    open_vectors(&to, true, false);
    assert_true(dir_make(in_dir("own/actor/optim"), &e));
    for (int r = 0; r < 3; r++) {
        struct learner part = all.l;
        struct optim_state o;
        part.state_from = begin[r];
        part.state_n = end[r] - begin[r];
        part.adam1 = (uint16_t *)all.l.adam1 + begin[r];
        part.adam2 = (uint16_t *)all.l.adam2 + begin[r];
        part.master = all.l.master + begin[r];
        optim_of(&o, &part, r, 3, true);
        CHECK(optim_write(&o, &(struct optim_mark){ 2, r, 3, 7 }, in_dir("own"), &e), "%s", e.text);
        optim_free(&o);
    }
    if (!whole) {
        CHECK(!read_all(&to, in_dir("own"), 3, 2, 7, &e) && strstr(e.text, "tensor exp_avg is missing"), "%s", e.text);
        close_vectors(&all);
        close_vectors(&to);
        return;
    }
    CHECK(read_all(&to, in_dir("own"), 3, 2, 7, &e), "%s", e.text);
    for (int v = 0; v < 3; v++)
        for (int64_t i = 0; i < COUNT; i++)
            CHECK_NEAR(number(&to, v, i), (double)value(v, i), 0, "vector %d, %lld", v, (long long)i);
    close_vectors(&all);
    close_vectors(&to);
}

static void each_its_own(void **state)
{
    (void)state;
    three_parts((const int64_t[]){ 0, 1600, 1664 }, (const int64_t[]){ 1600, 1664, COUNT }, true);
    three_parts((const int64_t[]){ 0, 1600, 1664 }, (const int64_t[]){ 1600, 1663, COUNT }, false);
    three_parts((const int64_t[]){ 0, 1600, 1664 }, (const int64_t[]){ 1600, 1664, COUNT - 1 }, false);
}

/* What may be wrong with the files of three ranks; the message names the file and says what. */
static void rejected(void **state)
{
    (void)state;
    static const char *const says[] = { "No such file: it holds the optimizer state that rank 1 of 3 wrote",
                                        "is the state after step 4, not 6", "belongs to another run's checkpoint",
                                        "is the state that rank 0 of 3 wrote", "rank_0001_of_0003" };
    struct err e;
    struct str path = { 0 }, other = { 0 };
    struct vectors x;
    open_vectors(&x, false, true);
    write_all(&x, in_dir("older"), 3, 4, 98, false);
    write_all(&x, in_dir("another"), 3, 6, 55, false);
    for (int k = 0; k < 5; k++) {
        write_all(&x, in_dir("good"), 3, 6, 99, false);
        CHECK(read_all(&x, in_dir("good"), 3, 6, 99, &e), "%s", e.text);
        file_of(&path, in_dir("good"), 1);
        file_of(&other, in_dir(k == 1 ? "older" : k == 2 ? "another" : "good"), k == 3 ? 0 : 1);
        if (k == 0) assert_int_equal(unlink(path.p), 0);
        else if (k == 4) assert_int_equal(truncate(path.p, 4000), 0);
        else CHECK(file_copy(other.p, path.p, &e), "%s", e.text);
        CHECK(!read_all(&x, in_dir("good"), 3, 6, 99, &e) && strstr(e.text, "rank_0001_of_0003.safetensors") &&
                  strstr(e.text, says[k]),
              "%d: %s", k, e.text);
    }
    /* of another cut: ranks that overlap or leave a gap */
    write_all(&x, in_dir("good"), 3, 6, 99, false);
    CHECK(!read_all(&x, in_dir("good"), 2, 6, 99, &e) && strstr(e.text, "rank_0000_of_0002"), "%s", e.text);
    CHECK(!read_all(&x, in_dir("good"), 0, 6, 99, &e) && strstr(e.text, "ranks"), "%s", e.text);
    close_vectors(&x);
    str_free(&path);
    str_free(&other);
}

/* A number that is not usable is neither written nor read. */
static void not_finite(void **state)
{
    (void)state;
    struct err e;
    struct vectors x;
    acc_t bad[] = { (acc_t)NAN, -1 }, was;
    open_vectors(&x, false, true);
    for (int k = 0; k < 2; k++) {
        acc_t *at = (acc_t *)x.l.adam2 + 3000;
        dev_get(&was, at, sizeof was);
        dev_put(at, &bad[k], sizeof *bad);
        struct optim_state o;
        optim_of(&o, &x.l, 1, 2, true);
        assert_true(dir_make(in_dir("bad/actor/optim"), &e));
        CHECK(!optim_write(&o, &(struct optim_mark){ 1, 1, 2, 3 }, in_dir("bad"), &e) &&
                  strstr(e.text, "number 3000 of exp_avg_sq") && strstr(e.text, k ? "is below 0" : "a NaN"),
              "%s", e.text);
        CHECK(!file_exists(in_dir("bad/actor/optim/rank_0001_of_0002.safetensors")), "a file is left");
        optim_free(&o);
        dev_put(at, &was, sizeof was);
    }
    close_vectors(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_ranks), cmocka_unit_test(cut), cmocka_unit_test(each_its_own),
        cmocka_unit_test(rejected), cmocka_unit_test(not_finite),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
