/* test_metrics.c: metrics.jsonl to the byte, resuming it, the console line, the progress line, and TensorBoard frames
 * read back with their checksums. */
#include "base/file.h"
#include "base/str.h"
#include "engine/report/metrics.h"
#include "engine/report/progress.h"
#include "engine/report/tensorboard.h"
#include "base/number.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void numbers_read_back(void **state)
{
    (void)state;
    static const struct { double x; const char *text; } cases[] = {
        { 0, "0" }, { 1, "1" }, { 0.1, "0.1" }, { 1.0 / 3, "0.3333333333333333" }, { 1e-7, "1e-07" }, { -2.5, "-2.5" },
        { 123456789, "123456789" }, { 0.1 + 0.2, "0.30000000000000004" }, { 5e-324, "5e-324" },
        { 1.7976931348623157e308, "1.7976931348623157e+308" },
    };
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(!strcmp(number_text(text, cases[i].x), cases[i].text), "%.17g: got %s", cases[i].x, text);
}

static void names_keep_their_order(void **state)
{
    (void)state;
    struct metrics m = { 0 };
    char name[32];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "m/%d", (i * 37) % 200);
        metrics_put(&m, name, i);
    }
    assert_int_equal(m.n, 200);
    metrics_put(&m, "m/37", -1);
    assert_int_equal(m.n, 200);
    assert_string_equal(m.v[1].name, "m/37");
    CHECK_NEAR(metrics_get(&m, "m/37"), -1, 0, "replaced");
    CHECK(isnan(metrics_get(&m, "none")), "absent");
    metrics_clear(&m);
    assert_int_equal(m.n, 0);
    metrics_free(&m);
    CHECK(metrics_is_timing("timing_s/gen") && metrics_is_timing("perf/throughput") &&
              !metrics_is_timing("actor/timing_x"),
          "timing names");
}

static void expect_file(const char *path, const char *want)
{
    struct err e = { "" };
    struct str got = { 0 };
    CHECK(file_read(path, 1 << 20, &got, &e), "%s", e.text);
    CHECK(!strcmp(got.p, want), "got\n%swant\n%s", got.p, want);
    str_free(&got);
}

static void put_step(struct metrics_log *l, int step, double x)
{
    struct err e = { "" };
    struct metrics m = { 0 };
    metrics_put(&m, "actor/pg_loss", x);
    metrics_put(&m, "val/\"q\"\n\xff", step);
    CHECK(metrics_write(l, step, &m, &e), "%s", e.text);
    metrics_free(&m);
}

static void a_resumed_file_is_the_same_file(void **state)
{
    (void)state;
    struct err e = { "" };
    struct metrics_log l;
    const char *path = in_dir("m.jsonl");
    assert_true(metrics_open(&l, path, -1, NULL, &e));
    put_step(&l, 0, 0.5);
    put_step(&l, 1, (double)NAN);
    put_step(&l, 2, -(double)INFINITY);
    put_step(&l, 3, 1e-3);
    assert_true(metrics_close(&l, &e));
    static const char half[] =
        "{\"step\":0,\"data\":{\"actor/pg_loss\":0.5,\"val/\\\"q\\\"\\n?\":0}}\n"
        "{\"step\":1,\"data\":{\"actor/pg_loss\":null,\"val/\\\"q\\\"\\n?\":1}}\n";
    static const char whole[] =
        "{\"step\":0,\"data\":{\"actor/pg_loss\":0.5,\"val/\\\"q\\\"\\n?\":0}}\n"
        "{\"step\":1,\"data\":{\"actor/pg_loss\":null,\"val/\\\"q\\\"\\n?\":1}}\n"
        "{\"step\":2,\"data\":{\"actor/pg_loss\":null,\"val/\\\"q\\\"\\n?\":2}}\n"
        "{\"step\":3,\"data\":{\"actor/pg_loss\":0.001,\"val/\\\"q\\\"\\n?\":3}}\n";
    expect_file(path, whole);
    /* resumed after step 1, with a line that was being written when the run died */
    FILE *f = fopen(path, "a");
    fputs("{\"step\":4,\"da", f);
    fclose(f);
    CHECK(metrics_open(&l, path, 1, NULL, &e), "%s", e.text);
    expect_file(path, half);
    put_step(&l, 2, -(double)INFINITY);
    put_step(&l, 3, 1e-3);
    assert_true(metrics_close(&l, &e));
    expect_file(path, whole);
    /* nothing to drop; no file yet; begun anew */
    assert_true(metrics_open(&l, path, 3, NULL, &e) && metrics_close(&l, &e));
    expect_file(path, whole);
    assert_true(metrics_open(&l, in_dir("new.jsonl"), 7, NULL, &e) && metrics_close(&l, &e));
    expect_file(in_dir("new.jsonl"), "");
    assert_true(metrics_open(&l, path, -1, NULL, &e) && metrics_close(&l, &e));
    expect_file(path, "");
}

