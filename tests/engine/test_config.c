/* test_config.c: every key reads, prints and reads back; the order of sources; what is refused and with which words; hostile YAML. */
#include "base/file.h"
#include "base/philox.h"
#include "base/str.h"
#include "engine/config_table.h"
#include "tests/check.h"
#include "tests/folder.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* the name of the field as the compiler spells it, for the rule key -> field of config.h */
#define F(field) { #field, offsetof(struct config, field) }
static const struct { const char *name; size_t at; } fields[] = {
    F(data.train_files), F(data.val_files), F(data.prompt_key), F(data.answer_key), F(data.source_key), F(data.shuffle), F(data.seed), F(data.truncation),
    F(data.filter_overlong_prompts), F(data.max_length), F(data.system_prompt), F(data.train_batch_size), F(data.val_per_family), F(data.max_prompt_length),
    F(data.max_response_length), F(model.path), F(model.chat_format), F(model.recompute), F(model.check), F(rollout.n), F(rollout.initial_rollouts),
    F(rollout.temperature), F(rollout.top_p), F(rollout.top_k), F(rollout.max_num_seqs), F(rollout.max_num_batched_tokens), F(rollout.max_len),
    F(rollout.val_kwargs_temperature), F(rollout.val_kwargs_top_p), F(rollout.val_kwargs_top_k), F(rollout.val_kwargs_n), F(branch.when),
    F(branch.score), F(branch.omega), F(branch.pool), F(branch.points), F(branch.rounds), F(branch.gamma), F(branch.clip_low), F(branch.clip_high),
    F(branch.entropy), F(branch.candidates), F(branch.min_gap), F(branch.strict_first), F(branch.fallback), F(branch.entropy_if_flat),
    F(branch.resample_token), F(branch.train),
    F(branch.tool_budget), F(advantage.dual_group), F(advantage.norm_by_std), F(advantage.future), F(advantage.future_weight),
    F(advantage.future_gamma), F(advantage.future_clip_low), F(advantage.future_clip_high), F(advantage.future_leave_out), F(advantage.future_safety),
    F(advantage.reward_scale), F(advantage.reward_scale_discount), F(algorithm.preset), F(algorithm.adv_estimator), F(algorithm.use_kl_in_reward),
    F(actor.optim_lr), F(actor.optim_lr_warmup_steps), F(actor.optim_weight_decay), F(actor.optim_decay_all), F(actor.optim_beta1), F(actor.optim_beta2), F(actor.optim_eps), F(actor.optim_state_dtype),
    F(actor.grad_clip), F(actor.ppo_mini_batch_size), F(actor.ppo_epochs), F(actor.epoch_order), F(actor.ppo_max_token_len_per_gpu), F(actor.clip_ratio_low),
    F(actor.clip_ratio_high), F(actor.clip_ratio_c), F(actor.use_kl_loss), F(actor.kl_loss_coef), F(actor.kl_loss_type), F(actor.entropy_coeff),
    F(actor.loss_agg_mode), F(actor.drop_rows), F(actor.live_rows_only), F(reward.kind), F(reward.tool_bonus), F(reward.wrong), F(reward.malformed),
    F(tools.format), F(tools.call_limit), F(tools.timeout), F(tools.max_pages), F(tools.max_chars), F(tools.max_tokens), F(tools.threads), F(tools.search_cache), F(tools.search_miss), F(sft.steps),
    F(sft.batch_size), F(sft.lr), F(sft.warmup_steps), F(sft.min_lr_ratio), F(sft.weight_decay), F(sft.beta2), F(sft.grad_clip), F(sft.guess_high),
    F(sft.guess_low), F(sft.early), F(sft.slip), F(sft.mask_results), F(sft.save), F(trainer.total_training_steps), F(trainer.total_epochs), F(trainer.seed), F(trainer.test_freq),
    F(trainer.save_freq), F(trainer.save_minutes), F(trainer.max_actor_ckpt_to_keep), F(trainer.best_metric), F(trainer.project_name), F(trainer.experiment_name), F(trainer.default_local_dir), F(trainer.rollout_data_dir),
    F(trainer.rollout_data_prompts), F(trainer.rollout_data_gzip), F(trainer.val_before_train), F(trainer.resume), F(trainer.verify), F(trainer.threads), F(trainer.report), F(trainer.logger),
};
#undef F

