/* conversation_form.c: finds the columns of a conversation. A form is complete when all of its columns are there; two
 * complete forms are an error, unless a key names the one meant. */
#include "data/conversation_form.h"
#include "data/reference_answers.h"
#include "data/records.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const conversation_form_columns[] = { "?messages", "?conversations", "?instruction", "?input",
                                                  "?output",   "?prompt",        "?completion",  "?response",
                                                  "?question", "?answer",        "?system",      "?history",
                                                  NULL };

/* ShareGPT's names of the speakers; a call is an assistant's turn whose text is JSON (LLaMA-Factory, ms-swift). */
static const struct { const char *from, *role; bool call; } speakers[] = {
    { "human", "user", false },
    { "user", "user", false },
    { "gpt", "assistant", false },
    { "assistant", "assistant", false },
    { "model", "assistant", false },
    { "chatgpt", "assistant", false },
    { "bing", "assistant", false },
    { "system", "system", false },
    { "tool", "tool", false },
    { "observation", "tool", false },
    { "function_response", "tool", false },
    { "tool_response", "tool", false },
    { "function_call", "assistant", true },
    { "tool_call", "assistant", true },
};

static json_t *message(const char *role, const char *text)
{
    return json_pack("{s:s,s:s}", "role", role, "content", text);
}

/* The calls in a text as "tool_calls"; NULL: the text is neither a call nor a list of calls. */
static json_t *calls_of(const char *text)
{
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *calls = json_array();
    size_t n = json_is_array(j) ? json_array_size(j) : j != NULL;
    bool ok = n > 0;
    for (size_t k = 0; ok && k < n; k++) {
        json_t *one = json_is_array(j) ? json_array_get(j, k) : j, *arguments = json_object_get(one, "arguments");
        if (!arguments) arguments = json_object_get(one, "parameters");
        ok = json_is_string(json_object_get(one, "name")) && arguments;
        if (ok)
            json_array_append_new(calls, json_pack("{s:s,s:{s:O,s:O}}", "type", "function", "function", "name",
                                                   json_object_get(one, "name"), "arguments", arguments));
    }
    json_decref(j);
    if (ok) return calls;
    json_decref(calls);
    return NULL;
}

/* Converts one turn of ShareGPT to a message. */
static json_t *turn(const json_t *one, size_t k, const char *name, struct err *e)
{
    char buf[200];
    const char *from = json_string_value(json_object_get(one, "from")),
               *text = json_string_value(json_object_get(one, "value"));
    size_t s = 0, n = sizeof speakers / sizeof *speakers;
    if (!from || !text) {
        fail(e, "turn %zu of \"%s\" must have \"from\" and \"value\", both texts: \"%s\" is %s", k, name,
             from ? "value" : "from", value_is(json_object_get(one, from ? "value" : "from"), buf, sizeof buf));
        return NULL;
    }
    while (s < n && strcmp(from, speakers[s].from)) s++;
    if (s == n) {
        fail(e,
             "turn %zu of \"%s\" is from \"%.40s\"; there are human, user, gpt, assistant, system, tool, observation, "
             "function_response and function_call",
             k, name, from);
        return NULL;
    }
    /* other keys (weight, loss, reasoning_content, images ...) are a message's: messages_read reads or rejects them */
    json_t *m = json_copy((json_t *)one), *calls = speakers[s].call ? calls_of(text) : NULL;
    json_object_set_new(m, "role", json_string(speakers[s].role));
    json_object_set_new(m, "content", speakers[s].call ? json_null() : json_string(text));
    if (calls) json_object_set_new(m, "tool_calls", calls);
    if (calls || !speakers[s].call) return m;
    json_decref(m);
    fail(e, "turn %zu of \"%s\" is a call but not JSON of the form {\"name\": .., \"arguments\": ..}", k, name);
    return NULL;
}

/* Appends a list of messages or of ShareGPT's turns. */
static bool append(json_t *messages, const json_t *list, const char *name, struct err *e)
{
    const size_t n = json_array_size(list);
    bool turns =
        n && json_object_get(json_array_get(list, 0), "from") && !json_object_get(json_array_get(list, 0), "role");
    for (size_t k = 0; k < n; k++) {
        json_t *one = json_array_get(list, k), *m = turns ? turn(one, k, name, e) : json_incref(one);
        if (!m) return false;
        json_array_append_new(messages, m);
    }
    return true;
}

static bool is_from(const json_t *m, const char *role)
{
    const char *is = json_string_value(json_object_get(m, "role")),
               *from = json_string_value(json_object_get(m, "from"));
    for (size_t s = 0; !is && from && s < sizeof speakers / sizeof *speakers; s++)
        if (!strcmp(from, speakers[s].from)) is = speakers[s].role;
    return is && !strcmp(is, role);
}

