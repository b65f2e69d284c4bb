/* test_config.c: every key reads, prints and reads back; the order of sources; what is rejected and with which words;
 * hostile YAML. */
#include "base/clock.h"
#include "base/file.h"
#include "base/philox.h"
#include "base/str.h"
#include "engine/session/fit_config.h"
#include "engine/config/config_in.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Key a.b.c is field a.b_c; a choice has choices and no other key has; no field has two keys. */
static void every_row_names_its_field(void **state)
{
    (void)state;
    for (int i = 0; i < config_nkeys; i++) {
        const struct key *k = &config_keys[i];
        char name[128];
        snprintf(name, sizeof name, "%s", k->name);
        for (char *p = strchr(name, '.') + 1; *p; p++)
            if (*p == '.') *p = '_';
        CHECK(!strcmp(name, k->field), "row %d: %s against field %s", i, name, k->field);
        CHECK(k->help && *k->help && !strchr(k->help, '\n'), "%s: help", name);
        CHECK((k->type == KEY_CHOICE) == (k->choices != NULL), "%s: choices", name);
        CHECK(config_find(k->name) == k, "%s is in the table twice", name);
        CHECK(!config_is_together(k->name), "%s is ours", name);
        for (int j = 0; j < i; j++)
            CHECK(config_keys[j].at != k->at, "%s and %s: one field", config_keys[j].name, name);
    }
}

static void every_key_decides_numbers_or_does_not(void **state)
{
    (void)state;
    CHECK(config_decides("actor.optim.lr") && config_decides("rollout.val_kwargs.n") && config_decides("tools.timeout"),
          "these decide");
    CHECK(!config_decides("actor.ppo_max_token_len_per_gpu") && !config_decides("trainer.threads") &&
              !config_decides("rollout.max_num_seqs"),
          "these do not");
    CHECK(config_decides("a.key.of.a.later.version"), "an unknown key decides");
}

static void presets_and_renames_name_real_keys(void **state)
{
    (void)state;
    struct err e;
    static const char *const names[] = { "default", "paper", "official", "official_8b", "official_14b" };
    for (const struct config_rename *r = config_renames; r->from; r++) {
        CHECK(config_find(r->to), "rename to %s", r->to);
        CHECK(!config_find(r->from), "rename from %s", r->from);
    }
    for (int i = 0; i < 5; i++) {
        struct config c;
        config_init(&c);
        CHECK(config_preset(&c, names[i], &e), "preset %s: %s", names[i], e.text);
        CHECK(config_check(&c, NULL, &e), "preset %s: %s", names[i], e.text);
        CHECK(c.algorithm.preset == (enum preset)i, "preset %s", names[i]);
        config_free(&c);
    }
}

static void presets_hold_the_published_numbers(void **state)
{
    (void)state;
    struct err e;
    struct config c;
    config_init(&c);
    assert_int_equal(c.rollout.n, 16);
    assert_int_equal(c.data.train_batch_size, 26);
    CHECK_NEAR(c.branch.gamma, exp2(-1.0 / 32), 0, "default gamma");
    CHECK_NEAR(c.actor.optim_lr, 3e-4, 0, "default lr");
    CHECK(c.branch.strict_first && c.branch.resample_token && !c.branch.train && c.actor.live_rows_only, "default "
                                                                                                         "switches");
    CHECK(c.advantage.dual_group == DUAL_PREFIX && c.advantage.future == FUTURE_SCALE && c.actor.kl_loss_type == KL_K3,
          "default choices");
    assert_true(config_preset(&c, "official", &e));
    CHECK(c.branch.when == BRANCH_STEP && c.branch.pool == POOL_PROMPT && c.branch.entropy == ENTROPY_TOP10, "official "
                                                                                                             "choices");
    CHECK(c.branch.fallback == FALLBACK_PRODUCT && c.reward.kind == RULE_DEEP_RESEARCH && c.actor.drop_rows, "official "
                                                                                                             "choices");
    CHECK_NEAR(c.advantage.future_gamma, exp2(-1.0 / 64), 0, "official future gamma");
    CHECK_NEAR(c.branch.gamma, 1, 0, "official gamma");
    CHECK_NEAR(c.actor.kl_loss_coef, 0.001, 0, "official KL");
    CHECK_NEAR(c.actor.optim_beta2, 0.999, 0, "official beta2");
    config_free(&c);
    config_init(&c);
    assert_true(config_preset(&c, "paper", &e));
    CHECK(c.advantage.dual_group == DUAL_AVERAGE && c.actor.loss_agg_mode == AGG_SEQ_MEAN_TOKEN_MEAN &&
              !c.branch.strict_first,
          "paper choices");
    CHECK_NEAR(c.advantage.future_leave_out, 0, 0, "paper leaves nothing out");
    config_free(&c);
}

/* What the paper and the released scripts say, as docs/algorithm.md section 9 has it. */
static void presets_in_numbers(void **state)
{
    (void)state;
    static const struct { const char *key, *value[4]; } want[] = {      /* paper, official, official_8b, official_14b */
        { "actor.ppo_epochs", { "1", "1", "1", "1" } }, { "trainer.total_epochs", { "2", "2", "5", "5" } },
        { "actor.epoch_order", { "inner", "verl", "verl", "verl" } },
        { "actor.optim.lr", { "1e-06", "1e-06", "1e-06", "1e-06" } },
        { "actor.optim.lr_warmup_steps", { "0", "0", "0", "0" } },
        { "actor.optim.weight_decay", { "0.01", "0.01", "0.01", "0.01" } },
        { "actor.optim.decay_all", { "false", "true", "true", "true" } },
        { "actor.optim.beta1", { "0.9", "0.9", "0.9", "0.9" } },
        { "actor.optim.beta2", { "0.999", "0.999", "0.999", "0.999" } }, { "actor.grad_clip", { "1", "1", "1", "1" } },
        { "data.train_batch_size", { "128", "96", "128", "64" } },
        { "actor.ppo_mini_batch_size", { "16", "16", "16", "8" } }, { "rollout.n", { "16", "16", "16", "12" } },
        { "rollout.initial_rollouts", { "4", "8", "8", "6" } }, { "branch.points", { "3", "1", "1", "1" } },
        { "data.max_prompt_length", { "2048", "2048", "2000", "2000" } },
        { "data.max_response_length", { "4096", "6144", "10000", "6192" } },
        { "rollout.max_len", { "6144", "8192", "12000", "8192" } }, { "tools.call_limit", { "3", "3", "6", "6" } },
        { "tools.max_pages", { "10", "10", "10", "10" } }, { "tools.max_chars", { "1000", "1000", "1000", "1000" } },
        { "tools.max_tokens", { "0", "0", "0", "0" } }, { "tools.timeout", { "120", "120", "120", "120" } },
        { "tools.threads", { "64", "64", "64", "64" } }, { "reward.tool_bonus", { "0.1", "0.1", "0.1", "0.1" } },
        { "actor.kl_loss_coef", { "0", "0.001", "0.001", "0.001" } },
        { "branch.when", { "minibatch", "step", "step", "step" } },
        { "actor.live_rows_only", { "false", "false", "false", "false" } },
    };
    static const char *const names[] = { "paper", "official", "official_8b", "official_14b" };
    for (int k = 0; k < 4; k++) {
        struct config c;
        struct err e;
        char text[64];
        config_init(&c);
        CHECK(config_preset(&c, names[k], &e), "%s", e.text);
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            const char *got = config_text(&c, config_find(want[i].key), text);
            CHECK(!strcmp(got, want[i].value[k]), "%s: %s is %s, not %s", names[k], want[i].key, got, want[i].value[k]);
        }
        config_free(&c);
    }
}

/* GRPO as published is what adv_estimator=grpo gives, whatever the preset; but for keys that are given. */
/* Temperatures that no float can divide by are rejected with what would be right. */
static void temperatures(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool ok;
    } cases[] = { { "1e-300", false }, { "1e-5", false }, { "0.00009", false },
                  { "0.0001", true },  { "0.7", true },   { "100", true } };
    static const char *const keys[] = { "rollout.temperature", "rollout.val_kwargs.temperature" };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 2; k++) {
            struct config c;
            struct err e = { { 0 } };
            config_init(&c);
            CHECK(config_set(&c, keys[k], cases[i].value, "here", &e), "%s", e.text);
            CHECK(config_check(&c, NULL, &e) == cases[i].ok, "%s=%s: %s", keys[k], cases[i].value, e.text);
            CHECK(cases[i].ok || (strstr(e.text, keys[k]) && strstr(e.text, "valid: 0, which is greedy, or 0.0001")),
                  "%s", e.text);
            config_free(&c);
        }
}

static void grpo_is_grpo(void **state)
{
    (void)state;
    static const char *const given[] = { "actor.clip_ratio_high=0.28", "actor.live_rows_only=true",
                                         "advantage.future=scale", "actor.clip_ratio=0.3" };
    for (int preset = 0; preset < 3; preset++)
        for (int k = -1; k < 4; k++) {
            struct config c;
            struct err e;
            int rest;
            char names[3][64] = { "algorithm.adv_estimator=grpo", "algorithm.preset=default", "trainer.seed=1" };
            char *argv[3] = { names[0], names[1], names[2] };
            if (preset) snprintf(names[1], sizeof names[1], "algorithm.preset=%s", preset == 1 ? "paper" : "official");
            if (k >= 0) snprintf(names[2], sizeof names[2], "%s", given[k]);
            CHECK(config_load(&c, 3, argv, &rest, &e), "%s", e.text);
            CHECK_NEAR(c.actor.clip_ratio_low, k == 3 ? 0.3 : 0.2, 0, "clip, low");
            CHECK_NEAR(c.actor.clip_ratio_high, k == 0 ? 0.28 : k == 3 ? 0.3 : 0.2, 0, "clip, high");
            CHECK(c.actor.live_rows_only == (k == 1) && c.advantage.future == (k == 2 ? FUTURE_SCALE : FUTURE_OFF),
                  "%s: %s", names[1], names[2]);
            config_free(&c);
        }
}

