/* dialog.c: rows to whole conversations, for supervised training. */
#include "data/dataset.h"
#include "base/str.h"
#include "data/rows.h"
#include <stdlib.h>
#include <string.h>

/* The first column of names that the row has. */
static const json_t *column(const json_t *row, const char *const *names, int n, const char **name)
{
    for (int k = 0; k < n; k++) {
        const json_t *v = names[k] ? row_at(row, names[k]) : NULL;
        if (!v) continue;
        *name = names[k];
        return v;
    }
    return NULL;
}

static bool read_said(struct dialog *d, const json_t *row, const struct dataset_keys *key, struct err *e)
{
    const char *const asks[] = { key->prompt, "messages", "prompt", "question" }, *const replies[] = { key->answer, "response", "answer" };
    const char *name, *other;
    const json_t *said = column(row, asks, key->prompt ? 1 : 4, &name), *reply;
    if (!said) return fail(e, "no conversation: \"%s\" is needed (data.prompt_key names it)", key->prompt ? key->prompt : "messages");
    if (json_is_array(said)) {
        if (!messages_read(&d->said, said, json_array_size(said), name, e)) return false;
    } else {
        reply = column(row, replies, key->answer ? 1 : 3, &other);
        if (!json_is_string(said)) return fail(e, "\"%s\" must be a list of messages or a string", name);
        if (!json_is_string(reply)) return fail(e, "\"%s\" is a string; then its answer is needed as a string too, in \"%s\" (data.answer_key names it)", name,
                                                key->answer ? key->answer : "response");
        messages_add(&d->said, ROLE_USER, json_string_value(said));
        messages_add(&d->said, ROLE_ASSISTANT, json_string_value(reply));
    }
    for (int k = 0; k < d->said.n; k++)
        if (d->said.p[k].role == ROLE_ASSISTANT) return true;
    return fail(e, "\"%s\" has no message of role \"assistant\": there is nothing to learn from it", name);
}

static void dialog_free(struct dialog *d)
{
    messages_free(&d->said);
    free(d->tools);
    free(d->place);
}

static bool read_dialog(struct dialog *d, const json_t *row, const struct dataset_keys *key, struct err *e)
{
    if (!json_is_object(row)) return fail(e, "a row must be a JSON object");
    if (!read_said(d, row, key, e)) return false;
    const json_t *tools = row_at(row, "tools");
    if (tools && !json_is_string(tools) && !json_is_array(tools)) return fail(e, "\"tools\" must be a list of declarations, or the JSON text of one");
    if (json_string_length(tools)) d->tools = xstrdup(json_string_value(tools));
    else if (json_array_size(tools)) d->tools = json_dumps(tools, JSON_COMPACT | JSON_REAL_PRECISION(17));
    return true;
}

static void join(struct dialogs *d, const struct dialog *one)
{
    if (d->n == d->cap) {
        d->cap = d->cap ? 2 * d->cap : 256;
        d->row = xrealloc(d->row, (size_t)d->cap * sizeof *d->row);
    }
    d->row[d->n++] = *one;
}

bool dialogs_load(struct dialogs *d, const char *path, const struct dataset_keys *key, struct err *e)
{
    const char *columns[9] = { "messages", "prompt", "question", "response", "answer", "tools" };
    int n = 6, before = d->n, state;
    json_t *row;
    if (key->prompt) columns[n++] = key->prompt;
    if (key->answer) columns[n++] = key->answer;
    struct rows *r = rows_open(path, columns, e);
    if (!r) return false;
    while ((state = rows_next(r, &row, e)) > 0) {
        struct dialog one = { 0 };
        struct str place = { 0 };
        bool ok = read_dialog(&one, row, key, e);
        json_decref(row);
        rows_place(r, &place);
        one.place = place.p;
        if (!ok) {
            dialog_free(&one);
            rows_fail(r, e);
            state = -1;
            break;
        }
        join(d, &one);
    }
    rows_close(r);
    if (state == 0 && d->n == before) return fail(e, "%s: holds no rows", path);
    return state == 0;
}

void dialogs_free(struct dialogs *d)
{
    for (int k = 0; k < d->n; k++) dialog_free(&d->row[k]);
    free(d->row);
    *d = (struct dialogs){ 0 };
}
