/* lines.c: lines to ids. Input is untrusted: an invalid line is reported with its number and the valid forms. */
#include "cmd/lines.h"
#include "data/messages.h"
#include "base/json_partial.h"
#include "engine/prompts/rollout_messages.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const size_t line_max = (size_t)16 << 20;

/* Without its end; false: there is none. */
static bool read_line(struct lines *l)
{
    int c;
    l->n = 0;
    while ((c = getc_unlocked(l->f)) != EOF && c != '\n' && l->n <= line_max) {
        if (l->n + 1 >= l->cap) l->p = xrealloc(l->p, l->cap = l->cap ? 2 * l->cap : 1024);
        l->p[l->n++] = (char)c;
    }
    if (!l->p) l->p = xrealloc(NULL, l->cap = 1024);
    if (l->n && l->p[l->n - 1] == '\r') l->n--;
    l->p[l->n] = 0;
    return c != EOF || l->n;
}

int lines_next(struct lines *l, struct err *e)
{
    while (read_line(l)) {
        l->number++;
        /* a byte order mark */
        if (l->number == 1 && l->n >= 3 && !memcmp(l->p, "\xEF\xBB\xBF", 3)) memmove(l->p, l->p + 3, (l->n -= 3) + 1);
        if (l->n > line_max) { fail(e, "line %lld: longer than %zu bytes", l->number, line_max); return -1; }
        if (strspn(l->p, " \t") < l->n) return 1;
    }
    if (!ferror(l->f)) return 0;
    fail(e, "line %lld: %s", l->number + 1, strerror(errno));
    return -1;
}

void lines_free(struct lines *l)
{
    free(l->p);
    l->p = NULL;
}

bool line_is_json(const struct lines *l) { return l->p[strspn(l->p, " \t")] == '{'; }

static bool given_ids(struct ids *out, const json_t *list, const struct session *s, struct err *e)
{
    size_t i;
    json_t *v;
    if (!json_is_array(list)) return fail(e, "\"ids\" must be a list of whole numbers");
    json_array_foreach((json_t *)list, i, v) {
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= s->m.c.vocab)
            return fail(e, "\"ids\"[%zu] is not a token id from 0 to %d", i, s->m.c.vocab - 1);
        ids_put(out, (int)id);
    }
    return true;
}

/* What a prompt that is to be answered declares, where it does not itself. */
static const struct chat_tools *usual_tools(const struct session *s, bool reply)
{
    return reply && call_form_turns(&s->form) ? &s->form.tools : NULL;
}

static bool conversation(struct ids *out, const json_t *row, const struct session *s, bool reply, struct err *e)
{
    const json_t *list = json_object_get(row, "messages"), *declared = json_object_get(row, "tools");
    struct messages x = { 0 };
    struct chat_tools tools = { 0 };
    bool ok = messages_beside(row, e) && messages_read(&x, list, json_array_size(list), "messages", e);
    ok = ok && (x.n || fail(e, "\"messages\" is empty"));
    if (json_is_null(declared)) declared = NULL;
    ok = ok && tools_value(&tools, &s->chat, declared, e);
    struct chat_message *m = chat_messages(&x);
    struct rollout_messages written;
    rollout_messages_make(&written, m, x.n, &s->form, false);
    const struct chat_tools *shown = declared ? &tools : usual_tools(s, reply);
    ok = ok && chat_check(&s->chat, m, x.n, shown && shown->n, e);
    ok = ok && (chat_write(&s->chat, out, NULL, written.m, written.n, shown, reply) ||
                fail(e, "the tokenizer gave up on this text"));
    rollout_messages_free(&written);
    free(m);
    chat_tools_free(&tools);
    messages_free(&x);
    return ok;
}

bool user_prompt_ids(struct ids *out, const struct session *s, const char *system, const char *text, size_t n,
                  struct err *e)
{
    struct chat_message m[2] = { { CHAT_SYSTEM, system, .n = system ? strlen(system) : 0 },
                                 { CHAT_USER, text, .n = n } };
    return chat_write(&s->chat, out, NULL, system ? m : m + 1, system ? 2 : 1, usual_tools(s, true), true) ||
           fail(e, "the tokenizer gave up on this text");
}

static bool row_ids(struct ids *out, const json_t *row, const struct session *s, bool reply, const struct err *no_chat,
                    struct err *e)
{
    static const char *const keys[] = { "ids", "text", "messages", "prompt" };
    const json_t *v = NULL;
    int k = -1;
    for (int i = 0; i < (reply ? 4 : 3); i++) {
        const json_t *x = json_object_get(row, keys[i]);
        if (x && v) return fail(e, "has both \"%s\" and \"%s\"; one of them is needed", keys[k], keys[i]);
        if (x) { v = x; k = i; }
    }
    if (!v) return fail(e, "one of \"ids\", \"text\", \"messages\"%s is needed", reply ? ", \"prompt\"" : "");
    if (k == 0) return given_ids(out, v, s, e);
    if (k >= 2 && *no_chat->text) return fail(e, "%s", no_chat->text);
    if (k == 2) return conversation(out, row, s, reply, e);
    if (!json_is_string(v)) return fail(e, "\"%s\" must be a string", keys[k]);
    if (k == 3) return user_prompt_ids(out, s, NULL, json_string_value(v), json_string_length(v), e);
    bool special = json_is_true(json_object_get(row, "special"));
    return tokenizer_encode(s->tok, out, json_string_value(v), json_string_length(v), special) ||
           fail(e, "the tokenizer gave up on this text");
}

/* What is read of a line; the rest of it may hold what JSON does not have. */
static const char *const columns[] = { "ids",
                                       "text",
                                       "special",
                                       "messages",
                                       "tools",
                                       "prompt",
                                       "continue_final_message",
                                       "chat_template_kwargs",
                                       "enable_thinking",
                                       "images",
                                       "videos",
                                       "audios",
                                       "image",
                                       "video",
                                       "audio",
                                       NULL };

bool line_ids(struct ids *out, const struct lines *l, const struct session *s, bool reply, const struct err *no_chat,
              struct err *e)
{
    struct json_text t = { .p = l->p, .n = l->n, .columns = columns, .nul = true };
    json_t *row = json_partial(&t, e);
    out->n = 0;
    bool ok = row || fail_in(e, "column %zu", t.at + 1);
    while (t.at < l->n && strchr(" \t\r", l->p[t.at]) && l->p[t.at]) t.at++;
    if (ok && t.at < l->n) ok = fail(e, "column %zu: more text behind the object", t.at + 1);
    ok = ok && (json_is_object(row) || fail(e, "a JSON object is needed")) && row_ids(out, row, s, reply, no_chat, e);
    size_t n = ok ? 0 : strlen(e->text);
    if (!ok && t.odd.n)
        snprintf(e->text + n, sizeof e->text - n, " (what the line has and cannot be read: %s)", t.odd.p);
    json_decref(row);
    str_free(&t.odd);
    return ok || fail_in(e, "line %lld", l->number);
}
