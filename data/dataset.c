/* dataset.c: records to prompts. Data sets name their columns differently. A prompt joins the dataset only when it is
 * complete. */
#define _GNU_SOURCE     /* strcasestr */
#include "data/dataset.h"
#include "base/philox.h"
#include "data/reference_answers.h"
#include "data/records.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has_role(const json_t *message, const char *role)
{
    const char *is = json_string_value(json_object_get(message, "role"));
    return is && !strcmp(is, role);
}

/* State while the records of one file become prompts. */
struct prompt_reader {
    struct records *records;
    const struct dataset_keys *key;
    const char *source, *prompt_column;
    int marked, boxed, empty, nulls, tools;
};

/* Fails with the columns that the record has instead of the missing one. */
static bool fail_missing(const struct prompt_reader *x, const char *column, const char *what, struct err *e)
{
    struct str near = { 0 };
    records_near(x->records, column, &near);
    fail(e, "%s%s", what, near.p);
    str_free(&near);
    return false;
}

/* The column that a key names; no other takes its place. */
static const json_t *given(const struct prompt_reader *x, const json_t *record, const char *column, const char *key,
                           struct err *e)
{
    char what[200];
    const json_t *v = record_at(record, column);
    if (v) return v;
    snprintf(what, sizeof what, "no column \"%.100s\", which %s names, or it is null here", column, key);
    fail_missing(x, column, what, e);
    return NULL;
}

/* Number of messages that are the prompt: all before the assistant's last turn and before the calls and results that
 * lead to it. Tool results that end a conversation belong to the prompt: the model continues from them. */
static size_t prompt_messages(const json_t *list)
{
    size_t n = json_array_size(list), kept = n;
    if (n && !has_role(json_array_get(list, n - 1), "assistant")) return n;
    for (const json_t *m; kept && (m = json_array_get(list, kept - 1),
                                   has_role(m, "assistant") || has_role(m, "tool") || has_role(m, "function"));)
        kept--;
    return kept;
}

/* Reads the prompt column: a plain string, or chat messages; *answer: the assistant's last message. */
static bool read_prompt(struct prompt *s, const json_t *prompt, const char *name, const json_t **answer, struct err *e)
{
    char buf[200];
    if (json_is_string(prompt)) {
        if (text_is_messages(json_string_value(prompt)))
            return fail(e, "\"%s\" is a text with a list of messages written out: write it as a list", name);
        messages_add(&s->messages, ROLE_USER, json_string_value(prompt));
    } else {
        if (!json_is_array(prompt))
            return fail(e, "\"%s\" must be a string or a list of messages, it is %s", name,
                        value_is(prompt, buf, sizeof buf));
        size_t n = json_array_size(prompt), kept = prompt_messages(prompt);
        if (!messages_read(&s->messages, prompt, kept ? kept : n, name, e)) return false;
        const json_t *last = json_array_get(prompt, n - 1), *content = json_object_get(last, "content");
        if (has_role(last, "assistant") && json_is_string(content)) *answer = content;
    }
    for (int k = 0; k < s->messages.n; k++) {
        if (!s->system && s->messages.p[k].role == ROLE_SYSTEM) s->system = s->messages.p[k].text;
        if (s->messages.p[k].role == ROLE_USER) s->user = s->messages.p[k].text;
    }
    return s->user || fail(e, "\"%s\" has no message of role \"user\"", name);
}

/* Finds the prompt in the first usual column that the record has. If several exist and none of them is "prompt", they
 * must agree. */
