/* config.c: sets single keys from text and writes them out again. An error names the valid values. */
#include "engine/config/config_in.h"
#include "base/number.h"
#include "base/str.h"
#include "base/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NEAR_MAX = 4, WORD_MAX = 64 };

static void *at(const struct config *c, const struct key *k) { return (char *)(uintptr_t)c + k->at; }

const char *config_plain_key(const char *key)
{
    static const char prefix[] = "actor_rollout_ref.";
    while (*key == '+' || *key == '~') key++;
    return strncmp(key, prefix, sizeof prefix - 1) ? key : key + sizeof prefix - 1;
}

const struct key *config_find(const char *name)
{
    for (int i = 0; i < config_nkeys; i++)
        if (!strcmp(config_keys[i].name, name)) return &config_keys[i];
    return NULL;
}

/* Levenshtein distance; of words longer than WORD_MAX, the longer one's length. */
int config_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    if (n > WORD_MAX || m > WORD_MAX) return (int)(n > m ? n : m);
    int row[WORD_MAX + 1];
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best) best = above + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[m];
}

static const char *last_word(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

static int nearness(const char *name, const char *other)
{
    const char *word = last_word(name), *tail = last_word(other);
    int d = config_distance(name, other), w = config_distance(word, tail) + 1;
    if (w < d) d = w;
    if (strlen(word) >= 3 && d > 2 && (strstr(other, word) || (strlen(tail) >= 3 && strstr(word, tail)))) d = 2;
    return d;
}

void config_nearest(char *out, size_t n, const char *name)
{
    const char *best[NEAR_MAX];
    int far[NEAR_MAX], count = 0, limit = (int)strlen(last_word(name)) / 3 + 1;
    if (limit < 2) limit = 2;
    for (int i = 0; i < config_nkeys; i++) {
        int d = nearness(name, config_keys[i].name), j;
        if (d > limit || (count == NEAR_MAX && d >= far[count - 1])) continue;
        if (count < NEAR_MAX) count++;
        for (j = count - 1; j > 0 && far[j - 1] > d; j--) far[j] = far[j - 1], best[j] = best[j - 1];
        far[j] = d, best[j] = config_keys[i].name;
    }
    *out = 0;
    for (int i = 0; i < count; i++) {
        size_t used = strlen(out);
        snprintf(out + used, n - used, "%s%s%s",
                 !i               ? " Did you mean "
                 : i == count - 1 ? " or "
                                  : ", ",
                 best[i], i == count - 1 ? "?" : "");
    }
}

/* ---- one value ---- */

/* Choices of other programs that are rejected, and the reason. */
static const char *lacking(const struct key *k, const char *value)
{
    static const struct { const char *key, *value, *lacks; } later[] = {
        { "algorithm.adv_estimator", "gae", "needs a critic, which is not built yet" },
        { "algorithm.adv_estimator", "remax",
          "needs a greedy rollout of each prompt as its baseline, which is not built yet" },
        { "algorithm.adv_estimator", "gspo", "a loss, not an estimator: actor.policy_loss.loss_mode=gspo" },
    };
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (!strcmp(later[i].key, k->name) && !strcmp(later[i].value, value)) return later[i].lacks;
    return "no such choice";
}

static bool wrong(const struct key *k, const char *value, const char *source, const char *what, struct err *e)
{
    char range[96] = "";
    if (k->type == KEY_CHOICE) snprintf(range, sizeof range, "%s", "one of: ");
    else if (k->type == KEY_BOOL) snprintf(range, sizeof range, "%s", "true or false");
    else if (isinf(k->hi)) snprintf(range, sizeof range, "%g or more", k->lo);
    else snprintf(range, sizeof range, "%.12g to %.16g", k->lo, k->hi);
    struct str names = { 0 };
    for (const char *p = k->type == KEY_CHOICE ? k->choices : ""; *p; p++)
        if (*p == '|') str_puts(&names, ", ");
        else str_putc(&names, *p == ',' ? '/' : *p);
    fail(e, "%s=%.80s (%s): %s; valid: %s%s", k->name, value, source, what, range, names.p ? names.p : "");
    str_free(&names);
    return false;
}

static bool set_number(const struct key *k, void *field, const char *value, const char *source, struct err *e)
{
    char *end;
    bool whole = k->type != KEY_DOUBLE;
    /* strtod also takes hexadecimal numbers, inf, nan and leading space */
    if (!*value || value[strspn(value, "0123456789+-.eE")])
        return wrong(k, value, source, whole ? "not a whole number" : "not a number", e);
    double d = strtod(value, &end);
    if (*end || (whole && value[strspn(value, "0123456789+-")]))
        return wrong(k, value, source, whole ? "not a whole number" : "not a number", e);
    if (!isfinite(d) || d < k->lo || d > k->hi) return wrong(k, value, source, "out of range", e);
    if (k->type == KEY_INT) *(int *)field = (int)d;
    else if (k->type == KEY_INT64) *(int64_t *)field = (int64_t)strtoll(value, NULL, 10);
    else *(double *)field = d;
    return true;
}

/* 1: a word for true, 0: for false, -1: neither. */
static int truth(const char *value)
{
    static const char *const yes[] = { "true", "on", "yes", "1" }, *const no[] = { "false", "off", "no", "0" };
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (!strcasecmp(value, yes[i])) return 1;
        if (!strcasecmp(value, no[i])) return 0;
    }
    return -1;
}

