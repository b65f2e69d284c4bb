/* config_load.c: loads the configuration of a run from files and arguments, in their order of precedence, and rejects
 * contradictions. Collects all settings before it applies any, because a preset named last still has the lowest
 * precedence. */
#include "engine/config/config_in.h"
#include "base/text.h"
#include "base/file.h"
#include "base/str.h"
#include "kernels/rl_math.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 20, VALUE_MAX = 65536, LOOKUPS_MAX = 64, LOOKUPS_ALL = 10000, LINE_MAX_BYTES = 1500 };

struct sources { struct settings files, args; const char *path, *name; bool print; };

static void take(struct settings *to, const struct settings *from)
{
    for (int i = 0; i < from->n; i++) {
        settings_add(to, from->v[i].key, from->v[i].value, from->v[i].source);
        to->v[to->n - 1].null = from->v[i].null;
        to->v[to->n - 1].gone = from->v[i].gone;
    }
}

static bool read_file(struct settings *s, const char *path, struct err *e)
{
    struct str text = { 0 };
    struct settings one = { 0 };
    bool ok = file_read(path, FILE_MAX, &text, e) && config_yaml(&one, path, text.p ? text.p : "", text.n, e);
    if (ok) take(s, &one);
    settings_free(&one);
    str_free(&text);
    return ok;
}

/* Hydra's --config-path and --config-name: the same file as --config PATH/NAME, with or without .yaml. verl's own
 * ppo_trainer is its defaults, which docs/from-verl.md lists. */
static bool read_hydra(struct sources *s, struct err *e)
{
    struct str file = { 0 };
    if (!s->path && !s->name) return true;
    if (!s->path) {
        if (!strcmp(s->name, "ppo_trainer") || !strcmp(s->name, "ppo_trainer.yaml")) return true;
        return fail(e,
                    "--config-name=%.200s without --config-path: the files of other programs are not here; give one as "
                    "--config FILE",
                    s->name);
    }
    if (!s->name) return fail(e, "--config-path without --config-name: give the file itself, --config FILE");
    size_t n = strlen(s->name);
    bool whole = (n > 5 && !strcmp(s->name + n - 5, ".yaml")) || (n > 4 && !strcmp(s->name + n - 4, ".yml"));
    str_printf(&file, "%s/%s%s", s->path, s->name, whole ? "" : ".yaml");
    struct settings later = s->files;
    s->files = (struct settings){ 0 };
    bool ok = read_file(&s->files, file.p, e) || fail_in(e, "--config-path, --config-name (give the file as --config "
                                                            "FILE)");
    take(&s->files, &later);
    settings_free(&later);
    str_free(&file);
    return ok;
}

/* Reads --name VALUE and --name=VALUE. 1: read; 0: another option; -1: no value. */
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
    return (*s >= 'a' && *s <= 'z') || *s == '+' || *s == '_' || *s == '~' || (*s >= 'A' && *s <= 'Z');
}

/* Words that begin with '~' and are file names, not removed keys: ~/x, ~user/x, "~ x". */
static bool is_removal(const char *s) { return *s == '~' && s[1] && !strpbrk(s, "/ ") && strchr(s, '.'); }

static void add_argument(struct settings *args, const char *arg, const char *equals)
{
    char *key = xstrdup(arg);
    if (equals) key[equals - arg] = 0;
    settings_add(args, key, equals ? equals + 1 : "", "command line");
    struct setting *last = &args->v[args->n - 1];
    last->gone = *arg == '~';
    last->null = !strcmp(last->value, "null");
    if (last->null) *last->value = 0;
    free(key);
}

