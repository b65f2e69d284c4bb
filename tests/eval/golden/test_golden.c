/* test_golden.c: the official implementation's numbers pass; a changed number, a missing field and wrong shapes
 * fail. */
#include "base/file.h"
#include "eval/golden/golden.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *file;
    bool (*run)(const json_t *, struct golden_tally *, struct err *);
    int cases, skipped;
} files[] = {
    { "branch_select", golden_branch_select, 29, 0 },
    { "advantage", golden_advantage, 31, 0 },
    { "grpo_family", golden_grpo_family, 98, 14 },
    { "policy_loss", golden_policy_loss, 60, 0 },
};
enum { FILES = sizeof files / sizeof *files };

/* Discards the output of failing cases. */
static int quiet(FILE *f)
{
    fflush(f);
    int old = dup(fileno(f));
    assert_non_null(freopen("/dev/null", "w", f));
    return old;
}
static void loud(FILE *f, int old)
{
    fflush(f);
    dup2(old, fileno(f));
    close(old);
}

static int main_quietly(const char *dir)
{
    int out = quiet(stdout), err = quiet(stderr), status = golden_main(dir);
    loud(stdout, out);
    loud(stderr, err);
    return status;
}

static json_t *load(int k)
{
    char path[64];
    snprintf(path, sizeof path, "tests/golden/%s.json", files[k].file);
    struct str bytes = { 0 };
    struct err e;
    if (!file_read(path, 16 << 20, &bytes, &e)) { print_error("%s\n", e.text); abort(); }
    json_t *root = json_loadb(bytes.p, bytes.n, 0, NULL);
    str_free(&bytes);
    assert_non_null(root);
    return root;
}

static void official_numbers(void **state)
{
    (void)state;
    for (int k = 0; k < FILES; k++) {
        struct golden_tally t = { 0 };
        struct err e = { "" };
        json_t *root = load(k);
        CHECK(files[k].run(root, &t, &e), "%s: %s", files[k].file, e.text);
        CHECK(t.passed == files[k].cases && t.failed == 0, "%s: %d passed, %d failed", files[k].file, t.passed,
              t.failed);
        CHECK(t.skipped == files[k].skipped, "%s: %d skipped", files[k].file, t.skipped);
        CHECK(t.worst > 0 && t.worst < 0.6, "%s: worst %g of the allowed error", files[k].file, t.worst);
        print_message("%s: %d cases, worst %.2g of the allowed error (%s)\n", files[k].file, t.passed, t.worst,
                      t.worst_case);
        json_decref(root);
    }
}

/* The value at a path such as "cases/2/selected/row/0", and its holder. */
static json_t *find(json_t *root, const char *path, json_t **holder, char *last, size_t size)
{
    char copy[128];
    snprintf(copy, sizeof copy, "%s", path);
    json_t *j = root;
    *holder = NULL;
    char *save = NULL;
    for (char *part = strtok_r(copy, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        *holder = j;
        snprintf(last, size, "%s", part);
        j = json_is_array(j) ? json_array_get(j, (size_t)atoi(part)) : json_object_get(j, part);
    }
    return j;
}

static const struct { int file; const char *path; } numbers[] = {
    { 0, "cases/0/F/3" }, { 0, "cases/0/BS/0" }, { 0, "cases/3/selected/row/1" }, { 0, "cases/3/selected/idx/0" },
    { 0, "cases/3/selected/remaining/2" }, { 0, "cases/3/selected/prefix_len/0" }, { 0, "cases/3/selected/score/0" },
    { 0, "cases/1/prompt_order/0" }, { 0, "cases/1/n_strict/0" }, { 0, "cases/1/n_candidates/1" },
    { 1, "cases/0/base_adv/1" }, { 1, "cases/0/advantages/0" }, { 1, "cases/0/scaled_rewards/0" },
    { 2, "cases/0/advantages/0" }, { 2, "cases/20/returns/1" }, { 3, "future_kl/0/loss" }, { 3, "future_kl/0/grad/1" },
    { 3, "future_kl/0/influence/0" }, { 3, "future_kl/0/rows_kept/0" }, { 3, "future_kl/0/metrics/iw_mean" },
    { 3, "future_kl/0/metrics/iw_clip_upper" }, { 3, "future_kl/0/metrics/ppo_kl" }, { 3, "dual_clip/0/loss" },
    { 3, "dual_clip/0/metrics/clipfrac_lower" }, { 3, "kl_penalty/0/kld/0" }, { 3, "kl_penalty/0/dkld/0" },
    { 3, "kl_penalty/0/grad/0" },
};

static void a_changed_number_fails(void **state)
{
    (void)state;
    json_t *root[FILES];
    for (int k = 0; k < FILES; k++) root[k] = load(k);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int k = numbers[i].file;
        json_t *holder;
        char last[32];
        json_t *j = find(root[k], numbers[i].path, &holder, last, sizeof last);
        CHECK(json_is_number(j), "%s: %s is a number", files[k].file, numbers[i].path);
        bool elem_t = json_is_real(j), flag = strstr(numbers[i].path, "rows_kept") != NULL;
        json_t *other = flag     ? json_integer(1 - json_integer_value(j))
                        : elem_t ? json_real(json_real_value(j) + 0.01)
                                 : json_integer(json_integer_value(j) + 1);
        json_incref(j);
        if (json_is_array(holder)) json_array_set(holder, (size_t)atoi(last), other);
        else json_object_set(holder, last, other);
        struct golden_tally t = { 0 };
        struct err e = { "" };
        int err = quiet(stderr);
        bool read = files[k].run(root[k], &t, &e);
        loud(stderr, err);
        CHECK(read, "%s: %s", files[k].file, e.text);
        CHECK(t.failed == 1 && t.passed == files[k].cases - 1 && t.worst > 1, "%s with another %s: %d failed",
              files[k].file, numbers[i].path, t.failed);
        if (json_is_array(holder)) json_array_set_new(holder, (size_t)atoi(last), j);
        else json_object_set_new(holder, last, j);
        json_decref(other);
    }
    for (int k = 0; k < FILES; k++) json_decref(root[k]);
}