static bool set_bool(const struct key *k, void *field, const char *value, const char *source, struct err *e)
{
    int is = truth(value);
    if (is < 0) return wrong(k, value, source, "neither true nor false", e);
    *(bool *)field = is;
    return true;
}

/* -1: not among them. */
static int choice(const char *choices, const char *value)
{
    size_t n = strlen(value);
    int index = 0;
    for (const char *p = choices; ; index += *p++ == '|') {
        size_t len = strcspn(p, "|,");
        if (len == n && !memcmp(p, value, n)) return index;
        p += len;
        if (!*p) return -1;
    }
}

/* A key that was a bool once lists true and false among its choices and takes all their words. */
static bool set_choice(const struct key *k, void *field, const char *value, const char *source, struct err *e)
{
    int index = choice(k->choices, value), is = truth(value);
    if (index < 0 && is >= 0) index = choice(k->choices, is ? "true" : "false");
    if (index < 0) return wrong(k, value, source, lacking(k, value), e);
    *(int *)field = index;
    return true;
}

/* Keys whose values are file or folder names; those in the second list hold several. */
static bool is_path(const char *name)
{
    static const char *const tails[] = { "_files", ".path", "_dir", "_cache", ".report", ".save", ".resume" };
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (ends_with(name, tails[i])) return true;
    return false;
}

static bool is_list(const char *name) { return ends_with(name, "_files") || ends_with(name, ".logger"); }

static void put_word(struct str *s, const struct key *k, const char *word, size_t n)
{
    const char *home = getenv("HOME");
    if (n >= 2 && (*word == '"' || *word == '\'') && word[n - 1] == *word) word++, n -= 2;
    if (home && is_path(k->name) && n && *word == '~' && (n == 1 || word[1] == '/')) str_puts(s, home), word++, n--;
    str_put(s, word, n);
}

/* Elements of [a, 'b, c', "d"], joined by commas; one that holds a comma cannot be distinguished from two. */
static bool put_list(struct str *s, const struct key *k, const char *p, const char *end, const char *source,
                     struct err *e)
{
    for (int count = 0; ; count++) {
        while (p < end && *p == ' ') p++;
        if (p == end) return true;
        const char *start = p;
        char quote = *p == '"' || *p == '\'' ? *p : 0;
        if (quote) for (p++; p < end && *p != quote; p++) { }
        while (p < end && *p != ',') p++;
        size_t n = (size_t)(p - start);
        while (n && start[n - 1] == ' ') n--;
        if (memchr(start, ',', n) || memchr(start, '[', n) || memchr(start, '{', n))
            return fail(e, "%s (%s): %.*s: an element may not hold a comma, a list or a mapping", k->name, source,
                        (int)(n < 80 ? n : 80), start);
        if (count) str_putc(s, ',');
        put_word(s, k, start, n);
        p += p < end;
    }
}

/* Hydra's spellings: "a", 'a' and ['a', "b"] are a and a,b; ~/ is the home folder. */
static bool set_string(const struct key *k, char **field, const char *value, const char *source, struct err *e)
{
    size_t n = strlen(value);
    struct str s = { 0 };
    bool ok = true;
    if (is_list(k->name) && n >= 2 && *value == '[' && value[n - 1] == ']') {
        ok = put_list(&s, k, value + 1, value + n - 1, source, e);
    } else if (is_list(k->name) && !(n >= 2 && (*value == '"' || *value == '\'') && value[n - 1] == *value)) {
        for (const char *p = value; ; p++) {
            size_t len = strcspn(p, ",");
            put_word(&s, k, p, len);
            p += len;
            if (!*p) break;
            str_putc(&s, ',');
        }
    } else put_word(&s, k, value, n);
    if (ok) {
        free(*field);
        *field = s.p ? xstrdup(s.p) : xstrdup("");
    }
    str_free(&s);
    return ok;
}

