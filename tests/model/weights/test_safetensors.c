/* test_safetensors.c: files written and read back bit for bit, every half-precision number, and files with false
 * sizes and offsets. */
#include "model/weights/safetensors.h"
#include "base/file.h"
#include "model/weights/safetensors_write.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* 8 bytes of length, header, data_n bytes of data that count up */
static void make_file(struct str *s, const char *header, size_t data_n)
{
    uint64_t n = strlen(header);
    str_clear(s);
    str_put(s, (const char *)&n, 8);
    str_puts(s, header);
    for (size_t i = 0; i < data_n; i++) str_putc(s, (char)i);
}

static float f32[24];
static double f64[24];

static void write_all(const char *path)
{
    struct err e;
    struct st_writer *w = st_create(path, &e);
    assert_non_null(w);
    st_declare(w, "wide", ST_F64, 2, (int64_t[]){ 4, 6 });
    st_declare(w, "none", ST_F32, 3, (int64_t[]){ 3, 0, 5 });
    st_declare(w, "a \"b\"\\ \xc3\xa9", ST_F32, 4, (int64_t[]){ 2, 3, 1, 4 });
    st_declare(w, "one", ST_F32, 0, NULL);
    st_declare(w, "half", ST_F16, 1, (int64_t[]){ 3 });
    st_declare(w, "brain", ST_BF16, 1, (int64_t[]){ 3 });
    st_declare(w, "last", ST_F32, 1, (int64_t[]){ 0 });
    st_put_f64(w, f64, 24);
    st_put_f32(w, f32, 5);                                    /* in pieces */
    st_put_f32(w, f32 + 5, 19);
    st_put_f64(w, (double[]){ 2.5 }, 1);
    st_put_f32(w, (float[]){ 1, -2, 65504 }, 3);
    st_put_f64(w, (double[]){ 1, -2, 3e38 }, 3);
    assert_false(file_exists(path));                        /* nothing there before the end */
    assert_true(st_finish(w, &e));
}

static void write_read(void **state)
{
    (void)state;
    struct err e;
    float g[24];
    double back[24];
    for (int i = 0; i < 24; i++) { f32[i] = 1.0f / (float)(i + 3) - 0.1f; f64[i] = 1.0 / (i + 3) - 0.1; }
    f32[0] = -0.0f; f32[1] = INFINITY; f32[2] = 1e-42f; f64[0] = -0.0; f64[1] = -(double)INFINITY; f64[2] = 5e-324;
    write_all(in_dir("w.safetensors"));
    struct st_file *s = st_open(in_dir("w.safetensors"), &e);
    CHECK(s, "%s", e.text);
    assert_int_equal(st_count(s), 7);
    assert_null(st_find(s, "absent"));
    const struct st_tensor *t = st_find(s, "wide");
    assert_true(t && t->rank == 2 && t->shape[0] == 4 && t->shape[1] == 6 && t->count == 24 && t->dtype == ST_F64);
    assert_true((uintptr_t)t->data % 8 == 0);
    assert_true(st_get_f64(t, 0, 24, back));
    assert_memory_equal(back, f64, sizeof f64);
    t = st_find(s, "a \"b\"\\ \xc3\xa9");
    assert_true(t && t->rank == 4 && st_get_f32(t, 0, 24, g));
    assert_memory_equal(g, f32, sizeof f32);
    assert_true(st_get_f32(t, 7, 3, g) && memcmp(g, f32 + 7, 12) == 0);
    assert_false(st_get_f32(t, -1, 2, g));
    assert_false(st_get_f32(t, 20, 5, g));
    assert_false(st_get_f32(t, INT64_MAX, INT64_MAX, g));
    assert_true(st_get_f32(t, 24, 0, g));
    t = st_find(s, "one");
    assert_true(t && t->rank == 0 && t->count == 1 && st_get_f64(t, 0, 1, back));
    CHECK_NEAR(back[0], 2.5, 0, "one");
    assert_int_equal(st_find(s, "none")->count, 0);
    assert_int_equal(st_find(s, "none")->shape[2], 5);
    assert_true(st_get_f32(st_find(s, "half"), 0, 3, g));
    CHECK_NEAR(g[2], 65504, 0, "half");
    assert_true(st_get_f32(st_find(s, "brain"), 0, 3, g));
    CHECK_NEAR(g[2], 0x1.c4p127, 0, "3e38 to 8 bits");
    for (int i = 1; i < st_count(s); i++) assert_true(strcmp(st_at(s, i - 1)->name, st_at(s, i)->name) < 0);
    st_close(s);
}

