/* config_load.c: the configuration of a run: what is in files and arguments, in which order it counts, and what contradicts itself. Everything is
 * collected before anything is applied, since a preset named last still lies below every other key. */
#include "engine/config_table.h"
#include "base/file.h"
#include "base/str.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 20 };

struct sources { struct settings files, args; bool print; };

static bool read_file(struct settings *s, const char *path, struct err *e)
{
    struct str text = { 0 };
    struct settings one = { 0 };
    bool ok = file_read(path, FILE_MAX, &text, e) && config_yaml(&one, path, text.p ? text.p : "", text.n, e);
    for (int i = 0; ok && i < one.n; i++) settings_add(s, one.v[i].key, one.v[i].value, one.v[i].source);
    settings_free(&one);
    str_free(&text);
    return ok;
}

/* --name VALUE and --name=VALUE. 1: taken, 0: another option, -1: no value */
static int option(int argc, char **argv, int *i, const char *name, const char **value)
{
    size_t n = strlen(name);
    if (strncmp(argv[*i], name, n) || (argv[*i][n] && argv[*i][n] != '=')) return 0;
    if (argv[*i][n]) return *value = argv[*i] + n + 1, 1;
    if (*i + 1 >= argc) return -1;
    return *value = argv[++*i], 1;
}

static bool is_key(const char *s)
{
    return (*s >= 'a' && *s <= 'z') || *s == '+' || *s == '_' || (*s >= 'A' && *s <= 'Z');
}

static bool read_args(struct sources *s, int argc, char **argv, int *rest, struct err *e)
{
    static const struct { const char *option, *key; } shorts[] = {
        { "--config", NULL }, { "--seed", "trainer.seed" }, { "--steps", "trainer.total_training_steps" }, { "--report", "trainer.report" },
    };
    *rest = 0;
    for (int i = 0; i < argc; i++) {
        char *arg = argv[i], *equals = strchr(arg, '=');
        const char *value = NULL;
        int took = 0;
        for (size_t j = 0; !took && j < sizeof shorts / sizeof *shorts; j++) {
            took = option(argc, argv, &i, shorts[j].option, &value);
            if (took < 0) return fail(e, "%s needs a value", arg);
            if (took && !shorts[j].key && !read_file(&s->files, value, e)) return false;
            if (took && shorts[j].key) settings_add(&s->args, shorts[j].key, value, "command line");
        }
        if (took) continue;
        if (!strcmp(arg, "--print-config")) {
            s->print = true;
        } else if (is_key(arg) && equals) {
            char *key = xstrdup(arg);
            key[equals - arg] = 0;
            settings_add(&s->args, key, equals + 1, "command line");
            free(key);
        } else {
            argv[(*rest)++] = arg;
        }
    }
    return true;
}

/* what a file or the arguments say about a key, the last of it */
static const struct setting *last_of(const struct settings *s, const char *key)
{
    for (int i = s->n - 1; i >= 0; i--)
        if (!strcmp(config_plain_key(s->v[i].key), key)) return &s->v[i];
    return NULL;
}

static bool apply(struct config *c, const struct settings *s, struct str *foreign, struct err *e)
{
    for (int i = 0; i < s->n; i++) {
        const struct setting *v = &s->v[i];
        const char *key = config_plain_key(v->key);
        if (!config_is_foreign(key)) {
            if (!config_set(c, v->key, v->value, v->source, e)) return false;
            continue;
        }
        if (foreign->n > 2000) continue;
        if (foreign->n) str_puts(foreign, ", ");
        str_printf(foreign, "%.100s", key);
    }
    return true;
}

static bool apply_all(struct config *c, const struct sources *s, struct err *e)
{
    const struct setting *preset = last_of(&s->args, "algorithm.preset");
    if (!preset) preset = last_of(&s->files, "algorithm.preset");
    const struct setting *model = last_of(&s->args, "model.path");
    if (!model) model = last_of(&s->files, "model.path");
    if (model && *model->value && !config_default_column(c, e)) return false;
    /* set once by itself, so that a misspelt preset is reported with its own place */
    if (preset && (!config_set(c, preset->key, preset->value, preset->source, e) || !config_preset(c, preset->value, e))) return false;
    struct str foreign = { 0 };
    bool ok = apply(c, &s->files, &foreign, e) && apply(c, &s->args, &foreign, e);
    if (ok && foreign.n) fprintf(stderr, "ignored, options of other engines: %s\n", foreign.p);
    str_free(&foreign);
    if (!ok) return false;
    return config_derive(c, stderr, e);
}

bool config_load(struct config *c, int argc, char **argv, int *rest, struct err *e)
{
    struct sources s = { 0 };
    config_init(c);
    bool ok = read_args(&s, argc, argv, rest, e) && apply_all(c, &s, e) && config_check(c, stderr, e);
    c->print = s.print;
    settings_free(&s.files);
    settings_free(&s.args);
    return ok;
}

/* ---- what no single key can show ---- */

static bool check_logger(const char *list, struct err *e)
{
    static const char *const known[] = { "console", "file", "tensorboard" };
    for (const char *p = list; *p; ) {
        size_t n = strcspn(p, ","), i = 0;
        while (i < 3 && (strlen(known[i]) != n || memcmp(known[i], p, n))) i++;
        if (n && i == 3)
            return fail(e, "trainer.logger=%.80s: no logger %.*s; valid: console, file, tensorboard, separated by commas", list, (int)(n < 40 ? n : 40), p);
        p += n + (p[n] == ',');
    }
    return true;
}

