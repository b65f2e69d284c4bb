/* config_table.h: the one table of options behind config.h, and the readers that fill it. Inside engine/config_*.c and
 * their tests only. */
#pragma once
#include "base/str.h"
#include "engine/config/config.h"

enum key_type { KEY_INT, KEY_INT64, KEY_DOUBLE, KEY_BOOL, KEY_STRING, KEY_CHOICE };

/* May a resumed run have another value? */
enum key_resume {
    RESUME_SAME,                    /* no: the key decides numbers */
    /* contents count, not names: the rows' prompts, answers and sources, the search cache and the tokenizer are hashed
     * (state.json: data, val, search_cache), the weights are in the checkpoint */
    RESUME_HASHED,
    RESUME_SPEED,                   /* memory and speed */
    RESUME_OUTPUT,                  /* how long, how often, where */
    RESUME_DERIVED,                 /* names for other keys' values, which count */
    RESUME_UNUSED                   /* other commands' */
};

/* init is read by the same parser as every other value. lo, hi: inclusive range of numbers. choices: "a|b,alias of
 * b|c", the value is the index. */
struct key {
    const char *name;
    /* of the field in struct config: its name, offset and type */
    const char *field;
    size_t at;
    enum key_type type;
    enum key_resume resume;
    const char *init;
    double lo, hi;
    const char *choices, *help;
    const char *model;              /* the default where model.path is given; NULL: init as well */
};
extern const struct key config_keys[];
extern const int config_nkeys;

/* config_foreign.c: what other programs call ours, and what they have that this one has not. */
struct config_rename {
    const char *from, *to;
    bool (*convert)(const char *value, char out[64]);   /* NULL: the value as it is. False: refused */
    const char *lacks;                                  /* then says why */
};
/* other names of a key; a name listed twice sets two keys; ends with NULL */
extern const struct config_rename config_renames[];
struct config_foreign { const char *pattern, *neutral, *lacks; };
const struct config_foreign *config_foreign(const char *key);                       /* NULL: not one of them */
bool config_neutral(const struct config_foreign *f, const char *value);             /* it asks for nothing */
/* what config_verl.c makes of it, for `appo keys`; NULL: another key */
const char *config_together(const char *key);
/* one of those that config_verl.c reads together with others */
bool config_is_together(const char *key);
bool config_glob(const char *pattern, const char *text);                            /* '*': any bytes */
/* our key for a name of TRL or slime; NULL: unknown */
const char *config_other_name(const char *name);

struct config_preset { enum preset preset; const char *key, *value; };
extern const struct config_preset config_presets[];     /* ends with key NULL */

/* config_defaults.c. config_default_column: the second column of defaults, for a model of one's own; before presets and
 * settings. config_derive: what follows from what was given, after them. */
bool config_default_column(struct config *c, struct err *e);
/* the value must be in range */
void config_set_int(struct config *c, const char *key, int64_t value, const char *source);
bool config_derive(struct config *c, FILE *warn, struct err *e);
const char *config_source(const struct config *c, const char *key);     /* "default" where nothing set it */

/* One "key = value" as it was found, before it is applied. null: YAML's or Hydra's null, value is ""; gone: `~key`,
 * whatever was said before. */
struct setting { char *key, *value, *source; bool null, gone; };
struct settings { struct setting *v; int n; };
void settings_add(struct settings *s, const char *key, const char *value, const char *source);
void settings_free(struct settings *s);

/* YAML text of one document: nested mappings joined with '.', sequences of scalars joined with ','. name stands for the
 * file in sources ("name:line") and errors. At most 16 levels and 4096 values; anchors, aliases, tags and a key given
 * twice are refused. Takes hostile text. */
bool config_yaml(struct settings *s, const char *name, const char *text, size_t n, struct err *e);

/* config_load.c: everything that files and arguments say, applied: errors of all keys at once. say: what is ignored,
 * and what is meant otherwise than in verl. */
bool config_apply(struct config *c, struct settings *s, FILE *say, struct err *e);
/* config_verl.c: see there. */
struct reading {
    struct config *c;
    struct settings *s;
    struct str *problems;
    int wrong;
    struct str *notes;
    bool foreign;
    int lookups;
};
/* what holds for this plain key; NULL: nothing, or null */
const struct setting *reading_of(const struct reading *r, const char *key);
void reading_problem(struct reading *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void config_verl_before(struct reading *r);                                         /* before our own keys are set */
void config_verl_after(struct reading *r);
void config_verl_notes(struct reading *r);

/* key without `+` and `actor_rollout_ref.`: points into key. */
const char *config_plain_key(const char *key);
const struct key *config_find(const char *name);

/* " Did you mean a, b or c?" into out: the names nearest by edit distance or containing the last word; empty when
 * nothing is near. */
void config_nearest(char *out, size_t n, const char *name);

/* The value as text that reads back; a choice by its first name. out: at least 64 bytes for what is not a string.
 * Returns out or the string itself. */
const char *config_text(const struct config *c, const struct key *k, char out[64]);