static void unfinished(void **state)
{
    (void)state;
    struct err e;
    const char *path = in_dir("u.safetensors");
    struct st_writer *w = st_create(path, &e);
    st_declare(w, "x", ST_F32, 1, (int64_t[]){ 4 });
    st_put_f32(w, (float[]){ 1, 2, 3 }, 3);
    assert_false(st_finish(w, &e));
    assert_non_null(strstr(e.text, "3 of its 4"));
    w = st_create(path, &e);
    st_abandon(w);
    assert_false(file_exists(path));
    assert_null(st_create(in_dir("no/such/folder"), &e));
    w = st_create(path, &e);                                /* a file without tensors is a file */
    assert_true(st_finish(w, &e));
    struct st_file *s = st_open(path, &e);
    CHECK(s, "%s", e.text);
    assert_int_equal(st_count(s), 0);
    assert_null(st_find(s, "x"));
    st_close(s);
}

/* Value of a half-precision pattern by definition: bits e of exponent with the given bias, m of mantissa. */
static double half_value(unsigned h, int mantissa, int bias)
{
    int ebits = 15 - mantissa, expo = (int)(h >> mantissa) & ((1 << ebits) - 1);
    double m = (double)(h & ((1u << mantissa) - 1)), sign = h & 0x8000 ? -1 : 1;
    if (expo == (1 << ebits) - 1) return m > 0 ? (double)NAN : sign * (double)INFINITY;
    return sign * (expo ? ldexp(ldexp(m, -mantissa) + 1, expo - bias) : ldexp(m, 1 - bias - mantissa));
}

static const uint16_t *written(const char *path, enum st_dtype d, const float *x32, const double *x64, int64_t n,
                               struct st_file **s)
{
    struct err e;
    struct st_writer *w = st_create(path, &e);
    st_declare(w, "x", d, 1, &n);
    if (x32) st_put_f32(w, x32, n);
    else st_put_f64(w, x64, n);
    assert_true(st_finish(w, &e));
    *s = st_open(path, &e);
    CHECK(*s, "%s", e.text);
    return st_find(*s, "x")->data;
}

/* All 65,536 patterns: read by definition, written back to the same pattern. */
static void halves(void **state)
{
    (void)state;
    struct err e;
    static const struct {
        enum st_dtype d;
        const char *name;
        int mantissa, bias;
    } types[] = { { ST_F16, "F16", 10, 15 }, { ST_BF16, "BF16", 7, 127 } };
    for (int k = 0; k < 2; k++) {
        struct str bytes = { 0 };
        char header[200];
        snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"%s\",\"shape\":[65536],\"data_offsets\":[0,131072]}} ",
                 types[k].name);
        make_file(&bytes, header, 0);
        for (unsigned h = 0; h < 65536; h++) { uint16_t u = (uint16_t)h; str_put(&bytes, (const char *)&u, 2); }
        struct st_file *s = st_parse("halves", bytes.p, bytes.n, &e), *s2;
        CHECK(s, "%s", e.text);
        float *y = xmalloc(65536 * sizeof *y);
        double *x = xmalloc(65536 * sizeof *x);
        assert_true(st_get_f32(st_at(s, 0), 0, 65536, y) && st_get_f64(st_at(s, 0), 0, 65536, x));
        for (unsigned h = 0; h < 65536; h++) {
            double want = half_value(h, types[k].mantissa, types[k].bias);
            if (isnan(want)) CHECK(isnan(y[h]) && isnan(x[h]), "%s %04x", types[k].name, h);
            else
                CHECK((double)y[h] == want && x[h] == want && !signbit(y[h]) == !(h >> 15), "%s %04x", types[k].name,
                      h);
        }
        const uint16_t *u = written(in_dir("h.safetensors"), types[k].d, y, NULL, 65536, &s2);
        for (unsigned h = 0; h < 65536; h++)
            if (!isnan(y[h])) CHECK(u[h] == h, "%s %04x comes back as %04x", types[k].name, h, u[h]);
            else
                CHECK(isnan(half_value(u[h], types[k].mantissa, types[k].bias)), "%s %04x is no longer NaN",
                      types[k].name, h);
        st_close(s2);
        st_close(s);
        free(y);
        free(x);
        str_free(&bytes);
    }
}

