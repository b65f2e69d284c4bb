/* conversations.c: records to whole conversations, for supervised training. */
#include "data/conversations.h"
#include "base/str.h"
#include "data/reference_answers.h"
#include "data/conversation_form.h"
#include "base/json_partial.h"
#include "data/records.h"
#include "base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void conversation_free(struct conversation *d)
{
    messages_free(&d->messages);
    free(d->tools);
    free(d->where);
}

/* Tools: JSON text, or a list. Parquet stores absent tools as an empty list. */
static bool read_tools(struct conversation *d, const json_t *tools, struct err *e)
{
    char buf[200];
    if (tools_none(tools)) return true;
    if (json_is_string(tools)) {
        d->tools = xstrdup(json_string_value(tools));
    } else if (json_is_array(tools)) {
        d->tools = json_dumps(tools, JSON_COMPACT | JSON_REAL_PRECISION(17));
        if (d->tools && odd_within(d->tools)) return fail(e, "\"tools\" hold a value that cannot be read");
    } else {
        return fail(e, "\"tools\" must be a list of declarations, or the JSON text of one; it is %s",
                    value_is(tools, buf, sizeof buf));
    }
    return true;
}

static bool read_conversation(struct conversation *d, const json_t *record, const struct dataset_keys *key,
                              struct conversation_form *f, struct err *e)
{
    if (!json_is_object(record)) return fail(e, "a row must be a JSON object");
    if (!messages_beside(record, e) || !conversation_form_read(f, record, key->prompt, key->answer, e) ||
        !messages_read(&d->messages, f->messages, json_array_size(f->messages), f->names, e))
        return false;
    for (int k = 0; k < f->learn_from; k++) d->messages.p[k].quiet = true;
    for (int k = f->learn_from; k < d->messages.n; k++)
        if (d->messages.p[k].role == ROLE_ASSISTANT) return read_tools(d, record_at(record, "tools"), e);
    return fail(e, "\"%s\" has no message of role \"assistant\": there is nothing to learn from it", f->names);
}

static void join(struct conversations *d, const struct conversation *one)
{
    if (d->n == d->cap) {
        d->cap = d->cap ? 2 * d->cap : 256;
        d->conversation = xrealloc(d->conversation, (size_t)d->cap * sizeof *d->conversation);
    }
    d->conversation[d->n++] = *one;
}

/* Records by form, reported once a file. */
enum { FORMS = 8 };
struct form_count { char names[200]; int n; };

static void count(struct form_count *forms, const char *names)
{
    int k = 0;
    while (k < FORMS - 1 && forms[k].n && strcmp(forms[k].names, names)) k++;
    snprintf(forms[k].names, sizeof forms[k].names, "%s",
             forms[k].n && strcmp(forms[k].names, names) ? "other columns" : names);
    forms[k].n++;
}

static void note(struct conversations *d, const char *path, const struct form_count *forms, int nulls)
{
    str_printf(&d->note, "%s: ", path);
    for (int k = 0; k < FORMS && forms[k].n; k++)
        str_printf(&d->note, "%s%d conversations in %s", k ? ", " : "", forms[k].n, forms[k].names);
    if (nulls) str_printf(&d->note, "; %d rows are null and were left out", nulls);
    str_putc(&d->note, '\n');
}

/* If the record lacks a named column, appends the columns it has to the message. */
static void add_near(const struct records *r, const json_t *record, const struct dataset_keys *key, struct err *e)
{
    const char *missing = key->prompt && !record_at(record, key->prompt)   ? key->prompt
                          : key->answer && !record_at(record, key->answer) ? key->answer
                                                                     : NULL;
    size_t n = strlen(e->text);
    struct str near = { 0 };
    if (!missing && !starts_with(e->text, "no conversation")) return;
    records_near(r, missing ? missing : "messages", &near);
    snprintf(e->text + n, sizeof e->text - n, "%s", near.p);
    str_free(&near);
}

static int next_conversation(struct conversations *d, struct records *r, const struct dataset_keys *key,
                             struct form_count *forms, int *nulls, struct err *e)
{
    json_t *record;
    struct conversation one = { 0 };
    struct conversation_form f = { 0 };
    struct str place = { 0 };
    int state = records_next(r, &record, e);
    if (state <= 0) return state;
    bool nothing = record_is_null(record), ok = nothing || read_conversation(&one, record, key, &f, e);
    if (!ok) add_near(r, record, key, e);
    json_decref(record);
    *nulls += nothing;
    if (ok && !nothing) {
        records_place(r, &place);
        one.where = place.p;
        count(forms, f.names);
        join(d, &one);
    } else {
        conversation_free(&one);
    }
    conversation_form_free(&f);
    return ok ? 1 : (records_fail(r, e), -1);
}

bool conversations_load(struct conversations *d, const char *path, const struct dataset_keys *key, struct err *e)
{
    const char *columns[40] = { "?tools" };
    int n = 1, before = d->n, state, nulls = 0;
    struct form_count forms[FORMS] = { 0 };
    for (; conversation_form_columns[n - 1]; n++) columns[n] = conversation_form_columns[n - 1];
    for (int k = 0; message_columns[k]; k++) columns[n++] = message_columns[k];
    if (key->prompt) columns[n++] = key->prompt;
    if (key->answer) columns[n++] = key->answer;
    struct records *r = records_open(path, columns, e);
    if (!r) return false;
    while ((state = next_conversation(d, r, key, forms, &nulls, e)) > 0) {}
    records_close(r);
    if (state == 0 && d->n == before)
        return fail(e, nulls ? "%s: holds no rows but null ones" : "%s: holds no rows", path);
    if (state == 0) note(d, path, forms, nulls);
    return state == 0;
}

void conversations_free(struct conversations *d)
{
    for (int k = 0; k < d->n; k++) conversation_free(&d->conversation[k]);
    free(d->conversation);
    str_free(&d->note);
    *d = (struct conversations){ 0 };
}