static bool read_args(struct sources *s, int argc, char **argv, int *rest, struct err *e)
{
    static const struct { const char *option, *key; } shorts[] = {
        { "--config", NULL }, { "--config-path", NULL }, { "--config-name", NULL },
        { "--seed", "trainer.seed" }, { "--steps", "trainer.total_training_steps" }, { "--report", "trainer.report" },
    };
    *rest = 0;
    for (int i = 0; i < argc; i++) {
        char *arg = argv[i], *equals = strchr(arg, '=');
        const char *value = NULL;
        int took = 0;
        for (size_t j = 0; !took && j < sizeof shorts / sizeof *shorts; j++) {
            took = option(argc, argv, &i, shorts[j].option, &value);
            if (took < 0) return fail(e, "%s needs a value", arg);
            if (!took) continue;
            if (shorts[j].key) settings_add(&s->args, shorts[j].key, value, "command line");
            else if (j == 1) s->path = value;
            else if (j == 2) s->name = value;
            else if (!read_file(&s->files, value, e)) return false;
        }
        if (took) continue;
        if (!strcmp(arg, "--print-config")) s->print = true;
        else if (is_key(arg) && (equals || is_removal(arg))) add_argument(&s->args, arg, equals);
        else argv[(*rest)++] = arg;
    }
    return read_hydra(s, e);
}

/* ---- applying ---- */

/* The last setting of a key counts; `~key` removes all before it. */
static void keep_last(struct settings *s)
{
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        bool later = s->v[i].gone;
        for (int j = i + 1; !later && j < s->n; j++)
            later = !strcmp(config_plain_key(s->v[i].key), config_plain_key(s->v[j].key));
        if (!later) { s->v[n++] = s->v[i]; continue; }
        free(s->v[i].key);
        free(s->v[i].value);
        free(s->v[i].source);
    }
    s->n = n;
}

const struct setting *reading_of(const struct reading *r, const char *key)
{
    for (int i = 0; i < r->s->n; i++)
        if (!r->s->v[i].null && !strcmp(config_plain_key(r->s->v[i].key), key)) return &r->s->v[i];
    return NULL;
}

void reading_problem(struct reading *r, const char *fmt, ...)
{
    char line[640];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (r->problems->p && strstr(r->problems->p, line)) return;      /* a key that was read twice */
    r->wrong++;
    if (r->problems->n > VALUE_MAX) return;
    if (r->problems->n) str_putc(r->problems, '\n');
    str_puts(r->problems, line);
}

/* The text that ${name} stands for; NULL: none. key: of the setting that holds it, for names that begin with dots. */
static const char *looked_up(const struct reading *r, const char *key, const char *name, char text[64])
{
    struct str whole = { 0 };
    int up = 0;
    while (name[up] == '.') up++;
    if (up) {
        size_t n = strlen(key);
        for (int k = 0; k < up && n; k++) do n--; while (n && key[n] != '.');
        str_put(&whole, key, n);
        if (n) str_putc(&whole, '.');
    }
    str_puts(&whole, name + up);
    const char *plain = config_plain_key(whole.p), *found = NULL;
    const struct setting *v = reading_of(r, plain);
    const struct key *k = config_find(plain);
    if (v) found = v->value;
    else if (k) found = config_text(r->c, k, text);
    str_free(&whole);
    return found;
}

/* The words between ${ and }: a key, oc.select:key,default or oc.env:NAME,default. 1: out is the value; 0:
 * null; -1: invalid. */
static int resolved(const struct reading *r, const char *key, char *words, struct str *out)
{
    char text[64];
    char *colon = strchr(words, ':'), *comma = colon ? strchr(colon, ',') : NULL;
    const char *found = NULL, *otherwise = NULL;
    if (comma) {
        *comma = 0;
        otherwise = comma + 1 + strspn(comma + 1, " ");
    }
    if (!colon) found = looked_up(r, key, words, text);
    else if (!strncmp(words, "oc.select:", 10)) found = looked_up(r, key, colon + 1, text);
    else if (!strncmp(words, "oc.env:", 7)) found = getenv(colon + 1);
    else return -1;
    if (!found && otherwise && strcmp(otherwise, "null")) {
        size_t n = strlen(otherwise);
        bool quoted = n >= 2 && (*otherwise == '"' || *otherwise == '\'') && otherwise[n - 1] == *otherwise;
        str_put(out, otherwise + quoted, n - 2 * quoted);
        return 1;
    }
    if (found) str_puts(out, found);
    if (found) return 1;
    return !strncmp(words, "oc.env:", 7) && !otherwise ? -1 : 0;
}