static void every_row_names_its_field(void **state)
{
    (void)state;
    CHECK(config_nkeys == (int)(sizeof fields / sizeof *fields), "%d keys in the table", config_nkeys);
    for (int i = 0; i < config_nkeys; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s", config_keys[i].name);
        for (char *p = strchr(name, '.') + 1; *p; p++)
            if (*p == '.') *p = '_';
        CHECK(!strcmp(name, fields[i].name), "row %d: %s against field %s", i, name, fields[i].name);
        CHECK(config_keys[i].at == fields[i].at, "%s", name);
        CHECK(config_keys[i].help && *config_keys[i].help && !strchr(config_keys[i].help, '\n'), "%s: help", name);
        CHECK((config_keys[i].type == KEY_CHOICE) == (config_keys[i].choices != NULL), "%s: choices", name);
        CHECK(config_find(config_keys[i].name) == &config_keys[i], "%s is in the table twice", name);
        CHECK(!config_is_foreign(config_keys[i].name), "%s is ours", name);
    }
}

static bool listed(const char *const *list, const char *key)
{
    int n = 0;
    for (; *list; list++) n += !strcmp(*list, key);
    return n > 0;
}

/* A new key: say in engine/config_resume.c whether a run may be resumed with another value of it. */
static void every_key_decides_numbers_or_does_not(void **state)
{
    (void)state;
    int lists = 0;
    for (int i = 0; i < config_nkeys; i++) {
        const char *key = config_keys[i].name;
        CHECK(listed(config_decisive, key) != listed(config_free_keys, key), "%s: not in exactly one list of engine/config_resume.c", key);
        CHECK(config_decides(key) == listed(config_decisive, key), "%s", key);
    }
    for (const char *const *p = config_decisive; *p; p++, lists++) CHECK(config_find(*p), "%s: no such key", *p);
    for (const char *const *p = config_free_keys; *p; p++, lists++) CHECK(config_find(*p), "%s: no such key", *p);
    CHECK(lists == config_nkeys, "a key is listed twice");
    CHECK(config_decides("actor.optim.lr") && config_decides("rollout.val_kwargs.n") && config_decides("tools.timeout"), "these decide");
    CHECK(!config_decides("actor.ppo_max_token_len_per_gpu") && !config_decides("trainer.threads") && !config_decides("rollout.max_num_seqs"), "these do not");
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
    CHECK(c.branch.strict_first && c.branch.resample_token && !c.branch.train && c.actor.live_rows_only, "default switches");
    CHECK(c.advantage.dual_group == DUAL_PREFIX && c.advantage.future == FUTURE_SCALE && c.actor.kl_loss_type == KL_K3, "default choices");
    assert_true(config_preset(&c, "official", &e));
    CHECK(c.branch.when == BRANCH_STEP && c.branch.pool == POOL_PROMPT && c.branch.entropy == ENTROPY_TOP10, "official choices");
    CHECK(c.branch.fallback == FALLBACK_PRODUCT && c.reward.kind == RULE_DEEP_RESEARCH && c.actor.drop_rows, "official choices");
    CHECK_NEAR(c.advantage.future_gamma, exp2(-1.0 / 64), 0, "official future gamma");
    CHECK_NEAR(c.branch.gamma, 1, 0, "official gamma");
    CHECK_NEAR(c.actor.kl_loss_coef, 0.001, 0, "official KL");
    CHECK_NEAR(c.actor.optim_beta2, 0.999, 0, "official beta2");
    config_free(&c);
    config_init(&c);
    assert_true(config_preset(&c, "paper", &e));
    CHECK(c.advantage.dual_group == DUAL_AVERAGE && c.actor.loss_agg_mode == AGG_SEQ_MEAN_TOKEN_MEAN && !c.branch.strict_first, "paper choices");
    CHECK_NEAR(c.advantage.future_leave_out, 0, 0, "paper leaves nothing out");
    config_free(&c);
}