static bool has(const json_t *list, const char *role)
{
    for (size_t k = 0; k < json_array_size(list); k++) if (is_from(json_array_get(list, k), role)) return true;
    return false;
}

/* The columns of prompt and reply; no reply: one column holds the whole conversation. */
struct found { const char *ask, *reply; };

static bool is_whole(const json_t *record, const char *ask) { return has(record_at(record, ask), "assistant"); }

/* The reply columns that go with each prompt column, as bits of replies[]; a column named by a key goes with all. */
static const char *const replies[] = { "completion", "response", "answer", "output" };
static const struct { const char *ask; unsigned replies; } asks[] = {
    { "messages", 0 }, { "conversations", 0 }, { "prompt", 7 }, { "question", 6 }, { "instruction", 8 },
};
enum { ASKS = sizeof asks / sizeof *asks, REPLIES = sizeof replies / sizeof *replies, ANSWER = 4 };

static unsigned replies_of(const char *ask, bool whole)
{
    for (int a = 0; a < ASKS; a++)
        if (!strcmp(ask, asks[a].ask))
            return whole ? asks[a].replies & ~(unsigned)ANSWER : asks[a].replies ? asks[a].replies : 15;
    return whole ? 0 : 15;
}

/* Every form that the record has. A prompt with turns of the assistant and an "answer" in another column is a whole
 * conversation: the answer is a reference for rewards. */
static int find_forms(const json_t *record, const char *prompt, const char *answer, struct found *out)
{
    int n = 0;
    for (int a = 0; a < (prompt ? 1 : ASKS); a++) {
        const char *ask = prompt ? prompt : asks[a].ask;
        bool whole = is_whole(record, ask), pair = false;
        for (int r = 0; record_at(record, ask) && r < (answer ? 1 : REPLIES); r++) {
            const char *reply = answer ? answer : replies[r];
            bool fits = answer || (replies_of(ask, whole) >> r & 1 && (prompt || asks[a].replies));
            if (!fits || !record_at(record, reply) || !strcmp(ask, reply)) continue;
            out[n++] = (struct found){ ask, reply };
            pair = true;
        }
        if (whole && !answer && !pair) out[n++] = (struct found){ ask, NULL };
    }
    return n;
}

static const char *shown(const struct found *f, char *buf, size_t n)
{
    snprintf(buf, n, f->reply ? "%.60s + %.60s" : "%.60s", f->ask, f->reply);
    return buf;
}

/* The prompt of an instruction record: instruction, then input, separated by a line break (as in LLaMA-Factory). */
static char *instruction_prompt(const json_t *record, const char *ask, const char *text, struct err *e)
{
    char buf[200];
    const json_t *input = strcmp(ask, "instruction") ? NULL : record_at(record, "input");
    const char *more = json_string_value(input);
    if (input && !more) {
        fail(e, "\"input\" must be a text, it is %s", value_is(input, buf, sizeof buf));
        return NULL;
    }
    struct str s = { 0 };
    str_puts(&s, text);
    if (more && *more) str_printf(&s, "%s%s", *text ? "\n" : "", more);
    return s.p;
}

/* Earlier turns: a list of [prompt, reply]. */
static bool history(json_t *messages, const json_t *record, struct err *e)
{
    const json_t *list = record_at(record, "history");
    if (list && !json_is_array(list)) return fail(e, "\"history\" must be a list of [question, answer]");
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *one = json_array_get(list, k);
        const char *prompt = json_string_value(json_array_get(one, 0)),
                   *reply = json_string_value(json_array_get(one, 1));
        if (!prompt || !reply || json_array_size(one) != 2)
            return fail(e, "item %zu of \"history\" must be [question, answer], both texts", k);
        json_array_append_new(messages, message("user", prompt));
        json_array_append_new(messages, message("assistant", reply));
    }
    return true;
}

static bool read_ask(struct conversation_form *f, const json_t *record, const char *ask, struct err *e)
{
    char buf[200];
    const json_t *v = record_at(record, ask);
    if (json_is_array(v)) return append(f->messages, v, ask, e);
    if (!json_is_string(v))
        return fail(e, "\"%s\" must be a list of messages or a string, it is %s", ask, value_is(v, buf, sizeof buf));
    if (text_is_messages(json_string_value(v)))
        return fail(e, "\"%s\" is a text with a list of messages written out: write it as a list", ask);
    if (!strcmp(ask, "instruction") && !history(f->messages, record, e)) return false;
    char *text = instruction_prompt(record, ask, json_string_value(v), e);
    if (text) json_array_append_new(f->messages, message("user", text));
    free(text);
    return text != NULL;
}