static bool find_prompt(struct prompt_reader *x, struct prompt *s, const json_t *record, const json_t **answer,
                        struct err *e)
{
    static const char *const usual[] = { "prompt", "question", "problem", "messages" };
    const json_t *v, *last = NULL;
    const char *name = NULL;
    x->prompt_column = x->key->prompt;
    if (x->key->prompt)
        return (v = given(x, record, x->key->prompt, "data.prompt_key", e)) &&
               read_prompt(s, v, x->key->prompt, answer, e);
    for (int k = 0; k < 4; k++) {
        if (!(v = record_at(record, usual[k]))) continue;
        if (!name) {
            x->prompt_column = name = usual[k];
            if (!read_prompt(s, v, name, answer, e)) return false;
            if (k == 0) return true;
            continue;
        }
        struct prompt other = { 0 };
        bool ok = read_prompt(&other, v, usual[k], &last, e), same = ok && !strcmp(other.user, s->user);
        messages_free(&other.messages);
        if (ok && !same)
            return fail(e, "\"%s\" and \"%s\" both hold a prompt and differ: choose one with data.prompt_key",
                        name, usual[k]);
        if (!ok) return false;
    }
    return name || fail_missing(x, "prompt",
                                "no prompt: one of \"prompt\", \"question\", \"problem\", \"messages\" is needed "
                                "(data.prompt_key names it)",
                                e);
}

/* TRL's "solution" is an answer; MATH's is a derivation with the answer in a box. */
static bool is_worked(const struct references *a)
{
    for (int k = 0; k < a->n; k++) if (strchr(a->ref[k], '\n')) return true;
    return false;
}

/* Reads the answer from one of the usual columns. *name stays NULL if there is none. */
static bool find_answer(const json_t *record, struct references *out, const char **name, struct err *e)
{
    static const char *const usual[] = { "answer", "ground_truth", "golden_answers", "label" };
    const json_t *v = record_at(record, "reward_model.ground_truth");
    if (v) return references_read(out, v, *name = "reward_model.ground_truth", REFS_FOUND, e);
    for (int k = 0; k < 4; k++) {
        if (!(v = record_at(record, usual[k]))) continue;
        struct references other;
        int how = REFS_FOUND | REFS_BOX | (k == 2 ? REFS_WORDS : 0);
        bool ok = references_read(*name ? &other : out, v, usual[k], how, e);
        bool differ = ok && *name && !references_same(out, &other);
        if (*name) references_free(&other);
        if (differ)
            return fail(e, "\"%s\" and \"%s\" both hold an answer and differ: choose one with data.answer_key",
                        *name, usual[k]);
        if (!ok) return false;
        *name = usual[k];
    }
    if (*name || !(v = record_at(record, "solution"))) return true;
    if (!references_read(out, v, *name = "solution", REFS_FOUND | REFS_BOX, e)) return false;
    return !is_worked(out) || fail(e, "\"solution\" has several lines and no \\boxed{}: it looks like a derivation; "
                                      "name the column of the answer with data.answer_key (data.answer_key=solution "
                                      "takes the text as it is)");
}

static bool read_answers(struct prompt_reader *x, struct prompt *s, const json_t *record, const json_t *last,
                         struct err *e)
{
    const char *key = x->key->answer, *name = NULL;
    const json_t *v;
    struct references a = { 0 };
    bool ok;
    if (key)
        ok = (v = given(x, record, key, "data.answer_key", e)) &&
             references_read(&a, v, key, strcmp(key, "reward_model.ground_truth") ? REFS_BOX : 0, e);
    else ok = find_answer(record, &a, &name, e);
    if (ok && !key && !name)
        ok = last ? references_read(&a, last, "messages", 0, e)
                  : fail_missing(x, "answer",
                                 "no answer: one of reward_model.ground_truth, \"answer\", \"ground_truth\", "
                                 "\"golden_answers\", \"label\", \"solution\" is "
                                 "needed (data.answer_key names it)",
                                 e);
    s->refs = a.ref;
    s->n_refs = a.n;
    if (ok && last && (key || name) && strcmp(x->prompt_column, "messages"))
        ok = fail(e,
                  "\"%s\" ends with a message of the assistant, but the answer is in another column: partial turns "
                  "for the model to continue are not supported (in a column named \"messages\" it is a demonstration "
                  "and is left out)",
                  x->prompt_column);
    if (!ok) return false;
    s->ground_truth = s->refs[0];
    s->number = a.number;
    x->marked += a.behind_mark;
    x->boxed += a.boxed;
    x->empty += a.empty;
    return true;
}

