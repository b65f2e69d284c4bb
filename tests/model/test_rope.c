/* test_rope.c: scaled rotary positions against transformers (tests/golden/rope/make_rope.py): frequencies of real
 * settings, logits and gradients of tiny models; settings in config.json that are read and that are rejected; and that
 * every scaling changes the numbers, so that none is silently left out. */
#include "model/head.h"
#include "model/load.h"
#include "model/forward.h"
#include "model/save.h"
#include "model/backward.h"
#include "model/model.h"
#include "model/weights/safetensors.h"
#include "base/file.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEN = 72 };
/* float32 rounds a frequency by 6e-8; torch takes a power and up to five more such steps, and rounds theta^x by a few
 * units */
static const double freq_allowed = 1e-6;
static const double near_allowed = sizeof(elem_t) == 2 ? 0.2 : 1e-4;

static void frequencies(void **state)
{
    (void)state;
    json_error_t why;
    json_t *all = json_load_file("tests/golden/rope/freq.json", 0, &why), *x;
    CHECK(all && json_array_size(all) == 7, "tests/golden/rope/freq.json: %s", why.text);
    size_t k;
    double worst = 0;
    json_array_foreach(all, k, x) {
        struct rope r;
        struct err e = { "" };
        double theta = json_number_value(json_object_get(x, "rope_theta")), freq[64];
        int hd = (int)json_integer_value(json_object_get(x, "head_dim"));
        json_t *want = json_object_get(x, "freq");
        assert_int_equal(json_array_size(want), hd / 2);
        CHECK(rope_read(&r, &theta, json_object_get(x, "rope"), "freq.json", "rope", 131072, &e), "case %zu: %s", k,
              e.text);
        rope_freq(freq, &r, theta, hd);
        for (int j = 0; j < hd / 2; j++) {
            double w = json_number_value(json_array_get(want, (size_t)j));
            CHECK_NEAR(freq[j], w, freq_allowed * w, "case %zu: frequency %d", k, j);
            worst = fmax(worst, fabs(freq[j] / w - 1));
        }
        double a = json_number_value(json_object_get(x, "attention"));
        CHECK_NEAR(rope_logit_scale(&r), a * a, 1e-14, "case %zu: attention factor", k);
    }
    print_message("frequencies off by at most %.1e\n", worst);
    json_decref(all);
}

static double *values(const struct st_file *f, const char *name, int64_t count)
{
    const struct st_tensor *t = st_find(f, name);
    double *x = xmalloc((size_t)count * sizeof *x);
    CHECK(t && t->count == count && st_get_f64(t, 0, count, x), "no %lld numbers %s", (long long)count, name);
    return x;
}

static void *put(struct arena *a, const void *host, size_t bytes)
{
    void *p = arena_get(a, bytes, "numbers");
    dev_put(p, host, bytes);
    return p;
}

/* Mean of -logp over LEN tokens: logits[LEN][vocab] and gradients[count] on the host. */
static void run(const struct model *m, const int *ids, acc_t *logits, acc_t *gradient)
{
    struct arena a;
    struct acts acts;
    int pos[LEN], end[LEN], vocab = m->c.vocab;
    int64_t ld = vocab_ld(m);
    acc_t coef[LEN];
    for (int i = 0; i < LEN; i++) { pos[i] = i; end[i] = LEN; coef[i] = (acc_t)(-1.0 / LEN); }
    arena_make(&a, "rope", 4 << 20);
    acts_make(&acts, m, LEN, RECOMPUTE_FULL, true, &a);
    struct attn_plan *plan = attn_plan_make(end, LEN);
    struct batch b = {
        .n = LEN, .ids = put(&a, ids, LEN * sizeof *ids), .pos = put(&a, pos, sizeof pos), .plan = plan
    };
    int *tgt = put(&a, ids + 1, LEN * sizeof *ids);
    elem_t *x = arena_get(&a, (size_t)(LEN * ld) * sizeof *x, "logits"),
           *in = arena_get(&a, (size_t)(LEN * m->c.dim) * sizeof *in, "in"),
           *dx = arena_get(&a, (size_t)(LEN * m->c.dim) * sizeof *dx, "dx");
    acc_t *lse = put(&a, coef, sizeof coef), *logp = put(&a, coef, sizeof coef), *ent = put(&a, coef, sizeof coef),
          *g = put(&a, coef, sizeof coef);
    acc_t *grad = arena_get(&a, (size_t)m->count * sizeof *grad, "gradient"),
          *padded = xmalloc((size_t)(LEN * ld) * sizeof *padded);
    dev_zero(grad, (size_t)m->count * sizeof *grad);
    model_forward(m, &acts, &b, NULL);
    head_forward(m, x, in, acts.hidden, NULL, LEN);
    model_get(padded, x, LEN * ld);
    for (int i = 0; i < LEN; i++) memcpy(logits + i * vocab, padded + i * ld, (size_t)vocab * sizeof *logits);
    op_row_stats((struct row_stats_args){
        .lse = lse, .logp = logp, .ent = ent, .x = x, .inv_temp = 1, .tgt = tgt, .n = LEN, .vocab = vocab, .ld = ld });
    op_dlogits((struct dlogits_args){
        .x = x, .lse = lse, .ent = ent, .g = g, .inv_temp = 1, .tgt = tgt, .n = LEN, .vocab = vocab, .ld = ld });
    head_back(m, dx, x, in, LEN, grad);
    model_backward(m, &acts, &b, dx, grad);
    dev_get(gradient, grad, (size_t)m->count * sizeof *gradient);
    free(padded);
    attn_plan_free(plan);
    acts_free(&acts);
    arena_free(&a);
}