/* Replaces the innermost ${...} until there is none; a reference to itself stops at LOOKUPS_MAX. */
static void interpolate(struct reading *r, struct setting *v)
{
    for (int i = 0; strstr(v->value, "${"); i++) {
        char *open = v->value, *p, *close;
        while ((p = strstr(open + 1, "${"))) open = p;
        if (strncmp(open, "${", 2)) open = strstr(v->value, "${");
        close = strchr(open, '}');
        if (!close || i == LOOKUPS_MAX || r->lookups++ > LOOKUPS_ALL || strlen(v->value) > VALUE_MAX) {
            reading_problem(r, "%.100s=%.100s (%s): ${ %s", v->key, v->value, v->source,
                            close ? "names itself, or is more than is read" : "without }");
            break;
        }
        struct str words = { 0 }, out = { 0 };
        str_put(&words, open + 2, (size_t)(close - open - 2));
        str_put(&out, v->value, (size_t)(open - v->value));
        int found = words.n ? resolved(r, v->key, words.p, &out) : -1;
        bool alone = open == v->value && !close[1];
        if (found > 0 || (!found && alone)) str_puts(&out, close + 1);
        else
            reading_problem(r, "%.100s=%.100s (%s): %.*s is not %s; write the value out", v->key, v->value, v->source,
                            (int)(close - open + 1 < 200 ? close - open + 1 : 200), open,
                            found ? "understood (${key}, ${oc.select:key,default} and ${oc.env:NAME,default} are)"
                                  : "set");
        str_free(&words);
        if (found < 0 || (!found && !alone)) { str_free(&out); break; }
        free(v->value);
        v->value = out.p ? out.p : xstrdup("");
        v->null = !found;
    }
    if (!strcmp(v->value, "null") && !config_find(config_plain_key(v->key))) v->null = true;
}

static bool is_renamed(const char *key)
{
    for (const struct config_rename *n = config_renames; n->from; n++)
        if (!strcmp(n->from, key)) return true;
    return false;
}

/* Whether the value needs to be read. */
static bool matters(const char *key)
{
    if (config_find(key) || is_renamed(key) || config_is_together(key)) return true;
    const struct config_foreign *f = config_foreign(key);
    return f && f->neutral;                              /* an unknown key is rejected by its name */
}

/* Other names of our keys, in the order of the table. */
static void apply_renames(struct reading *r)
{
    for (const struct config_rename *n = config_renames; n->from; n++) {
        const struct setting *v = reading_of(r, n->from);
        char text[64], source[256];
        struct err e;
        if (!v) continue;
        r->foreign = true;
        const char *value = v->value;
        if (n->convert && !n->convert(v->value, text)) {
            reading_problem(r, "%.100s=%.100s (%s): %s", v->key, v->value, v->source, n->lacks);
            continue;
        }
        if (n->convert) value = text;
        snprintf(source, sizeof source, "%s, %.150s", n->from, v->source);
        if (!config_set(r->c, n->to, value, source, &e))
            reading_problem(r, "%.100s=%.100s (%s): %s", v->key, v->value, v->source, e.text);
    }
}

/* Reports ignored keys in their order; keys of one row of the table as the row and their number. The list of a whole
 * configuration of verl is cut. */
static void list_ignored(struct str *list, const struct settings *s, const struct config_foreign *const *row)
{
    int more = 0;
    for (int i = 0; i < s->n; i++) {
        int before = 0, same = 0;
        for (int j = 0; row[i] && j < s->n; j++) {
            same += row[j] == row[i];
            before += j < i && row[j] == row[i];
        }
        if (!row[i] || before) continue;
        if (list->n > LINE_MAX_BYTES) { more += same; continue; }
        if (list->n) str_puts(list, ", ");
        if (same > 1) str_printf(list, "%s (%d)", row[i]->pattern, same);
        else str_printf(list, "%.100s", config_plain_key(s->v[i].key));
    }
    if (more) str_printf(list, " and %d more", more);
}