/* Between every two neighbours: half way goes to the even one, a hair to either side to the nearer one; doubles are
 * rounded once, not twice. */
static void rounding(void **state)
{
    (void)state;
    static const struct {
        enum st_dtype d;
        int mantissa, bias;
        unsigned max;
    } types[] = { { ST_F16, 10, 15, 0x7bff }, { ST_BF16, 7, 127, 0x7f7f } };
    for (int k = 0; k < 2; k++) {
        /* pairs h, h + 1; of the last, h + 1 is infinity and lies where the next number would */
        int n = (int)types[k].max;
        double *x = xmalloc(3 * (size_t)(n + 1) * sizeof *x);
        for (int h = 0; h <= n; h++) {
            double a = half_value((unsigned)h, types[k].mantissa, types[k].bias),
                   b = half_value((unsigned)h + 1, types[k].mantissa, types[k].bias);
            if (isinf(b)) b = 2 * a - half_value((unsigned)h - 1, types[k].mantissa, types[k].bias);
            double mid = a + (b - a) / 2;
            x[3 * h] = -mid;
            x[3 * h + 1] = nextafter(mid, 0);
            x[3 * h + 2] = nextafter(mid, (double)INFINITY);
        }
        struct st_file *s;
        const uint16_t *u = written(in_dir("r.safetensors"), types[k].d, NULL, x, 3 * (n + 1), &s);
        for (int h = 0; h <= n; h++) {
            CHECK(u[3 * h] == (0x8000 | (h + (h & 1))), "tie above %04x went to %04x", h, u[3 * h]);
            CHECK(u[3 * h + 1] == h, "just below the middle above %04x: %04x", h, u[3 * h + 1]);
            CHECK(u[3 * h + 2] == h + 1, "just above the middle above %04x: %04x", h, u[3 * h + 2]);
        }
        st_close(s);
        free(x);
    }
}

