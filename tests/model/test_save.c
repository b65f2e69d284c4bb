/* test_save.c: models written and read again: shards and their index, bf16, files that are kept, and paths that cannot
 * be written. */
#include "model/load.h"
#include "model/save.h"
#include "model/weights/safetensors_write.h"
#include "model/model.h"
#include "model/weights/safetensors.h"
#include "base/dir.h"
#include "base/file.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char source[] = "tests/golden/rope/yarn";

static double bf16(double x)
{
    union { float f; uint32_t u; } v = { (float)x };
    v.u = (v.u + 0x7fff + (v.u >> 16 & 1)) & 0xffff0000;
    return (double)v.f;
}

/* got's weights are want's, rounded to bf16 if said; also the parts between tensors are 0. */
static void same_weights(const struct model *got, const struct model *want, bool rounded, const char *name)
{
    acc_t *x = xmalloc((size_t)got->count * sizeof *x), *y = xmalloc((size_t)want->count * sizeof *y);
    int64_t at = 0;
    assert_true(got->count == want->count && got->params == want->params);
    model_get(x, got->w, got->count);
    model_get(y, want->w, want->count);
    for (int i = 0; i < got->params; i++) {
        const struct param *p = &got->param[i];
        for (; at < p->at; at++) CHECK_NEAR(x[at], 0, 0, "%s: before %s", name, p->name);
        for (; at < p->at + param_count(p); at++) {
            double w = rounded ? bf16((double)y[at]) : (double)y[at];
            CHECK_NEAR(x[at], w, 0, "%s: %s, number %lld", name, p->name, (long long)(at - p->at));
        }
    }
    free(x);
    free(y);
}

static int64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

static void shards(void **state)
{
    (void)state;
    static const struct { const char *name; struct save_rule rule; int files; } cases[] = {
        { "one", { false, 0 }, 1 }, { "bf16", { true, 0 }, 1 }, { "some", { true, 4000 }, 0 },
        { "each", { false, 1 }, 0 }, { "large", { false, 1ll << 40 }, 1 },
    };
    struct model m, back;
    struct err e = { "" };
    CHECK(model_load(&m, source, &e), "%s", e.text);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char path[256];
        snprintf(path, sizeof path, "%s", in_dir(cases[k].name));
        CHECK(model_save_as(&m, path, &cases[k].rule, &e), "%s", e.text);
        struct st_file *f = st_open(path, &e);
        CHECK(f, "%s", e.text);
        assert_int_equal(st_count(f), m.params);
        for (int i = 0; i < m.params; i++)
            assert_true(st_at(f, i)->dtype == (cases[k].rule.bf16 ? ST_BF16 : sizeof(acc_t) == 8 ? ST_F64 : ST_F32));
        st_close(f);
        struct str index = { 0 };
        str_printf(&index, "%s/model.safetensors.index.json", path);
        CHECK(file_exists(index.p) == (cases[k].files != 1), "%s", cases[k].name);
        if (cases[k].files != 1) {
            json_t *j = json_load_file(index.p, 0, NULL), *map = json_object_get(j, "weight_map"), *v;
            const char *key;
            int64_t total = json_integer_value(json_object_get(json_object_get(j, "metadata"), "total_size")),
                    each = cases[k].rule.bf16 ? 2 : (int64_t)sizeof(acc_t), want = 0;
            assert_int_equal(json_object_size(map), m.params);
            for (int i = 0; i < m.params; i++) want += param_count(&m.param[i]) * each;
            assert_int_equal(total, want);
            json_object_foreach(map, key, v) {
                char shard[512];
                snprintf(shard, sizeof shard, "%s/%s", path, json_string_value(v));
                CHECK(file_size(shard) > 0 && (cases[k].rule.max_shard < 1000 || file_size(shard) < 4000 + 4096),
                      "%s: %lld bytes", shard, (long long)file_size(shard));
            }
            if (cases[k].rule.max_shard == 1) {
                char last[64];
                snprintf(last, sizeof last, "model-%05d-of-%05d.safetensors", m.params, m.params);
                assert_string_equal(json_string_value(json_object_get(map, m.param[m.params - 1].name)), last);
            }
            json_decref(j);
        }
        str_free(&index);
        CHECK(model_load(&back, path, &e), "%s", e.text);
        same_weights(&back, &m, cases[k].rule.bf16, cases[k].name);
        model_free(&back);
    }
    model_free(&m);
}