static const struct { const char *key, *value, *text, *error; } single_values[] = {
    { "rollout.n", "8", "8", NULL },
    { "actor_rollout_ref.rollout.n", "+8", "8", NULL },
    { "+rollout.n", "8", "8", NULL },
    { "rollout.n", "8.0", NULL, "rollout.n=8.0 (here): not a whole number; valid: 1 to 65536" },
    { "rollout.n", "", NULL, "not a whole number" },
    { "rollout.n", "8x", NULL, "not a whole number" },
    { "rollout.n", " 8", NULL, "not a whole number" },
    { "rollout.n", "0", NULL, "out of range; valid: 1 to 65536" },
    { "rollout.n", "99999999999999999999999999", NULL, "out of range" },
    { "rollout.n", "1e3", NULL, "not a whole number" },
    { "rollout.n", "--3", NULL, "not a whole number" },
    { "trainer.seed", "9007199254740991", "9007199254740991", NULL },
    { "trainer.seed", "18446744073709551616", NULL, "out of range" },
    { "trainer.seed", "-1", NULL, "out of range; valid: 0 to 9007199254740992" },
    { "actor.optim.lr", "1e-6", "1e-06", NULL },
    { "actor.optim.lr", "0.1", "0.1", NULL },
    { "actor.optim.lr", "nan", NULL, "not a number; valid: 0 to 10" },
    { "actor.optim.lr", "inf", NULL, "not a number" },
    { "actor.optim.lr", "0x1p-3", NULL, "not a number" },
    { "actor.optim.lr", "1e", NULL, "not a number" },
    { "actor.optim.lr", "-0.1", NULL, "out of range" },
    { "actor.grad_clip", "1e999", NULL, "out of range; valid: 0 or more" },
    { "branch.train", "on", "true", NULL },
    { "branch.train", "False", "false", NULL },
    { "branch.train", "maybe", NULL, "branch.train=maybe (here): neither true nor false; valid: true or false" },
    { "actor.kl_loss_type", "low_var_kl", "k3", NULL },
    { "actor.kl_loss_type", "mse", "k2", NULL },
    { "actor.kl_loss_type", "kl", "k1", NULL },
    { "actor.kl_loss_type", "k", NULL, "no such choice; valid: one of: off, k1/kl, abs, k2/mse, k3/low_var_kl" },
    { "actor.kl_loss_type", "off|k1", NULL, "no such choice" },
    { "actor.kl_loss_type", "", NULL, "no such choice" },
    { "actor.loss_agg_mode", "seq-mean-token-sum-norm", "seq-mean-token-sum-norm", NULL },
    { "actor.loss_agg_mode", "dr-grpo", "seq-mean-token-sum-norm-rows", NULL },
    { "actor.epoch_order", "paper", "inner", NULL },
    { "actor.epoch_order", "verl", "verl", NULL },
    { "actor.epoch_order", "outer", NULL, "no such choice; valid: one of: inner/paper, verl" },
    { "data.train_files", "['a.jsonl', \"b.jsonl\"]", "a.jsonl,b.jsonl", NULL },
    { "data.train_files", "\"a b\"", "a b", NULL },
    { "data.train_files", "", "", NULL },
    { "data.train_files", "[", "[", NULL },
    { "data.train_files", "[]", "", NULL },
    { "data.train_files", "['a b.jsonl' , c.jsonl]", "a b.jsonl,c.jsonl", NULL },
    { "data.train_files", "[~/a, \"~/b\",~, ~user/c, x~/d]", "/h/a,/h/b,/h,~user/c,x~/d", NULL },
    { "data.train_files", "~/a,~/b", "/h/a,/h/b", NULL },
    { "data.train_files", "'~/a,b'", "/h/a,b", NULL },
    { "data.train_files", "['a,b']", NULL, "data.train_files (here): 'a,b': an element may not hold a comma" },
    { "data.train_files", "[[a],b]", NULL, "an element may not hold a comma, a list or a mapping" },
    { "data.train_files", "[{a: 1}]", NULL, "an element may not hold" },
    { "model.path", "~/models/m", "/h/models/m", NULL },
    { "sft.save", "~", "/h", NULL },
    { "data.system_prompt", "[~/be kind]", "[~/be kind]", NULL },
    { "trainer.logger", "[\"console\", 'tensorboard']", "console,tensorboard", NULL },
    { "learning_rate", "1e-6", NULL, "learning_rate (here): no such option. Here it is actor.optim.lr." },
    { "rollout.nn", "8", NULL, "rollout.nn (here): no such option. Did you mean rollout.n" },
    { "optim.lr", "8", NULL, "actor.optim.lr" },
    { "actor.lr", "8", NULL, "actor.optim.lr" },
    { "branch.gama", "8", NULL, "branch.gamma" },
    { "trainer.total_training_step", "8", NULL, "Did you mean trainer.total_training_steps" },
    { "train_batch_size", "8", NULL, "data.train_batch_size" },
    { "zzzzzzzzzzzz", "8", NULL, "zzzzzzzzzzzz (here): no such option. --print-config" },
    { "", "8", NULL, "no such option" },
};

static void good_and_bad_values(void **state)
{
    (void)state;
    assert_int_equal(setenv("HOME", "/h", 1), 0);
    for (size_t i = 0; i < sizeof single_values / sizeof *single_values; i++) {
        struct err e = { "" };
        struct config c;
        char text[64];
        config_init(&c);
        bool ok = config_set(&c, single_values[i].key, single_values[i].value, "here", &e);
        if (single_values[i].error) {
            CHECK(!ok && strstr(e.text, single_values[i].error), "%s=%s: \"%s\", want \"%s\"", single_values[i].key,
                  single_values[i].value, e.text, single_values[i].error);
        } else {
            CHECK(ok, "%s=%s: %s", single_values[i].key, single_values[i].value, e.text);
            const char *got = config_text(&c, config_find(config_plain_key(single_values[i].key)), text);
            CHECK(!strcmp(got, single_values[i].text), "%s=%s: got %s", single_values[i].key, single_values[i].value,
                  got);
        }
        config_free(&c);
    }
}

static void one_name_may_set_two_keys(void **state)
{
    (void)state;
    struct err e;
    struct config c;
    config_init(&c);
    assert_true(config_set(&c, "actor_rollout_ref.actor.clip_ratio", "0.1", "here", &e));
    assert_true(config_set(&c, "model.enable_gradient_checkpointing", "true", "here", &e));
    CHECK_NEAR(c.actor.clip_ratio_low, 0.1, 0, "low");
    CHECK_NEAR(c.actor.clip_ratio_high, 0.1, 0, "high");
    CHECK(c.model.recompute, "recompute");
    config_free(&c);
}

/* ---- YAML ---- */

static const char good_yaml[] =
    "# a run\n"
    "actor_rollout_ref:\n"
    "  actor:\n"
    "    optim: { lr: 1e-5, betas: [0.9, 0.95] }\n"
    "    grad_clip: 2\n"
    "data.train_files:\n"
    "  - a.jsonl\n"
    "  - \"b c.jsonl\"\n"
    "trainer:\n"
    "  report: ~\n"
    "  project_name: 'null'\n"
    "  seed: 7   # seven\n";

static void yaml_becomes_settings(void **state)
{
    (void)state;
    static const struct { const char *key, *value, *source; } want[] = {
        { "actor_rollout_ref.actor.optim.lr", "1e-5", "f.yaml:4" },
        { "actor_rollout_ref.actor.optim.betas", "0.9,0.95", "f.yaml:4" },
        { "actor_rollout_ref.actor.grad_clip", "2", "f.yaml:5" },
        { "data.train_files", "a.jsonl,b c.jsonl", "f.yaml:7" }, { "trainer.report", "", "f.yaml:10" },
        { "trainer.project_name", "null", "f.yaml:11" }, { "trainer.seed", "7", "f.yaml:12" },
    };
    struct err e = { "" };
    struct settings s = { 0 };
    CHECK(config_yaml(&s, "f.yaml", good_yaml, strlen(good_yaml), &e), "%s", e.text);
    CHECK(s.n == (int)(sizeof want / sizeof *want), "%d settings", s.n);
    for (int i = 0; i < s.n; i++) {
        CHECK(!strcmp(s.v[i].key, want[i].key), "key %d: %s, want %s", i, s.v[i].key, want[i].key);
        CHECK(!strcmp(s.v[i].value, want[i].value), "%s: %s, want %s", want[i].key, s.v[i].value, want[i].value);
        CHECK(!strcmp(s.v[i].source, want[i].source), "%s: %s, want %s", want[i].key, s.v[i].source, want[i].source);
    }
    settings_free(&s);
}

/* A file may be called what the sources of defaults and presets begin with: what it gives is given all the same. */
static void yaml_of_any_name(void **state)
{
    (void)state;
    static const char *const names[] = { "default.yaml", "defaults/x.yaml", "preset paper", "default" };
    static const char text[] = "data: {train_batch_size: 6}\nactor: {ppo_mini_batch_size: 3}\n";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct settings s = { 0 };
        struct config c;
        struct err e = { "" };
        config_init(&c);
        CHECK(config_yaml(&s, names[i], text, strlen(text), &e) && config_apply(&c, &s, NULL, &e), "%s", e.text);
        CHECK(config_given(&c, "actor.ppo_mini_batch_size") &&
                  strncmp(config_source(&c, "data.train_batch_size"), "preset ", 7),
              "%s: %s", names[i], config_source(&c, "actor.ppo_mini_batch_size"));
        settings_free(&s);
        config_free(&c);
    }
}