static void other_files_are_left_alone(void **state)
{
    (void)state;
    static const char *const texts[] = { "hello\n", "{\"step\":1}\n", "{\"step\":\"1\",\"data\":{}}\n",
                                         "{\"step\":1,\"data\":{}}\n[]\n", "{\"step\":1.5,\"data\":{}}\n" };
    const char *path = in_dir("other.jsonl");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct err e = { "" };
        struct metrics_log l;
        assert_true(file_write(path, texts[i], strlen(texts[i]), &e));
        const char *words = i == 3 ? "other.jsonl:2: not a line" : "other.jsonl:1: not a line";
        CHECK(!metrics_open(&l, path, 1, NULL, &e) && strstr(e.text, words), "%s: %s", texts[i], e.text);
        expect_file(path, texts[i]);
        CHECK(metrics_close(&l, &e), "closing what was never opened");
    }
}

static void a_full_disk_is_said(void **state)
{
    (void)state;
    struct err e = { "" };
    struct metrics_log l;
    struct metrics m = { 0 };
    metrics_put(&m, "x", 1);
    assert_true(metrics_open(&l, "/dev/full", -1, NULL, &e));
    CHECK(!metrics_write(&l, 1, &m, &e) && strstr(e.text, "/dev/full: No space left"), "%s", e.text);
    metrics_close(&l, NULL);
    CHECK(!metrics_open(&l, "/nonexistent/m.jsonl", -1, NULL, &e) && strstr(e.text, "/nonexistent/m.jsonl"), "%s",
          e.text);
    CHECK(!metrics_open(&l, in_dir("m2.jsonl"), -1, "/proc/none", &e), "a TensorBoard folder that cannot be");
    metrics_free(&m);
}

static void console_line(void **state)
{
    (void)state;
    static const char *const keys[] = { "b", "none", "a", NULL };
    struct metrics m = { 0 };
    char *text = NULL;
    size_t n;
    metrics_put(&m, "a", 0.0123456);
    metrics_put(&m, "b", 12);
    metrics_put(&m, "c", (double)NAN);
    FILE *f = open_memstream(&text, &n);
    metrics_console(f, 3, &m, keys);
    metrics_console(f, 4, &m, NULL);
    fclose(f);
    assert_string_equal(text, "step:3 - b:12 - a:0.01235\nstep:4 - a:0.01235 - b:12 - c:nan\n");
    free(text);
    metrics_free(&m);
}

