/* test_evaluate.c: shares, means and intervals of an evaluation, from counts whose intervals have been published. */
#include "engine/run/evaluate.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

/* Newcombe 1998, Statistics in Medicine 17, table I, method 3 (Wilson's score without continuity correction). */
static const struct { int part, n; double low, high; } published[] = {
    { 81, 263, 0.2553, 0.3662 }, { 15, 148, 0.0624, 0.1605 }, { 0, 20, 0, 0.1611 }, { 1, 29, 0.0061, 0.1718 },
};

static void is_interval(const json_t *o, const char *name, double low, double high)
{
    const json_t *v = json_object_get(o, name);
    CHECK_NEAR(json_number_value(json_array_get(v, 0)), low, 5e-5, "%s, low", name);
    CHECK_NEAR(json_number_value(json_array_get(v, 1)), high, 5e-5, "%s, high", name);
}

static void intervals(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof published / sizeof *published; k++) {
        struct eval_result r = { 0 };
        /* four samples a question: questions are the trials */
        r.all = (struct eval_source){ .n = 4 * published[k].n, .correct = 4 * published[k].part,
            .greedy_n = published[k].n, .greedy_correct = published[k].n - published[k].part };
        json_t *o = eval_json(&r), *all = json_object_get(o, "overall");
        is_interval(all, "success_95", published[k].low, published[k].high);
        is_interval(all, "greedy_95", 1 - published[k].high, 1 - published[k].low);
        json_decref(o);
    }
    struct eval_result none = { 0 };
    json_t *o = eval_json(&none);
    is_interval(json_object_get(o, "overall"), "success_95", 0, 1);
    json_decref(o);
}

/* Two sources of 148 and 263 questions, two samples each. */
static struct eval_result some(void)
{
    struct eval_result r = { .sources = 2, .wall_s = 2.5 };
    r.source[0] = (struct eval_source){ .name = "a", .n = 296, .correct = 30, .well_formed = 148, .greedy_n = 148,
        .greedy_correct = 37, .calls = 592, .length = 2960, .reward = -74 };
    r.source[1] = (struct eval_source){ .name = "b", .n = 526, .correct = 162, .well_formed = 526, .greedy_n = 263,
        .greedy_correct = 0, .calls = 0, .length = 5260, .reward = 263 };
    r.all = (struct eval_source){ .n = 822, .correct = 192, .well_formed = 674, .greedy_n = 411, .greedy_correct = 37,
        .calls = 592, .length = 8220, .reward = 189 };
    return r;
}

static void metrics_of_sources(void **state)
{
    (void)state;
    static const struct { const char *name; double want; } want[] = {
        { "val-core/a/acc/mean@2", 30.0 / 296 }, { "val-core/b/acc/mean@2", 162.0 / 526 },
        { "val-core/all/acc/mean@2", 192.0 / 822 }, { "val-aux/all/greedy/mean@1", 37.0 / 411 },
        { "val-aux/all/format/mean@1", 674.0 / 822 }, { "val-aux/all/reward/mean@2", 189.0 / 822 },
        { "val-aux/num_turns/mean", 592.0 / 822 },
    };
    struct eval_result r = some();
    struct metrics m = { 0 };
    eval_metrics(&r, &m);
    assert_int_equal(m.n, sizeof want / sizeof *want);
    for (int k = 0; k < m.n; k++) CHECK_NEAR(metrics_get(&m, want[k].name), want[k].want, 1e-12, "%s", want[k].name);
    metrics_free(&m);
}

static void is_row(const struct eval_source *a, const struct eval_source *b)
{
    CHECK(a->n == b->n && a->correct == b->correct && a->well_formed == b->well_formed && a->greedy_n == b->greedy_n &&
        a->greedy_correct == b->greedy_correct, "%s: counts", b->name);
    CHECK_NEAR(a->calls, b->calls, 1e-9, "%s: calls", b->name);
    CHECK_NEAR(a->length, b->length, 1e-9, "%s: length", b->name);
    CHECK_NEAR(a->reward, b->reward, 1e-9, "%s: reward", b->name);
}

static void json_reads_back(void **state)
{
    (void)state;
    struct eval_result r = some(), again;
    json_t *o = eval_json(&r), *a = json_object_get(json_object_get(o, "families"), "a");
    static const struct { const char *name; double want; } want[] = { { "n", 296 }, { "success", 30.0 / 296 },
        { "greedy", 0.25 }, { "format", 0.5 }, { "calls", 2 }, { "length", 10 }, { "reward", -0.25 } };
    for (size_t k = 0; k < sizeof want / sizeof *want; k++)
        CHECK_NEAR(json_number_value(json_object_get(a, want[k].name)), want[k].want, 1e-12, "%s", want[k].name);
    CHECK_NEAR(json_number_value(json_object_get(o, "success")), 192.0 / 822, 1e-12, "success");
    CHECK_NEAR(json_number_value(json_object_get(o, "greedy")), 37.0 / 411, 1e-12, "greedy");
    assert_true(eval_parse(&again, o));
    assert_int_equal(again.sources, 2);
    is_row(&again.all, &r.all);
    for (int k = 0; k < 2; k++) {
        assert_string_equal(again.source[k].name, r.source[k].name);
        is_row(&again.source[k], &r.source[k]);
    }
    CHECK_NEAR(again.wall_s, 2.5, 0, "wall_s");
    json_decref(o);
}

static void table(void **state)
{
    (void)state;
    static const char *const alone[] = { "a 10.1 (6.2-16.0) 25.0 (18.7-32.5) 2.00 10.0", "b 30.8 (25.5-36.6) 0.0 "
                                                                                         "(0.0-1.4) 0.00 10.0" };
    static const char both[] = "a 10.1 -> 30.4 25.0 -> 25.0 2.00 -> 2.00 10.0 -> 10.0";
    struct eval_result r = some(), later = some();
    later.source[0].correct = 90;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    eval_table(&r, NULL, f);
    eval_table(&r, &later, f);
    fclose(f);
    int found = 0, line = 0;
    for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n"), line++) {
        char words[256] = "";
        size_t k = 0;
        for (const char *q = p; *q && k < 250; q++) if (*q != ' ' || (k && words[k - 1] != ' ')) words[k++] = *q;
        while (k && words[k - 1] == ' ') k--;
        words[k] = 0;
        if (line < 4) for (int i = 0; i < 2; i++) found += !strcmp(words, alone[i]);
        else found += !strcmp(words, both);
    }
    CHECK(line == 8 && found == 3, "%d lines, %d as they should be", line, found);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(intervals), cmocka_unit_test(metrics_of_sources),
        cmocka_unit_test(json_reads_back), cmocka_unit_test(table) };
    return cmocka_run_group_tests_name("evaluate", tests, NULL, NULL);
}
