/* messages.h: conversations as data sets have them: a list of {"role": ..., "content": ...}. */
#pragma once
#include "base/err.h"
#include <jansson.h>
#include <stdbool.h>

enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL, ROLE_DEVELOPER, ROLE_FUNCTION, ROLES };
extern const char *const role_name[ROLES];  /* "system", "user", "assistant", "tool", "developer", "function" */

struct message {
    enum role role;
    /* content: a string, or the joined texts of parts {"type": "text", ...}; "" beside calls or a thought */
    char *text;
    char *thought;          /* an assistant's reasoning_content; NULL: none */
    /* an assistant's tool_calls as JSON: [{"name": text, "arguments": anything} ...]; NULL: none */
    char *calls;
    bool parts;             /* content was a list of parts */
    bool quiet;             /* weight, train, loss ... 0 or false: nothing is to be learned from it */
};
struct messages { struct message *p; int n; };      /* texts are owned; start with { 0 } */

/* Appends the first n messages of a JSON list. tool_calls may be OpenAI's ({"type": "function", "function": {"name",
 * "arguments"}}) or flat. Keys that are null or empty are as good as absent, name and tool_call_id are in no chat
 * template and are passed over, as are keys that say nothing to a model. False: not a list of objects with a known
 * role and content, or a key that carries what would be lost (another kind of part, "thinking", "prefix": true ...);
 * the sentence names key, message and what to do. */
bool messages_read(struct messages *m, const json_t *list, size_t n, const char *key, struct err *e);
/* False: a row says beside its conversation how it is to be written, or holds pictures for it, which would be lost:
 * continue_final_message, chat_template_kwargs, enable_thinking false, images ... message_columns: these columns,
 * each with a '?' before it, ended by NULL. */
bool messages_beside(const json_t *row, struct err *e);
extern const char *const message_columns[];
/* Are no tools declared: nothing, null, a list of nulls or of nothing, or the JSON text of these? */
bool tools_none(const json_t *tools);
void messages_add(struct messages *m, enum role role, const char *text);        /* the text is copied */
void messages_free(struct messages *m);