static double distance(const acc_t *got, const double *want, int64_t n)
{
    double diff = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        diff += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return sqrt(diff / norm);
}

static double off_logits(const acc_t *got, const double *want, int64_t n)
{
    double off = 0, scale = 0;
    for (int64_t i = 0; i < n; i++) {
        off = fmax(off, fabs((double)got[i] - want[i]));
        scale = fmax(scale, fabs(want[i]));
    }
    return off / scale;
}

static void models(void **state)
{
    (void)state;
    static const struct { const char *name; enum rope_kind kind; } cases[] = {
        { "linear", ROPE_LINEAR }, { "llama3", ROPE_LLAMA3 }, { "yarn", ROPE_YARN }, { "yarn_norm", ROPE_YARN },
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct model m, plain;
        struct err e = { "" };
        char path[128];
        int ids[LEN + 1];
        double worst = 0;
        snprintf(path, sizeof path, "tests/golden/rope/%s", cases[k].name);
        CHECK(model_load(&m, path, &e), "%s", e.text);
        assert_int_equal(m.c.rope.kind, cases[k].kind);
        snprintf(path, sizeof path, "tests/golden/rope/%s/expected.safetensors", cases[k].name);
        struct st_file *f = st_open(path, &e);
        CHECK(f, "%s", e.text);
        int64_t n = (int64_t)LEN * m.c.vocab;
        double *from = values(f, "ids", LEN + 1), *want = values(f, "logits", n);
        for (int i = 0; i <= LEN; i++) ids[i] = (int)from[i];
        acc_t *logits = xmalloc((size_t)n * sizeof *logits), *grad = xmalloc((size_t)m.count * sizeof *grad);
        run(&m, ids, logits, grad);
        double off = off_logits(logits, want, n);
        CHECK_NEAR(off, 0, near_allowed, "%s: logits by their scale", cases[k].name);
        for (int i = 0; i < m.params; i++) {
            char name[128];
            snprintf(name, sizeof name, "grad.%s", m.param[i].name);
            double *w = values(f, name, param_count(&m.param[i])),
                   d = distance(grad + m.param[i].at, w, param_count(&m.param[i]));
            CHECK_NEAR(d, 0, near_allowed, "%s: %s", cases[k].name, name);
            worst = fmax(worst, d);
            free(w);
        }
        struct model_config c = m.c;                    /* the same weights without scaling are another model */
        c.rope = (struct rope){ 0 };
        model_make(&plain, &c);
        dev_copy(plain.w, m.w, (size_t)m.count * sizeof *m.w);
        run(&plain, ids, logits, grad);
        double unscaled = off_logits(logits, want, n);
        CHECK(unscaled > 0.05, "%s: logits without scaling are off by %g only", cases[k].name, unscaled);
        print_message("%-10s off by: logits %.1e, gradient %.1e; without scaling logits %.1e\n", cases[k].name, off,
                      worst, unscaled);
        free(from);
        free(want);
        free(logits);
        free(grad);
        st_close(f);
        model_free(&plain);
        model_free(&m);
    }
}

