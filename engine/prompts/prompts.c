/* prompts.c: records to prompts. Every fault of a record is found here, before the first step. */
#include "engine/prompts/prompts.h"
#include "base/str.h"
#include "data/data_files.h"
#include "base/json_partial.h"
#include "engine/prompts/rollout_messages.h"
#include "base/hash.h"
#include <stdio.h>
#include <string.h>

/* System message of ARPO's and APPO's released prompts ("\boxed" is broken there: U+0008 and "oxed"). */
static const char with_tags[] =
    "You are a helpful assistant that can solve the given question step by step with the help of the wikipedia search "
    "tool and python interpreter tool. Given "
    "a question, you need to first think about the reasoning process in the mind and then provide the answer. During "
    "thinking, you can invoke the wikipedia "
    "search tool to search and python interpreter tool to calculate the math problem for fact information about "
    "specific topics if needed. The reasoning process and "
    "answer are enclosed within <think> </think> and <answer> </answer> tags respectively, and the search query and "
    "result are enclosed within <search> "
    "</search> and <result> </result> tags respectively. For example, <think> This is the reasoning process. </think> "
    "<search> search query here </search> "
    "<result> search result here </result> <think> This is the reasoning process. </think> <python> python code here "
    "</python> <result> python interpreter "
    "result here </result> <think> This is the reasoning process. </think> <answer> The final answer is \\[ "
    "\\boxed{answer here} \\] </answer>. In the last "
    "part of the answer, the final exact answer is enclosed within \\boxed{} with latex format.";

/* The same for chat formats that declare the tools and describe the calls. */
static const char with_turns[] =
    "You are a helpful assistant that can solve the given question step by step with the help of a search tool and a "
    "python tool. Given a question, you need to "
    "first think about the reasoning process in the mind and then either call tools, to search for facts about "
    "specific topics or to calculate, or provide the answer. "
    "You get the results of your calls and go on from there. The reasoning process and the answer are enclosed within "
    "<think> </think> and <answer> </answer> tags "
    "respectively. For example, <think> This is the reasoning process. </think>, then calls of tools; and in the end "
    "<think> This is the reasoning process. </think> "
    "<answer> The final answer is \\[ \\boxed{answer here} \\] </answer>. In the last part of the answer, the final "
    "exact answer is enclosed within \\boxed{} with "
    "latex format.";

bool each_file(const char *key, const char *list, bool (*take)(void *ctx, const char *path, struct err *e), void *ctx,
               struct err *e)
{
    struct data_files f = { 0 };
    bool ok = data_files_find(&f, list, e) || fail_in(e, "%s", key);
    if (ok && f.note.n) print_notes(key, &f.note);
    if (ok && !f.n) ok = fail(e, "%s=%.200s: names no file", key, list);
    for (int k = 0; ok && k < f.n; k++) ok = take(ctx, f.path[k], e);
    data_files_free(&f);
    return ok;
}

enum { NOTES_SHOWN = 12 };         /* a folder may have thousands of shards */

void print_notes(const char *key, const struct str *note)
{
    int lines = 0;
    for (const char *p = note->p; p && *p; lines++) {
        size_t n = strcspn(p, "\n");
        if (lines < NOTES_SHOWN) print_clean(notes(), "%s: %.*s\n", key, (int)n, p);
        p += n + (p[n] == '\n');
    }
    if (lines > NOTES_SHOWN) fprintf(notes(), "%s: %d more lines like these\n", key, lines - NOTES_SHOWN);
}

void truncate_ids(struct ids *x, unsigned char *keep, int max, enum truncation how)
{
    if (x->n <= max) return;
    int head = how == TRUNCATE_LEFT ? 0 : how == TRUNCATE_MIDDLE ? max / 2 : max, tail = max - head;
    memmove(x->p + head, x->p + x->n - tail, (size_t)tail * sizeof *x->p);
    if (keep) memmove(keep + head, keep + x->n - tail, (size_t)tail);
    x->n = max;
}

struct chat_message *chat_messages(const struct messages *x)
{
    static const enum chat_role roles[] = {
        [ROLE_SYSTEM] = CHAT_SYSTEM, [ROLE_USER] = CHAT_USER,           [ROLE_ASSISTANT] = CHAT_ASSISTANT,
        [ROLE_TOOL] = CHAT_TOOL,     [ROLE_DEVELOPER] = CHAT_DEVELOPER, [ROLE_FUNCTION] = CHAT_FUNCTION
    };
    struct chat_message *m = xcalloc((size_t)x->n, sizeof *m);
    for (int k = 0; k < x->n; k++) {
        const struct message *y = &x->p[k];
        m[k] = (struct chat_message){ .role = roles[y->role],
                                      .text = y->text,
                                      .n = strlen(y->text),
                                      .thought = y->thought,
                                      .calls = y->calls,
                                      .quiet = y->quiet,
                                      .parts = y->parts };
    }
    return m;
}

