/* test_calibrate.c: constants found again that a file was made with, and files that are rejected by name and line. */
#include "eval/simulate/calibrate.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *put(const char *name, const char *text)
{
    const char *p = in_dir(name);
    FILE *f = fopen(p, "w");
    assert_true(f && fputs(text, f) >= 0 && fclose(f) == 0);
    return p;
}

static void fits(void **state)
{
    (void)state;
    double x[3];
    /* t = 2 a + 3 b + 0 c, exactly */
    static const struct calibrate_row row[] = {
        { { 1, 1, 7 }, 5 }, { { 5, 1, 3 }, 13 }, { { 2, 8, 1 }, 28 }, { { 9, 9, 9 }, 45 }
    };
    assert_true(calibrate_fit(x, 3, row, 4));
    CHECK_NEAR(x[0], 2, 1e-9, "first");
    CHECK_NEAR(x[1], 3, 1e-9, "second");
    CHECK_NEAR(x[2], 0, 1e-9, "third");
    /* counts that grow together: the first gets all of it */
    static const struct calibrate_row same[] = { { { 1, 0.2, 0.4 }, 2 }, { { 2, 0.4, 0.8 }, 4 } };
    assert_true(calibrate_fit(x, 3, same, 2));
    CHECK(fabs(x[0] - 2) < 1e-9 && x[1] == 0 && x[2] == 0, "not separated: %g %g %g", x[0], x[1], x[2]);
    /* no constant is below 0: t falls with the second count */
    static const struct calibrate_row falls[] = { { { 1, 0.1, 0 }, 1 }, { { 1, 1, 0 }, 0.9 } };
    assert_true(calibrate_fit(x, 2, falls, 2));
    CHECK(fabs(x[0] - 0.95) < 1e-9 && x[1] == 0, "%g %g", x[0], x[1]);
    assert_false(calibrate_fit(x, 2, NULL, 0));
}

/* A run of `steps` steps whose seconds are those that the simulator gives with these constants. */
static const char *made(const char *name, const struct config *c, const struct cost_model *m, int steps)
{
    char file[64], keys[64];
    struct str text = { 0 };
    struct workload w;
    workload_of(&w, c);
    w.prompt_mean = 16, w.prompt_sigma = 0.2, w.response_mean = 60, w.response_sigma = 0.4, w.calls = 0;
    for (int i = 0; i < steps; i++) {
        struct sim_result r;
        w.seed = (uint64_t)i + 100;
        simulate(&r, &w, m, sim_rule("steal"), 1, 1, NULL);
        double longest = 60 * exp(0.4 * 2.35 - 0.08);
        str_printf(&text, "{\"step\": %d, \"data\": {\"timing_s/gen\": %.9g, \"timing_s/score\": %.9g, "
                          "\"timing_s/branch\": %.9g, \"timing_s/reward\": %.9g, \"timing_s/update_actor\": %.9g, "
                          "\"timing_s/step\": %.9g, \"perf/generated_tokens\": %.0f, \"perf/branch_tokens\": %.0f, "
                          "\"perf/total_num_tokens\": %.0f, \"perf/trained_rows\": %.9g, \"perf/scored_rows\": %.9g, "
                          "\"response_length/mean\": 60, \"response_length/max\": %g, \"prompt_length/mean\": 16, "
                          "\"prompt_length/max\": 25, \"appo/branch_tokens/mean\": 30}}\n",
                   i + 1, r.wall[SIM_GEN], r.wall[SIM_SCORE], r.wall[SIM_BRANCH], r.wall[SIM_HOST] - m->step,
                   r.wall[SIM_UPDATE], r.step, r.generated, r.generated / 2, r.generated, r.trained, r.scored, longest);
    }
    snprintf(file, sizeof file, "%s/metrics.jsonl", name);
    snprintf(keys, sizeof keys, "%s/run.json", name);
    json_t *run = json_pack("{s:o}", "config", config_json(c));
    char *dump = json_dumps(run, 0);
    mkdir(in_dir(name), 0777);
    put(keys, dump);
    const char *at = put(file, text.p);
    free(dump);
    json_decref(run);
    str_free(&text);
    return at;
}