static bool set_key(struct config *c, const struct key *k, const char *value, const char *source, struct err *e)
{
    void *field = at(c, k);
    bool ok = true;
    switch (k->type) {
    case KEY_INT: case KEY_INT64: case KEY_DOUBLE: ok = set_number(k, field, value, source, e); break;
    case KEY_BOOL:   ok = set_bool(k, field, value, source, e); break;
    case KEY_CHOICE: ok = set_choice(k, field, value, source, e); break;
    case KEY_STRING: ok = set_string(k, field, value, source, e); break;
    }
    if (!ok) return false;
    free(c->source[k - config_keys]);
    c->source[k - config_keys] = xstrdup(source);
    return true;
}

bool config_set(struct config *c, const char *key, const char *value, const char *source, struct err *e)
{
    const char *name = config_plain_key(key);
    bool renamed = false;
    for (const struct config_rename *r = config_renames; r->from; r++) {
        char text[64];
        if (strcmp(r->from, name)) continue;
        renamed = true;
        if (r->convert && !r->convert(value, text))
            return fail(e, "%.100s=%.100s (%s): %s", name, value, source, r->lacks);
        if (!set_key(c, config_find(r->to), r->convert ? text : value, source, e)) return false;
    }
    if (renamed) return true;
    const struct key *k = config_find(name);
    if (k) return set_key(c, k, value, source, e);
    char near[256];
    const char *ours = config_other_name(name);
    if (ours) snprintf(near, sizeof near, " Here it is %s.", ours);
    else config_nearest(near, sizeof near, name);
    return fail(e, "%.100s (%s): no such option.%s --print-config lists them all", name, source, near);
}

bool config_given(const struct config *c, const char *key)
{
    return strncmp(config_source(c, key), "default", 7) != 0;
}

const char *config_source(const struct config *c, const char *key)
{
    const struct key *k = config_find(key);
    ENSURE(k);
    const char *s = c->source[k - config_keys];
    return s ? s : "default";
}

bool config_decides(const char *key)
{
    const struct key *k = config_find(key);
    return !k || k->resume == RESUME_SAME;
}

void config_init(struct config *c)
{
    *c = (struct config){ 0 };
    struct err e;
    for (int i = 0; i < config_nkeys; i++) {
        if (!set_key(c, &config_keys[i], config_keys[i].init, "default", &e)) die("%s", e.text);
        free(c->source[i]);
        c->source[i] = NULL;
    }
}

void config_free(struct config *c)
{
    for (int i = 0; i < config_nkeys; i++) {
        if (config_keys[i].type == KEY_STRING) free(*(char **)at(c, &config_keys[i]));
        free(c->source[i]);
    }
    *c = (struct config){ 0 };
}

/* ---- out again ---- */

const char *config_text(const struct config *c, const struct key *k, char out[64])
{
    const void *field = at(c, k);
    switch (k->type) {
    case KEY_STRING: return *(char *const *)field;
    case KEY_INT:    snprintf(out, 64, "%d", *(const int *)field); break;
    case KEY_INT64:  snprintf(out, 64, "%lld", (long long)*(const int64_t *)field); break;
    case KEY_DOUBLE: {
        double x = *(const double *)field;
        if (x == floor(x) && fabs(x) < 1e9) snprintf(out, 64, "%.0f", x);       /* 120, not 1.2e+02 */
        else number_text(out, x);
        break;
    }
    case KEY_BOOL:   snprintf(out, 64, "%s", *(const bool *)field ? "true" : "false"); break;
    case KEY_CHOICE: {
        const char *p = k->choices;
        for (int i = *(const int *)field; i; p++) i -= *p == '|';
        snprintf(out, 64, "%.*s", (int)strcspn(p, "|,"), p);
    }
    }
    return out;
}

json_t *config_json(const struct config *c)
{
    json_t *root = json_object();
    char text[64];
    for (int i = 0; i < config_nkeys; i++) {
        const struct key *k = &config_keys[i];
        const void *field = at(c, k);
        json_t *v = k->type == KEY_INT ? json_integer(*(const int *)field)
                  : k->type == KEY_INT64 ? json_integer(*(const int64_t *)field)
                  : k->type == KEY_DOUBLE ? json_real(*(const double *)field)
                  : k->type == KEY_BOOL ? json_boolean(*(const bool *)field) : json_string(config_text(c, k, text));
        /* a file name need not be UTF-8 */
        json_object_set_new(root, k->name, v ? v : json_string("(not UTF-8)"));
    }
    return root;
}
