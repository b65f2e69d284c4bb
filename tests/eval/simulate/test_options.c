/* test_options.c: arguments of --simulate, the table, the JSON and the figure. */
#include "eval/simulate/options.h"
#include "eval/simulate/svg.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

static void arguments(void **state)
{
    (void)state;
    /* says NULL: taken; "": not one of these */
    static const struct { const char *arg, *says; } cases[] = {
        { "ranks=8", NULL }, { "ranks=1,2,65536", NULL }, { "ranks=", "from 1 to" }, { "ranks=0", "from 1 to" },
        { "ranks=8,4", "larger than the one before" }, { "ranks=8,", "from 1 to" }, { "ranks=8;9", "from 1 to" },
        { "ranks=65537", "from 1 to" }, { "ranks=-1", "from 1 to" }, { "ranks=99999999999999999999", "from 1 to" },
        { "rules=all", NULL }, { "rules=steal,order", NULL }, { "rules=", "order, longest, steal, known" },
        { "rules=steal,", "order, longest, steal, known" }, { "rules=first", "order, longest, steal, known" },
        { "rules=order,order,order,order,order,order,order,order,order", "fewer" },
        { "gpu=h100", NULL }, { "gpu=h300", "h100, h200 and a100" }, { "gpu=", "h100" },
        { "scale=weak", NULL }, { "scale=strong", NULL }, { "scale=", "weak or strong" },
        { "steps=3", NULL }, { "steps=0", "from 1 to 1000" }, { "steps=1.5", "whole number" },
        { "response=2e3", NULL }, { "response=0", "from 1" }, { "response=nan", "from 1" }, { "response=x", "from 1" },
        { "sigma=0.8", NULL }, { "sigma=-1", "from 0" }, { "alike=1.1", "from 0 to 1" }, { "calls=2", NULL },
        { "live=0", NULL }, { "fresh=1", "0.99" }, { "node=4", NULL }, { "cores=2", NULL }, { "threads=0", "from 1" },
        { "cost.row=1e-5", NULL }, { "cost.row=-1", "a number of s" }, { "cost.inside=0", "a number of B/s" },
        { "cost.rows=1", "no such constant" }, { "cost.=1", "no such constant" }, { "cost.row", "" },
        { "model.path=x", "" }, { "seed", "" }, { "--json", "" }, { "", "" }, { "=", "" }, { "respons=3", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sim_options o;
        struct err e;
        sim_options_init(&o);
        bool ok = sim_option(&o, cases[i].arg, &e);
        if (!cases[i].says) CHECK(ok, "%s: %s", cases[i].arg, e.text);
        else CHECK(!ok && (*cases[i].says ? strstr(e.text, cases[i].says) != NULL : !*e.text), "%s: \"%s\"",
                   cases[i].arg, e.text);
    }
}

static void applied(void **state)
{
    (void)state;
    struct sim_options o;
    struct workload w = { .prompts = 12, .mini_batch = 6, .all = 16, .max_response = 100, .max_prompt = 50,
                          .response_mean = 9, .prompt_mean = 5 }, scaled;
    struct cost_model m = { .row = 1, .pass = 2 };
    struct err e;
    sim_options_init(&o);
    static const char *const args[] = { "ranks=4,6,8", "response=70", "cost.row=3", "node=2", "scale=weak", "steps=9" };
    for (size_t i = 0; i < sizeof args / sizeof *args; i++) assert_true(sim_option(&o, args[i], &e));
    assert_true(sim_options_apply(&o, &w, &m, &e));
    CHECK(w.response_mean == 70 && w.prompt_mean == 5 && m.row == 3 && m.pass == 2 && m.node == 2 && sim_steps(&o) == 9,
          "values");
    assert_true(sim_scaled(&scaled, &o, &w, 6, &e) && scaled.prompts == 18 && scaled.mini_batch == 9);
    assert_false(sim_scaled(&scaled, &o, &w, 5, &e));
    CHECK(strstr(e.text, "multiples of the first"), "%s", e.text);
    w.prompts = 1 << 21;
    assert_false(sim_scaled(&scaled, &o, &w, 4, &e));
    CHECK(strstr(e.text, "more than can be simulated"), "%s", e.text);
    assert_true(sim_option(&o, "response=101", &e));
    assert_false(sim_options_apply(&o, &w, &m, &e));
    CHECK(strstr(e.text, "data.max_response_length=100"), "%s", e.text);
}

/* Tags of the figure open and close in pairs, and a name from a path cannot add any. */
static void well_formed(const char *svg)
{
    char open[16][24];
    int depth = 0;
    for (const char *p = strchr(svg, '<'); p; p = strchr(p + 1, '<')) {
        char name[24];
        bool ends = p[1] == '/';
        size_t n = strspn(p + 1 + ends, "abcdefghijklmnopqrstuvwxyz");
        const char *close = strchr(p, '>');
        CHECK(n > 0 && n < sizeof name && close, "a tag at %.20s", p);
        snprintf(name, sizeof name, "%.*s", (int)n, p + 1 + ends);
        if (ends) CHECK(depth > 0 && !strcmp(open[--depth], name), "</%s> closes nothing", name);
        else if (close[-1] != '/') {
            assert_true(depth < 16);
            memcpy(open[depth++], name, sizeof name);
        }
    }
    CHECK(depth == 0, "%d tags are open", depth);
}

static void output(void **state)
{
    (void)state;
    struct workload w = { .prompts = 8, .mini_batch = 4, .initial = 2, .all = 4, .branches = true, .every = 2 };
    struct cost_model m = { .row = 1e-5 };
    struct sim_result r[4];
    for (int i = 0; i < 4; i++)
        r[i] = (struct sim_result){ .ranks = i % 2 ? 8 : 2, .rule = sim_rule(i < 2 ? "order" : "steal"),
                                    .step = i % 2 ? 3 : 10, .idle = 0.1 * i, .generated = 900, .results = 100,
                                    .busy = { 4, 3, 2, 1, 0.5, 0.5 } };
    struct sim_report p = { .w = &w, .m = &m, .model = "a<b>&\"c\x01\xff", .source = "by count", .steps = 3, .r = r,
                            .n = 4 };
    CHECK_NEAR(sim_throughput(&r[1]), 1000 / 3.0, 1e-9, "throughput");
    CHECK_NEAR(sim_efficiency(&p, 1), (1000 / 3.0 / 8) / (100 / 2.0), 1e-9, "efficiency");
    CHECK_NEAR(sim_efficiency(&p, 2), 1, 0, "the first of a rule");
    for (int k = 0; k < 2; k++) {
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);
        if (k == 0) sim_svg(f, &p);
        else sim_table(f, &p);
        fclose(f);
        if (k == 0) {
            well_formed(text);
            CHECK(strstr(text, "a&lt;b>&amp;&quot;c??") && strstr(text, "prefers-color-scheme: dark") &&
                  !strstr(text, "script") && !strstr(text, "nan") && !strstr(text, "inf"), "%.200s", text);
        } else {
            CHECK(strstr(text, "rule order:") && strstr(text, "rule steal:") && strstr(text, "     8       3"), "%s",
                  text);
            for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
                CHECK(strlen(line) <= 100, "a line of %zu columns: %s", strlen(line), line);
        }
        free(text);
    }
    r[0].ranks = r[2].ranks = 8;                         /* one number of ranks: no range */
    p.n = 1;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    sim_svg(f, &p);
    fclose(f);
    well_formed(text);
    CHECK(!strstr(text, "nan") && !strstr(text, "inf"), "%.300s", text);
    free(text);
    p.n = 4;
    json_t *o = sim_json(&p), *results = json_object_get(o, "results");
    assert_int_equal(json_array_size(results), 4);
    json_t *last = json_array_get(results, 3);
    CHECK_NEAR(json_number_value(json_object_get(last, "step_s")), 3, 0, "step");
    CHECK_NEAR(json_number_value(json_object_get(json_object_get(last, "share"), "gen")), 4 / 24.0, 1e-12, "share");
    CHECK_NEAR(json_number_value(json_object_get(json_object_get(o, "cost"), "row")), 1e-5, 0, "constants");
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(arguments), cmocka_unit_test(applied),
                                        cmocka_unit_test(output) };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
