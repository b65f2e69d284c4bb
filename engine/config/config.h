/* config.h: every option of the program: reading, checking, printing. Values come from defaults, a preset, YAML files
 * and arguments, each of which overrides those before it. `appo COMMAND --print-config` prints each key with its value,
 * the value's source and its meaning. */
#pragma once
#include "base/err.h"
#include "engine/config/config_keys.h"

/* Defaults < preset < YAML file (--config FILE) < key=value arguments; later files and arguments win. argv holds the
 * arguments after the sub-command; those that are not configuration (other options, plain words) are moved to its front
 * in order and counted in *rest, for the caller to take or reject. Short forms: --seed N, --steps N, --report FILE (or
 * --seed=N ...) and --print-config. Keys of other engines are accepted and named in one line on stderr, as are the
 * warnings of cross-checks. False: an unknown key (with the nearest names), an ill-typed or out-of-range value, an
 * unreadable file, or contradictory values; the caller prints e->text and exits with 2. Call config_free in either
 * case. */
bool config_load(struct config *c, int argc, char **argv, int *rest, struct err *e);

void config_init(struct config *c);                                         /* sets the defaults */
void config_free(struct config *c);

/* Whether a file, an argument or a preset set the key, not a default that follows from others. */
bool config_given(const struct config *c, const char *key);

/* Sets one key, under the same rules (aliases, optional prefix `actor_rollout_ref.`); source is copied. Only
 * config_check looks for contradictions. */
bool config_set(struct config *c, const char *key, const char *value, const char *source, struct err *e);

/* Sets all of a preset's keys: "default", "paper", "official", "official_8b", "official_14b". */
bool config_preset(struct config *c, const char *name, struct err *e);

/* Checks keys against each other: batches that do not divide, more rollouts than branch points can give, ... Warnings
 * go to warn (may be NULL). */
bool config_check(const struct config *c, FILE *warn, struct err *e);

/* Prints YAML that reads back. width 0: a line a key, `key: value # source: help`; else the same in lines of at most
 * width columns, if each word fits. */
void config_print(const struct config *c, FILE *f, int width);

/* Prints all about one key, or a line for each that has the word in its name or meaning. False: none has; prints the
 * nearest names. width 0: 120. */
bool config_explain(const char *word, FILE *f, int width);

/* Our key for an option of another program, or for a key's last word alone; NULL: none. */
const char *config_our_name(const char *word);
/* Levenshtein distance; of words longer than 64, the longer one's length. */
int config_distance(const char *a, const char *b);
/* A flat object {"actor.optim.lr": 0.0003, ...}; the caller's reference. */
json_t *config_json(const struct config *c);
/* Whether the key decides any number of a training run, so that a resumed run must have the same value (the table's
 * column `resume`). True for an unknown key. */
bool config_decides(const char *key);