bool tools_value(struct chat_tools *tools, const struct chat *chat, const json_t *v, struct err *e)
{
    *tools = (struct chat_tools){ 0 };
    if (tools_none(v)) return true;
    if (json_is_string(v)) return chat_tools_read(tools, chat, json_string_value(v), json_string_length(v), e);
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    bool ok = odd_within(text) ? fail(e, "\"tools\" hold a value that cannot be read")
                               : chat_tools_read(tools, chat, text, strlen(text), e);
    free(text);
    return ok;
}

/* The instructions of data.system_prompt=tools. The released text describes python and search; each further tool gets
 * two lines of its own. In turns the chat format declares all tools. */
static void instruct(struct str *out, bool turns)
{
    str_puts(out, turns ? with_turns : with_tags);
    for (int k = 0; !turns && k < tool_table.n; k++) {
        const struct tool *x = &tool_table.row[k];
        if (!strstr(with_tags, x->open))
            str_printf(out,
                       " You can also invoke the %s tool. %s Its %s is enclosed within %s %s and its result within "
                       "<result> </result> tags.",
                       x->name, x->description, x->argument, x->open, x->close);
    }
}

bool prompt_write(struct ids *out, const struct chat_message *message, int n, const char *system,
                  const struct call_form *form, struct err *e)
{
    bool turns = call_form_turns(form), own = false, automatic = !strcmp(system, "auto");
    for (int i = 0; i < n; i++) own |= message[i].role == CHAT_SYSTEM;
    bool mine = automatic ? form->chat->v.family == CHAT_APPO || !own : strcmp(system, "none") != 0;
    struct str instructions = { 0 };
    if (automatic || !strcmp(system, "tools")) {
        instruct(&instructions, turns);
        system = form->chat->v.family == CHAT_APPO ? NULL : instructions.p;
    }
    struct chat_message *m = xcalloc((size_t)n + 1, sizeof *m);
    int k = 0;
    if (mine && system) m[k++] = (struct chat_message){ CHAT_SYSTEM, system, .n = strlen(system) };
    for (int i = 0; i < n; i++)
        if (!mine || message[i].role != CHAT_SYSTEM) m[k++] = message[i];
    struct rollout_messages x;
    rollout_messages_make(&x, m, k, form, false);
    bool ok = chat_check(form->chat, m, k, turns, e) &&
              (chat_write(form->chat, out, NULL, x.m, x.n, turns ? &form->tools : NULL, true) ||
               fail(e, "the tokenizer gave up on this prompt"));
    rollout_messages_free(&x);
    free(m);
    str_free(&instructions);
    return ok;
}

static bool write_record(struct ids *out, const struct prompt *s, const char *system, const struct call_form *form,
                         struct err *e)
{
    struct chat_message *message = chat_messages(&s->messages);
    bool ok = prompt_write(out, message, s->messages.n, system, form, e);
    free(message);
    return ok || fail_in(e, "%s", s->where);
}

static uint64_t hash_text(uint64_t h, const char *s)
{
    if (!s) s = "\xff";
    return fnv1a_add(h, s, strlen(s) + 1);
}

/* Hashes everything of a record that decides a number: prompt, references, rule, and the name that its metrics have.
 * Lengths go first, so that adjacent records cannot be confused. */
static void hash_record(struct prompt_set *q, int k)
{
    const struct prompt *s = &q->rows.prompt[k];
    const int sizes[] = { q->prompt[k].n, s->n_refs, prompt_is_math(s) };
    q->hash = fnv1a_add(q->hash, sizes, sizeof sizes);
    q->hash = fnv1a_add(q->hash, q->prompt[k].p, (size_t)q->prompt[k].n * sizeof(int));
    for (int i = 0; i < s->n_refs; i++) q->hash = hash_text(q->hash, s->refs[i]);
    q->hash = hash_text(hash_text(q->hash, s->named ? s->data_source : NULL), s->ability);
}

