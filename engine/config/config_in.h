/* config_in.h: the table of options behind config.h and the readers that fill it, for the parts of engine/config,
 * config_*.c, and their tests only. */
#pragma once
#include "base/str.h"
#include "engine/config/config.h"

enum key_type { KEY_INT, KEY_INT64, KEY_DOUBLE, KEY_BOOL, KEY_STRING, KEY_CHOICE };

/* Whether a resumed run may have another value. */
enum key_resume {
    RESUME_SAME,                    /* no: the key decides numbers */
    /* contents count, not names: the rows' prompts, answers and sources, the search cache and the tokenizer are hashed
     * (state.json: data, val, search_cache), the weights are in the checkpoint */
    RESUME_HASHED,
    RESUME_SPEED,                   /* memory and speed */
    RESUME_OUTPUT,                  /* length, frequency and place of output */
    RESUME_DERIVED,                 /* stands for other keys, which count */
    RESUME_UNUSED                   /* read by other commands only */
};

struct key {
    const char *name;
    const char *field;              /* of the field in struct config: its name, */
    size_t at;                      /* offset */
    enum key_type type;             /* and type */
    enum key_resume resume;
    const char *init;               /* the default, read by the same parser as every other value */
    double lo;                      /* inclusive range of numbers */
    double hi;
    const char *choices;            /* "a|b,alias of b|c"; the value is the index */
    const char *help;
    const char *model;              /* the default if model.path is given; NULL: init as well */
};
extern const struct key config_keys[];
extern const int config_nkeys;

/* ---- config_foreign.c: other programs' names of our keys, and their keys that we lack ---- */
struct config_rename {
    const char *from;
    const char *to;
    bool (*convert)(const char *value, char out[64]);   /* NULL: the value as it is. False: rejected, */
    const char *lacks;                                  /* for this reason */
};
/* A name listed twice sets two keys; ends with NULL. */
extern const struct config_rename config_renames[];
struct config_foreign {
    const char *pattern;
    const char *neutral;                                /* values that ask for nothing; NULL: any */
    const char *lacks;
};
const struct config_foreign *config_foreign(const char *key);                       /* NULL: not a foreign key */
bool config_neutral(const struct config_foreign *f, const char *value);             /* whether it asks for nothing */
/* What config_verl.c does with the key, for `appo keys`; NULL: another key. */
const char *config_together(const char *key);
/* Whether config_verl.c reads the key together with others. */
bool config_is_together(const char *key);
bool config_glob(const char *pattern, const char *text);                            /* '*': any bytes */
/* Our key for a name of TRL or slime; NULL: unknown. */
const char *config_other_name(const char *name);

struct config_preset {
    enum preset preset;
    const char *key;
    const char *value;
};
extern const struct config_preset config_presets[];     /* ends with key NULL */

/* ---- config_defaults.c ---- */
/* Sets the second column of defaults, for the user's own model; called before presets and settings. */
bool config_default_column(struct config *c, struct err *e);
/* The value must be in range. */
void config_set_int(struct config *c, const char *key, int64_t value, const char *source);
/* Sets defaults that follow from given keys; called after presets and settings. */
bool config_derive(struct config *c, FILE *warn, struct err *e);
const char *config_source(const struct config *c, const char *key);     /* "default" if nothing set it */

/* One "key = value" as found, before it is applied. */
struct setting {
    char *key;
    char *value;
    char *source;
    bool null;                      /* YAML's or Hydra's null; value is "" */
    bool gone;                      /* `~key`: removes earlier settings of the key */
};
struct settings {
    struct setting *v;
    int n;
};
void settings_add(struct settings *s, const char *key, const char *value, const char *source);
void settings_free(struct settings *s);

/* YAML text of one document: nested mappings joined with '.', sequences of scalars joined with ','. name stands for the
 * file in sources ("name:line") and errors. At most 16 levels and 4096 values; anchors, aliases, tags and a key given
 * twice are rejected. Takes hostile text. */
bool config_yaml(struct settings *s, const char *name, const char *text, size_t n, struct err *e);

/* ---- config_load.c ---- */
/* Applies the settings of files and arguments; reports the errors of all keys at once. say: gets the keys that are
 * ignored, and those that mean something else than in verl. */
bool config_apply(struct config *c, struct settings *s, FILE *say, struct err *e);

/* ---- config_verl.c ---- */
struct reading {
    struct config *c;
    struct settings *s;
    struct str *problems;
    int wrong;
    struct str *notes;
    bool foreign;
    int lookups;
};
/* The setting of this plain key; NULL: none, or null. */
const struct setting *reading_of(const struct reading *r, const char *key);
void reading_problem(struct reading *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void config_verl_before(struct reading *r);             /* called before our own keys are set */
void config_verl_after(struct reading *r);
void config_verl_notes(struct reading *r);

/* The key without `+` and `actor_rollout_ref.`; points into key. */
const char *config_plain_key(const char *key);
const struct key *config_find(const char *name);

/* Writes " Did you mean a, b or c?": the names nearest by edit distance or containing the last word; empty without a
 * near one. */
void config_nearest(char *out, size_t n, const char *name);

/* The value as text that reads back; a choice by its first name. out: for values that are not strings.
 * Returns out or the string itself. */
const char *config_text(const struct config *c, const struct key *k, char out[64]);