static const struct { const char *json, *says; } readings[] = {
    { "{}", NULL }, { "{\"rope_type\":\"default\",\"rope_theta\":5.5}", NULL }, { "{\"type\":null}", NULL },
    { "{\"type\":\"linear\",\"factor\":2}", NULL },
    { "{\"type\":\"linear\",\"rope_type\":\"linear\",\"factor\":2}", NULL },
    { "{\"rope_type\":\"llama3\",\"factor\":32.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
      "\"original_max_position_embeddings\":8192}",
      NULL },
    { "{\"rope_type\":\"llama3\",\"factor\":32.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0}", NULL },
    { "{\"type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32768}", NULL },
    { "{\"type\":\"yarn\",\"factor\":4,\"truncate\":false}", NULL },
    { "{\"type\":\"yarn\",\"factor\":4,\"attention_factor\":null,\"mscale\":1,\"mscale_all_dim\":0.5,\"beta_fast\":64,"
      "\"beta_slow\":0.1}",
      NULL },
    { "{\"type\":\"linear\"}", "no factor" }, { "{\"type\":\"linear\",\"factor\":0.5}", "factor" },
    { "{\"type\":\"linear\",\"factor\":\"2\"}", "factor" }, { "{\"type\":\"linear\",\"factor\":1e300}", "factor" },
    { "{\"type\":\"linear\",\"rope_type\":\"yarn\",\"factor\":2}", "contradict each other" },
    { "{\"type\":\"dynamic\",\"factor\":2}", "dynamic is not implemented" },
    { "{\"rope_type\":\"longrope\"}", "longrope" }, { "{\"rope_type\":3}", "rope_type" },
    { "{\"type\":\"linear\",\"factor\":2,\"beta_fast\":32}", "beta_fast" },
    { "{\"factor\":2}", "factor: not understood" },
    { "{\"rope_type\":\"default\",\"mrope_section\":[16,24,24]}", "mrope_section" },
    { "{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}", "partial_rotary_factor" },
    { "{\"full_attention\":{\"rope_type\":\"default\"}}", "full_attention" }, { "{\"rope_theta\":0}", "rope_theta" },
    { "{\"rope_type\":\"llama3\",\"factor\":8,\"high_freq_factor\":4}", "no low_freq_factor" },
    { "{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4}", "no high" },
    { "{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4}",
      "high_freq_factor must be above" },
    { "{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
      "\"original_max_position_embeddings\":8192.5}",
      "whole number" },
    { "{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
      "\"original_max_position_embeddings\":0}",
      "original_max" },
    { "{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":1,\"beta_slow\":32}", "beta_fast must be above" },
    { "{\"type\":\"yarn\",\"factor\":4,\"truncate\":0}", "truncate" },
    { "{\"type\":\"yarn\",\"factor\":4,\"attention_factor\":-1}", "attention_factor" },
    { "{\"type\":\"yarn\",\"factor\":4,\"finetuned\":true}", "finetuned" },
};

static void same_rope(const struct rope *got, const struct rope *want, const char *name)
{
    CHECK(got->kind == want->kind && got->original == want->original && got->exact == want->exact, "%s", name);
    CHECK_NEAR(got->factor, want->factor, 0, "%s: factor", name);
    CHECK_NEAR(got->low, want->low, 0, "%s: low", name);
    CHECK_NEAR(got->high, want->high, 0, "%s: high", name);
    CHECK_NEAR(got->attention, want->attention, 0, "%s: attention factor", name);
}

/* What is read can be written and read again, unchanged to the last bit. */
static void read_write(void **state)
{
    (void)state;
    struct str s = { 0 };
    for (size_t i = 0; i < sizeof readings / sizeof *readings; i++) {
        struct err e = { "" };
        struct rope r, back;
        double theta = 10000;
        json_t *j = json_loads(readings[i].json, 0, NULL);
        assert_non_null(j);
        bool ok = rope_read(&r, &theta, j, "cfg", "rope_scaling", 4096, &e);
        json_decref(j);
        CHECK(ok == !readings[i].says, "%s: %s", readings[i].json, e.text);
        if (!ok)
            CHECK(strstr(e.text, readings[i].says) && strstr(e.text, "cfg: rope_scaling"), "%s: says '%s'",
                  readings[i].json, e.text);
        if (!ok) continue;
        str_clear(&s);
        rope_put(&s, &r);
        j = json_loads(s.p, JSON_DECODE_ANY, NULL);
        assert_non_null(j);
        if (r.kind == ROPE_PLAIN) assert_true(json_is_null(j));
        else {
            CHECK(rope_read(&back, &theta, j, "cfg", "rope_scaling", 1, &e), "%s: %s", s.p, e.text);
            same_rope(&back, &r, s.p);
        }
        json_decref(j);
    }
    str_free(&s);
}

/* A scaled model saved and loaded is the same model. */
static void saved(void **state)
{
    (void)state;
    struct model m, back;
    struct err e = { "" };
    CHECK(model_load(&m, "tests/golden/rope/yarn_norm", &e), "%s", e.text);
    CHECK(model_save(&m, dir, &e), "%s", e.text);
    CHECK(model_load(&back, dir, &e), "%s", e.text);
    same_rope(&m.c.rope, &back.c.rope, "saved");
    assert_true(m.query_scale > 3.06 && m.query_scale < 3.07 && !(back.query_scale < m.query_scale) &&
                !(back.query_scale > m.query_scale));
    elem_t *x = xmalloc((size_t)m.count * sizeof *x), *y = xmalloc((size_t)m.count * sizeof *y);
    dev_get(x, m.w, (size_t)m.count * sizeof *x);
    dev_get(y, back.w, (size_t)m.count * sizeof *y);
    assert_memory_equal(x, y, (size_t)m.count * sizeof *x);
    free(x);
    free(y);
    model_free(&m);
    model_free(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(frequencies), cmocka_unit_test(models),
                                        cmocka_unit_test(read_write), cmocka_unit_test(saved) };
    return cmocka_run_group_tests_name("rope", tests, make_dir, drop_dir);
}
