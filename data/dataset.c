/* dataset.c: rows to samples. Which column is which is a matter of names that differ from set to set; a row is built whole before it joins. */
#define _GNU_SOURCE     /* strcasestr */
#include "data/dataset.h"
#include "base/philox.h"
#include "data/rows.h"
#include <stdlib.h>
#include <string.h>

static char *copy(const json_t *s) { return json_is_string(s) ? xstrdup(json_string_value(s)) : NULL; }

static bool has_role(const json_t *message, const char *role)
{
    const char *is = json_string_value(json_object_get(message, "role"));
    return is && !strcmp(is, role);
}

/* The prompt column: a plain string, or chat messages up to the last user's; *answer: what the assistant says at the end. */
static bool read_prompt(struct sample *s, const json_t *prompt, const char *key, const json_t **answer, struct err *e)
{
    if (json_is_string(prompt)) {
        messages_add(&s->said, ROLE_USER, json_string_value(prompt));
    } else {
        if (!json_is_array(prompt)) return fail(e, "\"%s\" must be a string or a list of messages", key);
        size_t n = json_array_size(prompt), asked = n;
        while (asked && !has_role(json_array_get(prompt, asked - 1), "user")) asked--;
        if (!messages_read(&s->said, prompt, asked ? asked : n, key, e)) return false;
        if (!asked) return fail(e, "\"%s\" has no message of role \"user\"", key);
        const json_t *last = json_array_get(prompt, n - 1), *content = json_object_get(last, "content");
        if (has_role(last, "assistant") && json_is_string(content)) *answer = content;
    }
    for (int k = 0; k < s->said.n && !s->system; k++)
        if (s->said.p[k].role == ROLE_SYSTEM) s->system = s->said.p[k].text;
    s->prompt = s->said.p[s->said.n - 1].text;
    return true;
}

/* A string or a number as text; NULL: neither. */
static char *answer_text(const json_t *a)
{
    if (json_is_number(a)) {
        char *shown = NULL;
        size_t digits = 1;                                                                      /* of a real: the fewest that read back the same */
        do { free(shown); shown = json_dumps(a, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits)); }
        while (shown && json_is_real(a) && strtod(shown, NULL) != json_real_value(a) && digits++ < 17);
        if (!shown) die("dataset: out of memory");
        return shown;
    }
    if (!json_is_string(a)) return NULL;
    const char *s = json_string_value(a), *last = NULL;
    for (const char *p = s; (p = strstr(p, "\n#### ")); p += 6) last = p + 6;                   /* GSM8K: reasoning, then the answer */
    return xstrdup(last ? last : s);
}

static bool read_answers(struct sample *s, const json_t *row, const char *key, const json_t *said, struct err *e)
{
    static const char *const usual[] = { "reward_model.ground_truth", "answer", "ground_truth" };
    const json_t *a = key ? row_at(row, key) : NULL;
    for (int k = 0; !key && !a && k < 3; k++) a = row_at(row, usual[k]);
    if (!a && key) return fail(e, "no answer at \"%s\"", key);
    if (!a) a = said;
    if (!a) return fail(e, "no answer: one of reward_model.ground_truth, \"answer\", \"ground_truth\" is needed");
    size_t n = json_is_array(a) ? json_array_size(a) : 1;
    if (n == 0) return fail(e, "the list of answers is empty");
    s->refs = xcalloc(n, sizeof *s->refs);
    for (size_t k = 0; k < n; k++) {
        char *t = answer_text(json_is_array(a) ? json_array_get(a, k) : a);
        if (!t) return fail(e, "answer %zu must be a string or a number", k);
        s->refs[s->n_refs++] = t;
    }
    s->ground_truth = s->refs[0];
    return true;
}

static void sample_free(struct sample *s)
{
    for (int k = 0; k < s->n_refs; k++) free(s->refs[k]);
    free(s->refs);
    free(s->data_source);
    free(s->place);
    messages_free(&s->said);
    free(s->ability);
}