static void yaml_rejected(void **state)
{
    (void)state;
    static const struct { const char *text, *error; } cases[] = {
        { "", NULL }, { "\n", NULL }, { "# only a comment\n", NULL }, { "---\n", NULL }, { "~", NULL },
        { "a: {}", NULL },
        { "just words\n", "f.yaml:1: `key: value` lines are expected" },
        { "- a\n- b\n", "f.yaml:1: a list where" },
        { "a: 1\na: 2\n", "f.yaml:2: a is given twice, first at f.yaml:1" },
        { "a: {b: 1}\na.b: 2\n", "f.yaml:2: a.b is given twice" },
        { "a: &x 1\nb: *x\n", "f.yaml:1: anchors" },
        { "a: !!int 1\n", "f.yaml:1: anchors, aliases and tags" },
        { "a: [[1]]\n", "a list may hold plain values only" },
        { "a: [{b: 1}]\n", "a list may hold plain values only" },
        { "{a: 1}: 2\n", "cannot be a key" },
        { "a: [\"1,2\"]\n", "a comma inside" },
        { "a: 1\n--- \nb: 2\n", "a second document" },
        { "a: [1, 2\n", "f.yaml:" },
        { "a: \"\\0\"\n", "a zero byte" },
        { "a: 1\n\tb: 2\n", "f.yaml:" },
        { "a: 'x\n", "f.yaml:" },
        { "a: 'x\nb: 1\n", "f.yaml:3: not YAML: found unexpected end of stream while scanning a quoted scalar that "
                             "begins in line 1" },
        { "a: \x01\n", "f.yaml:1: not YAML: control characters are not allowed" },
        { "\xff\xfe\xfd", "f.yaml: not UTF-8" }, { "a: \xff\n", "not UTF-8" },
        { "\xff\xfe" "a\0", "f.yaml: not UTF-8" },
        { "a: 1\nb: x\xe2\x80\xa8y\n", "f.yaml:2: the line end U+2028" },
        { "a: x\xc2\x85y\n", "f.yaml:1: the line end U+0085" },
        { "a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: 1}}}}}}}}}}}}}}}}\n",
          "nested deeper than 16" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct settings s = { 0 };
        bool ok = config_yaml(&s, "f.yaml", cases[i].text, strlen(cases[i].text), &e);
        if (cases[i].error)
            CHECK(!ok && strstr(e.text, cases[i].error), "%s: \"%s\", want \"%s\"", cases[i].text, e.text,
                  cases[i].error);
        else CHECK(ok && s.n == 0, "%s: %s", cases[i].text, e.text);
        settings_free(&s);
    }
}

/* Nothing to assert but that it returns: the sanitizer build looks on. */
static void yaml_survives_damage(void **state)
{
    (void)state;
    struct rng r = rng_make(1, 1, 0);
    char text[sizeof good_yaml];
    int rejected = 0;
    for (int i = 0; i < 600; i++) {
        struct err e;
        struct settings s = { 0 };
        size_t n = sizeof good_yaml - 1;
        memcpy(text, good_yaml, n);
        if (i < (int)n) n = (size_t)i;
        else
            for (int k = 0; k < 4; k++)
                text[rng_below(&r, (uint32_t)n)] = "[]{}:,-\n\t\"'&*!|>#%@\xff a0"[rng_below(&r, 24)];
        rejected += !config_yaml(&s, "f.yaml", text, n, &e);
        settings_free(&s);
    }
    CHECK(rejected > 50 && rejected < 600, "%d of 600 rejected", rejected);
    struct str deep = { 0 };
    for (int i = 0; i < 100000; i++) str_putc(&deep, '[');
    struct settings s = { 0 };
    struct err e;
    assert_false(config_yaml(&s, "deep.yaml", deep.p, deep.n, &e));
    str_clear(&deep);
    str_puts(&deep, "a: ");
    for (int i = 0; i < 100000; i++) str_puts(&deep, "{a: ");
    assert_false(config_yaml(&s, "deep.yaml", deep.p, deep.n, &e));
    settings_free(&s);
    str_free(&deep);
}

/* Lines without words in a block of text: one pass over them, whatever ends a line (libfyaml took a minute for
 * 64,000). */
static void yaml_of_empty_lines(void **state)
{
    (void)state;
    static const struct { const char *line; int n; } cases[] = {
        { "\n", 150 }, { " \r\n", 150 }, { "\n", 250 }, { "\r", 250 }, { "\r\n", 250 }, { " \n", 200000 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str text = { 0 };
        struct settings s = { 0 };
        struct err e = { "" };
        double begin = seconds();
        str_puts(&text, "a: |\n x\n");
        for (int k = 0; k < cases[i].n; k++) str_puts(&text, cases[i].line);
        str_puts(&text, "b: 1\n");
        bool ok = config_yaml(&s, "f.yaml", text.p, text.n, &e);
        CHECK(ok && s.n == 2 && !strcmp(s.v[0].value, "x\n"), "case %zu: %s", i, e.text);
        CHECK(seconds() - begin < 10, "case %zu takes %.1f s", i, seconds() - begin);
        settings_free(&s);
        str_free(&text);
    }
}

/* ---- files and arguments together ---- */

static bool load(struct config *c, const char *const *args, int *rest, const char **left, struct err *e)
{
    char *argv[16];
    int argc = 0;
    for (; args[argc]; argc++) argv[argc] = (char *)(uintptr_t)args[argc];
    bool ok = config_load(c, argc, argv, rest, e);
    for (int i = 0; ok && left && i < *rest; i++) left[i] = argv[i];
    return ok;
}

static const char *source_of(const struct config *c, const char *key)
{
    const char *s = c->source[config_find(key) - config_keys];
    return s ? s : "default";
}

static void later_sources_win(void **state)
{
    (void)state;
    struct err e = { "" };
    struct config c;
    int rest;
    const char *left[16];
    char path[64], want[80];
    snprintf(path, sizeof path, "%s/run.yaml", dir);
    static const char text[] = "rollout: {n: 8, initial_rollouts: 2}\nalgorithm.preset: official\ntrainer: {nnodes: 1, "
                               "seed: 3}\n";
    assert_true(file_write(path, text, strlen(text), &e));
    const char *args[] = { "first",
                           "rollout.n=32",
                           "--config",
                           path,
                           "--seed",
                           "9",
                           "--out",
                           "x.json",
                           "--steps=2",
                           "rollout.name=vllm",
                           "--print-config",
                           "algorithm.preset=paper",
                           NULL };
    CHECK(load(&c, args, &rest, left, &e), "%s", e.text);
    assert_int_equal(rest, 3);
    assert_string_equal(left[0], "first");
    assert_string_equal(left[1], "--out");
    assert_string_equal(left[2], "x.json");
    assert_int_equal(c.rollout.n, 32);
    assert_int_equal(c.rollout.initial_rollouts, 2);
    assert_int_equal(c.trainer.seed, 9);
    assert_int_equal(c.trainer.total_training_steps, 2);
    assert_int_equal(c.advantage.dual_group, DUAL_AVERAGE);         /* paper: the arguments' preset */
    CHECK(c.print, "--print-config");
    snprintf(want, sizeof want, "%s:1", path);
    assert_string_equal(source_of(&c, "rollout.initial_rollouts"), want);
    assert_string_equal(source_of(&c, "rollout.n"), "command line");
    assert_string_equal(source_of(&c, "advantage.dual_group"), "preset paper");
    assert_string_equal(source_of(&c, "sft.steps"), "default");
    config_free(&c);
}

static void what_is_printed_reads_back(void **state)
{
    (void)state;
    struct err e = { "" };
    struct config a, b;
    char *text = NULL, *again = NULL;
    size_t n, m;
    int rest;
    const char *args[] = { "algorithm.preset=official", "trainer.report=a \"quoted\" \\ name\n#",
                           "actor.optim.lr=0.1234567890123456", "branch.train=on",
                           "data.prompt_key=\xc2\x80 \xc2\x85 \xe2\x80\xa8 \xe2\x80\xa9 \xef\xbf\xbe \xef\xbb\xbf "
                           "\xf0\x9f\x98\x80",
                           NULL };
    CHECK(load(&a, args, &rest, NULL, &e), "%s", e.text);
    FILE *f = open_memstream(&text, &n);
    config_print(&a, f, 0);
    fclose(f);
    CHECK(strstr(text, "actor.kl_loss_coef: 0.001 ") && strstr(text, "# preset official: weight of that term"), "%s",
          text);
    char path[64];
    snprintf(path, sizeof path, "%s/printed.yaml", dir);
    assert_true(file_write(path, text, n, &e));
    const char *back[] = { "--config", path, NULL };
    CHECK(load(&b, back, &rest, NULL, &e), "%s", e.text);
    json_t *ja = config_json(&a), *jb = config_json(&b);
    CHECK(json_equal(ja, jb), "the configuration read back");
    assert_int_equal(json_object_size(ja), config_nkeys);
    f = open_memstream(&again, &m);
    config_print(&b, f, 0);
    fclose(f);
    CHECK(strstr(again, "\"\\x80 \\x85 \\u2028 \\u2029 \\ufffe \xef\xbb\xbf \xf0\x9f\x98\x80\""), "%s", again);
    CHECK(strstr(again, "a \\\"quoted\\\" \\\\ name\\x0a#"), "%s", again);
    json_decref(ja);
    json_decref(jb);
    free(text);
    free(again);
    config_free(&a);
    config_free(&b);
}

static void contradictions(void **state)
{
    (void)state;
    static const struct { const char *args[4], *error; } cases[] = {
        { { "rollout.n=2" }, "rollout.n=2 is less than rollout.initial_rollouts=4" },
        { { "rollout.n=2", "algorithm.adv_estimator=grpo" }, NULL },
        { { "actor.ppo_mini_batch_size=5" }, "actor.ppo_mini_batch_size=5 does not divide data.train_batch_size=26" },
        { { "actor.ppo_mini_batch_size=52" }, "does not divide" },
        { { "data.max_prompt_length=160", "rollout.max_len=160" }, "leaves no room" },
        { { "actor.ppo_max_token_len_per_gpu=100" }, "less than one rollout" },
        { { "rollout.max_num_seqs=2048", "rollout.max_num_batched_tokens=1024" }, "every sequence decodes" },
        { { "algorithm.use_kl_in_reward=true" }, "set actor.kl_loss_coef" },
        { { "actor.use_kl_loss=true", "actor.kl_loss_coef=0.1", "actor.kl_loss_type=off" }, "set one of them" },
        { { "rollout.temperature=0" }, "greedy" },
        { { "rollout.top_p=0" }, "must be above 0" },
        { { "sft.guess_high=0.9", "sft.slip=0.2" }, "add up to 1.1" },
        { { "trainer.logger=['console','wandb']" }, NULL },
        { { "trainer.logger=['console','waundb']" }, "no logger waundb; valid: console, file, tensorboard" },
        { { "trainer.logger=['console','tensorboard']" }, NULL },
        { { "trainer.logger=" }, NULL },
        { { "algorithm.preset=papr" },
          "algorithm.preset=papr (command line): no such choice; valid: one of: default, paper, official" },
        { { "--seed" }, "--seed needs a value" },
        { { "--config", "/nonexistent.yaml" }, "/nonexistent.yaml" },
        { { "actor.kl_loss_coef=0.1", "actor.use_kl_loss=false" }, NULL },
        { { "custom_reward_function.path=x.py" },
          "custom_reward_function.path=x.py (command line): rewards of one's own are not built" },
        { { "rollout.n=1", "algorithm.adv_estimator=grpo" }, NULL },
        { { "rollout.n=1", "algorithm.adv_estimator=reinforce_plus_plus" }, NULL },
        { { "rollout.n=1", "algorithm.adv_estimator=grpo_passk" },
          "rollout.n=1 with algorithm.adv_estimator=grpo_passk: 2 or more are needed" },
        { { "rollout.n=1", "algorithm.adv_estimator=rloo" }, "algorithm.adv_estimator=rloo: 2 or more are needed" },
        { { "rollout.n=1", "algorithm.adv_estimator=opo" }, "algorithm.adv_estimator=opo: 2 or more are needed" },
        { { "rollout.n=1", "algorithm.adv_estimator=reinforce_plus_plus_baseline" }, "(reinforce_plus_plus has none)" },
        { { "actor.policy_loss.loss_mode=gspo" }, NULL },
        { { "actor.policy_loss.loss_mode=gspo", "algorithm.adv_estimator=grpo" }, NULL },
        { { "actor.policy_loss.loss_mode=gspo", "advantage.future=scale" }, "set advantage.future=off" },
        { { "actor.policy_loss.loss_mode=gspo", "actor.top_entropy_quantile=0.2" },
          "actor.policy_loss.loss_mode=gspo with actor.top_entropy_quantile=0.2" },
        { { "actor.policy_loss.loss_mode=gspo", "actor.drop_rows=true" }, "has no dual clip to drop rollouts by" },
        { { "actor.policy_loss.loss_mode=cispo", "actor.drop_rows=true" }, "actor.policy_loss.loss_mode=cispo, which" },
        { { "actor.policy_loss.loss_mode=cispo", "algorithm.preset=official" }, NULL },
        { { "actor.policy_loss.loss_mode=aepo", "algorithm.preset=official" },
          "advantage.entropy_weight with branch.entropy=top10" },
        { { "actor.top_entropy_quantile=0.2", "branch.entropy=top10" },
          "actor.top_entropy_quantile with branch.entropy=top10" },
        { { "actor.top_entropy_quantile=0" }, "actor.top_entropy_quantile=0 (command line): out of range" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct config c;
        int rest;
        const char *args[5] = { cases[i].args[0], cases[i].args[1], cases[i].args[2], cases[i].args[3], NULL };
        bool ok = load(&c, args, &rest, NULL, &e);
        if (cases[i].error) CHECK(!ok && strstr(e.text, cases[i].error), "%s: \"%s\"", args[0], e.text);
        else CHECK(ok, "%s: %s", args[0], e.text);
        if (ok && !c.actor.use_kl_loss) CHECK_NEAR(c.actor.kl_loss_coef, 0, 0, "use_kl_loss=false");
        config_free(&c);
    }
}

static const char sum[] = "default, data.max_prompt_length + data.max_response_length", column[] = "default for "
                                                                                                   "model.path",
    gspo[] = "default for actor.policy_loss.loss_mode=gspo";
static const struct { const char *args[4], *key, *text, *source; } derived[] = {
    { { NULL }, "rollout.max_len", "160", "default" },
    { { "model.path=m" }, "rollout.max_len", "6144", column },
    { { "model.path=m" }, "actor.optim.lr", "1e-06", column },
    { { "model.path=m" }, "sft.lr", "7e-06", column },
    { { "model.path=m" }, "data.max_prompt_length", "2048", column },
    { { "model.path=m" }, "data.max_response_length", "4096", column },
    { { "actor_rollout_ref.model.path=m", "actor.optim.lr=1e-5" }, "actor.optim.lr", "1e-05", "command line" },
    { { "model.path=m", "algorithm.preset=official" }, "rollout.max_len", "8192", "preset official" },
    { { "model.path=" }, "actor.optim.lr", "0.0003", "default" },
    { { "data.max_response_length=6144" }, "rollout.max_len", "6208", sum },
    { { "data.max_prompt_length=100" }, "rollout.max_len", "260", sum },
    { { "model.path=m", "data.max_prompt_length=100" }, "rollout.max_len", "4196", sum },
    { { "model.path=m", "data.max_prompt_length=100", "data.max_response_length=50" }, "rollout.max_len", "150",
      sum },
    { { "data.max_response_length=20000" }, "actor.ppo_max_token_len_per_gpu", "20064",
      "default, rollout.max_len" },
    { { "model.path=m", "rollout.max_len=1000" }, "data.max_prompt_length", "500",
      "default, half of rollout.max_len" },
    { { "model.path=m", "rollout.max_len=1000" }, "data.max_response_length", "1000", "default, rollout.max_len" },
    { { "rollout.max_len=100" }, "data.max_prompt_length", "64", "default" },
    { { "data.train_batch_size=12" }, "actor.ppo_mini_batch_size", "12", "default, divides data.train_batch_size" },
    { { "data.train_batch_size=32" }, "actor.ppo_mini_batch_size", "8", "default, divides data.train_batch_size" },
    { { "model.path=m", "data.train_batch_size=128" }, "actor.ppo_mini_batch_size", "4", column },
    { { "rollout.max_num_seqs=2048" }, "rollout.max_num_batched_tokens", "2048", "default, rollout.max_num_seqs" },
    { { "actor.use_kl_loss=True" }, "actor.kl_loss_coef", "0.001", "default for actor.use_kl_loss=true" },
    { { "actor.use_kl_loss=True", "actor.kl_loss_coef=0" }, "actor.kl_loss_coef", "0", "command line" },
    { { "actor.use_kl_loss=True", "actor.kl_loss_coef=0.2" }, "actor.kl_loss_coef", "0.2", "command line" },
    { { "actor.kl_loss_coef=0.2" }, "actor.kl_loss_coef", "0", "actor.use_kl_loss=false" },
    { { "algorithm.preset=official" }, "actor.kl_loss_coef", "0.001", "preset official" },
    { { "algorithm.preset=official", "actor.use_kl_loss=false" }, "actor.kl_loss_coef", "0",
      "actor.use_kl_loss=false" },
    { { "algorithm.preset=official", "algorithm.adv_estimator=grpo" }, "advantage.future", "off",
      "default for algorithm.adv_estimator=grpo" },
    { { "algorithm.adv_estimator=grpo", "advantage.future=scale" }, "advantage.future", "scale", "command line" },
    { { "algorithm.adv_estimator=rloo" }, "actor.clip_ratio_high", "0.2", "default for algorithm.adv_estimator=rloo" },
    { { "algorithm.adv_estimator=opo" }, "actor.live_rows_only", "false", "default for algorithm.adv_estimator=opo" },
    { { "algorithm.adv_estimator=opo" }, "advantage.future", "off", "default for algorithm.adv_estimator=opo" },
    { { "actor.policy_loss.loss_mode=gspo" }, "actor.loss_agg_mode", "seq-mean-token-mean", gspo },
    { { "actor.policy_loss.loss_mode=gspo" }, "actor.clip_ratio_low", "0.0003", gspo },
    { { "actor.policy_loss.loss_mode=gspo", "algorithm.adv_estimator=grpo" }, "actor.clip_ratio_high", "0.0004",
      gspo },
    { { "actor.policy_loss.loss_mode=gspo", "algorithm.preset=official" }, "actor.loss_agg_mode",
      "seq-mean-token-mean", gspo },
    { { "actor.policy_loss.loss_mode=gspo", "algorithm.preset=official" }, "actor.drop_rows", "false", gspo },
    { { "actor.policy_loss.loss_mode=gspo", "actor.loss_agg_mode=token-mean" }, "actor.loss_agg_mode",
      "token-mean", "command line" },
    { { "actor.policy_loss.loss_mode=gspo", "actor.clip_ratio=0.1" }, "actor.clip_ratio_low", "0.1",
      "actor.clip_ratio, command line" },
    { { "actor.policy_loss.loss_mode=cispo" }, "actor.loss_agg_mode", "token-mean", "default" },
    { { "actor.policy_loss.loss_mode=cispo" }, "advantage.future", "off",
      "default for actor.policy_loss.loss_mode=cispo" },
    { { "actor.policy_loss.loss_mode=vanilla" }, "advantage.future", "off",
      "actor.policy_loss.loss_mode, command line" },
    { { "actor.policy_loss.loss_mode=aepo" }, "advantage.entropy_weight", "0.2",
      "default for actor.policy_loss.loss_mode=aepo" },
    { { "actor.policy_loss.loss_mode=aepo", "advantage.entropy_weight=0" }, "advantage.entropy_weight", "0",
      "command line" },
    { { "actor.policy_loss.loss_mode=gppo" }, "advantage.entropy_weight", "0", "default" },
};

/* The second column of defaults, and what follows from what was given: value and source of one key. */
static void defaults_that_follow(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof derived / sizeof *derived; i++) {
        struct err e = { "" };
        struct config c;
        int rest;
        char text[64];
        const char *args[5] = { derived[i].args[0], derived[i].args[1], derived[i].args[2], derived[i].args[3], NULL };
        CHECK(load(&c, args, &rest, NULL, &e), "case %zu: %s", i, e.text);
        const char *got = config_text(&c, config_find(derived[i].key), text), *from = config_source(&c, derived[i].key);
        CHECK(!strcmp(got, derived[i].text) && !strcmp(from, derived[i].source),
              "case %zu: %s is %s (%s), want %s (%s)", i, derived[i].key, got, from, derived[i].text,
              derived[i].source);
        CHECK(config_given(&c, derived[i].key) == (strncmp(from, "default", 7) != 0), "case %zu: given", i);
        config_free(&c);
    }
}

/* A model of 512 positions, the embedded one in its folder: lengths that were not given fit it, those that were are
 * kept. */
static void lengths_of_a_model(void **state)
{
    (void)state;
    static const struct { const char *args[3]; int len, prompt, response; } cases[] = {
        { { NULL }, 512, 170, 342 },
        { { "data.max_prompt_length=100" }, 512, 100, 412 },
        { { "data.max_response_length=300" }, 512, 212, 300 },
        { { "data.max_prompt_length=100", "data.max_response_length=200" }, 300, 100, 200 },
        /* session_open rejects it */
        { { "data.max_prompt_length=400", "data.max_response_length=200" }, 600, 400, 200 },
        { { "rollout.max_len=600" }, 600, 300, 600 },
        { { "rollout.max_len=160" }, 160, 80, 160 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct config c;
        int rest;
        const char *args[5] = { "model.path=policy", cases[i].args[0], cases[i].args[1], NULL };
        CHECK(load(&c, args, &rest, NULL, &e), "case %zu: %s", i, e.text);
        fit_config_to_model(&c, "actor.optim.lr", NULL);
        CHECK(c.rollout.max_len == cases[i].len && c.data.max_prompt_length == cases[i].prompt &&
                  c.data.max_response_length == cases[i].response,
              "case %zu: %d, %d, %d", i, c.rollout.max_len, c.data.max_prompt_length, c.data.max_response_length);
        config_free(&c);
    }
}

/* A shape alone, whose 256 sequences of 100,000 tokens would take 390 GiB: what changes speed only is lowered until a
 * run fits, where it was not given. */
static void what_fits_memory(void **state)
{
    (void)state;
    static const char shape[] = "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":"
                                "256,\"intermediate_size\":512,\"num_hidden_layers\":8,"
                                "\"num_attention_heads\":4,\"num_key_value_heads\":4,\"vocab_size\":512,\"max_position_"
                                "embeddings\":131072,"
                                "\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":true}";
    struct err e = { "" };
    struct config c;
    int rest;
    char path[128], model[128], *said = NULL;
    size_t n;
    snprintf(path, sizeof path, "%s/config.json", dir);
    snprintf(model, sizeof model, "model.path=%s", dir);
    assert_true(file_write(path, shape, strlen(shape), &e));
    const char *args[] = { model, "data.max_prompt_length=100", "data.max_response_length=99900",
                           "algorithm.adv_estimator=grpo", NULL };
    CHECK(load(&c, args, &rest, NULL, &e), "%s", e.text);
    FILE *say = open_memstream(&said, &n);
    fit_config_to_memory(&c, MEMORY_SAMPLE, say);
    fclose(say);
    CHECK(c.rollout.max_num_seqs < 256 && !config_given(&c, "rollout.max_num_seqs") &&
              !strcmp(config_source(&c, "rollout.max_num_seqs"), "default that fits memory"),
          "rollout.max_num_seqs=%d", c.rollout.max_num_seqs);
    if (session_fits(&c, dir, false, &e))
        CHECK(strstr(said, "to fit memory: rollout.max_num_seqs="), "said '%s'", said);
    else CHECK(c.rollout.max_num_seqs == 1, "%s", e.text);
    CHECK(c.rollout.max_len == 100000 && c.data.max_response_length == 99900, "lengths stay");
    free(said);
    config_free(&c);
    const char *given[] = { model,
                            "data.max_prompt_length=100",
                            "data.max_response_length=99900",
                            "algorithm.adv_estimator=grpo",
                            "rollout.max_num_seqs=200",
                            NULL };
    CHECK(load(&c, given, &rest, NULL, &e), "%s", e.text);
    fit_config_to_memory(&c, MEMORY_SAMPLE, stderr);
    CHECK(c.rollout.max_num_seqs == 200, "what was given stays: %d", c.rollout.max_num_seqs);
    config_free(&c);
}

/* 134 million weights, as SmolLM2 has, and half a million: a rate that is high for the first alone is warned of, in RL
 * and in SFT */
static void high_rates_are_warned_of(void **state)
{
    (void)state;
    static const char shape[] = "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":"
                                "576,\"intermediate_size\":1536,\"num_hidden_layers\":30,"
                                "\"num_attention_heads\":9,\"num_key_value_heads\":3,\"vocab_size\":49152,\"max_"
                                "position_embeddings\":8192,"
                                "\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":true}";
    static const struct { const char *model, *key, *set; bool warns; } cases[] = {
        { NULL, "actor.optim.lr", "actor.optim.lr=3e-4", true },
        { NULL, "actor.optim.lr", "actor.optim.lr=1e-4", false },
        { NULL, "actor.optim.lr", "actor.optim.lr=1e-6", false }, { NULL, "sft.lr", "sft.lr=1e-3", true },
        { NULL, "sft.lr", "actor.optim.lr=1e-3", false }, { NULL, "actor.optim.lr", "rollout.n=8", false },
        { "model.path=policy", "actor.optim.lr", "actor.optim.lr=3e-4", false },
    };
    struct err e = { "" };
    char path[128], model[128];
    snprintf(path, sizeof path, "%s/config.json", dir);
    snprintf(model, sizeof model, "model.path=%s", dir);
    assert_true(file_write(path, shape, strlen(shape), &e));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config c;
        int rest;
        size_t n;
        char *said = NULL;
        const char *args[] = { cases[i].model ? cases[i].model : model, cases[i].set, NULL };
        CHECK(load(&c, args, &rest, NULL, &e), "%s", e.text);
        FILE *say = open_memstream(&said, &n);
        fit_config_to_model(&c, cases[i].key, say);
        fclose(say);
        CHECK(cases[i].warns ? strstr(said, cases[i].key) && strstr(said, "is high for a model of 135 million weights")
                             : !*said,
              "case %zu: said '%s'", i, said);
        free(said);
        config_free(&c);
    }
}