static void apply_own(struct reading *r, const struct config_foreign **row)
{
    struct err e;
    for (int i = 0; i < r->s->n; i++) {
        struct setting *v = &r->s->v[i];
        const char *key = config_plain_key(v->key);
        const struct key *own = config_find(key);
        if (strstr(v->key, "actor_rollout_ref.")) r->foreign = true;
        /* null is the default, but verl's null for a folder of dumps is none */
        bool none = v->null && !strcmp(key, "trainer.rollout_data_dir");
        if (own && (!v->null || none) && strcmp(v->value, "???") && !config_set(r->c, v->key, v->value, v->source, &e))
            reading_problem(r, "%s", e.text);
        if (own || is_renamed(key) || config_is_together(key)) continue;
        const struct config_foreign *f = config_foreign(key);
        if (!f) {
            if (!config_set(r->c, v->key, v->value, v->source, &e)) reading_problem(r, "%s", e.text);
            continue;
        }
        r->foreign = true;
        if (v->null || config_neutral(f, v->value)) row[i] = f;
        else reading_problem(r, "%.100s=%.100s (%s): %s", key, v->value, v->source, f->lacks);
    }
}

/* `~key` of an unknown key. */
static void reject_removals(struct reading *r)
{
    struct err e;
    for (int i = 0; i < r->s->n; i++) {
        const char *key = config_plain_key(r->s->v[i].key);
        if (!r->s->v[i].gone || config_find(key) || is_renamed(key) || config_is_together(key) || config_foreign(key))
            continue;
        config_set(r->c, key, "", r->s->v[i].source, &e);
        reading_problem(r, "%s", e.text);
    }
}

/* The setting of one of our keys, by its own name or by another program's, with its ${...} replaced. NULL: none. */
static const struct setting *looked_at(struct reading *r, const char *key)
{
    const struct setting *found = reading_of(r, key);
    for (const struct config_rename *n = config_renames;
         n->from && !(found && !strcmp(config_plain_key(found->key), key)); n++)
        if (!strcmp(n->to, key) && reading_of(r, n->from)) found = reading_of(r, n->from);
    if (!found) return NULL;
    struct setting *v = &r->s->v[found - r->s->v];
    interpolate(r, v);
    return v->null ? NULL : v;
}

/* The preset and the second column of defaults have the lowest precedence. */
static void apply_below(struct reading *r)
{
    struct err e;
    const struct setting *model = looked_at(r, "model.path"), *preset = looked_at(r, "algorithm.preset"),
                         *official = looked_at(r, "rollout.appo_dynamic_branching");
    if (model && *model->value && !config_default_column(r->c, &e)) reading_problem(r, "%s", e.text);
    if (preset) {
        /* set once by itself, so that a misspelt preset is reported with its own place, later */
        if (config_set(r->c, preset->key, preset->value, preset->source, &e) && !config_preset(r->c, preset->value, &e))
            reading_problem(r, "%s", e.text);
    } else if (official && !strcasecmp(official->value, "true") && !config_preset(r->c, "official", &e))
        reading_problem(r, "%s", e.text);
}

static bool report(const struct reading *r, FILE *say, struct err *e)
{
    if (!r->wrong) return true;
    if (r->wrong == 1) return fail(e, "%s", r->problems->p);
    if (say) {
        const char *p = r->problems->p;
        for (size_t n; *p; p += n + (p[n] == '\n')) {
            n = strcspn(p, "\n");
            print_clean(say, "appo: %.*s\n", (int)n, p);
        }
    }
    return fail(e, "%d keys are rejected; nothing was started", r->wrong);
}