#define T "{\"dtype\":\"F32\",\"shape\":"
static const struct { const char *header; size_t data; const char *says; } hostile[] = {
    { "{\"x\":" T "[2],\"data_offsets\":[0,8]}}", 8, NULL },
    { "{\"x\":" T "[2],\"data_offsets\":[0,8]}}   ", 8, NULL },
    { "{\"x\":" T "[],\"data_offsets\":[0,4]},\"__metadata__\":{\"a\":\"b\"}}", 4, NULL },
    { "{\"b\":" T "[1],\"data_offsets\":[4,8]},\"a\":" T "[1],\"data_offsets\":[0,4]}}", 8, NULL },
    { "{\"b\":" T "[0],\"data_offsets\":[4,4]},\"a\":" T "[2],\"data_offsets\":[0,4]}}", 4,
      "tensor a: 4 bytes of data, its shape needs 8" },
    { "{\"x\":" T "[2],\"data_offsets\":[0,8]}}", 7, "cut short" },
    { "{\"x\":" T "[2],\"data_offsets\":[0,8]}}", 9, "data bytes 8 to 9, at the end, belong to no tensor" },
    { "{\"x\":" T "[2],\"data_offsets\":[1,9]}}", 9, "data bytes 0 to 1, before tensor x" },
    { "{\"x\":" T "[2],\"data_offsets\":[0,8]},\"y\":" T "[2],\"data_offsets\":[4,12]}}", 12,
      "tensor y overlaps tensor x at data byte 4" },
    { "{\"x\":" T "[2],\"data_offsets\":[0,8]},\"y\":" T "[2],\"data_offsets\":[0,8]}}", 8, "overlaps" },
    { "{\"x\":" T "[1],\"data_offsets\":[0,4]},\"x\":" T "[1],\"data_offsets\":[4,8]}}", 8, "duplicate" },
    { "{\"x\":" T "[2],\"data_offsets\":[8,0]}}", 8, "lie outside" },
    { "{\"x\":" T "[2],\"data_offsets\":[-8,0]}}", 8, "lie outside" },
    { "{\"x\":" T "[2],\"data_offsets\":[0,9223372036854775807]}}", 8, "lie outside" },
    { "{\"x\":" T "[2],\"data_offsets\":[0,9223372036854775808]}}", 8, "not JSON" },
    { "{\"x\":" T "[2],\"data_offsets\":[0]}}", 8, "[begin, end]" },
    { "{\"x\":" T "[2],\"data_offsets\":[0,8.0]}}", 8, "[begin, end]" },
    { "{\"x\":" T "[2]}}", 8, "[begin, end]" },
    { "{\"x\":" T "[-2],\"data_offsets\":[0,8]}}", 8, "shape[0] is not a size" },
    { "{\"x\":" T "[1.5],\"data_offsets\":[0,8]}}", 8, "shape[0] is not a size" },
    { "{\"x\":" T "[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8, "overflows" },
    { "{\"x\":" T "[4611686018427387904],\"data_offsets\":[0,8]}}", 8, "overflows" },
    { "{\"x\":" T "[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "at most 8" },
    { "{\"x\":" T "2,\"data_offsets\":[0,8]}}", 8, "shape must be an array" },
    { "{\"x\":" T "[2],\"data_offsets\":[0,8],\"extra\":1}}", 8, "unknown key extra" },
    { "{\"x\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype F31" },
    { "{\"x\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype" },
    { "{\"x\":[]}", 0, "tensor x: must be an object" },
    { "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__.a must be a string" },
    { "{\"__metadata__\":[]}", 0, "__metadata__ must be an object" },
    { "{\"x\":", 0, "not JSON" },
    { "[]", 0, "must begin with {" },
    { " {}", 0, "must begin with {" },
    { "", 0, "must begin with {" },
    { "{}{}", 0, "not JSON" },
    { "{\"\\u0000\":1}", 0, "not JSON" },
};

static void hostile_headers(void **state)
{
    (void)state;
    struct str s = { 0 };
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct err e = { "" };
        make_file(&s, hostile[i].header, hostile[i].data);
        char *exact = memcpy(xmalloc(s.n), s.p, s.n);       /* no byte behind it: a sanitizer sees an overrun */
        struct st_file *f = st_parse("case", exact, s.n, &e);
        CHECK(!f == !!hostile[i].says, "%s: %s", hostile[i].header, e.text);
        if (hostile[i].says)
            CHECK(strstr(e.text, hostile[i].says) && !strncmp(e.text, "case: ", 6), "%s: says '%s'", hostile[i].header,
                  e.text);
        st_close(f);
        free(exact);
    }
    str_free(&s);
}

static void hostile_lengths(void **state)
{
    (void)state;
    static const struct { uint64_t len; const char *says; } cases[] = {
        { 3, "only 2 bytes follow" }, { 100000001, "not a safetensors file" }, { UINT64_MAX, "not a safetensors file" },
        { UINT64_MAX - 7, "not a safetensors file" },
    };
    struct err e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char bytes[10];
        memcpy(bytes, &cases[i].len, 8);
        memcpy(bytes + 8, "{}", 2);
        assert_null(st_parse("len", bytes, 10, &e));
        CHECK(strstr(e.text, cases[i].says), "%s", e.text);
    }
    for (size_t n = 0; n < 8; n++) assert_null(st_parse("short", "\2\0\0\0\0\0\0\0{}", n, &e));
    struct str s = { 0 }, deep = { 0 };
    str_puts(&deep, "{\"x\":");
    for (int i = 0; i < 100000; i++) str_putc(&deep, '[');
    make_file(&s, deep.p, 0);
    assert_null(st_parse("deep", s.p, s.n, &e));
    CHECK(strstr(e.text, "depth"), "%s", e.text);
    str_free(&s);
    str_free(&deep);
}

/* A file cut anywhere is rejected; a file with any one byte changed is rejected or read, but never read outside its
 * bounds. */