static bool read_row(struct sample *s, const json_t *row, const struct dataset_keys *key, const char *source, struct err *e)
{
    if (!json_is_object(row)) return fail(e, "a row must be a JSON object");
    const char *keys[] = { key->prompt ? key->prompt : "prompt", "question", "problem", "messages" };
    const json_t *prompt = NULL, *said = NULL;
    int k = 0;
    for (; k < 4 && !prompt; k++) prompt = row_at(row, keys[k]);
    if (!prompt) return fail(e, "no question: one of \"%s\", \"question\", \"problem\", \"messages\" is needed (data.prompt_key names it)", keys[0]);
    if (!read_prompt(s, prompt, keys[k - 1], &said, e) || !read_answers(s, row, key->answer, said, e)) return false;
    s->data_source = copy(row_at(row, key->source ? key->source : "data_source"));
    if (!s->data_source) s->data_source = xstrdup(source);
    s->ability = copy(row_at(row, "ability"));
    const json_t *index = row_at(row, "extra_info.index");
    if (json_is_integer(index)) s->index = json_integer_value(index);
    return true;
}

static void join(struct dataset *d, const struct sample *s)
{
    if (d->n == d->cap) {
        d->cap = d->cap ? 2 * d->cap : 256;
        d->row = xrealloc(d->row, (size_t)d->cap * sizeof *d->row);
    }
    d->row[d->n++] = *s;
}

/* folder/gsm8k.jsonl.gz -> gsm8k */
static char *stem(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *s = xstrdup(slash ? slash + 1 : path);
    char *dot = strchr(s + (*s == '.'), '.');
    if (dot) *dot = 0;
    return s;
}

static bool read_rows(struct dataset *d, struct rows *r, const struct dataset_keys *key, const char *source, struct err *e)
{
    json_t *row;
    int state, before = d->n;
    while ((state = rows_next(r, &row, e)) > 0) {
        struct sample s = { .index = d->n - before };
        bool ok = read_row(&s, row, key, source, e);
        json_decref(row);
        struct str place = { 0 };
        rows_place(r, &place);
        s.place = place.p;
        if (!ok) { sample_free(&s); return rows_fail(r, e); }
        join(d, &s);
    }
    return state == 0;
}

bool dataset_load_keys(struct dataset *d, const char *path, const struct dataset_keys *key, struct err *e)
{
    const char *columns[12] = { "question", "problem", "messages", "reward_model.ground_truth", "answer", "ground_truth", "ability", "extra_info.index" };
    int n = 8, before = d->n;
    columns[n++] = key->prompt ? key->prompt : "prompt";
    columns[n++] = key->source ? key->source : "data_source";
    if (key->answer) columns[n++] = key->answer;
    struct rows *r = rows_open(path, columns, e);
    if (!r) return false;
    char *source = stem(path);
    bool ok = read_rows(d, r, key, source, e);
    if (ok && d->n == before) ok = fail(e, "%s: holds no rows", path);
    free(source);
    rows_close(r);
    return ok;
}

bool dataset_load(struct dataset *d, const char *path, const char *prompt_key, struct err *e)
{
    return dataset_load_keys(d, path, &(struct dataset_keys){ .prompt = prompt_key }, e);
}

void dataset_cut(struct dataset *d, int n)
{
    while (d->n > n) sample_free(&d->row[--d->n]);
}

void dataset_free(struct dataset *d)
{
    dataset_cut(d, 0);
    free(d->row);
    *d = (struct dataset){ 0 };
}

bool sample_is_math(const struct sample *s)
{
    static const char *const sources[] = { "gsm8k", "math", "aime", "amc", "olympiad", "numina", "deepscaler", "minerva" };
    if (s->ability) return !strncasecmp(s->ability, "math", 4);
    for (size_t k = 0; k < sizeof sources / sizeof *sources; k++)
        if (strcasestr(s->data_source, sources[k])) return true;
    return false;
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