static void progress_lines(void **state)
{
    (void)state;
    static const struct {
        int width, first, done, total;
        double elapsed, reward, speed;
        const char *what, *want;
    } cases[] = {
        { 0, 0, 0, 24, 1, (double)NAN, (double)NAN, "rollout", "step 0/24  rollout" },
        { 0, 0, 6, 24, 60, 0.5, 12345, NULL, "step 6/24  reward 0.500  12.3 k tokens/s  3:00 left" },
        { 0, 20, 22, 24, 10, 0.5, 900, "", "step 22/24  reward 0.500  0.9 k tokens/s  10 s left" },
        { 0, 0, 1, 1000, 30, (double)NAN, (double)NAN, "", "step 1/1000  8:19:30 left" },
        { 0, 0, 24, 24, 60, 1, (double)NAN, "", "step 24/24  reward 1.000" },
        { 0, 0, 0, 0, 0, (double)NAN, (double)NAN, "", "step 0/0" },
        { 40, 0, 12, 24, 60, (double)NAN, (double)NAN, "", "[=======>       ] step 12/24  1:00 left" },
        { 24, 0, 12, 24, 60, 0.5, (double)NAN, "", "step 12/24  reward 0.50" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[512];
        progress_text(out, sizeof out, cases[i].width,
                      &(struct progress_line){ "step", cases[i].first, cases[i].done, cases[i].total, cases[i].elapsed,
                                               cases[i].what, cases[i].reward, cases[i].speed });
        CHECK(!strcmp(out, cases[i].want), "case %zu: \"%s\", want \"%s\"", i, out, cases[i].want);
        CHECK(!cases[i].width || (int)strlen(out) < cases[i].width, "case %zu: wider than the terminal", i);
    }
    struct progress p;
    FILE *f = tmpfile();
    char line[128] = "";
    progress_start(&p, f, 0, 1000);
    p.unit = "answers";
    for (int i = 1; i <= 500; i++) progress_step(&p, i, "x", (double)NAN, (double)NAN);       /* nothing before 2 s */
    p.started -= 2.5;
    /* 501, and then every tenth */
    for (int i = 501; i <= 1000; i++) progress_step(&p, i, "x", (double)NAN, (double)NAN);
    progress_clear(&p);
    rewind(f);
    for (int i = 501; i <= 1001; i += 100) {
        char want[32];
        snprintf(want, sizeof want, "answers %d/1000  x", i < 1000 ? i : 1000);
        assert_non_null(fgets(line, sizeof line, f));
        CHECK(!strncmp(line, want, strlen(want)) && !strchr(line, '\r') && strchr(line, '\n'), "%s, want %s", line,
              want);
    }
    CHECK(!fgets(line, sizeof line, f), "one line more: %s", line);
    fclose(f);
}

/* ---- TensorBoard: a reader of its own ---- */

static uint64_t fixed(const uint8_t *p, int n) { return n ? p[0] | fixed(p + 1, n - 1) << 8 : 0; }

static void check_crc(const uint8_t *p, size_t n, uint32_t masked)
{
    uint32_t rot = masked - 0xA282EAD8u;
    CHECK(crc32c(p, n) == (rot >> 17 | rot << 15), "the checksum of %zu bytes", n);
}

static uint64_t varint(const uint8_t **p)
{
    uint64_t x = 0;
    for (int shift = 0; ; shift += 7) {
        x |= (uint64_t)(**p & 127) << shift;
        if (*(*p)++ < 128) return x;
    }
}

struct event { int64_t step; double wall; char version[16], tag[4][32]; float value[4]; int values, session; };

static void read_summary(struct event *ev, const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        assert_int_equal(*p++, 0x0a);
        uint64_t size = varint(&p);
        const uint8_t *value = p;
        assert_int_equal(*p++, 0x0a);
        size_t n = varint(&p);
        snprintf(ev->tag[ev->values], 32, "%.*s", (int)n, (const char *)p);
        p += n;
        assert_int_equal(*p++, 0x15);
        uint32_t bits = (uint32_t)fixed(p, 4);
        memcpy(&ev->value[ev->values++], &bits, 4);
        p += 4;
        CHECK((uint64_t)(p - value) == size, "the size of a value");
    }
    CHECK(p == end, "the end of a summary");
}