/* ---- what other programs' users type ---- */

/* args, separated by spaces, applied as a command line; what is said goes to said */
static bool applied(struct config *c, const char *args, char **said, struct err *e)
{
    struct settings s = { 0 };
    size_t n;
    char *words = xstrdup(args), *at = words, *word;
    FILE *say = open_memstream(said, &n);
    config_init(c);
    while ((word = strsep(&at, " "))) {
        char *equals = strchr(word, '=');
        if (!*word) continue;
        if (equals) *equals = 0;
        settings_add(&s, word, equals ? equals + 1 : "", "here");
        s.v[s.n - 1].gone = *word == '~';
        s.v[s.n - 1].null = equals && !strcmp(equals + 1, "null");
        if (s.v[s.n - 1].null) *s.v[s.n - 1].value = 0;
    }
    bool ok = config_apply(c, &s, say, e);
    fclose(say);
    settings_free(&s);
    free(words);
    return ok;
}

static const struct { const char *args, *key, *text, *error; } foreign_values[] = {
    { "actor.policy_loss.decay_rate=64.0", "advantage.future_gamma", "0.9892280131939755", NULL },
    { "actor.policy_loss.decay_rate=0", NULL, NULL,
      "actor.policy_loss.decay_rate=0 (here): a half-life in tokens is needed" },
    { "actor.policy_loss.decay_rate=x", NULL, NULL, "a half-life" },
    { "actor.policy_loss.future_kl_clip_ratio=0.3", "advantage.future_clip_low", "0.3", NULL },
    { "actor.policy_loss.future_kl_clip_high_only=True actor.policy_loss.future_kl_clip_ratio=0.3",
      "advantage.future_clip_low", "0", NULL },
    { "actor.policy_loss.future_kl_clip_high_only=True actor.policy_loss.future_kl_clip_ratio=0.3",
      "advantage.future_clip_high", "0.3", NULL },
    { "actor.policy_loss.future_kl_clip_high_only=maybe", NULL, NULL, "neither true nor false" },
    { "actor.policy_loss.future_kl_weight=1.0 actor.policy_loss.safety_thresh=4", "advantage.future_safety", "4",
      NULL },
    { "actor.policy_loss.loss_mode=future_kl", "advantage.future", "scale", NULL },
    { "actor.policy_loss.loss_mode=vanilla", "advantage.future", "off", NULL },
    { "actor.policy_loss.loss_mode=future_kl advantage.future=fipo", "advantage.future", "fipo", NULL },
    { "actor.policy_loss.loss_mode=future_kl", "actor.policy_loss.loss_mode", "vanilla", NULL },
    { "actor.policy_loss.loss_mode=ppo", "actor.policy_loss.loss_mode", "vanilla", NULL },
    { "actor.policy_loss.loss_mode=???", "advantage.future", "scale", NULL },
    { "actor.policy_loss.loss_mode=null", "advantage.future", "scale", NULL },
    { "actor_rollout_ref.actor.policy_loss.loss_mode=gspo", "actor.policy_loss.loss_mode", "gspo", NULL },
    { "actor.policy_loss.loss_mode=cispo", "advantage.future", "off", NULL },
    { "actor.policy_loss.loss_mode=cispo advantage.future=scale", "advantage.future", "scale", NULL },
    { "actor.policy_loss.loss_mode=cispo algorithm.preset=official", "advantage.future", "off", NULL },
    { "actor.policy_loss.loss_mode=cispo actor.policy_loss.cispo_clip_ratio_high=5 "
      "actor.policy_loss.cispo_clip_ratio_low=1", "actor.clip_ratio_high", "5", NULL },
    { "actor.policy_loss.loss_mode=cispo actor.policy_loss.cispo_clip_ratio_low=0.9", "actor.clip_ratio_low",
      "0.9", NULL },
    { "actor.policy_loss.loss_mode=cispo actor.policy_loss.cispo_clip_ratio_low=0.9 actor.clip_ratio_low=0.1",
      "actor.clip_ratio_low", "0.1", NULL },
    { "actor.policy_loss.cispo_clip_ratio_high=5", "actor.clip_ratio_high", "0.28", NULL },
    { "actor.policy_loss.loss_mode=clip_cov", NULL, NULL,
      "loss_mode=clip_cov (here): no such choice; valid: one of: vanilla/ppo/future_kl, gspo, cispo, gppo, aepo" },
    { "actor.enable_entropy_balanced_clipping=True", "actor.policy_loss.loss_mode", "aepo", NULL },
    { "actor.enable_entropy_balanced_clipping=True", "advantage.entropy_weight", "0.2", NULL },
    { "actor.enable_entropy_balanced_clipping=True", "advantage.future", "off", NULL },
    { "actor.enable_entropy_balanced_clipping=True actor.enable_entropy_balanced_advantage=False",
      "advantage.entropy_weight", "0", NULL },
    { "actor.enable_entropy_balanced_clipping=False actor.enable_entropy_balanced_advantage=True",
      "advantage.entropy_weight", "0.2", NULL },
    { "actor.enable_entropy_balanced_clipping=False", "actor.policy_loss.loss_mode", "vanilla", NULL },
    { "actor.enable_entropy_balanced_clipping=False", "advantage.future", "scale", NULL },
    { "actor.enable_policy_loss_gspo=True", "actor.policy_loss.loss_mode", "gspo", NULL },
    { "actor.enable_policy_loss_gspo=True actor.policy_loss.loss_mode=gspo", "actor.policy_loss.loss_mode", "gspo",
      NULL },
    { "actor.enable_policy_loss_gspo=True actor.policy_loss.loss_mode=gppo", NULL, NULL,
      "actor.enable_policy_loss_gspo=True (here): the loss gspo, but actor.policy_loss.loss_mode=gppo (here)" },
    { "actor.enable_entropy_balanced_clipping=True actor.policy_loss.loss_mode=vanilla", NULL, NULL,
      "the loss aepo, but actor.policy_loss.loss_mode=vanilla (here); give one of them" },
    { "actor.enable_entropy_balanced_clipping=True actor.enable_policy_loss_gspo=True", NULL, NULL,
      "the loss gspo, but actor.enable_entropy_balanced_clipping=True" },
    { "actor.enable_entropy_balanced_clipping=False actor.policy_loss.loss_mode=cispo",
      "actor.policy_loss.loss_mode", "cispo", NULL },
    { "actor.enable_policy_loss_gspo=perhaps", NULL, NULL, "neither true nor false" },
    { "rollout.enable_dynamic_rollouts=False", "rollout.n", "16", NULL },
    { "rollout.enable_dynamic_rollouts=True", NULL, NULL, "AEPO's budget of rollouts by entropy is not built" },
    { "algorithm.gamma=0.9 algorithm.adv_estimator=reinforce_plus_plus", "algorithm.gamma", "0.9", NULL },
    { "algorithm.adv_estimator=reinforce_plus_plus", "algorithm.adv_estimator", "reinforce_plus_plus", NULL },
    { "algorithm.adv_estimator=reinforce_pp", "algorithm.adv_estimator", "reinforce_plus_plus", NULL },
    { "algorithm.adv_estimator=reinforce_plus_plus_baseline", "algorithm.adv_estimator",
      "reinforce_plus_plus_baseline", NULL },
    { "algorithm.adv_estimator=grpo_passk", "algorithm.adv_estimator", "grpo_passk", NULL },
    { "algorithm.adv_estimator=grpo_vectorized", "algorithm.adv_estimator", "grpo", NULL },
    { "algorithm.adv_estimator=rloo", "algorithm.adv_estimator", "rloo", NULL },
    { "algorithm.adv_estimator=rloo_vectorized", "algorithm.adv_estimator", "rloo", NULL },
    { "algorithm.adv_estimator=opo", "algorithm.adv_estimator", "opo", NULL },
    { "algorithm.adv_estimator=remax", NULL, NULL,
      "algorithm.adv_estimator=remax (here): needs a greedy rollout of each prompt as its baseline, which is not "
      "built yet; valid: one of: appo, grpo/grpo_vectorized, grpo_passk, reinforce_plus_plus/reinforce_pp, " },
    { "algorithm.adv_estimator=gspo", NULL, NULL, "a loss, not an estimator: actor.policy_loss.loss_mode=gspo" },
    { "algorithm.adv_estimator=gpg", NULL, NULL, "no such choice; valid: one of: appo, grpo" },
    { "algorithm.norm_adv_by_std_in_grpo=False", "advantage.norm_by_std", "false", NULL },
    { "algorithm.norm_adv_by_std_in_grpo=perhaps", NULL, NULL, "algorithm.norm_adv_by_std_in_grpo=perhaps" },
    { "rollout.appo_dynamic_branching=True", "branch.when", "step", NULL },
    { "rollout.appo_dynamic_branching=True branch.when=minibatch", "branch.when", "minibatch", NULL },
    { "rollout.appo_dynamic_branching=True algorithm.preset=default", "branch.when", "minibatch", NULL },
    { "rollout.appo_dynamic_branching=False", NULL, NULL, "rollout.appo_dynamic_branching=false" },
    { "rollout.val_kwargs.do_sample=False rollout.val_kwargs.temperature=0.7", "rollout.val_kwargs.temperature",
      "0", NULL },
    { "rollout.val_kwargs.do_sample=True rollout.val_kwargs.temperature=0.7", "rollout.val_kwargs.temperature",
      "0.7", NULL },
    { "rollout.val_kwargs.do_sample=False rollout.val_kwargs.top_p=0.7", "rollout.val_kwargs.top_p", "1", NULL },
    { "rollout.multi_turn.max_assistant_turns=2", "tools.call_limit", "1", NULL },
    { "rollout.multi_turn.max_assistant_turns=null", "tools.call_limit", "5", NULL },
    { "rollout.multi_turn.max_assistant_turns=1.5", NULL, NULL, "a number of turns" },
    { "rollout.multi_turn.max_user_turns=7", "tools.call_limit", "7", NULL },
    { "rollout.multi_turn.max_user_turns=16 rollout.multi_turn.max_assistant_turns=16", "tools.call_limit", "15",
      NULL },
    { "rollout.multi_turn.max_assistant_turns=9 tools.call_limit=3", "tools.call_limit", "3", NULL },
    { "rollout.multi_turn.enable=False rollout.multi_turn.format=hermes", "tools.call_limit", "0", NULL },
    { "rollout.multi_turn.enable=False rollout.multi_turn.format=hermes", "tools.format", "tags", NULL },
    { "rollout.multi_turn.enable=True rollout.multi_turn.format=qwen", "tools.format", "hermes", NULL },
    { "rollout.multi_turn.enable=True rollout.multi_turn.format=chatml", "tools.format", "tags", NULL },
    { "max_turns=2 data.max_response_length=500 data.max_obs_length=300", "data.max_response_length", "2100",
      NULL },
    { "max_turns=2 data.max_response_length=500 data.max_obs_length=300", "tools.call_limit", "2", NULL },
    { "data.max_prompt_length=4096 data.max_start_length=2048", "data.max_prompt_length", "2048", NULL },
    { "rollout.n_agent=5 algorithm.adv_estimator=grpo", "rollout.n", "5", NULL },
    { "rollout.max_model_len=15000 data.max_prompt_length=4096 data.max_response_length=3000", "rollout.max_len",
      "7096", NULL },
    { "rollout.max_model_len=5000 data.max_prompt_length=4096 data.max_response_length=3000", "rollout.max_len",
      "5000", NULL },
    { "rollout.max_model_len=x", NULL, NULL, "not a whole number" },
    { "trainer.resume_mode=disable", "trainer.resume", "off", NULL },
    { "trainer.resume_mode=auto trainer.resume_from_path=a/global_step_3", "trainer.resume", "auto", NULL },
    { "trainer.resume_mode=resume_path trainer.resume_from_path=a/global_step_3", "trainer.resume",
      "a/global_step_3", NULL },
    { "trainer.resume_mode=resume_path", NULL, NULL, "needs trainer.resume_from_path" },
    { "trainer.resume_mode=never", NULL, NULL, "one of: auto, disable, resume_path" },
    { "actor.optim.betas=[0.8,0.99]", "actor.optim.beta1", "0.8", NULL },
    { "actor.optim.betas=0.8,0.99", "actor.optim.beta2", "0.99", NULL },
    { "actor.optim.betas=0.8", NULL, NULL, "two numbers" },
    { "actor.optim.betas=[0.8,0.99", NULL, NULL, "two numbers" },
    { "actor.optim.betas=[0.8,0.99]7", NULL, NULL, "two numbers" },
    { "actor.optim.betas=0.8,0.99,0.9", NULL, NULL, "two numbers" },
    /* what lies below every other key, by way of another key, the environment or another name */
    { "algorithm.preset=${trainer.project_name} trainer.project_name=paper", "data.train_batch_size", "128", NULL },
    { "algorithm.preset=${oc.env:APPO_NOT_THERE,paper}", "data.train_batch_size", "128", NULL },
    { "algorithm.preset=${oc.env:APPO_NOT_THERE}", NULL, NULL, "2 keys are rejected" },
    { "rollout.appo_dynamic_branching=${rollout.do_sample} rollout.do_sample=true", "branch.when", "step", NULL },
    { "model.path=${data.nothing}", "actor.optim.lr", "0.0003", NULL },
    { "model.path=/m", "actor.optim.lr", "1e-06", NULL },
    { "model.partial_pretrain=/m", "actor.optim.lr", "1e-06", NULL },
    { "actor.optim.lr_warmup_steps_ratio=0.1", "actor.optim.lr_warmup_steps", "-1", NULL },
    { "actor.optim.lr_warmup_steps_ratio=0.1 actor.optim.lr_warmup_steps=7", "actor.optim.lr_warmup_steps", "7",
      NULL },
    { "actor.clip_ratio=0.1 actor.clip_ratio_high=0.3", "actor.clip_ratio_high", "0.3", NULL },
    { "actor.clip_ratio_high=0.3 actor.clip_ratio=0.1", "actor.clip_ratio_high", "0.3", NULL },
    { "actor.clip_ratio_high=0.3 actor.clip_ratio=0.1", "actor.clip_ratio_low", "0.1", NULL },
    { "custom_reward_function.path=/x/deep_research.py", "reward.kind", "deep_research", NULL },
    { "custom_reward_function.path=null", "reward.kind", "task", NULL },
    { "rollout.tools.call_limit=3 rollout.tools.max_workers=64", "tools.threads", "64", NULL },
    { "rollout.tools.tool_instances.search.params.cache_file=~/c.json", "tools.search_cache", "/h/c.json", NULL },
    { "trainer.logger=[wandb]", "trainer.logger", "console", NULL },
    { "trainer.logger=['console','wandb','tensorboard',mlflow]", "trainer.logger", "console,tensorboard", NULL },
    /* null, removal, later ones, interpolation */
    { "trainer.total_training_steps=7 trainer.total_training_steps=null", "trainer.total_training_steps", "40",
      NULL },
    { "data.val_files=null", "data.val_files", "", NULL },
    { "data.seed=null trainer.rollout_data_dir=null", "data.seed", "-1", NULL },
    { "trainer.rollout_data_dir=null", "trainer.rollout_data_dir", "", NULL },
    { "rollout.n=9 ~rollout.n", "rollout.n", "16", NULL },
    { "rollout.n=9 ~rollout.n ++rollout.n=11", "rollout.n", "11", NULL },
    { "~rollout.nn", NULL, NULL, "rollout.nn (here): no such option. Did you mean rollout.n" },
    { "rollout.name=???", "rollout.n", "16", NULL },
    { "rollout.n=???", "rollout.n", "16", NULL },
    { "trainer.experiment_name=e trainer.default_local_dir=c/${trainer.project_name}/${trainer.experiment_name}",
      "trainer.default_local_dir", "c/appo/e", NULL },
    { "rollout.n=8 actor.ppo_mini_batch_size=${rollout.n} data.train_batch_size=16", "actor.ppo_mini_batch_size",
      "8", NULL },
    { "actor_rollout_ref.rollout.n=8 actor_rollout_ref.rollout.initial_rollouts=${.n}", "rollout.initial_rollouts",
      "8", NULL },
    { "actor.ppo_epochs=3 actor.optim.lr_warmup_steps=${..ppo_epochs}", "actor.optim.lr_warmup_steps", "3", NULL },
    { "rollout.n=${oc.select:data.nothing,7}", "rollout.n", "7", NULL },
    { "rollout.n=${oc.select:data.nothing,${rollout.initial_rollouts}}", "rollout.n", "4", NULL },
    { "rollout.n=${oc.select:data.nothing}", "rollout.n", "16", NULL },
    { "trainer.project_name=a-${oc.env:HOME}-b", "trainer.project_name", "a-/h-b", NULL },
    { "trainer.project_name=${oc.env:APPO_NOT_THERE,x}", "trainer.project_name", "x", NULL },
    { "trainer.project_name=${oc.env:APPO_NOT_THERE,'a.b'}", "trainer.project_name", "a.b", NULL },
    { "trainer.project_name=${oc.env:APPO_NOT_THERE,\"x'y\"}", "trainer.project_name", "x'y", NULL },
    { "trainer.project_name=${oc.env:APPO_NOT_THERE,''}/c", "trainer.project_name", "/c", NULL },
    { "trainer.project_name=${oc.env:APPO_NOT_THERE}", NULL, NULL, "${oc.env:APPO_NOT_THERE} is not" },
    { "trainer.project_name=${now:%Y}", NULL, NULL,
      "trainer.project_name=${now:%Y} (here): ${now:%Y} is not understood" },
    { "trainer.project_name=x${data.nothing}", NULL, NULL, "${data.nothing} is not set" },
    { "trainer.project_name=${trainer.project_name}", NULL, NULL, "names itself" },
    { "trainer.project_name=x${trainer.experiment_name} trainer.experiment_name=y${trainer.project_name}", NULL,
      NULL, "keys are rejected" },
    { "trainer.project_name=${trainer", NULL, NULL, "without }" },
    { "trainer.project_name=${}", NULL, NULL, "is not" },
    { "rollout.prompt_length=${anything:at_all}", "rollout.n", "16", NULL },
    { "model.lora_rank=${model.nothing}", "rollout.n", "16", NULL },
    /* neutral and other values of what is not built */
    { "model.lora_rank=0", "rollout.n", "16", NULL },
    { "model.lora_rank=8", NULL, NULL, "model.lora_rank=8 (here): LoRA is not built" },
    { "actor_rollout_ref.model.lora_rank=8", NULL, NULL, "model.lora_rank=8 (here): LoRA is not built" },
    { "reward_model.enable=false", "rollout.n", "16", NULL },
    { "reward_model.enable=True", NULL, NULL, "reward models are not built" },
    { "trainer.nnodes=1 trainer.n_gpus_per_node=1 rollout.tensor_model_parallel_size=1", "rollout.n", "16", NULL },
    { "trainer.nnodes=2", NULL, NULL, "ranks are not built" },
    { "trainer.n_gpus_per_node=8", NULL, NULL, "ranks are not built" },
    { "actor.ulysses_sequence_parallel_size=2", NULL, NULL, "ranks are not built" },
    { "actor.megatron.tensor_model_parallel_size=4", NULL, NULL, "ranks are not built" },
    { "reward_model.rollout.tensor_model_parallel_size=2", "rollout.n", "16", NULL },
    { "actor.optim.clip_grad=1.0", "rollout.n", "16", NULL },
    { "actor.optim.clip_grad=0.5", NULL, NULL, "actor.grad_clip" },
    { "actor.optim.lr_scheduler_type=cosine", NULL, NULL, "constant after the warm-up" },
    { "actor.optim.warmup_style=null", "rollout.n", "16", NULL },
    { "actor.optim.optimizer=adam actor.optim.lr_decay_style=constant actor.optim.lr_warmup_init=0.0", "rollout.n",
      "16", NULL },
    { "+actor.optim.override_optimizer_config.optimizer_cpu_offload=True", "rollout.n", "16", NULL },
    { "+actor.optim.override_optimizer_config.eps=1e-5", NULL, NULL, "AdamW's usual ones" },
    { "actor.optim.lr_decay_style=cosine", NULL, NULL, "constant after the warm-up" },
    { "async_training.staleness_threshold=0.5", NULL, NULL, "is not built" },
    { "data.prompt_dict_keys=['question']", NULL, NULL, "data.prompt_key names a column" },
    { "rollout.nnodes=2", NULL, NULL, "ranks are not built" },
    { "algorithm.adv_estimator=gae", NULL, NULL, "gae (here): needs a critic, which is not built yet" },
    { "rollout.tools.tool_instances.code.class_path=a.B", NULL, NULL, "tools of one's own" },
    { "data.apply_chat_template_kwargs={}", "rollout.n", "16", NULL },
    { "+data.apply_chat_template_kwargs.enable_thinking=False", NULL, NULL, "the chat template" },
    { "data.custom_cls.path=/x.py", NULL, NULL, "classes of one's own" },
    { "rollout.do_sample=False", NULL, NULL, "greedy rollouts" },
};