bool config_apply(struct config *c, struct settings *s, FILE *say, struct err *e)
{
    struct str problems = { 0 }, ignored = { 0 }, notes = { 0 };
    struct reading r = { .c = c, .s = s, .problems = &problems, .notes = &notes };
    reject_removals(&r);
    keep_last(s);
    const struct config_foreign **row = xcalloc((size_t)s->n + 1, sizeof *row);
    apply_below(&r);
    for (int i = 0; i < s->n; i++)
        if (!s->v[i].null && matters(config_plain_key(s->v[i].key))) interpolate(&r, &s->v[i]);
    config_verl_before(&r);
    apply_renames(&r);
    apply_own(&r, row);
    list_ignored(&ignored, s, row);
    config_verl_after(&r);
    bool ok = report(&r, say, e) && config_derive(c, say, e);
    if (ok && r.foreign) config_verl_notes(&r);
    if (say && ignored.n) print_clean(say, "ignored, options of other engines: %s\n", ignored.p);
    if (say && ok && notes.n) print_clean(say, "%s", notes.p);
    free(row);
    str_free(&problems);
    str_free(&ignored);
    str_free(&notes);
    return ok;
}

bool config_load(struct config *c, int argc, char **argv, int *rest, struct err *e)
{
    struct sources s = { 0 };
    config_init(c);
    bool ok = read_args(&s, argc, argv, rest, e);
    if (ok) take(&s.files, &s.args);
    ok = ok && config_apply(c, &s.files, notes(), e) && config_check(c, notes(), e);
    c->print = s.print;
    settings_free(&s.files);
    settings_free(&s.args);
    return ok;
}

/* ---- checks of several keys ---- */