/* Logits are divided by it: below this they leave the range of floats. */
static bool check_temperature(const char *key, double t, struct err *e)
{
    if (t == 0 || t >= 1e-4) return true;
    return fail(e, "%s=%g divides logits by next to nothing; valid: 0, which is greedy, or 0.0001 to 100", key, t);
}

static bool check_sizes(const struct config *c, struct err *e)
{
    int batch = c->data.train_batch_size, mini = c->actor.ppo_mini_batch_size;
    if (mini > batch || batch % mini)
        return fail(e, "actor.ppo_mini_batch_size=%d does not divide data.train_batch_size=%d; both count prompts", mini, batch);
    if (c->data.max_prompt_length >= c->rollout.max_len)
        return fail(e, "data.max_prompt_length=%d leaves no room for a response within rollout.max_len=%d", c->data.max_prompt_length, c->rollout.max_len);
    if (c->actor.ppo_max_token_len_per_gpu < c->rollout.max_len)
        return fail(e, "actor.ppo_max_token_len_per_gpu=%d is less than one rollout of rollout.max_len=%d tokens",
                    c->actor.ppo_max_token_len_per_gpu, c->rollout.max_len);
    if (c->rollout.max_num_batched_tokens < c->rollout.max_num_seqs)
        return fail(e, "rollout.max_num_batched_tokens=%d is less than rollout.max_num_seqs=%d: every sequence decodes one token a pass",
                    c->rollout.max_num_batched_tokens, c->rollout.max_num_seqs);
    if (!check_temperature("rollout.temperature", c->rollout.temperature, e) ||
        !check_temperature("rollout.val_kwargs.temperature", c->rollout.val_kwargs_temperature, e)) return false;
    if (c->rollout.top_p <= 0 || c->rollout.val_kwargs_top_p <= 0) return fail(e, "rollout.top_p and rollout.val_kwargs.top_p must be above 0; 1 is off");
    return true;
}

static bool check_algorithm(const struct config *c, FILE *warn, struct err *e)
{
    if (c->algorithm.use_kl_in_reward)
        return fail(e, "algorithm.use_kl_in_reward=true is not possible: the KL term is in the loss; set actor.kl_loss_coef instead");
    if (c->actor.kl_loss_coef > 0 && c->actor.kl_loss_type == KL_OFF)
        return fail(e, "actor.kl_loss_coef=%g with actor.kl_loss_type=off; set one of them", c->actor.kl_loss_coef);
    if (c->rollout.temperature <= 0)
        return fail(e, "rollout.temperature=0: greedy rollouts of a prompt are all the same and give no advantage; use a value above 0");
    if (c->algorithm.adv_estimator != ALGO_APPO) return true;
    int n = c->rollout.n, initial = c->rollout.initial_rollouts;
    if (n < initial) return fail(e, "rollout.n=%d is less than rollout.initial_rollouts=%d: n counts the branches too", n, initial);
    double most = initial;
    for (int i = 0; i < c->branch.rounds; i++) most *= c->branch.points + 1;
    if (warn && n > most)
        fprintf(warn, "warning: rollout.n=%d is more than initial_rollouts (points + 1)^rounds = %.0f: branch points will be used more than once\n", n, most);
    if (warn && c->branch.when == BRANCH_STEP && c->branch.omega == OMEGA_ROLLOUT && c->branch.score != SIGNAL_RANDOM)
        fprintf(warn, "warning: branch.when=step with branch.omega=rollout: sampler and trainer share their numbers, so Omega is 1 everywhere "
                      "(branch.entropy_if_flat)\n");
    return true;
}

/* Names of folders inside of another: they must not lead out of it. */
static bool check_names(const struct config *c, struct err *e)
{
    const struct { const char *key, *name; } names[] = { { "trainer.project_name", c->trainer.project_name }, { "trainer.experiment_name", c->trainer.experiment_name } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *n = names[i].name;
        if (!*n || strchr(n, '/') || !strcmp(n, ".") || !strcmp(n, "..") || strlen(n) > 255)
            return fail(e, "%s=%.60s: a name for a folder is needed, of 1 to 255 bytes, without '/'; where it lies is trainer.default_local_dir", names[i].key, n);
    }
    return *c->trainer.default_local_dir || fail(e, "trainer.default_local_dir is empty: give a folder (. is the one you stand in)");
}

bool config_check(const struct config *c, FILE *warn, struct err *e)
{
    double flawed = fmax(c->sft.guess_high, c->sft.guess_low) + c->sft.early + c->sft.slip;
    if (flawed > 1) return fail(e, "sft.guess_high or sft.guess_low, sft.early and sft.slip add up to %g; they are shares of one whole", flawed);
    if (c->sft.warmup_steps > c->sft.steps && c->sft.steps && warn)
        fprintf(warn, "warning: sft.warmup_steps=%d is more than sft.steps=%d: the rate never reaches sft.lr\n", c->sft.warmup_steps, c->sft.steps);
    return check_names(c, e) && check_logger(c->trainer.logger, e) && check_sizes(c, e) && check_algorithm(c, warn, e);
}