static void prompt_free(struct prompt *s)
{
    for (int k = 0; k < s->n_refs; k++) free(s->refs[k]);
    free(s->refs);
    free(s->data_source);
    free(s->where);
    messages_free(&s->messages);
    free(s->ability);
}

/* Reads a column that is a name: a text or a number. *out NULL with true: absent. */
static bool read_name(char **out, const json_t *v, const char *name, struct err *e)
{
    char buf[200];
    *out = !v                   ? NULL
           : json_is_integer(v) ? json_dumps(v, JSON_ENCODE_ANY)
           : json_is_string(v)  ? xstrdup(json_string_value(v))
                                : NULL;
    return !v || *out || fail(e, "\"%s\" must be a text, it is %s", name, value_is(v, buf, sizeof buf));
}

static bool read_record(struct prompt_reader *x, struct prompt *s, const json_t *record, struct err *e)
{
    const json_t *last = NULL, *source, *tools = record_at(record, "tools");
    const char *key = x->key->source;
    if (!json_is_object(record)) return fail(e, "a row must be a JSON object");
    if (!messages_beside(record, e) || !find_prompt(x, s, record, &last, e) || !read_answers(x, s, record, last, e))
        return false;
    /* not "[]" */
    x->tools += json_array_size(tools) > 0 || json_object_size(tools) > 0 || json_string_length(tools) > 2;
    source = key ? given(x, record, key, "data.source_key", e) : record_at(record, "data_source");
    if ((key && !source) || !read_name(&s->data_source, source, key ? key : "data_source", e)) return false;
    s->named = s->data_source;
    if (!s->named) s->data_source = xstrdup(x->source);
    if (!read_name(&s->ability, record_at(record, "ability"), "ability", e)) return false;
    const json_t *index = record_at(record, "extra_info.index");
    if (json_is_integer(index)) s->index = json_integer_value(index);
    return true;
}

static void join(struct dataset *d, const struct prompt *s)
{
    if (d->n == d->cap) {
        d->cap = d->cap ? 2 * d->cap : 256;
        d->prompt = xrealloc(d->prompt, (size_t)d->cap * sizeof *d->prompt);
    }
    d->prompt[d->n++] = *s;
}

/* folder/gsm8k.jsonl.gz -> gsm8k; shards of one set have one name: train-00000-of-00004.parquet -> train */
static char *stem(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *s = xstrdup(slash ? slash + 1 : path);
    char *dot = strchr(s + (*s == '.'), '.'), *shard = NULL;
    int n = 0;
    if (dot) *dot = 0;
    for (char *p = s; !shard && (p = strchr(p, '-')); p++)
        if (sscanf(p, "-%*5d-of-%*5d%n", &n) == 0 && n) shard = p;
    if (shard && shard > s && !shard[n]) *shard = 0;
    /* the name goes into JSON (metrics, state.json), which a file's name need not fit */
    json_t *fits = json_string(s);
    for (char *p = s; !fits && *p; p++) if ((unsigned char)*p >= 128) *p = '?';
    json_decref(fits);
    return s;
}

static bool read_records(struct dataset *d, struct prompt_reader *x, struct err *e)
{
    json_t *record;
    int state, before = d->n;
    while ((state = records_next(x->records, &record, e)) > 0) {
        struct prompt s = { .index = d->n - before + x->nulls };
        bool nothing = record_is_null(record), ok = nothing || read_record(x, &s, record, e);
        json_decref(record);
        x->nulls += nothing;
        if (nothing) continue;
        struct str place = { 0 };
        records_place(x->records, &place);
        s.where = place.p;
        if (!ok) { prompt_free(&s); return records_fail(x->records, e); }
        join(d, &s);
    }
    return state == 0;
}