static const struct { int file; const char *path, *with, *says; } broken[] = {
    { 0, "cases/1/K", NULL, "field \"K\" is missing" }, { 0, "cases/1/name", NULL, NULL },
    { 0, "cases/1/entropy", NULL, "field \"entropy\" is missing" },
    { 0, "cases/1/entropy", "[1,2]", "field \"entropy\" does not have as many" },
    { 0, "cases/1/rows", "-1", "field \"rows\" is out of range" },
    { 0, "cases/1/L", "99999999999", "field \"L\" is not a whole number" },
    { 0, "cases/1/L", "1000000", "does not have as many" },
    { 0, "cases/1/loss_mask/3", "2", "field \"loss_mask\" holds something other than 0 and 1" },
    { 0, "cases/1/uid/0", "\"x\"", "field \"uid\" holds something that is not a number" },
    { 0, "cases/1/selected", "3", "field \"selected.row\" is missing" },
    { 0, "cases/1/responses/0", "2000000000", "out of range" },
    { 0, "cases/1/responses/0", "2147483647", "out of range" }, { 0, "cases", "{}", "no array \"cases\"" },
    { 0, "cases", "[]", "no array \"cases\"" }, { 0, "cases/0", "7", "is missing" },
    { 1, "cases/0/metas/1/idx", NULL, "field \"idx\" is missing" },
    { 1, "cases/0/metas", "{}", "field \"metas\" is not an array" }, { 1, "cases/0/kind/0", "3", "field \"kind\"" },
    { 2, "cases/0/estimator", "\"sarsa\"", "no estimator is called \"sarsa\"" },
    { 2, "cases/0/group", "null", "field \"group\" is not an array" },
    { 3, "future_kl/2/config/agg", "\"mean\"", "no aggregation is called \"mean\"" },
    { 3, "kl_penalty/1/type", "\"k9\"", "no KL estimate is called \"k9\"" },
    { 3, "dual_clip", NULL, "no array \"dual_clip\"" },
    { 3, "future_kl/0/metrics/iw_min", NULL, "field \"metrics.iw_min\" is missing" },
};

static void ill_formed_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        json_t *root = load(broken[i].file), *holder;
        char last[32];
        CHECK(find(root, broken[i].path, &holder, last, sizeof last), "%s exists", broken[i].path);
        json_t *with = broken[i].with ? json_loads(broken[i].with, JSON_DECODE_ANY, NULL) : NULL;
        if (!with) json_object_del(holder, last);
        else if (json_is_array(holder)) json_array_set_new(holder, (size_t)atoi(last), with);
        else json_object_set_new(holder, last, with);
        struct golden_tally t = { 0 };
        struct err e = { "" };
        int err = quiet(stderr);
        bool read = files[broken[i].file].run(root, &t, &e);
        loud(stderr, err);
        CHECK(read == !broken[i].says, "%s = %s: read", broken[i].path, broken[i].with ? broken[i].with : "(gone)");
        if (!read)
            CHECK(strstr(e.text, broken[i].says), "%s = %s: says '%s'", broken[i].path,
                  broken[i].with ? broken[i].with : "(gone)", e.text);
        json_decref(root);
    }
}

static void folders(void **state)
{
    (void)state;
    char dir[] = "/tmp/appo-golden-XXXXXX", path[64];
    struct err e;
    assert_int_equal(main_quietly("tests/golden"), 0);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(main_quietly(dir), 1);                          /* nothing in it */
    assert_int_equal(main_quietly("/nonexistent/folder"), 1);
    snprintf(path, sizeof path, "%s/advantage.json", dir);
    assert_true(file_write(path, "{\"cases\": [", 11, &e));
    assert_int_equal(main_quietly(dir), 1);                          /* cut in the middle */
    assert_true(file_write(path, "{\"cases\": [{}]}", 15, &e));
    assert_int_equal(main_quietly(dir), 1);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(official_numbers), cmocka_unit_test(a_changed_number_fails),
        cmocka_unit_test(ill_formed_files), cmocka_unit_test(folders),
    };
    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