static void found_again(void **state)
{
    (void)state;
    struct cost_model m = { .pass = 2e-4, .row = 1.5e-5, .score_row = 1.2e-5, .train_row = 3.5e-5, .grade = 1e-6,
                            .step = 2e-3, .threads = 1 }, empty = { .threads = 1 };
    struct config c;
    struct err e = { "" };
    struct calibration k;
    char files[600];
    config_init(&c);
    snprintf(files, sizeof files, "%s", made("wide", &c, &m, 4));
    assert_true(config_set(&c, "rollout.max_num_seqs", "4", "test", &e));
    snprintf(files + strlen(files), sizeof files - strlen(files), ",%s", made("narrow", &c, &m, 4));
    CHECK(calibrate(&k, files, &c, &empty, &e), "%s", e.text);
    /* the simulator draws other lengths than the file had: 10 % */
    CHECK_NEAR(k.m.row, m.row, 0.1 * m.row, "row");
    CHECK_NEAR(k.m.pass, m.pass, 0.1 * m.pass, "pass");
    CHECK_NEAR(k.m.score_row, m.score_row, 0.02 * m.score_row, "score_row");
    CHECK_NEAR(k.m.train_row, m.train_row, 0.02 * m.train_row, "train_row");
    CHECK_NEAR(k.m.step, m.step, 0.02 * m.step, "step");
    CHECK(k.has_run && k.error[CALIBRATED_SAMPLING] < 0.1 && k.error[CALIBRATED_TRAINING] < 0.02, "errors %g %g",
          k.error[CALIBRATED_SAMPLING], k.error[CALIBRATED_TRAINING]);
    CHECK_NEAR(k.w.response_mean, 60, 1e-9, "mean response");
    CHECK_NEAR(k.w.response_sigma, 0.4, 0.05, "sigma");
    config_free(&c);
}

static void bench_lines(void **state)
{
    (void)state;
    struct cost_model empty = { .threads = 1 };
    struct config c;
    struct err e = { "" };
    struct calibration k;
    config_init(&c);
    const char *file = put("bench.jsonl",
        "{\"bench\": \"gemm\", \"cases\": [\n{\"what\": \"qkv\", \"us\": 4}],\n\"peak_kib\": 1}\n"
        "{\"bench\": \"training, forward and back\", \"rows\": 1000, \"us\": 30000}\n"
        "{\"bench\": \"decode, context 60\", \"rows\": 10, \"us\": 300}\n"
        "{\"bench\": \"decode, context 60\", \"rows\": 100, \"us\": 1200}\n"
        "{\"name\": \"decode\", \"shape\": {\"model\": \"x\", \"n\": 1000, \"ctx\": 60}, \"us\": 10200}\n");
    CHECK(calibrate(&k, file, &c, &empty, &e), "%s", e.text);
    CHECK_NEAR(k.m.row, 10e-6, 1e-9, "row");
    CHECK_NEAR(k.m.pass, 200e-6, 1e-8, "pass");
    CHECK_NEAR(k.m.train_row, 30e-6, 1e-9, "train_row");
    CHECK_NEAR(k.m.score_row, 10e-6, 1e-9, "a third of it");
    assert_false(k.has_run);
    config_free(&c);
}

#define RUN "{\"config\": {}}"
#define GOOD "\"timing_s/gen\": 1, \"timing_s/score\": 1, \"timing_s/branch\": 1, \"timing_s/reward\": 0, " \
    "\"timing_s/update_actor\": 1, \"timing_s/step\": 5, \"perf/generated_tokens\": 100, \"perf/branch_tokens\": 10, " \
    "\"perf/total_num_tokens\": 100, \"perf/trained_rows\": 10, \"perf/scored_rows\": 10, " \
    "\"response_length/mean\": 5, \"response_length/max\": 9, \"prompt_length/mean\": 5"