static bool read_reply(struct conversation_form *f, const json_t *record, const char *reply, struct err *e)
{
    char buf[200];
    const json_t *v = record_at(record, reply);
    if (json_is_string(v) && text_is_messages(json_string_value(v)))
        return fail(e, "\"%s\" is a text with a list of messages written out: write it as a list", reply);
    if (json_is_string(v)) return json_array_append_new(f->messages, message("assistant", json_string_value(v))) == 0;
    if (!json_is_array(v))
        return fail(e, "\"%s\" must be a string or a list of messages, it is %s (data.answer_key names the reply)",
                    reply, value_is(v, buf, sizeof buf));
    return append(f->messages, v, reply, e) &&
           (has(v, "assistant") ||
            fail(e, "\"%s\" has no message of role \"assistant\": there is nothing to learn from it", reply));
}

/* Puts the column "system" in front if the conversation has no system message. */
static bool add_system(struct conversation_form *f, const json_t *record, struct err *e)
{
    char buf[200];
    const json_t *v = record_at(record, "system");
    const char *text = json_string_value(v);
    if (v && !text) return fail(e, "\"system\" must be a text, it is %s", value_is(v, buf, sizeof buf));
    if (!v || !*text) return true;
    for (size_t k = 0; k < json_array_size(f->messages); k++) {
        const json_t *m = json_array_get(f->messages, k);
        if (!is_from(m, "system")) continue;
        const char *own = json_string_value(json_object_get(m, "content"));
        return (own && !strcmp(own, text)) ||
               fail(e, "\"system\" and the conversation both hold a system message and differ: take one of them away");
    }
    json_array_insert_new(f->messages, 0, message("system", text));
    f->learn_from += f->learn_from > 0;
    return true;
}

static bool no_form(const json_t *record, const char *prompt, const char *answer, struct found *out, struct err *e)
{
    char buf[200];
    const char *ask = prompt;
    for (int k = 0; !ask && k < ASKS; k++) if (record_at(record, asks[k].ask)) ask = asks[k].ask;
    const json_t *v = ask ? record_at(record, ask) : NULL;
    if (answer && v && !record_at(record, answer))
        return fail(e, "no column \"%.100s\", which data.answer_key names, or it is null here", answer);
    if (!v && prompt) return fail(e, "no column \"%.100s\", which data.prompt_key names, or it is null here", prompt);
    if (json_is_array(v)) {                             /* messages_read reports what is wrong with its messages */
        out->ask = ask;
        return true;
    }
    if (!v)
        return fail(e, "no conversation: \"messages\", \"conversations\", \"prompt\" + \"completion\", \"question\" + "
                       "\"answer\" or \"instruction\" + \"output\" is needed "
                       "(data.prompt_key and data.answer_key name others)");
    if (json_is_string(v) && text_is_messages(json_string_value(v)))
        return fail(e, "\"%s\" is a text with a list of messages written out: write it as a list", ask);
    if (json_is_string(v))
        return fail(e, "\"%s\" is a string; then a reply is needed, in \"%s\" (data.answer_key names it)", ask,
                    strcmp(ask, "instruction") ? "response" : "output");
    return fail(e, "\"%s\" must be a list of messages or a string, it is %s", ask, value_is(v, buf, sizeof buf));
}

bool conversation_form_read(struct conversation_form *f, const json_t *record, const char *prompt, const char *answer,
                            struct err *e)
{
    struct found found[32] = { { 0 } };
    char one[160], other[160];
    int n = find_forms(record, prompt, answer, found);
    *f = (struct conversation_form){ 0 };
    if (!n && !no_form(record, prompt, answer, found, e)) return false;
    if (n > 1)
        return fail(e,
                    "two conversations in one row: %s and %s; choose one with data.prompt_key and data.answer_key",
                    shown(&found[0], one, sizeof one), shown(&found[1], other, sizeof other));
    f->messages = json_array();
    if (!read_ask(f, record, found->ask, e)) return false;
    shown(found, f->names, sizeof f->names);
    if (found->reply && is_from(json_array_get(f->messages, json_array_size(f->messages) - 1), "assistant"))
        return fail(e, "\"%s\" ends with the assistant's turn and \"%s\" is another one", found->ask, found->reply);
    f->learn_from =
        found->reply && json_is_array(record_at(record, found->ask)) ? (int)json_array_size(f->messages) : 0;
    if (found->reply && !read_reply(f, record, found->reply, e)) return false;
    return add_system(f, record, e);
}

void conversation_form_free(struct conversation_form *f)
{
    json_decref(f->messages);
    f->messages = NULL;
}