static bool check_logger(const char *list, struct err *e)
{
    static const char *const known[] = { "console", "file", "tensorboard" };
    for (const char *p = list; *p; ) {
        size_t n = strcspn(p, ","), i = 0;
        while (i < 3 && (strlen(known[i]) != n || memcmp(known[i], p, n))) i++;
        if (n && i == 3)
            return fail(e,
                        "trainer.logger=%.80s: no logger %.*s; valid: console, file, tensorboard, separated by commas",
                        list, (int)(n < 40 ? n : 40), p);
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
        return fail(e, "actor.ppo_mini_batch_size=%d does not divide data.train_batch_size=%d; both count prompts",
                    mini, batch);
    if (c->rollout.max_total_tokens && c->rollout.max_total_tokens < c->rollout.max_len)
        return fail(e, "rollout.max_total_tokens=%lld is less than one rollout of rollout.max_len=%d tokens",
                    (long long)c->rollout.max_total_tokens, c->rollout.max_len);
    if (c->data.max_prompt_length >= c->rollout.max_len)
        return fail(e, "data.max_prompt_length=%d leaves no room for a response within rollout.max_len=%d",
                    c->data.max_prompt_length, c->rollout.max_len);
    if (c->actor.ppo_max_token_len_per_gpu < c->rollout.max_len)
        return fail(e, "actor.ppo_max_token_len_per_gpu=%d is less than one rollout of rollout.max_len=%d tokens",
                    c->actor.ppo_max_token_len_per_gpu, c->rollout.max_len);
    if (c->rollout.max_num_batched_tokens < c->rollout.max_num_seqs)
        return fail(e,
                    "rollout.max_num_batched_tokens=%d is less than rollout.max_num_seqs=%d: every sequence decodes "
                    "one token a pass",
                    c->rollout.max_num_batched_tokens, c->rollout.max_num_seqs);
    if (!check_temperature("rollout.temperature", c->rollout.temperature, e) ||
        !check_temperature("rollout.val_kwargs.temperature", c->rollout.val_kwargs_temperature, e)) return false;
    if (c->rollout.top_p <= 0 || c->rollout.val_kwargs_top_p <= 0)
        return fail(e, "rollout.top_p and rollout.val_kwargs.top_p must be above 0; 1 is off");
    return true;
}

/* Keys of branching that a file or an argument gives, where no estimator branches. branch.entropy stays: it is the
 * entropy of every rescoring pass. */
static void warn_unbranched(const struct config *c, const char *estimator, FILE *warn)
{
    struct str keys = { 0 };
    for (int i = 0; i < config_nkeys; i++) {
        const char *key = config_keys[i].name;
        bool branching = (starts_with(key, "branch.") && strcmp(key, "branch.entropy")) ||
                         !strcmp(key, "advantage.dual_group") || !strcmp(key, "rollout.initial_rollouts");
        if (branching && config_given(c, key) && !starts_with(config_source(c, key), "preset "))
            str_printf(&keys, "%s%s", keys.n ? ", " : "", key);
    }
    if (keys.n)
        fprintf(warn, "warning: no effect with algorithm.adv_estimator=%s, which makes no branches: %s\n", estimator,
                keys.p);
    str_free(&keys);
}

/* Estimators that compare a prompt's rollouts need two; keys that only some of them read. */
static bool check_estimator(const struct config *c, FILE *warn, struct err *e)
{
    enum algo kind = c->algorithm.adv_estimator;
    static const struct { enum algo kind; const char *why; } pairs[] = {
        { ALGO_GRPO_PASSK, "the best rollout of a prompt is compared with the second" },
        { ALGO_RLOO, "the baseline is the mean of a prompt's other rollouts" },
        { ALGO_OPO, "the baseline is a mean over a prompt's rollouts" },
        { ALGO_REINFORCE_PP_BASELINE,
          "the baseline is a mean over a prompt's rollouts (reinforce_plus_plus has none)" },
    };
    char text[64];
    const char *name = config_text(c, config_find("algorithm.adv_estimator"), text);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (kind == pairs[i].kind && c->rollout.n < 2)
            return fail(e, "rollout.n=%d with algorithm.adv_estimator=%s: 2 or more are needed, %s", c->rollout.n, name,
                        pairs[i].why);
    if (warn && kind != ALGO_APPO) warn_unbranched(c, name, warn);
    if (warn && c->algorithm.gamma != 1 && kind != ALGO_REINFORCE_PP)
        fprintf(warn, "warning: algorithm.gamma=%g has no effect with algorithm.adv_estimator=%s\n", c->algorithm.gamma,
                name);
    if (warn && !c->advantage.norm_by_std && kind > ALGO_GRPO_PASSK)
        fprintf(warn, "warning: advantage.norm_by_std=false has no effect with algorithm.adv_estimator=%s\n", name);
    return true;
}

/* Rejects keys that a loss cannot be combined with. */
static bool check_loss(const struct config *c, FILE *warn, struct err *e)
{
    bool gspo = c->actor.policy_loss_loss_mode == LOSS_GSPO,
         no_dual = !rl_dual_clip(c->actor.policy_loss_loss_mode), ranks = c->actor.top_entropy_quantile < 1;
    char text[64];
    const char *name = config_text(c, config_find("actor.policy_loss.loss_mode"), text);
    if (gspo && c->advantage.future != FUTURE_OFF)
        return fail(e, "actor.policy_loss.loss_mode=gspo with advantage.future: gspo has one ratio a rollout, the "
                       "future-aware factor is made of ratios of tokens; set advantage.future=off");
    if (gspo && ranks)
        return fail(e, "actor.policy_loss.loss_mode=gspo with actor.top_entropy_quantile=%g: gspo has one ratio a "
                       "rollout, no token can be left out of it; set actor.top_entropy_quantile=1",
                    c->actor.top_entropy_quantile);
    if (no_dual && c->actor.drop_rows)
        return fail(e, "actor.drop_rows=true with actor.policy_loss.loss_mode=%s, which has no dual clip to drop "
                       "rollouts by; set actor.drop_rows=false",
                    name);
    if (c->branch.entropy == ENTROPY_TOP10 && (ranks || c->advantage.entropy_weight != 0))
        return fail(e, "%s with branch.entropy=top10: tokens are compared by the entropy of the full vocabulary; set "
                       "branch.entropy=full",
                    ranks ? "actor.top_entropy_quantile" : "advantage.entropy_weight");
    if (warn && no_dual && config_given(c, "actor.clip_ratio_c") &&
        strncmp(config_source(c, "actor.clip_ratio_c"), "preset ", 7))
        fprintf(warn, "warning: actor.clip_ratio_c has no effect with actor.policy_loss.loss_mode=%s\n", name);
    return true;
}

static bool check_algorithm(const struct config *c, FILE *warn, struct err *e)
{
    if (c->algorithm.use_kl_in_reward)
        return fail(e, "algorithm.use_kl_in_reward=true is not possible: the KL term is in the loss; set "
                       "actor.kl_loss_coef instead");
    if (c->actor.kl_loss_coef > 0 && c->actor.kl_loss_type == KL_OFF)
        return fail(e, "actor.kl_loss_coef=%g with actor.kl_loss_type=off; set one of them", c->actor.kl_loss_coef);
    if (c->actor.grad_sum == GRAD_SUM_EXACT && c->actor.zero == 2)
        return fail(e, "actor.grad_sum=exact with actor.zero=2: every rank needs the whole gradient to add passes up "
                       "in double; set actor.zero=1, or actor.grad_sum=fast");
    if (c->rollout.temperature <= 0)
        return fail(e, "rollout.temperature=0: greedy rollouts of a prompt are all the same and give no advantage; use "
                       "a value above 0");
    if (!check_estimator(c, warn, e) || !check_loss(c, warn, e)) return false;
    if (c->algorithm.adv_estimator != ALGO_APPO) return true;
    int n = c->rollout.n, initial = c->rollout.initial_rollouts;
    if (n < initial)
        return fail(e, "rollout.n=%d is less than rollout.initial_rollouts=%d: n counts the branches too", n, initial);
    if (c->branch.every > 1 && c->branch.when == BRANCH_STEP)
        return fail(e,
                    "branch.every=%d with branch.when=step: branches are made once a step there, before its first "
                    "update; set branch.every=1, or branch.when=minibatch",
                    c->branch.every);
    double most = initial;
    for (int i = 0; i < c->branch.rounds; i++) most *= c->branch.points + 1;
    if (warn && n > most)
        fprintf(warn,
                "warning: rollout.n=%d is more than initial_rollouts (points + 1)^rounds = %.0f: branch points will be "
                "used more than once\n",
                n, most);
    if (warn && c->branch.when == BRANCH_STEP && c->branch.omega == OMEGA_ROLLOUT && c->branch.score != SIGNAL_RANDOM)
        fprintf(warn, "warning: branch.when=step with branch.omega=rollout: sampler and trainer share their numbers, "
                      "so Omega is 1 everywhere "
                      "(branch.entropy_if_flat)\n");
    return true;
}

/* Names of folders within another one must not lead out of it. */
static bool check_names(const struct config *c, struct err *e)
{
    const struct {
        const char *key, *name;
    } names[] = { { "trainer.project_name", c->trainer.project_name },
                  { "trainer.experiment_name", c->trainer.experiment_name } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *n = names[i].name;
        if (!*n || strchr(n, '/') || !strcmp(n, ".") || !strcmp(n, "..") || strlen(n) > 255)
            return fail(e,
                        "%s=%.60s: a name for a folder is needed, of 1 to 255 bytes, without '/'; where it lies is "
                        "trainer.default_local_dir",
                        names[i].key, n);
    }
    return *c->trainer.default_local_dir || fail(e, "trainer.default_local_dir is empty: give a folder (. is the one "
                                                    "you stand in)");
}

bool config_check(const struct config *c, FILE *warn, struct err *e)
{
    double flawed = fmax(c->sft.guess_high, c->sft.guess_low) + c->sft.early + c->sft.slip;
    if (flawed > 1)
        return fail(e,
                    "sft.guess_high or sft.guess_low, sft.early and sft.slip add up to %g; they are shares of one "
                    "whole",
                    flawed);
    if (c->sft.warmup_steps > c->sft.steps && c->sft.steps && warn)
        fprintf(warn, "warning: sft.warmup_steps=%d is more than sft.steps=%d: the rate never reaches sft.lr\n",
                c->sft.warmup_steps, c->sft.steps);
    return check_names(c, e) && check_logger(c->trainer.logger, e) && check_sizes(c, e) && check_algorithm(c, warn, e);
}
