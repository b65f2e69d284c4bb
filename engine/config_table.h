/* config_table.h: the one table of options behind config.h, and the readers that fill it. Inside engine/config_*.c and their tests only. */
#pragma once
#include "engine/config.h"

enum key_type { KEY_INT, KEY_INT64, KEY_DOUBLE, KEY_BOOL, KEY_STRING, KEY_CHOICE };

/* init is read by the same parser as every other value. lo, hi: inclusive range of numbers. choices: "a|b,alias of b|c", the value is the index. */
struct key {
    const char *name;
    enum key_type type;
    size_t at;                      /* offset in struct config */
    const char *init;
    double lo, hi;
    const char *choices, *help;
    const char *model;              /* the default where model.path is given; NULL: init as well */
};
extern const struct key config_keys[];
extern const int config_nkeys;

struct config_rename { const char *from, *to; };
extern const struct config_rename config_renames[];     /* other names of a key; a name listed twice sets two keys; ends with NULL */
extern const char *const config_foreign[];              /* keys of other engines that change nothing here; "x.*" is a whole subtree; ends with NULL */
bool config_is_foreign(const char *key);

extern const char *const config_decisive[], *const config_free_keys[];      /* config_resume.c: every key is in one of them; end with NULL */

struct config_preset { enum preset preset; const char *key, *value; };
extern const struct config_preset config_presets[];     /* ends with key NULL */

/* config_defaults.c. config_default_column: the second column of defaults, for a model of one's own; before presets and settings. config_derive: what
 * follows from what was given, after them. */
bool config_default_column(struct config *c, struct err *e);
bool config_derive(struct config *c, FILE *warn, struct err *e);
const char *config_source(const struct config *c, const char *key);     /* "default" where nothing set it */

/* One "key = value" as it was found, before it is applied. */
struct setting { char *key, *value, *source; };
struct settings { struct setting *v; int n; };
void settings_add(struct settings *s, const char *key, const char *value, const char *source);
void settings_free(struct settings *s);

/* YAML text of one document: nested mappings joined with '.', sequences of scalars joined with ','. name stands for the file in sources ("name:line")
 * and errors. At most 16 levels and 4096 values; anchors, aliases, tags and a key given twice are refused. Takes hostile text. */
bool config_yaml(struct settings *s, const char *name, const char *text, size_t n, struct err *e);

/* key without `+` and `actor_rollout_ref.`: points into key. */
const char *config_plain_key(const char *key);
const struct key *config_find(const char *name);

/* " Did you mean a, b or c?" into out: the names nearest by edit distance or containing the last word; empty when nothing is near. */
void config_nearest(char *out, size_t n, const char *name);

/* The value as text that reads back; a choice by its first name. out: at least 64 bytes for what is not a string. Returns out or the string itself. */
const char *config_text(const struct config *c, const struct key *k, char out[64]);