static void cut_and_changed(void **state)
{
    (void)state;
    struct err e;
    struct str s = { 0 };
    make_file(&s,
              "{\"x\":{\"dtype\":\"F16\",\"shape\":[3,2],\"data_offsets\":[0,12]},\"y\":" T "[1],\"data_offsets\":[12,"
                                                                                            "16]}}",
              16);
    int read = 0;
    for (size_t n = 0; n < s.n; n++) {
        char *cut = memcpy(xmalloc(n), s.p, n);
        CHECK(!st_parse("cut", cut, n, &e), "cut to %zu bytes", n);
        free(cut);
        for (int bit = 0; bit < 8; bit++) {
            char *p = memcpy(xmalloc(s.n), s.p, s.n);
            p[n] = (char)(p[n] ^ 1 << bit);
            struct st_file *f = st_parse("bit", p, s.n, &e);
            for (int i = 0; f && i < st_count(f); i++) {
                float x[8];
                read += st_get_f32(st_at(f, i), 0, st_at(f, i)->count, x);
            }
            st_close(f);
            free(p);
        }
    }
    assert_true(read >= 16 * 8 * 2);                        /* at least when the changed bit was one of the data's */
    str_free(&s);
}

static void shards(void **state)
{
    (void)state;
    struct err e;
    assert_null(st_open(dir, &e));
    CHECK(strstr(e.text, "neither model.safetensors"), "%s", e.text);
    assert_null(st_open(in_dir("absent"), &e));
    for (int k = 0; k < 2; k++) {
        struct st_writer *w = st_create(in_dir(k ? "s2.safetensors" : "s1.safetensors"), &e);
        st_declare(w, k ? "b" : "a", ST_F32, 1, (int64_t[]){ 1 });
        st_put_f32(w, (float[]){ (float)k }, 1);
        assert_true(st_finish(w, &e));
    }
    static const struct { const char *index, *says; } cases[] = {
        { "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}}", NULL },
        { "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s1.safetensors\"}}", "tensor b is not in" },
        { "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s3.safetensors\"}}", "s3.safetensors" },
        { "{\"weight_map\":{\"a\":\"../s1.safetensors\"}}", "beside" },
        { "{\"weight_map\":{\"a\":1}}", "beside" },
        { "{}", "weight_map" },
        { "[", "not JSON" },
    };
    const char *index = in_dir("model.safetensors.index.json");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(file_write(index, cases[i].index, strlen(cases[i].index), &e));
        struct st_file *s = st_open(dir, &e);
        CHECK(!s == !!cases[i].says && (!cases[i].says || strstr(e.text, cases[i].says)), "%s: %s", cases[i].index,
              e.text);
        float x = 0;
        if (s) assert_true(st_count(s) == 2 && st_get_f32(st_find(s, "b"), 0, 1, &x) && x > 0);
        st_close(s);
    }
}

static long resident_kib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

/* 2 GB of numbers (a sparse file, so that the disk need not have them): mapped, and only what is looked at becomes
 * resident. */
static void large_file_is_mapped(void **state)
{
    (void)state;
    const int64_t count = 1 << 30;
    char header[96];
    struct str s = { 0 };
    struct err e;
    const char *path = in_dir("large.safetensors");
    snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"BF16\",\"shape\":[%lld],\"data_offsets\":[0,%lld]}}",
             (long long)count, (long long)(2 * count));
    make_file(&s, header, 0);
    CHECK(file_write(path, s.p, s.n, &e), "%s", e.text);
    assert_int_equal(truncate(path, (off_t)((int64_t)s.n + 2 * count)), 0);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseeko(f, -2, SEEK_END);
    fwrite("\x80\x3f", 1, 2, f);                            /* the last number is 1 */
    fclose(f);
    long before = resident_kib();
    struct st_file *st = st_open(path, &e);
    CHECK(st != NULL, "%s", e.text);
    float last[3];
    assert_true(st_get_f32(st_find(st, "x"), count - 3, 3, last));
    assert_true(last[0] == 0 && last[1] == 0 && last[2] == 1);
    CHECK(resident_kib() - before < 16 << 10, "%ld KiB became resident", resident_kib() - before);
    st_close(st);
    str_free(&s);
    remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_read), cmocka_unit_test(unfinished), cmocka_unit_test(halves),
        cmocka_unit_test(rounding), cmocka_unit_test(hostile_headers), cmocka_unit_test(hostile_lengths),
        cmocka_unit_test(cut_and_changed), cmocka_unit_test(shards),
        cmocka_unit_test(large_file_is_mapped),
    };
    return cmocka_run_group_tests_name("safetensors", tests, make_dir, drop_dir);
}
