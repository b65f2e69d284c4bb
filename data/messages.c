/* messages.c: messages from JSON. Every other key of a message is read, known to be meaningless to a model, or
 * rejected. */
#include "data/messages.h"
#include "base/str.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const role_name[] = { "system", "user", "assistant", "tool", "developer", "function" };

/* The place of the message being read, for error messages. */
struct place { size_t k; const char *key; struct err *e; };

static bool wrong(const struct place *at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool wrong(const struct place *at, const char *fmt, ...)
{
    char what[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return fail(at->e, "message %zu of \"%s\": %s", at->k, at->key, what);
}

/* null, "", [] and {}, and lists and objects of these: Arrow and others pad absent columns with them. */
enum { PADDED = 4 };        /* levels that are examined: tool_calls[0].function.arguments.x */
static bool nothing_in(const json_t *v, int levels)
{
    const char *key;
    json_t *one;
    size_t i;
    if (!v || json_is_null(v) || (json_is_string(v) && !json_string_length(v))) return true;
    if ((!json_is_array(v) && !json_is_object(v)) || !levels) return false;
    json_array_foreach((json_t *)v, i, one) if (!nothing_in(one, levels - 1)) return false;
    json_object_foreach((json_t *)v, key, one) if (!nothing_in(one, levels - 1)) return false;
    return true;
}

static bool nothing(const json_t *v) { return nothing_in(v, PADDED); }

static bool put_string(struct str *out, const json_t *v, const char *what, const struct place *at)
{
    const char *s = json_string_value(v);
    if (strlen(s) != json_string_length(v)) return wrong(at, "a zero byte in %s", what);
    str_puts(out, s);
    return true;
}

static bool read_parts(struct str *out, const json_t *list, const struct place *at)
{
    size_t i;
    const json_t *one;
    json_array_foreach((json_t *)list, i, one) {
        const char *type = json_string_value(json_object_get(one, "type"));
        const json_t *text = json_object_get(one, "text");
        if (!type || strcmp(type, "text"))
            return wrong(at,
                         "part %zu of \"content\" is of type \"%.40s\"; only parts {\"type\": \"text\", \"text\": ...} "
                         "can "
                         "be read",
                         i, type ? type : "none");
        if (!json_is_string(text)) return wrong(at, "part %zu of \"content\" has no \"text\"", i);
        if (!put_string(out, text, "\"content\"", at)) return false;
    }
    return true;
}

static bool read_content(struct message *m, const json_t *v, const struct place *at)
{
    struct str s = { 0 };
    str_clear(&s);
    bool ok = true;
    if (json_is_string(v)) ok = put_string(&s, v, "\"content\"", at);
    else if (json_array_size(v)) ok = m->parts = read_parts(&s, v, at);
    else if (v && !json_is_null(v) && !json_is_array(v))
        ok = wrong(at, "\"content\" must be a text or a list of parts");
    else if (!m->calls && !(m->thought && *m->thought)) ok = wrong(at, "must have \"content\", a text");
    m->text = s.p;
    return ok;
}

/* One of tool_calls as {"name", "arguments"}; NULL: not a call. */
static json_t *one_call(const json_t *v, const struct place *at, size_t i)
{
    const json_t *f = json_object_get(v, "function"), *type = json_object_get(v, "type");
    if (!json_is_object(f)) f = v;
    json_t *name = json_object_get(f, "name"), *arguments = json_object_get(f, "arguments");
    if (json_is_string(type) && strcmp(json_string_value(type), "function")) {
        wrong(at, "tool_calls[%zu] is of type \"%.40s\"; only \"function\" can be written", i, json_string_value(type));
    } else if (!json_is_string(name) || !json_string_length(name) || !arguments) {
        wrong(at,
              "tool_calls[%zu] must be {\"type\": \"function\", \"function\": {\"name\": ..., \"arguments\": ...}} or "
              "{\"name\": ..., \"arguments\": ...}",
              i);
    } else {
        json_t *call = json_object();
        bool made = call && !json_object_set(call, "name", name) && !json_object_set(call, "arguments", arguments);
        if (!made) die("out of memory");
        return call;
    }
    return NULL;
}

static bool read_calls(struct message *m, const json_t *v, const struct place *at)
{
    size_t i;
    const json_t *one;
    if (nothing(v)) return true;
    if (m->role != ROLE_ASSISTANT) return wrong(at, "\"tool_calls\" belong to role \"assistant\"");
    if (!json_is_array(v)) return wrong(at, "\"tool_calls\" must be a list");
    json_t *list = json_array();
    bool ok = true;
    json_array_foreach((json_t *)v, i, one) {
        json_t *call = one_call(one, at, i);
        ok = call && json_array_append_new(list, call) == 0;
        if (!ok) break;
    }
    if (ok) m->calls = json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(list);
    return ok;
}

static bool read_thought(struct message *m, const json_t *v, const struct place *at)
{
    struct str s = { 0 };
    if (nothing(v)) {
        /* the content holds no thought either */
        if (json_is_string(v) && m->role == ROLE_ASSISTANT) m->thought = xstrdup("");
        return true;
    }
    if (m->role != ROLE_ASSISTANT) return wrong(at, "\"reasoning_content\" belongs to role \"assistant\"");
    if (!json_is_string(v)) return wrong(at, "\"reasoning_content\" must be a text");
    bool ok = put_string(&s, v, "\"reasoning_content\"", at);
    m->thought = s.p;
    return ok;
}

/* Reads whether to learn from a message. weight, train and loss: 0 or 1, false or true. */
static bool read_weight(struct message *m, const json_t *v, const char *name, const struct place *at)
{
    if (!v || json_is_null(v)) return true;
    if (m->role != ROLE_ASSISTANT && !json_is_false(v) && !(json_is_number(v) && json_number_value(v) == 0))
        return wrong(at, "\"%s\" asks to learn from role \"%s\"; only an assistant's messages can be learned from",
                     name, role_name[m->role]);
    double w = json_is_number(v) ? json_number_value(v) : -1;
    if (json_is_false(v) || w == 0) m->quiet = true;
    else if (!json_is_true(v) && w != 1)
        return wrong(at, "\"%s\" must be 0 or 1; other weights are not supported", name);
    return true;
}

/* Keys with content that would be lost, because no supported chat template writes them. */
static bool read_others(const json_t *one, const struct place *at)
{
    static const struct { const char *key, *instead; } lost[] = {
        { "reasoning", "\"reasoning_content\" is its name here" },
        { "thinking", "\"reasoning_content\" is its name here" },
        { "thought", "\"reasoning_content\" is its name here" },
        { "thoughts", "\"reasoning_content\" is its name here" },
        { "reasoning_details", "\"reasoning_content\" takes a text" },
        { "thinking_blocks", "\"reasoning_content\" takes a text" }, { "tool_plan", "put it into \"content\"" },
        { "function_call", "\"tool_calls\" is its name here" }, { "refusal", "put it into \"content\"" },
        { "audio", "only text can be read" }, { "image", "only text can be read" },
        { "images", "only text can be read" }, { "video", "only text can be read" },
        { "videos", "only text can be read" }, { "tools", "declare tools in the column \"tools\"" },
        { "documents", "put them into \"content\"" },
    };
    static const char *const prefills[] = { "prefix", "prefill", "partial", "continue_final_message" };
    for (size_t i = 0; i < sizeof lost / sizeof *lost; i++) {
        const json_t *v = json_object_get(one, lost[i].key);
        if (!nothing(v) && !json_is_false(v))
            return wrong(at, "\"%s\" would be lost: %s", lost[i].key, lost[i].instead);
    }
    for (size_t i = 0; i < sizeof prefills / sizeof *prefills; i++) {
        const json_t *v = json_object_get(one, prefills[i]);
        if (nothing(v) || json_is_false(v)) continue;
        return wrong(at, "\"%s\": partial turns for the model to continue are not supported", prefills[i]);
    }
    return true;
}

const char *const message_columns[] = { "?continue_final_message", "?chat_template_kwargs", "?enable_thinking",
                                        "?images", "?videos", "?audios", "?image", "?video", "?audio", NULL };

bool messages_beside(const json_t *record, struct err *e)
{
    static const char *const why[] = { "partial turns for the model to continue are not supported",
        "a record cannot set options of the chat template", "a record cannot turn thinking off" };
    for (int i = 0; message_columns[i]; i++) {
        const json_t *v = json_object_get(record, message_columns[i] + 1);
        bool harmless = i == 2 ? !json_is_false(v) : nothing(v) || json_is_false(v);
        if (!harmless) return fail(e, "\"%s\" would be lost: %s", message_columns[i] + 1,
                                      i < 3 ? why[i] : "only text can be read");
    }
    return true;
}

static bool only_nulls(const json_t *v)
{
    size_t k = 0;
    if (!v || json_is_null(v)) return true;
    while (k < json_array_size(v) && json_is_null(json_array_get(v, k))) k++;
    return json_is_array(v) && k == json_array_size(v);
}

bool tools_none(const json_t *tools)
{
    if (!json_is_string(tools)) return only_nulls(tools);
    const char *text = json_string_value(tools);
    json_t *j = json_loads(text, JSON_DECODE_ANY, NULL);
    bool none = !text[strspn(text, " \t\r\n")] || (j && only_nulls(j));
    json_decref(j);
    return none;
}

static bool read_one(struct message *m, const json_t *one, const struct place *at)
{
    static const char *const weights[] = { "weight", "train", "loss", "training", "trainable", "loss_scale" };
    enum { WEIGHTS = sizeof weights / sizeof *weights };
    const char *role = json_string_value(json_object_get(one, "role"));
    int r = 0;
    if (!role) return wrong(at, "must have \"role\" and \"content\"");
    while (r < ROLES && strcmp(role, role_name[r])) r++;
    if (r == ROLES)
        return wrong(at, "no role \"%.40s\" is known; there are system, user, assistant, tool, developer and function",
                     role);
    m->role = (enum role)r;
    bool ok = read_calls(m, json_object_get(one, "tool_calls"), at) &&
              read_thought(m, json_object_get(one, "reasoning_content"), at);
    for (int i = 0; ok && i < WEIGHTS; i++) ok = read_weight(m, json_object_get(one, weights[i]), weights[i], at);
    return ok && read_others(one, at) && read_content(m, json_object_get(one, "content"), at);
}

static void message_free(struct message *m)
{
    free(m->text);
    free(m->thought);
    free(m->calls);
}

static void put(struct messages *m, const struct message *one)
{
    m->p = xrealloc(m->p, (size_t)(m->n + 1) * sizeof *m->p);
    m->p[m->n++] = *one;
}

void messages_add(struct messages *m, enum role role, const char *text)
{
    put(m, &(struct message){ .role = role, .text = xstrdup(text) });
}

bool messages_read(struct messages *m, const json_t *list, size_t n, const char *key, struct err *e)
{
    if (!json_is_array(list)) return fail(e, "\"%s\" must be a list of messages", key);
    for (size_t k = 0; k < n; k++) {
        struct message one = { 0 };
        if (!read_one(&one, json_array_get(list, k), &(struct place){ k, key, e })) {
            message_free(&one);
            return false;
        }
        put(m, &one);
    }
    return true;
}

void messages_free(struct messages *m)
{
    for (int k = 0; k < m->n; k++) message_free(&m->p[k]);
    free(m->p);
    *m = (struct messages){ 0 };
}
