/* test_bench.c: every operation and a small model are measured once at tiny sizes, in every build; results, planned
 * cases and tables agree with each other. Times are not judged. */
#include "eval/bench/bench.h"
#include "eval/bench/bench_model.h"
#include "eval/bench/bench_table.h"
#include "base/file.h"
#include "tests/check.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static char *all_of(FILE *f)
{
    const long n = ftell(f);
    char *s = xcalloc((size_t)n + 1, 1);
    rewind(f);
    assert_int_equal(fread(s, 1, (size_t)n, f), n);
    return s;
}

/* One object a line. */
static json_t *results_of(FILE *f)
{
    char *s = all_of(f), *rest = NULL;
    json_t *results = json_array();
    for (char *line = strtok_r(s, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_error_t e;
        json_t *result = json_loads(line, 0, &e);
        CHECK(json_is_object(result), "%s: %s", e.text, line);
        json_array_append_new(results, result);
    }
    free(s);
    return results;
}

static void each_is_measured(void **state)
{
    (void)state;
    static const char *const strings[] = { "name",   "unit", "of",      "commit", "command", "device",
                                           "driver", "date", "backend", "real",   "numerics" };
    struct bench b = { .sizes = BENCH_TINY, .text = tmpfile(), .json = tmpfile() };
    FILE *planned = tmpfile();
    bench_open(&b);
    bench_kernels(&b);
    assert_true(bench_train(&b, NULL));
    assert_true(bench_decode(&b, NULL));
    bench_close(&b);
    bench_shapes(&b, planned);
    json_t *results = results_of(b.json), *cases = results_of(planned), *result;
    size_t i;
    assert_true(json_array_size(results) > 35 && json_array_size(results) == json_array_size(cases));
    json_array_foreach(results, i, result) {
        const json_t *want = json_array_get(cases, i);
        for (size_t k = 0; k < sizeof strings / sizeof *strings; k++)
            CHECK(json_is_string(json_object_get(result, strings[k])), "result %zu has no %s", i, strings[k]);
        CHECK(json_equal(json_object_get(result, "name"), json_object_get(want, "name")) &&
                  json_equal(json_object_get(result, "shape"), json_object_get(want, "shape")),
              "result %zu is not case %zu", i, i);
        const double us = json_number_value(json_object_get(result, "us")),
                     percent = json_number_value(json_object_get(result, "percent"));
        CHECK(us > 0 && us < 6e7 && percent > 0, "result %zu: %g us, %g %%", i, us, percent);
    }
    json_decref(results);
    json_decref(cases);
    fclose(planned);
    fclose(b.text);
    fclose(b.json);
}

static double planned_flops(const json_t *cases, const char *name, const char *kind)
{
    size_t i;
    json_t *c;
    json_array_foreach((json_t *)cases, i, c) {
        const char *k = json_string_value(json_object_get(json_object_get(c, "shape"), "kind"));
        if (!strcmp(json_string_value(json_object_get(c, "name")), name) && k && !strcmp(k, kind))
            return json_number_value(json_object_get(c, "flops"));
    }
    return -1;
}

/* The pairs that attention sees, counted one by one: tiny sequences of 17 tokens; a tree of 8 rollouts of 20 tokens
 * that share 16. */
static void pairs_are_counted(void **state)
{
    (void)state;
    struct bench b = { .sizes = BENCH_TINY };
    FILE *planned = tmpfile();
    bench_shapes(&b, planned);
    json_t *cases = results_of(planned);
    double causal = 0, tree = 0;
    for (int q = 0; q < 51; q++)
        for (int k = 0; k <= q; k++) causal += k / 17 == q / 17;
    for (int q = 0; q < 96; q++)
        for (int k = 0; k <= q; k++) {
            const bool same = k / 48 == q / 48, shared = k % 48 < 16;
            tree += same && (shared || (k % 48 - 16) / 4 == (q % 48 - 16) / 4);
        }
    CHECK_NEAR(planned_flops(cases, "attn", "causal"), 4 * 2 * 64 * causal, 0, "visible pairs of sequences");
    CHECK_NEAR(planned_flops(cases, "attn", "tree"), 4 * 2 * 64 * tree, 0, "visible pairs of a tree");
    CHECK_NEAR(planned_flops(cases, "attn_back", "tree"), 10 * 2 * 64 * tree, 0, "visible pairs of a tree, back");
    json_decref(cases);
    fclose(planned);
}

static void write_file(const char *path, const char *text)
{
    struct err e;
    CHECK(file_write(path, text, strlen(text), &e), "%s", e.text);
}

static void tables(void **state)
{
    (void)state;
    char dir[] = "/tmp/appo_bench_XXXXXX", ours[64], peers[64], whole[64];
    struct err e;
    assert_non_null(mkdtemp(dir));
    snprintf(ours, sizeof ours, "%s/ours", dir);
    snprintf(peers, sizeof peers, "%s/peers", dir);
    snprintf(whole, sizeof whole, "%s/whole", dir);
    write_file(ours, "{\"name\":\"norm\",\"shape\":{\"n\":3,\"dim\":5},\"us\":2.0,\"rate\":7.5,\"unit\":\"GB/"
                     "s\",\"percent\":50.0,\"of\":\"copy\"}\n\n");
    write_file(peers, "{\"name\":\"norm\",\"shape\":{\"dim\":5,\"n\":3},\"peer\":\"torch\",\"us\":5.0,\"rate\":3,"
                      "\"unit\":\"GB/s\"}\n"
                      "{\"name\":\"norm\",\"shape\":{\"n\":4,\"dim\":5},\"peer\":\"other size\",\"us\":9.0}\n"
                      "{\"name\":\"norm\",\"shape\":{\"n\":3,\"dim\":5},\"peer\":\"triton\",\"left_out\":\"not "
                      "here\"}");
    FILE *f = tmpfile();
    CHECK(bench_table(f, (char *[]){ ours, peers }, 2, &e), "%s", e.text);
    char *text = all_of(f), *at = strstr(text, "2.5 x our time");
    CHECK(at && strstr(text, "50.0 % of copy") && strstr(text, "50.0 % of copy") < at, "not beside each other: %s",
          text);
    CHECK(strstr(text, "other size") > at && strstr(text, "triton"), "results are missing: %s", text);
    free(text);
    fclose(f);
    write_file(whole, "{\"pieces\":[],\n\"bench\":[\n{\"name\":\"add\",\"shape\":{\"n\":1},\"us\":1.0}],\n\"peers\":[]}"
                      "\n");
    f = tmpfile();
    CHECK(bench_table(f, (char *[]){ whole }, 1, &e), "%s", e.text);
    text = all_of(f);
    CHECK(strstr(text, "add"), "a result of gpu-check: %s", text);
    free(text);
    static const struct { const char *text, *says; } bad[] = {
        { "{\"name\":\"a\"}\nnonsense\n", ":2: " }, { "[1]\n", ":1: " }, { "{\"name\":", ":1: " },
        { "{\"name\": 3, \"us\": \"x\", \"shape\": []}\n", NULL },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file(whole, bad[i].text);
        const bool fine = bench_table(f, (char *[]){ whole }, 1, &e);
        CHECK(fine == !bad[i].says, "case %zu is %s", i, fine ? "taken" : e.text);
        CHECK(fine || strstr(e.text, bad[i].says), "case %zu: %s", i, e.text);
    }
    assert_false(bench_table(f, (char *[]){ dir }, 1, &e));
    char *many = xmalloc(3 * 5000 + 1);                              /* each is compared with each */
    for (int i = 0; i < 5000; i++) memcpy(many + 3 * i, "{}\n", 4);
    write_file(whole, many);
    CHECK(!bench_table(f, (char *[]){ whole }, 1, &e) && strstr(e.text, "more than 4096 results"), "%s", e.text);
    free(many);
    fclose(f);
    remove(ours);
    remove(peers);
    remove(whole);
    remove(dir);
}

static void names(void **state)
{
    (void)state;
    assert_true(bench_kernel(NULL, "attn_paged"));
    assert_false(bench_kernel(NULL, "attn_"));
    assert_true(bench_train(NULL, "Qwen3-1.7B"));
    assert_false(bench_decode(NULL, "Qwen3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_measured), cmocka_unit_test(pairs_are_counted), cmocka_unit_test(tables),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