static void note(struct dataset *d, const char *path, const struct prompt_reader *x, int n)
{
    if (x->marked)
        str_printf(&d->note, "%s: %d of %d answers end as GSM8K's do: the text after the last #### is the reference\n",
                   path, x->marked, n);
    if (x->boxed)
        str_printf(&d->note, "%s: %d of %d answers hold \\boxed{}: the content of the last one is the reference\n",
                   path, x->boxed, n);
    if (x->empty)
        str_printf(&d->note, "%s: %d of %d answers are empty texts, which no reply equals\n", path, x->empty, n);
    if (x->tools)
        str_printf(&d->note,
                   "%s: %d of %d records declare \"tools\", which are ignored: rollouts run only this program's "
                   "tools\n",
                   path, x->tools, n);
    if (x->nulls) str_printf(&d->note, "%s: %d rows are null and were left out\n", path, x->nulls);
}

bool dataset_load_keys(struct dataset *d, const char *path, const struct dataset_keys *key, struct err *e)
{
    const char *columns[32] = { "?ability", "?extra_info.index", "?tools" };
    static const char *const prompts[] = { "?prompt", "?question", "?problem", "?messages" };
    static const char *const answers[] = {
        "?reward_model.ground_truth", "?answer", "?ground_truth", "?golden_answers", "?label", "?solution"
    };
    int n = 3, before = d->n;
    for (int k = 0; message_columns[k]; k++) columns[n++] = message_columns[k];
    for (int k = 0; !key->prompt && k < 4; k++) columns[n++] = prompts[k];
    for (int k = 0; !key->answer && k < 6; k++) columns[n++] = answers[k];
    columns[n++] = key->source ? key->source : "?data_source";
    if (key->prompt) columns[n++] = key->prompt;
    if (key->answer) columns[n++] = key->answer;
    struct prompt_reader x = { .records = records_open(path, columns, e), .key = key };
    if (!x.records) return false;
    char *source = stem(path);
    x.source = source;
    bool ok = read_records(d, &x, e);
    if (ok && d->n == before) ok = fail(e, x.nulls ? "%s: holds no rows but null ones" : "%s: holds no rows", path);
    if (ok) note(d, path, &x, d->n - before);
    free(source);
    records_close(x.records);
    return ok;
}

bool dataset_load(struct dataset *d, const char *path, const char *prompt_key, struct err *e)
{
    return dataset_load_keys(d, path, &(struct dataset_keys){ .prompt = prompt_key }, e);
}

void dataset_cut(struct dataset *d, int n)
{
    while (d->n > n) prompt_free(&d->prompt[--d->n]);
}

void dataset_free(struct dataset *d)
{
    dataset_cut(d, 0);
    free(d->prompt);
    str_free(&d->note);
    *d = (struct dataset){ 0 };
}

bool prompt_is_math(const struct prompt *s)
{
    static const char *const sources[] = {
        "gsm8k", "math", "aime", "amc", "olympiad", "numina", "deepscaler", "minerva"
    };
    if (s->ability) return !strncasecmp(s->ability, "math", 4);
    for (size_t k = 0; k < sizeof sources / sizeof *sources; k++)
        if (strcasestr(s->data_source, sources[k])) return true;
    return s->number;
}

void dataset_order(int n, uint64_t seed, uint32_t epoch, int *perm)
{
    struct rng r = rng_make(seed, 0x64617461u, epoch);                      /* stream "data" */
    for (int k = 0; k < n; k++) perm[k] = k;
    for (int k = n - 1; k > 0; k--) {                                    /* Fisher and Yates */
        int j = (int)rng_below(&r, (uint32_t)k + 1), t = perm[k];
        perm[k] = perm[j];
        perm[j] = t;
    }
}