static void good_and_bad_values(void **state)
{
    (void)state;
    static const struct { const char *key, *value, *text, *error; } cases[] = {
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
        { "data.train_files", "['a.jsonl', \"b.jsonl\"]", "a.jsonl,b.jsonl", NULL },
        { "data.train_files", "\"a b\"", "a b", NULL },
        { "data.train_files", "", "", NULL },
        { "data.train_files", "[", "[", NULL },
        { "rollout.nn", "8", NULL, "rollout.nn (here): no such option. Did you mean rollout.n" },
        { "optim.lr", "8", NULL, "actor.optim.lr" },
        { "actor.lr", "8", NULL, "actor.optim.lr" },
        { "branch.gama", "8", NULL, "branch.gamma" },
        { "trainer.total_training_step", "8", NULL, "Did you mean trainer.total_training_steps" },
        { "train_batch_size", "8", NULL, "data.train_batch_size" },
        { "zzzzzzzzzzzz", "8", NULL, "zzzzzzzzzzzz (here): no such option. --print-config" },
        { "", "8", NULL, "no such option" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct config c;
        char text[64];
        config_init(&c);
        bool ok = config_set(&c, cases[i].key, cases[i].value, "here", &e);
        if (cases[i].error) {
            CHECK(!ok && strstr(e.text, cases[i].error), "%s=%s: \"%s\", want \"%s\"", cases[i].key, cases[i].value, e.text, cases[i].error);
        } else {
            CHECK(ok, "%s=%s: %s", cases[i].key, cases[i].value, e.text);
            const char *got = config_text(&c, config_find(config_plain_key(cases[i].key)), text);
            CHECK(!strcmp(got, cases[i].text), "%s=%s: got %s", cases[i].key, cases[i].value, got);
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
        { "actor_rollout_ref.actor.optim.lr", "1e-5", "f.yaml:4" }, { "actor_rollout_ref.actor.optim.betas", "0.9,0.95", "f.yaml:4" },
        { "actor_rollout_ref.actor.grad_clip", "2", "f.yaml:5" }, { "data.train_files", "a.jsonl,b c.jsonl", "f.yaml:7" },
        { "trainer.report", "", "f.yaml:10" }, { "trainer.project_name", "null", "f.yaml:11" }, { "trainer.seed", "7", "f.yaml:12" },
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

static void yaml_refused(void **state)
{
    (void)state;
    static const struct { const char *text, *error; } cases[] = {
        { "", NULL }, { "\n", NULL }, { "# only a comment\n", NULL }, { "---\n", NULL }, { "~", NULL }, { "a: {}", NULL },
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
        { "\xff\xfe\xfd", "f.yaml: not UTF-8" }, { "a: \xff\n", "not UTF-8" },
        { "a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: 1}}}}}}}}}}}}}}}}\n", "nested deeper than 16" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct settings s = { 0 };
        bool ok = config_yaml(&s, "f.yaml", cases[i].text, strlen(cases[i].text), &e);
        if (cases[i].error) CHECK(!ok && strstr(e.text, cases[i].error), "%s: \"%s\", want \"%s\"", cases[i].text, e.text, cases[i].error);
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
    int refused = 0;
    for (int i = 0; i < 600; i++) {
        struct err e;
        struct settings s = { 0 };
        size_t n = sizeof good_yaml - 1;
        memcpy(text, good_yaml, n);
        if (i < (int)n) n = (size_t)i;
        else for (int k = 0; k < 4; k++) text[rng_below(&r, (uint32_t)n)] = "[]{}:,-\n\t\"'&*!|>#%@\xff a0"[rng_below(&r, 24)];
        refused += !config_yaml(&s, "f.yaml", text, n, &e);
        settings_free(&s);
    }
    CHECK(refused > 50 && refused < 600, "%d of 600 refused", refused);
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

/* Lines without words in a block of text, which the parser's time grows with the square of. */
static void yaml_of_empty_lines(void **state)
{
    (void)state;
    static const struct { const char *line; int n; bool ok; } cases[] = {
        { "\n", 150, true }, { " \r\n", 150, true }, { "\n", 250, false }, { " \t\n", 250, false }, { "\r", 250, false }, { "\r\n", 250, false }, { " \n", 200000, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str text = { 0 };
        struct settings s = { 0 };
        struct err e = { "" };
        str_puts(&text, "a: |\n x\n");
        for (int k = 0; k < cases[i].n; k++) str_puts(&text, cases[i].line);
        bool ok = config_yaml(&s, "f.yaml", text.p, text.n, &e);
        CHECK(ok == cases[i].ok, "case %zu: %s", i, e.text);
        if (!ok) CHECK(strstr(e.text, "f.yaml:20") && strstr(e.text, "more than 200 empty lines"), "case %zu says '%s'", i, e.text);
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

static const char *source_of(const struct config *c, const char *key) { const char *s = c->source[config_find(key) - config_keys]; return s ? s : "default"; }

static void later_sources_win(void **state)
{
    (void)state;
    struct err e = { "" };
    struct config c;
    int rest;
    const char *left[16];
    char path[64], want[80];
    snprintf(path, sizeof path, "%s/run.yaml", dir);
    static const char text[] = "rollout: {n: 8, initial_rollouts: 2}\nalgorithm.preset: official\ntrainer: {nnodes: 4, seed: 3}\n";
    assert_true(file_write(path, text, strlen(text), &e));
    const char *args[] = { "first", "rollout.n=32", "--config", path, "--seed", "9", "--out", "x.json", "--steps=2", "rollout.name=vllm", "--print-config",
                           "algorithm.preset=paper", NULL };
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
    const char *args[] = { "algorithm.preset=official", "trainer.report=a \"quoted\" \\ name\n#", "actor.optim.lr=0.1234567890123456",
                           "branch.train=on", NULL };
    CHECK(load(&a, args, &rest, NULL, &e), "%s", e.text);
    FILE *f = open_memstream(&text, &n);
    config_print(&a, f);
    fclose(f);
    CHECK(strstr(text, "actor.kl_loss_coef: 0.001 ") && strstr(text, "# preset official: weight of that term"), "%s", text);
    char path[64];
    snprintf(path, sizeof path, "%s/printed.yaml", dir);
    assert_true(file_write(path, text, n, &e));
    const char *back[] = { "--config", path, NULL };
    CHECK(load(&b, back, &rest, NULL, &e), "%s", e.text);
    json_t *ja = config_json(&a), *jb = config_json(&b);
    CHECK(json_equal(ja, jb), "the configuration read back");
    assert_int_equal(json_object_size(ja), config_nkeys);
    f = open_memstream(&again, &m);
    config_print(&b, f);
    fclose(f);
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
        { { "trainer.logger=['console','wandb']" }, "no logger wandb; valid: console, file, tensorboard" },
        { { "trainer.logger=['console','tensorboard']" }, NULL },
        { { "trainer.logger=" }, NULL },
        { { "algorithm.preset=papr" }, "algorithm.preset=papr (command line): no such choice; valid: one of: default, paper, official" },
        { { "--seed" }, "--seed needs a value" },
        { { "--config", "/nonexistent.yaml" }, "/nonexistent.yaml" },
        { { "actor.kl_loss_coef=0.1", "actor.use_kl_loss=false" }, NULL },
        { { "custom_reward_function.path=x.py" }, "no such option" },
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

/* The second column of defaults, and what follows from what was given: value and source of one key. */
static void defaults_that_follow(void **state)
{
    (void)state;
    static const char sum[] = "default, data.max_prompt_length + data.max_response_length", column[] = "default for model.path";
    static const struct { const char *args[4], *key, *text, *source; } cases[] = {
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
        { { "model.path=m", "data.max_prompt_length=100", "data.max_response_length=50" }, "rollout.max_len", "150", sum },
        { { "data.max_response_length=20000" }, "actor.ppo_max_token_len_per_gpu", "20064", "default, rollout.max_len" },
        { { "model.path=m", "rollout.max_len=1000" }, "data.max_prompt_length", "500", "default, half of rollout.max_len" },
        { { "model.path=m", "rollout.max_len=1000" }, "data.max_response_length", "1000", "default, rollout.max_len" },
        { { "rollout.max_len=100" }, "data.max_prompt_length", "64", "default" },
        { { "data.train_batch_size=12" }, "actor.ppo_mini_batch_size", "12", "default, divides data.train_batch_size" },
        { { "data.train_batch_size=32" }, "actor.ppo_mini_batch_size", "8", "default, divides data.train_batch_size" },
        { { "model.path=m", "data.train_batch_size=128" }, "actor.ppo_mini_batch_size", "8", column },
        { { "rollout.max_num_seqs=2048" }, "rollout.max_num_batched_tokens", "2048", "default, rollout.max_num_seqs" },
        { { "actor.use_kl_loss=True" }, "actor.kl_loss_coef", "0.001", "default for actor.use_kl_loss=true" },
        { { "actor.use_kl_loss=True", "actor.kl_loss_coef=0" }, "actor.kl_loss_coef", "0", "command line" },
        { { "actor.use_kl_loss=True", "actor.kl_loss_coef=0.2" }, "actor.kl_loss_coef", "0.2", "command line" },
        { { "actor.kl_loss_coef=0.2" }, "actor.kl_loss_coef", "0", "actor.use_kl_loss=false" },
        { { "algorithm.preset=official" }, "actor.kl_loss_coef", "0.001", "preset official" },
        { { "algorithm.preset=official", "actor.use_kl_loss=false" }, "actor.kl_loss_coef", "0", "actor.use_kl_loss=false" },
        { { "algorithm.preset=official", "algorithm.adv_estimator=grpo" }, "advantage.future", "off", "algorithm.adv_estimator=grpo" },
        { { "algorithm.adv_estimator=grpo", "advantage.future=scale" }, "advantage.future", "scale", "command line" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct config c;
        int rest;
        char text[64];
        const char *args[5] = { cases[i].args[0], cases[i].args[1], cases[i].args[2], cases[i].args[3], NULL };
        CHECK(load(&c, args, &rest, NULL, &e), "case %zu: %s", i, e.text);
        const char *got = config_text(&c, config_find(cases[i].key), text), *from = config_source(&c, cases[i].key);
        CHECK(!strcmp(got, cases[i].text) && !strcmp(from, cases[i].source), "case %zu: %s is %s (%s), want %s (%s)", i, cases[i].key, got, from, cases[i].text, cases[i].source);
        CHECK(config_given(&c, cases[i].key) == (strncmp(from, "default", 7) != 0), "case %zu: given", i);
        config_free(&c);
    }
}

/* A model of 512 positions, the embedded one in its folder: lengths that were not given fit it, those that were are kept. */
static void lengths_of_a_model(void **state)
{
    (void)state;
    static const struct { const char *args[3]; int len, prompt, response; } cases[] = {
        { { NULL }, 512, 170, 342 },
        { { "data.max_prompt_length=100" }, 512, 100, 412 },
        { { "data.max_response_length=300" }, 512, 212, 300 },
        { { "data.max_prompt_length=100", "data.max_response_length=200" }, 300, 100, 200 },
        { { "data.max_prompt_length=400", "data.max_response_length=200" }, 600, 400, 200 },       /* session_open refuses it */
        { { "rollout.max_len=600" }, 600, 300, 600 },
        { { "rollout.max_len=160" }, 160, 80, 160 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct config c;
        int rest;
        const char *args[5] = { "model.path=policy", cases[i].args[0], cases[i].args[1], NULL };
        CHECK(load(&c, args, &rest, NULL, &e), "case %zu: %s", i, e.text);
        config_for_model(&c, "actor.optim.lr", NULL);
        CHECK(c.rollout.max_len == cases[i].len && c.data.max_prompt_length == cases[i].prompt && c.data.max_response_length == cases[i].response,
              "case %zu: %d, %d, %d", i, c.rollout.max_len, c.data.max_prompt_length, c.data.max_response_length);
        config_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_names_its_field), cmocka_unit_test(every_key_decides_numbers_or_does_not), cmocka_unit_test(presets_and_renames_name_real_keys), cmocka_unit_test(presets_hold_the_published_numbers),
        cmocka_unit_test(good_and_bad_values), cmocka_unit_test(one_name_may_set_two_keys), cmocka_unit_test(yaml_becomes_settings), cmocka_unit_test(yaml_of_empty_lines),
        cmocka_unit_test(yaml_refused), cmocka_unit_test(yaml_survives_damage), cmocka_unit_test(later_sources_win),
        cmocka_unit_test(what_is_printed_reads_back), cmocka_unit_test(contradictions), cmocka_unit_test(defaults_that_follow), cmocka_unit_test(lengths_of_a_model),
    };
    return cmocka_run_group_tests_name("config", tests, make_dir, drop_dir);
}