/* generation_config.json: made where there is none, the maker's own kept. */
static void generation(void **state)
{
    (void)state;
    static const char own[] = "{\"temperature\": 0.7}\n";
    struct model m;
    struct err e = { "" };
    struct str s = { 0 };
    CHECK(model_load(&m, source, &e), "%s", e.text);
    for (int n = 0; n <= 2; n++) {
        m.c.n_eos = n;
        m.c.eos[0] = 3;
        m.c.eos[1] = 5;
        m.c.bos = n - 1;
        remove(in_dir("g/generation_config.json"));
        CHECK(model_save(&m, in_dir("g"), &e), "%s", e.text);
        json_t *j = json_load_file(in_dir("g/generation_config.json"), 0, NULL), *eos = json_object_get(j, "eos_token_"
                                                                                                           "id");
        assert_non_null(j);
        assert_true(n == 0   ? json_is_null(eos)
                    : n == 1 ? json_integer_value(eos) == 3
                             : json_array_size(eos) == 2 && json_integer_value(json_array_get(eos, 1)) == 5);
        assert_true(n == 0 ? !json_object_get(j, "bos_token_id")
                           : json_integer_value(json_object_get(j, "bos_token_id")) == n - 1);
        json_decref(j);
    }
    assert_true(file_write(in_dir("g/generation_config.json"), own, sizeof own - 1, &e));
    assert_true(model_save(&m, in_dir("g"), &e) && file_read(in_dir("g/generation_config.json"), 1000, &s, &e));
    assert_string_equal(s.p, own);
    str_free(&s);
    model_free(&m);
}

/* Half-precision and other types in, as another program would write them. */
static void other_types(void **state)
{
    (void)state;
    static const enum st_dtype types[] = { ST_F16, ST_BF16, ST_F32, ST_F64 };
    struct model m, back;
    struct err e = { "" };
    CHECK(model_load(&m, source, &e), "%s", e.text);
    acc_t *all = xmalloc((size_t)m.count * sizeof *all);
    model_get(all, m.w, m.count);
    /* exact in all four but where float16 is subnormal */
    for (int64_t i = 0; i < m.count; i++) all[i] = (acc_t)bf16((double)all[i] * 0x1p-2);
    for (int64_t i = 0; i < m.count; i++) if (fabs((double)all[i]) < 0x1p-14) all[i] = 0;
    model_put(m.w, all, m.count);
    assert_true(dir_make(in_dir("t"), &e) && model_config_write(&m.c, "float16", in_dir("t/config.json"), &e));
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        struct st_writer *w = st_create(in_dir("t/model.safetensors"), &e);
        for (int i = 0; i < m.params; i++)
            st_declare(w, m.param[i].name, types[k], m.param[i].cols ? 2 : 1,
                       (int64_t[]){ m.param[i].rows, m.param[i].cols });
        for (int i = 0; i < m.params; i++)
            for (int64_t j = 0; j < param_count(&m.param[i]); j++) {
                double x = (double)all[m.param[i].at + j];
                st_put_f64(w, &x, 1);
            }
        CHECK(st_finish(w, &e), "%s", e.text);
        CHECK(model_load(&back, in_dir("t"), &e), "%s", e.text);
        same_weights(&back, &m, false, "types");
        model_free(&back);
    }
    free(all);
    model_free(&m);
}

static void rejected(void **state)
{
    (void)state;
    struct model m, back;
    struct err e = { "" };
    CHECK(model_load(&m, source, &e), "%s", e.text);
    assert_true(file_write(in_dir("file"), "x", 1, &e));
    assert_false(model_save(&m, in_dir("file"), &e));
    CHECK(strstr(e.text, "/file"), "%s", e.text);
    char shard[64];
    snprintf(shard, sizeof shard, "r/model-00002-of-%05d.safetensors", m.params);
    assert_true(model_save_as(&m, in_dir("r"), &(struct save_rule){ true, 1 }, &e));
    assert_int_equal(remove(in_dir(shard)), 0);
    assert_false(model_load(&back, in_dir("r"), &e));
    CHECK(strstr(e.text, shard), "%s", e.text);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(shards), cmocka_unit_test(generation),
                                        cmocka_unit_test(other_types), cmocka_unit_test(rejected) };
    return cmocka_run_group_tests_name("save", tests, make_dir, drop_dir);
}