static void rejected(void **state)
{
    (void)state;
    static const struct { const char *run, *text, *says; } cases[] = {
        { RUN, "", "nothing in it is fitted" },
        { RUN, "{}", "x.jsonl:1: neither a row" },
        { RUN, "\n\n[1, 2]", "x.jsonl:3: neither a row" },
        { RUN, "{\"step\": 1,", "x.jsonl:1: " },
        { RUN, "{\"bench\": \"gemm\",\n\"cases\": []}\n{}", "x.jsonl:3: neither a row" },
        { RUN, "{\"a\": 1, \"a\": 2}", "x.jsonl:1: " },
        { RUN, "{\"bench\": \"decode, context 60\", \"rows\": 0, \"us\": 1}", "nothing in it is fitted" },
        { RUN, "{\"bench\": \"decode, context 60\", \"rows\": 1, \"us\": -1}", "nothing in it is fitted" },
        { RUN, "{\"name\": 7, \"shape\": 8, \"us\": \"x\"}", "nothing in it is fitted" },
        { RUN, "{\"data\": {" GOOD "}}", "x.jsonl:1: no prompt_length/max" },
        { RUN, "{\"data\": {" GOOD ", \"prompt_length/max\": \"9\"}}", "prompt_length/max is not a number" },
        { RUN, "{\"data\": {" GOOD ", \"prompt_length/max\": -9}}", "prompt_length/max is not a number" },
        { RUN, "{\"data\": {\"timing_s/step\": 0}}", "x.jsonl:1: no timing_s/gen" },
        { "", "{\"data\": {" GOOD ", \"prompt_length/max\": 9}}", "run.json" },
        { "{}", "{\"data\": {" GOOD ", \"prompt_length/max\": 9}}", "run.json: no config" },
        { "[]", "{\"data\": {" GOOD ", \"prompt_length/max\": 9}}", "run.json: no config" },
        { "{\"config\": {\"rollout.n\": 0}}", "{\"data\": {" GOOD ", \"prompt_length/max\": 9}}", "out of range" },
        { "{\"config\": {\"no.such\": 1}}", "{\"data\": {" GOOD ", \"prompt_length/max\": 9}}", "no.such" },
        { "{\"config\": {\"rollout.n\": [1]}}", "{\"data\": {" GOOD ", \"prompt_length/max\": 9}}", "rollout.n" },
        { "{\"config\": {\"rollout.n\": 2}}", "{\"data\": {" GOOD ", \"prompt_length/max\": 9}}", "less than" },
        { RUN, "{\"data\": {" GOOD ", \"prompt_length/max\": 9, \"ranks/tokens/mean\": 1e-9}}", "ranks/tokens/mean" },
    };
    struct cost_model empty = { .threads = 1 };
    struct config c;
    config_init(&c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct calibration k;
        put("run.json", cases[i].run);
        bool ok = calibrate(&k, put("x.jsonl", cases[i].text), &c, &empty, &e);
        CHECK(!ok && strstr(e.text, cases[i].says), "case %zu, %s: \"%s\"", i, cases[i].text, e.text);
    }
    struct err e = { "" };
    struct calibration k;
    CHECK(!calibrate(&k, "/nonexistent/metrics.jsonl", &c, &empty, &e) && strstr(e.text, "/nonexistent"), "%s", e.text);
    CHECK(!calibrate(&k, "", &c, &empty, &e) && strstr(e.text, "no file"), "%s", e.text);
    put("run.json", "{\"config\": {}}");
    const char *good = put("x.jsonl", "{\"data\": {" GOOD ", \"prompt_length/max\": 9}}");
    CHECK(calibrate(&k, good, &c, &empty, &e), "%s", e.text);
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(fits), cmocka_unit_test(found_again),
                                        cmocka_unit_test(bench_lines), cmocka_unit_test(rejected) };
    return cmocka_run_group_tests_name("calibrate", tests, make_dir, drop_dir);
}
