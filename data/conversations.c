/* conversations.c: rows to whole conversations, for supervised training. */
#include "data/dataset.h"
#include "base/str.h"
#include "data/reference_answers.h"
#include "data/conversation_form.h"
#include "base/json_partial.h"
#include "data/rows.h"
#include "base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void conversation_free(struct conversation *d)
{
    messages_free(&d->said);
    free(d->tools);
    free(d->place);
}

/* Tools: JSON text, or a list, which is none where Parquet has an empty one. */
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

static bool read_dialog(struct conversation *d, const json_t *row, const struct dataset_keys *key, struct form *f,
                        struct err *e)
{
    if (!json_is_object(row)) return fail(e, "a row must be a JSON object");
    if (!messages_beside(row, e) || !form_read(f, row, key->prompt, key->answer, e) ||
        !messages_read(&d->said, f->said, json_array_size(f->said), f->names, e))
        return false;
    for (int k = 0; k < f->learn_from; k++) d->said.p[k].quiet = true;
    for (int k = f->learn_from; k < d->said.n; k++)
        if (d->said.p[k].role == ROLE_ASSISTANT) return read_tools(d, row_at(row, "tools"), e);
    return fail(e, "\"%s\" has no message of role \"assistant\": there is nothing to learn from it", f->names);
}

static void join(struct conversations *d, const struct conversation *one)
{
    if (d->n == d->cap) {
        d->cap = d->cap ? 2 * d->cap : 256;
        d->row = xrealloc(d->row, (size_t)d->cap * sizeof *d->row);
    }
    d->row[d->n++] = *one;
}

/* How many rows had which form: said once a file. */
enum { FORMS = 8 };
struct count { char names[200]; int n; };

static void count(struct count *forms, const char *names)
{
    int k = 0;
    while (k < FORMS - 1 && forms[k].n && strcmp(forms[k].names, names)) k++;
    snprintf(forms[k].names, sizeof forms[k].names, "%s",
             forms[k].n && strcmp(forms[k].names, names) ? "other columns" : names);
    forms[k].n++;
}

static void note(struct conversations *d, const char *path, const struct count *forms, int nulls)
{
    str_printf(&d->note, "%s: ", path);
    for (int k = 0; k < FORMS && forms[k].n; k++)
        str_printf(&d->note, "%s%d conversations in %s", k ? ", " : "", forms[k].n, forms[k].names);
    if (nulls) str_printf(&d->note, "; %d rows are null and were left out", nulls);
    str_putc(&d->note, '\n');
}

/* A row that lacks a column that is named gets the columns that there are behind its sentence. */
static void tell_near(const struct rows *r, const json_t *row, const struct dataset_keys *key, struct err *e)
{
    const char *missing = key->prompt && !row_at(row, key->prompt)   ? key->prompt
                          : key->answer && !row_at(row, key->answer) ? key->answer
                                                                     : NULL;
    size_t n = strlen(e->text);
    struct str near = { 0 };
    if (!missing && !starts_with(e->text, "no conversation")) return;
    rows_near(r, missing ? missing : "messages", &near);
    snprintf(e->text + n, sizeof e->text - n, "%s", near.p);
    str_free(&near);
}

static int next_dialog(struct conversations *d, struct rows *r, const struct dataset_keys *key, struct count *forms,
                       int *nulls, struct err *e)
{
    json_t *row;
    struct conversation one = { 0 };
    struct form f = { 0 };
    struct str place = { 0 };
    int state = rows_next(r, &row, e);
    if (state <= 0) return state;
    bool nothing = row_is_null(row), ok = nothing || read_dialog(&one, row, key, &f, e);
    if (!ok) tell_near(r, row, key, e);
    json_decref(row);
    *nulls += nothing;
    if (ok && !nothing) {
        rows_place(r, &place);
        one.place = place.p;
        count(forms, f.names);
        join(d, &one);
    } else {
        conversation_free(&one);
    }
    form_free(&f);
    return ok ? 1 : (rows_fail(r, e), -1);
}

bool conversations_load(struct conversations *d, const char *path, const struct dataset_keys *key, struct err *e)
{
    const char *columns[40] = { "?tools" };
    int n = 1, before = d->n, state, nulls = 0;
    struct count forms[FORMS] = { 0 };
    for (; form_columns[n - 1]; n++) columns[n] = form_columns[n - 1];
    for (int k = 0; message_columns[k]; k++) columns[n++] = message_columns[k];
    if (key->prompt) columns[n++] = key->prompt;
    if (key->answer) columns[n++] = key->answer;
    struct rows *r = rows_open(path, columns, e);
    if (!r) return false;
    while ((state = next_dialog(d, r, key, forms, &nulls, e)) > 0) {}
    rows_close(r);
    if (state == 0 && d->n == before)
        return fail(e, nulls ? "%s: holds no rows but null ones" : "%s: holds no rows", path);
    if (state == 0) note(d, path, forms, nulls);
    return state == 0;
}

void conversations_free(struct conversations *d)
{
    for (int k = 0; k < d->n; k++) conversation_free(&d->row[k]);
    free(d->row);
    str_free(&d->note);
    *d = (struct conversations){ 0 };
}