/* One key's value after a command line; error: instead, what the one problem says */
static void other_programs_values(void **state)
{
    (void)state;
    assert_int_equal(setenv("HOME", "/h", 1), 0);
    for (size_t i = 0; i < sizeof foreign_values / sizeof *foreign_values; i++) {
        struct err e = { "" };
        struct config c;
        char text[64], *said = NULL;
        bool ok = applied(&c, foreign_values[i].args, &said, &e);
        if (foreign_values[i].error) {
            CHECK(!ok && strstr(e.text, foreign_values[i].error), "%s: \"%s\", want \"%s\"", foreign_values[i].args,
                  e.text, foreign_values[i].error);
        } else {
            CHECK(ok, "%s: %s", foreign_values[i].args, e.text);
            const char *got = config_text(&c, config_find(foreign_values[i].key), text);
            CHECK(!strcmp(got, foreign_values[i].text), "%s: %s is %s, want %s", foreign_values[i].args,
                  foreign_values[i].key, got, foreign_values[i].text);
        }
        free(said);
        config_free(&c);
    }
}

/* All that is wrong at once, what is ignored in one line, and what is meant otherwise */
static void what_is_said(void **state)
{
    (void)state;
    static const struct { const char *args, *said[4]; bool ok; } cases[] = {
        { "rollout.nn=1 model.lora_rank=8 rollout.n=x trainer.n_gpus_per_node=8",
          { "appo: rollout.nn (here): no such option. Did you mean rollout.n",
            "\nappo: model.lora_rank=8 (here): LoRA is not built\n",
            "\nappo: rollout.n=x (here): not a whole number; valid: 1 to 65536\n",
            "\nappo: trainer.n_gpus_per_node=8 (here): one process and one GPU; ranks are not built: 1 is possible\n" },
            false },
        { "actor.kl_loss_coef=0.1",
          { "warning: actor.kl_loss_coef=0.1 without actor.use_kl_loss=true: no KL in the loss (as in verl)\n" },
          true },
        { "trainer.logger=wandb",
          { "ignored in trainer.logger: wandb (metrics.jsonl and tensorboard have verl's names)\n" }, true },
        { "rollout.n=8", { "" }, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct config c;
        char *said = NULL;
        bool ok = applied(&c, cases[i].args, &said, &e);
        CHECK(ok == cases[i].ok, "%s: %s", cases[i].args, e.text);
        for (int j = 0; j < 4 && cases[i].said[j]; j++)
            CHECK(*cases[i].said[j] ? strstr(said, cases[i].said[j]) != NULL : !*said, "%s: said \"%s\", want \"%s\"",
                  cases[i].args, said, cases[i].said[j]);
        if (!ok) CHECK(!strcmp(e.text, "4 keys are rejected; nothing was started"), "%s", e.text);
        free(said);
        config_free(&c);
    }
    struct err e = { "" };
    struct config c;
    char *said = NULL;
    CHECK(applied(&c,
                  "actor_rollout_ref.rollout.name=vllm critic.optim.lr=1e-5 critic.strategy=fsdp trainer.nnodes=1 "
                  "trainer.default_local_dir=x algorithm.adv_estimator=grpo",
                  &said, &e),
          "%s", e.text);
    CHECK(strstr(said, "ignored, options of other engines: rollout.name, critic.* (2), trainer.nnodes\n"), "%s", said);
    CHECK(strstr(said, "meant otherwise than in verl: trainer.default_local_dir: checkpoints lie in it under "
                       "project_name/experiment_name"),
          "%s", said);
    CHECK(strstr(said, "not given, and other than verl's default: ") && strstr(said, "actor.optim.beta2=0.95 (verl: "
                                                                                     "0.999)"),
          "%s", said);
    free(said);
    config_free(&c);
}

/* A key that is given and that the estimator or the loss does not read */
static void what_has_no_effect(void **state)
{
    (void)state;
    static const struct { const char *args, *said; } cases[] = {
        { "algorithm.adv_estimator=grpo algorithm.gamma=0.9",
          "warning: algorithm.gamma=0.9 has no effect with algorithm.adv_estimator=grpo\n" },
        { "algorithm.adv_estimator=grpo algorithm.gamma=1", "" },
        { "algorithm.adv_estimator=reinforce_plus_plus algorithm.gamma=0.9 actor.clip_ratio_c=5", "" },
        { "algorithm.adv_estimator=rloo algorithm.norm_adv_by_std_in_grpo=False",
          "warning: advantage.norm_by_std=false has no effect with algorithm.adv_estimator=rloo\n" },
        { "algorithm.adv_estimator=grpo_passk algorithm.norm_adv_by_std_in_grpo=False", "" },
        { "algorithm.adv_estimator=grpo actor.policy_loss.loss_mode=gspo actor.clip_ratio_c=5",
          "warning: actor.clip_ratio_c has no effect with actor.policy_loss.loss_mode=gspo\n" },
        { "algorithm.adv_estimator=grpo actor.policy_loss.loss_mode=gppo actor.clip_ratio_c=5", "" },
        { "algorithm.adv_estimator=opo branch.points=2 branch.score=random rollout.initial_rollouts=2",
          "warning: no effect with algorithm.adv_estimator=opo, which makes no branches: rollout.initial_rollouts, "
          "branch.score, branch.points\n" },
        { "algorithm.adv_estimator=grpo algorithm.preset=official branch.entropy=full", "" },
        { "branch.gamma=0.5", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct config c;
        char *said = NULL, *warned = NULL;
        size_t n;
        CHECK(applied(&c, cases[i].args, &said, &e), "%s: %s", cases[i].args, e.text);
        FILE *f = open_memstream(&warned, &n);
        CHECK(config_check(&c, f, &e), "%s: %s", cases[i].args, e.text);
        fclose(f);
        CHECK(!strcmp(warned, cases[i].said), "%s: said \"%s\"", cases[i].args, warned);
        free(said);
        free(warned);
        config_free(&c);
    }
}

/* Nothing to assert but that it returns: the sanitizer build looks on. */
static void words_survive_damage(void **state)
{
    (void)state;
    static const char words[] =
        "actor_rollout_ref.rollout.n=8 trainer.default_local_dir=a/${trainer.project_name}/${.experiment_name} "
        "trainer.logger=['console','wandb'] ~rollout.n "
        "actor.optim.betas=[0.9,0.999] rollout.max_len=${oc.select:data.x,${oc.env:HOME,5}} data.train_files=[~/a,b] "
        "max_turns=2 data.max_response_length=500 model.lora_rank=null";
    struct rng r = rng_make(1, 2, 0);
    char text[sizeof words];
    int rejected = 0;
    for (int i = 0; i < 1500; i++) {
        struct err e = { "" };
        struct config c;
        char *said = NULL;
        memcpy(text, words, sizeof words);
        for (int k = 0; k < 1 + i % 4; k++)
            text[rng_below(&r, sizeof words - 1)] = "$${}}[],.:~'\"=+ null0-"[rng_below(&r, 22)];
        bool ok = applied(&c, text, &said, &e);
        CHECK(ok || *e.text, "%s", text);
        rejected += !ok;
        free(said);
        config_free(&c);
    }
    CHECK(rejected > 300 && rejected < 1500, "%d of 1500 rejected", rejected);
}

static void patterns(void **state)
{
    (void)state;
    static const struct { const char *pattern, *text; bool fits; } cases[] = {
        { "", "", true }, { "", "a", false }, { "a", "", false }, { "*", "", true }, { "*", "abc", true },
        { "a*", "abc", true }, { "a*", "ba", false }, { "*c", "abc", true }, { "*c", "abcd", false },
        { "a*c", "abcabc", true }, { "a*b*c", "axxbxxc", true }, { "a*b*c", "axxcxxb", false },
        { "*.fsdp_config.*", "actor.fsdp_config.x", true }, { "*.fsdp_config.*", "fsdp_config.x", false },
        { "**a**", "bab", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(config_glob(cases[i].pattern, cases[i].text) == cases[i].fits, "%s, %s", cases[i].pattern, cases[i].text);
    struct str p = { 0 }, t = { 0 };
    for (int i = 0; i < 2000; i++) str_puts(&p, "*a"), str_puts(&t, "aaaaaaaa");
    str_putc(&p, 'b');
    CHECK(!config_glob(p.p, t.p), "many stars");
    str_free(&p);
    str_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_names_its_field), cmocka_unit_test(every_key_decides_numbers_or_does_not),
        cmocka_unit_test(presets_and_renames_name_real_keys), cmocka_unit_test(presets_hold_the_published_numbers),
        cmocka_unit_test(presets_in_numbers), cmocka_unit_test(grpo_is_grpo), cmocka_unit_test(temperatures),
        cmocka_unit_test(good_and_bad_values), cmocka_unit_test(one_name_may_set_two_keys),
        cmocka_unit_test(yaml_becomes_settings), cmocka_unit_test(yaml_of_empty_lines),
        cmocka_unit_test(yaml_of_any_name), cmocka_unit_test(yaml_rejected), cmocka_unit_test(yaml_survives_damage),
        cmocka_unit_test(later_sources_win), cmocka_unit_test(what_is_printed_reads_back),
        cmocka_unit_test(contradictions), cmocka_unit_test(defaults_that_follow), cmocka_unit_test(lengths_of_a_model),
        cmocka_unit_test(what_fits_memory), cmocka_unit_test(high_rates_are_warned_of),
        cmocka_unit_test(other_programs_values), cmocka_unit_test(what_is_said),
        cmocka_unit_test(what_has_no_effect), cmocka_unit_test(words_survive_damage),
        cmocka_unit_test(patterns),
    };
    return cmocka_run_group_tests_name("config", tests, make_dir, drop_dir);
}