/* Writes record k's prompt to the place of record `to`; *kept false: it is left out. */
static bool take_record(struct prompt_set *q, int k, int to, const char *key, const struct config *c,
                        const struct call_form *form, bool *kept, struct err *e)
{
    const struct prompt *s = &q->rows.prompt[k];
    struct ids ids = { 0 };
    int max = c->data.max_prompt_length;
    enum truncation how = c->data.filter_overlong_prompts ? TRUNCATE_FILTER : c->data.truncation;
    *kept = true;
    if (!write_record(&ids, s, c->data.system_prompt, form, e)) return false;
    if (ids.n > max && how == TRUNCATE_ERROR) {
        fail(e,
             "%s: a prompt of %d tokens is longer than data.max_prompt_length=%d: raise that (%s), or choose "
             "data.truncation=filter, left, "
             "right or middle",
             s->where, ids.n, max, key);
        ids_free(&ids);
        return false;
    }
    if (ids.n > max && how == TRUNCATE_FILTER) {
        ids_free(&ids);
        *kept = false;
        return true;
    }
    truncate_ids(&ids, NULL, max, how);
    q->prompt[to] = ids;
    return true;
}

/* Released prompts have instructions for tags in their system message. */
static void warn_of_tags(const struct prompt_set *q, int n, const char *key, const struct config *c,
                         const struct call_form *form)
{
    int taught = 0;
    bool kept = !strcmp(c->data.system_prompt, "auto") || !strcmp(c->data.system_prompt, "none");
    for (int k = 0; kept && call_form_turns(form) && k < n; k++) {
        const char *s = q->rows.prompt[k].system;
        bool tags = false;
        for (int t = 0; s && t < tool_table.n; t++) tags = tags || strstr(s, tool_table.row[t].close);
        taught += tags;
    }
    if (taught)
        fprintf(notes(),
                "%s: %d of %d prompts have a system message that teaches calls in tags, which this tools.format does "
                "not run; data.system_prompt=tools "
                "puts the fitting instructions in its place\n",
                key, taught, n);
}

static bool write_prompts(struct prompt_set *q, const char *key, const struct config *c, const struct call_form *form,
                          struct err *e)
{
    int n = q->rows.n, to = 0;
    bool ok = true;
    q->prompt = xcalloc((size_t)n, sizeof *q->prompt);
    q->hash = fnv1a("", 0);
    for (int k = 0; ok && k < n; k++) {
        bool kept;
        ok = take_record(q, k, to, key, c, form, &kept, e);
        if (!ok || !kept) continue;
        struct prompt s = q->rows.prompt[to];
        q->rows.prompt[to] = q->rows.prompt[k];
        q->rows.prompt[k] = s;
        hash_record(q, to++);
    }
    if (ok && to < n)
        fprintf(notes(), "%s: %d of %d prompts are longer than data.max_prompt_length=%d tokens and were left out\n",
                key, n - to, n, c->data.max_prompt_length);
    if (ok && !to)
        ok = fail(e, "%s: every prompt is longer than data.max_prompt_length=%d: raise that", key,
                  c->data.max_prompt_length);
    if (ok) dataset_cut(&q->rows, to);
    if (ok) warn_of_tags(q, to, key, c, form);
    return ok;
}

struct reading { struct dataset *rows; struct dataset_keys keys; };

static bool read_one(void *ctx, const char *path, struct err *e)
{
    struct reading *r = ctx;
    return dataset_load_keys(r->rows, path, &r->keys, e);
}

bool prompt_set_open(struct prompt_set *q, const char *key, const char *files, const struct config *c,
                    const struct call_form *form, struct err *e)
{
    *q = (struct prompt_set){ 0 };
    if (!*files) return true;
    struct reading r = { &q->rows,
                         { *c->data.prompt_key ? c->data.prompt_key : NULL,
                           *c->data.answer_key ? c->data.answer_key : NULL,
                           *c->data.source_key ? c->data.source_key : NULL } };
    if (!each_file(key, files, read_one, &r, e)) return false;
    print_notes(key, &q->rows.note);
    return write_prompts(q, key, c, form, e);
}

void prompt_set_free(struct prompt_set *q)
{
    for (int k = 0; q->prompt && k < q->rows.n; k++) ids_free(&q->prompt[k]);
    free(q->prompt);
    free(q->record_order.order);
    dataset_free(&q->rows);
    *q = (struct prompt_set){ 0 };
}

int record_order_at(struct record_order *d, const struct config *c, int n, uint64_t position)
{
    uint64_t rows = (uint64_t)n, epoch = position / rows;
    if (!c->data.shuffle) return (int)(position % rows);
    if (!d->order || d->epoch != (uint32_t)epoch) {
        if (!d->order) d->order = xcalloc(rows, sizeof *d->order);
        d->epoch = (uint32_t)epoch;
        dataset_order(n, (uint64_t)(c->data.seed < 0 ? c->trainer.seed : c->data.seed), d->epoch, d->order);
    }
    return d->order[position % rows];
}

int prompt_set_record(struct prompt_set *q, const struct config *c, uint64_t position)
{
    return record_order_at(&q->record_order, c, q->rows.n, position);
}
