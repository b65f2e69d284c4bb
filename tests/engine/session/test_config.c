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
    CHECK(c.model.recompute == RECOMPUTE_FULL, "recompute");
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
        { { "branch.every=0" }, "branch.every=0 (command line): out of range" },
        { { "branch.every=2" }, NULL },
        { { "branch.every=2", "branch.when=step" }, "branch.every=2 with branch.when=step" },
        { { "branch.every=2", "algorithm.adv_estimator=grpo" }, NULL },
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
    };
    return cmocka_run_group_tests_name("config", tests, make_dir, drop_dir);
}
