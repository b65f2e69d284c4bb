/* config_print.c: prints the configuration for people: as YAML that reads back, as a search over names and meanings,
 * and all about one key. */
#include "engine/config/config_in.h"
#include "base/arith.h"
#include "base/str.h"
#include "base/utf8.h"
#include <math.h>
#include <string.h>
#include <strings.h>

enum { NAME_WIDTH = 50 };

/* Code points that libyaml rejects, or reads as the end of a line, where they are not escaped. */
static bool must_escape(uint32_t c)
{
    return c < 32 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfffe || c == 0xffff;
}

/* A string in YAML's double quotes; bytes that are not UTF-8 stay as they are. */
static void put_value(struct str *v, const struct config *c, const struct key *k)
{
    char text[64];
    const char *s = config_text(c, k, text);
    if (k->type != KEY_STRING) {
        str_puts(v, s);
        return;
    }
    str_putc(v, '"');
    for (int len; *s; s += len) {
        uint32_t point = 0;
        len = utf8_get(s, strlen(s), &point);
        if (len && must_escape(point)) str_printf(v, point < 256 ? "\\x%02x" : "\\u%04x", point);
        else if (*s == '"' || *s == '\\') str_printf(v, "\\%c", *s);
        else str_put(v, s, (size_t)MAX(len, 1));
        len = MAX(len, 1);
    }
    str_putc(v, '"');
}

/* Text in lines of at most width bytes, broken at spaces, each after indent; a longer word has a line alone. */
static void put_wrapped(FILE *f, const char *indent, const char *text, int width)
{
    int room = width - (int)strlen(indent);
    if (room < 20) room = 20;
    while (*text) {
        int n = (int)strlen(text), take = n;
        if (n > room) {
            for (take = room; take && text[take] != ' '; ) take--;
            if (!take) take = (int)strcspn(text, " ");
        }
        fprintf(f, "%s%.*s\n", indent, take, text);
        text += take;
        while (*text == ' ') text++;
    }
}

void config_print(const struct config *c, FILE *f, int width)
{
    for (int i = 0; i < config_nkeys; i++) {
        const struct key *k = &config_keys[i];
        struct str v = { 0 }, help = { 0 };
        put_value(&v, c, k);
        str_printf(&help, "%s", k->help);
        if (k->choices) str_printf(&help, " [%s]", k->choices);
        if (width) {
            fprintf(f, "%s: %s\n", k->name, v.p);
            str_clear(&v);
            str_printf(&v, "%s: %s", config_source(c, k->name), help.p);
            put_wrapped(f, "    # ", v.p, width);
        } else {
            fprintf(f, "%s: %-*s # %s: %s\n", k->name,
                    (int)(strlen(k->name) < NAME_WIDTH ? NAME_WIDTH - strlen(k->name) : 1), v.p,
                    config_source(c, k->name), help.p);
        }
        str_free(&v);
        str_free(&help);
    }
}

/* ---- appo keys ---- */

static void put_range(struct str *s, const struct key *k)
{
    static const char *const types[] = { "a whole number", "a whole number", "a number",
                                         "true or false",  "text",           "one of" };
    str_puts(s, types[k->type]);
    if (k->type == KEY_CHOICE) str_printf(s, ": %s (behind a comma: another name of the same)", k->choices);
    else if (k->type != KEY_BOOL && k->type != KEY_STRING && isinf(k->hi)) str_printf(s, ", %g or more", k->lo);
    else if (k->type != KEY_BOOL && k->type != KEY_STRING) str_printf(s, ", %.12g to %.16g", k->lo, k->hi);
}

static void explain_one(const struct key *k, FILE *f, int width)
{
    struct str s = { 0 };
    fprintf(f, "%s\n", k->name);
    put_wrapped(f, "  ", k->help, width);
    put_range(&s, k);
    put_wrapped(f, "  ", s.p, width);
    fprintf(f, "  default: %s", *k->init ? k->init : "\"\"");
    fprintf(f, k->model ? "; with model.path: %s\n" : "\n", k->model);
    fprintf(f, "  a resumed run %s\n",
            k->resume == RESUME_SAME ? "must have the same value" : "may have another value");
    for (const struct config_preset *p = config_presets; p->key; p++)
        if (!strcmp(p->key, k->name)) {
            const char *name = config_find("algorithm.preset")->choices;
            for (int i = p->preset; i; name++) i -= *name == '|';
            fprintf(f, "  algorithm.preset=%.*s: %s\n", (int)strcspn(name, "|,"), name, p->value);
        }
    for (const struct config_rename *r = config_renames; r->from; r++)
        if (!strcmp(r->to, k->name)) fprintf(f, "  also given by %s\n", r->from);
    str_free(&s);
}

static bool holds(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (; *text; text++)
        if (!strncasecmp(text, word, n)) return true;
    return !n;
}

/* Explains a key of another program. */
static bool explain_other(const char *word, FILE *f)
{
    bool found = false;
    for (const struct config_rename *r = config_renames; r->from; r++)
        if (!strcmp(r->from, word)) found = fprintf(f, "%s: another name of %s\n", word, r->to) > 0;
    const char *ours = config_other_name(word), *made = config_together(word);
    if (!found && made) return fprintf(f, "%s: here %s\n", word, made) > 0;
    if (!found && ours) found = fprintf(f, "%s: here it is %s\n", word, ours) > 0;
    if (!found && config_is_together(word))
        found = fprintf(f, "%s: read together with other keys; docs/from-verl.md says how\n", word) > 0;
    const struct config_foreign *other = found ? NULL : config_foreign(word);
    if (!other) return found;
    if (!other->neutral) fprintf(f, "%s: an option of other engines, ignored\n", word);
    else
        fprintf(f, "%s: %s; ignored at null%s%s, rejected at other values\n", word, other->lacks,
                *other->neutral ? " or " : "", other->neutral);
    return true;
}

bool config_explain(const char *word, FILE *f, int width)
{
    int found = 0;
    word = config_plain_key(word);
    const struct key *one = config_find(word);
    if (!width) width = 120;
    if (one) explain_one(one, f, width);
    if (one || explain_other(word, f)) return true;
    for (int i = 0; i < config_nkeys; i++) {
        const struct key *k = &config_keys[i];
        if (!holds(k->name, word) && !holds(k->help, word) && !(k->choices && holds(k->choices, word))) continue;
        found++;
        int pad = (int)strlen(k->name) < 36 ? 36 - (int)strlen(k->name) : 1, room = width - (int)strlen(k->name) - pad,
            n = (int)strlen(k->help);
        if (room < 10) room = 10;
        fprintf(f, "%s%*s%.*s%s\n", k->name, pad, "", n <= room ? n : room - 3, k->help, n <= room ? "" : "...");
    }
    if (found) return true;
    char near[256];
    config_nearest(near, sizeof near, word);
    fprintf(f, "%s: no option has this in its name or meaning.%s\n", word, near);
    return false;
}

const char *config_our_name(const char *word)
{
    const char *ours = config_other_name(word);
    for (int i = 0; i < config_nkeys && !ours; i++) {
        const char *dot = strrchr(config_keys[i].name, '.');
        if (!strcmp(config_keys[i].name, word) || (dot && !strcmp(dot + 1, word))) ours = config_keys[i].name;
    }
    return ours;
}