static struct event read_event(const uint8_t *p, const uint8_t *end)
{
    struct event ev = { 0 };
    while (p < end) {
        uint64_t tag = varint(&p), n = 0;
        if (tag == 9) { uint64_t bits = fixed(p, 8); memcpy(&ev.wall, &bits, 8); p += 8; continue; }
        if (tag == 16) { ev.step = (int64_t)varint(&p); continue; }
        n = varint(&p);
        if (tag == 26) snprintf(ev.version, sizeof ev.version, "%.*s", (int)n, (const char *)p);
        else if (tag == 42) read_summary(&ev, p, p + n);
        else if (tag == 58) ev.session = (int)p[1];
        else CHECK(0, "field %d", (int)tag);
        p += n;
    }
    CHECK(p == end, "the end of an event");
    return ev;
}

static int read_events(const char *folder, struct event *ev, int max)
{
    struct err e = { "" };
    struct str path = { 0 }, text = { 0 };
    DIR *d = opendir(folder);
    int n = 0;
    for (struct dirent *f; (f = readdir(d)); )
        if (!strncmp(f->d_name, "events.out.tfevents.", 20)) str_printf(&path, "%s/%s", folder, f->d_name);
    closedir(d);
    CHECK(file_read(path.p, 1 << 20, &text, &e), "%s", e.text);
    for (const uint8_t *p = (const uint8_t *)text.p, *end = p + text.n; p < end; n++) {
        uint64_t size = fixed(p, 8);
        check_crc(p, 8, (uint32_t)fixed(p + 8, 4));
        CHECK(size < 1000 && n < max && p + 16 + size <= end, "frame %d of %d bytes", n, (int)size);
        check_crc(p + 12, size, (uint32_t)fixed(p + 12 + size, 4));
        ev[n] = read_event(p + 12, p + 12 + size);
        p += 16 + size;
    }
    str_free(&path);
    str_free(&text);
    return n;
}

static void tensorboard_frames(void **state)
{
    (void)state;
    struct err e = { "" };
    struct metrics_log l;
    struct metrics m = { 0 };
    struct event ev[8];
    /* RFC 3720 B.4 */
    uint8_t zeros[32] = { 0 }, up[32];
    for (int i = 0; i < 32; i++) up[i] = (uint8_t)i;
    CHECK(crc32c(zeros, 32) == 0x8A9136AAu && crc32c(up, 32) == 0x46DD794Eu && crc32c("123456789", 9) == 0xE3069283u &&
              crc32c("", 0) == 0,
          "CRC-32C");
    CHECK(metrics_open(&l, in_dir("tb.jsonl"), 5, in_dir("tb"), &e), "%s", e.text);
    metrics_put(&m, "actor/pg_loss", -0.1);
    metrics_put(&m, "x", 300);
    assert_true(metrics_write(&l, 6, &m, &e));
    metrics_clear(&m);
    assert_true(metrics_write(&l, 200, &m, &e));
    assert_true(metrics_close(&l, &e));
    assert_int_equal(read_events(in_dir("tb"), ev, 8), 4);
    assert_string_equal(ev[0].version, "brain.Event:2");
    CHECK(ev[1].session == 1 && ev[1].step == 6, "later steps of the run before are dropped");
    CHECK(ev[2].values == 2 && ev[2].step == 6 && ev[2].wall > 1.6e9, "two values at step 6");
    assert_string_equal(ev[2].tag[0], "actor/pg_loss");
    CHECK_NEAR(ev[2].value[0], -0.1f, 0, "value 0");
    CHECK_NEAR(ev[2].value[1], 300, 0, "value 1");
    CHECK(ev[3].step == 200 && ev[3].values == 0, "a step without values");
    metrics_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_read_back), cmocka_unit_test(names_keep_their_order),
        cmocka_unit_test(a_resumed_file_is_the_same_file), cmocka_unit_test(other_files_are_left_alone),
        cmocka_unit_test(a_full_disk_is_said), cmocka_unit_test(console_line), cmocka_unit_test(progress_lines),
        cmocka_unit_test(tensorboard_frames),
    };
    return cmocka_run_group_tests_name("metrics", tests, make_dir, drop_dir);
}
