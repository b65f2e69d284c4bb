/* test_bench_result.c: a measurement with known numbers as a line of text and as JSON. */
#include "base/str.h"
#include "eval/bench/bench.h"
#include "eval/bench/bench_result.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

static double number(const json_t *o, const char *name) { return json_number_value(json_object_get(o, name)); }
static bool is_text(const json_t *o, const char *name, const char *want)
{
    const char *is = json_string_value(json_object_get(o, name));
    return is && !strcmp(is, want);
}

static void one_result(void **state)
{
    (void)state;
    char *text = NULL, *json = NULL;
    size_t n = 0, m = 0;
    struct bench b = { .text = open_memstream(&text, &n), .json = open_memstream(&json, &m) };
    const struct bench_dims d = { .n = 4096, .vocab = 17, .hd = 64, .kind = "causal" };
    setenv("APPO_COMMAND", "./run.sh bench x", 1);
    setenv("APPO_COMMIT", "abc", 1);
    bench_report(&b, &(struct bench_result){ .name = "attn", .d = &d, .us = 12.5, .rate = 321.5, .share = 0.375,
        .unit = "GB/s", .of = "copy", .runs = 9, .extra = json_pack("{s:i}", "more", 3) });
    fclose(b.text);
    fclose(b.json);
    CHECK(!strncmp(text, "attn ", 5) && strstr(text, "12.50 us") && strstr(text, "321.5 GB/s") &&
              strstr(text, "37.5 % of copy") && strstr(text, "n=4096"), "%s", text);
    json_t *o = json_loads(json, 0, NULL), *shape = json_object_get(o, "shape");
    CHECK(o && is_text(o, "name", "attn") && is_text(o, "unit", "GB/s") && is_text(o, "of", "copy") &&
              is_text(o, "command", "./run.sh bench x") && is_text(o, "commit", "abc"), "%s", json);
    CHECK_NEAR(number(o, "us"), 12.5, 1e-9, "us");
    CHECK_NEAR(number(o, "rate"), 321.5, 1e-9, "rate");
    CHECK_NEAR(number(o, "percent"), 37.5, 1e-9, "percent");
    CHECK(number(o, "runs") == 9 && number(o, "more") == 3, "%s", json);
    CHECK(number(shape, "n") == 4096 && number(shape, "vocab") == 17 && number(shape, "hd") == 64 &&
              is_text(shape, "kind", "causal") && json_object_size(shape) == 4, "%s", json);
    json_decref(o);
    free(text);
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(one_result) };
    return cmocka_run_group_tests_name("bench result", tests, NULL, NULL);
}
